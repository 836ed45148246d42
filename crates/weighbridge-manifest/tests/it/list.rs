//! Lists are opened under a head, and written.

use proptest::prelude::*;
use weighbridge_manifest::{
    Coded, EntryPath, FileEntry, ListError, ListKind, Sha256, TensorEntry, TensorName, VerifiedFileList,
    VerifiedTensorList,
    tree::{FileRoot, ModelRoot, TensorsRoot},
    write_files, write_tensors,
};

use crate::kit::{believed, head_over};

/// Two small lists whose roots were computed in Python with the blake3 package, node by node.
const FILES: &str = r#"{"file":"config.json","size":612,"blake3":"10e8f38d1691143cb1b1fde7dba1a493c4fc3ba3ebca451dead48bd0b99e7718","sha256":"66868bbfe76ad11442d2cb531e1fbdde2ea038fd3218101aab2a9daf6bb9748a"}
{"file":"sub/a \"quoted\".bin","size":0,"blake3":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
{"file":"weights.gguf","size":40000,"blake3":"ccd32b4544a24c50fbefb249e10a8fcedc26e2794c79eb8a44ad0631bf07f53f","sha256":"8f272ca6d96caedf3d860ff34ed21868f04ce18a2f41686f513c3c989146ca79"}
{"file":"weights.safetensors","size":20000,"blake3":"dc2d2e3d3dc2da545071887b7c8b1208967d6690daef412de911c25b1afc40fd","sha256":"93a6015a3874a774dd59fdd5db19414b301525381eb5ddcc265cdcc68bb9d350"}
{"file":"ü.txt","size":7,"blake3":"3f8770f387faad08faa9d8414e9f449ac68e6ff0417f673f602a646a891419fe","sha256":"57355ac3303c148f11aef7cb179456b9232cde33a818dfda2c2fcb9325749a6b"}
"#;
const TENSORS: &str = r#"{"tensor":"a\\b","file":"weights.gguf","dtype":"Q4_0","shape":[2,32],"offset":64,"size":36,"blake3":"b6d9ffcb5cd7143238ab13e8017850108636171779cf16954d3c518618588158"}
{"tensor":"b","file":"weights.gguf","dtype":"F32","shape":[],"offset":100,"size":4,"blake3":"73b2f901ff8388a2dd2c2cf70914755c8619da50a94913966fe9bcf5329102bd"}
{"tensor":"b.weight","file":"weights.safetensors","dtype":"BF16","shape":[3,0,5],"offset":512,"size":0,"blake3":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}
{"tensor":"c","file":"weights.safetensors","dtype":"F8_E4M3","shape":[19488],"offset":512,"size":19488,"blake3":"661bba6aa7ca105c0f9ec55a27bb9da62b4bb878e4fd56d90f10586ccb5082e6"}
"#;
const BYTES: u64 = 60_619;
const ROOT: &str = "db6030054079074315cafa1268639459b740904fd7edb50e1ea5a533db9a5961";
const TENSORS_ROOT: &str = "31ba5c74764a260b0dc97db4ea9b316636139ab52b0f67dee7ec82c59fefa146";

/// Opens a file list under a head that signs exactly these bytes.
fn open(files: &[u8], bytes: u64) -> Result<VerifiedFileList, ListError> {
    believed(&head_over(files, bytes, None)).open_files(files)
}

/// The code and line of a refusal; (0, None) if the list is opened.
fn refusal<T>(opened: Result<T, ListError>) -> (u16, Option<u64>) {
    opened.map_or_else(|error| (error.error_code().get(), error.line()), |_| (0, None))
}

/// Opens a tensor list over [`FILES`] under a head that signs exactly these bytes.
fn open_tensors(tensors: &[u8]) -> Result<VerifiedTensorList, ListError> {
    let head = believed(&head_over(FILES.as_bytes(), BYTES, Some(tensors)));
    head.open_files(FILES.as_bytes()).unwrap().open_tensors(tensors)
}

fn file(path: &str, size: u64) -> FileEntry {
    let path = EntryPath::parse(path).unwrap();
    FileEntry { path, size, root: FileRoot::of(b""), sha256: None }
}

/// A list of empty files, in the given order.
fn listing(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("{}\n", file(path, 0))).collect()
}

