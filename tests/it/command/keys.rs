//! Keys, and the sources of passphrases.

use std::{fs, io::Write as _};

use crate::command::kit::{Ran, World};

impl World {
    /// A world with an encrypted key, `keys/carol.key`, and a model of one small file.
    fn with_encrypted_key() -> Self {
        let world = Self::empty();
        world.write("model/config.json", "{}");
        world.write("passphrase", "correct horse\nbattery staple\n");
        world.run("keygen carol -o keys --passphrase-file passphrase").done();
        world
    }
}

const WEIGH: &str = "weigh model --name org/model --force --key keys/carol.key";

#[test]
fn keygen_writes_a_key_and_says_which_half_to_keep() {
    let world = World::with_encrypted_key();
    let line = world.text("keys/carol.vkey");
    assert!(line.starts_with("carol+") && line.ends_with('\n'), "{line}");
    assert!(world.text("keys/carol.key").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let ran = world.run("keygen dave -o keys --unencrypted").done();
    ran.prints("keys/dave.key  (NOT encrypted; keep it)").prints("keys/dave.vkey  (give it away)");
    assert!(world.text("keys/dave.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for key in ["keys/carol.key", "keys/dave.key"] {
            let mode = fs::metadata(world.path(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
    let objects = world.run("keygen erin -o keys --unencrypted --json").done().objects();
    assert_eq!(objects[0]["vkey"], world.text("keys/erin.vkey").trim_end());
    assert_eq!(objects[0]["encrypted"], false);
}

#[test]
fn keygen_never_overwrites() {
    let world = World::empty();
    let keygen = "keygen dave -o keys --unencrypted";
    world.run(keygen).done();
    let before = world.files("keys");
    world
        .unjudged(keygen, 9103, "keys/dave.vkey exists already and is never overwritten")
        .hints("choose another name");
    assert_eq!(world.files("keys"), before);
    // Either of the two files is in the way.
    world.remove("keys/dave.vkey");
    let before = world.files("keys");
    world.unjudged(keygen, 9103, "keys/dave.key exists already and is never overwritten");
    assert_eq!(world.files("keys"), before);
}

#[test]
fn a_key_name_that_cannot_stand_in_a_signature_misused() {
    let world = World::empty();
    for name in ["a+b", "", "two words", "../dave"] {
        println!("{name:?}");
        world.run_with("keygen -o keys --unencrypted --", &[name]).unjudged(9001, "");
    }
    assert!(world.files_or_none("keys").is_empty());
    // A key name in the form of a URL makes a file name without folders.
    world.run("keygen example.org/models -o keys --unencrypted").done();
    assert!(world.exists("keys/example.org-models.key"));
}

impl World {
    fn files_or_none(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        if self.exists(folder) { self.files(folder) } else { Vec::new() }
    }
}

#[test]
fn a_passphrase_comes_from_a_file_or_the_environment() {
    let world = World::with_encrypted_key();
    world.run(&format!("{WEIGH} --passphrase-file passphrase")).done().prints("signed   by carol");
    let mut command = world.command(WEIGH);
    Ran::of(command.env("WEIGHBRIDGE_PASSPHRASE", "correct horse")).done();
    // An option of the command line outranks the environment.
    world.write("wrong", "correct cow");
    let mut command = world.command(&format!("{WEIGH} --passphrase-file wrong"));
    let ran = Ran::of(command.env("WEIGHBRIDGE_PASSPHRASE", "correct horse"));
    ran.refused(5404, "keys/carol.key: the passphrase is wrong, or the key file was damaged");
}

#[test]
#[cfg(unix)]
fn a_passphrase_comes_from_a_file_descriptor() {
    let world = World::with_encrypted_key();
    let mut command = world.command(&format!("{WEIGH} --passphrase-fd 0"));
    Ran::of(command.stdin(fs::File::open(world.path("passphrase")).unwrap())).done();

    // A pipe gives its line only once, and two keys need the line.
    world.run("keygen erin -o keys --passphrase-file passphrase").done();
    let (pipe, mut end) = std::io::pipe().unwrap();
    end.write_all(&world.read("passphrase")).unwrap();
    drop(end);
    let mut command = world.command(&format!("{WEIGH} --key keys/erin.key --passphrase-fd 0"));
    Ran::of(command.stdin(pipe)).done().prints("signed   by carol, erin");

    let ran = world.run(&format!("{WEIGH} --passphrase-fd 99"));
    ran.unjudged(9002, "keys/carol.key: reading /dev/fd/99 failed: ");
    world.run(&format!("{WEIGH} --passphrase-fd 0 --passphrase-file passphrase")).misused();
}

#[test]
fn without_a_good_passphrase_nothing_is_weighed() {
    let world = World::with_encrypted_key();
    let ran =
        world.unjudged(WEIGH, 9005, "keys/carol.key: the secret key is encrypted and there is no passphrase");
    ran.hints("--passphrase-file, --passphrase-fd or the environment (WEIGHBRIDGE_PASSPHRASE)");
    world.write("empty", "\n");
    world.unjudged(&format!("{WEIGH} --passphrase-file empty"), 9005, "the passphrase is empty");
    world.unjudged(
        &format!("{WEIGH} --passphrase-file nowhere"),
        9002,
        "keys/carol.key: reading nowhere failed: No such file",
    );
    assert!(!world.exists("model/weighbridge"), "something was written");
    world.unjudged("keygen dave -o keys", 9005, "");
}

/// Regression: a first line of more than 4,096 bytes was cut there, and all line endings were removed instead of one,
/// so that the passphrase differed from the one in the file. OpenSSL ends a passphrase at a NUL.
#[test]
fn a_line_that_is_no_passphrase_is_refused_and_never_cut() {
    let world = World::with_encrypted_key();
    let keygen = "keygen dave -o other --passphrase-file line";
    let cases = [
        ("x".repeat(4_097), "the passphrase is longer than 4096 bytes"),
        ("x".repeat(1 << 20) + "\n", "the passphrase is longer than 4096 bytes"),
        ("x".repeat(4_096) + "\r\r\n", "the passphrase is longer than 4096 bytes"),
        ("correct\0horse\n".to_owned(), "the passphrase has a NUL byte"),
        ("\u{feff}c\0o\0".to_owned(), "the passphrase has a NUL byte"),
        ("\r\nsecond line".to_owned(), "the passphrase is empty"),
        (String::new(), "the passphrase is empty"),
    ];
    for (line, sentence) in cases {
        println!("{:?}", &line[..line.len().min(20)]);
        world.write("line", &line);
        world.unjudged(keygen, 9005, sentence).hints("first line");
        world.unjudged(&format!("{WEIGH} --passphrase-file line"), 9005, sentence);
        assert!(world.files_or_none("other").is_empty());
    }
    let long = "x".repeat(4_097);
    let ran = Ran::of(world.command(WEIGH).env("WEIGHBRIDGE_PASSPHRASE", long));
    ran.unjudged(9005, "the passphrase is longer than 4096 bytes");

    // One line ending of either kind is removed, and none is required.
    for (number, ending) in ["", "\n", "\r\n", "\r\nmore", "\n\n"].iter().enumerate() {
        let line = "x".repeat(4_096);
        world.write("line", format!("{line}{ending}"));
        world.run(&format!("keygen {number} -o keys --passphrase-file line")).done();
        let weigh = WEIGH.replace("carol", &number.to_string());
        Ran::of(world.command(&weigh).env("WEIGHBRIDGE_PASSPHRASE", line)).done();
    }
    world.write("line", "correct horse\r\r\n");
    world.run(&format!("{WEIGH} --passphrase-file line")).refused(5404, "the passphrase is wrong");
}

/// Regression: the passphrase was kept for the life of the process, although only unlocking keys needs it. A memory
/// dump during hours of weighing had it.
#[test]
#[cfg(target_os = "linux")]
fn a_passphrase_is_gone_from_memory_while_a_model_is_weighed() {
    let world = World::empty();
    let passphrase = "a passphrase that no program has by chance";
    world.write("passphrase", format!("{passphrase}\nnot its line\n"));
    for name in ["carol", "erin"] {
        world.run(&format!("keygen {name} -o keys --passphrase-file passphrase")).done();
    }
    // A hole takes no room on the disk, and takes time to read.
    world.write("model/weights.bin", "");
    fs::File::options().write(true).open(world.path("model/weights.bin")).unwrap().set_len(1 << 35).unwrap();
    let mut command = world.command(&format!("{WEIGH} --key keys/erin.key --passphrase-fd 0"));
    let (pipe, mut end) = std::io::pipe().unwrap();
    end.write_all(&world.read("passphrase")).unwrap();
    let mut weighing = command.stdin(pipe).spawn().unwrap();
    // The keys are open by the time the metadata folder is prepared.
    while !world.exists("model/weighbridge/.new/lock") {
        assert!(weighing.try_wait().unwrap().is_none(), "it goes on for a while");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let [found, reads] = [passphrase, "keys/erin.key"].map(|text| memory_has(weighing.id(), text.as_bytes()));
    weighing.kill().unwrap();
    weighing.wait().unwrap();
    assert!(reads, "its arguments are in its memory");
    assert!(!found, "the passphrase is in the memory of a process that needs it no more");
}

/// Whether a process has these bytes anywhere in its memory.
#[cfg(target_os = "linux")]
fn memory_has(process: u32, bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let writable =
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")));
    writable.into_iter().any(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut content = vec![0; usize::try_from(end - start).unwrap()];
        // Some mapped memory cannot be read.
        let is_read = memory.read_exact_at(&mut content, start).is_ok();
        is_read && content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn a_key_file_that_is_none_is_refused() {
    let world = World::with_encrypted_key();
    world.key("dave");
    let weigh = "weigh model --name org/model --key keys/dave.key";
    let pem = world.text("keys/dave.key");
    for text in
        ["", "-----BEGIN PRIVATE KEY-----\n", &format!("{pem}{pem}"), &pem.replace("PRIVATE", "PUBLIC")]
    {
        world.write("keys/dave.key", text);
        world.refused(weigh, 5403, "keys/dave.key: not an Ed25519 secret key in PEM");
    }
    world.write("keys/dave.key", pem);
    world.write("keys/dave.vkey", world.read("keys/carol.vkey"));
    world.refused(weigh, 5405, "the secret key and the vkey do not belong together");
    world.write("keys/dave.vkey", "dave");
    world.refused(weigh, 1501, "keys/dave.vkey: a vkey is NAME+ID+KEY");
    world.remove("keys/dave.vkey");
    world
        .unjudged(weigh, 9002, "no vkey beside the secret key: keys/dave.vkey is missing")
        .hints("NAME.vkey beside its NAME.key");
    assert!(!world.exists("model/weighbridge"), "something was written");
}

#[test]
fn a_public_key_that_is_none_is_refused() {
    let world = World::with_encrypted_key();
    world.refused(
        "vkey carol keys/carol.key",
        1507,
        "keys/carol.key: not an Ed25519 public key in PEM (PUBLIC KEY)",
    );
    world.unjudged("vkey carol nowhere.pem", 9002, "cannot read nowhere.pem: ");
}
