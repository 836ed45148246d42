//! `diff` compares two models by their metadata.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use weighbridge_formats::{
    generate::Llama,
    generate_gguf::{Gguf, Variant},
};

use crate::command::{
    forge::{Forge, replace},
    kit::{Ran, World, root, skip},
};

/// Name, dtype, shape and bytes of a tensor in a safetensors file.
type Tensor = (String, Value, Value, Vec<u8>);

impl World {
    /// Weighs a folder as `org/NAME`, signed by alice.
    fn weigh(&self, folder: &str) {
        self.run(&format!("weigh {folder} --name org/{folder} --chunk-size 16KiB --key @alice.key")).done();
    }

    /// A world with two weighed models in `old` and `new`, which have the same tensors in different shards.
    fn resharded() -> Self {
        let world = Self::empty();
        let _ = Llama::of_size(0, 2, 1).write(&world.path("old")).unwrap();
        let _ = Llama::of_size(0, 3, 1).write(&world.path("new")).unwrap();
        world.weigh("old");
        world.weigh("new");
        world
    }

    fn differences(&self, line: &str) -> Differences {
        let ran = self.run(&format!("diff {line} --json")).done();
        ran.expect(ran.stderr.is_empty(), "no talk");
        Differences(ran.objects())
    }

    /// Name and hash of each tensor that a folder's metadata lists.
    fn listed(&self, folder: &str) -> BTreeSet<(String, String)> {
        let text = self.text(&format!("{folder}/weighbridge/tensors.jsonl"));
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|tensor| (word(&tensor["tensor"]), word(&tensor["blake3"]))).collect()
    }
}

/// The objects that `diff --json` printed.
struct Differences(Vec<Value>);

impl Differences {
    /// The entries of this kind and class.
    fn of(&self, event: &str, class: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["event"] == event && object["class"] == class).collect()
    }

    fn summary(&self, of: &str) -> &Value {
        self.0.iter().find(|object| object["event"] == "summary" && object["of"] == of).unwrap()
    }

    fn result(&self) -> &Value {
        self.0.last().filter(|object| object["event"] == "result").unwrap()
    }

    /// The number of entries of this kind in each class.
    fn counts(&self, event: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for object in self.0.iter().filter(|object| object["event"] == event) {
            *counts.entry(word(&object["class"])).or_default() += 1;
        }
        counts
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.into_iter().map(|(class, count)| (class.to_owned(), count)).collect()
}

#[test]
fn a_resharded_copy_has_every_tensor_of_the_model() {
    let world = World::resharded();
    let found = world.differences("old new");
    let tensors = world.listed("old").len();
    assert_eq!(found.counts("tensor"), counts([("same", tensors)]));
    let has_moved = |tensor: &&&Value| tensor["old"]["file"] != tensor["new"]["file"];
    assert!(found.of("tensor", "same").iter().filter(has_moved).count() > 0);
    // The shards and their index differ.
    assert_eq!(found.counts("file"), counts([("same", 5), ("changed", 1), ("added", 3), ("gone", 2)]));
    let (summary, result) = (found.summary("tensors"), found.result());
    assert_eq!(summary["bytes_in_old"], summary["new"]["same"]["bytes"]);
    let [files, tensors] = [found.summary("files"), summary].map(|of| of["bytes_in_old"].as_u64().unwrap());
    let there = files + tensors;
    assert_eq!((&result["same"], &result["bytes_in_old"]), (&false.into(), &there.into()));

    let ran = world.run("diff old new").done();
    ran.expect(!ran.stdout.contains("  tensor "), "no tensor that differs");
    ran.prints(
        "old      org/old revision 1, signed by alice (claimed: neither --trust nor --vkey was given)\n",
    )
    .prints("added    file   model-00001-of-00003.safetensors  ")
    .prints("gone     file   model-00001-of-00002.safetensors  ")
    .prints("changed  file   model.safetensors.index.json  ")
    .prints("result   old has ");
}

/// Runs if `WEIGHBRIDGE_REAL_MODEL` names the folder of the real model.
#[test]
fn a_resharded_copy_of_the_real_model_has_every_tensor_of_it() {
    let Some(model) = env::var_os("WEIGHBRIDGE_REAL_MODEL").map(PathBuf::from) else {
        return skip("WEIGHBRIDGE_REAL_MODEL does not name the folder of the real model");
    };
    let world = World::empty();
    let tensors = tensors_of(&model.join("model.safetensors"));
    assert_eq!(tensors.len(), 104);
    for (shard, tensors) in tensors.chunks(30).enumerate() {
        world.write(&format!("new/model-{:05}-of-00004.safetensors", shard + 1), safetensors(tensors));
    }
    fs::copy(model.join("config.json"), world.path("new/config.json")).unwrap();
    world.weigh("new");
    let name = model.to_str().unwrap();
    world.run_with("weigh --name org/old --key @alice.key -o old", &[name]).done();
    let found = world.differences("old new");
    assert_eq!(found.counts("tensor"), counts([("same", 104)]));
    assert_eq!(found.of("file", "same").len(), 1);
    assert_eq!(found.of("file", "added").len(), 4);
    // Only the headers of the new model's shards are missing.
    let result = found.result();
    let missing = result["bytes"].as_u64().unwrap() - result["bytes_in_old"].as_u64().unwrap();
    assert!(missing < 20_000, "{missing} bytes are said to be missing");
}