fn tensor(name: &str, file: &str, offset: u64, size: u64) -> TensorEntry {
    let line = r#"{"tensor":"t","file":"f","dtype":"U8","shape":[],"offset":0,"size":0,"blake3":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}"#;
    let (name, file) = (TensorName::parse(name).unwrap(), EntryPath::parse(file).unwrap());
    TensorEntry { name, file, offset, size, ..TensorEntry::parse(line).unwrap() }
}

fn tensor_listing(tensors: &[TensorEntry]) -> String {
    tensors.iter().map(|tensor| format!("{tensor}\n")).collect()
}

/// Replaces the first `old` by `new`.
fn with(list: &str, old: &str, new: &str) -> String {
    assert!(list.contains(old));
    list.replacen(old, new, 1)
}

#[test]
fn opens_the_known_lists_under_their_known_roots() {
    let mut head = head_over(FILES.as_bytes(), BYTES, Some(TENSORS.as_bytes()));
    head.root = ModelRoot::from_hex(ROOT).unwrap();
    head.tensors.as_mut().unwrap().root = TensorsRoot::from_hex(TENSORS_ROOT).unwrap();
    let files = believed(&head).open_files(FILES.as_bytes()).unwrap();
    let tensors = files.open_tensors(TENSORS.as_bytes()).unwrap();

    assert_eq!((files.bytes(), files.entries().len()), (BYTES, 5));
    assert_eq!((files.chunk_size(), files.tensors()), (head.chunk_size, head.tensors));
    assert_eq!(files.find("weights.gguf").map(|(position, f)| (position, f.size)), Some((2, 40_000)));
    assert_eq!(files.find("weights"), None);
    let names = |file| tensors.of_file(file).iter().map(|t| t.name.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names("weights.gguf"), ["a\\b", "b"]);
    assert_eq!(names("weights.safetensors"), ["b.weight", "c"]);
    assert_eq!(names("config.json"), [""; 0]);
    assert_eq!(tensors.entries().len(), 4);

    let written = write_files(files.entries().iter().rev().cloned().collect()).unwrap();
    assert_eq!((written.text.as_str(), written.bytes), (FILES, BYTES));
    assert_eq!((written.list, written.root), (head.files, head.root));
    let written = write_tensors(tensors.entries().iter().rev().cloned().collect()).unwrap();
    assert_eq!((written.text.as_str(), Some(written.tensors)), (TENSORS, head.tensors));
}

#[test]
fn looks_at_the_length_before_anything_else() {
    let head = believed(&head_over(FILES.as_bytes(), BYTES, Some(TENSORS.as_bytes())));
    let files = head.open_files(FILES.as_bytes()).unwrap();
    for wrong in [&b"\xff"[..], b"", &FILES.as_bytes()[1..], format!("{FILES}\n").as_bytes()] {
        assert_eq!(refusal(head.open_files(wrong)), (1301, None));
        assert_eq!(refusal(files.open_tensors(wrong)), (1301, None));
    }
}

