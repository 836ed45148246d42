//! Whom a caller trusts, and which model it means.

use alloc::vec::Vec;
use core::{ffi::c_char, str};

use weighbridge_manifest::{Expectation, ModelName, Time, TrustPolicy, Vkey};
use weighbridge_verify::{ErrorCode, tree::HeadId};

use crate::{
    border::{Place, bytes, free, given, optional_text, text, time},
    error::{Failure, call, wb_code, wb_error},
};

/// Whom a caller trusts. It never changes.
pub struct wb_policy(pub(crate) TrustPolicy);

/// Which model a caller means. Begin with zeros: `wb_expected expected = {0};`
#[repr(C)]
pub struct wb_expected {
    /// The name of the model, `ORG/MODEL`; null if only `head` says which.
    pub name: *const c_char,
    /// The id of the one head that is taken, 64 hexadecimal digits in lower case; null for any.
    pub head: *const c_char,
    /// Whether any model of the policy is taken. Otherwise `name` or `head` is needed, since a mirror may serve another model of the
    /// same publisher. Who sets this looks at `wb_head_name`.
    pub any_model: bool,
    /// Whether a head is taken that has expired.
    pub allow_expired: bool,
    /// The least revision that is taken. Nodes that remember what they accepted are not led back to an older release.
    pub min_revision: u64,
    /// The time, in seconds since 1970 (UTC); 0 if there is no clock. A head that expires is then refused.
    pub now: i64,
}

impl wb_expected {
    /// # Safety
    /// The texts end with NUL, or are null.
    pub(crate) unsafe fn read(&self) -> Result<(Expectation, Option<Time>), Failure> {
        // SAFETY: the caller's promise.
        let (name, head) = unsafe {
            (optional_text(self.name, "the expected name")?, optional_text(self.head, "the expected head")?)
        };
        if name.is_none() && head.is_none() && !self.any_model {
            return Err(Failure::misuse(
                "which model is meant was not said: set name or head of wb_expected, or any_model",
            ));
        }
        let mut expected = Expectation::any().min_revision(self.min_revision);
        if let Some(name) = name {
            let name = ModelName::parse(name);
            expected = expected
                .named(name.map_err(|error| Failure::misuse(alloc::format!("the expected name: {error}")))?);
        }
        if let Some(id) = head {
            expected = expected.head(head_id(id)?);
        }
        if self.allow_expired {
            expected = expected.allow_expired();
        }
        Ok((expected, time(self.now, "the time")?))
    }
}

/// What a caller expects, which it has to say.
///
/// # Safety
/// As for [`given`] and [`wb_expected::read`].
pub(crate) unsafe fn expectation(
    expected: *const wb_expected,
) -> Result<(Expectation, Option<Time>), Failure> {
    // SAFETY: the caller's promise.
    unsafe { given(expected, "what is expected")?.read() }
}

fn head_id(text: &str) -> Result<HeadId, Failure> {
    HeadId::from_hex(text).map_err(|_| Failure::misuse("a head id has 64 hexadecimal digits in lower case"))
}

pub(crate) fn vkey(line: &str) -> Result<Vkey, Failure> {
    Vkey::parse(line).map_err(|error| Failure::of(&error))
}

/// Trusts any one of some public keys, for every model. `vkeys` has a line `NAME+ID+KEY` for each, as files of vkeys have.
///
/// Errors: a line is no vkey (15xx), or there is none (1605).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_policy_of_vkeys(
    vkeys: *const u8,
    vkeys_len: usize,
    policy: *mut *mut wb_policy,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(policy)?;
            let text = str::from_utf8(bytes(vkeys, vkeys_len, "the text of vkeys")?);
            let text =
                text.map_err(|_| Failure::refused(ErrorCode::VKEY_MALFORMED, "the vkeys are not UTF-8"))?;
            let keys = text.lines().map(vkey).collect::<Result<Vec<_>, _>>()?;
            place.fill(wb_policy(TrustPolicy::any_of(keys).map_err(|error| Failure::of(&error))?));
            Ok(())
        })
    }
}

/// Trusts one head by its id, whoever signed it: 64 hexadecimal digits in lower case, from where the caller trusts.
///
/// Errors: it is no id (9001).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_policy_of_head(
    head: *const c_char,
    policy: *mut *mut wb_policy,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(policy)?;
            place.fill(wb_policy(TrustPolicy::pinned(head_id(text(head, "the head's id")?)?)));
            Ok(())
        })
    }
}

/// Reads a policy file: publishers with scopes, thresholds and dates, revoked keys, auditors (`spec/trust.md`).
///
/// Errors: the policy is malformed, or trusts nobody (16xx).
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_policy_of_toml(
    toml: *const u8,
    toml_len: usize,
    policy: *mut *mut wb_policy,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(policy)?;
            let toml = bytes(toml, toml_len, "the text of the policy")?;
            place.fill(wb_policy(TrustPolicy::from_toml(toml).map_err(|error| Failure::of(&error))?));
            Ok(())
        })
    }
}

/// Frees a policy. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_policy_free(policy: *mut wb_policy) {
    // SAFETY: the rules of the header.
    unsafe { free(policy) }
}
