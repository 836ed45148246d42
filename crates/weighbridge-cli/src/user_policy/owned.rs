//! Whether a path leads to something that nobody but this user and root could have put there or changed.

use std::{fmt, path::PathBuf};

use weighbridge_store::IoError;

/// The reason why a path is not followed.
#[cfg_attr(not(unix), allow(dead_code, reason = "owners and modes are those of Unix"))]
pub(super) enum Error {
    Io(IoError),
    /// Somebody else could change what is at `at`, a part of the path or of a link on it.
    Exposed {
        at: PathBuf,
        how: How,
    },
}

/// How somebody else could change a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code, reason = "owners and modes are those of Unix"))]
pub(super) enum How {
    /// It belongs to this other user.
    Foreign(u32),
    /// Its mode lets others write.
    Writable(u32),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(user) => write!(f, "belongs to user {user}, neither to you nor to root"),
            Self::Writable(mode) if mode & 0o002 != 0 => f.write_str("may be written by everybody"),
            Self::Writable(_) => f.write_str("may be written by its group"),
        }
    }
}

#[cfg(unix)]
pub(super) use unix::check;

/// Other systems keep a user's settings from others by lists of rights that are not looked at here.
#[cfg(not(unix))]
pub(super) fn check(path: &std::path::Path) -> Result<bool, Error> {
    Ok(path.exists())
}

#[cfg(unix)]
mod unix {
    use std::{
        ffi::OsString,
        fs, io,
        os::unix::fs::MetadataExt as _,
        path::{Component, Path, PathBuf},
    };

    use weighbridge_store::IoError;

    use super::{Error, How};

    /// Whether something is at this absolute path, following links.
    ///
    /// # Guarantee
    /// Every folder from the root on, every link, the folders to which links lead, and the end of the path belong to this
    /// user or to root, and nobody else may write to them. A folder with the sticky bit, such as `/tmp`, may be written by
    /// others, because nobody can replace in it what belongs to another user.
    ///
    /// # Non-guarantee
    /// Whoever may act as this user or as root may change everything. What does not exist yet may appear.
    pub(in super::super) fn check(path: &Path) -> Result<bool, Error> {
        check_for(path, rustix::process::geteuid().as_raw())
    }

