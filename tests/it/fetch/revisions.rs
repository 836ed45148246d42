//! Sources that have another revision, or another model.

use std::{fs, path::PathBuf};

use super::kit::{Fetch, SHARD, files_asked, fleet};
use crate::fleet::Fleet;
use weighbridge_testkit::servers::{End, Fault, Faulty};

/// The revision after [`Fleet::revise`]: the shard that it changed is changed once more.
fn revise_again(fleet: &Fleet) -> PathBuf {
    let world = &fleet.world;
    world.copy("second", "third");
    let shard = format!("third/{}", Fleet::CHANGED[1]);
    let size = fs::metadata(world.path(&shard)).unwrap().len();
    for offset in (size / 4..size).step_by(10_000) {
        world.flip(&shard, offset);
    }
    let line = "weigh third --name org/llama --chunk-size 16KiB --key @alice.key --previous second/weighbridge/head.note --force";
    let _ = world.run(line).done();
    world.path("third")
}

#[test]
fn a_stale_mirror_gives_what_has_not_changed() {
    let fleet = fleet();
    let second = fleet.revise();
    let (ahead, behind) = (Faulty::start(&second), Faulty::start(&fleet.model));
    ahead.limit_rate(1_000_000);
    let fetched = Fetch::from(&fleet, &[&behind, &ahead]).run().done().blames(0, "stale").trusts(0);
    fleet.assert_same(&fetched.into, &second);
    let given = files_asked(&behind);
    fetched.expect(given.iter().any(|file| file.ends_with(".safetensors")), "to use its unchanged shards");
    fetched
        .expect(!given.iter().any(|file| Fleet::CHANGED.contains(&file.as_str())), "not to ask for others");
    fetched.expect(fetched.blame(1).is_none(), "nobody else to be blamed");
}

#[test]
fn a_stale_mirror_that_gives_other_bytes_is_found_out_to_be_stale() {
    let fleet = fleet();
    let second = fleet.revise();
    let (ahead, behind) = (Faulty::start(&second), Faulty::start(&fleet.model));
    ahead.limit_rate(1_000_000);
    let meta = second.join("weighbridge");
    // With `--meta`, the heads of sources are requested only once there is a reason.
    let fetch = Fetch::from(&fleet, &[&behind, &ahead]).with(&["--meta", meta.to_str().unwrap()]);
    let fetched = fetch.run().done().blames(0, "stale").trusts(0);
    fleet.assert_same(&fetched.into, &second);
}

#[test]
fn mirrors_that_are_all_behind_are_no_overwritten_origin() {
    let fleet = fleet();
    let meta = fleet.revise().join("weighbridge");
    let behind = Faulty::start(&fleet.model);
    let fetch = Fetch::from(&fleet, &[&behind]).with(&["--meta", meta.to_str().unwrap()]);
    let _ = fetch.run().ended(9201).blames(0, "stale").named_nothing();
}

#[test]
fn a_stale_mirror_that_lies_about_what_has_not_changed_is_a_liar() {
    let fleet = fleet();
    let second = fleet.revise();
    let (ahead, behind) = (Faulty::start(&second), Faulty::start(&fleet.model));
    ahead.limit_rate(1_000_000);
    drop(behind.fail(Fault::Flip.on("*.safetensors")));
    let fetched = Fetch::from(&fleet, &[&behind, &ahead]).run().done().blames(0, "lied");
    fleet.assert_same(&fetched.into, &second);
}

#[test]
fn an_origin_that_is_overwritten_ends_the_fetch_with_its_own_code() {
    let fleet = fleet();
    let second = fleet.revise();
    let third = revise_again(&fleet);
    // Once into an empty folder, and once over the first revision.
    for is_empty in [true, false] {
        let mut origins = [Faulty::start(&second), Faulty::start(&second)];
        let urls = origins.each_ref().map(Faulty::url);
        let mut fetch = Fetch::from(&fleet, &[]).and(&urls[0]).and(&urls[1]);
        if !is_empty {
            fleet.world.copy("first", "old");
            fetch = fetch.into("old");
            // Most of the model is in the folder, so the missing files must not arrive before the origins are
            // overwritten.
            origins
                .iter()
                .for_each(|origin| drop(origin.fail(Fault::Unanswered(End::Stall).on("*.safetensors"))));
        }
        origins.iter().for_each(|origin| origin.limit_rate(200_000));
        let mut run = fetch.start();
        let _ = run.wait_for("progress", |progress| progress["verified"].as_u64() > Some(100_000));
        for origin in &mut origins {
            origin.serve_from(&third);
            origin.mend();
            origin.limit_rate(None);
            // Answers that have begun would otherwise end unchanged.
            origin.unplug();
            origin.plug_in();
        }
        let fetched = run.end().ended(9203);
        if is_empty {
            let _ = fetched.blames(0, "stale").blames(1, "stale").named_nothing();
        } else {
            fleet.assert_same(&fetched.into, &fleet.model);
            let head = fs::read(fetched.into.join("weighbridge/head.note")).unwrap();
            assert_eq!(head, fs::read(fleet.model.join("weighbridge/head.note")).unwrap());
            let line = "verify old --name org/llama --vkey @alice";
            let _ = fleet.world.run(line).done();
        }
    }
}

