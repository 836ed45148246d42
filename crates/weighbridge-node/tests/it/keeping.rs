//! Nodes with a budget: what they keep, what goes, and what they fetch while nobody waits. Days pass at once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use weighbridge_demand::Release;
use weighbridge_manifest::{Expectation, ModelName, VerifiedHead};
use weighbridge_node::{Judge, NotTaken, Reply, Request, State};
use weighbridge_tree::HeadId;

use super::*;

/// Models at an origin, and the cache and clock of the nodes that ask it.
struct World {
    origin: Faulty,
    at_origin: Folder,
    cache: Folder,
    heads: Heads,
    clock: Arc<AtomicU64>,
}

/// Believes these heads.
#[derive(Clone, Debug, Default)]
struct Heads(BTreeMap<String, HeadId>);

impl Judge for Heads {
    fn demand(&self, name: &ModelName) -> Result<(TrustPolicy, Expectation), String> {
        let head = self.0.get(name.as_str()).ok_or("it has no head")?;
        Ok((TrustPolicy::pinned(*head), Expectation::any()))
    }

    fn accept(&self, _: &VerifiedHead, _: &TrustPolicy) -> Result<(), NotTaken> {
        Ok(())
    }
}

/// A node that runs until it is dropped.
struct Running {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok(), "the node panicked");
    }
}

/// A model takes a megabyte.
const MB: u64 = 1_000_000;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The file of a model.
fn content(name: &str) -> Vec<u8> {
    bytes(1_000_000, name.bytes().fold(7, |seed, byte| seed.wrapping_mul(31) ^ byte))
}

impl World {
    fn of(names: &[&str]) -> Self {
        let (at_origin, cache) = (Folder::new(), Folder::new());
        fs::create_dir(at_origin.at("org")).unwrap();
        let origin = Faulty::start(at_origin.path());
        // How long a fetch takes decides what it is worth: each takes about as long as the others.
        origin.limit_rate(5_000_000);
        let clock = Arc::new(AtomicU64::new(1_793_318_400));
        let mut world = Self { origin, at_origin, cache, heads: Heads::default(), clock };
        for name in names {
            world.publish(name, &[("a.bin", content(name)), ("same.bin", content(name))]);
        }
        world
    }

    /// Puts a model to the origin.
    fn publish(&mut self, name: &str, files: &[(&str, Vec<u8>)]) {
        let (model, signed) = Folder::weighed_as(&format!("org/{name}"), files, ChunkSize::MIN);
        fs::rename(model.path(), self.at_origin.at(&format!("org/{name}"))).unwrap();
        fs::create_dir(model.path()).unwrap();
        self.heads.0.insert(format!("org/{name}"), signed.head.id());
    }

    fn config(&self, budget: u64) -> Config {
        let text = format!(
            "cache = {:?}\npolicy = \"unused\"\nbudget = {budget}\n[[origin]]\nmodels = \"org/*\"\nsources = [\"{}/{{name}}\"]\n",
            self.cache.path(),
            self.origin.url(),
        );
        Config::parse(&text, self.cache.path()).unwrap()
    }

