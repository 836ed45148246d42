//! An edit of a README must not cost reading 700 GB: unchanged files are taken over unread, and reported as such.

use crate::command::kit::World;

const SHARDS: [&str; 2] =
    ["llama/model-00001-of-00002.safetensors", "llama/model-00002-of-00002.safetensors"];
const WEIGH: &str = "weigh llama --name org/llama --force --key @alice.key";
const REUSE: &str = "--reuse *.safetensors --from llama";

impl World {
    /// Replaces the bytes of both shards by others of the same number; returns the old ones.
    fn garble_shards(&self) -> [Vec<u8>; 2] {
        SHARDS.map(|shard| {
            let honest = self.read(shard);
            self.write(shard, vec![0xff; honest.len()]);
            honest
        })
    }
}

#[test]
fn an_edit_of_the_readme_reads_no_weights() {
    let world = World::weighed();
    let first = world.head_id("llama");
    let before = world.files("llama/weighbridge");
    world.write("llama/README.md", "# A better text\n");

    let honest = world.garble_shards();
    let ran = world.run(&format!("{WEIGH} {REUSE} --previous llama/weighbridge/head.note")).done();
    let ran = ran.prints("reused   model-00001-of-00002.safetensors (not read)\n");
    ran.prints("reused   model-00002-of-00002.safetensors (not read)\n")
        .prints("weighed  org/llama revision 2: 11 files");
    for (shard, bytes) in SHARDS.into_iter().zip(honest) {
        world.write(shard, bytes);
    }

    world.run("verify llama --vkey @alice --tensors --min-revision 2").done();
    let head = world.text("llama/weighbridge/head.txt");
    assert!(head.contains(&format!("\nrevision 2\nprevious {first}\n")), "{head}");

    // A weighing that reads every file gives the same lists and layers.
    world.run("weigh llama --name org/llama -o full --chunk-size 16KiB").done();
    for file in ["files.jsonl", "tensors.jsonl", "chunks.layer"] {
        assert!(
            world.read(&format!("full/{file}")) == world.read(&format!("llama/weighbridge/{file}")),
            "{file}"
        );
    }
    let changed = world.files("llama/weighbridge").into_iter().filter(|file| !before.contains(file));
    assert_eq!(changed.map(|(name, _)| name).collect::<Vec<_>>(), ["files.jsonl", "head.note", "head.txt"]);
}