fn tensors_of(path: &Path) -> Vec<Tensor> {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length).try_into().unwrap());
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    tensors
        .map(|(name, mut tensor)| {
            let ends: (usize, usize) = serde_json::from_value(tensor["data_offsets"].take()).unwrap();
            (name, tensor["dtype"].take(), tensor["shape"].take(), data[ends.0..ends.1].to_vec())
        })
        .collect()
}

fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let ends = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": ends }));
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    [&u64::try_from(header.len()).unwrap().to_le_bytes(), header.as_bytes(), &data].concat()
}

#[test]
fn two_variants_share_exactly_the_tensors_of_the_same_bytes() {
    let world = World::empty();
    let small = Gguf { variant: Variant::Q4KSmall, ..Gguf::small(1) };
    let medium = Gguf { variant: Variant::Q4KMedium, parts: 3, ..Gguf::small(1) };
    for (folder, model) in [("small", small), ("medium", medium)] {
        let _ = model.write(&world.path(folder)).unwrap();
        world.weigh(folder);
    }
    let (small, medium) = (world.listed("small"), world.listed("medium"));
    let shared: BTreeSet<_> = small.intersection(&medium).cloned().collect();
    assert!(!shared.is_empty() && shared.len() < small.len());
    let found = world.differences("small medium");
    let side = |tensor: &Value| (word(&tensor["name"]), word(&tensor["blake3"]));
    let same = found.of("tensor", "same");
    assert_eq!(same.iter().map(|tensor| side(&tensor["old"])).collect::<BTreeSet<_>>(), shared);
    assert_eq!(same.iter().map(|tensor| side(&tensor["new"])).collect::<BTreeSet<_>>(), shared);
    let differ = small.len() - shared.len();
    assert_eq!(found.counts("tensor"), counts([("same", shared.len()), ("changed", differ)]));
    world.run("diff small medium").done().prints("  Q4_K [").prints(" -> Q6_K [");
    // The comparison in the other direction gives the same result with the sides exchanged.
    let back = world.differences("medium small");
    assert_eq!(back.counts("tensor"), found.counts("tensor"));
    assert_eq!(back.summary("tensors")["new"]["same"], found.summary("tensors")["old"]["same"]);
}

#[test]
fn a_model_does_not_differ_from_itself() {
    let world = World::weighed();
    let ran = world.run("diff llama llama/weighbridge").done();
    ran.expect(ran.stdout.lines().count() == 15, "no difference");
    let ran = ran.prints("result   nothing differs; old has ");
    ran.prints("\nchanged          0          0 B        0          0 B\n");
    let found = world.differences("llama llama");
    let (files, tensors) = (found.counts("file"), found.counts("tensor"));
    assert_eq!((files.keys().len(), tensors.keys().len()), (1, 1));
    assert_eq!(files["same"], 11);
    let result = found.result();
    assert_eq!((&result["same"], &result["bytes"]), (&true.into(), &result["bytes_in_old"]));
}

#[test]
fn files_are_the_same_moved_changed_added_or_gone() {
    let world = World::weighed();
    world.copy("llama", "next");
    world.rename("next/.hidden", "next/hidden");
    world.write("next/1_Pooling/config.json", "{}");
    world.write("next/LICENSE", "MIT");
    world.remove("next/empty.txt");
    // Only the metadata counts; the model's files are not looked at.
    world.run("weigh next --name org/llama --chunk-size 16KiB --key @alice.key --force").done();
    world.remove("next/LICENSE");
    let ran = world.run("diff llama next").done();
    ran.prints("\nmoved    file   .hidden -> hidden  17 B\n")
        .prints("\nchanged  file   1_Pooling/config.json  34 B -> 2 B\n")
        .prints("\nadded    file   LICENSE  3 B\n")
        .prints("\ngone     file   empty.txt  0 B\n");
    let found = world.differences("llama next");
    let one = counts([("same", 8), ("moved", 1), ("changed", 1), ("added", 1), ("gone", 1)]);
    assert_eq!(found.counts("file"), one);
    let summary = found.summary("files");
    assert_eq!(summary["new"]["added"], json!({ "entries": 1, "bytes": 3 }));
    assert_eq!(summary["old"]["changed"], json!({ "entries": 1, "bytes": 34 }));
    assert_eq!((&summary["new"]["gone"], &summary["old"]["added"]), (&Value::Null, &Value::Null));
    let result = found.result();
    let missing = result["bytes"].as_u64().unwrap() - result["bytes_in_old"].as_u64().unwrap();
    assert_eq!(missing, 2 + 3);
}

