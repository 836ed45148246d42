//! Weigh a model folder and sign its head. The only crate in which secret keys exist.
//!
//! - [`Weighing`] reads a model once and gives lists, layers and the head's text
//! - [`SecretKey`] signs that text; [`external_signature`] takes a signature that was made elsewhere
//! - [`Signing`] puts text and signatures together
//! - [`sign_challenge`], [`sign_report`] and [`sign_receipt`] do so for statements, [`SecretKey::sign_response`] signs a
//!   response
//! - [`Staging`] writes metadata so that a failure leaves the old files as they were
//!
//! # Guarantee
//! What is weighed is what was read: a file that changes meanwhile is an error, and each hash of a file is of the same
//! bytes, read once.
//!
//! # Non-guarantee
//! What a file holds after it was weighed. Files taken over by [`Reuse`] are not read at all.

#![forbid(unsafe_code)]

mod key;
mod key_error;
mod leftover;
mod reading;
mod refusal;
mod reuse;
mod sign;
mod store;
mod weigh;

pub use key::{
    KeyFiles, MAX_PASSPHRASE, Passphrase, Protection, SecretKey, external_signature, public_key_from_pem,
};
pub use key_error::{KeyError, PassphraseFault, PemFault};
pub use refusal::{Refusal, RefusalFault};
pub use reuse::{Reuse, ReuseFault};
pub use sign::{Added, Signing, SigningError, sign_challenge, sign_receipt, sign_report};
pub use store::{Existing, Staging, StoreError};
pub use weigh::{Event, Previous, Sha256Listing, TensorListing, WeighError, Weighed, Weighing};
pub use weighbridge_store::TEXT;
