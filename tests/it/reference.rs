//! The independent verifier in Python judges the command's output.

use std::{fs, process::Command};

use crate::command::kit::{World, root};

#[test]
fn an_independent_verifier_agrees_about_what_was_weighed() {
    let world = World::empty();
    fs::create_dir(world.path("tiny")).unwrap();
    world.write("tiny/config.json", "{}");
    world.write("tiny/sub/model.safetensors", safetensors());
    world.write("tiny/empty", "");
    world.write("tiny/large.bin", (0..50_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect::<Vec<_>>());
    world
        .run("weigh tiny --name org/tiny --chunk-size 16KiB --sha256 --key @alice.key --key @bob.key")
        .done();

    let vkey = world.vkey("alice").to_string();
    let judge = |extra: &[&str]| {
        let mut python = Command::new("python3");
        python
            .args(["-m", "weighbridge_ref", "verify"])
            .arg(world.path("tiny"))
            .args(["--vkey", &vkey])
            .args(extra);
        python.env("PYTHONPATH", root().join("tests/reference"));
        let output = python.output().expect("python3 is installed");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let both = |extra: &[&str], status: i32| {
        let theirs = judge(extra);
        assert_eq!(theirs.0, Some(status), "{}", theirs.1);
        let ours = world.run_with("verify tiny --vkey @alice", extra);
        assert_eq!(ours.status, Some(status), "{}{}", ours.stdout, ours.stderr);
    };
    both(&["--name", "org/tiny", "--tensors"], 0);
    both(&["--name", "org/other"], 1);
    for file in [
        "config.json",
        "sub/model.safetensors",
        "large.bin",
        "weighbridge/head.note",
        "weighbridge/files.jsonl",
        "weighbridge/tensors.jsonl",
        "weighbridge/chunks.layer",
    ] {
        let path = format!("tiny/{file}");
        let middle = world.read(&path).len() as u64 / 2;
        world.flip(&path, middle);
        both(&[], 1);
        world.flip(&path, middle);
    }
    both(&[], 0);
}

/// A file of three tensors, one of them empty.
fn safetensors() -> Vec<u8> {
    let header = concat!(
        r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[100,64],"data_offsets":[0,25600]},"#,
        r#""b":{"dtype":"BF16","shape":[],"data_offsets":[25600,25602]},"c":{"dtype":"U8","shape":[0],"data_offsets":[25602,25602]}}"#
    );
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    let data = (0..25_602u32).map(|i| u8::try_from(i % 241).unwrap());
    length.into_iter().chain(header.bytes()).chain(data).collect()
}
