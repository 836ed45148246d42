//! The C interface, called as C calls it.

#![allow(unsafe_code, reason = "the functions are those of C")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod border;
mod handle;
mod model;
mod vectors;
mod verifier;
