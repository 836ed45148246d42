//! The view of a push for people: on a terminal a bar for each target of what that target has verified, elsewhere plain lines.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use weighbridge_manifest::{shown, shown_line};
use weighbridge_transfer::{PushEvent, PushProgress, PushReason, PushWaiting};

use crate::{
    fetch_view::{
        Counts, MAX_NAME,
        screen::{FRAMES, Pace, bar_style, folded, style},
        short,
        tty::{Tty, width},
    },
    output::{Output, size},
};

/// Shows a push to a person.
pub(crate) struct View {
    started: Instant,
    targets: Vec<Target>,
    /// The screen; `None` without a terminal.
    all: Option<MultiProgress>,
}

/// A target, and its rows on the screen.
struct Target {
    name: String,
    rows: Option<Rows>,
    progress: PushProgress,
    pace: Pace,
    /// When a line told the progress last, and the reason that a line told last.
    told: Duration,
    told_reason: Option<(PushReason, Duration)>,
}

struct Rows {
    bar: ProgressBar,
    account: ProgressBar,
    waiting: ProgressBar,
}

/// The time between two lines about progress where there is no terminal.
const NOW_AND_THEN: Duration = Duration::from_secs(30);

impl View {
    pub(crate) fn new(output: &Output, names: &[String]) -> Self {
        let all = output.is_watched().then(|| {
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
                Box::new(Tty::new()),
                FRAMES,
            ))
        });
        let target = |name: &String| {
            let row = |all: &MultiProgress| {
                let line = all.add(ProgressBar::new(0));
                line.set_style(style("{msg}"));
                line
            };
            let rows = all.as_ref().map(|all| {
                let rows = Rows { bar: row(all), account: row(all), waiting: row(all) };
                rows.bar.set_message(format!("asking {}", short(name, MAX_NAME)));
                rows
            });
            Target {
                name: name.clone(),
                rows,
                progress: PushProgress::default(),
                pace: Pace::of(Counts::Verified),
                told: Duration::ZERO,
                told_reason: None,
            }
        };
        Self { started: Instant::now(), targets: names.iter().map(target).collect(), all }
    }

    pub(crate) fn show(&mut self, event: &PushEvent, output: &Output) {
        let at = self.started.elapsed();
        let number = match event {
            PushEvent::Progress(target, _)
            | PushEvent::Waiting(target, _)
            | PushEvent::Done(target, _)
            | PushEvent::Failed(target, _) => *target,
            _ => return,
        };
        let Some(target) = self.targets.get_mut(number) else { return };
        match event {
            PushEvent::Progress(_, progress) => target.progress(*progress, at, output),
            PushEvent::Waiting(_, waiting) => target.waiting(waiting, at, output),
            _ => target.end(),
        }
    }

    /// Prints something while the bars are hidden.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        match &self.all {
            Some(all) => all.suspend(print),
            None => print(),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(all) = &self.all {
            // Finished lines would stay on the screen otherwise.
            let _ = all.clear();
        }
    }
}

impl Target {
    fn progress(&mut self, progress: PushProgress, at: Duration, output: &Output) {
        let has_moved =
            progress.verified > self.progress.verified || progress.durable > self.progress.durable;
        let PushProgress { sent, verified, durable, wanted } = progress;
        self.progress = progress;
        let Some(rows) = &self.rows else {
            // A slow line stands still again and again: that is told now and then.
            if has_moved
                && self.told_reason.as_ref().is_some_and(|(_, when)| at.saturating_sub(*when) >= NOW_AND_THEN)
            {
                self.told_reason = None;
            }
            if at.saturating_sub(self.told) >= NOW_AND_THEN {
                self.told = at;
                output.talk(&self.line());
            }
            return;
        };
        if rows.bar.length() != Some(wanted) {
            rows.bar.set_length(wanted);
            rows.bar.set_style(bar_style(width(), Counts::Verified));
            // The rate leaves out the bytes that were there before.
            self.pace = Pace::of(Counts::Verified);
        }
        rows.bar.set_position(verified);
        rows.bar.set_message(self.pace.text(at, verified, wanted));
        rows.account.set_message(format!(
            "  {}  sent {}, on its disk {}",
            short(&self.name, MAX_NAME),
            size(sent),
            size(durable)
        ));
        if has_moved {
            rows.waiting.set_message("");
        }
    }

