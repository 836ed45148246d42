//! `audit` makes a challenge, a response and a report, and writes nothing if anything is wrong.

use std::fs;

use weighbridge_manifest::{Head, Time};

use crate::command::kit::{Ran, World};

const CHALLENGE: &str = "audit challenge llama --vkey @alice --prover @mirror --key @ann.key -o out/c";
const RESPOND: &str = "audit respond llama out/c --key @mirror.key -o out/r";
const CHECK: &str = "audit check llama out/c out/r --vkey @alice --key @ann.key -o out/report";

impl World {
    /// A weighed world, with a folder for the files of auditors and provers.
    fn audited() -> Self {
        let world = Self::weighed();
        fs::create_dir(world.path("out")).unwrap();
        world
    }

    /// An audited world with a challenge of this number of samples, and its response.
    fn answered(samples: u64) -> Self {
        let world = Self::audited();
        world.run(&format!("{CHALLENGE} --samples {samples}")).done();
        world.run(RESPOND).done();
        world
    }

    fn written(&self) -> Vec<String> {
        self.files("out").into_iter().map(|(name, _)| name).collect()
    }

    /// The time on a line of the challenge, plus this number of seconds.
    fn time(&self, line: &str, seconds: i64) -> Time {
        let challenge = self.text("out/c");
        let time = challenge.lines().find_map(|text| text.strip_prefix(line)).unwrap().trim();
        Time::from_unix(Time::parse(time).unwrap().unix() + seconds).unwrap()
    }
}

/// The number of BLAKE3 chunks of the model.
fn chunks(world: &World) -> u64 {
    let list = world.text("llama/weighbridge/files.jsonl");
    let size =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["size"].as_u64().unwrap();
    list.lines().map(|line| size(line).div_ceil(1_024)).sum()
}

#[test]
fn a_node_that_has_the_model_is_found_to_have_it() {
    let world = World::audited();
    let of = chunks(&world);
    let ran = world.run(CHALLENGE).done().prints("head     org/llama revision 1, signed by alice\n");
    ran.prints(&format!("asked    mirror for 90 of {of} BLAKE3 chunks, until ")).prints("wrote    out/c\n");
    assert_eq!(world.time("deadline ", 0), world.time("issued ", 600));
    world
        .run(RESPOND)
        .done()
        .prints("answered a challenge of org/llama, good until ")
        .prints("wrote    out/r, ");
    let ran = world.run(CHECK).done();
    ran.prints(&format!("held     mirror produced 90 of {of} BLAKE3 chunks of org/llama, within "))
        .prints("shows    that random bytes of this model could be had through mirror, from ")
        .prints("not      that it stores them itself, or alone, nor that it will have them tomorrow\n")
        .prints("missed   chance that a loss went unseen: of 10 % ")
        .prints("wrote    out/report, signed by ann\n");
    assert_eq!(world.written(), ["c", "r", "report"]);

    world.run("prove llama --file config.json -o p").done();
    let [alice, ann] = ["alice", "ann"].map(|name| world.vkey(name));
    world.write(
        "policy.toml",
        format!(
            "[[publisher]]\nscope = '*'\nkey = [{{ vkey = '{alice}' }}]\n[[held.auditor]]\nvkey = '{ann}'\n"
        ),
    );
    let ran = world.run("check p --trust policy.toml --report out/report --max-age 1h").done();
    ran.prints("that the model can be had through mirror\n").prints("level    held by 1 report; head ");
}

#[test]
fn programs_are_told_of_an_audit_too() {
    let world = World::audited();
    let last = |line: &str| {
        let ran = world.run(&format!("{line} --json")).done();
        ran.expect(ran.stderr.is_empty(), "no talk");
        ran.objects().pop().unwrap()
    };
    let head = world.head_id("llama");
    let asked = last(&format!("{CHALLENGE} --samples 7 --within 90s"));
    assert_eq!((&asked["event"], &asked["head"]), (&"challenge".into(), &head.as_str().into()));
    assert_eq!((&asked["samples"], &asked["of"]), (&7.into(), &chunks(&world).into()));
    assert_eq!(asked["prover"], world.vkey("mirror").to_string());
    assert_eq!(asked["deadline"], world.time("issued ", 90).to_string());
    let answered = last(RESPOND);
    assert_eq!((&answered["event"], &answered["head"]), (&"response".into(), &head.as_str().into()));
    assert_eq!(answered["bytes"], world.read("out/r").len());
    let report = last(CHECK);
    assert_eq!((&report["event"], &report["head"]), (&"report".into(), &head.as_str().into()));
    assert_eq!((&report["samples"], &report["challenge"]), (&7.into(), &answered["challenge"]));
    assert_eq!(report["auditor"], world.vkey("ann").to_string());
    assert!(
        world.text("out/report").contains(&format!("response {}\n", report["response"].as_str().unwrap()))
    );
    assert!(report["chance_of_missing"]["10%"].as_f64().is_some_and(|chance| chance > 0.3 && chance < 0.6));
}

