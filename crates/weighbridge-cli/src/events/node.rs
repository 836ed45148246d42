//! Objects of the commands that ask a node. `spec/node.md` says what they mean.

use serde::Serialize;

use super::values::{Hash, Rfc3339};

/// A model on the disk of a node.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Model<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The id of the release's head.
    pub(crate) head: Hash,
    /// Whether it is kept; if not, it goes when its readers have gone.
    pub(crate) kept: bool,
    /// The bytes that are there.
    pub(crate) bytes: u64,
    /// The bytes of all of it; null if it is not kept.
    pub(crate) size: Option<u64>,
    /// The seconds that holding a gigabyte of it for a day saves, by the forecast; null if it is not kept.
    pub(crate) worth: Option<f64>,
    /// How often it was asked for; null if it is not kept.
    pub(crate) asks: Option<u64>,
    /// Whether it stays whatever it is worth.
    pub(crate) pinned: bool,
    /// Whether it was asked for a minute ago at the most, or is read.
    pub(crate) in_use: bool,
    /// Whether it is being fetched.
    pub(crate) fetching: bool,
}

/// A release that could be fetched ahead.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Candidate<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The id of the release's head.
    pub(crate) head: Hash,
    /// The bytes that are missing.
    pub(crate) missing: u64,
    /// The seconds that holding a gigabyte of it for a day would save, by the forecast.
    pub(crate) worth: f64,
    /// The kind of forecast.
    pub(crate) signal: String,
    /// The reason for it, in words.
    pub(crate) why: String,
    /// The chance that it is asked for within that time, from 0 to 1.
    pub(crate) chance: f64,
    /// The time for which the chance holds.
    pub(crate) within: f64,
    /// The seconds for which nobody will have to wait, weighed by their chance.
    pub(crate) saves: f64,
    /// The reason against it, in words; null if it is fetched when nobody waits for another model.
    pub(crate) hindrance: Option<String>,
}

/// The budget of a kind of forecast.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Forecast {
    /// The kind of forecast.
    pub(crate) signal: String,
    /// The bytes that may be fetched ahead for it now; a debt, if negative.
    pub(crate) budget: i64,
    /// The bytes that were fetched for it, and asked for.
    pub(crate) used: u64,
    /// The bytes that were fetched for it in vain.
    pub(crate) wasted: u64,
    /// The seconds for which nobody had to wait.
    pub(crate) saved: f64,
}

/// The outcome of a fetch ahead.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Judged<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The id of the release's head.
    pub(crate) head: Hash,
    /// The kind of forecast for which it was fetched.
    pub(crate) signal: String,
    /// The reason, in words.
    pub(crate) why: String,
    /// When the fetch began.
    pub(crate) began: Option<Rfc3339>,
    /// When it was judged.
    pub(crate) judged: Option<Rfc3339>,
    /// The bytes that are judged.
    pub(crate) bytes: u64,
    /// `used`, `evicted` or `not asked for`.
    pub(crate) verdict: &'static str,
    /// The seconds for which its reader did not wait; null if it had none.
    pub(crate) saved: Option<f64>,
}

/// The state of a node.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Status<'a> {
    /// The bytes that may be kept.
    pub(crate) budget: u64,
    /// The bytes that are kept, with those that are still to come.
    pub(crate) used: u64,
    /// Those of them that are there.
    pub(crate) held: u64,
    /// The bytes of models that go when their readers have gone.
    pub(crate) passing: u64,
    /// The names of the models that are being fetched.
    pub(crate) fetching: &'a [String],
    /// The one of them for which nobody waits; null if there is none.
    pub(crate) ahead: Option<&'a str>,
}

/// The node has done what it was told.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// `pinned`, `unpinned` or `evicted`.
    pub(crate) done: &'static str,
}
