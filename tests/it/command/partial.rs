//! `verify --partial` reports exactly the chunks that an unfinished fetch has.

use std::fs;

use serde_json::Value;

use crate::command::kit::World;

const CHUNK: usize = 16 << 10;
const VERIFY: &str = "verify out --partial --name org/llama --vkey @alice";
const SHARD: &str = "model-00001-of-00002.safetensors";
const OTHER_SHARD: &str = "model-00002-of-00002.safetensors";
/// The number of the model's files that are not shards.
const SMALL: usize = 9;

impl World {
    /// A weighed model, and a folder `out` that has only its metadata, as an unfinished fetch keeps it.
    fn with_unfinished_fetch() -> Self {
        let world = Self::weighed();
        let head = world.head_id("llama");
        fs::create_dir_all(world.path("out/weighbridge/partial")).unwrap();
        world.copy("llama/weighbridge", &format!("out/weighbridge/partial/{head}"));
        world
    }

    fn metadata(&self) -> String {
        format!("out/weighbridge/partial/{}", self.head_id("llama"))
    }

    /// The path of an unfinished file of the model.
    fn place_of(&self, path: &str) -> String {
        format!("out/weighbridge/partial/{}", blake3::hash(&self.read(&format!("llama/{path}"))).to_hex())
    }

    /// Writes some chunks of a file of the model, with holes for the others.
    fn lay_out(&self, path: &str, chunks: &[usize]) {
        let whole = self.read(&format!("llama/{path}"));
        let mut partial = Vec::new();
        for chunk in chunks {
            let range = chunk * CHUNK..whole.len().min((chunk + 1) * CHUNK);
            partial.resize(partial.len().max(range.end), 0);
            partial[range.clone()].copy_from_slice(&whole[range]);
        }
        self.write(&self.place_of(path), partial);
    }

    /// Writes a file of the model under its final name.
    fn complete(&self, path: &str) {
        self.write(&format!("out/{path}"), self.read(&format!("llama/{path}")));
    }

    fn chunks(&self, path: &str) -> usize {
        self.read(&format!("llama/{path}")).len().div_ceil(CHUNK)
    }
}

/// The reports on one file and on the whole model.
fn said(world: &World, line: &str, path: &str) -> (Value, Value) {
    let mut objects = world.run(&format!("{line} --json")).done().objects();
    let result = objects.pop().unwrap();
    assert_eq!(result["event"], "result");
    let of_file: Vec<_> = objects.iter().filter(|o| o["event"] == "file" && o["path"] == path).collect();
    assert_eq!(of_file.len(), 1, "{objects:?}");
    (of_file[0].clone(), result)
}

#[test]
fn nothing_there_is_no_refusal() {
    let world = World::with_unfinished_fetch();
    let ran = world.run(VERIFY).done();
    ran.prints("head     org/llama revision 1, signed by alice\n")
        .prints("absent   config.json ")
        .prints("there    0 of 11 files, 11 absent, 0 B of ");
    let (file, result) = said(&world, VERIFY, "config.json");
    assert_eq!(file["status"], "absent");
    assert_eq!((&result["verified"], &result["complete"]), (&true.into(), &false.into()));
    assert_eq!(
        (&result["files"], &result["of_files"], &result["absent"]),
        (&0.into(), &11.into(), &11.into())
    );
    assert_eq!(result["head"], world.head_id("llama"));
}

#[test]
fn chunks_are_counted_one_by_one() {
    let world = World::with_unfinished_fetch();
    let count = world.chunks(SHARD);
    assert!(count > 12, "{count}");
    world.lay_out(SHARD, &[0, 1, 2, 5, 8, 9]);
    let ran = world.run(VERIFY).done();
    ran.prints(&format!("part     {SHARD}  6 of {count} chunks  96.00 KiB of "))
        .prints("\n         chunks 0 to 2, 5, 8 to 9 (from 0)\n")
        .prints("there    0 of 11 files, 1 in part, 10 absent, 96.00 KiB of ");
    let (file, result) = said(&world, VERIFY, SHARD);
    assert_eq!(
        (&file["status"], &file["there"], &file["chunks"]),
        (&"part".into(), &6.into(), &count.into())
    );
    assert_eq!(file["runs"].to_string(), "[[0,3],[5,6],[8,10]]");
    assert_eq!((&file["bytes"], &result["bytes"]), (&(6 * CHUNK).into(), &(6 * CHUNK).into()));
    assert_eq!(result["part"], 1);
}

#[test]
fn the_last_chunk_counts_with_its_own_length() {
    let world = World::with_unfinished_fetch();
    let last = world.chunks(SHARD) - 1;
    let length = world.read(&format!("llama/{SHARD}")).len() - last * CHUNK;
    assert!(length < CHUNK);
    world.lay_out(SHARD, &[last]);
    let (file, _) = said(&world, VERIFY, SHARD);
    assert_eq!((&file["there"], &file["bytes"]), (&1.into(), &length.into()));
    // Without its last byte, the chunk is absent.
    let place = world.place_of(SHARD);
    let mut bytes = world.read(&place);
    bytes.pop();
    world.write(&place, &bytes);
    let (file, result) = said(&world, VERIFY, SHARD);
    assert_eq!((&file["status"], &result["absent"]), (&"absent".into(), &11.into()));
}

