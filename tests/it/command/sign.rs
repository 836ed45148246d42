//! Signatures are added to a head, and the head does not change.

use weighbridge_publish::SecretKey;

use crate::command::{
    forge::sign_text,
    kit::{Ran, World},
};

const METADATA: &str = "llama/weighbridge";

impl World {
    /// Attaches the signature in the file `name.sig` to the model's head.
    fn attach(&self, name: &str) -> Ran {
        self.run(&format!("sign llama --signature {name}.sig --vkey @{name}"))
    }
}

/// The bare signature by `key` over a text.
fn signature(key: &SecretKey, text: &str) -> Vec<u8> {
    key.sign(text.as_bytes()).signature().as_bytes().to_vec()
}

#[test]
fn signatures_are_added_until_the_policy_is_satisfied() {
    let world = World::weighed();
    let id = world.head_id("llama");
    let vkeys = ["alice", "bob"].map(|name| format!("{{ vkey = '{}' }}", world.vkey(name))).join(", ");
    world.write("policy.toml", format!("[[publisher]]\nscope = '*'\nthreshold = 2\nkey = [{vkeys}]"));
    world.refused("verify llama --trust policy.toml", 3103, "1 of 2 demanded keys signed");

    let others = |file: &(String, Vec<u8>)| file.0 != "head.note";
    let before: Vec<_> = world.files(METADATA).into_iter().filter(others).collect();
    world.write("bob.sig", signature(&world.key("bob"), &world.text("llama/weighbridge/head.txt")));
    world.attach("bob").done().prints(&format!("id       {id}\nsigned   by bob\n"));
    assert!(world.files(METADATA).into_iter().filter(others).eq(before), "more than the note changed");
    world.run("verify llama --trust policy.toml").done().prints("signed by alice, bob");

    // A second signature by the same key changes nothing.
    let note = world.text("llama/weighbridge/head.note");
    world.attach("bob").done().prints("unchanged: signed already by bob\n");
    world.run("sign llama --key @alice.key").done().prints("unchanged: signed already by alice\n");
    assert_eq!(world.text("llama/weighbridge/head.note"), note);
    assert_eq!(world.head_id("llama"), id);
}

#[test]
fn a_signature_that_is_not_this_keys_over_this_head_is_not_attached() {
    let world = World::weighed();
    let before = world.files(METADATA);
    let (bob, text) = (world.key("bob"), world.text("llama/weighbridge/head.txt"));
    let openssl = "sign the bytes of head.txt: openssl pkeyutl -sign -rawin -inkey KEY.pem -in head.txt";
    let good = signature(&bob, &text);
    let cases = [
        (signature(&bob, &text.replace("org/llama", "org/other")), 5401, "not by this key over this text"),
        (
            signature(&world.key("alice"), &text),
            5401,
            "bob.sig: the signature is not by this key over this text",
        ),
        (good[..63].to_vec(), 5402, "bob.sig: an Ed25519 signature is 64 bytes, this one 63"),
        ([good.as_slice(), b"\n"].concat(), 5402, "bob.sig: an Ed25519 signature is 64 bytes, this one 65"),
        (Vec::new(), 5402, "bob.sig: an Ed25519 signature is 64 bytes, this one 0"),
    ];
    for (signature, code, sentence) in cases {
        world.write("bob.sig", signature);
        world.attach("bob").refused(code, sentence).hints(openssl);
        assert!(world.files(METADATA) == before, "metadata changed");
    }
    world.remove("bob.sig");
    world.attach("bob").unjudged(9002, "cannot open bob.sig: ");
}

#[test]
fn a_bad_line_under_ones_own_name_is_replaced() {
    let world = World::weighed();
    let note = world.text("llama/weighbridge/head.note");
    let bad = world.key("alice").sign(b"another text");
    let text = world.text("llama/weighbridge/head.txt");
    world.write("llama/weighbridge/head.note", format!("{text}\n{bad}\n"));
    world.refused("verify llama --vkey @alice", 3101, "the signature by 'alice' does not verify");
    world.run("sign llama --key @alice.key").done().prints("signed   by alice\n");
    assert_eq!(world.text("llama/weighbridge/head.note"), note);
}

#[test]
fn what_is_no_head_is_not_signed() {
    let world = World::weighed();
    world.unjudged("sign keys --key @alice.key", 9002, "cannot open ").hints("`weighbridge weigh` makes it");
    let text = world.text("llama/weighbridge/head.txt");
    let alice = world.key("alice");
    sign_text(&world.path(METADATA), &text.replace("head/v1", "head/v2"), &[&alice]);
    world.refused("sign llama --key @bob.key", 1202, "the head is not of version weighbridge/head/v1");
    world.write("llama/weighbridge/head.note", &text);
    world.refused("sign llama --key @bob.key", 1103, "head.note: the note is not a text, an empty line, and");
    world.remove("llama/weighbridge/head.note");
    world.write("llama/weighbridge/head.txt", text.replace("revision 1", "revision 0"));
    world.refused(
        "sign llama --key @bob.key",
        1205,
        "head.txt: the head contradicts itself: revisions count from 1",
    );
    world.write("llama/weighbridge/head.txt", b"\xff");
    world.refused("sign llama --key @bob.key", 1203, "head.txt: not a head");
}
