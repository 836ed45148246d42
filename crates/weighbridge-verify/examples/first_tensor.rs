//! A loader that starts on the first complete tensor, while the chunks of a model still arrive in any order.
//!
//! `cargo run -p weighbridge-verify --example first_tensor`

#[path = "small_model/mod.rs"]
mod small_model;

use std::error::Error;

use small_model::{CHUNK, SmallModel};
use weighbridge_verify::{ModelVerifier, ReadyTensors};

fn main() -> Result<(), Box<dyn Error>> {
    // The publisher's part: a model with its signed metadata. A node has the lists and layers, but not the weights.
    let SmallModel { weights, files, tensors, layers } = SmallModel::weigh(40)?;
    let verifier = ModelVerifier::new(files)?;
    verifier.accept_layers(&layers)?;
    let ready = ReadyTensors::new(verifier.files(), tensors)?;

    // All chunks arrive, shuffled.
    let count = verifier.file(0)?.count();
    let mut memory = vec![0; weights.len()];
    let mut loaded: Vec<(u64, String)> = Vec::new();
    for nth in 0..count {
        // 7919 is coprime to the count of a small model, so every chunk comes once.
        let index = nth * 7919 % count;
        let from = usize::try_from(index)? * CHUNK;
        let arrived = &weights[from..weights.len().min(from + CHUNK)];

        // Only accepted chunks are written.
        let chunk = verifier.accept(0, index, arrived)?;
        memory[from..from + arrived.len()].copy_from_slice(chunk.bytes());
        for (_, tensor) in ready.record(&chunk) {
            let start = usize::try_from(tensor.offset)?;
            let bytes = &memory[start..start + usize::try_from(tensor.size)?];
            // A real loader would hand the bytes to a device here.
            println!(
                "after chunk {:>2} of {count}: {} {:?}, {} bytes",
                nth + 1,
                tensor.name.as_str(),
                tensor.shape,
                bytes.len()
            );
            loaded.push((nth, tensor.name.as_str().to_owned()));
        }
    }

    let (first, _) = loaded.first().ok_or("no tensor was loaded")?;
    assert!(*first < count - 1, "the first tensor came before the last chunk");
    assert_eq!((loaded.len(), ready.waiting()), (40, 0));
    assert!(verifier.finish()?.is_whole());
    assert!(memory == weights);
    Ok(())
}
