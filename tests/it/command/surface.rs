//! The command's surface: exit codes, misuse, JSON, shells, pipes.

use std::process::Stdio;

use serde_json::Value;

use crate::{
    command::kit::{Ran, World, root},
    process::Process,
    readme::as_a_shell_runs,
};

#[test]
fn a_call_that_makes_no_sense_misused() {
    let world = World::weighed();
    let lines = [
        "weighs",
        "weigh",
        "weigh llama",
        "weigh llama --name org//llama",
        "weigh llama --name org/llama --chunk-size 3MiB",
        "weigh llama --name org/llama --chunk-size 99999999999999999999MiB",
        "weigh llama --name org/llama --expires tomorrow",
        "weigh llama --name org/llama --ext base",
        "sign llama",
        "sign llama --key keys/alice.key --signature x",
        "sign llama --signature x",
        "verify",
        "verify llama --head 123",
        "verify llama --min-revision -1",
        "verify llama --trust a --trust b",
        "verify llama --passphrase secret",
        "diff llama",
        "diff llama llama --head 123",
        "keygen alice",
        "keygen alice -o keys --unencrypted --passphrase-file x",
        "completions tcsh",
    ];
    for line in lines {
        world.run(line).misused().hints("--help");
        world.run(&format!("{line} --json")).misused();
    }
    let ran = world.run("verify llama --vkeys x").misused();
    ran.says("weighbridge: error: unexpected argument '--vkeys' found [W9001]\n")
        .hints("tip: a similar argument exists: '--vkey'");
}

#[test]
fn help_and_version_are_results() {
    let world = World::empty();
    world.run("--version").done().prints("weighbridge 0.");
    let help = world.run("--help").done();
    for command in [
        "keygen",
        "vkey",
        "weigh",
        "sign",
        "verify",
        "inspect",
        "prove",
        "check",
        "serve",
        "audit",
        "fetch",
        "import",
        "serve",
        "push",
        "swarm",
        "trust",
        "diff",
        "demo",
        "completions",
        "man",
    ] {
        help.expect(help.stdout.contains(&format!("\n  {command} ")), command);
        world.run(&format!("{command} --help")).done().prints("Usage: weighbridge ");
    }
    // A command line without any word is answered with the help.
    let ran = Ran::of(&mut world.bare());
    ran.expect(ran.status == Some(2), "exit status 2");
    ran.says("Usage: weighbridge ");
}

/// Every help ends with examples that work. Before this test, help listed options and showed no example.
#[test]
#[cfg(unix)]
fn every_help_ends_with_examples_and_they_work() {
    let world = World::with_model();
    world.rename("llama", "model");
    world.write("passphrase", "correct horse");
    let prepared = [
        (
            "vkey",
            "openssl genpkey -algorithm ed25519 -out bob.pem; openssl pkey -in bob.pem -pubout -out bob.pub.pem",
        ),
        ("sign", "openssl pkeyutl -sign -rawin -inkey bob.pem -in meta/head.txt -out head.sig"),
        ("verify", POLICY),
        ("fetch", "cp -r model served"),
        ("serve", PUBLIC_SERVER),
        ("node", NODE),
    ];
    let commands = [
        "demo",
        "keygen",
        "vkey",
        "weigh",
        "sign",
        "verify",
        "inspect",
        "prove",
        "check",
        "audit",
        "audit challenge",
        "audit respond",
        "audit check",
        "swarm",
        "swarm ticket",
        "swarm peers",
        "fetch",
        "serve",
        "node",
        "node ls",
        "node pin",
        "node unpin",
        "node evict",
        "node plan",
        "node status",
        "import",
        "trust",
        "trust add",
        "trust list",
        "trust remove",
        "trust revoke",
        "diff",
        "completions",
        "man",
        "",
    ];
    // The subcommands of `node` ask one that runs.
    let mut node = None;
    for command in commands {
        let help = world.run(format!("{command} --help").trim_start()).done();
        let (_, examples) = help.stdout.split_once("\nExamples:\n").unwrap_or_default();
        help.expect(examples.contains("weighbridge "), "examples");
        if let Some((_, lines)) = prepared.iter().find(|(of, _)| *of == command) {
            as_a_shell_runs(&world, lines).done();
        }
        if command == "node ls" {
            let process = Process::start(world.command("node --config node.toml"));
            process.wait_for(|object| object["event"] == "listening");
            node = Some(process);
        }
        // A server runs until it is told to end, and its port may be taken.
        let examples = examples
            .replace("weighbridge serve model\n", "weighbridge serve model --listen 127.0.0.1:0\n")
            .replace(
                "serve model --tracker 127.0.0.1:7070",
                "serve model --listen 127.0.0.1:0 --tracker 127.0.0.1:0",
            )
            .replace("serve model --node-key", "serve model --listen 127.0.0.1:0 --node-key")
            .replace("serve --accept taken", "serve --accept taken --listen 127.0.0.1:0")
            .replace("0.0.0.0:8443", "127.0.0.1:0")
            .replace("weighbridge node --config", "timeout --preserve-status 2 weighbridge node --config")
            .replace("weighbridge serve", "timeout --preserve-status 2 weighbridge serve");
        as_a_shell_runs(&world, &examples).done();
    }
    assert!(node.is_some());
    assert!(world.exists("fetched/config.json") && world.exists("share/man/man1/weighbridge.1"));
}

