//! `cargo xtask generate`: a model of random weights, for trying things out and for benches.

use std::path::Path;

use weighbridge_formats::generate::Llama;

use crate::Result;

pub(crate) fn run(arguments: &[String]) -> Result {
    let (mut folder, mut bytes, mut shards, mut seed) = (None, None, 1, 0);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || match arguments.next().map(|value| value.replace('_', "").parse::<u64>()) {
            Some(Ok(number)) => Ok(number),
            _ => Err(format!("{argument} takes a number")),
        };
        match argument.as_str() {
            "--bytes" => bytes = Some(number()?),
            "--shards" => shards = number()?,
            "--seed" => seed = number()?,
            path if folder.is_none() && !path.starts_with('-') => folder = Some(Path::new(path)),
            other => return Err(format!("unknown argument '{other}'").into()),
        }
    }
    let folder = folder.ok_or("where to? DIR is missing")?;
    let bytes = bytes.ok_or("how large? --bytes is missing")?;
    let summary = Llama::of_size(bytes, shards, seed).write(folder)?;
    println!(
        "{}: {} files, {} tensors, {} bytes",
        folder.display(),
        summary.files.len(),
        summary.tensors,
        summary.bytes
    );
    Ok(())
}
