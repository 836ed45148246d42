//! One release of a model, open for reading for as long as anybody asks for it.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use weighbridge_manifest::{
    Expectation, FileEntry, Head, Note, TrustPolicy, VerifiedFileList, VerifiedTensorList, write_files,
    write_tensors,
};
use weighbridge_store::{FOLDER, Metadata, ModelView, OpenError, OpenModel};
use weighbridge_tree::{Coded, ErrorCode, FileRoot, Grid, HeadId, head_id};

use crate::{
    coming::Coming,
    room::lock,
    route::{MetadataFile, ServedName},
};

/// A release that is served: its head, its lists, and verified reads of its files.
///
/// The head is believed by its own word: whoever receives the model judges it.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) name: ServedName,
    pub(crate) id: HeadId,
    note: Bytes,
    signers: Vec<String>,
    files: Arc<VerifiedFileList>,
    tensors: Option<Arc<VerifiedTensorList>>,
    pub(crate) content: Stored,
    /// The offset in `chunks.layer` of the layer of each file, and at the end the length of all.
    layers: Vec<u64>,
    /// The texts of the lists, once somebody has asked for them.
    files_text: OnceLock<Option<Bytes>>,
    tensors_text: OnceLock<Option<Bytes>>,
    /// When it was asked for last, in seconds since the server began.
    used: AtomicU64,
    given: Given,
}

/// The files of a release, as they are read.
#[derive(Debug)]
pub(crate) enum Stored {
    /// Those of a model folder.
    Folder(Arc<ModelView>),
    /// Those that are on their way.
    Coming(Arc<dyn Coming>),
}

/// The chunks of files that were given to anybody.
#[derive(Debug, Default)]
struct Given {
    first: AtomicU64,
    again: AtomicU64,
    /// A bit for each chunk of each file that was asked for.
    chunks: Mutex<BTreeMap<usize, Vec<u64>>>,
}

/// Something of a release that has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The file at this position of the list.
    File(usize),
    Metadata(MetadataFile),
}

impl Release {
    /// Opens the release of a model folder. No weight is read.
    pub(crate) fn open(folder: &Path) -> Result<Self, ReleaseError> {
        let metadata = Metadata::of_model(folder);
        let note = metadata.note().map_err(|error| ReleaseError::Open(OpenError::Io(error)))?;
        let parsed = Note::parse(&note).map_err(|error| ReleaseError::Open(OpenError::Note(error)))?;
        let id = head_id(parsed.text().as_bytes());
        let expected = Expectation::any().head(id).allow_expired();
        let opened = OpenModel::open(folder, &metadata, &TrustPolicy::pinned(id), &expected, None);
        let OpenModel { files, tensors, view, .. } = opened.map_err(ReleaseError::Open)?;
        let release = Self::of(&note, (files, tensors), Stored::Folder(Arc::clone(&view)))?;
        let first_with_layer =
            release.layers.windows(2).position(|pair| matches!(pair, [from, to] if from != to));
        if let Some(position) = first_with_layer {
            // Without layers no chunk could be judged before it is sent.
            let _layer = view.layer(position).map_err(|error| ReleaseError::Open(OpenError::View(error)))?;
        }
        Ok(release)
    }

    /// Its files and tensors, if its files are here and its tensors are listed.
    pub(crate) fn with_tensors(&self) -> Option<(Arc<ModelView>, Arc<VerifiedTensorList>)> {
        let Stored::Folder(view) = &self.content else { return None };
        Some((Arc::clone(view), Arc::clone(self.tensors.as_ref()?)))
    }

    /// A release that is on its way.
    pub(crate) fn coming(coming: Arc<dyn Coming>) -> Result<Self, ReleaseError> {
        let lists = (Arc::clone(coming.files()), coming.tensors().map(Arc::clone));
        let note = coming.note().to_vec();
        Self::of(&note, lists, Stored::Coming(coming))
    }

    fn of(
        note: &[u8],
        (files, tensors): (Arc<VerifiedFileList>, Option<Arc<VerifiedTensorList>>),
        content: Stored,
    ) -> Result<Self, ReleaseError> {
        let parsed = Note::parse(note).map_err(|error| ReleaseError::Open(OpenError::Note(error)))?;
        // The key names of a note may be repeated, and are those that the note claims.
        let signers = parsed.signatures().iter().map(|line| line.name().as_str().to_owned()).collect();
        let name = files.head().head().name.clone();
        let name = ServedName::of(name).ok_or(ReleaseError::Name)?;
        let mut layers = Vec::with_capacity(files.entries().len().saturating_add(1));
        let mut at = 0u64;
        for entry in files.entries() {
            layers.push(at);
            let grid = Grid::new(entry.size, files.chunk_size());
            at = at.saturating_add(grid.map_or(0, Grid::layer_len));
        }
        layers.push(at);
        Ok(Self {
            name,
            id: files.head().id(),
            note: note.to_vec().into(),
            signers,
            files,
            tensors,
            content,
            layers,
            files_text: OnceLock::new(),
            tensors_text: OnceLock::new(),
            used: AtomicU64::new(0),
            given: Given::default(),
        })
    }

