//! The view on a terminal: the bar, a line for each source, and a line about waiting.

use std::{collections::VecDeque, time::Duration};

use console::measure_text_width;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use weighbridge_transfer::{Event, SourceState, SourceStatus};

use super::{
    Counts, MAX_NAME, account, per_second, short,
    tty::{Tty, width},
};
use crate::output::{count, size};

pub(super) struct Screen {
    all: MultiProgress,
    bar: ProgressBar,
    /// The rows of the first sources; more would not fit.
    sources: Vec<Row>,
    /// The row about those that have none.
    others: Option<ProgressBar>,
    counts: Counts,
    waiting: Option<ProgressBar>,
    verified: u64,
    pace: Pace,
    /// The width of the terminal for which everything was laid out.
    width: usize,
}

/// A source and its row on the screen.
struct Row {
    line: ProgressBar,
    status: Option<SourceStatus>,
}

impl Screen {
    pub(super) fn new(names: &[String], counts: Counts) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Tty::new()), FRAMES);
        let all = MultiProgress::with_draw_target(target);
        let bar = row(&all);
        bar.set_message("looking for the model");
        let pace = Pace::of(counts);
        let (sources, others) = (Vec::new(), None);
        let mut screen =
            Self { all, bar, sources, others, counts, waiting: None, verified: 0, pace, width: 0 };
        screen.add(names);
        screen
    }

    /// Adds rows for sources that have none yet.
    pub(super) fn add(&mut self, names: &[String]) {
        while self.sources.len() < names.len().min(MAX_SOURCES) {
            let line = self.all.insert(self.sources.len() + 1, ProgressBar::new(0));
            line.set_style(style("{msg}"));
            self.sources.push(Row { line, status: None });
        }
        if names.len() > MAX_SOURCES {
            let others = self.others.get_or_insert_with(|| row(&self.all));
            others.set_message(format!("  and {}", count((names.len() - MAX_SOURCES) as u64, "more source")));
        }
        // The names are as wide as the longest one.
        self.width = 0;
        self.fit(names);
    }

    /// Shows an event that happened `at` this time after the start. For a waiting event, `waiting` is its line.
    pub(super) fn show(&mut self, event: &Event, names: &[String], waiting: &str, at: Duration) {
        self.fit(names);
        match event {
            Event::Wanted { bytes, .. } => {
                self.bar.set_length(*bytes);
                self.bar.set_style(bar_style(self.width, self.counts));
                // Count the rate from here: the time before brought no bytes.
                self.pace = Pace::of(self.counts);
                self.bar.set_message(self.pace.text(at, self.verified, *bytes));
            }
            Event::Progress(progress) if self.bar.length() > Some(0) => {
                self.bar.set_position(progress.verified);
                self.bar.set_message(self.pace.text(at, progress.verified, progress.wanted));
                if progress.verified > self.verified {
                    self.verified = progress.verified;
                    if let Some(line) = self.waiting.take() {
                        line.finish_and_clear();
                        self.all.remove(&line);
                    }
                }
            }
            Event::Source(status) => {
                if let Some(row) = self.sources.get_mut(status.source.number()) {
                    row.status = Some(status.clone());
                    self.lay_out(status.source.number(), names);
                }
            }
            Event::Waiting(_) => {
                let line = self.waiting.get_or_insert_with(|| {
                    let line = self.all.add(ProgressBar::new(0));
                    line.set_style(style("{msg}"));
                    line
                });
                line.set_message(folded(waiting, "  ", self.width));
                // Recompute the rate, which falls while nothing is verified.
                if let Some(wanted) = self.bar.length().filter(|wanted| *wanted > 0) {
                    self.bar.set_message(self.pace.text(at, self.verified, wanted));
                }
            }
            _ => {}
        }
    }

    /// Prints something while the bar and the rows are hidden.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.all.suspend(print);
    }

    pub(super) fn clear(&self) {
        // Finished lines would stay on the screen otherwise.
        let _ = self.all.clear();
    }

    /// Lays everything out again if the width of the terminal has changed.
    fn fit(&mut self, names: &[String]) {
        let now = width();
        if now == self.width {
            return;
        }
        self.width = now;
        if self.bar.length() > Some(0) {
            self.bar.set_style(bar_style(now, self.counts));
        }
        (0..self.sources.len()).for_each(|source| self.lay_out(source, names));
    }

    fn lay_out(&self, source: usize, names: &[String]) {
        let (Some(row), Some(name)) = (self.sources.get(source), names.get(source)) else { return };
        row.line.set_message(source_rows(
            name,
            name_width(names, self.width),
            row.status.as_ref(),
            self.width,
        ));
    }
}