#[test]
fn refuses_bytes_that_are_no_lines_of_text() {
    for (list, line) in [
        (FILES.replace('\n', "\r\n").into_bytes(), 1),
        (format!("\u{feff}{FILES}").into_bytes(), 1),
        (FILES.trim_end().as_bytes().to_vec(), 5),
        (format!("{FILES}\n").into_bytes(), 6),
        (format!("\n{FILES}").into_bytes(), 1),
        (with(FILES, "}\n", "}\n\n").into_bytes(), 2),
        (with(FILES, "}\n", "},\n").into_bytes(), 1),
        (with(FILES, "}\n", "}\0\n").into_bytes(), 1),
        (with(FILES, "config", "con\0fig").into_bytes(), 1),
        (format!("[\n{FILES}").into_bytes(), 1),
        ([FILES.as_bytes(), b"\xff\n"].concat(), 6),
        // A surrogate half, and an overlong slash.
        ([b"{\"file\":\"\xed\xa0\x80\"", FILES.as_bytes()].concat(), 1),
        ([b"{\"file\":\"a\xc0\xafb\"", FILES.as_bytes()].concat(), 1),
    ] {
        assert_eq!(refusal(open(&list, BYTES)), (1302, Some(line)));
    }
    assert_eq!(refusal(open_tensors(TENSORS.trim_end().as_bytes())), (1302, Some(4)));
}

#[test]
fn refuses_a_line_too_long_before_its_form() {
    let long = format!("{FILES}{}\n", "\0".repeat(8_193));
    assert_eq!(refusal(open(long.as_bytes(), BYTES)), (1303, Some(6)));
    let longest = format!("{FILES}{}\n", " ".repeat(8_192));
    assert_eq!(refusal(open(longest.as_bytes(), BYTES)), (1302, Some(6)));
    let unended = format!("{FILES}{}", "x".repeat(8_193));
    assert_eq!(refusal(open(unended.as_bytes(), BYTES)), (1303, Some(6)));
}

#[test]
fn refuses_order_and_duplicates_by_bytes() {
    for (paths, expected) in [
        (&["a", "b", "c"][..], (0, None)),
        (&["B", "a"], (0, None)),
        (&["a", "a-", "a.b", "aa"], (0, None)),
        // In UTF-16 these two would sort the other way.
        (&["\u{ff5e}", "\u{10000}"], (0, None)),
        (&["\u{10000}", "\u{ff5e}"], (1304, Some(2))),
        (&["b", "a"], (1304, Some(2))),
        (&["a", "c", "b"], (1304, Some(3))),
        (&["a", "a"], (1305, Some(2))),
        (&["a", "b", "a"], (1304, Some(3))),
    ] {
        assert_eq!(refusal(open(listing(paths).as_bytes(), 0)), expected, "{paths:?}");
    }
    let twice = format!("{}\n{}\n", file("a", 1), file("a", 2));
    assert_eq!(refusal(open(twice.as_bytes(), 3)), (1305, Some(2)), "one path with two sizes");

    let weights = "weights.gguf";
    let list = |tensors: &[(&str, &str)]| {
        tensor_listing(&tensors.iter().map(|(file, name)| tensor(name, file, 0, 1)).collect::<Vec<_>>())
    };
    for (tensors, expected) in [
        (&[(weights, "b"), ("weights.safetensors", "a")][..], (0, None)),
        (&[("weights.safetensors", "a"), (weights, "b")], (1304, Some(2))),
        (&[(weights, "b"), (weights, "a")], (1304, Some(2))),
        (&[(weights, "a"), (weights, "a")], (1305, Some(2))),
    ] {
        assert_eq!(refusal(open_tensors(list(tensors).as_bytes())), expected, "{tensors:?}");
    }
}

