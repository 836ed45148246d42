//! Secret keys: written keys can be read here and by OpenSSL; damaged and foreign keys are refused, and no file is
//! overwritten.

use std::{
    fs, io,
    path::Path,
    process::{Command, Output},
};

use pkcs8::{
    EncryptedPrivateKeyInfo, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::{Decode, Encode, asn1::OctetStringRef, pem},
    pkcs5::{EncryptionScheme, pbes2, scrypt},
};
use weighbridge_manifest::{KeyName, Note, Vkey};
use weighbridge_publish::{
    Coded, KeyError, Passphrase, PemFault, Protection, SecretKey, external_signature, public_key_from_pem,
};
use zeroize::Zeroizing;

/// RFC 8410, section 10.3, first example.
const RFC_SECRET: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
/// RFC 8410, section 10.3, second example: the same key in version 2, with an attribute and its public half.
const RFC_VERSION_2: &str = "-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
";
/// RFC 8410, section 10.1: the public half of that key.
const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
const PASSPHRASE: &str = "correct horse, salted \u{df}";
const TEXT: &[u8] = b"weighbridge/head/v1\nname example/model\n";

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn rfc_vkey() -> Vkey {
    Vkey::new(name("rfc8410"), &public_key_from_pem(RFC_PUBLIC).unwrap()).unwrap()
}

fn rfc_key() -> SecretKey {
    SecretKey::from_pem(rfc_vkey(), RFC_SECRET, nobody_asked).unwrap()
}

fn passphrase(text: &str) -> Result<Passphrase, KeyError> {
    Passphrase::new(Zeroizing::new(text.into()))
}

fn nobody_asked() -> Result<Passphrase, KeyError> {
    panic!("a passphrase was asked for in vain")
}

/// The code of the refusal; 0 without one.
fn code<T>(result: Result<T, KeyError>) -> u16 {
    result.map_or_else(|e| e.error_code().get(), |_| 0)
}

fn open(pem: &str) -> Result<SecretKey, KeyError> {
    SecretKey::from_pem(rfc_vkey(), pem, || passphrase(PASSPHRASE))
}

/// The RFC's key, encrypted with any parameters. [`SecretKey::to_pem`] uses only good ones.
fn encrypted_with(parameters: pbes2::Parameters) -> EncryptedKey {
    let (_, plain) = SecretDocument::from_pem(RFC_SECRET).unwrap();
    let info = PrivateKeyInfoRef::from_der(plain.as_bytes()).unwrap();
    EncryptedKey(info.encrypt_with_params(parameters, PASSPHRASE).unwrap().as_bytes().to_vec())
}

/// The RFC's key, encrypted with scrypt so cheap that a test can open thousands of keys.
fn cheap() -> EncryptedKey {
    let cost = scrypt::Params::new(1, 1, 1).unwrap();
    encrypted_with(pbes2::Parameters::generate_scrypt_aes256cbc(cost, &[7; 16], [9; 16]).unwrap())
}

struct EncryptedKey(Vec<u8>);

impl EncryptedKey {
    fn pem(&self) -> String {
        pem::encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, &self.0).unwrap()
    }

    /// The same ciphertext with other parameters.
    fn claiming(&self, change: impl FnOnce(&mut pbes2::Parameters)) -> Self {
        let info = EncryptedPrivateKeyInfoRef::from_der(&self.0).unwrap();
        let mut parameters = info.encryption_algorithm.pbes2().unwrap().clone();
        change(&mut parameters);
        let changed: EncryptedPrivateKeyInfo<&OctetStringRef> = EncryptedPrivateKeyInfo {
            encryption_algorithm: EncryptionScheme::Pbes2(parameters),
            encrypted_data: info.encrypted_data,
        };
        Self(changed.to_der().unwrap())
    }
}

#[test]
fn writes_the_plain_key_as_the_rfc_does() {
    assert_eq!(*rfc_key().to_pem(Protection::Unencrypted).unwrap(), RFC_SECRET);
}

