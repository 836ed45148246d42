//! A node beside an inference server: a cache of models that is filled while it is asked.
//!
//! - [`Config`] says where models come from, and where they are kept
//! - a [`Judge`] says whom to believe
//! - [`Node`] gets what clients ask for: it is the [`Supplier`](weighbridge_serve::Supplier) of a server, or of a program of its own
//!
//! # Guarantee
//! A client gets no byte of a file that was not accepted. The bytes that it asks for come before others. However many clients ask for
//! a model, it is fetched once. A model is in the cache, where loaders find it, once all of it is there.
//!
//! # Non-guarantee
//! Clients of a hub verify nothing: what happens to bytes between the node and them is up to the connection.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

mod arriving;
mod config;
mod judge;
mod nearby;
mod node;

pub use config::{Config, ConfigError, Origin};
pub use judge::{Forgetful, Judge, NotTaken};
pub use node::Node;
