//! Metadata on disk: whenever a weighing fails, the earlier metadata stays good.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use weighbridge_formats::generate::Llama;

use crate::command::kit::{World, binary, skip};

const WEIGH: &str = "weigh llama --name org/llama --chunk-size 16KiB --key @alice.key";
const VERIFY: &str = "verify llama --name org/llama --vkey @alice";
const METADATA: &str = "llama/weighbridge";

impl World {
    /// A world whose layers are longer than its lists, so that writing can fail in a layer too.
    fn with_layers_longer_than_lists() -> Self {
        let world = Self::with_model();
        world.write("llama/weights.bin", vec![7; 16_384 * 600]);
        world
    }
}

#[test]
fn metadata_is_replaced_only_by_force() {
    let world = World::weighed();
    let before = world.files(METADATA);
    let ran = world.unjudged(WEIGH, 9101, "llama/weighbridge/head.note exists already");
    ran.hints("--force replaces it, once the new metadata is complete");
    assert!(world.files(METADATA) == before, "metadata changed");
    assert!(!world.exists("llama/weighbridge/.new"));

    world.write("llama/config.json", "{}");
    let ran = world.run(&format!("{WEIGH} --force"));
    assert!(ran.stderr.contains("another revision 1 of org/llama"), "{}", ran.stderr);
    ran.done();
    assert!(!world.exists("llama/weighbridge/.new"));
    world.run(VERIFY).done();
    // One file of the metadata is in the way just as well.
    world.remove("llama/weighbridge/head.note");
    world.unjudged(WEIGH, 9101, "llama/weighbridge/head.txt exists already");
}

#[test]
fn what_a_release_does_not_have_is_gone_after_force() {
    let world = World::weighed();
    world.run("weigh llama --name org/llama --force --no-tensors").done();
    assert!(!world.exists("llama/weighbridge/tensors.jsonl"), "a list of another release");
    // The old signature is not over the new head.
    assert!(!world.exists("llama/weighbridge/head.note"), "a signature of another head");
}

#[test]
fn a_weighing_that_is_refused_leaves_metadata_as_it_was() {
    let world = World::weighed();
    let before = world.files(METADATA);
    world.write("llama/model-00001-of-00002.safetensors", "broken");
    world.run(&format!("{WEIGH} --force")).refused(4101, "");
    assert!(world.files(METADATA) == before, "metadata changed");
    assert!(!world.exists("llama/weighbridge/.new"));
}

#[test]
fn two_writers_do_not_meet() {
    let world = World::weighed();
    // Holds the lock as another run would.
    fs::create_dir(world.path("llama/weighbridge/.new")).unwrap();
    let lock = File::create(world.path("llama/weighbridge/.new/lock")).unwrap();
    lock.lock().unwrap();
    let before = world.files(METADATA);
    for line in [&format!("{WEIGH} --force"), "sign llama --key @bob.key"] {
        let ran = world.unjudged(line, 9102, "another process is writing to llama/weighbridge");
        ran.hints("wait for it to end");
        assert!(world.files(METADATA) == before, "metadata changed");
    }
    // The lock of a process that has ended stops nobody.
    drop(lock);
    world.run(&format!("{WEIGH} --force")).done();
    assert!(!world.exists("llama/weighbridge/.new"));
}

