//! What the tasks need of the machine: looked for, installed where that is possible, missed aloud where it is not.

use std::path::PathBuf;

use crate::Result;
use crate::process::{cargo, command, output, root, run, succeeds};

/// A program, a way to see that it is there, the Debian package that brings it, and what lacks without it.
struct Tool {
    program: &'static str,
    probe: &'static [&'static str],
    package: &'static str,
    lacking: Lacking,
}

enum Lacking {
    /// The gate cannot go on.
    Everything,
    /// Only this.
    Some(&'static str),
}

const TOOLS: &[Tool] = &[
    Tool { program: "python3", probe: &["--version"], package: "python3", lacking: Lacking::Everything },
    Tool {
        program: "python3",
        probe: &["-c", "import ensurepip"],
        package: "python3-venv",
        lacking: Lacking::Some("the real model is not checked"),
    },
    Tool {
        program: "openssl",
        probe: &["version"],
        package: "openssl",
        lacking: Lacking::Some("tests that sign with OpenSSL fail"),
    },
    Tool {
        program: "c++",
        probe: &["--version"],
        package: "g++",
        lacking: Lacking::Some("fuzz targets do not link"),
    },
];

/// Installs what is missing, as far as that needs no question.
///
/// Rust toolchains are never downloaded: which one is used is the developer's choice.
pub(crate) fn prepare() -> Result {
    for tool in TOOLS {
        if output(command(tool.program, "").args(tool.probe)).is_some() {
            continue;
        }
        let Err(error) = install_package(tool.package) else { continue };
        match tool.lacking {
            Lacking::Everything => return Err(error),
            Lacking::Some(what) => println!("{error}; going on, {what}"),
        }
    }
    match nightly() {
        None => println!("no nightly toolchain (`rustup toolchain list`): fuzzing will be skipped"),
        Some(_) if succeeds("cargo-fuzz", "--version") => {}
        Some(_) => {
            if let Err(error) = run(&mut cargo("install cargo-fuzz --locked")) {
                println!("{error}; going on, fuzzing will be skipped");
            }
        }
    }
    Ok(())
}

/// The name of an installed nightly toolchain.
pub(crate) fn nightly() -> Option<String> {
    let list = output(&mut command("rustup", "toolchain list"))?;
    list.lines()
        .filter_map(|line| line.split(' ').next())
        .find(|name| name.starts_with("nightly"))
        .map(Into::into)
}

/// The Python of an environment in `target/` that has pip, made if need be.
///
/// Only the model's download and the hashing of long files need it; vectors run on any Python alone.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = root().join("target/python");
    let python = folder.join("bin/python");
    let works = || output(command(&python, "").args(["-c", "import pip"])).is_some();
    if !works() {
        run(command("python3", "-m venv --clear").arg(&folder))?;
    }
    Ok(python)
}

/// As [`python`], with the PyPI package `blake3`.
pub(crate) fn python_with_blake3() -> Result<PathBuf> {
    let python = python()?;
    if output(command(&python, "").args(["-c", "import blake3"])).is_none() {
        run(&mut command(&python, "-m pip install --quiet --no-input --only-binary :all: blake3"))?;
    }
    Ok(python)
}

fn install_package(package: &str) -> Result {
    let as_root: &[&str] = if output(&mut command("id", "-u")).is_some_and(|id| id.trim() == "0") {
        &["env"]
    } else if succeeds("sudo", "-n true") {
        &["sudo", "-n", "env"]
    } else {
        return Err(format!("'{package}' is missing, and nobody here may install it").into());
    };
    let apt = |arguments: &str| {
        let mut apt = command(as_root[0], "");
        apt.args(&as_root[1..]).arg("DEBIAN_FRONTEND=noninteractive").arg("apt-get");
        run(apt.args(arguments.split(' ')))
    };
    apt(&format!("install -y -q --no-install-recommends {package}"))
        // A fresh image has no package lists.
        .or_else(|_| {
            apt("update -q").and_then(|()| apt(&format!("install -y -q --no-install-recommends {package}")))
        })
        .map_err(|error| format!("'{package}' could not be installed: {error}").into())
}
