//! Lists the files of a model folder that count, and the places where its links lead.
//!
//! `spec/model-folder.md` has the rules.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use weighbridge_manifest::{EntryPath, PathError};
use weighbridge_tree::{Coded, ErrorCode};

use crate::{
    disk::FileKind,
    hub_cache::HubCache,
    io::{IoError, shown_path},
    metadata,
    place::{Place, Root},
};

/// Everything in a model folder that counts, in the order of path bytes.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files.
    pub files: Vec<Found>,
    /// Files, links and special files that cannot be part of a model.
    pub unfit: Vec<Unfit>,
    /// Folders, files and links that could not be looked at. Such a folder may hold files and links.
    pub unread: Vec<Unread>,
    /// The places that were not looked into because models have nothing there, relative to the model folder: each
    /// `.git`, each `.cache/huggingface`, and everything in `weighbridge` that is no metadata. For people to read.
    pub left_out: Vec<String>,
    /// The model folder, opened before the walk began.
    pub(crate) root: Option<Arc<Root>>,
}

/// A file of a model folder.
#[derive(Debug)]
pub struct Found {
    /// The file's path in the model.
    pub path: EntryPath,
    /// The file to open: the target, if the path in the model is a link.
    pub file: Place,
    /// The file's length in bytes when the walk found it.
    pub size: u64,
}

/// A folder that cannot be read, a file in a folder whose names can be read but whose files cannot, or a link that
/// cannot be followed.
#[derive(Debug)]
pub struct Unread {
    /// The place, relative to the model folder.
    pub place: String,
    /// Whether the place is a link. Such a link may lead out of the model.
    pub is_link: bool,
    /// The error that prevented looking at the place.
    pub error: IoError,
}

/// Something in a model folder that can be no part of a model.
#[derive(Debug)]
pub struct Unfit {
    /// The place, relative to the model folder, for people to read.
    pub place: String,
    /// The reason why the thing cannot be part of a model.
    pub fault: UnfitFault,
}

impl Walk {
    /// Returns the unfit thing at this path, if there is one.
    pub(crate) fn unfit_at(&self, path: &str) -> Option<&Unfit> {
        let first = self.unfit.partition_point(|u| u.place.as_str() < path);
        self.unfit.iter().skip(first).take_while(|u| u.place == path).find(|u| u.has_path())
    }

    /// Returns the place that hides what lies at this path: the path itself, or a folder above it, that could not be
    /// looked at.
    #[must_use]
    pub fn unread_at(&self, path: &str) -> Option<&Unread> {
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        let find = |place: &str| self.unread.binary_search_by(|u| u.place.as_str().cmp(place)).ok();
        above.chain([path]).find_map(find).and_then(|at| self.unread.get(at))
    }
}

impl Unfit {
    /// Whether `place` is a path that a list could have. A place that is not UTF-8, or was shortened, only looks like
    /// a path.
    pub(crate) fn has_path(&self) -> bool {
        !matches!(self.fault, UnfitFault::NotUtf8 | UnfitFault::Path(_))
    }
}

/// The reason why something cannot be part of a model.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnfitFault {
    /// The path cannot stand in a list.
    Path(PathError),
    /// The name on disk is not UTF-8.
    NotUtf8,
    /// A link that leads out of the model.
    LinkOut {
        /// The path where the link leads.
        target: PathBuf,
    },
    /// A link to a folder.
    LinkToFolder,
    /// A FIFO, socket or device.
    Special,
    /// A link that leads nowhere.
    Broken,
}

impl Coded for UnfitFault {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Path(error) => error.error_code(),
            Self::NotUtf8 => ErrorCode::PATH_NOT_UTF8,
            Self::LinkOut { .. } => ErrorCode::LINK_OUT,
            Self::LinkToFolder => ErrorCode::LINK_TO_FOLDER,
            Self::Special => ErrorCode::SPECIAL_FILE,
            Self::Broken => ErrorCode::LINK_BROKEN,
        }
    }
}