/// Three of ten BLAKE3 chunks are drawn. If one is lost, 9/10 · 8/9 · 7/8 = 7/10 of the draws miss it.
#[test]
fn the_chance_of_missing_a_loss_is_counted() {
    let world = World::audited();
    world.write("small/weights.bin", vec![7; 10 * 1_024]);
    world.run("weigh small --name org/small --key @alice.key").done();
    for (samples, text, chance) in [(3, "70 %", 0.7), (9, "10 %", 0.1), (10, "0 %", 0.0), (4_096, "0 %", 0.0)]
    {
        world.run(&format!("{} --samples {samples}", CHALLENGE.replace("llama", "small"))).done();
        world.run(&RESPOND.replace("llama", "small")).done();
        let check = CHECK.replace("llama", "small");
        let ran = world.run(&format!("{check} --answered first")).done();
        // Each of the three shares of ten chunks rounds to one lost chunk.
        ran.prints(&format!("of 10 % {text}, of 1 % {text}, of 0.1 % {text}\n"));
        let objects = world.run(&format!("{check} --answered second --json")).done().objects();
        let told = objects.last().unwrap()["chance_of_missing"]["1%"].as_f64().unwrap();
        assert!((told - chance).abs() < 1e-9, "{told}");
        fs::remove_file(world.path("first")).unwrap();
        fs::remove_file(world.path("second")).unwrap();
    }
}

#[test]
fn only_the_one_who_is_asked_can_answer() {
    let world = World::answered(20);
    world.remove("out/r");
    world.refused(&RESPOND.replace("@mirror.key", "@other.key"), 2702, "the challenge is for another prover");
    assert_eq!(world.written(), ["c"]);
    // Nobody else can sign for the mirror.
    world.run(&CHALLENGE.replace("@mirror", "@other").replace("out/c", "out/c2")).done();
    world.run("audit respond llama out/c2 --key @other.key -o out/r").done();
    world.refused(CHECK, 2707, "out/r: the response has ");
    let note =
        world.text("out/c2").replace(&world.vkey("other").to_string(), &world.vkey("mirror").to_string());
    world.write("out/c2", note);
    world.refused(
        &CHECK.replace("out/c", "out/c2"),
        3101,
        "out/c2: the signature of the challenge does not verify: it was altered",
    );
    assert_eq!(world.written(), ["c", "c2", "r"]);
}

#[test]
fn a_challenge_of_another_head_is_neither_answered_nor_checked() {
    let world = World::answered(20);
    world.copy("llama", "next");
    world.write("next/config.json", "{}");
    world.run("weigh next --name org/llama --chunk-size 16KiB --force --key @alice.key").done();
    let [asked, held] = ["llama", "next"].map(|model| world.head_id(model));
    let sentence = format!("the challenge is of head {asked}, held is {held}");
    let ran = world.refused(&RESPOND.replace("llama", "next").replace("out/r", "out/r2"), 2701, &sentence);
    ran.hints("name the metadata of the challenge's head");
    world.forget();
    world.refused(&CHECK.replace("llama", "next"), 2701, &sentence);
    assert_eq!(world.written(), ["c", "r"]);
    world.forget();
    world.run(CHECK).done();
    // A response to a challenge of another head is refused as such, whatever its length. Regression: it was refused
    // for its length.
    let head = Head::parse(&world.text("next/weighbridge/head.txt")).unwrap();
    world.write("out/r", vec![0; usize::try_from(head.bytes).unwrap() * 2]);
    world.forget();
    world.refused(&CHECK.replace("llama", "next"), 2701, &sentence);
}

