use std::{fs, io::Error};

use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, Folder) {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("root")).unwrap();
    (place, folder)
}

#[test]
fn makes_the_folder_and_those_above_it() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("a/b/c");
    Folder::open(&root).unwrap();
    Folder::open(&root).unwrap();
    assert!(root.is_dir());
}

#[test]
fn is_no_folder_where_a_file_is() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a"), b"").unwrap();
    assert!(Folder::open(&place.path().join("a")).is_err());
    assert!(Folder::open(&place.path().join("a/b")).is_err());
}

#[cfg(unix)]
#[test]
fn follows_no_link_on_the_way() {
    let (place, folder) = folder();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), b"mine").unwrap();
    std::os::unix::fs::symlink(&outside, place.path().join("root/link")).unwrap();
    folder.write("file", Opening::New).unwrap();
    assert!(folder.make_folder("link/folder").is_err());
    assert!(folder.write("link/file", Opening::New).is_err());
    assert!(folder.write("link/mine", Opening::Any).is_err());
    assert!(folder.read("link/mine").is_err());
    assert!(folder.look("link/mine").is_err());
    assert!(folder.rename("file", "link/file").is_err());
    assert!(folder.rename("link/mine", "taken").is_err());
    assert!(folder.remove("link/mine").is_err());
    assert!(folder.names("link").is_err());
    assert!(folder.sync_folder("link").is_err());
    let there: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["mine"]);
    assert_eq!(folder.look("link").unwrap(), Some(FileKind::Link));
}

#[cfg(unix)]
#[test]
fn opens_no_link_and_removes_it_instead_of_its_target() {
    let (place, folder) = folder();
    let mine = place.path().join("mine");
    fs::write(&mine, b"mine").unwrap();
    std::os::unix::fs::symlink(&mine, place.path().join("root/link")).unwrap();
    assert!(folder.read("link").is_err());
    assert!(folder.write("link", Opening::Any).is_err());
    folder.remove("link").unwrap();
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    assert_eq!(folder.look("link").unwrap(), None);
}

#[cfg(unix)]
#[test]
fn does_not_wait_for_a_fifo() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let (place, folder) = folder();
    let fifo = place.path().join("root/fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(folder.look("fifo").unwrap(), Some(FileKind::Special));
    assert!(!folder.read("fifo").unwrap().metadata().unwrap().is_file());
    assert!(!open_to_read(&fifo).unwrap().metadata().unwrap().is_file());
}

#[test]
fn tells_holes_from_data() {
    let (_place, folder) = folder();
    let file = folder.write("file", Opening::New).unwrap();
    let len = 64 << 20;
    file.set_len(len).unwrap();
    let written = [(8 << 20)..(9 << 20), (40 << 20)..(41 << 20)];
    let piece = vec![1; 1 << 20];
    written.iter().for_each(|part| file.write_at(&piece, part.start).unwrap());
    let found = extents(file.file(), len).unwrap();
    let holds = |at: &u64| found.iter().any(|part| part.contains(at));
    for part in &written {
        assert!(holds(&part.start) && holds(&(part.end - 1)), "{found:?}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        // Unless this file system has no holes at all.
        if file.file().metadata().unwrap().blocks() * 512 < len / 2 {
            assert!(!holds(&0) && !holds(&(len / 2)) && !holds(&(len - 1)), "{found:?}");
        }
    }
}

#[test]
fn has_no_data_in_an_empty_file_or_past_the_length() {
    let (_place, folder) = folder();
    let file = folder.write("file", Opening::New).unwrap();
    assert!(extents(file.file(), 0).unwrap().is_empty());
    file.write_at(&[1; 10_000], 0).unwrap();
    assert_eq!(extents(file.file(), 5_000).unwrap().last().map(|part| part.end), Some(5_000));
}

#[test]
fn tells_very_many_parts_as_fewer() {
    let mut extents = Vec::new();
    let parts = u64::try_from(MAX_EXTENTS).unwrap() + 10;
    (0..parts).for_each(|nth| add_extent(&mut extents, 10 * nth..10 * nth + 5));
    assert_eq!(extents.len(), MAX_EXTENTS);
    assert_eq!(extents.last().map(|part| part.end), Some(10 * (parts - 1) + 5));
}

#[cfg(unix)]
#[test]
fn has_advice_for_what_file_systems_say() {
    use rustix::io::Errno;
    let advice = |errno: Errno| hint(&Error::from(errno)).unwrap_or_default();
    assert!(advice(Errno::NOSPC).contains("room"));
    assert!(advice(Errno::DQUOT).contains("quota"));
    assert!(advice(Errno::ROFS).contains("read-only"));
    assert!(advice(Errno::NOENT).contains("unmounted"));
    assert!(advice(Errno::STALE).contains("mount it again"));
    assert!(advice(Errno::ACCESS).contains("yours"));
    assert!(advice(Errno::FBIG).contains("long"));
    assert_eq!(hint(&Error::from(Errno::INVAL)), None);
}
