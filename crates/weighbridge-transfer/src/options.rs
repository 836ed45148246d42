//! The options of a fetch. They come from its caller, and never from what it fetches (rule 9).

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use globset::GlobSet;
use tokio::sync::Notify;
use weighbridge_bandwidth::Share;
use weighbridge_manifest::{Expectation, ModelName, Time, TrustPolicy};

use crate::{
    error::FetchError,
    guide::Guide,
    nearby::Nearby,
    source::{Source, Sources},
};

/// The options of a fetch.
///
/// # Example
/// ```
/// use weighbridge_bandwidth::Share;
/// use weighbridge_manifest::{Expectation, ModelName, TrustPolicy};
/// use weighbridge_transfer::{
///     AnotherModel, Options, SourceFactory, SourceOptions, Unlisted, Wanted, Watchdog, fetch,
/// };
/// # use weighbridge_manifest::{TrustError, VerifiedHead};
/// # use weighbridge_testkit::{Folder, Sample};
/// # use weighbridge_transfer::{Event, Observer, Stop};
/// # struct Quiet;
/// # impl Observer for Quiet {
/// #     fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> { Ok(()) }
/// #     fn event(&self, _: Event) {}
/// # }
/// # let sample = Sample::of(&[("config.json", 100), ("model.bin", 40_000)], 1);
/// # let [publisher, node] = [Folder::new(), Folder::new()];
/// # sample.contents.iter().for_each(|(path, bytes)| publisher.write(path.as_str(), bytes));
/// # publisher.write("weighbridge/head.note", &sample.note);
/// # publisher.write("weighbridge/files.jsonl", &sample.files);
/// # publisher.write("weighbridge/chunks.layer", &sample.layers);
/// # let (mirror, id) = (publisher.path().to_str().ok_or("the path is not UTF-8")?, sample.id);
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
///
/// // Of the model, only the configuration is wanted.
/// let json = globset::GlobSet::builder().add(globset::Glob::new("*.json")?).build()?;
/// let options = Options {
///     sources: vec![SourceFactory::new().parse(mirror, &SourceOptions::default())?].into(),
///     metadata: None,
///     into: node.at("tiny"),
///     policy: TrustPolicy::pinned(id), // or keys: `TrustPolicy::any_of`
///     expected: Expectation::any().named(ModelName::parse("test/model")?),
///     now: None,
///     wanted: Wanted { files: Some(json), tensors: None },
///     unlisted: Unlisted::Report,
///     another_model: AnotherModel::Refuse,
///     memory: 128 << 20,
///     receive: Share::unlimited(), // or `Budget::of(50_000_000).share(Class::Rest, Peer::unique())`
///     watchdog: Watchdog::default(),
///     guide: None,
///     nearby: None,
/// };
/// let fetched = runtime.block_on(fetch(options, &Quiet, &Stop::default()))?;
/// assert_eq!((fetched.files.len(), fetched.bytes), (1, 100));
/// assert!(!node.at("tiny/model.bin").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Options {
    /// The sources that bytes come from. All are used at once, and they may join and leave while the fetch runs.
    pub sources: Sources,
    /// A place for metadata. The head is taken only from there; lists and layers are asked for there first.
    pub metadata: Option<Arc<dyn Source>>,
    /// The folder to fetch into. Created if it does not exist.
    pub into: PathBuf,
    /// The policy that decides which publishers are believed.
    pub policy: TrustPolicy,
    /// The model that is wanted, and the head that was accepted before.
    pub expected: Expectation,
    /// The current time, if it is known.
    pub now: Option<Time>,
    /// The wanted part of the model.
    pub wanted: Wanted,
    /// Whether to remove files that are not listed, and the unfinished files of earlier fetches of other releases.
    pub unlisted: Unlisted,
    /// The action if another model lies in the folder.
    pub another_model: AnotherModel,
    /// About how many bytes of memory may be used, without lists and layers. At least two pieces of a chunk or 1 MiB,
    /// and 32 MiB for everything else, are used in any case.
    pub memory: u64,
    /// The share of a budget that all that is received waits for, from whichever source. What somebody
    /// [wishes](crate::Holding::wish) for waits in the class [`Awaited`](weighbridge_bandwidth::Class::Awaited) instead, and so do head,
    /// lists and layers if the class is [`Rest`](weighbridge_bandwidth::Class::Rest).
    pub receive: Share,
    /// When a source counts as stalled.
    pub watchdog: Watchdog,
    /// The party that says what each source is asked for, where others ask the same sources; `None` for a fetch by
    /// itself.
    pub guide: Option<Arc<dyn Guide>>,
    /// The releases on this machine of which tensors are taken; `None` if there are none.
    pub nearby: Option<Arc<dyn Nearby>>,
}

