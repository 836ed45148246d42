//! Objects of `push`. `spec/push.md` says what they mean.

use serde::Serialize;

use super::values::{Code, Hash};

/// The model that is pushed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Pushing<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The id of the head.
    pub(crate) head: Hash,
    /// The sum of the sizes of its files.
    pub(crate) bytes: u64,
}

/// The progress of the push to one target. None of the figures ever falls.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Progress<'a> {
    /// The position of the target on the command line, counted from 0.
    pub(crate) target: usize,
    /// The name of the target.
    pub(crate) name: &'a str,
    /// The bytes of chunks that the target has taken, each time that it did.
    pub(crate) sent: u64,
    /// The bytes that the target has verified, whoever brought them.
    pub(crate) verified: u64,
    /// The verified bytes that are on the target's disk.
    pub(crate) durable: u64,
    /// The bytes of the model. Files with the same content count once.
    pub(crate) wanted: u64,
}

/// The reason why nothing moved for a while.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Waiting<'a> {
    /// The position of the target on the command line, counted from 0.
    pub(crate) target: usize,
    /// The name of the target.
    pub(crate) name: &'a str,
    /// The reason of the wait.
    #[cfg_attr(test, schemars(extend("enum" = REASONS)))]
    pub(crate) reason: &'static str,
    /// The file that it is about.
    pub(crate) path: Option<&'a str>,
    /// The reason in words, if there are more.
    pub(crate) why: Option<&'a str>,
    /// The seconds until the target is tried again, if it is left alone.
    pub(crate) again_in: Option<f64>,
    /// The seconds in which nothing moved.
    pub(crate) since: f64,
}

#[cfg(test)]
const REASONS: [&str; 5] = ["silent", "working", "sending", "reading", "again"];

/// A target has the whole model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Pushed<'a> {
    /// The position of the target on the command line, counted from 0.
    pub(crate) target: usize,
    /// The name of the target.
    pub(crate) name: &'a str,
    /// The note of its receipt; null of a target that signs none.
    pub(crate) receipt: Option<&'a str>,
    /// The file that the receipt was written to.
    pub(crate) file: Option<String>,
}

/// A target does not have the model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Unpushed<'a> {
    /// The position of the target on the command line, counted from 0.
    pub(crate) target: usize,
    /// The name of the target.
    pub(crate) name: &'a str,
    /// The error code.
    pub(crate) code: Code,
    /// The code of the target's own reason, if it said one.
    pub(crate) of_target: Option<u16>,
    /// The reason, for people.
    pub(crate) message: &'a str,
}

/// The result.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Result {
    /// Whether all targets have the model.
    pub(crate) pushed: bool,
    /// The number of targets that have it.
    pub(crate) done: usize,
    /// The number of targets.
    pub(crate) targets: usize,
}
