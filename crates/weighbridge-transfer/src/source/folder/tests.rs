use std::fs;

use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, FolderSource) {
    let place = tempfile::tempdir().unwrap();
    let source = FolderSource::new(place.path().to_owned());
    (place, source)
}

async fn read(source: &FolderSource, path: &str, range: Range<u64>, size: u64) -> Result<Vec<u8>, Fault> {
    let mut body = source.part(path, range, size, None).await?.bytes;
    let mut bytes = Vec::new();
    while let Some(more) = body.next().await.transpose()? {
        assert!(!more.is_empty() && more.len() <= 1 << 20);
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

#[tokio::test]
async fn gives_ranges_in_pieces() {
    let (place, source) = folder();
    let content: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    fs::create_dir(place.path().join("a")).unwrap();
    fs::write(place.path().join("a/b"), &content).unwrap();
    assert_eq!(read(&source, "a/b", 0..3_000_000, 3_000_000).await.unwrap(), content);
    assert_eq!(read(&source, "a/b", 7..2_000_000, 3_000_000).await.unwrap(), content[7..2_000_000]);
    assert_eq!(source.whole("a/b", 3_000_000).await.unwrap(), content);
}

#[tokio::test]
async fn gives_nothing_of_a_file_of_another_length() {
    let (place, source) = folder();
    fs::write(place.path().join("a"), b"12345").unwrap();
    assert!(matches!(read(&source, "a", 0..4, 4).await, Err(Fault::OtherFile(_))));
    assert!(matches!(read(&source, "a", 0..6, 6).await, Err(Fault::OtherFile(_))));
    assert!(matches!(source.whole("a", 4).await, Err(Fault::OtherFile(_))));
    assert_eq!(source.whole("a", 5).await.unwrap(), b"12345");
}

#[tokio::test]
async fn says_that_a_file_was_cut_while_it_was_read() {
    let (place, source) = folder();
    let len = 3 << 20;
    fs::write(place.path().join("a"), vec![1; 3 << 20]).unwrap();
    let mut body = source.part("a", 0..len, len, None).await.unwrap().bytes;
    assert_eq!(body.next().await.unwrap().unwrap().len(), 1 << 20);
    File::options().write(true).open(place.path().join("a")).unwrap().set_len(1 << 20).unwrap();
    assert!(matches!(body.next().await, Some(Err(Fault::OtherFile(_)))));
}

#[tokio::test]
async fn has_no_file_that_is_not_there() {
    let (place, source) = folder();
    fs::write(place.path().join("a"), b"1").unwrap();
    assert_eq!(source.whole("b", 9).await, Err(Fault::Missing));
    assert_eq!(source.whole("a/b", 9).await, Err(Fault::Missing));
    assert_eq!(read(&source, "b/c", 0..1, 1).await, Err(Fault::Missing));
}

#[cfg(unix)]
#[tokio::test]
async fn refuses_what_is_no_regular_file_and_waits_for_none() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let (place, source) = folder();
    fs::create_dir(place.path().join("folder")).unwrap();
    mknodat(CWD, place.path().join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::os::unix::fs::symlink("fifo", place.path().join("link")).unwrap();
    for path in ["folder", "fifo", "link"] {
        assert!(matches!(source.whole(path, 9).await, Err(Fault::Refused(_))), "{path}");
        assert!(matches!(read(&source, path, 0..1, 1).await, Err(Fault::Refused(_))), "{path}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn follows_links_as_in_the_cache_of_a_hub() {
    let place = tempfile::tempdir().unwrap();
    let at = |path: &str| place.path().join(path);
    fs::create_dir_all(at("snapshots/rev")).unwrap();
    fs::create_dir(at("blobs")).unwrap();
    fs::write(at("blobs/abc"), b"blob").unwrap();
    std::os::unix::fs::symlink("../../blobs/abc", at("snapshots/rev/model")).unwrap();
    std::os::unix::fs::symlink("loop", at("snapshots/rev/loop")).unwrap();
    let source = FolderSource::new(at("snapshots/rev"));
    assert_eq!(read(&source, "model", 1..4, 4).await.unwrap(), b"lob");
    assert!(matches!(source.whole("loop", 9).await, Err(Fault::Unreachable(_))));
}

#[cfg(unix)]
#[tokio::test]
async fn refuses_what_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let (place, source) = folder();
    fs::write(place.path().join("a"), b"1").unwrap();
    fs::set_permissions(place.path().join("a"), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(place.path().join("a")).is_ok() {
        // The superuser may read every file.
        assert_eq!(
            fault(&io::ErrorKind::PermissionDenied.into()),
            Fault::Refused("permission denied".to_owned())
        );
    } else {
        assert!(matches!(source.whole("a", 9).await, Err(Fault::Refused(_))));
    }
}
