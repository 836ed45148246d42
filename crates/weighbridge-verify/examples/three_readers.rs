//! A node that reads one model from three mirrors at once. One mirror lies: it is named, and the model completes.
//!
//! `cargo run -p weighbridge-verify --example three_readers`

#[path = "small_model/mod.rs"]
mod small_model;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Mutex, PoisonError},
    thread,
};

use small_model::{CHUNK, SmallModel};
use weighbridge_verify::{Coded, ModelVerifier};

/// A source of chunks, which is not trusted.
type Mirror<'a> = &'a (dyn Fn(u64) -> Vec<u8> + Sync);

fn main() -> Result<(), Box<dyn Error>> {
    let SmallModel { weights, files, layers, .. } = SmallModel::weigh(40)?;
    let verifier = ModelVerifier::new(files)?;
    verifier.accept_layers(&layers)?;
    let count = verifier.file(0)?.count();

    let honest = |index: u64| {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        weights.chunks(CHUNK).nth(at).unwrap_or_default().to_vec()
    };
    let liar = |index: u64| {
        let mut bytes = honest(index);
        bytes[0] ^= u8::from(index.is_multiple_of(2));
        bytes
    };
    let mirrors: [(&str, Mirror<'_>); 3] = [("north", &honest), ("east", &liar), ("south", &honest)];

    // The accepted bytes, by chunk; and the refusals, by mirror.
    let accepted = Mutex::new(BTreeMap::new());
    let blame = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for (nth, (name, mirror)) in (0..).zip(mirrors) {
            let (verifier, accepted, blame) = (&verifier, &accepted, &blame);
            scope.spawn(move || {
                // Each thread takes its own third first, then every chunk that is still missing: one mirror makes good
                // what another failed to send.
                let missing = |index: &u64| !verifier.file(0).is_ok_and(|file| file.is_accepted(*index));
                for index in (nth..count).step_by(3).chain((0..count).filter(missing)) {
                    let bytes = mirror(index);
                    match verifier.accept(0, index, &bytes) {
                        Ok(chunk) => drop(lock(accepted).insert(index, chunk.bytes().to_vec())),
                        Err(error) => lock(blame).entry(name).or_insert_with(Vec::new).push(error),
                    }
                }
            });
        }
    });

    for (name, faults) in &*lock(&blame) {
        println!("{name} lied {} times, first: {} [W{}]", faults.len(), faults[0], faults[0].error_code());
    }
    assert!(lock(&blame).keys().eq(["east"].iter()), "the liar is named, and nobody else");
    let model = verifier.finish()?;
    assert!(lock(&accepted).values().flatten().eq(&weights), "no other byte was used");
    println!("complete: {}", model.list().head().id());
    Ok(())
}

/// The map is valid even if a thread panicked: a chunk is inserted or it is not.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
