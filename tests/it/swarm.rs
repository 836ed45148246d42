//! `fetch --swarm`: nodes that fetch the same release at once, and share it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{command::kit::Ran, fleet::Fleet, process::Process};

/// A model of some megabytes, weighed and signed by alice, and the ticket of its swarm with a tracker that runs.
struct Scene {
    fleet: Fleet,
    _origin: Process,
    url: String,
}

/// About the number of bytes of the model.
const BYTES: u64 = 40 << 20;

impl Scene {
    fn start() -> Self {
        Self::of(Fleet::of(BYTES, "64KiB"), "first", "")
    }

    /// Serves the model of a folder, with a ticket that is made with more words.
    fn of(fleet: Fleet, folder: &str, more: &str) -> Self {
        let world = &fleet.world;
        // The port of the tracker stands in the ticket, so it is known before the tracker listens.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let line = format!("swarm ticket {folder} --tracker 127.0.0.1:{port} -o ticket {more}");
        world.run(line.trim_end()).done();
        let line = format!(
            "serve {folder} --listen 127.0.0.1:0 --tracker 127.0.0.1:{port} --ticket ticket --log off"
        );
        let origin = Process::start(world.command(&line));
        let (_, listening) = origin.wait_for(|object| object["event"] == "listening");
        origin.wait_for(|object| object["event"] == "tracking");
        let url = listening["url"].as_str().unwrap().to_owned();
        Self { fleet, _origin: origin, url }
    }

    fn node(&self, folder: &str, more: &str) -> Process {
        let line = format!(
            "fetch {}/org/llama --swarm ticket --swarm-listen 127.0.0.1:0 -o {folder} --vkey @alice --state {folder}.state {more}",
            self.url
        );
        Process::start(self.fleet.world.command(line.trim_end()))
    }

    /// A figure of the origin.
    fn figure(&self, name: &str) -> u64 {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).unwrap();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{metrics}"));
        line.trim().parse().unwrap()
    }
}

fn result(node: &Process) -> Value {
    let (_, result) = node.wait_for(|object| object["event"] == "result");
    assert_eq!(result["fetched"], true, "{result}");
    result
}

/// Five cold nodes ask for the same model at the same moment. Before this, the origin gave it five times.
#[test]
fn five_cold_nodes_take_one_download_from_the_origin() {
    let scene = Scene::start();
    let nodes: Vec<Process> = (0..5).map(|node| scene.node(&format!("n{node}"), "")).collect();
    let results: Vec<Value> = nodes.iter().map(result).collect();
    let sum = |key: &str| results.iter().map(|result| result["swarm"][key].as_u64().unwrap()).sum::<u64>();
    let (of_origin, of_members) = (sum("from_origin"), sum("from_members"));
    let model = results[0]["wanted"].as_u64().unwrap();
    assert!(
        of_origin >= model && of_origin < model * 13 / 10,
        "{of_origin} bytes of {model} from the origin"
    );
    assert_eq!(of_origin + of_members, 5 * model);
    for (node, result) in results.iter().enumerate() {
        let world = &scene.fleet.world;
        scene.fleet.assert_same(&world.path(&format!("n{node}")), &world.path("first"));
        assert!(result["swarm"]["members"].as_u64().unwrap() >= 2, "{result}");
    }
    let again = scene.figure("weighbridge_model_bytes_total{model=\"org/llama\",given=\"again\"}");
    assert!(again < model * 3 / 10, "{again} bytes were given again");
    // The origin tells the members apart by their claims.
    let claimed = |given: &str| {
        let labels = format!("{{model=\"org/llama\",given=\"{given}\"}}");
        scene.figure(&format!("weighbridge_swarm_claimed_bytes_total{labels}"))
    };
    let (once, twice) = (claimed("once"), claimed("same_member") + claimed("after_lease"));
    assert!(
        once >= model * 7 / 10 && once + twice >= of_origin * 7 / 10,
        "{once} and {twice} of {of_origin}"
    );
    scene.figure("weighbridge_swarm_held_back_total{model=\"org/llama\"}");
    // They linger until all have the model, and no longer.
    let began = Instant::now();
    for node in &nodes {
        let (_, shared) = node.wait_for(|object| object["event"] == "shared");
        assert!(shared["sent"].is_u64());
    }
    assert!(began.elapsed() < Duration::from_secs(30), "somebody was waited for who had left");
    assert_eq!(scene.figure("weighbridge_swarm_connections_total{state=\"refused\"}"), 0);
}

