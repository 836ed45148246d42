//! Whose models a node takes.

use std::{fmt, sync::Mutex, sync::PoisonError};

use weighbridge_manifest::{Expectation, ModelName, TrustError, TrustPolicy, VerifiedHead};
use weighbridge_transfer::{Event, Observer, Stop};

/// Decides whose models a node takes, and remembers which it took. Its methods may block on a disk.
pub trait Judge: fmt::Debug + Send + Sync {
    /// The policy, and what is expected of the head of a model, for one fetch.
    ///
    /// # Errors
    /// The reason, in a sentence without a full stop.
    fn demand(&self, name: &ModelName) -> Result<(TrustPolicy, Expectation), String>;

    /// Remembers a head that the policy believes, or refuses it by what is remembered.
    ///
    /// # Errors
    /// [`NotTaken`].
    fn accept(&self, head: &VerifiedHead, policy: &TrustPolicy) -> Result<(), NotTaken>;
}

/// The reason why a believed head is not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It leads to an older revision, or to a fork.
    Head(TrustError),
    /// The memory cannot be read or written, for this reason.
    Memory(String),
}

/// A judge that believes by one policy, and remembers nothing: for programs that remember by themselves.
#[derive(Clone, Debug)]
pub struct Forgetful(pub TrustPolicy);

impl Judge for Forgetful {
    fn demand(&self, _: &ModelName) -> Result<(TrustPolicy, Expectation), String> {
        Ok((self.0.clone(), Expectation::any()))
    }

    fn accept(&self, _: &VerifiedHead, _: &TrustPolicy) -> Result<(), NotTaken> {
        Ok(())
    }
}

/// Lets a judge accept the head of a fetch.
pub(crate) struct Accepting<'a> {
    pub(crate) judge: &'a dyn Judge,
    pub(crate) policy: TrustPolicy,
    /// Ends the fetch if the memory fails.
    pub(crate) stop: &'a Stop,
    pub(crate) trouble: Mutex<Option<String>>,
}

impl Accepting<'_> {
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Observer for Accepting<'_> {
    fn accept_head(&self, head: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> {
        match self.judge.accept(head, &self.policy) {
            Ok(()) => {}
            Err(NotTaken::Head(error)) => return Err(error),
            Err(NotTaken::Memory(why)) => {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                self.stop.ask();
            }
        }
        Ok(())
    }

    fn event(&self, _: Event) {}
}
