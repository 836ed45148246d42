//! The user's own policy: `trust`, and the runs that use what it keeps.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
};

use serde_json::{Value, json};

use crate::command::{
    kit::{Ran, World},
    terminal::on_terminal,
};

const POLICY: &str = "config/weighbridge/trust.toml";

impl World {
    /// Runs the command on a terminal, which has to end with this status; returns what it sent.
    #[track_caller]
    fn on_terminal(&self, line: &str, status: i32) -> String {
        let (ended, sent) = on_terminal(&mut self.command(line));
        assert_eq!(ended, Some(status), "{line}\n{sent}");
        sent
    }

    fn set_mode(&self, relative: &str, mode: u32) {
        fs::set_permissions(self.path(relative), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self, relative: &str) -> u32 {
        fs::metadata(self.path(relative)).unwrap().permissions().mode() & 0o7777
    }

    /// The policy as `trust list` tells programs.
    #[track_caller]
    fn kept_policy(&self) -> Value {
        self.run("trust list --json").done().objects().remove(0)
    }
}

/// The objects of an event.
fn of_event<'o>(objects: &'o [Value], event: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["event"] == event).collect()
}

const VERIFY: &str = "verify llama --name org/llama --only config.json";

#[test]
fn a_key_that_was_added_is_trusted_without_being_said_and_another_one_is_not() {
    let world = World::weighed();
    world.on_terminal(VERIFY, 2);
    world.run("trust add alice @alice --scope org/*").done().prints("trusted  org/*  alice+");
    assert_eq!((world.mode(POLICY), world.mode("config/weighbridge")), (0o600, 0o700));
    let sent = world.on_terminal(VERIFY, 0);
    let digest = world.kept_policy()["sha256"].as_str().unwrap().to_owned();
    let path = world.path(POLICY);
    assert!(sent.starts_with(&format!("policy   {}, sha256 {digest}\nhead     ", path.display())), "{sent}");
    let sent = world.on_terminal(&format!("{VERIFY} --json"), 0);
    let objects: Vec<Value> = sent.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    objects.iter().for_each(super::events::is_in_the_schema);
    let expected = json!({"event": "policy", "file": path, "sha256": digest, "from": "user"});
    assert_eq!((&objects[0], &objects[1]["event"]), (&expected, &"head".into()));

    // Another key under that name.
    world.run("weigh llama --name org/llama --key @mallory.key --force").done();
    let sent = world.on_terminal(VERIFY, 1);
    assert!(sent.contains("none of the signatures is by a trusted key [W3102]"), "{sent}");
    // Other commands that need trust use it as well.
    world.forget();
    world.run("weigh llama --name org/llama --key @alice.key --force").done();
    world.run("prove llama --file config.json -o proof").done();
    let sent = world.on_terminal("check proof --name org/llama", 0);
    assert!(sent.starts_with("policy   "), "{sent}");
    let sent = world.on_terminal("fetch llama -o fetched --name org/llama", 0);
    assert!(sent.contains("policy   ") && world.exists("fetched/config.json"), "{sent}");
    // What is said on the command line goes before it.
    let sent = world.on_terminal(&format!("{VERIFY} --vkey @bob"), 1);
    assert!(!sent.contains("policy   "), "{sent}");
    let sent = world.on_terminal(&format!("{VERIFY} --head {}", world.head_id("llama")), 0);
    assert!(!sent.contains("policy   "), "{sent}");
}

#[test]
fn without_a_terminal_a_policy_has_to_be_named() {
    let world = World::weighed();
    let ran = world.unjudged(VERIFY, 9003, "whom to trust was not said");
    ran.hints("`weighbridge trust add` keeps a key");
    world.run("trust add alice @alice --scope org/*").done();
    let ran = world.unjudged(VERIFY, 9003, "whom to trust was not said");
    ran.hints("WEIGHBRIDGE_TRUST=")
        .hints("without a terminal your policy is used only if it is named: --trust ");

    let named = |line: &str, policy: &str| Ran::of(world.command(line).env("WEIGHBRIDGE_TRUST", policy));
    named(VERIFY, POLICY)
        .done()
        .prints("policy   config/weighbridge/trust.toml (WEIGHBRIDGE_TRUST), sha256 ");
    let objects = named(&format!("{VERIFY} --json"), POLICY).done().objects();
    assert_eq!((&objects[0]["event"], &objects[0]["from"]), (&"policy".into(), &"environment".into()));
    named(VERIFY, "").unjudged(9003, "whom to trust was not said");
    named(VERIFY, "none.toml").unjudged(9002, "cannot read none.toml");
    world.write("bad.toml", "no policy");
    named(VERIFY, "bad.toml").refused(1601, "bad.toml: not a trust policy");
    // It goes before the user's policy, and what is said on the command line before it.
    world.write(
        "bob.toml",
        format!("[[publisher]]\nscope = '*'\nkey = [{{ vkey = '{}' }}]", world.vkey("bob")),
    );
    let (status, _) = on_terminal(world.command(VERIFY).env("WEIGHBRIDGE_TRUST", "bob.toml"));
    assert_eq!(status, Some(1));
    let ran = named(&format!("{VERIFY} --vkey @alice"), "bob.toml").done();
    ran.expect(!ran.stdout.contains("policy"), "no word of a policy");
}