#[test]
fn a_late_node_is_given_the_model_by_one_that_lingers_and_a_signal_ends_that() {
    let scene = Scene::start();
    let first = scene.node("n0", "--linger 10m");
    result(&first);
    // A tracker names the member that has all.
    let world = &scene.fleet.world;
    let until = Instant::now() + Duration::from_secs(20);
    let member = loop {
        let ran = world.run("swarm peers ticket --json").done();
        if let Some(member) = ran.objects().first() {
            break member.clone();
        }
        assert!(Instant::now() < until, "nobody is named");
    };
    // It says itself how far it is.
    let is = (&member["role"], &member["has"], &member["claim"]);
    assert_eq!(is, (&Value::from("has all"), &Value::from(1.0), &Value::Null), "{member}");
    let line = world.run("swarm peers ticket").done().stdout;
    assert!(line.starts_with("member   ") && line.trim_end().ends_with("  has all"), "{line}");
    // It stays for as long as it was told to, though nobody needs it for a while.
    std::thread::sleep(Duration::from_secs(2));
    let late = scene.node("n1", "--linger 0s");
    let result = result(&late);
    let half = result["wanted"].as_u64().map(|model| model / 2);
    assert!(result["swarm"]["from_members"].as_u64() > half, "{result}");
    scene.fleet.assert_same(&world.path("n1"), &world.path("first"));
    first.signal(Signal::INT);
    let (_, shared) = first.wait_for(|object| object["event"] == "shared");
    assert!(shared["sent"].as_u64() > half, "{shared}");
}

/// A new node would otherwise take all of the new release from the origin, though a node beside it has most of it.
#[test]
fn a_node_with_an_older_revision_gives_what_has_not_changed() {
    let fleet = Fleet::of(BYTES, "64KiB");
    let _ = fleet
        .world
        .run(&format!("fetch first -o n0 --name {} --vkey @alice --state n0.state", fleet.name))
        .done();
    fleet.revise();
    let scene = Scene::of(fleet, "second", "");
    // The node with the older revision comes first, and takes from the origin what has changed.
    let old = scene.node("n0", "--linger 10m");
    let first = result(&old);
    let model = first["wanted"].as_u64().unwrap();
    let given = || {
        let given = |given: &str| {
            scene.figure(&format!("weighbridge_model_bytes_total{{model=\"org/llama\",given=\"{given}\"}}"))
        };
        given("first") + given("again")
    };
    let changed = given();
    assert!(changed < 4 << 20, "{changed} of {model} bytes were given for what has changed");
    // The new one takes all else from there.
    let new = scene.node("n1", "--linger 0s");
    let result = result(&new);
    let world = &scene.fleet.world;
    for node in ["n0", "n1"] {
        scene.fleet.assert_same(&world.path(node), &world.path("second"));
    }
    let (of_members, of_origin) = (&result["swarm"]["from_members"], &result["swarm"]["from_origin"]);
    let half_a_model = model / 2;
    assert!(of_members.as_u64() > Some(half_a_model), "{of_members} and {of_origin} of {model}");
    let more = given() - changed;
    assert!(more < 6 << 20, "the origin gave {more} bytes more, though a node beside has them");
}

