//! `import` end to end, from a folder with a `SHA256SUMS` file on a server that does whatever a test says.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use serde_json::Value;
use weighbridge_formats::generate::Llama;
use weighbridge_testkit::servers::{End, Fault, Faulty, Hub, Visibility};

use crate::command::kit::{Ran, World};

const SHARDS: &str = "*.safetensors";
const SHARD: &str = "model-00002-of-00004.safetensors";

/// A place that lists a model of 3 MB which nobody weighed, and the server of it.
struct Place {
    world: World,
    server: Faulty,
}

impl Place {
    fn new() -> Self {
        let world = World::empty();
        let _ = Llama::of_size(3_000_000, 4, 5).write(&world.path("source")).unwrap();
        world.write("source/1_Pooling/config.json", "{}");
        world.write("source/empty.txt", "");
        world.write("source/SHA256SUMS", sums(&world));
        let server = Faulty::start(&world.path("source"));
        Self { world, server }
    }

    fn list_anew(&self) {
        self.world.write("source/SHA256SUMS", sums(&self.world));
    }

    /// The command that imports the place into `model`.
    fn line(&self, more: &str) -> String {
        format!("import {} -o model --key @alice.key --name org/llama {more}", self.server.url())
            .trim_end()
            .to_owned()
    }

    fn import(&self) -> Ran {
        self.world.run(&self.line(""))
    }

    /// As [`stands`](Self::stands), and nothing else is left.
    #[track_caller]
    fn arrived(&self, revision: u64) {
        self.stands(revision);
        let left = fs::read_dir(self.world.path("model/weighbridge/partial")).unwrap().count();
        assert_eq!(left, 0, "nothing is left over");
    }

    /// Expects that the folder has the model of the place, under a head by alice that says so.
    #[track_caller]
    fn stands(&self, revision: u64) {
        let listed = self.world.text("source/SHA256SUMS");
        for line in listed.lines() {
            let path = line.split_once("  ").unwrap().1;
            let (came, there) = (format!("model/{path}"), format!("source/{path}"));
            assert!(self.world.read(&came) == self.world.read(&there), "{path} differs");
        }
        let head = self.world.text("model/weighbridge/head.note");
        assert!(head.contains(&format!("\nrevision {revision}\n")), "{head}");
        assert!(head.contains(&format!("\next source {}\n", self.server.url())), "{head}");
        let _ = self.world.run("verify model --name org/llama --vkey @alice --tensors").done();
    }

    #[track_caller]
    fn named_nothing(&self) {
        let names = fs::read_dir(self.world.path("model")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["weighbridge"]);
        assert!(!self.world.exists("model/weighbridge/head.note"));
    }

    /// The bytes of files that were sent, without those that were asked for to learn a length.
    fn sent(&self) -> u64 {
        let is_of_file = |path: &str| path != "SHA256SUMS";
        let requests = self.server.settled();
        requests.iter().filter(|request| is_of_file(&request.path)).map(|request| request.sent).sum()
    }

