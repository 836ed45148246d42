//! The places of models and their metadata, and the files that count as part of a model.

use std::fs;

use crate::command::kit::World;

const VERIFY: &str = "verify llama --name org/llama --vkey @alice";

#[test]
fn metadata_may_lie_elsewhere() {
    let world = World::with_model();
    world
        .run("weigh llama --name org/llama --key @alice.key -o meta/llama")
        .done()
        .prints("wrote    meta/llama");
    assert!(!world.exists("llama/weighbridge"), "something was written into the model");
    world.run(&format!("{VERIFY} --meta meta/llama")).done();
    let ran = world.unjudged(VERIFY, 9002, "cannot open llama/weighbridge/head.note: ");
    ran.hints("name the folder that holds head.note with --meta");
    // A folder that has the metadata as `weighbridge/` is accepted too.
    world.rename("meta/llama", "meta/weighbridge");
    world.run(&format!("{VERIFY} --meta meta")).done();
}

#[test]
fn metadata_that_would_be_part_of_the_model_is_refused() {
    let world = World::with_model();
    for place in ["llama/meta", "llama", "llama/1_Pooling", "meta/../llama/meta", "llama/deep/er/meta"] {
        fs::create_dir_all(world.path("meta")).unwrap();
        let sentence = format!("{place} lies in the model and would be part of it");
        world.unjudged(&format!("weigh llama --name org/llama -o {place}"), 9001, &sentence);
    }
    assert!(!world.exists("llama/meta") && !world.exists("llama/head.txt"));
    world.run("weigh llama --name org/llama -o llama/weighbridge/").done();
}

#[test]
#[cfg(unix)]
fn a_read_only_model_is_weighed_and_verified_with_metadata_elsewhere() {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::command::kit::Ran;

    let world = World::with_model();
    let mode =
        |path: &str, mode| fs::set_permissions(world.path(path), fs::Permissions::from_mode(mode)).unwrap();
    world.key("alice");
    mode("keys/alice.key", 0o644);
    fs::create_dir(world.path("meta")).unwrap();
    mode("meta", 0o777);
    mode("llama", 0o555);
    let weigh = "weigh llama --name org/llama --key @alice.key";
    // The refusal comes before any file is read, so no file is reported.
    let ran = Ran::of(&mut world.unprivileged(weigh)).unjudged(9002, "cannot create llama/weighbridge");
    let ran = ran.hints("name a folder with -o");
    ran.expect(!ran.stderr.contains("read "), "that nothing was read");
    Ran::of(&mut world.unprivileged(&format!("{weigh} -o meta/llama"))).done();
    Ran::of(&mut world.unprivileged(&format!("{VERIFY} --meta meta/llama --state meta/state.json"))).done();
    mode("llama", 0o755);
}

#[test]
fn what_hubs_and_git_keep_beside_a_model_is_no_part_of_it() {
    let world = World::with_model();
    world.write("llama/.cache/huggingface/download/config.json.metadata", "1");
    world.write("llama/.git/HEAD", "ref: refs/heads/main");
    world.write("llama/1_Pooling/.Git/HEAD", "ref: refs/heads/main");
    world.run("weigh llama --name org/llama --key @alice.key").done();
    let list = world.text("llama/weighbridge/files.jsonl");
    assert_eq!(list.lines().count(), 11, "{list}");
    world.run(VERIFY).done();
    world.write("llama/.git/index", "another");
    world.write("llama/.cache/huggingface/another", "another");
    world.run(VERIFY).done();
    world.write("llama/.cache/another", "another");
    world.refused(VERIFY, 2105, "the file is not listed");
}

