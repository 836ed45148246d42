//! What the README shows is what happens.

use std::{fs, path::Path};

use crate::command::kit::World;

#[test]
fn the_demo_is_as_the_readme_shows_it() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, behind) = readme.split_once("$ cargo run --release -- demo\n").unwrap();
    let (shown, _) = behind.split_once("```").unwrap();
    let ran = World::empty().run("demo");
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(without_what_varies(&ran.stdout), without_what_varies(shown));
    assert!(shown.lines().count() <= 40);
}

/// Keys and the ids of what they sign are new each time, and so are ports and moments.
fn without_what_varies(text: &str) -> String {
    let mut ids: Vec<String> = Vec::new();
    // The same id has the same name throughout.
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
    // Which chunk gives a liar away, and whether the silent source was asked for long enough, is a matter of moments.
    let told = text.lines().filter(|line| !line.starts_with("source   http"));
    let lines =
        told.map(
            |line| if line.starts_with("source   ") { line.split(": ").next().unwrap_or(line) } else { line },
        );
    lines.map(|line| line.split(' ').map(&mut word).collect::<Vec<_>>().join(" ") + "\n").collect()
}
