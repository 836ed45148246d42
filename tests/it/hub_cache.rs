//! `fetch` and `import` into a Hugging Face cache, and what reads a release there.

use std::{
    collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::PathBuf, process::Stdio, time::Duration,
};

use weighbridge_testkit::servers::{Faulty, Hub};

use crate::{
    command::kit::{Ran, World},
    fleet::Fleet,
};

const REPOSITORY: &str = "hub/models--org--llama";
/// The commit of a snapshot that a client of the hub has made.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn fleet() -> Fleet {
    Fleet::of(3_000_000, "64KiB")
}

fn line(fleet: &Fleet, sources: &str, more: &str) -> String {
    format!("fetch {sources} --hf-cache=hub --name org/llama --vkey {} {more}", fleet.vkey)
        .trim_end()
        .to_owned()
}

/// Fetches into the cache; returns the bytes that were received, and the snapshot.
#[track_caller]
fn fetch(fleet: &Fleet, sources: &str) -> (u64, String) {
    let objects = fleet.world.run(&line(fleet, sources, "--json")).done().objects();
    let result = objects.last().unwrap();
    let snapshot = PathBuf::from(result["folder"].as_str().unwrap());
    let hub = fs::canonicalize(fleet.world.path("hub")).unwrap();
    let below = snapshot.strip_prefix(hub.parent().unwrap()).unwrap().to_str().unwrap().to_owned();
    (result["received"].as_u64().unwrap(), below)
}

/// Expects a snapshot that is whole, of links alone, and which `refs/main` names.
#[track_caller]
fn assert_current(fleet: &Fleet, snapshot: &str, as_in: &str) {
    let world = &fleet.world;
    let id = world.head_id(&format!("{as_in}/weighbridge"));
    assert_eq!(snapshot, format!("{REPOSITORY}/snapshots/{}", &id[..40]));
    assert_eq!(world.text(&format!("{REPOSITORY}/refs/main")), id[..40]);
    assert!(!world.exists(&format!("{REPOSITORY}/weighbridge/incoming")));
    for path in fleet.files() {
        let there = world.path(&format!("{snapshot}/{path}"));
        assert!(there.symlink_metadata().unwrap().is_symlink(), "{path}");
        assert!(fs::read(there).unwrap() == world.read(&format!("{as_in}/{path}")), "{path}");
    }
    let _ = world.run(&format!("verify {snapshot} --name org/llama --vkey {}", fleet.vkey)).done();
}

#[test]
fn a_fetched_release_is_in_the_cache_and_its_snapshot_is_a_model_folder() {
    let fleet = fleet();
    let (world, vkey) = (&fleet.world, &fleet.vkey);
    let (_, snapshot) = fetch(&fleet, "first");
    assert_current(&fleet, &snapshot, "first");

    // Whatever reads a model folder reads the snapshot, without being told where the metadata are.
    let of = format!("--name org/llama --vkey {vkey}");
    let _ = world.run(&format!("verify {snapshot} --tensors {of}")).done();
    let _ = world.run(&format!("verify {snapshot} --partial {of}")).done();
    let _ = world.run(&format!("inspect {snapshot}")).done().prints("org/llama");
    let _ = world.run(&format!("prove {snapshot} --file config.json -o proof")).done();
    let _ = world.run(&format!("check proof {of}")).done();
    let _ = world.run(&format!("fetch {snapshot} -o copy {of}")).done();
    fleet.assert_same(&world.path("copy"), &fleet.model);
    let _ = world.run(&format!("diff {snapshot} first")).done();
    // A further signature is added where the metadata are.
    let _ = world.run(&format!("sign {snapshot} --key @bob.key")).done();
    let _ = world.run(&format!("verify {snapshot} --name org/llama --vkey @bob")).done();
    // A wrong byte is refused there too.
    let blob = fs::canonicalize(world.path(&format!("{snapshot}/config.json"))).unwrap();
    fs::write(&blob, vec![b' '; usize::try_from(blob.metadata().unwrap().len()).unwrap()]).unwrap();
    world.refused(&format!("verify {snapshot} {of}"), 2101, "config.json").hints("--hf-cache");
    let (received, _) = fetch(&fleet, "first");
    assert!(received < 100_000, "{received}: the rest was there");
    assert_current(&fleet, &snapshot, "first");
}

