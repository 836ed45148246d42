//! What a person sees of a fetch: on a terminal a bar of verified bytes and a line for each source, elsewhere plain lines.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use weighbridge_manifest::{shown, shown_line};
use weighbridge_transfer::{Blame, Event, Progress, SourceIndex, SourceState, SourceStatus, Waiting};
use weighbridge_tree::ChunkSize;

use crate::output::{Output, count, size};

/// Shows a fetch to a person.
pub(crate) struct View {
    names: Vec<String>,
    form: Form,
    started: Instant,
    /// Whether each file is told of: of many, a terminal gets the number.
    each_file: bool,
    chunk_size: Option<ChunkSize>,
    /// Sources of which the reason was told.
    set_aside: BTreeSet<SourceIndex>,
}

enum Form {
    Screen(Screen),
    Lines(Lines),
}

impl View {
    /// `names` are those of the sources.
    pub(crate) fn new(output: &Output, names: &[String]) -> Self {
        let form = if output.is_watched() {
            Form::Screen(Screen::new(names))
        } else {
            Form::Lines(Lines::default())
        };
        Self {
            names: names.to_vec(),
            form,
            started: Instant::now(),
            each_file: true,
            chunk_size: None,
            set_aside: BTreeSet::new(),
        }
    }

    pub(crate) fn show(&mut self, event: &Event, output: &Output) {
        match event {
            Event::Head(head) => self.chunk_size = Some(head.head().chunk_size),
            Event::Wanted { files, .. } => self.each_file = !output.cuts(*files),
            Event::File { .. } if !self.each_file => {}
            Event::File { .. } | Event::Extra { .. } => {
                let text = result(event, self.chunk_size);
                self.aside(|| output.line(&text));
            }
            // The screen may be too narrow for the reason.
            Event::Source(status) if status.state == SourceState::SetAside && output.is_watched() => {
                if let Some(name) = self.names.get(status.source)
                    && self.set_aside.insert(status.source)
                {
                    self.aside(|| output.talk(&change(name, status)));
                }
            }
            _ => {}
        }
        match &mut self.form {
            Form::Screen(screen) => screen.show(event, &self.names, self.started.elapsed()),
            Form::Lines(lines) => {
                if let Some(line) = lines.line(event, &self.names, self.started.elapsed()) {
                    output.talk(&line);
                }
            }
        }
    }

    /// Does something that prints, with the bar out of the way.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        match &self.form {
            Form::Screen(screen) => screen.all.suspend(print),
            Form::Lines(_) => print(),
        }
    }

    /// Takes everything off the screen, and says how fast it went.
    pub(crate) fn finish(&self, output: &Output, progress: &Progress) {
        let Form::Screen(screen) = &self.form else { return };
        screen.clear();
        let elapsed = self.started.elapsed();
        if progress.received > 0 {
            let (received, rate) = (size(progress.received), size(per_second(progress.received, elapsed)));
            output.talk(&format!("received {received} in {:.1} s ({rate}/s)", elapsed.as_secs_f64()));
        }
    }
}

/// The line of a result.
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

/// How wide the column of paths is: they are printed before all are known.
const PATH_WIDTH: usize = 40;

/// A terminal: the bar, a line for each source, and what is waited for.
struct Screen {
    all: MultiProgress,
    bar: ProgressBar,
    /// Of the first sources; more would not fit.
    sources: Vec<ProgressBar>,
    waiting: Option<ProgressBar>,
    verified: u64,
    pace: Pace,
    name_width: usize,
}

