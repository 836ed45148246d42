//! `node`: a cache that is filled while it is asked.

mod budget;

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weighbridge_testkit::{bytes, safetensors};

use crate::{command::kit::World, fleet::Fleet, process::Process};

/// A node and the origin that it asks, in the world of a fleet.
struct Scene {
    fleet: Fleet,
    origin: Process,
    origin_url: String,
}

impl Scene {
    fn of(fleet: Fleet) -> Self {
        Self::with(fleet, "first", "")
    }

    /// An origin of these folders, and a node with more lines in its configuration.
    fn with(fleet: Fleet, folders: &str, more: &str) -> Self {
        let world = &fleet.world;
        let origin = Process::start(world.command(&format!("serve {folders} --listen 127.0.0.1:0")));
        let origin_url = url(&origin);
        configure(world, &fleet.vkey, &origin_url, more);
        Self { fleet, origin, origin_url }
    }

    fn node(&self) -> (Process, String) {
        let node = Process::start(self.fleet.world.command("node --config node.toml"));
        let url = url(&node);
        (node, url)
    }

    fn shard(&self) -> Vec<u8> {
        fs::read(self.fleet.model.join(SHARD)).unwrap()
    }

    /// How many fetches the origin has seen: each asks once for the head, the two lists and the layers. Their bytes do not tell,
    /// since chunks that one connection takes over from another may be on their way twice.
    fn fetches(&self) -> u64 {
        let figures = String::from_utf8(curl(&format!("{}/metrics", self.origin_url), "")).unwrap();
        let lines =
            figures.lines().filter(|line| line.starts_with("weighbridge_requests_total{route=\"metadata\""));
        let asked: u64 = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(asked % 4, 0, "{asked} requests");
        asked / 4
    }

    fn is_kept(&self) -> bool {
        self.fleet.world.exists("hub/models--org--llama/refs/main")
    }

