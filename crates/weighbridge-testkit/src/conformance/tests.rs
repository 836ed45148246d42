//! Sources in memory, one of them honest: each of the others does one thing wrong, and has to fail the check of it.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use weighbridge_transfer::{Body, Fault, FileRoot, Inventory, Source, What};

use super::{Content, Suite, check::Check};
use crate::CHUNK;

/// The fault of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,

    HasNoName,
    HasAnotherNameEachTime,
    HasNoSuchFolder,
    CutsTheHead,
    HasAnotherHead,
    IgnoresTheLimit,
    CutsAtTheLimit,
    RefusesTheLimit,
    GivesTheHeadOnce,
    KeepsTheHead,

    EndsEarly,
    EndsEarlyWithAFault,
    BeginsLate,
    SaysAnEarlierStart,
    FlipsABit,
    MissesTheLastByte,
    KnowsNoFiles,
    DeniesListedFiles,
    KnowsOneListedFile,
    NeverAnswers,
    NeverGives,
    ForgetsTheLayers,
    SwapsTheLists,

    SharesOnePlace,
    OpensOneBodyAtATime,
    CallsMissingFilesUnreachable,
    DeniesMissingFiles,
    GivesZerosForMissingFiles,
    KnowsNoLengths,
    CallsOtherLengthsMissing,
    HangsAfterDroppedBodies,
    GivesWhatADroppedBodyLeft,
    HangsAfterDroppedRequests,

    ClaimsNothing,
    ClaimsChunksBehindTheEnd,
    ClaimsAnotherFile,
    GivesAllTheTime,
    ClaimsTooEarly,
    GainsNothing,
    DeniesUnclaimedChunks,
}

#[derive(Debug)]
struct InMemory {
    wrong: Wrong,
    bytes: HashMap<String, Bytes>,
    /// The head, if it is another one since.
    head: Mutex<Option<Vec<u8>>>,
    inventory: Option<Inventory>,
    /// The chunks that it has, if it does not have everything.
    there: Option<Mutex<BTreeSet<(FileRoot, u64)>>>,
    asked: AtomicU64,
    names: AtomicUsize,
    free: Arc<Semaphore>,
    left: Arc<AtomicBool>,
    place: Arc<AtomicUsize>,
}

impl InMemory {
    fn of(content: &Content, wrong: Wrong) -> Self {
        let items = content.items().iter();
        let bytes = |item: &super::Item| (item.what.path().into_owned(), item.bytes.clone().into());
        let permits = if wrong == Wrong::OpensOneBodyAtATime { 1 } else { 10 };
        Self {
            wrong,
            bytes: items.map(bytes).collect(),
            head: Mutex::default(),
            inventory: None,
            there: None,
            asked: AtomicU64::new(0),
            names: AtomicUsize::new(0),
            free: Arc::new(Semaphore::new(permits)),
            left: Arc::default(),
            place: Arc::default(),
        }
    }

    /// A source that has everything, and an inventory.
    fn with_inventory(content: &Content, wrong: Wrong) -> Self {
        let inventory = Inventory::default();
        for item in content.files() {
            let What::File { root, .. } = item.what else { continue };
            let more = u64::from(wrong == Wrong::ClaimsChunksBehindTheEnd);
            if wrong != Wrong::ClaimsNothing {
                inventory.add(root, 0..item.chunks() + more);
            }
        }
        if wrong == Wrong::ClaimsAnotherFile {
            inventory.add(FileRoot::of(b"no file of the content"), 0..1);
        }
        Self { inventory: Some(inventory), ..Self::of(content, wrong) }
    }

    /// A source that has nothing yet.
    fn growing(content: &Content, wrong: Wrong) -> Self {
        Self {
            inventory: Some(Inventory::default()),
            there: Some(Mutex::default()),
            ..Self::of(content, wrong)
        }
    }