/// Writes a policy that trusts alice.
const POLICY: &str = r#"printf '[[publisher]]\nscope = "org/*"\n[[publisher.key]]\nvkey = "%s"\n' "$(cat keys/alice.vkey)" >policy.toml"#;

/// Writes the configuration of a node, and puts a model into its cache.
const NODE: &str = r#"printf 'listen = "127.0.0.1:0"\ncache = "hub"\npolicy = "policy.toml"\nbudget = "1GB"\n[[origin]]\nmodels = "*"\nsources = ["http://127.0.0.1:9/{name}"]\n' >node.toml; \
    weighbridge fetch served --hf-cache=hub --name org/model --vkey "$(cat keys/alice.vkey)""#;

/// Makes models, a certificate, and a tokens file.
const PUBLIC_SERVER: &str = "mkdir models && cp -r model models; \
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout key.pem -out cert.pem 2>openssl.log; \
    echo ci $(printf test | openssl dgst -sha256 -r | cut -d ' ' -f 1) read 'org/*' >tokens";

/// Before this test, the command had help texts and no manual pages.
#[test]
fn every_command_has_a_manual_page() {
    let world = World::empty();
    world.run("man -o man").done().prints("wrote    ");
    let pages = world.files("man");
    let named = |name: &str| {
        let page = pages.iter().find(|(page, _)| page == &format!("{name}.1"));
        String::from_utf8(page.unwrap_or_else(|| panic!("{name}")).1.clone()).unwrap()
    };
    let overview = named("weighbridge");
    assert!(overview.contains("weighbridge\\-audit(1)") && overview.contains("143 by SIGTERM"), "{overview}");
    let verify = named("weighbridge-verify");
    for part in [
        ".SH NAME\nweighbridge\\-verify \\- Check a model folder",
        ".SH SYNOPSIS",
        ".SH TRUST",
        ".SH EXAMPLES\n.nf",
    ] {
        assert!(verify.contains(part), "{part:?} in {verify}");
    }
    assert!(named("weighbridge-audit-respond").contains("weighbridge audit respond model challenge.note"));
    // One page for each help text, and no other page.
    assert_eq!(pages.len(), 36, "{:?}", pages.iter().map(|(name, _)| name).collect::<Vec<_>>());
    let objects = world.run("man -o man --json").done().objects();
    assert_eq!(objects[0]["pages"].as_array().unwrap().len(), pages.len());
}

impl World {
    fn bare(&self) -> std::process::Command {
        let mut command = std::process::Command::new(crate::command::kit::binary());
        self.at_home(&mut command);
        command
    }
}

