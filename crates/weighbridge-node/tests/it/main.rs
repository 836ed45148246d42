//! Nodes over real sockets: an origin that counts, a node, and clients that ask it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod keeping;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use weighbridge_bandwidth::Budget;
use weighbridge_manifest::TrustPolicy;
use weighbridge_node::{Config, Forgetful, Node};
use weighbridge_serve::{Limits, Models, Rules, Server, Site};
use weighbridge_testkit::{Folder, Signed, bytes, servers::Faulty};
use weighbridge_tree::ChunkSize;

/// A node that runs until it is dropped, and the origin that it asks.
struct Scene {
    origin: Faulty,
    cache: Folder,
    models: Folder,
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

const BIG: usize = 8 << 20;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.bin", bytes(BIG, 1)),
        ("config.json", b"{}\n".to_vec()),
        ("empty", Vec::new()),
        ("same.bin", bytes(BIG, 1)),
        ("z.bin", bytes(BIG, 2)),
    ]
}

fn model() -> (Folder, Signed) {
    Folder::weighed(&files(), ChunkSize::MIN)
}

impl Scene {
    fn of((model, signed): &(Folder, Signed)) -> Self {
        Self::trusting(model, TrustPolicy::pinned(signed.head.id()))
    }

    fn trusting(model: &Folder, policy: TrustPolicy) -> Self {
        let (all, cache) = (Folder::new(), Folder::new());
        fs::create_dir(all.at("test")).unwrap();
        fs::rename(model.path(), all.at("test/model")).unwrap();
        fs::create_dir(model.path()).unwrap();
        let origin = Faulty::start(all.path());
        let text = format!(
            "cache = {:?}\npolicy = \"unused\"\n[[origin]]\nmodels = \"test/*\"\nsources = [\"{}/{{name}}\"]\n",
            cache.path(),
            origin.url(),
        );
        let config = Config::parse(&text, cache.path()).unwrap();
        let models = Arc::new(Models::of(vec![cache.path().to_owned()]));
        let node = Node::new(config, Arc::new(Forgetful(policy)), Arc::clone(&models), Budget::unlimited());
        let rules = Rules { hub: true, supplier: Some(Arc::<Node>::clone(&node)), ..Rules::default() };
        let limits = Limits::default();
        let site = Site::new(models, rules, &limits);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let server =
            runtime.block_on(Server::bind(site, "127.0.0.1:0".parse().unwrap(), limits, None)).unwrap();
        let address = server.address().unwrap();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(server.run(async { drop(ended.await) }, |_| {}));
            runtime.shutdown_timeout(Duration::from_secs(3));
        });
        Self { origin, cache, models: all, address, end: Some(end), thread: Some(thread) }
    }

    fn get(&self, path: &str, more: &str) -> Answer {
        get(self.address, path, more)
    }

    /// The bytes of files that the origin has sent.
    fn sent(&self) -> u64 {
        self.origin
            .settled()
            .iter()
            .filter(|request| request.path.ends_with(".bin"))
            .map(|request| request.sent)
            .sum()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok(), "the node panicked");
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    is_whole: bool,
}

fn get(address: SocketAddr, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head).unwrap() > 2 {}
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let length: u64 = length.parse().unwrap();
    let mut body = Vec::new();
    let read = stream.take(length).read_to_end(&mut body);
    let is_whole = read.is_ok() && body.len() as u64 == length;
    Answer { status, head, body, is_whole }
}

const A: &str = "/test/model/resolve/main/a.bin";

/// A client of a hub loads a model through a node that has nothing: each file comes whole, also one that has the bytes of another,
/// and then all lie in the cache, from which the next client is served.
#[test]
fn a_cold_node_gives_a_model_and_keeps_it() {
    let model = model();
    let scene = Scene::of(&model);
    for (path, content) in files() {
        let answer = scene.get(&format!("/test/model/resolve/main/{path}"), "");
        assert_eq!((answer.status, answer.is_whole), (200, true), "{path}: {}", answer.head);
        assert!(answer.body == content, "{path}");
    }
    let cached = scene.cache.at("models--test--model");
    let start = Instant::now();
    while !cached.join("refs/main").exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is put into the cache");
        thread::sleep(Duration::from_millis(20));
    }
    let revision = fs::read_to_string(cached.join("refs/main")).unwrap();
    for (path, content) in files() {
        assert!(
            fs::read(cached.join("snapshots").join(revision.trim()).join(path)).unwrap() == content,
            "{path}"
        );
    }
    let before = scene.sent();
    assert!(scene.get(A, "").body == files()[0].1);
    assert_eq!(scene.sent(), before, "the origin is not asked again");
}

