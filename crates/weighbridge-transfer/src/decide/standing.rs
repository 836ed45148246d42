//! Standing: the faults of each source, its blame, and the chunks that it may still be asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Instant,
};

use weighbridge_tree::HeadId;

use crate::{
    event::{Blame, SourceId},
    ranges::RangeSet,
    source::Fault,
};

/// The standing of all sources.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    records: BTreeMap<SourceId, Record>,
    /// The bytes of a chunk, once they are known.
    chunk: u64,
    /// Raised whenever a source may be asked for something else than before.
    version: u64,
}

#[derive(Debug, Default)]
struct Record {
    state: State,
    blame: Option<(Blame, String)>,
    /// The chunks of each file that came from the source and were not the signed ones.
    wrong: BTreeMap<usize, RangeSet>,
    wrong_bytes: u64,
    verified: u64,
    /// How often the source was suspected.
    cases: u64,
    /// The time before which the head of a suspected source is not asked for, because the source asked to be left
    /// alone.
    not_before: Option<Instant>,
    /// The files that the source says it does not have, or denies.
    lacks: BTreeSet<usize>,
    /// How many files the source has denied.
    denials: u32,
    /// For a stale source, the files that are the same in its revision.
    same: Option<BTreeSet<usize>>,
    /// The head that the source has instead.
    moved: Option<Moved>,
    /// All heads that the source had instead.
    revisions: Vec<HeadId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Good,
    /// The source gave something that does not match; its head is being read again (rule 11).
    Suspect,
    /// The source lied. It is the last resort for the chunks that it was not wrong about.
    Convicted,
    /// The source is not asked any more.
    Out,
}

/// A head of a source other than the wanted one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) head: HeadId,
    /// Whether its revision is not an earlier one, so that it was published since.
    pub(crate) is_later: bool,
}

/// How far a source may be asked, by its standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Good,
    /// The source is asked only for chunks that no source of good standing can give.
    LastResort,
    /// The source is asked for nothing.
    None,
}

/// How many files a source may deny, having given nothing, before it is set aside.
const MAX_DENIED: u32 = 3;
/// The bytes of wrong chunks that a convicted source may give beyond as many as its good ones: at least
/// [`SPARE_CHUNKS`] chunks.
const SPARE: u64 = 8 << 20;
const SPARE_CHUNKS: u64 = 8;

impl Standing {
    pub(crate) fn join(&mut self, source: SourceId) {
        self.records.insert(source, Record::default());
        self.version += 1;
    }

    pub(crate) fn leave(&mut self, source: SourceId) {
        self.records.remove(&source);
        self.version += 1;
    }

    /// Sets the length of a chunk in bytes.
    pub(crate) fn set_chunk(&mut self, chunk: u64) {
        self.chunk = chunk;
    }