    /// Counts bytes of a file that are given: those of chunks that were given before, and the others.
    pub(crate) fn give(&self, position: usize, bytes: &Range<u64>) {
        let unit = self.files.chunk_size().bytes().max(1);
        let mut chunks = lock(&self.given.chunks);
        let bits = chunks.entry(position).or_insert_with(|| {
            let count = self.size(Item::File(position)).div_ceil(unit).div_ceil(64);
            vec![0; usize::try_from(count).unwrap_or(0)]
        });
        let mut at = bytes.start;
        while at < bytes.end {
            let chunk = at.checked_div(unit).unwrap_or(0);
            let end = chunk.saturating_add(1).saturating_mul(unit).min(bytes.end);
            let word = usize::try_from(chunk / 64).ok().and_then(|word| bits.get_mut(word));
            let bit = 1u64 << (chunk % 64);
            let was_given = word.is_none_or(|word| std::mem::replace(word, *word | bit) & bit != 0);
            let of = if was_given { &self.given.again } else { &self.given.first };
            of.fetch_add(end.saturating_sub(at), Relaxed);
            at = end;
        }
    }

    /// The bytes of files that were given for the first time, and those that were given again.
    pub(crate) fn given(&self) -> (u64, u64) {
        (self.given.first.load(Relaxed), self.given.again.load(Relaxed))
    }

    /// The release as one that is on its way, if it is.
    pub(crate) fn as_coming(&self) -> Option<&Arc<dyn Coming>> {
        match &self.content {
            Stored::Coming(coming) => Some(coming),
            Stored::Folder(_) => None,
        }
    }

    pub(crate) fn head(&self) -> &Head {
        self.files.head().head()
    }

    pub(crate) fn files(&self) -> &VerifiedFileList {
        &self.files
    }

    pub(crate) fn tensors(&self) -> Option<&VerifiedTensorList> {
        self.tensors.as_deref()
    }

    pub(crate) fn note(&self) -> &Bytes {
        &self.note
    }

    /// The names of the keys that the note has signatures of. Nobody has checked these signatures here.
    pub(crate) fn signers(&self) -> &[String] {
        &self.signers
    }

    /// The release as hubs name one: 40 hexadecimal digits.
    pub(crate) fn commit(&self) -> String {
        let mut id = self.id.to_string();
        id.truncate(COMMIT);
        id
    }

    /// Whether a revision of a request means this release: its head id, the first 40 digits of it, or `revision-N`.
    pub(crate) fn is_named(&self, revision: &str) -> bool {
        let id = self.id.to_string();
        let number = revision.strip_prefix("revision-");
        id == revision
            || (revision.len() == COMMIT && id.starts_with(revision))
            || number.is_some_and(|number| *number == self.head().revision.to_string())
    }

    /// The thing at a path of the model folder.
    pub(crate) fn at(&self, path: &str) -> Option<Item> {
        if let Some((position, _)) = self.files.find(path) {
            return Some(Item::File(position));
        }
        MetadataFile::at(path).map(Item::Metadata).filter(|item| self.has(*item))
    }

    pub(crate) fn has(&self, item: Item) -> bool {
        match item {
            Item::Metadata(MetadataFile::Tensors) => self.tensors.is_some(),
            Item::Metadata(MetadataFile::Layers) => self.layers_len() > 0,
            _ => true,
        }
    }

    /// Everything that has a path, in the order of paths: the files of the list, and the metadata.
    pub(crate) fn items(&self) -> Vec<(String, Item)> {
        let files = self.files.entries().iter().enumerate();
        let files = files.map(|(position, entry)| (entry.path.as_str().to_owned(), Item::File(position)));
        let metadata = MetadataFile::ALL.into_iter().map(|file| {
            let path = format!("{FOLDER}/{}", file.name());
            (path, Item::Metadata(file))
        });
        let mut items: Vec<_> = files.chain(metadata.filter(|(_, item)| self.has(*item))).collect();
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        items
    }

