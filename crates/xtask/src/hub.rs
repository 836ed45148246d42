//! Our caches and our server beside the PyPI package `huggingface_hub`, and other clients that nobody here wrote.

use std::path::Path;

use crate::gate::Outcome;
use crate::process::{built, command, run};
use crate::{Result, real_model, tools};

/// The gate's step: weighs, verifies, proves and mends a cache that the package made.
pub(crate) fn cache() -> Result<Outcome> {
    script("tests/reference/hub_cache.py", None)
}

/// The gate's step: loads the real model from our server.
pub(crate) fn clients() -> Result<Outcome> {
    match real_model::fetched() {
        Some(model) => script("tests/reference/hub_clients.py", Some(&model)),
        None => Ok(Outcome::Skipped("the model was not downloaded".to_owned())),
    }
}

/// Runs a script that imports the package, with the command, and a model if it takes one.
fn script(script: &str, model: Option<&Path>) -> Result<Outcome> {
    let python = match tools::python_with_hub() {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(format!("no client of the hub: {error}"))),
    };
    run(command(python, script).arg(built("weighbridge")?).args(model)).map(|()| Outcome::Passed)
}