#[test]
fn the_cache_is_the_one_that_clients_of_the_hub_use() {
    let fleet = fleet();
    let words = line(&fleet, "first", "").replace("--hf-cache=hub", "--hf-cache");
    for (name, value) in [("HF_HUB_CACHE", "a"), ("HF_HOME", "b"), ("XDG_CACHE_HOME", "c"), ("HOME", "d")] {
        let mut command = fleet.world.command(&words);
        for other in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(other);
        }
        let _ = Ran::of(command.env("HOME", fleet.world.path("d")).env(name, fleet.world.path(value))).done();
    }
    for hub in ["a", "b/hub", "c/huggingface/hub", "d/.cache/huggingface/hub"] {
        assert!(fleet.world.exists(&format!("{hub}/models--org--llama/refs/main")), "{hub}");
    }
}

#[test]
fn the_next_release_costs_what_has_changed() {
    let fleet = fleet();
    let world = &fleet.world;
    drop(fleet.revise());
    let (_, first) = fetch(&fleet, "first");
    let shared = world.path(&format!("{first}/model-00001-of-00004.safetensors"));
    let before = fs::metadata(&shared).unwrap().ino();
    let (received, second) = fetch(&fleet, "second");
    assert!(received < 300_000, "{received}");
    assert_current(&fleet, &second, "second");
    let of_second = world.path(&format!("{second}/model-00001-of-00004.safetensors"));
    assert_eq!(fs::metadata(&of_second).unwrap().ino(), before, "it is there twice");
    // The earlier one stays, and is found by its name.
    let of = format!("--name org/llama --vkey {}", fleet.vkey);
    world.forget();
    let _ = world.run(&format!("verify {first} {of}")).done();
    let blobs = fs::read_dir(world.path(&format!("{REPOSITORY}/blobs"))).unwrap().count();
    assert_eq!(blobs, fleet.files().len() + Fleet::CHANGED.len());
}

#[test]
fn files_that_are_not_wanted_are_not_in_the_snapshot() {
    let fleet = fleet();
    let ran = fleet.world.run(&line(&fleet, "first", "--only *.json")).done();
    let snapshot = fs::read_dir(fleet.world.path(&format!("{REPOSITORY}/snapshots"))).unwrap();
    let snapshot = snapshot.map(|entry| entry.unwrap().path()).next().unwrap();
    ran.prints(&format!("wrote    {}", fs::canonicalize(&snapshot).unwrap().to_str().unwrap()));
    let names = fs::read_dir(&snapshot).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(names, fleet.files().into_iter().filter(|path| path.ends_with(".json")).collect());
    let (_, snapshot) = fetch(&fleet, "first");
    assert_current(&fleet, &snapshot, "first");
}

#[test]
fn of_two_fetches_at_once_the_second_waits_and_finds_everything() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(1_000_000);
    let words = line(&fleet, &server.url(), "--json");
    let first = fleet.world.command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while !fleet.world.exists(&format!("{REPOSITORY}/weighbridge/lock")) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let second = Ran::of(&mut fleet.world.command(&words)).done();
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success());
    let notes = second.objects();
    let note = notes.iter().find(|object| object["event"] == "note").unwrap();
    let said = note["message"].as_str().unwrap();
    assert!(
        said.contains("puts org/llama into the cache; waiting for it: a fetch or import, process "),
        "{said}"
    );
    let received = notes.last().unwrap()["received"].as_u64().unwrap();
    assert!(received < 300_000, "{received}: it was there");
    let (_, snapshot) = fetch(&fleet, "first");
    assert_current(&fleet, &snapshot, "first");
}

/// The killed ones leave the earlier release to loaders, and what has come to the next fetch.
#[test]
fn fetches_that_are_killed_leave_the_earlier_release_and_are_gone_on_with() {
    let fleet = fleet();
    drop(fleet.revise());
    let (_, first) = fetch(&fleet, "first");
    let server = Faulty::start(&fleet.world.path("second"));
    server.limit_rate(400_000);
    let words = line(&fleet, &server.url(), "");
    let mut kills = 0;
    for moment in 1..=12 {
        kills += u64::from(fleet.world.is_killed(&words, Duration::from_millis(moment * 60)));
        let main = fleet.world.text(&format!("{REPOSITORY}/refs/main"));
        let snapshot = format!("{REPOSITORY}/snapshots/{main}");
        fleet.world.forget();
        let of = format!("--name org/llama --vkey {}", fleet.vkey);
        let _ = fleet.world.run(&format!("verify {snapshot} {of}")).done();
    }
    assert!(kills > 2, "{kills}");
    server.limit_rate(None);
    let (_, second) = fetch(&fleet, &server.url());
    assert_current(&fleet, &second, "second");
    assert_ne!(first, second);
}

