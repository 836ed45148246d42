//! Head, lists and layers: from whoever gives the right ones first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use weighbridge_manifest::{
    Expectation, ListError, MAX_NOTE, SignedHead, Time, TrustError, TrustPolicy, VerifiedFileList,
    VerifiedHead,
};
use weighbridge_store::HEAD;

use crate::{
    board::{Board, PATIENCE},
    decide::roster::{MAX_WAIT, Moved},
    error::FetchError,
    event::{Blame, SourceIndex},
    source::{Fault, What},
};

/// Why a request for metadata gave nothing.
pub(crate) enum Trouble {
    Fault(Fault),
    /// It took longer than the watchdog allows.
    Slow(Duration),
}

/// A head that is believed.
pub(crate) struct Offer {
    pub(crate) head: VerifiedHead,
    pub(crate) note: Vec<u8>,
}

impl Offer {
    /// The later revision, and of one revision the head of the smaller id: every node chooses the same.
    fn is_before(&self, other: &VerifiedHead) -> bool {
        let place = |head: &VerifiedHead| (head.head().revision, Reverse(head.id()));
        place(&self.head) < place(other)
    }
}

/// What a source showed as its head.
pub(crate) struct Shown {
    pub(crate) source: SourceIndex,
    pub(crate) note: Vec<u8>,
    /// Why it is not the wanted one, if it is not.
    pub(crate) why: String,
}

/// What it takes to judge heads.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) policy: Arc<TrustPolicy>,
    pub(crate) expected: Arc<Expectation>,
    pub(crate) now: Option<Time>,
}

impl Trust {
    fn believe(&self, note: &[u8]) -> Result<VerifiedHead, Disbelief> {
        let signed = SignedHead::parse(note).map_err(|error| Disbelief::Lie(error.to_string()))?;
        signed.verify(&self.policy, &self.expected, self.now).map_err(Disbelief::Trust)
    }

    /// A head of the same model by the same publishers, whatever its revision.
    fn recognise(&self, note: &[u8], wanted: &VerifiedHead) -> Option<VerifiedHead> {
        let expected = Expectation::any().named(wanted.head().name.clone()).allow_expired();
        let head = SignedHead::parse(note).ok()?.verify(&self.policy, &expected, None).ok()?;
        (head.id() != wanted.id()).then_some(head)
    }
}

enum Disbelief {
    Lie(String),
    Trust(TrustError),
}

/// The best head that any source has: of those that are believed the one of the highest revision.
///
/// All sources are asked at once. The first that is believed is not waited for alone: others may be ahead of it, and get
/// two seconds more. What each has shown comes back too, so that it is known who is behind.
///
/// # Errors
/// [`FetchError`]: heads were found and none is believed, or none was found.
pub(crate) async fn best_head(board: &Arc<Board>, trust: &Trust) -> Result<(Offer, Vec<Shown>), FetchError> {
    let mut open: BTreeSet<SourceIndex> = candidates(board, true).into_iter().collect();
    let mut asked = JoinSet::new();
    let mut running = BTreeSet::new();
    let mut best: Option<Offer> = None;
    let mut shown = Vec::new();
    let mut disbelief: Option<TrustError> = None;
    let mut without = Vec::new();
    let mut until: Option<Instant> = None;
    loop {
        for &source in &open {
            if !running.contains(&source) && board.roster().is_usable(source) {
                running.insert(source);
                let board = Arc::clone(board);
                asked.spawn(async move { (source, head_of(&board, source).await) });
            }
        }
        open.retain(|source| running.contains(source) || board.roster().may_serve(*source, usize::MAX));
        if best.is_some() && (open.is_empty() || until.is_some_and(|until| Instant::now() >= until)) {
            running.iter().for_each(|source| board.roster().set_slow(*source, true));
            break;
        }
        if open.is_empty() {
            break;
        }
        let Some((source, answer)) = next(&mut asked).await else { continue };
        running.remove(&source);
        let note = match answer {
            Ok(note) => note,
            Err(Trouble::Fault(fault @ (Fault::Missing | Fault::Refused(_)))) => {
                open.remove(&source);
                without.push((source, format!("{HEAD}: {fault}")));
                continue;
            }
            Err(Trouble::Fault(Fault::OtherFile(what))) => {
                open.remove(&source);
                board.roster().set_aside(source, Blame::Lied, format!("{HEAD}: {what}"));
                continue;
            }
            Err(trouble) => {
                trouble.blame(board, source);
                continue;
            }
        };
        open.remove(&source);
        match trust.believe(&note) {
            Ok(head) => {
                board.did_good();
                until.get_or_insert_with(|| Instant::now() + PATIENCE);
                let why = format!("{HEAD}: of revision {}, head {}", head.head().revision, head.id());
                shown.push(Shown { source, note: note.clone(), why });
                if best.as_ref().is_none_or(|best| best.is_before(&head)) {
                    best = Some(Offer { head, note });
                }
            }
            Err(Disbelief::Trust(error)) => {
                if matches!(error, TrustError::BadSignature { .. }) {
                    board.roster().set_aside(source, Blame::Lied, format!("{HEAD}: {error}"));
                }
                shown.push(Shown { source, note, why: format!("{HEAD}: {error}") });
                disbelief.get_or_insert(error);
            }
            Err(Disbelief::Lie(what)) => {
                board.roster().set_aside(source, Blame::Lied, format!("{HEAD}: {what}"));
            }
        }
    }
    match (best, disbelief) {
        (Some(best), _) => Ok((best, shown)),
        (None, Some(error)) => Err(FetchError::Trust(error)),
        (None, None) => {
            without
                .into_iter()
                .for_each(|(source, what)| board.roster().set_aside(source, Blame::Refused, what));
            Err(no_source(board, HEAD))
        }
    }
}