#[test]
fn another_model_of_the_same_key_is_refused() {
    let fleet = fleet();
    let other = Faulty::start(&fleet.other_model());
    let fetched = Fetch::from(&fleet, &[&other]).run().ended(3201).named_nothing();
    fetched.expect(files_asked(&other).is_empty(), "nothing but its head to be asked for");

    let right = Faulty::start(&fleet.model);
    let fetched = Fetch::from(&fleet, &[&other, &right]).run().arrived(&fleet).blames(0, "lied").trusts(1);
    let why = fetched.why(0);
    fetched.expect(why.contains("org/other") && why.contains("head.note"), "the reason to be told");
}

#[test]
fn a_head_whose_list_nobody_has_ends_the_fetch() {
    let fleet = fleet();
    let (ahead, behind) = (Faulty::start(&fleet.revise()), Faulty::start(&fleet.model));
    for (fault, code) in [(Fault::status(404), 9201), (Fault::Flip, 5501)] {
        ahead.mend();
        drop(ahead.fail(fault.on("*files.jsonl")));
        let _ = Fetch::from(&fleet, &[&ahead, &behind]).run().ended(code).blames(1, "stale").named_nothing();
    }
}

#[test]
fn of_two_heads_of_one_revision_every_node_takes_the_same() {
    let fleet = fleet();
    let second = fleet.revise();
    fleet.world.copy("second", "fork");
    fleet.world.write("fork/config.json", "{}\n");
    let line = "weigh fork --name org/llama --chunk-size 16KiB --key @alice.key --previous first/weighbridge/head.note --force";
    let _ = fleet.world.run(line).done();
    let servers = [Faulty::start(&second), Faulty::start(&fleet.world.path("fork"))];
    let smaller = ["second", "fork"].map(|folder| fleet.world.head_id(folder)).into_iter().min();
    for order in [[0, 1], [1, 0]] {
        let fetched = Fetch::from(&fleet, &order.map(|server| &servers[server])).run().done();
        let head = fetched.events("head").next().and_then(|head| head["head"].as_str()).map(str::to_owned);
        fetched.expect(head == smaller, "the head of the smaller id");
        let stale = [0, 1].into_iter().filter(|source| fetched.blame(*source).as_deref() == Some("stale"));
        fetched.expect(stale.count() == 1, "the other source to be stale");
    }
}

#[test]
fn an_earlier_revision_than_the_remembered_one_is_refused() {
    let fleet = fleet();
    let (first, second) = (Faulty::start(&fleet.model), Faulty::start(&fleet.revise()));
    let _ = Fetch::from(&fleet, &[&second]).remembering("heads").run().done();
    let _ = Fetch::from(&fleet, &[&first]).remembering("heads").run().ended(3204).named_nothing();
}

#[test]
fn a_head_with_another_signature_is_the_same_head() {
    let fleet = fleet();
    fleet.world.copy("first", "signed");
    let _ = fleet.world.run("sign signed --key @bob.key").done();
    let (one, two) = (Faulty::start(&fleet.model), Faulty::start(&fleet.world.path("signed")));
    let fetched = Fetch::from(&fleet, &[&one, &two]).run().arrived(&fleet);
    fetched.expect(fetched.blame(0).is_none() && fetched.blame(1).is_none(), "nobody to be blamed");
}

#[test]
fn a_fetch_over_an_earlier_revision_replaces_it() {
    let fleet = fleet();
    let second = fleet.revise();
    fleet.world.copy("first", "old");
    let server = Faulty::start(&second);
    let fetched = Fetch::from(&fleet, &[&server]).into("old").run().done();
    fleet.assert_same(&fetched.into, &second);
    // Neither unchanged files nor unchanged chunks of the changed shard are asked for.
    let asked = files_asked(&server);
    fetched.expect(asked == Fleet::CHANGED, "nothing else to be asked for");
    fetched.expect(!asked.iter().any(|file| file == SHARD), "no unchanged shard to be asked for");
    let size = fs::metadata(second.join(Fleet::CHANGED[1])).unwrap().len();
    let bytes: u64 =
        super::kit::asked(&server, Fleet::CHANGED[1]).iter().map(|range| range.end - range.start).sum();
    fetched.expect(bytes < size / 4, "only the chunks that changed to be asked for");
    let _ = fleet.world.run("verify old --name org/llama --vkey @alice").done();

    let before = server.requests().len();
    let _ = Fetch::from(&fleet, &[&server]).into("old").run().done();
    let again: Vec<_> = server.requests().into_iter().skip(before).map(|request| request.path).collect();
    assert_eq!(again, ["weighbridge/head.note"]);
}
