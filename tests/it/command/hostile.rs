//! Hostile files in the places where the command looks.

use std::{fs, thread};

use serde_json::Value;

use super::kit::{Ran, World};

const VERIFY: &str = "verify llama --vkey @alice";

#[test]
fn signs_what_was_weighed_and_not_what_the_model_claims_to_be() {
    // Regression: a model had its own head.txt under the name of another model, and `sign MODEL` signed that text.
    let world = World::with_model();
    world.model("victim", 2);
    world.run("weigh victim --name org/flagship -o claim").done();
    world.write("llama/head.txt", world.read("claim/head.txt"));
    world.write("llama/files.jsonl", "an innocent data set");
    world.run("weigh llama --name org/harmless").done();
    world.run("sign llama --key @alice.key").done().prints("head     org/harmless revision 1");
    world.run(VERIFY).done().prints("head     org/harmless revision 1");
    // Without metadata of weighbridge, only the name that the signer wants tells the false head apart.
    fs::remove_dir_all(world.path("llama/weighbridge")).unwrap();
    world.refused("sign llama --name org/harmless --key @alice.key", 3201, "the head is of 'org/flagship'");
    assert!(!world.exists("llama/head.note"));
}

#[test]
fn a_file_beside_the_state_file_stays_as_it_is() {
    // Regression: the name of the lock file was the state file's with another ending, and that file was emptied.
    let world = World::weighed();
    world.write("Cargo.lock", "not ours");
    world.run(&format!("{VERIFY} --state Cargo.json")).done();
    assert_eq!(world.text("Cargo.lock"), "not ours");
    for _ in 0..2 {
        world.run(&format!("{VERIFY} --state memory.lock")).done();
    }
}

#[test]
fn runs_at_the_same_time_do_not_lead_memory_back() {
    let world = World::weighed();
    world
        .run("weigh llama --name org/llama -o two --previous llama/weighbridge/head.note --key @alice.key")
        .done();
    let one = format!("{VERIFY} --only config.json");
    let two = format!("{one} --meta two");
    for round in 0..10 {
        let state = format!("--state state-{round}.json");
        thread::scope(|scope| {
            let older = scope.spawn(|| world.run(&format!("{one} {state}")).status);
            world.run(&format!("{two} {state}")).done();
            let older = older.join().unwrap();
            assert!(older == Some(0) || older == Some(1), "{older:?}");
        });
        world.refused(&format!("{one} {state}"), 3204, "rollback");
    }
}

#[test]
fn a_bad_line_in_a_remembered_note_does_not_have_it_forgotten() {
    // Regression: a mirror added a bad line by bob, who was not trusted yet. Once bob was trusted, the note was
    // forgotten.
    let world = World::weighed();
    world
        .run("weigh llama --name org/llama -o two --previous llama/weighbridge/head.note --key @alice.key")
        .done();
    let line = world.key("bob").sign(b"another text");
    world.write("two/head.note", format!("{}{line}\n", world.text("two/head.note")));
    world.run(&format!("{VERIFY} --meta two")).done();
    world.refused(&format!("{VERIFY} --vkey @bob"), 3204, "rollback");
}

#[test]
fn memory_that_cannot_be_read_is_not_taken_for_none() {
    let world = World::weighed();
    fs::create_dir_all(world.path("state/weighbridge/heads.json")).unwrap();
    world.unjudged(VERIFY, 9002, "heads.json");
}

#[cfg(unix)]
#[test]
fn nothing_waits_for_a_fifo() {
    let world = World::weighed();
    world.run("weigh llama --name org/llama -o fifo --key @alice.key").done();
    world.remove("fifo/head.note");
    world.fifo("fifo/head.note");
    for line in [
        "verify llama --meta fifo --vkey @alice",
        "sign fifo --key @alice.key",
        "inspect fifo",
        "inspect fifo/head.note",
        "weigh llama --name org/llama -o new --previous fifo/head.note",
        "weigh llama --name org/llama -o new --reuse ** --from fifo --vkey @alice",
    ] {
        world.unjudged(line, 9002, "fifo/head.note");
    }
    world.run("weigh llama --name org/llama -o fifo").unjudged(9101, "exists already");
}

#[test]
fn files_of_another_model_are_not_taken_over() {
    let world = World::weighed();
    let from = "--reuse *.safetensors --from llama --key @alice.key";
    world.refused(&format!("weigh llama --name org/tuned -o new {from}"), 3201, "wanted is 'org/tuned'");
}

#[test]
fn metadata_does_not_come_to_lie_in_the_model_by_a_detour() {
    let world = World::with_model();
    world.unjudged("weigh llama --name org/llama -o new/../llama/meta", 9001, "its path has '..'");
    assert!(!world.exists("llama/meta") && !world.exists("new"));
}

#[cfg(unix)]
#[test]
fn a_full_standard_output_is_no_success() {
    let world = World::weighed();
    let mut command = world.command(VERIFY);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_kind_of_refusal_has_its_hint_and_no_chunk_is_promised_that_was_not_named() {
    let world = World::weighed();
    world.flip("llama/config.json", 0);
    world.remove("llama/empty.txt");
    world.write("llama/extra", "");
    let ran = world.run(VERIFY).refused(2101, "3 of");
    assert!(!ran.stdout.contains("chunk 0") && !ran.stdout.contains("chunks.layer"), "{}", ran.stdout);
    ran.hints("fetch the files named above again").hints("--allow-extra");
}

#[test]
fn programs_are_told_what_was_not_looked_at() {
    let world = World::weighed();
    world.write("llama/extra", "");
    let result = |ran: Ran| -> Value { ran.done().objects().pop().unwrap() };
    let part = result(world.run(&format!("{VERIFY} --only config.json --json")));
    assert_eq!((&part["complete"], &part["files"]), (&Value::Bool(false), &Value::from(1)));
    let whole = result(world.run(&format!("{VERIFY} --allow-extra --json")));
    assert_eq!((&whole["complete"], &whole["extra"]), (&Value::Bool(true), &Value::from(1)));
    world.run(&format!("{VERIFY} --allow-extra")).done().prints("1 file not listed");
}
