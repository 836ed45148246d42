//! Checks of model folders against their lists: every good file is verified, and every fault gets its own code.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
};

use weighbridge_store::{
    CHUNKS, Coded, Event, ExtraFiles, FileFault, FileReport, HEAD, LayersError, Metadata, ModelCheck,
    Outcome, Summary, TensorHashing,
};
use weighbridge_testkit::{Draft, Folder, POOLS, Signed, bytes, in_time, long_ago, safetensors};
use weighbridge_verify::{
    manifest::{Dtype, EntryPath, TensorEntry, TensorName},
    tree::{ChunkSize, FileRoot, TensorHash},
};

const KIB: usize = 1 << 10;
const CHUNK: usize = 16 * KIB;

/// Two shards, small files and an empty file. The first shard has four tensors in seven chunks, the last of them
/// short.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let (a, b, c) = (bytes(40_000, 1), bytes(5, 2), bytes(60_000, 3));
    vec![
        ("README.md", b"# A model\n".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("empty", Vec::new()),
        ("model-1.safetensors", safetensors(&[("a", &a), ("b", &b), ("c", &c), ("none", &[])])),
        ("model-2.safetensors", safetensors(&[("a", &bytes(CHUNK, 4)), ("d", &bytes(CHUNK, 5))])),
        ("sub/data.bin", bytes(3 * CHUNK, 6)),
    ]
}

/// A model folder as it was signed, which a test then alters.
struct Case {
    folder: Folder,
    signed: Signed,
    layers: bool,
}

impl Case {
    fn new() -> Self {
        Self::lying(|_| {})
    }

    /// A case whose lists or layers `lie` falsified before they were signed.
    fn lying(lie: impl FnOnce(&mut Draft)) -> Self {
        let files = files();
        let mut draft = Draft::of(&files, ChunkSize::MIN);
        lie(&mut draft);
        Self { folder: Folder::of(&files), signed: draft.sign(), layers: true }
    }

    fn check(&self) -> String {
        self.check_with(|_| {})
    }

    /// The reports on everything that is not simply verified, as text. Runs on one, two and five threads.
    fn check_with(&self, change: impl Fn(&mut ModelCheck<'_>) + Sync) -> String {
        let layers = self.layers.then(|| self.signed.metadata.layers(&self.signed.files).unwrap().unwrap());
        let said: Vec<String> = POOLS
            .iter()
            .map(|pool| {
                let mut check = ModelCheck {
                    model: self.folder.path(),
                    files: &self.signed.files,
                    tensors: self.signed.tensors.as_ref(),
                    layers: layers.as_ref(),
                    only: None,
                    tensor_hashes: TensorHashing::Skip,
                    extra: ExtraFiles::Refuse,
                };
                change(&mut check);
                pool.install(|| run(&check))
            })
            .collect();
        assert!(said.iter().all(|s| *s == said[0]), "{said:#?}");
        said[0].clone()
    }
}

fn run(check: &ModelCheck<'_>) -> String {
    let lines = Mutex::new(Vec::new());
    let mut counted = Summary::default();
    let summary = check
        .run(&|event| {
            if let Event::File(report) = event {
                lines.lock().unwrap().push(line(report));
            }
        })
        .unwrap();
    let mut lines = lines.into_inner().unwrap();
    for line in &lines {
        match line.split(' ').next() {
            Some(word @ ("ok" | "uncompared")) => {
                counted.verified += 1;
                counted.uncompared += u64::from(word == "uncompared");
                counted.bytes += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            }
            Some("refused") => counted.refused += 1,
            Some("unknown") => counted.unknown += 1,
            _ => {}
        }
    }
    assert_eq!(summary, counted, "{lines:?}");
    lines.retain(|line| !line.starts_with("ok"));
    lines.join("\n")
}

/// A report as one line of text.
fn line(report: &FileReport) -> String {
    let path = &report.path;
    match &report.outcome {
        Outcome::Verified if report.uncompared.is_some() => format!("uncompared {path} {}", report.size),
        Outcome::Verified => format!("ok {path} {}", report.size),
        Outcome::Extra => format!("extra {path}"),
        Outcome::LeftOut(why) => {
            format!("left out {path}{}", why.as_ref().map(|e| format!(" {e}")).unwrap_or_default())
        }
        Outcome::Unknown(error) => format!("unknown {path} {}", error.error_code()),
        Outcome::Refused(faults) => {
            let faults: Vec<String> = faults.iter().map(fault).collect();
            format!("refused {path} {}", faults.join(", "))
        }
    }
}

fn fault(fault: &FileFault) -> String {
    let mut said = fault.error_code().to_string();
    if let FileFault::Mismatch { chunks, bytes_of } = fault {
        if let Some(chunks) = chunks {
            said += &format!(" {} of {}:", chunks.bad, chunks.of);
            for run in &chunks.runs {
                let tensors: Vec<&str> = run.tensors.iter().map(|t| t.name.as_str()).collect();
                said += &format!(" {:?} {:?} [{}]", run.chunks, run.bytes, tensors.join(" "));
            }
        }
        said += &bytes_of.as_ref().map_or(String::new(), |path| format!(" (is {})", path.as_str()));
    }
    if let FileFault::Tensor(tensor) = fault {
        said += &format!(" {}", tensor.tensor);
    }
    said
}

fn tensor<'d>(draft: &'d mut Draft, name: &str) -> &'d mut TensorEntry {
    let tensors = draft.tensors.as_mut().unwrap();
    tensors.iter_mut().find(|t| t.name.as_str() == name && t.file.as_str() == "model-1.safetensors").unwrap()
}

