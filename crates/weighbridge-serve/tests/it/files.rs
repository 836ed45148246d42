//! Files and metadata: which bytes an answer has.

use std::{
    fs,
    io::{BufReader, Write as _},
};

use weighbridge_testkit::{Folder, bytes};
use weighbridge_verify::tree::ChunkSize;

use crate::kit::{Answer, BIG, Served, files, model};

#[test]
fn every_listed_file_and_every_metadata_file_is_served_as_it_is() {
    let (folder, signed) = model();
    let served = Served::of(&folder);
    for (path, content) in files() {
        let escaped = path.replace(' ', "%20").replace('\u{e4}', "%C3%A4");
        // A path of its own, but for the one that begins like a hub's.
        let plain = served.get(&format!("/test/model/{escaped}"));
        if path.starts_with("resolve/") {
            assert_eq!(plain.body, b"{}\n", "the file of the revision `main`");
        } else {
            assert_eq!((plain.status, plain.is_whole), (200, true), "{path}");
            assert!(plain.body == content, "{path}");
        }
        let resolved = served.get(&format!("/test/model/resolve/main/{escaped}"));
        assert!(resolved.status == 200 && resolved.body == content, "{path}");
        let (_, entry) = signed.files.find(path).unwrap();
        assert_eq!(resolved.header("etag"), format!("\"{}\"", entry.root));
        assert_eq!(resolved.header("accept-ranges"), "bytes");
        assert_eq!(resolved.header("content-type"), "application/octet-stream");
        assert_eq!(resolved.header("x-content-type-options"), "nosniff");
    }
    for name in ["head.note", "files.jsonl", "tensors.jsonl", "chunks.layer"] {
        let content = fs::read(folder.at(&format!("weighbridge/{name}"))).unwrap();
        for path in [
            format!("/test/model/weighbridge/{name}"),
            format!("/test/model/resolve/main/weighbridge/{name}"),
        ] {
            let answer = served.get(&path);
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.body == content, "{path}");
        }
    }
}

#[test]
fn each_range_has_its_bytes_and_says_which_they_are() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let content = &files()[2].1;
    let mut starts = vec![0, 1, 16_383, 16_384, 16_385, (1 << 20) - 1, 1 << 20, 3 << 20, BIG - 1];
    starts.extend([700_000, 2_500_000]);
    for first in starts {
        for len in [1, 2, 16_384, 100_000, 1 << 20, BIG] {
            let end = (first + len).min(BIG);
            let range = format!("Range: bytes={first}-{}", first + len - 1);
            let answer = served.get_with("/test/model/model.bin", &range);
            assert_eq!((answer.status, answer.is_whole), (206, true), "{range}");
            assert!(answer.body == content[first..end], "{range}");
            assert_eq!(answer.header("content-range"), format!("bytes {first}-{}/{BIG}", end - 1));
        }
    }
    let beyond = served.get_with("/test/model/model.bin", &format!("Range: bytes={BIG}-"));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{BIG}").as_str()));
}

/// A swarm is to take each byte of a model once, and this shows whether it did.
#[test]
fn bytes_are_counted_by_whether_they_were_given_before() {
    let content = bytes(100_000, 1);
    let (folder, _) = Folder::weighed(&[("model.bin", content)], ChunkSize::MIN);
    let more = weighbridge_serve::MoreFigures::new(|| "others 7\n".to_owned());
    let rules = weighbridge_serve::Rules { more_figures: Some(more), ..Default::default() };
    let served = Served::by(vec![folder.path().to_owned()], rules, weighbridge_serve::Limits::default());
    let given = |given: &str| {
        served.figure(&format!("weighbridge_model_bytes_total{{model=\"test/model\",given=\"{given}\"}}"))
    };
    assert_eq!((given("first"), given("again"), served.figure("others")), (0, 0, 7));
    let part = |range: &str| {
        assert_eq!(served.get_with("/test/model/model.bin", &format!("Range: bytes={range}")).status, 206);
    };
    // Two chunks of 16 KiB, the second of them once more with a third one.
    part("0-32767");
    assert_eq!((given("first"), given("again")), (32_768, 0));
    part("16384-49151");
    assert_eq!((given("first"), given("again")), (49_152, 16_384));
    // Parts of a chunk count by their bytes, and the metadata of a model does not count.
    part("99999-");
    part("99990-");
    assert_eq!(served.get("/test/model/weighbridge/files.jsonl").status, 200);
    assert_eq!((given("first"), given("again")), (49_153, 16_394));
    // A request for the head of an answer is given no byte.
    served.ask("HEAD /test/model/model.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((given("first"), given("again")), (49_153, 16_394));
}

#[test]
fn ranges_of_layers_are_those_of_the_file() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let content = fs::read(folder.at("weighbridge/chunks.layer")).unwrap();
    for (first, last) in
        [(0, 0), (1, 31), (100, 6_000), (6_140, 6_200), (0, content.len() - 1), (content.len() - 1, 9_999)]
    {
        let range = format!("Range: bytes={first}-{last}");
        let answer = served.get_with("/test/model/weighbridge/chunks.layer", &range);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.body, content[first..(last + 1).min(content.len())], "{range}");
    }
}

