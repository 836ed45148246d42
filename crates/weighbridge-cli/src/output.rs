//! Where words go: results to standard output, talk to standard error.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};
use weighbridge_formats::UnknownDtype;
use weighbridge_manifest::{is_unseen, shown, shown_line};

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
            self.raw(&json_line(&value()));
        } else if !text.is_empty() {
            self.line(text);
        }
    }

    /// A result for people: one line or several, without the last line's end.
    pub(crate) fn line(&self, text: &str) {
        self.raw(&format!("{}\n", fit_for_terminals(text)));
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
        self.event(text, || serde_json::json!({ "event": "note", "message": text }));
    }

    /// The same, with an object of its own for programs.
    pub(crate) fn event(&self, text: &str, value: impl FnOnce() -> Value) {
        if self.json {
            self.raw(&json_line(&value()));
        } else {
            let _ = writeln!(io::stderr().lock(), "weighbridge: {}", fit_for_terminals(text));
        }
    }

    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let Failure { code, message, hints } = failure;
        if self.json {
            let value =
                serde_json::json!({ "event": "error", "code": code, "message": message, "hints": hints });
            self.raw(&json_line(&value));
        }
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "weighbridge: error: {} [W{code}]", fit_for_terminals(message));
        for hint in hints {
            let _ = writeln!(stderr, "weighbridge: hint: {}", fit_for_terminals(hint));
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

/// Names of keys in one line, as people may see them.
pub(crate) fn shown_names(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| shown(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A dtype that is not known, for programs.
pub(crate) fn unknown_dtype(dtype: &UnknownDtype) -> Value {
    json!({ "code": dtype.error_code(), "tensor": dtype.tensor().as_str(), "dtype": dtype.dtype() })
}

/// Lines of ours, whatever is in them. Names are [`shown`] where a line is made; where
/// somebody else made it, as the parser of arguments does, this still keeps it from steering a terminal.
fn fit_for_terminals(lines: &str) -> String {
    lines.split('\n').map(shown_line).collect::<Vec<_>>().join("\n")
}

/// A line of JSON whose strings hold nothing unseen: a person may read it, too.
fn json_line(value: &Value) -> String {
    let mut line = String::new();
    let mut units = [0; 2];
    for c in value.to_string().chars() {
        if is_unseen(c) {
            // Within a string, since nothing of the kind stands between JSON's tokens here.
            line.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}