#[test]
fn refuses_what_the_head_does_not_sign() {
    let list = FILES.as_bytes();
    let good = head_over(list, BYTES, Some(TENSORS.as_bytes()));
    let changed = |change: fn(&mut weighbridge_manifest::Head)| {
        let mut head = good.clone();
        change(&mut head);
        let files = believed(&head).open_files(list)?;
        files.open_tensors(TENSORS.as_bytes()).map(|_| ())
    };
    assert_eq!(refusal(changed(|_| {})), (0, None));
    assert_eq!(refusal(changed(|head| head.files.count += 1)), (1306, None));
    assert_eq!(refusal(changed(|head| head.files.count -= 1)), (1306, None));
    assert_eq!(refusal(changed(|head| head.bytes += 1)), (1307, None));
    assert_eq!(refusal(changed(|head| head.root = ModelRoot::from_bytes([0; 32]))), (1308, None));
    assert_eq!(refusal(changed(|head| head.tensors.as_mut().unwrap().list.count += 1)), (1306, None));
    let zero = TensorsRoot::from_bytes([0; 32]);
    let other = move |head: &mut weighbridge_manifest::Head| head.tensors.as_mut().unwrap().root = zero;
    let mut head = good.clone();
    other(&mut head);
    let files = believed(&head).open_files(list).unwrap();
    assert_eq!(refusal(files.open_tensors(TENSORS.as_bytes())), (1308, None));
    // The count is checked before the sum, and the sum before the root.
    assert_eq!(refusal(changed(|head| (head.files.count, head.bytes) = (1, 1))), (1306, None));
    let all =
        |head: &mut weighbridge_manifest::Head| (head.bytes, head.root) = (1, ModelRoot::from_bytes([0; 32]));
    assert_eq!(refusal(changed(all)), (1307, None));
}

#[test]
fn sizes_that_overflow_add_up_to_no_signed_sum() {
    let most = (1 << 53) - 1;
    let list: String = (0..3000).map(|i| format!("{}\n", file(&format!("{i:04}"), most))).collect();
    // 3000 times 2^53 wraps around u64 more than once.
    let wrapped = most.wrapping_mul(3000);
    assert_eq!(refusal(open(list.as_bytes(), wrapped % (1 << 53))), (1307, None));
}

#[test]
fn refuses_sha256_on_some_and_not_on_others() {
    let with_sha256 = |path| FileEntry { sha256: Some(Sha256([7; 32])), ..file(path, 0) };
    for (list, expected) in [
        (format!("{}\n{}\n", file("a", 0), with_sha256("b")), (1311, Some(2))),
        (format!("{}\n{}\n", with_sha256("a"), file("b", 0)), (1311, Some(2))),
        (format!("{}\n{}\n", with_sha256("b"), file("a", 0)), (1311, Some(2))),
        (format!("{}\n{}\n", with_sha256("a"), with_sha256("b")), (0, None)),
    ] {
        assert_eq!(refusal(open(list.as_bytes(), 0)), expected, "{list}");
    }
    assert_eq!(refusal(write_files(vec![file("a", 0), with_sha256("b")])).0, 1311);
}

#[test]
fn no_path_is_another_ones_parent_even_with_siblings_between() {
    for (paths, expected) in [
        (&["a", "a/b"][..], (1312, Some(2))),
        (&["a", "a-b", "a/b"], (1312, Some(3))),
        (&["a", "a ", "a!", "a+/x", "a-", "a.b", "a/b"], (1312, Some(7))),
        (&["a", "a-b", "a-b-c", "a-b/c"], (1312, Some(4))),
        (&["a", "a-", "a-b", "a-b-", "a/b"], (1312, Some(5))),
        (&["a", "a/b/c/d"], (1312, Some(2))),
        (&["x/a", "x/a/b"], (1312, Some(2))),
        (&["ä", "ä/b"], (1312, Some(2))),
        (&["a-b", "a/b", "aa/b", "ab", "b/a"], (0, None)),
        (&["a-", "a-b", "a/b", "a/c", "a0"], (0, None)),
        (&["x/a", "x/ab/c"], (0, None)),
    ] {
        assert_eq!(refusal(open(listing(paths).as_bytes(), 0)), expected, "{paths:?}");
        let entries = paths.iter().rev().map(|path| file(path, 0)).collect();
        assert_eq!(refusal(write_files(entries)), expected, "{paths:?}, written");
    }
    // Of two faults at once, the sum is reported before this one; the root comes last.
    assert_eq!(refusal(open(listing(&["a", "a/b"]).as_bytes(), 1)), (1307, None));
}

