//! Fetches that take tensors from other releases on this machine.

use proptest::prelude::*;
use weighbridge_bandwidth::Share;
use weighbridge_manifest::{Expectation, TrustPolicy, VerifiedTensorList};
use weighbridge_store::{CHUNKS, FILES, Metadata, ModelView, TENSORS};
use weighbridge_testkit::{Folder, bytes, safetensors};
use weighbridge_tree::ChunkSize;

use super::*;
use crate::{
    nearby::NearbyTensor,
    options::Watchdog,
    source::{SourceFactory, SourceOptions, Sources},
};

/// A model with one file, and its metadata.
struct Model {
    folder: Folder,
    id: weighbridge_tree::HeadId,
    view: Arc<ModelView>,
    tensors: VerifiedTensorList,
    /// The length of its lists and layers.
    metadata: u64,
    file: Vec<u8>,
}

const FILE: &str = "model.safetensors";
const UNIT: usize = 16 << 10;

impl Model {
    /// A model with tensors of these sizes, whose bytes follow from the seeds.
    fn of(tensors: &[(usize, u8)]) -> Self {
        let tensors: Vec<_> = tensors
            .iter()
            .enumerate()
            .map(|(n, (size, seed))| (format!("t{n:03}"), bytes(*size, *seed)))
            .collect();
        let named: Vec<_> = tensors.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let file = safetensors(&named);
        let (folder, signed) = Folder::weighed(&[(FILE, file.clone())], ChunkSize::MIN);
        let len = |name| std::fs::metadata(signed.folder.at(name)).unwrap().len();
        let view = ModelView::open(folder.path(), &Metadata::of_model(folder.path()), signed.files).unwrap();
        Self {
            id: signed.head.id(),
            view: Arc::new(view),
            tensors: signed.tensors.unwrap(),
            metadata: [FILES, TENSORS, CHUNKS].into_iter().map(len).sum(),
            folder,
            file,
        }
    }
}

/// The releases that a fetch is told of: each tensor of this one, at its offset and so many bytes behind it.
#[derive(Clone, Debug)]
struct Told {
    view: Arc<ModelView>,
    tensors: VerifiedTensorList,
    file: usize,
    behind: u64,
}

impl Told {
    fn of(model: &Model) -> Self {
        Self { view: Arc::clone(&model.view), tensors: model.tensors.clone(), file: 0, behind: 0 }
    }
}

impl Nearby for Told {
    fn find(&self, wanted: &VerifiedTensorList) -> NearbyTensors {
        let all = wanted.entries().iter().filter_map(|wanted| {
            let tensor = self.tensors.entries().iter().find(|tensor| tensor.hash == wanted.hash)?;
            let (view, offset) = (Arc::clone(&self.view), tensor.offset.saturating_add(self.behind));
            Some((*wanted.hash.as_bytes(), NearbyTensor { view, file: self.file, offset }))
        });
        all.collect()
    }
}

struct Quiet;

impl Observer for Quiet {
    fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> {
        Ok(())
    }

    fn event(&self, _: Event) {}
}

/// A fetch of a model from its folder, into a folder in which something may be.
async fn fetched_into(into: &Path, model: &Model, wanted: Wanted, nearby: Option<Told>) -> Fetched {
    let source = SourceFactory::new().parse(model.folder.path().to_str().unwrap(), &SourceOptions::default());
    let options = Options {
        sources: Sources::from(vec![source.unwrap()]),
        metadata: None,
        into: into.to_owned(),
        policy: TrustPolicy::pinned(model.id),
        expected: Expectation::any(),
        now: None,
        wanted,
        unlisted: Unlisted::Report,
        another_model: AnotherModel::Refuse,
        memory: 64 << 20,
        receive: Share::unlimited(),
        watchdog: Watchdog::default(),
        guide: None,
        nearby: nearby.map(|nearby| Arc::new(nearby) as Arc<dyn Nearby>),
    };
    let stop = Stop::default();
    let ended = tokio::time::timeout(Duration::from_secs(60), fetch(options, &Quiet, &stop)).await;
    ended.expect("an end").expect("a good one")
}

async fn fetched(model: &Model, nearby: Told) -> Fetched {
    let place = Folder::new();
    let fetched = fetched_into(&place.at("m"), model, Wanted::default(), Some(nearby)).await;
    assert!(std::fs::read(place.at("m").join(FILE)).unwrap() == model.file, "other bytes");
    assert!(
        fetched.progress.received <= fetched.progress.verified - fetched.nearby + model.metadata,
        "what is here was asked for: {fetched:?}"
    );
    fetched
}

fn base() -> Model {
    Model::of(&[(100_000, 1), (100_000, 2), (100_000, 3), (100_000, 4), (100_000, 5)])
}

