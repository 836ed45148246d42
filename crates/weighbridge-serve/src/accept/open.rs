//! An upload that is open: who uses it, what has come, what is missing.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::error;
use weighbridge_transfer::{
    Coded as _, Known, Needs, PUSH_VERSION, Place, PushMissing, PushMissingFile, PushNeeds, PushState,
    PushWork, Upload, push_range,
};
use weighbridge_tree::Grid;

use super::{EXPIRES, Sender, folder::Pushed};
use crate::{models::Models, release::Release, room::lock};

/// An upload that is open.
pub(crate) struct Open {
    pub(crate) upload: Upload,
    /// The memory of its lists and layers.
    pub(super) metadata: u64,
    /// The bytes of chunks that came over connections.
    received: AtomicU64,
    begun: AtomicBool,
    is_synced: AtomicBool,
    /// Whether its release has taken its place. Held while it does, or while the upload is given up.
    pub(super) is_published: Mutex<bool>,
    users: AtomicUsize,
    clock: Mutex<Clock>,
    end: watch::Sender<bool>,
}

/// When something came last, and when somebody asked last.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    came: Instant,
    /// For how long nothing had come before that, by an earlier run.
    idle_before: Duration,
    asked: Instant,
}

impl Clock {
    pub(super) fn new(idle_before: Duration) -> Self {
        let now = Instant::now();
        Self { came: now, idle_before, asked: now }
    }

    /// For how long nothing has come.
    pub(super) fn idle(&self) -> Duration {
        self.came.elapsed().saturating_add(self.idle_before)
    }

    /// For how long nobody has asked.
    pub(super) fn unasked(&self) -> Duration {
        self.asked.elapsed()
    }
}

/// Somebody uses an open upload for as long as this lives: it is neither closed nor given up meanwhile.
pub(crate) struct InUse(Arc<Open>);

impl InUse {
    pub(super) fn of(open: &Arc<Open>) -> Self {
        open.users.fetch_add(1, SeqCst);
        lock(&open.clock).asked = Instant::now();
        Self(Arc::clone(open))
    }

    pub(crate) fn open(&self) -> &Arc<Open> {
        &self.0
    }
}

impl Clone for InUse {
    fn clone(&self) -> Self {
        Self::of(&self.0)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        lock(&self.0.clock).asked = Instant::now();
        self.0.users.fetch_sub(1, SeqCst);
    }
}

impl Deref for InUse {
    type Target = Open;

    fn deref(&self) -> &Open {
        &self.0
    }
}

impl Open {
    pub(super) fn of(upload: Upload, metadata: u64, clock: Clock) -> Arc<Self> {
        let no = || AtomicBool::new(false);
        Arc::new(Self {
            upload,
            metadata,
            received: AtomicU64::new(0),
            begun: no(),
            is_synced: no(),
            is_published: Mutex::default(),
            users: AtomicUsize::new(0),
            clock: Mutex::new(clock),
            end: watch::Sender::new(false),
        })
    }

    /// Bytes of chunks have come.
    pub(crate) fn receive(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
        self.come();
    }

    /// Something has come: the upload does not expire soon.
    pub(crate) fn come(&self) {
        let mut clock = lock(&self.clock);
        (clock.came, clock.idle_before) = (Instant::now(), Duration::ZERO);
    }

    pub(super) fn clock(&self) -> Clock {
        *lock(&self.clock)
    }

    pub(super) fn is_used(&self) -> bool {
        self.users.load(SeqCst) > 0
    }

    /// Ends all that is under way.
    pub(super) fn end(&self) {
        self.end.send_replace(true);
    }

    pub(crate) fn is_ended(&self) -> bool {
        *self.end.borrow()
    }

    /// Returns once the upload is given up, or closed.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether the caller is the first to ask: it syncs what comes.
    pub(crate) fn is_first_to_sync(&self) -> bool {
        !self.is_synced.swap(true, Relaxed)
    }

