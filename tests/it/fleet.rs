//! A model to serve in two revisions, weighed and signed by the command.

use std::{
    fs,
    path::{Path, PathBuf},
};

use weighbridge_formats::generate::Llama;

use crate::command::kit::World;

/// A generated model in four shards, weighed as `org/llama` and signed by `alice`, in a world of its own.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) name: &'static str,
    /// The key to trust: alice's vkey line.
    pub(crate) vkey: String,
    /// The folder of the model's first revision.
    pub(crate) model: PathBuf,
    bytes: u64,
    chunk_size: String,
}

impl Fleet {
    /// A model of about this number of bytes, in chunks of this size, such as `64KiB`.
    pub(crate) fn of(bytes: u64, chunk_size: &str) -> Self {
        let world = World::empty();
        let _ = Llama::of_size(bytes, SHARDS, 5).write(&world.path("first")).unwrap();
        let (vkey, model) = (world.vkey("alice").to_string(), world.path("first"));
        let fleet = Self { world, name: NAME, vkey, model, bytes, chunk_size: chunk_size.to_owned() };
        fleet.weigh("first", NAME, "");
        fleet
    }

    /// Makes the next revision in another folder: some weights in the middle of one shard differ, and the config file
    /// is longer. [`CHANGED`](Self::CHANGED) names both files.
    pub(crate) fn revise(&self) -> PathBuf {
        self.world.copy("first", "second");
        let [config, shard] = Self::CHANGED.map(|file| format!("second/{file}"));
        let text = self.world.text(&config).replace("8192", "131072");
        self.world.write(&config, text);
        let middle = fs::metadata(self.world.path(&shard)).unwrap().len() / 2;
        for offset in middle..middle + 1_000 {
            self.world.flip(&shard, offset);
        }
        self.weigh("second", NAME, " --previous first/weighbridge/head.note --force");
        self.world.path("second")
    }

    /// Makes another model, `org/other`, by the same publisher, with files of the same names and sizes.
    pub(crate) fn other_model(&self) -> PathBuf {
        let other = self.world.path("other");
        let _ = Llama::of_size(self.bytes, SHARDS, 6).write(&other).unwrap();
        self.weigh("other", "org/other", "");
        other
    }

    /// The paths of all files of the model, in list order.
    pub(crate) fn files(&self) -> Vec<String> {
        let list = self.world.text("first/weighbridge/files.jsonl");
        let path = |line: &str| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry["file"].as_str().unwrap().to_owned()
        };
        list.lines().map(path).collect()
    }

    /// Asserts that a folder has exactly the files of a revision, with the same bytes, apart from metadata.
    #[track_caller]
    pub(crate) fn assert_same(&self, folder: &Path, as_in: &Path) {
        let files = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
            let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
            let mut files: Vec<_> = files.map(|entry| entry.file_name()).collect();
            files.sort();
            files
        };
        assert_eq!(files(folder), files(as_in));
        for file in files(folder) {
            let is_same = fs::read(folder.join(&file)).unwrap() == fs::read(as_in.join(&file)).unwrap();
            assert!(is_same, "{} differs", file.display());
        }
    }

    /// The files that differ between the revisions.
    pub(crate) const CHANGED: [&str; 2] = ["config.json", "model-00002-of-00004.safetensors"];

    fn weigh(&self, folder: &str, name: &str, more: &str) {
        let Self { chunk_size, .. } = self;
        let line = format!("weigh {folder} --name {name} --chunk-size {chunk_size} --key @alice.key{more}");
        let _ = self.world.run(&line).done();
    }
}

const NAME: &str = "org/llama";
const SHARDS: u64 = 4;

#[test]
fn a_fleet_has_two_revisions_and_another_model() {
    let fleet = Fleet::of(1_000_000, "16KiB");
    let (second, other) = (fleet.revise(), fleet.other_model());
    let Fleet { world, name, vkey, model, .. } = &fleet;
    let verify = |line: &str| world.run_with(line, &["--vkey", vkey]).done();
    let _ = verify(&format!("verify first --name {name} --tensors"));
    let _ = verify(&format!("verify second --name {name} --min-revision 2"));
    let _ = verify("verify other --name org/other");

    let read = |folder: &Path, file: &str| fs::read(folder.join(file)).unwrap();
    let files = fleet.files();
    let changed = files.iter().filter(|file| read(model, file) != read(&second, file));
    assert_eq!(changed.collect::<Vec<_>>(), Fleet::CHANGED.as_slice());
    for shard in files.iter().filter(|file| file.ends_with(".safetensors")) {
        let (one, another) = (read(model, shard), read(&other, shard));
        assert!(one.len() == another.len() && one != another, "{shard}");
    }
    fleet.assert_same(model, model);
    let differs = || fleet.assert_same(&second, model);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(differs)).is_err());
}