#[test]
fn reads_both_versions_of_pkcs8() {
    let key = SecretKey::from_pem(rfc_vkey(), RFC_VERSION_2, nobody_asked).unwrap();
    assert_eq!(key.sign(TEXT), rfc_key().sign(TEXT));
    // The public half of another key: contradicting halves are never a key.
    let (_, mut der) = pem::decode_vec(RFC_VERSION_2.as_bytes()).unwrap();
    *der.last_mut().unwrap() ^= 1;
    let contradictory = pem::encode_string("PRIVATE KEY", LineEnding::LF, &der).unwrap();
    assert!(matches!(open(&contradictory), Err(KeyError::SecretPem(PemFault::PublicHalf))));
}

#[test]
fn opens_what_it_wrote() {
    let key = SecretKey::generate(name("alice")).unwrap();
    let other = SecretKey::generate(name("alice")).unwrap();
    assert_ne!(key.vkey(), other.vkey());

    let plain = key.to_pem(Protection::Unencrypted).unwrap();
    let reopened = SecretKey::from_pem(key.vkey().clone(), &plain, nobody_asked).unwrap();
    assert_eq!(reopened.sign(TEXT), key.sign(TEXT));

    let word = passphrase(PASSPHRASE).unwrap();
    let encrypted = key.to_pem(Protection::Passphrase(&word)).unwrap();
    assert_ne!(
        encrypted,
        key.to_pem(Protection::Passphrase(&word)).unwrap(),
        "salt and nonce are new each time"
    );
    let reopened = SecretKey::from_pem(key.vkey().clone(), &encrypted, || passphrase(PASSPHRASE)).unwrap();
    assert_eq!(reopened.sign(TEXT), key.sign(TEXT));

    assert_eq!(code(SecretKey::from_pem(other.vkey().clone(), &plain, nobody_asked)), 5405);
    assert_eq!(
        code(SecretKey::from_pem(key.vkey().clone(), &encrypted, || passphrase("correct horse"))),
        5404
    );
}

#[test]
fn encrypts_as_specified() {
    let word = passphrase(PASSPHRASE).unwrap();
    let text = rfc_key().to_pem(Protection::Passphrase(&word)).unwrap();
    let (_, der) = pem::decode_vec(text.as_bytes()).unwrap();
    let info = EncryptedPrivateKeyInfoRef::from_der(&der).unwrap();
    let parameters = info.encryption_algorithm.pbes2().unwrap();
    let kdf = parameters.kdf.scrypt().unwrap();
    assert_eq!((kdf.cost_parameter, kdf.block_size, kdf.parallelization), (1 << 14, 8, 8));
    assert!(matches!(parameters.encryption, pbes2::EncryptionScheme::Aes256Cbc { .. }));
}

#[test]
fn signs_notes_that_verify() {
    let key = rfc_key();
    let signature = key.sign(TEXT);
    assert!(key.vkey().has_signed(TEXT, signature.signature()));
    let note = [TEXT, b"\n", signature.to_string().as_bytes(), b"\n"].concat();
    let note = Note::parse(&note).unwrap();
    assert_eq!((note.text().as_bytes(), note.signatures()), (TEXT, &[signature][..]));
}

#[test]
fn refuses_empty_and_missing_passphrases() {
    assert_eq!(code(passphrase("")), 9005);
    let missing = || Err(KeyError::NoPassphrase(io::ErrorKind::NotConnected.into()));
    assert_eq!(code(SecretKey::from_pem(rfc_vkey(), &cheap().pem(), missing)), 9005);
}

#[test]
fn takes_every_wrong_passphrase_for_wrong() {
    // One wrong passphrase in 256 leaves a well-formed padding. The noise before it must not be taken for a malformed
    // file.
    let pem = cheap().pem();
    for i in 0..2_000 {
        let refused = SecretKey::from_pem(rfc_vkey(), &pem, || passphrase(&i.to_string()));
        assert!(matches!(refused, Err(KeyError::WrongPassphrase)), "{i}");
    }
}

