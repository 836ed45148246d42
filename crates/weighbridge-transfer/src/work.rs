//! The work of a fetch: asking sources, judging chunks, writing them.

pub(crate) mod buffers;
pub(crate) mod chunk_store;
pub(crate) mod connection;
pub(crate) mod engine;
pub(crate) mod landing;
pub(crate) mod layers;
pub(crate) mod local;
pub(crate) mod nearby;
pub(crate) mod on_disk;
pub(crate) mod selection;
pub(crate) mod target;
pub(crate) mod whole;

pub use chunk_store::{Accepted, ChunkStore, WrongChunk};