    /// Whether the caller is the first to ask since the layers are there: it looks for what is here then.
    pub(crate) fn begins(&self) -> bool {
        self.upload.files().is_some()
            && matches!(self.upload.needs(), Needs::Chunks)
            && !self.begun.swap(true, Relaxed)
    }

    /// Looks for chunks that are on this machine: in what an earlier run took, and in the models that the client may know. Waits for
    /// the disk.
    pub(crate) fn look(&self, sender: &Sender, models: &Models) {
        let mut known: Known<Arc<Release>> = Known::default();
        for published in models.all() {
            let is_of_client = || {
                let pushed = Pushed::of(&published.folder);
                pushed.is_some_and(|pushed| pushed.client == *sender.name)
            };
            if sender.may_read(&published.current.name) || is_of_client() {
                let release = &published.current;
                known.add(release, release.files(), release.tensors());
            }
        }
        let mut read = |place: &Place<Arc<Release>>, offset: u64, into: &mut [u8]| {
            models.fill(&place.model, place.file, offset, into).is_ok()
        };
        if let Err(error) = self.upload.look(&known, &mut read, &|| !self.is_ended()) {
            error!(target: "weighbridge", code = error.error_code().get(), "an upload cannot be read: {error}");
        }
    }

    pub(super) fn state(&self, receiver: &str) -> PushState {
        let upload = &self.upload;
        let progress = upload.progress();
        let has_lists = upload.files().is_some();
        let needs = match has_lists.then(|| upload.needs()) {
            None | Some(Needs::Lists(_)) => PushNeeds::Lists,
            Some(Needs::Layers(_)) => PushNeeds::Layers,
            Some(Needs::Chunks) if upload.is_durable() && !upload.is_looking() => PushNeeds::Publish,
            Some(Needs::Chunks) => PushNeeds::Chunks,
        };
        let doing = upload.doing().map(|(work, path, since)| PushWork {
            work: work.word().to_owned(),
            path,
            seconds: since.elapsed().as_secs(),
        });
        let left = EXPIRES.saturating_sub(self.clock().idle());
        PushState {
            version: PUSH_VERSION,
            receiver: receiver.to_owned(),
            needs,
            wanted: progress.wanted,
            received: self.received.load(Relaxed),
            verified: progress.verified,
            durable: progress.durable,
            looking: upload.is_looking() || (needs == PushNeeds::Chunks && !self.begun.load(Relaxed)),
            doing,
            // A second that has begun counts.
            expires_in: left.as_secs().saturating_add(1).min(EXPIRES.as_secs()),
        }
    }

    /// The lists, layers or chunks that are missing.
    pub(crate) fn missing(&self) -> PushMissing {
        let mut missing = PushMissing::default();
        match self.upload.needs() {
            Needs::Lists(names) => missing.lists = names.iter().map(|name| (*name).to_owned()).collect(),
            Needs::Layers(ranges) => {
                missing.more = ranges.len() > MOST_RANGES;
                missing.layers = ranges.iter().take(MOST_RANGES).map(push_range).collect();
            }
            Needs::Chunks => {
                let Some(files) = self.upload.files() else { return missing };
                let mut ranges = 0usize;
                for lacking in self.upload.lacking(MOST_RANGES) {
                    let Some(entry) = files.entries().get(lacking.position) else { continue };
                    let Ok(grid) = Grid::new(entry.size, files.chunk_size()) else { continue };
                    let unit = grid.granule().bytes();
                    let bytes = lacking.chunks.iter().map(|run| {
                        let (start, end) = (run.start.saturating_mul(unit), run.end.saturating_mul(unit));
                        push_range(&(start..end.min(entry.size)))
                    });
                    ranges = ranges.saturating_add(lacking.chunks.len());
                    missing.files.push(PushMissingFile {
                        path: entry.path.as_str().to_owned(),
                        bytes: bytes.collect(),
                    });
                }
                missing.more = ranges >= MOST_RANGES;
            }
        }
        missing
    }
}

/// About the number of ranges in one answer about what is missing.
const MOST_RANGES: usize = 4_096;