#[test]
fn a_model_that_is_as_signed_is_verified_with_and_without_anything_optional() {
    let mut case = Case::new();
    assert_eq!(case.check(), "");
    assert_eq!(case.check_with(|c| c.tensor_hashes = TensorHashing::Check), "");
    assert_eq!(case.check_with(|c| c.tensors = None), "");
    case.layers = false;
    assert_eq!(case.check(), "");
}

#[test]
fn reports_say_size_and_chunks_in_list_order_then_what_is_not_listed() {
    let case = Case::new();
    case.folder.write("aaa", b"");
    case.folder.write("zzz", b"1");
    case.folder.fifo("mmm");
    for pool in &*POOLS {
        let reports = Mutex::new(Vec::new());
        let check = ModelCheck {
            model: case.folder.path(),
            files: &case.signed.files,
            tensors: None,
            layers: None,
            only: None,
            tensor_hashes: TensorHashing::Skip,
            extra: ExtraFiles::Report,
        };
        let tell = |event: Event<'_>| {
            if let Event::File(r) = event {
                reports.lock().unwrap().push(format!("{} {} {}", r.path, r.size, r.chunks));
            }
        };
        let _ = pool.install(|| check.run(&tell)).unwrap();
        let sizes: Vec<usize> = files().iter().map(|(_, bytes)| bytes.len()).collect();
        let (first, second) = (sizes[3], sizes[4]);
        let expected = [
            "README.md 10 1".to_owned(),
            "config.json 2 1".to_owned(),
            "empty 0 0".to_owned(),
            format!("model-1.safetensors {first} 7"),
            format!("model-2.safetensors {second} 3"),
            format!("sub/data.bin {} 3", 3 * CHUNK),
            "aaa 0 0".to_owned(),
            "mmm 0 0".to_owned(),
            "zzz 1 0".to_owned(),
        ];
        assert_eq!(reports.into_inner().unwrap(), expected);
    }
}

#[test]
fn missing_truncated_and_extended_files_are_refused_unread() {
    let case = Case::new();
    fs::remove_file(case.folder.at("README.md")).unwrap();
    case.folder.alter("empty", |bytes| bytes.push(0));
    case.folder.alter("model-1.safetensors", |bytes| bytes.truncate(bytes.len() - 1));
    case.folder.alter("sub/data.bin", |bytes| bytes.push(0));
    let said = "refused README.md 2104\nrefused empty 2103\nrefused model-1.safetensors 2103\nrefused sub/data.bin 2103";
    assert_eq!(case.check(), said);
}