    fn gain(&self, root: FileRoot, chunks: Range<u64>) {
        let (Some(inventory), Some(there)) = (&self.inventory, &self.there) else { return };
        if self.wrong != Wrong::ClaimsTooEarly {
            there.lock().unwrap().extend(chunks.clone().map(|chunk| (root, chunk)));
        }
        if self.wrong != Wrong::GainsNothing {
            inventory.add(root, chunks);
        }
    }

    fn is_there(&self, what: &What, range: &Range<u64>) -> bool {
        let (Some(there), What::File { root, .. }) = (&self.there, what) else { return true };
        let mut chunks = range.start / CHUNK..range.end.div_ceil(CHUNK);
        let there = there.lock().unwrap();
        self.wrong == Wrong::GivesAllTheTime || chunks.all(|chunk| there.contains(&(*root, chunk)))
    }

    fn find(&self, what: &What) -> Result<Bytes, Fault> {
        let path = match what {
            What::FileList { .. } if self.wrong == Wrong::SwapsTheLists => "weighbridge/tensors.jsonl".into(),
            What::Layers { .. } if self.wrong == Wrong::ForgetsTheLayers => "none".into(),
            what => what.path(),
        };
        if what.is_metadata() && self.wrong == Wrong::KnowsNoFiles {
            return Ok(self.bytes[&*path].clone());
        }
        match (what, self.wrong) {
            (What::Listed { .. }, Wrong::DeniesListedFiles) => return Err(Fault::Refused("no".to_owned())),
            (What::Listed { size, .. }, Wrong::KnowsOneListedFile) if *size != 1 => {
                return Err(Fault::Missing);
            }
            _ => {}
        }
        match (self.bytes.get(&*path), self.wrong) {
            (Some(_), Wrong::KnowsNoFiles) => Err(Fault::Missing),
            (Some(bytes), _) => Ok(bytes.clone()),
            (None, Wrong::CallsMissingFilesUnreachable) => Err(Fault::Unreachable("none".to_owned())),
            (None, Wrong::DeniesMissingFiles) => Err(Fault::Refused("none".to_owned())),
            (None, Wrong::GivesZerosForMissingFiles) => Ok(vec![0; 5].into()),
            (None, _) => Err(Fault::Missing),
        }
    }

    fn part(&self, bytes: &Bytes, range: &Range<u64>, size: u64) -> (u64, Bytes) {
        let at = |offset: u64| usize::try_from(offset).unwrap().min(bytes.len());
        let Range { start, end } = *range;
        let part = bytes.slice(at(start)..at(end));
        match self.wrong {
            Wrong::EndsEarly => (start, part.slice(..part.len() / 2)),
            Wrong::BeginsLate => (start + 1, part.slice(1..)),
            Wrong::SaysAnEarlierStart if start > 0 => (start - 1, part),
            Wrong::FlipsABit if part.len() > 1_000 => {
                let mut part = part.to_vec();
                part[999] ^= 1;
                (start, part.into())
            }
            Wrong::MissesTheLastByte if end == size => (start, part.slice(..part.len() - 1)),
            _ => (start, part),
        }
    }

    /// The bytes in pieces, and what goes wrong with them on the way.
    fn body(&self, start: u64, bytes: &Bytes) -> Body {
        let starts = (0..bytes.len()).step_by(PIECE);
        let pieces: Vec<_> = starts.map(|at| bytes.slice(at..bytes.len().min(at + PIECE))).map(Ok).collect();
        let pieces = stream::iter(pieces);
        match self.wrong {
            Wrong::EndsEarlyWithAFault => {
                let fault = Err(Fault::Unreachable("broken".to_owned()));
                Body::new(start, pieces.take(0).chain(stream::iter([fault])))
            }
            Wrong::NeverGives => Body::new(start, pieces.take(0).chain(stream::pending())),
            Wrong::SharesOnePlace => {
                // All bodies of the source read on from where the last one was.
                let (place, bytes) = (Arc::clone(&self.place), bytes.clone());
                place.store(0, Ordering::SeqCst);
                Body::new(
                    start,
                    stream::unfold((), move |()| {
                        let at = place.fetch_add(PIECE, Ordering::SeqCst).min(bytes.len());
                        let piece = bytes.slice(at..bytes.len().min(at + PIECE));
                        async move { (!piece.is_empty()).then_some((Ok(piece), ())) }
                    }),
                )
            }
            Wrong::GivesWhatADroppedBodyLeft => {
                let held = Left(Arc::clone(&self.left), bytes.len());
                let pieces = stream::unfold((pieces, held), |(mut pieces, mut held)| async move {
                    let piece = pieces.next().await?;
                    held.1 -= piece.as_ref().map_or(0, Bytes::len);
                    Some((piece, (pieces, held)))
                });
                Body::new(start, pieces)
            }
            _ => Body::new(start, pieces),
        }
    }
}