#[test]
fn long_hostile_paths_cost_one_pass() {
    // Once, each parent of each path was looked up in the whole list: 12 GB were compared for these 4 MB.
    let deep = "a/".repeat(500);
    let paths: Vec<String> = (0..4000).map(|i| format!("{deep}{i:04}")).collect();
    let list = listing(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refusal(open(list.as_bytes(), 0)), (0, None));
}

#[test]
fn a_tensor_lies_within_a_listed_tensor_file() {
    let most = (1 << 53) - 1;
    for (file, offset, size, expected) in [
        ("weights.gguf", 0, 40_000, 0),
        ("weights.gguf", 40_000, 0, 0),
        ("weights.gguf", 39_999, 1, 0),
        ("weights.gguf", 40_001, 0, 1310),
        ("weights.gguf", 1, 40_000, 1310),
        ("weights.gguf", 39_999, 2, 1310),
        ("weights.gguf", most, most, 1310),
        ("weights.gguf", most, 0, 1310),
        ("weights.gguf", 0, most, 1310),
        ("weights.safetensors", 20_000, 1, 1310),
        ("config.json", 0, 1, 1309),
        ("other.gguf", 0, 1, 1309),
        ("weights.GGUF", 0, 1, 1309),
        ("other.gguf", most, most, 1309),
    ] {
        let list = tensor_listing(&[tensor("t", file, offset, size)]);
        assert_eq!(refusal(open_tensors(list.as_bytes())).0, expected, "{list}");
    }
    // The file of the previous line is not taken for this line's file.
    let list = tensor_listing(&[tensor("t", "weights.gguf", 0, 1), tensor("t", "weights.gguf2", 0, 1)]);
    assert_eq!(refusal(open_tensors(list.as_bytes())), (1309, Some(2)));
    // The tensor's place in its file is checked before the order of lines.
    let list = tensor_listing(&[tensor("b", "weights.gguf", 0, 1), tensor("a", "weights.gguf", 0, most)]);
    assert_eq!(refusal(open_tensors(list.as_bytes())), (1310, Some(2)));
}

#[test]
fn no_tensors_is_not_the_same_as_tensors_not_looked_at() {
    assert!(open_tensors(b"").unwrap().entries().is_empty());
    let without = believed(&head_over(FILES.as_bytes(), BYTES, None)).open_files(FILES.as_bytes()).unwrap();
    for list in [&b""[..], TENSORS.as_bytes()] {
        assert_eq!(refusal(without.open_tensors(list)), (1301, None));
    }
    let empty = write_tensors(Vec::new()).unwrap();
    assert_eq!((empty.text.as_str(), empty.tensors.list.count), ("", 0));
    assert_eq!(
        empty.tensors.root.to_string(),
        "c5466ecce3f34de11571cb173a57d8bcafe65b52bdf625d3fdaf4526259382a7"
    );
    assert_eq!(refusal(write_files(Vec::new())), (1306, None));
}

#[test]
fn two_models_cannot_exchange_their_lists() {
    // The two lists have the same length, count and sum; only the root distinguishes them.
    let (one, other) = (listing(&["a", "b"]), listing(&["a", "c"]));
    let (head_of_one, head_of_other) =
        (believed(&head_over(one.as_bytes(), 0, None)), believed(&head_over(other.as_bytes(), 0, None)));
    assert!(
        head_of_one.open_files(one.as_bytes()).is_ok() && head_of_other.open_files(other.as_bytes()).is_ok()
    );
    assert_eq!(refusal(head_of_one.open_files(other.as_bytes())), (1308, None));
    assert_eq!(refusal(head_of_other.open_files(one.as_bytes())), (1308, None));
}