#[test]
fn the_layer_of_a_file_that_is_not_read_is_checked_too() {
    // Regression: only the layers of files that were read were merged.
    let case = Case::lying(|draft| draft.layers.iter_mut().step_by(32).for_each(|byte| *byte ^= 1));
    fs::remove_file(case.folder.at("model-1.safetensors")).unwrap();
    case.folder.alter("model-2.safetensors", |bytes| bytes.push(0));
    fs::remove_file(case.folder.at("README.md")).unwrap();
    let said = "refused README.md 2104\nrefused model-1.safetensors 2104, 2202\n\
                refused model-2.safetensors 2103, 2202\nrefused sub/data.bin 2202";
    assert_eq!(case.check(), said);
    // Files that were not selected are not reported.
    assert_eq!(case.check_with(|c| c.only = Some(&|path| path == "README.md")), "refused README.md 2104");
}

#[test]
fn a_folder_too_deep_cannot_hide_behind_a_listed_file_that_is_called_as_it_is_shown() {
    let shown = format!("{}…", "d".repeat(200));
    let files = [(shown.as_str(), b"x".to_vec())];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let case = Case { folder: Folder::of(&files), signed, layers: true };
    case.folder.write(&format!("{}/evil", vec!["d".repeat(200); 6].join("/")), b"x");
    assert_eq!(case.check(), format!("refused {shown} 1401"));
}

#[test]
fn a_folder_in_place_of_a_file_is_a_missing_file() {
    let case = Case::new();
    fs::remove_file(case.folder.at("config.json")).unwrap();
    fs::create_dir(case.folder.at("config.json")).unwrap();
    assert_eq!(case.check(), "refused config.json 2104");
    case.folder.write("config.json/inside", b"{}");
    assert_eq!(case.check(), "refused config.json 2104\nrefused config.json/inside 2105");
}

#[test]
fn a_renamed_file_is_one_missing_and_one_extra() {
    let case = Case::new();
    fs::rename(case.folder.at("sub/data.bin"), case.folder.at("sub/pickle.bin")).unwrap();
    assert_eq!(case.check(), "refused sub/data.bin 2104\nrefused sub/pickle.bin 2105");
}

#[test]
fn extra_files_are_refused_unless_the_caller_lets_them_pass() {
    let case = Case::new();
    case.folder.write("evil.py", b"import os");
    case.folder.write("sub/.gitattributes", b"");
    case.folder.link("link", "/etc/hostname");
    let said = "refused evil.py 2105\nrefused link 5102\nrefused sub/.gitattributes 2105";
    assert_eq!(case.check(), said);
    // Only files pass as extra. Regression: an unlisted link passed too, and led users of the model to its target.
    let said = "extra evil.py\nrefused link 5102\nextra sub/.gitattributes";
    assert_eq!(case.check_with(|c| c.extra = ExtraFiles::Report), said);
}

#[test]
fn what_is_no_file_never_passes_as_one_that_is_not_listed() {
    let case = Case::new();
    case.folder.link("broken", "nothing");
    case.folder.link("to-folder", "sub");
    case.folder.fifo("fifo");
    case.folder.write("back\\slash", b"");
    let said = "refused back\\slash 1406\nrefused broken 5105\nrefused fifo 5104\nrefused to-folder 5103";
    assert_eq!(case.check(), said);
    assert_eq!(case.check_with(|c| c.extra = ExtraFiles::Report), said);
}

#[test]
fn what_is_not_looked_into_is_reported_where_the_whole_folder_is_checked() {
    let case = Case::new();
    for path in [".git/hooks/run", "sub/.cache/huggingface/x", "weighbridge/run.py", "weighbridge/head.note"]
    {
        case.folder.write(path, b"");
    }
    let said = "left out .git\nleft out sub/.cache/huggingface\nleft out weighbridge/run.py";
    assert_eq!(case.check(), said);
    assert_eq!(case.check_with(|c| c.only = Some(&|path| path.ends_with(".json"))), "");
}

