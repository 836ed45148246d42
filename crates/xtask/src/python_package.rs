//! The package `weighbridge` of Python: its tests run on the sources, with the native half as `cargo build` makes it; its
//! wheel is what users install.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::gate::Outcome;
use crate::process::{built, command, root, run, target};
use crate::{Result, real_model, tools};

const SOURCE: &str = "crates/weighbridge-python";

/// The gate's step.
pub(crate) fn check() -> Result<Outcome> {
    let python = match tools::python_with_pytest() {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(format!("no pytest: {error}"))),
    };
    let weighbridge = built("weighbridge")?;
    let package = put_together()?;
    let mut test = pytest(&python, &package, &weighbridge);
    test.envs(real_model::fetched().map(|model| (real_model::VARIABLE, model)));
    run(test.arg(root().join(SOURCE).join("tests")))?;
    Ok(Outcome::Passed)
}

/// Holds the package against torch, transformers and the tests that safetensors has of its own, which are large to install.
pub(crate) fn loaders() -> Result {
    let python = tools::python_with_loaders()?;
    let (weighbridge, package, source) = (built("weighbridge")?, put_together()?, root().join(SOURCE));
    run(pytest(&python, &package, &weighbridge).arg(source.join("tests")))?;
    run(pytest(&python, &package, &weighbridge).args(["-W", "ignore"]).arg(source.join("loaders")))?;
    let theirs = root().join("target/safetensors");
    if theirs.exists() {
        fs::remove_dir_all(&theirs)?;
    }
    fs::create_dir_all(&theirs)?;
    let release = "safetensors-0.8.0";
    let download = "-m pip download --quiet --no-input --no-deps --no-binary :all: safetensors==0.8.0 -d";
    run(command(&python, download).arg(&theirs))?;
    run(command("tar", "-xzf").arg(theirs.join(format!("{release}.tar.gz"))).arg("-C").arg(&theirs))?;
    let tests = theirs.join(release).join("bindings/python");
    // The tests of numpy and torch; the others need frameworks that are not installed.
    let files =
        ["handle", "simple", "multithreaded", "pread_backend", "pt_comparison", "pt_model", "threadable"];
    let mut test = pytest(&python, &package, &weighbridge);
    test.args(["-p", "surface", "-W", "ignore", "-rs"]).current_dir(&tests);
    test.env("PYTHONPATH", env::join_paths([&package, &source.join("loaders")])?);
    // The package beside the tests is not the one that is installed.
    run(test.args(["--import-mode", "importlib"]).args(files.map(|name| format!("tests/test_{name}.py"))))
}

/// Puts the package together from its halves, in a folder of its own: beside the sources nothing is written.
fn put_together() -> Result<PathBuf> {
    let package = root().join("target/python-package");
    if package.exists() {
        fs::remove_dir_all(&package)?;
    }
    copy(&root().join(SOURCE).join("python"), &package)?;
    fs::copy(library()?, package.join("weighbridge/_native.abi3.so"))?;
    Ok(package)
}

fn pytest(python: &Path, package: &Path, weighbridge: &Path) -> Command {
    let mut test = command(python, "-m pytest -q -p no:cacheprovider");
    test.env("PYTHONPATH", package).env("PYTHONDONTWRITEBYTECODE", "1").env("WEIGHBRIDGE", weighbridge);
    test
}

/// Builds the wheel, and checks that it keeps to the stable interface of Python.
pub(crate) fn wheel() -> Result {
    let python = tools::python()?;
    run(&mut command(&python, "-m pip install --quiet --no-input maturin abi3audit"))?;
    let wheels = root().join("target/wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels)?;
    }
    let mut build = command(&python, "-m maturin build --release --quiet --manifest-path");
    let bin = python.parent().ok_or("no folder of programs")?;
    let paths = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let paths = env::join_paths([bin.to_owned()].into_iter().chain(paths))?;
    run(build.arg(root().join(SOURCE).join("Cargo.toml")).arg("--out").arg(&wheels).env("PATH", paths))?;
    for entry in fs::read_dir(&wheels)? {
        let wheel = entry?.path();
        run(command(&python, "-m abi3audit --strict --report").arg(&wheel))?;
        println!("{}", wheel.display());
    }
    Ok(())
}

fn library() -> Result<PathBuf> {
    let folder = target()?.join("debug");
    let names = ["lib_native.so", "lib_native.dylib", "_native.dll"];
    let found = names.iter().map(|name| folder.join(name)).find(|library| library.exists());
    found.ok_or_else(|| "the library was not built".into())
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, place) = (entry.file_name(), entry.path());
        if entry.file_type()?.is_dir() {
            if name != "__pycache__" {
                copy(&place, &to.join(name))?;
            }
        } else {
            fs::copy(&place, to.join(name))?;
        }
    }
    Ok(())
}
