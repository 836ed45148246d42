//! GGUF models are treated like safetensors models: their tensors are listed, compared, named in refusals, proven and
//! shown.

use std::ops::Range;

use weighbridge_formats::generate_gguf::{Gguf, Variant, Version};

use crate::command::{
    forge::{Forge, less, replace},
    kit::World,
};

const PARTS: [&str; 3] = [
    "model-Q4_K_M-00001-of-00003.gguf",
    "model-Q4_K_M-00002-of-00003.gguf",
    "model-Q4_K_M-00003-of-00003.gguf",
];
const WEIGH: &str = "weigh m --name org/m --chunk-size 16KiB --key @alice.key";

impl World {
    /// A world with a split model of about a megabyte in `m`, not yet weighed.
    fn with_split() -> Self {
        let world = Self::empty();
        world.generated(&Gguf { parts: 3, ..Gguf::small(1) });
        world.write("m/README.md", "# A model\n");
        world
    }

    fn generated(&self, model: &Gguf) {
        let _ = model.write(&self.path("m")).unwrap();
    }

    /// The names of a file's tensors, and their byte ranges in the file.
    fn tensors_of(&self, file: &str) -> Vec<(String, Range<usize>)> {
        let objects = self.run(&format!("inspect m/{file} --json")).done().objects();
        let tensors = objects.iter().filter(|object| object["event"] == "tensor").map(|object| {
            let number = |key: &str| usize::try_from(object[key].as_u64().unwrap()).unwrap();
            let range = number("offset")..number("offset") + number("size");
            (object["name"].as_str().unwrap().to_owned(), range)
        });
        tensors.collect()
    }
}

/// A key-value pair, with its value as encoded in the file.
fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key), kind.to_le_bytes().as_slice(), value].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&u64::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
}

/// A file without tensors.
fn file_of(pairs: &[Vec<u8>]) -> Vec<u8> {
    let count = u64::try_from(pairs.len()).unwrap();
    [b"GGUF\x03\0\0\0".as_slice(), &[0; 8], &count.to_le_bytes(), &pairs.concat()].concat()
}

#[test]
fn models_of_every_dtype_and_version_are_weighed_and_verified_with_their_tensors() {
    for model in [
        Gguf { variant: Variant::Every, ..Gguf::small(1) },
        Gguf { variant: Variant::Every, version: Version::V2, alignment: 8, parts: 5, ..Gguf::small(2) },
        Gguf { alignment: 4096, ..Gguf::small(3) },
    ] {
        let world = World::empty();
        world.generated(&model);
        world.run(WEIGH).done();
        world.run("verify m --vkey @alice --tensors").done();
        let listed = world.text("m/weighbridge/tensors.jsonl");
        let found: usize = world.files("m").iter().map(|(name, _)| world.tensors_of(name).len()).sum();
        assert_eq!(listed.lines().count(), found);
        for (name, bytes) in world.files("m") {
            for (tensor, range) in world.tensors_of(&name) {
                let root = blake3::hash(&bytes[range]).to_hex();
                let is_of = |line: &&str| {
                    line.contains(&format!("\"{tensor}\"")) && line.contains(&format!("\"{name}\""))
                };
                let line = listed.lines().find(is_of).unwrap();
                assert!(line.contains(root.as_str()), "{line}");
            }
        }
    }
}

#[test]
fn a_bad_chunk_names_the_tensors_that_it_is_part_of() {
    let world = World::with_split();
    world.run(WEIGH).done();
    let (name, range) = world.tensors_of(PARTS[1]).pop().unwrap();
    world.flip(&format!("m/{}", PARTS[1]), u64::try_from(range.end - 1).unwrap());
    let ran = world.refused("verify m --vkey @alice", 2101, "data does not match the signed root");
    ran.prints(&name);
}

#[test]
fn a_tensor_list_that_says_otherwise_than_the_header_is_refused() {
    type Change = fn(&mut String);
    let cases: [(Change, u16, &str); 5] = [
        // The tensor in the header is no longer listed.
        (|line| replace(line, "norm.weight\"", "norm.weighu\""), 2302, "not listed"),
        (|line| replace(line, "\"dtype\":\"F32\"", "\"dtype\":\"I32\""), 2303, "another dtype"),
        (|line| replace(line, "\"shape\":[256]", "\"shape\":[1,256]"), 2304, "another shape"),
        (|line| less(line, "offset"), 2305, "another offset"),
        (|line| less(line, "size"), 2306, "another size"),
    ];
    for (change, code, sentence) in cases {
        let world = World::empty();
        world.generated(&Gguf::small(1));
        world.run(WEIGH).done();
        let mut forge = Forge::open(world.path("m/weighbridge"));
        let line = forge.tensors.iter_mut().find(|line| line.contains("\"output_norm.weight\"")).unwrap();
        change(line);
        forge.sign(&world.key("alice"));
        world.forget();
        let ran = world.refused("verify m --vkey @alice", code, sentence);
        ran.prints("tensor 'output_norm.weight' ");
    }
}

