//! Models on disk, with lists that are believed by their head id, so that tests need no key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use weighbridge_formats::{Format, Parsed, TensorSpan, parse};
use weighbridge_store::{CHUNKS, FILES, FOLDER, HEAD, Metadata, TENSORS};
use weighbridge_verify::{
    manifest::{
        Dtype, EntryPath, Expectation, FileEntry, Head, ModelName, SignedHead, TensorEntry, TensorName,
        Tensors, Time, TrustPolicy, VerifiedFileList, VerifiedHead, VerifiedTensorList, WrittenFiles,
        write_files, write_tensors,
    },
    tree::{ChunkSize, FileRoot, TensorHash, head_id},
};

/// Bytes in which no two places are alike. Another seed gives other bytes.
pub fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A safetensors file of `U8` tensors, given by name and bytes, in this order.
pub fn safetensors(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut end = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, bytes)| {
            let begin = end;
            end += bytes.len();
            format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, bytes.len())
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header.bytes());
    tensors.iter().for_each(|(_, bytes)| file.extend(*bytes));
    file
}

/// Pools of 1, 2 and 5 threads: one alone, as many as there are blocks, and more.
pub static POOLS: LazyLock<Vec<rayon::ThreadPool>> = LazyLock::new(|| {
    [1, 2, 5].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap()).into()
});

/// A time in the past, which no file gets by being written now.
pub fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

/// The result of `work`. Panics if `work` takes 30 seconds.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(30)).expect("it hangs, or panicked")
}

/// A folder with files.
pub struct Folder(pub TempDir);

impl Folder {
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = Self::new();
        files.iter().for_each(|(path, bytes)| folder.write(path, bytes));
        folder
    }

    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = Self::new();
        files.iter().for_each(|(path, bytes)| folder.write(path, bytes));
        folder
    }

    /// A model folder with its metadata. Its head is that of `test/model`, revision 1.
    pub fn weighed(files: &[(&str, Vec<u8>)], chunk_size: ChunkSize) -> (Self, Signed) {
        Self::weighed_as("test/model", files, chunk_size)
    }

    /// The same for a model of another name.
    pub fn weighed_as(name: &str, files: &[(&str, Vec<u8>)], chunk_size: ChunkSize) -> (Self, Signed) {
        let (folder, signed) = (Self::of(files), Draft::of(files, chunk_size).sign_as(name));
        for name in [HEAD, FILES, TENSORS, CHUNKS] {
            let bytes = fs::read(signed.folder.at(name)).unwrap();
            folder.write(&format!("{FOLDER}/{name}"), &bytes);
        }
        (folder, signed)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Changes a file's bytes in place.
    pub fn alter(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.at(path)).unwrap();
        change(&mut bytes);
        self.write(path, &bytes);
    }

    #[cfg(unix)]
    pub fn link(&self, path: &str, target: impl AsRef<Path>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, self.at(path)).unwrap();
    }

    #[cfg(unix)]
    pub fn fifo(&self, path: &str) {
        fifo(&self.at(path));
    }
}

#[cfg(unix)]
pub fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A publisher's claims about a model before a head binds them. A test can turn any of them into a lie.
#[derive(Clone)]
pub struct Draft {
    pub files: Vec<FileEntry>,
    pub tensors: Option<Vec<TensorEntry>>,
    pub layers: Vec<u8>,
    pub chunk_size: ChunkSize,
}

impl Draft {
    /// The true claims about these files, computed without the code under test.
    pub fn of(files: &[(&str, Vec<u8>)], chunk_size: ChunkSize) -> Self {
        let mut files: Vec<_> = files.to_vec();
        files.sort_by_key(|(path, _)| *path);
        let mut draft = Self { files: Vec::new(), tensors: Some(Vec::new()), layers: Vec::new(), chunk_size };
        for (path, bytes) in files {
            let path = EntryPath::parse(path).unwrap();
            let size = u64::try_from(bytes.len()).unwrap();
            if let Some(Ok(spans)) = Format::of(path.as_str()).map(|format| header(format, &bytes)) {
                let entries = spans.into_iter().map(|span| tensor(&path, span, &bytes));
                draft.tensors.as_mut().unwrap().extend(entries);
            }
            layer(&bytes, chunk_size).iter().for_each(|value| draft.layers.extend(value));
            draft.files.push(FileEntry { path, size, root: FileRoot::of(&bytes), sha256: None });
        }
        draft
    }