#[test]
fn refuses_anything_around_the_block() {
    let block = RFC_SECRET;
    for wrong in [
        String::new(),
        format!("key of alice\n{block}"),
        format!("\n{block}"),
        format!("\u{feff}{block}"),
        format!("{block}\n"),
        format!("{block}garbage"),
        format!("{block}{block}"),
        format!("{block}{RFC_PUBLIC}"),
        block.replace("=\n", "="),
        block.replace("-----END PRIVATE KEY-----", "-----END PUBLIC KEY-----"),
        block.replace("-----\nMC4", "-----\nProc-Type: 4,ENCRYPTED\n\nMC4"),
        block.replace("MC4C", "MC4 C"),
        block.replace("dVhC", ""),
        block.replace("dVhC", "dVhCAA=="),
        RFC_PUBLIC.into(),
        RFC_PUBLIC.replace("PUBLIC", "PRIVATE"),
        RFC_SECRET.replace("PRIVATE", "ENCRYPTED PRIVATE"),
        RFC_SECRET.replace("PRIVATE", "OPENSSH PRIVATE"),
        // The algorithm identifier alone differs: X25519.
        block.replace("K2Vw", "K2Vu"),
    ] {
        let refused = SecretKey::from_pem(rfc_vkey(), &wrong, nobody_asked);
        assert_eq!(code(refused), if wrong == block { 0 } else { 5403 }, "{wrong}");
    }
    // Line endings that version control and editors change are no damage.
    assert_eq!(code(open(&block.replace('\n', "\r\n"))), 0);
    assert_eq!(code(open(block.trim_end())), 0);
}

#[test]
fn refuses_public_keys_that_are_not_exactly_one_of_ed25519() {
    for wrong in [
        String::new(),
        RFC_SECRET.into(),
        format!("{RFC_PUBLIC}\n"),
        format!("# alice\n{RFC_PUBLIC}"),
        RFC_PUBLIC.replace("K2Vw", "K2Vu"),
        RFC_PUBLIC.replace("ZuE=", "Zg=="),
        RFC_PUBLIC.replace("MCow", "MCsw"),
        RFC_PUBLIC.replace("AyEA", "AyEB"),
    ] {
        assert_eq!(code(public_key_from_pem(&wrong)), 1507, "{wrong}");
    }
}

#[test]
fn no_flipped_bit_of_a_plain_key_is_accepted() {
    let mut as_another_key = 0;
    each_flipped_text(RFC_SECRET, |text, at| {
        match code(SecretKey::from_pem(rfc_vkey(), text, nobody_asked)) {
            5403 => {}
            5405 => as_another_key += 1,
            other => panic!("{other} for byte {at}"),
        }
    });
    assert!(as_another_key > 0, "the secret itself has no redundancy");
}

#[test]
fn no_flipped_bit_of_an_encrypted_key_is_accepted() {
    each_flipped_text(&cheap().pem(), |text, at| {
        let code = code(open(text));
        assert!(matches!(code, 5403..=5405), "{code} for byte {at}");
    });
    let EncryptedKey(der) = cheap();
    let mut as_another_key = 0;
    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match code(open(&EncryptedKey(flipped).pem())) {
            5403 | 5404 => {}
            5405 => as_another_key += 1,
            other => panic!("{other} for bit {bit}"),
        }
    }
    // AES-CBC alone would have accepted these files: half of the seed becomes noise, the other half is off by one
    // bit.
    assert!(as_another_key >= 128, "{as_another_key}");
}

/// Calls `check` with every text that differs from `text` in one bit.
fn each_flipped_text(text: &str, mut check: impl FnMut(&str, usize)) {
    for at in 0..text.len() {
        for bit in 0..7 {
            let mut flipped = text.as_bytes().to_vec();
            flipped[at] ^= 1 << bit;
            check(str::from_utf8(&flipped).unwrap(), at);
        }
    }
}

