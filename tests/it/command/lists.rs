//! Heads and lists that a trusted key has signed, and that no verifier accepts.

use std::{fs::File, path::Path, process::Command};

use weighbridge_manifest::{Head, ModelName};

use crate::command::{
    forge::{Forge, less, replace, sign_text},
    kit::{Ran, World},
};

const VERIFY: &str = "verify llama --name org/llama --vkey @alice";
const METADATA: &str = "llama/weighbridge";

/// Weighs a model, changes its lists, signs them, and expects that verifying refuses.
#[track_caller]
fn signed_and_refused(forge: impl FnOnce(&mut Forge), code: u16, sentence: &str) {
    let world = World::weighed();
    let mut forged = Forge::open(world.path(METADATA));
    forge(&mut forged);
    forged.sign(&world.key("alice"));
    world.refused(VERIFY, code, sentence);
}

#[test]
fn what_is_forged_without_a_change_verifies() {
    let world = World::weighed();
    Forge::open(world.path(METADATA)).sign(&world.key("alice"));
    world.run(VERIFY).done();
}

#[test]
fn a_bad_path_is_refused_under_any_signature() {
    let long = ["a/".repeat(512), "a".into()].concat();
    let component = "a".repeat(256);
    let cases = [
        ("", 1401, "a path has 1 to 1024 bytes"),
        (&long, 1401, "a path has 1 to 1024 bytes, this one 1025"),
        ("/etc/passwd", 1402, "the path is absolute"),
        ("a//b", 1403, "the path has an empty component"),
        ("a/", 1403, "the path has an empty component"),
        ("../config.json", 1404, "the path has a component '.' or '..'"),
        ("a/../../b", 1404, "the path has a component '.' or '..'"),
        ("./a", 1404, "the path has a component '.' or '..'"),
        ("a\u{1b}[2Jb", 1302, "not in canonical form at byte 10"),
        ("a\u{7f}b", 1405, "the path has a control character"),
        ("a\u{85}b", 1405, "the path has a control character"),
        (r"a\\b", 1406, "the path has a backslash"),
        ("C:a", 1407, "a component of the path looks like a drive"),
        ("a/c:/b", 1407, "a component of the path looks like a drive"),
        (&component, 1408, "a component of a path has at most 255 bytes, this one 256"),
        (".git/config", 1409, "a component of the path is '.git'"),
        ("a/.GIT", 1409, "a component of the path is '.git'"),
        ("weighbridge/x", 1410, "the path lies in a folder that is not part of models"),
        (".cache/huggingface/x", 1410, "the path lies in a folder that is not part of models"),
    ];
    for (path, code, sentence) in cases {
        println!("{path:?}");
        let bad_path = |forge: &mut Forge| replace(&mut forge.files[0], ".hidden", path);
        signed_and_refused(bad_path, code, &format!("files.jsonl, line 1: {sentence}"));
    }
}

#[test]
fn a_list_out_of_form_is_refused_under_any_signature() {
    type Change = fn(&mut Forge);
    let cases: [(Change, u16, &str); 15] = [
        (
            |f| replace(&mut f.files[0], "{\"file\"", "{ \"file\""),
            1302,
            "files.jsonl, line 1: not in canonical form at byte 2",
        ),
        (
            |f| replace(&mut f.files[0], "}", ",\"mode\":1}"),
            1302,
            "files.jsonl, line 1: not in canonical form",
        ),
        (
            |f| f.files[0] = format!("{:8193}", f.files[0]),
            1303,
            "files.jsonl, line 1: a line has at most 8192 bytes",
        ),
        (|f| f.files.swap(3, 4), 1304, "files.jsonl, line 5: sorts before the line above it"),
        (|f| f.files.insert(4, f.files[3].clone()), 1305, "files.jsonl, line 5: the same entry twice"),
        (
            |f| replace(f.file("\"config.json\""), "config.json", ".hidden/a"),
            1304,
            "sorts before the line above it",
        ),
        (
            |f| replace(f.file("README.md"), "}", &SHA256.concat()),
            1311,
            "sha256 stands on some entries and not on others",
        ),
        (
            |f| replace(f.file("1_Pooling"), "1_Pooling/config.json", ".hidden/config.json"),
            1312,
            "the path lies below another file",
        ),
        (|f| f.tensors.swap(0, 1), 1304, "tensors.jsonl, line 2: sorts before the line above it"),
        (|f| f.tensors.insert(1, f.tensors[0].clone()), 1305, "tensors.jsonl, line 2: the same entry twice"),
        (
            |f| replace(&mut f.tensors[0], "model-00001", "model-00000"),
            1309,
            "the tensor's file is not a listed tensor file",
        ),
        (
            |f| replace(&mut f.tensors[0], "model-00001-of-00002.safetensors", "config.json"),
            1309,
            "is not a listed tensor file",
        ),
        (
            |f| replace(&mut f.tensors[0], "\"offset\":", "\"offset\":999999"),
            1310,
            "the tensor does not lie within its file",
        ),
        (
            |f| replace(&mut f.tensors[0], "{\"tensor\":\"", "{\"tensor\":\"\u{7f}"),
            1432,
            "the tensor name has a control character",
        ),
        (
            |f| replace(&mut f.tensors[0], "model.embed_tokens.weight", ""),
            1431,
            "a tensor name has 1 to 1024 bytes",
        ),
    ];
    for (change, code, sentence) in cases {
        signed_and_refused(change, code, sentence);
    }
}

