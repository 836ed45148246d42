//! A file of a model folder, opened where the walk found it and nowhere else.

use std::{
    fs::File,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::io::open_no_link;

/// A path, and the folder from which on no part of it may be a link.
///
/// # Guarantee
/// Of a file that a walk has found, [`open`](Self::open) follows no link: neither the file nor any folder between it and the
/// model folder, nor, for the target of a link, any folder at all. Somebody who puts a link in the way of a file, at any moment,
/// gets an error and no other file opened. On Linux; elsewhere this holds below the model folder on POSIX systems, and for the
/// last name alone on others.
///
/// # Non-guarantee
/// A path that was made by `From` is opened with links in it followed, but for its last name.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    root: Option<Arc<Root>>,
}

/// A folder that was open before anything in it was looked at.
#[derive(Debug)]
pub(crate) struct Root {
    /// How paths below it begin.
    #[cfg_attr(not(unix), allow(dead_code, reason = "other systems open by paths"))]
    path: PathBuf,
    #[cfg(unix)]
    folder: std::os::fd::OwnedFd,
}

impl Root {
    /// Opens a folder, whose path may have links in it: the caller chose it.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            folder: steps::open(path)?,
        }))
    }

    /// The root of the file system, for paths without links; `None` where folders that may be passed need not be readable, so
    /// that they cannot be gone through one by one.
    pub(crate) fn of_system() -> Option<Arc<Self>> {
        if cfg!(any(target_os = "linux", target_os = "android")) {
            Self::open(Path::new("/")).ok()
        } else {
            None
        }
    }
}

impl Place {
    /// A file below a folder.
    pub(crate) fn below(root: Option<&Arc<Root>>, path: PathBuf) -> Self {
        Self { path, root: root.map(Arc::clone) }
    }

    /// Opens the file for reading, and waits for nothing, as opening a FIFO would.
    ///
    /// # Errors
    /// The error of the operating system, for a link that is in the way too.
    pub fn open(&self) -> io::Result<File> {
        #[cfg(unix)]
        if let Some(root) = &self.root
            && let Ok(below) = self.path.strip_prefix(&root.path)
        {
            return steps::open_below(&root.folder, below);
        }
        open_no_link(&self.path)
    }
}

/// Whether a file was not opened because something in its path is a link, or no folder any more.
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

/// Folders are opened name by name, so that a link is an error even if it is put there at that moment.
#[cfg(unix)]
mod steps {
    use std::{
        fs::File,
        io,
        os::fd::{AsFd as _, OwnedFd},
        path::{Component, Path},
    };

    use rustix::fs::{Mode, OFlags, openat};

    pub(super) fn open(folder: &Path) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(folder, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?)
    }

    pub(super) fn open_below(root: &OwnedFd, path: &Path) -> io::Result<File> {
        let mut names = path.components().peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(Component::Normal(name)) = names.next() {
            let at = folder.as_ref().unwrap_or(root).as_fd();
            if names.peek().is_none() {
                return Ok(openat(at, name, FILE, Mode::empty())?.into());
            }
            folder = Some(openat(at, name, FOLDER, Mode::empty())?);
        }
        // Nothing that a walk found has another path.
        Err(io::ErrorKind::InvalidInput.into())
    }

    /// Neither waited for, nor made the process's terminal, nor left open in programs that it starts.
    const FILE: OFlags =
        OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
    const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(PASSED);
    /// A folder that may be passed need not be one that may be read.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const PASSED: OFlags = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const PASSED: OFlags = OFlags::empty();
}
