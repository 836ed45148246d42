//! The view of a fetch for people: on a terminal a bar of verified bytes and a line for each source, elsewhere plain
//! lines.

use std::{
    collections::BTreeSet,
    ops::Range,
    time::{Duration, Instant},
};

use weighbridge_manifest::{shown, shown_line};
use weighbridge_transfer::{Blame, Event, FetchProgress, Here, SourceId, SourceState, SourceStatus, Waiting};
use weighbridge_tree::ChunkSize;

use crate::output::{Output, count, size};

mod lines;
pub(crate) mod screen;
pub(crate) mod tty;

use lines::Lines;
use screen::Screen;

/// Shows a fetch to a person.
pub(crate) struct View {
    names: Vec<String>,
    counts: Counts,
    form: Form,
    started: Instant,
    /// Whether each file has a line. On a terminal, the files of a long list are only counted.
    each_file: bool,
    chunk_size: Option<ChunkSize>,
    /// The sources whose reason was printed.
    set_aside: BTreeSet<SourceId>,
    named: Named,
}

/// The number of files that have their final names, and the number of those that are to have one.
#[derive(Clone, Copy, Default)]
struct Named {
    files: u64,
    of: u64,
}

/// What the figure of the bar counts.
#[derive(Clone, Copy)]
pub(crate) enum Counts {
    /// Bytes of accepted chunks.
    Verified,
    /// Bytes that were hashed: whether they are the right ones is known when a file has ended.
    Hashed,
}

impl Counts {
    fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Hashed => "hashed",
        }
    }
}

enum Form {
    Screen(Screen),
    Lines(Lines),
}

impl View {
    /// `names` are the names of the sources; `counts` is what the bar counts.
    pub(crate) fn new(output: &Output, names: &[String], counts: Counts) -> Self {
        let form = if output.is_watched() {
            Form::Screen(Screen::new(names, counts))
        } else {
            Form::Lines(Lines::new(counts))
        };
        Self {
            names: names.to_vec(),
            counts,
            form,
            started: Instant::now(),
            each_file: true,
            chunk_size: None,
            set_aside: BTreeSet::new(),
            named: Named::default(),
        }
    }

    /// Takes in the names of sources that have joined.
    pub(crate) fn rename(&mut self, names: &[String]) {
        names.clone_into(&mut self.names);
        if let Form::Screen(screen) = &mut self.form {
            screen.add(names);
        }
    }

    pub(crate) fn show(&mut self, event: &Event, output: &Output) {
        match event {
            Event::Head(head) => self.chunk_size = Some(head.head().chunk_size),
            Event::Wanted { files, .. } => self.each_file = !output.cuts(*files),
            Event::Naming { files } => self.named.of = *files,
            Event::File { .. } | Event::Extra { .. } => {
                self.named.files += u64::from(matches!(event, Event::File { .. }));
                if !self.each_file && matches!(event, Event::File { .. }) {
                    return;
                }
                let text = result(event, self.chunk_size);
                self.aside(|| output.line(&text));
            }
            // The screen may be too narrow for the reason, so it gets a line of its own.
            Event::Source(status) if status.state == SourceState::SetAside && output.is_watched() => {
                if let Some(name) = self.names.get(status.source.number())
                    && self.set_aside.insert(status.source)
                {
                    self.aside(|| output.talk(&change(name, status)));
                }
            }
            _ => {}
        }
        let waiting = match event {
            Event::Waiting(waiting) => waiting_line(waiting, &self.names, self.named, self.counts),
            _ => String::new(),
        };
        let at = self.started.elapsed();
        match &mut self.form {
            Form::Screen(screen) => screen.show(event, &self.names, &waiting, at),
            Form::Lines(lines) => {
                lines.lines(event, &self.names, &waiting, at).iter().for_each(|line| output.talk(line));
            }
        }
    }

    /// Prints something while the bar is hidden.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        match &self.form {
            Form::Screen(screen) => screen.aside(print),
            Form::Lines(_) => print(),
        }
    }

    /// Clears the screen, and prints the rate of the fetch.
    pub(crate) fn finish(&self, output: &Output, progress: &FetchProgress) {
        let Form::Screen(screen) = &self.form else { return };
        screen.clear();
        let elapsed = self.started.elapsed();
        if progress.received > 0 {
            let (received, rate) = (size(progress.received), size(per_second(progress.received, elapsed)));
            output.talk(&format!("received {received} in {:.1} s ({rate}/s)", elapsed.as_secs_f64()));
        }
    }
}