#[test]
fn refuses_unbearable_parameters_before_asking_for_a_passphrase() {
    type Scrypt = pbes2::ScryptParams;
    // The library trusts these numbers: with the first it panicked, with the second it aborted the process.
    let changes: [fn(&mut Scrypt); 8] = [
        |kdf| kdf.cost_parameter = 0,
        |kdf| kdf.cost_parameter = 1 << 60,
        |kdf| kdf.cost_parameter = 1,
        |kdf| kdf.cost_parameter = 3,
        |kdf| (kdf.cost_parameter, kdf.block_size) = (1 << 18, 9),
        |kdf| (kdf.block_size, kdf.parallelization) = (u16::MAX, u16::MAX),
        |kdf| kdf.block_size = 0,
        |kdf| kdf.parallelization = 0,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let hostile = cheap().claiming(|parameters| {
            let pbes2::Kdf::Scrypt(kdf) = &mut parameters.kdf else { unreachable!() };
            change(kdf);
        });
        let refused = SecretKey::from_pem(rfc_vkey(), &hostile.pem(), nobody_asked);
        assert!(matches!(refused, Err(KeyError::SecretPem(PemFault::Cost))), "{i}: {refused:?}");
    }
    for iterations in [0, u32::MAX] {
        let kdf = pbes2::Pbkdf2Params::hmac_sha256(1, &[7; 16]).unwrap();
        let kdf = pbes2::Pbkdf2Params { iteration_count: iterations, ..kdf };
        let hostile = cheap().claiming(|parameters| parameters.kdf = kdf.into());
        let refused = SecretKey::from_pem(rfc_vkey(), &hostile.pem(), nobody_asked);
        assert!(matches!(refused, Err(KeyError::SecretPem(PemFault::Cost))), "{iterations}: {refused:?}");
    }
    // Parameters that OWASP recommends (2023) are accepted.
    for bearable in [
        pbes2::Parameters::generate_scrypt_aes256cbc(
            scrypt::Params::new(17, 8, 1).unwrap(),
            &[7; 16],
            [9; 16],
        ),
        pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(600_000, &[7; 16], [9; 16]),
    ] {
        assert_eq!(code(open(&encrypted_with(bearable.unwrap()).pem())), 0);
    }
}

#[test]
fn takes_signatures_made_elsewhere_only_if_they_verify() {
    let key = rfc_key();
    let signature = key.sign(TEXT);
    assert_eq!(external_signature(key.vkey(), TEXT, signature.signature().as_bytes()).unwrap(), signature);
    assert_eq!(
        code(external_signature(key.vkey(), b"another text\n", signature.signature().as_bytes())),
        5401
    );
    assert_eq!(code(external_signature(key.vkey(), TEXT, &[0; 64])), 5401);
    let other = SecretKey::generate(name("bob")).unwrap();
    assert_eq!(code(external_signature(other.vkey(), TEXT, signature.signature().as_bytes())), 5401);
    for length in [0, 63, 65, 128] {
        let bytes = signature.signature().as_bytes().iter().copied().cycle().take(length).collect::<Vec<_>>();
        assert_eq!(code(external_signature(key.vkey(), TEXT, &bytes)), 5402, "{length}");
    }
}

#[test]
fn keeps_keys_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::generate(name("example.com/alice")).unwrap();
    let word = passphrase(PASSPHRASE).unwrap();
    let files = key.save(dir.path(), Protection::Passphrase(&word)).unwrap();
    assert_eq!(files.secret, dir.path().join("example.com-alice.key"));
    assert_eq!(files.vkey, dir.path().join("example.com-alice.vkey"));
    assert_eq!(fs::read_to_string(&files.vkey).unwrap(), format!("{}\n", key.vkey()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&files.secret).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let loaded = SecretKey::load(&files.secret, || passphrase(PASSPHRASE)).unwrap();
    assert_eq!((loaded.vkey(), loaded.sign(TEXT)), (key.vkey(), key.sign(TEXT)));
}

