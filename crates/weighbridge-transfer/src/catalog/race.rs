//! The race for metadata: several sources are asked, and the first right answer wins.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::AbortHandle,
};
use weighbridge_manifest::MAX_NOTE;

use crate::{
    board::{Board, PATIENCE},
    event::SourceId,
    source::{Fault, What, contract},
};

/// A range of a file of metadata whose length is signed.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) what: What,
    pub(crate) range: Range<u64>,
}

impl Part {
    pub(crate) fn whole(what: What) -> Self {
        Self { range: 0..what.size().unwrap_or(0), what }
    }
}

/// The answer of a source: bytes that are not judged yet, or a fault that waiting does not mend.
pub(crate) struct Answer {
    pub(crate) source: SourceId,
    /// How often the source had been suspected when this request began.
    pub(crate) cases: u64,
    pub(crate) bytes: Result<Vec<u8>, Fault>,
}

/// The sources that are asked for one thing. A source that waits is asked again once its wait is over.
pub(crate) struct Race<'a> {
    board: &'a Arc<Board>,
    part: Part,
    /// Whether heads are raced for: all sources are asked at once, stale ones too.
    is_of_heads: bool,
    is_left_out: &'a (dyn Fn(SourceId) -> bool + Sync),
    left_out: BTreeSet<SourceId>,
    running: BTreeMap<SourceId, Option<AbortHandle>>,
    answers: (UnboundedSender<Ended>, UnboundedReceiver<Ended>),
    /// Sources that gave no answer: how often, and when each is asked again. Its other requests go on meanwhile.
    rests: BTreeMap<SourceId, (u32, Instant)>,
    /// How many are asked at once.
    width: usize,
    last: Option<Instant>,
    had_trouble: bool,
}

/// A request that has ended.
type Ended = (Answer, Outcome);

enum Outcome {
    Answered,
    /// The request was ended because its source stalled, is suspected, or has left.
    BrokenOff,
}

/// The pause before a source that gave no answer is asked again for the same thing; doubled each time.
const FIRST_REST: Duration = Duration::from_millis(500);
/// How often a source is asked again for the same thing.
const MOST_TIMES: u32 = 7;

/// How often sources are looked at that may be asked again.
const MOMENT: Duration = Duration::from_millis(50);

impl<'a> Race<'a> {
    pub(crate) fn for_heads(board: &'a Arc<Board>) -> Self {
        let mut race = Self::for_part(board, Part { what: What::Head, range: 0..0 }, &|_| false);
        (race.is_of_heads, race.width) = (true, usize::MAX);
        race
    }

    pub(crate) fn for_part(
        board: &'a Arc<Board>,
        part: Part,
        is_left_out: &'a (dyn Fn(SourceId) -> bool + Sync),
    ) -> Self {
        Self {
            board,
            part,
            is_of_heads: false,
            is_left_out,
            left_out: BTreeSet::new(),
            running: BTreeMap::new(),
            answers: mpsc::unbounded_channel(),
            rests: BTreeMap::new(),
            width: 1,
            last: None,
            had_trouble: false,
        }
    }

    /// Removes a source from the race: it is not asked any more.
    pub(crate) fn leave_out(&mut self, source: SourceId) {
        self.left_out.insert(source);
    }

    /// Whether any source gave no answer, so that it is unknown what that source has.
    pub(crate) fn had_trouble(&self) -> bool {
        self.had_trouble
    }

    /// Marks the sources that have not answered: they are asked last from now on.
    pub(crate) fn set_slow(&self) {
        let mut decisions = self.board.decide();
        self.running.keys().for_each(|source| decisions.set_slow(*source, true));
    }

