//! `check` accepts proofs, slices, reports and receipts, and states how much each of them shows.

use std::{
    fs,
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use weighbridge_manifest::{Expectation, Head, Receipt, Report, SignedProof, Time, TrustPolicy};
use weighbridge_publish::{sign_receipt, sign_report};
use weighbridge_tree::{ChallengeHash, ResponseHash};

use crate::command::{
    forge::{Forge, sign_text},
    kit::World,
};

const CHECK: &str = "check p --name org/llama --vkey @alice";
const SHARD: &str = "model-00001-of-00002.safetensors";

impl World {
    /// A weighed world with a proof of `config.json` in `p`.
    fn proven() -> Self {
        let world = Self::weighed();
        world.run("prove llama --file config.json -o p").done();
        world
    }

    /// A weighed world with a proof in `p` of these bytes of the first shard, and their slice in `s`.
    fn sliced(range: Range<u64>) -> Self {
        let world = Self::weighed();
        let Range { start, end } = range;
        world.run(&format!("prove llama --file {SHARD} --bytes {start}..{end} --slice s -o p")).done();
        world
    }

    /// Writes `held.toml`: alice publishes, these names audit, and this number of reports is needed.
    fn auditors(&self, names: &[&str], threshold: usize) {
        let auditors: String =
            names.iter().map(|name| format!("[[held.auditor]]\nvkey = '{}'\n", self.vkey(name))).collect();
        let publisher =
            format!("[[publisher]]\nscope = '*'\nkey = [{{ vkey = '{}' }}]\n", self.vkey("alice"));
        self.write("held.toml", format!("{publisher}[held]\nthreshold = {threshold}\n{auditors}"));
    }

    fn head(&self, metadata: &str) -> Head {
        Head::parse(&self.text(&format!("{metadata}/head.txt"))).unwrap()
    }

    /// Writes a report of an auditor that received the answer this number of seconds ago.
    fn report(&self, name: &str, auditor: &str, prover: &str, seconds_ago: i64) {
        self.report_of("llama/weighbridge", name, auditor, prover, seconds_ago);
    }

    fn report_of(&self, metadata: &str, name: &str, auditor: &str, prover: &str, seconds_ago: i64) {
        let head = self.head(metadata);
        let received = at(now() - seconds_ago);
        let report = Report {
            name: head.name.clone(),
            head: weighbridge_tree::head_id(head.to_string().as_bytes()),
            root: head.root,
            prover: self.vkey(prover),
            challenge: ChallengeHash::of_text(b"asked"),
            response: ResponseHash::of_body(b"answered"),
            samples: 90,
            of: 500,
            issued: received,
            received,
        };
        self.write(name, sign_report(&report, &self.key(auditor)).unwrap());
    }

    /// Writes a node's receipt.
    fn receipt(&self, metadata: &str, name: &str, node: &str) {
        let head = self.head(metadata);
        let receipt = Receipt {
            nonce: None,
            name: head.name.clone(),
            head: weighbridge_tree::head_id(head.to_string().as_bytes()),
            root: head.root,
            node: self.vkey(node),
            verified: at(now()),
        };
        self.write(name, sign_receipt(&receipt, &self.key(node)).unwrap());
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn at(seconds: i64) -> Time {
    Time::from_unix(seconds).unwrap()
}

const DAY: i64 = 86_400;

#[test]
fn a_proof_is_believed_by_whom_the_caller_trusts() {
    let world = World::proven();
    let ran = world.unjudged("check p", 9003, "whom to trust was not said");
    ran.hints("pass the publisher's key with --vkey LINE, a policy with --trust FILE, or the head's id with --head ID");
    world.refused("check p --vkey @bob", 3102, "none of the signatures is by a trusted key");
    world.run("check p --vkey @alice").done().prints("signed by alice");
    let ran = world.refused("check p --vkey @alice --name org/bert", 3201, "");
    ran.hints("this place serves another model than you asked for");

    let id = world.head_id("llama");
    world.run(&format!("check p --head {id}")).done().prints("revision 1, accepted by its id\n");
    world.refused(&format!("check p --head {}", "0".repeat(64)), 3202, "");
    world.refused(&format!("check p --head {id} --name org/bert"), 3201, "");

    let policy = |threshold: u64| {
        let [alice, bob] = ["alice", "bob"].map(|name| world.vkey(name));
        let keys = format!("[{{ vkey = '{alice}' }}, {{ vkey = '{bob}' }}]");
        world.write(
            "policy.toml",
            format!("[[publisher]]\nscope = 'org/*'\nthreshold = {threshold}\nkey = {keys}"),
        );
    };
    policy(1);
    world.run("check p --trust policy.toml").done();
    policy(2);
    world.refused("check p --trust policy.toml", 3103, "1 of 2 demanded keys signed");
    world.run("sign llama --key @bob.key").done();
    // The proof has the note as it was when the proof was made.
    world.refused("check p --trust policy.toml", 3103, "1 of 2 demanded keys signed");
    world.run("prove llama --file config.json -o p").done();
    world.run("check p --trust policy.toml").done().prints("signed by alice, bob");
}

#[test]
fn a_proof_of_an_older_revision_is_a_rollback() {
    let world = World::proven();
    world.rename("p", "old");
    world.rename("llama/weighbridge", "one");
    world.run("weigh llama --name org/llama --key @alice.key --previous one/head.note --vkey @alice").done();
    world.run("prove llama --file config.json -o p").done();
    world.run("check old --vkey @alice").done();
    world.run("check p --vkey @alice").done().prints("org/llama revision 2");
    let sentence = "rollback: the head is revision 1, revision 2 was accepted before";
    world.refused("check old --vkey @alice", 3204, sentence).hints("name the older head with --head");
    // `verify` remembers the heads that `check` accepted.
    world.run("verify llama --meta one --vkey @alice").refused(3204, sentence);
    let id = world.head_id("one");
    world.run(&format!("check old --vkey @alice --head {id}")).done();
    world.run("check old --vkey @alice --state elsewhere.json").done();
    world.refused("check old --vkey @alice --min-revision 2 --state new.json", 3203, "");
    world.run("check p --vkey @alice --min-revision 2").done();
}

#[test]
fn an_expired_head_is_for_the_caller_to_go_on_with() {
    let world = World::weighed();
    let expired = at(now() - DAY);
    Forge::open(world.path("llama/weighbridge")).sign_saying(&world.key("alice"), |head| {
        head.created = at(now() - 2 * DAY);
        head.expires = Some(expired);
    });
    world.run("prove llama --file config.json -o p").done();
    world.refused(CHECK, 3207, &format!("the head expired at {expired}")).hints("--allow-expired");
    let ran = world.run(&format!("{CHECK} --allow-expired")).done();
    ran.prints(&format!("signed by alice, EXPIRED at {expired}\n"));
}

/// Any flipped bit refuses a proof, except in the questions of the proof: anybody may ask another question, and the
/// proof then answers that one truthfully.
#[test]
fn a_proof_with_a_flipped_bit_is_refused() {
    let world = World::weighed();
    let tensor = "model-00002-of-00002.safetensors:model.norm.weight";
    world.run(&format!("prove llama --tensor {tensor} --slice s --absent x.pkl -o p")).done();
    let honest = world.read("p");
    let policy = TrustPolicy::any_of(vec![world.vkey("alice")]).unwrap();
    let verify = |proof: &[u8]| {
        let proof = SignedProof::parse(proof)?;
        proof.verify(&policy, &Expectation::any(), Some(at(now())))
    };
    let proven = verify(&honest).unwrap();
    let place_of = |text: &[u8]| honest.windows(text.len()).position(|window| window == text).unwrap();
    let path = place_of(b"absent ") + 7;
    let slice = place_of(b"slice ");
    let end = place_of(b"\n\n");
    for place in 0..honest.len() {
        for bit in 0..8 {
            let mut flipped = honest.clone();
            flipped[place] ^= 1 << bit;
            let Ok(other) = verify(&flipped) else { continue };
            let is_asked = (path..path + 5).contains(&place) || (slice + 6..end).contains(&place);
            assert!(is_asked, "bit {bit} of byte {place} is another");
            assert_eq!((other.files(), other.tensors()), (proven.files(), proven.tensors()));
        }
        assert!(verify(&honest[..place]).is_err(), "cut to {place} bytes");
    }
    world.run("check p --vkey @alice --slice s").done();

    world.run("prove llama --file config.json -o p").done();
    let honest = world.read("p");
    for place in (0..honest.len()).step_by(7) {
        world.flip("p", place.try_into().unwrap());
        let ran = world.run("check p --vkey @alice");
        ran.expect(ran.status == Some(1) && ran.stderr.contains("[W"), &format!("a refusal of byte {place}"));
        ran.expect(!ran.stdout.contains("level "), "no level");
        world.write("p", &honest);
    }
    world.run("check p --vkey @alice").done();
}

#[test]
fn what_is_no_proof_is_refused() {
    let world = World::proven();
    let honest = world.text("p");
    for (what, code, sentence) in [
        ("", 2503, "p: the proof has no empty line, and so no note"),
        ("\n", 1103, "p: the note is not a text, an empty line, and signature lines"),
        ("junk", 2503, "p: the proof has no empty line"),
        (&honest[..100], 2503, "p: the proof has no empty line"),
        (&honest[..honest.len() - 1], 1103, "p: "),
        (&format!("{honest}\n"), 1103, "p: "),
        (&format!("{honest}x"), 1103, "p: "),
        // The last empty line divides the text from the signatures, so that everything before it counts as the signed
        // text.
        (
            &format!("{honest}{honest}"),
            3101,
            "p: the signature by 'alice' does not verify: the head was altered",
        ),
        (&honest.replace("proof/v1", "proof/v2"), 2502, "p: "),
        (&honest.replace("config.json", "Config.json"), 2405, "p: "),
        (&world.text("llama/weighbridge/head.note"), 1103, "p: "),
    ] {
        world.write("p", what);
        let ran = world.refused(CHECK, code, sentence);
        ran.expect(ran.stdout.is_empty(), "no result");
        world.run_fed(&CHECK.replace(" p ", " - "), "p").refused(code, &sentence.replacen("p:", "-:", 1));
    }
    // A receiver of a proof has no head.note to fetch again, so the hint names the proof.
    world.write("p", honest.replace("files 11", "files 12"));
    let ran = world.refused(CHECK, 3101, "p: the signature by 'alice' does not verify");
    ran.hints("get the proof again");
    world.remove("p");
    world.unjudged(CHECK, 9002, "cannot open p: ");
    fs::create_dir(world.path("p")).unwrap();
    world.unjudged(CHECK, 9002, "cannot read p: not a regular file");
    #[cfg(unix)]
    {
        // A FIFO is not waited for.
        world.fifo("fifo");
        world.unjudged(&CHECK.replace(" p ", " fifo "), 9002, "cannot read fifo: not a regular file");
    }
}

/// Regression: a proof that was too long was reported as unreadable, though a machine with enough memory could have
/// read it.
#[test]
fn a_proof_that_is_too_long_is_refused_unread() {
    let world = World::proven();
    fs::File::create(world.path("p")).unwrap().set_len(50_000_000).unwrap();
    let sentence = "a proof has at most 41943040 bytes, this one ";
    world.refused(CHECK, 2501, &format!("p: {sentence}50000000"));
    // Standard input is read just far enough to know that it is too long.
    world.run_fed(&CHECK.replace(" p ", " - "), "p").refused(2501, &format!("-: {sentence}41943041"));
}

#[test]
fn a_proof_with_the_head_of_another_release_is_refused() {
    let world = World::proven();
    world.write("llama/config.json", "{}");
    world.run("weigh llama --name org/llama --chunk-size 16KiB --key @alice.key -o other").done();
    let (proof, note) = (world.text("p"), world.text("llama/weighbridge/head.note"));
    world.write("p", proof.replace(&note, &world.text("other/head.note")));
    let ran = world.refused(CHECK, 2405, "p: ");
    ran.expect(ran.stdout.is_empty(), "not even the head is believed");
}

#[test]
fn a_slice_is_extracted_when_all_of_it_is_accepted() {
    let world = World::sliced(20_000..60_000);
    let honest = world.read("s");
    let extract = format!("{CHECK} --slice s --extract out");
    let length = honest.len();
    let mut of_another = honest.clone();
    of_another[0] ^= 1;
    let changed = |place: usize| {
        let mut changed = honest.clone();
        changed[place] ^= 1;
        changed
    };
    let mut cases = vec![
        (of_another, 2603, "s: the slice is of a file of "),
        (honest[..length - 1].to_vec(), 2602, "s: the slice ends after "),
        (honest[..length / 2].to_vec(), 2602, "s: the slice ends after "),
        (honest[..3].to_vec(), 2602, "s: the slice ends after 3 bytes"),
        (Vec::new(), 2602, "s: the slice ends after 0 bytes"),
        ([honest.as_slice(), b"x"].concat(), 2602, "s: the slice goes on after "),
        ([honest.as_slice(), &honest].concat(), 2602, "s: the slice goes on after "),
    ];
    // Parents, and BLAKE3 chunks at the beginning and the end.
    for place in [8, 40, 400, length / 2, length - 1] {
        cases.push((changed(place), 2604, "s: the slice does not lead to the file's root at bytes "));
    }
    for (bytes, code, sentence) in cases {
        world.write("s", bytes);
        let ran = world.refused(&extract, code, sentence);
        ran.expect(!ran.stdout.contains("slice "), "no slice");
        assert!(!world.exists("out"), "extracted all the same");
        // A file that exists already stays as it is.
        world.write("out", "before");
        world.run(&extract).refused(code, "");
        assert_eq!(world.text("out"), "before");
        world.remove("out");
    }
    world.write("s", &honest);
    world.write("out", "before");
    world.run(&extract).done();
    assert!(world.read("out") == world.read(&format!("llama/{SHARD}"))[20_000..60_000]);
}

#[test]
fn a_slice_goes_with_its_own_proof() {
    let world = World::sliced(0..40_000);
    world.run(&format!("prove llama --file {SHARD} --bytes 40000..80000 --slice s2 -o p2")).done();
    world.run("prove llama --file config.json -o plain").done();
    world.run("prove llama --file README.md --slice readme.s -o readme.p").done();
    let check =
        |proof: &str, slice: &str| format!("check {proof} --vkey @alice --slice {slice} --extract out");
    world.run(&check("p", "s2")).refused(2604, "s2: ");
    world.run(&check("readme.p", "s")).refused(2603, "s: the slice is of a file of ");
    world.refused(&check("plain", "s"), 2605, "s: the proof does not say of what the slice is");
    // The signature does not cover the range, which only the prover states. An altered range makes the slice one of
    // another range.
    let proof = world.text("p");
    assert!(proof.contains(" 0..40000\n"));
    for (range, code) in [
        ("0..39000", 2602),
        ("0..80000", 2602),
        ("1..40000", 0),
        ("0..0", 2601),
        ("9..3", 2601),
        ("0..99999999", 2601),
    ] {
        world.write("p", proof.replace(" 0..40000\n", &format!(" {range}\n")));
        let ran = world.run(&check("p", "s"));
        if code == 0 {
            // The same BLAKE3 chunks hold this range, and its bytes are bytes of the file.
            ran.done().prints("slice    bytes 1..40000 of ");
            assert!(world.read("out") == world.read(&format!("llama/{SHARD}"))[1..40_000]);
            world.remove("out");
        } else {
            ran.refused(code, "");
        }
    }
    assert!(!world.exists("out"));
}

/// Regression: a peer that was asked for `config.json` could serve a proof and a slice of another file, each of them
/// valid.
#[test]
fn a_proof_of_something_else_than_what_is_wanted_is_refused() {
    let world = World::weighed();
    world.run(&format!("prove llama --file {SHARD} --bytes 0..100 --slice s -o p")).done();
    let shard = &format!("{CHECK} --file {SHARD}");
    world.run(shard).done();
    world.refused(&format!("{CHECK} --file config.json"), 2507, "does not show what is wanted: config.json");
    world
        .refused(&format!("{CHECK} --absent model.pkl"), 2507, "no model.pkl")
        .hints("ask for a proof of it");
    world.refused(&format!("{CHECK} --tensor {SHARD}:lm_head.weight"), 2507, "lm_head.weight");
    world.run(&format!("{shard} --bytes 0..100 --slice s --extract out")).done();
    world.remove("out");
    let line = format!("{shard} --bytes 0..99 --slice s --extract out");
    world.refused(&line, 2507, "not bytes 0..100");
    world.refused(&format!("{CHECK} --file config.json --slice s --extract out"), 2507, "config.json");
    world.run(&format!("{shard} --file config.json --slice s")).refused(2507, "config.json");
    world.run(&format!("{CHECK} --bytes 0..100 --slice s")).misused();
    assert!(!world.exists("out"));
}

#[test]
fn a_slice_of_another_tensor_than_the_one_wanted_is_refused() {
    let world = World::weighed();
    let tensors = world.text("llama/weighbridge/tensors.jsonl");
    let name = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["tensor"].as_str().unwrap().to_owned()
    };
    let in_shard = || tensors.lines().filter(|line| line.contains(SHARD)).map(name);
    let (first, second) = (in_shard().next().unwrap(), in_shard().nth(1).unwrap());
    world.run(&format!("prove llama --tensor {SHARD}:{first} --slice s -o p")).done();
    world.run(&format!("{CHECK} --tensor {SHARD}:{first} --slice s --extract out")).done();
    world.run(&format!("{CHECK} --tensor {SHARD}:{second} --slice s")).refused(2507, &second);
    // The proof shows both tensors, and the slice is of one of them.
    world.run(&format!("prove llama --tensor {SHARD}:{first} --tensor {SHARD}:{second} -o both")).done();
    let slice_line = world.text("p").lines().find(|line| line.starts_with("slice ")).unwrap().to_owned();
    world.write("p", world.text("both").replacen("\n\n", &format!("\n{slice_line}\n\n"), 1));
    world.run(&format!("{CHECK} --tensor {SHARD}:{first} --slice s")).done();
    world.run(&format!("{CHECK} --tensor {SHARD}:{second} --slice s")).refused(2507, "a slice of");
}

#[test]
fn only_files_are_replaced_by_what_is_extracted() {
    let world = World::sliced(0..40_000);
    fs::create_dir(world.path("folder")).unwrap();
    world.write("folder/precious", "precious");
    let extract = |place: &str| format!("{CHECK} --slice s --extract {place}");
    world.unjudged(&extract("folder"), 9001, "folder is there, and is no regular file");
    world.unjudged(&extract("nowhere/out"), 9002, "cannot create a file in nowhere: ");
    #[cfg(unix)]
    {
        world.fifo("fifo");
        for place in ["fifo", "/dev/null"] {
            world.unjudged(&extract(place), 9001, &format!("{place} is there, and is no regular file"));
        }
        assert!(fs::symlink_metadata("/dev/null").is_ok_and(|there| !there.is_file()));
    }
    world.run(&format!("{CHECK} --extract out")).misused();
    world.unjudged(&format!("{CHECK} --slice nowhere --extract out"), 9002, "cannot open nowhere: ");
    world.unjudged(&format!("{CHECK} --slice folder --extract out"), 9002, "cannot read folder: ");
    assert!(!world.exists("out"));
}

#[cfg(unix)]
#[test]
fn what_cannot_be_written_whole_is_not_extracted() {
    let world = World::sliced(0..100_000);
    fs::create_dir(world.path("out")).unwrap();
    // Afterwards the head is remembered already, so that no state file has to be written.
    world.run(CHECK).done();
    for blocks in [0, 20, 190] {
        let ran = world.run_limited(&format!("{CHECK} --slice s --extract out/x"), blocks);
        ran.unjudged(9002, "cannot write out/x: ");
        assert!(world.files("out").is_empty());
    }
    world.run_limited(&format!("{CHECK} --slice s --extract out/x"), 200).done();
}

/// Regression: a run that was refused for its reports had already extracted the slice.
#[test]
fn nothing_is_extracted_by_a_run_that_refuses() {
    let world = World::sliced(0..40_000);
    world.auditors(&["ann"], 1);
    world.report("stale", "ann", "mirror", 2 * DAY);
    let line = "check p --trust held.toml --slice s --extract out --report stale --max-age 1d";
    world.refused(line, 3303, "0 of 1 demanded reports count");
    world.receipt("llama/weighbridge", "receipt", "node");
    // Exchanges one digit of the head for another, since a flipped bit may give something that is no digit.
    let mut receipt = world.read("receipt");
    receipt[60] = if receipt[60] == b'0' { b'1' } else { b'0' };
    world.write("receipt", receipt);
    world.run("check p --vkey @alice --slice s --extract out --receipt receipt").refused(3101, "receipt: ");
    assert!(!world.exists("out"));
    world.report("fresh", "ann", "mirror", 60);
    world.run(&line.replace("stale", "fresh")).done().prints("level    held by 1 report; head ");
    assert!(world.exists("out"));
}

#[test]
fn a_model_is_held_when_listed_auditors_say_so() {
    let world = World::proven();
    world.auditors(&["ann", "ben"], 1);
    world.report("ann-x", "ann", "x", 60);
    let check = |words: &str| format!("check p --trust held.toml --max-age 1h {words}");
    // Without reports the level is `published`, whatever auditors the policy lists.
    world.run("check p --trust held.toml").done().prints("level    published; head ");
    let ran = world.run(&check("--report ann-x")).done();
    ran.prints("report   ann found at ")
        .prints(" that the model can be had through x\n")
        .prints("level    held by 1 report; head ");
    let objects = world.run(&check("--report ann-x --json")).done().objects();
    let [.., report, result] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!((&report["event"], &report["auditor"]), (&"report".into(), &"ann".into()));
    assert_eq!(report["prover"], world.vkey("x").to_string());
    assert_eq!((&result["event"], &result["level"]), (&"result".into(), &"held".into()));

    world.auditors(&["ann", "ben"], 2);
    world.report("ann-y", "ann", "y", 60);
    world.report("ben-x", "ben", "x", 60);
    world.report("ben-y", "ben", "y", 60);
    world.report("eve-y", "eve", "y", 60);
    let repeated = "does not count: its auditor or its prover counts already";
    for (words, hint) in [
        ("--report ann-x --report ann-y", repeated),
        ("--report ann-x --report ben-x", repeated),
        ("--report ann-x --report ann-x", repeated),
        ("--report ann-x --report eve-y", "eve-y does not count: no listed auditor signed it"),
    ] {
        world.refused(&check(words), 3303, "1 of 2 demanded reports count").hints(hint);
    }
    world.run(&check("--report ann-x --report ben-y")).done().prints("level    held by 2 reports; head ");
    // Counted greedily in order, only one of these reports would count.
    let ran = world.run(&check("--report ann-x --report ann-y --report ben-x --report eve-y")).done();
    ran.prints("level    held by 2 reports").says("eve-y does not count: no listed auditor signed it");
}

#[test]
fn a_report_counts_as_long_as_the_caller_says() {
    let world = World::proven();
    world.auditors(&["ann"], 1);
    world.report("report", "ann", "x", 100);
    let check = |age: &str| format!("check p --trust held.toml --report report --max-age {age}");
    for age in ["1s", "99s", "1m"] {
        let ran = world.refused(&check(age), 3303, "0 of 1 demanded reports count");
        ran.hints("report does not count: it is too old");
    }
    for age in ["110s", "2m", "1h", "1d", "18446744073709551615s"] {
        world.run(&check(age)).done().prints("level    held by 1 report");
    }
    for age in ["10", "1w", "-1s", "1.5h", "s", "", "18446744073709551615d"] {
        world.run_with("check p --trust held.toml --report report", &["--max-age", age]).misused();
    }
    world.report("report", "ann", "x", -2 * DAY);
    world.refused(&check("7d"), 3303, "").hints("report does not count: it is from the future");
}

#[test]
fn reports_that_are_bad_refuse_the_run() {
    let world = World::proven();
    world.auditors(&["ann", "ben"], 1);
    world.report("good", "ben", "y", 60);
    let line = "check p --trust held.toml --max-age 1h --report good --report report";
    world.report("report", "ann", "x", 60);
    world.run(line).done();
    let honest = world.text("report");
    world.write("report", honest.replace("samples 90 ", "samples 91 "));
    world.refused(line, 3101, "report 2: the signature by 'ann' does not verify: it was altered");
    world.write("report", honest.replace("v1", "v2"));
    world.run(line).refused(3101, "");
    world.write("report", &honest[..honest.len() - 1]);
    world.refused(line, 1103, "report: the note is not ");
    fs::File::create(world.path("report")).unwrap().set_len(200_000).unwrap();
    world.refused(line, 1101, "report: a note has at most 131072 bytes, this one 200000");

    world.write("other/config.json", "{}");
    world.run("weigh other --name org/llama --key @alice.key").done();
    world.report_of("other/weighbridge", "report", "ann", "x", 60);
    world.refused(line, 3302, "report 2: the report is of another head");
    let hint = "a report: make a proof with `weighbridge prove`, and check it with --report";
    world.report("report", "ann", "x", 60);
    world.refused("check report --vkey @alice", 1103, "report: ").hints(hint);
    // A receipt is no report, whoever signed it.
    world.receipt("llama/weighbridge", "report", "ann");
    world.refused(line, 1802, "report 2: the report does not begin weighbridge/audit-report/v1");
    // A head is no report either.
    sign_text(&world.path(""), &world.text("llama/weighbridge/head.txt"), &[&world.key("ann")]);
    world.rename("head.note", "report");
    world.refused(line, 1802, "");
    world.remove("report");
    world.unjudged(line, 9002, "cannot open report: ");
}

#[test]
fn reports_take_a_policy_with_auditors_and_an_age() {
    let world = World::proven();
    world.report("report", "ann", "x", 60);
    let id = world.head_id("llama");
    world.run("check p --vkey @alice --report report").misused();
    // An age without a report is misuse: the caller would take a published model for a held one.
    world.run("check p --vkey @alice --max-age 1h").misused();
    world.unjudged("check p --report report --max-age 1h", 9003, "whom to trust was not said");
    let ran = world.unjudged(
        &format!("check p --head {id} --report report --max-age 1h"),
        9001,
        "--report: auditors are listed in a policy",
    );
    ran.hints("name it with --trust FILE");
    let ran = world.refused(
        "check p --vkey @alice --report report --max-age 1h",
        3304,
        "the policy lists no auditors",
    );
    ran.hints("a policy lists them under [held]");
    let publisher = format!("[[publisher]]\nscope = '*'\nkey = [{{ vkey = '{}' }}]\n", world.vkey("alice"));
    world.write("held.toml", publisher);
    world.refused(
        "check p --trust held.toml --report report --max-age 1h",
        3304,
        "the policy lists no auditors",
    );
}

#[test]
fn a_receipt_is_a_claim_and_raises_nothing() {
    let world = World::proven();
    world.receipt("llama/weighbridge", "receipt", "node");
    let line = format!("{CHECK} --receipt receipt");
    let ran =
        world.run(&line).done().prints("claim    node says that it verified the whole of this head at ");
    ran.prints("; nothing shows that it did\n").prints("level    published; head ");
    let objects = world.run(&format!("{line} --json")).done().objects();
    let [.., receipt, result] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!((&receipt["event"], &receipt["claim"]), (&"receipt".into(), &true.into()));
    assert_eq!(receipt["node"], world.vkey("node").to_string());
    assert_eq!(result["level"], "published");

    let hint = "a receipt: make a proof with `weighbridge prove`, and check it with --receipt";
    world.refused("check receipt --vkey @alice", 1103, "receipt: ").hints(hint);

    let honest = world.text("receipt");
    world.write("receipt", honest.replace("name org/llama", "name org/alpaca"));
    world.refused(&line, 3101, "receipt: the signature of the receipt does not verify: it was altered");
    // The receipt is signed by another node than the one it names.
    let text = honest.split("\n\n").next().unwrap();
    sign_text(&world.path(""), &format!("{text}\n"), &[&world.key("bob")]);
    world.rename("head.note", "receipt");
    world.refused(&line, 3301, "receipt: the receipt is not signed by the key that has to have signed it");
    world.write("other/config.json", "{}");
    world.run("weigh other --name org/llama --key @alice.key").done();
    world.receipt("other/weighbridge", "receipt", "node");
    world.refused(&line, 3302, "receipt: the receipt is of another head");
    world.report("receipt", "ann", "x", 60);
    world.refused(&line, 1802, "receipt: the receipt does not begin weighbridge/receipt/v1");
    fs::File::create(world.path("receipt")).unwrap().set_len(200_000).unwrap();
    world.refused(&line, 1101, "receipt: a note has at most 131072 bytes");
}

#[test]
fn a_receipt_is_written_when_the_whole_model_is_verified() {
    let world = World::proven();
    fs::create_dir(world.path("out")).unwrap();
    let verify = "verify llama --vkey @alice --key @node.key --receipt out/receipt";
    world.run(verify).done().prints("verified 11 files, ").prints("receipt  out/receipt, signed by node\n");
    world.run(&format!("{CHECK} --receipt out/receipt")).done().prints("claim    node says ");
    let objects = world.run(&format!("{verify} --json")).done().objects();
    let receipt = objects.last().unwrap();
    assert_eq!((&receipt["event"], &receipt["file"]), (&"receipt".into(), &"out/receipt".into()));
    world.remove("out/receipt");

    world.flip("llama/config.json", 5);
    world.run(verify).refused(2101, "");
    world.flip("llama/config.json", 5);
    world.write("llama/extra", "");
    world.run(verify).refused(2105, "");
    // An extra file that the caller permits is no part of the model.
    world.run(&format!("{verify} --allow-extra")).done();
    world.remove("out/receipt");
    world.remove("llama/extra");
    world.flip("llama/weighbridge/chunks.layer", 5);
    world.run(verify).refused(2202, "");
    world.flip("llama/weighbridge/chunks.layer", 5);
    world.run(&verify.replace("@alice", "@bob")).refused(3102, "");
    world.run(&format!("{verify} --only config.json")).misused();
    world.run("verify llama --vkey @alice --receipt out/receipt").misused();
    world.run("verify llama --vkey @alice --key @node.key").misused();
    assert!(world.files("out").is_empty(), "a receipt of what was not verified");
    world.unjudged(&verify.replace("out/receipt", "out"), 9001, "out is there, and is no regular file");
}

/// Regression: the unfinished receipt lay in the model, and was refused as a file that is not listed.
#[test]
fn a_receipt_is_no_file_of_the_model() {
    let world = World::weighed();
    let verify = "verify llama --vkey @alice --key @node.key --receipt";
    for place in ["llama/receipt", "llama/1_Pooling/receipt", "./llama/../llama/receipt"] {
        let sentence = "--receipt: a file among the model's would not be listed; name a place elsewhere";
        world.unjudged(&format!("{verify} {place}"), 9001, sentence);
        assert!(!world.exists(place));
    }
    world.run(&format!("{verify} llama/weighbridge/receipt")).done();
    world.run("verify llama --vkey @alice").done();
}
