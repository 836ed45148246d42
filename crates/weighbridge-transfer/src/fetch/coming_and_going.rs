//! Sources that join, leave, gain chunks and give wrong ones while a fetch runs; and fetches that are stopped.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use weighbridge_bandwidth::{Budget, Class, Peer, Share};
use weighbridge_manifest::{Expectation, TrustPolicy};
use weighbridge_testkit::{CHUNK, Sample};

use super::*;
use crate::{
    board::lock,
    guide::NamedRun,
    options::Watchdog,
    source::{Body, Fault, Sources, What},
};

/// A source whose files lie in memory.
struct InMemory {
    sample: Arc<Sample>,
    inventory: Option<Inventory>,
    /// The chunks of the first file that the source gives wrong.
    wrong: BTreeSet<u64>,
    /// The time that the source takes for each chunk.
    pace: Duration,
    asked: Mutex<Vec<(What, Range<u64>)>>,
    /// The number of requests under way.
    open: Arc<AtomicU64>,
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InMemory")
    }
}

impl InMemory {
    fn of(sample: &Arc<Sample>) -> Self {
        Self {
            sample: Arc::clone(sample),
            inventory: None,
            wrong: BTreeSet::new(),
            pace: Duration::ZERO,
            asked: Mutex::default(),
            open: Arc::default(),
        }
    }

    fn bytes(&self, what: &What) -> Result<Vec<u8>, Fault> {
        Ok(match what {
            What::Head => self.sample.note.clone(),
            What::FileList { .. } => self.sample.files.clone(),
            What::Layers { .. } => self.sample.layers.clone(),
            What::TensorList { .. } | What::Listed { .. } => return Err(Fault::Missing),
            What::File { path, .. } => {
                let found = self.sample.contents.iter().find(|(there, _)| there == path);
                let mut bytes = found.ok_or(Fault::Missing)?.1.clone();
                for chunk in &self.wrong {
                    bytes[usize::try_from(chunk * CHUNK).unwrap()] ^= 1;
                }
                bytes
            }
        })
    }

    /// The bytes of files that the source was asked for.
    fn given(&self) -> u64 {
        let asked = lock(&self.asked);
        let of_files = asked.iter().filter(|(what, _)| !what.is_metadata());
        of_files.map(|(_, range)| range.end - range.start).sum()
    }

    fn asked_for_files(&self) -> usize {
        lock(&self.asked).iter().filter(|(what, _)| !what.is_metadata()).count()
    }
}

/// A request under way.
struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl Source for InMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn whole(&self, what: &What, _limit: u64) -> Result<Vec<u8>, Fault> {
        self.bytes(what)
    }

    async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault> {
        lock(&self.asked).push((what.clone(), range.clone()));
        self.open.fetch_add(1, SeqCst);
        let open = Open(Arc::clone(&self.open));
        let bytes = self.bytes(what)?;
        let part = bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec();
        let pieces: Vec<_> = part.chunks(usize::try_from(CHUNK).unwrap()).map(<[u8]>::to_vec).collect();
        let pace = self.pace;
        let state = (pieces.into_iter(), open);
        let next = move |(mut pieces, open): (std::vec::IntoIter<Vec<u8>>, Open)| async move {
            tokio::time::sleep(pace).await;
            pieces.next().map(|piece| (Ok(piece.into()), (pieces, open)))
        };
        Ok(Body::new(range.start, stream::unfold(state, next).fuse()))
    }

    fn inventory(&self) -> Option<&Inventory> {
        self.inventory.as_ref()
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> {
        Ok(())
    }

    fn event(&self, event: Event) {
        lock(&self.0).push(event);
    }
}

impl Heard {
    /// The sources that were blamed, with the words for the blame.
    fn blamed(&self) -> BTreeSet<(usize, &'static str)> {
        let heard = lock(&self.0);
        let blames = heard.iter().filter_map(|event| match event {
            Event::Source(status) => Some((status.source.number(), status.blame.as_ref()?.0.word())),
            _ => None,
        });
        blames.collect()
    }
}