#[test]
fn a_policy_that_somebody_else_could_change_is_not_used() {
    let world = World::weighed();
    world.run("trust add alice @alice --scope org/*").done();
    let refused = |reason: &str| {
        let sent = world.on_terminal(VERIFY, 2);
        assert!(sent.contains(reason) && sent.contains("[W9006]"), "{reason:?} in {sent}");
        assert!(sent.contains("hint: or name a policy: --trust FILE"), "{sent}");
        world.unjudged("trust list", 9006, reason);
        world.unjudged("trust revoke alice", 9006, reason);
    };
    for place in [POLICY, "config/weighbridge", "config"] {
        let mode = world.mode(place);
        let path = world.path(place);
        for (bits, who) in [(0o020, "its group"), (0o002, "everybody")] {
            world.set_mode(place, mode | bits);
            refused(&format!("your policy is not used: {} may be written by {who}", path.display()));
        }
        world.run("trust list").unjudged(9006, "").hints(&format!("`chmod go-w {}`", path.display()));
        world.set_mode(place, mode);
    }
    world.on_terminal(VERIFY, 0);
    // A sticky folder such as /tmp keeps others from replacing what is not theirs.
    world.set_mode("config", 0o1777);
    world.on_terminal(VERIFY, 0);
    world.set_mode("config", 0o755);
    // A link may lead elsewhere, if all of the way there is safe.
    world.rename(POLICY, "kept.toml");
    symlink(world.path("kept.toml"), world.path(POLICY)).unwrap();
    world.on_terminal(VERIFY, 0);
    world.run("trust add bob @bob --scope b/*").unjudged(9001, "trust.toml is there, and is no regular file");
    world.set_mode("kept.toml", 0o666);
    refused("kept.toml may be written by everybody");
    world.set_mode("kept.toml", 0o600);
    // Only root can give a file away.
    if chown(world.path("kept.toml"), Some(65_534), None).is_ok() {
        refused("kept.toml belongs to user 65534, neither to you nor to root");
    }
}

#[test]
fn a_policy_is_not_written_where_it_would_not_be_used() {
    let world = World::weighed();
    fs::create_dir(world.path("config")).unwrap();
    world.set_mode("config", 0o777);
    world.unjudged("trust add alice @alice --scope org/*", 9006, "may be written by everybody");
    assert!(!world.exists(POLICY));
    // Who has no policy is told that, and not who could write one.
    let sent = world.on_terminal(VERIFY, 2);
    assert!(sent.contains("[W9003]"), "{sent}");
}

#[test]
fn a_key_does_not_take_names_from_a_stricter_entry_unless_told_so() {
    let world = World::weighed();
    world.run("trust add alice @alice --scope org/*").done();
    let before = world.read(POLICY);
    let ran = world.unjudged(
        "trust add mallory @mallory --scope org/llama",
        9007,
        "'org/llama' would take names away from 'org/*', which believes only what alice signed",
    );
    ran.hints("add it with --replace if this key alone shall decide there");
    // What is believed already shadows nothing, unless its dates reach further.
    world.run("trust add alice @alice --scope org/a --until 2030-01-01").done();
    world.run("trust add alice @alice --scope org/a/b").done();
    world.run("trust add alice @alice --scope a/* --until 2030-01-01").done();
    world.run("trust add alice @alice --scope a/b").unjudged(9007, "");
    // An importer beside a publisher shadows nobody, and another scope neither.
    world.run("trust add platform @platform --scope org/* --role import").done();
    world.run("trust add bob @bob --scope other/*").done();
    world.write(POLICY, before);
    world.run("trust add mallory @mallory --scope org/llama --replace").done();
    world.run("trust add bob @bob --scope org/*").done();
    let publishers = |listed: &Value| -> Vec<(String, usize)> {
        let entries = listed["publishers"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| {
                (entry["scope"].as_str().unwrap().to_owned(), entry["keys"].as_array().unwrap().len())
            })
            .collect()
    };
    assert_eq!(publishers(&world.kept_policy()), [("org/*".into(), 2), ("org/llama".into(), 1)]);
    world.run("trust add carol @carol --scope org/* --replace").done();
    assert_eq!(publishers(&world.kept_policy()), [("org/*".into(), 1), ("org/llama".into(), 1)]);
    assert_eq!(world.kept_policy()["publishers"][0]["keys"][0]["vkey"], world.vkey("carol").to_string());
}

