//! Models that others bring: who may bring which, how much of it, and what is there of each (`spec/push.md`).

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{StatusCode, header};
use tracing::{error, info, warn};
use weighbridge_manifest::{Receipt, Time, VerifiedHead, Vkey};
use weighbridge_store::{IoError, StoreError};
use weighbridge_transfer::{
    Coded as _, FetchError, Known, Needs, PUSH_VERSION, Place, PushMissing, PushMissingFile, PushNeeds,
    PushState, PushWork, Upload, push_range,
};
use weighbridge_tree::{ErrorCode, Grid, HeadId, Nonce};

use crate::{
    answer::{Refusal, failed},
    clients::Client,
    models::Models,
    release::Release,
    room::lock,
    route::ServedName,
};

mod folder;

use folder::Pushed;

/// Judges the heads of models that are brought to a server: by whom they are signed, and by what was accepted before.
pub trait Judge: Send + Sync {
    /// Judges a head: the note of it, its signers, its dates, and what was accepted before. Nothing is remembered.
    ///
    /// # Errors
    /// The reason for a refusal.
    fn judge(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken>;

    /// Judges a head once more, at the last moment before its release takes its place, and remembers it.
    ///
    /// # Errors
    /// The reason for a refusal. The release does not take its place then.
    fn accept(&self, note: &[u8]) -> Result<VerifiedHead, NotTaken>;
}

/// The reason why a head is not taken.
#[derive(Clone, Debug)]
pub struct NotTaken {
    /// The stable code of the reason.
    pub code: ErrorCode,
    /// A sentence, which the sender is shown.
    pub message: String,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [W{}]", self.message, self.code)
    }
}

impl std::error::Error for NotTaken {}

type Sign = Box<dyn Fn(&Receipt) -> Option<String> + Send + Sync>;

/// The models that a server takes, in one folder: a model folder for each name, at `ORG/NAME`.
///
/// # Guarantee
/// A release takes its place only after each of its chunks was judged by a head that [`Judge`] accepts, is on disk, and fits into the
/// quota of the client that brought it. What has come is there after a crash, for the same client alone.
pub struct Accept {
    folder: PathBuf,
    node: Vkey,
    judge: Box<dyn Judge>,
    sign: Sign,
    uploads: Mutex<HashMap<Key, Entry>>,
    /// Held while somebody finds out what is there and decides by that, so that two do not decide by the same.
    deciding: Mutex<()>,
}

type Key = (Arc<str>, HeadId);

/// An upload, whether it is open or not.
struct Entry {
    name: ServedName,
    /// The bytes that it will have on disk.
    bytes: u64,
    /// When the client used it last, and for how long it had not been used before the server began.
    used: Instant,
    idle_before: Duration,
    open: Option<Arc<Open>>,
}

/// An upload that is open.
pub(crate) struct Open {
    pub(crate) upload: Upload,
    /// The bytes of chunks that came over connections.
    received: AtomicU64,
    begun: AtomicBool,
    is_synced: AtomicBool,
    /// Whether its release has taken its place. Held while it does.
    is_published: Mutex<bool>,
}

/// The client of an upload.
pub(crate) struct Sender {
    pub(crate) client: Option<Arc<Client>>,
    pub(crate) quota: u64,
}

impl Sender {
    fn name(&self) -> Arc<str> {
        // Without a tokens file there is one client, on this machine.
        self.client.as_ref().map_or_else(|| "local".into(), |client| Arc::clone(client.name()))
    }

    fn may_read(&self, name: &ServedName) -> bool {
        self.client.as_ref().is_none_or(|client| client.may_read(name.name()))
    }
}

/// The time after which an upload is given up to which nothing came.
const EXPIRES: Duration = Duration::from_secs(24 * 3600);

/// The time after which the lists and layers of an upload that nobody uses leave the memory. What has come of it stays.
const CLOSES: Duration = Duration::from_secs(600);

/// The uploads that a client may have at a time.
const MOST_UPLOADS: usize = 16;

/// The uploads that are open at a time.
const MOST_OPEN: usize = 64;

/// The bytes that always stay free on the disk.
const SPARE_DISK: u64 = 64 << 20;

/// About the number of ranges in one answer about what is missing.
const MOST_RANGES: usize = 4_096;

