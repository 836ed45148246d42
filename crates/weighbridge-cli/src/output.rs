//! Where words go: results to standard output, talk to standard error.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::failure::Failure;

/// How results are printed. A reader that goes away ends the printing, not the run: the exit status still tells.
pub(crate) struct Output {
    json: bool,
    /// Why results were lost, other than by a reader that went away.
    lost: Mutex<Option<io::Error>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, lost: Mutex::new(None) }
    }

    /// Whether a person is watching.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Whether programs are to read what is printed.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A result: `text` for people, or `value` for programs. An empty text is not printed.
    pub(crate) fn result(&self, text: &str, value: impl FnOnce() -> Value) {
        if self.json {
            self.raw(&format!("{}\n", value()));
        } else if !text.is_empty() {
            self.raw(&format!("{text}\n"));
        }
    }

    /// Exactly this, whatever the form.
    pub(crate) fn raw(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            _ => {}
        }
    }

    /// How a run ends that did what it should: with a failure only if nobody could be told.
    pub(crate) fn end(&self) -> ExitCode {
        match self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => {
                self.fail(&Failure::new(9002, format!("cannot write to standard output: {error}")))
            }
            None => ExitCode::SUCCESS,
        }
    }

    /// Something to know that is not a result.
    pub(crate) fn talk(&self, text: &str) {
        if self.json {
            self.raw(&format!("{}\n", serde_json::json!({ "event": "note", "message": text })));
        } else {
            let _ = writeln!(io::stderr().lock(), "weighbridge: {text}");
        }
    }

    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let Failure { code, message, hints } = failure;
        if self.json {
            let value =
                serde_json::json!({ "event": "error", "code": code, "message": message, "hints": hints });
            self.raw(&format!("{value}\n"));
        }
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "weighbridge: error: {message} [W{code}]");
        for hint in hints {
            let _ = writeln!(stderr, "weighbridge: hint: {hint}");
        }
        failure.exit()
    }
}

/// A size for people, in binary units.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A number of things for people: `1 chunk`, `2 chunks`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A text that came from elsewhere, so that it cannot steer a terminal or pass for other text.
pub(crate) fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}
