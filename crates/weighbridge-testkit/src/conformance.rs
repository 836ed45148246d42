//! The suite that every [`Source`] has to pass, of this workspace or of others: a source that serves a [`Content`]
//! truly, and passes here, keeps the contract on which fetches rely.
//!
//! The suite tests the way in which bytes are given. It does not test that a fetch survives a source that lies: that is
//! the fetch's business.
//!
//! # Example
//! ```
//! use weighbridge_testkit::conformance::{Content, Suite};
//! use weighbridge_transfer::{SourceFactory, SourceOptions};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let (content, folder) = (Content::new(), tempfile::tempdir()?);
//! content.write(folder.path());
//! let address = folder.path().to_str().ok_or("the path is not UTF-8")?;
//! let source = SourceFactory::new().parse(address, &SourceOptions::default())?;
//! Suite::of(&content).check(&*source).await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::time::Duration;

use weighbridge_transfer::Source;

mod bodies;
mod check;
mod content;
mod inventory;
mod requests;
#[cfg(test)]
mod tests;

use check::Run;
pub use content::{Content, Item};

/// The checks, and what they let pass.
///
/// # Panics
/// A check that fails panics. The message names the source, the check, and what was expected. A source that does not
/// answer within the [patience](Self::patience) of the suite fails, too. The suite needs a Tokio runtime with a clock.
#[derive(Clone, Copy)]
pub struct Suite<'c> {
    content: &'c Content,
    patience: Duration,
    may_deny: bool,
    may_hide_lengths: bool,
}

impl<'c> Suite<'c> {
    /// All checks, without an allowance.
    pub fn of(content: &'c Content) -> Self {
        Self { content, patience: Duration::from_secs(20), may_deny: false, may_hide_lengths: false }
    }

    /// Sets the time in which the source has to answer, or to give the next bytes.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Lets the source deny what it does not have ([`Fault::Refused`](weighbridge_transfer::Fault::Refused)). Stores
    /// answer so to those who may not list them.
    pub fn may_deny(self) -> Self {
        Self { may_deny: true, ..self }
    }

    /// Lets the source know no lengths: it need not notice that a file has another length than the signed one. Web
    /// servers that compute their answers are such sources.
    pub fn may_hide_lengths(self) -> Self {
        Self { may_hide_lengths: true, ..self }
    }

    /// Checks a source that serves the whole content, and nothing else.
    pub async fn check(&self, source: &dyn Source) {
        let run = Run { suite: self, source };
        run.name();
        run.folder();
        run.whole().await;
        run.limit().await;
        run.twice().await;
        run.ranges().await;
        run.listed().await;
        run.metadata().await;
        run.together().await;
        run.missing().await;
        run.other_lengths().await;
        run.dropped_bodies().await;
        run.dropped_requests().await;
        run.inventory().await;
    }

    /// Checks that a source reads its head anew each time. `change` makes the source serve these bytes as its head,
    /// which are not those of the content.
    pub async fn check_anew(&self, source: &dyn Source, change: impl AsyncFnOnce(&[u8])) {
        Run { suite: self, source }.anew(change).await;
    }

    /// Checks a source that has nothing of the content.
    pub async fn check_without_content(&self, source: &dyn Source) {
        Run { suite: self, source }.nothing().await;
    }

    /// Checks a source that gains chunks of the content's files: it gives a chunk if its inventory has it, and only
    /// then. `grow` lets the source gain some, and returns false if there are no more.
    pub async fn check_growth(&self, source: &dyn Source, grow: impl AsyncFnMut() -> bool) {
        Run { suite: self, source }.growth(grow).await;
    }
}
