//! Weighs a model folder and signs its head. No other crate handles secret keys.
//!
//! - [`Weighing`] reads a model once and makes lists, layers and the head's text
//! - [`SecretKey`] signs that text; [`external_signature`] takes a signature that another program made
//! - [`Signing`] puts text and signatures together
//! - [`sign_challenge`], [`sign_report`] and [`sign_receipt`] sign statements, [`SecretKey::sign_response`] signs a
//!   response
//! - [`Staging`] writes metadata so that a failure leaves the old files as they were
//!
//! # Guarantee
//! The weighed bytes are the bytes that were read: a file that changes meanwhile is an error, and all hashes of a
//! file are of the same bytes, read once.
//!
//! # Non-guarantee
//! The content of a file after it was weighed. Files taken over by [`Reuse`] are not read at all.

#![forbid(unsafe_code)]

mod key;
mod key_error;
mod leftover;
mod reading;
mod refusal;
mod reuse;
mod sign;
mod weigh;
mod weigh_error;

pub use key::{
    KeyFiles, MAX_PASSPHRASE, Passphrase, Protection, SecretKey, external_signature, public_key_from_pem,
};
pub use key_error::{KeyError, PassphraseFault, PemFault};
pub use refusal::{Refusal, RefusalFault};
pub use reuse::{Reuse, ReuseFault};
pub use sign::{Added, Signing, SigningError, sign_challenge, sign_receipt, sign_report};
pub use weigh::{Event, Previous, Sha256Listing, TensorListing, Weighed, Weighing};
pub use weigh_error::WeighError;
pub use weighbridge_store::{Existing, Staging, StoreError, TEXT};
pub use weighbridge_tree::{Coded, ErrorCode};