impl fmt::Display for UnfitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(error) => error.fmt(f),
            Self::NotUtf8 => f.write_str("the name is not UTF-8"),
            Self::LinkOut { target } => {
                write!(f, "the link leads out of the model, to {}", shown_path(target))
            }
            Self::LinkToFolder => f.write_str("the link leads to a folder"),
            Self::Special => f.write_str("neither a file nor a folder, but a FIFO, socket or device"),
            Self::Broken => f.write_str("the link leads nowhere"),
        }
    }
}

impl std::error::Error for UnfitFault {}

/// Lists a model folder. Opens no file.
///
/// # Errors
/// [`IoError`] if the model folder itself cannot be read. Places below it that cannot be looked at are in
/// [`Walk::unread`].
///
/// # Example
/// ```
/// use weighbridge_store::{UnfitFault, walk};
/// # use weighbridge_testkit::Folder;
/// # let files: [(&str, &[u8]); 3] = [("model.bin", b"weights"), ("docs/README.md", b"read"), (".git/HEAD", b"ref")];
/// # let (folder, elsewhere) = (Folder::with(&files), Folder::with(&files));
/// # let model = folder.path();
/// # #[cfg(unix)]
/// # folder.link("shards", elsewhere.at("model.bin"));
///
/// let found = walk(model)?;
/// let files: Vec<_> = found.files.iter().map(|file| (file.path.as_str(), file.size)).collect();
/// assert_eq!(files, [("docs/README.md", 4), ("model.bin", 7)]);
/// assert_eq!(found.left_out, [".git"]);
///
/// // What can be no part of a model is told apart. Here `shards` is a link that leads out of the folder.
/// # #[cfg(unix)]
/// assert!(matches!(found.unfit[0].fault, UnfitFault::LinkOut { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn walk(model: &Path) -> Result<Walk, IoError> {
    let root = fs::canonicalize(model).map_err(IoError::at("open", model))?;
    let opened = Root::open(model).map_err(IoError::at("read the folder", model))?;
    let mut walk = Walk { root: Some(Arc::clone(&opened)), ..Walk::default() };
    let scope = LinkScope { cache: HubCache::of(&root), root, model: opened };
    // No recursion, and only one folder open at a time, however deep a hostile model is.
    let mut folders = vec![(model.to_owned(), String::new())];
    while let Some((disk, place)) = folders.pop() {
        match folder(&disk, &place, &scope, &mut walk, &mut folders) {
            Err(error) if !place.is_empty() => walk.unread.push(Unread { place, is_link: false, error }),
            listed => listed?,
        }
    }
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.unfit.sort_by(|a, b| a.place.cmp(&b.place));
    walk.unread.sort_by(|a, b| a.place.cmp(&b.place));
    walk.left_out.sort();
    Ok(walk)
}

/// The places where links may lead.
struct LinkScope {
    /// The model folder.
    model: Arc<Root>,
    /// The model folder's path without links.
    root: PathBuf,
    /// The cache, if the model is a snapshot of one.
    cache: Option<HubCache>,
}

impl LinkScope {
    /// Returns the place to which a link of the model leads, and what is there.
    fn target(
        &self,
        link: &Path,
        place: &str,
    ) -> Result<Result<(Place, FileKind, u64), UnfitFault>, IoError> {
        let target = match fs::canonicalize(link) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(IoError::at("follow the link", link)(error));
            }
            Err(_) => return Ok(Err(UnfitFault::Broken)),
            Ok(target) => target,
        };
        if let Ok(below) = target.strip_prefix(&self.root) {
            let found = self.model.look(below);
            return Ok(found
                .map(|(kind, size)| (self.model.place(below), kind, size))
                .map_err(|_| UnfitFault::Broken));
        }
        let of_cache = self.cache.as_ref().and_then(|cache| cache.target(Path::new(place)));
        Ok(of_cache.ok_or(UnfitFault::LinkOut { target }))
    }
}