/// The wanted part of a model: the union of both sets. If both are `None`, all of the model is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Files by path.
    pub files: Option<GlobSet>,
    /// Tensors by name: the chunks that hold them, and the beginnings of their files up to the first tensor.
    pub tensors: Option<GlobSet>,
}

/// The action for files in the folder that the head does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The files are reported.
    Report,
    /// The files are reported and removed, once the model is complete.
    ///
    /// Allowed only where the folder has had a head of the same name before, so that the files are those of an earlier
    /// release, and never in a folder from which this fetch reads. Elsewhere a fetch that would remove something ends
    /// before it asks for any chunk (9206).
    Prune,
}

/// The action if the folder has the head of a model with another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnotherModel {
    /// The fetch ends before it writes a file (9205).
    Refuse,
    /// The other model is replaced: its head and lists, and files that have the names of listed ones.
    Replace,
}

impl AnotherModel {
    /// Refuses a folder that has another model, by its head.
    pub(crate) fn allows(
        self,
        folder: &Path,
        there: Option<ModelName>,
        wanted: &ModelName,
    ) -> Result<(), FetchError> {
        match there {
            Some(there) if there != *wanted && self == Self::Refuse => {
                Err(FetchError::AnotherModel { folder: folder.to_owned(), there, wanted: wanted.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The least that a source has to give: a number of *verified* bytes in each window.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// Verified bytes per second.
    pub rate: u64,
    /// The shortest window. It is longer for chunks that would take more than half of it at that rate.
    pub window: Duration,
}

impl Default for Watchdog {
    /// 64 KiB/s over 10 seconds.
    fn default() -> Self {
        Self { rate: 65_536, window: Duration::from_secs(10) }
    }
}

/// Ends a fetch from outside, for example on a signal.
///
/// # Example
/// ```
/// use weighbridge_transfer::{FetchError, Stop, fetch};
/// # use weighbridge_manifest::{Expectation, TrustError, TrustPolicy, VerifiedHead};
/// # use weighbridge_testkit::{Folder, Sample};
/// # use weighbridge_transfer::{
/// #     AnotherModel, Event, Observer, Options, SourceFactory, SourceOptions, Unlisted, Wanted, Watchdog,
/// # };
/// # struct Quiet;
/// # impl Observer for Quiet {
/// #     fn accept_head(&self, _: &VerifiedHead, _: &[u8]) -> Result<(), TrustError> { Ok(()) }
/// #     fn event(&self, _: Event) {}
/// # }
/// # let [publisher, node] = [Folder::new(), Folder::new()];
/// # let mirror = publisher.path().to_str().ok_or("the path is not UTF-8")?;
/// # let options = Options {
/// #     sources: vec![SourceFactory::new().parse(mirror, &SourceOptions::default())?].into(),
/// #     metadata: None,
/// #     into: node.at("tiny"),
/// #     policy: TrustPolicy::pinned(Sample::of(&[("model.bin", 40_000)], 1).id),
/// #     expected: Expectation::any(),
/// #     now: None,
/// #     wanted: Wanted::default(),
/// #     unlisted: Unlisted::Report,
/// #     another_model: AnotherModel::Refuse,
/// #     memory: 128 << 20,
/// #     receive: weighbridge_bandwidth::Share::unlimited(),
/// #     watchdog: Watchdog::default(),
/// #     guide: None,
/// #     nearby: None,
/// # };
/// # let observer = Quiet;
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
///
/// // A handler of signals would ask. The next fetch into the folder goes on from what was written.
/// let stop = Stop::default();
/// stop.ask();
/// let ended = runtime.block_on(fetch(options, &observer, &stop));
/// assert!(matches!(ended, Err(FetchError::Stopped { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    notify: Notify,
    /// The number of running fetches that this can end.
    running: AtomicUsize,
    ended: Notify,
}

/// A fetch that can be ended from outside, until it has ended.
pub(crate) struct Begun<'a>(&'a Stop);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

impl Stop {
    /// Asks the fetch to end. The fetch syncs what it has written, for a second and a half at most, and ends with
    /// [`FetchError::Stopped`](crate::FetchError).
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Asks the fetch to end, and returns when it has ended: none of its tasks runs any more, and no connection is
    /// open. Another task has to poll the fetch meanwhile.
    pub async fn stop(&self) {
        self.ask();
        loop {
            let ended = self.ended.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }

    pub(crate) fn begin(&self) -> Begun<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        Begun(self)
    }

    /// Whether the fetch was asked to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until the fetch is asked to end.
    pub async fn asked(&self) {
        let notified = self.notify.notified();
        if !self.is_asked() {
            notified.await;
        }
    }
}
