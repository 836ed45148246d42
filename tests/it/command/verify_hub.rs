//! `verify --hub`: a folder against what a hub lists.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;
use weighbridge_testkit::servers::{Fault, Faulty, Hub, Visibility};

use super::kit::{Ran, World};

const NAME: &str = "org/llama";

/// A world with a hub that has its model, at `main` and at the returned commit.
fn hub() -> (World, Hub, String) {
    let world = World::with_model();
    world.copy("llama", "storage");
    let hub = Hub::start();
    let commit = hub.commit(NAME, &world.path("storage"));
    (world, hub, commit)
}

fn verify(world: &World, hub: &Hub, words: &str) -> Ran {
    verify_as(world, hub, words, "")
}

fn verify_as(world: &World, hub: &Hub, words: &str, token: &str) -> Ran {
    let mut command = world.command(&format!("verify llama --hub hf://{NAME}{words}"));
    command.env("HF_ENDPOINT", hub.url()).env("HF_TOKEN", token).env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    Ran::of(&mut command)
}

#[test]
fn a_folder_is_as_the_hub_lists_it_and_that_is_all_that_is_said() {
    let (world, hub, commit) = hub();
    hub.list_by(2);
    hub.describe(NAME, json!({"base_model": "org/base"}));
    let ran = verify(&world, &hub, "").done();
    let ran = ran
        .prints(&format!("listing  hf://{NAME}@{commit}  "))
        .prints("nobody signed it, and whoever can change files there can change this with them")
        .prints("as listed 11 files, ")
        .prints(&format!("by hf://{NAME}@{commit}, whom this trusts"));
    ran.expect(!ran.stdout.contains("verified"), "no word of verification");
    let objects = verify(&world, &hub, "@main --json").done().objects();
    let listing = &objects[0];
    assert_eq!((&listing["event"], &listing["signed"]), (&json!("listing"), &json!(false)));
    assert_eq!((&listing["commit"], &listing["commit_checked"]), (&json!(commit), &json!(false)));
    assert_eq!(listing["base_models"], json!(["org/base"]));
    let digests: Vec<_> = objects.iter().filter_map(|object| object["digest"].as_str()).collect();
    assert!(digests.len() == 11 && digests.iter().any(|digest| digest.starts_with("git-blob:")));
    assert!(digests.iter().any(|digest| digest.starts_with("sha256:")));
    let result = objects.last().unwrap();
    assert_eq!((&result["as_listed"], &result["files"]), (&json!(true), &json!(11)));
    assert_eq!(result["verified"], json!(null), "nothing is called verified");
    // Nothing but the listing is asked for.
    assert!(hub.front().requests().iter().all(|request| request.path.starts_with("api/")));
    assert!(hub.storage().requests().is_empty());
}

#[test]
fn a_byte_of_a_large_file_and_of_a_small_one_is_missed_by_both_digests() {
    let (world, hub, _) = hub();
    world.flip("llama/model-00001-of-00002.safetensors", 5_000);
    world.flip("llama/config.json", 0);
    let ran = verify(&world, &hub, "").refused(5601, "config.json");
    let ran = ran
        .prints("has git-blob:")
        .prints("listed is git-blob:")
        .prints("has sha256:")
        .prints("listed is sha256:");
    ran.says("2 of 11 files refused").hints("download the files named above again");
    let objects = verify(&world, &hub, " --json").refused(5601, "").objects();
    let refused: Vec<_> = objects.iter().filter(|object| object["status"] == "refused").collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|file| file["found"] != file["digest"] && file["found"].is_string()));
}

#[test]
fn what_is_missing_more_or_of_another_length_is_named() {
    let (world, hub, _) = hub();
    world.remove("llama/config.json");
    world.write("llama/extra.py", "print()");
    world.write("llama/empty.txt", "not empty");
    let ran = verify(&world, &hub, "").refused(2104, "the file is missing");
    ran.prints("empty.txt").prints("9 bytes, 0 are listed [W5602]").prints("the file is not listed [W2105]");
    verify(&world, &hub, " --only *.safetensors").done().prints("as listed 2 of 11 files, ");
    verify(&world, &hub, " --only none").misused();
    world.write("llama/config.json", world.read("storage/config.json"));
    world.write("llama/empty.txt", "");
    verify(&world, &hub, "").refused(2105, "extra.py");
    verify(&world, &hub, " --allow-extra").done().prints("; 1 file not listed; ");
}