#[test]
fn what_has_no_place_in_a_cache_is_refused_before_anything_is_asked_for() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let url = server.url();
    let words = |name: &str, more: &str| {
        format!("fetch {url} --hf-cache=hub --vkey {} {name} {more}", fleet.vkey).trim_end().to_owned()
    };
    let world = &fleet.world;
    for name in ["llama", "org/team/llama", "org--team/llama"] {
        let unjudged = world.unjudged(&words(&format!("--name {name}"), ""), 9210, name);
        unjudged.hints("-o DIR");
    }
    fs::create_dir_all(world.path("hub/models--ORG--llama")).unwrap();
    world.unjudged(&words("--name org/llama", ""), 9210, "by the case of its letters");
    fs::remove_dir(world.path("hub/models--ORG--llama")).unwrap();
    // A client of the hub has put something there.
    world.write(&format!("{REPOSITORY}/refs/main"), COMMIT);
    world.unjudged(&words("--name org/llama", ""), 9211, "refs/main names a revision").hints("--replace");
    let id = world.head_id("first/weighbridge");
    let _ =
        world.run(&words(&format!("--head {id}"), "")).unjudged(9001, "name was not said").hints("--name");
    for more in ["-o out", "--prune", "--tensor *", "--any-name"] {
        let name = if more == "--any-name" { "" } else { "--name org/llama" };
        let line =
            format!("fetch {url} --hf-cache=hub --vkey {} {name} {more}", fleet.vkey).replace("  ", " ");
        let _ = world.run(&line).misused();
    }
    let _ = world.run(&format!("fetch {url} --name org/llama --vkey {}", fleet.vkey)).misused();
    assert_eq!(server.requests().len(), 0);
    assert_eq!(world.text(&format!("{REPOSITORY}/refs/main")), COMMIT);
    let _ = world.run(&words("--name org/llama", "--replace")).done();
    let (_, snapshot) = fetch(&fleet, "first");
    assert_current(&fleet, &snapshot, "first");
}

/// A model of a hub, which a client of the hub has put into the cache, and that nobody weighed.
fn unweighed() -> (World, Hub) {
    let fleet = fleet();
    let Fleet { world, .. } = fleet;
    fs::remove_dir_all(world.path("first/weighbridge")).unwrap();
    let hub = Hub::start();
    let commit = hub.commit("org/llama", &world.path("first"));
    for (number, (path, bytes)) in world.files("first").into_iter().enumerate() {
        world.write(&format!("{REPOSITORY}/blobs/e{number}"), bytes);
        let link = world.path(&format!("{REPOSITORY}/snapshots/{commit}/{path}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/e{number}"), link).unwrap();
    }
    world.write(&format!("{REPOSITORY}/refs/main"), commit);
    (world, hub)
}

fn import(world: &World, hub: &Hub, more: &str) -> Ran {
    let line = format!("import hf://org/llama --hf-cache=hub --key @alice.key --json {more}");
    let mut command = world.command(line.trim_end());
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    Ran::of(command.env("HF_ENDPOINT", hub.url()).env("HF_HOME", world.path("none")))
}

#[test]
fn a_model_that_a_client_of_the_hub_has_fetched_is_signed_without_fetching_it_again() {
    let (world, hub) = unweighed();
    let before = world.files(REPOSITORY);
    let _ = import(&world, &hub, "").unjudged(9211, "");
    assert_eq!(world.files(REPOSITORY), before, "something was changed");
    let objects = import(&world, &hub, "--replace").done().objects();
    let imported = objects.last().unwrap();
    assert_eq!(imported["received"], 0, "{imported}");
    let snapshot = imported["folder"].as_str().unwrap();
    let verify = format!("verify {snapshot} --name org/llama --vkey @alice --tensors");
    let _ = world.run(&verify).done();
    // What the client has stays.
    for (path, bytes) in before.iter().filter(|(path, _)| path != "refs/main") {
        assert!(world.read(&format!("{REPOSITORY}/{path}")) == *bytes, "{path}");
    }

    // The same commit is nothing new; the next one costs what has changed.
    let _ = import(&world, &hub, "").unjudged(9101, "").hints("--update");
    let current = import(&world, &hub, "--update").done().objects();
    let current = current.last().unwrap();
    assert_eq!((&current["event"], &current["folder"]), (&"current".into(), &imported["folder"]));
    world.write("first/README.md", "# another");
    fs::remove_file(world.path("first/model.safetensors.index.json")).unwrap();
    hub.commit("org/llama", &world.path("first"));
    let next = import(&world, &hub, "--update").done().objects();
    let next = next.last().unwrap();
    assert_eq!(next["received"], 9, "{next}");
    let snapshot = PathBuf::from(next["folder"].as_str().unwrap());
    assert!(!snapshot.join("model.safetensors.index.json").exists());
    assert_eq!(fs::read_to_string(snapshot.join("README.md")).unwrap(), "# another");
    let _ =
        world.run(&format!("verify {} --name org/llama --vkey @alice", snapshot.to_str().unwrap())).done();
}

