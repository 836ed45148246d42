//! What was accepted before is remembered: nobody leads back to an older head, or aside to another.

use std::fs;

use crate::command::kit::World;

/// Where heads are remembered unless the caller says otherwise.
const DEFAULT: &str = "state/weighbridge/heads.json";

impl World {
    /// Metadata of two revisions in `one` and `two`, and of others that claim their places in `other-one`, `other-two`.
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
    format!("verify llama --meta {metadata} --only config.json --vkey @alice")
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
fn heads_of_a_revoked_key_are_forgotten() {
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
    world.run(&verify("two")).done();
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
    let remembered: serde_json::Value = serde_json::from_str(&world.text("mine/heads.json")).unwrap();
    assert_eq!(remembered["org/llama"], world.text("two/head.note"));
}

#[test]
fn a_malformed_state_file_stops_before_anything_is_believed() {
    let world = World::with_history();
    for text in ["", "[]", "{\"org/llama\":1}", "{\"org/llama\":\"not a note\"}"] {
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
    // A file stands where the folder would be.
    fs::write(world.path("state"), "").unwrap();
    world.run(&verify("one")).done().says(
        "weighbridge: this head is not remembered, so an older one could be accepted later: cannot create ",
    );
    world.unjudged(&format!("{} --state state/heads.json", verify("one")), 9002, "cannot ");
}