    fn check_for(path: &Path, user: u32) -> Result<bool, Error> {
        let mut at = PathBuf::from("/");
        let mut rest: Vec<OsString> = parts(path);
        let mut links = 0;
        check_one(
            &at,
            &fs::symlink_metadata(&at).map_err(|e| Error::Io(IoError::at("look at", &at)(e)))?,
            user,
        )?;
        while let Some(part) = rest.pop() {
            if part == ".." {
                // No part of `at` is a link.
                at.pop();
                continue;
            }
            at.push(part);
            let failed = |error| Error::Io(IoError::at("look at", &at)(error));
            let found = match fs::symlink_metadata(&at) {
                Ok(found) => found,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(failed(error)),
            };
            check_one(&at, &found, user)?;
            if found.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(io::Error::other("too many links")));
                }
                let target = fs::read_link(&at).map_err(failed)?;
                at.pop();
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(parts(&target));
            }
        }
        Ok(true)
    }

    /// The parts of a path, the last one first.
    fn parts(path: &Path) -> Vec<OsString> {
        let part = |component: Component<'_>| match component {
            Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        };
        path.components().rev().filter_map(part).collect()
    }

    fn check_one(at: &Path, found: &fs::Metadata, user: u32) -> Result<(), Error> {
        let exposed = |how| Err(Error::Exposed { at: at.to_owned(), how });
        if found.uid() != 0 && found.uid() != user {
            return exposed(How::Foreign(found.uid()));
        }
        let others_write = found.mode() & 0o022;
        let keeps_others_out = found.is_dir() && found.mode() & 0o1000 != 0;
        // The mode of a link means nothing.
        if others_write != 0 && !found.is_symlink() && !keeps_others_out {
            return exposed(How::Writable(others_write));
        }
        Ok(())
    }

    /// As many as Linux follows.
    const MAX_LINKS: usize = 40;

    #[cfg(test)]
    mod tests {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        use super::*;

        fn mode(path: &Path, mode: u32) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        /// The part of the path at fault, relative to `home`, and how; or whether something is there.
        fn of(home: &Path, path: &str) -> Result<bool, (PathBuf, How)> {
            let user = fs::metadata(home).unwrap().uid();
            check_for(&home.join(path), user).map_err(|error| match error {
                Error::Io(error) => panic!("{error}"),
                Error::Exposed { at, how } => (at.strip_prefix(home).unwrap_or(&at).to_owned(), how),
            })
        }

        #[test]
        fn each_folder_the_file_and_each_link_count() {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().canonicalize().unwrap();
            fs::create_dir_all(home.join("a/b")).unwrap();
            fs::write(home.join("a/b/file"), "").unwrap();
            for place in ["a", "a/b", "a/b/file"] {
                let at = home.join(place);
                let before = fs::metadata(&at).unwrap().mode();
                assert_eq!(of(&home, "a/b/file"), Ok(true));
                for (bits, how) in [(0o020, How::Writable(0o020)), (0o002, How::Writable(0o002))] {
                    mode(&at, before & 0o7755 | bits);
                    assert_eq!(of(&home, "a/b/file"), Err((place.into(), how)), "{place} {bits:o}");
                }
                mode(&at, before);
            }
            assert_eq!(of(&home, "a/none"), Ok(false));
            assert_eq!(of(&home, "none/file"), Ok(false));
            assert_eq!(of(&home, "a/b/file/none"), Ok(false));
            assert_eq!(of(&home, "a/../a/./b/file"), Ok(true));
        }

        #[test]
        fn a_sticky_folder_may_be_written_by_others_and_a_sticky_file_not() {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().canonicalize().unwrap();
            fs::create_dir(home.join("tmp")).unwrap();
            mode(&home.join("tmp"), 0o1777);
            fs::write(home.join("tmp/file"), "").unwrap();
            mode(&home.join("tmp/file"), 0o644);
            assert_eq!(of(&home, "tmp/file"), Ok(true));
            mode(&home.join("tmp/file"), 0o1666);
            assert_eq!(of(&home, "tmp/file"), Err(("tmp/file".into(), How::Writable(0o022))));
        }

        #[test]
        fn what_links_lead_through_counts_too() {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().canonicalize().unwrap();
            fs::create_dir_all(home.join("real/deep")).unwrap();
            fs::write(home.join("real/deep/file"), "").unwrap();
            symlink("real/deep", home.join("relative")).unwrap();
            symlink(home.join("relative/../deep/file"), home.join("absolute")).unwrap();
            symlink("loop", home.join("loop")).unwrap();
            assert_eq!(of(&home, "relative/file"), Ok(true));
            assert_eq!(of(&home, "absolute"), Ok(true));
            mode(&home.join("real"), 0o777);
            for path in ["relative/file", "absolute"] {
                assert_eq!(of(&home, path), Err(("real".into(), How::Writable(0o022))), "{path}");
            }
            mode(&home.join("real"), 0o755);
            let user = fs::metadata(&home).unwrap().uid();
            assert!(matches!(check_for(&home.join("loop"), user), Err(Error::Io(_))));
        }

        #[test]
        fn what_belongs_to_another_user_is_not_followed() {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().canonicalize().unwrap();
            let owner = fs::metadata(&home).unwrap().uid();
            fs::write(home.join("file"), "").unwrap();
            // For another user everything of a user but root is foreign, and everything of root is good.
            let found = check_for(&home.join("file"), owner + 1);
            match found {
                Ok(true) => assert_eq!(owner, 0),
                Err(Error::Exposed { how: How::Foreign(user), .. }) => assert_eq!(user, owner),
                _ => panic!("an unexpected end"),
            }
        }
    }
}