#[test]
fn a_revision_is_the_one_that_is_named() {
    let (world, hub, first) = hub();
    world.copy("llama", "later");
    world.flip("later/config.json", 0);
    let second = hub.commit(NAME, &world.path("later"));
    verify(&world, &hub, "").refused(5601, "config.json").prints(&format!("@{second}"));
    verify(&world, &hub, &format!("@{first}")).done();
    hub.forget(NAME, &first);
    let gone = verify(&world, &hub, &format!("@{first}")).unjudged(9208, "no such revision of it");
    gone.expect(gone.stdout.is_empty(), "nothing on standard output");
}

#[test]
fn what_a_hub_does_not_give_is_no_verdict() {
    let (world, hub, _) = hub();
    hub.restrict(NAME, Visibility::Private);
    verify(&world, &hub, "").unjudged(9208, "answers 401 Unauthorized").hints("HF_TOKEN");
    verify_as(&world, &hub, "", "hf_wrong").unjudged(9208, "answers 401 Unauthorized").hints("HF_TOKEN");
    verify_as(&world, &hub, "", Hub::TOKEN).done();
    // Everybody may list what is gated.
    hub.restrict(NAME, Visibility::Gated);
    verify(&world, &hub, "").done();
    hub.limit(1, 1);
    verify(&world, &hub, "").done();
    hub.limit(1, 301);
    verify(&world, &hub, "").unjudged(9208, "asks to wait 301 s");
    for (body, sentence) in [("{}", "page 1: not the JSON of a hub"), ("[]", "no file is listed")] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
        let _ = hub.front().fail(Fault::Raw(answer.into_bytes()).on("*/tree/*"));
        verify(&world, &hub, "").unjudged(9209, sentence).hints("nothing of this model was judged");
        hub.front().mend();
    }
    world.run("verify llama --hub hf://a/b/c").misused();
    world.run("verify llama --hub llama").misused().says("only hubs (hf://) and folders of web servers");
    world.run("verify llama --hub http://192.0.2.1/m").misused().says("has to come by https");
    world.run("verify llama --hub hf://a/b --name org/llama").misused();
}

#[test]
fn a_folder_with_sums_lists_its_files_too() {
    let world = World::with_model();
    let server = Faulty::start(&world.path("llama"));
    let sums = std::process::Command::new("sh")
        .args(["-c", "find . -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS"])
        .current_dir(world.path("llama"))
        .status();
    assert!(sums.unwrap().success());
    world.copy("llama", "mine");
    world.remove("mine/SHA256SUMS");
    let line = format!("verify mine --hub {}", server.url());
    world.run(&line).done().prints("as listed 11 files, ");
    world.flip("mine/model-00002-of-00002.safetensors", 77);
    world.run(&line).refused(5601, "model-00002-of-00002.safetensors");
}

/// The cache of a hub's client, in which files are links to blobs.
#[test]
fn a_snapshot_of_a_cache_is_compared_as_a_folder_is() {
    let (world, hub, _) = hub();
    let (cache, files) = ("hub/models--org--llama", world.files("llama"));
    let snapshot = format!("{cache}/snapshots/0123abcd");
    fs::create_dir_all(world.path(&format!("{snapshot}/1_Pooling"))).unwrap();
    let pooling = "1_Pooling/config.json".to_owned();
    let all = files.into_iter().chain([(pooling.clone(), world.read(&format!("llama/{pooling}")))]);
    for (number, (name, bytes)) in all.enumerate() {
        let blob = format!("{number:040x}");
        world.write(&format!("{cache}/blobs/{blob}"), bytes);
        let up = if name.contains('/') { "../../../blobs" } else { "../../blobs" };
        symlink(format!("{up}/{blob}"), world.path(&format!("{snapshot}/{name}"))).unwrap();
    }
    let line = format!("verify {snapshot} --hub hf://{NAME}");
    let run = || Ran::of(world.command(&line).env("HF_ENDPOINT", hub.url()).env("HF_TOKEN", ""));
    let _ = run().done().prints("as listed 11 files, ");
    world.flip(&format!("{snapshot}/config.json"), 5);
    let _ = run().refused(5601, "");
}