#[test]
fn a_tensor_that_the_header_has_not_and_a_hash_of_other_bytes_are_refused() {
    let world = World::empty();
    world.generated(&Gguf::small(1));
    world.run(WEIGH).done();
    let honest = world.path("m/weighbridge");
    let mut forge = Forge::open(&honest);
    // The line's new name sorts behind all names in the header, so the list stays in order.
    let last = forge.tensors.last().unwrap().replace("\"tensor\":\"", "\"tensor\":\"zz");
    forge.tensors.push(last);
    forge.sign(&world.key("alice"));
    world.refused("verify m --vkey @alice", 2301, "is listed, and not in the file's header");

    world.forget();
    world.run(&format!("{WEIGH} --force")).done();
    let mut forge = Forge::open(&honest);
    let line = forge.tensors.first_mut().unwrap();
    let at = line.find("\"blake3\":\"").unwrap() + 10;
    line.replace_range(at..at + 64, &blake3::hash(b"other bytes").to_hex());
    forge.sign(&world.key("alice"));
    world.forget();
    world.run("verify m --vkey @alice").done();
    world.refused("verify m --vkey @alice --tensors", 2307, "is listed with the hash of other bytes");
}

#[test]
fn a_signed_file_with_a_malformed_header_is_refused() {
    let world = World::empty();
    world.generated(&Gguf::small(1));
    let file = "m/model-Q4_K_M.gguf";
    world.run(WEIGH).done();
    let listed = Forge::open(world.path("m/weighbridge")).tensors;
    let honest = world.read(file);
    world.write(file, [honest.as_slice(), &[0]].concat());
    let (weigh, sentence) = (format!("{WEIGH} --force"), "model-Q4_K_M.gguf: the tensors end at byte ");
    world.refused(&weigh, 4324, sentence).hints("--no-tensors");
    world.run(&format!("{weigh} --no-tensors")).done();
    // A signed list with the tensors of the honest file.
    world.forget();
    let mut forge = Forge::open(world.path("m/weighbridge"));
    forge.tensors = listed;
    forge.sign(&world.key("alice"));
    world.refused("verify m --vkey @alice", 4324, "the tensors end at byte ");
}

#[test]
fn a_tensor_is_proven_and_its_slice_has_its_bytes() {
    let world = World::with_split();
    world.run(WEIGH).done();
    for part in PARTS {
        let (name, range) = world.tensors_of(part).pop().unwrap();
        world.run(&format!("prove m --tensor {part}:{name} --slice s -o p")).done();
        let ran = world.run("check p --vkey @alice --slice s --extract out --json").done();
        let tensor = ran.objects().into_iter().find(|object| object["event"] == "tensor").unwrap();
        assert_eq!((tensor["name"].as_str(), tensor["file"].as_str()), (Some(name.as_str()), Some(part)));
        assert!(world.read("out") == world.read(&format!("m/{part}"))[range], "other bytes");
    }
}

#[test]
fn a_header_is_shown_as_what_it_claims() {
    let world = World::with_split();
    let ran = world.run(&format!("inspect m/{}", PARTS[0])).done();
    ran.prints("GGUF version 3, alignment 32, part 1 of 3, ")
        .prints("\n  general.architecture = \"llama\"\n")
        .prints("\n  llama.context_length = 8192\n")
        .prints("\n  tokenizer.ggml.add_bos_token = false\n")
        .prints("\n  tokenizer.ggml.token_type = [")
        .prints(" of INT32]\n")
        .prints("Q4_K ")
        .prints("token_embd.weight\n")
        .prints("(claimed: inspect verifies nothing)");
    let objects = world.run(&format!("inspect m/{} --json", PARTS[1])).done().objects();
    assert_eq!((&objects[0]["event"], &objects[0]["version"]), (&"gguf".into(), &3.into()));
    assert_eq!((&objects[0]["part"]["number"], &objects[0]["part"]["count"]), (&1.into(), &3.into()));
    assert_eq!((&objects[1]["key"], &objects[1]["value"]), (&"split.no".into(), &1.into()));
    assert_eq!(objects.last().unwrap()["verified"], false);
}

