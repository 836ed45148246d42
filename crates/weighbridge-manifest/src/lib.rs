//! Heads, lists, paths and trust policies of weighed models: from received bytes to believed data.
//!
//! The types through which a head passes:
//!
//! ```text
//! &[u8] --SignedHead::parse--> SignedHead --verify(policy, expectation, now)--> VerifiedHead
//! VerifiedHead --open_files(bytes)--> VerifiedFileList --open_tensors(bytes)--> VerifiedTensorList
//! VerifiedHead --Memory::accept(head, policy)--> remembered, or refused
//! VerifiedHead --held(reports, policy, now, max_age)--> Held
//!
//! &[u8] --SignedProof::parse--> SignedProof --verify(policy, expectation, now)--> Proven
//! ```
//!
//! # Guarantee
//! A [`VerifiedHead`] satisfied the policy and the expectation with which it was verified. A [`VerifiedFileList`] or
//! [`VerifiedTensorList`] is line for line the list that the head binds. A [`Proven`] entry is in these lists, and a
//! path that is [`Proven`] absent is not. Only verification makes these types.
//!
//! # Absent on purpose
//! No I/O, no clock, no randomness, no secret keys: the caller provides time and bytes. No code here panics on any
//! input, and no received number is believed before it is checked (rules 1 and 12).

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

mod belief;
mod compare;
mod cursor;
mod entry;
mod format;
mod head;
mod held;
mod key;
mod lines;
mod list;
mod listed;
mod memory;
#[cfg(feature = "json")]
mod memory_json;
mod name;
mod note;
mod path;
mod policy;
mod policy_edit;
mod policy_error;
#[cfg(feature = "toml")]
mod policy_toml;
#[cfg(feature = "toml")]
mod policy_write;
mod proof;
mod proof_error;
mod prove;
mod publisher;
mod shown;
mod statement;
mod statement_error;
mod time;
#[cfg(feature = "toml")]
mod toml_1_0;
mod trust;
mod trust_error;

pub use weighbridge_tree as tree;

pub use belief::Signer;
pub use compare::{
    Class, Classes, Comparison, Difference, Tally, bytes_in_old, compare_files, compare_tensors,
};
pub use entry::{Dtype, FileEntry, LineError, MAX_LINE, Sha256, TensorEntry};
pub use format::Format;
pub use head::{Ext, Head, HeadError, HeadFault, ListSize, MAX_TEXT, Tensors};
pub use held::{CountedReport, Held, HeldError, Level, MAX_REPORTS, NotCounted, PassedOver};
pub use key::{KeyName, PublicKey, Signature, Vkey, VkeyError};
pub use list::{
    ListError, ListKind, VerifiedFileList, VerifiedTensorList, WrittenFiles, WrittenTensors, write_files,
    write_tensors,
};
pub use listed::{DigestKind, ListedDigest, ListedFile};
pub use memory::{Memory, MemoryError, NoteFault, Remembered};
pub use name::{ModelName, NameError};
pub use note::{MAX_NOTE, MAX_SIGNATURES, Note, NoteError, NoteSignature};
pub use path::{EntryPath, PathError, TensorName, TensorNameError};
pub use policy::TrustPolicy;
pub use policy_error::{KeyFault, PolicyError, PublisherFault};
pub use proof::{MAX_PROOF, Proven, SignedProof, SliceClaim};
pub use proof_error::{FormFault, ProofError, ProveError};
pub use prove::{Wanted, readings};
pub use publisher::{Publisher, Role, Scope, TrustedKey};
pub use shown::{is_unseen, shown, shown_beginning, shown_line, unseen_in};
pub use statement::{
    Challenge, Receipt, ReceiptClaim, Report, SignedChallenge, SignedReceipt, SignedReport,
    UnverifiedChallenge, VerifiedChallenge, VerifiedReport, response_message,
};
pub use statement_error::{StatementError, StatementFault, StatementKind};
pub use time::{Time, TimeError};
pub use trust::{Expectation, Freshness, Imported, SignedHead, VerifiedHead};
pub use trust_error::{Shortage, TrustError};
pub use weighbridge_tree::{Coded, ErrorCode};
