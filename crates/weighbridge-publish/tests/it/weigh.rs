//! Weighing: the results are those of an independent computation with `blake3`; a folder that cannot be a model is
//! refused by its code.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    ops::ControlFlow,
    os::unix::fs::{FileExt as _, symlink},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use weighbridge_formats::generate::Llama;
use weighbridge_manifest::{Ext, Time};
use weighbridge_publish::{
    Coded, Event, Previous, Reuse, Sha256Listing, TensorListing, WeighError, Weighing,
};
use weighbridge_store::{
    Found,
    scan::{Job, ScanError, Scanned, Watch, scan},
    walk,
};
use weighbridge_testkit::{Folder, POOLS, bytes};
use weighbridge_tree::ChunkSize;

use crate::kit::{self, Release, name, release, safetensors, weigh, weighing};

const KIB: usize = 1 << 10;

/// The code of the refusal; 0 without one.
fn code(weighing: &Weighing<'_>) -> u16 {
    weighing.weigh(&|_| {}).map_or_else(|e| e.error_code().get(), |_| 0)
}

fn code_of(files: &[(&str, &[u8])]) -> u16 {
    code(&weighing(Folder::with(files).path()))
}

/// The places and codes of a refusal by names, or of Git LFS pointers.
fn refused(weighing: &Weighing<'_>) -> Vec<(String, u16)> {
    match weighing.weigh(&|_| {}) {
        Err(WeighError::Refused(refused)) => {
            refused.into_iter().map(|r| (r.place, r.fault.error_code().get())).collect()
        }
        Err(error) => panic!("{error}"),
        Ok(_) => Vec::new(),
    }
}

/// A pointer as Git LFS leaves it in place of a file that was not downloaded.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

/// The metadata of a model, computed from the specification with the crate `blake3` alone.
struct Naive {
    files: String,
    tensors: String,
    text: String,
    layers: Vec<Vec<[u8; 32]>>,
}