    /// Waits until the model is in the cache.
    fn kept(&self) {
        let start = Instant::now();
        while !self.is_kept() {
            assert!(start.elapsed() < Duration::from_secs(30), "it is kept");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Writes the configuration of a node that asks this origin, and believes this key, with more lines.
fn configure(world: &World, vkey: &str, origin: &str, more: &str) {
    let policy = format!("[[publisher]]\nscope = \"org/*\"\n[[publisher.key]]\nvkey = {vkey:?}\n");
    world.write("policy.toml", policy);
    world.write(
        "node.toml",
        format!(
            "listen = \"127.0.0.1:0\"\ncache = \"hub\"\npolicy = \"policy.toml\"\n{more}\
             [[origin]]\nmodels = \"org/*\"\nsources = [\"{origin}/{{name}}\"]\n"
        ),
    );
}

const SHARD: &str = SHARDS[0];
const SHARDS: [&str; 4] = [
    "model-00001-of-00004.safetensors",
    "model-00002-of-00004.safetensors",
    "model-00003-of-00004.safetensors",
    "model-00004-of-00004.safetensors",
];

fn url(process: &Process) -> String {
    let (_, listening) = process.wait_for(|object| object["event"] == "listening");
    listening["url"].as_str().unwrap().to_owned()
}

/// The body that curl gets.
fn curl(url: &str, more: &str) -> Vec<u8> {
    let words = more.split_whitespace();
    let output = Command::new("curl").args(["-s", "--max-time", "60"]).args(words).arg(url).output().unwrap();
    output.stdout
}

/// The node gives a file while it fetches, keeps the model, gives it without the origin, and knows it after a restart.
#[test]
fn a_node_gives_what_it_does_not_have_and_keeps_it() {
    let scene = Scene::of(Fleet::of(20_000_000, "64KiB"));
    let (node, url) = scene.node();
    let resolve = |url: &str| format!("{url}/org/llama/resolve/main/{SHARD}");
    let shard = scene.shard();
    assert!(curl(&resolve(&url), "") == shard);
    scene.kept();
    // It is published from the cache now, by the same name.
    node.wait_for(|object| object["event"] == "published");
    assert_eq!(scene.fetches(), 1);
    let Scene { fleet, origin, .. } = scene;
    origin.kill();
    assert!(curl(&resolve(&url), "-r 5-10000") == shard[5..=10_000]);
    node.signal(rustix::process::Signal::TERM);
    drop(node);
    let node = Process::start(fleet.world.command("node --config node.toml"));
    let url = self::url(&node);
    assert!(curl(&resolve(&url), "") == shard);
    // The folder is one that loaders read, and that verifies.
    let revision = fleet.world.text("hub/models--org--llama/refs/main");
    let snapshot = format!("hub/models--org--llama/snapshots/{}", revision.trim());
    fleet.world.run(&format!("verify {snapshot} --vkey {}", fleet.vkey)).done();
}

/// A fetch from a cold node waits for what the node waits for.
#[test]
fn a_model_is_fetched_from_a_node_that_has_nothing_yet() {
    let scene = Scene::of(Fleet::of(20_000_000, "64KiB"));
    let (_node, url) = scene.node();
    let fleet = &scene.fleet;
    let line = format!("fetch {url}/org/llama -o copy --name org/llama --vkey {}", fleet.vkey);
    fleet.world.run(&line).done();
    fleet.assert_same(&fleet.world.path("copy"), &fleet.model);
    assert_eq!(scene.fetches(), 1);
}

/// Kills at many moments of a fetch: no wrong byte is given, and the next node goes on from what has come.
#[test]
fn a_node_that_is_killed_goes_on_from_what_has_come() {
    let scene = Scene::of(Fleet::of(40_000_000, "64KiB"));
    let shard = scene.shard();
    for after in [0, 20, 60, 150] {
        let (node, url) = scene.node();
        let resolve = format!("{url}/org/llama/resolve/main/{SHARD}");
        let asking = thread::spawn(move || curl(&resolve, "--limit-rate 20M"));
        thread::sleep(Duration::from_millis(after));
        node.kill();
        let got = asking.join().unwrap();
        assert!(shard.starts_with(&got), "{} bytes are not those of the file", got.len());
    }
    let (_node, url) = scene.node();
    assert!(curl(&format!("{url}/org/llama/resolve/main/{SHARD}"), "") == shard);
    scene.kept();
}

/// Ten models that were tuned from one, each with two of ten tensors changed: what they have in common is fetched once.
#[test]
fn a_family_of_fine_tunes_costs_its_distinct_tensors() {
    const TENSOR: usize = 600_000;
    let world = World::empty();
    let vkey = world.vkey("alice");
    let file = |tune: u8| {
        let is_changed = |n: u8| tune > 0 && (n == tune % 10 || n == (tune + 4) % 10);
        let seed = |n: u8| if is_changed(n) { 100 + 10 * tune + n } else { n };
        let tensors: Vec<_> = (0..10).map(|n| (format!("t{n}"), bytes(TENSOR, seed(n)))).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, bytes)| (name.as_str(), &**bytes)).collect();
        safetensors(&tensors)
    };
    for tune in 0..=10 {
        world.write(&format!("tunes/{tune}/model.safetensors"), file(tune));
        let line = format!("weigh tunes/{tune} --name org/tune-{tune} --chunk-size 16KiB --key @alice.key");
        let _ = world.run(&line).done();
    }
    let origin = Process::start(world.command("serve tunes --listen 127.0.0.1:0"));
    let origin_url = url(&origin);
    configure(&world, &vkey.to_string(), &origin_url, "");
    let node = Process::start(world.command("node --config node.toml"));
    let node_url = url(&node);
    for tune in 0..=10 {
        let name = format!("org/tune-{tune}");
        let given = curl(&format!("{node_url}/{name}/resolve/main/model.safetensors"), "");
        assert!(given == file(tune), "{name}");
        // From then on the others find its tensors.
        node.wait_for(|object| object["event"] == "published" && object["name"] == name);
    }
    let figures = String::from_utf8(curl(&format!("{origin_url}/metrics"), "")).unwrap();
    // Bytes that two connections asked for at once are given twice: the second time does not count.
    let first = figures.lines().filter(|line| line.contains("given=\"first\""));
    let mut fetched: u64 = first.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    for tune in 0..=10 {
        for list in ["head.note", "files.jsonl", "tensors.jsonl", "chunks.layer"] {
            fetched += fs::metadata(world.path(&format!("tunes/{tune}/weighbridge/{list}"))).unwrap().len();
        }
    }
    let distinct = (10 + 10 * 2) * u64::try_from(TENSOR).unwrap();
    assert!(fetched >= distinct, "{fetched} of {distinct}");
    assert!(fetched * 100 <= distinct * 105, "{fetched} of {distinct}");
}

#[test]
fn a_faulty_configuration_is_refused_and_its_place_is_named() {
    let scene = Scene::of(Fleet::of(100_000, "64KiB"));
    let world = &scene.fleet.world;
    let good = world.text("node.toml");
    world.write("node.toml", good.replace("cache", "cash"));
    world.run("node --config node.toml").unjudged(9001, "line 2: unknown field `cash`");
    world.write("node.toml", good.replace("policy.toml", "none.toml"));
    world.run("node --config node.toml").unjudged(9002, "none.toml");
    world.run("node --config nowhere.toml").unjudged(9002, "nowhere.toml");
}

/// An older revision at the origin does not take the place of a newer one that the node had.
#[test]
fn a_node_remembers_what_it_took() {
    let fleet = Fleet::of(1_000_000, "64KiB");
    fleet.revise();
    fleet.world.rename("first", "older");
    fleet.world.rename("second", "first");
    let scene = Scene::of(fleet);
    let (node, url) = scene.node();
    let config = curl(&format!("{url}/org/llama/resolve/main/config.json"), "");
    assert!(String::from_utf8_lossy(&config).contains("131072"));
    scene.kept();
    node.kill();
    let world = &scene.fleet.world;
    fs::remove_dir_all(world.path("hub/models--org--llama")).unwrap();
    fs::remove_dir_all(world.path("first")).unwrap();
    world.rename("older", "first");
    let (_node, url) = scene.node();
    let start = Instant::now();
    loop {
        // The origin notices within a second that another release lies there.
        let answer = curl(&format!("{url}/org/llama/resolve/main/config.json"), "-w %{http_code}");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains("\"vocab_size\"") || answer.contains("131072"), "{answer}");
        if answer.contains("revision") && answer.ends_with("503") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{answer}");
        thread::sleep(Duration::from_millis(200));
    }
    let _: Value = serde_json::from_str(&world.text("hub/.weighbridge-heads.json")).unwrap();
}