    fn line(&self) -> String {
        let PushProgress { sent, verified, durable, wanted } = self.progress;
        format!(
            "{} has verified {} of {}; sent {}, on its disk {}",
            shown(&self.name),
            size(verified),
            size(wanted),
            size(sent),
            size(durable)
        )
    }

    fn waiting(&mut self, waiting: &PushWaiting, at: Duration, output: &Output) {
        let text = waiting_line(waiting, &short(&self.name, MAX_NAME));
        let Some(rows) = &self.rows else {
            // Another number is no other reason.
            let is_same = |(told, when): &(PushReason, Duration)| {
                let is_new = std::mem::discriminant(told) != std::mem::discriminant(&waiting.reason);
                // A target that says nothing at all is news; otherwise one line in half a minute will do.
                let is_news =
                    is_new && matches!(waiting.reason, PushReason::Silent(_) | PushReason::Again(..));
                !is_news && at.saturating_sub(*when) < NOW_AND_THEN
            };
            if !self.told_reason.as_ref().is_some_and(is_same) {
                self.told_reason = Some((waiting.reason.clone(), at));
                output.talk(&text);
            }
            return;
        };
        rows.waiting.set_message(folded(&text, "  ", width()));
        // The rate falls while nothing is verified.
        if self.progress.wanted > 0 {
            rows.bar.set_message(self.pace.text(at, self.progress.verified, self.progress.wanted));
        }
    }

    fn end(&mut self) {
        if let Some(rows) = self.rows.take() {
            for row in [rows.bar, rows.account, rows.waiting] {
                row.finish_and_clear();
            }
        }
    }
}

/// The line for a bar that stands still: what is waited for, from whom, since when.
fn waiting_line(waiting: &PushWaiting, name: &str) -> String {
    let PushWaiting { reason, path, since } = waiting;
    let none = format!("nothing verified for {} s", since.as_secs());
    let path = path.as_deref().map(shown);
    let of = path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
    match reason {
        PushReason::Silent(time) => {
            let about = path.map(|path| format!("; {path} is on its way")).unwrap_or_default();
            format!("{none}: waiting for {name}, which has said nothing for {} s{about}", time.as_secs())
        }
        PushReason::Working(work) => format!("{none}: {name} is {}{of}", shown(work)),
        PushReason::Again(why, time) => {
            let seconds = time.as_secs_f64().ceil();
            format!("{none}: {name} {}; tried again in {seconds} s", shown_line(why))
        }
        PushReason::Reading => format!("{none}: this machine is reading{of}"),
        _ if path.is_none() => format!("{none}: waiting for {name}"),
        _ => format!("{none}:{of} is on its way to {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_stands_still_says_what_it_waits_for_from_whom_and_since_when() {
        let line = |reason, path: Option<&str>| {
            let since = Duration::from_millis(2_400);
            waiting_line(&PushWaiting { reason, path: path.map(str::to_owned), since }, "http://node")
        };
        let seconds = Duration::from_secs;
        for (reason, path, told) in [
            (
                PushReason::Silent(seconds(2)),
                Some("a.bin"),
                "nothing verified for 2 s: waiting for http://node, which has said nothing for 2 s; a.bin is on its way",
            ),
            (
                PushReason::Working("syncing".to_owned()),
                Some("a\u{1b}.bin"),
                "nothing verified for 2 s: http://node is syncing a\\u{1b}.bin",
            ),
            (PushReason::Sending, None, "nothing verified for 2 s: waiting for http://node"),
            (
                PushReason::Again("cannot be connected to".to_owned(), seconds(4)),
                None,
                "nothing verified for 2 s: http://node cannot be connected to; tried again in 4 s",
            ),
        ] {
            assert_eq!(line(reason, path), told);
        }
    }
}
