//! Every altered byte of a model or its metadata is refused: never accepted, and never a crash.

use std::fs;

use crate::command::kit::World;

const CHUNK: usize = 16_384;

/// All files of the model and its metadata except `head.txt`.
const FILES: [&str; 15] = [
    "weighbridge/head.note",
    "weighbridge/files.jsonl",
    "weighbridge/tensors.jsonl",
    "weighbridge/chunks.layer",
    ".hidden",
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "empty.txt",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Flips, cuts, extends, repeats and exchanges every file, at each place where a part begins or ends.
#[test]
fn every_change_is_refused() {
    let world = World::weighed();
    let mut changes = 0;
    for (file, next) in FILES.iter().zip(FILES.iter().cycle().skip(1)) {
        let (file, next) = (&format!("llama/{file}"), &format!("llama/{next}"));
        let honest = world.read(file);
        let mut refuses = |what: &str, changed: &[u8]| {
            println!("{file}: {what}");
            world.write(file, changed);
            let ran = world.run("verify llama --name org/llama --vkey @alice");
            ran.expect(ran.status == Some(1), "a refusal");
            ran.expect(ran.stderr.contains("weighbridge: error: ") && ran.stderr.contains("[W"), "a code");
            changes += 1;
        };
        for place in places(honest.len()) {
            let mut flipped = honest.clone();
            flipped[place] ^= 1 << (place % 8);
            refuses(&format!("a bit of byte {place}"), &flipped);
        }
        for length in [0, honest.len() / 2, honest.len().saturating_sub(1)] {
            if length < honest.len() {
                refuses(&format!("cut to {length} bytes"), &honest[..length]);
            }
        }
        refuses("a byte more", &[honest.as_slice(), b"\n"].concat());
        if !honest.is_empty() {
            refuses("twice", &[honest.as_slice(), &honest].concat());
        }
        refuses(&format!("the bytes of {next}"), &world.read(next));
        world.write(file, honest);
    }
    assert!(changes > 150, "only {changes} changes");
    world.run("verify llama --name org/llama --vkey @alice").done();
}

/// The first, the middle and the last byte, and both sides of every boundary between chunks.
fn places(length: usize) -> Vec<usize> {
    let boundaries = (1..).map(|chunk| chunk * CHUNK).take_while(|at| *at < length);
    let mut places: Vec<usize> = boundaries.flat_map(|at| [at - 1, at]).collect();
    if length > 0 {
        places.extend([0, length / 2, length - 1]);
    }
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn exchanged_and_repeated_chunks_are_refused() {
    let world = World::weighed();
    let shard = "llama/model-00002-of-00002.safetensors";
    let honest = world.read(shard);
    let mut exchanged = honest.clone();
    let (front, back) = exchanged.split_at_mut(2 * CHUNK);
    front[CHUNK..].swap_with_slice(&mut back[..CHUNK]);
    world.write(shard, &exchanged);
    let ran = world.refused("verify llama --vkey @alice", 2101, "data does not match the signed root");
    ran.prints("chunks 1 to 2 of ");

    let mut repeated = honest;
    repeated.copy_within(CHUNK..2 * CHUNK, 2 * CHUNK);
    world.write(shard, &repeated);
    let ran = world.refused("verify llama --vkey @alice", 2101, "data does not match the signed root");
    ran.prints("chunk 2 of ");
}

#[test]
fn head_txt_is_for_signers_and_no_verifier_reads_it() {
    let world = World::weighed();
    fs::write(world.path("llama/weighbridge/head.txt"), "anything").unwrap();
    world.run("verify llama --vkey @alice").done();
}