#[test]
fn of_weighings_at_once_each_is_done_or_turned_away() {
    let world = World::with_model();
    world.key("alice");
    let ran = thread::scope(|scope| {
        let weigh = || world.run(&format!("{WEIGH} --force"));
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(weigh)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    let mut done = 0;
    for ran in ran {
        if ran.status == Some(0) {
            done += 1;
        } else {
            ran.unjudged(9102, "another process is writing to llama/weighbridge");
        }
    }
    assert!(done > 0);
    world.run(VERIFY).done();
}

/// No file may be longer than `512 * blocks` bytes, so that writing fails in a list or in a layer.
#[test]
fn a_file_that_cannot_be_written_whole_leaves_metadata_as_it_was() {
    let world = World::with_layers_longer_than_lists();
    world.run(WEIGH).done();
    let before = world.files(METADATA);
    let mut named = Vec::new();
    for blocks in (0..64).step_by(2) {
        let mut weigh = Command::new("sh");
        weigh.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(binary());
        weigh.args(world.command(&format!("{WEIGH} --force")).get_args());
        let ran = crate::command::kit::Ran::of(world.at_home(&mut weigh));
        if ran.status == Some(0) {
            break;
        }
        let ran = ran.unjudged(9002, "cannot write llama/weighbridge/.new/");
        named.extend(
            ran.stderr.split(".new/").nth(1).and_then(|rest| rest.split(':').next()).map(str::to_owned),
        );
        assert!(world.files(METADATA) == before, "metadata changed");
        assert!(!world.exists("llama/weighbridge/.new"));
        world.run(VERIFY).done();
    }
    named.dedup();
    assert_eq!(named, ["files.jsonl", "tensors.jsonl", "chunks.layer"]);
    world.forget();
    world.run(VERIFY).done();
}

/// Weighs onto a small disk of its own, which holds the old metadata, but the new metadata as well only from some
/// size on.
#[test]
fn a_full_disk_leaves_metadata_as_it_was() {
    let world = World::with_layers_longer_than_lists();
    world.run(&format!("{WEIGH} -o disk/meta")).done();
    world.rename("disk", "honest");
    fs::create_dir(world.path("disk")).unwrap();
    let mut named = Vec::new();
    let mut is_done = false;
    for pages in (8..120).step_by(2) {
        let script = format!(
            "mount -t tmpfs -o size={}k weighbridge disk || exit 99
             cp -r honest/meta disk/meta 2>/dev/null || exit 98
             code=0; \"$0\" \"$@\" || code=$?
             test ! -e disk/meta/.new || exit 97
             rm -rf after; cp -r disk/meta after; exit $code",
            4 * pages
        );
        // The mount is private to this process, and ends with it.
        let mut weigh = Command::new("unshare");
        weigh.args(["--mount", "--map-root-user", "sh", "-c", &script]).arg(binary());
        weigh.args(world.command(&format!("{WEIGH} --force -o disk/meta")).get_args());
        let Ok(output) = world.at_home(&mut weigh).output() else { return skip("there is no unshare here") };
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            _ if stderr.starts_with("unshare: ") => {
                return skip("this system gives nobody mounts of their own");
            }
            Some(98) => {}
            Some(0) => is_done = true,
            Some(2) => {
                assert!(
                    stderr.contains("cannot write disk/meta/.new/") && stderr.contains("[W9002]"),
                    "{stderr}"
                );
                named.extend(
                    stderr.split(".new/").nth(1).and_then(|rest| rest.split(':').next()).map(str::to_owned),
                );
                assert!(
                    world.files("after") == world.files("honest/meta"),
                    "metadata changed at {pages} pages"
                );
            }
            Some(99) => return skip("this system lets nobody mount a disk here"),
            _ => panic!("{pages} pages: {}\n{stderr}", output.status),
        }
        if is_done {
            break;
        }
    }
    assert!(is_done, "the disk was always full");
    named.dedup();
    assert!(named.contains(&"chunks.layer".to_owned()), "{named:?}");
    world.run(&format!("{VERIFY} --meta after")).done();
}

/// Kills weighings that replace metadata, each a little later than the one before, at every stage of their work.
#[test]
fn a_weighing_that_is_killed_leaves_metadata_that_verifies() {
    let world = World::weighed();
    let mut killed = 0;
    for step in 0.. {
        let mut weigh = world.command(&format!("{WEIGH} --force"));
        let mut weigh = weigh.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_micros(500 * step));
        weigh.kill().unwrap();
        let is_killed = weigh.wait().unwrap().code().is_none();
        killed += usize::from(is_killed);
        world.forget();
        world.run(VERIFY).done();
        // A run may take long on a busy machine. At least 20 steps, and at most 120.
        if (!is_killed && step > 20) || step > 120 {
            break;
        }
    }
    assert!(killed > 5, "only {killed} were killed in time");
    world.run(&format!("{WEIGH} --force")).done();
    assert!(!world.exists("llama/weighbridge/.new"), "what killed runs left is swept");
    world.forget();
    world.run(&format!("{VERIFY} --tensors")).done();
}