#[test]
fn a_torn_chunk_is_not_there() {
    let world = World::with_unfinished_fetch();
    world.lay_out(SHARD, &[3, 4, 5]);
    world.flip(&world.place_of(SHARD), (4 * CHUNK + 100) as u64);
    let (file, _) = said(&world, VERIFY, SHARD);
    assert_eq!(file["runs"].to_string(), "[[3,4],[5,6]]");
}

#[test]
fn a_file_in_part_may_be_longer_than_it_will_be() {
    let world = World::with_unfinished_fetch();
    let all: Vec<usize> = (0..world.chunks(SHARD)).collect();
    world.lay_out(SHARD, &all);
    let place = world.place_of(SHARD);
    world.write(&place, [world.read(&place), vec![7; 40_000]].concat());
    let (file, result) = said(&world, VERIFY, SHARD);
    // The file has all chunks, and not yet its final name.
    assert_eq!((&file["status"], &file["there"]), (&"part".into(), &all.len().into()));
    assert_eq!(result["complete"], false);
}

#[test]
fn a_file_of_one_chunk_needs_no_layer() {
    let world = World::with_unfinished_fetch();
    world.remove(&format!("{}/chunks.layer", world.metadata()));
    world.lay_out("config.json", &[0]);
    world.lay_out(SHARD, &[0]);
    let ran = world.run(VERIFY).done();
    ran.prints("part     config.json ")
        .prints(&format!("unknown  {SHARD}  chunks.layer does not have its layer\n"));
    let (_, result) = said(&world, VERIFY, SHARD);
    assert_eq!((&result["part"], &result["unknown"], &result["absent"]), (&1.into(), &1.into(), &9.into()));
}

#[test]
fn a_layer_that_was_not_wanted_leaves_its_file_unknown_and_no_other() {
    let world = World::with_unfinished_fetch();
    let layers = format!("{}/chunks.layer", world.metadata());
    let mut bytes = world.read(&layers);
    // Layers lie in list order.
    let behind = 32 * world.chunks(SHARD);
    bytes[behind..].fill(0);
    world.write(&layers, &bytes);
    world.lay_out(SHARD, &[1]);
    world.lay_out(OTHER_SHARD, &[1]);
    assert_eq!(said(&world, VERIFY, SHARD).0["status"], "part");
    assert_eq!(said(&world, VERIFY, OTHER_SHARD).0["status"], "unknown");
    // A file with its final name is verified by its root, so the hole in the layers does not matter.
    world.complete(OTHER_SHARD);
    assert_eq!(said(&world, VERIFY, OTHER_SHARD).0["status"], "verified");
    // Layers that end early cannot be used, and are no refusal.
    bytes.truncate(behind);
    world.write(&layers, &bytes);
    assert_eq!(said(&world, VERIFY, SHARD).0["status"], "unknown");
}

#[test]
fn a_complete_file_is_hashed_under_its_name() {
    let world = World::with_unfinished_fetch();
    world.complete("config.json");
    world.complete("1_Pooling/config.json");
    world.complete("empty.txt");
    let ran = world.run(VERIFY).done();
    ran.prints("ok       config.json ")
        .prints("ok       empty.txt ")
        .prints("there    3 of 11 files, 8 absent, ");
    let (file, result) = said(&world, VERIFY, "1_Pooling/config.json");
    assert_eq!((&file["status"], &result["files"]), (&"verified".into(), &3.into()));

    world.flip("out/config.json", 3);
    world.refused(VERIFY, 2101, "config.json").hints("fetch the files named above again");
    world.flip("out/config.json", 3);
    world.write("out/empty.txt", "x");
    world.refused(VERIFY, 2103, "empty.txt");
    let objects = world.run(&format!("{VERIFY} --json")).refused(2103, "").objects();
    let result = &objects[objects.len() - 2];
    assert_eq!(
        (&result["verified"], &result["code"], &result["refused"]),
        (&false.into(), &2103.into(), &1.into())
    );
}

#[test]
#[cfg(unix)]
fn a_link_under_a_final_name_is_judged_and_under_a_root_it_is_not_there() {
    use std::os::unix::fs::symlink;
    let world = World::with_unfinished_fetch();
    symlink("/dev/null", world.path("out/config.json")).unwrap();
    world.refused(VERIFY, 5102, "config.json");
    fs::remove_file(world.path("out/config.json")).unwrap();
    symlink(world.path("llama/config.json"), world.path(&world.place_of("config.json"))).unwrap();
    assert_eq!(said(&world, VERIFY, "config.json").0["status"], "absent");
    fs::create_dir(world.path(&world.place_of(SHARD))).unwrap();
    assert_eq!(said(&world, VERIFY, SHARD).0["status"], "absent");
}