    /// A counter that changes whenever a source may be asked for something else than before.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn rank(&self, source: SourceId) -> Rank {
        match self.records.get(&source).map(|record| record.state) {
            Some(State::Good) => Rank::Good,
            Some(State::Convicted) => Rank::LastResort,
            _ => Rank::None,
        }
    }

    pub(crate) fn is_out(&self, source: SourceId) -> bool {
        self.records.get(&source).is_none_or(|record| record.state == State::Out)
    }

    pub(crate) fn is_suspect(&self, source: SourceId) -> bool {
        self.records.get(&source).is_some_and(|record| record.state == State::Suspect)
    }

    /// Whether the source may have a file, as far as it has said.
    pub(crate) fn may_have(&self, source: SourceId, file: usize) -> bool {
        self.records.get(&source).is_some_and(|record| {
            !record.lacks.contains(&file) && record.same.as_ref().is_none_or(|same| same.contains(&file))
        })
    }

    /// Whether nothing is known that it does not have.
    pub(crate) fn has_everything(&self, source: SourceId) -> bool {
        self.records
            .get(&source)
            .is_some_and(|record| record.lacks.is_empty() && record.same.is_none() && record.wrong.is_empty())
    }

    /// The chunks of a file that it was wrong about.
    pub(crate) fn wrong_in(&self, source: SourceId, file: usize) -> Option<&RangeSet> {
        self.records.get(&source)?.wrong.get(&file)
    }

    /// How often the source was suspected. An answer to an earlier request says nothing new after a later suspicion.
    pub(crate) fn cases(&self, source: SourceId) -> u64 {
        self.records.get(&source).map_or(0, |record| record.cases)
    }

    /// The verified bytes that came from the source so far.
    pub(crate) fn verified(&self, source: SourceId) -> u64 {
        self.records.get(&source).map_or(0, |record| record.verified)
    }

    pub(crate) fn add_verified(&mut self, source: SourceId, bytes: u64) {
        if let Some(record) = self.records.get_mut(&source) {
            record.verified += bytes;
        }
    }

    /// The latest blame of the source. A source that is being judged has none yet.
    pub(crate) fn blame(&self, source: SourceId) -> Option<(Blame, String)> {
        let record = self.records.get(&source).filter(|record| record.state != State::Suspect)?;
        record.blame.clone()
    }

    pub(crate) fn set_blame(&mut self, source: SourceId, blame: Blame, what: String) {
        // A conviction outweighs any later blame of the source.
        if let Some(record) = self.records.get_mut(&source).filter(|record| record.state == State::Good) {
            record.blame = Some((blame, what));
        }
    }

    /// Records that the source gave chunks that are not the signed ones. It is not asked for them again, no matter what
    /// verdict follows.
    pub(crate) fn add_wrong(&mut self, source: SourceId, file: usize, chunks: Range<u64>, bytes: u64) {
        let Some(record) = self.records.get_mut(&source) else { return };
        record.wrong.entry(file).or_default().insert(chunks);
        record.wrong_bytes += bytes;
        self.version += 1;
        self.end_if_spent(source);
    }

    /// Records that the source gave metadata, or a whole file, that is not the signed one.
    pub(crate) fn add_wrong_bytes(&mut self, source: SourceId, bytes: u64) {
        if let Some(record) = self.records.get_mut(&source) {
            record.wrong_bytes += bytes;
            self.end_if_spent(source);
        }
    }

    fn end_if_spent(&mut self, source: SourceId) {
        let spare = SPARE.max(SPARE_CHUNKS.saturating_mul(self.chunk));
        let Some(record) = self.records.get_mut(&source) else { return };
        if record.state == State::Convicted && record.wrong_bytes > record.verified.saturating_add(spare) {
            record.state = State::Out;
            self.version += 1;
        }
    }

    /// Records that the source has another file in the place of this one.
    pub(crate) fn lack(&mut self, source: SourceId, file: Option<usize>) {
        if let Some((record, file)) = self.records.get_mut(&source).zip(file) {
            record.lacks.insert(file);
            self.version += 1;
        }
    }

    /// Records that the source has no such file, or denies it; stores deny files that they do not have. A source that
    /// has given nothing and denies one file after the other is taken to deny all of them.
    pub(crate) fn deny(&mut self, source: SourceId, file: Option<usize>, fault: &Fault) {
        let Some(record) = self.records.get_mut(&source) else { return };
        if matches!(record.state, State::Out | State::Suspect) {
            return;
        }
        // A path that is denied on two connections counts once.
        let is_new = file.is_some_and(|file| record.lacks.insert(file));
        record.denials += u32::from(is_new && *fault != Fault::Missing);
        let denies_all = record.verified == 0 && record.denials >= MAX_DENIED;
        // Blame for another revision or a lie takes precedence.
        if record.moved.is_none() && record.state == State::Good {
            record.blame = Some((Blame::Refused, fault.to_string()));
        }
        self.version += 1;
        if denies_all {
            self.set_aside(source, Blame::Refused, fault.to_string());
        }
    }

    /// Suspects a source that gave what does not match, in answer to a request that began when it had been suspected
    /// `cases` times. Returns `true` if its head is to be read again. Returns `false` if that is under way or done
    /// already: an answer that was on its way then says nothing new.
    pub(crate) fn suspect(
        &mut self,
        source: SourceId,
        cases: u64,
        what: String,
        not_before: Option<Instant>,
    ) -> bool {
        let Some(record) = self.records.get_mut(&source) else { return false };
        if record.state != State::Good || record.cases != cases {
            return false;
        }
        record.state = State::Suspect;
        record.cases += 1;
        record.blame = Some((Blame::Lied, what));
        record.not_before = not_before;
        self.version += 1;
        true
    }

    /// The time before which the head of a suspected source is not asked for.
    pub(crate) fn not_before(&self, source: SourceId) -> Option<Instant> {
        self.records.get(&source)?.not_before
    }

    /// Convicts a source that serves the wanted head, or none that is believed, and gave what does not match it.
    pub(crate) fn convict(&mut self, source: SourceId) {
        let Some(record) = self.records.get_mut(&source) else { return };
        if record.state == State::Out {
            return;
        }
        let what = record.blame.take().map(|(_, what)| what).unwrap_or_default();
        record.blame = Some((Blame::Lied, what));
        record.state = State::Convicted;
        self.version += 1;
        self.end_if_spent(source);
    }

    /// Marks a source as stale: it serves another believed head, in which these files are the same. If the same head
    /// was recorded before, the source has lied: its own list says which files it has.
    pub(crate) fn set_stale(
        &mut self,
        source: SourceId,
        moved: Moved,
        what: String,
        mut same: BTreeSet<usize>,
    ) {
        let Some(record) = self.records.get_mut(&source) else { return };
        if record.revisions.contains(&moved.head) {
            return self.convict(source);
        }
        record.revisions.push(moved.head);
        record.moved = Some(moved);
        if record.state == State::Out {
            // The source did not lie, but it has given too many bad bytes to be asked again.
            record.blame = Some((Blame::Stale, what));
            return;
        }
        // A source does not regain files by changing its head again: otherwise it could be asked in circles.
        if let Some(before) = record.same.take() {
            same.retain(|file| before.contains(file));
        }
        record.state = if same.is_empty() { State::Out } else { State::Good };
        record.blame = Some((Blame::Stale, what));
        record.same = Some(same);
        self.version += 1;
    }

    /// Whether the source is known to have another revision.
    pub(crate) fn is_stale(&self, source: SourceId) -> bool {
        self.records.get(&source).is_some_and(|record| record.moved.is_some())
    }

    /// Whether any source is being judged, so that its blame is not known yet.
    pub(crate) fn is_judging(&self) -> bool {
        self.records.values().any(|record| record.state == State::Suspect)
    }

    /// The sources that are convicted of lying so far. Each may show another head by now.
    pub(crate) fn convicted(&self) -> Vec<SourceId> {
        let lied = |record: &Record| matches!(record.blame, Some((Blame::Lied, _))) && record.cases > 0;
        self.records.iter().filter(|(_, record)| lied(record)).map(|(source, _)| *source).collect()
    }

    /// Closes the case of a source that gave what does not match, and did not show its head, so that the cause stays
    /// unknown.
    pub(crate) fn close_case(&mut self, source: SourceId, blame: Blame, why: &str) {
        let Some(record) = self.records.get_mut(&source).filter(|record| record.state == State::Suspect)
        else {
            return;
        };
        let what = record.blame.take().map(|(_, what)| what).unwrap_or_default();
        self.set_aside(source, blame, format!("{what}; and it did not show its head: {why}"));
    }

    /// Closes all open cases, at the end of the fetch.
    pub(crate) fn close_cases(&mut self) {
        let sources: Vec<_> = self.records.keys().copied().collect();
        sources.into_iter().for_each(|source| self.close_case(source, Blame::Stalled, "not before the end"));
    }

    /// The later head that all of `sources` have instead, without those that are of no use for another reason.
    pub(crate) fn all_moved_to(&self, sources: &BTreeSet<SourceId>) -> Option<HeadId> {
        let records = self.records.iter().filter(|(source, _)| sources.contains(source));
        let is_left = |record: &&Record| {
            record.moved.is_some() || !matches!(record.state, State::Out | State::Convicted)
        };
        let mut moved = records.map(|(_, record)| record).filter(is_left).map(|record| record.moved);
        let first = moved.next()??;
        let is_later = |moved: Option<Moved>| moved.is_some_and(|moved| moved.is_later);
        (is_later(Some(first)) && moved.all(is_later)).then_some(first.head)
    }

    /// Sets the source aside: it is not asked any more.
    pub(crate) fn set_aside(&mut self, source: SourceId, blame: Blame, what: String) {
        let Some(record) = self.records.get_mut(&source) else { return };
        // A conviction outweighs any later blame of the source.
        if record.state != State::Convicted {
            record.blame = Some((blame, what));
        }
        record.state = State::Out;
        self.version += 1;
    }
}
