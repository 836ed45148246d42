//! Fetches metadata: the head, the lists, and parts of the layers, each from the source that first gives the right one.

use std::{cmp::Reverse, sync::Arc, time::Instant};

use weighbridge_manifest::{
    Expectation, Role, SignedHead, Time, TrustError, TrustPolicy, VerifiedFileList, VerifiedHead,
};
use weighbridge_store::HEAD;

use crate::{
    board::{Board, PATIENCE},
    error::FetchError,
    event::{Blame, SourceId},
    source::{Fault, What},
};

mod race;
mod suspicion;

pub(crate) use race::Part;
use race::Race;
pub(crate) use suspicion::{Suspicion, judge_again};

/// A head that the policy believes.
pub(crate) struct Offer {
    pub(crate) head: VerifiedHead,
    pub(crate) note: Vec<u8>,
}

impl Offer {
    /// Whether the other head is preferred to this one: the later one, or of two equally late ones the one with the
    /// smaller id, so that every node chooses the same.
    fn is_before(&self, other: &VerifiedHead) -> bool {
        let place = |head: &VerifiedHead| (lateness(head), Reverse(head.id()));
        place(&self.head) < place(other)
    }
}

/// How late a head is: by its revision, but a publisher's head comes after every imported one.
fn lateness(head: &VerifiedHead) -> (Role, u64) {
    (head.role(), head.head().revision)
}

/// A release in a few words, for people.
fn release(head: &VerifiedHead) -> String {
    let imported = if head.role() == Role::Import { "imported " } else { "" };
    format!("{imported}revision {}", head.head().revision)
}

/// The head that a source showed.
pub(crate) struct Shown {
    pub(crate) source: SourceId,
    pub(crate) note: Vec<u8>,
    /// Why this head is not the wanted one, if it is not.
    pub(crate) why: String,
}

/// The policy and expectation by which heads are judged.
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

    /// Accepts a head of the same model by the same publishers, whatever its revision.
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

/// The facts about the wanted model by which a suspected source is judged (rule 11).
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) trust: Trust,
    pub(crate) head: Arc<VerifiedHead>,
    /// `None` while the list itself is fetched.
    pub(crate) files: Option<Arc<VerifiedFileList>>,
}

/// The best head that any source has: the believed head of the highest revision, the publisher's before an imported one.
///
/// All sources are asked at once. After the first believed head, the others get two seconds more, since they may have a
/// later one. All shown heads are returned too, so that the caller knows which sources are behind.
///
/// # Errors
/// [`FetchError`]: heads were found and none is believed, or none was found.
pub(crate) async fn best_head(board: &Arc<Board>, trust: &Trust) -> Result<(Offer, Vec<Shown>), FetchError> {
    let mut race = Race::for_heads(board);
    let mut best: Option<Offer> = None;
    let mut shown = Vec::new();
    let mut disbelief: Option<TrustError> = None;
    let mut without = Vec::new();
    let mut until: Option<Instant> = None;
    loop {
        let answer = match until {
            Some(until) => tokio::time::timeout_at(until.into(), race.next()).await,
            None => Ok(race.next().await),
        };
        let Ok(answer) = answer else {
            race.set_slow();
            break;
        };
        let Some(answer) = answer else { break };
        let source = answer.source;
        race.leave_out(source);
        let note = match answer.bytes {
            Ok(note) => note,
            Err(Fault::OtherFile(what)) => {
                board.decide().set_aside(source, Blame::Lied, format!("{HEAD}: {what}"));
                continue;
            }
            Err(fault) => {
                without.push((source, format!("{HEAD}: {fault}")));
                continue;
            }
        };
        match trust.believe(&note) {
            Ok(head) => {
                board.figures.note_good();
                until.get_or_insert_with(|| Instant::now() + PATIENCE);
                let why = format!("{HEAD}: of {}, head {}", release(&head), head.id());
                shown.push(Shown { source, note: note.clone(), why });
                if best.as_ref().is_none_or(|best| best.is_before(&head)) {
                    best = Some(Offer { head, note });
                }
            }
            Err(Disbelief::Trust(error)) => {
                if matches!(error, TrustError::BadSignature { .. }) {
                    board.decide().set_aside(source, Blame::Lied, format!("{HEAD}: {error}"));
                }
                shown.push(Shown { source, note, why: format!("{HEAD}: {error}") });
                disbelief.get_or_insert(error);
            }
            Err(Disbelief::Lie(what)) => {
                board.decide().set_aside(source, Blame::Lied, format!("{HEAD}: {what}"));
            }
        }
    }
    match (best, disbelief) {
        (Some(best), _) => Ok((best, shown)),
        (None, Some(error)) => Err(FetchError::Trust(error)),
        (None, None) => {
            for (source, what) in without {
                board.decide().set_aside(source, Blame::Refused, what);
            }
            Err(FetchError::no_source(HEAD))
        }
    }
}

/// The signed part of a note: notes that differ only in signatures are of one head.
pub(crate) fn text(note: &[u8]) -> &[u8] {
    let end = note.windows(2).rposition(|bytes| bytes == b"\n\n");
    &note[..end.unwrap_or(note.len())]
}

/// Fetches a part of a metadata file, from the source that first gives the right one.
///
/// One source is asked at first, and twice as many each time two seconds have passed. Sources that were slow before
/// come last, and those that are left out are not asked. Bytes that `accept` refuses are held against their source, and
/// asked for elsewhere.
///
/// # Errors
/// [`FetchError::NoSource`] if no source has the right one; `None` if all of them say that there is no such file.
pub(crate) async fn one_of<T>(
    board: &Arc<Board>,
    case: &Case,
    part: &Part,
    is_left_out: &(dyn Fn(SourceId) -> bool + Sync),
    accept: impl Fn(Vec<u8>) -> Result<T, String>,
) -> Result<Option<T>, FetchError> {
    let mut race = Race::for_part(board, part.clone(), is_left_out);
    let mut is_missing = true;
    while let Some(answer) = race.next().await {
        let source = answer.source;
        race.leave_out(source);
        let (wrong, given) = match answer.bytes {
            Ok(bytes) => match (bytes.len(), accept(bytes)) {
                (_, Ok(accepted)) => {
                    board.figures.note_good();
                    board.decide().set_slow(source, false);
                    return Ok(Some(accepted));
                }
                (given, Err(wrong)) => (wrong, given),
            },
            Err(Fault::OtherFile(what)) => (format!("{}: {what}", part.what.name()), 0),
            Err(fault) => {
                // Stores deny files that they do not have. Layers may be missing, since files can be fetched without
                // them.
                if fault != Fault::Missing || !matches!(part.what, What::Layers { .. }) {
                    let what = format!("{}: {fault}", part.what.name());
                    board.decide().deny_metadata(source, &Fault::Refused(what));
                }
                continue;
            }
        };
        is_missing = false;
        // A length that was announced is no byte that was given.
        board.decide().refuse_metadata(source, u64::try_from(given).unwrap_or(u64::MAX));
        if let Some(suspicion) = Suspicion::of(board, source, answer.cases, wrong) {
            suspicion.judge(case, None);
        }
    }
    if is_missing && !race.had_trouble() { Ok(None) } else { Err(FetchError::no_source(part.what.name())) }
}