/// Keys and strings are hostile input: they may be long, or control a terminal.
#[test]
fn values_are_shown_short_and_harmless() {
    let world = World::empty();
    let numbers = [
        pair("u", 10, &u64::MAX.to_le_bytes()),
        pair("i", 1, &[0xff]),
        pair("f", 6, &0.5_f32.to_le_bytes()),
        pair("nan", 12, &f64::NAN.to_le_bytes()),
        pair("general.alignment", 4, &64_u32.to_le_bytes()),
        pair(&format!("\u{202e}{}", "k".repeat(60_000)), 8, &text(&"\u{1b}[31m\u{202e}é".repeat(60_000))),
        pair("nested", 9, &[9_u32.to_le_bytes().as_slice(), &0_u64.to_le_bytes()].concat()),
    ];
    world.write("a.gguf", file_of(&numbers));
    let ran = world.run("inspect a.gguf").done();
    ran.expect(ran.stdout.len() < 2_000, "a short text");
    let is_safe =
        !ran.stdout.contains(|c: char| c.is_control() && c != '\n') && !ran.stdout.contains('\u{202e}');
    ran.expect(is_safe, "nothing that a terminal obeys");
    ran.prints("GGUF version 3, alignment 64, 7 key-values\n")
        .prints("\n  u = 18446744073709551615\n")
        .prints("\n  i = -1\n")
        .prints("\n  f = 0.5\n")
        .prints("\n  nan = NaN\n")
        .prints("\n  nested = [0 of ARRAY]\n")
        .prints("\n0 tensors ");
    world.run("inspect a.gguf --json").done().objects();
    world.write("a.gguf", "GGUF");
    world.refused("inspect a.gguf", 4305, "a.gguf: the header claims 4 bytes from byte 4 on");
}

#[test]
fn parts_that_do_not_belong_together_are_not_weighed() {
    let world = World::with_split();
    let part = |number: usize| format!("m/{}", PARTS[number]);
    let refused = |code, sentence: &str| {
        world.refused(WEIGH, code, sentence).hints("--no-tensors");
        assert!(!world.exists("m/weighbridge"), "something was written");
    };
    world.rename(&part(2), "m/elsewhere.gguf");
    refused(
        4401,
        "elsewhere.gguf: by its header the name of this part should end in \"-00003-of-00003.gguf\"",
    );
    world.rename("m/elsewhere.gguf", "elsewhere");
    let first = PARTS[0];
    refused(4402, &format!("{first}: the split has a part \"{}\", which the model does not have", PARTS[2]));
    world.write(&part(2), file_of(&[]));
    refused(4403, &format!("{first}: the part \"{}\" says something else about the split", PARTS[2]));
    let pairs = |total: i32| {
        let short = |key, value: u16| pair(key, 2, &value.to_le_bytes());
        [short("split.no", 2), short("split.count", 3), pair("split.tensors.count", 5, &total.to_le_bytes())]
    };
    let total = PARTS[..2].iter().map(|file| world.tensors_of(file).len()).sum::<usize>()
        + usize::from(world.read("elsewhere")[8]);
    world.write(&part(2), file_of(&pairs(i32::try_from(total).unwrap())));
    refused(4405, &format!("by their headers {total}"));
    // Without tensors, parts are not compared.
    world.run(&format!("{WEIGH} --no-tensors")).done();
    world.run("verify m --vkey @alice").done();
}

#[test]
fn parts_that_are_taken_over_unread_belong_together_still() {
    let world = World::with_split();
    world.run(WEIGH).done();
    world.write("m/README.md", "# A better text\n");
    world
        .run(&format!("{WEIGH} --force --reuse *.gguf --from m"))
        .done()
        .prints(&format!("reused   {}", PARTS[0]));
    // One part is taken over unread, and the other files are read.
    world.write("m/README.md", "# The best text\n");
    let ran = world.run(&format!("{WEIGH} --force --reuse *-00002-of-00003.gguf --from m")).done();
    ran.prints(&format!("reused   {}", PARTS[1]));
    world.forget();
    world.run("verify m --vkey @alice --tensors").done();
}