impl Screen {
    fn new(names: &[String]) -> Self {
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(0));
        bar.set_style(style("{msg}"));
        bar.set_message("looking for the model");
        let name_width = names.iter().map(|name| short(name).chars().count()).max().unwrap_or(0);
        let lines = names.iter().take(MAX_SOURCES).map(|name| {
            let line = all.add(ProgressBar::new(0));
            line.set_style(style("{wide_msg}"));
            line.set_message(format!("  {}", short(name)));
            line
        });
        let sources = lines.collect();
        if names.len() > MAX_SOURCES {
            let line = all.add(ProgressBar::new(0));
            line.set_style(style("{wide_msg}"));
            line.set_message(format!("  and {}", count((names.len() - MAX_SOURCES) as u64, "more source")));
        }
        Self { all, bar, sources, waiting: None, verified: 0, pace: Pace::default(), name_width }
    }

    /// Something happened `at` this time after the start.
    fn show(&mut self, event: &Event, names: &[String], at: Duration) {
        match event {
            Event::Wanted { bytes, .. } => {
                self.bar.set_style(
                    style("verified [{wide_bar}] {bytes} of {total_bytes}{msg}").progress_chars("=> "),
                );
                self.bar.set_message("");
                self.bar.set_length(*bytes);
                // The rate is that of the bytes, without the time before.
                self.pace = Pace::default();
                let _ = self.pace.rate(at, self.verified);
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
                if let (Some(line), Some(name)) = (self.sources.get(status.source), names.get(status.source))
                {
                    line.set_message(source_line(&short(name), self.name_width, status));
                }
            }
            Event::Waiting(waiting) => {
                let line = self.waiting.get_or_insert_with(|| {
                    let line = self.all.add(ProgressBar::new(0));
                    line.set_style(style("{wide_msg}"));
                    line
                });
                line.set_message(format!("  {}", waiting_line(waiting, names)));
                // What was fast before is so no more.
                if let Some(wanted) = self.bar.length().filter(|wanted| *wanted > 0) {
                    self.bar.set_message(self.pace.text(at, self.verified, wanted));
                }
            }
            _ => {}
        }
    }

    fn clear(&self) {
        // Lines that were finished stay otherwise.
        let _ = self.all.clear();
    }
}

/// How fast verified bytes came in the last seconds.
#[derive(Default)]
struct Pace {
    seen: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// In bytes per second, with so many verified now.
    fn rate(&mut self, at: Duration, verified: u64) -> u64 {
        self.seen.push_back((at, verified));
        while self.seen.get(1).is_some_and(|(then, _)| at.saturating_sub(*then) >= PACE) {
            self.seen.pop_front();
        }
        let (then, before) = self.seen.front().copied().unwrap_or((at, verified));
        per_second(verified.saturating_sub(before), at.saturating_sub(then))
    }

    /// The rate, and how long the rest takes at it.
    fn text(&mut self, at: Duration, verified: u64, wanted: u64) -> String {
        let rate = self.rate(at, verified);
        let left = wanted.saturating_sub(verified).checked_div(rate).map(Duration::from_secs);
        let left = left.map(|left| format!(", {:#} left", HumanDuration(left))).unwrap_or_default();
        format!(", {}/s{left}", size(rate))
    }
}

/// The time over which a rate is taken.
const PACE: Duration = Duration::from_secs(5);

/// How many sources have a line on the screen.
const MAX_SOURCES: usize = 12;

/// A style by one of the templates above, all of which are well-formed.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A source on the screen.
fn source_line(name: &str, width: usize, status: &SourceStatus) -> String {
    let given = (status.verified > 0).then(|| size(status.verified));
    let is_active = status.state == SourceState::Active && status.rate > 0;
    let rate = is_active.then(|| format!("{}/s", size(status.rate)));
    let account: Vec<String> = given.into_iter().chain(rate).chain(account(status)).collect();
    format!("  {name:width$}  {:<9}  {}", status.state.word(), account.join("; ")).trim_end().to_owned()
}

/// What there is to say of a source beside its state and its bytes.
fn account(status: &SourceStatus) -> impl Iterator<Item = String> {
    let again = status.again_in.filter(|_| status.state == SourceState::Waiting);
    let again = again.map(|time| format!("again in {} s", time.as_secs_f64().ceil()));
    again.into_iter().chain(status.blame.as_ref().map(blamed))
}

/// What a source is blamed for, and why. Some of the words may be its own.
pub(crate) fn blamed((blame, why): &(Blame, String)) -> String {
    format!("{blame}: {}", shown_line(why))
}