    fn node(&self, budget: u64) -> Running {
        let config = self.config(budget);
        let models = Arc::new(Models::of(vec![self.cache.path().to_owned()]));
        models.look();
        let clock = Arc::clone(&self.clock);
        let node = Node::with_clock(
            config,
            Arc::new(self.heads.clone()),
            Arc::clone(&models),
            Budget::unlimited(),
            move || Duration::from_secs(clock.load(SeqCst)),
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async { node.keep_to_budget() }).unwrap();
        let rules = Rules { hub: true, supplier: Some(Arc::<Node>::clone(&node)), ..Rules::default() };
        let limits = Limits::default();
        let site = Site::new(models, rules, &limits);
        let server =
            runtime.block_on(Server::bind(site, "127.0.0.1:0".parse().unwrap(), limits, None)).unwrap();
        let address = server.address().unwrap();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(server.run(async { drop(ended.await) }, |_| {}));
            runtime.shutdown_timeout(Duration::from_secs(3));
        });
        Running { address, end: Some(end), thread: Some(thread) }
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, SeqCst);
    }

    /// Asks for a model, and expects its file.
    #[track_caller]
    fn ask(&self, node: &Running, name: &str) {
        let answer = get(node.address, &format!("/org/{name}/resolve/main/a.bin"), "");
        assert_eq!((answer.status, answer.is_whole), (200, true), "{name}: {}", answer.head);
        assert!(answer.body == content(name), "{name}");
    }

    /// Whether all of a model is in the cache.
    fn has(&self, name: &str) -> bool {
        self.cache.at(&format!("models--org--{name}/refs/main")).exists()
    }

    /// The bytes of whole files in the cache, without metadata and without those of which a part has come.
    fn bytes(&self) -> u64 {
        let models = fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap().path());
        let blobs = models.flat_map(|model| fs::read_dir(model.join("blobs")).into_iter().flatten());
        blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum()
    }

    /// The requests for files of a model that the origin has had.
    fn given(&self, name: &str) -> usize {
        let is_file = |path: &str| path.starts_with(&format!("org/{name}/")) && path.ends_with(".bin");
        self.origin.requests().iter().filter(|request| is_file(&request.path)).count()
    }

    /// The answer of the node that runs.
    fn tell(&self, request: &Request) -> Reply {
        weighbridge_node::ask(self.cache.path(), request).unwrap()
    }

    fn state(&self) -> State {
        let Reply::Shown(state) = self.tell(&Request::Show) else { panic!("it shows its state") };
        *state
    }

    fn is_in_use(&self, name: &str) -> bool {
        let State { plan, passing, .. } = self.state();
        let is_it = |release: &Release| release.name().as_str() == format!("org/{name}");
        plan.held.iter().any(|held| is_it(&held.release) && held.in_use)
            || passing.iter().any(|passing| is_it(&passing.release) && passing.in_use)
    }

    /// Asks for a model, waits until all of it is there, and lets time pass until it is not in use any more.
    #[track_caller]
    fn use_once(&self, node: &Running, name: &str, then: u64) {
        self.ask(node, name);
        wait_for("it comes to be whole", || self.has(name));
        wait_for("the ask is heard", || self.is_in_use(name));
        self.pass(then);
        wait_for("the use ends", || !self.is_in_use(name));
    }
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_more_is_kept_than_the_budget_allows() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let world = World::of(&names);
    let budget = 5 * MB / 2;
    let node = world.node(budget);
    for round in 0..2 {
        for name in names {
            world.use_once(&node, name, HOUR);
            wait_for("the budget is held", || world.bytes() <= budget);
        }
        assert_eq!(world.bytes(), 2 * MB, "in round {round}");
    }
    // A model that is kept is not fetched again.
    let kept: Vec<_> = names.into_iter().filter(|name| world.has(name)).collect();
    let before: Vec<_> = kept.iter().map(|name| world.given(name)).collect();
    kept.iter().for_each(|name| world.ask(&node, name));
    assert_eq!(before, kept.iter().map(|name| world.given(name)).collect::<Vec<_>>());
    assert!(before.iter().all(|given| *given > 0), "{before:?}");
}

#[test]
fn what_is_asked_for_once_does_not_take_the_place_of_what_is_asked_for_daily() {
    let world = World::of(&["daily", "once"]);
    let node = world.node(3 * MB / 2);
    for _ in 0..5 {
        world.use_once(&node, "daily", DAY);
    }
    let given = world.given("daily");
    assert!(given > 0);
    world.ask(&node, "once");
    wait_for("it comes to be whole", || world.has("once"));
    assert!(world.has("daily"), "both are there while one is in use");
    world.pass(2 * MINUTE);
    wait_for("it goes", || !world.cache.at("models--org--once").exists());
    world.ask(&node, "daily");
    assert_eq!(world.given("daily"), given);
}

