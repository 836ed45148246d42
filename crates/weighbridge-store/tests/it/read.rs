//! `read_bounded` reads regular files only, and never more bytes than permitted.

use std::{fs::File, io::ErrorKind};

use weighbridge_store::{Coded, read_bounded, shown_path};
use weighbridge_testkit::{Folder, in_time};

#[test]
fn a_file_is_read_up_to_the_limit_and_refused_beyond() {
    let folder = Folder::of(&[("a", b"12345".to_vec()), ("empty", Vec::new())]);
    for limit in [5, 6, u64::MAX] {
        assert_eq!(read_bounded(&folder.at("a"), limit).unwrap(), b"12345");
    }
    assert_eq!(read_bounded(&folder.at("empty"), 0).unwrap(), b"");
    for limit in [0, 4] {
        let error = read_bounded(&folder.at("a"), limit).unwrap_err();
        assert_eq!((error.error_code().get(), error.source.kind()), (9002, ErrorKind::FileTooLarge));
        assert_eq!(
            error.to_string(),
            format!("cannot read {}: larger than {limit} bytes", shown_path(folder.at("a")))
        );
    }
}

#[test]
fn a_long_file_is_not_read_into_memory() {
    let folder = Folder::new();
    // A sparse file of this length would fit neither the memory nor the time of a read.
    File::create(folder.at("a")).unwrap().set_len(1 << 42).unwrap();
    let error = read_bounded(&folder.at("a"), 1 << 20).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::FileTooLarge);
}

#[test]
fn nothing_but_a_file_is_read_or_waited_for() {
    let folder = Folder::new();
    folder.fifo("fifo");
    folder.link("link", "fifo");
    for path in ["fifo", "link"] {
        let path = folder.at(path);
        let error = in_time(move || read_bounded(&path, 9)).unwrap_err();
        assert_eq!(error.source.to_string(), "not a regular file");
    }
    for path in ["/dev/zero", "/dev"] {
        assert_eq!(read_bounded(path.as_ref(), 9).unwrap_err().source.to_string(), "not a regular file");
    }
    assert_eq!(read_bounded(&folder.at("nothing"), 9).unwrap_err().source.kind(), ErrorKind::NotFound);
}

#[test]
fn paths_are_shown_so_that_no_terminal_obeys_them() {
    assert_eq!(shown_path("a b/ü/日本"), "a b/ü/日本");
    assert_eq!(shown_path("\u{1b}[2J\r\u{9b}x\u{202e}"), r"\u{1b}[2J\r\u{9b}x\u{202e}");
    assert_eq!(shown_path("y".repeat(300)), "y".repeat(300));
    assert_eq!(shown_path("y".repeat(301)), "y".repeat(300) + "…");
}