/// What of a note is signed: notes that differ in signatures alone are of one head.
pub(crate) fn text(note: &[u8]) -> &[u8] {
    let end = note.windows(2).rposition(|bytes| bytes == b"\n\n");
    &note[..end.unwrap_or(note.len())]
}

/// The head that a source shows now.
async fn head_of(board: &Board, source: SourceIndex) -> Result<Vec<u8>, Trouble> {
    let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
    let _asked = board.asks(HEAD, source);
    within(board, source, limit, board.sources[source].whole(&What::Head, limit)).await
}

/// Who is asked for metadata, first ones first.
fn candidates(board: &Board, only_named: bool) -> Vec<SourceIndex> {
    let named = board.byte_sources..board.sources.len();
    let others = if only_named && !named.is_empty() { 0..0 } else { 0..board.byte_sources };
    named.chain(others).collect()
}

/// A part of a file of metadata, from whoever gives the right one first.
///
/// One source is asked after the other, the next one as soon as two seconds have passed; those that have been as slow
/// before come last, and those that are left out are not asked. What `accept` does not take is held against its source,
/// and asked for elsewhere.
///
/// # Errors
/// [`FetchError::NoSource`] if nobody has the right one; `None` if everybody says that there is no such file.
pub(crate) async fn one_of<T>(
    board: &Arc<Board>,
    case: &Case,
    part: &Part,
    is_left_out: &(dyn Fn(SourceIndex) -> bool + Sync),
    accept: impl Fn(Vec<u8>) -> Result<T, String>,
) -> Result<Option<T>, FetchError> {
    let mut open: Vec<SourceIndex> = candidates(board, false);
    open.retain(|source| !is_left_out(*source));
    let mut running = BTreeSet::new();
    let mut asked = JoinSet::new();
    let mut missing = true;
    let mut last: Option<Instant> = None;
    // Who gave nothing, and when it may be asked again.
    let mut resting: BTreeMap<SourceIndex, (u32, Instant)> = BTreeMap::new();
    loop {
        open.retain(|source| {
            let roster = board.roster();
            running.contains(source) || roster.may_serve(*source, usize::MAX) && !roster.is_stale(*source)
        });
        if open.is_empty() {
            if missing {
                return Ok(None);
            }
            if !board.roster().is_judging() {
                return Err(case.nobody(board, part.what.name(), board.sources.len()));
            }
        }
        if running.is_empty() || last.is_some_and(|last| last.elapsed() >= PATIENCE) {
            running.iter().for_each(|source| board.roster().set_slow(*source, true));
            let rests =
                |source: SourceIndex| resting.get(&source).is_some_and(|(_, until)| *until > Instant::now());
            let usable = |source: &&SourceIndex| {
                !running.contains(*source) && !rests(**source) && board.roster().is_usable(**source)
            };
            let next = open.iter().filter(usable).min_by_key(|source| board.roster().is_slow(**source));
            if let Some(&source) = next {
                last = Some(Instant::now());
                running.insert(source);
                let (board, part) = (Arc::clone(board), part.clone());
                let before = {
                    let roster = board.roster();
                    (roster.cases(source), roster.verified(source))
                };
                asked.spawn(async move { (source, before, part.read(&board, source).await) });
            }
        }
        let Some((source, (cases, verified), answer)) = next(&mut asked).await else { continue };
        running.remove(&source);
        let wrong = match answer {
            Ok(bytes) => match accept(bytes) {
                Ok(accepted) => {
                    board.did_good();
                    board.roster().set_slow(source, false);
                    return Ok(Some(accepted));
                }
                Err(wrong) => wrong,
            },
            Err(Trouble::Fault(Fault::OtherFile(what))) => format!("{}: {what}", part.what.name()),
            // Stores deny what they do not have to whoever may not list it.
            Err(Trouble::Fault(fault @ (Fault::Missing | Fault::Refused(_)))) => {
                open.retain(|other| *other != source);
                if fault != Fault::Missing {
                    board.roster().denied(source, None, &fault);
                }
                continue;
            }
            Err(trouble) => {
                missing = false;
                // Chunks that it gave meanwhile are not thrown away for that.
                if matches!(trouble, Trouble::Slow(_)) && board.roster().verified(source) > verified {
                    board.roster().set_slow(source, true);
                } else {
                    trouble.blame(board, source);
                }
                let (times, until) = resting.entry(source).or_insert((0, Instant::now()));
                *until = Instant::now() + FIRST_REST * 2_u32.pow((*times).min(6));
                *times += 1;
                continue;
            }
        };
        missing = false;
        open.retain(|other| *other != source);
        let is_suspect = board.roster().suspect_since(source, cases, wrong);
        if is_suspect {
            case.find_out(board, source, None);
            board.changed.notify_waiters();
        }
    }
}

