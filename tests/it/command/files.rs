//! Faults of model folders: each has its own code, place and hint.

use std::fs;

use crate::command::kit::{Ran, World};

const VERIFY: &str = "verify llama --name org/llama --vkey @alice";
const SHARD: &str = "llama/model-00001-of-00002.safetensors";

#[test]
fn an_honest_model_is_verified_and_its_signer_named() {
    let world = World::weighed();
    let ran = world.run(VERIFY).done();
    let ran = ran.prints("head     org/llama revision 1, signed by alice").prints("ok       .hidden ");
    let ran = ran.prints("ok       1_Pooling/config.json ").prints("verified 11 files, ");
    ran.expect(ran.stderr.is_empty(), "no talk");
    let with_tensors = world.run(&format!("{VERIFY} --tensors")).done();
    with_tensors.prints("verified 11 files, ");
}

#[test]
fn a_changed_folder_is_refused() {
    type Change = fn(&World);
    struct Case {
        name: &'static str,
        change: Change,
        code: u16,
        sentence: &'static str,
        hint: &'static str,
    }
    let cases = [
        Case {
            name: "a flipped byte",
            change: |world| world.flip("llama/config.json", 10),
            code: 2101,
            sentence: "refused  config.json                       data does not match the signed root",
            hint: "fetch",
        },
        Case {
            name: "a flipped byte in a sub-folder",
            change: |world| world.flip("llama/1_Pooling/config.json", 0),
            code: 2101,
            sentence: "refused  1_Pooling/config.json ",
            hint: "fetch",
        },
        Case {
            name: "a flipped byte in a dot file",
            change: |world| world.flip("llama/.hidden", 0),
            code: 2101,
            sentence: "refused  .hidden ",
            hint: "fetch",
        },
        Case {
            name: "a missing file",
            change: |world| world.remove("llama/config.json"),
            code: 2104,
            sentence: "the file is missing",
            hint: "fetch the files named above again",
        },
        Case {
            name: "an extra file",
            change: |world| world.write("llama/run.py", "import os"),
            code: 2105,
            sentence: "refused  run.py                            the file is not listed",
            hint: "--allow-extra",
        },
        Case {
            name: "an extra file in a sub-folder",
            change: |world| world.write("llama/1_Pooling/.gitattributes", ""),
            code: 2105,
            sentence: "refused  1_Pooling/.gitattributes          the file is not listed",
            hint: "--allow-extra",
        },
        Case {
            name: "a renamed file",
            change: |world| world.rename("llama/config.json", "llama/Config.json"),
            code: 2104,
            sentence: "config.json ",
            hint: "fetch",
        },
        Case {
            name: "a truncated file",
            change: |world| {
                let file = fs::File::options().write(true).open(world.path(SHARD)).unwrap();
                file.set_len(100).unwrap();
            },
            code: 2103,
            sentence: "100 bytes, ",
            hint: "fetch",
        },
        Case {
            name: "an extended file",
            change: |world| world.write("llama/empty.txt", "no longer empty"),
            code: 2103,
            sentence: "15 bytes, 0 are signed",
            hint: "fetch",
        },
        Case {
            name: "a folder in place of a file",
            change: |world| {
                world.remove("llama/empty.txt");
                fs::create_dir(world.path("llama/empty.txt")).unwrap();
            },
            code: 2104,
            sentence: "the file is missing",
            hint: "fetch",
        },
    ];
    for Case { name, change, code, sentence, hint } in cases {
        println!("{name}");
        let world = World::weighed();
        change(&world);
        let ran = world.refused(VERIFY, code, sentence).hints(hint);
        ran.expect(!ran.stdout.contains("verified "), "no word of success");
    }
}

#[test]
fn exchanged_files_are_recognised() {
    let world = World::with_model();
    world.write("llama/one.bin", "the first of two");
    world.write("llama/two.bin", "second of the 2.");
    world.run("weigh llama --name org/llama --key @alice.key").done();
    world.rename("llama/one.bin", "llama/other.bin");
    world.rename("llama/two.bin", "llama/one.bin");
    world.rename("llama/other.bin", "llama/two.bin");
    let ran =
        world.refused(VERIFY, 2101, "data does not match the signed root: these are the bytes of two.bin");
    ran.prints("these are the bytes of one.bin").says("2 of 13 files refused [W2101]");
}

#[test]
fn a_renamed_file_is_missing_under_one_name_and_extra_under_the_other() {
    let world = World::weighed();
    world.rename("llama/config.json", "llama/conf.json");
    let ran = world.refused(VERIFY, 2104, "the file is missing");
    ran.prints("the file is not listed [W2105]").says("2 of 12 files refused [W2104]");
}

#[test]
fn a_refusal_names_chunk_bytes_and_tensor() {
    let world = World::weighed();
    world.flip(SHARD, 40_000);
    let ran = world.refused(VERIFY, 2101, "data does not match the signed root");
    let ran = ran.prints("chunk 2 of 16 (from 0), bytes 32768..49152, in tensor");
    ran.says("weighbridge: error: 1 of 11 files refused [W2101]")
        .hints("fetch the chunks named above again; everything else stays valid");

    let objects = world.run(&format!("{VERIFY} --json")).refused(2101, "").objects();
    let file = objects.iter().find(|object| object["status"] == "refused").unwrap();
    let run = &file["faults"][0]["bad_chunks"][0];
    assert_eq!(
        (&run["code"], &run["first"], &run["start"], &run["end"]),
        (&2102.into(), &2.into(), &32_768.into(), &49_152.into())
    );
    assert!(run["tensors"].as_array().is_some_and(|tensors| !tensors.is_empty()), "{run}");
}

