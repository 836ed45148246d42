//! `cargo xtask generate`: writes a model of random weights, for experiments and benches.

use std::path::Path;

use weighbridge_formats::generate::{Llama, Summary};
use weighbridge_formats::generate_gguf::{Gguf, Variant};

use crate::Result;

pub(crate) fn run(arguments: &[String]) -> Result {
    let (mut folder, mut variant, mut bytes, mut shards, mut seed) = (None, None, None, 1, 0);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let number = |value: Option<&String>| match value.map(|value| value.replace('_', "").parse::<u64>()) {
            Some(Ok(number)) => Ok(number),
            _ => Err(format!("{argument} takes a number")),
        };
        match argument.as_str() {
            "--bytes" => bytes = Some(number(arguments.next())?),
            "--shards" => shards = number(arguments.next())?,
            "--seed" => seed = number(arguments.next())?,
            "--gguf" => variant = Some(self::variant(arguments.next())?),
            path if folder.is_none() && !path.starts_with('-') => folder = Some(Path::new(path)),
            other => return Err(format!("unknown argument '{other}'").into()),
        }
    }
    let folder = folder.ok_or("where to? DIR is missing")?;
    let bytes = bytes.ok_or("how large? --bytes is missing")?;
    let Summary { files, bytes, tensors } = match variant {
        None => Llama::of_size(bytes, shards, seed).write(folder)?,
        Some(variant) => {
            let parts = u16::try_from(shards).map_err(|_| "a split has at most 65535 parts")?;
            Gguf { parts, ..Gguf::of_size(bytes, variant, seed) }.write(folder)?
        }
    };
    println!("{}: {} files, {tensors} tensors, {bytes} bytes", folder.display(), files.len());
    Ok(())
}

fn variant(name: Option<&String>) -> Result<Variant> {
    let named = VARIANTS.iter().find(|(known, _)| name.is_some_and(|name| name == known));
    let names = || VARIANTS.map(|(name, _)| name).join(", ");
    named.map(|(_, variant)| *variant).ok_or_else(|| format!("--gguf takes one of {}", names()).into())
}

/// The variants, with the names that also stand in the names of the written files.
const VARIANTS: [(&str, Variant); 8] = [
    ("F32", Variant::F32),
    ("F16", Variant::F16),
    ("BF16", Variant::Bf16),
    ("Q8_0", Variant::Q8),
    ("Q4_0", Variant::Q4),
    ("Q4_K_S", Variant::Q4KSmall),
    ("Q4_K_M", Variant::Q4KMedium),
    ("EVERY", Variant::Every),
];
