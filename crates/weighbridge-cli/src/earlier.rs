//! The earlier release that `weigh` builds on: the previous head, and files to reuse.

use std::path::Path;

use weighbridge_manifest::{
    Expectation, MAX_NOTE, SignedHead, TrustPolicy, VerifiedFileList, VerifiedHead, VerifiedTensorList,
};
use weighbridge_publish::{Previous, SecretKey, Signing};
use weighbridge_store::{Layers, read_bounded};
use weighbridge_tree::{ErrorCode, head_id};

use crate::{args::Weigh, failure::Failure, trust};

/// The previous head and the reusable files, as far as they are asked for.
pub(crate) struct Earlier {
    pub(crate) previous: Option<Previous>,
    pub(crate) reuse: Option<(VerifiedFileList, Option<VerifiedTensorList>, Option<Layers>)>,
}

impl Earlier {
    /// Opens the places that `--previous` and `--from` name. Heads are believed by `--trust` or `--vkey`, or without
    /// these by the signing keys.
    pub(crate) fn open(args: &Weigh, keys: &[SecretKey]) -> Result<Self, Failure> {
        let given = args.trust.policy()?;
        let by_keys = given.is_none();
        let policy = match given {
            Some(policy) => Some(policy),
            None if keys.is_empty() => None,
            None => Some(TrustPolicy::any_of(keys.iter().map(|k| k.vkey().clone()).collect())?),
        };
        let explained = |failure: Failure| {
            match failure.code {
            ErrorCode::NO_KNOWN_KEY if by_keys => failure.only_hint(
                "the earlier head is not signed by --key: pass its signer's key with --vkey LINE, or a policy with \
                 --trust FILE",
            ),
            _ => failure,
        }
        };
        let previous = args.previous.as_ref().map(|path| previous(path, policy.as_ref())).transpose();
        let previous = previous.map_err(explained)?;
        let Some(from) = &args.from else { return Ok(Self { previous, reuse: None }) };
        let policy = policy.ok_or_else(|| {
            Failure::new(ErrorCode::NO_TRUST, "whom to trust for the earlier release was not said").hint(
                "pass its publisher's key with --vkey LINE, a policy with --trust FILE, or sign with --key",
            )
        })?;
        let metadata = trust::metadata(from);
        let head = believe(&metadata.note()?, &policy, Expectation::any().named(args.name.clone()))
            .map_err(explained)?;
        let files = metadata.files(&head)?;
        let tensors = metadata.tensors(&files)?;
        let layers = metadata.layers(&files)?;
        Ok(Self { previous, reuse: Some((files, tensors, layers)) })
    }
}

/// The previous head. Without a policy, the head is taken by its own word, because a signer may have no keys on this
/// machine.
fn previous(path: &Path, policy: Option<&TrustPolicy>) -> Result<Previous, Failure> {
    let about = |failure: Failure| failure.about(path);
    let note = read_bounded(path, MAX_NOTE as u64)?;
    if let Some(policy) = policy {
        // A head of another model is refused later, when the model is weighed.
        return believe(&note, policy, Expectation::any()).map(|head| Previous::from(&head)).map_err(about);
    }
    let signing = Signing::of_note(&note).map_err(|e| about(e.into()))?;
    let head = signing.head();
    Ok(Previous { id: head_id(signing.text().as_bytes()), revision: head.revision, name: head.name.clone() })
}

/// Verifies an earlier head. An expired one is accepted, because everything taken from it is signed again.
fn believe(note: &[u8], policy: &TrustPolicy, expected: Expectation) -> Result<VerifiedHead, Failure> {
    Ok(SignedHead::parse(note)?.verify(policy, &expected.allow_expired(), trust::now())?)
}