/// The reader takes the beginning of a file, and the rest when the node has given all room to another model.
#[test]
fn what_is_read_stays_until_its_reader_has_gone() {
    let mut world = World::of(&["often"]);
    let big = bytes(16 << 20, 9);
    world.publish("read", &[("a.bin", big.clone())]);
    let node = world.node(big.len() as u64 + MB / 2);
    let start = |from: usize| {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "GET /org/read/resolve/main/a.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes={from}-\r\n\r\n"
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while stream.read_line(&mut head).unwrap() > 2 {}
        assert!(head.contains("206"), "{head}");
        stream
    };
    // One that reads while it comes, and one from the cache.
    let mut readers = vec![(0, start(0))];
    wait_for("it comes to be whole", || world.has("read"));
    readers.push((5, start(5)));
    for _ in 0..6 {
        world.use_once(&node, "often", HOUR);
    }
    assert!(world.is_in_use("read"));
    for (from, mut reader) in readers {
        assert!(world.has("read"));
        let mut rest = vec![0; big.len() - from];
        reader.read_exact(&mut rest).unwrap();
        assert!(rest == big[from..]);
    }
    // Nobody reads it now, and the other is asked for all the time.
    wait_for("its use ends", || !world.is_in_use("read"));
    for _ in 0..50 {
        world.use_once(&node, "often", HOUR);
        if !world.has("read") {
            break;
        }
    }
    wait_for("it goes", || !world.cache.at("models--org--read").exists());
    wait_for("the other one stays", || world.has("often") && world.bytes() == MB);
}

#[test]
fn files_of_other_programs_do_not_count_and_are_never_removed() {
    let world = World::of(&["a", "b"]);
    let foreign = ["models--org--a/blobs/0123", "models--other--x/blobs/4567", "models--other--x/refs/main"];
    foreign.iter().for_each(|path| world.cache.write(path, &bytes(3_000_000, 1)));
    let node = world.node(3 * MB / 2);
    for name in ["a", "b", "a", "b"] {
        world.use_once(&node, name, HOUR);
        wait_for("the budget is held", || world.bytes() <= 6 * MB + 3 * MB / 2);
        assert!(world.state().plan.used <= MB);
    }
    assert!(foreign.iter().all(|path| world.cache.at(path).metadata().unwrap().len() == 3_000_000));
}

/// The node is asked, ends, loses a model, and fetches it again while nobody waits. A client that waits for another one comes first.
#[test]
fn what_is_expected_is_fetched_ahead_and_gives_way() {
    let world = World::of(&["usual", "other"]);
    let node = world.node(10 * MB);
    for _ in 0..3 {
        world.use_once(&node, "usual", 20 * MINUTE);
    }
    drop(node);
    assert!(world.cache.at(".weighbridge-demand.json").exists());
    fs::remove_dir_all(world.cache.at("models--org--usual")).unwrap();
    let before = world.given("usual");
    // The metadata come in less than a second, and the file in a hundred.
    world.origin.limit_rate(MB / 100);
    let node = world.node(10 * MB);
    wait_for("it is fetched ahead", || world.given("usual") > before);
    assert_eq!(world.state().ahead.as_deref(), Some("org/usual"));
    thread::scope(|scope| {
        let client = scope.spawn(|| world.ask(&node, "other"));
        wait_for("it gives way", || world.state().fetching == ["org/other"]);
        assert!(!world.has("usual"));
        world.origin.limit_rate(None);
        client.join().unwrap();
    });
    wait_for("it goes on", || world.has("usual"));
    wait_for("its end is heard", || world.state().fetching.is_empty());
    let given = world.given("usual");
    world.ask(&node, "usual");
    assert_eq!(world.given("usual"), given);
    wait_for("it was worth it", || !world.state().plan.judged.is_empty());
}

#[test]
fn a_record_that_no_node_has_written_is_begun_anew() {
    let world = World::of(&["a"]);
    for wrong in ["", "{", "{\"version\":7}", "[]"] {
        world.cache.write(".weighbridge-demand.json", wrong.as_bytes());
        let node = world.node(10 * MB);
        world.ask(&node, "a");
        wait_for("the ask is heard", || world.is_in_use("a"));
        drop(node);
        let text = fs::read_to_string(world.cache.at(".weighbridge-demand.json")).unwrap();
        assert!(text.contains("\"version\":1") && text.contains("org/a@"), "{text:.100}");
    }
}

