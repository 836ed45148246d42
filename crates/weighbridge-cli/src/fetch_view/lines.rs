//! No terminal: a line for each change of a source, and one now and then.

use std::{collections::BTreeMap, time::Duration};

use weighbridge_transfer::{Blame, Event, Here, Progress, SourceIndex, SourceState, SourceStatus};

use super::{change, per_second};
use crate::output::{count, size};

#[derive(Default)]
pub(super) struct Lines {
    progress: Progress,
    /// When the last line about progress was written, and how much was verified then.
    told: (Duration, u64),
    sources: BTreeMap<SourceIndex, Account>,
    /// When it was said last what is waited for, and what this machine did then.
    waiting: Option<(Duration, Option<Here>)>,
}

/// The last line about a source.
struct Account {
    now: SourceStatus,
    told: Option<Change>,
    /// When each was told, in the last half minute.
    when: Vec<(Change, Duration)>,
}

/// A state and a blame without their numbers. Another number is no change.
#[derive(Clone, PartialEq, Eq)]
struct Change {
    state: SourceState,
    blame: Option<(Blame, String)>,
}

impl Change {
    fn of(status: &SourceStatus) -> Self {
        let words = |why: &String| why.chars().filter(|character| !character.is_ascii_digit()).collect();
        let blame = status.blame.as_ref().map(|(blame, why)| (*blame, words(why)));
        Self { state: status.state, blame }
    }
}

impl Account {
    /// Whether there is something to tell of the source `at` this time: a change that was not told in the last half
    /// minute. One that comes and goes is told once in that time; how it stands then is told when it is over.
    fn has_news(&mut self, at: Duration) -> bool {
        let mut change = Change::of(&self.now);
        // That it has nothing to do for a moment is no change.
        if change.state == SourceState::Idle
            && change.blame == self.told.as_ref().and_then(|told| told.blame.clone())
        {
            change.state = self.told.as_ref().map_or(SourceState::Idle, |told| told.state);
        }
        self.when.retain(|(_, then)| at.saturating_sub(*then) < NOW_AND_THEN);
        let is_first = self.told.is_none() && change == Change { state: SourceState::Idle, blame: None };
        let is_told =
            self.told.as_ref() == Some(&change) || self.when.iter().any(|(told, _)| *told == change);
        if is_first || is_told {
            return false;
        }
        self.when.push((change.clone(), at));
        self.told = Some(change);
        true
    }
}

impl Lines {
    /// The lines for an event that happened `at` this time after the start; mostly none. `waiting` is that of what is
    /// waited for, if it is that.
    pub(super) fn lines(
        &mut self,
        event: &Event,
        names: &[String],
        waiting: &str,
        at: Duration,
    ) -> Vec<String> {
        let line = match event {
            Event::Wanted { files, bytes, .. } => {
                self.told = (at, self.progress.verified);
                Some(format!("wanted: {}, {}", count(*files, "file"), size(*bytes)))
            }
            Event::Progress(progress) => {
                self.progress = *progress;
                self.now_and_then(at)
            }
            Event::Source(status) => {
                let fresh = || Account { now: status.clone(), told: None, when: Vec::new() };
                self.sources.entry(status.source).or_insert_with(fresh).now = status.clone();
                None
            }
            Event::Waiting(what) => self.waiting(what.here, waiting, at),
            _ => None,
        };
        line.into_iter().chain(self.changes(names, at)).collect()
    }

    /// What is waited for: when that begins, when the last part of the fetch does, and every half minute.
    fn waiting(&mut self, here: Option<Here>, waiting: &str, at: Duration) -> Option<String> {
        let is_last = matches!(here, Some(Here::Naming | Here::Listing));
        let is_told = self.waiting.is_some_and(|(then, before)| {
            at.saturating_sub(then) < NOW_AND_THEN && (!is_last || before == here)
        });
        let progress = self.now_and_then(at);
        if is_told && progress.is_none() {
            return None;
        }
        self.waiting = Some((at, here));
        Some(progress.map_or_else(|| waiting.to_owned(), |progress| format!("{progress}; {waiting}")))
    }

    fn changes(&mut self, names: &[String], at: Duration) -> Vec<String> {
        let of = |(source, account): (&SourceIndex, &mut Account)| {
            let name = names.get(*source)?;
            account.has_news(at).then(|| change(name, &account.now))
        };
        self.sources.iter_mut().filter_map(of).collect()
    }

    /// How far it is, if that is known and was not told for a while.
    fn now_and_then(&mut self, at: Duration) -> Option<String> {
        let (before, verified_before) = self.told;
        let since = at.saturating_sub(before);
        let Progress { verified, wanted, .. } = self.progress;
        if since < NOW_AND_THEN || wanted == 0 {
            return None;
        }
        self.told = (at, verified);
        let rate = per_second(verified.saturating_sub(verified_before), since);
        let left =
            wanted.saturating_sub(verified).checked_div(rate).map(|seconds| format!(", {seconds} s left"));
        Some(format!(
            "verified {} of {}, {}/s{}",
            size(verified),
            size(wanted),
            size(rate),
            left.unwrap_or_default()
        ))
    }
}

/// How long nothing is said again where nobody watches.
const NOW_AND_THEN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