/// A fetch of all of a release, by the id of its head.
pub(super) fn options(sample: &Sample, sources: Sources, into: PathBuf) -> Options {
    Options {
        sources,
        metadata: None,
        into,
        policy: TrustPolicy::pinned(sample.id),
        expected: Expectation::any(),
        now: None,
        wanted: Wanted::default(),
        unlisted: Unlisted::Report,
        another_model: AnotherModel::Refuse,
        memory: 64 << 20,
        receive: Share::unlimited(),
        watchdog: Watchdog::default(),
        guide: None,
        nearby: None,
    }
}

/// A model of forty chunks.
fn sample() -> Arc<Sample> {
    Arc::new(Sample::of(&[("model.bin", 40 * usize::try_from(CHUNK).unwrap())], 1))
}

fn assert_arrived(sample: &Sample, at: &Path) {
    assert!(std::fs::read(at.join("model.bin")).unwrap() == sample.bytes(0), "other bytes");
}

async fn fetched(
    sources: &Sources,
    sample: &Sample,
    heard: &Heard,
) -> (Result<Fetched, FetchError>, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let options = options(sample, sources.clone(), place.path().join("m"));
    let ended = tokio::time::timeout(Duration::from_secs(60), fetch(options, heard, &Stop::default())).await;
    let ended = ended.expect("an end");
    if ended.is_ok() {
        assert_arrived(sample, &place.path().join("m"));
    }
    (ended, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_gains_chunks_is_used_as_it_gains_them() {
    let sample = sample();
    let root = sample.list.entries()[0].root;
    let growing = Arc::new(InMemory { inventory: Some(Inventory::default()), ..InMemory::of(&sample) });
    let sources = Sources::from(vec![Arc::clone(&growing) as Arc<dyn Source>]);
    let inventory = growing.inventory.as_ref().unwrap();
    let grows = async {
        for chunk in 0..39 {
            inventory.add(root, chunk..chunk + 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while growing.given() < 39 * CHUNK {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let asked = lock(&growing.asked).clone();
        let is_early = |(what, range): &(What, Range<u64>)| what.is_metadata() || range.end <= 39 * CHUNK;
        assert!(asked.iter().all(is_early), "{asked:?}");
        inventory.add(root, 39..40);
    };
    let heard = Heard::default();
    let (ended, ()) = tokio::join!(fetched(&sources, &sample, &heard), grows);
    ended.0.unwrap();
    assert!(heard.blamed().is_empty(), "{:?}", heard.blamed());

    // A source that will gain no more chunks is not waited for.
    let growing = Arc::new(InMemory { inventory: Some(Inventory::default()), ..InMemory::of(&sample) });
    let inventory = growing.inventory.as_ref().unwrap();
    inventory.add(root, 0..7);
    inventory.finish();
    let sources = Sources::from(vec![Arc::clone(&growing) as Arc<dyn Source>]);
    let error = fetched(&sources, &sample, &Heard::default()).await.0.unwrap_err();
    let FetchError::NoSource { missing, .. } = error else { panic!("{error}") };
    assert_eq!(missing[0].chunks, vec![7..40; 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_joins_late_is_used_and_one_that_leaves_takes_nothing_along() {
    let sample = sample();
    let slow = || Arc::new(InMemory { pace: Duration::from_millis(50), ..InMemory::of(&sample) });
    let (first, second) = (slow(), Arc::new(InMemory::of(&sample)));
    let sources = Sources::from(vec![Arc::clone(&first) as Arc<dyn Source>]);
    let (heard, begun) = (Heard::default(), Instant::now());
    let changes = async {
        while first.asked_for_files() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!(sources.join(Arc::clone(&second) as Arc<dyn Source>).number(), 1);
        sources.leave(SourceId::new(0));
    };
    let (ended, ()) = tokio::join!(fetched(&sources, &sample, &heard), changes);
    let progress = ended.0.unwrap().progress;
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waited for the one that left");
    assert!(second.asked_for_files() > 0);
    assert_eq!(first.open.load(SeqCst), 0, "its requests have ended");
    assert!(progress.received < progress.wanted * 3 / 2, "{progress:?}");
    assert!(heard.blamed().is_empty(), "{:?}", heard.blamed());
}

/// A server leaves a client that takes nothing, and would be blamed for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_class_above_keeps_waiting_is_ended_and_nobody_is_blamed() {
    let sample = sample();
    let source = Arc::new(InMemory { pace: Duration::from_millis(20), ..InMemory::of(&sample) });
    let (budget, place) = (Budget::of(20_000_000), tempfile::tempdir().unwrap());
    let mut options =
        options(&sample, vec![Arc::clone(&source) as Arc<dyn Source>].into(), place.path().join("m"));
    options.receive = budget.share(Class::Prefetch, Peer::unique());
    options.watchdog = Watchdog { window: Duration::from_millis(300), ..Watchdog::default() };
    let (heard, stop) = (Heard::default(), Stop::default());
    let until = |ready: fn(&InMemory) -> bool| {
        let source = Arc::clone(&source);
        async move {
            while !ready(&source) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let others = async {
        until(|source| source.asked_for_files() > 0).await;
        // Many enough that some always wait, even where a busy machine grants many turns at once.
        let moving = futures_util::future::join_all((0..64).map(|_| async {
            let above = budget.share(Class::Awaited, Peer::unique());
            loop {
                above.pay(100_000).await;
            }
        }));
        let ended = async {
            until(|source| source.open.load(SeqCst) == 0).await;
            let asked = source.asked_for_files();
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(
                (source.asked_for_files(), source.open.load(SeqCst)),
                (asked, 0),
                "nothing is asked for"
            );
        };
        tokio::select! {
            _ = moving => unreachable!(),
            ended = tokio::time::timeout(Duration::from_secs(60), ended) => ended.unwrap(),
        }
    };
    let (ended, ()) = tokio::join!(fetch(options, &heard, &stop), others);
    let progress = ended.unwrap().progress;
    assert_arrived(&sample, &place.path().join("m"));
    assert!(heard.blamed().is_empty(), "{:?}", heard.blamed());
    assert!(progress.received < progress.wanted * 3 / 2, "{progress:?}");
}

/// Names the chunks one by one, from the end, each for the source of its parity.
#[derive(Debug, Default)]
struct FromTheEnd {
    holding: Mutex<Option<Holding>>,
    asked: Mutex<Vec<(usize, u64)>>,
    lacks: AtomicBool,
    ended: AtomicU64,
    given: AtomicU64,
    held: Mutex<BTreeSet<u64>>,
}

impl Guide for FromTheEnd {
    fn begin(&self, holding: &Holding) {
        *lock(&self.holding) = Some(holding.clone());
    }

    fn directs(&self) -> bool {
        lock(&self.holding).is_some()
    }

    fn may_ask(&self, _: SourceId) -> bool {
        true
    }

    fn next(&self, source: SourceId, _: Instant) -> Option<NamedRun> {
        assert!(self.lacks.load(SeqCst), "the disk was not looked at yet");
        let held = lock(&self.held);
        let mut asked = lock(&self.asked);
        let is_free = |chunk: &u64| !held.contains(chunk) && !asked.iter().any(|(_, asked)| asked == chunk);
        let of_source = (0..40).rev().filter(|chunk| *chunk % 2 == source.number() as u64);
        let chunk = of_source.into_iter().find(is_free)?;
        asked.push((source.number(), chunk));
        Some(NamedRun { file: 0, chunks: chunk..chunk + 1, is_copy: false, claim: None })
    }

    fn ended(&self, _: SourceId, is_done: bool, _: Instant) {
        assert!(is_done);
        self.ended.fetch_add(1, SeqCst);
    }

    fn lacks(&self, file: usize, chunks: &Range<u64>) {
        assert_eq!((file, chunks), (0, &(0..40)));
        self.lacks.store(true, SeqCst);
    }

    fn holds(&self, file: usize, chunks: &Range<u64>) {
        assert_eq!(file, 0);
        let holding = lock(&self.holding).clone().unwrap();
        assert!(holding.has(0, chunks));
        lock(&self.held).extend(chunks.clone());
    }

    fn not_asked(&self, source: SourceId, _: Instant) {
        panic!("{source:?} could not be asked");
    }

    fn held_back(&self, source: SourceId, _: Duration, _: Instant) {
        panic!("{source:?} was asked without a claim");
    }

    fn gave(&self, _: SourceId, bytes: u64) {
        self.given.fetch_add(bytes, SeqCst);
    }

    fn gave_wrong(&self, source: SourceId) {
        panic!("{source:?} gave what is right");
    }

    fn source(&self, status: &SourceStatus) {
        assert!(!status.has_lied());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guide_names_each_request_and_reads_what_has_come() {
    let sample = sample();
    let mirrors = [InMemory::of(&sample), InMemory::of(&sample)].map(Arc::new);
    let sources: Vec<_> = mirrors.iter().map(|mirror| Arc::clone(mirror) as Arc<dyn Source>).collect();
    let guide = Arc::new(FromTheEnd::default());
    let place = tempfile::tempdir().unwrap();
    let options = options(&sample, Sources::from(sources), place.path().join("m"));
    let options = Options { guide: Some(Arc::clone(&guide) as Arc<dyn Guide>), ..options };
    fetch(options, &Heard::default(), &Stop::default()).await.unwrap();
    assert_arrived(&sample, &place.path().join("m"));
    assert_eq!((guide.ended.load(SeqCst), lock(&guide.held).len()), (40, 40));
    assert_eq!(guide.given.load(SeqCst), 40 * CHUNK);
    for (number, mirror) in (0..).zip(&mirrors) {
        let asked = lock(&mirror.asked).clone();
        let of_files = asked.iter().filter(|(what, _)| !what.is_metadata()).map(|(_, range)| range.clone());
        let expected = (0..40).rev().filter(|chunk| chunk % 2 == number);
        assert!(of_files.eq(expected.map(|chunk| chunk * CHUNK..(chunk + 1) * CHUNK)), "{asked:?}");
    }
    // The chunks can be read as long as somebody keeps them, under their final name too.
    let holding = lock(&guide.holding).clone().unwrap();
    let chunk = usize::try_from(CHUNK).unwrap();
    assert_eq!(holding.read(0, 3..4).unwrap(), sample.bytes(0)[3 * chunk..4 * chunk]);
    std::fs::write(place.path().join("m/model.bin"), vec![0; 40 * chunk]).unwrap();
    assert!(holding.read(0, 3..4).is_err(), "what is on disk is judged again");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_with_different_wrong_chunks_have_the_model_between_them() {
    let sample = sample();
    let mirror =
        |wrong: Range<u64>| Arc::new(InMemory { wrong: wrong.collect(), ..InMemory::of(&sample) }) as _;
    let heard = Heard::default();
    let sources = Sources::from(vec![mirror(3..4), mirror(17..20), mirror(0..2)]);
    fetched(&sources, &sample, &heard).await.0.unwrap();
    assert!(heard.blamed().iter().all(|(_, word)| *word == "lied"));

    // One source alone gives everything else, and the error names the missing chunks.
    let heard = Heard::default();
    let alone = Arc::new(InMemory { wrong: [3, 17, 18, 39].into(), ..InMemory::of(&sample) });
    let sources = Sources::from(vec![Arc::clone(&alone) as Arc<dyn Source>]);
    let error = fetched(&sources, &sample, &heard).await.0.unwrap_err();
    assert_eq!(weighbridge_tree::Coded::error_code(&error), weighbridge_tree::ErrorCode::SOURCES_REFUSED);
    assert_eq!(
        error.to_string(),
        "the only source cannot deliver chunk 3, chunks 17 to 18, chunk 39 of model.bin"
    );
    let FetchError::NoSource { missing, progress, .. } = error else { panic!() };
    assert_eq!(missing[0].chunks, [3..4, 17..19, 39..40]);
    assert_eq!(progress.durable, 36 * CHUNK);
    let asked = lock(&alone.asked).len();
    assert!(asked < 16, "{asked} requests");
}

/// A fetch may be stopped at any point: when the stop returns, its requests have ended, and no task holds a source.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_stopped_or_dropped_leaves_nothing_running() {
    let sample = sample();
    for moment in 0..100_u64 {
        let is_dropped = moment.is_multiple_of(4);
        let pace = Duration::from_micros(moment % 7 * 300);
        let mirrors: Vec<_> =
            (0..3).map(|_| Arc::new(InMemory { pace, wrong: [5].into(), ..InMemory::of(&sample) })).collect();
        let sources = mirrors.iter().map(|mirror| Arc::clone(mirror) as Arc<dyn Source>).collect::<Vec<_>>();
        let place = tempfile::tempdir().unwrap();
        let options = options(&sample, Sources::from(sources), place.path().join("m"));
        let (heard, stop) = (Heard::default(), Stop::default());
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        {
            let fetch = fetch(options, &heard, &stop);
            tokio::pin!(fetch);
            let pause = Duration::from_micros(moment * 400);
            let early = tokio::time::timeout(pause, &mut fetch).await;
            if early.is_err() && !is_dropped {
                let (ended, ()) = tokio::join!(&mut fetch, stop.stop());
                assert!(
                    matches!(ended, Err(FetchError::Stopped { .. } | FetchError::NoSource { .. })),
                    "{ended:?}"
                );
                for mirror in &mirrors {
                    assert_eq!(mirror.open.load(SeqCst), 0, "a request is open at moment {moment}");
                }
                // The runtime counts a blocking call as gone a moment after it has returned.
                let until = Instant::now() + Duration::from_secs(1);
                while tokio::runtime::Handle::current().metrics().num_alive_tasks() > alive {
                    assert!(Instant::now() < until, "a task runs at moment {moment}");
                    tokio::task::yield_now().await;
                }
            }
        }
        // After a plain drop only a blocking call that was under way may still hold a reference.
        let until = Instant::now() + Duration::from_secs(5);
        while mirrors.iter().any(|mirror| Arc::strong_count(mirror) > 1) {
            assert!(Instant::now() < until, "a source is held after moment {moment}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(mirrors.iter().all(|mirror| mirror.open.load(SeqCst) == 0));
    }
}

/// Wishes for the last chunk as soon as it may.
#[derive(Debug, Default)]
struct Impatient(Mutex<Option<crate::guide::Wish>>);

impl Guide for Impatient {
    fn begin(&self, holding: &Holding) {
        *lock(&self.0) = holding.wish(0, 39..40);
    }

    fn holds(&self, _: usize, _: &Range<u64>) {}
}

/// A wish that was made at the beginning was lost, if the schedule was made after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_at_the_beginning_counts() {
    let sample = sample();
    let source = Arc::new(InMemory::of(&sample));
    let sources = Sources::from(vec![Arc::clone(&source) as Arc<dyn Source>]);
    let place = tempfile::tempdir().unwrap();
    let guide: Arc<dyn Guide> = Arc::new(Impatient::default());
    let options = Options { guide: Some(guide), ..options(&sample, sources, place.path().join("m")) };
    let _ = fetch(options, &Heard::default(), &Stop::default()).await.unwrap();
    let asked = lock(&source.asked);
    let asked: Vec<_> = asked.iter().filter(|(what, _)| matches!(what, What::File { .. })).collect();
    assert!(asked.iter().any(|(_, range)| range.start == 39 * CHUNK), "{asked:?}");
}

/// Looks, when the lists have come, whether the chunks would have to wait.
#[derive(Debug)]
struct Looks(Share, AtomicBool);

impl Guide for Looks {
    fn begin(&self, _: &Holding) {
        self.1.store(self.0.is_outranked(), SeqCst);
    }

    fn holds(&self, _: usize, _: &Range<u64>) {}
}

/// The lists are of a class above the chunks, which stood still for a tenth of a second after them where nothing is limited.
#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_a_fetch_keep_nothing_off_where_nothing_is_limited() {
    let sample = sample();
    let sources = Sources::from(vec![Arc::new(InMemory::of(&sample)) as Arc<dyn Source>]);
    let place = tempfile::tempdir().unwrap();
    let receive = Budget::unlimited().share(Class::Rest, Peer::unique());
    let looks = Arc::new(Looks(receive.clone(), AtomicBool::new(false)));
    let guide = Some(Arc::clone(&looks) as Arc<dyn Guide>);
    let options = Options { receive, guide, ..options(&sample, sources, place.path().join("m")) };
    let _ = fetch(options, &Heard::default(), &Stop::default()).await.unwrap();
    assert!(!looks.1.load(SeqCst));
}
