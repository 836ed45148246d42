//! Installs the command, its manual pages and its completions under a prefix, in the usual folders.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::gate::Outcome;
use crate::process::{built, cargo, command, output, root, run as run_command, target};

/// Each shell, with the path below the prefix where it looks for the script.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "share/bash-completion/completions/weighbridge"),
    ("zsh", "share/zsh/site-functions/_weighbridge"),
    ("fish", "share/fish/vendor_completions.d/weighbridge.fish"),
];

/// Installs a release build, with the arguments `--prefix DIR`.
pub(crate) fn run(arguments: &[String]) -> Result {
    let [flag, prefix] = arguments else { return Err("takes --prefix DIR".into()) };
    if flag != "--prefix" {
        return Err(format!("takes --prefix DIR, found '{flag}'").into());
    }
    run_command(&mut cargo("build --release --locked --package weighbridge-cli"))?;
    install(&target()?.join("release/weighbridge"), &std::path::absolute(prefix)?)?;
    println!("installed under {prefix}: bin, share/man, and completions for bash, zsh and fish");
    Ok(())
}

/// Installs the built command.
fn install(built: &Path, prefix: &Path) -> Result {
    let name = format!("bin/weighbridge{EXE_SUFFIX}");
    fs::create_dir_all(prefix.join("bin"))?;
    // Rename a new file into place, because a running command keeps its file.
    let unnamed = prefix.join("bin/.weighbridge.new");
    fs::copy(built, &unnamed)?;
    let weighbridge = prefix.join(name);
    fs::rename(&unnamed, &weighbridge)?;
    run_command(command(&weighbridge, "man -o").arg(prefix.join("share/man/man1")))?;
    for (shell, place) in COMPLETIONS {
        let script = output(command(&weighbridge, "completions").arg(shell));
        let place = prefix.join(place);
        fs::create_dir_all(place.parent().unwrap_or(prefix))?;
        fs::write(&place, script.ok_or_else(|| format!("there are no completions for {shell}"))?)?;
    }
    Ok(())
}

/// Installs the build of the tests, and checks that every file is there.
pub(crate) fn check() -> Result<Outcome> {
    let prefix = root().join("target/installed");
    if prefix.exists() {
        fs::remove_dir_all(&prefix)?;
    }
    install(&built("weighbridge")?, &prefix)?;
    let pages = ["share/man/man1/weighbridge.1", "share/man/man1/weighbridge-audit-check.1"];
    let places = COMPLETIONS.iter().map(|(_, place)| *place).chain(pages).chain(["bin/weighbridge"]);
    for place in places {
        if !fs::metadata(prefix.join(place)).is_ok_and(|file| file.len() > 0) {
            return Err(format!("{place} was not installed").into());
        }
    }
    Ok(Outcome::Passed)
}