#[test]
fn a_wrong_file_of_a_clients_cache_comes_anew_and_stays_where_it_was() {
    let (world, hub) = unweighed();
    let wrong = world.path(&format!("{REPOSITORY}/blobs/e0"));
    let mut bytes = fs::read(&wrong).unwrap();
    bytes[0] ^= 1;
    fs::write(&wrong, &bytes).unwrap();
    let objects = import(&world, &hub, "--replace").done().objects();
    let imported = objects.last().unwrap();
    assert_eq!(imported["received"].as_u64(), Some(bytes.len() as u64));
    let snapshot = imported["folder"].as_str().unwrap();
    let _ = world.run(&format!("verify {snapshot} --name org/llama --vkey @alice")).done();
    assert!(fs::read(&wrong).unwrap() == bytes, "it is the client's");
}

/// A client of the hub moves `refs/main` whenever it is online: the importer's releases go on all the same.
#[test]
fn an_importer_goes_on_from_the_latest_release_whatever_is_current() {
    let (world, hub) = unweighed();
    let revision = |objects: &[serde_json::Value]| objects.last().unwrap()["says"]["revision"].clone();
    assert_eq!(revision(&import(&world, &hub, "--replace").done().objects()), 1);
    for (next, text) in [(2, "# two"), (3, "# three")] {
        world.write(&format!("{REPOSITORY}/refs/main"), COMMIT);
        world.write("first/README.md", text);
        hub.commit("org/llama", &world.path("first"));
        let _ = import(&world, &hub, "--update").unjudged(9211, "");
        let _ = import(&world, &hub, "--replace").unjudged(9101, "").hints("--update");
        let objects = import(&world, &hub, "--replace --update").done().objects();
        assert_eq!(revision(&objects), next);
        assert_eq!(objects.last().unwrap()["received"], text.len());
    }
    // Another importer begins a line of releases of its own.
    let line = "import hf://org/llama --hf-cache=hub --key @bob.key --json --update";
    let mut command = world.command(line);
    let _ = Ran::of(command.env("HF_ENDPOINT", hub.url()).env("HF_HOME", world.path("none")))
        .unjudged(9001, "no release in the cache is signed by --key");
}

/// Editors replace the link by a file, and clients remove blobs.
#[test]
fn a_release_that_was_damaged_is_said_not_published_anew_and_mended_by_a_fetch() {
    let (world, hub) = unweighed();
    let objects = import(&world, &hub, "--replace").done().objects();
    let snapshot = PathBuf::from(objects.last().unwrap()["folder"].as_str().unwrap());
    let shown = snapshot.to_str().unwrap();
    let verify = format!("verify {shown} --name org/llama --vkey @alice");
    let config = snapshot.join("config.json");
    let (blob, bytes) = (fs::canonicalize(&config).unwrap(), fs::read(&config).unwrap());
    fs::remove_file(&config).unwrap();
    fs::write(&config, vec![b' '; bytes.len()]).unwrap();
    let _ = import(&world, &hub, "--update").done();
    assert!(fs::read(&blob).unwrap() == bytes, "what nobody verified was published");
    fs::remove_file(&config).unwrap();
    let _ = import(&world, &hub, "--update").unjudged(9107, "not whole: config.json").hints("--meta");
    fs::remove_file(&blob).unwrap();
    let fetch = format!("fetch hf://org/llama --meta {shown} --hf-cache=hub --vkey @alice");
    let mut command = world.command(&fetch);
    let _ = Ran::of(command.env("HF_ENDPOINT", hub.url()).env("HF_HOME", world.path("none"))).done();
    let _ = world.run(&verify).done();
    let _ = import(&world, &hub, "--update").done();
}
