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
        lacking: Lacking::Some("the real model is not checked, formats not compared with their own readers"),
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
    Tool {
        // Debian has it where only root looks.
        program: "sh",
        probe: &["-c", "PATH=$PATH:/usr/sbin:/usr/local/sbin nginx -v"],
        package: "nginx",
        lacking: Lacking::Some("tests that need nginx are skipped"),
    },
    Tool {
        program: "tmux",
        probe: &["-V"],
        package: "tmux",
        lacking: Lacking::Some("nobody looks at what fetch shows on a terminal"),
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
/// Only the model's download, the hashing of long files and other readers of formats need it; vectors run on any Python alone.
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

/// As [`python`], with the PyPI packages `gguf`, which brings `numpy`, `safetensors` and `mlx`: the versions of which
/// `spec/tensors.md` and `spec/gguf.md` speak.
pub(crate) fn python_with_formats() -> Result<PathBuf> {
    let python = python()?;
    if output(command(&python, "").args(["-c", "import gguf, numpy, safetensors, mlx.core"])).is_none() {
        let packages = "gguf==0.19.0 safetensors==0.8.0 mlx[cpu]==0.32.4";
        let install = format!("-m pip install --quiet --no-input --only-binary :all: {packages}");
        run(&mut command(&python, &install))?;
    }
    Ok(python)
}

/// As [`python`], with the PyPI package `huggingface_hub`: the version of whose caches `spec/model-folder.md` speaks.
pub(crate) fn python_with_hub() -> Result<PathBuf> {
    let python = python()?;
    if output(command(&python, "").args(["-c", "import huggingface_hub"])).is_none() {
        let install = "-m pip install --quiet --no-input --only-binary :all: huggingface_hub==2.4.0";
        run(&mut command(&python, install))?;
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
    if !succeeds("apt-get", "--version") {
        return Err(format!("'{package}' is missing, and there is no apt-get to install it").into());
    }
    let mut install = command(as_root[0], "");
    install.args(&as_root[1..]).args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL, "install"]);
    run(install.arg(package)).map_err(|_| format!("'{package}' could not be installed").into())
}

/// Installs the package that it is given. Nothing that comes with it is started, now or when the machine is: we want
/// programs, not services. A policy that is there already stays.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy || exit
fi
install() { apt-get install -y -q --no-install-recommends "$1"; }
# A fresh image has no package lists.
install "$1" || { apt-get update -q && install "$1"; } || exit
update-rc.d "$1" disable 2>/dev/null || :
"#;
