//! Opening what lies beneath an open folder, on POSIX systems: no link is followed on the way, even one that somebody puts
//! there at that moment.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path},
};

use rustix::fs::{Mode, OFlags, openat};

/// Flags for files: nothing is waited for, no terminal becomes the process's, and started programs inherit nothing.
pub(crate) const FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// Flags for folders.
pub(crate) const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the file or folder at `path` beneath `root`: by one call where the system has one for it, else name by name.
///
/// # Errors
/// The error of the operating system, among them those for links; [`io::ErrorKind::InvalidInput`] for a path that is empty, or
/// has `..` or a root in it.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    if path.as_os_str().is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(opened) = at_once::open(root, path, flags, mode) {
        return opened;
    }
    by_steps(root, path, flags, mode)
}

/// Opens the folder of what is at `path` beneath `root`, and returns it with the last name.
///
/// # Errors
/// As of [`open`].
pub(crate) fn parent<'p>(root: BorrowedFd<'_>, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if folder.as_os_str().is_empty() {
        return Ok((root.try_clone_to_owned()?, name));
    }
    Ok((open(root, folder, FOLDER | PASSED, Mode::empty())?, name))
}

/// `openat2` of Linux, since 5.6.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod at_once {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use rustix::{
        fs::{ResolveFlags, openat2},
        io::Errno,
    };

    use super::{BorrowedFd, Mode, OFlags, OwnedFd, Path, by_steps, io};

    /// Set once the kernel, or a filter of system calls, has refused the call itself.
    static IS_REFUSED: AtomicBool = AtomicBool::new(false);

    /// `None` if the system does not have the call.
    pub(super) fn open(
        root: BorrowedFd<'_>,
        path: &Path,
        flags: OFlags,
        mode: Mode,
    ) -> Option<io::Result<OwnedFd>> {
        // The call takes a mode with these flags alone.
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
        while !IS_REFUSED.load(Relaxed) {
            match openat2(root, path, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
                // A file was renamed at this moment, so that the kernel cannot say whether the path stays beneath.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The refusal may be about this file. If the steps open it, it is about the call.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                    let opened = by_steps(root, path, flags, mode);
                    IS_REFUSED.fetch_or(opened.is_ok(), Relaxed);
                    return Some(opened);
                }
                opened => return Some(opened.map_err(io::Error::from)),
            }
        }
        None
    }
}

fn by_steps(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let mut names = path.iter().peekable();
    let mut folder: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let at = folder.as_ref().map_or(root, |folder| folder.as_fd());
        if names.peek().is_none() {
            return Ok(openat(at, name, flags, mode)?);
        }
        folder = Some(openat(at, name, FOLDER | PASSED, Mode::empty())?);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// A folder that may be passed need not be one that may be read.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const PASSED: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const PASSED: OFlags = OFlags::empty();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    #![allow(clippy::disallowed_methods, reason = "tests name their own files")]

    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Both ways to open say the same.
    #[test]
    fn neither_way_follows_a_link_or_leaves_the_folder() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("in/deep")).unwrap();
        fs::write(place.path().join("in/deep/file"), "inside").unwrap();
        fs::write(place.path().join("outside"), "outside").unwrap();
        symlink("deep", place.path().join("in/link")).unwrap();
        symlink("deep/file", place.path().join("in/linked")).unwrap();
        symlink("../outside", place.path().join("in/out")).unwrap();
        let root: OwnedFd = fs::File::open(place.path().join("in")).unwrap().into();
        for open in [open, by_steps] {
            let opens = |path: &str| open(root.as_fd(), Path::new(path), FILE, Mode::empty()).is_ok();
            assert!(opens("deep/file") && opens("deep"));
            for path in ["link/file", "linked", "out", "none", "deep/file/more", ""] {
                assert!(!opens(path), "{path}");
            }
        }
        for path in ["../outside", "deep/../../outside", "/etc/passwd", "./deep/file"] {
            let opened = open(root.as_fd(), Path::new(path), FILE, Mode::empty());
            assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}
