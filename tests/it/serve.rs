//! `serve`: models over HTTP, asked by `fetch`, by curl, and through TLS.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{command::kit::World, fleet::Fleet};

/// A server in a process of its own.
struct Server {
    process: Child,
    told: BufReader<ChildStdout>,
    url: String,
}

impl Server {
    /// Starts it in a world, at any free port. Waits until it listens.
    fn start(world: &World, line: &str) -> Self {
        let port = if line.contains("--listen") { "" } else { " --listen 127.0.0.1:0" };
        let mut command = world.command(&format!("serve {line}{port} --json --log json"));
        let errors = fs::File::create(world.path("log")).unwrap();
        let mut process = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let told = BufReader::new(process.stdout.take().unwrap());
        let mut server = Self { process, told, url: String::new() };
        server.url = server.wait_for("listening")["url"].as_str().unwrap().to_owned();
        server
    }

    /// The next object of an event.
    #[track_caller]
    fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.told.read_line(&mut line).unwrap() > 0, "the server ended, and never said {event}");
            let object: Value = serde_json::from_str(&line).unwrap();
            crate::command::events::is_in_the_schema(&object);
            if object["event"] == event {
                return object;
            }
        }
    }

    /// Ends it by a signal, and returns its exit status.
    fn end(mut self, signal: rustix::process::Signal) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn fleet() -> Fleet {
    Fleet::of(3_000_000, "64KiB")
}

#[test]
fn a_model_is_fetched_from_a_server_and_verified() {
    let fleet = fleet();
    let world = &fleet.world;
    let mut server = Server::start(world, "first");
    let url = format!("{}/org/llama", server.url);
    world.run(&format!("fetch {url} -o copy --name org/llama --vkey {}", fleet.vkey)).done();
    fleet.assert_same(&world.path("copy"), &fleet.model);
    world.run(&format!("verify copy --vkey {}", fleet.vkey)).done();
    assert_eq!(server.process.try_wait().unwrap(), None);
    assert_eq!(server.end(rustix::process::Signal::TERM), Some(0));
    let log = world.text("log");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_chunk = |line: &&Value| line["target"] == "weighbridge::request" && line["route"] == "file";
    let line = lines.iter().find(is_chunk).expect("a line for each request");
    assert_eq!((&line["model"], &line["method"]), (&"org/llama".into(), &"GET".into()));
}

/// `timeout` sends its signal to the process and to the group: a server that took these for two ended in the middle of an answer.
#[test]
fn signals_that_come_at_once_are_one_and_a_later_one_ends_the_server_at_once() {
    let fleet = Fleet::of(64_000_000, "64KiB");
    let mut server = Server::start(&fleet.world, "first");
    let pid = rustix::process::Pid::from_child(&server.process);
    let ask = || rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // The answer is longer than what the system holds of it, and nobody reads it.
    let mut client = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let shard = "org/llama/model-00001-of-00004.safetensors";
    write!(client, "GET /{shard} HTTP/1.1\r\nHost: {}\r\n\r\n", &server.url["http://".len()..]).unwrap();
    let mut begins = [0; 15];
    client.read_exact(&mut begins).unwrap();
    assert_eq!(&begins, b"HTTP/1.1 200 OK");
    ask();
    thread::sleep(Duration::from_millis(20));
    ask();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(server.process.try_wait().unwrap(), None);
    ask();
    assert_eq!(server.process.wait().unwrap().code(), Some(128 + 15));
}

/// A server with bad chunks gives everything else, and nobody waits for it as for a busy one.
#[test]
fn a_fetch_takes_all_but_the_bad_chunks_and_those_from_another_source() {
    let fleet = fleet();
    let world = &fleet.world;
    world.copy("first", "bad");
    let shard = "bad/model-00001-of-00004.safetensors";
    for offset in [10, 300_000] {
        world.flip(shard, offset);
    }
    world.remove("bad/config.json");
    let server = Server::start(world, "bad");
    let url = format!("{}/org/llama", server.url);
    let began = Instant::now();
    let fetch = |more: &str, into: &str| {
        world.run(&format!("fetch {url}{more} -o {into} --name org/llama --vkey {} --json", fleet.vkey))
    };
    let alone = fetch("", "part").unjudged(9201, "");
    let objects = alone.objects();
    let result = objects.iter().find(|object| object["event"] == "result").unwrap();
    let missing = result["missing"].as_array().unwrap();
    let of = |file: &str| {
        missing.iter().find(|missing| missing["file"] == file).map(|missing| missing["chunks"].clone())
    };
    assert_eq!(of("model-00001-of-00004.safetensors"), Some(serde_json::json!([[0, 1], [4, 5]])));
    assert_eq!(of("config.json"), Some(serde_json::json!([[0, 1]])));
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    fetch(" first", "part").done();
    fleet.assert_same(&world.path("part"), &fleet.model);
}