#[test]
fn every_changed_byte_is_refused() {
    let files = listing(&["a.gguf", "b"]).replacen("\"size\":0", "\"size\":9", 1);
    let tensors = tensor_listing(&[tensor("t", "a.gguf", 0, 9), tensor("u", "a.gguf", 3, 4)]);
    let head = believed(&head_over(files.as_bytes(), 9, Some(tensors.as_bytes())));
    let opened = head.open_files(files.as_bytes()).unwrap();
    opened.open_tensors(tensors.as_bytes()).unwrap();
    let sweep = |list: &str, is_refused: &dyn Fn(&[u8]) -> bool| {
        let mut changed = list.as_bytes().to_vec();
        for at in 0..changed.len() {
            let good = changed[at];
            for other in (0..=255).filter(|other| *other != good) {
                changed[at] = other;
                assert!(is_refused(&changed), "byte {at} is {other}");
            }
            changed[at] = good;
        }
    };
    sweep(&files, &|list| head.open_files(list).is_err());
    sweep(&tensors, &|list| opened.open_tensors(list).is_err());
}

#[test]
fn writes_no_list_that_could_not_be_opened() {
    assert_eq!(refusal(write_files(vec![file("a", 1), file("b", 1), file("a", 2)])), (1305, Some(2)));
    let most = (1 << 53) - 1;
    assert!(write_files(vec![file("a", most)]).is_ok());
    assert_eq!(refusal(write_files(vec![file("a", most), file("b", 1)])), (1307, None));
    assert_eq!(refusal(write_files(vec![file("a", most + 1)])), (1302, Some(1)));
    assert_eq!(refusal(write_tensors(vec![tensor("t", "a", 0, 1), tensor("t", "a", 2, 3)])), (1305, Some(2)));
    // Tensor entries with more dimensions or larger numbers than a line can express were once written without a check.
    let good = tensor("t", "a.gguf", 0, 1);
    let wrong = |shape| TensorEntry { shape, ..good.clone() };
    for wrong in [wrong(vec![1; 17]), wrong(vec![1 << 53]), tensor("t", "a.gguf", 1 << 53, 0)] {
        assert_eq!(
            refusal(write_tensors(vec![
                good.clone(),
                TensorEntry { name: TensorName::parse("u").unwrap(), ..wrong }
            ])),
            (1302, Some(2))
        );
    }
}

#[test]
fn says_which_list_which_line_and_what() {
    let text = |opened: Result<VerifiedFileList, ListError>| opened.map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        text(open(listing(&["b", "a"]).as_bytes(), 0)),
        "files.jsonl, line 2: sorts before the line above it"
    );
    assert_eq!(text(open(listing(&["a"]).as_bytes(), 1)), "files.jsonl: sizes add up to 0, the head signs 1");
    assert_eq!(text(open(b"{\n", 0)), "files.jsonl, line 1: not in canonical form at byte 2");
    assert_eq!(
        write_files(Vec::new()).unwrap_err().to_string(),
        "files.jsonl: a list has 1 to 16777216 lines, this one 0"
    );
    let error = open_tensors(tensor_listing(&[tensor("t", "x.gguf", 0, 1)]).as_bytes()).unwrap_err();
    assert_eq!((error.list(), error.line()), (ListKind::Tensors, Some(1)));
    assert_eq!(error.to_string(), "tensors.jsonl, line 1: the tensor's file is not a listed tensor file");
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ab -]{1,2}(/[ab -]{1,2}){0,2}", 1..12)
}

