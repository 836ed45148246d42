//! The work of a fetch: asking, judging, writing.

pub(crate) mod budget;
pub(crate) mod connection;
pub(crate) mod engine;
pub(crate) mod landing;
pub(crate) mod layers;
pub(crate) mod local;
pub(crate) mod selection;
pub(crate) mod target;
pub(crate) mod whole;