/// The bytes that a body has not given yet.
struct Left(Arc<AtomicBool>, usize);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(self.1 > 0, Ordering::SeqCst);
    }
}

#[async_trait]
impl Source for InMemory {
    fn name(&self) -> &str {
        match (self.wrong, self.names.fetch_add(1, Ordering::SeqCst)) {
            (Wrong::HasNoName, 0) => "",
            (Wrong::HasAnotherNameEachTime, 1) => "another",
            _ => "memory",
        }
    }

    async fn whole(&self, what: &What, limit: u64) -> Result<Vec<u8>, Fault> {
        let changed = self.head.lock().unwrap().clone();
        let mut bytes = match changed.filter(|_| self.wrong != Wrong::KeepsTheHead) {
            Some(head) => head,
            None => self.find(what)?.to_vec(),
        };
        let (size, most) = (bytes.len(), usize::try_from(limit).unwrap_or(usize::MAX));
        let other = || Err(Fault::OtherFile(format!("has {size} bytes")));
        match self.wrong {
            Wrong::CutsTheHead => bytes.truncate(size - 1),
            Wrong::HasAnotherHead => bytes[0] ^= 1,
            Wrong::IgnoresTheLimit => return Ok(bytes),
            Wrong::CutsAtTheLimit => bytes.truncate(most),
            Wrong::RefusesTheLimit if size > most => return Err(Fault::Refused("too long".to_owned())),
            // The first five requests are those of the checks before.
            Wrong::GivesTheHeadOnce if self.asked.fetch_add(1, Ordering::SeqCst) > 5 => {
                return Err(Fault::Missing);
            }
            _ => {}
        }
        if bytes.len() > most { other() } else { Ok(bytes) }
    }

    async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault> {
        let bytes = self.find(what)?;
        let (size, signed) = (bytes.len(), what.size().unwrap());
        if u64::try_from(size).unwrap() != signed {
            match self.wrong {
                Wrong::KnowsNoLengths => {}
                Wrong::CallsOtherLengthsMissing => return Err(Fault::Missing),
                Wrong::SwapsTheLists => {}
                _ => return Err(Fault::OtherFile(format!("has {size} bytes"))),
            }
        }
        if !self.is_there(what, &range) {
            return Err(match self.wrong {
                Wrong::DeniesUnclaimedChunks => Fault::Refused("not yet".to_owned()),
                _ => Fault::Missing,
            });
        }
        if self.wrong == Wrong::NeverAnswers {
            std::future::pending::<()>().await;
        }
        if self.wrong == Wrong::HangsAfterDroppedRequests {
            // Ends of requests are counted, and ends of dropped ones are not.
            self.free.acquire().await.unwrap().forget();
            tokio::task::yield_now().await;
            self.free.add_permits(1);
        }
        let (start, part) = self.part(&bytes, &range, signed);
        match self.wrong {
            Wrong::OpensOneBodyAtATime => {
                let permit = Arc::clone(&self.free).acquire_owned().await.unwrap();
                Ok(Body::new(start, stream::once(async move { (Ok(part), permit).0 })))
            }
            Wrong::HangsAfterDroppedBodies => {
                self.free.acquire().await.unwrap().forget();
                // A body that was not read to its end is counted for ever.
                let (free, half) = (Arc::clone(&self.free), part.len() / 2);
                let pieces = stream::iter([part.slice(..half), part.slice(half..)]).enumerate();
                Ok(Body::new(
                    start,
                    pieces.map(move |(at, piece)| {
                        free.add_permits(at);
                        Ok(piece)
                    }),
                ))
            }
            Wrong::GivesWhatADroppedBodyLeft if self.left.swap(false, Ordering::SeqCst) => {
                Ok(Body::of(start, vec![0; part.len()]))
            }
            _ => Ok(self.body(start, &part)),
        }
    }

