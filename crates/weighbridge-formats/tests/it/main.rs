//! Headers, indices and splits of model files: accepted forms, and every refusal.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot build its own input, or read its own files, has failed"
)]

#[cfg(feature = "generate")]
mod generate;
#[cfg(feature = "generate")]
mod generate_gguf;
mod gguf;
mod index;
#[cfg(feature = "generate")]
mod kit;
mod safetensors;
mod split;