/// Why the bar stands still: for what, from whom, since when.
fn waiting_line(waiting: &Waiting, names: &[String]) -> String {
    let Waiting { for_what, chunks, from, again_in, since } = waiting;
    let what = match chunks {
        Some(run) if !run.is_empty() => format!("{} of {}", chunks_of(run), shown(for_what)),
        _ => shown(for_what),
    };
    let seconds = since.as_secs();
    let again = again_in.map(|time| format!(", tried again in {} s", time.as_secs_f64().ceil()));
    match from.and_then(|from| names.get(from)) {
        Some(name) => format!(
            "nothing verified for {seconds} s: waiting for {what} from {}{}",
            short(name),
            again.unwrap_or_default()
        ),
        None => format!("nothing verified for {seconds} s: {what} is read or written here"),
    }
}

fn chunks_of(run: &Range<u64>) -> String {
    let last = run.end.saturating_sub(1);
    if run.start == last { format!("chunk {last}") } else { format!("chunks {} to {last}", run.start) }
}

/// A name of which both ends are seen: the end of a place tells more than its middle.
fn short(name: &str) -> String {
    let name = shown(name);
    let characters = name.chars().count();
    if characters <= MAX_NAME {
        return name;
    }
    let (head, tail) = (MAX_NAME / 2 - 1, MAX_NAME / 2);
    name.chars().take(head).chain(['…']).chain(name.chars().skip(characters - tail)).collect()
}

/// How many characters of a source's name are shown.
const MAX_NAME: usize = 32;

/// No terminal: a line for each change of a source, and one now and then.
#[derive(Default)]
struct Lines {
    progress: Progress,
    /// When the last line about progress was written, and how much was verified then.
    told: (Duration, u64),
    sources: BTreeMap<SourceIndex, Told>,
    /// What is waited for, and from whom.
    waiting: Option<(String, Option<SourceIndex>)>,
}

/// What was told of a source.
type Told = (SourceState, Option<(Blame, String)>);

impl Lines {
    /// The line for an event that happened `at` this time after the start, if it is worth one.
    fn line(&mut self, event: &Event, names: &[String], at: Duration) -> Option<String> {
        match event {
            Event::Wanted { files, bytes, .. } => {
                self.told = (at, self.progress.verified);
                Some(format!("wanted: {}, {}", count(*files, "file"), size(*bytes)))
            }
            Event::Progress(progress) => {
                if progress.verified > self.progress.verified {
                    self.waiting = None;
                }
                self.progress = *progress;
                self.now_and_then(at)
            }
            Event::Source(status) => self.source(status, names),
            Event::Waiting(waiting) => {
                let key = Some((waiting.for_what.clone(), waiting.from));
                if self.waiting == key {
                    return self
                        .now_and_then(at)
                        .map(|line| format!("{line}; {}", waiting_line(waiting, names)));
                }
                self.waiting = key;
                Some(waiting_line(waiting, names))
            }
            _ => None,
        }
    }

