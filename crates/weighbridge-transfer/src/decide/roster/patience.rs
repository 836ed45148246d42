//! Patience: how long the fetch waits for each source.

use std::time::{Duration, Instant};

use super::{Member, MemberState, Roster};
use crate::event::SourceIndex;

/// How many failures in a row a source may have that never answered, while no other source answers. With the waits
/// between them they take about two seconds.
const UNHEARD_FAILURES: u32 = 3;

impl Roster {
    /// The source answered, whatever it said.
    pub(crate) fn heard(&mut self, source: SourceIndex) {
        self.members[source].heard = true;
    }

    /// Whether something that came from the source waits to be judged and written.
    pub(crate) fn is_landing(&self, source: SourceIndex) -> bool {
        self.members[source].landing > 0
    }

    /// A source that never answered is a mistyped address as likely as a server that restarts. It is waited for beside one
    /// that answers; where none does, the fetch is to end in seconds and say so.
    pub(super) fn give_up_on_the_unheard(&mut self) {
        if self.members.iter().any(|member| member.heard && member.state != MemberState::SetAside) {
            return;
        }
        for source in 0..self.members.len() {
            let member = &mut self.members[source];
            let is_given_up = matches!(member.state, MemberState::Waiting { .. })
                && !member.heard
                && member.failures >= UNHEARD_FAILURES;
            if is_given_up && let Some((blame, what)) = member.blame.take() {
                self.set_aside(source, blame, what);
            }
        }
    }

    /// Who of those that are left alone is tried again first, and when from now on.
    pub(crate) fn first_again(&self, now: Instant) -> Option<(SourceIndex, Duration)> {
        let again = |(source, member): (SourceIndex, &Member)| match member.state {
            MemberState::Waiting { until } => Some((source, until.saturating_duration_since(now))),
            // Its head is asked for again.
            MemberState::Suspect => {
                Some((source, member.not_before.unwrap_or(now).saturating_duration_since(now)))
            }
            _ => None,
        };
        self.members.iter().enumerate().filter_map(again).min_by_key(|(_, time)| *time)
    }
}
