//! `node` with a budget: what it says of itself, what it is told, and what it counts after a kill.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weighbridge_store::power_cut::Dice;

use super::{SHARD, Scene, curl, url};
use crate::{command::kit::World, fleet::Fleet, process::Process};

/// Writes another configuration for the same cache. Nobody answers at its origin if none is given.
fn configure(world: &World, file: &str, budget: &str, origin: Option<&str>) {
    let origin = origin.unwrap_or("http://127.0.0.1:9");
    world.write(
        file,
        format!(
            "listen = \"127.0.0.1:0\"\ncache = \"hub\"\npolicy = \"policy.toml\"\nbudget = \"{budget}\"\n\
             [[origin]]\nmodels = \"org/*\"\nsources = [\"{origin}/{{name}}\"]\n"
        ),
    );
}

fn start(world: &World, file: &str) -> (Process, String) {
    let node = Process::start(world.command(&format!("node --config {file}")));
    let url = url(&node);
    (node, url)
}

/// The objects that a subcommand of `node` prints.
fn asked(world: &World, line: &str) -> Vec<Value> {
    let objects = world.run(&format!("node {line} --json")).done().objects();
    objects.into_iter().filter(|object| object["event"] != "note").collect()
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_running_node_says_what_it_keeps_and_is_told_what_to_keep() {
    let scene = Scene::of(Fleet::of(1_000_000, "64KiB"));
    let world = &scene.fleet.world;
    configure(world, "node.toml", "1GB", Some(&scene.origin_url));
    for line in ["ls", "plan", "status", "pin org/llama", "unpin org/llama", "evict org/llama"] {
        let line = format!("node {line} --config node.toml");
        world.run(&line).unjudged(9501, "no node that answers runs with this cache").hints("`budget`");
    }
    let (node, url) = start(world, "node.toml");
    assert_eq!(asked(world, "ls --config node.toml"), [Value::Null; 0]);
    let unknown = "org/llama: no release of it is known here";
    world.run("node pin org/llama --config node.toml").unjudged(9502, unknown);
    assert!(curl(&format!("{url}/org/llama/resolve/main/{SHARD}"), "") == scene.shard());
    scene.kept();

    let models = || asked(world, "ls --config node.toml");
    wait_for("its end is heard", || models().iter().any(|model| model["fetching"] == false));
    let model = &models()[0];
    let bytes = counted(&world.path("hub"));
    assert_eq!(
        (&model["name"], &model["bytes"], &model["size"]),
        (&"org/llama".into(), &bytes.into(), &bytes.into())
    );
    assert_eq!((&model["kept"], &model["in_use"], &model["asks"]), (&true.into(), &true.into(), &1.into()));
    assert_eq!(model["head"], world.head_id("first"));
    let status = &asked(world, "status --config node.toml")[0];
    assert_eq!(
        (&status["budget"], &status["used"], &status["held"]),
        (&1_000_000_000.into(), &bytes.into(), &bytes.into())
    );
    let forecasts = asked(world, "plan --config node.toml");
    assert_eq!(forecasts.iter().filter(|object| object["event"] == "forecast").count(), 6);

    world.run("node evict org/llama --config node.toml").unjudged(9502, "org/llama: it is in use");
    world.run("node pin org/llama --config node.toml").done().prints("pinned   org/llama\n");
    world.run("node ls --config node.toml").done().prints("kept     org/llama ").prints(", pinned, in use\n");
    world.run("node status --config node.toml").done().prints("budget   ").prints(" of 953.67 MiB used, ");
    world.run("node plan --config node.toml").done().prints("forecast rate ");

    // A pin outlives a kill. Nobody has asked the next node for the model.
    node.kill();
    let (_node, _) = start(world, "node.toml");
    assert_eq!((&models()[0]["pinned"], &models()[0]["in_use"]), (&true.into(), &false.into()));
    world.run("node evict org/llama --config node.toml").unjudged(9502, "org/llama: it is pinned");
    world.run("node unpin org/llama --config node.toml").done().prints("unpinned org/llama\n");
    assert_eq!(asked(world, "evict org/llama --config node.toml")[0]["done"], "evicted");
    assert!(!world.exists("hub/models--org--llama"));
}

/// A second node with a budget does not get the cache, and the first one goes on.
#[test]
fn a_cache_has_one_node_with_a_budget() {
    let scene = Scene::of(Fleet::of(100_000, "64KiB"));
    let world = &scene.fleet.world;
    configure(world, "node.toml", "1GB", None);
    let (_node, _) = start(world, "node.toml");
    world.run("node --config node.toml").unjudged(9002, "socket");
    assert_eq!(asked(world, "status --config node.toml")[0]["budget"], 1_000_000_000);
    // Without a budget, nothing is counted or removed.
    world.write("node.toml", world.text("node.toml").replace("budget = \"1GB\"\n", "budget = \"1 GB\"\n"));
    world.run("node --config node.toml").unjudged(9001, "a size is written like");
}

/// The bytes of blobs, and of what has come, as they lie on the disk.
fn counted(hub: &Path) -> u64 {
    let models = fs::read_dir(hub).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = models
        .filter(|model| model.is_dir())
        .flat_map(|model| [model.join("blobs"), model.join("weighbridge/incoming")])
        .collect();
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Models that go meanwhile do not count.
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                folders.push(entry.path());
            } else if found.nlink() == 1 {
                bytes += found.len().min(found.blocks() * 512);
            }
        }
    }
    bytes
}