const SHA256: [&str; 3] =
    [",\"sha256\":\"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", "\"}"];

#[test]
fn a_head_that_contradicts_its_lists_is_refused() {
    type Lie = fn(&mut Head);
    let cases: [(Lie, u16, &str); 5] = [
        (|head| head.files.count += 1, 1306, "files.jsonl: 11 lines, the head signs 12"),
        (|head| head.bytes += 1, 1307, "files.jsonl: sizes add up to "),
        (|head| head.files.length += 1, 1301, "files.jsonl: "),
        (|head| head.tensors.as_mut().unwrap().list.count -= 1, 1306, "tensors.jsonl: "),
        (
            |head| head.root = weighbridge_tree::ModelRoot::from_bytes([0; 32]),
            1308,
            "files.jsonl: does not hash",
        ),
    ];
    for (lie, code, sentence) in cases {
        let world = World::weighed();
        Forge::open(world.path(METADATA)).sign_saying(&world.key("alice"), lie);
        world.refused(VERIFY, code, sentence).hints("get the metadata again");
    }
}

#[test]
fn a_tensor_list_that_disagrees_with_verified_headers_is_refused() {
    type Change = fn(&mut Forge);
    let cases: [(Change, u16, &str); 6] = [
        // The new name still sorts where the old one stood.
        (
            |f| replace(&mut f.tensors[0], "model.embed", "a"),
            2301,
            "tensor 'a_tokens.weight' is listed, and not in the file's header",
        ),
        (
            |f| drop(f.tensors.remove(0)),
            2302,
            "tensor 'model.embed_tokens.weight' is in the file's header, and not listed",
        ),
        (
            |f| replace(&mut f.tensors[0], "BF16", "F16"),
            2303,
            "is listed with another dtype than its header's",
        ),
        (
            |f| replace(&mut f.tensors[0], "\"shape\":[", "\"shape\":[1,"),
            2304,
            "is listed with another shape than its header's",
        ),
        (|f| less(&mut f.tensors[0], "offset"), 2305, "is listed at another offset than its header's"),
        (|f| less(&mut f.tensors[0], "size"), 2306, "is listed with another size than its header's"),
    ];
    for (change, code, sentence) in cases {
        signed_and_refused(change, code, sentence);
    }
}

#[test]
fn a_tensor_hash_of_other_bytes_is_refused_where_it_is_looked_at() {
    let world = World::weighed();
    let mut forge = Forge::open(world.path(METADATA));
    let hash = blake3::hash(b"other bytes").to_hex();
    let line = &mut forge.tensors[1];
    let at = line.find("\"blake3\":\"").unwrap() + 10;
    line.replace_range(at..at + 64, &hash);
    forge.sign(&world.key("alice"));
    // A tensor hash never accepts a file, so it refuses none either, unless the caller asks.
    world.run(VERIFY).done();
    let ran = world.refused(&format!("{VERIFY} --tensors"), 2307, "is listed with the hash of other bytes");
    ran.prints("refused  model-00001-of-00002.safetensors ");
}