/// The line of a verified or extra file.
fn result(event: &Event, chunk_size: Option<ChunkSize>) -> String {
    match event {
        Event::File { path, size: bytes } => {
            let path = shown(path.as_str());
            let chunks =
                chunk_size.map(|unit| count(bytes.div_ceil(unit.bytes()), "chunk")).unwrap_or_default();
            format!("ok       {path:PATH_WIDTH$}  {chunks:>12}  {}", size(*bytes))
        }
        Event::Extra { path, removed: true, .. } => format!("removed  {}", shown(path)),
        Event::Extra { path, removed: false, fault: None } => {
            format!("extra    {}  not listed, not part of the model", shown(path))
        }
        Event::Extra { path, removed: false, fault: Some(fault) } => {
            format!("extra    {}  {} [W{}]", shown(path), fault.message, fault.code)
        }
        _ => String::new(),
    }
}

/// The width of the path column. It is fixed, because lines are printed before all paths are known.
pub(crate) const PATH_WIDTH: usize = 40;

/// The parts of a source's line behind its state and its bytes.
fn account(status: &SourceStatus) -> impl Iterator<Item = String> {
    let again = status.again_in.filter(|_| status.state == SourceState::Waiting);
    let again = again.map(|time| format!("again in {} s", time.as_secs_f64().ceil()));
    again.into_iter().chain(status.blame.as_ref().map(blamed))
}

/// The blame of a source with the reason, which may quote the source.
pub(crate) fn blamed((blame, why): &(Blame, String)) -> String {
    format!("{blame}: {}", shown_line(why))
}

/// The line for a bar that stands still: the file and the source it waits for, or this machine's work, and since when.
fn waiting_line(waiting: &Waiting, names: &[String], named: Named, counts: Counts) -> String {
    let Waiting { for_what, chunks, from, again_in, here, since } = waiting;
    let what = match chunks {
        Some(run) if !run.is_empty() => format!("{} of {}", chunks_of(run), shown(for_what)),
        _ => shown(for_what),
    };
    let seconds = since.as_secs();
    let none = format!("nothing {} for {seconds} s", counts.word());
    // While files are named, all bytes are verified.
    let all = format!("all {} {seconds} s ago", counts.word());
    let name = from.and_then(|from| names.get(from.number())).map(|name| short(name, MAX_NAME));
    match (here, name) {
        (Some(Here::Reading), _) => format!("{none}: reading {what}, which was on disk before"),
        (Some(Here::Writing), _) => format!("{none}: writing {what}"),
        (Some(Here::Syncing), _) => format!("{none}: syncing {what}"),
        (Some(Here::Naming), _) if named.files < named.of => {
            format!("{all}; naming {what}, {} of {}", named.files + 1, count(named.of, "file"))
        }
        (Some(Here::Naming), _) => format!("{all}; naming {what}"),
        (Some(Here::Listing), _) => format!("{all}; looking for files that are not listed"),
        (None, Some(name)) => {
            let again = again_in.map(|time| format!(", tried again in {} s", time.as_secs_f64().ceil()));
            format!("{none}: waiting for {what} from {name}{}", again.unwrap_or_default())
        }
        _ => none,
    }
}

fn chunks_of(run: &Range<u64>) -> String {
    let last = run.end.saturating_sub(1);
    if run.start == last { format!("chunk {last}") } else { format!("chunks {} to {last}", run.start) }
}

/// Shortens a name to at most `most` characters, and keeps both ends: the end of an address tells more than its middle.
pub(crate) fn short(name: &str, most: usize) -> String {
    let name = shown(name);
    let characters = name.chars().count();
    if characters <= most {
        return name;
    }
    let tail = most / 2;
    let head = most.saturating_sub(tail + 1);
    name.chars().take(head).chain(['…']).chain(name.chars().skip(characters - tail)).collect()
}

/// The maximum number of characters of a source's name that are shown.
pub(crate) const MAX_NAME: usize = 32;

/// The line about a changed source. It is not cut, and may be longer than a row of the screen.
fn change(name: &str, status: &SourceStatus) -> String {
    let account: String = account(status).map(|what| format!("; {what}")).collect();
    format!("source {}: {}{account}", shown(name), status.state.word())
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1_000 / milliseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
