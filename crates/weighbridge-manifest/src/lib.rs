//! Heads, lists, paths and trust policies of weighed models: from received bytes to what may be believed.
//!
//! The way of a head, in types:
//!
//! ```text
//! &[u8] --SignedHead::parse--> SignedHead --verify(policy, expectation, now)--> VerifiedHead
//! VerifiedHead --open_files(bytes)--> VerifiedFileList --open_tensors(bytes)--> VerifiedTensorList
//! ```
//!
//! # Guarantee
//! A [`VerifiedHead`] satisfied the policy and the expectation it was verified with; a [`VerifiedFileList`] or
//! [`VerifiedTensorList`] is line for line the one that the head binds. Only verification makes these types.
//!
//! # Absent on purpose
//! No I/O, no clock, no randomness, no secret keys: time and bytes come from the caller. Nothing here panics on any
//! input, and no received number is believed before it was checked (rules 1 and 12).

#![no_std]
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

extern crate alloc;

mod cursor;
mod entry;
mod head;
mod key;
mod list;
mod name;
mod note;
mod path;
mod policy;
#[cfg(feature = "toml")]
mod policy_toml;
mod time;
mod trust;

pub use weighbridge_tree as tree;

pub use entry::{Dtype, FileEntry, LineError, MAX_LINE, Sha256, TensorEntry, is_tensor_file};
pub use head::{Ext, Head, HeadError, HeadFault, ListSize, MAX_TEXT, Tensors};
pub use key::{KeyName, PublicKey, Vkey, VkeyError};
pub use list::{
    ListError, ListKind, VerifiedFileList, VerifiedTensorList, WrittenFiles, WrittenTensors, write_files,
    write_tensors,
};
pub use name::{ModelName, NameError};
pub use note::{MAX_NOTE, MAX_SIGNATURES, Note, NoteError, NoteSignature};
pub use path::{EntryPath, PathError, TensorName, TensorNameError};
pub use policy::{KeyFault, PolicyError, Publisher, PublisherFault, Scope, TrustPolicy, TrustedKey};
pub use time::{Time, TimeError};
pub use trust::{Expectation, Freshness, Remembered, Shortage, SignedHead, Signer, TrustError, VerifiedHead};