/// Starts a node that removes nothing and gets nothing, and compares what it says with the folder. It is killed, too.
#[track_caller]
fn assert_counts(world: &World, when: &str) {
    let (node, _) = start(world, "counting.toml");
    let is_as_said = || {
        let status = &asked(world, "status --config counting.toml")[0];
        let here = status["held"].as_u64().unwrap() + status["passing"].as_u64().unwrap();
        // It may try to go on with a model, in vain.
        status["fetching"] == Value::Array(vec![]) && here == counted(&world.path("hub"))
    };
    let start = Instant::now();
    while !is_as_said() {
        let status = &asked(world, "status --config counting.toml")[0];
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{when}: {status}, and there are {} bytes",
            counted(&world.path("hub"))
        );
        thread::sleep(Duration::from_millis(50));
    }
    node.kill();
}

impl Scene {
    /// An origin of two models, and configurations of nodes that share a cache.
    fn counting() -> Self {
        let scene = Self::of(Fleet::of(20_000_000, "64KiB"));
        let world = &scene.fleet.world;
        configure(world, "node.toml", "1GB", Some(&scene.origin_url));
        configure(world, "small.toml", "1MB", Some(&scene.origin_url));
        configure(world, "counting.toml", "1GB", None);
        scene
    }

    /// Asks for a file, until the node is killed.
    fn ask(&self, url: &str) -> thread::JoinHandle<Vec<u8>> {
        let resolve = format!("{url}/org/llama/resolve/main/{SHARD}");
        thread::spawn(move || curl(&resolve, ""))
    }
}

/// Kills nodes while a model comes, while it gets its place, and while it goes.
#[test]
fn a_node_that_was_killed_counts_what_is_there() {
    let scene = Scene::counting();
    let world = &scene.fleet.world;
    let (hub, main) = (world.path("hub"), world.path("hub/models--org--llama/refs/main"));
    for part in [1, 2_000_000, 8_000_000, 16_000_000] {
        let (node, url) = start(world, "node.toml");
        let asking = scene.ask(&url);
        wait_for("it comes", || counted(&hub) >= part);
        node.kill();
        let _ = asking.join().unwrap();
        assert_counts(world, &format!("after {part} bytes"));
    }
    for place in ["weighbridge/publishing", "refs/main"] {
        fs::remove_dir_all(world.path("hub/models--org--llama")).unwrap();
        let (node, url) = start(world, "node.toml");
        let asking = scene.ask(&url);
        let place = world.path(&format!("hub/models--org--llama/{place}"));
        wait_for("it gets its place", || place.exists() || main.exists());
        node.kill();
        let _ = asking.join().unwrap();
        assert_counts(world, "while it got its place");
    }
    assert!(main.exists());
    let node = Process::start(world.command("node --config small.toml"));
    wait_for("it goes", || !main.exists());
    node.kill();
    assert_counts(world, "while it went");
}

/// Two hundred kills at any moment.
#[test]
#[ignore = "takes minutes"]
fn two_hundred_killed_nodes_count_what_is_there() {
    let scene = Scene::counting();
    let world = &scene.fleet.world;
    let mut dice = Dice(1);
    for round in 0..200 {
        let small = dice.roll(3) == 0;
        let node = Process::start(world.command(if small {
            "node --config small.toml"
        } else {
            "node --config node.toml"
        }));
        let after = Duration::from_micros(dice.roll(400_000));
        let asking = (!small).then(|| scene.ask(&url(&node)));
        thread::sleep(after);
        node.kill();
        let _ = asking.map(|asking| asking.join().unwrap());
        assert_counts(world, &format!("round {round}, after {after:?}, small: {small}"));
    }
}