proptest! {
    #[test]
    fn what_is_written_opens_again_whatever_the_order(
        files in proptest::collection::btree_map("[a-z\"\u{e4}-\u{f6}]{1,12}", 0..1_u64 << 40, 1..20),
        tensors in proptest::collection::btree_map("[ -~\u{100}-\u{200}]{1,12}", (0..50_u64, 0..50_u64), 0..20),
    ) {
        let mut entries: Vec<FileEntry> = files.iter().map(|(path, size)| file(path, *size)).collect();
        entries.push(file("X/w.gguf", 100));
        let written = write_files(entries.clone()).unwrap();
        let in_file = |(name, (offset, size)): (&String, &(u64, u64))| tensor(name, "X/w.gguf", *offset, *size);
        let mut of_file: Vec<TensorEntry> = tensors.iter().map(in_file).collect();
        let written_tensors = write_tensors(of_file.clone()).unwrap();
        entries.reverse();
        of_file.reverse();
        prop_assert_eq!(&write_files(entries.clone()).unwrap().text, &written.text);
        prop_assert_eq!(&write_tensors(of_file.clone()).unwrap().text, &written_tensors.text);

        let head = head_over(written.text.as_bytes(), written.bytes, Some(written_tensors.text.as_bytes()));
        prop_assert_eq!((head.files, head.root), (written.list, written.root));
        prop_assert_eq!(head.tensors, Some(written_tensors.tensors));
        let opened = believed(&head).open_files(written.text.as_bytes()).unwrap();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        prop_assert_eq!(opened.entries(), &entries[..]);
        let opened = opened.open_tensors(written_tensors.text.as_bytes()).unwrap();
        of_file.reverse();
        prop_assert_eq!(opened.of_file("X/w.gguf"), &of_file[..]);
    }

    #[test]
    fn parents_are_found_as_by_looking_each_one_up(mut paths in paths()) {
        paths.sort();
        paths.dedup();
        let below = |path: &String| path.match_indices('/').any(|(end, _)| paths.iter().any(|q| *q == path[..end]));
        let expected = paths.iter().position(below).map(|i| i as u64 + 1);
        let list = listing(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(open(list.as_bytes(), 0).err().and_then(|e| e.line()), expected);
    }

    #[test]
    fn an_opened_list_is_the_one_that_would_be_written(
        at in any::<prop::sample::Index>(), cut in 0..3_usize, put in "([\"\\\\{},0 \n]|ü){0,2}",
    ) {
        let mut chars: Vec<char> = FILES.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..(at + cut).min(chars.len()), put.chars());
        let list: String = chars.into_iter().collect();
        let sizes = list.lines().filter_map(|line| FileEntry::parse(line).ok()).map(|entry| entry.size);
        if let Ok(opened) = open(list.as_bytes(), sizes.sum::<u64>() % (1 << 53)) {
            prop_assert_eq!(write_files(opened.entries().to_vec()).unwrap().text, list);
        }
    }
}

/// Lists are read from files piece by piece. The sizes of the pieces must not matter.
#[test]
fn a_list_read_in_pieces_is_judged_as_one_read_whole() {
    let long = format!("{FILES}{{\"file\":\"{}\"", "x".repeat(9_000));
    for list in
        [FILES, &FILES[..FILES.len() - 1], &with(FILES, "612", "0612"), &with(FILES, "612", "611"), &long]
    {
        let head = believed(&head_over(list.as_bytes(), BYTES, None));
        let whole = refusal(head.open_files(list.as_bytes()));
        for size in [1, 2, 7, 100, 8_192, 8_193, 20_000] {
            let read = || {
                let mut reader = head.read_files(u64::try_from(list.len()).unwrap())?;
                list.as_bytes().chunks(size).try_for_each(|piece| reader.push(piece))?;
                reader.finish()
            };
            assert_eq!(refusal(read()), whole, "pieces of {size}");
        }
    }
}

/// A file can grow or shrink after its length was read.
#[test]
fn a_list_of_which_more_or_less_comes_than_its_length_is_refused() {
    let head = believed(&head_over(FILES.as_bytes(), BYTES, None));
    let length = u64::try_from(FILES.len()).unwrap();
    assert_eq!(head.read_files(length + 1).unwrap_err().error_code().get(), 1301);
    let mut reader = head.read_files(length).unwrap();
    reader.push(&FILES.as_bytes()[..100]).unwrap();
    assert_eq!(refusal(reader.finish()), (1301, None));
    let mut reader = head.read_files(length).unwrap();
    reader.push(FILES.as_bytes()).unwrap();
    assert_eq!(reader.push(b"\n").unwrap_err().error_code().get(), 1301);
}
