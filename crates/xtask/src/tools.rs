//! The programs that the tasks need: each is looked for, and installed if possible; otherwise a message tells what is
//! lost.

use std::path::PathBuf;

use crate::Result;
use crate::process::{cargo, command, output, root, run, succeeds};

/// A program, a command that succeeds if it exists, its Debian package, and the loss without it.
struct Tool {
    program: &'static str,
    probe: &'static [&'static str],
    package: &'static str,
    lacking: Lacking,
}

enum Lacking {
    /// The gate cannot go on without the tool.
    Everything,
    /// Only this is lost.
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
        lacking: Lacking::Some("fuzz targets and C++ programs do not link"),
    },
    Tool {
        program: "pkg-config",
        probe: &["--version"],
        package: "pkg-config",
        lacking: Lacking::Some("the C library is not tested"),
    },
    Tool {
        program: "valgrind",
        probe: &["--version"],
        package: "valgrind",
        lacking: Lacking::Some("nobody watches the memory and the threads of C programs"),
    },
    Tool {
        // Debian installs nginx in a folder that is only in root's PATH.
        program: "sh",
        probe: &["-c", "PATH=$PATH:/usr/sbin:/usr/local/sbin nginx -v"],
        package: "nginx",
        lacking: Lacking::Some("tests that need nginx are skipped"),
    },
    Tool {
        program: "curl",
        probe: &["--version"],
        package: "curl",
        lacking: Lacking::Some("servers are not asked by curl"),
    },
    Tool {
        program: "aria2c",
        probe: &["--version"],
        package: "aria2",
        lacking: Lacking::Some("servers are not asked by aria2"),
    },
    Tool {
        program: "ip",
        probe: &["-V"],
        package: "iproute2",
        lacking: Lacking::Some("a swarm is not measured on shaped links"),
    },
    Tool {
        program: "tmux",
        probe: &["-V"],
        package: "tmux",
        lacking: Lacking::Some("nobody looks at what fetch shows on a terminal"),
    },
];

/// Installs missing tools, as far as that needs no question.
///
/// Never downloads Rust toolchains: developers choose their own.
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

/// The Python of a virtual environment with pip in `target/`, which is made if it does not exist.
///
/// Only the model's download, the hashing of long files and the comparison of formats need it; vectors need any Python
/// alone.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = root().join("target/python");
    let python = folder.join("bin/python");
    let works = || output(command(&python, "").args(["-c", "import pip"])).is_some();
    if !works() {
        run(command("python3", "-m venv --clear").arg(&folder))?;
    }
    Ok(python)
}

/// Does the same as [`python`], and adds the PyPI package `blake3`.
pub(crate) fn python_with_blake3() -> Result<PathBuf> {
    let python = python()?;
    if output(command(&python, "").args(["-c", "import blake3"])).is_none() {
        run(&mut command(&python, "-m pip install --quiet --no-input --only-binary :all: blake3"))?;
    }
    Ok(python)
}

/// Does the same as [`python`], and adds the PyPI packages `gguf` (which brings `numpy`), `safetensors` and `mlx`, in
/// the versions that `spec/tensors.md` and `spec/gguf.md` name.
pub(crate) fn python_with_formats() -> Result<PathBuf> {
    let python = python()?;
    if output(command(&python, "").args(["-c", "import gguf, numpy, safetensors, mlx.core"])).is_none() {
        let packages = "gguf==0.19.0 safetensors==0.8.0 mlx[cpu]==0.32.4";
        let install = format!("-m pip install --quiet --no-input --only-binary :all: {packages}");
        run(&mut command(&python, &install))?;
    }
    Ok(python)
}

/// Does the same as [`python_with_formats`], and adds `pytest`.
pub(crate) fn python_with_pytest() -> Result<PathBuf> {
    let python = python_with_formats()?;
    if output(command(&python, "").args(["-c", "import pytest"])).is_none() {
        run(&mut command(&python, "-m pip install --quiet --no-input --only-binary :all: pytest"))?;
    }
    Ok(python)
}

/// Another virtual environment, with what loads models: torch, transformers, and what their tests need.
pub(crate) fn python_with_loaders() -> Result<PathBuf> {
    let folder = root().join("target/python-loaders");
    let python = folder.join("bin/python");
    if output(command(&python, "").args(["-c", "import torch, transformers, safetensors, fsspec, pytest"]))
        .is_none()
    {
        run(command("python3", "-m venv --clear").arg(&folder))?;
        let packages = "torch transformers safetensors==0.8.0 numpy fsspec pytest";
        run(&mut command(&python, &format!("-m pip install --quiet --no-input {packages}")))?;
    }
    Ok(python)
}

/// Does the same as [`python`], and adds the PyPI packages `huggingface_hub`, in the version that `spec/model-folder.md`
/// names, and `prometheus_client`.
pub(crate) fn python_with_hub() -> Result<PathBuf> {
    let python = python()?;
    if output(command(&python, "").args(["-c", "import huggingface_hub, prometheus_client"])).is_none() {
        let install =
            "-m pip install --quiet --no-input --only-binary :all: huggingface_hub==2.4.0 prometheus_client";
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

/// Installs the Debian package in `$1`. A policy keeps its services from starting, because only the programs are
/// needed, and services stay disabled at boot. An existing policy is not replaced.
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