#[test]
fn chunk_layers_are_checked_and_can_be_done_without() {
    let world = World::weighed();
    let layers = world.read("llama/weighbridge/chunks.layer");

    world.flip("llama/weighbridge/chunks.layer", 0);
    let ran = world.refused(VERIFY, 2202, "the chunk layer does not merge to the signed root");
    ran.hints("get chunks.layer again, or remove it");

    world.write("llama/weighbridge/chunks.layer", &layers[..layers.len() - 32]);
    world.refused(VERIFY, 2201, "chunks.layer has ").hints("get chunks.layer again, or remove it");

    world.remove("llama/weighbridge/chunks.layer");
    world.run(VERIFY).done();
    world.flip(SHARD, 40_000);
    let ran = world.refused(VERIFY, 2101, "data does not match the signed root");
    ran.prints("which chunks is not known without chunks.layer");
}

#[test]
fn lists_of_another_release_are_refused() {
    let world = World::weighed();
    world.model("other", 2);
    world.run("weigh other --name org/llama --chunk-size 16KiB --key @alice.key").done();
    // The replaced list has the same length, so that only its root differs.
    for (list, other) in [("files.jsonl", "of another model"), ("tensors.jsonl", "of another model")] {
        println!("{list} {other}");
        let path = format!("llama/weighbridge/{list}");
        let honest = world.read(&path);
        world.write(&path, world.read(&format!("other/weighbridge/{list}")));
        let ran = world.refused(VERIFY, 1308, &format!("{list}: does not hash to the signed root"));
        ran.hints("get the metadata again");
        world.write(&path, &honest[1..]);
        world.refused(VERIFY, 1301, &format!("{list}: {} bytes, the head signs ", honest.len() - 1));
        world.write(&path, honest);
    }
    world.copy("llama", "next");
    world.write("next/config.json", "{}");
    let previous = "--previous llama/weighbridge/head.note";
    world.run(&format!("weigh next --name org/llama --force {previous} --key @alice.key")).done();
    world.write("llama/weighbridge/head.note", world.read("next/weighbridge/head.note"));
    world.refused(VERIFY, 1301, "files.jsonl: ");
}

#[test]
fn a_list_that_is_not_there_cannot_be_judged() {
    let world = World::weighed();
    world.remove("llama/weighbridge/files.jsonl");
    world.unjudged(VERIFY, 9002, "cannot open llama/weighbridge/files.jsonl: ");
    world.remove("llama/weighbridge/head.note");
    world.unjudged(VERIFY, 9002, "cannot open llama/weighbridge/head.note: ").hints("not signed yet");
    world.remove("llama/weighbridge/head.txt");
    world.unjudged(VERIFY, 9002, "cannot open llama/weighbridge/head.note: ").hints("--meta");
}

#[test]
fn only_looks_at_matching_files() {
    let world = World::weighed();
    world.flip(SHARD, 40_000);
    world.write("llama/extra.txt", "not listed");
    let ran = world.run(&format!("{VERIFY} --only *.json --only **/config.json")).done();
    // `*` does not match `/`.
    let ran = ran.prints("verified 6 of 11 files, ").prints("1_Pooling/config.json");
    ran.expect(!ran.stdout.contains("safetensors "), "no shard");
    world.run(&format!("{VERIFY} --only *.safetensors")).refused(2101, "data does not match");
    let ran = world.unjudged(&format!("{VERIFY} --only *.gguf"), 9001, "--only: no listed file matches");
    ran.expect(!ran.stdout.contains("verified"), "no word of success");
    world.unjudged(&format!("{VERIFY} --only ["), 9001, "a pattern is malformed");
}

#[test]
fn allow_extra_reports_what_is_not_listed_and_nothing_else() {
    let world = World::weighed();
    world.write("llama/notes.txt", "mine");
    world.run(&format!("{VERIFY} --allow-extra")).done().prints("extra    notes.txt ");
    world.remove("llama/config.json");
    world.refused(&format!("{VERIFY} --allow-extra"), 2104, "the file is missing");
}

#[test]
fn a_hubs_gitattributes_is_named_and_not_refused() {
    let world = World::weighed();
    world.write("llama/.gitattributes", "*.safetensors filter=lfs");
    world.run(VERIFY).done().prints("extra    .gitattributes ");
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_read_is_not_called_bad() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::weighed();
    let mode = |mode| {
        fs::set_permissions(world.path("llama/config.json"), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0);
    let ran = Ran::of(&mut world.unprivileged(VERIFY)).unjudged(9002, "unknown  config.json ");
    ran.prints("cannot open ").says("1 of 11 files not read [W9002]");
    fs::create_dir(world.path("meta")).unwrap();
    fs::set_permissions(world.path("meta"), fs::Permissions::from_mode(0o777)).unwrap();
    Ran::of(&mut world.unprivileged("weigh llama --name org/llama -o meta"))
        .unjudged(9002, "cannot open llama/config.json: ");
    assert!(world.files("meta").is_empty(), "something was written");
    mode(0o644);
}