/// Before they were one fetch, each of ten clients made the origin give the file.
#[test]
fn ten_clients_that_ask_at_once_cost_one_fetch() {
    let model = model();
    let scene = Scene::of(&model);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert!(scene.get(A, "").body == files()[0].1));
        }
    });
    let all: usize = [BIG, BIG].iter().sum();
    let sent = scene.sent();
    assert!(sent <= all as u64 + (1 << 20), "{sent} of {all}");
}

/// The last bytes of the last file come long before those ahead of them.
#[test]
fn the_bytes_that_are_asked_for_come_first() {
    let model = model();
    let scene = Scene::of(&model);
    // Both files take eight seconds.
    scene.origin.limit_rate(2 * BIG as u64 / 8);
    let start = Instant::now();
    let last = BIG - 100_000;
    let answer = scene.get("/test/model/resolve/main/z.bin", &format!("Range: bytes={last}-\r\n"));
    assert_eq!(answer.status, 206);
    assert!(answer.body == files()[4].1[last..]);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn what_nobody_is_to_have_is_not_asked_for() {
    let model = model();
    let scene = Scene::of(&model);
    assert_eq!(scene.get("/other/model/resolve/main/a.bin", "").status, 404);
    assert!(scene.origin.requests().is_empty());
    assert_eq!(scene.get("/test/other/resolve/main/a.bin", "").status, 503);
}

/// Names cost nothing: those who ask for many do not have the node fetch without end.
#[test]
fn no_more_than_sixteen_models_are_fetched_at_once() {
    let model = model();
    let scene = Scene::of(&model);
    scene.origin.accept_slowly(Duration::from_secs(4));
    thread::scope(|scope| {
        for number in 0..16 {
            let scene = &scene;
            scope.spawn(move || {
                assert_eq!(scene.get(&format!("/test/other{number}/resolve/main/a"), "").status, 503);
            });
        }
        thread::sleep(Duration::from_millis(800));
        let start = Instant::now();
        let answer = scene.get(A, "");
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("retry-after: 10"), "{}", answer.head);
        assert!(String::from_utf8_lossy(&answer.body).contains("16 models"));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        scene.origin.accept_slowly(Duration::ZERO);
    });
    assert!(scene.get(A, "").body == files()[0].1);
}

/// Of a model that the policy does not believe no byte is given, and none is kept.
#[test]
fn what_is_not_believed_is_not_given() {
    let model = model();
    let other = weighbridge_tree::HeadId::from_bytes([7; 32]);
    let scene = Scene::trusting(&model.0, TrustPolicy::pinned(other));
    let answer = scene.get(A, "");
    assert_eq!(answer.status, 503, "{}", answer.head);
    assert!(answer.head.contains("retry-after"), "{}", answer.head);
    assert!(!scene.cache.at("models--test--model/refs").exists());
}

/// The origin has a wrong chunk: the body ends before it, and no client is given a byte of it.
#[test]
fn a_wrong_chunk_is_never_given() {
    let model = model();
    let scene = Scene::of(&model);
    let good = &files()[4].1;
    let mut bad = good.clone();
    bad[5 << 20] ^= 1;
    fs::write(scene.models.at("test/model/z.bin"), &bad).unwrap();
    let answer = scene.get("/test/model/resolve/main/z.bin", "");
    assert!(!answer.is_whole && answer.body.len() <= 5 << 20, "{}", answer.body.len());
    assert!(good.starts_with(&answer.body));
    assert!(!scene.cache.at("models--test--model/refs").exists());
}