    fn inventory(&self) -> Option<&Inventory> {
        self.inventory.as_ref()
    }

    fn folder(&self) -> Option<&Path> {
        static NONE: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| "/no/such/folder".into());
        (self.wrong == Wrong::HasNoSuchFolder).then(|| NONE.as_path())
    }
}

/// How a wrong source is checked.
#[derive(Clone, Copy)]
enum How {
    Whole,
    Inventory,
    Anew,
    Nothing,
    Growth,
}

async fn check(how: How, wrong: Wrong, may_deny: bool) {
    let content = Content::new();
    let mut suite = Suite::of(&content).patience(Duration::from_secs(2));
    if may_deny {
        suite = suite.may_deny();
    }
    match how {
        How::Whole => suite.check(&InMemory::of(&content, wrong)).await,
        How::Inventory => suite.check(&InMemory::with_inventory(&content, wrong)).await,
        How::Anew => {
            let source = InMemory::of(&content, wrong);
            let change = async |head: &[u8]| *source.head.lock().unwrap() = Some(head.to_vec());
            suite.check_anew(&source, change).await;
        }
        How::Nothing => {
            let mut source = InMemory::of(&content, wrong);
            source.bytes.clear();
            suite.check_without_content(&source).await;
        }
        How::Growth => {
            let source = InMemory::growing(&content, wrong);
            let mut files = content.files();
            let grow = async || {
                let Some(item) = files.next() else { return false };
                let What::File { root, .. } = item.what else { return false };
                source.gain(root, item.chunks() / 2..item.chunks());
                true
            };
            suite.check_growth(&source, grow).await;
        }
    }
}

#[tokio::test]
async fn honest_sources_pass() {
    for how in [How::Whole, How::Inventory, How::Anew, How::Nothing, How::Growth] {
        check(how, Wrong::Nothing, false).await;
    }
    for how in [How::Whole, How::Nothing] {
        check(how, Wrong::DeniesMissingFiles, true).await;
    }
    check(How::Growth, Wrong::DeniesUnclaimedChunks, true).await;
    let content = Content::new();
    Suite::of(&content).may_hide_lengths().check(&InMemory::of(&content, Wrong::KnowsNoLengths)).await;
}