#[test]
fn metadata_alone_is_enough() {
    let world = World::resharded();
    for side in ["old", "new"] {
        world.rename(&format!("{side}/weighbridge"), &format!("{side}-meta"));
        fs::remove_dir_all(world.path(side)).unwrap();
        // Layers are not looked at.
        world.remove(&format!("{side}-meta/chunks.layer"));
        world.remove(&format!("{side}-meta/head.txt"));
    }
    let found = world.differences("old-meta new-meta");
    assert_eq!(found.counts("tensor").keys().collect::<Vec<_>>(), ["same"]);
}

#[test]
fn trust_is_asked_of_both_if_it_is_given() {
    let world = World::resharded();
    let heads = |found: &Differences| -> Vec<(Value, Value)> {
        let heads = found.0.iter().filter(|object| object["event"] == "head");
        heads.map(|head| (head["side"].clone(), head["verified"].clone())).collect()
    };
    let sides = |verified: bool| ["old", "new"].map(|side| (side.into(), verified.into())).to_vec();
    assert_eq!(heads(&world.differences("old new")), sides(false));
    assert_eq!(heads(&world.differences("old new --vkey @alice")), sides(true));
    let ran = world.run("diff old new --vkey @alice").done();
    ran.expect(!ran.stdout.contains("claimed"), "nothing that is claimed");
    ran.prints("new      org/new revision 1, signed by alice\n");
    world.run("weigh new --name org/new --key @mallory.key --force").done();
    world.refused("diff old new --vkey @alice", 3102, "new: ");
    world.refused("diff new old --vkey @alice", 3102, "new: ");
    world.run("diff old new").done().prints("signed by mallory (claimed: ");
    // The heads are not remembered: a compared head may well be older than an accepted one.
    assert!(!world.exists("state"));
}

#[test]
fn lists_that_are_not_the_signed_ones_are_refused() {
    let world = World::resharded();
    for (list, code) in [("files.jsonl", 1308), ("tensors.jsonl", 1308)] {
        let path = format!("new/weighbridge/{list}");
        let honest = world.text(&path);
        let (line, _) = honest.split_once("\"}\n").unwrap();
        let other = if line.ends_with('0') { "1" } else { "0" };
        world.write(&path, honest.replacen(line, &format!("{}{other}", &line[..line.len() - 1]), 1));
        let sentence = format!("new: {list}: does not hash to the signed root");
        world.refused("diff old new", code, &sentence).hints("get the metadata again");
        world.refused("diff new old", code, &sentence);
        world.write(&path, &honest[..honest.len() - 1]);
        world.refused("diff old new", 1301, &format!("new: {list}: "));
        world.write(&path, honest);
    }
    world.run("diff old new").done();
}

#[test]
fn what_is_not_there_is_not_compared() {
    let world = World::resharded();
    world.unjudged("diff old nowhere", 9002, "nowhere").hints("OLD and NEW are model folders");
    world.remove("new/weighbridge/tensors.jsonl");
    world.unjudged("diff old new", 9002, "tensors.jsonl");
    world.remove("new/weighbridge/head.note");
    world.unjudged("diff old new", 9002, "head.note").hints("weighed and signed");
    world.write("new/weighbridge/head.note", "no head");
    let ran = world.run("diff old new");
    ran.expect(ran.status == Some(1), "a refusal");
}

#[test]
fn models_whose_tensors_are_not_listed_are_compared_by_their_files() {
    let world = World::resharded();
    world.run("weigh new --name org/new --key @alice.key --no-tensors --force").done();
    world.run("diff old new").done().prints("\ntensors are not compared: not listed in new\n");
    world.run("diff new old").done().prints("\ntensors are not compared: not listed in old\n");
    world.run("diff new new").done().prints("\ntensors are not compared: not listed in old and in new\n");
    let found = world.differences("old new");
    assert_eq!(found.counts("tensor"), BTreeMap::new());
    let unlisted = json!({ "event": "summary", "of": "tensors", "compared": false, "unlisted": ["new"] });
    assert_eq!(found.summary("tensors"), &unlisted);
    assert_eq!(found.result()["bytes_in_old"], found.summary("files")["bytes_in_old"]);
    // A list without tensors differs from a head without a tensor list.
    for folder in ["none", "others"] {
        world.write(&format!("{folder}/README.md"), "no weights");
        world.weigh(folder);
    }
    let found = world.differences("none others");
    assert_eq!(found.summary("tensors")["compared"], true);
    assert_eq!(found.result()["same"], true);
}