/// A client begins with one release. The next one takes its place, and both are given as they are.
#[test]
fn a_new_revision_is_served_at_once_and_the_old_one_to_those_who_name_it() {
    let fleet = fleet();
    let world = &fleet.world;
    fleet.revise();
    world.copy("first", "served");
    let mut server = Server::start(world, "served");
    let old = world.head_id("first/weighbridge");
    let [config, shard] = Fleet::CHANGED;
    let of_old = format!("/org/llama/resolve/{old}/{shard}");
    assert!(get(&server.url, &of_old) == Some(world.read(&format!("first/{shard}"))));
    world.run(&format!("fetch second -o served --name org/llama --vkey {}", fleet.vkey)).done();
    let published = server.wait_for("published");
    assert_eq!(published["revision"], 2);
    let url = server.url.clone();
    let get = |path: &str| get(&url, path);
    for file in [config, shard] {
        assert!(get(&format!("/org/llama/{file}")) == Some(world.read(&format!("second/{file}"))), "{file}");
        for revision in [old.as_str(), &old[..40], "revision-1"] {
            let path = format!("/org/llama/resolve/{revision}/{file}");
            assert!(get(&path) == Some(world.read(&format!("first/{file}"))), "{path}");
        }
        assert!(
            get(&format!("/org/llama/resolve/revision-2/{file}"))
                == Some(world.read(&format!("second/{file}")))
        );
    }
    assert_eq!(get(&format!("/org/llama/resolve/revision-3/{config}")), None);
    // The files of the old release are kept for its reader, and go with the server.
    assert!(world.exists("served/weighbridge/kept"));
    assert_eq!(server.end(rustix::process::Signal::INT), Some(0));
    assert!(!world.exists("served/weighbridge/kept"));
}

#[test]
fn models_come_and_go_while_it_runs() {
    let fleet = fleet();
    let world = &fleet.world;
    fleet.other_model();
    fs::create_dir_all(world.path("all/org")).unwrap();
    world.copy("first", "all/org/llama");
    let mut server = Server::start(world, "all");
    assert_eq!(get(&server.url, "/org/other/config.json"), None);
    // Whole at once: of a copy that is not complete the server gives what is there, and looks again for the rest.
    world.copy("other", "incoming");
    world.rename("incoming", "all/other");
    assert_eq!(server.wait_for("published")["name"], "org/other");
    assert_eq!(get(&server.url, "/org/other/config.json"), Some(world.read("other/config.json")));
    // Of two folders with the same name the first is served.
    world.copy("other", "incoming");
    world.rename("incoming", "all/zother");
    assert_eq!(server.wait_for("unpublished")["code"], 9001);
    fs::remove_dir_all(world.path("all/org/llama")).unwrap();
    assert_eq!(server.wait_for("withdrawn")["name"], "org/llama");
    assert_eq!(get(&server.url, "/org/llama/config.json"), None);
}