/// A new row at the end.
fn row(all: &MultiProgress) -> ProgressBar {
    let line = all.add(ProgressBar::new(0));
    line.set_style(style("{msg}"));
    line
}

/// The rate of counted bytes over the last seconds.
pub(crate) struct Pace {
    counts: Counts,
    seen: VecDeque<(Duration, u64)>,
}

impl Pace {
    pub(crate) fn of(counts: Counts) -> Self {
        Self { counts, seen: VecDeque::new() }
    }

    /// The rate in bytes per second. `verified` is the number of bytes verified by now.
    fn rate(&mut self, at: Duration, verified: u64) -> u64 {
        self.seen.push_back((at, verified));
        while self.seen.get(1).is_some_and(|(then, _)| at.saturating_sub(*then) >= PACE) {
            self.seen.pop_front();
        }
        let (then, before) = self.seen.front().copied().unwrap_or((at, verified));
        per_second(verified.saturating_sub(before), at.saturating_sub(then))
    }

    /// The rate, and the time that the rest takes at this rate.
    pub(crate) fn text(&mut self, at: Duration, verified: u64, wanted: u64) -> String {
        let rate = self.rate(at, verified);
        if verified >= wanted {
            return format!("all {}", self.counts.word());
        }
        let left = wanted.saturating_sub(verified).checked_div(rate).map(Duration::from_secs);
        let left = left.map(|left| format!(", {:#} left", HumanDuration(left))).unwrap_or_default();
        format!("{}/s{left}", size(rate))
    }
}

/// The time over which the rate is measured.
const PACE: Duration = Duration::from_secs(5);

/// The maximum number of sources that have a row on the screen.
const MAX_SOURCES: usize = 12;

/// The maximum number of frames per second.
pub(crate) const FRAMES: u8 = 20;

/// On a terminal with fewer columns, the rate has a row of its own.
const WIDE: usize = 72;

/// The columns that stay free at the right edge, for the terminal's own output: `^C`, twice.
const MARGIN: usize = 5;

/// A style from a template in this file. All of these are well-formed.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

pub(crate) fn bar_style(width: usize, counts: Counts) -> ProgressStyle {
    let between = if width < WIDE { "\n  " } else { ", " };
    let word = counts.word();
    style(&format!("{word} [{{wide_bar}}] {{bytes}} of {{total_bytes}}{between}{{msg}}"))
        .progress_chars("=> ")
}

/// The width of the name column, chosen so that the state beside a name is never cut.
fn name_width(names: &[String], width: usize) -> usize {
    let longest = names.iter().map(|name| short(name, MAX_NAME).chars().count()).max().unwrap_or(0);
    longest.min(width.saturating_sub(2 + 2 + STATE + MARGIN)).max(1)
}

/// The width of the longest state.
const STATE: usize = 9;

/// The rows of a source. If the text does not fit beside the state, the whole text is beneath.
pub(super) fn source_rows(
    name: &str,
    name_width: usize,
    status: Option<&SourceStatus>,
    width: usize,
) -> String {
    let name = short(name, name_width);
    let Some(status) = status else { return format!("  {name}") };
    let given = (status.verified > 0).then(|| size(status.verified));
    let is_active = status.state == SourceState::Active && status.rate > 0;
    let rate = is_active.then(|| format!("{}/s", size(status.rate)));
    let account: Vec<String> = given.into_iter().chain(rate).chain(account(status)).collect();
    let account = account.join("; ");
    let beside = format!("  {name:name_width$}  {:<STATE$}  {account}", status.state.word());
    let beside = beside.trim_end();
    if account.is_empty() || measure_text_width(beside) + MARGIN <= width {
        return beside.to_owned();
    }
    let head = format!("  {name:name_width$}  {}", status.state.word());
    format!("{head}\n{}", folded(&account, "    ", width))
}

/// Breaks a text into indented rows that fit, between words where possible.
pub(crate) fn folded(text: &str, indent: &str, width: usize) -> String {
    let room = width.saturating_sub(indent.len() + MARGIN).max(1);
    let mut rows: Vec<String> = Vec::new();
    for word in text.split(' ') {
        if let Some(row) = rows.last_mut()
            && measure_text_width(row) + 1 + measure_text_width(word) <= room
        {
            *row = format!("{row} {word}");
            continue;
        }
        let mut row = String::new();
        for character in word.chars() {
            let longer = format!("{row}{character}");
            if measure_text_width(&longer) > room && !row.is_empty() {
                rows.push(std::mem::take(&mut row));
                row.push(character);
            } else {
                row = longer;
            }
        }
        rows.push(row);
    }
    rows.iter().map(|row| format!("{indent}{row}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
