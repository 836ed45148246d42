//! Accepted heads are remembered, so that nobody can lead a caller back to an older head, or to a fork.

use std::{fs, process::Child};

use serde_json::Value;
use weighbridge_manifest::Memory;

use crate::command::kit::{Ran, World};

/// The default place of the memory.
const DEFAULT: &str = "state/weighbridge/heads.json";

impl World {
    /// A world with the metadata of two revisions in `one` and `two`, and forks of them in `other-one` and
    /// `other-two`.
    fn with_history() -> Self {
        let world = Self::with_model();
        let weigh =
            |rest: &str| world.run(&format!("weigh llama --name org/llama --key @alice.key {rest}")).done();
        weigh("-o one");
        weigh("-o two --previous one/head.note");
        weigh("-o other-one --ext source=elsewhere");
        weigh("-o other-two --previous other-one/head.note");
        world
    }
}

fn verify(metadata: &str) -> String {
    verify_by(metadata, "--vkey @alice")
}

fn verify_by(metadata: &str, trust: &str) -> String {
    format!("verify llama --meta {metadata} --only config.json {trust}")
}

impl World {
    /// Writes a policy that trusts `threshold` of these keys.
    fn any_of(&self, file: &str, threshold: usize, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(|key| format!("{{ vkey = '{}' }}", self.vkey(key))).collect();
        let text =
            format!("[[publisher]]\nscope = '*'\nthreshold = {threshold}\nkey = [{}]", keys.join(", "));
        self.write(file, text);
    }

