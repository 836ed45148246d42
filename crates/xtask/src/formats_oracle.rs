//! Compares model files with the PyPI packages `gguf`, `safetensors` and `mlx`: the names, dtypes, shapes, offsets and
//! sizes of their files and of ours.

use std::fs;
use std::path::Path;

use weighbridge_formats::generate_gguf::{Gguf, Variant, Version};

use crate::gate::Outcome;
use crate::process::{built, command, root, run};
use crate::{Result, tools};

/// The gate's step.
pub(crate) fn check() -> Result<Outcome> {
    let python = match tools::python_with_formats() {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(format!("no other reader of the formats: {error}"))),
    };
    let weighbridge = built("weighbridge")?;
    let folder = root().join(format!("target/formats-oracle-{}", std::process::id()));
    let compared = write(&folder).and_then(|()| {
        run(command(python, "tests/reference/formats_oracle.py").arg(weighbridge).arg(&folder))
    });
    // The folder is useless after success and after failure.
    let _ = fs::remove_dir_all(&folder);
    compared.map(|()| Outcome::Passed)
}

/// Writes models with every dtype, in both versions, whole and split, with small and large alignments.
fn write(folder: &Path) -> Result {
    let every = Gguf { variant: Variant::Every, ..Gguf::small(1) };
    let models = [
        every.clone(),
        Gguf { version: Version::V2, parts: 4, ..every.clone() },
        Gguf { alignment: 8, ..every },
        Gguf { alignment: 4096, parts: 2, ..Gguf::small(2) },
    ];
    for (number, model) in models.iter().enumerate() {
        let _ = model.write(&folder.join(number.to_string()))?;
    }
    Ok(())
}
