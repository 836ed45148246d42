//! Tensor files and indexes that break their own format are not weighed, and not verified either.

use crate::command::{forge::Forge, kit::World};

/// A safetensors file: length, header, buffer.
fn safetensors(header: &str, buffer: usize) -> Vec<u8> {
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    [&length, header.as_bytes(), &vec![7; buffer]].concat()
}

/// One tensor.
fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}"#)
}

fn header(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
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
        of(" {}", 0, 4104, "the header begins with the byte 0x20, expected `{`"),
        of("", 0, 4104, "the header is empty"),
        of("{}\n", 0, 4105, "the header is not well-formed JSON at byte 10 of the file"),
        of("{,}", 0, 4105, "the header is not well-formed JSON at byte 9 of the file"),
        of(
            &header(&[a("1", "0,4"), a("1", "4,8")]),
            8,
            4106,
            "the name \"a\" occurs a second time in the header",
        ),
        of(r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4, 4107, "tensor \"a\": its entry lacks `dtype`"),
        of(r#"{"a":[]}"#, 0, 4107, "tensor \"a\": its entry is not an object"),
        of(&header(&[entry("a", "F31", "1", "0,4")]), 4, 4108, "tensor \"a\": unknown dtype \"F31\""),
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
        world.refused(weigh, code, &format!("a.safetensors: {sentence}")).hints("--no-tensors");
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

        // An empty tensor list, signed. It makes another head of the same revision.
        world.forget();
        Forge::open(world.path("model/weighbridge")).sign(&world.key("alice"));
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
