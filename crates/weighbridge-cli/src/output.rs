//! Output of the command: results to standard output, messages to standard error.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use weighbridge_manifest::{is_unseen, shown, shown_line};
use weighbridge_tree::ErrorCode;

use crate::{
    events::{Event, common},
    failure::Failure,
};

/// Prints results. A closed pipe ends the printing, not the run: the exit status still tells the result.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    /// The caller that is told everything, in place of the streams of the process.
    caller: Option<Tell>,
    /// The error by which results were lost, unless the reader went away.
    lost: Mutex<Option<io::Error>>,
}

/// Is told a line.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, quiet: false, caller: None, lost: Mutex::new(None) }
    }

    /// Tells objects to a caller, and prints nothing.
    pub(crate) fn telling(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { caller: Some(Box::new(tell)), ..Self::new(true) }
    }

    /// Whether the command runs inside another program, to which streams, signals and the terminal belong.
    pub(crate) fn is_embedded(&self) -> bool {
        self.caller.is_some()
    }

    /// Prints nothing but errors on standard error. Results stay the same.
    pub(crate) fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// Whether a person is watching the progress.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Whether a list of this many lines is cut: on a terminal, if the list is longer than [`LONG`].
    pub(crate) fn cuts(&self, lines: u64) -> bool {
        lines > LONG && !self.json && io::stdout().is_terminal()
    }

    /// Whether the output is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: `text` for people, or `event` for programs. An empty text is not printed.
    pub(crate) fn result<E: Event>(&self, text: &str, event: impl FnOnce() -> E) {
        if self.json {
            self.object(&event());
        } else if !text.is_empty() {
            self.line(text);
        }
    }

    /// Prints a result for people, of one or several lines, without the last line end.
    pub(crate) fn line(&self, text: &str) {
        self.raw(&format!("{}\n", fit_for_terminals(text)));
    }

    /// Prints an object for programs, also if the output is for people.
    pub(crate) fn object(&self, event: &(impl Event + ?Sized)) {
        self.raw(&json_line(&event.object()));
    }

    /// Prints exactly this text, for people and for programs.
    pub(crate) fn raw(&self, text: &str) {
        if let Some(tell) = &self.caller {
            return tell(text);
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            _ => {}
        }
    }

    /// Ends a successful run. The run fails only if its results could not be written.
    pub(crate) fn end(&self) -> u8 {
        match self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => {
                self.fail(&Failure::new(ErrorCode::IO, format!("cannot write to standard output: {error}")))
            }
            None => 0,
        }
    }

    /// Prints a message that is not a result.
    pub(crate) fn talk(&self, text: &str) {
        self.event(text, || common::Note { message: text });
    }

    /// Prints a message, or an object of its own for programs.
    pub(crate) fn event<E: Event>(&self, text: &str, event: impl FnOnce() -> E) {
        if self.json {
            self.object(&event());
        } else if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "weighbridge: {}", fit_for_terminals(text));
        }
    }

    /// Prints the reason why a run failed, and returns its exit status.
    pub(crate) fn fail(&self, failure: &Failure) -> u8 {
        let Failure { code, message, hints, .. } = failure;
        if self.json {
            self.object(&common::Error { code: (*code).into(), message, hints });
        }
        if self.is_embedded() {
            return failure.status();
        }
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "weighbridge: error: {} [W{code}]", fit_for_terminals(message));
        for hint in hints {
            let _ = writeln!(stderr, "weighbridge: hint: {}", fit_for_terminals(hint));
        }
        failure.status()
    }
}

/// The number of lines of a list that fit on a terminal.
const LONG: u64 = 40;

/// A list of results. A long list is cut on a terminal; programs and pipes get all lines.
///
/// A cut list has no lines of good things, and the first [`LONG`] lines of each other kind. The remaining lines are
/// counted.
pub(crate) struct List<'a> {
    output: &'a Output,
    /// The word for one thing of the list.
    thing: &'static str,
    is_cut: bool,
    /// The number of lines of each kind that were printed, and the number of those that were left out.
    lines: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl<'a> List<'a> {
    /// A list of `length` things. The length decides whether the list is cut.
    pub(crate) fn new(output: &'a Output, length: usize, thing: &'static str) -> Self {
        Self { output, thing, is_cut: output.cuts(length as u64), lines: Mutex::default() }
    }

    /// Adds a line about something that is as it should be.
    pub(crate) fn good<E: Event>(&self, kind: &'static str, text: &str, event: impl FnOnce() -> E) {
        self.add(kind, 0, text, event);
    }

    /// Adds a line about something that people have to see. `kind` is the first word of the line.
    pub(crate) fn line<E: Event>(&self, kind: &'static str, text: &str, event: impl FnOnce() -> E) {
        self.add(kind, LONG, text, event);
    }

    fn add<E: Event>(&self, kind: &'static str, most: u64, text: &str, event: impl FnOnce() -> E) {
        if self.is_cut {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let (printed, left_out) = lines.entry(kind).or_default();
            if *printed >= most {
                *left_out += 1;
                return;
            }
            *printed += 1;
        }
        self.output.result(text, event);
    }

    /// Prints how many lines were left out.
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

/// The names of keys in one line, made safe to print.
pub(crate) fn shown_names(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| shown(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Makes lines safe for a terminal. Names are [`shown`] where a line is made. Text from elsewhere, such as the argument
/// parser's, may still hold characters that steer a terminal.
fn fit_for_terminals(lines: &str) -> String {
    lines.split('\n').map(shown_line).collect::<Vec<_>>().join("\n")
}

/// A line of JSON whose strings hold no unseen characters, because people may read it too.
fn json_line(value: &Value) -> String {
    let mut line = String::new();
    let mut units = [0; 2];
    for c in value.to_string().chars() {
        if is_unseen(c) {
            // Unseen characters only occur within strings: `Value` puts none between the tokens.
            line.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}