    /// The files that were asked for, but for one byte to learn their lengths, since there were that many requests.
    fn fetched_since(&self, before: usize) -> Vec<String> {
        let requests = self.server.settled().split_off(before);
        let is_of_file = |path: &str| !matches!(path, "SHA256SUMS" | "empty.txt");
        let fetched = requests.into_iter().filter(|request| request.sent > 1 && is_of_file(&request.path));
        fetched.map(|request| request.path).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn bytes(&self) -> u64 {
        let listed = self.world.text("source/SHA256SUMS");
        let paths = listed.lines().map(|line| format!("source/{}", line.split_once("  ").unwrap().1));
        paths.map(|path| fs::metadata(self.world.path(&path)).unwrap().len()).sum()
    }
}

/// What `sha256sum` says of the model's files.
fn sums(world: &World) -> String {
    let find = "find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum | sed 's|  \\./|  |'";
    let output = Command::new("sh").args(["-c", find]).current_dir(world.path("source")).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_model_that_nobody_weighed_is_fetched_once_checked_and_signed() {
    let place = Place::new();
    let ran = place.world.run(&place.line("--json")).done();
    place.arrived(1);
    let files = place.world.text("source/SHA256SUMS").lines().count() as u64;
    // One byte of each file says how long it is, at the beginning and at the end.
    assert!(place.sent() <= place.bytes() + 1_000, "{} bytes of {}", place.sent(), place.bytes());
    let objects = ran.objects();
    let of = |event: &str| objects.iter().filter(|object| object["event"] == event).collect::<Vec<&Value>>();
    assert_eq!(of("listing")[0]["files"], files);
    assert!(
        of("file")
            .iter()
            .all(|file| file["status"] == "as listed" && file["faults"] == serde_json::json!([]))
    );
    assert_eq!(of("file").len() as u64, files);
    let imported = of("imported")[0];
    assert_eq!(imported["signed_by_publisher"], false);
    assert_eq!(imported["commit_checked"], false);
    assert_eq!(imported["received"], place.bytes());
    assert_eq!(imported["origin"], place.server.url());

    // A second import refuses to replace the model.
    place.import().unjudged(9101, "a model is there already").hints("--update");
}

#[test]
fn people_are_told_who_vouches_for_what() {
    let place = Place::new();
    place
        .import()
        .done()
        .prints("imported org/llama revision 1: ")
        .prints("signed   by alice")
        .prints(&format!("vouched  {} said so at ", place.server.url()))
        .prints("listing and digests come from one server");
}

/// Killed at thirty moments, an import ends with the right head, and asks for nothing that is written.
#[test]
fn an_import_that_is_killed_goes_on() {
    let place = Place::new();
    place.server.limit_rate(20_000_000);
    let there = || {
        let partial = fs::read_dir(place.world.path("model/weighbridge/partial"));
        let sizes =
            partial.into_iter().flatten().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512);
        sizes.sum::<u64>()
    };
    let mut killed = 0;
    for moment in 0..30 {
        let (had, before) = (there(), place.sent());
        if place.world.exists("model/weighbridge/head.note") {
            break;
        }
        killed += u32::from(place.world.is_killed(&place.line(""), Duration::from_millis(20 + moment * 5)));
        let asked = place.sent() - before;
        assert!(asked <= place.bytes().saturating_sub(had) + (64 << 10), "{asked} bytes, with {had} there");
    }
    assert!(killed > 5, "{killed} kills");
    if place.world.exists("model/weighbridge/head.note") {
        // The last one was killed behind its work, and may not have cleared up.
        return place.stands(1);
    }
    let _ = place.import().done();
    place.arrived(1);
}

#[test]
fn a_byte_that_is_not_what_is_listed_is_refused_with_file_and_digests() {
    // In the middle of a tensor, in the header of the format, in a small file, and in all bytes behind the first.
    let rules = [
        (SHARD, Fault::Flip.on(SHARD).at(400_000)),
        (SHARD, Fault::Flip.on(SHARD).at(20)),
        ("tokenizer.json", Fault::Flip.on("tokenizer.json").at(100)),
        ("config.json", Fault::Zeros.on("config.json").within(1..400)),
    ];
    for (path, rule) in rules {
        let place = Place::new();
        let strikes = place.server.fail(rule);
        let ran = place.import().refused(5601, &format!("{path} is not what is listed: sha256:"));
        assert!(strikes.count() > 0);
        let _ = ran.prints(&format!("refused  {path}")).prints("sha256:").hints("anew");
        place.named_nothing();
        place.server.mend();
        // All else is there.
        let before = place.server.requests().len();
        let _ = place.import().done();
        place.arrived(1);
        assert_eq!(place.fetched_since(before), [path]);
    }
}

/// After a power cut, what a killed import left may be other bytes than were written.
#[test]
fn what_an_earlier_import_left_is_checked_and_comes_anew_if_it_is_wrong() {
    let place = Place::new();
    let _ = place.server.fail(Fault::Flip.on("tokenizer.json").at(100));
    place.import().refused(5601, "tokenizer.json");
    place.server.mend();
    let partial = place.world.path("model/weighbridge/partial");
    for entry in fs::read_dir(&partial).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.metadata().unwrap().len() > 100_000 {
            place.world.flip(&format!("model/weighbridge/partial/{name}"), 50_000);
        }
    }
    let _ = place.import().done();
    place.arrived(1);
}

