//! Metadata that one source has wrong is taken from another source.

use super::kit::{Fetch, fleet};
use crate::command::kit::World;
use weighbridge_testkit::servers::{Fault, Faulty};

#[test]
fn wrong_metadata_is_taken_from_another_source() {
    let fleet = fleet();
    for file in ["head.note", "files.jsonl", "tensors.jsonl", "chunks.layer"] {
        let path = format!("weighbridge/{file}");
        let length = std::fs::metadata(fleet.model.join(&path)).unwrap().len();
        let wrong = [
            ("garbage", vec![Fault::Garbage.on(&path)]),
            ("cut", vec![Fault::Resized(length / 2).on(&path)]),
            ("too long", vec![Fault::Resized(length + 300_000).on(&path)]),
            ("endless garbage", vec![Fault::Garbage.on(&path), Fault::Endless.on(&path)]),
            ("empty", vec![Fault::Content(Vec::new()).on(&path)]),
        ];
        for (what, rules) in wrong {
            let (faulty, honest) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
            rules.into_iter().for_each(|rule| drop(faulty.fail(rule)));
            let fetched = Fetch::from(&fleet, &[&faulty, &honest]).run().arrived(&fleet).trusts(1);
            fetched.expect(fetched.blame(0).as_deref() == Some("lied"), &format!("lied: {file}, {what}"));
        }
    }
}

#[test]
fn metadata_that_one_source_lacks_is_taken_from_another() {
    let fleet = fleet();
    for file in ["files.jsonl", "tensors.jsonl", "chunks.layer"] {
        for status in [403, 404, 503] {
            let (faulty, honest) = (Faulty::start(&fleet.model), Faulty::start(&fleet.model));
            drop(faulty.fail(Fault::status(status).on(&format!("weighbridge/{file}"))));
            let _ = Fetch::from(&fleet, &[&faulty, &honest]).run().arrived(&fleet).trusts(0).trusts(1);
        }
    }
}

#[test]
fn a_model_without_layers_comes_as_whole_files() {
    let fleet = fleet();
    let lacks = || {
        let server = Faulty::start(&fleet.model);
        drop(server.fail(Fault::status(404).on("*chunks.layer")));
        server
    };
    let _ = Fetch::from(&fleet, &[&lacks()]).run().arrived(&fleet);

    let (honest, liar) = (lacks(), lacks());
    honest.limit_rate(2_000_000);
    drop(liar.fail(Fault::Flip.on("*.safetensors")));
    let fetched = Fetch::from(&fleet, &[&honest, &liar]).run().arrived(&fleet);
    let _ = fetched.blames(1, "lied").trusts(0);
    let _ = Fetch::from(&fleet, &[&liar]).run().ended(5501).blames(0, "lied").named_nothing();
}

/// Regression: a file with the bytes of another one is not asked for, and its layer was not written. `verify` refused what `fetch` had
/// brought, and a server could not give that file.
#[test]
fn files_with_the_same_bytes_have_a_layer_each() {
    let world = World::empty();
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    ["a.bin", "b.bin", "folder/c.bin"].iter().for_each(|path| world.write(&format!("model/{path}"), &bytes));
    world.run("weigh model --name org/model --key @alice.key").done();
    world.run("fetch model -o fetched --name org/model --vkey @alice").done();
    let layers = "weighbridge/chunks.layer";
    assert_eq!(world.read(&format!("fetched/{layers}")), world.read(&format!("model/{layers}")));
    world.run("verify fetched --vkey @alice").done();
    // A fetch that finds everything there writes them, too.
    world.remove(&format!("fetched/{layers}"));
    world.run("fetch model -o fetched --name org/model --vkey @alice").done();
    assert_eq!(world.read(&format!("fetched/{layers}")), world.read(&format!("model/{layers}")));
}
