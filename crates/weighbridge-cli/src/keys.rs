//! `keygen` and `vkey`, and where passphrases come from.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde_json::json;
use weighbridge_manifest::{KeyName, Vkey, unseen_in};
use weighbridge_publish::{KeyError, Passphrase, Protection, SecretKey, public_key_from_pem};
use weighbridge_verify::{IoError, shown_path};
use zeroize::Zeroizing;

use crate::{
    args::{Keygen, PassphraseSource, VkeyArgs},
    failure::Failure,
    output::Output,
};

pub(crate) fn keygen(args: &Keygen, output: &Output) -> Result<(), Failure> {
    let name = key_name(&args.name)?;
    fs::create_dir_all(&args.output).map_err(IoError::at("create", &args.output))?;
    let key = SecretKey::generate(name)?;
    let files = if args.unencrypted {
        key.save(&args.output, Protection::Unencrypted)?
    } else {
        let passphrase = args.passphrase.read(&Purpose::NewKey)?;
        key.save(&args.output, Protection::Passphrase(&passphrase))?
    };
    let protection = if args.unencrypted { "NOT encrypted" } else { "encrypted" };
    let text = format!(
        "secret   {}  ({protection}; keep it)\npublic   {}  (give it away)\n{}",
        shown_path(&files.secret),
        shown_path(&files.vkey),
        key.vkey()
    );
    output.result(&text, || {
        let vkey = key.vkey().to_string();
        let (secret, public) = (files.secret.to_string_lossy(), files.vkey.to_string_lossy());
        json!({ "event": "key", "vkey": vkey, "secret_file": secret, "vkey_file": public, "encrypted": !args.unencrypted })
    });
    Ok(())
}

pub(crate) fn vkey(args: &VkeyArgs, output: &Output) -> Result<(), Failure> {
    let name = key_name(&args.name)?;
    let pem = fs::read(&args.public).map_err(IoError::at("read", &args.public))?;
    // PEM is ASCII: what stands for a malformed byte is refused as that byte is.
    let key = public_key_from_pem(&String::from_utf8_lossy(&pem))
        .map_err(|e| Failure::from(e).about(&args.public))?;
    let vkey = Vkey::new(name, &key)?;
    output.result(&vkey.to_string(), || json!({ "event": "vkey", "vkey": vkey.to_string() }));
    Ok(())
}

/// Opens a secret key, with a passphrase if it needs one.
pub(crate) fn load(path: &Path, passphrase: &PassphraseSource) -> Result<SecretKey, Failure> {
    SecretKey::load(path, || passphrase.read(&Purpose::Open(path))).map_err(|e| Failure::from(e).about(path))
}

/// The name of a key that is to sign. It will stand in verdicts, where it must not pass for another's.
fn key_name(text: &str) -> Result<KeyName, Failure> {
    if let Some(character) = unseen_in(text) {
        let message =
            format!("the key's name has a character that is not seen, U+{:04X}", u32::from(character));
        return Err(Failure::new(1424, message));
    }
    KeyName::parse(text)
        .map_err(|_| Failure::usage("a key's name has no spaces and no '+', and is not empty"))
}

/// What a passphrase is for.
enum Purpose<'a> {
    NewKey,
    Open(&'a Path),
}

impl PassphraseSource {
    fn read(&self, purpose: &Purpose<'_>) -> Result<Passphrase, KeyError> {
        let descriptor = self.passphrase_fd.map(|descriptor| PathBuf::from(format!("/dev/fd/{descriptor}")));
        if let Some(path) = self.passphrase_file.as_ref().or(descriptor.as_ref()) {
            if self.read.get().is_none() {
                let _ = self.read.set(first_line(path)?);
            }
            let line = self.read.get().map(|line| line.to_vec()).unwrap_or_default();
            return Passphrase::new(Zeroizing::new(line));
        }
        if let Some(value) = env::var_os("WEIGHBRIDGE_PASSPHRASE") {
            return Passphrase::new(Zeroizing::new(value.into_encoded_bytes()));
        }
        match purpose {
            Purpose::Open(path) => ask(&format!("Passphrase of {}: ", shown_path(path))),
            Purpose::NewKey => {
                let (first, again) = (prompt("New passphrase: ")?, prompt("The same again: ")?);
                if *first != *again {
                    return Err(KeyError::NoPassphrase(io::Error::other("the two are not the same")));
                }
                Passphrase::new(into_bytes(first))
            }
        }
    }
}

fn ask(question: &str) -> Result<Passphrase, KeyError> {
    Passphrase::new(into_bytes(prompt(question)?))
}

fn prompt(question: &str) -> Result<Zeroizing<String>, KeyError> {
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(KeyError::NoPassphrase)
}

fn into_bytes(mut text: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// The first line of a file, without its ending.
fn first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Io { doing: "reading", path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new(file.take(MAX_PASSPHRASE)).read_until(b'\n', &mut line).map_err(failed)?;
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

const MAX_PASSPHRASE: u64 = 4_096;
