//! OpenSSL reads files that the command writes, and the other way round.

use std::{
    fs,
    process::{Command, Output},
};

use crate::command::kit::{World, root, skip};

fn openssl_is_missing() -> bool {
    let is_missing =
        Command::new("openssl").arg("version").output().map_or(true, |output| !output.status.success());
    if is_missing {
        skip("there is no openssl here");
    }
    is_missing
}

impl World {
    /// Runs lines of shell in this world; every line must succeed.
    #[track_caller]
    fn shell(&self, lines: &str) -> String {
        let Output { status, stdout, stderr } = self.try_shell(lines);
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "$ {lines}\n{stdout}{stderr}");
        stdout.into_owned()
    }

    fn try_shell(&self, lines: &str) -> Output {
        self.at_home(Command::new("sh").args(["-e", "-c", lines])).output().unwrap()
    }

    /// Makes a key for `bob` by OpenSSL: `bob.pem` and `bob-public.pem`. Returns its vkey line.
    fn openssl_key(&self) -> String {
        self.shell("openssl genpkey -algorithm ed25519 -out bob.pem && openssl pkey -in bob.pem -pubout -out bob-public.pem");
        self.run("vkey bob bob-public.pem").done().stdout.trim_end().to_owned()
    }
}

/// Runs the commands of `spec/head.md` exactly as printed there.
#[test]
fn a_signature_checks_with_openssl_as_the_specification_says() {
    if openssl_is_missing() {
        return;
    }
    let page = fs::read_to_string(root().join("spec/head.md")).unwrap();
    let console = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let commands: Vec<&str> = console.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let answer = console.lines().last().unwrap();
    assert_eq!((commands.len(), answer), (4, "Signature Verified Successfully"));

    let world = World::weighed();
    world.write("head.note", world.read("llama/weighbridge/head.note"));
    world.write("alice.vkey", world.read("keys/alice.vkey"));
    let printed = world.shell(&commands.join("\n"));
    assert_eq!(printed.lines().last(), Some(answer));
    assert_eq!(world.read("head.txt"), world.read("llama/weighbridge/head.txt"));

    // An altered head does not check.
    world.write("head.note", world.text("head.note").replace("revision 1", "revision 2"));
    assert!(!world.try_shell(&commands.join("\n")).status.success());
}

#[test]
fn signatures_made_elsewhere_and_later_leave_the_head_id_as_it_is() {
    if openssl_is_missing() {
        return;
    }
    let world = World::with_model();
    let bob = world.openssl_key();
    let weighed = world.run("weigh llama --name org/llama").done();
    weighed.prints("unsigned: sign llama/weighbridge/head.txt, then `weighbridge sign`");
    let id = world.head_id("llama");
    assert!(!world.exists("llama/weighbridge/head.note"));
    world.unjudged("verify llama --vkey @alice", 9002, "cannot open llama/weighbridge/head.note: ");

    // Signing needs no weights, so the model is moved away.
    world.rename("llama", "elsewhere");
    world.write("llama/README.md", "");
    world.rename("elsewhere/weighbridge", "llama/weighbridge");
    world.shell("openssl pkeyutl -sign -rawin -inkey bob.pem -in llama/weighbridge/head.txt -out bob.sig");
    world
        .run_with("sign llama --signature bob.sig --vkey", &[&bob])
        .done()
        .prints(&format!("id       {id}\nsigned   by bob\n"));
    assert_eq!(world.head_id("llama"), id);
    world.run("sign llama/weighbridge --key @alice.key").done().prints("signed   by alice\n");
    assert_eq!(world.head_id("llama"), id);
    let before = world.files("llama/weighbridge");
    world.run("sign llama --key @alice.key").done().prints("unchanged: signed already by alice\n");
    assert!(world.files("llama/weighbridge") == before, "metadata changed");

    world.rename("llama/weighbridge", "elsewhere/weighbridge");
    let alice = world.vkey("alice");
    let policy = "[[publisher]]\nscope = 'org/*'\nthreshold = 2\n";
    world.write("policy.toml", format!("{policy}key = [{{ vkey = '{alice}' }}, {{ vkey = '{bob}' }}]"));
    let ran = world.run("verify elsewhere --trust policy.toml --name org/llama").done();
    ran.prints("org/llama revision 1, signed by ").prints("alice").prints("bob");
}

#[test]
fn an_encrypted_key_opens_in_openssl() {
    if openssl_is_missing() {
        return;
    }
    let world = World::empty();
    world.write("passphrase", "correct horse\n");
    world.run("keygen carol -o keys --passphrase-file passphrase").done();
    world.shell("openssl pkey -in keys/carol.key -passin file:passphrase -pubout -out carol.pem");
    assert_eq!(world.run("vkey carol carol.pem").done().stdout, world.text("keys/carol.vkey"));
    assert!(!world.try_shell("openssl pkey -in keys/carol.key -passin pass:wrong -noout").status.success());
}

#[test]
fn a_key_encrypted_by_openssl_signs() {
    if openssl_is_missing() {
        return;
    }
    let world = World::with_model();
    let bob = world.openssl_key();
    world.write("keys/bob.vkey", format!("{bob}\n"));
    world.shell("openssl pkey -in bob.pem -aes256 -passout pass:secret -out keys/bob.key");
    world.write("passphrase", "secret");
    world.run("weigh llama --name org/llama --key keys/bob.key --passphrase-file passphrase").done();
    world.run_with("verify llama --vkey", &[&bob]).done().prints("signed by bob");
}

#[test]
fn a_key_of_another_kind_is_refused() {
    if openssl_is_missing() {
        return;
    }
    let world = World::with_model();
    world.shell(
        "openssl genpkey -algorithm ed448 -out keys.pem && openssl pkey -in keys.pem -pubout -out public.pem",
    );
    let sentence = "public.pem: not an Ed25519 public key in PEM (PUBLIC KEY): a key of another algorithm";
    world.refused("vkey bob public.pem", 1507, sentence);
}