/// Of a model that differs in one tensor of five, the chunks of that tensor come, and that of the header.
#[tokio::test(flavor = "multi_thread")]
async fn tensors_of_another_release_are_copied() {
    let (base, tuned) =
        (base(), Model::of(&[(100_000, 1), (100_000, 2), (100_000, 9), (100_000, 4), (100_000, 5)]));
    let fetched = fetched(&tuned, Told::of(&base)).await;
    let from_sources = fetched.bytes - fetched.nearby;
    assert!(from_sources >= 100_000 && from_sources <= 100_000 + 3 * UNIT as u64, "{from_sources}");
}

/// Nothing is believed of what is near: each kind of wrong answer costs a reading, and the bytes come from the source.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_cost_nothing_but_the_reading() {
    let (base, tuned) = (base(), base());
    let all = |fetched: &Fetched| fetched.nearby == 0;
    // Other bytes, a place behind the end of the file, and a file that is not there.
    assert!(all(&fetched(&tuned, Told { behind: 1, ..Told::of(&base) }).await));
    assert!(all(&fetched(&tuned, Told { behind: 1 << 40, ..Told::of(&base) }).await));
    assert!(all(&fetched(&tuned, Told { behind: u64::MAX, ..Told::of(&base) }).await));
    assert!(all(&fetched(&tuned, Told { file: 1, ..Told::of(&base) }).await));
    // A file that was changed since it was verified: the chunk of the changed byte comes from the source.
    base.folder.alter(FILE, |bytes| bytes[250_000] ^= 1);
    let rest = fetched(&tuned, Told::of(&base)).await;
    assert!(rest.nearby > 0 && rest.bytes - rest.nearby <= 3 * UNIT as u64, "{rest:?}");
    // One that was removed, and one that was cut.
    base.folder.alter(FILE, |bytes| bytes.truncate(200_000));
    assert!(all(&fetched(&tuned, Told { view: Arc::new(reopened(&base)), ..Told::of(&base) }).await));
    std::fs::remove_file(base.folder.at(FILE)).unwrap();
    assert!(all(&fetched(&tuned, Told { view: Arc::new(reopened(&base)), ..Told::of(&base) }).await));
}

fn reopened(model: &Model) -> ModelView {
    let metadata = Metadata::of_model(model.folder.path());
    ModelView::open(model.folder.path(), &metadata, model.view.files().clone()).unwrap()
}

/// Chunks that an earlier fetch has written are kept, and tensors that are near fill the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_goes_on_takes_the_rest_from_nearby() {
    let (base, tuned) =
        (base(), Model::of(&[(100_000, 1), (100_000, 2), (100_000, 9), (100_000, 4), (100_000, 5)]));
    let place = Folder::new();
    let only = globset::GlobSet::builder().add(globset::Glob::new("t002").unwrap()).build().unwrap();
    let part = Wanted { files: None, tensors: Some(only) };
    let first = fetched_into(&place.at("m"), &tuned, part, None).await;
    assert_eq!((first.partial, first.nearby), (1, 0));
    let rest = fetched_into(&place.at("m"), &tuned, Wanted::default(), Some(Told::of(&base))).await;
    assert!(std::fs::read(place.at("m").join(FILE)).unwrap() == tuned.file);
    assert!(rest.nearby >= 300_000, "{rest:?}");
    assert!(rest.progress.received <= tuned.metadata, "the one tensor that is not near was here: {rest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the sizes and whichever tensors are near: the copied chunks are those of which each byte is in a tensor that is near.
    #[test]
    fn each_chunk_that_can_be_copied_is(
        tensors in proptest::collection::vec((0_usize..60_000, 1_u8..6, any::<bool>()), 1..12),
    ) {
        let wanted: Vec<_> = tensors.iter().map(|(size, seed, is_near)| (*size, if *is_near { *seed } else { seed + 100 })).collect();
        // In another order, and so at other offsets.
        let near: Vec<_> = wanted.iter().rev().filter(|(_, seed)| *seed < 100).copied().chain([(1_000, 77)]).collect();
        let (near, wanted_model) = (Model::of(&near), Model::of(&wanted));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let fetched = runtime.block_on(fetched(&wanted_model, Told::of(&near)));

        let mut is_near = vec![false; wanted_model.file.len()];
        for tensor in wanted_model.tensors.entries() {
            let place: usize = tensor.name.as_str()[1..].parse().unwrap();
            let from = usize::try_from(tensor.offset).unwrap();
            is_near[from..from + wanted[place].0].fill(wanted[place].1 < 100);
        }
        let copied: usize = is_near.chunks(UNIT).filter(|chunk| chunk.iter().all(|byte| *byte)).map(<[bool]>::len).sum();
        // A file of one chunk has no layer, and is fetched as a whole.
        let copied = if wanted_model.file.len() <= UNIT { 0 } else { copied };
        prop_assert_eq!(fetched.nearby, copied as u64);
    }
}