#[test]
fn what_was_not_looked_into_is_said_with_its_number() {
    // Regression: anything could lie under a `.git` or in `weighbridge/`, and only "verified 11 files" was printed.
    let world = World::with_model();
    world.write("llama/1_Pooling/.cache/huggingface/upload/x.metadata", "1");
    world.write("llama/.git/hooks/run", "#!/bin/sh");
    let weigh = "weigh llama --name org/llama --key @alice.key";
    let ran =
        world.run(weigh).done().prints("left out .git  not looked into").prints("; 2 places left out\n");
    ran.prints("left out 1_Pooling/.cache/huggingface ");
    let weighed = world.run(&format!("{weigh} --force --json")).done().objects().pop().unwrap();
    assert_eq!(weighed["left_out"], 2);
    world.write("llama/weighbridge/run.py", "import os");
    let ran = world.run(VERIFY).done().prints("left out weighbridge/run.py                not looked");
    ran.prints("verified 11 files, ").prints("; 3 places left out; head ");
    let objects = world.run(&format!("{VERIFY} --json")).done().objects();
    assert_eq!(objects.last().unwrap()["left_out"], 3);
    let places: Vec<_> = objects.iter().filter(|o| o["status"] == "left out").map(|o| &o["path"]).collect();
    assert_eq!(places, [".git", "1_Pooling/.cache/huggingface", "weighbridge/run.py"]);
    // A check of selected files does not report other places.
    let ran = world.run(&format!("{VERIFY} --only *.json")).done();
    ran.expect(!ran.stdout.contains("left out"), "no word of other places");
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_read_stops_only_what_needs_it() {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::command::kit::Ran;

    // Regression: in a model at the top of a disk, root's `lost+found` (mode 700) ended every run.
    let world = World::weighed();
    let mode = |path: &str, mode| {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(world.path("meta")).unwrap();
    mode("meta", 0o777);
    fs::create_dir(world.path("llama/lost+found")).unwrap();
    mode("llama/lost+found", 0o700);
    let verify = format!("{VERIFY} --state meta/state.json");
    let run = |line: &str| Ran::of(&mut world.unprivileged(line));
    // The folder may hold anything, so the whole is unknown; all other files are reported.
    let said = "unknown  lost+found                        cannot read the folder llama/lost+found: ";
    let ran = run(&verify).unjudged(9002, said).prints("ok       config.json ");
    ran.says("1 of 12 files not read [W9002]");
    run(&format!("{verify} --only *.json")).done().prints("verified 5 of 11 files");
    let ran = run(&format!("{verify} --allow-extra")).done();
    ran.prints("left out lost+found  ").prints("verified 11 files, ").prints("; 1 place left out");
    let ran = run("weigh llama --name org/llama -o meta/new")
        .unjudged(9002, "cannot read the folder llama/lost+found");
    ran.hints("move it out of the model folder");
    // A listed file in such a folder is not reported as missing.
    fs::remove_dir(world.path("llama/lost+found")).unwrap();
    for denied in [0o600, 0o000] {
        mode("llama/1_Pooling", denied);
        let ran = run(&format!("{verify} --allow-extra")).unjudged(9002, "unknown  1_Pooling/config.json ");
        ran.says("1 of 11 files not read");
        run(&format!("{verify} --only 1_Pooling/*")).unjudged(9002, "unknown  1_Pooling/config.json ");
        run(&format!("{verify} --only config.json")).done();
        mode("llama/1_Pooling", 0o755);
    }
    // A link that cannot be followed may lead anywhere.
    fs::create_dir(world.path("closed")).unwrap();
    mode("closed", 0o700);
    std::os::unix::fs::symlink("../closed/x", world.path("llama/link")).unwrap();
    run(&format!("{verify} --allow-extra")).unjudged(9002, "cannot follow the link llama/link: ");
}

#[test]
fn a_folder_without_files_is_no_model() {
    let world = World::empty();
    fs::create_dir_all(world.path("model/deep/er")).unwrap();
    world.write("model/.git/HEAD", "");
    world.refused("weigh model --name org/model", 5101, "the model folder holds no file");
    assert!(!world.exists("model/weighbridge"), "something was written");
    world.unjudged("weigh nowhere --name org/model", 9002, "cannot open nowhere: ");
    world.write("file", "");
    world.unjudged("weigh file --name org/model", 9001, "file is not a folder");
}

#[test]
fn names_that_other_systems_take_for_the_same_are_not_weighed() {
    let world = World::empty();
    world.write("model/a", "");
    world.write("model/e\u{301}", "");
    world.refused("weigh model --name org/model", 1421, "e\u{301}: the name is not in Unicode form NFC");
    world.remove("model/e\u{301}");
    world.write("model/A", "");
    if world.files("model").len() == 2 {
        world.refused("weigh model --name org/model", 1422, "a: the same as A where case does not count");
    }
}

#[test]
fn names_that_are_git_or_metadata_on_another_system_are_not_weighed() {
    // Regression: each of these was signed, although git, or a fetch on a case-insensitive file system, would write
    // to another place.
    for (path, code, sentence) in [
        ("Weighbridge/head.note", 1410, "the path lies in a folder that is not part of models"),
        ("x/.cache/HuggingFace/y", 1410, "the path lies in a folder that is not part of models"),
        (".git./config", 1423, "Windows takes it for .git/config, which is no part of models"),
        ("x/.git /config", 1423, "Windows takes it for x/.git/config"),
        ("GIT~1/config", 1423, "Windows takes it for .git/config"),
        (".git::$INDEX_ALLOCATION/config", 1423, "Windows takes it for .git/config"),
        ("weighb~1/head.note", 1423, "Windows takes it for weighbridge/head.note"),
    ] {
        println!("{path}");
        let world = World::empty();
        world.write("model/a", "");
        world.write(&format!("model/{path}"), "");
        let shown = path.replace(' ', "\\u{20}");
        world.refused("weigh model --name org/model", code, &format!("{shown}: {sentence}"));
    }
    let world = World::empty();
    world.write("model/Readme", "");
    world.write("model/readme/x", "");
    let sentence = "readme: the same as Readme where case does not count";
    world.refused("weigh model --name org/model", 1422, sentence).hints("rename it");
}

#[test]
fn files_of_the_same_content_are_counted_by_fetch_as_they_are_by_weigh() {
    // Regression: a fetch counted both files but the bytes of one, so that it seemed to have fetched less than was
    // weighed.
    let world = World::with_model();
    world.write("llama/one.bin", vec![7; 100_000]);
    world.write("llama/two.bin", vec![7; 100_000]);
    let objects = world.run("weigh llama --name org/llama --key @alice.key --json").done().objects();
    let says = &objects.last().unwrap()["says"];
    let fetch = "fetch llama -o out --name org/llama --vkey @alice";
    let objects = world.run(&format!("{fetch} --json")).done().objects();
    let result = objects.last().unwrap();
    assert_eq!((&result["files"], &result["bytes"]), (&13.into(), &says["bytes"]), "{says}");
    let verified = world.run("verify out --name org/llama --vkey @alice").done();
    let counted = verified.stdout.lines().find_map(|line| line.strip_prefix("verified ")).unwrap();
    world.run(fetch).done().prints(&format!("fetched  {counted}"));
}

#[cfg(unix)]
mod links {
    use std::{
        ffi::OsStr,
        fs,
        os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    };

    use super::VERIFY;
    use crate::command::kit::World;

    #[test]
    fn what_is_no_file_of_the_model_is_refused_by_both_sides() {
        type Add = fn(&World);
        let cases: [(&str, Add, u16, &str); 8] = [
            (
                "a link out of the model",
                |w| symlink("../outside", w.path("llama/x")).unwrap(),
                5102,
                "the link leads out of the model, to ",
            ),
            (
                "an absolute link",
                |w| symlink("/etc/passwd", w.path("llama/x")).unwrap(),
                5102,
                "the link leads out of the model, to /etc/passwd",
            ),
            (
                "a link to a folder",
                |w| symlink("1_Pooling", w.path("llama/x")).unwrap(),
                5103,
                "the link leads to a folder",
            ),
            (
                "a link to nothing",
                |w| symlink("nothing", w.path("llama/x")).unwrap(),
                5105,
                "the link leads nowhere",
            ),
            (
                "a link to itself",
                |w| symlink("x", w.path("llama/x")).unwrap(),
                5105,
                "the link leads nowhere",
            ),
            (
                "a FIFO",
                |w| w.fifo("llama/x"),
                5104,
                "neither a file nor a folder, but a FIFO, socket or device",
            ),
            (
                "a socket",
                |w| drop(UnixListener::bind(w.path("llama/x")).unwrap()),
                5104,
                "neither a file nor a folder",
            ),
            (
                "a device",
                |w| symlink("/dev/null", w.path("llama/x")).unwrap(),
                5102,
                "the link leads out of the model",
            ),
        ];
        for (name, add, code, sentence) in cases {
            println!("{name}");
            let world = World::weighed();
            world.write("outside", "a secret");
            add(&world);
            world.refused("weigh llama --name org/llama -o other", code, &format!("x: {sentence}"));
            assert!(!world.exists("other"), "something was written");
            world.refused(VERIFY, code, sentence).prints("refused  x ");
            // Only files may pass as extra. Regression: a program that read `x` read the target of the link.
            world.refused(&format!("{VERIFY} --allow-extra"), code, sentence).prints("refused  x ");
        }
    }

    #[test]
    fn a_fetch_says_of_a_link_beside_the_model_what_it_is() {
        // Regression: the link was reported as "not listed, not part of the model", like a forgotten text file.
        let world = World::weighed();
        let fetch = "fetch llama -o out --name org/llama --vkey @alice";
        world.run(fetch).done();
        symlink("/etc/passwd", world.path("out/link")).unwrap();
        world.write("out/notes.txt", "mine");
        let said = "extra    link  the link leads out of the model, to /etc/passwd [W5102]";
        world.run(fetch).done().prints(said).prints("extra    notes.txt  not listed, not part of the model");
        let objects = world.run(&format!("{fetch} --json")).done().objects();
        let codes: Vec<_> = objects.iter().filter(|o| o["event"] == "extra").map(|o| &o["code"]).collect();
        assert_eq!(codes, [&serde_json::Value::from(5102), &serde_json::Value::Null]);
    }

    #[test]
    fn a_listed_file_is_not_followed_out_of_the_model() {
        let world = World::weighed();
        world.write("outside", world.read("llama/config.json"));
        world.remove("llama/config.json");
        symlink("../outside", world.path("llama/config.json")).unwrap();
        world.refused(VERIFY, 5102, "the link leads out of the model").prints("refused  config.json ");
        world.remove("llama/config.json");
        world.fifo("llama/config.json");
        world.refused(VERIFY, 5104, "neither a file nor a folder").prints("refused  config.json ");
    }

    #[test]
    fn a_fifo_in_place_of_metadata_is_never_waited_for() {
        let world = World::weighed();
        for file in ["chunks.layer", "tensors.jsonl", "files.jsonl", "head.note"] {
            let path = format!("llama/weighbridge/{file}");
            world.remove(&path);
            world.fifo(&path);
            world.unjudged(VERIFY, 9002, &format!("cannot read {path}: not a regular file"));
        }
    }

    #[test]
    fn a_link_within_the_model_counts_as_its_file() {
        let world = World::with_model();
        symlink("1_Pooling/config.json", world.path("llama/pooling.json")).unwrap();
        world.run("weigh llama --name org/llama --key @alice.key").done();
        world.run(VERIFY).done().prints("ok       pooling.json ");
        // A copy of the file in place of the link makes the same model.
        world.remove("llama/pooling.json");
        world.write("llama/pooling.json", world.read("llama/1_Pooling/config.json"));
        world.run(VERIFY).done();
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused() {
        let world = World::weighed();
        let name = OsStr::from_bytes(b"llama/\xff.json");
        if fs::write(world.path("").join(name), "").is_err() {
            return crate::command::kit::skip("this file system takes no such name");
        }
        world.refused(VERIFY, 1411, "the name is not UTF-8");
        world
            .refused("weigh llama --name org/llama -o other", 1411, "the name is not UTF-8")
            .hints("move it out");
    }

    /// `snapshots/REVISION/...` has links into `blobs`, the layout of Hugging Face's caches.
    #[test]
    fn a_hugging_face_cache_is_the_same_model_as_the_plain_folder() {
        let world = World::weighed();
        let cache = "hub/models--org--llama";
        let snapshot = format!("{cache}/snapshots/0123abcd");
        let list = world.text("llama/weighbridge/files.jsonl");
        fs::create_dir_all(world.path(&format!("{cache}/blobs"))).unwrap();
        for (number, line) in list.lines().enumerate() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = entry["file"].as_str().unwrap();
            let blob = format!("{cache}/blobs/{number:040x}");
            fs::copy(world.path(&format!("llama/{path}")), world.path(&blob)).unwrap();
            let link = world.path(&format!("{snapshot}/{path}"));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let up = "../".repeat(2 + path.matches('/').count());
            symlink(format!("{up}blobs/{number:040x}"), link).unwrap();
        }
        world.run(&format!("verify {snapshot} --meta llama --vkey @alice")).done();
        world.run(&format!("weigh {snapshot} --name org/llama -o meta --chunk-size 16KiB")).done();
        for file in ["files.jsonl", "tensors.jsonl", "chunks.layer"] {
            assert!(
                world.read(&format!("meta/{file}")) == world.read(&format!("llama/weighbridge/{file}")),
                "{file}"
            );
        }
        // The cache permits no link to other places.
        symlink("../../refs", world.path(&format!("{snapshot}/x"))).unwrap();
        world.write(&format!("{cache}/refs"), "0123abcd");
        world.refused(
            &format!("verify {snapshot} --meta llama --vkey @alice"),
            5102,
            "the link leads out of the model",
        );
    }
}
