//! Fetches of some files or some tensors only, and reads of the parts that have arrived.

use std::{ops::Range, sync::Arc};

use serde_json::Value;
use weighbridge_formats::generate_gguf::{Gguf, Variant};
use weighbridge_manifest::{Expectation, SignedHead, TrustPolicy};
use weighbridge_store::{Metadata, ModelView, TensorView};

use super::kit::{CHUNK, Fetch, SHARD, asked, files_asked, fleet};
use crate::command::kit::World;
use weighbridge_testkit::servers::Faulty;

#[test]
fn only_the_files_that_match_are_asked_for() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let fetch = Fetch::from(&fleet, &[&server]).with(&["--only", "*.json", "--only", SHARD]).into("some");
    let fetched = fetch.run().done();
    let asked = files_asked(&server);
    let is_wanted = |file: &String| file.ends_with(".json") || file == SHARD;
    let wanted: Vec<_> = fleet.files().into_iter().filter(is_wanted).collect();
    assert_eq!(asked, wanted);
    for file in fleet.files() {
        assert_eq!(fetched.into.join(&file).exists(), is_wanted(&file), "{file}");
    }
    let line = "verify some --partial --json --name org/llama --vkey @alice";
    let result = fleet.world.run(line).done().objects().pop().unwrap();
    assert_eq!((&result["files"], &result["complete"]), (&wanted.len().into(), &false.into()));
}

#[test]
fn only_the_chunks_of_the_tensors_that_match_are_asked_for() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let list = fleet.world.text("first/weighbridge/tensors.jsonl");
    let tensors: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_shard: Vec<_> = tensors.iter().filter(|tensor| tensor["file"] == SHARD).collect();
    // The last tensor of the shard.
    let wanted = of_shard.iter().max_by_key(|tensor| tensor["offset"].as_u64()).unwrap();
    let first = of_shard.iter().map(|tensor| tensor["offset"].as_u64().unwrap()).min().unwrap();
    let (offset, size) = (wanted["offset"].as_u64().unwrap(), wanted["size"].as_u64().unwrap());
    let chunks = |bytes: Range<u64>| bytes.start / CHUNK..bytes.end.div_ceil(CHUNK);
    let (header, tensor) = (chunks(0..first), chunks(offset..offset + size));
    assert!(header.end < tensor.start, "the tensor lies apart from the header");

    let name = wanted["tensor"].as_str().unwrap();
    let fetch = Fetch::from(&fleet, &[&server]).with(&["--tensor", name]).into("some");
    let fetched = fetch.run().done();
    assert_eq!(files_asked(&server), [SHARD]);
    for range in asked(&server, SHARD) {
        let asked = chunks(range);
        let is_wanted = |one: &Range<u64>| one.start <= asked.start && asked.end <= one.end;
        assert!(is_wanted(&header) || is_wanted(&tensor), "{asked:?}");
    }
    // The file gets no final name: a loader would take its holes for zeros.
    let fetched = fetched.done();
    assert!(!fetched.into.join(SHARD).exists());
    let told: Vec<_> = fetched.events("tensor").map(|tensor| tensor["name"].as_str().unwrap()).collect();
    // Other tensors whose chunks have all arrived can be read as well.
    assert!(told.contains(&name), "{told:?}");
    let result = fetched.events("result").next().unwrap();
    assert_eq!((&result["files"], &result["partial"]), (&0.into(), &1.into()));

    let line = "verify some --partial --json --name org/llama --vkey @alice";
    let objects = fleet.world.run(line).done().objects();
    let shard = objects.iter().find(|object| object["path"] == SHARD).unwrap();
    assert_eq!(shard["runs"], serde_json::json!([[header.start, header.end], [tensor.start, tensor.end]]));

    // A later fetch asks for the rest of the file only.
    let before = server.requests().len();
    let fetched = Fetch::from(&fleet, &[&server]).into("some").run().arrived(&fleet);
    let again: Vec<_> =
        server.requests().into_iter().skip(before).filter(|request| request.path == SHARD).collect();
    for request in again {
        let asked = chunks(request.range.unwrap());
        let meets = |one: &Range<u64>| one.start.max(asked.start) < one.end.min(asked.end);
        fetched.expect(!meets(&header) && !meets(&tensor), "no chunk that is there to be asked for");
    }
}

#[test]
fn what_matches_nothing_is_said() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    for words in [["--only", "nothing"], ["--tensor", "nothing"]] {
        let _ = Fetch::from(&fleet, &[&server]).with(&words).run().ended(9001).named_nothing();
    }
}

#[test]
fn files_that_are_not_listed_go_when_they_are_to() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    fleet.world.write("some/old.bin", "of an earlier release");
    let fetched = Fetch::from(&fleet, &[&server]).into("some").run().done();
    let extra = fetched.events("extra").next().unwrap();
    assert_eq!((&extra["path"], &extra["removed"]), (&"old.bin".into(), &false.into()));
    assert!(fleet.world.exists("some/old.bin"));
    let fetched = Fetch::from(&fleet, &[&server]).into("some").with(&["--prune"]).run().arrived(&fleet);
    let extra = fetched.events("extra").next().unwrap();
    assert_eq!((&extra["path"], &extra["removed"]), (&"old.bin".into(), &true.into()));
}

/// A loader can read fetched tensors of a GGUF file, of which only these tensors and the header have arrived.
#[test]
fn tensors_of_gguf_can_be_read_when_they_have_come() {
    let world = World::empty();
    let model = Gguf { variant: Variant::Q4KMedium, ..Gguf::small(2) };
    let written = model.write(&world.path("first")).unwrap();
    let vkey = world.vkey("alice");
    let _ = world.run("weigh first --name org/gguf --chunk-size 16KiB --key @alice.key").done();
    let server = Faulty::start(&world.path("first"));
    let line =
        format!("fetch {} -o out --tensor blk.1.attn_* --name org/gguf --vkey @alice --json", server.url());
    let told = world.run(&line).done().objects();
    let count = |event: &str| told.iter().filter(|object| object["event"] == event).count();
    assert_eq!((count("file"), written.files.len()), (0, 1));

    let metadata = Metadata::of_model(&world.path("out"));
    let policy = TrustPolicy::any_of(vec![vkey]).unwrap();
    let note = SignedHead::parse(&world.read("out/weighbridge/head.note")).unwrap();
    let head = note.verify(&policy, &Expectation::any(), None).unwrap();
    let files = Arc::new(metadata.files(&head).unwrap());
    let tensors = metadata.tensors(&files).unwrap().unwrap();
    let wanted: Vec<_> = tensors.entries().iter().map(|tensor| tensor.name.as_str().to_owned()).collect();
    let view = ModelView::open(&world.path("out"), &metadata, files).unwrap();
    let view = TensorView::new(view, tensors);
    let whole = world.read(&format!("first/{}", written.files[0]));
    let mut read = 0;
    for name in wanted.iter().filter(|name| name.starts_with("blk.1.attn_")) {
        let tensor = view.read(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let from = usize::try_from(tensor.entry().offset).unwrap();
        assert!(tensor.bytes() == &whole[from..from + tensor.bytes().len()], "{name}");
        read += 1;
    }
    assert!(read > 1 && count("tensor") >= read, "{read}");
    let absent = wanted.iter().find(|name| view.read(name).is_err());
    assert!(absent.is_some(), "not all of it has come");
}