#[test]
fn a_hubs_gitattributes_is_reported_and_not_refused() {
    let case = Case::new();
    case.folder.write(".gitattributes", b"* text");
    assert_eq!(case.check(), "extra .gitattributes");
    // As a link out of the model, `.gitattributes` could be any file.
    fs::remove_file(case.folder.at(".gitattributes")).unwrap();
    case.folder.link(".gitattributes", "/etc/hostname");
    assert_eq!(case.check(), "refused .gitattributes 5102");
}

#[test]
fn a_listed_gitattributes_is_a_file_like_any_other() {
    let files = [(".gitattributes", b"* text".to_vec())];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let case = Case { folder: Folder::of(&files), signed, layers: true };
    assert_eq!(case.check(), "");
    case.folder.write(".gitattributes", b"* TEXT");
    assert_eq!(case.check(), "refused .gitattributes 2101");
}

#[test]
fn a_listed_file_that_became_a_link_out_or_a_fifo_is_refused_by_that_name() {
    let case = Case::new();
    let elsewhere = Folder::of(&[("copy", b"{}".to_vec())]);
    fs::remove_file(case.folder.at("config.json")).unwrap();
    case.folder.link("config.json", elsewhere.at("copy"));
    fs::remove_file(case.folder.at("empty")).unwrap();
    case.folder.fifo("empty");
    fs::remove_file(case.folder.at("README.md")).unwrap();
    case.folder.link("README.md", "nothing");
    let said = "refused README.md 5105\nrefused config.json 5102\nrefused empty 5104";
    assert_eq!(in_time(move || case.check()), said);
}

#[test]
fn a_link_within_the_model_is_as_good_as_the_file() {
    let case = Case::new();
    fs::rename(case.folder.at("sub/data.bin"), case.folder.at(".git")).unwrap();
    case.folder.link("sub/data.bin", "../.git");
    assert_eq!(case.check(), "left out .git");
}

#[test]
fn an_unlisted_name_that_is_not_utf8_cannot_hide_behind_a_listed_one_that_looks_the_same() {
    // Regression: names that are not UTF-8 were compared in their displayed form, with U+FFFD in them.
    let files = [("a\u{fffd}", b"x".to_vec())];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let case = Case { folder: Folder::of(&files), signed, layers: true };
    fs::write(case.folder.path().join(OsStr::from_bytes(b"a\xff")), b"evil").unwrap();
    assert_eq!(case.check(), "refused a\u{fffd} 1411");
    fs::remove_file(case.folder.at("a\u{fffd}")).unwrap();
    assert_eq!(case.check(), "refused a\u{fffd} 2104\nrefused a\u{fffd} 1411");
}

#[test]
fn swapped_files_are_called_by_their_right_names() {
    let files = [("a", bytes(CHUNK + 1, 1)), ("b", bytes(CHUNK + 1, 2)), ("c", vec![7])];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let case = Case { folder: Folder::of(&files), signed, layers: true };
    case.folder.write("a", &files[1].1);
    case.folder.write("b", &files[0].1);
    let said =
        "refused a 2101 2 of 2: (0, 1) 0..16385 [] (is b)\nrefused b 2101 2 of 2: (0, 1) 0..16385 [] (is a)";
    assert_eq!(case.check(), said);
}

#[test]
fn each_flipped_byte_is_found_with_its_chunk_its_bytes_and_its_tensors() {
    let case = Case::new();
    let content = files()[3].1.clone();
    let header = content.len() - 100_005;
    // Computed by hand: the header and `a`, which ends in the third chunk; then `b`; then `c` up to the end.
    let a = header..header + 40_000;
    let b = a.end..a.end + 5;
    let c = b.end..content.len();
    assert_eq!(content.len().div_ceil(CHUNK), 7);
    for index in 0..7 {
        let chunk = index * CHUNK..((index + 1) * CHUNK).min(content.len());
        for at in [chunk.start, chunk.start + 8_000, chunk.end - 1] {
            if at >= content.len() || !chunk.contains(&at) {
                continue;
            }
            case.folder.alter("model-1.safetensors", |bytes| bytes[at] ^= 0x40);
            let named: Vec<&str> = [("a", &a), ("b", &b), ("c", &c)]
                .iter()
                .filter(|(_, r)| r.start < chunk.end && chunk.start < r.end)
                .map(|(name, _)| *name)
                .collect();
            let said = format!(
                "refused model-1.safetensors 2101 1 of 7: ({index}, {index}) {chunk:?} [{}]",
                named.join(" ")
            );
            assert_eq!(case.check(), said, "byte {at}");
            case.folder.write("model-1.safetensors", &content);
        }
    }
}

