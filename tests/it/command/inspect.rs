//! `inspect` shows what a file claims, and says that nothing was verified.

use crate::command::kit::World;

const NOTHING_VERIFIED: &str = "(claimed: inspect verifies nothing)";

#[test]
fn a_head_is_shown_wherever_it_lies() {
    let world = World::weighed();
    let id = world.head_id("llama");
    for target in ["llama", "llama/weighbridge", "llama/weighbridge/head.note"] {
        let ran = world.run(&format!("inspect {target}")).done().prints("name org/llama\nrevision 1\n");
        ran.prints(&format!("head id  {id}\n")).prints(&format!("signed   by alice {NOTHING_VERIFIED}"));
    }
    world.run("inspect llama/weighbridge/head.txt").done().prints("signed   by nobody").prints(&id);
    let objects = world.run("inspect llama --json").done().objects();
    assert_eq!((&objects[0]["head"], &objects[0]["verified"]), (&id.into(), &false.into()));
}

#[test]
fn a_head_that_nobody_would_believe_is_shown_all_the_same() {
    let world = World::weighed();
    let note = world.text("llama/weighbridge/head.note");
    world.write("altered.note", note.replace("org/llama", "org/other"));
    world.run("inspect altered.note").done().prints("name org/other\n").prints(NOTHING_VERIFIED);
    world.write("next.note", note.replace("head/v1", "head/v2"));
    world.refused("inspect next.note", 1202, "next.note: the head is not of version weighbridge/head/v1");
}

#[test]
fn tensors_and_indexes_are_listed() {
    let world = World::with_model();
    let ran = world.run("inspect llama/model-00001-of-00002.safetensors").done();
    ran.prints("model.embed_tokens.weight\n").prints("BF16").prints(NOTHING_VERIFIED);
    let ran = world.run("inspect llama/model.safetensors.index.json").done();
    ran.prints("model-00001-of-00002.safetensors  model.embed_tokens.weight\n").prints(NOTHING_VERIFIED);
    for file in ["model-00001-of-00002.safetensors", "model.safetensors.index.json"] {
        let objects = world.run(&format!("inspect llama/{file} --json")).done().objects();
        assert_eq!(objects.last().unwrap()["verified"], false);
        assert!(objects.len() > 10);
    }
}

#[test]
fn junk_is_named_as_such() {
    let world = World::with_model();
    world.unjudged("inspect llama/config.json", 9001, "llama/config.json is no head, tensor file or index");
    world.unjudged("inspect nowhere", 9002, "cannot open nowhere: ");
    world.unjudged("inspect llama", 9002, "cannot open llama/weighbridge/head.txt: ");
    world.write("junk.safetensors", "junk");
    world.refused("inspect junk.safetensors", 4101, "junk.safetensors: the file has 4 bytes");
    world.write("junk.safetensors.index.json", "junk");
    world.refused("inspect junk.safetensors.index.json", 4201, "the index is malformed at byte 0");
}