/// The header's entry of a tensor.
fn entry(name: &str, kind: u32, dims: &[u64], offset: u64) -> Vec<u8> {
    let rank = u32::try_from(dims.len()).unwrap().to_le_bytes();
    let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    [&text(name), &rank[..], &dims, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
}

/// A file of these entries and this number of data bytes.
fn file_with(pairs: &[Vec<u8>], entries: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut file = file_of(pairs);
    file[8..16].copy_from_slice(&u64::try_from(entries.len()).unwrap().to_le_bytes());
    file.extend(entries.concat());
    file.resize(file.len().next_multiple_of(32) + data, 7);
    file
}

/// Regression: tensors of five dimensions, which gguf-py writes and reads (for convolutions), were refused (4312).
#[test]
fn tensors_of_more_than_four_dimensions_are_weighed_and_verified() {
    let world = World::empty();
    let sixteen = [&[2; 3][..], &[1; 13]].concat();
    let entries = [entry("conv", 0, &[5, 4, 3, 2, 1], 0), entry("most", 24, &sixteen, 480)];
    world.write("m/a.gguf", file_with(&[], &entries, 488));
    world.run(WEIGH).done().prints("2 tensors");
    world.run("verify m --vkey @alice --tensors").done();
    world.run("inspect m/a.gguf").done().prints("[1,2,3,4,5]");
    world.write("m/a.gguf", file_with(&[], &[entry("a", 24, &[1; 17], 0)], 1));
    let ran =
        world.refused(&format!("{WEIGH} --force"), 4325, "a.gguf: tensor \"a\": 17 dimensions, more than 16");
    ran.hints("if the file is as it should be, weigh it without its tensors: --no-tensors");
}

/// Regression: a file quantised by a fork, or by a ggml newer than the table of dtypes, could not be weighed (4314).
#[test]
fn a_gguf_file_of_a_dtype_that_is_not_known_is_covered_as_a_file() {
    let world = World::empty();
    let part = |no: u8| {
        [("split.no", [no, 0]), ("split.count", [2, 0])].map(|(key, value)| pair(key, 2, &value)).to_vec()
    };
    let total = pair("split.tensors.count", 5, &[3, 0, 0, 0]);
    let pairs = |no: u8| [part(no), vec![total.clone()]].concat();
    let new = [entry("a", 142, &[128, 2], 0), entry("b", 0, &[4], 96)];
    let second = |name: &str| file_with(&pairs(1), &[entry(name, 0, &[4], 0)], 16);
    world.write("m/m-00001-of-00002.gguf", file_with(&pairs(0), &new, 112));
    world.write("m/m-00002-of-00002.gguf", second("c"));
    let ran = world.run(WEIGH).done().prints("1 tensor");
    ran.prints("unlisted m-00001-of-00002.gguf: covered as a file, since tensor \"a\" has the dtype 142, which this version");
    world.run("verify m --vkey @alice --tensors").done().prints("; tensors of 1 file not compared; head ");
    let ran = world
        .run("inspect m/m-00001-of-00002.gguf")
        .done()
        .prints("GGUF version 3, alignment 32, part 1 of 2");
    ran.prints(
        "2 tensors, not shown: tensor \"a\" has the dtype 142, which this version does not know [W4314]",
    );
    let objects = world.run("inspect m/m-00001-of-00002.gguf --json").done().objects();
    let last = objects.last().unwrap();
    assert_eq!(
        (&last["event"], &last["count"], &last["unknown_dtype"]["code"]),
        (&"tensors".into(), &2.into(), &4314.into())
    );

    // The tensor names of this part are known and compared with those of the other part, and so is the split that its
    // header states.
    world.write("m/m-00002-of-00002.gguf", second("b"));
    world.refused(&format!("{WEIGH} --force"), 4404, "two parts of the split have a tensor \"b\"");
    world.write("m/m-00002-of-00002.gguf", second("c"));
    // A part taken over unread is assumed to have as many tensors as are missing.
    let again = "--force --previous m/weighbridge/head.note --reuse m-00001-* --from m/weighbridge";
    world.run(&format!("{WEIGH} {again}")).done().prints("reused   m-00001-of-00002.gguf");
    world.run("verify m --vkey @alice").done().prints("covered as a file");
    world.remove("m/m-00001-of-00002.gguf");
    world.refused(&format!("{WEIGH} --force"), 4402, "which the model does not have");
}

/// Regression: `Q8_1` has 36 bytes a block in ggml, and files of it were refused because gguf-py mistakenly has 40
/// (4321).
#[test]
fn blocks_of_q8_1_and_q2_0_are_as_long_as_those_of_ggml() {
    let world = World::empty();
    let entries = [entry("q8_1", 9, &[32, 3], 0), entry("q2_0", 42, &[64, 2], 128)];
    world.write("m/a.gguf", file_with(&[], &entries, 128 + 36));
    world.run(WEIGH).done().prints("2 tensors");
    let sizes: Vec<usize> = world.tensors_of("a.gguf").iter().map(|(_, range)| range.len()).collect();
    assert_eq!(sizes, [3 * 36, 2 * 18]);
}
