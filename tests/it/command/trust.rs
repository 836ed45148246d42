//! Trust policies, and the heads that a caller expects.

use std::time::{SystemTime, UNIX_EPOCH};

use weighbridge_manifest::Time;

use crate::command::{
    forge::{Forge, sign_text},
    kit::World,
};

const METADATA: &str = "llama/weighbridge";

impl World {
    /// Signs the weighed head by exactly these keys.
    fn signed_by(&self, names: &[&str]) {
        let keys: Vec<_> = names.iter().map(|name| self.key(name)).collect();
        sign_text(
            &self.path(METADATA),
            &self.text("llama/weighbridge/head.txt"),
            &keys.iter().collect::<Vec<_>>(),
        );
    }

    /// Writes `policy.toml`; `@alice` stands for alice's vkey line.
    fn policy(&self, text: &str) {
        let mut text = text.to_owned();
        for name in ["alice", "bob", "carol"] {
            text = text.replace(&format!("@{name}"), &format!("\"{}\"", self.vkey(name)));
        }
        self.write("policy.toml", text);
    }
}

const BY_POLICY: &str = "verify llama --trust policy.toml";
const TWO_OF_THREE: &str = "
    [[publisher]]
    scope = 'org/*'
    threshold = 2
    key = [{ vkey = @alice }, { vkey = @bob }, { vkey = @carol }]
";

#[test]
fn no_trust_is_no_judgement() {
    let world = World::weighed();
    let ran = world.unjudged("verify llama", 9003, "whom to trust was not said");
    ran.hints("pass the publisher's key with --vkey LINE, a policy with --trust FILE, or the head's id with --head ID");
    world.run("verify llama --name org/llama").unjudged(9003, "whom to trust was not said");
}

#[test]
fn a_head_by_strangers_is_refused() {
    let world = World::weighed();
    let ran = world.refused("verify llama --vkey @bob", 3102, "none of the signatures is by a trusted key");
    ran.hints("`weighbridge inspect` shows whose signatures the head has");
    // A signature by any one of several keys suffices.
    world.run("verify llama --vkey @bob --vkey @alice").done().prints("signed by alice");
}

#[test]
fn a_strangers_signature_beside_a_known_one_is_ignored() {
    let world = World::weighed();
    world.signed_by(&["bob", "alice"]);
    let ran = world.run("verify llama --vkey @alice").done().prints("revision 1, signed by alice\n");
    ran.expect(!ran.stdout.contains("bob"), "no word of bob");
}

#[test]
fn fewer_keys_than_the_threshold_are_refused() {
    let world = World::weighed();
    world.policy(TWO_OF_THREE);
    world.refused(BY_POLICY, 3103, "1 of 2 demanded keys signed");
    world.signed_by(&["alice", "alice"]);
    world.refused(BY_POLICY, 3103, "1 of 2 demanded keys signed");
    world.signed_by(&["alice", "carol"]);
    world.run(BY_POLICY).done().prints("signed by alice, carol");
}

#[test]
fn one_key_under_two_names_counts_once() {
    let world = World::weighed();
    // The same secret key under another name.
    let pem = world.text("keys/alice.key");
    let again = weighbridge_manifest::KeyName::parse("again").unwrap();
    let vkey = weighbridge_manifest::Vkey::new(again, world.vkey("alice").public_key()).unwrap();
    world.write("keys/again.key", pem);
    world.write("keys/again.vkey", format!("{vkey}\n"));
    world.signed_by(&["alice", "again"]);

    let two_names = format!("{{ vkey = @alice }}, {{ vkey = \"{vkey}\" }}");
    world.policy(&TWO_OF_THREE.replace("{ vkey = @alice }, { vkey = @bob }", &two_names));
    world.refused(BY_POLICY, 3103, "1 of 2 demanded keys signed");
    // Two names of one key count as one key, so this threshold cannot be reached.
    world.policy(&TWO_OF_THREE.replace("{ vkey = @alice }, { vkey = @bob }, { vkey = @carol }", &two_names));
    world.refused(BY_POLICY, 1604, "policy.toml: publisher 1: a threshold of 2 with 1 distinct keys");
}