#[test]
fn neighbouring_bad_chunks_are_one_run() {
    let case = Case::new();
    case.folder.alter("model-1.safetensors", |bytes| {
        for index in [0, 1, 4, 6] {
            bytes[index * CHUNK + 1_000] ^= 1;
        }
    });
    let len = files()[3].1.len();
    let said = format!(
        "refused model-1.safetensors 2101 4 of 7: (0, 1) 0..32768 [a] (4, 4) 65536..81920 [c] (6, 6) 98304..{len} [c]"
    );
    assert_eq!(case.check(), said);
}

#[test]
fn without_layers_a_bad_file_is_refused_as_a_whole() {
    let mut case = Case::new();
    case.layers = false;
    case.folder.alter("sub/data.bin", |bytes| bytes[20_000] ^= 1);
    case.folder.alter("config.json", |bytes| bytes[0] ^= 1);
    assert_eq!(case.check(), "refused config.json 2101\nrefused sub/data.bin 2101");
}

#[test]
fn a_bad_layer_is_refused_whether_or_not_the_file_is_good() {
    // Falsifies the last chaining value of sub/data.bin.
    let case = Case::lying(|draft| *draft.layers.last_mut().unwrap() ^= 1);
    assert_eq!(case.check(), "refused sub/data.bin 2202");
    case.folder.alter("sub/data.bin", |bytes| bytes[20_000] ^= 1);
    // A refused layer tells nothing about chunks (rule 3).
    assert_eq!(case.check(), "refused sub/data.bin 2101, 2202");
    case.folder.alter("model-2.safetensors", |bytes| bytes[20_000] ^= 1);
    let said =
        "refused model-2.safetensors 2101 1 of 3: (1, 1) 16384..32768 [a d]\nrefused sub/data.bin 2101, 2202";
    assert_eq!(case.check(), said);
}

#[test]
fn layers_of_another_length_are_refused_and_absent_ones_are_none() {
    let case = Case::new();
    let good = fs::read(case.signed.folder.at(CHUNKS)).unwrap();
    assert_eq!(good.len(), 32 * (7 + 3 + 3));
    for bad in [&good[..good.len() - 1], &good[..good.len() - 32], &[], &[&good[..], b"x"].concat()] {
        case.signed.folder.write(CHUNKS, bad);
        assert_eq!(case.signed.metadata.layers(&case.signed.files).unwrap_err().error_code().get(), 2201);
    }
    fs::remove_file(case.signed.folder.at(CHUNKS)).unwrap();
    assert!(case.signed.metadata.layers(&case.signed.files).unwrap().is_none());
}

#[test]
fn metadata_that_is_no_file_is_an_error_and_waited_for_by_nobody() {
    let folder = Folder::new();
    folder.fifo(HEAD);
    let metadata = Metadata::at(folder.path());
    let error = in_time(move || metadata.note()).unwrap_err();
    assert_eq!(error.error_code().get(), 9002);
    assert_eq!(
        error.to_string(),
        format!("cannot read {}: not a regular file", weighbridge_store::shown_path(folder.at(HEAD)))
    );
    // At most the permitted length and one byte more is read; that byte makes the note too long.
    fs::remove_file(folder.at(HEAD)).unwrap();
    File::create(folder.at(HEAD)).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(Metadata::at(folder.path()).note().unwrap().len(), 131_073);
}

