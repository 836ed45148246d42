//! The arguments of `fetch`, and the misuse that it refuses before it asks any source.

use crate::command::kit::World;

/// A line with all required arguments.
const LINE: &str = "fetch llama -o out --name org/llama --vkey @alice";

#[test]
fn a_fetch_that_makes_no_sense_is_misused() {
    let world = World::weighed();
    let lines = [
        "fetch",
        "fetch llama",
        "fetch -o out --name org/llama --vkey @alice",
        "fetch llama -o out --name org//llama --vkey @alice",
        "fetch llama -o out --head 123",
        &format!("{LINE} --any-name"),
        &format!("fetch llama -o out --any-name --head {} --vkey @alice", "0".repeat(64)),
        &format!("{LINE} --trust policy.toml"),
        &format!("{LINE} --meta"),
        &format!("{LINE} --header llama"),
        &format!("{LINE} --only model-[1-"),
        &format!("{LINE} --tensor model-[1-"),
    ];
    for line in lines {
        world.run(line).misused();
        world.run(&format!("{line} --json")).misused();
        assert!(!world.exists("out"), "{line}");
    }
}

#[test]
fn a_fetch_has_to_say_which_model() {
    let world = World::weighed();
    let ran = world.unjudged("fetch llama -o out --vkey @alice", 9001, "which model is wanted was not said");
    ran.hints("name it with --name ORG/MODEL or --head ID: a source could serve another model")
        .hints("--any-name takes whichever it is");
    let ran = world.unjudged(
        "fetch hf://org/llama hf://org/other@main -o out --vkey @alice",
        9001,
        "the sources are of two models: org/llama and org/other",
    );
    ran.hints("name the wanted one with --name ORG/MODEL");
    world.unjudged(
        &format!("{LINE} --any-name"),
        9001,
        "the argument '--name <ORG/MODEL>' cannot be used with '--any-name'",
    );
}

#[test]
fn a_fetch_has_to_say_whom_to_trust() {
    let world = World::weighed();
    let ran = world.unjudged("fetch llama -o out --name org/llama", 9003, "whom to trust was not said");
    ran.hints("--vkey LINE");
    world.unjudged("fetch llama -o out --any-name", 9003, "whom to trust was not said");
    assert!(!world.exists("out"));
}

#[test]
fn sizes_have_binary_and_decimal_units() {
    let world = World::weighed();
    // An unknown source is reported after the arguments were read and before anything is fetched, so this error shows
    // that the sizes were accepted.
    let reads = format!("{LINE} --header elsewhere x:y");
    for size in ["1", "65536", "500KiB", "128MiB", "1GiB", "2TiB", "500kB", "500KB", "100MB", "1GB", "1TB"] {
        world
            .run(&format!("{reads} --memory {size} --limit-rate {size}"))
            .unjudged(9001, "elsewhere is no source");
    }
    for size in ["", "-1", "+1", "1.5GiB", "MiB", "1 MiB", "1mib", "1B", "1Mi", "9007199254740992TiB", "0x10"]
    {
        for option in ["--memory", "--limit-rate"] {
            let ran = world.run_with(LINE, &[&format!("{option}={size}")]).misused();
            let sentence = "a size is written like 262144, 256KiB, 1GiB or 100MB";
            ran.expect(size.is_empty() || ran.stderr.contains(sentence), sentence);
        }
    }
    world.run(&format!("{LINE} --memory 0MiB")).misused().says("a size is at least one byte");
    world.run(&format!("{LINE} --limit-rate 0")).misused().says("a size is at least one byte");
    assert!(!world.exists("out"));
}

#[test]
fn a_header_belongs_to_a_source_of_the_fetch() {
    let world = World::weighed();
    let run = |words: &[&str]| world.run_with(&format!("{LINE} --meta meta"), words);
    let ran = run(&["--header", "https://mirror.example/", "Authorization: Bearer hidden"]);
    let ran = ran.unjudged(9001, "--header: https://mirror.example/ is no source of this fetch");
    ran.hints("in the same words as on the command line").keeps_its_secret();
    // A folder may be written in two ways; the header belongs to a source of exactly the same spelling.
    run(&["--header", "./llama", "x: y"]).unjudged(9001, "./llama is no source");
    for line in ["hidden", ": hidden", "a b: hidden", "Name\u{e9}: hidden", "x: hid\u{7}den", ""] {
        let ran = run(&["--header", "llama", line]).unjudged(9001, "--header: the line is not a header");
        ran.hints("a header is written `Name: value`").keeps_its_secret();
        run(&["--header", "meta", line]).unjudged(9001, "--header: the line is not a header");
    }
}

#[test]
fn headers_may_come_from_a_file() {
    let world = World::weighed();
    let run = |text: &str| {
        world.write("headers", text);
        // In the line itself `@headers` would stand for a key, so it is passed as a separate word.
        world.run_with(LINE, &["--header", "llama", "@headers", "--header", "elsewhere", "x:y"])
    };
    // Each of these files is read, and then the source of the next header is looked for.
    for text in ["", "\n\n", "Authorization: Bearer hidden\r\nX-A: b\r\n", "x:y\n\nx:z", "x:\n"] {
        run(text).unjudged(9001, "elsewhere is no source").keeps_its_secret();
    }
    for (text, place) in [("x: y\n\nhidden", "line 3"), ("hidden", "line 1"), (" : hidden", "line 1")] {
        let ran = run(text).unjudged(9001, &format!("headers: {place} is not a header"));
        ran.hints("a header is written `Name: value`").keeps_its_secret();
    }
    let run = |words: &[&str]| world.run_with(LINE, words);
    world.write("headers", b"x: \xff\n");
    run(&["--header", "llama", "@headers"]).unjudged(9001, "headers: the text is not a header");
    world.write("headers", "x: y\n".repeat(20_000));
    run(&["--header", "llama", "@headers"]).unjudged(9002, "cannot read headers: larger than 65536 bytes");
    run(&["--header", "llama", "@nowhere"]).unjudged(9002, "cannot open nowhere");
    assert!(!world.exists("out"));
}

#[test]
fn what_is_no_source_is_told_as_such() {
    let world = World::weighed();
    for source in ["gopher://mirror.example/llama", "https://", "nowhere", "llama/config.json"] {
        world.run(&format!("fetch {source} -o out --name org/llama --vkey @alice")).misused();
        world.run(&format!("{LINE} --meta {source}")).misused();
    }
    assert!(!world.exists("out"));
}

#[test]
fn help_says_where_secrets_belong() {
    let world = World::empty();
    let ran = world.run("fetch --help").done().prints("Usage: weighbridge fetch ");
    ran.prints("A secret belongs in a file")
        .prints("--memory <SIZE>")
        .prints("[default: 128MiB]")
        .prints("HF_TOKEN");
}

#[test]
fn a_malformed_memory_stops_a_fetch_before_it_begins() {
    let world = World::weighed();
    world.write("heads.json", "[]");
    world.unjudged(&format!("{LINE} --state heads.json"), 9004, "heads.json does not hold remembered heads");
    assert!(!world.exists("out"));
}

impl crate::command::kit::Ran {
    #[track_caller]
    fn keeps_its_secret(&self) {
        let is_hidden = !self.stdout.contains("hidden") && !self.stderr.contains("hidden");
        self.expect(is_hidden, "no word of the header");
    }
}
