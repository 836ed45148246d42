//! Files that are not part of a model: unfinished downloads, pointers, and files of operating systems.

use crate::command::kit::World;

const WEIGH: &str = "weigh llama --name org/llama --key @alice.key";
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 90868376\n";

#[test]
fn half_a_download_is_not_signed_and_neither_is_what_lies_beside_it() {
    // aria2 gives a file its full length at once. Regression: a shard that ended in zeros was weighed and signed,
    // together with its `.aria2` file.
    let world = World::with_model();
    world.write("llama/extra-00001-of-00001.bin", vec![0; 100_000]);
    world.write("llama/extra-00001-of-00001.bin.aria2", "\0\u{1}");
    world.write("llama/1_Pooling/config.json.incomplete", "{");
    let ran = world.refused(WEIGH, 5106, "refused  extra-00001-of-00001.bin  its download did not end: ");
    let ran =
        ran.prints("refused  extra-00001-of-00001.bin.aria2  left by a download that did not end (aria2)");
    let ran = ran.prints("refused  1_Pooling/config.json.incomplete  left by a download that did not end");
    let ran = ran.prints("refused  1_Pooling/config.json  its download did not end: ");
    ran.says("; and 3 more [W5106]").hints("end the download, or remove what it left");
    assert!(!world.exists("llama/weighbridge"), "something was written");
    let objects = world.run(&format!("{WEIGH} --json")).refused(5106, "").objects();
    let refused = objects.iter().filter(|o| o["event"] == "file" && o["status"] == "refused");
    assert_eq!(refused.filter(|o| o["faults"][0]["code"] == 5106).count(), 4);
}

#[test]
fn what_systems_keep_for_themselves_is_not_signed_unless_it_is_named() {
    let world = World::with_model();
    for path in [".DS_Store", "._config.json", "lost+found/#1", "lost+found/#2", "1_Pooling/Thumbs.db"] {
        world.write(&format!("llama/{path}"), "x");
    }
    let ran = world.refused(WEIGH, 5107, ".DS_Store: a file that macOS keeps for itself");
    let ran = ran.prints("refused  lost+found  a file that Linux keeps for itself [W5107]");
    ran.says("; and 3 more").hints("remove what is no part of the model").hints("--take GLOB");
    world.refused(&format!("{WEIGH} --take .DS_Store --take ._*"), 5107, "refused  1_Pooling/Thumbs.db");
    world
        .run(&format!("{WEIGH} --take **/.DS_Store --take ._* --take **/Thumbs.db --take lost+found/*"))
        .done();
    // A listed file is part of the model, and is verified as such.
    world.run("verify llama --name org/llama --vkey @alice").done().prints("ok       lost+found/#2");
}

#[test]
fn git_lfs_pointers_are_not_signed_whatever_their_names() {
    // Regression: only tensor files were looked at, so a model was signed whose tokenizer had never been downloaded.
    let world = World::with_model();
    world.write("llama/tokenizer.json", POINTER);
    world.write("llama/1_Pooling/vocab.txt", POINTER);
    world.write("llama/model.gguf", POINTER);
    for line in [WEIGH, &format!("{WEIGH} --no-tensors")] {
        let ran = world.refused(line, 4117, "refused  tokenizer.json  the file is a Git LFS pointer");
        let ran = ran.prints("refused  1_Pooling/vocab.txt  ").prints("refused  model.gguf  ");
        ran.says("; and 2 more").hints("run `git lfs pull`");
    }
    assert!(!world.exists("llama/weighbridge"), "something was written");
    world.refused(&format!("{WEIGH} --take **"), 4117, "model.gguf: ").hints("--no-tensors");
    world.run(&format!("{WEIGH} --take ** --no-tensors")).done();
    world.run("verify llama --name org/llama --vkey @alice").done();
}

#[test]
fn each_kind_of_refusal_says_what_to_do_and_all_are_told_at_once() {
    let world = World::with_model();
    world.write("llama/x.part", "");
    world.write("llama/.git./config", "");
    world.write("llama/a\\b", "");
    let ran = world.run(WEIGH).refused(1423, ".git./config: Windows takes it for .git/config");
    ran.says("; and 2 more").hints("rename it").hints("move it out of the model folder").hints("--take GLOB");
}