#[test]
fn a_listing_that_changes_meanwhile_is_noticed() {
    let place = Place::new();
    let other = place.world.text("source/SHA256SUMS").replacen('a', "b", 1).into_bytes();
    let _ = place.server.fail(Fault::Content(other).on("SHA256SUMS").after(1));
    place.import().refused(5604, "the listing has changed since the import began").hints("import again");
    place.named_nothing();
    place.server.mend();
    let before = place.sent();
    let _ = place.import().done();
    place.arrived(1);
    assert!(place.sent() - before < 100, "nothing is fetched again");
}

#[test]
fn servers_of_all_kinds_are_lived_with() {
    let faults = [
        ("no ranges", Fault::Whole.into()),
        ("a reset in the middle", Fault::Break(End::Reset).on(SHARDS).at(300_000).times(2)),
        ("a short body", Fault::Break(End::Close).on(SHARDS).at(300_000).times(2)),
        ("429", Fault::busy(429, "1").on(SHARDS).times(2)),
        ("500", Fault::status(500).on("*.json").after(20).times(1)),
        ("HTTP's chunks", Fault::Chunked.on(SHARDS)),
        ("redirects", Fault::RedirectChain(2).on(SHARDS)),
    ];
    for (what, rule) in faults {
        let place = Place::new();
        let rule: weighbridge_testkit::servers::Rule = rule;
        let _ = place.server.fail(rule);
        let ran = place.import();
        ran.expect(ran.status == Some(0), what);
        place.arrived(1);
    }
}

#[test]
fn a_file_that_is_listed_and_not_given_is_named() {
    let place = Place::new();
    // The first request for a file asks for its length.
    let _ = place.server.fail(Fault::status(404).on(SHARD).after(1));
    place.import().unjudged(9201, &format!("does not give {SHARD}"));
    place.named_nothing();

    // Where another file is wrong as well, that verdict is what is said.
    place.server.mend();
    let _ = place.server.fail(Fault::status(404).on(SHARD).after(1));
    let _ = place.server.fail(Fault::Flip.on("model-00001-of-00004.safetensors").at(500_000));
    let line = place.line("").replace("-o model", "-o other");
    place.world.run(&line).refused(5601, "model-00001-of-00004.safetensors is not what is listed");
}

/// Killed while one release replaces another, an import is ended by the same command.
#[test]
fn an_update_that_is_killed_goes_on() {
    let place = Place::new();
    let _ = place.import().done();
    for number in 0..8 {
        place.world.flip(&format!("source/{SHARD}"), 500_000 + number);
        place.world.write(&format!("source/added-{number}.json"), "{}");
        place.list_anew();
        let line = place.line("--update");
        let after = Duration::from_millis(30 + number * 15);
        let _ = place.world.is_killed(&line, after);
        if place.world.run("verify model --name org/llama --vkey @alice").status != Some(0) {
            let _ = place.world.run(&line).done();
        }
        let _ = place.world.run("verify model --name org/llama --vkey @alice").done();
    }
    let _ = place.world.run(&place.line("--update")).done();
    let listed = place.world.text("source/SHA256SUMS");
    for path in listed.lines().map(|line| line.split_once("  ").unwrap().1) {
        let (came, there) = (format!("model/{path}"), format!("source/{path}"));
        assert!(place.world.read(&came) == place.world.read(&there), "{path} differs");
    }
}

/// Names that some systems take for the same are refused before anything is fetched.
#[test]
fn what_could_not_be_signed_is_not_fetched() {
    let place = Place::new();
    place.world.write("source/README.MD", "other");
    place.world.write("source/readme.md", "another");
    place.list_anew();
    let before = place.server.requests().len();
    place.import().refused(1422, "").prints("refused  ");
    assert!(place.fetched_since(before).is_empty());
    assert!(!place.world.exists("model/weighbridge/head.note"));
}

