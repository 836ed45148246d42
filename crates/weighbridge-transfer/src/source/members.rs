//! The sources of a fetch, which may join and leave while it runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::Source;
use crate::event::SourceId;

/// The sources of a fetch. Clones share the same set, so that a source can join or leave while the fetch runs.
///
/// # Guarantee
/// A source that joins is asked as if it had been there from the beginning. A source that leaves is asked for nothing
/// more: its requests end, and go to other sources. Verified bytes that it gave stay.
///
/// # Non-guarantee
/// A fetch does not wait for sources that may yet join: it ends when the present ones cannot deliver.
///
/// # Example
/// ```
/// use weighbridge_transfer::{SourceFactory, SourceOptions, Sources};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().to_str().ok_or("the path is not UTF-8")?;
///
/// let (factory, options) = (SourceFactory::new(), SourceOptions::default());
/// let sources = Sources::from(vec![factory.parse("https://mirror.example/tiny", &options)?]);
/// let same = sources.clone(); // One of them goes into the options of the fetch.
///
/// let late = sources.join(factory.parse(path, &options)?);
/// assert_eq!((late.number(), same.len()), (1, 2));
/// same.leave(late);
/// assert_eq!(sources.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sources(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    members: Mutex<Members>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Members {
    there: BTreeMap<SourceId, Arc<dyn Source>>,
    next: usize,
}

impl Default for Sources {
    /// An empty set.
    fn default() -> Self {
        Self(Arc::new(Shared { members: Mutex::default(), changed: watch::Sender::new(()) }))
    }
}

impl From<Vec<Arc<dyn Source>>> for Sources {
    /// The sources are numbered in this order.
    fn from(sources: Vec<Arc<dyn Source>>) -> Self {
        let members = Self::default();
        sources.into_iter().for_each(|source| _ = members.join(source));
        members
    }
}

impl Sources {
    /// Adds a source.
    pub fn join(&self, source: Arc<dyn Source>) -> SourceId {
        let id = {
            let mut members = self.members();
            let id = SourceId::new(members.next);
            members.next += 1;
            members.there.insert(id, source);
            id
        };
        self.0.changed.send_replace(());
        id
    }

    /// Reserves a number for a source that belongs to one fetch alone: the place for its metadata.
    pub(crate) fn reserve(&self) -> SourceId {
        let mut members = self.members();
        members.next += 1;
        SourceId::new(members.next - 1)
    }

    /// Removes a source. Does nothing if it was removed before.
    pub fn leave(&self, source: SourceId) {
        let gone = self.members().there.remove(&source);
        if gone.is_some() {
            self.0.changed.send_replace(());
        }
    }

    /// The number of sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members().there.len()
    }

    /// Whether there is no source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the sources, by number.
    #[must_use]
    pub fn names(&self) -> BTreeMap<SourceId, String> {
        self.members().there.iter().map(|(id, source)| (*id, source.name().to_owned())).collect()
    }

    pub(crate) fn get(&self, source: SourceId) -> Option<Arc<dyn Source>> {
        self.members().there.get(&source).cloned()
    }

    pub(crate) fn all(&self) -> BTreeMap<SourceId, Arc<dyn Source>> {
        self.members().there.clone()
    }

    /// A receiver that is notified of each source that joins or leaves from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