/// Each kind of wrong source, the check that has to find it, and a word of its message.
const WRONG: [(How, Wrong, Check, &str); 43] = [
    (How::Whole, Wrong::HasNoName, Check::Name, "a name that can be shown"),
    (How::Whole, Wrong::HasAnotherNameEachTime, Check::Name, "again"),
    (How::Whole, Wrong::HasNoSuchFolder, Check::Folder, "/no/such/folder"),
    (How::Whole, Wrong::CutsTheHead, Check::Whole, "other bytes"),
    (How::Whole, Wrong::HasAnotherHead, Check::Whole, "other bytes"),
    (How::Whole, Wrong::IgnoresTheLimit, Check::Limit, "expected OtherFile"),
    (How::Whole, Wrong::CutsAtTheLimit, Check::Limit, "expected OtherFile"),
    (How::Whole, Wrong::RefusesTheLimit, Check::Limit, "got Refused"),
    (How::Whole, Wrong::GivesTheHeadOnce, Check::Twice, "got Missing"),
    (How::Anew, Wrong::KeepsTheHead, Check::Anew, "other bytes"),
    (How::Whole, Wrong::EndsEarly, Check::Ranges, "got an end at"),
    (How::Whole, Wrong::EndsEarlyWithAFault, Check::Ranges, "got Unreachable"),
    (How::Whole, Wrong::BeginsLate, Check::Ranges, "a body that begins at 1"),
    (How::Whole, Wrong::SaysAnEarlierStart, Check::Ranges, "another byte at"),
    (How::Whole, Wrong::FlipsABit, Check::Ranges, "another byte at 999"),
    (How::Whole, Wrong::MissesTheLastByte, Check::Ranges, "got an end at"),
    (How::Whole, Wrong::KnowsNoFiles, Check::Ranges, "got Missing"),
    (How::Whole, Wrong::DeniesListedFiles, Check::Listed, "got Refused"),
    (How::Whole, Wrong::KnowsOneListedFile, Check::Listed, "all listed files or none"),
    (How::Whole, Wrong::NeverAnswers, Check::Ranges, "got nothing for 2s"),
    (How::Whole, Wrong::NeverGives, Check::Ranges, "got nothing for 2s"),
    (How::Whole, Wrong::ForgetsTheLayers, Check::Metadata, "chunks.layer"),
    (How::Whole, Wrong::SwapsTheLists, Check::Metadata, "files.jsonl"),
    (How::Whole, Wrong::SharesOnePlace, Check::Together, "another byte at"),
    (How::Whole, Wrong::OpensOneBodyAtATime, Check::Together, "got nothing for 2s"),
    (How::Whole, Wrong::CallsMissingFilesUnreachable, Check::Missing, "got Unreachable"),
    (How::Whole, Wrong::DeniesMissingFiles, Check::Missing, "got Refused"),
    (How::Whole, Wrong::GivesZerosForMissingFiles, Check::Missing, "got an answer"),
    (How::Whole, Wrong::KnowsNoLengths, Check::OtherLengths, "got an answer"),
    (How::Whole, Wrong::CallsOtherLengthsMissing, Check::OtherLengths, "got Missing"),
    (How::Whole, Wrong::HangsAfterDroppedBodies, Check::DroppedBodies, "got nothing for 2s"),
    (How::Whole, Wrong::GivesWhatADroppedBodyLeft, Check::DroppedBodies, "another byte at"),
    (How::Whole, Wrong::HangsAfterDroppedRequests, Check::DroppedRequests, "got nothing for 2s"),
    (How::Inventory, Wrong::ClaimsNothing, Check::Inventory, "an inventory without it"),
    (How::Inventory, Wrong::ClaimsChunksBehindTheEnd, Check::Inventory, "an inventory with chunk"),
    (How::Inventory, Wrong::ClaimsAnotherFile, Check::Inventory, "one with another file"),
    (How::Nothing, Wrong::CallsMissingFilesUnreachable, Check::Nothing, "got Unreachable"),
    (How::Nothing, Wrong::GivesZerosForMissingFiles, Check::Nothing, "got an answer"),
    (How::Growth, Wrong::ClaimsTooEarly, Check::Growth, "got Missing"),
    (How::Growth, Wrong::GivesAllTheTime, Check::Growth, "not in the inventory"),
    (How::Growth, Wrong::GainsNothing, Check::Growth, "to have more"),
    (How::Growth, Wrong::DeniesUnclaimedChunks, Check::Growth, "got Refused"),
    (How::Growth, Wrong::FlipsABit, Check::Growth, "another byte at"),
];

#[test]
fn each_fault_is_found_by_its_check() {
    let found = WRONG.map(|(how, wrong, ..)| {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(check(how, wrong, false));
        })
    });
    for ((_, wrong, check, words), found) in WRONG.into_iter().zip(found) {
        let panic = found.join().expect_err(&format!("{wrong:?} to fail"));
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(&format!("the check \"{check}\"")), "{wrong:?}: {message}");
        assert!(message.contains(words), "{wrong:?}: {message}");
    }
}

#[test]
fn each_check_has_a_source_that_fails_it() {
    let failed: BTreeSet<_> = WRONG.map(|(_, _, check, _)| check).into();
    assert_eq!(failed.len(), Check::Growth as usize + 1, "{failed:?}");
}

/// How much an honest source in memory gives at once.
const PIECE: usize = 50_000;