#[test]
fn names_cannot_steer_a_terminal() {
    let world = World::empty();
    for (folder, name) in [("old", "a"), ("new", "b")] {
        // Weighbridge signs no such names, but another signer may.
        let tensor = (format!("{name}_gpj.exe"), json!("U8"), json!([1]), vec![1]);
        world.write(&format!("{folder}/{name}_gpj.exe.safetensors"), safetensors(&[tensor]));
        world.weigh(folder);
        let mut forge = Forge::open(world.path(&format!("{folder}/weighbridge")));
        for line in forge.files.iter_mut().chain(&mut forge.tensors) {
            *line = line.replace("_gpj", "\u{202e}gpj");
        }
        forge.sign(&world.key("alice"));
    }
    let ran = world.run("diff old new").done();
    ran.expect(!ran.stdout.contains('\u{202e}'), "nothing that a terminal obeys");
    ran.prints("moved    tensor a\\u{202e}gpj.exe.safetensors:a\\u{202e}gpj.exe -> b\\u{202e}gpj.exe");
    assert!(word(&world.differences("old new").of("tensor", "moved")[0]["new"]["name"]).contains('\u{202e}'));
}

/// A publisher may sign any list. An overlapping list is compared like any other, and costs no more.
#[test]
fn tensors_that_lie_over_each_other_count_once() {
    let world = World::resharded();
    world.copy("old", "lying");
    let mut forge = Forge::open(world.path("lying/weighbridge"));
    replace(forge.file("model-00001-of-00002.safetensors"), "\"blake3\":\"", "\"blake3\":\"0");
    let line = forge.file("model-00001-of-00002.safetensors");
    *line = format!("{}\"}}", &line[..line.len() - 3]);
    let first = forge.tensors.iter().find(|line| line.contains("model-00001-of-00002")).unwrap().clone();
    let same_bytes = |name: usize| {
        let (_, rest) = first.split_once("\",\"file\"").unwrap();
        format!("{{\"tensor\":\"zz{name:03}\",\"file\"{rest}")
    };
    let at = forge.tensors.iter().position(|line| line.contains("model-00002-of-00002")).unwrap();
    forge.tensors.splice(at..at, (0..100).map(same_bytes));
    forge.sign(&world.key("alice"));
    let found = world.differences("old lying");
    assert_eq!(found.of("tensor", "added").len(), 100);
    assert!(found.of("tensor", "added").iter().all(|tensor| tensor["in_old"] == true));
    let result = found.result();
    assert!(result["bytes_in_old"].as_u64().unwrap() < result["bytes"].as_u64().unwrap(), "{result}");
    let ran: Ran = world.run("diff old lying").done();
    ran.prints("  (old has these bytes)\n");
}

/// The example of the specification is the command's output.
#[test]
fn the_specifications_example_is_printed() {
    let page = fs::read_to_string(root().join("spec/diff.md")).unwrap();
    let world = World::empty();
    let tensor = |name: &str, fill: u8| (name.to_owned(), json!("U8"), json!([2, 4]), vec![fill; 8]);
    world.write("old/config.json", "{}");
    world.write(
        "old/model.safetensors",
        safetensors(&[tensor("embedding", 1), tensor("head", 1), tensor("norm", 2)]),
    );
    world.write("new/config.json", "{}");
    world
        .write("new/model-00001-of-00002.safetensors", safetensors(&[tensor("embed", 1), tensor("head", 3)]));
    world.write("new/model-00002-of-00002.safetensors", safetensors(&[tensor("norm", 2)]));
    for (folder, name) in [("old", "example/tiny"), ("new", "example/other")] {
        world.run(&format!("weigh {folder} --name {name} --key @alice.key")).done();
    }
    let shown = |behind: &str| {
        let (_, behind) = page.split_once(&format!("$ weighbridge {behind}\n")).unwrap();
        behind.split_once("```").unwrap().0.to_owned()
    };
    assert_eq!(world.run("diff old new").done().stdout, shown("diff old new"));
    // Ids are new in each run.
    let without_ids = |text: &str| -> Vec<Value> {
        let mut objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        objects
            .iter_mut()
            .filter(|object| object["event"] == "head")
            .for_each(|head| head["head"] = Value::Null);
        objects
    };
    let ran = world.run("diff old new --json").done();
    assert_eq!(without_ids(&ran.stdout), without_ids(&shown("diff old new --json")));
}