#[test]
fn every_command_speaks_json() {
    let world = World::with_model();
    let events = |line: &str| -> Vec<String> {
        let ran = world.run(&format!("{line} --json")).done();
        ran.expect(ran.stderr.is_empty(), "no talk");
        ran.objects().iter().map(|object| object["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(events("keygen dave -o keys --unencrypted"), ["key"]);
    assert_eq!(events("weigh llama --name org/llama"), ["weighed"]);
    assert_eq!(events("sign llama --key @alice.key"), ["signed"]);
    let verify = events("verify llama --vkey @alice");
    assert_eq!((verify.first().unwrap().as_str(), verify.last().unwrap().as_str()), ("head", "result"));
    assert_eq!(verify.iter().filter(|event| *event == "file").count(), 11);
    assert_eq!(events("inspect llama"), ["head"]);

    let objects = world.run("verify llama --vkey @alice --json").done().objects();
    let result = objects.last().unwrap();
    assert_eq!(
        (&result["verified"], &result["files"], &result["code"]),
        (&true.into(), &11.into(), &Value::Null)
    );
    assert_eq!(result["head"], world.head_id("llama"));

    world.remove("llama/config.json");
    let objects = world.run("verify llama --vkey @alice --json").refused(2104, "").objects();
    let result = &objects[objects.len() - 2];
    assert_eq!(
        (&result["event"], &result["verified"], &result["refused"]),
        (&"result".into(), &false.into(), &1.into())
    );
}

/// The sources of the command name variables of ours, and its help lists each.
#[test]
fn the_help_lists_every_variable_of_ours() {
    let help = World::empty().run("--help").done();
    let sources = root().join("crates/weighbridge-cli/src");
    let mut found = std::collections::BTreeSet::new();
    let mut folders = vec![sources];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let names = text.split("\"WEIGHBRIDGE_").skip(1).map(|rest| rest.split('"').next().unwrap());
            found.extend(names.map(|name| format!("WEIGHBRIDGE_{name}")));
        }
    }
    // It makes the schema, in a test.
    assert!(found.remove("WEIGHBRIDGE_WRITE_SCHEMA") && found.len() >= 2, "{found:?}");
    for name in found {
        help.expect(help.stdout.contains(&name), &name);
    }
}

#[test]
fn without_a_terminal_there_is_no_bar() {
    let world = World::with_model();
    let ran = world.run("weigh llama --name org/llama --key @alice.key").done();
    ran.expect(ran.stderr.is_empty(), "nothing on standard error");
    let ran = world.run("verify llama --vkey @alice").done();
    ran.expect(ran.stderr.is_empty() && !ran.stdout.contains(['\r', '\u{1b}']), "plain lines");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::weighed();
    let lines = [
        ("verify llama --vkey @alice", 0),
        ("verify llama --vkey @alice --json", 0),
        ("verify llama --vkey @bob --json", 1),
        ("inspect llama/model-00001-of-00002.safetensors", 0),
        ("prove llama --file config.json", 0),
        ("prove llama --file config.json --json", 0),
        ("completions bash", 0),
        ("--help", 0),
    ];
    for (line, status) in lines {
        let mut child = world.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{line}\n{stderr}");
        assert!(!stderr.contains("panicked") && !stderr.to_lowercase().contains("pipe"), "{line}\n{stderr}");
        assert_eq!(stderr.is_empty(), status == 0, "{line}\n{stderr}");
    }
    // A run ends normally as well if the reader of standard error has gone away.
    let mut child = world
        .command("verify llama --vkey @bob")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
}

#[test]
fn shells_get_their_completions() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        world.run(&format!("completions {shell}")).done().prints("allow-expired");
    }
}

#[test]
fn the_demo_shows_a_flipped_bit_refused_and_leaves_nothing_behind() {
    let world = World::empty();
    std::fs::create_dir(world.path("tmp")).unwrap();
    let mut demo = world.command("demo");
    let ran = Ran::of(demo.env("TMPDIR", world.path("tmp"))).done();
    let ran =
        ran.prints("$ weighbridge keygen demo -o keys\n").prints("signed by demo\n").prints("verified ");
    ran.prints("data does not match the signed root [W2101]").prints("weighbridge: error: 1 of ");
    let left: Vec<_> = std::fs::read_dir(world.path("tmp")).unwrap().collect();
    assert!(left.is_empty() && !world.exists("state"), "{left:?}");
}

#[test]
fn what_a_weighing_says_in_its_head_is_signed() {
    let world = World::with_model();
    let line = "weigh llama --name org/llama --key @alice.key --expires 9000-01-01T00:00:00Z --chunk-size 64KiB --sha256";
    world.run(&format!("{line} --ext source=https://example.org --ext base=org/base")).done();
    let head = world.text("llama/weighbridge/head.txt");
    assert!(
        head.contains("\nexpires 9000-01-01T00:00:00Z\n") && head.contains("\nchunk-size 65536\n"),
        "{head}"
    );
    assert!(head.ends_with("\next base org/base\next source https://example.org\n"), "{head}");
    assert!(world.text("llama/weighbridge/files.jsonl").lines().all(|line| line.contains(",\"sha256\":\"")));
    world.run("verify llama --vkey @alice").done();
}

#[test]
fn a_head_that_could_not_be_read_is_not_made() {
    let world = World::with_model();
    let many = (0..17).map(|number| format!(" --ext key={number}")).collect::<String>();
    let long = (0..16).map(|number| format!(" --ext {number}={}", "x".repeat(256))).collect::<String>();
    let cases = [
        ("--ext Key=value", "the head's value of 'ext' is malformed"),
        ("--ext key=", "the head's value of 'ext' is malformed"),
        ("--ext a=b --ext a=b", "the head's 'ext' lines do not strictly increase"),
        (&many, "the head has more than 16 'ext' lines"),
        (&long, "the head's text has at most 4096 bytes, this one "),
        ("--expires 2020-01-01T00:00:00Z", "the head contradicts itself: it expires before it was created"),
    ];
    for (words, sentence) in cases {
        let line = format!("weigh llama --name org/llama {}", words.trim());
        world.unjudged(&line, 9001, &format!("no head can say this: {sentence}"));
        assert!(!world.exists("llama/weighbridge"), "something was written");
    }
    // The fault is found before any file is read, which may take hours.
    world.write("llama/model-00001-of-00002.safetensors", "broken");
    world.unjudged(
        "weigh llama --name org/llama --ext Key=value",
        9001,
        "the head's value of 'ext' is malformed",
    );
}