    /// Binds the claims by a head, and writes the metadata to a folder.
    pub fn sign(&self) -> Signed {
        self.sign_as("test/model")
    }

    /// The same for a model of another name.
    pub fn sign_as(&self, name: &str) -> Signed {
        let files = write_files(self.files.clone()).unwrap();
        let tensors = self.tensors.clone().map(|tensors| write_tensors(tensors).unwrap());
        let tensors_of = tensors.as_ref().map(|tensors| tensors.tensors);
        let (note, head) = bind(name, &files, tensors_of, self.chunk_size);
        let folder = Folder::new();
        folder.write(HEAD, &note);
        folder.write(FILES, files.text.as_bytes());
        folder.write(CHUNKS, &self.layers);
        if let Some(tensors) = &tensors {
            folder.write(TENSORS, tensors.text.as_bytes());
        }
        let metadata = Metadata::at(folder.path());
        let files = metadata.files(&head).unwrap();
        let tensors = metadata.tensors(&files).unwrap();
        Signed { head, files, tensors, metadata, folder }
    }
}

/// A note that binds a model's lists, and its head, which is believed by its id.
pub(crate) fn bind(
    name: &str,
    files: &WrittenFiles,
    tensors: Option<Tensors>,
    chunk_size: ChunkSize,
) -> (Vec<u8>, VerifiedHead) {
    let head = Head {
        name: ModelName::parse(name).unwrap(),
        revision: 1,
        previous: None,
        created: Time::parse("2026-11-20T16:31:00Z").unwrap(),
        expires: None,
        bytes: files.bytes,
        files: files.list,
        root: files.root,
        tensors,
        chunk_size,
        ext: Vec::new(),
    };
    let text = head.to_text().unwrap();
    let policy = TrustPolicy::pinned(head_id(text.as_bytes()));
    let note = format!("{text}\n\u{2014} nobody AAAAAAE=\n").into_bytes();
    let head = SignedHead::parse(&note).unwrap().verify(&policy, &Expectation::any(), None).unwrap();
    (note, head)
}

/// A believed head with its lists.
pub struct Signed {
    pub head: VerifiedHead,
    pub files: VerifiedFileList,
    pub tensors: Option<VerifiedTensorList>,
    pub metadata: Metadata,
    pub folder: Folder,
}

fn header(format: Format, file: &[u8]) -> Result<Vec<TensorSpan>, weighbridge_formats::FormatError> {
    match parse(format, file, u64::try_from(file.len()).unwrap())? {
        Parsed::Tensors { tensors, .. } => Ok(tensors),
        Parsed::UnknownDtype { .. } => Ok(Vec::new()),
        Parsed::NeedPrefix(_) => unreachable!("the whole file is there"),
    }
}

fn tensor(file: &EntryPath, span: TensorSpan, bytes: &[u8]) -> TensorEntry {
    let from = usize::try_from(span.offset).unwrap();
    let bytes = &bytes[from..from + usize::try_from(span.size).unwrap()];
    TensorEntry {
        name: TensorName::parse(&span.name).unwrap(),
        file: file.clone(),
        dtype: Dtype::parse(&span.dtype).unwrap(),
        shape: span.shape,
        offset: span.offset,
        size: span.size,
        hash: TensorHash::from_bytes(*blake3::hash(bytes).as_bytes()),
    }
}

/// The chaining values of a file's chunks, computed by the crate `blake3` alone.
pub fn layer(bytes: &[u8], chunk_size: ChunkSize) -> Vec<[u8; 32]> {
    use blake3::hazmat::HasherExt as _;
    let unit = usize::try_from(chunk_size.bytes()).unwrap();
    if bytes.len() <= unit {
        return Vec::new();
    }
    let starts = (0u64..).step_by(unit);
    let value = |(start, chunk): (u64, &[u8])| {
        blake3::Hasher::new().set_input_offset(start).update(chunk).finalize_non_root()
    };
    starts.zip(bytes.chunks(unit)).map(value).collect()
}