    /// The remembered notes of a name, in no order.
    fn remembered(&self, state: &str, name: &str) -> Vec<String> {
        let state: Value = serde_json::from_str(&self.text(state)).unwrap();
        let notes = state[name].as_object().into_iter().flat_map(|notes| notes.values());
        notes.map(|note| note.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_head_of_another_publisher_under_the_same_name_does_not_lead_back() {
    // Regression: one note was kept for each name, so a model signed by carol replaced alice's revision 2, and
    // alice's revision 1 was accepted afterwards.
    let world = World::with_history();
    world.run("weigh llama --name org/llama --key @carol.key -o by-carol").done();
    world.run(&verify("two")).done();
    world.run(&verify_by("by-carol", "--vkey @carol")).done();
    world.refused(&verify("one"), 3204, "rollback: the head is revision 1, revision 2 was accepted before");
    world.run(&verify_by("by-carol", "--vkey @carol")).done();
    assert_eq!(world.remembered(DEFAULT, "org/llama").len(), 2);
}

#[test]
fn a_job_that_asks_for_less_does_not_take_the_memory_of_one_that_asks_for_more() {
    // Regression: a head that any of the keys may sign replaced the one that both had signed, and a job that demands
    // both accepted an older head.
    let world = World::with_model();
    let weigh = |rest: &str| world.run(&format!("weigh llama --name org/llama {rest}")).done();
    weigh("--key @alice.key --key @bob.key -o one");
    weigh("--key @alice.key --key @bob.key -o two --previous one/head.note");
    weigh("--key @alice.key -o three --previous two/head.note");
    world.any_of("any.toml", 1, &["alice", "bob"]);
    world.any_of("both.toml", 2, &["alice", "bob"]);
    world.run(&verify_by("two", "--trust both.toml")).done();
    world.run(&verify_by("three", "--trust any.toml")).done();
    world.refused(&verify_by("one", "--trust both.toml"), 3204, "revision 2 was accepted before");
    world.refused(&verify_by("two", "--trust any.toml"), 3204, "revision 3 was accepted before");
    world.run(&verify_by("two", "--trust both.toml")).done();
}

#[test]
fn jobs_at_the_same_time_lose_nothing_of_each_other() {
    let world = World::with_model();
    let names = ["a", "b", "c", "d"];
    for name in names {
        for key in ["alice", "bob"] {
            let weigh = format!("weigh llama --name org/{name} --key @{key}.key -o {name}-{key}");
            // Without this line, two weighings within one second would give the same head.
            world.run(&format!("{weigh} --ext by={key}")).done();
        }
    }
    for _ in 0..3 {
        world.forget();
        let start = |name: &str, key: &str| {
            let mut run = world.command(&verify_by(&format!("{name}-{key}"), &format!("--vkey @{key}")));
            run.stdout(std::process::Stdio::null()).spawn().unwrap()
        };
        let mut runs: Vec<Child> =
            names.into_iter().flat_map(|name| ["alice", "bob"].map(|key| start(name, key))).collect();
        for run in &mut runs {
            assert!(run.wait().unwrap().success());
        }
        for name in names {
            assert_eq!(world.remembered(DEFAULT, &format!("org/{name}")).len(), 2, "{name}");
        }
    }
}

#[test]
fn a_mirror_that_drops_a_signature_does_not_weaken_the_memory() {
    // Regression: the note was replaced by a copy with a line less, and a caller who trusts bob alone accepted an
    // older head.
    let world = World::with_model();
    let weigh = |rest: &str| {
        world.run(&format!("weigh llama --name org/llama --key @alice.key --key @bob.key {rest}")).done()
    };
    weigh("-o one");
    weigh("-o two --previous one/head.note");
    world.any_of("any.toml", 1, &["alice", "bob"]);
    world.run(&verify_by("two", "--trust any.toml")).done();
    let note = world.text("two/head.note");
    let dropped: Vec<&str> = note.lines().filter(|line| !line.contains(" bob ")).collect();
    world.write("two/head.note", dropped.join("\n") + "\n");
    world.run(&verify_by("two", "--trust any.toml")).done().prints("signed by alice\n");
    assert_eq!(world.remembered(DEFAULT, "org/llama"), [note]);
    world.refused(&verify_by("one", "--vkey @bob"), 3204, "revision 2 was accepted before");
}

#[test]
fn what_a_mirror_adds_to_a_head_that_is_believed_by_its_id_is_not_remembered() {
    // A remembered line that falsely claims to be alice's would stop every later run that trusts alice.
    let world = World::with_history();
    let (text, id) = (world.text("one/head.txt"), world.head_id("one"));
    let bad = world.key("alice").sign(b"another text");
    world.write("mirror/head.note", format!("{text}\n{bad}\n"));
    world.copy("one", "served");
    world.write("served/head.note", world.text("mirror/head.note"));
    world.write("by-id.toml", format!("accepted-heads = ['{id}']"));
    world.run(&verify_by("served", "--trust by-id.toml")).done().prints("accepted by its id");
    assert_eq!(world.remembered(DEFAULT, "org/llama"), [format!("{text}\n")]);
    world.run(&verify("two")).done();
    assert_eq!(world.remembered(DEFAULT, "org/llama").len(), 2);
}

#[test]
fn a_damaged_memory_is_never_passed_over() {
    // Regression: one changed character in a remembered signature made the note untrusted, and an older head was
    // accepted.
    let world = World::with_history();
    world.run(&verify("two")).done();
    let good = world.text(DEFAULT);
    let note = world.text("two/head.note");
    let altered =
        format!("{}{}\n", world.text("two/head.txt") + "\n", world.key("alice").sign(b"another text"));
    let twice = good.trim_end().strip_suffix('}').unwrap().to_owned() + ", \"org/llama\": {}}";
    for (damaged, why) in [
        (good.replace("— alice ", "— alicf "), "a note does not stand under its SHA-256"),
        (good.replace("revision 2", "revision 3"), "a note does not stand under its SHA-256"),
        (
            good.replace("org/llama\": {", "org/llamb\": {"),
            "a note stands under another name than its head's",
        ),
        (twice, "is not of its form"),
        (good[..good.len() / 2].to_owned(), "is not of its form"),
        (
            Memory::from_notes([altered]).unwrap().to_json(),
            "of 'org/llama', a signature by 'alice' that verified once does not verify",
        ),
    ] {
        world.write(DEFAULT, &damaged);
        for metadata in ["one", "two"] {
            let ran = world.unjudged(&verify(metadata), 9004, "heads.json does not hold remembered heads: ");
            ran.says(why).hints("move this one away: what was accepted before is then forgotten");
        }
        let fetch = "fetch . --meta one -o fetched --name org/llama --vkey @alice";
        world.unjudged(fetch, 9004, why);
        assert_eq!(world.text(DEFAULT), damaged);
    }
    world.write(DEFAULT, &good);
    assert_eq!(world.remembered(DEFAULT, "org/llama"), [note]);
    world.refused(&verify("one"), 3204, "");
}

/// The XDG Base Directory Specification demands that a relative `XDG_STATE_HOME` is ignored. Regression: it was used,
/// so that the memory depended on the working directory, and an older head was accepted in another folder.
#[test]
#[cfg(unix)]
fn a_state_folder_that_is_no_absolute_path_is_ignored() {
    let world = World::with_history();
    let home = world.path("home");
    for relative in ["state", "./state", ""] {
        for place in ["llama", "one"] {
            let mut command = world.command(&verify("one"));
            command.env("XDG_STATE_HOME", relative).env("HOME", &home);
            if place == "one" {
                let metadata = world.path("one");
                command = world.command("verify . --only config.json --vkey @alice");
                command.arg("--meta").arg(metadata).current_dir(world.path("llama"));
                command.env("XDG_STATE_HOME", relative).env("HOME", &home);
            }
            Ran::of(&mut command).done();
        }
    }
    assert!(world.exists("home/.local/state/weighbridge/heads.json"));
    assert!(!world.exists("state") && !world.exists("llama/state") && !world.exists("weighbridge"));
    // Without any absolute path, the command reports that nothing is remembered.
    let mut command = world.command(&verify("one"));
    command.env("XDG_STATE_HOME", "state").env("HOME", "home").env_remove("LOCALAPPDATA");
    Ran::of(&mut command).done().says("this system names no place for it; name one with --state");
}

#[test]
fn a_rollback_is_refused_from_one_run_to_the_next() {
    let world = World::with_history();
    world.run(&verify("one")).done();
    world.run(&verify("two")).done();
    assert!(world.exists(DEFAULT));
    let ran = world.refused(
        &verify("one"),
        3204,
        "rollback: the head is revision 1, revision 2 was accepted before",
    );
    ran.hints("name the older head with --head if you want it");
    world.run(&verify("two")).done();
}

#[test]
fn a_fork_is_refused_at_the_same_place_and_at_the_next() {
    let world = World::with_history();
    let remembered = world.run(&verify("one")).done().stdout;
    world.refused(&verify("other-one"), 3205, "fork: this revision 1 does not agree with head ");
    let id = remembered.rsplit("head ").next().unwrap().trim();
    let ran = world.refused(
        &verify("other-two"),
        3205,
        &format!("fork: this revision 2 does not agree with head {id}, accepted before"),
    );
    ran.hints("ask the publisher which of the two heads is theirs");
    world.run(&verify("two")).done();
}

#[test]
fn a_head_that_was_refused_is_not_remembered() {
    let world = World::with_history();
    world.run(&format!("{} --name org/bert", verify("two"))).refused(3201, "");
    world.run("verify llama --meta two --vkey @bob").refused(3102, "");
    assert!(!world.exists(DEFAULT));
    world.run(&verify("one")).done();
}

#[test]
fn other_models_have_memories_of_their_own() {
    let world = World::with_history();
    world.run("weigh llama --name org/bert --key @alice.key -o bert").done();
    world.run(&verify("two")).done();
    world.run(&verify("bert")).done();
    world.run(&verify("one")).refused(3204, "");
}

#[test]
fn a_named_head_neither_asks_memory_nor_changes_it() {
    let world = World::with_history();
    let id = world.head_id("one");
    world.run(&format!("{} --head {id}", verify("one"))).done();
    assert!(!world.exists(DEFAULT));
    world.run(&verify("two")).done();
    let before = world.read(DEFAULT);
    world.run(&format!("{} --head {id}", verify("one"))).done();
    assert_eq!(world.read(DEFAULT), before);
    world.write(DEFAULT, "not even this is read");
    world.run(&format!("{} --head {id}", verify("one"))).done();
}

#[test]
fn heads_of_a_revoked_key_are_forgotten_aloud() {
    let world = World::with_history();
    world
        .run("weigh llama --name org/llama --key @thief.key --previous two/head.note --vkey @alice -o stolen")
        .done();
    let policy = |revoked: &str| {
        let [alice, thief] = ["alice", "thief"].map(|name| world.vkey(name));
        let text = format!(
            "{revoked}\n[[publisher]]\nscope = '*'\nkey = [{{ vkey = '{alice}' }}, {{ vkey = '{thief}' }}]"
        );
        world.write("policy.toml", text);
    };
    let verify =
        |metadata: &str| format!("verify llama --meta {metadata} --only config.json --trust policy.toml");
    policy("");
    world.run(&verify("stolen")).done();
    world
        .run(&verify("two"))
        .refused(3204, "rollback: the head is revision 2, revision 3 was accepted before");
    policy(&format!("revoked = ['{}']", world.vkey("thief")));
    let stolen = world.head_id("stolen");
    let before = world.read(DEFAULT);
    let ran = world.run(&verify("two")).done();
    ran.says(&format!(
        "weighbridge: forgotten: org/llama revision 3, head {stolen}: the keys that signed it are revoked\n"
    ));
    world.write(DEFAULT, before);
    let objects = world.run(&format!("{} --json", verify("two"))).done().objects();
    let told: Vec<&Value> = objects.iter().filter(|object| object["event"] == "forgotten").collect();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["name"], &told[0]["revision"]), (&"org/llama".into(), &3.into()));
    assert_eq!(told[0]["head"], stolen);
    let ran = world.run(&verify("two")).done();
    ran.expect(!ran.stderr.contains("forgotten"), "no word of what was forgotten before");
    world
        .run(&verify("one"))
        .refused(3204, "rollback: the head is revision 1, revision 2 was accepted before");
}

#[test]
fn a_state_file_is_used_where_it_is_named() {
    let world = World::with_history();
    world.run(&format!("{} --state mine/heads.json", verify("two"))).done();
    assert!(!world.exists(DEFAULT));
    world.refused(&format!("{} --state mine/heads.json", verify("one")), 3204, "rollback: ");
    world.run(&verify("one")).done();
    assert_eq!(world.remembered("mine/heads.json", "org/llama"), [world.text("two/head.note")]);
}

#[test]
fn a_malformed_state_file_stops_before_anything_is_believed() {
    let world = World::with_history();
    for text in ["", "[]", "{\"org/llama\":1}", "{\"org/llama\":\"a note\"}", "{\"org/llama\":[\"a note\"]}"]
    {
        println!("{text}");
        world.write("heads.json", text);
        let ran = world.unjudged(
            &format!("{} --state heads.json", verify("one")),
            9004,
            "heads.json does not hold remembered heads",
        );
        ran.hints("name another file with --state");
        world.write(DEFAULT, text);
        world.unjudged(&verify("one"), 9004, "heads.json does not hold remembered heads");
        assert_eq!(world.text(DEFAULT), text);
    }
}

#[test]
fn a_default_place_that_cannot_be_written_stops_nobody() {
    let world = World::with_history();
    // A file lies where the folder would be made.
    fs::write(world.path("state"), "").unwrap();
    world.run(&verify("one")).done().says(
        "weighbridge: this head is not remembered, so an older one could be accepted later: cannot create ",
    );
    world.unjudged(&format!("{} --state state/heads.json", verify("one")), 9002, "cannot ");
}
