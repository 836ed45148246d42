//! A progress bar with rate and time left, on a terminal only.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    output::{Output, size},
    signals::{OnSignal, on_signal},
};

/// A bar that shows how much of a model was read.
pub(crate) struct ReadProgress {
    bar: ProgressBar,
    started: Instant,
    /// Removes the bar when a signal ends the run, so that the shell's next line is not behind the bar.
    _undone: OnSignal,
}

impl ReadProgress {
    pub(crate) fn new(output: &Output, what: &'static str) -> Self {
        let bar = if output.is_watched() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(
            "{msg} [{bar:30}] {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
        );
        // Always `Ok`: the template is well-formed.
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        let undone = on_signal({
            let bar = bar.clone();
            move || bar.finish_and_clear()
        });
        Self { bar, started: Instant::now(), _undone: undone }
    }

    pub(crate) fn total(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Prints something while the bar is hidden.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the bar, and prints the rate.
    pub(crate) fn finish(&self, output: &Output, bytes: u64) {
        self.bar.finish_and_clear();
        if output.is_watched() {
            let seconds = self.started.elapsed().as_secs_f64();
            #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = bytes as f64 / (1u64 << 30) as f64 / seconds.max(1e-9);
            output.talk(&format!("read {} in {seconds:.1} s ({rate:.2} GiB/s)", size(bytes)));
        }
    }
}
