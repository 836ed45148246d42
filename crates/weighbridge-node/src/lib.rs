//! A node beside an inference server: a cache of models that is filled while it is asked.
//!
//! - [`Config`] says where models come from, and where they are kept
//! - a [`Judge`] says whom to believe
//! - [`ask`] tells a running node what to do, and asks what it keeps
//! - [`Node`] gets what clients ask for: it is the [`Supplier`](weighbridge_serve::Supplier) of a server, or of a program of its own
//!
//! # Guarantee
//! A client gets no byte of a file that was not accepted. The bytes that it asks for come before others. However many clients ask for
//! a model, it is fetched once. A model is in the cache, where loaders find it, once all of it is there. With a budget, what is worth
//! least goes: a `Keeper` of `weighbridge-demand` decides it.
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
#[cfg(unix)]
mod control;
mod judge;
mod keeping;
mod nearby;
mod node;
mod record;

pub use config::{Config, ConfigError, Origin};
#[cfg(unix)]
pub use control::{Passing, Reply, Request, State, ask};
pub use judge::{Forgetful, Judge, NotTaken};
pub use node::Node;
