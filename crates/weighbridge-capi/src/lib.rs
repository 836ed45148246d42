//! The verifier as a C library.
//!
//! `include/weighbridge.h` is made from this crate by `cargo xtask header`, and is its documentation: comments here are written for
//! the readers of that header. `cargo xtask capi` builds and installs the libraries.
//!
//! Without the feature `std` the crate is `no_std`, and lacks what the header leaves out for `WB_FREESTANDING`.
//!
//! # Guarantee
//! Pointers are checked for null, lengths and positions for their limits. A panic ends in the code 9999, and no memory is touched that
//! the caller has not given. No thread is started, and nothing is kept between two calls but in handles.

#![no_std]
#![allow(unsafe_code, reason = "this is the border to C")]
#![allow(non_camel_case_types, reason = "the names are those of C")]
#![allow(clippy::missing_safety_doc, reason = "the header begins with the rules that hold for all functions")]
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
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

// The header has their items in this order, which blank lines keep.
mod border;

mod error;

mod policy;

mod head;

mod lists;

mod proof;

mod audit;

mod verifier;

#[cfg(feature = "std")]
mod model;

pub use audit::*;
pub use border::wb_text;
pub use error::*;
pub use head::*;
pub use lists::*;
#[cfg(feature = "std")]
pub use model::*;
pub use policy::*;
pub use proof::*;
pub use verifier::*;

/// What the header says of threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<wb_policy>();
    shared::<wb_head>();
    shared::<wb_files>();
    shared::<wb_tensors>();
    shared::<wb_proof>();
    shared::<wb_verifier>();
    #[cfg(feature = "std")]
    shared::<wb_model>();
};
