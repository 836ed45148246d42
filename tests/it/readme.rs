//! The README's commands work, and print what the README shows.

use std::{env, fs, process::Command};

use crate::command::kit::{Ran, World, binary, root};

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// Runs lines of shell in which `weighbridge` is the command of these tests, and every network source is the folder
/// `served`; an import is from a hub that has that folder.
pub(crate) fn as_a_shell_runs(world: &World, lines: &str) -> Ran {
    let mut offline = lines.to_owned();
    for (place, folder) in [
        ("https://one.example/model", "served"),
        ("https://two.example/model", "./served"),
        ("hf://org/model", "served/"),
        ("s3://bucket/model", "served"),
    ] {
        offline = offline.replace(place, folder);
    }
    #[cfg(unix)]
    let hub = hub_of(world, &offline);
    #[cfg(unix)]
    let endpoint = hub.as_ref().map(weighbridge_testkit::servers::Hub::url);
    #[cfg(not(unix))]
    let endpoint: Option<String> = None;
    let folder = binary().parent().unwrap();
    let paths = env::var_os("PATH").unwrap();
    let paths = env::join_paths([folder.to_owned()].into_iter().chain(env::split_paths(&paths))).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &offline]);
    shell.env("PATH", paths).envs(endpoint.map(|endpoint| ("HF_ENDPOINT", endpoint)));
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"] {
        shell.env_remove(name);
    }
    shell.env("HOME", world.path(""));
    Ran::of(world.at_home(&mut shell).env("WEIGHBRIDGE_PASSPHRASE", "correct horse"))
}

/// A hub that has, as `v1.0` of `org/other`, the folder which the lines compare with it, or what they import.
#[cfg(unix)]
fn hub_of(world: &World, lines: &str) -> Option<weighbridge_testkit::servers::Hub> {
    let (before, _) = lines.split_once("hf://org/other")?;
    let compared = before.strip_suffix(" --hub ").and_then(|before| before.rsplit(' ').next());
    let folder = world.path(compared.unwrap_or("served"));
    let hub = weighbridge_testkit::servers::Hub::start();
    let commit = hub.commit("org/other", &folder);
    hub.name("org/other", "v1.0", &commit);
    Some(hub)
}

/// Runs every command of the README. Before this test, only the demo was ever run.
#[test]
#[cfg(unix)]
fn every_command_of_the_readme_works() {
    let readme = readme();
    let (_, behind) = readme.split_once("## On your own model").unwrap();
    let blocks = behind.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let world = World::with_model();
    world.rename("llama", "MODEL");
    let mut count = 0;
    for block in blocks {
        let lines: String =
            block.lines().filter(|line| !line.starts_with("$ cargo ")).fold(String::new(), |all, line| {
                count += usize::from(line.starts_with("$ "));
                all + line.strip_prefix("$ ").unwrap_or(line) + "\n"
            });
        as_a_shell_runs(&world, &lines).done();
        // Copies of the model for the commands that read a mirror, a snapshot or another release.
        for folder in ["served", "SNAPSHOT", "OLD", "NEW"].into_iter().filter(|folder| !world.exists(folder))
        {
            world.copy("MODEL", folder);
        }
    }
    assert!(count > 20, "{count} commands were found");
}

#[test]
fn the_demo_is_as_the_readme_shows_it() {
    let readme = readme();
    let (_, behind) = readme.split_once("$ cargo run --release -- demo\n").unwrap();
    let (shown, _) = behind.split_once("```").unwrap();
    let ran = World::empty().run("demo");
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(without_what_varies(&ran.stdout), without_what_varies(shown));
    assert!(shown.lines().count() <= 40);
}

/// Replaces keys, ids of signed texts, ports and times, which are new in each run.
fn without_what_varies(text: &str) -> String {
    let mut ids: Vec<String> = Vec::new();
    // Each id gets the same name throughout.
    let mut name = |id: &str| {
        let known = ids.iter().position(|known| known == id);
        known.unwrap_or_else(|| {
            ids.push(id.to_owned());
            ids.len() - 1
        })
    };
    let mut word = |word: &str| match word {
        _ if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) => format!("ID{}", name(word)),
        _ if word.starts_with("demo+") => "VKEY".to_owned(),
        _ if word.starts_with("http://127.0.0.1:") => "URL".to_owned(),
        _ => word.to_owned(),
    };
    // The chunk by which a liar is found out depends on timing.
    let lines = text.lines().map(|line| match line.split_once("  lied: ") {
        Some((source, _)) => source,
        None => line,
    });
    lines.map(|line| line.split(' ').map(&mut word).collect::<Vec<_>>().join(" ") + "\n").collect()
}