    /// How far it is, if that was not told for a while.
    fn now_and_then(&mut self, at: Duration) -> Option<String> {
        let (before, verified_before) = self.told;
        let since = at.saturating_sub(before);
        if since < NOW_AND_THEN {
            return None;
        }
        let Progress { verified, wanted, .. } = self.progress;
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

    /// A change of a source. That it has nothing to do for a moment is none.
    fn source(&mut self, status: &SourceStatus, names: &[String]) -> Option<String> {
        let name = names.get(status.source)?;
        let told = self.sources.get(&status.source);
        let blame_before = told.and_then(|(_, blame)| blame.as_ref());
        if status.state == SourceState::Idle && status.blame.as_ref() == blame_before {
            return None;
        }
        let now = (status.state, status.blame.clone());
        if told == Some(&now) {
            return None;
        }
        self.sources.insert(status.source, now);
        Some(change(name, status))
    }
}

/// A change of a source, whole: it may be longer than a line of a screen.
fn change(name: &str, status: &SourceStatus) -> String {
    let account: String = account(status).map(|what| format!("; {what}")).collect();
    format!("source {}: {}{account}", shown(name), status.state.word())
}

/// How long nothing is said of progress where nobody watches.
const NOW_AND_THEN: Duration = Duration::from_secs(30);

fn per_second(bytes: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1_000 / milliseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use weighbridge_manifest::EntryPath;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn names() -> Vec<String> {
        ["https://a.example/m", "mirror"].map(str::to_owned).to_vec()
    }

    fn status(state: SourceState) -> SourceStatus {
        SourceStatus { source: 1, state, blame: None, again_in: None, verified: 0, rate: 0 }
    }

    fn lied() -> Option<(Blame, String)> {
        Some((Blame::Lied, "chunk 3 of m.gguf does not match\u{1b}".to_owned()))
    }

    fn waiting(from: Option<SourceIndex>, seconds: u64) -> Waiting {
        Waiting {
            for_what: "m.gguf".to_owned(),
            chunks: Some(3..7),
            from,
            again_in: None,
            since: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_source_has_a_line_with_state_rate_and_blame() {
        let line = |status: &SourceStatus| source_line("mirror", 8, status);
        assert_eq!(line(&status(SourceState::Idle)), "  mirror    idle");
        let active = SourceStatus { verified: 5 * MIB, rate: MIB / 2, ..status(SourceState::Active) };
        assert_eq!(line(&active), "  mirror    active     5.00 MiB; 512.00 KiB/s");
        let blame = Some((Blame::Unreachable, "connection refused".to_owned()));
        let again_in = Some(Duration::from_millis(2_100));
        let left_alone = SourceStatus { blame, again_in, rate: 7, ..status(SourceState::Waiting) };
        assert_eq!(line(&left_alone), "  mirror    waiting    again in 3 s; unreachable: connection refused");
        let set_aside = SourceStatus { blame: lied(), ..status(SourceState::SetAside) };
        assert_eq!(line(&set_aside), "  mirror    set aside  lied: chunk 3 of m.gguf does not match\\u{1b}");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_falls_to_nothing() {
        let mut pace = Pace::default();
        let mut text = |seconds, verified| pace.text(Duration::from_secs(seconds), verified * MIB, 100 * MIB);
        assert_eq!(text(0, 10), ", 0 B/s");
        assert_eq!(text(1, 20), ", 10.00 MiB/s, 8s left");
        assert_eq!(text(5, 60), ", 10.00 MiB/s, 4s left");
        assert_eq!(text(6, 60), ", 8.00 MiB/s, 5s left");
        assert_eq!(text(8, 60), ", 5.71 MiB/s, 7s left");
        assert_eq!(text(10, 60), ", 0 B/s");
        assert_eq!(text(70, 60), ", 0 B/s");
    }

    #[test]
    fn a_bar_that_stands_still_says_for_what_from_whom_and_since_when() {
        assert_eq!(
            waiting_line(&waiting(Some(1), 5), &names()),
            "nothing verified for 5 s: waiting for chunks 3 to 6 of m.gguf from mirror"
        );
        let again_in = Some(Duration::from_millis(2_100));
        assert_eq!(
            waiting_line(&Waiting { chunks: Some(3..4), again_in, ..waiting(Some(1), 2) }, &names()),
            "nothing verified for 2 s: waiting for chunk 3 of m.gguf from mirror, tried again in 3 s"
        );
        assert_eq!(
            waiting_line(&Waiting { chunks: None, ..waiting(None, 2) }, &names()),
            "nothing verified for 2 s: m.gguf is read or written here"
        );
        let head = Waiting { for_what: "head.note".to_owned(), chunks: None, ..waiting(Some(0), 61) };
        assert_eq!(
            waiting_line(&head, &names()),
            "nothing verified for 61 s: waiting for head.note from https://a.example/m"
        );
    }

    #[test]
    fn a_long_name_is_cut_in_its_middle() {
        let name = format!("https://mirror.example/{}/org/model", "x".repeat(50));
        let short = short(&name);
        assert_eq!(short, "https://mirror.…xxxxxx/org/model");
        assert_eq!(short.chars().count(), MAX_NAME);
    }

    #[test]
    fn a_file_has_the_line_that_verify_has() {
        let path = EntryPath::parse("config.json").unwrap();
        let unit = ChunkSize::new(1 << 18).ok();
        let line = |bytes| result(&Event::File { path: path.clone(), size: bytes }, unit);
        assert_eq!(line(570), format!("ok       config.json{}       1 chunk  570 B", " ".repeat(29)));
        assert_eq!(line(MIB + 1), format!("ok       config.json{}      5 chunks  1.00 MiB", " ".repeat(29)));
        assert_eq!(line(0), format!("ok       config.json{}      0 chunks  0 B", " ".repeat(29)));
        let extra = |removed| result(&Event::Extra { path: "old\n".to_owned(), removed, fault: None }, None);
        assert_eq!(extra(false), "extra    old\\n  not listed, not part of the model");
        assert_eq!(extra(true), "removed  old\\n");
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_half_minute() {
        let mut lines = Lines::default();
        let mut said = |event: Event, seconds| lines.line(&event, &names(), Duration::from_secs(seconds));
        let progress = |verified| {
            Event::Progress(Progress { received: verified, verified, durable: 0, wanted: 100 * MIB })
        };
        let wanted = Event::Wanted { files: 13, bytes: 100 * MIB, metadata: "m".into() };
        assert_eq!(said(wanted, 1).unwrap(), "wanted: 13 files, 100.00 MiB");
        assert_eq!(said(progress(10 * MIB), 15), None);
        assert_eq!(
            said(progress(60 * MIB), 31).unwrap(),
            "verified 60.00 MiB of 100.00 MiB, 2.00 MiB/s, 20 s left"
        );
        assert_eq!(said(progress(61 * MIB), 32), None);
        assert_eq!(
            said(Event::Waiting(waiting(Some(1), 2)), 34).unwrap(),
            "nothing verified for 2 s: waiting for chunks 3 to 6 of m.gguf from mirror"
        );
        assert_eq!(said(Event::Waiting(waiting(Some(1), 3)), 35), None);
        assert_eq!(
            said(Event::Waiting(waiting(Some(1), 29)), 61).unwrap(),
            "verified 61.00 MiB of 100.00 MiB, 34.13 KiB/s, 1170 s left; nothing verified for 29 s: waiting for chunks \
             3 to 6 of m.gguf from mirror"
        );
        assert_eq!(said(progress(61 * MIB), 91).unwrap(), "verified 61.00 MiB of 100.00 MiB, 0 B/s");
    }

    #[test]
    fn without_a_terminal_each_change_of_a_source_has_a_line() {
        let mut lines = Lines::default();
        let mut said = |status: SourceStatus| lines.line(&Event::Source(status), &names(), Duration::ZERO);
        assert_eq!(said(status(SourceState::Idle)), None);
        assert_eq!(said(status(SourceState::Active)).unwrap(), "source mirror: active");
        assert_eq!(said(SourceStatus { rate: 7, verified: 8, ..status(SourceState::Active) }), None);
        assert_eq!(said(status(SourceState::Idle)), None);
        assert_eq!(said(status(SourceState::Active)), None);
        let again_in = Some(Duration::from_secs(4));
        assert_eq!(
            said(SourceStatus { again_in, ..status(SourceState::Waiting) }).unwrap(),
            "source mirror: waiting; again in 4 s"
        );
        assert_eq!(said(status(SourceState::Waiting)), None);
        assert_eq!(
            said(SourceStatus { blame: lied(), ..status(SourceState::SetAside) }).unwrap(),
            "source mirror: set aside; lied: chunk 3 of m.gguf does not match\\u{1b}"
        );
        assert_eq!(said(SourceStatus { blame: lied(), ..status(SourceState::Idle) }), None);
        let other = SourceStatus { source: 0, ..status(SourceState::Active) };
        assert_eq!(said(other).unwrap(), "source https://a.example/m: active");
        assert_eq!(said(SourceStatus { source: 2, ..status(SourceState::Active) }), None);
    }
}
