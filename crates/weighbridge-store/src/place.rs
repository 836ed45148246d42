//! A file of a model folder, opened only where the walk found it.

use std::{
    fs::File,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(unix)]
use {
    crate::beneath::{self, FILE, FOLDER, PASSED},
    rustix::fs::{Mode, OFlags},
    std::os::fd::AsFd as _,
};

use crate::io::open_no_link;

/// A path, and the folder below which no part of the path may be a link.
///
/// # Guarantee
/// For a file that a walk found, [`open`](Self::open) follows no link: neither the file nor any folder between it and
/// the model folder may be one, nor, for the target of a link, any folder at all. If somebody puts a link in the way
/// of a file, at any moment, `open` fails and opens no other file. This holds in full on Linux; on other POSIX
/// systems it holds below the model folder, and on all others for the last name alone.
///
/// # Non-guarantee
/// A `Place` that was made by `From` is opened with the links in its path followed, except for its last name.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    root: Option<Arc<Root>>,
}

/// A folder that was opened before anything in it was looked at.
#[derive(Debug)]
pub(crate) struct Root {
    /// The path of the folder, with which all paths below it begin.
    #[cfg_attr(not(unix), allow(dead_code, reason = "other systems open by paths"))]
    path: PathBuf,
    #[cfg(unix)]
    folder: std::os::fd::OwnedFd,
}

impl Root {
    /// Opens a folder. Its path may contain links, since the caller chose it.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            folder: rustix::fs::open(path, FOLDER.difference(OFlags::NOFOLLOW) | PASSED, Mode::empty())?,
        }))
    }

    /// Opens the root of the file system, for paths without links. `None` on systems where opening a folder needs the
    /// right to read it: there the folders on the way cannot be opened one by one.
    pub(crate) fn of_system() -> Option<Arc<Self>> {
        if cfg!(any(target_os = "linux", target_os = "android")) {
            Self::open(Path::new("/")).ok()
        } else {
            None
        }
    }
}

impl Place {
    /// A file below `root`.
    pub(crate) fn below(root: Option<&Arc<Root>>, path: PathBuf) -> Self {
        Self { path, root: root.map(Arc::clone) }
    }

    /// Opens the file for reading without blocking; opening a FIFO would otherwise wait for a writer.
    ///
    /// # Errors
    /// The error of the operating system, including the one for a link in the path.
    pub fn open(&self) -> io::Result<File> {
        #[cfg(unix)]
        if let Some(root) = &self.root
            && let Ok(below) = self.path.strip_prefix(&root.path)
        {
            return Ok(beneath::open(root.folder.as_fd(), below, FILE, Mode::empty())?.into());
        }
        open_no_link(&self.path)
    }
}

/// Whether opening failed because a part of the path is a link, or is no longer a folder.
pub(crate) fn is_led_elsewhere(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_loop = rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP);
    #[cfg(not(unix))]
    let is_loop = false;
    is_loop || error.kind() == io::ErrorKind::NotADirectory
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self { path, root: None }
    }
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