#[test]
fn lists_of_another_length_are_refused_unread() {
    let case = Case::new();
    for (name, length) in
        [("files.jsonl", 1u64 << 40), ("files.jsonl", 3), ("tensors.jsonl", 1 << 40), ("tensors.jsonl", 0)]
    {
        let good = fs::read(case.signed.folder.at(name)).unwrap();
        File::options().write(true).open(case.signed.folder.at(name)).unwrap().set_len(length).unwrap();
        let code = match name {
            "files.jsonl" => case.signed.metadata.files(&case.signed.head).unwrap_err().error_code().get(),
            _ => case.signed.metadata.tensors(&case.signed.files).unwrap_err().error_code().get(),
        };
        assert_eq!(code, 1301, "{name} of {length}");
        case.signed.folder.write(name, &good);
    }
}

#[test]
fn a_tensor_list_that_disagrees_with_the_verified_header_is_refused() {
    let name = |text: &str| TensorName::parse(text).unwrap();
    let all = |lie: &dyn Fn(&mut Draft)| Case::lying(|draft| lie(draft)).check();
    let refused = |code, name: &str| format!("refused model-1.safetensors {code} {name}");
    // The listed name is not in the header, and the header's name is not listed. The first name in order decides.
    assert_eq!(all(&|d| tensor(d, "b").name = name("a2")), refused(2301, "a2"));
    assert_eq!(all(&|d| tensor(d, "b").name = name("z")), refused(2302, "b"));
    assert_eq!(all(&|d| d.tensors.as_mut().unwrap().retain(|t| t.name.as_str() != "b")), refused(2302, "b"));
    assert_eq!(all(&|d| tensor(d, "b").dtype = Dtype::parse("I8").unwrap()), refused(2303, "b"));
    assert_eq!(all(&|d| tensor(d, "b").shape = vec![1, 5]), refused(2304, "b"));
    assert_eq!(all(&|d| tensor(d, "b").shape = vec![6]), refused(2304, "b"));
    assert_eq!(all(&|d| tensor(d, "b").offset += 1), refused(2305, "b"));
    assert_eq!(all(&|d| tensor(d, "b").size -= 1), refused(2306, "b"));
    let doubled = |d: &mut Draft| {
        let more = TensorEntry { name: name("b2"), ..tensor(d, "b").clone() };
        d.tensors.as_mut().unwrap().push(more);
    };
    assert_eq!(all(&doubled), refused(2301, "b2"));
    assert_eq!(all(&|d| d.tensors = None), "");
}

/// A list that names no tensor differs from a head without a list: the file is reported as uncompared, and not
/// refused.
#[test]
fn a_file_of_which_no_tensor_is_listed_is_reported_as_not_compared() {
    let none = |lie: &dyn Fn(&mut Draft)| Case::lying(|draft| lie(draft));
    let case = none(&|draft| draft.tensors = Some(Vec::new()));
    let size = |path: &str| fs::metadata(case.folder.at(path)).unwrap().len();
    let [one, two] = ["model-1.safetensors", "model-2.safetensors"]
        .map(|path| format!("uncompared {path} {}", size(path)));
    assert_eq!(case.check(), format!("{one}\n{two}"));
    assert_eq!(case.check_with(|c| c.tensor_hashes = TensorHashing::Check), format!("{one}\n{two}"));
    let case =
        none(&|draft| draft.tensors.as_mut().unwrap().retain(|t| t.file.as_str() != "model-2.safetensors"));
    assert_eq!(case.check(), two);
}

#[test]
fn lists_that_lie_are_refused_with_tensor_hashes_too() {
    let check = |case: Case| case.check_with(|c| c.tensor_hashes = TensorHashing::Check);
    // Overlapping ranges cannot be hashed in one pass; the header decides in any case.
    let said = check(Case::lying(|draft| tensor(draft, "b").offset -= 1));
    assert_eq!(said, "refused model-1.safetensors 2305 b");
    let said = check(Case::lying(|draft| draft.tensors.as_mut().unwrap().retain(|t| t.name.as_str() != "a")));
    assert_eq!(said, "refused model-1.safetensors 2302 a\nrefused model-2.safetensors 2302 a");
}