#[test]
fn an_answer_counts_between_issue_and_deadline() {
    let world = World::audited();
    world.run(&format!("{CHALLENGE} --within 90s")).done();
    world.run(RESPOND).done();
    let check = |time: Time| format!("{CHECK} --received {time}");
    let (issued, deadline) = (world.time("issued ", 0), world.time("deadline ", 0));
    assert_eq!(deadline, world.time("issued ", 90));
    let early = world.time("issued ", -1);
    let sentence = format!("the response came at {early}, and the challenge was issued at {issued}");
    world.refused(&check(early), 2705, &sentence);
    let late = world.time("deadline ", 1);
    let sentence = format!("the deadline was {deadline}, and had passed at {late}");
    world.refused(&check(late), 2704, &sentence).hints("a new challenge is needed");
    // The length of a late response is not looked at.
    let honest = world.read("out/r");
    world.write("out/r", vec![0; honest.len() * 2]);
    world.run(&check(late)).refused(2704, "");
    world.write("out/r", &honest);
    assert_eq!(world.written(), ["c", "r"]);
    world.run(&format!("{} --answered one", check(issued))).done().prints(", within 0 s\n");
    world.run(&format!("{} --answered two", check(deadline))).done().prints(", within 90 s\n");
    world.run(&format!("{CHECK} --received yesterday")).misused();
}

/// Regression: the time was taken before the passphrase prompt, so a response that came meanwhile counted as in time.
#[cfg(unix)]
#[test]
fn a_response_has_come_when_it_was_read_and_not_when_the_check_began() {
    let world = World::audited();
    let with = |line: &str| {
        let mut command = world.command(line);
        command.env("WEIGHBRIDGE_PASSPHRASE", "open");
        command
    };
    Ran::of(&mut with("keygen slow -o keys")).done();
    Ran::of(&mut with(
        "audit challenge llama --vkey @alice --prover @mirror --key keys/slow.key --within 1s -o out/c",
    ))
    .done();
    world.run(RESPOND).done();
    world.fifo("passphrase");
    let check = "audit check llama out/c out/r --vkey @alice --key keys/slow.key --passphrase-file passphrase -o out/report";
    let mut check = world.command(check);
    check.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let running = check.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    world.write("passphrase", "open\n");
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[W2704]"));
    assert!(!world.exists("out/report"));
}

#[test]
fn a_challenge_whose_deadline_has_passed_is_not_answered() {
    let world = World::audited();
    world.run(&format!("{CHALLENGE} --within 1s")).done();
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let deadline = world.time("deadline ", 0);
    let sentence = format!("the deadline was {deadline}, and had passed at ");
    world.refused(RESPOND, 2704, &sentence).hints("a new challenge is needed");
    assert_eq!(world.written(), ["c"]);
    for within in ["0s", "18446744073709551615s", "9999999999999s"] {
        let ran = world.run(&format!("{CHALLENGE} --within {within}"));
        ran.expect(ran.status != Some(0) && ran.stderr.contains("[W"), "no challenge");
    }
    for within in ["1", "1x", "", "18446744073709551615d"] {
        world.run_with(CHALLENGE, &["--within", within]).misused();
    }
}

#[test]
fn a_challenge_is_answered_once() {
    let world = World::answered(20);
    world.run(CHECK).done();
    assert!(world.exists("state/weighbridge/answered.txt"));
    world.remove("out/report");
    let nonce = world.text("out/c").lines().find_map(|line| line.strip_prefix("nonce ")).unwrap().to_owned();
    let sentence = format!("the nonce {nonce} was answered before");
    world.refused(CHECK, 2706, &sentence).hints("a new challenge is needed");
    // A second answer to the same challenge is refused too.
    world.run(RESPOND).done();
    world.refused(CHECK, 2706, &sentence);
    assert!(!world.exists("out/report"));

    let elsewhere = format!("{CHECK} --answered mine/nonces");
    world.run(&elsewhere).done();
    assert_eq!(world.text("mine/nonces"), format!("{nonce}\n"));
    world.refused(&elsewhere, 2706, &sentence);
    // Further nonces are kept in the same file.
    world.run(CHALLENGE).done();
    world.run(RESPOND).done();
    world.run(&elsewhere).done();
    assert_eq!(world.text("mine/nonces").lines().count(), 2);
    assert!(world.text("mine/nonces").starts_with(&nonce));
}

