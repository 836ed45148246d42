//! The meaning of a store's refusals.

use std::time::Duration;

use ::http::StatusCode;
use object_store::Error;

use super::{Bucket, refused};
use crate::{
    push::board::Trouble,
    source::{
        Fault,
        bucket::Denied,
        http::{find, innermost},
    },
};

/// Why a store did not do what it was asked.
pub(super) enum Refusal {
    /// There is no such object, or upload.
    Missing(String),
    /// It cannot do this, or not with metadata of objects.
    Unsupported(String),
    Other(Trouble),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing(what) | Refusal::Unsupported(what) => Self::Ended(refused(what)),
            Refusal::Other(trouble) => trouble,
        }
    }
}

impl Refusal {
    pub(super) fn of(error: &Error, bucket: &Bucket) -> Self {
        if let Some(denied) = find::<Denied>(error) {
            return Self::denied(denied);
        }
        let what = innermost(error);
        match (find::<Fault>(error), error) {
            (Some(Fault::Refused(_)), _) => Self::ended(what),
            (_, Error::NotFound { .. }) => Self::Missing(what),
            (_, Error::NotImplemented { .. } | Error::NotSupported { .. }) => Self::Unsupported(what),
            (
                _,
                Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::Precondition { .. }
                | Error::InvalidPath { .. },
            ) => Self::ended(what),
            _ => match bucket.without_credentials(error) {
                Some(what) => Self::ended(what),
                None => {
                    let has_answered = !matches!(find::<Fault>(error), Some(Fault::Unreachable(_)));
                    Self::Other(Trouble::Again { why: what, after: None, has_answered })
                }
            },
        }
    }

    fn denied(denied: &Denied) -> Self {
        let (code, what) = (denied.code.as_deref().unwrap_or_default(), denied.to_string());
        match denied.status.as_u16() {
            404 if !NO_BUCKET.contains(&code) => Self::Missing(what),
            400 if NO_PARTS.contains(&code) => Self::Missing(what),
            // The bytes did not come as they were sent.
            400 if ON_THE_WAY.contains(&code) => again(what, None),
            501 => Self::Unsupported(what),
            408 | 409 | 425 | 429 => again(what, denied.retry_after),
            _ if denied.status.is_server_error() && denied.status != StatusCode::INSUFFICIENT_STORAGE => {
                again(what, denied.retry_after)
            }
            _ => Self::ended(what),
        }
    }

    fn ended(what: String) -> Self {
        Self::Other(Trouble::Ended(refused(what)))
    }
}

fn again(why: String, after: Option<Duration>) -> Refusal {
    Refusal::Other(Trouble::Again { why, after, has_answered: true })
}

const NO_BUCKET: &[&str] = &["NoSuchBucket", "ContainerNotFound", "AccountNotFound"];
const NO_PARTS: &[&str] = &["InvalidPart", "InvalidPartOrder", "NoSuchUpload", "InvalidBlockList"];
const ON_THE_WAY: &[&str] =
    &["BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout", "Md5Mismatch"];