#[test]
fn a_tensors_hash_of_other_bytes_is_refused_only_if_the_caller_asks() {
    for name in ["a", "b", "c", "none"] {
        let case = Case::lying(|draft| tensor(draft, name).hash = TensorHash::of(b"other bytes"));
        assert_eq!(case.check(), "");
        let said = case.check_with(|c| c.tensor_hashes = TensorHashing::Check);
        assert_eq!(said, format!("refused model-1.safetensors 2307 {name}"));
    }
    // The first tensor by name is reported.
    let case =
        Case::lying(|draft| ["c", "b"].iter().for_each(|n| tensor(draft, n).hash = TensorHash::of(b"other")));
    let said = case.check_with(|c| c.tensor_hashes = TensorHashing::Check);
    assert_eq!(said, "refused model-1.safetensors 2307 b");
}

#[test]
fn a_tensors_hash_never_makes_a_bad_file_good() {
    let case = Case::lying(|draft| {
        let file = draft.files.iter_mut().find(|f| f.path.as_str() == "model-2.safetensors").unwrap();
        file.root = FileRoot::of(b"other bytes");
    });
    let said = "refused model-2.safetensors 2101, 2202";
    assert_eq!(case.check_with(|c| c.tensor_hashes = TensorHashing::Check), said);
}

#[test]
fn a_signed_file_with_a_malformed_header_is_refused() {
    let mut bad = safetensors(&[("a", b"12345")]);
    bad.push(0);
    let files = [("bad.safetensors", bad), ("model.gguf", b"GGUF".to_vec())];
    let mut draft = Draft::of(&files, ChunkSize::MIN);
    // Without a listed tensor, only the bytes of these files would be judged.
    let sound = [("bad.safetensors", safetensors(&[("a", b"")])), ("model.gguf", b"".to_vec())];
    let mut listed = Draft::of(&sound, ChunkSize::MIN).tensors.unwrap();
    listed[0].offset = 0;
    listed.push(TensorEntry { file: EntryPath::parse("model.gguf").unwrap(), ..listed[0].clone() });
    assert_eq!(draft.tensors.replace(listed), Some(Vec::new()));
    let case = Case { folder: Folder::of(&files), signed: draft.sign(), layers: true };
    assert_eq!(case.check(), "refused bad.safetensors 4114\nrefused model.gguf 4305");
    assert_eq!(case.check_with(|c| c.tensors = None), "");
}

#[test]
fn only_what_is_chosen_is_looked_at() {
    let case = Case::new();
    case.folder.alter("config.json", |bytes| bytes[0] ^= 1);
    case.folder.alter("sub/data.bin", |bytes| bytes[0] ^= 1);
    case.folder.write("extra", b"");
    fs::remove_file(case.folder.at("README.md")).unwrap();
    let only = |wanted: &'static str| {
        let matches = move |path: &str| path.starts_with(wanted);
        case.check_with(move |c| {
            // Leaked, so that the closure outlives the check.
            c.only = Some(Box::leak(Box::new(matches)));
        })
    };
    assert_eq!(only("model"), "");
    assert_eq!(only("config"), "refused config.json 2101");
    assert_eq!(only("e"), "refused extra 2105");
    assert_eq!(only("R"), "refused README.md 2104");
    assert_eq!(only("nothing"), "");
}

#[test]
fn a_file_that_changes_during_the_check_is_neither_good_nor_called_a_lie() {
    for pool in &*POOLS {
        let files = [("a", bytes(1 << 20, 1))];
        let signed = Draft::of(&files, ChunkSize::MIN).sign();
        let folder = Folder::of(&files);
        let disk = File::options().write(true).open(folder.at("a")).unwrap();
        disk.set_modified(long_ago()).unwrap();
        let check = ModelCheck {
            model: folder.path(),
            files: &signed.files,
            tensors: None,
            layers: None,
            only: None,
            tensor_hashes: TensorHashing::Skip,
            extra: ExtraFiles::Refuse,
        };
        let said = Mutex::new(Vec::new());
        let summary = pool.install(|| {
            check.run(&|event| match event {
                Event::Read(_) => disk.write_all_at(b"evil", 0).unwrap(),
                Event::File(report) => said.lock().unwrap().push(line(report)),
            })
        });
        assert_eq!(said.into_inner().unwrap(), ["refused a 2106"]);
        assert_eq!(summary.unwrap(), Summary { refused: 1, ..Summary::default() });
    }
}