/// So long a source is not asked again that gave nothing, while it may give something else; then twice as long.
const FIRST_REST: Duration = Duration::from_millis(500);

/// A range of a file of metadata whose length is signed.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) what: What,
    pub(crate) range: std::ops::Range<u64>,
}

impl Part {
    pub(crate) fn whole(what: What) -> Self {
        Self { range: 0..what.size().unwrap_or(0), what }
    }

    async fn read(&self, board: &Board, source: SourceIndex) -> Result<Vec<u8>, Trouble> {
        let _asked = board.asks(self.what.name(), source);
        let len = self.range.end.saturating_sub(self.range.start);
        within(board, source, len, self.gather(board, source, len)).await
    }

    async fn gather(&self, board: &Board, source: SourceIndex, len: u64) -> Result<Vec<u8>, Fault> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let mut body = board.sources[source].open(&self.what, self.range.clone()).await?;
        let mut skip = self.range.start.saturating_sub(body.start());
        let mut bytes = Vec::new();
        // The length is signed, but nobody need have sent a byte yet: it grows as they come.
        while let Some(more) = body.next().await? {
            board.received(more.len(), source).await;
            let more_len = u64::try_from(more.len()).unwrap_or(u64::MAX);
            let skipped = skip.min(more_len);
            skip -= skipped;
            let room = len.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            let kept = (more_len - skipped).min(room);
            let start = usize::try_from(skipped).unwrap_or(0);
            bytes.extend_from_slice(&more[start..start + usize::try_from(kept).unwrap_or(0)]);
            if u64::try_from(bytes.len()) == Ok(len) {
                break;
            }
        }
        Ok(bytes)
    }
}

/// Gives up when a source is slower than the watchdog allows.
async fn within<T>(
    board: &Board,
    source: SourceIndex,
    len: u64,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Trouble> {
    let window = board.roster().window(board.least, len);
    match tokio::time::timeout(window, answer).await {
        Ok(answer) => {
            if !matches!(answer, Err(Fault::Unreachable(_))) {
                board.roster().heard(source);
            }
            answer.map_err(Trouble::Fault)
        }
        Err(_) => Err(Trouble::Slow(window)),
    }
}

impl Trouble {
    fn blame(&self, board: &Board, source: SourceIndex) {
        let now = Instant::now();
        match self {
            Self::Fault(fault) => {
                board.roster().failed(source, None, fault, now);
            }
            Self::Slow(window) => {
                let what = format!("gave no metadata in {} s", window.as_secs_f64());
                let mut roster = board.roster();
                let wait = roster.least_window();
                roster.stalled(source, what, wait, now);
            }
        }
    }
}

/// The next answer; now and then nothing, so that other things can be looked at.
async fn next<T: 'static>(asked: &mut JoinSet<T>) -> Option<T> {
    let moment = Duration::from_millis(50);
    if asked.is_empty() {
        tokio::time::sleep(moment).await;
        return None;
    }
    tokio::time::timeout(moment, asked.join_next()).await.ok()??.ok()
}

pub(crate) fn no_source(board: &Board, what: &str) -> FetchError {
    let sources = board.roster().statuses(Instant::now());
    FetchError::NoSource { what: what.to_owned(), sources, progress: board.progress() }
}