#[test]
fn of_checks_at_once_one_uses_the_nonce() {
    let world = World::answered(20);
    let runs = std::thread::scope(|scope| {
        let check = |number| world.run(&format!("{CHECK}{number}"));
        let runs: Vec<_> = (0..6).map(|number| scope.spawn(move || check(number))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    let (done, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(|ran| ran.status == Some(0));
    assert_eq!(done.len(), 1);
    others.into_iter().for_each(|ran| drop(ran.refused(2706, "")));
    assert_eq!(world.written().len(), 3);
}

/// Of a hundred BLAKE3 chunks one is lost and ninety are drawn: a tenth of the draws miss it. Regression: that was
/// printed as `10.0 %`.
#[test]
fn two_digits_of_a_chance_count() {
    let world = World::audited();
    world.write("small/weights.bin", vec![7; 100 * 1_024]);
    world.run("weigh small --name org/small --key @alice.key").done();
    world.run(&CHALLENGE.replace("llama", "small")).done();
    world.run(&RESPOND.replace("llama", "small")).done();
    // If ten are lost, 10!·90!/100! of the draws miss all of them.
    world
        .run(&CHECK.replace("llama", "small"))
        .done()
        .prints("of 10 % below 0.001 %, of 1 % 10 %, of 0.1 % 10 %\n");
}

#[test]
fn nonces_that_cannot_be_kept_stop_the_check() {
    let world = World::answered(20);
    for content in [
        b"junk".as_slice(),
        b"\n",
        &[0xff, 0xfe],
        "12".repeat(32).to_uppercase().replace('1', "A").as_bytes(),
    ] {
        world.write("nonces", content);
        let ran = world.unjudged(&format!("{CHECK} --answered nonces"), 9004, "nonces does not hold nonces");
        ran.hints("name another file with --answered");
        assert_eq!(world.read("nonces"), content);
    }
    world.write("file", "");
    let ran = world.unjudged(&format!("{CHECK} --answered file/nonces"), 9002, "cannot ");
    ran.hints("answered nonces have to be kept; --answered names another place");
    fs::create_dir(world.path("folder")).unwrap();
    world.unjudged(&format!("{CHECK} --answered folder"), 9002, "cannot read folder: ");
    assert_eq!(world.written(), ["c", "r"]);
    // A report that cannot be written leaves the nonce unused.
    fs::create_dir(world.path("out/report")).unwrap();
    world.unjudged(CHECK, 9001, "out/report is there, and is no regular file");
    fs::remove_dir(world.path("out/report")).unwrap();
    world.run(CHECK).done();
}

/// Otherwise anybody could use up a nonce with an invalid response.
#[test]
fn a_refused_response_does_not_use_up_the_nonce() {
    let world = World::answered(20);
    let honest = world.read("out/r");
    let length = honest.len();
    for place in [0, 1_023, length / 2, length - 65, length - 64, length - 1] {
        world.flip("out/r", place.try_into().unwrap());
        let sentence = "out/r: the prover's signature is not over this challenge and this response";
        world.refused(CHECK, 2708, sentence);
        world.write("out/r", &honest);
    }
    for (bytes, actual) in [
        (honest[..length - 1].to_vec(), length - 1),
        (honest[1..].to_vec(), length - 1),
        (honest[..64].to_vec(), 64),
        (Vec::new(), 0),
        ([honest.as_slice(), b"x"].concat(), length + 1),
        ([honest.as_slice(), &honest].concat(), 2 * length),
    ] {
        world.write("out/r", bytes);
        world.refused(CHECK, 2707, &format!("out/r: the response has {actual} bytes, expected {length}"));
    }
    world.remove("out/r");
    world.unjudged(CHECK, 9002, "cannot open out/r: ");
    assert_eq!(world.written(), ["c"]);
    world.write("out/r", &honest);
    world.run(CHECK).done();
}

#[test]
fn an_auditor_checks_its_own_challenges() {
    let world = World::answered(20);
    let ran = world.refused(
        &CHECK.replace("@ann.key", "@ben.key"),
        3301,
        "out/c: the challenge is not signed by the key that has to have signed it",
    );
    ran.hints("check with the key that signed the challenge: your own");
    let honest = world.text("out/c");
    for (from, to) in
        [("samples 20\n", "samples 2\n"), ("nonce ", "nonse "), ("challenge/v1", "challenge/v2")]
    {
        world.write("out/c", honest.replace(from, to));
        world.refused(CHECK, 3101, "out/c: the signature of the challenge does not verify: it was altered");
    }
    // A prover need not know the auditor, but the challenge must have the right form.
    world.write("out/c", honest.replace("nonce ", "nonse "));
    world.refused(RESPOND, 1803, "out/c: the challenge's line 'nonce' is missing (line 5)");
    world.write("out/c", honest.replace("challenge/v1", "challenge/v2"));
    world.refused(RESPOND, 1802, "out/c: the challenge does not begin weighbridge/audit-challenge/v1");
    world.write("out/c", honest.replace("samples 20\n", "samples 4097\n"));
    world.refused(RESPOND, 1804, "out/c: the challenge's value of 'samples' is malformed (line 8)");
    world.write("out/c", &honest[..honest.len() - 1]);
    world.refused(RESPOND, 1103, "out/c: ");
    fs::File::create(world.path("out/c")).unwrap().set_len(200_000).unwrap();
    for line in [RESPOND, CHECK] {
        world.refused(line, 1101, "out/c: a note has at most 131072 bytes, this one 200000");
    }
    world.write("out/c", honest);
    world.run(CHECK).done();
}

/// At least as many samples as there are BLAKE3 chunks, so that every loss is noticed.
#[test]
fn a_prover_that_lost_a_chunk_cannot_answer() {
    let world = World::audited();
    world.run(&format!("{CHALLENGE} --samples 4096")).done();
    let shard = "llama/model-00001-of-00002.safetensors";
    let refuses = |code: u16, sentence: &str| {
        let ran = world.refused(RESPOND, code, sentence);
        assert_eq!(world.written(), ["c"]);
        ran
    };
    world.flip(shard, 20_000);
    let ran = refuses(2102, "model-00001-of-00002.safetensors: chunk 1 (bytes 16384..32768) does not match");
    ran.hints("`weighbridge verify` says what else of this model is bad");
    world.flip(shard, 20_000);
    world.flip("llama/config.json", 3);
    refuses(2102, "config.json: chunk 0 ");
    world.flip("llama/config.json", 3);
    let honest = world.read(shard);
    fs::write(world.path(shard), &honest[..honest.len() - 1]).unwrap();
    refuses(2103, "model-00001-of-00002.safetensors has ");
    world.remove(shard);
    refuses(2104, "model-00001-of-00002.safetensors is missing");
    world.write(shard, honest);
    world.flip("llama/weighbridge/chunks.layer", 40);
    refuses(2202, "");
    world.remove("llama/weighbridge/chunks.layer");
    let ran = world.unjudged(RESPOND, 9106, "its chunk layer is needed, and there is no chunks.layer");
    ran.hints("get chunks.layer from where the metadata came from");
    assert_eq!(world.written(), ["c"]);
}

#[test]
fn a_model_of_no_bytes_cannot_be_audited() {
    let world = World::audited();
    world.write("none/a.txt", "");
    world.write("none/b.txt", "");
    world.run("weigh none --name org/none --key @alice.key").done();
    world.refused(&CHALLENGE.replace("llama", "none"), 2703, "the model has no bytes to sample");
    assert!(world.written().is_empty());
}

#[test]
fn auditors_need_head_and_file_list_alone() {
    let world = World::audited();
    world.write("meta/head.note", world.read("llama/weighbridge/head.note"));
    world.write("meta/files.jsonl", world.read("llama/weighbridge/files.jsonl"));
    world.run(&CHALLENGE.replace("llama", "meta")).done();
    // The prover's metadata may lie elsewhere as well.
    world.rename("llama/weighbridge", "elsewhere");
    world.run(&format!("{RESPOND} --meta elsewhere")).done();
    world.run(&CHECK.replace("llama", "meta")).done();
}

#[test]
fn what_an_auditor_cannot_ask() {
    let world = World::audited();
    for samples in ["0", "4097", "-1", "x"] {
        world.run(&format!("{CHALLENGE} --samples {samples}")).misused();
    }
    let prover = format!("--prover {}", world.vkey("mirror"));
    let without = CHALLENGE.replace("--prover @mirror ", "");
    world.run(&without).misused();
    world.refused(&format!("{without} --prover junk"), 1501, "");
    world.refused(
        &CHALLENGE.replace("--vkey @alice", "--vkey @bob"),
        3102,
        "none of the signatures is by a trusted key",
    );
    world.unjudged(&CHALLENGE.replace("--vkey @alice ", ""), 9003, "whom to trust was not said");
    world.refused(&format!("{CHALLENGE} --name org/bert"), 3201, "");
    world.unjudged(
        &CHALLENGE.replace("llama", "nowhere"),
        9002,
        "cannot open nowhere/weighbridge/head.note: ",
    );
    world.unjudged(&CHALLENGE.replace("-o out/c", "-o out"), 9001, "out is there, and is no regular file");
    world.run(&format!("audit {prover}")).misused();
    assert!(world.written().is_empty());
    let help = Ran::of(&mut world.command("audit --help")).done();
    for word in ["challenge", "respond", "check"] {
        help.expect(help.stdout.contains(&format!("\n  {word} ")), word);
    }
}