/// A link that leads out of the folder is never read as a file of the model.
#[test]
fn nothing_from_outside_of_the_folder_is_signed() {
    let place = Place::new();
    place.world.copy("source/1_Pooling", "elsewhere");
    fs::create_dir(place.world.path("model")).unwrap();
    std::os::unix::fs::symlink(place.world.path("elsewhere"), place.world.path("model/1_Pooling")).unwrap();
    place.import().unjudged(9204, "");
    assert!(!place.world.exists("model/weighbridge/head.note"));
}

/// A file whose tensors cannot be read is taken as a file if the importer says so.
#[test]
fn a_malformed_tensor_file_is_as_listed_and_no_model_unless_it_is_taken_as_a_file() {
    let place = Place::new();
    place.world.write("source/odd.safetensors", "no header at all, and longer than eight bytes");
    place.list_anew();
    let ran = place.import();
    ran.expect(ran.status == Some(1), "a refusal");
    ran.says("odd.safetensors").hints("--no-tensors");
    place.world.run(&place.line("--no-tensors")).done().prints("tensors not listed");
    let _ = place.world.run("verify model --name org/llama --vkey @alice").done();
}

#[test]
fn an_update_fetches_what_has_changed_and_removes_what_is_gone() {
    let place = Place::new();
    let _ = place.import().done();
    let earlier = place.world.head_id("model");
    place.world.write("model/notes.txt", "mine");
    place.world.flip(&format!("source/{SHARD}"), 500_000);
    place.world.remove("source/1_Pooling/config.json");
    place.world.write("source/added.json", "{}");
    place.list_anew();
    let before = place.server.requests().len();
    place
        .world
        .run(&place.line("--update"))
        .done()
        .prints("removed  1_Pooling/config.json")
        .prints("extra    notes.txt");
    place.world.remove("model/notes.txt");
    place.arrived(2);
    assert!(place.world.text("model/weighbridge/head.note").contains(&format!("\nprevious {earlier}\n")));
    assert!(!place.world.exists("model/1_Pooling"));
    assert_eq!(place.fetched_since(before), ["added.json", SHARD]);

    // A head that somebody else has signed is not followed.
    let line = place.line("--update").replace("@alice.key", "@mallory.key");
    place.world.run(&line).refused(3102, "").hints("an update follows a head that is signed by --key");
}

#[test]
fn what_is_there_under_its_final_name_is_checked_and_not_fetched() {
    let place = Place::new();
    place.world.copy("source", "model");
    place.world.remove("model/SHA256SUMS");
    place.world.flip("model/tokenizer.json", 7);
    let _ = place.import().done();
    place.arrived(1);
    assert_eq!(place.fetched_since(0), ["tokenizer.json"]);
}

#[test]
fn calls_that_make_no_sense_are_misuse() {
    let place = Place::new();
    let url = place.server.url();
    place.world.run(&format!("import {url} -o model --key @alice.key")).misused().hints("--name");
    place.world.run(&format!("import {url} -o model --name org/llama")).misused();
    for address in ["s3://bucket/model", "source", "https://"] {
        place.world.run(&format!("import {address} -o model --key @alice.key --name org/llama")).misused();
    }
    place.world.run("import hf://a/b/c -o model --key @alice.key").misused();
    assert!(!place.world.exists("model"), "nothing was made");
}

/// A hub that has a model of 3 MB as `org/llama`.
fn hub() -> (World, Hub) {
    let world = World::empty();
    let _ = Llama::of_size(3_000_000, 4, 5).write(&world.path("source")).unwrap();
    let hub = Hub::start();
    hub.commit("org/llama", &world.path("source"));
    (world, hub)
}

fn from_hub(world: &World, hub: &Hub, line: &str, token: Option<&str>) -> Ran {
    let mut command = world.command(line);
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", hub.url()).env("HF_HOME", world.path("none"));
    Ran::of(command.envs(token.map(|token| ("HF_TOKEN", token))))
}

const LINE: &str = "import hf://org/llama -o model --key @alice.key";

