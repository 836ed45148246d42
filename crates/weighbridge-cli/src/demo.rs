//! `demo`: shows a model's whole way in a few lines, by running the command itself.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

use weighbridge_formats::generate::Llama;
use weighbridge_store::IoError;
use weighbridge_tree::ErrorCode;

use crate::{failure::Failure, output::Output, signals::on_signal};

/// Runs in a temporary folder, and leaves nothing behind.
pub(crate) fn run(output: &Output) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(IoError::at("create", env::temp_dir()))?;
    let path = folder.path().to_owned();
    let _undone = on_signal(move || {
        let _ = fs::remove_dir_all(path);
    });
    let demo = Demo { folder: folder.path(), output };
    let model = folder.path().join("llama");
    let summary = Llama::small(1).write(&model).map_err(IoError::at("write", &model))?;
    for name in ["README.md", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        // Remove some files, so that the demo fits on a screen.
        let path = model.join(name);
        fs::remove_file(&path).map_err(IoError::at("remove", &path))?;
    }
    demo.say(&format!("# a model of {} tensors in two shards, made for this demo", summary.tensors));

    demo.run("keygen demo -o keys", Expected::Success)?;
    demo.run("weigh llama --name demo/llama --key keys/demo.key", Expected::Success)?;
    demo.run("verify llama --name demo/llama --vkey \"$(cat keys/demo.vkey)\"", Expected::Success)?;

    copy(&model, &folder.path().join("good"))?;
    demo.say("# one bit of the model flips");
    flip(&model.join(SHARD), 500_000)?;
    demo.run("verify llama --name demo/llama --vkey \"$(cat keys/demo.vkey)\"", Expected::Refusal)?;

    demo.say("# three sources: one lies, one takes requests and sends nothing, one is good");
    rename(&model, &folder.path().join("liar"))?;
    rename(&folder.path().join("good"), &folder.path().join("mirror"))?;
    for name in ["config.json", SHARD, "model-00002-of-00002.safetensors"] {
        lie(&folder.path().join("liar").join(name))?;
    }
    let stalled = stall(&folder.path().join("mirror"))?;
    demo.run(
        &format!(
            "fetch liar {stalled} mirror -o llama --limit-rate 2MiB --name demo/llama --vkey \"$(cat keys/demo.vkey)\""
        ),
        Expected::Success,
    )
}

const SHARD: &str = "model-00001-of-00002.safetensors";

struct Demo<'a> {
    folder: &'a Path,
    output: &'a Output,
}

/// The expected end of a step.
#[derive(PartialEq)]
enum Expected {
    Success,
    Refusal,
}

impl Demo<'_> {
    fn say(&self, text: &str) {
        self.output.raw(&format!("{text}\n"));
    }

    /// Runs this program with a command line, shows its output as a person would see it, and checks its exit status.
    fn run(&self, line: &str, expected: Expected) -> Result<(), Failure> {
        self.say(&format!("$ weighbridge {line}"));
        let program = env::current_exe().map_err(IoError::at("find", "this program"))?;
        let mut command = Command::new(&program);
        for word in self.words(line)? {
            command.arg(word);
        }
        command
            .current_dir(self.folder)
            .env("WEIGHBRIDGE_PASSPHRASE", "demo")
            .env("XDG_STATE_HOME", self.folder);
        let result = command.output().map_err(IoError::at("run", &program))?;
        self.output.raw(&String::from_utf8_lossy(&result.stdout));
        if expected == Expected::Refusal {
            self.output.raw(&String::from_utf8_lossy(&result.stderr));
        }
        match (result.status.code(), expected) {
            (Some(0), Expected::Success) | (Some(1), Expected::Refusal) => Ok(()),
            (code, _) => Err(Failure::new(
                ErrorCode::BUG,
                format!("the demo went wrong: `weighbridge {line}` ended with {code:?}"),
            )),
        }
    }

    /// Splits a line into words as a shell would, with the one substitution that the demo uses.
    fn words(&self, line: &str) -> Result<Vec<String>, Failure> {
        const SUBSTITUTION: &str = "\"$(cat keys/demo.vkey)\"";
        let plain = line.replace(SUBSTITUTION, "VKEY");
        let path = self.folder.join("keys/demo.vkey");
        let mut words: Vec<String> = plain.split(' ').map(str::to_owned).collect();
        for word in words.iter_mut().filter(|word| *word == "VKEY") {
            fs::read_to_string(&path).map_err(IoError::at("read", &path))?.trim_end().clone_into(word);
        }
        Ok(words)
    }
}

fn flip(path: &Path, offset: u64) -> Result<(), Failure> {
    let flip = || -> io::Result<()> {
        let mut file = File::options().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&[byte[0] ^ 1])
    };
    Ok(flip().map_err(IoError::at("change", path))?)
}

/// Flips a bit in each chunk, so that the lie is noticed whichever chunk is fetched.
fn lie(path: &Path) -> Result<(), Failure> {
    let size = fs::metadata(path).map_err(IoError::at("look at", path))?.len();
    (0..size).step_by(1 << 18).try_for_each(|offset| flip(path, offset))
}

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    Ok(fs::rename(from, to).map_err(IoError::at("rename", from))?)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to).map_err(IoError::at("create", to))?;
    for entry in fs::read_dir(from).map_err(IoError::at("read", from))? {
        let entry = entry.map_err(IoError::at("read", from))?.path();
        let Some(name) = entry.file_name() else { continue };
        if entry.is_dir() {
            copy(&entry, &to.join(name))?;
        } else {
            fs::copy(&entry, to.join(name)).map_err(IoError::at("copy", &entry))?;
        }
    }
    Ok(())
}

/// Starts a web server that serves a model's metadata, and takes requests for the model's files but sends nothing. The
/// server lives as long as this program.
fn stall(model: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::from(IoError::at("listen on", "127.0.0.1")(error));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let model = model.to_owned();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let model = model.clone();
            thread::spawn(move || answer(&connection, &model));
        }
    });
    Ok(format!("http://{address}"))
}

fn answer(mut connection: &TcpStream, model: &Path) -> io::Result<()> {
    let mut requests = BufReader::new(connection.try_clone()?).lines();
    while let Some(line) = requests.next() {
        let line = line?;
        let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        for header in requests.by_ref() {
            if header?.is_empty() {
                break;
            }
        }
        if path.starts_with("weighbridge/") {
            let bytes = fs::read(model.join(path))?;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            connection.write_all(&[head.as_bytes(), &bytes].concat())?;
        }
    }
    Ok(())
}
