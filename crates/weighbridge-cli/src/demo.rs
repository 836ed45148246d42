//! `demo`: the whole way of a model in a few lines, by the command itself.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use weighbridge_formats::generate::Llama;
use weighbridge_verify::IoError;

use crate::{failure::Failure, output::Output};

/// Runs in a temporary folder, and leaves nothing behind.
pub(crate) fn run(output: &Output) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(IoError::at("create", env::temp_dir()))?;
    let demo = Demo { folder: folder.path(), output };
    let model = folder.path().join("llama");
    let summary = Llama::small(1).write(&model).map_err(IoError::at("write", &model))?;
    for name in ["README.md", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        // Fewer files, so that all of it fits on a screen.
        let path = model.join(name);
        fs::remove_file(&path).map_err(IoError::at("remove", &path))?;
    }
    demo.say(&format!("# a model of {} tensors in two shards, made for this demo", summary.tensors));

    demo.run("keygen demo -o keys", Expected::Success)?;
    demo.run("weigh llama --name demo/llama --key keys/demo.key", Expected::Success)?;
    demo.run("verify llama --name demo/llama --vkey \"$(cat keys/demo.vkey)\"", Expected::Success)?;

    demo.say("# one bit of the model flips");
    flip(&model.join("model-00001-of-00002.safetensors"), 500_000)?;
    demo.run("verify llama --name demo/llama --vkey \"$(cat keys/demo.vkey)\"", Expected::Refusal)
}

struct Demo<'a> {
    folder: &'a Path,
    output: &'a Output,
}

/// How a step has to end.
#[derive(PartialEq)]
enum Expected {
    Success,
    Refusal,
}

impl Demo<'_> {
    fn say(&self, text: &str) {
        self.output.raw(&format!("{text}\n"));
    }

    /// Runs this very program as a shell would, shows what a person would see, and checks how it ended.
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
        for bytes in [&result.stdout, &result.stderr] {
            self.output.raw(&String::from_utf8_lossy(bytes));
        }
        match (result.status.code(), expected) {
            (Some(0), Expected::Success) | (Some(1), Expected::Refusal) => Ok(()),
            (code, _) => Err(Failure::new(
                9999,
                format!("the demo went wrong: `weighbridge {line}` ended with {code:?}"),
            )),
        }
    }

    /// The words of a line, as a shell takes it apart; the one substitution that the demo uses is done here.
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