fn folder(
    disk: &Path,
    relative: &str,
    scope: &LinkScope,
    walk: &mut Walk,
    folders: &mut Vec<(PathBuf, String)>,
) -> Result<(), IoError> {
    let entries = fs::read_dir(disk).map_err(IoError::at("read the folder", disk))?;
    for entry in entries {
        let entry = entry.map_err(IoError::at("read the folder", disk))?;
        let name = entry.file_name();
        let here = entry.path();
        let place = join(relative, &name.to_string_lossy());
        if name.eq_ignore_ascii_case(".git") {
            walk.left_out.push(place);
            continue;
        }
        let kind = entry.file_type().map_err(IoError::at("look at", &here))?;
        if place == metadata::FOLDER && leads_to_folder(kind, &here) {
            walk.left_out.extend(not_metadata(&here));
            continue;
        }
        if is_hub_cache(&place) && leads_to_folder(kind, &here) {
            walk.left_out.push(place);
            continue;
        }
        let found = match name.to_str() {
            None => Err(UnfitFault::NotUtf8),
            // No file in this folder could be listed, and its path may become longer than the system takes.
            Some(_) if kind.is_dir() && place.len() > MAX_PATH => {
                let fault = UnfitFault::Path(PathError::Length { bytes: place.len() });
                let beginning: String = place.chars().take(MAX_PLACE).chain(['…']).collect();
                walk.unfit.push(Unfit { place: beginning, fault });
                continue;
            }
            Some(_) if kind.is_dir() => {
                folders.push((here, place));
                continue;
            }
            Some(_) => match file(&here, &place, kind, scope) {
                Ok(found) => found,
                Err(error) => {
                    walk.unread.push(Unread { place, is_link: kind.is_symlink(), error });
                    continue;
                }
            },
        };
        match found {
            Ok(found) => walk.files.push(found),
            Err(fault) => walk.unfit.push(Unfit { place, fault }),
        }
    }
    Ok(())
}

fn file(
    here: &Path,
    place: &str,
    kind: fs::FileType,
    scope: &LinkScope,
) -> Result<Result<Found, UnfitFault>, IoError> {
    let path = match EntryPath::parse(place) {
        Ok(path) => path,
        Err(error) => return Ok(Err(UnfitFault::Path(error))),
    };
    let (file, kind, size) = if kind.is_symlink() {
        match scope.target(here, place)? {
            Ok(target) => target,
            Err(fault) => return Ok(Err(fault)),
        }
    } else {
        let found = fs::symlink_metadata(here).map_err(IoError::at("look at", here))?;
        (Place::below(Some(&scope.model), here.to_owned()), FileKind::of(&found), found.len())
    };
    Ok(match kind {
        FileKind::File => Ok(Found { path, file, size }),
        FileKind::Folder => Err(UnfitFault::LinkToFolder),
        FileKind::Link => Err(UnfitFault::Broken),
        FileKind::Special => Err(UnfitFault::Special),
    })
}

fn leads_to_folder(kind: fs::FileType, here: &Path) -> bool {
    kind.is_dir() || (kind.is_symlink() && fs::metadata(here).is_ok_and(|m| m.is_dir()))
}

/// The foreign files of the metadata folder. No walk looks into that folder, so that it may hold anything.
fn not_metadata(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![metadata::FOLDER.to_owned()] };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let others = names.filter(|name| !metadata::ALL.iter().any(|ours| name == OsStr::new(ours)));
    others.map(|name| join(metadata::FOLDER, &name.to_string_lossy())).collect()
}

/// Whether clients of Hugging Face keep their download records at this place, which they never upload.
fn is_hub_cache(place: &str) -> bool {
    place.strip_suffix(HUB_CACHE).is_some_and(|above| above.is_empty() || above.ends_with('/'))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { [folder, "/", name].concat() }
}

/// The longest path that can be listed, in bytes.
const MAX_PATH: usize = 1_024;
/// The number of characters kept of the path of a folder that is too long to be looked into.
const MAX_PLACE: usize = 200;
const HUB_CACHE: &str = ".cache/huggingface";
