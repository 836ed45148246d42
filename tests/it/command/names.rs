//! Names that could pass for other names, or control a terminal, are shown escaped and refused by signers.

use super::kit::{Ran, World};

/// Regression: a proof that `m<U+FE0F>odel.pkl` is absent was shown as `absent   model.pkl`, since the selector is
/// invisible.
#[test]
fn an_absent_path_is_not_shown_as_another_path() {
    let world = World::weighed();
    for (path, shown) in [
        ("m\u{fe0f}odel.pkl", "m\\u{fe0f}odel.pkl"),
        ("model.pkl\u{3164}", "model.pkl\\u{3164}"),
        ("model.pkl ", "model.pkl\\u{20}"),
        ("\u{301}model.pkl", "\\u{301}model.pkl"),
    ] {
        world.run_with("prove llama -o proof --absent", &[path]).done();
        let line = format!("absent   {shown}\n");
        let ran = world.run("check proof --name org/llama --vkey @alice").done();
        ran.expect(ran.stdout.contains(&line), &line);
        // Programs get the path itself, but the printed JSON has no invisible character either.
        let ran = world.run("check proof --name org/llama --vkey @alice --json").done();
        ran.expect(ran.objects().iter().any(|object| object["path"] == path), "the path as it is");
        ran.expect(!ran.stdout.contains(['\u{fe0f}', '\u{3164}']), "no unseen character");
        // The proof does not show the absence of the other name.
        let ran = world.run("check proof --name org/llama --vkey @alice --absent model.pkl");
        ran.refused(2507, "the proof does not show what is wanted: no model.pkl");
    }
}

/// Regression: names on the command line reached the terminal unescaped. A shell pattern may pass any file name of a
/// folder.
#[test]
#[cfg(unix)]
fn file_names_on_the_command_line_steer_no_terminal() {
    let world = World::weighed();
    let name = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
    world.write(&format!("r/{name}"), "no report");
    world.write(&format!("d{name}/x"), "");
    let (report, folder) = (format!("r/{name}"), format!("d{name}"));
    world.run("prove llama -o proof --file config.json").done();
    let trust = "--name org/llama --vkey @alice";
    let runs: &[(String, &[&str])] = &[
        (format!("check proof {trust} --max-age 1d --report"), &[&report]),
        (format!("check proof {trust} --receipt"), &[&report]),
        (format!("check {trust}"), &[&report]),
        (format!("check proof {trust} --slice"), &[&report]),
        ("inspect".into(), &[&report]),
        (format!("verify {trust}"), &[&folder]),
        (format!("verify {trust}"), &[&report]),
        (format!("verify llama {trust} --meta"), &[&folder]),
        (format!("verify llama {trust} --trust"), &[&report]),
        ("verify llama --name org/llama --vkey".into(), &[&report]),
        ("verify llama --vkey @alice --name".into(), &[name]),
        (format!("verify llama {trust} --only"), &[&format!("[{name}")]),
        (format!("verify llama {trust} --state"), &[&report]),
        (format!("fetch -o out {trust}"), &[&report]),
        (format!("fetch llama {trust} -o"), &[&report]),
        ("fetch llama -o out --vkey @alice --head".into(), &[name]),
        ("weigh --name org/x".into(), &[&folder, "-o", &report]),
        ("weigh llama --force --name org/x --key".into(), &[&report]),
        ("sign --key @alice.key".into(), &[&folder]),
        ("prove llama --file".into(), &[name]),
        ("prove llama --tensor".into(), &[&report]),
        ("prove llama --file config.json -o".into(), &[&folder]),
        ("diff llama --vkey @alice".into(), &[&folder]),
        ("keygen -o keys2 --unencrypted".into(), &[name]),
        ("keygen alice --unencrypted -o".into(), &[&report]),
        ("vkey bob".into(), &[&report]),
        ("audit challenge llama --vkey @alice --key @alice.key -o c --prover".into(), &[&report]),
        ("audit respond llama --key @alice.key -o r2".into(), &[&report]),
        (String::new(), &[name]),
    ];
    for (line, words) in runs {
        for json in [&[][..], &["--json"]] {
            // Words are divided by single spaces, so an empty line would become one empty word.
            let mut command = world.command(if line.is_empty() { "--json" } else { line });
            let ran = Ran::of(command.args(*words).args(if line.is_empty() { &[] } else { json }));
            ran.expect(ran.status != Some(0), "a failure");
            let foreign = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            ran.expect(!ran.stdout.contains(foreign) && !ran.stderr.contains(foreign), "nothing to obey");
            ran.expect(
                ran.stderr.contains("owned") || ran.stderr.contains("error"),
                "an error that says something",
            );
        }
    }
}

/// Regression: the objects of a fetch had names of files in its folder unescaped, unlike those of every other command.
#[test]
#[cfg(unix)]
fn what_lies_in_the_folder_of_a_fetch_steers_no_terminal() {
    let world = World::weighed();
    let name = "\u{9b}31m\u{202e}";
    world.write(&format!("out/{name}"), "");
    let ran = world.run("fetch llama -o out --name org/llama --vkey @alice --json").done();
    let is_told = |object: &serde_json::Value| object["event"] == "extra" && object["path"] == name;
    ran.expect(ran.objects().iter().any(is_told), "the name as it is");
    ran.expect(!ran.stdout.contains(['\u{9b}', '\u{202e}']), "nothing to obey");
}

/// Regression: a signer could list a file whose name looks like that of another file.
#[test]
fn signers_refuse_names_that_are_not_seen() {
    for (name, character) in [
        ("model\u{200b}.bin", "U+200B"),
        ("sub/\u{301}x", "U+0301"),
        ("sub\u{a0}folder/x", "U+00A0"),
        ("sub /x", "U+0020"),
        ("x\u{2800}", "U+2800"),
    ] {
        let world = World::empty();
        world.write("m/config.json", "{}");
        world.write(&format!("m/{name}"), "");
        let sentence = format!("the name has a character that is not seen, {character}");
        world.refused("weigh m --name org/m", 1424, &sentence);
    }
}

#[test]
fn signers_refuse_tensors_whose_names_are_not_seen() {
    let world = World::empty();
    let header = "{\"a\u{fe0f}\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header.bytes().chain([7]));
    world.write("m/model.safetensors", file);
    let sentence = "tensor 'a\\u{fe0f}': the name has a character that is not seen, U+FE0F";
    let ran = world.refused("weigh m --name org/m", 1424, sentence);
    ran.expect(ran.stderr.contains("--no-tensors"), "the way to cover it as a file");
    world.run("weigh m --name org/m --no-tensors").done();
}

/// `alice` and `alice<U+3164>` are two keys that look alike on a screen.
#[test]
fn keys_get_no_names_that_are_not_seen() {
    let world = World::empty();
    for name in ["alice\u{3164}", "\u{301}alice", "al\u{200d}ice", "a\u{1b}b"] {
        let ran = world.run_with("keygen --unencrypted -o keys", &[name]);
        ran.refused(1424, "the key's name has a character that is not seen");
        assert!(!world.exists("keys"));
    }
}
