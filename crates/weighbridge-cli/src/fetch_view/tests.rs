#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use weighbridge_manifest::EntryPath;

use super::*;

const MIB: u64 = 1 << 20;

pub(super) fn names() -> Vec<String> {
    ["https://a.example/m", "mirror"].map(str::to_owned).to_vec()
}

pub(super) fn status(state: SourceState) -> SourceStatus {
    SourceStatus { source: SourceId::new(1), state, blame: None, again_in: None, verified: 0, rate: 0 }
}

pub(super) fn lied() -> Option<(Blame, String)> {
    Some((Blame::Lied, "chunk 3 of m.gguf does not match\u{1b}".to_owned()))
}

pub(super) fn waiting(from: Option<SourceId>, seconds: u64) -> Waiting {
    Waiting {
        for_what: "m.gguf".to_owned(),
        chunks: Some(3..7),
        from,
        again_in: None,
        here: None,
        since: Duration::from_secs(seconds),
    }
}

#[test]
fn a_bar_that_stands_still_says_for_what_from_whom_and_since_when() {
    assert_eq!(
        waiting_line(&waiting(Some(SourceId::new(1)), 5), &names(), Named::default(), Counts::Verified),
        "nothing verified for 5 s: waiting for chunks 3 to 6 of m.gguf from mirror"
    );
    let again_in = Some(Duration::from_millis(2_100));
    assert_eq!(
        waiting_line(
            &Waiting { chunks: Some(3..4), again_in, ..waiting(Some(SourceId::new(1)), 2) },
            &names(),
            Named::default(),
            Counts::Verified
        ),
        "nothing verified for 2 s: waiting for chunk 3 of m.gguf from mirror, tried again in 3 s"
    );
    let head =
        Waiting { for_what: "head.note".to_owned(), chunks: None, ..waiting(Some(SourceId::new(0)), 61) };
    assert_eq!(
        waiting_line(&head, &names(), Named::default(), Counts::Verified),
        "nothing verified for 61 s: waiting for head.note from https://a.example/m"
    );
}

#[test]
fn a_long_name_is_cut_in_its_middle() {
    let name = format!("https://mirror.example/{}/org/model", "x".repeat(50));
    let short = short(&name, MAX_NAME);
    assert_eq!(short, "https://mirror.…xxxxxx/org/model");
    assert_eq!(short.chars().count(), MAX_NAME);
}

#[test]
fn a_file_has_the_line_that_verify_has() {
    let path = EntryPath::parse("config.json").unwrap();
    let unit = ChunkSize::new(1 << 18).ok();
    let line = |bytes| result(&Event::File { path: path.clone(), size: bytes }, unit);
    assert_eq!(line(570), format!("ok       config.json{}       1 chunk  570 B", " ".repeat(29)));
    assert_eq!(line(MIB + 1), format!("ok       config.json{}      5 chunks  1.00 MiB", " ".repeat(29)));
    assert_eq!(line(0), format!("ok       config.json{}      0 chunks  0 B", " ".repeat(29)));
    let extra = |removed| result(&Event::Extra { path: "old\n".to_owned(), removed, fault: None }, None);
    assert_eq!(extra(false), "extra    old\\n  not listed, not part of the model");
    assert_eq!(extra(true), "removed  old\\n");
}

/// A fetch that was naming a file said "nothing verified" for 62 s, although everything was verified.
#[test]
fn while_this_machine_works_it_is_said_what_it_does() {
    let line = |here, files| {
        let waiting = Waiting { chunks: None, here: Some(here), ..waiting(None, 62) };
        waiting_line(&waiting, &names(), Named { files, of: 13 }, Counts::Verified)
    };
    assert_eq!(line(Here::Reading, 0), "nothing verified for 62 s: reading m.gguf, which was on disk before");
    assert_eq!(line(Here::Writing, 0), "nothing verified for 62 s: writing m.gguf");
    assert_eq!(line(Here::Syncing, 0), "nothing verified for 62 s: syncing m.gguf");
    assert_eq!(line(Here::Naming, 4), "all verified 62 s ago; naming m.gguf, 5 of 13 files");
    // The metadata is named after all files.
    assert_eq!(line(Here::Naming, 13), "all verified 62 s ago; naming m.gguf");
    assert_eq!(line(Here::Listing, 13), "all verified 62 s ago; looking for files that are not listed");
}