#[test]
fn a_panic_of_the_listener_is_no_verdict() {
    let case = Case::new();
    in_time(move || {
        for pool in &*POOLS {
            let check = ModelCheck {
                model: case.folder.path(),
                files: &case.signed.files,
                tensors: None,
                layers: None,
                only: None,
                tensor_hashes: TensorHashing::Skip,
                extra: ExtraFiles::Refuse,
            };
            let tell = |event: Event<'_>| match event {
                Event::File(report) => assert_ne!(report.path, "empty", "as it was meant to"),
                Event::Read(_) => {}
            };
            assert!(catch_unwind(AssertUnwindSafe(|| pool.install(|| check.run(&tell)))).is_err());
        }
    });
}

#[test]
fn a_model_folder_that_is_not_there_is_an_error() {
    let case = Case::new();
    let nowhere = case.folder.at("nowhere");
    let check = ModelCheck {
        model: &nowhere,
        files: &case.signed.files,
        tensors: None,
        layers: None,
        only: None,
        tensor_hashes: TensorHashing::Skip,
        extra: ExtraFiles::Refuse,
    };
    assert_eq!(check.run(&|_| {}).unwrap_err().error_code().get(), 9002);
}

/// Regression: layers opened with one list passed for the layers of another list, with the lengths of the first.
#[test]
fn layers_give_nothing_for_a_list_by_which_they_were_not_opened() {
    let unit = usize::try_from(ChunkSize::MIN.bytes()).unwrap();
    let files = [("a", bytes(3 * unit - 9, 1)), ("b", bytes(unit + 1, 2))];
    let truth = Draft::of(&files, ChunkSize::MIN);
    let mut lie = truth.clone();
    lie.files[0].size += 1;
    let (truth, lie) = (truth.sign(), lie.sign());
    let layers = lie.metadata.layers(&lie.files).unwrap().unwrap();
    let of = |position| match layers.of(&truth.files, position) {
        Ok(layer) => Ok(layer.grid().len()),
        Err(LayersError::Layer(fault)) => Err(fault.error_code().get()),
        Err(LayersError::Io(error)) => panic!("{error}"),
    };
    assert_eq!(of(0), Err(2202));
    // A file whose entry is equal in both lists has the same layer in both.
    assert_eq!(of(1), Ok(truth.files.entries()[1].size));
    assert!(of(2).is_err());
}

/// A folder is replaced by a link while the model is verified. The linked files have the same bytes, but are not
/// files of the model.
#[test]
fn a_folder_that_becomes_a_link_while_it_is_verified_leads_nowhere() {
    let files: Vec<(&str, Vec<u8>)> = vec![("a", bytes(5, 1)), ("deep/b", bytes(70_000, 2))];
    let signed = Draft::of(&files, ChunkSize::MIN).sign();
    let (model, outside) = (Folder::of(&files), Folder::of(&files));
    let check = ModelCheck {
        model: model.path(),
        files: &signed.files,
        tensors: None,
        layers: None,
        only: None,
        tensor_hashes: TensorHashing::Skip,
        extra: ExtraFiles::Refuse,
    };
    let codes = Mutex::new(Vec::new());
    let summary = POOLS[0].install(|| {
        check.run(&|event| {
            let Event::File(report) = event else { return };
            if report.path == "a" {
                fs::rename(model.at("deep"), model.at("aside")).unwrap();
                model.link("deep", outside.at("deep"));
            }
            if let Outcome::Refused(faults) = &report.outcome {
                codes.lock().unwrap().extend(faults.iter().map(|fault| fault.error_code().get()));
            }
        })
    });
    let summary = summary.unwrap();
    assert_eq!((summary.verified, summary.refused), (1, 1));
    assert_eq!(codes.into_inner().unwrap(), [2106]);
}