    pub(crate) fn entry(&self, item: Item) -> Option<&FileEntry> {
        match item {
            Item::File(position) => self.files.entries().get(position),
            Item::Metadata(_) => None,
        }
    }

    pub(crate) fn size(&self, item: Item) -> u64 {
        match item {
            Item::File(_) => self.entry(item).map_or(0, |entry| entry.size),
            Item::Metadata(MetadataFile::Layers) => self.layers_len(),
            Item::Metadata(MetadataFile::Head) => len(&self.note),
            Item::Metadata(MetadataFile::Files) => self.head().files.length,
            Item::Metadata(MetadataFile::Tensors) => {
                self.head().tensors.map_or(0, |tensors| tensors.list.length)
            }
        }
    }

    /// The entity tag, without quotation marks: of a file its root. Different bytes have different tags.
    pub(crate) fn tag(&self, item: Item) -> String {
        match item {
            Item::File(_) => self.entry(item).map_or_else(String::new, |entry| entry.root.to_string()),
            // Signatures may be added to a note.
            Item::Metadata(MetadataFile::Head) => FileRoot::of(&self.note).to_string(),
            // The head binds the others.
            Item::Metadata(file) => format!("{}-{}", self.id, file.name()),
        }
    }

    /// The bytes of a metadata file that is held in memory; `None` of the layers, and of what is not there.
    pub(crate) fn text(&self, file: MetadataFile) -> Option<Bytes> {
        // Signed lists are canonical, so that the entries give the signed text again.
        let text = match file {
            MetadataFile::Head => Some(self.note.clone()),
            MetadataFile::Files => {
                let written = || Some(write_files(self.files.entries().to_vec()).ok()?.text.into());
                self.files_text.get_or_init(written).clone()
            }
            MetadataFile::Tensors => {
                let written =
                    || Some(write_tensors(self.tensors.as_ref()?.entries().to_vec()).ok()?.text.into());
                self.tensors_text.get_or_init(written).clone()
            }
            MetadataFile::Layers => None,
        };
        text.filter(|text| len(text) == self.size(Item::Metadata(file)))
    }

    fn layers_len(&self) -> u64 {
        self.layers.last().copied().unwrap_or(0)
    }

    /// The files whose layers hold the bytes of `chunks.layer` from `at` on: those that fit into `most` bytes, and at least one.
    /// Returns the positions of the first and of the one after the last, and the offsets at which their layers begin and end.
    pub(crate) fn layers_from(&self, at: u64, most: u64) -> Option<LayerRun> {
        let after = self.layers.partition_point(|offset| *offset <= at);
        let first = after.checked_sub(1)?;
        let begin = *self.layers.get(first)?;
        let limit = begin.saturating_add(most);
        let fitting = self.layers.partition_point(|offset| *offset <= limit);
        let end_at = fitting.saturating_sub(1).max(after);
        Some(LayerRun { files: (first, end_at), begin, end: *self.layers.get(end_at)? })
    }

    /// The length of the layer of a file in `chunks.layer`.
    pub(crate) fn layer_len(&self, position: usize) -> u64 {
        let end = self.layers.get(position.saturating_add(1)).copied().unwrap_or(0);
        end.saturating_sub(self.layers.get(position).copied().unwrap_or(end))
    }

    pub(crate) fn use_at(&self, seconds: u64) {
        self.used.fetch_max(seconds, Relaxed);
    }

    pub(crate) fn used_at(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

/// Layers of neighbouring files in `chunks.layer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerRun {
    /// The position of the first file, and of the one after the last.
    pub(crate) files: (usize, usize),
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

/// The number of digits by which hubs name a commit.
const COMMIT: usize = 40;

pub(crate) fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The reason why a model folder is not served.
#[non_exhaustive]
#[derive(Debug)]
pub enum ReleaseError {
    /// It cannot be opened: metadata are missing or not the signed ones, or its release is being replaced.
    Open(OpenError),
    /// The name has other than two parts, or begins with `api/`: it has no paths.
    Name,
    /// Another folder with a model of this name is served already.
    NameTaken,
}

impl Coded for ReleaseError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Open(error) => error.error_code(),
            Self::Name | Self::NameTaken => ErrorCode::USAGE,
        }
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Name => f.write_str(
                "a model is served under ORG/NAME: its name must have two parts, of which the first is not `api`",
            ),
            Self::NameTaken => f.write_str("another folder with a model of this name is served already"),
        }
    }
}

impl std::error::Error for ReleaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Name | Self::NameTaken => None,
        }
    }
}
