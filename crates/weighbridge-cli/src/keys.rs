//! `keygen` and `vkey`, and the sources of passphrases.

use std::{
    env, fs,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use weighbridge_manifest::{KeyName, Vkey, unseen_in};
use weighbridge_publish::{KeyError, MAX_PASSPHRASE, Passphrase, Protection, SecretKey, public_key_from_pem};
use weighbridge_store::{IoError, shown_path};
use weighbridge_tree::ErrorCode;
use zeroize::Zeroizing;

#[cfg(unix)]
use std::sync::Arc;

#[cfg(unix)]
use crate::signals::OnSignal;
use crate::{
    args::{Keygen, PassphraseSource, VkeyArgs},
    events::publish,
    failure::Failure,
    output::Output,
    signals,
};

pub(crate) fn keygen(args: &Keygen, output: &Output) -> Result<(), Failure> {
    let name = key_name(&args.name)?;
    fs::create_dir_all(&args.output).map_err(IoError::at("create", &args.output))?;
    let key = SecretKey::generate(name)?;
    let files = if args.unencrypted {
        key.save(&args.output, Protection::Unencrypted)?
    } else {
        let passphrase = Passphrases::from(&args.passphrase).of_new_key()?;
        key.save(&args.output, Protection::Passphrase(&passphrase))?
    };
    let protection = if args.unencrypted { "NOT encrypted" } else { "encrypted" };
    let text = format!(
        "secret   {}  ({protection}; keep it)\npublic   {}  (give it away)\n{}",
        shown_path(&files.secret),
        shown_path(&files.vkey),
        key.vkey()
    );
    output.result(&text, || publish::Key {
        vkey: key.vkey().to_string(),
        secret_file: files.secret.to_string_lossy(),
        vkey_file: files.vkey.to_string_lossy(),
        encrypted: !args.unencrypted,
    });
    Ok(())
}

pub(crate) fn vkey(args: &VkeyArgs, output: &Output) -> Result<(), Failure> {
    let name = key_name(&args.name)?;
    let pem = fs::read(&args.public).map_err(IoError::at("read", &args.public))?;
    // PEM is ASCII, so the replacement of a malformed byte is refused just as the byte would be.
    let key = public_key_from_pem(&String::from_utf8_lossy(&pem))
        .map_err(|e| Failure::from(e).about(&args.public))?;
    let vkey = Vkey::new(name, &key)?;
    output.result(&vkey.to_string(), || publish::Vkey { vkey: vkey.to_string() });
    Ok(())
}

/// Opens a secret key, with a passphrase if it needs one. The passphrase is wiped when this returns.
pub(crate) fn load(path: &Path, source: &PassphraseSource) -> Result<SecretKey, Failure> {
    Passphrases::from(source).open(path)
}

/// Opens several secret keys, each with the passphrase if it needs one. The passphrase is wiped when this returns.
pub(crate) fn load_all(paths: &[PathBuf], source: &PassphraseSource) -> Result<Vec<SecretKey>, Failure> {
    let mut passphrases = Passphrases::from(source);
    paths.iter().map(|path| passphrases.open(path)).collect()
}

/// The name of a key that is to sign. Verdicts show this name, so it must not look like another one.
fn key_name(text: &str) -> Result<KeyName, Failure> {
    if let Some(character) = unseen_in(text) {
        let message =
            format!("the key's name has a character that is not seen, U+{:04X}", u32::from(character));
        return Err(Failure::new(ErrorCode::NAME_UNSEEN_CHARACTER, message));
    }
    KeyName::parse(text)
        .map_err(|_| Failure::usage("a key's name has no spaces and no '+', and is not empty"))
}

/// Gives passphrases from the source that the caller names.
struct Passphrases<'a> {
    source: &'a PassphraseSource,
    /// The line of the file or descriptor, once read. A pipe gives the line only once, and several keys may need it.
    line: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> From<&'a PassphraseSource> for Passphrases<'a> {
    fn from(source: &'a PassphraseSource) -> Self {
        Self { source, line: None }
    }
}

impl Passphrases<'_> {
    fn open(&mut self, path: &Path) -> Result<SecretKey, Failure> {
        let passphrase = || match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => ask(&format!("Passphrase of {}: ", shown_path(path))),
        };
        SecretKey::load(path, passphrase).map_err(|e| Failure::from(e).about(path))
    }

    fn of_new_key(&mut self) -> Result<Passphrase, KeyError> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        let (first, again) = (prompt("New passphrase: ")?, prompt("The same again: ")?);
        if *first != *again {
            return Err(KeyError::NoPassphrase(io::Error::other("the two are not the same")));
        }
        Passphrase::new(into_bytes(first))
    }

    /// The passphrase from a file, a descriptor or the environment; `None` if it has to be asked for.
    fn given(&mut self) -> Result<Option<Passphrase>, KeyError> {
        let descriptor = self.source.passphrase_fd.map(|number| PathBuf::from(format!("/dev/fd/{number}")));
        if let Some(path) = self.source.passphrase_file.as_ref().or(descriptor.as_ref()) {
            let line = match self.line.take() {
                Some(line) => line,
                None => first_line(path)?,
            };
            let passphrase = Passphrase::new(line.clone());
            self.line = Some(line);
            return passphrase.map(Some);
        }
        let value = env::var_os("WEIGHBRIDGE_PASSPHRASE");
        value.map(|value| Passphrase::new(Zeroizing::new(value.into_encoded_bytes()))).transpose()
    }
}