#[test]
fn a_weighing_that_is_killed_while_it_reads_has_changed_nothing() {
    let world = World::empty();
    let _ = Llama::of_size(300_000_000, 2, 1).write(&world.path("llama")).unwrap();
    world.run(WEIGH).done();
    let before = world.files(METADATA);
    let lock = format!("{METADATA}/.new/lock");
    let mut killed = 0;
    for after in [0, 10, 40, 160] {
        let _ = fs::remove_file(world.path(&lock));
        let mut weigh = world.command(&format!("{WEIGH} --force"));
        let mut weigh = weigh.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It reads from the moment at which the folder for new metadata is prepared.
        while !world.exists(&lock) && weigh.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(after));
        weigh.kill().unwrap();
        if weigh.wait().unwrap().code().is_some() {
            continue;
        }
        killed += 1;
        assert!(world.files(METADATA) == before, "metadata changed");
        world.run(&format!("{VERIFY} --only *.json")).done();
    }
    assert!(killed > 0, "none was killed in time");
    world.run(&format!("{WEIGH} --force")).done();
    world.forget();
    world.run(VERIFY).done();
}

#[test]
fn what_came_with_a_model_in_place_of_our_files_is_not_followed() {
    use std::os::unix::fs::symlink;

    let world = World::with_model();
    world.write("outside/precious", "precious");
    fs::create_dir(world.path("llama/weighbridge")).unwrap();
    symlink("../../outside", world.path("llama/weighbridge/.new")).unwrap();
    world.unjudged(WEIGH, 9002, "cannot write to llama/weighbridge/.new: ");
    assert_eq!(world.files("outside").len(), 1);

    world.remove("llama/weighbridge/.new");
    for name in ["head.note", "files.jsonl"] {
        symlink("../../outside/precious", world.path(&format!("{METADATA}/{name}"))).unwrap();
    }
    world.unjudged(WEIGH, 9101, " exists already");
    world.run(&format!("{WEIGH} --force")).done();
    assert_eq!(world.text("outside/precious"), "precious");
    world.run(VERIFY).done();
}

/// The mark of a release that is being replaced may come with a model, and be anything.
#[test]
fn a_mark_of_any_kind_is_a_refusal_and_is_neither_waited_for_nor_obeyed() {
    let world = World::with_model();
    world.run(WEIGH).done();
    let kept = format!("{METADATA}/kept/{}", world.head_id("llama"));
    let mark = format!("{kept}/by");
    fs::create_dir_all(world.path(&kept)).unwrap();
    // Without a mark, and with the marks of others, nothing is refused.
    fs::create_dir_all(world.path(&format!("{METADATA}/kept/none"))).unwrap();
    world.write(&format!("{METADATA}/kept/none/by"), "a fetch");
    world.run(VERIFY).done();
    let texts = ["", "a fetch, process 1\nand more", "\u{1b}[2J", &"x".repeat(1 << 20)];
    for text in texts {
        world.write(&mark, text);
        world.forget();
        world.unjudged(VERIFY, 9108, "is being replaced by another");
        world.unjudged(&format!("{WEIGH} --force"), 9108, "is being replaced by another");
        world.remove(&mark);
    }
    std::os::unix::fs::symlink("nothing", world.path(&mark)).unwrap();
    world.unjudged(VERIFY, 9108, "is being replaced by another");
    world.remove(&mark);
    world.fifo(&mark);
    world.unjudged(VERIFY, 9108, "is being replaced by another");
    world.remove(&mark);
    fs::create_dir(world.path(&mark)).unwrap();
    world.unjudged(VERIFY, 9108, "is being replaced by another");
    fs::remove_dir(world.path(&mark)).unwrap();
    world.forget();
    world.run(VERIFY).done();
}