/// Two models are fetched at one rate: the rest of the one, which nobody waits for, and the other, for which clients wait. At equal
/// shares the first would be complete long before the second.
#[test]
fn what_clients_wait_for_comes_before_the_rest_of_other_models() {
    let fleet = Fleet::of(8_000_000, "64KiB");
    let other = fleet.other_model();
    let scene = Scene::with(fleet, "first other", "receive = \"1MB\"\n");
    let (_node, url) = scene.node();
    let resolve = |name: &str, shard: usize| format!("{url}/org/{name}/resolve/main/{}", SHARDS[shard]);
    assert!(curl(&resolve("llama", 0), "") == scene.shard());
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|shard| {
                let url = resolve("other", shard);
                scope.spawn(move || curl(&url, ""))
            })
            .collect();
        // One byte of the second model has come, so its fetch has begun.
        assert_eq!(curl(&resolve("other", 3), "-r 0-0").len(), 1);
        // A client that waits for the first model has its share at once.
        let last = fs::read(scene.fleet.model.join(SHARDS[3])).unwrap();
        let len = last.len();
        assert!(curl(&resolve("llama", 3), &format!("-r {}-", len - 100)) == last[len - 100..]);
        assert!(waiting.iter().any(|client| !client.is_finished()), "it waited for the second model");
        for (shard, client) in waiting.into_iter().enumerate() {
            assert!(client.join().unwrap() == fs::read(other.join(SHARDS[shard])).unwrap(), "{shard}");
        }
    });
    assert!(!scene.is_kept(), "the rest of the first model came before what clients waited for");
}

/// A fetch from the node began first, and takes half of what the clients of a hub take. At equal shares it would end first.
#[test]
fn clients_of_a_node_are_given_their_bytes_before_other_nodes() {
    let scene = Scene::with(Fleet::of(16_000_000, "64KiB"), "first", "send = \"1MB\"\n");
    let (_node, url) = scene.node();
    assert_eq!(curl(&format!("{url}/org/llama/resolve/main/{SHARD}"), "-r 0-0").len(), 1);
    scene.kept();
    let came = scene.fleet.world.path("came");
    let mut peer = Command::new("curl")
        .args(["-s", "--max-time", "60", "-o"])
        .arg(&came)
        .arg(format!("{url}/org/llama/{SHARD}"))
        .spawn()
        .unwrap();
    while fs::metadata(&came).map_or(0, |file| file.len()) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    for shard in &SHARDS[1..3] {
        let body = curl(&format!("{url}/org/llama/resolve/main/{shard}"), "");
        assert!(body == fs::read(scene.fleet.model.join(shard)).unwrap());
    }
    assert!(peer.try_wait().unwrap().is_none(), "the fetch had a share beside the client");
    assert!(peer.wait().unwrap().success());
    assert!(fs::read(&came).unwrap() == scene.shard());
}

#[test]
fn a_rate_that_is_none_is_refused_and_its_key_is_named() {
    let scene = Scene::with(Fleet::of(100_000, "64KiB"), "first", "send = \"08:00-18:00 1MB\"\n");
    let refused = scene.fleet.world.run("node --config node.toml");
    refused.unjudged(9001, "send: the other times need a rate too");
}