    /// The next answer; `None` when no source is left to wait for. The future may be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        loop {
            let is_anybody_left = self.ask();
            if self.running.is_empty() && !is_anybody_left {
                return None;
            }
            let ended = tokio::time::timeout(MOMENT, self.answers.1.recv()).await;
            let Some((answer, outcome)) = ended.ok().flatten() else { continue };
            self.running.remove(&answer.source);
            if let Some(answer) = self.judge(answer, &outcome) {
                return Some(answer);
            }
        }
    }

    /// Asks more sources, up to the width of the race. Returns whether any source is left that may answer.
    fn ask(&mut self) -> bool {
        if self.last.is_some_and(|last| last.elapsed() >= PATIENCE) {
            // Doubling bounds the delay: asked one by one, each source that withholds a list would cost two seconds.
            self.width = self.width.saturating_mul(2);
            self.last = Some(Instant::now());
            self.set_slow();
        }
        let mut decisions = self.board.decide();
        let may_answer = |source: &SourceId| {
            !self.left_out.contains(source)
                && !(self.is_left_out)(*source)
                && decisions.may_give_metadata(*source)
                && (self.is_of_heads || !decisions.is_stale(*source))
        };
        let named = decisions.metadata_sources();
        let has_place = named.iter().any(|source| decisions.is_of_metadata(*source));
        let is_asked =
            |source: &SourceId| !self.is_of_heads || !has_place || decisions.is_of_metadata(*source);
        let mut left: Vec<_> = named.into_iter().filter(is_asked).filter(may_answer).collect();
        if left.iter().any(|source| !decisions.is_last_resort(*source)) {
            left.retain(|source| !decisions.is_last_resort(*source));
        }
        // Layers are asked for in several races at once.
        let most = decisions.most_requests();
        let is_one_of_several = matches!(self.part.what, What::Layers { .. });
        let most = self.width.min(if is_one_of_several { most.div_ceil(4) } else { most });
        let now = Instant::now();
        let rests = |source: &SourceId| self.rests.get(source).is_some_and(|(_, until)| now < *until);
        let mut usable: Vec<_> = left
            .iter()
            .copied()
            .filter(|source| {
                !self.running.contains_key(source) && !rests(source) && decisions.is_usable(*source)
            })
            .collect();
        usable.sort_by_key(|source| decisions.is_slow(*source));
        usable.truncate(most.saturating_sub(self.running.len()));
        let asked: Vec<_> = usable
            .into_iter()
            .map(|source| {
                decisions.ask_begins(source);
                (source, decisions.cases(source), decisions.generation(source))
            })
            .collect();
        drop(decisions);
        for (source, cases, generation) in asked {
            self.last.get_or_insert_with(Instant::now);
            let (board, part, answers) = (Arc::clone(self.board), self.part.clone(), self.answers.0.clone());
            let asked = Asked { board: Arc::clone(&board), source };
            let reply = Reply { answers, answer: None, source, cases };
            let request = self.board.tasks.spawn(async move {
                // Both as a whole: each does something when it is dropped.
                let (_asked, mut reply) = (asked, reply);
                tokio::select! {
                    bytes = read(&board, source, &part) => {
                        reply.answer = Some((Answer { source, cases, bytes }, Outcome::Answered));
                    }
                    () = board.broken_off(source, generation) => {}
                }
            });
            self.running.insert(source, request);
        }
        !left.is_empty()
    }

    /// Passes on an answer, unless its source may give another one later.
    fn judge(&mut self, answer: Answer, outcome: &Outcome) -> Option<Answer> {
        if matches!(outcome, Outcome::BrokenOff) {
            self.had_trouble = true;
            return None;
        }
        match &answer.bytes {
            Err(fault @ (Fault::Busy { .. } | Fault::Unreachable(_))) => {
                self.had_trouble = true;
                let now = Instant::now();
                let _ = self.board.decide().fail(answer.source, None, answer.cases, fault, now);
                let (times, until) = self.rests.entry(answer.source).or_insert((0, now));
                *until = now + FIRST_REST * 2_u32.pow(*times);
                *times += 1;
                if *times > MOST_TIMES {
                    self.left_out.insert(answer.source);
                }
                None
            }
            _ => {
                self.board.decide().hear(answer.source);
                Some(answer)
            }
        }
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        self.running.values().flatten().for_each(AbortHandle::abort);
    }
}

/// Answers the race when a request ends, however it ends: one that panics was broken off.
struct Reply {
    answers: UnboundedSender<Ended>,
    answer: Option<Ended>,
    source: SourceId,
    cases: u64,
}

impl Drop for Reply {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| {
            let bytes = Err(Fault::Unreachable("was broken off".to_owned()));
            (Answer { source: self.source, cases: self.cases, bytes }, Outcome::BrokenOff)
        });
        // The race may be over.
        let _ = self.answers.send(answer);
    }
}

/// The time in which a source is asked: it is watched for that time alone.
struct Asked {
    board: Arc<Board>,
    source: SourceId,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.board.decide().ask_ends(self.source);
    }
}

/// Asks a source, and reads all that it gives.
async fn read(board: &Board, source: SourceId, part: &Part) -> Result<Vec<u8>, Fault> {
    let _asked = board.asks(part.what.name(), source);
    let there = board.source(source).ok_or_else(|| Fault::Unreachable("has left".to_owned()))?;
    if part.what == What::Head {
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        return contract::whole(there.as_ref(), &part.what, limit).await;
    }
    let Range { start, end } = part.range;
    let len = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut body = contract::open(there.as_ref(), &part.what, start..end).await?;
    let mut skip = usize::try_from(start.saturating_sub(body.start())).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    // The buffer grows as bytes come: the length is signed, but a source may send nothing.
    while bytes.len() < len
        && let Some(more) = body.next().await?
    {
        board.received_metadata(more.len(), source).await;
        let skipped = skip.min(more.len());
        skip -= skipped;
        let kept = (more.len() - skipped).min(len - bytes.len());
        bytes.extend_from_slice(&more[skipped..skipped + kept]);
    }
    Ok(bytes)
}

/// The head that a source shows now, no matter how often the source was suspected.
pub(super) async fn head_of(board: &Board, source: SourceId) -> Result<Vec<u8>, Fault> {
    read(board, source, &Part { what: What::Head, range: 0..0 }).await
}

/// A whole metadata file of one source, whether or not other sources have it.
pub(super) async fn whole_of(board: &Board, source: SourceId, what: What) -> Result<Vec<u8>, Fault> {
    read(board, source, &Part::whole(what)).await
}