/// The budget of the next node is smaller: it removes what is worth least before anybody asks.
#[test]
fn a_lower_budget_is_held_from_the_start() {
    let world = World::of(&["a", "b", "c"]);
    let node = world.node(10 * MB);
    for name in ["a", "b", "c", "b", "b"] {
        world.use_once(&node, name, HOUR);
    }
    drop(node);
    assert_eq!(world.bytes(), 3 * MB);
    let node = world.node(3 * MB / 2);
    assert_eq!(world.bytes(), MB);
    assert!(world.has("b"), "it was asked for most");
    world.ask(&node, "b");
}

/// A pin and an eviction by hand, and what is refused.
#[test]
fn a_person_can_pin_and_evict() {
    let world = World::of(&["a"]);
    let node = world.node(3 * MB / 2);
    let model = |name: &str| format!("org/{name}");
    let refused = |request: Request, why: &str| {
        let Reply::Refused(said) = world.tell(&request) else { panic!("{request:?} is refused") };
        assert!(said.contains(why), "{said}");
    };
    refused(Request::Pin { model: model("a") }, "no release of it is known here");
    refused(Request::Evict { model: "no name".to_owned() }, "no release of it is known here");
    world.ask(&node, "a");
    wait_for("it comes to be whole", || world.has("a") && world.state().fetching.is_empty());
    wait_for("the ask is heard", || world.is_in_use("a"));
    refused(Request::Evict { model: model("a") }, "it is in use");
    assert_eq!(world.tell(&Request::Pin { model: model("a") }), Reply::Done);
    world.pass(HOUR);
    wait_for("the use ends", || world.tell(&Request::Evict { model: model("a") }) == refusal("it is pinned"));
    assert_eq!(world.tell(&Request::Unpin { model: model("a") }), Reply::Done);
    assert_eq!(world.tell(&Request::Evict { model: model("a") }), Reply::Done);
    assert!(!world.cache.at("models--org--a").exists());
    refused(Request::Evict { model: model("a") }, "it is not in the cache");
    // A pin brings it back.
    assert_eq!(world.tell(&Request::Pin { model: model("a") }), Reply::Done);
    wait_for("it is fetched", || world.has("a"));
    drop(node);
}

/// A model that did not fit the budget is given all the same, and stays if it is pinned while somebody reads it.
#[test]
fn a_model_that_is_pinned_while_it_is_read_stays() {
    let world = World::of(&["a"]);
    let node = world.node(MB / 2);
    world.ask(&node, "a");
    wait_for("it comes to be whole", || world.has("a") && world.state().fetching.is_empty());
    wait_for("the ask is heard", || world.is_in_use("a"));
    assert_eq!(world.tell(&Request::Pin { model: "org/a".to_owned() }), Reply::Done);
    world.pass(HOUR);
    wait_for("the use ends", || !world.is_in_use("a"));
    assert!(world.has("a"));
    // Nor does the next use end its stay.
    world.use_once(&node, "a", HOUR);
    assert!(world.has("a"));
    drop(node);
}

/// A fetch that failed, and begins again within the minute, brings what was to be kept.
#[test]
fn a_model_whose_fetch_failed_once_is_kept() {
    let world = World::of(&["a"]);
    let node = world.node(10 * MB);
    let file = world.at_origin.at("org/a/a.bin");
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let path = "/org/a/resolve/main/a.bin";
    let refused = get(node.address, path, "");
    assert!(refused.status != 200 || !refused.is_whole, "{}", refused.head);
    wait_for("its fetch ends", || world.state().fetching.is_empty());
    fs::write(&file, bytes).unwrap();
    wait_for("it is given", || {
        let answer = get(node.address, path, "");
        answer.status == 200 && answer.is_whole
    });
    wait_for("it comes to be whole", || world.has("a") && world.state().fetching.is_empty());
    wait_for("the ask is heard", || world.is_in_use("a"));
    world.pass(HOUR);
    wait_for("the use ends", || !world.is_in_use("a"));
    world.pass(HOUR);
    assert!(world.state().plan.held.iter().any(|held| held.release.name().as_str() == "org/a"));
    assert!(world.has("a"));
    drop(node);
}

