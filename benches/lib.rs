//! The parts that the benchmarks share: a generated model, weighed and verified, and a generated stream.

pub mod node;
mod one_file;
pub mod plot;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use one_file::{Generated, OneFile, accept_all};

use weighbridge_formats::{
    generate::Llama,
    generate_gguf::{Gguf, Variant},
};
use weighbridge_manifest::{
    Expectation, Head, KeyName, ModelName, SignedHead, Time, TrustPolicy, VerifiedHead, WrittenFiles,
    WrittenTensors,
};
use weighbridge_publish::{SecretKey, Sha256Listing, Signing, TensorListing, Weighed, Weighing};
use weighbridge_tree::ChunkSize;

/// A generated model of about `bytes` bytes, kept in the target folder between runs.
///
/// # Errors
/// The error of the operating system.
pub fn model(bytes: u64) -> io::Result<PathBuf> {
    kept(&format!("llama-{bytes}"), |folder| Llama::of_size(bytes, 4, 1).write(folder).map(drop))
}

/// The same model size as one GGUF file, `Q4_K_M`.
///
/// # Errors
/// The error of the operating system.
pub fn gguf_model(bytes: u64) -> io::Result<PathBuf> {
    let gguf = |folder: &Path| Gguf::of_size(bytes, Variant::Q4KMedium, 1).write(folder).map(drop);
    kept(&format!("gguf-{bytes}"), gguf)
}

/// The folder of this name, written completely or not at all.
fn kept(name: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-models");
    let folder = target.join(name);
    if !folder.exists() {
        let new = target.join(format!("new-{name}"));
        let _ = fs::remove_dir_all(&new);
        write(&new)?;
        fs::rename(new, &folder)?;
    }
    Ok(folder)
}

/// A weighing with default settings.
///
/// # Panics
/// Never: the constants are well-formed.
pub fn weighing(model: &Path, tensors: TensorListing) -> Weighing<'_> {
    Weighing {
        model,
        name: name(),
        previous: None,
        created: epoch(),
        expires: None,
        chunk_size: None,
        tensors,
        sha256: Sha256Listing::Omit,
        ext: Vec::new(),
        reuse: None,
        take: None,
    }
}

/// The head of a model that exists only as lists.
///
/// # Panics
/// Never: the constants are well-formed.
#[must_use]
pub fn head(files: &WrittenFiles, tensors: Option<&WrittenTensors>, chunk_size: ChunkSize) -> Head {
    Head {
        name: name(),
        revision: 1,
        previous: None,
        created: epoch(),
        expires: None,
        bytes: files.bytes,
        files: files.list,
        root: files.root,
        tensors: tensors.map(|written| written.tensors),
        chunk_size,
        ext: Vec::new(),
    }
}

/// Signs a weighed model with a new key, and verifies the head.
///
/// # Panics
/// If the model cannot be signed or verified, since there is nothing to measure then.
#[allow(clippy::expect_used, reason = "a benchmark has nobody to return an error to")]
pub fn believed(weighed: &Weighed) -> VerifiedHead {
    let key = SecretKey::generate(KeyName::parse("bench").expect("a name")).expect("randomness");
    let mut signing = Signing::of_text(weighed.text.clone()).expect("a head");
    let signature = key.sign(signing.text().as_bytes());
    signing.add(key.vkey(), signature).expect("a signature");
    let policy = TrustPolicy::any_of(vec![key.vkey().clone()]).expect("a policy");
    let note = signing.note().expect("a signature");
    let signed = SignedHead::parse(note.as_bytes()).expect("a note");
    signed.verify(&policy, &Expectation::any(), None).expect("believed")
}

fn name() -> ModelName {
    ModelName::parse("bench/llama").unwrap_or_else(|_| unreachable!("a well-formed name"))
}

fn epoch() -> Time {
    Time::from_unix(0).unwrap_or_else(|| unreachable!("the epoch is a time"))
}