#[test]
fn a_bad_signature_by_a_known_key_refuses_beside_good_ones() {
    let world = World::weighed();
    world.policy(TWO_OF_THREE);
    let text = world.text("llama/weighbridge/head.txt");
    let other = world.key("carol").sign(b"another text");
    let good: String =
        ["alice", "bob"].map(|name| format!("{}\n", world.key(name).sign(text.as_bytes()))).concat();
    world.write("llama/weighbridge/head.note", format!("{text}\n{good}{other}\n"));
    let ran =
        world.refused(BY_POLICY, 3101, "the signature by 'carol' does not verify: the head was altered");
    ran.hints("get head.note again");
    // A caller that does not know carol cannot tell that her signature is bad.
    world.run("verify llama --vkey @alice").done();
}

#[test]
fn a_revoked_key_never_counts() {
    let world = World::weighed();
    let revoked = format!("revoked = [@alice]\n{TWO_OF_THREE}");
    world.policy(&revoked);
    world.signed_by(&["alice", "bob"]);
    world.refused(BY_POLICY, 3104, "1 of 2 demanded keys signed, the others are revoked");
    world.signed_by(&["alice", "bob", "carol"]);
    world.run(BY_POLICY).done().prints("signed by bob, carol");
}

#[test]
fn a_key_counts_in_its_dates_alone() {
    let world = World::weighed();
    let dated = |dates: &str| format!("[[publisher]]\nscope = '*'\nkey = [{{ vkey = @alice, {dates} }}]");
    for dates in ["until = '2020-01-01T00:00:00Z'", "from = '9000-01-01T00:00:00Z'"] {
        world.policy(&dated(dates));
        let sentence = "0 of 1 demanded keys signed, the others were out of date when it was created";
        world.refused(BY_POLICY, 3105, sentence);
    }
    world.policy(&dated("from = '2020-01-01T00:00:00Z', until = '9000-01-01T00:00:00Z'"));
    world.run(BY_POLICY).done();
}

#[test]
fn the_longest_scope_decides_alone() {
    let world = World::weighed();
    let publisher =
        |scope: &str, key: &str| format!("[[publisher]]\nscope = '{scope}'\nkey = [{{ vkey = @{key} }}]\n");
    for (narrow, wide) in [("org/llama", "org/*"), ("org/*", "*")] {
        world.policy(&[publisher(narrow, "bob"), publisher(wide, "alice")].concat());
        world.refused(BY_POLICY, 3102, "none of the signatures is by a trusted key");
        world.policy(&[publisher(wide, "bob"), publisher(narrow, "alice")].concat());
        world.run(BY_POLICY).done();
    }
    world.policy(&publisher("org/llama/*", "alice"));
    world.refused(BY_POLICY, 3106, "the policy trusts nobody for 'org/llama'");
    world.policy(&[publisher("org/*", "alice"), publisher("org/*", "bob")].concat());
    world.refused(BY_POLICY, 1602, "policy.toml: publisher 2: another publisher has the same scope");
}

#[test]
fn a_bad_policy_is_refused_whole() {
    let cases = [
        ("", 1605, "policy.toml: the policy trusts nobody"),
        ("publisher = 1", 1601, "policy.toml: not a trust policy: line 1: "),
        (
            "[[publisher]]\nscope = '*'\ntreshold = 2\nkey = [{ vkey = @alice }]",
            1601,
            "not a trust policy: line 3: unknown field",
        ),
        (
            "[[publisher]]\nscope = 'org*'\nkey = [{ vkey = @alice }]",
            1603,
            "publisher 1: a scope is a model name, PREFIX/* or *",
        ),
        (
            "[[publisher]]\nscope = '*'\nthreshold = 0\nkey = [{ vkey = @alice }]",
            1604,
            "a threshold of 0 with 1 distinct keys",
        ),
        ("[[publisher]]\nscope = '*'\nkey = []", 1605, "publisher 1: it has no keys"),
        (
            "[[publisher]]\nscope = '*'\nkey = [{ vkey = @alice, from = 'soon' }]",
            1702,
            "key 1: a time is written like 2026-11-20T16:31:00Z",
        ),
        (
            "[[publisher]]\nscope = '*'\nkey = [{ vkey = @alice, from = '2026-01-02T00:00:00Z', until = '2026-01-01T00:00:00Z' }]",
            1606,
            "'from' is not before 'until'",
        ),
        ("accepted-heads = ['abc']", 1703, "accepted head 1: a head id is 64 lower-case hexadecimal digits"),
        ("revoked = ['alice']", 1501, "revoked key 1: a vkey is NAME+ID+KEY, as keygen writes it"),
    ];
    let world = World::weighed();
    for (text, code, sentence) in cases {
        world.policy(text);
        world.refused(BY_POLICY, code, sentence);
    }
    world.unjudged("verify llama --trust nowhere.toml", 9002, "cannot read nowhere.toml: ");
    world.run("verify llama --trust policy.toml --vkey @alice").misused();
}