/// A link in a cache that others may write to leads the node to no folder of somebody else.
#[test]
fn a_link_in_the_place_of_the_socket_s_folder_is_refused() {
    let (world, other) = (World::of(&["a"]), Folder::with(&[("socket", b"kept")]));
    world.cache.link(".weighbridge-node", other.path());
    world.cache.link(".weighbridge-demand.new", other.at("socket"));
    let models = Arc::new(Models::of(vec![world.cache.path().to_owned()]));
    let node = Node::new(world.config(MB), Arc::new(world.heads.clone()), models, Budget::unlimited());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(async { node.keep_to_budget() }).is_err());
    drop(node);
    fs::remove_file(world.cache.at(".weighbridge-node")).unwrap();
    let node = world.node(10 * MB);
    world.ask(&node, "a");
    wait_for("the ask is heard", || world.is_in_use("a"));
    drop(node);
    assert!(world.cache.at(".weighbridge-demand.json").exists());
    assert_eq!(fs::read(other.at("socket")).unwrap(), b"kept");
}

/// However often another model is asked for, it does not take the place of a pinned one; nor does it after a restart.
#[test]
fn what_is_pinned_stays() {
    let world = World::of(&["a", "b"]);
    let node = world.node(3 * MB / 2);
    world.use_once(&node, "a", HOUR);
    assert_eq!(world.tell(&Request::Pin { model: "org/a".to_owned() }), Reply::Done);
    for _ in 0..6 {
        world.use_once(&node, "b", HOUR);
        wait_for("it goes", || !world.cache.at("models--org--b").exists());
    }
    drop(node);
    let node = world.node(3 * MB / 2);
    assert!(world.has("a") && world.state().plan.held[0].pinned);
    // Without the pin, the other one takes its place, and is fetched ahead.
    assert_eq!(world.tell(&Request::Unpin { model: "org/a".to_owned() }), Reply::Done);
    wait_for("it goes", || !world.has("a") && world.has("b"));
    drop(node);
}

fn refusal(why: &str) -> Reply {
    Reply::Refused(why.to_owned())
}

#[test]
fn only_one_node_has_a_cache() {
    let world = World::of(&["a"]);
    let node = world.node(10 * MB);
    let (config, models) = (world.config(10 * MB), Arc::new(Models::of(vec![])));
    let other = Node::new(config, Arc::new(world.heads.clone()), models, Budget::unlimited());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(async { other.keep_to_budget() }).unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    // The first one still answers.
    assert_eq!(world.state().plan.budget, 10 * MB);
    drop(node);
    assert!(weighbridge_node::ask(world.cache.path(), &Request::Show).is_err());
}

/// A line that is no request is answered with the reason, and the next request is heard.
#[test]
fn what_is_no_request_is_refused() {
    let world = World::of(&[]);
    let node = world.node(10 * MB);
    let long = format!("{{\"do\":\"pin\",\"model\":\"{}\"}}\n", "a".repeat(8192));
    for line in ["\n", "{}\n", "{\"do\":\"fly\"}\n", "{\"do\":\"pin\"}\n", "\u{0}\n", &long] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(world.cache.at(".weighbridge-node/socket")).unwrap();
        // The node stops reading after what a request may have.
        let _ = stream.write_all(line.as_bytes());
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        let reply = String::from_utf8(reply).unwrap();
        assert!(
            reply.is_empty() && line.len() > 4096 || reply.contains("that is no request"),
            "{line:.60} {reply}"
        );
    }
    assert_eq!(world.state().plan.budget, 10 * MB);
    drop(node);
}