#[test]
fn a_call_that_makes_no_sense_serves_nothing() {
    let world = World::with_model();
    world.unjudged("serve none", 9002, "cannot open none");
    world.unjudged("serve llama", 9001, "there is no weighed model to serve");
    world.run("weigh llama --name llama --key @alice.key").done();
    world.unjudged("serve llama", 9001, "a model is served under ORG/NAME");
    for line in [
        "serve",
        "serve llama --cert x",
        "serve llama --key x",
        "serve llama --listen 8080",
        "serve llama --connections 0",
        "serve llama --host name:80",
        "serve llama --auditor x",
        "serve llama --node-key keys/alice.key",
    ] {
        world.run(line).misused();
    }
    world.run("weigh llama --name org/llama --key @alice.key --force").done();
    world.write("tokens", "ci 123 read *\n");
    world.unjudged(
        "serve llama --tokens tokens",
        9001,
        "tokens: line 1: the SHA-256 of the token is not 64 hexadecimal digits",
    );
    world.write("empty.pem", "");
    world.unjudged(
        "serve llama --listen 127.0.0.1:0 --cert empty.pem --key empty.pem",
        9002,
        "has no certificate in PEM",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("serve llama --listen {}", taken.local_addr().unwrap());
    world.unjudged(&line, 9002, "cannot listen at 127.0.0.1:").hints("--listen");
    world.flip("llama/weighbridge/files.jsonl", 20);
    world.run("serve llama --listen 127.0.0.1:0").refused(1302, "files.jsonl, line 1");
}

/// As a user has it: curl by token, through TLS.
#[test]
fn clients_come_through_tls_with_their_tokens() {
    if !is_installed("curl") || !is_installed("openssl") {
        return crate::command::kit::skip("curl or openssl is not installed");
    }
    let world = World::weighed();
    certificate(&world, "one");
    world.write("cert.pem", world.read("one.pem"));
    world.write("key.pem", world.read("one.key"));
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    world.write("tokens", format!("ci {hash} read org/*\n"));
    let server = Server::start(&world, "llama --cert cert.pem --key key.pem --tokens tokens");
    assert!(server.url.starts_with("https://127.0.0.1:"));
    let curl = |path: &str, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--cacert", "one.pem", &format!("{}{path}", server.url)]).args(more);
        let output = world.at_home(&mut curl).output().unwrap();
        output.status.success().then_some(output.stdout)
    };
    let token = ["-H", "Authorization: Bearer test"];
    assert!(curl("/org/llama/config.json", &token) == Some(world.read("llama/config.json")));
    assert!(
        curl("/org/llama/resolve/main/config.json", &token).is_some(),
        "a hub's clients come through TLS"
    );
    assert_eq!(curl("/org/llama/config.json", &[]), None);
    assert_eq!(curl("/org/llama/config.json", &["-H", "Authorization: Bearer wrong"]), None);
    // A client whose line goes is refused soon.
    world.write("tokens", format!("other {} read org/*\n", hash.replace('9', "8")));
    let until = Instant::now() + Duration::from_secs(20);
    while curl("/org/llama/config.json", &token).is_some() {
        assert!(Instant::now() < until, "the token is still good");
        thread::sleep(Duration::from_millis(100));
    }
    world.write("tokens", format!("ci {hash} read org/*\n"));
    while curl("/org/llama/config.json", &token).is_none() {
        assert!(Instant::now() < until, "the token is not good again");
        thread::sleep(Duration::from_millis(100));
    }
    // The certificate is replaced while the server runs.
    certificate(&world, "two");
    world.write("cert.pem", world.read("two.pem"));
    world.write("key.pem", world.read("two.key"));
    let until = Instant::now() + Duration::from_secs(20);
    while curl("/org/llama/config.json", &token).is_some() {
        assert!(Instant::now() < until, "the old certificate is still in use");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(
        curl("/org/llama/config.json", &["--cacert", "two.pem", "-H", "Authorization: Bearer test"])
            .is_some()
    );
    drop(server);
    assert!(!world.text("log").contains("Bearer") && !world.text("log").contains(hash));
}

#[test]
fn a_public_address_without_tls_has_no_hub() {
    let world = World::weighed();
    let server = Server::start(&world, "llama --listen 0.0.0.0:0");
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(get(&url, "/org/llama/config.json"), Some(world.read("llama/config.json")));
    assert_eq!(get(&url, "/org/llama/resolve/main/config.json"), None);
    drop(server);
    let server = Server::start(&world, "llama --listen 0.0.0.0:0 --insecure-http");
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    assert!(get(&url, "/org/llama/resolve/main/config.json").is_some());
}

/// Makes a certificate for 127.0.0.1 that signs itself, and its key.
fn certificate(world: &World, name: &str) {
    let mut openssl = Command::new("openssl");
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=weighbridge test", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-keyout", &key, "-out", &pem]);
    let made = world.at_home(&mut openssl).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The body of an answer with status 200; `None` if it has another status. The path has no characters to escape.
fn get(url: &str, path: &str) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    answer.starts_with(b"HTTP/1.1 200 ").then(|| answer.split_off(end))
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
