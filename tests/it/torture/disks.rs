//! Disks that are full, read-only or removed, and things that lie in the way of a file.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Releases, Run};
use crate::{
    command::kit::{Ran, skip},
    fleet::Fleet,
};
use weighbridge_testkit::servers::Faulty;

const BYTES: u64 = 3 << 20;

fn fetch(fleet: &Fleet, into: &Path) -> Ran {
    let line = format!("fetch first --name {} --vkey @alice", fleet.name);
    fleet.world.run_with(&line, &["-o", into.to_str().unwrap()])
}

/// A small file system of its own, which only the superuser can mount.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf) -> Option<Self> {
        fs::create_dir(&place).unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", "size=1m", "none"], &place);
        if !mounted {
            skip("only the superuser can mount a small file system");
        }
        mounted.then_some(Self(place))
    }

    fn remount(&self, how: &str) {
        assert!(run("mount", &["-o", &format!("remount,{how}")], &self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], place: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(place).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_is_said_and_goes_on_when_there_is_room() {
    let fleet = Fleet::of(BYTES, "16KiB");
    let Some(disk) = SmallDisk::mount(fleet.world.path("disk")) else { return };
    let into = disk.0.join("out");
    fetch(&fleet, &into).unjudged(9002, "No space left on device").hints("make room");
    let releases = Releases::of(&[&fleet.model]);
    releases.check(&into);
    assert!(!into.join("config.json").exists(), "nothing has its final name");
    // The chunks on the disk are used: only the other chunks are read from the source.
    disk.remount("size=16m");
    let again = fetch(&fleet, &into).done();
    again.expect(again.stdout.contains("fetched"), "that it is fetched");
    fleet.assert_same(&into, &fleet.model);
    let place = into.display();
    fleet.world.run(&format!("verify {place} --name {} --vkey @alice", fleet.name)).done();
}

#[test]
fn a_disk_that_is_read_only_is_said() {
    let fleet = Fleet::of(0, "16KiB");
    let Some(disk) = SmallDisk::mount(fleet.world.path("disk")) else { return };
    disk.remount("ro");
    fetch(&fleet, &disk.0.join("out")).unjudged(9002, "Read-only file system").hints("mounted read-only");
    disk.remount("rw");
    fetch(&fleet, &disk.0.join("out")).done();
}

#[test]
fn a_folder_that_is_not_ours_is_said() {
    use std::os::unix::fs::PermissionsExt as _;
    let fleet = Fleet::of(0, "16KiB");
    let into = fleet.world.path("out");
    fs::create_dir(&into).unwrap();
    fs::set_permissions(&into, fs::Permissions::from_mode(0o555)).unwrap();
    let line = format!("fetch first -o out --name {} --vkey @alice", fleet.name);
    Ran::of(&mut fleet.world.unprivileged(&line))
        .unjudged(9002, "Permission denied")
        .hints("have to be yours");
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
}

#[test]
fn a_folder_that_vanishes_is_said_and_made_again() {
    let fleet = Fleet::of(BYTES, "16KiB");
    let server = Faulty::start(&fleet.model);
    server.limit_rate(1 << 18);
    let into = fleet.world.path("out");
    let mut run = Run::start(&fleet, std::slice::from_ref(&server), &into);
    run.await_events("durable", 1, Instant::now() + Duration::from_secs(30));
    // The fetch may create something in the folder meanwhile, so removing is repeated.
    while into.exists() {
        let _ = fs::remove_dir_all(&into);
    }
    run.await_events("error", 1, Instant::now() + Duration::from_secs(30));
    let error = run.seen.last().unwrap().clone();
    assert_eq!(error["code"], 9002, "{error}");
    assert!(error["hints"].to_string().contains("removed or unmounted"), "{error}");
    assert_eq!(run.process.wait().unwrap().code(), Some(2));
    assert!(!into.exists());
    fetch(&fleet, &into).done();
    fleet.assert_same(&into, &fleet.model);
}

/// The name of a thing that lies in the way, and the function that makes it.
type Plant<'p> = (&'p str, &'p dyn Fn(&Path));

#[test]
fn what_lies_in_the_way_is_named_and_stays() {
    let fleet = Fleet::of(0, "16KiB");
    let into = fleet.world.path("out");
    let outside = fleet.world.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), b"mine").unwrap();
    let releases = Releases::of(&[&fleet.model]);
    let plants: [Plant<'_>; 4] = [
        ("a FIFO, socket or device", &|place| assert!(run("mkfifo", &[], place))),
        ("a FIFO, socket or device", &|place| drop(UnixListener::bind(place).unwrap())),
        ("a symbolic link", &|place| symlink(&outside, place).unwrap()),
        ("a symbolic link", &|place| symlink("nowhere", place).unwrap()),
    ];
    for name in ["config.json", "weighbridge/head.note", "weighbridge/partial", "weighbridge"] {
        for (what, plant) in plants {
            let place = into.join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            plant(&place);
            let before = place.symlink_metadata().unwrap().file_type();
            let sentence = format!("{} is {what}, where", place.display());
            fetch(&fleet, &into).unjudged(9204, &sentence).hints("move it away");
            assert_eq!(place.symlink_metadata().unwrap().file_type(), before);
            fs::remove_file(&place).unwrap();
            releases.check(&into);
            assert!(!into.join("tokenizer.json").exists() && !into.join("weighbridge/head.note").exists());
            fs::remove_dir_all(&into).unwrap();
        }
    }
    fs::create_dir_all(into.join("config.json/folder")).unwrap();
    fetch(&fleet, &into).unjudged(9204, "config.json is a folder, where").hints("move it away");
    fs::remove_dir_all(into.join("config.json")).unwrap();
    fetch(&fleet, &into).done();
    fleet.assert_same(&into, &fleet.model);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}