fn ask(question: &str) -> Result<Passphrase, KeyError> {
    Passphrase::new(into_bytes(prompt(question)?))
}

fn prompt(question: &str) -> Result<Zeroizing<String>, KeyError> {
    #[cfg(unix)]
    let hidden = Hidden::begin();
    #[cfg(unix)]
    let typed = match &hidden {
        Some(hidden) => hidden.ask(question),
        None => rpassword::prompt_password(question),
    };
    #[cfg(not(unix))]
    let typed = rpassword::prompt_password(question);
    match typed {
        // A Ctrl-C at this prompt arrives as a character first, and then as the signal.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => signals::wait_for_end(),
        typed => typed.map(Zeroizing::new).map_err(KeyError::NoPassphrase),
    }
}

/// A terminal that does not show typed characters, gives them one by one, and sends no signals for them, until this is dropped or a
/// signal from elsewhere ends the run.
///
/// `rpassword` reads from it, and changes no settings: it would do so only after it has printed the question, when a passphrase that was typed at
/// once has been seen; and at a Ctrl-C it would put its settings back after the signal has put back the ones of before.
#[cfg(unix)]
struct Hidden {
    terminal: fs::File,
    restore: Arc<dyn Fn() + Send + Sync>,
    _undone: OnSignal,
}

#[cfg(unix)]
impl Hidden {
    /// `None` if there is no terminal, or if its settings cannot be read.
    fn begin() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
        let terminal = fs::File::options().read(true).write(true).open("/dev/tty").ok()?;
        let settings = tcgetattr(&terminal).ok()?;
        let mut silent = settings.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        let opened = terminal.try_clone().ok()?;
        let restore: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            let _ = tcsetattr(&opened, OptionalActions::Now, &settings);
        });
        let undo = Arc::clone(&restore);
        let hidden = Self { terminal, restore, _undone: signals::on_signal(move || undo()) };
        tcsetattr(&hidden.terminal, OptionalActions::Now, &silent).ok()?;
        Some(hidden)
    }

    /// Prints the question, and reads a line.
    fn ask(&self, question: &str) -> io::Result<String> {
        let (input, output) = (self.terminal.try_clone()?, self.terminal.try_clone()?);
        let config = rpassword::ConfigBuilder::new().input_reader(input).output_writer(output).build();
        let typed = rpassword::prompt_password_with_config(question, config)?;
        (&self.terminal).write_all(b"\n")?;
        Ok(typed)
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        (self.restore)();
    }
}

fn into_bytes(mut text: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// The first line of a file without its ending (LF or CR LF), or the whole file if it has no line end. A line that is
/// longer than any passphrase is cut, but stays too long. Nothing behind the line is read.
fn first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Io { doing: "reading", path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let most = MAX_PASSPHRASE + b"\r\n".len();
    // Reserve all room at the start, and read without another buffer: growing or buffering would leave copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(most));
    while line.len() < most && !line.ends_with(b"\n") {
        if Read::by_ref(&mut file).take(1).read_to_end(&mut line).map_err(failed)? == 0 {
            break;
        }
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(line)
}
