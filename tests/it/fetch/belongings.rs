//! Files in the target folder that a fetch must not remove or replace.

use super::kit::{Fetch, fleet};
use weighbridge_testkit::servers::Faulty;

/// Regression: in the folder of another model, its head, its lists and all files with the same names were replaced,
/// and the fetch succeeded.
#[test]
fn another_model_in_the_folder_stays_unless_it_is_to_be_replaced() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    fleet.world.write("other/config.json", "{\"of\":\"another\"}");
    fleet.world.run("weigh other --name org/other --key @alice.key").done();
    let head = fleet.world.read("other/weighbridge/head.note");

    let refused = Fetch::from(&fleet, &[&server]).into("other").run().ended(9205);
    let message = refused.events("error").next().unwrap()["message"].as_str().unwrap().to_owned();
    refused.expect(message.contains("has the model org/other, which is not org/llama"), &message);
    assert_eq!(fleet.world.read("other/weighbridge/head.note"), head);
    assert_eq!(fleet.world.text("other/config.json"), "{\"of\":\"another\"}");
    fleet.world.run("verify other --name org/other --vkey @alice").done();

    let _ = Fetch::from(&fleet, &[&server]).into("other").with(&["--replace"]).run().arrived(&fleet);
}

/// An earlier release of the same model is not another model, and a damaged head is repaired.
#[test]
fn an_earlier_release_and_a_damaged_head_are_replaced_unasked() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let _ = Fetch::from(&fleet, &[&server]).into("some").run().arrived(&fleet);
    let _ = Fetch::from(&fleet, &[&server]).into("some").run().arrived(&fleet);
    fleet.world.write("some/weighbridge/head.note", "no head");
    let _ = Fetch::from(&fleet, &[&server]).into("some").run().arrived(&fleet);
}

/// Regression: `--prune` into a home folder emptied the folder.
#[test]
fn private_files_stay_where_this_model_never_was() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let private = ["home/diary.txt", "home/photos/one.jpg", "home/photos/two.jpg"];
    private.iter().for_each(|file| fleet.world.write(file, "mine"));
    let prune = || Fetch::from(&fleet, &[&server]).into("home").with(&["--prune"]);
    let refused = prune().run().ended(9206);
    let message = refused.events("error").next().unwrap()["message"].as_str().unwrap().to_owned();
    refused.expect(message.contains("so that diary.txt and 2 more may be anybody's"), &message);
    let untouched = || {
        private.iter().for_each(|file| assert_eq!(fleet.world.text(file), "mine"));
        assert!(!fleet.world.exists("home/config.json"));
    };
    untouched();

    // Files in the folder of another model are not removed either: they may belong to that model.
    fleet.world.run("weigh home --name org/other --key @alice.key").done();
    let _ = prune().with(&["--replace"]).run().ended(9206);
    untouched();
    fleet.world.run("verify home --name org/other --vkey @alice").done();
}

/// A new folder has no files of others, and an unfinished one has only listed files.
#[test]
fn pruning_from_the_beginning_removes_nothing_and_is_no_fault() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    let prune = || Fetch::from(&fleet, &[&server]).into("new").with(&["--prune"]);
    let _ = prune().run().arrived(&fleet);
    // A fetch that is killed between naming the files and naming the head leaves this state.
    std::fs::remove_file(fleet.world.path("new/weighbridge/head.note")).unwrap();
    let _ = prune().run().arrived(&fleet);
}

/// Regression: a source within the target folder was removed, since its files are not listed.
#[test]
fn a_source_within_the_folder_stays() {
    let fleet = fleet();
    let world = &fleet.world;
    let line = "--name org/llama --vkey @alice --state memory.json";
    // The folder has had this model before, so files of an earlier release may be removed.
    world.run(&format!("fetch first -o in {line}")).done();
    world.copy("first", "in/sources/llama");
    std::os::unix::fs::symlink(world.path("in/sources"), world.path("elsewhere")).unwrap();
    for (source, into) in [
        ("in/sources/llama", "in"),
        ("elsewhere/llama", "in"),
        ("in/sources/llama", "./in/../in"),
        ("in", "in"),
    ] {
        let ran = world.run(&format!("fetch {source} -o {into} --prune {line}"));
        ran.unjudged(9206, &format!("the source {source} lies in {into}, where files would be removed"));
        assert!(world.exists("in/sources/llama/config.json"), "{source}");
    }
    // From a source beside the folder, every file that is not listed is removed.
    world.copy("first", "beside");
    world.run(&format!("fetch beside -o in --prune {line}")).done();
    assert!(!world.exists("in/sources/llama/config.json"));
    assert!(world.exists("beside/config.json"));
}

/// The folder is examined again when names are given: a model or files may arrive during the fetch.
#[test]
fn what_comes_to_the_folder_meanwhile_is_not_replaced_or_removed() {
    let fleet = fleet();
    let server = Faulty::start(&fleet.model);
    server.limit_rate(1_500_000);
    let mut run = Fetch::from(&fleet, &[&server]).into("new").with(&["--prune"]).start();
    run.wait_for("wanted", |_| true);
    fleet.world.write("new/diary.txt", "mine");
    let fetched = run.end().done();
    let extra = fetched.events("extra").next().unwrap();
    assert_eq!((&extra["path"], &extra["removed"]), (&"diary.txt".into(), &false.into()));
    assert_eq!(fleet.world.text("new/diary.txt"), "mine");

    let mut run = Fetch::from(&fleet, &[&server]).into("shared").start();
    run.wait_for("wanted", |_| true);
    fleet.world.write("other/note.txt", "of another");
    fleet.world.run("weigh other --name org/other --key @alice.key").done();
    let head = fleet.world.read("other/weighbridge/head.note");
    fleet.world.write("shared/weighbridge/head.note", &head);
    let _ = run.end().ended(9205);
    assert_eq!(fleet.world.read("shared/weighbridge/head.note"), head);
    assert!(!fleet.world.exists("shared/config.json"));
}