#[test]
fn never_overwrites_a_key() {
    let word = passphrase(PASSPHRASE).unwrap();
    for in_the_way in ["alice.key", "alice.vkey"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(in_the_way);
        fs::write(&path, "precious").unwrap();
        let key = SecretKey::generate(name("alice")).unwrap();
        let refused = key.save(dir.path(), Protection::Passphrase(&word)).unwrap_err();
        assert_eq!(refused.error_code().get(), 9103);
        assert!(refused.to_string().contains(in_the_way), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }
}

#[test]
fn says_what_cannot_be_written() {
    let key = SecretKey::generate(name("alice")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("missing");
    assert_eq!(code(key.save(&nowhere, Protection::Unencrypted)), 9002);
    assert!(!nowhere.exists());
}

#[test]
fn refuses_names_that_make_no_file_name() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [
        "..",
        ".hidden",
        "/etc",
        "-o",
        "@list",
        "a\\b",
        "C:a",
        "a*",
        "$HOME",
        "a;b",
        "a\u{202e}b",
        "nul",
        "com1.a",
        &"a".repeat(201),
    ] {
        let key = SecretKey::generate(name(bad)).unwrap();
        assert_eq!(code(key.save(dir.path(), Protection::Unencrypted)), 9001, "{bad}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    for good in ["alice", "example.com/a/b", "alice@example.com", "Zo\u{eb}", "2026_key-1", "comma"] {
        let key = SecretKey::generate(name(good)).unwrap();
        assert_eq!(code(key.save(dir.path(), Protection::Unencrypted)), 0, "{good}");
    }
}

#[test]
fn opens_no_key_without_its_own_vkey() {
    let dir = tempfile::tempdir().unwrap();
    let files = rfc_key().save(dir.path(), Protection::Unencrypted).unwrap();
    let load = || SecretKey::load(&files.secret, nobody_asked);
    let line = fs::read_to_string(&files.vkey).unwrap();
    for (vkey, expected) in [
        (line.clone(), 0),
        (line.trim_end().into(), 0),
        (line.replace('\n', "\r\n"), 0),
        (SecretKey::generate(name("rfc8410")).unwrap().vkey().to_string(), 5405),
        (line.replace("rfc8410", "mallory"), 1502),
        (format!("{line}\n"), 1501),
        (format!("{line}{line}"), 1501),
        (String::new(), 1501),
        ("a".repeat(20_000), 1501),
    ] {
        fs::write(&files.vkey, &vkey).unwrap();
        assert_eq!(code(load()), expected, "{vkey:?}");
    }
    fs::remove_file(&files.vkey).unwrap();
    let refused = load().unwrap_err();
    assert!(matches!(&refused, KeyError::NoVkey { path } if *path == files.vkey));
    assert!(refused.to_string().contains("rfc8410.vkey"), "{refused}");
}

#[test]
fn refuses_files_that_hold_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let files = rfc_key().save(dir.path(), Protection::Unencrypted).unwrap();
    for bytes in [&b""[..], b"\xff\xfe-", &vec![b'-'; 1 << 20], fs::read(&files.vkey).unwrap().as_slice()] {
        fs::write(&files.secret, bytes).unwrap();
        assert_eq!(code(SecretKey::load(&files.secret, nobody_asked)), 5403);
    }
    fs::remove_file(&files.secret).unwrap();
    let refused = SecretKey::load(&files.secret, nobody_asked).unwrap_err();
    assert_eq!(refused.error_code().get(), 9002);
    assert!(refused.to_string().contains("rfc8410.key"), "{refused}");
}

#[test]
fn shows_no_secret() {
    let key = rfc_key();
    let word = passphrase("gravel").unwrap();
    let shown = format!("{key:?} {word:?} {:?}", Protection::Passphrase(&word));
    assert!(!shown.contains("gravel") && !shown.contains("212, 238") && !shown.contains("secret"), "{shown}");
}

mod openssl {
    //! Skipped, with a printed line, without an `openssl` of version 3 or later.

    use super::*;

    struct OpenSsl(tempfile::TempDir);

    impl OpenSsl {
        fn find() -> Option<Self> {
            let version = Command::new("openssl").arg("version").output().ok()?;
            if version.stdout.starts_with(b"OpenSSL ") && version.stdout.get(8) >= Some(&b'3') {
                return Some(Self(tempfile::tempdir().unwrap()));
            }
            None
        }

        fn found(test: &str) -> Option<Self> {
            let found = Self::find();
            if found.is_none() {
                println!("skipped: {test} needs OpenSSL 3 or later");
            }
            found
        }

        fn dir(&self) -> &Path {
            self.0.path()
        }

        fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
            fs::write(self.dir().join(file), bytes).unwrap();
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.dir().join(file)).unwrap()
        }

        /// Runs a command line that needs no quotes. `$WORD` has the passphrase.
        fn try_run(&self, line: &str) -> Output {
            let mut command = Command::new("openssl");
            command.args(line.split(' ')).current_dir(self.dir()).env("WORD", PASSPHRASE);
            command.output().unwrap()
        }

        fn run(&self, line: &str) -> String {
            let output = self.try_run(line);
            assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    }

    #[test]
    fn opens_what_we_write() {
        let Some(openssl) = OpenSsl::found("opens_what_we_write") else { return };
        let key = SecretKey::generate(name("alice")).unwrap();
        let word = passphrase(PASSPHRASE).unwrap();
        openssl.write("plain.key", &*key.to_pem(Protection::Unencrypted).unwrap());
        openssl.write("encrypted.key", &*key.to_pem(Protection::Passphrase(&word)).unwrap());
        for command in ["pkey -in plain.key -pubout", "pkey -in encrypted.key -passin env:WORD -pubout"] {
            assert_eq!(public_key_from_pem(&openssl.run(command)).unwrap(), *key.vkey().public_key());
        }
        assert!(!openssl.try_run("pkey -in encrypted.key -passin pass:wrong").status.success());
    }

    #[test]
    fn writes_what_we_open() {
        let Some(openssl) = OpenSsl::found("writes_what_we_open") else { return };
        openssl.run("genpkey -algorithm ed25519 -out plain.key");
        openssl.run("pkey -in plain.key -pubout -out public.pem");
        let vkey =
            Vkey::new(name("alice"), &public_key_from_pem(&openssl.read("public.pem")).unwrap()).unwrap();
        let plain = SecretKey::from_pem(vkey.clone(), &openssl.read("plain.key"), nobody_asked).unwrap();
        for encryption in [
            "-scrypt",
            "-v2 aes256",
            "-v2 aes-256-cbc -iter 600000",
            "-v2 aes-128-cbc -v2prf hmacWithSHA512",
            "-scrypt -v2 aes-192-cbc -scrypt_N 1024",
        ] {
            openssl.run(&format!(
                "pkcs8 -topk8 -in plain.key -out encrypted.key -passout env:WORD {encryption}"
            ));
            let pem = openssl.read("encrypted.key");
            let key = SecretKey::from_pem(vkey.clone(), &pem, || passphrase(PASSPHRASE)).unwrap();
            assert_eq!(key.sign(TEXT), plain.sign(TEXT), "{encryption}");
        }
        // Outdated ciphers and hashes are named in the error.
        for encryption in ["-v2 des3", "-v2 aes256 -v2prf hmacWithSHA1", "-v1 PBE-SHA1-3DES"] {
            openssl.run(&format!(
                "pkcs8 -topk8 -in plain.key -out encrypted.key -passout env:WORD {encryption}"
            ));
            let pem = openssl.read("encrypted.key");
            let refused = SecretKey::from_pem(vkey.clone(), &pem, || passphrase(PASSPHRASE));
            assert!(matches!(refused, Err(KeyError::SecretPem(PemFault::Encryption(_)))), "{refused:?}");
        }
    }

    #[test]
    fn keys_of_other_algorithms_are_refused_as_such() {
        let Some(openssl) = OpenSsl::found("keys_of_other_algorithms_are_refused_as_such") else { return };
        for algorithm in ["x25519", "ed448", "ec -pkeyopt ec_paramgen_curve:P-256"] {
            openssl.run(&format!("genpkey -algorithm {algorithm} -out plain.key"));
            openssl.run("pkcs8 -topk8 -in plain.key -out encrypted.key -passout env:WORD");
            openssl.run("pkey -in plain.key -pubout -out public.pem");
            for file in ["plain.key", "encrypted.key"] {
                let refused = open(&openssl.read(file));
                assert!(matches!(refused, Err(KeyError::SecretPem(PemFault::Algorithm))), "{refused:?}");
            }
            let refused = public_key_from_pem(&openssl.read("public.pem"));
            assert!(matches!(refused, Err(KeyError::PublicPem(PemFault::Algorithm))), "{refused:?}");
        }
    }

    #[test]
    fn verifies_our_signatures_and_signs_for_us() {
        let Some(openssl) = OpenSsl::found("verifies_our_signatures_and_signs_for_us") else { return };
        let key = rfc_key();
        openssl.write("secret.pem", RFC_SECRET);
        openssl.write("public.pem", RFC_PUBLIC);
        openssl.write("head.txt", TEXT);
        openssl.write("ours.sig", key.sign(TEXT).signature().as_bytes());
        openssl.run("pkeyutl -verify -pubin -inkey public.pem -rawin -in head.txt -sigfile ours.sig");

        openssl.run("pkeyutl -sign -inkey secret.pem -rawin -in head.txt -out theirs.sig");
        let theirs = fs::read(openssl.dir().join("theirs.sig")).unwrap();
        assert_eq!(external_signature(key.vkey(), TEXT, &theirs).unwrap(), key.sign(TEXT));
    }
}