#[test]
fn a_policy_that_is_no_utf8_is_a_malformed_policy() {
    // Regression: the command reported that the file cannot be read (9002), and the library that the text is
    // malformed.
    let world = World::weighed();
    let line = format!("[[publisher]]\nscope = '*'\nkey = [{{ vkey = '{}' }}]\n", world.vkey("alice"));
    world.write("policy.toml", [line.as_bytes(), b"# \xff"].concat());
    let sentence = "policy.toml: not a trust policy: line 4: a byte that is not UTF-8";
    world.refused(BY_POLICY, 1601, sentence);
    world.write("pem", b"-----BEGIN PUBLIC KEY-----\n\xff");
    world.refused("vkey alice pem", 1507, "pem: ");
}

#[test]
fn a_policy_is_toml_1_0() {
    let world = World::weighed();
    let inline = "[[publisher]]\nscope = '*'\nkey = [{ vkey = @alice }]";
    world.policy(inline);
    world.run(BY_POLICY).done();
    for (text, what) in [
        (inline.replace("'*'", r#""\x2a""#), "line 2: an escape '\\e' or '\\x', which TOML 1.0 has not"),
        (inline.replace(" }", ",\n}"), "line 3: a line end in an inline table"),
        (inline.replace(" }", ", }"), "line 3: a comma at the end of an inline table"),
    ] {
        world.policy(&text);
        world.refused(BY_POLICY, 1601, &format!("policy.toml: not a trust policy: {what}"));
    }
}

#[test]
fn a_mirror_that_swaps_lines_changes_no_signer() {
    // Regression: if the policy has one key under two names, the order of the note's lines decided which name was
    // shown.
    let world = World::weighed();
    let again = weighbridge_manifest::KeyName::parse("legal-team").unwrap();
    let vkey = weighbridge_manifest::Vkey::new(again, world.vkey("alice").public_key()).unwrap();
    world.write("keys/legal-team.key", world.text("keys/alice.key"));
    world.write("keys/legal-team.vkey", format!("{vkey}\n"));
    let policy = |keys: &str| world.policy(&format!("[[publisher]]\nscope = '*'\nkey = [{keys}]"));
    let alice_first = format!("{{ vkey = @alice }}, {{ vkey = \"{vkey}\" }}, {{ vkey = @bob }}");
    let legal_first = format!("{{ vkey = \"{vkey}\" }}, {{ vkey = @bob }}, {{ vkey = @alice }}");
    for order in [["alice", "legal-team", "bob"], ["bob", "legal-team", "alice"]] {
        world.signed_by(&order);
        policy(&alice_first);
        world.run(BY_POLICY).done().prints("signed by alice, bob\n");
        policy(&legal_first);
        world.run(BY_POLICY).done().prints("signed by legal-team, bob\n");
    }
    world.signed_by(&["bob", "legal-team"]);
    policy(&alice_first);
    world.run(BY_POLICY).done().prints("signed by legal-team, bob\n");
}

#[test]
fn a_bad_key_is_refused_wherever_it_comes_from() {
    let cases = [
        ("alice", 1501, "a vkey is NAME+ID+KEY, as keygen writes it"),
        (
            "alice.example/models+29278fa7+AXRy/y+h+89/5OywXPtLWN7Z078ZvSUjIQtvJhiAzi0j",
            1502,
            "the vkey's id is not that of its name and key",
        ),
        (
            "alice.example/models+6d9c0566+AhvnN0S/uK6SDoa86geGZ2V2RVzJ5tDjw9ZAtX/e95GQ",
            1503,
            "the vkey is of type 0x02, known is 0x01 (Ed25519)",
        ),
        (
            "test.example/bad+27868c5b+AfD///////////////////////////////////////9/",
            1504,
            "the key is no canonical encoding of a curve point",
        ),
        (
            "test.example/bad+3128cbc9+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            1505,
            "the key is weak (a point of small order)",
        ),
        (
            "test.example/bad+ce0c1aa3+AccXanA9TdhPujwLdg0QZw8qIFP6LDnMxk7H/XeSrAN6",
            1505,
            "the key is weak (a point of small order)",
        ),
        (
            "test.example/bad+3217354b+AfMVe2fX7E57g3naTnpXjpdYgqXGjchJGT1Z6g8Pqxjl",
            1506,
            "the key has a torsion component",
        ),
    ];
    let world = World::weighed();
    for (line, code, sentence) in cases {
        world.refused(&format!("verify llama --vkey {line}"), code, sentence);
        world.policy(&format!("[[publisher]]\nscope = '*'\nkey = [{{ vkey = \"{line}\" }}]"));
        world.refused(BY_POLICY, code, &format!("policy.toml: publisher 1: key 1: {sentence}"));
    }
}

#[test]
fn a_vkey_file_stands_for_its_line() {
    let world = World::weighed();
    world.run("verify llama --vkey keys/alice.vkey").done().prints("signed by alice");
    world.key("bob");
    world.run("verify llama --vkey keys/bob.vkey").refused(3102, "");
    world.write("two.vkey", format!("{}\n{}\n", world.vkey("alice"), world.vkey("bob")));
    world.write("bytes.vkey", [0xff; 40]);
    for file in ["llama/config.json", "two.vkey", "bytes.vkey"] {
        world.refused(
            &format!("verify llama --vkey {file}"),
            1501,
            &format!("{file}: a vkey is NAME+ID+KEY"),
        );
    }
    world.refused("verify llama --vkey keys/none.vkey", 1501, "a vkey is NAME+ID+KEY");
    // A file with the name of a line is not looked at.
    world.write(&world.vkey("alice").to_string().replace('/', "_"), "");
    world.run("verify llama --vkey @alice").done();
}

#[test]
fn another_head_than_the_one_wanted_is_refused() {
    let world = World::weighed();
    let id = world.head_id("llama");
    let other = "0d687d649d9bf937807da858d846d50009245b6ebbe077f50e53473b74c5afb1";

    let ran = world.refused(
        "verify llama --vkey @alice --name org/bert",
        3201,
        "the head is of 'org/llama', wanted is 'org/bert'",
    );
    ran.hints("another model than you asked for");
    world.refused(
        &format!("verify llama --vkey @alice --head {other}"),
        3202,
        &format!("the head is {id}, wanted is {other}"),
    );
    world.refused(
        "verify llama --vkey @alice --min-revision 2",
        3203,
        "the head is revision 1, wanted is 2 or later",
    );
    world.run(&format!("verify llama --vkey @alice --head {id} --name org/llama --min-revision 1")).done();

    // An id alone suffices, whoever signed the head.
    world.signed_by(&["bob"]);
    world.run(&format!("verify llama --head {id}")).done().prints("org/llama revision 1, accepted by its id");
    world.refused(
        &format!("verify llama --head {other}"),
        3202,
        &format!("the head is {id}, wanted is {other}"),
    );
    world.policy(&format!("accepted-heads = ['{id}']"));
    world.run(BY_POLICY).done().prints("accepted by its id");
}

#[test]
fn a_head_from_the_future_is_refused() {
    let world = World::weighed();
    let now = now();
    Forge::open(world.path(METADATA))
        .sign_saying(&world.key("alice"), |head| head.created = at(now + 2 * DAY));
    let ran = world.refused(
        "verify llama --vkey @alice",
        3206,
        &format!("the head says it was created at {}, and it is ", at(now + 2 * DAY)),
    );
    ran.hints("check this machine's clock");
    // Clocks differ: a head may be created up to a day in the future.
    Forge::open(world.path(METADATA))
        .sign_saying(&world.key("alice"), |head| head.created = at(now + DAY / 2));
    world.run("verify llama --vkey @alice").done();
}

#[test]
fn an_expired_head_is_refused_unless_the_caller_goes_on() {
    let world = World::weighed();
    let expired = at(now() - DAY);
    Forge::open(world.path(METADATA)).sign_saying(&world.key("alice"), |head| {
        head.created = at(now() - 2 * DAY);
        head.expires = Some(expired);
    });
    let verify = "verify llama --vkey @alice";
    world.refused(verify, 3207, &format!("the head expired at {expired}")).hints("--allow-expired");
    world
        .run(&format!("{verify} --allow-expired"))
        .done()
        .prints(&format!("signed by alice, EXPIRED at {expired}"));
    let objects = world.run(&format!("{verify} --allow-expired --json")).done().objects();
    assert_eq!(objects[0]["freshness"], "expired");
}

const DAY: i64 = 86_400;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn at(seconds: i64) -> Time {
    Time::from_unix(seconds).unwrap()
}
