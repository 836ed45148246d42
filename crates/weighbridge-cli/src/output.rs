//! Where words go: results to standard output, talk to standard error.

use std::{
    collections::BTreeMap,
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
    quiet: bool,
    /// Why results were lost, other than by a reader that went away.
    lost: Mutex<Option<io::Error>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, quiet: false, lost: Mutex::new(None) }
    }

    /// With nothing but errors on standard error; results are the same.
    pub(crate) fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// Whether a person is watching how far it is.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Whether a list of results with this many lines is cut: on a terminal, if it is longer than [`LONG`].
    pub(crate) fn cuts(&self, lines: u64) -> bool {
        lines > LONG && !self.json && io::stdout().is_terminal()
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
        } else if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "weighbridge: {}", fit_for_terminals(text));
        }
    }

    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let Failure { code, message, hints, .. } = failure;
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

/// How many lines of a list fit on a terminal.
const LONG: u64 = 40;

/// A list of results. A long one is cut on a terminal, and whole for programs and in pipes.
///
/// Cut means: of what is as it should be no line is printed, of everything else the first [`LONG`] of each kind; the
/// others are counted.
pub(crate) struct List<'a> {
    output: &'a Output,
    /// What it is a list of.
    thing: &'static str,
    is_cut: bool,
    /// How many lines of each kind were printed, and how many left out.
    lines: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl<'a> List<'a> {
    /// Of this many things, if all of them have a line.
    pub(crate) fn new(output: &'a Output, length: usize, thing: &'static str) -> Self {
        Self { output, thing, is_cut: output.cuts(length as u64), lines: Mutex::default() }
    }

    /// A line of something that is as it should be.
    pub(crate) fn good(&self, kind: &'static str, text: &str, value: impl FnOnce() -> Value) {
        self.add(kind, 0, text, value);
    }

    /// A line of something that has to be seen. `kind` is its first word.
    pub(crate) fn line(&self, kind: &'static str, text: &str, value: impl FnOnce() -> Value) {
        self.add(kind, LONG, text, value);
    }

    fn add(&self, kind: &'static str, most: u64, text: &str, value: impl FnOnce() -> Value) {
        if self.is_cut {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let (printed, left_out) = lines.entry(kind).or_default();
            if *printed >= most {
                *left_out += 1;
                return;
            }
            *printed += 1;
        }
        self.output.result(text, value);
    }

    /// Says how many lines were left out.
    pub(crate) fn end(self) {
        for (kind, (printed, left_out)) in self.lines.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let more = if printed > 0 { "more " } else { "" };
            if left_out > 0 {
                let text = format!("{kind:<8} {}", count(left_out, &format!("{more}{}", self.thing)));
                self.output.raw(&format!("{text}, each with a line in a pipe and with --json\n"));
            }
        }
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