#[test]
fn a_model_of_a_hub_is_imported_under_its_name_with_its_commit_and_its_base() {
    let (world, hub) = hub();
    // A merge has more bases than a head has lines, and a card may say anything.
    let many = (0..40).map(|number| format!("org/base-{number:02}{}", "x".repeat(100)));
    let odd = ["", " ", "two words", "a\nb", "0d68"].map(str::to_owned);
    let bases: Vec<String> = ["org/base".to_owned()].into_iter().chain(odd).chain(many).collect();
    hub.describe("org/llama", serde_json::json!({"base_model": bases}));
    hub.list_by(3);
    hub.expire_after(2);
    hub.limit(2, 1);
    let commit = hub.commit("org/llama", &world.path("source"));
    let ran = from_hub(&world, &hub, LINE, None).done();
    ran.prints(&format!("vouched  hf://org/llama@{commit} said so at ")).prints("the commit id is its word");
    let head = world.text("model/weighbridge/head.note");
    assert!(head.contains("\next base org/base\n") && !head.contains("two words"), "{head}");
    assert!(head.contains(&format!("\next source hf://org/llama@{commit}\n")), "{head}");
    let bases = head.lines().filter(|line| line.starts_with("ext base ")).count();
    assert!((2..=15).contains(&bases), "{head}");
    for (name, bytes) in world.files("source") {
        assert!(world.read(&format!("model/{name}")) == bytes, "{name}");
    }
    let _ = world.run("verify model --name org/llama --vkey @alice").done();

    // The same commit is nothing new; another one is the next revision.
    from_hub(&world, &hub, &format!("{LINE} --update"), None).done().prints("nothing to do");
    world.copy("source", "next");
    world.write("next/config.json", "{}");
    let next = hub.commit("org/llama", &world.path("next"));
    let _ = from_hub(&world, &hub, &format!("{LINE} --update"), None).done();
    let head = world.text("model/weighbridge/head.note");
    assert!(head.contains("\nrevision 2\n") && head.contains(&next), "{head}");
}

#[test]
fn private_and_gated_models_need_a_token_which_stays_with_the_hub() {
    for visibility in [Visibility::Private, Visibility::Gated] {
        let (world, hub) = hub();
        hub.restrict("org/llama", visibility);
        let ran = from_hub(&world, &hub, LINE, None);
        ran.expect(ran.status == Some(2), "no verdict");
        ran.hints("HF_TOKEN");
        let _ = from_hub(&world, &hub, LINE, Some(Hub::TOKEN)).done();
    }
}

/// Whoever pushes to the branch meanwhile does not change what is imported; whoever rewrites the commit is noticed.
#[test]
fn a_commit_that_changes_meanwhile_is_noticed() {
    let (world, hub) = hub();
    let begun = hub.commit("org/llama", &world.path("source"));
    hub.storage().limit_rate(2_000_000);
    world.copy("source", "next");
    world.write("next/config.json", "{}");
    let next = std::thread::scope(|scope| {
        let pushed = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            hub.commit("org/llama", &world.path("next"))
        });
        let ran = from_hub(&world, &hub, LINE, None).done();
        let next = pushed.join().unwrap();
        ran.prints(&format!("moved    the revision is commit {next} by now"));
        next
    });
    assert_ne!(begun, next);
    assert!(world.text("model/weighbridge/head.note").contains(&format!("hf://org/llama@{begun}\n")));

    // A commit that is gone at the end cannot be listed again.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            hub.forget("org/llama", &next);
        });
        let ran = from_hub(&world, &hub, "import hf://org/llama -o other --key @alice.key", None);
        ran.expect(ran.status == Some(2), "no verdict");
        assert!(!world.exists("other/weighbridge/head.note"));
    });
}

/// A byte that decayed in the storage of the hub.
#[test]
fn what_the_storage_of_a_hub_gives_wrong_is_refused() {
    let (world, hub) = hub();
    world.flip(&format!("source/{SHARD}"), 400_000);
    from_hub(&world, &hub, LINE, None).refused(5601, &format!("{SHARD} is not what is listed: sha256:"));
    world.flip(&format!("source/{SHARD}"), 400_000);
    world.flip("source/config.json", 3);
    let line = LINE.replace("-o model", "-o other");
    from_hub(&world, &hub, &line, None).refused(5601, "config.json is not what is listed: git-blob:");
}