#[test]
fn a_ticket_comes_from_the_server_with_a_token_and_to_nobody_without() {
    let scene = Scene::start();
    let world = &scene.fleet.world;
    // printf %s test | sha256sum
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    world.write("tokens", format!("ci {hash} read org/*\n"));
    world.write("token", "Authorization: Bearer test\n");
    world.write("other", "Authorization: Bearer other\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.run(&format!("swarm ticket first --tracker 127.0.0.1:{port} -o known")).done();
    let line = format!(
        "serve first --listen 127.0.0.1:0 --tracker 127.0.0.1:{port} --ticket known --tokens tokens --log off"
    );
    let server = Process::start(world.command(&line));
    let (_, listening) = server.wait_for(|object| object["event"] == "listening");
    let at = format!("{}/org/llama", listening["url"].as_str().unwrap());
    let ticket = format!("{at}/weighbridge/ticket");
    let fetch = |header: &str, ticket: &str| {
        let line = format!("fetch {at} --swarm {ticket} -o n0 --vkey @alice --linger 0s");
        world.run_with(&line, &["--header", &at, "@token", "--header", ticket, header])
    };
    fetch("@token", &ticket).done();
    scene.fleet.assert_same(&world.path("n0"), &world.path("first"));
    let secret = world.text("known").lines().find_map(|line| line.strip_prefix("secret ").map(str::to_owned));
    for (header, status) in [("@other", "401 Unauthorized"), ("X:y", "401 Unauthorized")] {
        let ran = fetch(header, &ticket).unjudged(9402, &format!("{ticket}: answers {status}"));
        let ran = ran.says("`weighbridge serve --ticket` gives it at ORG/NAME/weighbridge/ticket");
        assert!(!ran.stderr.contains(secret.as_deref().unwrap()));
    }
    fetch("@token", &format!("{at}/weighbridge/none"))
        .unjudged(9402, &format!("{at}/weighbridge/none: has no such file"));
    // Something that is no ticket is named, and not shown.
    let ran = fetch("@token", &format!("{at}/config.json?x=secret"))
        .refused(1902, &format!("{at}/config.json: line 1 of the ticket"));
    assert!(!ran.stderr.contains("x=secret"), "{}", ran.stderr);
    // A server without clients gives it to nobody.
    let open = format!("{}/org/llama/weighbridge/ticket", scene.url);
    let line = format!("fetch {}/org/llama --swarm {open} -o n1 --vkey @alice", scene.url);
    world.run(&line).unjudged(9402, &format!("{open}: has no such file"));
    // Nor does one of elsewhere come unencrypted.
    let line = format!("fetch {at} --swarm http://models.example/t -o n1 --vkey @alice");
    world.run(&line).unjudged(9001, "http://models.example/t: a secret has to come by https");
}

#[test]
fn a_fetch_that_finds_nobody_is_an_ordinary_fetch() {
    let scene = Scene::start();
    let world = &scene.fleet.world;
    world.run("swarm ticket first --tracker 127.0.0.1:9 -o alone").done();
    let line = format!("fetch {}/org/llama --swarm alone -o n0 --vkey @alice --linger 0s", scene.url);
    world
        .run(&line)
        .done()
        .says("no tracker or member of the swarm answers: this is an ordinary fetch until one does");
    scene.fleet.assert_same(&world.path("n0"), &world.path("first"));
}

/// Anybody may be in an open swarm, so nothing is given there without the user's word.
#[test]
fn in_an_open_swarm_those_give_who_say_so() {
    let scene = Scene::of(Fleet::of(BYTES, "64KiB"), "first", "--open");
    let world = &scene.fleet.world;
    let text = world.text("ticket");
    assert!(text.contains("\nopen ") && !text.contains("secret"), "{text}");
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(world.path("ticket")).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
        assert_ne!(mode & 0o077, 0, "it is published: {mode:o}");
    }
    let first = scene.node("n0", "--share --linger 10m");
    let (_, line) = first.wait_for(|object| object["event"] == "result");
    assert_eq!(line["fetched"], true, "{line}");
    // One that does not share is given something all the same, by one that has nobody else to give to. The origin alone would not be
    // slow enough for that.
    let line = format!("fetch {}/org/llama --swarm ticket -o n1 --vkey @alice", scene.url);
    let taken = world.run(&format!("{line} --limit-rate 10MB --json")).done();
    let objects = taken.objects();
    let of = |event: &str| objects.iter().find(|object| object["event"] == event).unwrap();
    let (part, shared) = (&of("result")["swarm"], of("shared"));
    assert_eq!((part["sent"].as_u64(), shared["sent"].as_u64()), (Some(0), Some(0)), "{part} {shared}");
    assert!(part["from_members"].as_u64() > Some(0), "{part}");
    assert!(shared["seconds"].as_f64() < Some(1.0), "it does not stay to give: {shared}");
    scene.fleet.assert_same(&world.path("n1"), &world.path("first"));
    let said = "the swarm is open, and nothing is given to others without --share";
    world.run(&line.replace("n1", "n2")).done().says(said);
    for flag in ["--linger 1s", "--upload-rate 1MB"] {
        let name = flag.split(' ').next().unwrap();
        let ran = world.run(&format!("{} {flag}", line.replace("n1", "n3")));
        ran.unjudged(
            9001,
            &format!("{name}: the swarm is open, and nothing is given to others without --share"),
        );
    }
    first.signal(Signal::INT);
    let (_, shared) = first.wait_for(|object| object["event"] == "shared");
    assert!(shared["sent"].as_u64() > Some(0), "{shared}");
    // Who may join by key need not be told who else there is.
    let ran = world.run("swarm ticket first --open --member @alice -o other");
    ran.expect(ran.status == Some(2), "exit status 2");
    let made = world.run("swarm ticket first --open -o third --json").done().objects();
    assert_eq!(made[0]["open"], true);
}