#[test]
fn a_head_out_of_form_is_refused_under_any_signature() {
    type Change<'c> = &'c dyn Fn(&str) -> String;
    let ext = |count: usize| -> String {
        (0..count).map(|number| format!("ext key{number:02} {}\n", "x".repeat(250))).collect()
    };
    let cases: [(Change<'_>, u16, &str); 10] = [
        (&|text| format!("{text}{}", ext(16)), 1201, "the head's text has at most 4096 bytes, this one "),
        (
            &|text| text.replace("head/v1", "head/v2"),
            1202,
            "the head is not of version weighbridge/head/v1 (line 1)",
        ),
        (&|text| text.replace("revision 1\n", ""), 1203, "the head's line 'revision' is missing (line 3)"),
        (&|text| format!("{text}unknown line\n"), 1203, "the head's line 'ext' is missing"),
        (
            &|text| format!("{text}{}", "ext a b\next a b\n"),
            1203,
            "the head's 'ext' lines do not strictly increase",
        ),
        (
            &|text| text.replace("name org/llama", "name org//llama"),
            1204,
            "the head's value of 'name' is malformed (line 2)",
        ),
        (
            &|text| text.replace("revision 1", "revision 01"),
            1204,
            "the head's value of 'revision' is malformed",
        ),
        (
            &|text| text.replace("chunk-size 16384", "chunk-size 16385"),
            1204,
            "the head's value of 'chunk-size' is malformed",
        ),
        (&|text| text.replace("revision 1", "revision 2"), 1205, "the head contradicts itself"),
        (
            &|text| text.replace("revision 1", "revision 0"),
            1205,
            "the head contradicts itself: revisions count from 1",
        ),
    ];
    let world = World::weighed();
    let text = world.text(&format!("{METADATA}/head.txt"));
    for (change, code, sentence) in cases {
        let changed = change(&text);
        assert_ne!(changed, text);
        sign_text(&world.path(METADATA), &changed, &[&world.key("alice")]);
        world.refused(VERIFY, code, sentence);
    }
}

#[test]
fn a_note_out_of_form_is_refused() {
    let world = World::weighed();
    let note = world.text(&format!("{METADATA}/head.note"));
    let signature = note.lines().last().unwrap();
    let cases = [
        (
            format!("{note}{}", format!("{signature}\n").repeat(1_500)).into_bytes(),
            1101,
            "a note has at most 131072 bytes",
        ),
        (
            note.replace("org/llama", "org\tllama").into_bytes(),
            1102,
            "the note is not UTF-8 without control characters",
        ),
        (note.replace('\n', "\r\n").into_bytes(), 1102, "the note is not UTF-8 without control characters"),
        ([note.as_bytes(), b"\xff\n"].concat(), 1102, "the note is not UTF-8 without control characters"),
        (
            note.trim_end().as_bytes().to_vec(),
            1103,
            "the note is not a text, an empty line, and signature lines",
        ),
        (
            note.replace("\n\n", "\n").into_bytes(),
            1103,
            "the note is not a text, an empty line, and signature lines",
        ),
        (Vec::new(), 1103, "the note is not a text, an empty line, and signature lines"),
        (format!("{note}not a signature\n").into_bytes(), 1104, "signature line 2 is malformed"),
        (
            format!("{note}{}", format!("{signature}\n").repeat(100)).into_bytes(),
            1105,
            "at most 100 signature lines, this one 101",
        ),
    ];
    for (bytes, code, sentence) in cases {
        world.write(&format!("{METADATA}/head.note"), bytes);
        world.refused(VERIFY, code, sentence);
    }
}

#[test]
fn a_head_of_another_name_is_refused_before_its_lists_are_read() {
    let world = World::weighed();
    let forge = Forge::open(world.path(METADATA));
    forge.sign_saying(&world.key("alice"), |head| head.name = ModelName::parse("org/other").unwrap());
    world.remove("llama/weighbridge/files.jsonl");
    let ran = world.refused(VERIFY, 3201, "the head is of 'org/other', wanted is 'org/llama'");
    ran.hints("another model than you asked for");
}

#[test]
fn texts_from_elsewhere_cannot_steer_a_terminal() {
    let world = World::weighed();
    // The right-to-left override is no control character, so verifiers permit it in a path, and print it escaped.
    world.write("llama/a_gpj.exe", "x");
    world.run("weigh llama --name org/llama --key @alice.key --force").done();
    world.rename("llama/a_gpj.exe", "llama/a\u{202e}gpj.exe");
    let mut forge = Forge::open(world.path(METADATA));
    replace(forge.file("a_gpj"), "_", "\u{202e}");
    forge.sign(&world.key("alice"));
    let ran = world.run(VERIFY).done().prints(r"a\u{202e}gpj.exe");
    ran.expect(!ran.stdout.contains('\u{202e}'), "no override");

    // On disk a name may have any byte; a list permits no control characters.
    world.write("llama/\u{1b}[2Jx", "x");
    let ran = world.refused(VERIFY, 1405, "the path has a control character").prints(r"\u{1b}[2Jx");
    ran.expect(!ran.stdout.contains('\u{1b}'), "no escape sequence");
    let ran = world.refused("weigh llama --name org/llama --force", 1405, r"\u{1b}[2Jx: ");
    ran.expect(!ran.stderr.contains('\u{1b}'), "no escape sequence");

    // The same holds for the names of tensors.
    world.remove("llama/\u{1b}[2Jx");
    world.remove("llama/a\u{202e}gpj.exe");
    let shard = |name: &str| {
        let header =
            format!("{{\"{name}a\":{{\"dtype\":\"U8\",\"shape\":[20000],\"data_offsets\":[0,20000]}}}}");
        let length = u64::try_from(header.len()).unwrap().to_le_bytes();
        world.write("llama/a.safetensors", [&length, header.as_bytes(), &[7; 20_000]].concat());
    };
    let weigh = "weigh llama --name org/llama --key @alice.key --force --chunk-size 16KiB";
    let weigh = |options| world.run(&format!("{weigh}{options}")).done();
    // The tensor's line comes from a file whose tensor name has the same length; the file's line and layer come from
    // the final file.
    shard("___");
    weigh("");
    let mut forge = Forge::open(world.path(METADATA));
    shard("\u{202e}");
    weigh(" --no-tensors");
    forge.files = Forge::open(world.path(METADATA)).files;
    let line = forge.tensors.iter_mut().find(|line| line.contains("___a")).unwrap();
    replace(line, "___a", "\u{202e}a");
    forge.sign(&world.key("alice"));
    world.forget();
    world.run(VERIFY).done();
    world.flip("llama/a.safetensors", 19_000);
    let ran = world.refused(VERIFY, 2101, "data does not match").prints(r"in tensor \u{202e}a");
    ran.expect(!ran.stdout.contains('\u{202e}'), "no override");
    let ran = world.run("inspect llama/a.safetensors").done().prints(r"\u{202e}a");
    ran.expect(!ran.stdout.contains('\u{202e}'), "no override");
}

/// Regression: `prove` and `diff` trusted the numbers of an unsigned head. They read 6 GiB of a hole into memory, and
/// a layer of 16 GiB ended the process in an allocation.
#[test]
#[cfg(target_os = "linux")]
fn what_an_unsigned_head_claims_costs_no_memory() {
    let world = World::weighed();
    world.copy("llama", "other");
    let claims = |files: &str| {
        let mut text = world.text("llama/weighbridge/head.txt");
        let line = text.lines().find(|line| line.starts_with("files ")).unwrap().to_owned();
        text = text.replace(&line, files);
        sign_text(&world.path("llama/weighbridge"), &text, &[&world.key("mallory")]);
    };
    let limited = |line: &str| {
        let mut shell = Command::new("sh");
        let binary = world.command("").get_program().to_owned();
        shell.args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""]).arg(binary).args(line.split(' '));
        Ran::of(world.at_home(&mut shell))
    };
    let list = world.path("llama/weighbridge/files.jsonl");
    let sparse =
        |path: &Path, bytes: u64| File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();

    // No single line can have 6 GiB, so nothing is read.
    claims("files 1 6442450944");
    sparse(&list, 6_442_450_944);
    limited("prove llama --file config.json").refused(1204, "");
    limited("diff llama other").refused(1204, "");

    // The maximum number of lines can have this length; the hole at the beginning is no line.
    claims("files 16777216 137443147776");
    sparse(&list, 137_443_147_776);
    limited("prove llama --file config.json").refused(1303, "files.jsonl, line");
    limited("diff llama other").refused(1303, "files.jsonl, line");
}

#[test]
#[cfg(target_os = "linux")]
fn a_layer_with_holes_costs_no_memory() {
    let world = World::empty();
    world.write("m/weights.bin", vec![7; 40_000]);
    world.run("weigh m --name org/m --chunk-size 16KiB --key @alice.key").done();
    // A hole of 8 TiB, whose layer would have 16 GiB.
    let size = 1_u64 << 43;
    let mut forge = Forge::open(world.path("m/weighbridge"));
    *forge.file("weights.bin") =
        forge.file("weights.bin").replace("\"size\":40000", &format!("\"size\":{size}"));
    forge.sign(&world.key("mallory"));
    let sparse = |path: &str, bytes| {
        File::options().write(true).open(world.path(path)).unwrap().set_len(bytes).unwrap();
    };
    sparse("m/weights.bin", size);
    sparse("m/weighbridge/chunks.layer", size / 16_384 * 32);
    let mut shell = Command::new("sh");
    let binary = world.command("").get_program().to_owned();
    let line = "prove m --file weights.bin --bytes 0..100 --slice s -o p";
    shell.args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""]).arg(binary).args(line.split(' '));
    Ran::of(world.at_home(&mut shell)).refused(2202, "");
}
