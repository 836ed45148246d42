//! The vocabulary of these tests: a world of files, runs of the command in it, and the expected ends of runs.

use std::{
    env, fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use weighbridge_formats::generate::Llama;
use weighbridge_manifest::{KeyName, Vkey};
use weighbridge_publish::{Protection, SecretKey};
pub(crate) use weighbridge_testkit::skip;

/// The folder of one test, with models, keys and the heads that the command remembers.
pub(crate) struct World {
    folder: TempDir,
}

impl World {
    /// A world without files.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A world with a model in `llama`: two shards with their index, small files, a sub-folder, a dot file, an empty
    /// file.
    pub(crate) fn with_model() -> Self {
        let world = Self::empty();
        world.model("llama", 1);
        world
    }

    /// A world with that model, weighed as `org/llama` in chunks of 16 KiB and signed by `alice`.
    pub(crate) fn weighed() -> Self {
        let world = Self::with_model();
        world.run("weigh llama --name org/llama --chunk-size 16KiB --key @alice.key").done();
        world
    }

    /// Writes a model of half a megabyte.
    pub(crate) fn model(&self, folder: &str, seed: u64) {
        let _ = Llama::of_size(0, 2, seed).write(&self.path(folder)).unwrap();
        self.write(&format!("{folder}/1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens": true}"#);
        self.write(&format!("{folder}/.hidden"), "a dot file counts");
        self.write(&format!("{folder}/empty.txt"), "");
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file, and makes the folders above it.
    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn fifo(&self, relative: &str) {
        weighbridge_testkit::fifo(&self.path(relative));
    }

    pub(crate) fn read(&self, relative: &str) -> Vec<u8> {
        fs::read(self.path(relative)).unwrap()
    }

    pub(crate) fn text(&self, relative: &str) -> String {
        String::from_utf8(self.read(relative)).unwrap()
    }

    pub(crate) fn remove(&self, relative: &str) {
        fs::remove_file(self.path(relative)).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn exists(&self, relative: &str) -> bool {
        self.path(relative).symlink_metadata().is_ok()
    }

    /// Flips a bit of the byte at `offset`. A second call restores the byte.
    pub(crate) fn flip(&self, relative: &str, offset: u64) {
        let mut file = fs::File::options().read(true).write(true).open(self.path(relative)).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[byte[0] ^ 1]).unwrap();
    }

    /// Copies a folder with all its content.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        copy_folder(&self.path(from), &self.path(to)).unwrap();
    }

    /// The content of each file in a folder, with the file's name.
    pub(crate) fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// The key of this name in `keys/`, made on first use.
    pub(crate) fn key(&self, name: &str) -> SecretKey {
        let folder = self.path("keys");
        let path = folder.join(format!("{name}.key"));
        if !path.exists() {
            fs::create_dir_all(&folder).unwrap();
            let key = SecretKey::generate(KeyName::parse(name).unwrap()).unwrap();
            key.save(&folder, Protection::Unencrypted).unwrap();
        }
        SecretKey::load(&path, || unreachable!("the key is not encrypted")).unwrap()
    }

    pub(crate) fn vkey(&self, name: &str) -> Vkey {
        self.key(name).vkey().clone()
    }

    /// Splits a line into words: `@alice` stands for alice's vkey line, `@alice.key` for her key file.
    fn words(&self, line: &str) -> Vec<String> {
        let word = |word: &str| match word.strip_prefix('@') {
            None => word.to_owned(),
            Some(name) => match name.strip_suffix(".key") {
                None => self.vkey(name).to_string(),
                Some(name) => {
                    self.key(name);
                    format!("keys/{name}.key")
                }
            },
        };
        line.split(' ').map(word).collect()
    }

    /// The command with the words of `line`, prepared to run in this world.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_at(binary(), line)
    }

    /// Like `command`, for a command at another path.
    pub(crate) fn command_at(&self, binary: &Path, line: &str) -> Command {
        let mut command = Command::new(binary);
        self.at_home(&mut command);
        command.args(self.words(line));
        command
    }

    /// The command run by a user without root's rights, so that file permissions apply.
    #[cfg(unix)]
    pub(crate) fn unprivileged(&self, line: &str) -> Command {
        use std::os::unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            process::CommandExt as _,
        };
        if fs::metadata(self.folder.path()).unwrap().uid() != 0 {
            return self.command(line);
        }
        // Other users may have no access to the folder of the command.
        let copy = self.path("weighbridge");
        if !copy.exists() {
            // Another process copies the command: a file that is open for writing here is open in processes that
            // other tests start at that moment, and running it then fails ("text file busy").
            assert!(Command::new("cp").arg(binary()).arg(&copy).status().unwrap().success());
            fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = self.command_at(&copy, line);
        command.uid(65_534).gid(65_534);
        command
    }

    /// Prepares any program to run in this world.
    pub(crate) fn at_home<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .current_dir(self.folder.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("WEIGHBRIDGE_PASSPHRASE")
            .env_remove("WEIGHBRIDGE_TRUST")
            .stdin(Stdio::null())
    }

    /// The id of the head at this place.
    #[track_caller]
    pub(crate) fn head_id(&self, place: &str) -> String {
        let objects = self.run(&format!("inspect {place} --json")).done().objects();
        objects[0]["head"].as_str().unwrap().to_owned()
    }

    /// Removes the memory of accepted heads.
    pub(crate) fn forget(&self) {
        if self.exists("state") {
            fs::remove_dir_all(self.path("state")).unwrap();
        }
    }

    /// Runs the command with the words of `line`.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// Runs the command with the words of `line`, followed by `words`, which may have spaces.
    pub(crate) fn run_with(&self, line: &str, words: &[&str]) -> Ran {
        Ran::of(self.command(line).args(words))
    }

    /// Runs the command with this file as its standard input.
    pub(crate) fn run_fed(&self, line: &str, input: &str) -> Ran {
        Ran::of(self.command(line).stdin(fs::File::open(self.path(input)).unwrap()))
    }

    /// Runs the command in a shell in which no file may be longer than `512 * blocks` bytes.
    #[cfg(unix)]
    pub(crate) fn run_limited(&self, line: &str, blocks: u64) -> Ran {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(binary());
        limited.args(self.command(line).get_args());
        Ran::of(self.at_home(&mut limited))
    }

    /// Starts the command, and kills it after a while. Returns whether the kill came before the command ended.
    pub(crate) fn is_killed(&self, line: &str, after: Duration) -> bool {
        let mut run = self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(after);
        run.kill().unwrap();
        run.wait().unwrap().code().is_none()
    }

    /// Runs the command, with `--json` and without; both runs must refuse with this code.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str, code: u16, sentence: &str) -> Ran {
        self.run(&format!("{line} --json")).refused(code, "");
        self.run(line).refused(code, sentence)
    }

    /// Runs the command, with `--json` and without; both runs must end without a verdict, with this code.
    #[track_caller]
    pub(crate) fn unjudged(&self, line: &str, code: u16, sentence: &str) -> Ran {
        self.run(&format!("{line} --json")).unjudged(code, "");
        self.run(line).unjudged(code, sentence)
    }
}

