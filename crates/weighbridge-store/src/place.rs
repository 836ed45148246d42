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
    std::os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
};

use crate::{disk::FileKind, io::open_no_link};

/// A path, and the folder below which no part of the path may be a link.
///
/// # Guarantee
/// For a file that a walk found, [`open`](Self::open) follows no link: neither the file nor any folder between it and
/// the model folder may be one; for a file of a Hugging Face cache, neither it nor any folder between it and the hub's. If
/// somebody puts a link in the way of a file, at any moment, `open` fails and opens no other file. This holds on POSIX
/// systems; on others it holds for the last name alone.
///
/// # Non-guarantee
/// A `Place` that was made by `From` is opened with the links in its path followed, except for its last name.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    #[cfg_attr(not(unix), allow(dead_code, reason = "other systems open by paths"))]
    root: Option<Arc<Root>>,
}

/// A folder that was opened before anything in it was looked at.
#[derive(Debug)]
pub(crate) struct Root {
    /// The path of the folder, with which all paths below it begin.
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

    /// The place of `below`, a path relative to the folder.
    pub(crate) fn place(self: &Arc<Self>, below: &Path) -> Place {
        Place::below(Some(self), self.path.join(below))
    }

    /// The part of a path that lies beneath the folder.
    pub(crate) fn strip<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.strip_prefix(&self.path).ok()
    }

    /// Says what is at a path beneath the folder, and how many bytes it has. No link is followed, nor is the last name.
    pub(crate) fn look(&self, below: &Path) -> io::Result<(FileKind, u64)> {
        if below.as_os_str().is_empty() {
            return Ok((FileKind::Folder, 0));
        }
        #[cfg(unix)]
        {
            let (folder, name) = beneath::parent(self.folder.as_fd(), below)?;
            let stat = rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((FileKind::of_stat(&stat), u64::try_from(stat.st_size).unwrap_or(0)))
        }
        #[cfg(not(unix))]
        {
            let found = std::fs::symlink_metadata(self.path.join(below))?;
            Ok((FileKind::of(&found), found.len()))
        }
    }

    /// Returns what a link beneath the folder says. No link is followed on the way.
    pub(crate) fn read_link(&self, below: &Path) -> io::Result<PathBuf> {
        #[cfg(unix)]
        {
            let (folder, name) = beneath::parent(self.folder.as_fd(), below)?;
            let text = rustix::fs::readlinkat(folder, name, Vec::new())?;
            Ok(std::ffi::OsString::from_vec(text.into_bytes()).into())
        }
        #[cfg(not(unix))]
        {
            std::fs::read_link(self.path.join(below))
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