#[test]
fn an_entry_keeps_its_threshold_when_a_key_joins_it() {
    let world = World::empty();
    world.run("trust add alice @alice --scope org/*").done();
    world.run("trust add bob @bob --scope org/*").done();
    // A value may be changed by hand: the file is as the command would write it.
    let text = world.text(POLICY).replace("scope = \"org/*\"\n", "scope = \"org/*\"\nthreshold = 2\n");
    world.write(POLICY, text);
    world.run("trust add carol @carol --scope org/*").done().prints("2 of 3 have to sign");
    world.run("trust remove carol").done().prints("2 of 2 have to sign");
    world.refused("trust remove bob", 1604, "publisher 1: a threshold of 2 with 1 distinct keys");
    world
        .run("trust add carol @carol --scope org/x")
        .unjudged(9007, "which believes only what 2 of alice, bob signed");
}

#[test]
fn each_remembered_head_whose_verdict_changes_is_named() {
    let world = World::weighed();
    world.run("weigh llama --name org/other --key @platform.key -o other").done();
    world.run(&format!("{VERIFY} --vkey @alice")).done();
    world.run("verify llama --meta other --only config.json --vkey @platform").done();
    let changes = |line: &str| -> Vec<(String, Value, Value)> {
        let objects = world.run(&format!("{line} --json")).done().objects();
        let verdicts = of_event(&objects, "verdict");
        let change = |verdict: &&Value| {
            (
                verdict["name"].as_str().unwrap().to_owned(),
                verdict["before"].clone(),
                verdict["after"].clone(),
            )
        };
        verdicts.iter().map(change).collect()
    };
    let (publisher, import, none) = (json!("publisher"), json!("import"), Value::Null);
    let (llama, other) = ("org/llama".to_owned(), "org/other".to_owned());
    assert_eq!(
        changes("trust add alice @alice --scope org/*"),
        [(llama.clone(), none.clone(), publisher.clone())]
    );
    assert_eq!(
        changes("trust add platform @platform --scope org/* --role import"),
        [(other.clone(), none.clone(), import.clone())]
    );
    assert_eq!(changes("trust add bob @bob --scope org/*"), []);
    assert_eq!(
        changes("trust add platform @platform --scope org/*"),
        [(other.clone(), import.clone(), publisher.clone())]
    );
    assert_eq!(
        changes("trust add mallory @mallory --scope org/llama --replace"),
        [(llama.clone(), publisher.clone(), none.clone())]
    );
    assert_eq!(changes("trust remove mallory"), [(llama, none.clone(), publisher)]);
    assert_eq!(changes("trust revoke platform"), [(other, json!("publisher"), none)]);
    world
        .run("trust revoke alice")
        .done()
        .prints("verdict  org/llama revision 1: its publisher's so far, not believed now\n");
    // A key may have to be revoked although the memory cannot be read.
    world.write("state/weighbridge/heads.json", "damaged");
    world.run("trust revoke bob").done().says("which verdicts change is not known: ").prints("revoked  bob+");
}

#[test]
fn a_revoked_key_is_not_believed_and_not_added_again() {
    let world = World::weighed();
    world.run("trust revoke alice").misused().says("you have no policy yet");
    world.run("trust add alice @alice --scope org/*").done();
    world.on_terminal(VERIFY, 0);
    for key in ["nobody", "keys/none.vkey"] {
        world
            .run(&format!("trust revoke {key}"))
            .misused()
            .says(&format!("the policy has no key of '{key}'"));
    }
    world.key("mallory");
    world.run("trust revoke keys/mallory.vkey").done().prints("revoked  mallory+");
    world.run("trust revoke @bob").done();
    // A file that is called like a key of the policy is not looked at.
    world.write("alice", "no key");
    world.run("trust revoke alice").done();
    world.run("trust revoke alice").done();
    let revoked: Vec<String> = ["mallory", "bob", "alice"].map(|name| world.vkey(name).to_string()).into();
    assert_eq!(world.kept_policy()["revoked"], json!(revoked));
    let sent = world.on_terminal(VERIFY, 1);
    assert!(sent.contains("the others are revoked [W3104]"), "{sent}");
    for replace in ["", " --replace"] {
        let add = format!("trust add alice @alice --scope org/*{replace}");
        world.run(&add).misused().says("the policy revokes this key");
    }
}

