//! What is in a model folder: which files count, where links lead.
//!
//! The rules are those of `spec/model-folder.md`.

use std::{
    borrow::ToOwned,
    ffi::OsStr,
    fmt, fs,
    path::{Path, PathBuf},
    string::String,
    vec,
    vec::Vec,
};

use weighbridge_manifest::{EntryPath, PathError};

use crate::io::{IoError, shown_path};

/// Everything in a model folder that counts, in the order of path bytes.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files.
    pub files: Vec<Found>,
    /// What can be no part of a model.
    pub unfit: Vec<Unfit>,
}

/// A file of a model folder.
#[derive(Debug)]
pub struct Found {
    /// Its path in the model.
    pub path: EntryPath,
    /// The file to open: where its link leads, if it is one.
    pub file: PathBuf,
    /// Its length when it was found.
    pub size: u64,
}

/// Something in a model folder that can be no part of a model.
#[derive(Debug)]
pub struct Unfit {
    /// Where it lies, relative to the model folder, for people to read.
    pub place: String,
    /// What is the matter with it.
    pub fault: UnfitFault,
}

impl Walk {
    /// What lies at this path and can be no part of a model.
    pub(crate) fn unfit_at(&self, path: &str) -> Option<&Unfit> {
        let first = self.unfit.partition_point(|u| u.place.as_str() < path);
        self.unfit.iter().skip(first).take_while(|u| u.place == path).find(|u| u.has_path())
    }
}

impl Unfit {
    /// Whether `place` is a path that could be listed. One that is not UTF-8, or is cut, only looks like it.
    pub(crate) fn has_path(&self) -> bool {
        !matches!(self.fault, UnfitFault::NotUtf8 | UnfitFault::Path(_))
    }
}

/// Why something can be no part of a model.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnfitFault {
    /// Its path could not stand in a list.
    Path(PathError),
    /// Its name on disk is not UTF-8.
    NotUtf8,
    /// A link that leads out of the model.
    LinkOut {
        /// Where to.
        target: PathBuf,
    },
    /// A link to a folder.
    LinkToFolder,
    /// A FIFO, socket or device.
    Special,
    /// A link that leads nowhere.
    Broken,
}

impl UnfitFault {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::Path(error) => error.error_code(),
            Self::NotUtf8 => 1411,
            Self::LinkOut { .. } => 5102,
            Self::LinkToFolder => 5103,
            Self::Special => 5104,
            Self::Broken => 5105,
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

/// Lists a model folder. Opens no file.
///
/// # Errors
/// [`IoError`] if a folder cannot be read.
pub fn walk(model: &Path) -> Result<Walk, IoError> {
    let root = fs::canonicalize(model).map_err(IoError::at("open", model))?;
    let mut walk = Walk::default();
    let scope = LinkScope { blobs: hugging_face_blobs(&root), root };
    // No recursion, and one folder open at a time, however deep a hostile model is.
    let mut folders = vec![(model.to_owned(), String::new())];
    while let Some((disk, place)) = folders.pop() {
        folder(&disk, &place, &scope, &mut walk, &mut folders)?;
    }
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.unfit.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(walk)
}

/// Where links may lead.
struct LinkScope {
    root: PathBuf,
    blobs: Option<PathBuf>,
}

impl LinkScope {
    fn allows(&self, target: &Path) -> bool {
        target.starts_with(&self.root) || (self.blobs.is_some() && target.parent() == self.blobs.as_deref())
    }
}

/// The `blobs` folder of a Hugging Face cache, if `root` is one of its snapshots.
///
/// A link named `blobs` could make any folder acceptable. `root` is resolved, so `snapshots` is no link.
fn hugging_face_blobs(root: &Path) -> Option<PathBuf> {
    let snapshots = root.parent().filter(|p| p.file_name() == Some(OsStr::new("snapshots")))?;
    let blobs = snapshots.parent()?.join("blobs");
    fs::symlink_metadata(&blobs).is_ok_and(|m| m.is_dir()).then_some(blobs)
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
        if name.eq_ignore_ascii_case(".git") {
            continue;
        }
        let here = entry.path();
        let place = join(relative, &name.to_string_lossy());
        let kind = entry.file_type().map_err(IoError::at("look at", &here))?;
        if LEFT_OUT.contains(&place.as_str()) && name.to_str().is_some() && leads_to_folder(kind, &here) {
            continue;
        }
        let found = match name.to_str() {
            None => Err(UnfitFault::NotUtf8),
            // Nothing in it could be listed, and its path may become longer than the system takes.
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
            Some(_) => file(&here, &place, kind, scope)?,
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
    let (file, metadata) = if kind.is_symlink() {
        let Ok(target) = fs::canonicalize(here) else { return Ok(Err(UnfitFault::Broken)) };
        if !scope.allows(&target) {
            return Ok(Err(UnfitFault::LinkOut { target }));
        }
        let Ok(metadata) = fs::symlink_metadata(&target) else { return Ok(Err(UnfitFault::Broken)) };
        (target, metadata)
    } else {
        let metadata = fs::symlink_metadata(here).map_err(IoError::at("look at", here))?;
        (here.to_owned(), metadata)
    };
    Ok(if metadata.is_dir() {
        Err(UnfitFault::LinkToFolder)
    } else if !metadata.is_file() {
        Err(UnfitFault::Special)
    } else {
        Ok(Found { path, file, size: metadata.len() })
    })
}

fn leads_to_folder(kind: fs::FileType, here: &Path) -> bool {
    kind.is_dir() || (kind.is_symlink() && fs::metadata(here).is_ok_and(|m| m.is_dir()))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { [folder, "/", name].concat() }
}

/// The longest path that can be listed, in bytes.
const MAX_PATH: usize = 1_024;
/// How many characters are kept of the path of a folder that is not looked into.
const MAX_PLACE: usize = 200;

/// Folders whose files are no entries, as paths in the model. A file of this name is one that cannot be listed.
const LEFT_OUT: [&str; 2] = ["weighbridge", ".cache/huggingface"];
