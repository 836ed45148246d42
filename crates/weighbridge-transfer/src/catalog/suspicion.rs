//! Suspicion: a source gave bytes that do not match, and the fetch reads its head again before it blames the source
//! (rule 11).

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use weighbridge_manifest::{FileEntry, VerifiedHead};

use super::{
    Case, lateness,
    race::{head_of, whole_of},
    release,
};
use crate::{
    board::{Board, PATIENCE},
    decide::{MAX_WAIT, Moved},
    event::{Blame, SourceId},
    source::{Fault, What},
};

/// A suspected source, which is asked for nothing until it is judged. Only this type begins a suspicion. If it is
/// dropped without a verdict, the source is set aside; otherwise the fetch would wait for the verdict for ever.
#[must_use = "a source that is suspected has to be judged"]
pub(crate) struct Suspicion {
    board: Arc<Board>,
    source: SourceId,
}

/// How long the fetch waits for the head of a suspected source.
const WINDOW: Duration = Duration::from_secs(10);

impl Suspicion {
    /// Suspects a source for an answer to a request that began when the source had been suspected `cases` times.
    /// Returns `None` if the source is judged already.
    pub(crate) fn of(board: &Arc<Board>, source: SourceId, cases: u64, what: String) -> Option<Self> {
        let is_suspect = board.decide().suspect(source, cases, what);
        is_suspect.then(|| Self { board: Arc::clone(board), source })
    }

    /// Does as [`of`](Self::of), if a request failed with a fault that raises suspicion.
    pub(crate) fn of_fault(
        board: &Arc<Board>,
        source: SourceId,
        file: usize,
        cases: u64,
        fault: &Fault,
    ) -> Option<Self> {
        let is_suspect = board.decide().fail(source, Some(file), cases, fault, Instant::now());
        is_suspect.then(|| Self { board: Arc::clone(board), source })
    }

    /// Finds out, in a task of its own, whether the source has another revision or lies. It judges by `note`, the head
    /// that the source showed before, or else by the head that the source shows now.
    pub(crate) fn judge(self, case: &Case, note: Option<Vec<u8>>) {
        let case = case.clone();
        let tasks = self.board.tasks.clone();
        let _ = tasks.spawn(async move {
            let note = match note {
                Some(note) => Ok(note),
                None => head_again(&self.board, self.source).await,
            };
            self.conclude(&case, note).await;
        });
    }

    async fn conclude(&self, case: &Case, note: Result<Vec<u8>, Trouble>) {
        let (board, source) = (&self.board, self.source);
        let close = |blame, why: &str| board.decide().close_case(source, blame, why);
        match note {
            Ok(note) => match case.trust.recognise(&note, &case.head) {
                Some(other) => set_stale(board, case, source, &other).await,
                None => board.decide().convict(source),
            },
            // Nothing shows that the source serves another head than the one it was to serve.
            Err(Trouble::Fault(
                Fault::Missing
                | Fault::Refused(_)
                | Fault::BadChunk(_)
                | Fault::HeldBack(_)
                | Fault::OtherFile(_),
            )) => {
                board.decide().convict(source);
            }
            Err(Trouble::Fault(fault @ Fault::Busy { .. })) => close(Blame::Refused, &fault.to_string()),
            // A broken connection is not a lie.
            Err(Trouble::Fault(fault @ Fault::Unreachable(_))) => {
                close(Blame::Unreachable, &fault.to_string());
            }
            Err(Trouble::Slow) => {
                close(Blame::Stalled, &format!("nothing in {} s", WINDOW.as_secs()));
            }
        }
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        self.board.decide().close_case(self.source, Blame::Stalled, "nothing");
        self.board.changed.notify_waiters();
    }
}

enum Trouble {
    Fault(Fault),
    /// The head did not come in time.
    Slow,
}

/// Reads the head of a source, once more after a pause if the source was slow, busy or unreachable.
async fn head_again(board: &Board, source: SourceId) -> Result<Vec<u8>, Trouble> {
    let until = board.decide().not_before(source);
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
    let answer = head_within(board, source, WINDOW).await;
    let pause = match &answer {
        Err(Trouble::Fault(Fault::Busy { retry_after: Some(time), .. })) => *time,
        Err(Trouble::Slow | Trouble::Fault(Fault::Unreachable(_) | Fault::Busy { .. })) => {
            Duration::from_secs(1)
        }
        _ => return answer,
    };
    if pause > MAX_WAIT {
        return answer;
    }
    tokio::time::sleep(pause).await;
    head_within(board, source, WINDOW).await
}

async fn head_within(board: &Board, source: SourceId, window: Duration) -> Result<Vec<u8>, Trouble> {
    match tokio::time::timeout(window, head_of(board, source)).await {
        Ok(answer) => answer.map_err(Trouble::Fault),
        Err(_) => Err(Trouble::Slow),
    }
}

/// Marks a source as stale, which has another believed head. It is still asked for the files that are the same in that
/// revision.
async fn set_stale(board: &Board, case: &Case, source: SourceId, other: &VerifiedHead) {
    let same = same_files(board, case, source, other).await;
    let (there, wanted) = (release(other), release(&case.head));
    let what = match there == wanted {
        true => format!("serves another head of {there}, {}", other.id()),
        false => format!("serves {there}, wanted is {wanted}"),
    };
    let moved = Moved { head: other.id(), is_later: lateness(other) >= lateness(&case.head) };
    board.decide().set_stale(source, moved, what, same);
}

/// The files that are the same in another revision, as its own list says.
async fn same_files(board: &Board, case: &Case, source: SourceId, other: &VerifiedHead) -> BTreeSet<usize> {
    let Some(wanted) = &case.files else { return BTreeSet::new() };
    let list = What::FileList { size: other.head().files.length };
    let bytes = tokio::time::timeout(WINDOW, whole_of(board, source, list)).await;
    let Some(list) = bytes.ok().and_then(Result::ok).and_then(|bytes| other.open_files(&bytes).ok()) else {
        return BTreeSet::new();
    };
    let is_same = |(_, entry): &(usize, &FileEntry)| {
        let there = list.find(entry.path.as_str());
        there.is_some_and(|(_, there)| there.root == entry.root && there.size == entry.size)
    };
    wanted.entries().iter().enumerate().filter(is_same).map(|(position, _)| position).collect()
}

/// Reads the heads of convicted sources once more, at the end of a fetch. A publisher whose upload was under way had
/// the old head and new files: its next head shows that, and it is stale instead of a liar.
pub(crate) async fn judge_again(board: &Board, case: &Case) {
    let convicted = board.decide().convicted();
    let again = convicted.into_iter().map(|source| async move {
        if let Ok(note) = head_within(board, source, PATIENCE).await
            && let Some(other) = case.trust.recognise(&note, &case.head)
        {
            let _ = tokio::time::timeout(PATIENCE, set_stale(board, case, source, &other)).await;
        }
    });
    futures_util::future::join_all(again).await;
}
