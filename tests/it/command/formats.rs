//! Malformed tensor files and indexes are neither weighed nor verified.

use weighbridge_tree::TensorHash;

use crate::command::{forge::Forge, kit::World};

/// A safetensors file: length, header, buffer.
fn safetensors(header: &str, buffer: usize) -> Vec<u8> {
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    [&length, header.as_bytes(), &vec![7; buffer]].concat()
}

/// The header's entry of one tensor.
fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}"#)
}

fn header(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

/// A line of a tensor list, for a tensor of one dimension with one byte for each element.
fn line(name: &str, file: &str, dtype: &str, place: std::ops::Range<usize>, bytes: &[u8]) -> String {
    let (offset, size, hash) = (place.start, place.len(), TensorHash::of(bytes));
    format!(
        r#"{{"tensor":"{name}","file":"{file}","dtype":"{dtype}","shape":[{size}],"offset":{offset},"size":{size},"blake3":"{hash}"}}"#
    )
}

struct Malformed {
    bytes: Vec<u8>,
    code: u16,
    sentence: &'static str,
}

fn malformed() -> Vec<Malformed> {
    let case = |bytes: Vec<u8>, code, sentence| Malformed { bytes, code, sentence };
    let of = |header: &str, buffer, code, sentence| case(safetensors(header, buffer), code, sentence);
    let a = |shape, offsets| entry("a", "F32", shape, offsets);
    vec![
        case(b"1234567".to_vec(), 4101, "the file has 7 bytes, too few to hold the 8 of a header length"),
        case(
            100_000_001u64.to_le_bytes().to_vec(),
            4102,
            "the header claims 100000001 bytes, more than the limit",
        ),
        case(
            2u64.to_le_bytes().to_vec(),
            4103,
            "the header claims 2 bytes from byte 8 on, but the file has only 8",
        ),
        of("\u{feff}{}", 0, 4104, "the header begins with the byte 0xef, expected `{`"),
        of("", 0, 4104, "the header is empty"),
        of("{}\0", 0, 4105, "the header is not well-formed JSON at byte 10 of the file"),
        of("{,}", 0, 4105, "the header is not well-formed JSON at byte 9 of the file"),
        of(
            &header(&[a("1", "0,4"), a("1", "4,8")]),
            8,
            4106,
            "the name \"a\" occurs a second time in the header",
        ),
        of(r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4, 4107, "tensor \"a\": its entry lacks `dtype`"),
        of(r#"{"a":[]}"#, 0, 4107, "tensor \"a\": its entry is not an object"),
        of(&header(&[a("1", "4,0")]), 4, 4109, "tensor \"a\": its begin offset 4 is after its end offset 0"),
        of(
            &header(&[a("2", "0,4")]),
            4,
            4110,
            "tensor \"a\": dtype and shape need 8 bytes, its offsets give 4",
        ),
        of(
            &header(&[entry("a", "F4", "3", "0,2")]),
            2,
            4111,
            "tensor \"a\": elements of dtype F4 do not fill whole bytes",
        ),
        of(&header(&[a("1", "4,8")]), 8, 4112, "bytes 62..66 before tensor \"a\" belong to no tensor"),
        of(
            &header(&[a("2", "0,8"), entry("b", "F32", "2", "4,12")]),
            12,
            4113,
            "tensor \"b\" begins at byte ",
        ),
        of(&header(&[a("1", "0,4")]), 5, 4114, "the tensors end at byte 66, but the file has 67 bytes"),
        of(&header(&[a(&["1"; 17].join(","), "0,4")]), 4, 4115, "tensor \"a\": more than 16 dimensions"),
        of(
            r#"{"__metadata__":{"step":1}}"#,
            0,
            4116,
            "the value of \"step\" in `__metadata__` is not a string",
        ),
    ]
}

#[test]
fn a_malformed_safetensors_file_is_not_weighed() {
    let world = World::empty();
    for Malformed { bytes, code, sentence } in malformed() {
        world.write("model/a.safetensors", bytes);
        let weigh = "weigh model --name org/model";
        let ran = world.refused(weigh, code, &format!("a.safetensors: {sentence}")).hints("--no-tensors");
        ran.expect(
            !ran.stderr.contains("mend"),
            "nothing is to be mended: the file may be another's, and good",
        );
        assert!(!world.exists("model/weighbridge"), "something was written");
        world.refused("inspect model/a.safetensors", code, sentence);
    }
}

#[test]
fn without_tensors_it_is_weighed_but_no_tensor_list_makes_it_good() {
    for Malformed { bytes, code, sentence } in malformed() {
        let world = World::empty();
        world.write("model/a.safetensors", bytes);
        world
            .run("weigh model --name org/model --key @alice.key --no-tensors")
            .done()
            .prints("tensors not listed");
        world.run("verify model --vkey @alice").done();
        world.unjudged("verify model --vkey @alice --tensors", 9001, "--tensors: this head lists no tensors");

        // A signed tensor list that names a tensor of the file. It makes another head of the same revision.
        world.forget();
        let mut forge = Forge::open(world.path("model/weighbridge"));
        forge.tensors.push(line("a", "a.safetensors", "U8", 0..0, b""));
        forge.sign(&world.key("alice"));
        world.refused("verify model --vkey @alice", code, sentence).prints("refused  a.safetensors ");
    }
}

#[test]
fn a_git_lfs_pointer_is_not_the_model() {
    let world = World::empty();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 90868376\n";
    world.write("model/model.safetensors", pointer);
    let sentence = "model.safetensors: the file is a Git LFS pointer, not the model";
    world.refused("weigh model --name org/model", 4117, sentence).hints("run `git lfs pull`");
}

#[test]
fn an_index_has_to_agree_with_the_shards() {
    let cases = [
        ("[]", 4201, "model.safetensors.index.json: the index is malformed at byte 0"),
        ("{}", 4201, "the index has no `weight_map`"),
        (
            r#"{"weight_map":{"a":"b.safetensors"}}"#,
            4202,
            "the index places tensor \"a\" in the file \"b.safetensors\", which the model does not have",
        ),
        (r#"{"weight_map":{"a":"../a.safetensors"}}"#, 4202, "which the model does not have"),
        (
            r#"{"weight_map":{"b":"a.safetensors"}}"#,
            4203,
            "the index places tensor \"b\" in the file \"a.safetensors\", which does not hold it",
        ),
        (
            r#"{"weight_map":{"a":"a.safetensors","a":"a.safetensors"}}"#,
            4204,
            "the index names tensor \"a\" twice",
        ),
    ];
    let world = World::empty();
    world.write("model/a.safetensors", safetensors(&header(&[entry("a", "F32", "1", "0,4")]), 4));
    for (index, code, sentence) in cases {
        world.write("model/model.safetensors.index.json", index);
        world.refused("weigh model --name org/model", code, sentence);
        assert!(!world.exists("model/weighbridge"), "something was written");
    }
    world.write("model/model.safetensors.index.json", r#"{"weight_map":{"a":"a.safetensors"}}"#);
    world.run("weigh model --name org/model").done();
}

#[test]
fn every_dtype_and_shape_is_weighed_and_verified() {
    let world = World::empty();
    let entries = [
        entry("bits", "F4", "2", "0,1"),
        entry("empty", "F64", "4503599627370496,4503599627370496,0", "1,1"),
        entry("scalar", "BOOL", "", "1,2"),
        entry("six", "F6_E2M3", "4", "2,5"),
    ];
    world.write("model/a.safetensors", safetensors(&header(&entries), 5));
    world.write("model/none.safetensors", safetensors(r#"{"__metadata__":{"format":"pt"}}    "#, 0));
    world.run("weigh model --name org/model --key @alice.key").done().prints("4 tensors");
    world.run("verify model --vkey @alice --tensors").done();
}

/// Regression: the bytes that MLX 0.32.4 writes for `mx.save_safetensors(..., {"a": ..., "c": ..., "z": ...})` were
/// refused as malformed (4116). The header has no padding, and `null` for its metadata.
#[test]
fn a_file_of_mlx_is_weighed_though_its_metadata_are_null() {
    let world = World::empty();
    let header = concat!(
        r#"{"__metadata__":null,"a":{"data_offsets":[8,12],"dtype":"F32","shape":[]},"#,
        r#""c":{"data_offsets":[0,8],"dtype":"C64","shape":[1]},"#,
        r#""z":{"data_offsets":[8,8],"dtype":"F32","shape":[0,3]}}"#
    );
    world.write("model/mlx.safetensors", safetensors(header, 12));
    world.run("weigh model --name org/model --key @alice.key").done().prints("3 tensors");
    world.run("verify model --vkey @alice --tensors").done();
    world.run("inspect model/mlx.safetensors").done().prints("C64");
}

/// Regression: white space that the reference reader accepts since version 0.6, and that its own tests require, was
/// refused (4104, 4105).
#[test]
fn white_space_may_stand_around_a_header_and_nothing_else_may() {
    let world = World::empty();
    let one = header(&[entry("a", "F32", "1", "0,4")]);
    world.write("model/a.safetensors", safetensors(&format!("\r\n\t {one} \t\n\r"), 4));
    world.run("weigh model --name org/model --key @alice.key").done().prints("1 tensor");
    world.run("verify model --vkey @alice --tensors").done();
    for around in ["\u{feff}", "\0", "\u{b}", "\u{c}", "\u{a0}"] {
        world.write("model/a.safetensors", safetensors(&format!("{around}{one}"), 4));
        world.refused("weigh model --name org/model --force", 4104, "the header begins with the byte 0x");
        world.write("model/a.safetensors", safetensors(&format!("{one}{around}"), 4));
        world.refused(
            "weigh model --name org/model --force",
            4105,
            "expected only white space after the object",
        );
    }
}

impl World {
    /// A world with a model that is not weighed: a file with an unknown dtype, a file whose dtypes are known, and an
    /// index of both.
    fn with_a_new_dtype() -> Self {
        let world = Self::empty();
        world.write("model/new.safetensors", new_dtype(7));
        world.write("model/old.safetensors", safetensors(&header(&[entry("c", "U8", "3", "0,3")]), 3));
        let index = r#"{"weight_map":{"a":"new.safetensors","b":"new.safetensors","c":"old.safetensors"}}"#;
        world.write("model/model.safetensors.index.json", index);
        world
    }
}

/// A file of two tensors: `a` has a known dtype, and `b` an unknown one.
fn new_dtype(buffer: usize) -> Vec<u8> {
    safetensors(&header(&[entry("a", "U8", "4", "0,4"), entry("b", "F99", "2", "4,7")]), buffer)
}

const WEIGH: &str = "weigh model --name org/model --key @alice.key";
const NOT_KNOWN: &str = "tensor \"b\" has the dtype \"F99\", which this version does not know [W4108]";

/// Regression: a model with one tensor of an unknown dtype could not be weighed at all (4108), and the hint said to
/// mend the file.
#[test]
fn a_file_with_a_dtype_that_is_not_known_is_covered_as_a_file_and_the_others_keep_their_tensors() {
    let world = World::with_a_new_dtype();
    let ran = world.run(WEIGH).done().prints("1 tensor");
    ran.prints(&format!("unlisted new.safetensors: covered as a file, since {NOT_KNOWN}\n"));
    let objects = world.run(&format!("{WEIGH} --force --json")).done().objects();
    let [_note, unlisted, weighed] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!((&unlisted["event"], &unlisted["path"]), (&"unlisted".into(), &"new.safetensors".into()));
    let dtype = serde_json::json!({ "code": 4108, "tensor": "b", "dtype": "F99" });
    assert_eq!((&unlisted["unknown_dtype"], &weighed["event"]), (&dtype, &"weighed".into()));

    for line in ["verify model --vkey @alice", "verify model --vkey @alice --tensors"] {
        let ran = world.run(line).done().prints("         covered as a file: no tensor of it is listed\n");
        ran.prints("verified 3 files, ").prints("; tensors of 1 file not compared; head ");
    }
    let objects = world.run("verify model --vkey @alice --json").done().objects();
    let uncompared = |path: &str| {
        objects.iter().find(|object| object["path"] == path).unwrap_or_else(|| panic!("{path}"))["uncompared"]
            .clone()
    };
    assert_eq!(
        (uncompared("new.safetensors"), uncompared("old.safetensors")),
        ("not-listed".into(), serde_json::Value::Null)
    );
    assert_eq!(objects.last().unwrap()["uncompared"], 1);
    world
        .run("verify model --vkey @alice --partial")
        .done()
        .prints("; tensors of 1 file not compared; head ");

    // The file's bytes are covered like those of all other files.
    world.run("prove model --file new.safetensors --tensor old.safetensors:c -o p").done();
    world.run("check p --vkey @alice --file new.safetensors").done();
    world.unjudged("prove model --tensor new.safetensors:a -o q", 9001, "tensors.jsonl has no such entry");
    world.run("diff model model --vkey @alice").done();
    world.flip("model/new.safetensors", u64::try_from(new_dtype(7).len() - 1).unwrap());
    world.refused("verify model --vkey @alice", 2101, "1 of 3 files refused");
}

#[test]
fn what_else_is_wrong_with_a_file_of_a_dtype_that_is_not_known_is_refused() {
    let world = World::with_a_new_dtype();
    for (buffer, code) in [(6, 4114), (8, 4114)] {
        world.write("model/new.safetensors", new_dtype(buffer));
        world.refused(WEIGH, code, "new.safetensors: the tensors end at byte").hints("get the file again");
    }
    // The names in the file's header are known, so that an index is compared with them.
    world.write("model/new.safetensors", new_dtype(7));
    world.write("model/model.safetensors.index.json", r#"{"weight_map":{"x":"new.safetensors"}}"#);
    world.refused(
        WEIGH,
        4203,
        "the index places tensor \"x\" in the file \"new.safetensors\", which does not hold it",
    );
    assert!(!world.exists("model/weighbridge"), "something was written");
}

/// A file that is taken over unread and lists no tensor may hold any tensor. An index is not compared with it again: it
/// was when the file was read.
#[test]
fn a_file_that_was_covered_as_a_file_is_taken_over_unread() {
    let world = World::with_a_new_dtype();
    world.run(WEIGH).done();
    world.write("model/README.md", "# New\n");
    let again =
        "--force --previous model/weighbridge/head.note --reuse *.safetensors --from model/weighbridge";
    world.run(&format!("{WEIGH} {again}")).done().prints("reused   new.safetensors").prints("1 tensor");
    world.run("verify model --vkey @alice").done().prints("covered as a file");
}

/// Regression: an older verifier refused a model for a newer dtype (4108), though every byte was as signed.
#[test]
fn a_verifier_that_does_not_know_a_dtype_says_so_and_refuses_nothing() {
    let at = new_dtype(0).len();
    let listed = |b: &[u8]| {
        let world = World::with_a_new_dtype();
        world.run(WEIGH).done();
        let mut forge = Forge::open(world.path("model/weighbridge"));
        let lines = [("a", "U8", at..at + 4, &[7; 4][..]), ("b", "F99", at + 4..at + 7, b)];
        let lines =
            lines.map(|(name, dtype, place, bytes)| line(name, "new.safetensors", dtype, place, bytes));
        forge.tensors.splice(0..0, lines);
        forge.sign(&world.key("alice"));
        world
    };
    let world = listed(&[7; 3]);
    for line in ["verify model --vkey @alice", "verify model --vkey @alice --tensors"] {
        let ran = world.run(line).done().prints("; tensors of 1 file not compared; head ");
        ran.prints(&format!("         tensors not compared with the list: {NOT_KNOWN}\n"));
    }
    let objects = world.run("verify model --vkey @alice --json").done().objects();
    let new = objects.iter().find(|object| object["path"] == "new.safetensors").unwrap();
    assert_eq!(
        (&new["uncompared"], &new["unknown_dtype"]["dtype"]),
        (&"unknown-dtype".into(), &"F99".into())
    );
    world.run("prove model --tensor new.safetensors:b -o p").done();
    world.run("check p --vkey @alice --tensor new.safetensors:b").done();
    world.run("fetch model -o part --name org/model --vkey @alice --tensor b").done();

    // Hashes need no dtype, and are checked if the caller asks.
    let world = listed(b"old");
    world.run("verify model --vkey @alice").done();
    world
        .refused("verify model --vkey @alice --tensors", 2307, "1 of 3 files refused")
        .prints("tensor 'b' is listed");
}

/// A newer verifier may know a dtype that the signer did not know, or another dtype by the same name or number, which
/// a fork has assigned. Neither is a reason to refuse a signed file.
#[test]
fn a_file_of_which_no_tensor_is_listed_is_covered_as_a_file_whatever_its_header() {
    let world = World::empty();
    world.write("model/a.safetensors", safetensors(&header(&[entry("a", "F32", "1", "0,4")]), 4));
    world.write("model/b.safetensors", safetensors(&header(&[entry("b", "F32", "2", "0,4")]), 4));
    world.write("model/none.safetensors", safetensors("{}", 0));
    world.run("weigh model --name org/model --key @alice.key --no-tensors").done();
    Forge::open(world.path("model/weighbridge")).sign(&world.key("alice"));
    let ran = world.run("verify model --vkey @alice --tensors").done();
    let ran = ran.prints("; tensors of 2 files not compared; head ");
    assert_eq!(
        ran.stdout.matches("covered as a file: no tensor of it is listed").count(),
        2,
        "{}",
        ran.stdout
    );
}

#[test]
fn a_file_of_which_some_tensors_are_listed_and_others_not_is_refused() {
    let world = World::empty();
    let entries = [entry("a", "F32", "1", "0,4"), entry("b", "F32", "1", "4,8")];
    world.write("model/a.safetensors", safetensors(&header(&entries), 8));
    world.run(WEIGH).done();
    let mut forge = Forge::open(world.path("model/weighbridge"));
    forge.tensors.remove(0);
    forge.sign(&world.key("alice"));
    world.refused("verify model --vkey @alice", 2302, "1 of 1 file refused").prints("and not listed");
}