/// What is known of the wanted model when a source is suspected (rule 11).
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) trust: Trust,
    pub(crate) head: Arc<VerifiedHead>,
    /// `None` while the list itself is fetched.
    pub(crate) files: Option<Arc<VerifiedFileList>>,
}

impl Case {
    /// Why the fetch ends when none of the first `count` sources can give something.
    pub(crate) fn nobody(&self, board: &Board, what: &str, count: usize) -> FetchError {
        let moved = board.roster().all_moved_to(count);
        moved.map_or_else(
            || no_source(board, what),
            |now| FetchError::Overwritten { begun: self.head.id(), now, progress: board.progress() },
        )
    }

    /// Finds out whether a source that gave other bytes has another revision, or lies: by the note that it has shown, or
    /// else by the one that it shows now. Whoever has noticed does not wait for it.
    pub(crate) fn find_out(&self, board: &Arc<Board>, source: SourceIndex, note: Option<Vec<u8>>) {
        let (board, case) = (Arc::clone(board), self.clone());
        tokio::spawn(async move {
            let closed = Closed { board: &board, source };
            let note = match note {
                Some(note) => Ok(note),
                None => head_again(&board, source).await,
            };
            match note {
                Ok(note) => case.compare(&board, source, &note).await,
                // Nothing says that it is anything but what it was to serve.
                Err(Trouble::Fault(Fault::Missing | Fault::Refused(_) | Fault::OtherFile(_))) => {
                    board.roster().lied(source);
                }
                Err(Trouble::Fault(fault @ Fault::Busy { .. })) => {
                    board.roster().close_case(source, Blame::Refused, &fault.to_string());
                }
                // A broken connection is not a lie.
                Err(Trouble::Fault(fault @ Fault::Unreachable(_))) => {
                    board.roster().close_case(source, Blame::Unreachable, &fault.to_string());
                }
                Err(Trouble::Slow(window)) => {
                    let why = format!("nothing in {} s", window.as_secs_f64());
                    board.roster().close_case(source, Blame::Stalled, &why);
                }
            }
            drop(closed);
        });
    }

    /// Judges a source by the note that it has now.
    async fn compare(&self, board: &Board, source: SourceIndex, note: &[u8]) {
        let Some(other) = self.trust.recognise(note, &self.head) else {
            return board.roster().lied(source);
        };
        let same = self.same_files(board, source, &other).await;
        let (there, wanted) = (other.head().revision, self.head.head().revision);
        let what = match there == wanted {
            true => format!("serves another head of revision {there}, {}", other.id()),
            false => format!("serves revision {there}, wanted is {wanted}"),
        };
        let is_later = there >= wanted;
        board.roster().stale(source, Moved { head: other.id(), is_later }, what, same);
    }

    /// The files that are the same in another revision, as its own list says. A file that is not is not asked for.
    async fn same_files(&self, board: &Board, source: SourceIndex, other: &VerifiedHead) -> BTreeSet<usize> {
        let Some(wanted) = &self.files else { return BTreeSet::new() };
        let length = other.head().files.length;
        let Ok(bytes) = Part::whole(What::FileList { size: length }).read(board, source).await else {
            return BTreeSet::new();
        };
        let list: Result<_, ListError> = other.open_files(&bytes);
        let Ok(list) = list else { return BTreeSet::new() };
        let is_same = |(_, entry): &(usize, &weighbridge_manifest::FileEntry)| {
            let there = list.find(entry.path.as_str());
            there.is_some_and(|(_, there)| there.root == entry.root && there.size == entry.size)
        };
        wanted.entries().iter().enumerate().filter(is_same).map(|(position, _)| position).collect()
    }
}

/// A head, asked for a second time if it does not come at once.
async fn head_again(board: &Board, source: SourceIndex) -> Result<Vec<u8>, Trouble> {
    let until = board.roster().not_before(source);
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
    let answer = head_of(board, source).await;
    let pause = match &answer {
        Err(Trouble::Fault(Fault::Busy { retry_after: Some(time), .. })) => *time,
        Err(Trouble::Slow(_) | Trouble::Fault(Fault::Unreachable(_) | Fault::Busy { .. })) => {
            Duration::from_secs(1)
        }
        _ => return answer,
    };
    if pause > MAX_WAIT {
        return answer;
    }
    tokio::time::sleep(pause).await;
    head_of(board, source).await
}

/// Ends a case, however the task ends that looks into it: else its source would be waited for for ever.
struct Closed<'a> {
    board: &'a Board,
    source: SourceIndex,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.board.roster().close_case(self.source, Blame::Stalled, "nothing");
        self.board.changed.notify_waiters();
    }
}