impl Accept {
    /// Takes models into a folder, which is made if it is not there. `node` is the key by which `sign` signs receipts.
    ///
    /// # Errors
    /// [`IoError`]: the folder cannot be made or read.
    pub fn new(
        folder: PathBuf,
        node: Vkey,
        judge: impl Judge + 'static,
        sign: impl Fn(&Receipt) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, IoError> {
        std::fs::create_dir_all(&folder).map_err(IoError::at("create", &folder))?;
        let mut uploads = HashMap::new();
        let unread = |error| IoError::at("read the folder", &folder)(error);
        for (name, model) in folder::models(&folder).map_err(unread)? {
            for left in folder::left(&model).map_err(unread)? {
                let entry = Entry {
                    name: name.clone(),
                    bytes: left.bytes,
                    used: Instant::now(),
                    idle_before: left.idle,
                    open: None,
                };
                uploads.insert((left.client.into(), left.head), entry);
            }
        }
        let (judge, sign) = (Box::new(judge), Box::new(sign));
        Ok(Self { folder, node, judge, sign, uploads: Mutex::new(uploads), deciding: Mutex::default() })
    }

    fn place(&self, name: &ServedName) -> PathBuf {
        folder::place(&self.folder, name)
    }

    fn key(client: &str, head: HeadId) -> String {
        format!("{client}/{head}")
    }

    /// Takes an offer: a note, of a head that the server may come to have. Waits for the disk.
    pub(crate) fn offer(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        note: &[u8],
        most_memory: u64,
    ) -> Result<PushState, Refusal> {
        let believed = self.judge.judge(note).map_err(|reason| not_taken(&reason))?;
        if believed.id() != head || believed.head().name != *name.name() {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "the head in the body is not the one of the path",
            ));
        }
        let _turn = lock(&self.deciding);
        if let Some(open) = self.find(sender, name, head) {
            return Ok(self.state(&open, sender));
        }
        // The release may stand, and the server have been killed before it could say who brought it: the upload ends that.
        let has_begun = lock(&self.uploads).contains_key(&(sender.name(), head));
        if !has_begun && self.published(sender, name, head).is_some() {
            return Ok(published());
        }
        let place = self.place(name);
        if folder::standing(&place).is_some_and(|(_, there)| there.name != *name.name()) {
            let message = "the place of this name has a model of another name, which this file system takes for the same";
            return Err(Refusal::new(StatusCode::CONFLICT, message));
        }
        let bytes = folder::size(believed.head());
        self.fits(sender, name, head, &believed, most_memory)?;
        let key = Self::key(&sender.name(), head);
        let upload = Upload::open(&place, &key, believed, note).map_err(|error| unwritten(&error))?;
        let open = Arc::new(Open::of(upload));
        let entry = Entry {
            name: name.clone(),
            bytes,
            used: Instant::now(),
            idle_before: Duration::ZERO,
            open: Some(Arc::clone(&open)),
        };
        lock(&self.uploads).insert((sender.name(), head), entry);
        info!(target: "weighbridge", client = &*sender.name(), model = name.as_str(), head = %head, bytes, "upload begun");
        Ok(self.state(&open, sender))
    }

    /// Refuses what the client may not have here, or what does not fit.
    fn fits(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        believed: &VerifiedHead,
        most_memory: u64,
    ) -> Result<(), Refusal> {
        let signed = believed.head();
        let bytes = folder::size(signed);
        let chunks = signed.bytes.checked_div(signed.chunk_size.bytes()).unwrap_or(0);
        let layers = chunks.saturating_add(signed.files.count).saturating_mul(32);
        let lists = bytes.saturating_sub(signed.bytes).saturating_add(layers);
        if lists > most_memory {
            let message = format!(
                "the lists and layers of this model take {lists} bytes of memory, and this server has {most_memory}"
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let who = sender.name();
        let (mut reserved, mut count, mut pending, mut opened) = (0u64, 0usize, 0u64, 0usize);
        for ((client, other), entry) in lock(&self.uploads).iter() {
            let has = entry.open.as_ref().map_or(0, |open| open.upload.progress().verified);
            opened = opened.saturating_add(usize::from(entry.open.is_some()));
            if (client, other) == (&who, &head) {
                continue;
            }
            pending = pending.saturating_add(entry.bytes.saturating_sub(has));
            if *client == who {
                (reserved, count) = (reserved.saturating_add(entry.bytes), count.saturating_add(1));
            }
        }
        let models = folder::models(&self.folder).map_err(|error| unread(&error))?;
        let kept = models.iter().filter_map(|(_, place)| Pushed::of(place));
        let kept = kept.filter(|pushed| *pushed.client == *who);
        let used = kept.fold(reserved, |sum, pushed| sum.saturating_add(pushed.bytes));
        if used.saturating_add(bytes) > sender.quota {
            let message = format!(
                "the model has {bytes} bytes, and {used} of the {} of this client's quota are taken by models and uploads",
                sender.quota
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        if count >= MOST_UPLOADS || opened >= MOST_OPEN {
            let message = "too many uploads are under way; end one, or give one up";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).with(header::RETRY_AFTER, "60"));
        }
        let needed = pending.saturating_add(bytes).saturating_add(SPARE_DISK);
        if folder::free(&self.folder).is_some_and(|free| free < needed) {
            warn!(target: "weighbridge", model = name.as_str(), bytes, "an upload was refused: the disk has no room for it");
            return Err(no_room());
        }
        Ok(())
    }

    /// What is said of the release that stands, if it is this one and the client has brought it.
    fn published(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Option<Pushed> {
        let pushed = Pushed::of(&self.place(name))?;
        (pushed.head == head.to_string() && *pushed.client == *sender.name()).then_some(pushed)
    }

    /// The open upload of a client.
    pub(crate) fn find(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Option<Arc<Open>> {
        let mut uploads = lock(&self.uploads);
        // The name of the path decides what the client may do.
        let entry = uploads.get_mut(&(sender.name(), head)).filter(|entry| entry.name == *name)?;
        let open = entry.open.as_ref().map(Arc::clone)?;
        (entry.used, entry.idle_before) = (Instant::now(), Duration::ZERO);
        Some(open)
    }

    /// The state of an upload, for a client that asks. Waits for the disk where nothing is open.
    pub(crate) fn state_of(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
    ) -> Result<PushState, Refusal> {
        if let Some(open) = self.find(sender, name, head) {
            return Ok(self.state(&open, sender));
        }
        self.published(sender, name, head).map(|_| published()).ok_or_else(no_upload)
    }

    fn state(&self, open: &Open, sender: &Sender) -> PushState {
        let progress = open.upload.progress();
        let needs = match open.upload.needs() {
            Needs::Lists(_) => PushNeeds::Lists,
            Needs::Layers(_) => PushNeeds::Layers,
            Needs::Chunks if open.upload.is_durable() && !open.upload.is_looking() => PushNeeds::Publish,
            Needs::Chunks => PushNeeds::Chunks,
        };
        let doing = open.upload.doing().map(|(work, path, since)| PushWork {
            work: work.word().to_owned(),
            path,
            seconds: since.elapsed().as_secs(),
        });
        let head = open.upload.head().id();
        let idle = lock(&self.uploads)
            .get(&(sender.name(), head))
            .map_or(Duration::ZERO, |entry| entry.used.elapsed().saturating_add(entry.idle_before));
        PushState {
            version: PUSH_VERSION,
            needs,
            wanted: progress.wanted,
            received: open.received.load(Relaxed),
            verified: progress.verified,
            durable: progress.durable,
            looking: open.upload.is_looking() || (needs == PushNeeds::Chunks && !open.begun.load(Relaxed)),
            doing,
            // A second that has begun counts.
            expires_in: EXPIRES.saturating_sub(idle).as_secs().saturating_add(1).min(EXPIRES.as_secs()),
        }
    }

    /// Makes the release of an upload the one that is served, and signs a receipt. Waits for the disk.
    pub(crate) fn publish(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
        nonce: Nonce,
        models: &Models,
    ) -> Result<String, Refusal> {
        let place = self.place(name);
        if let Some(open) = self.find(sender, name, head) {
            let upload = &open.upload;
            if !upload.is_durable() {
                upload.sync().map_err(|error| unwritten(&error))?;
            }
            if !upload.is_durable() {
                let message = "chunks are missing: nothing was published";
                return Err(Refusal::new(StatusCode::CONFLICT, message));
            }
            let verified = now().ok_or_else(failed)?;
            self.put_in_place(sender, name, &open, verified)?;
            info!(target: "weighbridge", client = &*sender.name(), model = name.as_str(), head = %head, "upload published");
        }
        let pushed = self.published(sender, name, head).ok_or_else(no_upload)?;
        let (_, signed) = folder::standing(&place).filter(|(id, _)| *id == head).ok_or_else(no_upload)?;
        models.look_now(&place);
        let verified = pushed.verified().ok_or_else(failed)?;
        let receipt = Receipt {
            name: signed.name,
            head,
            root: signed.root,
            node: self.node.clone(),
            verified,
            nonce: Some(nonce),
        };
        (self.sign)(&receipt).ok_or_else(failed)
    }

    fn put_in_place(
        &self,
        sender: &Sender,
        name: &ServedName,
        open: &Open,
        verified: Time,
    ) -> Result<(), Refusal> {
        let (upload, place) = (&open.upload, self.place(name));
        let mut is_published = lock(&open.is_published);
        if *is_published {
            return Ok(());
        }
        let head = upload.head();
        let note = upload.note();
        let mut refused = None;
        let judged = upload.publish(|| {
            // What was true when the head was offered may not be any more.
            let fits = || {
                let used = self.used_by_others(sender, name, head.id())?;
                (used.saturating_add(folder::size(head.head())) <= sender.quota).then_some(())
            };
            let judged = self.judge.accept(note).map_err(|reason| not_taken(&reason));
            let judged = judged.and_then(|_| {
                fits().ok_or_else(|| {
                    let message = "the quota of this client does not suffice any more";
                    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
                })
            });
            judged.map_err(|refusal| {
                refused = Some(refusal);
                FetchError::NothingWanted
            })
        });
        match (judged, refused) {
            (_, Some(refusal)) => return Err(refusal),
            (Err(error), None) => return Err(unwritten(&error)),
            (Ok(()), None) => {}
        }
        let pushed = Pushed {
            client: sender.name().to_string(),
            head: head.id().to_string(),
            bytes: folder::size(head.head()),
            verified: verified.to_string(),
        };
        pushed.write(&place).map_err(|error| unwritten(&error.into()))?;
        *is_published = true;
        lock(&self.uploads).remove(&(sender.name(), head.id()));
        if let Err(error) = Upload::remove(&place, &Self::key(&sender.name(), head.id())) {
            warn!(target: "weighbridge", "what was left of an upload stays: {error}");
        }
        Ok(())
    }

    /// The bytes that a client has here beside this release, and beside the one that it replaces.
    fn used_by_others(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Option<u64> {
        let who = sender.name();
        let uploads = lock(&self.uploads);
        let others =
            uploads.iter().filter(|((client, other), _)| (client, other) != (&who, &head) && *client == who);
        let reserved = others.fold(0u64, |sum, (_, entry)| sum.saturating_add(entry.bytes));
        drop(uploads);
        let models = folder::models(&self.folder).ok()?;
        let others = models.iter().filter(|(other, _)| other != name);
        let kept = others.filter_map(|(_, place)| Pushed::of(place)).filter(|pushed| *pushed.client == *who);
        Some(kept.fold(reserved, |sum, pushed| sum.saturating_add(pushed.bytes)))
    }

    /// Gives an upload up. Waits for the disk.
    pub(crate) fn give_up(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Result<(), Refusal> {
        let _turn = lock(&self.deciding);
        let key = (sender.name(), head);
        let entry = lock(&self.uploads).remove(&key).ok_or_else(no_upload)?;
        // The path's name is the client's word; the entry's is that of the head.
        let place = self.place(&entry.name);
        if entry.name != *name {
            lock(&self.uploads).insert(key, entry);
            return Err(no_upload());
        }
        drop(entry);
        Upload::remove(&place, &Self::key(&sender.name(), head)).map_err(|error| unwritten(&error.into()))
    }

    /// Gives up what nobody has used for a day, and closes what nobody uses now.
    pub(crate) fn look(&self) {
        let mut gone = Vec::new();
        let mut closed = Vec::new();
        for (key, entry) in lock(&self.uploads).iter_mut() {
            let idle = entry.used.elapsed().saturating_add(entry.idle_before);
            // One that is in use has other holders.
            let is_free = entry.open.as_ref().is_none_or(|open| Arc::strong_count(open) <= 2);
            if idle >= EXPIRES && is_free {
                gone.push((key.clone(), entry.name.clone()));
            } else if idle >= CLOSES && is_free {
                closed.extend(entry.open.take());
            }
        }
        for open in closed {
            if let Err(error) = open.upload.sync() {
                warn!(target: "weighbridge", "an upload cannot be synced: {error}");
            }
        }
        if gone.is_empty() {
            return;
        }
        let _turn = lock(&self.deciding);
        for (key, name) in gone {
            let is_idle = |entry: &Entry| entry.used.elapsed().saturating_add(entry.idle_before) >= EXPIRES;
            let mut uploads = lock(&self.uploads);
            // Somebody may have come back meanwhile.
            if !uploads.get(&key).is_some_and(is_idle) {
                continue;
            }
            uploads.remove(&key);
            drop(uploads);
            let (client, head) = key;
            info!(target: "weighbridge", client = &*client, model = name.as_str(), head = %head, "upload given up");
            if let Err(error) = Upload::remove(&self.place(&name), &Self::key(&client, head)) {
                warn!(target: "weighbridge", "what was left of an upload stays: {error}");
            }
        }
    }

    /// Makes durable what has come.
    pub(crate) fn sync(&self) {
        let all: Vec<_> = lock(&self.uploads).values().filter_map(|entry| entry.open.clone()).collect();
        for open in all {
            if let Err(error) = open.upload.sync() {
                warn!(target: "weighbridge", "an upload cannot be synced: {error}");
            }
        }
    }

    /// The number of uploads.
    pub(crate) fn count(&self) -> usize {
        lock(&self.uploads).len()
    }
}

impl Open {
    fn of(upload: Upload) -> Self {
        let no = || AtomicBool::new(false);
        let (received, is_published) = (AtomicU64::new(0), Mutex::default());
        Self { upload, received, begun: no(), is_synced: no(), is_published }
    }

    pub(crate) fn receive(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    /// Whether the caller is the first to ask: it syncs what comes.
    pub(crate) fn is_first_to_sync(&self) -> bool {
        !self.is_synced.swap(true, Relaxed)
    }

    /// Whether the caller is the first to ask: it looks for what is here then.
    pub(crate) fn begins(&self) -> bool {
        matches!(self.upload.needs(), Needs::Chunks) && !self.begun.swap(true, Relaxed)
    }

    /// Looks for chunks that are on this machine: in what an earlier run took, and in the models that the client may know. Waits for
    /// the disk.
    pub(crate) fn look(&self, sender: &Sender, models: &Models) {
        let mut known: Known<Arc<Release>> = Known::default();
        for published in models.all() {
            let is_of_client = || {
                let pushed = Pushed::of(&published.folder);
                pushed.is_some_and(|pushed| *pushed.client == *sender.name())
            };
            if sender.may_read(&published.current.name) || is_of_client() {
                let release = &published.current;
                known.add(release, release.files(), release.tensors());
            }
        }
        let mut read = |place: &Place<Arc<Release>>, offset: u64, into: &mut [u8]| {
            models.fill(&place.model, place.file, offset, into).is_ok()
        };
        if let Err(error) = self.upload.look(&known, &mut read, &|| true) {
            error!(target: "weighbridge", code = error.error_code().get(), "an upload cannot be read: {error}");
        }
    }

    /// What is missing.
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

fn published() -> PushState {
    PushState { version: PUSH_VERSION, needs: PushNeeds::Nothing, ..PushState::default() }
}

fn not_taken(reason: &NotTaken) -> Refusal {
    let status = match reason.code {
        ErrorCode::ROLLBACK | ErrorCode::FORK => StatusCode::CONFLICT,
        code if (1000..2000).contains(&code.get()) => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    let code = reason.code;
    Refusal::new(status, format!("not taken: {reason}")).coded(code)
}

pub(crate) fn no_upload() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such upload: its head has to be offered first")
}

fn no_room() -> Refusal {
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "the disk of this server has no room for that")
        .coded(ErrorCode::IO)
}

fn unread(error: &std::io::Error) -> Refusal {
    error!(target: "weighbridge", "the folder of models that are taken cannot be read: {error}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the server cannot read its folder").coded(ErrorCode::IO)
}

/// Something cannot be written. The place on the server's disk is for its log.
pub(crate) fn unwritten(fault: &FetchError) -> Refusal {
    let code = fault.error_code();
    let is_full = |error: &IoError| {
        matches!(error.source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    };
    match fault {
        FetchError::Store(StoreError::Io(error)) if is_full(error) => {
            error!(target: "weighbridge", code = code.get(), "not written: {fault}");
            no_room()
        }
        FetchError::Store(StoreError::Busy(_)) => {
            let message = "another process works at the folder of this model";
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).coded(code);
            refusal.with(header::RETRY_AFTER, "5")
        }
        FetchError::AnotherModel { .. } => {
            let message = "the place of this name has a model of another name";
            Refusal::new(StatusCode::CONFLICT, message).coded(code)
        }
        FetchError::Entry(_) | FetchError::List(_) => {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{fault} [W{code}]")).coded(code)
        }
        _ => {
            error!(target: "weighbridge", code = code.get(), "not written: {fault}");
            let message = format!("the server cannot write this model [W{code}]");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message).coded(code)
        }
    }
}

/// The time, if the clock tells one.
fn now() -> Option<Time> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Time::from_unix(i64::try_from(since.as_secs()).ok()?)
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The path for a folder of models that are taken is served, too.
impl AsRef<Path> for Accept {
    fn as_ref(&self) -> &Path {
        &self.folder
    }
}