#[test]
fn what_is_reused_is_told_to_programs_too() {
    let world = World::weighed();
    let objects = world.run(&format!("{WEIGH} {REUSE} --json")).done().objects();
    let reused: Vec<_> =
        objects.iter().filter(|object| object["event"] == "reused").map(|object| &object["path"]).collect();
    assert_eq!(reused, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
}

#[test]
fn bytes_that_did_change_are_found_by_who_verifies() {
    let world = World::weighed();
    world.garble_shards();
    world.run(&format!("{WEIGH} {REUSE}")).done();
    world.forget();
    let ran = world.refused("verify llama --vkey @alice", 2101, "data does not match the signed root");
    ran.says("2 of 11 files refused");
}

#[test]
fn what_cannot_be_reused_is_refused_and_nothing_changes() {
    type Change = fn(&World);
    let nothing: Change = |_| {};
    let cases: [(&str, Change, &str, u16, &str); 7] = [
        (
            "a size that changed",
            |world| world.write(SHARDS[0], "short"),
            REUSE,
            5301,
            "model-00001-of-00002.safetensors: not reused: 5 bytes, the earlier list says 248504",
        ),
        (
            "no such file",
            nothing,
            "--reuse *.gguf --from llama",
            5302,
            "nothing to reuse: no file here is both matched and in the earlier list",
        ),
        (
            "another chunk size",
            nothing,
            "--reuse *.safetensors --from llama --chunk-size 32KiB",
            5303,
            "the earlier release has chunks of 16384 bytes",
        ),
        (
            "no SHA-256",
            nothing,
            "--reuse *.safetensors --from llama --sha256",
            5304,
            "not reused: the earlier release has no SHA-256 hashes",
        ),
        (
            "no layers",
            |world| world.remove("llama/weighbridge/chunks.layer"),
            REUSE,
            5304,
            "not reused: the earlier release has no chunk layers",
        ),
        (
            "layers of other bytes",
            |world| world.flip("llama/weighbridge/chunks.layer", 5),
            REUSE,
            2202,
            "not reused: the chunk layer does not merge to the signed root",
        ),
        (
            "lists of other bytes",
            |world| world.flip("llama/weighbridge/files.jsonl", 0),
            REUSE,
            1302,
            "files.jsonl, line 1: not in canonical form",
        ),
    ];
    for (name, change, reuse, code, sentence) in cases {
        println!("{name}");
        let world = World::weighed();
        change(&world);
        let before = world.files("llama/weighbridge");
        world.refused(&format!("{WEIGH} {reuse}"), code, sentence);
        assert!(world.files("llama/weighbridge") == before, "metadata changed");
    }
}

#[test]
fn tensors_that_were_not_listed_cannot_be_reused() {
    let world = World::with_model();
    world.run(&format!("{WEIGH} --no-tensors")).done();
    world.refused(&format!("{WEIGH} {REUSE}"), 5304, "not reused: the earlier release has no tensors");
    world.run(&format!("{WEIGH} {REUSE} --no-tensors")).done();
}

#[test]
fn an_earlier_release_is_believed_before_it_is_used() {
    let world = World::weighed();
    let unsigned = "weigh llama --name org/llama --force";
    let ran = world.unjudged(
        &format!("{unsigned} {REUSE}"),
        9003,
        "whom to trust for the earlier release was not said",
    );
    ran.hints("pass its publisher's key with --vkey LINE, a policy with --trust FILE, or sign with --key");
    world.refused(
        &format!("{unsigned} {REUSE} --vkey @bob"),
        3102,
        "none of the signatures is by a trusted key",
    );
    let ran = world.refused(
        &format!("{unsigned} {REUSE} --key @bob.key"),
        3102,
        "none of the signatures is by a trusted key",
    );
    ran.hints("the earlier head is not signed by --key: pass its signer's key with --vkey LINE");
    world.run(&format!("{unsigned} {REUSE} --vkey @alice --key @bob.key -o next")).done();
    world.run("verify llama --meta next --vkey @bob").done();
    world.unjudged(
        &format!("{unsigned} --reuse * --from nowhere --vkey @alice"),
        9002,
        "cannot open nowhere/",
    );
}

#[test]
fn reuse_and_from_go_together() {
    let world = World::weighed();
    world.run(&format!("{WEIGH} --reuse *.safetensors")).misused();
    world.run(&format!("{WEIGH} --from llama")).misused();
}

#[test]
fn a_previous_head_has_to_be_of_this_model() {
    let world = World::weighed();
    let previous = "--previous llama/weighbridge/head.note";
    world.refused(
        &format!("weigh llama --name org/other -o next --key @alice.key {previous}"),
        5305,
        "the previous head is of 'org/llama'",
    );
    // A signer without keys on this machine trusts the previous head unchecked.
    world.run(&format!("weigh llama --name org/llama -o next {previous}")).done().prints("revision 2");
    let ran = world.refused(
        &format!("weigh llama --name org/llama -o third --key @bob.key {previous}"),
        3102,
        "head.note: none of the signatures is by a trusted key",
    );
    ran.hints("the earlier head is not signed by --key: pass its signer's key with --vkey LINE");
    world
        .write("altered.note", world.text("llama/weighbridge/head.note").replace("revision 1", "revision 7"));
    world.refused(
        "weigh llama --name org/llama -o third --previous altered.note",
        1205,
        "altered.note: the head contradicts itself",
    );
    world.refused(
        "weigh llama --name org/llama -o third --previous altered.note --vkey @alice",
        3101,
        "altered.note: the signature by 'alice' does not verify",
    );
    world.unjudged("weigh llama --name org/llama -o third --previous nowhere", 9002, "cannot open nowhere: ");
    assert!(!world.exists("third"), "something was written");
}
