//! Only the touched chunks of a large model are read. This test has a process of its own, since it counts the reads
//! of the process.

#![allow(clippy::unwrap_used)] // a test may stop where it fails

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    ops::ControlFlow,
    path::Path,
    sync::Mutex,
};

use weighbridge_formats::{Format, Parsed, generate::Llama};
use weighbridge_store::{
    ModelView, TensorView,
    scan::{Job, ScanError, Scanned, Tensors, Watch, scan},
};
use weighbridge_testkit::Draft;
use weighbridge_verify::{
    manifest::{Dtype, EntryPath, FileEntry, TensorEntry, TensorName},
    tree::ChunkSize,
};

const SIZE: ChunkSize = ChunkSize::DEFAULT_MIN;

/// Weighs a model that is too large for memory.
fn weigh(model: &Path, paths: &[String]) -> Draft {
    struct Found(Mutex<BTreeMap<usize, Scanned>>);
    impl Watch for Found {
        fn read(&self, _: u64) {}
        fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
            self.0.lock().unwrap().insert(job, result.unwrap());
            ControlFlow::Continue(())
        }
    }
    let jobs: Vec<_> = paths
        .iter()
        .map(|path| {
            let (file, tensors) = (model.join(path), Format::of(path).map_or(Tensors::Ignore, Tensors::Hash));
            let size = fs::metadata(&file).unwrap().len();
            Job::of(file, size, tensors)
        })
        .collect();
    let found = Found(Mutex::default());
    scan(&jobs, SIZE, &found);
    let mut draft =
        Draft { files: Vec::new(), tensors: Some(Vec::new()), layers: Vec::new(), chunk_size: SIZE };
    for ((path, job), scanned) in paths.iter().zip(jobs).zip(found.0.into_inner().unwrap().into_values()) {
        let path = EntryPath::parse(path).unwrap();
        let spans = match scanned.parsed {
            Some(Parsed::Tensors { tensors, .. }) => tensors,
            _ => Vec::new(),
        };
        let tensors = spans.into_iter().zip(scanned.tensor_hashes.unwrap_or_default()).map(|(span, hash)| {
            TensorEntry {
                name: TensorName::parse(&span.name).unwrap(),
                file: path.clone(),
                dtype: Dtype::parse(&span.dtype).unwrap(),
                shape: span.shape,
                offset: span.offset,
                size: span.size,
                hash,
            }
        });
        draft.tensors.as_mut().unwrap().extend(tensors);
        draft.layers.extend(scanned.values.iter().flat_map(|value| *value.as_bytes()));
        draft.files.push(FileEntry { path, size: job.size, root: scanned.root, sha256: None });
    }
    draft
}

/// The number of bytes this process has read so far, by the kernel's count.
fn read_by_this_process() -> Option<u64> {
    let counts = fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse().ok()
}

fn range_of(file: &Path, offset: u64, len: u64) -> Vec<u8> {
    let mut file = File::open(file).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn three_tensors_of_417_cost_their_chunks_and_those_of_their_headers() {
    // In the build folder: the folder for temporary files may be in memory, and the model has 2 GB.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut written = Llama::of_size(2_000_000_000, 3, 7).write(folder.path()).unwrap();
    assert!(written.bytes > 1_990_000_000 && written.tensors == 417, "{written:?}");
    written.files.sort();
    let draft = weigh(folder.path(), &written.files);
    let signed = draft.sign();

    // Two tensors of the first shard, one in many chunks and one in a single chunk; one of the third shard; none of
    // the second.
    let entries = signed.tensors.clone().unwrap();
    let of_shard = |nth: usize, part: &str| {
        let tensors = entries.of_file(&format!("model-{nth:05}-of-00003.safetensors"));
        tensors.iter().rfind(|tensor| tensor.name.as_str().contains(part)).cloned().unwrap()
    };
    let chosen =
        [of_shard(1, "mlp.gate_proj"), of_shard(1, "input_layernorm"), of_shard(3, "self_attn.k_proj")];
    let (unit, mut expected) = (SIZE.bytes(), BTreeSet::new());
    for tensor in &chosen {
        let file = folder.path().join(tensor.file.as_str());
        let header = 8 + u64::from_le_bytes(range_of(&file, 0, 8).try_into().unwrap());
        let touched = (0..header.div_ceil(unit))
            .chain(tensor.offset / unit..(tensor.offset + tensor.size).div_ceil(unit));
        expected.extend(touched.map(|index| (tensor.file.clone(), index)));
    }

    let before = read_by_this_process();
    let view = ModelView::open(folder.path(), &signed.metadata, signed.files.clone()).unwrap();
    let view = TensorView::new(view, entries);
    let read = chosen.each_ref().map(|tensor| view.read(tensor.name.as_str()).unwrap());
    let after = read_by_this_process();

    let reads = view.view().reads();
    assert_eq!(reads.chunks, u64::try_from(expected.len()).unwrap(), "each of them once");
    assert!(reads.bytes <= reads.chunks * unit && reads.bytes < written.bytes / 50, "{reads:?}");
    if let (Some(before), Some(after)) = (before, after) {
        // The process also reads the layers of two files, and some bytes for the first look at the counter.
        let layers = u64::try_from(draft.layers.len()).unwrap();
        assert!(after - before <= reads.bytes + layers + 4096, "{} for {reads:?}", after - before);
    }
    for (position, entry) in signed.files.entries().iter().enumerate() {
        let touched = || expected.iter().filter(|(path, _)| *path == entry.path).map(|(_, index)| *index);
        if touched().next().is_some() {
            let file = view.view().file(position).unwrap().verifier();
            assert!((0..file.count()).filter(|index| file.is_accepted(*index)).eq(touched()), "and no other");
        }
    }
    for (tensor, read) in chosen.iter().zip(&read) {
        let file = folder.path().join(tensor.file.as_str());
        assert!(read.bytes() == range_of(&file, tensor.offset, tensor.size), "{}", tensor.name.as_str());
        assert_eq!((read.dtype().as_str(), read.shape()), ("BF16", &tensor.shape[..]));
    }
}