#[test]
fn tickets_are_refused_with_their_reason() {
    let scene = Scene::start();
    let world = &scene.fleet.world;
    let fetch = |ticket: &str, more: &str| {
        let line = format!("fetch {}/org/llama --swarm {ticket} -o n0 --vkey @alice {more}", scene.url);
        world.run(line.trim_end())
    };
    // What is there is not overwritten, and only its owner reads it.
    world.run("swarm ticket first -o ticket").unjudged(9002, "cannot create ticket: ");
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(world.path("ticket")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let text = world.text("ticket");
    let secret = text.lines().find_map(|line| line.strip_prefix("secret ")).unwrap().to_owned();
    let written = |name: &str, text: &str| world.write(name, text);
    let expires = text.lines().find(|line| line.starts_with("expires ")).unwrap();
    written("expired", &text.replace(expires, "expires 2026-01-01T00:00:00Z"));
    let ran: Ran = fetch("expired", "").unjudged(9401, "the ticket has expired at 2026-01-01T00:00:00Z");
    assert!(!ran.stderr.contains(&secret));
    written("version", &text.replace("swarm/v1", "swarm/v2"));
    fetch("version", "").refused(1902, "line 1 of the ticket is not `weighbridge/swarm/v1`");
    written("value", &text.replace(&secret, &secret[1..]));
    let ran = fetch("value", "").refused(1904, "line 5 of the ticket: the value of `secret` is malformed");
    assert!(!ran.stderr.contains(&secret[1..]));
    // A ticket of another release: the origin does not have its head.
    let head = text.lines().find(|line| line.starts_with("head ")).unwrap();
    written("other", &text.replace(head, &format!("head {}", "7".repeat(64))));
    let ran = fetch("other", "--linger 0s");
    ran.expect(ran.status == Some(1), "exit status 1");
    // A ticket that lists members lets nobody else join.
    let _ = (world.vkey("node"), world.vkey("other"));
    world.run("swarm ticket first --tracker 127.0.0.1:9 --member @node -o listed").done();
    fetch("listed", "").unjudged(9401, "the ticket does not list this member");
    fetch("listed", "--node-key @other.key").unjudged(9401, "the ticket does not list this member");
    fetch("listed", "--node-key @node.key --linger 0s").done();
}