#[test]
fn a_removed_key_is_gone_and_the_last_one_is_not_removed() {
    let world = World::empty();
    world.run("trust list").done().says("you have no policy yet");
    world.run("trust remove alice").misused().says("you have no policy yet");
    world.run("trust add alice @alice --scope org/*").done();
    world.run("trust add bob @bob --scope org/*").done();
    world.run("trust add alice @alice --scope b/*").done();
    world.run("trust remove carol").misused().hints("`weighbridge trust list` shows what it has");
    world.run("trust remove alice").done();
    let listed = world.kept_policy();
    assert_eq!(listed["publishers"].as_array().unwrap().len(), 1);
    assert_eq!(listed["publishers"][0]["keys"][0]["vkey"], world.vkey("bob").to_string());
    world.refused("trust remove bob", 1605, "the policy trusts nobody").hints("remove the file itself");
    assert_eq!(world.kept_policy(), listed);
}

#[test]
fn what_was_written_by_hand_is_used_and_not_lost() {
    let world = World::weighed();
    world.run("trust add alice @alice --scope org/*").done();
    let edited = format!("{}# a remark\n", world.text(POLICY));
    world.write(POLICY, &edited);
    world.on_terminal(VERIFY, 0);
    world.run("trust list").done();
    for line in ["trust add bob @bob --scope org/*", "trust revoke alice", "trust remove alice"] {
        let ran = world.unjudged(line, 9007, "trust.toml was edited, and comments in it would be lost");
        ran.hints("change it by hand as well");
        assert_eq!(world.text(POLICY), edited);
    }
    // A policy that cannot be read is nobody's.
    world.write(POLICY, "[[publisher]]\n");
    let sent = world.on_terminal(VERIFY, 1);
    assert!(sent.contains("trust.toml: not a trust policy") && sent.contains("[W1601]"), "{sent}");
}

#[test]
fn everything_that_a_policy_has_is_listed() {
    let world = World::empty();
    world.run("trust add alice @alice --scope org/* --from 2026-01-01 --until 2027-01-01T12:00:00Z").done();
    world.run("trust add platform @platform --scope * --role import").done();
    world.run("trust revoke @bob").done();
    let id = "0d687d649d9bf937807da858d846d50009245b6ebbe077f50e53473b74c5afb1";
    let by_hand = format!("accepted-heads = ['{id}']\n{}", world.text(POLICY))
        + &format!("[held]\nauditor = [{{ vkey = '{}' }}]\n", world.vkey("ann"));
    world.write(POLICY, by_hand);
    let [alice, bob, platform, ann] = ["alice", "bob", "platform", "ann"].map(|name| world.vkey(name));
    let ran = world.run("trust list").done();
    ran.prints(&format!("trusted  org/*  {alice}, from 2026-01-01T00:00:00Z, until 2027-01-01T12:00:00Z\n"))
        .prints(&format!("imports  *  {platform}\n"))
        .prints(&format!("accepted head {id}\nauditor  {ann}\nrevoked  {bob}\n"));
    let listed = world.kept_policy();
    assert_eq!(listed["publishers"][0]["keys"][0]["until"], "2027-01-01T12:00:00Z");
    assert_eq!(listed["publishers"][1]["role"], "import");
    assert_eq!((&listed["accepted_heads"], &listed["revoked"]), (&json!([id]), &json!([bob.to_string()])));
    assert_eq!(listed["auditors"][0]["vkey"], ann.to_string());
}

#[test]
fn a_key_is_added_by_its_name_with_a_scope_and_dates() {
    let world = World::empty();
    for (words, sentence) in [
        ("alice @bob --scope *", "the key is of 'bob', not of 'alice'"),
        ("alice @alice", "--scope"),
        ("alice @alice --scope org/**", "a scope is a model name, PREFIX/* or *"),
        ("alice @alice --scope * --role importer", "a role is 'publisher' or 'import'"),
        ("alice @alice --scope * --from 2026", "a date is written like 2026-01-01"),
        ("a+b @alice --scope *", "a key's name has no spaces"),
    ] {
        world.run(&format!("trust add {words}")).misused().says(sentence);
    }
    world.run("trust add alice none.vkey --scope *").refused(1501, "");
    let dates = "--from 2026-01-02 --until 2026-01-01";
    world
        .run(&format!("trust add alice @alice --scope * {dates}"))
        .refused(1606, "'from' is not before 'until'");
    assert!(!world.exists(POLICY));
    world.key("alice");
    world.run("trust add alice keys/alice.vkey --scope *").done();
}

/// The XDG Base Directory Specification has relative paths ignored.
#[test]
fn the_policy_is_in_the_home_of_its_user() {
    let world = World::empty();
    let add = |config: &str, home: &Path| {
        let mut command = world.command("trust add alice @alice --scope *");
        Ran::of(command.env("XDG_CONFIG_HOME", config).env("HOME", home).env_remove("APPDATA"))
    };
    for relative in ["config", ""] {
        add(relative, &world.path("home")).done();
        assert!(world.exists("home/.config/weighbridge/trust.toml") && !world.exists("config"));
    }
    add("", Path::new("home")).misused().says("this system names no place for a policy of yours");
}