#[test]
fn a_fetch_that_ended_well_is_complete() {
    let world = World::weighed();
    world.copy("llama", "out");
    let tensors = world.text("llama/weighbridge/tensors.jsonl").lines().count();
    let ran = world.run(VERIFY).done();
    ran.prints("there    11 of 11 files, ").prints(&format!(", {tensors} of {tensors} tensors; head "));
    let (_, result) = said(&world, VERIFY, SHARD);
    assert_eq!(
        (&result["complete"], &result["absent"], &result["part"]),
        (&true.into(), &0.into(), &0.into())
    );
    assert_eq!((&result["bytes"], &result["tensors"]), (&result["of_bytes"], &tensors.into()));
    // Files that are not listed are not refused.
    world.write("out/extra.bin", "x");
    world.run(VERIFY).done();
}

#[test]
fn tensors_are_counted_when_all_their_chunks_are_there() {
    let world = World::with_unfinished_fetch();
    let entries: Vec<Value> = world
        .text("llama/weighbridge/tensors.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let there = [0, 1, 2, 5, 8];
    world.lay_out(SHARD, &there);
    let is_there = |tensor: &&Value| {
        let number = |key: &str| usize::try_from(tensor[key].as_u64().unwrap()).unwrap();
        let (offset, size) = (number("offset"), number("size"));
        tensor["file"] == SHARD
            && (offset / CHUNK..(offset + size).div_ceil(CHUNK)).all(|c| there.contains(&c))
    };
    let expected = entries.iter().filter(is_there).count();
    assert!(expected > 0 && expected < entries.iter().filter(|t| t["file"] == SHARD).count());
    let (file, result) = said(&world, VERIFY, SHARD);
    assert_eq!((&file["tensors"], &result["tensors"]), (&expected.into(), &expected.into()));
    assert_eq!(result["of_tensors"], entries.len());
    // Without the tensor list, tensors are not reported.
    world.remove(&format!("{}/tensors.jsonl", world.metadata()));
    let (file, result) = said(&world, VERIFY, SHARD);
    assert_eq!(
        (&file["tensors"], &result["tensors"], &result["of_tensors"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let ran = world.run(VERIFY).done();
    ran.expect(!ran.stdout.contains(" tensors"), "nothing of tensors");
}

#[test]
fn files_are_picked_by_name() {
    let world = World::with_unfinished_fetch();
    world.complete("config.json");
    world.lay_out(SHARD, &[0]);
    let line = format!("{VERIFY} --only *.safetensors");
    let ran = world.run(&line).done().prints("there    0 of 2 files, 1 in part, 1 absent, ");
    ran.expect(!ran.stdout.contains("config.json"), "nothing of other files");
    world.unjudged(&format!("{VERIFY} --only *.bin"), 9001, "--only: no listed file matches");
    let (_, result) = said(&world, VERIFY, "config.json");
    assert_eq!(result["absent"], SMALL);
}

#[test]
fn of_several_unfinished_fetches_one_has_to_be_named() {
    let world = World::with_unfinished_fetch();
    let first = world.metadata();
    world.run("weigh llama --name org/llama --chunk-size 32KiB --key @alice.key -o other").done();
    let second = format!("out/weighbridge/partial/{}", world.head_id("other"));
    world.copy("other", &second);
    let ran = world.unjudged(VERIFY, 9001, "2 fetches of different heads were not finished here");
    ran.hints(&format!("--meta {first}")).hints(&format!("--meta {second}"));
    world.run(&format!("{VERIFY} --meta {first}")).done();
    world.forget();
    world.run(&format!("{VERIFY} --meta {second}")).done();
    world.forget();
    // The head's id selects the fetch as well.
    world.run(&format!("{VERIFY} --head {}", world.head_id("other"))).done();
}

#[test]
fn the_metadata_of_a_finished_fetch_comes_first() {
    let world = World::with_unfinished_fetch();
    world.run("weigh llama --name org/llama --chunk-size 32KiB --key @alice.key -o out/weighbridge").done();
    let finished = world.head_id("out/weighbridge");
    assert_ne!(finished, world.head_id("llama"));
    assert_eq!(said(&world, VERIFY, SHARD).1["head"], finished);
    world.forget();
    let line = format!("{VERIFY} --head {}", world.head_id("llama"));
    assert_eq!(said(&world, &line, SHARD).1["head"], world.head_id("llama"));
}

#[test]
fn without_metadata_nothing_can_be_told() {
    let world = World::weighed();
    fs::create_dir_all(world.path("out/weighbridge/partial")).unwrap();
    world.unjudged(VERIFY, 9002, "cannot open out/weighbridge/head.note");
    world.unjudged("verify nowhere --partial --name org/llama --vkey @alice", 9002, "cannot open nowhere");
    // The metadata of an unfinished fetch does not replace a trust policy.
    let world = World::with_unfinished_fetch();
    world.unjudged("verify out --partial", 9003, "whom to trust was not said");
    world.refused("verify out --partial --vkey @bob", 3102, "");
    world.run("verify out --partial --vkey @alice --tensors").misused();
    world.run("verify out --partial --vkey @alice --allow-extra").misused();
}
