//! Whom a process trusts.

use std::path::PathBuf;

use pyo3::prelude::*;
use weighbridge_manifest::{TrustPolicy, Vkey};
use weighbridge_tree::{ErrorCode, HeadId};

use crate::failure::{Failure, Result};

/// A policy: who signs which models. It never changes.
#[pyclass(frozen, module = "weighbridge._native")]
pub(crate) struct Trust {
    pub(crate) policy: TrustPolicy,
    /// The one head that is accepted, if the trust is that alone.
    pub(crate) head: Option<HeadId>,
}

#[pymethods]
impl Trust {
    /// A policy file's text.
    #[staticmethod]
    fn of_policy(text: &[u8]) -> Result<Self> {
        let policy = TrustPolicy::from_toml(text).map_err(|error| Failure::of(&error))?;
        Ok(Self { policy, head: None })
    }

    /// Any of these public keys, as lines `NAME+ID+KEY`.
    #[staticmethod]
    #[allow(clippy::needless_pass_by_value, reason = "what Python gives is taken by value")]
    fn of_vkeys(lines: Vec<String>) -> Result<Self> {
        let keys = lines.iter().map(|line| Vkey::parse(line.trim_end_matches(['\r', '\n'])));
        let keys = keys.collect::<std::result::Result<_, _>>().map_err(|error| Failure::of(&error))?;
        let policy = TrustPolicy::any_of(keys).map_err(|error| Failure::of(&error))?;
        Ok(Self { policy, head: None })
    }

    /// One head, by its id of 64 hexadecimal digits.
    #[staticmethod]
    fn of_head(id: &str) -> Result<Self> {
        let head = head_id(id)?;
        Ok(Self { policy: TrustPolicy::pinned(head), head: Some(head) })
    }
}

/// The path and the text of the user's own policy, if it may be used here.
#[pyfunction]
pub(crate) fn user_policy() -> Result<Option<(PathBuf, Vec<u8>)>> {
    let found = weighbridge_cli::user_policy().map_err(|(code, message)| Failure::new(code, message))?;
    Ok(found.map(|found| (found.path, found.text)))
}

pub(crate) fn head_id(text: &str) -> Result<HeadId> {
    HeadId::from_hex(text)
        .map_err(|_| Failure::new(ErrorCode::USAGE, "a head id has 64 hexadecimal digits in lower case"))
}
