//! The view without a terminal: a line for each change of a source, and a regular line about the progress.

use std::{collections::BTreeMap, time::Duration};

use weighbridge_transfer::{Blame, Event, FetchProgress, Here, SourceId, SourceState, SourceStatus};

use super::{Counts, change, per_second};
use crate::output::{count, size};

pub(super) struct Lines {
    counts: Counts,
    progress: FetchProgress,
    /// The time of the last line about progress, and the number of bytes verified at that time.
    told: (Duration, u64),
    sources: BTreeMap<SourceId, Account>,
    /// The time of the last line about waiting, and this machine's work at that time.
    waiting: Option<(Duration, Option<Here>)>,
}

/// The state of a source, and the lines printed about it.
struct Account {
    now: SourceStatus,
    told: Option<Change>,
    /// The lines of the last half minute, with their times.
    when: Vec<(Change, Duration)>,
}

/// A state and a blame without their numbers, so that another number is no change.
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
    /// Whether a line about the source is due `at` this time. If so, the line counts as printed.
    ///
    /// A line is due if the source has changed, and had no line about the same change in the last half minute. A change
    /// that comes and goes has one line in that time. After that time, a state other than the last printed one has a
    /// line too.
    fn take_news(&mut self, at: Duration) -> bool {
        let mut change = Change::of(&self.now);
        // A short pause without work is no change.
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
    pub(super) fn new(counts: Counts) -> Self {
        let (told, progress) = ((Duration::ZERO, 0), FetchProgress::default());
        Self { counts, progress, told, sources: BTreeMap::new(), waiting: None }
    }

    /// The lines for an event that happened `at` this time after the start; mostly none. For a waiting event, `waiting`
    /// is its line.
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

    /// The line about waiting: at its beginning, at each step of the last part of a fetch, and every half minute.
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
        let of = |(source, account): (&SourceId, &mut Account)| {
            let name = names.get(source.number())?;
            account.take_news(at).then(|| change(name, &account.now))
        };
        self.sources.iter_mut().filter_map(of).collect()
    }

    /// The line about the progress, if the size is known and the last line is old enough.
    fn now_and_then(&mut self, at: Duration) -> Option<String> {
        let (before, verified_before) = self.told;
        let since = at.saturating_sub(before);
        let FetchProgress { verified, wanted, .. } = self.progress;
        if since < NOW_AND_THEN || wanted == 0 {
            return None;
        }
        self.told = (at, verified);
        let rate = per_second(verified.saturating_sub(verified_before), since);
        let left =
            wanted.saturating_sub(verified).checked_div(rate).map(|seconds| format!(", {seconds} s left"));
        Some(format!(
            "{} {} of {}, {}/s{}",
            self.counts.word(),
            size(verified),
            size(wanted),
            size(rate),
            left.unwrap_or_default()
        ))
    }
}

/// The time between two lines about the same thing.
const NOW_AND_THEN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
