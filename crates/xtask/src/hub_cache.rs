//! Weighs, verifies, proves and mends a cache that the PyPI package `huggingface_hub` made.

use crate::gate::Outcome;
use crate::process::{built, command, run};
use crate::{Result, tools};

/// The gate's step.
pub(crate) fn check() -> Result<Outcome> {
    let python = match tools::python_with_hub() {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(format!("no client of the hub: {error}"))),
    };
    run(command(python, "tests/reference/hub_cache.py").arg(built("weighbridge")?)).map(|()| Outcome::Passed)
}