impl Naive {
    fn of(model: &Path, chunk_size: u64) -> Self {
        let mut names: Vec<String> =
            fs::read_dir(model).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let (mut files, mut tensors, mut layers, mut total) = (String::new(), String::new(), Vec::new(), 0);
        for name in &names {
            let bytes = fs::read(model.join(name)).unwrap();
            total += bytes.len();
            let hash = blake3::hash(&bytes);
            writeln!(files, r#"{{"file":"{name}","size":{},"blake3":"{hash}"}}"#, bytes.len()).unwrap();
            if bytes.len() > usize::try_from(chunk_size).unwrap() {
                layers.push(layer(&bytes, usize::try_from(chunk_size).unwrap()));
            }
            if name.ends_with(".safetensors") {
                tensors.push_str(&tensor_lines(name, &bytes));
            }
        }
        let root = root("model root", &[names.len(), total], &files);
        let count = tensors.lines().count();
        let tensors_root = root_of_tensors(count, &tensors);
        let text = format!(
            "weighbridge/head/v1\nname test/model\nrevision 1\nprevious none\ncreated 2026-11-20T16:31:00Z\n\
             expires never\nbytes {total}\nfiles {} {}\nroot {root}\ntensors {count} {}\n\
             tensors-root {tensors_root}\nchunk-size {chunk_size}\n",
            names.len(),
            files.len(),
            tensors.len(),
        );
        Self { files, tensors, text, layers }
    }
}

/// The list lines of a file's tensors, read from the header as a script would read it.
fn tensor_lines(file: &str, bytes: &[u8]) -> String {
    let start = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let mut lines = Vec::new();
    for (name, tensor) in header.as_object().unwrap() {
        if name == "__metadata__" {
            continue;
        }
        let at = |i: usize| start + usize::try_from(tensor["data_offsets"][i].as_u64().unwrap()).unwrap();
        let (from, to) = (at(0), at(1));
        let shape = tensor["shape"].to_string();
        let hash = blake3::hash(&bytes[from..to]);
        lines.push((
            name,
            format!(
                "{{\"tensor\":\"{name}\",\"file\":\"{file}\",\"dtype\":{},\"shape\":{shape},\"offset\":{from},\"size\":{},\"blake3\":\"{hash}\"}}\n",
                tensor["dtype"],
                to - from,
            ),
        ));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn layer(bytes: &[u8], chunk: usize) -> Vec<[u8; 32]> {
    use blake3::hazmat::HasherExt as _;
    let value = |(i, chunk_bytes): (usize, &[u8])| {
        let start = u64::try_from(i * chunk).unwrap();
        blake3::Hasher::new().set_input_offset(start).update(chunk_bytes).finalize_non_root()
    };
    bytes.chunks(chunk).enumerate().map(value).collect()
}

fn derived(context: &str, parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("weighbridge 2026-11-20 v1 {context}"));
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The root of a list: its counts and the complete binary tree over its lines. The children of node i are 2i + 1 and
/// 2i + 2.
fn root(context: &str, counts: &[usize], lines: &str) -> blake3::Hash {
    fn node(i: usize, leaves: &[&str]) -> blake3::Hash {
        if i + 1 >= leaves.len() {
            return derived("entry", &[leaves[i + 1 - leaves.len()].as_bytes()]);
        }
        let (left, right) = (node(2 * i + 1, leaves), node(2 * i + 2, leaves));
        derived("node", &[left.as_bytes(), right.as_bytes()])
    }
    let mut input: Vec<u8> = counts.iter().flat_map(|n| u64::try_from(*n).unwrap().to_le_bytes()).collect();
    let leaves: Vec<&str> = lines.lines().collect();
    if !leaves.is_empty() {
        input.extend(node(0, &leaves).as_bytes());
    }
    derived(context, &[&input])
}

fn root_of_tensors(count: usize, lines: &str) -> blake3::Hash {
    root("tensors root", &[count], lines)
}

#[test]
fn agrees_with_a_recomputation_on_any_number_of_threads() {
    let model = Folder::new();
    let _ = Llama::small(1).write(model.path()).unwrap();
    for chunk_size in [1 << 14, 1 << 18, 1 << 20] {
        let naive = Naive::of(model.path(), chunk_size);
        for pool in &*POOLS {
            let weighing =
                Weighing { chunk_size: Some(ChunkSize::new(chunk_size).unwrap()), ..weighing(model.path()) };
            let weighed = pool.install(|| weighing.weigh(&|_| {})).unwrap();
            assert_eq!(weighed.files, naive.files);
            assert_eq!(weighed.tensors.as_deref(), Some(naive.tensors.as_str()));
            assert_eq!(weighed.text, naive.text);
            assert_eq!(weighed.head.to_text().unwrap(), naive.text);
            let layers: Vec<Vec<[u8; 32]>> =
                weighed.layers.iter().map(|l| l.iter().map(|v| *v.as_bytes()).collect()).collect();
            assert_eq!(layers, naive.layers);
        }
    }
}

/// Compares with the known answer of a published model, if `WEIGHBRIDGE_REAL_MODEL` names its folder.
#[test]
fn gives_the_known_answer_for_a_real_model() {
    let Some(model) = std::env::var_os("WEIGHBRIDGE_REAL_MODEL") else {
        println!("skipped: WEIGHBRIDGE_REAL_MODEL does not name the folder of the real model");
        return;
    };
    let weighed = weigh(Path::new(&model)).unwrap();
    let said: Vec<&str> = weighed
        .text
        .lines()
        .filter(|l| {
            ["bytes", "files", "root", "tensors", "tensors-root"].contains(&l.split(' ').next().unwrap())
        })
        .collect();
    let known = [
        "bytes 91618861",
        "files 13 1527",
        "root d367a6a908c4f35aef18d217f8c80529ef19cffdd83fc419af09614ea67a63d4",
        "tensors 104 22612",
        "tensors-root a59115395702898d170dac39d2a3befb1a1affb9a764103b6db1bb7663e7c01b",
    ];
    assert_eq!(said, known);
}

#[test]
fn what_was_weighed_is_what_a_verifier_opens() {
    let model = Folder::new();
    let _ = Llama::small(2).write(model.path()).unwrap();
    let weighed = weigh(model.path()).unwrap();
    let release = release(&weighed);
    assert_eq!(release.head.text(), weighed.text);
    assert_eq!(*release.head.head(), weighed.head);
    for (position, entry) in release.files.entries().iter().enumerate() {
        assert_eq!(release.layers.of(&release.files, position).unwrap().root(), entry.root);
    }
    assert_eq!(release.tensors.unwrap().entries().len(), weighed.tensors.unwrap().lines().count());
}

#[test]
fn tells_how_much_will_be_read_and_how_much_was() {
    let model = Folder::with(&[("a", &bytes(700_000, 1)), ("b", b"12345"), ("c", b"")]);
    let (total, read) = (AtomicU64::new(0), AtomicU64::new(0));
    weighing(model.path())
        .weigh(&|event| {
            match event {
                Event::Total(bytes) => total.fetch_add(bytes, Ordering::Relaxed),
                Event::Read(bytes) => read.fetch_add(bytes, Ordering::Relaxed),
                Event::Reused(path) => panic!("{path:?} was not to be reused"),
                Event::LeftOut(place) => panic!("there is no {place}"),
            };
        })
        .unwrap();
    assert_eq!((total.into_inner(), read.into_inner()), (700_005, 700_005));
}

#[test]
fn lists_sha256_of_every_file_when_asked() {
    let model = Folder::with(&[("abc", b"abc"), ("empty", b"")]);
    let weighed = Weighing { sha256: Sha256Listing::List, ..weighing(model.path()) }.weigh(&|_| {}).unwrap();
    // The example of FIPS 180-4, and the hash of no bytes.
    let expected = [
        ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "abc"),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "empty"),
    ];
    for (line, (hash, file)) in weighed.files.lines().zip(expected) {
        assert!(line.starts_with(&format!(r#"{{"file":"{file}""#)), "{line}");
        assert!(line.ends_with(&format!(r#","sha256":"{hash}"}}"#)), "{line}");
    }
    assert_eq!(weighed.files.lines().count(), 2);
}

#[test]
fn tensors_that_are_not_asked_for_are_none_which_is_not_zero() {
    let model = Folder::with(&[("a.txt", b"x")]);
    let weighed = weigh(model.path()).unwrap();
    assert_eq!(weighed.tensors.as_deref(), Some(""));
    assert!(weighed.text.contains(
        "\ntensors 0 0\ntensors-root c5466ecce3f34de11571cb173a57d8bcafe65b52bdf625d3fdaf4526259382a7\n"
    ));
    let weighed = Weighing { tensors: TensorListing::Omit, ..weighing(model.path()) }.weigh(&|_| {}).unwrap();
    assert_eq!(weighed.tensors, None);
    assert!(weighed.text.contains("\ntensors none\ntensors-root none\n"));
}

#[test]
fn chunks_have_256_kib_unless_the_publisher_says_otherwise() {
    let model = Folder::with(&[("a", &bytes(256 * KIB, 1)), ("b", &bytes(256 * KIB + 1, 1))]);
    let weighed = weigh(model.path()).unwrap();
    assert_eq!(weighed.head.chunk_size.bytes(), 1 << 18);
    assert_eq!(weighed.layers.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    let weighed =
        Weighing { chunk_size: Some(ChunkSize::MIN), ..weighing(model.path()) }.weigh(&|_| {}).unwrap();
    assert_eq!(weighed.layers.iter().map(Vec::len).collect::<Vec<_>>(), [16, 17]);
}

#[test]
fn the_head_says_what_it_was_told() {
    let model = Folder::with(&[("a", b"x")]);
    let first = release(&weigh(model.path()).unwrap());
    let ext = |key: &str, value: &str| Ext { key: key.into(), value: value.into() };
    let weighing = Weighing {
        previous: Some(Previous::from(&first.head)),
        expires: Some(Time::parse("2027-01-01T00:00:00Z").unwrap()),
        ext: vec![ext("base", "meta/base"), ext("source", "somewhere")],
        ..weighing(model.path())
    };
    let text = weighing.weigh(&|_| {}).unwrap().text;
    for line in [
        "revision 2".to_owned(),
        format!("previous {}", first.head.id()),
        "expires 2027-01-01T00:00:00Z".into(),
        "ext base meta/base".into(),
        "ext source somewhere".into(),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn refuses_what_would_make_no_head() {
    let model = Folder::with(&[("a", b"x")]);
    let bad = |key: &str, value: &str| vec![Ext { key: key.into(), value: value.into() }];
    for (ext, expected) in
        [(bad("Base", "x"), 1204), (bad("base", "line\nfeed"), 1203), (bad("base", ""), 1204)]
    {
        assert_eq!(code(&Weighing { ext, ..weighing(model.path()) }), expected);
    }
    let expires = Some(Time::parse("2026-11-20T16:31:00Z").unwrap());
    assert_eq!(code(&Weighing { expires, ..weighing(model.path()) }), 1205);
}

#[test]
fn refuses_a_previous_head_of_another_model() {
    let model = Folder::with(&[("a", b"x")]);
    let first = release(&weigh(model.path()).unwrap());
    let previous = Some(Previous { name: name("other/model"), ..Previous::from(&first.head) });
    assert_eq!(code(&Weighing { previous, ..weighing(model.path()) }), 5305);
}

#[test]
fn refuses_a_folder_without_any_file() {
    assert_eq!(code_of(&[]), 5101);
    assert_eq!(code_of(&[("weighbridge/head.note", b"x"), (".git/config", b"x"), ("sub/.GIT", b"x")]), 5101);
    assert_eq!(weigh(Path::new("/nonexistent/model")).unwrap_err().error_code().get(), 9002);
}

#[test]
fn refuses_what_can_be_no_part_of_a_model() {
    let outside = Folder::with(&[("x", b"x")]);
    let with_link = |target: &Path| {
        let model = Folder::with(&[("a", b"a"), ("sub/b", b"b")]);
        symlink(target, model.at("link")).unwrap();
        code(&weighing(model.path()))
    };
    assert_eq!(with_link(&outside.at("x")), 5102);
    assert_eq!(with_link(Path::new("sub")), 5103);
    assert_eq!(with_link(Path::new("nothing")), 5105);
    assert_eq!(with_link(Path::new("sub/b")), 0);
    assert_eq!(code_of(&[("a\\b", b"x")]), 1406);
}

#[test]
fn refuses_names_that_file_systems_would_tell_apart_differently() {
    assert_eq!(code_of(&[("caf\u{e9}", b"x")]), 0);
    assert_eq!(code_of(&[("cafe\u{301}", b"x")]), 1421);
    assert_eq!(code_of(&[("Config.json", b"x"), ("config.json", b"y")]), 1422);
    assert_eq!(code_of(&[("stra\u{df}e", b"x"), ("STRASSE", b"y")]), 1422);
    assert_eq!(code_of(&[("A/x", b"x"), ("a/X", b"y")]), 1422);
    assert_eq!(code_of(&[("A/x", b"x"), ("a/y", b"y")]), 1422);
    // Only weighing checks this, since verifiers do not; it does so without tensors too.
    let model = Folder::with(&[("cafe\u{301}", b"x")]);
    assert_eq!(code(&Weighing { tensors: TensorListing::Omit, ..weighing(model.path()) }), 1421);
}

#[test]
fn refuses_folders_that_become_one_where_case_does_not_count() {
    // Regression: `Readme` beside `readme/x`, or `A/x` beside `a/y`, was signed, and macOS could not hold both.
    let of = |files: &[(&str, &[u8])]| refused(&weighing(Folder::with(files).path()));
    let told = |place: &str| vec![(place.to_owned(), 1422)];
    assert_eq!(of(&[("Readme", b"x"), ("readme/x", b"y")]), told("readme"));
    assert_eq!(of(&[("A/x", b"x"), ("A/z", b"x"), ("a/y", b"y"), ("a/z", b"y")]), told("a"));
    assert_eq!(of(&[("d/stra\u{df}e/x", b"x"), ("d/strasse/y", b"y")]), told("d/stra\u{df}e"));
    assert_eq!(of(&[("a/b/x", b"x"), ("a/b/y", b"y"), ("a/c", b"z"), ("b", b"z")]), []);
}

#[test]
fn tells_everything_that_is_refused_by_name_in_one_run_and_reads_nothing() {
    // Regression: refusals were reported one at a time, each after another attempt.
    let model = Folder::with(&[
        (".DS_Store", b"x"),
        (".git./config", b"x"),
        ("A/x", b"x"),
        ("a/x", b"x"),
        ("c:\\d", b"x"),
        ("good", b"x"),
        ("lost+found/#1", b"x"),
        ("lost+found/#2", b"x"),
        ("m.bin", b"\0\0\0"),
        ("m.bin.aria2", b"x"),
    ]);
    symlink("nothing", model.at("link")).unwrap();
    let expected = [
        (".DS_Store", 5107),
        (".git./config", 1423),
        ("a", 1422),
        ("c:\\d", 1406),
        ("link", 5105),
        ("lost+found", 5107),
        ("m.bin", 5106),
        ("m.bin.aria2", 5106),
    ];
    let weighing = weighing(model.path());
    assert_eq!(refused(&weighing), expected.map(|(place, code)| (place.to_owned(), code)));
    let read = |event: Event<'_>| assert!(!matches!(event, Event::Read(_) | Event::Total(_)), "{event:?}");
    let error = weighing.weigh(&read).unwrap_err();
    assert_eq!(error.error_code().get(), 5107);
    assert_eq!(error.to_string(), ".DS_Store: a file that macOS keeps for itself; and 7 more");
}

#[test]
fn takes_leftovers_that_the_caller_has_named_and_no_others() {
    let model = Folder::with(&[("._a", b"x"), ("m", b"x"), ("m.aria2", b"x"), ("lost+found/a", b"x")]);
    symlink("m", model.at("n.part")).unwrap();
    let taking = |take: &[&str]| {
        let take = |path: &str| take.contains(&path);
        refused(&Weighing { take: Some(&take), ..weighing(model.path()) })
            .into_iter()
            .map(|(place, _)| place)
            .collect::<Vec<_>>()
    };
    assert_eq!(taking(&[]), ["._a", "lost+found", "m", "m.aria2", "n.part"]);
    assert_eq!(taking(&["m.aria2", "n.part"]), ["._a", "lost+found"]);
    assert_eq!(taking(&["m"]), ["._a", "lost+found", "m.aria2", "n.part"]);
    assert_eq!(taking(&["._a", "lost+found/a", "m.aria2", "n.part"]), [""; 0]);
    // A file that cannot be part of a model is refused even if the caller names it.
    let model = Folder::with(&[("a\\b", b"x")]);
    let take = |_: &str| true;
    assert_eq!(code(&Weighing { take: Some(&take), ..weighing(model.path()) }), 1406);
}

#[test]
fn refuses_all_git_lfs_pointers_whatever_their_names_before_larger_files_are_read() {
    // Regression: only tensor files were looked at, so a model of tokenizer pointers was signed.
    let large = bytes(1_025, 1);
    let long = [POINTER, &large].concat();
    let model = Folder::with(&[
        ("a.bin", &large),
        ("b.safetensors", POINTER),
        ("c.gguf", POINTER),
        ("long.bin", &long),
        ("tokenizer.json", POINTER),
        ("z.txt", b"small"),
    ]);
    let expected = ["b.safetensors", "c.gguf", "tokenizer.json"].map(|place| (place.to_owned(), 4117));
    for pool in &*POOLS {
        for tensors in [TensorListing::List, TensorListing::Omit] {
            let weighing = Weighing { tensors, ..weighing(model.path()) };
            assert_eq!(pool.install(|| refused(&weighing)), expected);
            let read = AtomicU64::new(0);
            let count = |event: Event<'_>| {
                if let Event::Read(bytes) = event {
                    read.fetch_add(bytes, Ordering::Relaxed);
                }
            };
            assert!(pool.install(|| weighing.weigh(&count)).is_err());
            assert!(read.into_inner() < 1_024, "large files were read");
        }
    }
    let take = |_: &str| true;
    let taking = |tensors| Weighing { tensors, take: Some(&take), ..weighing(model.path()) };
    assert_eq!(code(&taking(TensorListing::Omit)), 0);
    // A pointer has no tensors to list.
    let error = taking(TensorListing::List).weigh(&|_| {}).unwrap_err();
    assert!(error.error_code().get() == 4117 && error.is_about_tensors(), "{error}");
}

#[test]
fn tells_what_was_left_out() {
    let model = Folder::with(&[("a", b"x"), ("sub/.git/x", b"x"), ("weighbridge/y", b"x")]);
    let places = Mutex::new(Vec::new());
    let tell = |event: Event<'_>| {
        if let Event::LeftOut(place) = event {
            places.lock().unwrap().push(place.to_owned());
        }
    };
    assert_eq!(weighing(model.path()).weigh(&tell).unwrap().files.lines().count(), 1);
    assert_eq!(places.into_inner().unwrap(), ["sub/.git", "weighbridge/y"]);
}

#[test]
fn refuses_every_kind_of_malformed_tensor_file_unless_tensors_are_not_asked_for() {
    let one = |entry: &str, rest: &[u8]| safetensors(&format!(r#"{{"t":{entry}}}"#), rest);
    let long = format!(r#"{{"t":{{"dtype":"U8","shape":[{}1],"data_offsets":[0,1]}}}}"#, "1,".repeat(16));
    let ok = r#"{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#;
    let cases: Vec<(u16, Vec<u8>)> = vec![
        (4101, vec![0; 7]),
        (4102, 100_000_001u64.to_le_bytes().to_vec()),
        (4103, [&9u64.to_le_bytes()[..], b"{}"].concat()),
        (4104, safetensors("[]", b"")),
        (4105, safetensors("{", b"")),
        (4105, safetensors("{}{}", b"")),
        (4106, safetensors(&format!(r#"{{"t":{ok},"t":{ok}}}"#), b"12")),
        (4107, one(r#"{"dtype":"U8","shape":[2]}"#, b"12")),
        (4107, one(r#"{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":0}"#, b"12")),
        (4109, one(r#"{"dtype":"U8","shape":[2],"data_offsets":[2,0]}"#, b"12")),
        (4110, one(r#"{"dtype":"U8","shape":[3],"data_offsets":[0,2]}"#, b"12")),
        (4111, one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,2]}"#, b"12")),
        (4112, one(r#"{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#, b"12")),
        (4113, safetensors(&format!(r#"{{"t":{ok},"u":{ok}}}"#), b"12")),
        (4114, one(ok, b"123")),
        (4114, one(ok, b"1")),
        (4115, safetensors(&long, b"1")),
        (4116, safetensors(r#"{"__metadata__":{"a":1}}"#, b"")),
        // A file longer than any pointer.
        (4117, [POINTER.to_vec(), vec![0; 1_024]].concat()),
    ];
    for (expected, content) in cases {
        let model = Folder::with(&[("m.safetensors", &content)]);
        let error = weigh(model.path()).unwrap_err();
        assert_eq!(error.error_code().get(), expected, "{error}");
        assert!(error.is_about_tensors() && error.to_string().starts_with("m.safetensors: "), "{error}");
        assert_eq!(code(&Weighing { tensors: TensorListing::Omit, ..weighing(model.path()) }), 0);
    }
    assert_eq!(code_of(&[("m.safetensors", &one(ok, b"12"))]), 0);
    // Endings count exactly as written, so this is no tensor file.
    assert_eq!(code_of(&[("m.SAFETENSORS", b"no header")]), 0);
    assert_eq!(code_of(&[("m.gguf", b"GGUF")]), 4305);
}

/// Regression: one tensor with an unknown dtype kept the whole model from being weighed (4108).
#[test]
fn lists_no_tensor_of_a_file_with_a_dtype_that_is_not_known_and_all_of_the_others() {
    let new = safetensors(r#"{"t":{"dtype":"U9","shape":[2],"data_offsets":[0,2]}}"#, b"12");
    let old = safetensors(r#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, b"12");
    let model = Folder::with(&[("new.safetensors", &new), ("old.safetensors", &old)]);
    let weighed = weigh(model.path()).unwrap();
    let tensors = weighed.tensors.unwrap();
    assert!(tensors.lines().count() == 1 && tensors.contains("old.safetensors"), "{tensors}");
    let [(path, dtype)] = weighed.unlisted.as_slice() else { panic!("{:?}", weighed.unlisted) };
    assert_eq!(
        (path.as_str(), dtype.error_code().get(), dtype.dtype().as_str()),
        ("new.safetensors", 4108, "U9")
    );
    let omit = Weighing { tensors: TensorListing::Omit, ..weighing(model.path()) };
    assert!(omit.weigh(&|_| {}).unwrap().unlisted.is_empty(), "nothing was asked for");
}

#[test]
fn refuses_tensor_names_that_cannot_stand_in_a_list() {
    let named = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[],"data_offsets":[0,1]}}}}"#);
        code_of(&[("m.safetensors", &safetensors(&header, b"1"))])
    };
    assert_eq!(named(""), 1431);
    assert_eq!(named(&"n".repeat(1_025)), 1431);
    assert_eq!(named(r"a\u0007b"), 1432);
    assert_eq!(named(r#"quote \" slash \\ / dots .."#), 0);
}

#[test]
fn refuses_an_index_that_says_what_is_not_so() {
    let shard = safetensors(r#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, b"12");
    let map = |map: &str| format!(r#"{{"weight_map":{{{map}}}}}"#);
    let index = |text: &str, tensors| {
        let model =
            Folder::with(&[("sub/m.safetensors", &shard), ("sub/m.safetensors.index.json", text.as_bytes())]);
        let error = Weighing { tensors, ..weighing(model.path()) }.weigh(&|_| {}).err();
        // The advice to leave tensors out is given exactly if leaving them out helps.
        (
            error.as_ref().map_or(0, |error| error.error_code().get()),
            error.is_some_and(|e| e.is_about_tensors()),
        )
    };
    for (text, listed, omitted) in [
        (map(r#""t":"m.safetensors""#), 0, 0),
        (map(""), 0, 0),
        (map(r#""u":"m.safetensors""#), 4203, 0),
        (map(r#""t":"other.safetensors""#), 4202, 4202),
        (map(r#""t":"sub/m.safetensors""#), 4202, 4202),
        (map(r#""t":"../sub/m.safetensors""#), 4202, 4202),
        (map(r#""t":"m.safetensors","t":"m.safetensors""#), 4204, 4204),
        (map(r#""t":1"#), 4201, 4201),
        ("{}".into(), 4201, 4201),
    ] {
        let about_tensors = listed != omitted;
        assert_eq!(index(&text, TensorListing::List), (listed, about_tensors), "{text}");
        assert_eq!(index(&text, TensorListing::Omit), (omitted, false), "{text}");
    }
}

/// A GGUF file without tensors whose header claims to be part `number` of `count`.
fn part(number: u16, count: u16, tensors: i32) -> Vec<u8> {
    let value = |key: &str, kind: u32, value: &[u8]| {
        [&(key.len() as u64).to_le_bytes(), key.as_bytes(), &kind.to_le_bytes(), value].concat()
    };
    let (number, count) =
        (value("split.no", 2, &number.to_le_bytes()), value("split.count", 2, &count.to_le_bytes()));
    let tensors = value("split.tensors.count", 5, &tensors.to_le_bytes());
    [b"GGUF\x03\0\0\0".as_slice(), &[0; 8], &3_u64.to_le_bytes(), &number, &count, &tensors].concat()
}

#[test]
fn refuses_parts_of_a_split_that_do_not_belong_together() {
    let (first, second, whole) = (part(0, 2, 0), part(1, 2, 0), part(0, 1, 0));
    let [one, two] = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    for (files, expected) in [
        ([(one, &first), (two, &second)], 0),
        ([(one, &whole), (two, &whole)], 0),
        ([(one, &second), (two, &first)], 4401),
        ([(one, &first), ("m.gguf", &whole)], 4402),
        ([("m.gguf", &whole), (two, &second)], 4402),
        ([(one, &first), (two, &whole)], 4403),
        ([(one, &part(0, 2, 1)), (two, &part(1, 2, 1))], 4405),
    ] {
        let model = Folder::with(&files.map(|(path, bytes)| (path, bytes.as_slice())));
        let refused = weigh(model.path()).err();
        assert_eq!(refused.as_ref().map_or(0, |error| error.error_code().get()), expected);
        // Parts are not compared if tensors are omitted.
        assert!(refused.is_none_or(|error| error.is_about_tensors()));
        assert_eq!(code(&Weighing { tensors: TensorListing::Omit, ..weighing(model.path()) }), 0);
    }
}

#[test]
fn an_index_that_names_a_file_without_tensors_is_refused() {
    let index = br#"{"weight_map":{"t":"notes.txt"}}"#;
    assert_eq!(code_of(&[("m.safetensors.index.json", index), ("notes.txt", b"t")]), 4203);
}

#[test]
fn an_index_of_any_length_is_not_read_into_memory() {
    let model = Folder::new();
    // A sparse file, which takes no room on the disk.
    File::create(model.at("m.safetensors.index.json")).unwrap().set_len((1 << 28) + 1).unwrap();
    assert_eq!(code(&weighing(model.path())), 4201);
}

#[test]
fn an_index_of_many_tensors_costs_no_more_than_their_number() {
    // Regression: each tensor of an index was searched for from the first tensor of its file on.
    let names: Vec<String> = (0..40_000).map(|i| format!("layers.{i}.weight")).collect();
    let entry = |name: &String| format!(r#""{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let header = format!("{{{}}}", names.iter().map(entry).collect::<Vec<_>>().join(","));
    let placed: Vec<String> = names.iter().map(|name| format!(r#""{name}":"m.safetensors""#)).collect();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, placed.join(","));
    let files =
        [("m.safetensors", &*safetensors(&header, b"")), ("m.safetensors.index.json", index.as_bytes())];
    let start = std::time::Instant::now();
    assert_eq!(code_of(&files), 0);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn a_file_that_changes_while_it_is_weighed_is_an_error() {
    for pool in &*POOLS {
        for sha256 in [Sha256Listing::Omit, Sha256Listing::List] {
            let model = Folder::with(&[("a", &bytes(900_000, 1)), ("b", b"x")]);
            let file = File::options().write(true).open(model.at("a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
            let touch = |event: Event<'_>| {
                if let Event::Read(_) = event {
                    file.write_all_at(b"!", 0).unwrap();
                }
            };
            let weighing = Weighing { sha256, ..weighing(model.path()) };
            let error = pool.install(|| weighing.weigh(&touch)).unwrap_err();
            assert_eq!(error.error_code().get(), 2106);
            assert_eq!(error.to_string(), "a: the file changed while it was read");
        }
    }
}

/// Regression: bytes from outside of the model were weighed, since only the last name of a path was kept from being a
/// link.
#[test]
fn a_folder_that_becomes_a_link_while_a_model_is_weighed_leads_nowhere() {
    let model = Folder::with(&[("deep/sub/a", &bytes(70_000, 1)), ("b", b"x")]);
    let outside = Folder::with(&[("sub/a", &bytes(70_000, 2)), ("a", &bytes(70_000, 2))]);
    for (swapped, target) in [("deep", outside.path().to_owned()), ("deep/sub", outside.path().to_owned())] {
        let aside = model.at("aside");
        let swap = |event: Event<'_>| {
            if let Event::Total(_) = event {
                fs::rename(model.at(swapped), &aside).unwrap();
                symlink(&target, model.at(swapped)).unwrap();
            }
        };
        let error = weighing(model.path()).weigh(&swap).unwrap_err();
        assert_eq!(error.to_string(), "deep/sub/a: the file changed while it was read", "{swapped}");
        fs::remove_file(model.at(swapped)).unwrap();
        fs::rename(&aside, model.at(swapped)).unwrap();
    }
    let weighed = weigh(model.path()).unwrap();
    assert!(weighed.files.contains("deep/sub/a"));
}

/// Whenever a folder is swapped, the list holds only files of the model.
#[test]
fn whatever_is_swapped_and_whenever_nothing_from_outside_is_weighed() {
    let model = Folder::with(&[("sub/a", &bytes(70_000, 1)), ("b", b"x")]);
    let outside = Folder::with(&[("a", &bytes(70_000, 2))]);
    let honest = weigh(model.path()).unwrap().files;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                fs::rename(model.at("sub"), outside.at("aside")).unwrap();
                symlink(outside.path(), model.at("sub")).unwrap();
                fs::remove_file(model.at("sub")).unwrap();
                fs::rename(outside.at("aside"), model.at("sub")).unwrap();
            }
        });
        let mut weighed = 0;
        for round in 0..100_000 {
            // On a busy machine the folder can be swapped in each of 400 weighings.
            if round >= 400 && weighed > 0 {
                break;
            }
            // The weighing is refused, or lacks the folder that was moved away, or is honest.
            if let Ok(found) = weigh(model.path()) {
                weighed += 1;
                for line in found.files.lines() {
                    assert!(honest.contains(line), "{line}");
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
        assert!(weighed > 0);
    });
}

/// A release of two tensor files, their index, a text, and a file of several chunks.
fn earlier() -> (Folder, Release) {
    let shard = |name: &str, fill: u8| {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[20000],"data_offsets":[0,20000]}}}}"#);
        safetensors(&header, &bytes(20_000, fill))
    };
    let index = br#"{"weight_map":{"t":"1.safetensors","u":"2.safetensors"}}"#;
    let model = Folder::with(&[
        ("1.safetensors", &shard("t", 1)),
        ("2.safetensors", &shard("u", 2)),
        ("README.md", b"read me"),
        ("data.bin", &bytes(100_000, 3)),
        ("x.safetensors.index.json", index),
    ]);
    let weighing =
        Weighing { chunk_size: Some(ChunkSize::MIN), sha256: Sha256Listing::List, ..weighing(model.path()) };
    let release = release(&weighing.weigh(&|_| {}).unwrap());
    (model, release)
}

/// A reuse of all metadata of a release, for the files that `matches` selects.
fn reuse<'a>(release: &'a Release, matches: &'a (dyn Fn(&str) -> bool + Sync)) -> Reuse<'a> {
    Reuse { matches, files: &release.files, tensors: release.tensors.as_ref(), layers: Some(&release.layers) }
}

const EVERYTHING: fn(&str) -> bool = |_| true;

#[test]
fn takes_over_files_unread() {
    let (model, release) = earlier();
    let truth = fs::read_to_string(release.folder.at("tensors.jsonl")).unwrap();
    // If these altered files were read, the new release would differ.
    for path in ["1.safetensors", "data.bin"] {
        let size = fs::metadata(model.at(path)).unwrap().len();
        fs::write(model.at(path), vec![0; usize::try_from(size).unwrap()]).unwrap();
    }
    model.write("README.md", b"another text");
    let weights = |path: &str| path.ends_with(".safetensors") || path.ends_with(".bin");
    let reused = Mutex::new(Vec::new());
    let total = AtomicU64::new(0);
    let weighing = Weighing {
        sha256: Sha256Listing::List,
        reuse: Some(reuse(&release, &weights)),
        previous: Some(Previous::from(&release.head)),
        ..weighing(model.path())
    };
    let weighed = weighing
        .weigh(&|event| match event {
            Event::Reused(path) => reused.lock().unwrap().push(path.as_str().to_owned()),
            Event::Total(bytes) => total.store(bytes, Ordering::Relaxed),
            Event::Read(_) | Event::LeftOut(_) => {}
        })
        .unwrap();
    assert_eq!(reused.into_inner().unwrap(), ["1.safetensors", "2.safetensors", "data.bin"]);
    let read = ["README.md", "x.safetensors.index.json"].map(|p| fs::metadata(model.at(p)).unwrap().len());
    assert_eq!(total.into_inner(), read.iter().sum::<u64>());
    assert_eq!(weighed.tensors, Some(truth));
    let changed: Vec<(&str, &str)> = fs::read_to_string(release.folder.at("files.jsonl"))
        .unwrap()
        .leak()
        .lines()
        .zip(weighed.files.lines())
        .filter(|(before, now)| before != now)
        .collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].1.starts_with(r#"{"file":"README.md","size":12,"#));
    let layers: Vec<u8> = weighed.layers.iter().flatten().flat_map(|v| *v.as_bytes()).collect();
    assert_eq!(layers, fs::read(release.folder.at("chunks.layer")).unwrap());
    assert_eq!(weighed.head.chunk_size, ChunkSize::MIN);
    assert_eq!(weighed.head.revision, 2);
}

#[test]
fn a_reused_index_is_compared_all_the_same_and_has_to_be_the_listed_one() {
    let (model, release) = earlier();
    let weighing = |model| Weighing { reuse: Some(reuse(&release, &EVERYTHING)), ..weighing(model) };
    assert_eq!(code(&weighing(model.path())), 0);
    // An index of the same length with another content.
    model.write("x.safetensors.index.json", br#"{"weight_map":{"t":"1.safetensors","v":"2.safetensors"}}"#);
    let error = weighing(model.path()).weigh(&|_| {}).unwrap_err();
    assert_eq!(error.error_code().get(), 5306);
    let said = "x.safetensors.index.json: not reused: the index is not the one of the earlier release";
    assert_eq!(error.to_string(), said);
}

#[test]
fn refuses_to_reuse_what_is_not_there_or_not_the_same() {
    let (model, release) = earlier();
    let nothing = |_: &str| false;
    let unlisted = |path: &str| path == "new.bin";
    let with = |reuse| Weighing { reuse: Some(reuse), ..weighing(model.path()) };
    assert_eq!(code(&with(reuse(&release, &EVERYTHING))), 0);
    assert_eq!(code(&with(reuse(&release, &nothing))), 5302);
    model.write("new.bin", b"new");
    assert_eq!(code(&with(reuse(&release, &unlisted))), 5302);
    assert_eq!(code(&with(reuse(&release, &EVERYTHING))), 0);
    let other_chunks =
        Weighing { chunk_size: ChunkSize::new(1 << 18).ok(), ..with(reuse(&release, &EVERYTHING)) };
    assert_eq!(code(&other_chunks), 5303);
    let same_chunks = Weighing { chunk_size: Some(ChunkSize::MIN), ..with(reuse(&release, &EVERYTHING)) };
    assert_eq!(code(&same_chunks), 0);
    model.write("data.bin", &bytes(100_001, 3));
    let error = with(reuse(&release, &EVERYTHING)).weigh(&|_| {}).unwrap_err();
    assert_eq!(error.error_code().get(), 5301);
    assert_eq!(error.to_string(), "data.bin: not reused: 100001 bytes, the earlier list says 100000");
    // A file that is not selected is read.
    let text = |path: &str| path == "README.md";
    assert_eq!(code(&with(reuse(&release, &text))), 0);
}

#[test]
fn refuses_to_reuse_from_metadata_that_lacks_what_is_needed() {
    let (model, release) = earlier();
    let with = |reuse| Weighing { reuse: Some(reuse), ..weighing(model.path()) };
    assert_eq!(code(&with(Reuse { layers: None, ..reuse(&release, &EVERYTHING) })), 5304);
    assert_eq!(code(&with(Reuse { tensors: None, ..reuse(&release, &EVERYTHING) })), 5304);
    // A file of one chunk needs no layer, and a file without tensors needs no tensor list.
    let small = |path: &str| path == "README.md";
    assert_eq!(code(&with(Reuse { layers: None, tensors: None, ..reuse(&release, &small) })), 0);
    let no_tensors = Weighing {
        tensors: TensorListing::Omit,
        ..with(Reuse { tensors: None, ..reuse(&release, &EVERYTHING) })
    };
    assert_eq!(code(&no_tensors), 0);
    // The earlier release has no SHA-256 hashes.
    let plain = Weighing { chunk_size: Some(ChunkSize::MIN), ..weighing(model.path()) };
    let plain = kit::release(&plain.weigh(&|_| {}).unwrap());
    let sha256 = Weighing { sha256: Sha256Listing::List, ..with(reuse(&plain, &EVERYTHING)) };
    assert_eq!(code(&sha256), 5304);
    // A release without SHA-256 omits the earlier hashes, on all files.
    let weighed = with(reuse(&release, &small)).weigh(&|_| {}).unwrap();
    assert!(!weighed.files.contains("sha256"));
}

#[test]
fn refuses_to_reuse_a_layer_that_is_not_the_files() {
    let (model, release) = earlier();
    let mut bad = fs::read(release.folder.at("chunks.layer")).unwrap();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(release.folder.at("chunks.layer"), bad).unwrap();
    let weighing = Weighing { reuse: Some(reuse(&release, &EVERYTHING)), ..weighing(model.path()) };
    assert_eq!(code(&weighing), 2202);
}

/// Files of an import are read before they have their names.
#[test]
fn files_that_were_read_elsewhere_are_weighed_as_those_of_a_folder() {
    let files = [
        ("a/model.safetensors", weighbridge_testkit::safetensors(&[("t", &bytes(70_000, 1))])),
        ("config.json", b"{}".to_vec()),
        // What a hub's commit has is taken as it is.
        (".DS_Store", b"x".to_vec()),
        ("pointer.bin", POINTER.to_vec()),
    ];
    let model = Folder::of(&files);
    let take = |_: &str| true;
    let expected = Weighing { take: Some(&take), ..weighing(model.path()) }.weigh(&|_| {}).unwrap();

    let elsewhere = Folder::new();
    let weighing = weighing(elsewhere.path());
    let chunk_size = weighing.chunk_size_of(files.iter().map(|(_, bytes)| bytes.len() as u64));
    let found = walk(model.path()).unwrap().files;
    let job =
        |found: &Found| Job::of(found.file.clone(), found.size, weighing.tensors_of(found.path.as_str()));
    let jobs: Vec<Job> = found.iter().map(job).collect();
    let results = Results(Mutex::default());
    scan(&jobs, chunk_size, &results);
    let mut scanned = results.0.into_inner().unwrap();
    let read = |(at, found)| (found, scanned.remove(&at).unwrap());
    let weighed = weighing.weigh_read(found.into_iter().enumerate().map(read).collect()).unwrap();
    assert_eq!(
        (&weighed.text, &weighed.files, &weighed.tensors),
        (&expected.text, &expected.files, &expected.tensors)
    );
    assert_eq!(weighed.layers, expected.layers);
    weighed.check_unchanged().unwrap();
    model.write("config.json", b"{ }");
    assert!(weighed.check_unchanged().is_err());
    assert!(matches!(weighing.weigh_read(Vec::new()), Err(WeighError::Empty)));
}

/// The results of a scan, by job.
struct Results(Mutex<BTreeMap<usize, Scanned>>);

impl Watch for Results {
    fn read(&self, _: u64) {}

    fn done(&self, job: usize, result: Result<Scanned, ScanError>) -> ControlFlow<()> {
        self.0.lock().unwrap().insert(job, result.unwrap());
        ControlFlow::Continue(())
    }
}
