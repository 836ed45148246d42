//! Files that are not as they were signed: no byte of a bad chunk is sent.

use std::{
    fs,
    io::{BufReader, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use crate::kit::{Served, files, model};

const CHUNK: usize = 16_384;

#[test]
fn a_bad_chunk_before_the_first_byte_is_told_and_later_the_answer_ends_before_it() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let content = files()[2].1.clone();
    folder.alter("model.bin", |bytes| bytes[100 * CHUNK + 5] ^= 1);
    let whole = served.get("/test/model/model.bin");
    assert_eq!((whole.status, whole.is_whole), (200, false));
    assert!(
        whole.body.len() == 100 * CHUNK && content.starts_with(&whole.body),
        "all chunks before it are sent"
    );
    for (range, status) in
        [("0-1638399", 206), ("1638400-1638400", 503), ("1654783-", 503), ("1654784-", 206)]
    {
        let answer = served.get_with("/test/model/model.bin", &format!("Range: bytes={range}"));
        assert_eq!(answer.status, status, "{range}");
        if status == 503 {
            assert_eq!(answer.header("weighbridge-code"), "2102");
            assert_eq!(
                answer.text(),
                "not sent: model.bin: chunk 100 (bytes 1638400..1654784) does not match the signed root [W2102]\n"
            );
        }
    }
    assert!(served.figure("weighbridge_chunks_refused_total") >= 3);
    let head = served.ask("HEAD /test/model/model.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(head.status, 200, "a HEAD reads nothing");
}

#[test]
fn a_file_that_is_mended_in_whatever_way_is_served_again() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let content = files()[2].1.clone();
    let get = || served.get("/test/model/model.bin");
    let good = || (get().status, get().body == content);
    assert_eq!(good(), (200, true));
    // In place.
    folder.alter("model.bin", |bytes| bytes[0] ^= 1);
    assert_eq!(get().status, 503);
    folder.alter("model.bin", |bytes| bytes[0] ^= 1);
    assert_eq!(good(), (200, true));
    // Shorter, and as it was.
    folder.write("model.bin", &content[1..]);
    assert_eq!(get().status, 503);
    folder.write("model.bin", &content);
    assert_eq!(good(), (200, true));
    // Another file in its place, first with other bytes. Nobody notices that the same one is another file.
    folder.write("new", &content[1..]);
    fs::rename(folder.at("new"), folder.at("model.bin")).unwrap();
    assert_eq!(get().status, 503);
    for _ in 0..2 {
        folder.write("new", &content);
        fs::rename(folder.at("new"), folder.at("model.bin")).unwrap();
        assert_eq!(good(), (200, true));
    }
    // Gone, and back.
    fs::remove_file(folder.at("model.bin")).unwrap();
    let gone = get();
    assert_eq!((gone.status, gone.text().as_str()), (503, "the server cannot read this file now [W2104]\n"));
    folder.write("model.bin", &content);
    let until = Instant::now() + Duration::from_secs(10);
    while good() != (200, true) {
        assert!(Instant::now() < until, "it is not served again");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// While the client has read nothing yet but the first bytes, the server has judged a piece or two. The rest changes then.
#[test]
fn a_file_that_changes_while_it_is_sent_is_sent_up_to_the_change() {
    let big = weighbridge_testkit::bytes(64 << 20, 3);
    let (folder, _) =
        weighbridge_testkit::Folder::weighed(&[("big.bin", big)], weighbridge_verify::tree::ChunkSize::MIN);
    let served = Served::of(&folder);
    let mut stream = served.connect();
    stream.write_all(b"GET /test/model/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let at = (60 << 20) + 7;
    let file = fs::OpenOptions::new().write(true).open(folder.at("big.bin")).unwrap();
    file.write_all_at(&[0x55, 0x55, 0x55], at).unwrap();
    let mut rest = Vec::new();
    // The connection may be reset.
    let _ = BufReader::new(stream).read_to_end(&mut rest);
    let head = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let sent = u64::try_from(rest.len() - head).unwrap();
    assert!(sent > 0 && sent <= 60 << 20, "{sent} bytes were sent");
}

#[test]
fn a_model_whose_metadata_are_not_the_signed_ones_is_not_published() {
    for name in ["head.note", "files.jsonl", "tensors.jsonl"] {
        let (folder, _) = model();
        folder.alter(&format!("weighbridge/{name}"), |bytes| bytes.push(b'x'));
        let served = Served::of(&folder);
        assert_eq!(served.get("/test/model/config.json").status, 404, "{name}");
        assert_eq!(served.get("/readyz").status, 503);
    }
}

/// A layer is judged each time it is read.
#[test]
fn a_bad_layer_is_not_sent() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    // That of the second file that has one. The layer of the first was read when the model was opened.
    let at = files()[2].1.len().div_ceil(CHUNK) * 32 + 1;
    folder.alter("weighbridge/chunks.layer", |bytes| bytes[at] ^= 1);
    let layers = served.get("/test/model/weighbridge/chunks.layer");
    assert_eq!((layers.status, layers.body.len() < at), (503, true));
    assert_eq!(served.get("/test/model/some%20folder/%C3%A4.bin").status, 503);
    assert_eq!(served.get("/test/model/model.bin").status, 200);
}