#[test]
fn conditions_are_about_the_root_of_the_file() {
    let (folder, signed) = model();
    let served = Served::of(&folder);
    let root = signed.files.find("model.bin").unwrap().1.root;
    let part = |condition: &str| {
        served.get_with("/test/model/model.bin", &format!("Range: bytes=5-9\r\nIf-Range: {condition}"))
    };
    assert_eq!(part(&format!("\"{root}\"")).status, 206);
    let whole = part("\"of another release\"");
    assert_eq!((whole.status, whole.body.len()), (200, BIG));
    assert_eq!(part("Sun, 29 Nov 2026 08:00:00 GMT").status, 200);
    let known = served.get_with("/test/model/model.bin", &format!("If-None-Match: \"{root}\""));
    assert_eq!((known.status, known.body.len()), (304, 0));
    let other = served.get_with("/test/model/resolve/main/model.bin", "If-Match: \"of another release\"");
    assert_eq!((other.status, other.header("etag")), (412, format!("\"{root}\"").as_str()));
    assert_eq!(other.header("x-repo-commit").len(), 40);
}

#[test]
fn a_head_says_what_a_get_would_and_reads_nothing() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    for path in [
        "/test/model/model.bin",
        "/test/model/resolve/main/config.json",
        "/test/model/weighbridge/files.jsonl",
        "/",
    ] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, get) = (served.ask(&request), served.get(path));
        assert_eq!(head.status, 200, "{path}");
        for name in ["content-length", "content-type", "etag", "x-repo-commit"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{name} of {path}");
        }
    }
    let request = "HEAD /test/model/model.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-2\r\n\r\n";
    let head = served.ask(request);
    let whole = BIG.to_string();
    assert_eq!((head.status, head.header("content-length")), (200, whole.as_str()), "a HEAD has no range");
}

#[test]
fn requests_on_one_connection_are_answered_in_their_order() {
    let (folder, _) = model();
    let served = Served::of(&folder);
    let mut stream = served.connect();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let paths = ["/test/model/config.json", "/test/model/none", "/test/model/model.bin", "/healthz"];
    stream.write_all(paths.map(one).concat().as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let answers = paths.map(|_| Answer::read(&mut stream, true));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 404, 200, 200]);
    assert!(answers[2].body == files()[2].1);
}

/// Files in the folder that are not listed are nobody's business.
#[test]
fn nothing_but_what_is_listed_is_there() {
    let (folder, _) = model();
    folder.write("secret.txt", b"not listed");
    folder.write("weighbridge/head.txt", b"not served");
    folder.write("weighbridge/partial/x", b"not served");
    let served = Served::of(&folder);
    for path in [
        "/test/model/secret.txt",
        "/test/model/resolve/main/secret.txt",
        "/test/model/weighbridge/head.txt",
        "/test/model/weighbridge/partial/x",
        "/test/model/resolve/main/weighbridge/head.txt",
        "/test/model/../model/config.json",
        "/test/model/./config.json",
        "/test/model//config.json",
        "/test/model/config.json/",
        "/test/model/%2e%2e/model/config.json",
        "/test/model/config%252Ejson",
        "/test/model/CONFIG.JSON",
        "/test/other/config.json",
        "/test/model/resolve/other/config.json",
        "/etc/passwd",
        "/../../etc/passwd",
        "/test/model/%2fetc%2fpasswd",
        "/api/models",
        "/favicon.ico",
    ] {
        assert_eq!(served.get(path).status, 404, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let (folder, _) = model();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("config.json"), b"{}\n").unwrap();
    let served = Served::of(&folder);
    assert_eq!(served.get("/test/model/config.json").status, 200);
    fs::remove_file(folder.at("config.json")).unwrap();
    folder.link("config.json", outside.path().join("config.json"));
    assert_eq!(served.get("/test/model/config.json").status, 503);
}