/// The result of a run. A failed expectation shows everything that the run printed.
pub(crate) struct Ran {
    line: String,
    json: bool,
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let ran = Self {
            json: words.iter().any(|word| word == "--json"),
            line: words.join(" "),
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        ran.expect(ran.status.is_some(), "an exit status");
        ran.expect(!ran.stderr.contains("panicked"), "no panic");
        let obeyed = |c: char| c.is_control() && c != '\n';
        ran.expect(
            !ran.stdout.contains(obeyed) && !ran.stderr.contains(obeyed),
            "nothing that a terminal obeys",
        );
        ran
    }

    #[track_caller]
    pub(crate) fn expect(&self, holds: bool, what: &str) {
        let Self { line, status, stdout, stderr, .. } = self;
        assert!(
            holds,
            "expected {what}\n$ weighbridge {line}\n{stdout}--- standard error\n{stderr}--- exit status {status:?}"
        );
    }

    /// Expects that the run succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        self.expect(self.status == Some(0), "exit status 0");
        self
    }

    /// Expects a refusal with this code, and `sentence` before the code.
    #[track_caller]
    pub(crate) fn refused(self, code: u16, sentence: &str) -> Self {
        self.ends(1, code, sentence)
    }

    /// Expects that the run ended without a verdict.
    #[track_caller]
    pub(crate) fn unjudged(self, code: u16, sentence: &str) -> Self {
        self.ends(2, code, sentence)
    }

    /// Expects that the command's arguments were refused.
    #[track_caller]
    pub(crate) fn misused(self) -> Self {
        self.unjudged(9001, "")
    }

    #[track_caller]
    fn ends(self, status: i32, code: u16, sentence: &str) -> Self {
        self.expect(self.status == Some(status), &format!("exit status {status}"));
        let mark = format!("[W{code}]");
        self.expect(self.stderr.contains(&mark), &format!("{mark} on standard error"));
        if self.json {
            let last = self.objects().pop().unwrap_or_default();
            let is_told = last["event"] == "error" && last["code"] == code;
            self.expect(is_told, &format!("an error of code {code} as the last object"));
        } else {
            let is_said = |line: &str| line.find(sentence).is_some_and(|at| line[at..].contains(&mark));
            let mut lines = self.stdout.lines().chain(self.stderr.lines());
            self.expect(lines.any(is_said), &format!("{sentence:?} with {mark}"));
        }
        self
    }

    /// Expects this text on standard output.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        self.expect(self.stdout.contains(text), &format!("{text:?} on standard output"));
        self
    }

    /// Expects this text on standard error.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        self.expect(self.stderr.contains(text), &format!("{text:?} on standard error"));
        self
    }

    /// Expects a hint that contains these words.
    #[track_caller]
    pub(crate) fn hints(self, words: &str) -> Self {
        let is_said = |line: &str| line.starts_with("weighbridge: hint: ") && line.contains(words);
        self.expect(self.stderr.lines().any(is_said), &format!("a hint with {words:?}"));
        self
    }

    /// Standard output as one JSON object a line.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).ok().filter(Value::is_object);
        let objects: Option<Vec<Value>> = self.stdout.lines().map(parse).collect();
        self.expect(objects.is_some(), "one JSON object a line");
        let objects = objects.unwrap();
        objects.iter().for_each(super::events::is_in_the_schema);
        objects
    }
}

/// The command, built together with these tests.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_weighbridge"))
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
