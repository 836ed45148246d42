//! Models that others bring: who may bring which, how much of it, and what is there of each (`spec/push.md`).

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{StatusCode, header};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};
use weighbridge_manifest::{Head, Note, Receipt, Time, VerifiedHead, Vkey};
use weighbridge_store::{IoError, StoreError};
use weighbridge_transfer::{Coded as _, FetchError, PUSH_VERSION, PushNeeds, PushState, Upload};
use weighbridge_tree::{ErrorCode, HeadId, Nonce, head_id};

use crate::{
    clients::Client,
    models::Models,
    refusal::{Refusal, failed},
    room::lock,
    route::ServedName,
};

mod ends;
mod folder;
mod open;
mod space;

use folder::Pushed;
pub(crate) use open::InUse;
use open::{Clock, Open};

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
    /// The requests that wait for the disk at a time, and those that publish: they leave threads for reads of files.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) publishing: Arc<Semaphore>,
    has_looked: AtomicBool,
    is_ended: AtomicBool,
}

type Key = (Arc<str>, HeadId);

/// An upload, whether it is open or not.
struct Entry {
    name: ServedName,
    /// The bytes that it will have on disk.
    bytes: u64,
    /// As it was when it was closed last, or found.
    clock: Clock,
    /// Whether names were being given when a server was killed.
    is_marked: bool,
    open: Option<Arc<Open>>,
}

impl Entry {
    fn clock(&self) -> Clock {
        self.open.as_ref().map_or(self.clock, |open| open.clock())
    }

    fn is_used(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_used())
    }

    fn close(&mut self) -> Option<Arc<Open>> {
        let open = self.open.take()?;
        self.clock = open.clock();
        Some(open)
    }
}

/// The client of an upload.
pub(crate) struct Sender {
    pub(crate) name: Arc<str>,
    client: Option<Arc<Client>>,
    quota: u64,
}

impl Sender {
    /// A client that may push models of this name; without a tokens file there is one, on this machine.
    pub(crate) fn of(client: Option<Arc<Client>>, name: &ServedName) -> Option<Self> {
        let Some(client) = client else {
            return Some(Self { name: "local".into(), client: None, quota: u64::MAX });
        };
        let quota = client.may_push(name.name())?;
        Some(Self { name: Arc::clone(client.name()), client: Some(client), quota })
    }

    fn may_read(&self, name: &ServedName) -> bool {
        self.client.as_ref().is_none_or(|client| client.may_read(name.name()))
    }
}

/// The time after which an upload is given up to which nothing came.
const EXPIRES: Duration = Duration::from_secs(24 * 3600);

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
                    clock: Clock::new(left.idle),
                    is_marked: Upload::is_marked(&model, &Self::key(&left.client, left.head)),
                    open: None,
                };
                uploads.insert((left.client.into(), left.head), entry);
            }
        }
        Ok(Self {
            folder,
            node,
            judge: Box::new(judge),
            sign: Box::new(sign),
            uploads: Mutex::new(uploads),
            deciding: Mutex::default(),
            turns: Arc::new(Semaphore::new(8)),
            publishing: Arc::new(Semaphore::new(4)),
            has_looked: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
        })
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
        models: &Models,
        most_memory: u64,
    ) -> Result<PushState, Refusal> {
        // By its own word, so that nothing is said of a model whose name is none of this client's.
        let parsed = Note::parse(note).ok();
        let named = parsed.as_ref().and_then(|note| {
            let is_it = head_id(note.text().as_bytes()) == head;
            Head::parse(note.text()).ok().filter(|_| is_it)
        });
        if named.is_none_or(|named| named.name != *name.name()) {
            let message = "the body is no note of the head that the path names, by model and id";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        let believed = self.judge.judge(note).map_err(|reason| not_taken(&reason))?;
        let place = self.place(name);
        let _turn = lock(&self.deciding);
        if let Some(open) = self.find(sender, name, head) {
            return Ok(self.state(&open));
        }
        let key = (Arc::clone(&sender.name), head);
        // A publication that was begun may have more to do.
        let is_marked = Upload::is_marked(&place, &Self::key(&sender.name, head));
        if !is_marked && self.published(sender, name, head).is_some() {
            // A server was killed before it could remove what was left.
            if lock(&self.uploads).remove(&key).is_some() {
                self.remove(&place, sender, head);
            }
            return Ok(self.nothing());
        }
        Self::may_take_its_place(name, &place, &believed, models)?;
        let metadata = self.fits(sender, name, head, &believed, most_memory)?;
        let bytes = folder::size(believed.head());
        let upload = Upload::open(&place, &Self::key(&sender.name, head), believed, note);
        let upload = upload.map_err(|error| unwritten(&error))?;
        let open = Open::of(upload, metadata, Clock::new(Duration::ZERO));
        let state = self.state(&open);
        let entry =
            Entry { name: name.clone(), bytes, clock: open.clock(), is_marked: false, open: Some(open) };
        lock(&self.uploads).insert(key, entry);
        info!(target: "weighbridge", client = &*sender.name, model = name.as_str(), head = %head, bytes, "upload begun");
        Ok(state)
    }

    /// Refuses a release that cannot take the place of what is there.
    fn may_take_its_place(
        name: &ServedName,
        place: &std::path::Path,
        head: &VerifiedHead,
        models: &Models,
    ) -> Result<(), Refusal> {
        let conflict = |message: &str| Err(Refusal::new(StatusCode::CONFLICT, message));
        if models.folder_of(name).is_some_and(|folder| folder != place) {
            return conflict("a model of this name is served from another folder");
        }
        let Some((id, there)) = folder::standing(place) else { return Ok(()) };
        if there.name != *name.name() {
            return conflict("the place of this name has a model of another name");
        }
        if id != head.id() && there.revision > head.head().revision {
            let message = format!("not taken: revision {} is here", there.revision);
            return Err(Refusal::new(StatusCode::CONFLICT, message).coded(ErrorCode::ROLLBACK));
        }
        Ok(())
    }

    fn area(&self, name: &ServedName, client: &str, head: HeadId) -> PathBuf {
        Upload::area(&self.place(name), &Self::key(client, head))
    }

    /// The record of the release that stands, if it is this one and the client has brought it.
    fn published(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Option<Pushed> {
        let pushed = Pushed::of(&self.place(name))?;
        (pushed.head == head.to_string() && pushed.client == *sender.name).then_some(pushed)
    }

    /// The open upload of a client.
    pub(crate) fn find(&self, sender: &Sender, name: &ServedName, head: HeadId) -> Option<InUse> {
        let uploads = lock(&self.uploads);
        // The name of the path decides what the client may do.
        let entry = uploads.get(&(Arc::clone(&sender.name), head)).filter(|entry| entry.name == *name)?;
        entry.open.as_ref().map(InUse::of)
    }

    /// The state of an upload, for a client that asks. Waits for the disk where nothing is open.
    pub(crate) fn state_of(
        &self,
        sender: &Sender,
        name: &ServedName,
        head: HeadId,
    ) -> Result<PushState, Refusal> {
        if let Some(open) = self.find(sender, name, head) {
            return Ok(self.state(&open));
        }
        self.published(sender, name, head).map(|_| self.nothing()).ok_or_else(no_upload)
    }

    fn state(&self, open: &Open) -> PushState {
        open.state(&self.node.to_string())
    }

    /// The state of a release that is published.
    fn nothing(&self) -> PushState {
        let receiver = self.node.to_string();
        PushState { version: PUSH_VERSION, receiver, needs: PushNeeds::Nothing, ..PushState::default() }
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
            self.put_in_place(sender, name, &open, models)?;
        }
        let pushed = self.published(sender, name, head).ok_or_else(no_upload)?;
        let (_, signed) = folder::standing(&place).filter(|(id, _)| *id == head).ok_or_else(no_upload)?;
        let receipt = Receipt {
            name: signed.name,
            head,
            root: signed.root,
            node: self.node.clone(),
            verified: pushed.verified().ok_or_else(failed)?,
            nonce: Some(nonce),
        };
        (self.sign)(&receipt).ok_or_else(failed)
    }

    /// Gives the release of an upload its place. Waits for the disk.
    fn put_in_place(
        &self,
        sender: &Sender,
        name: &ServedName,
        open: &InUse,
        models: &Models,
    ) -> Result<(), Refusal> {
        let (upload, place) = (&open.upload, self.place(name));
        let Ok(mut is_published) = open.is_published.try_lock() else {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the release is being published");
            return Err(refusal.with(header::RETRY_AFTER, "1"));
        };
        if *is_published {
            return Ok(());
        }
        if open.is_ended() {
            return Err(no_upload());
        }
        let synced = upload.sync().map_err(|error| self.broken(open.open(), &error));
        synced?;
        if !upload.is_durable() {
            let message = "chunks are missing: nothing was published";
            return Err(Refusal::new(StatusCode::CONFLICT, message));
        }
        let head = upload.head();
        let pushed = Pushed {
            client: sender.name.to_string(),
            head: head.id().to_string(),
            bytes: folder::size(head.head()),
            verified: now().ok_or_else(failed)?.to_string(),
        };
        let mut refused = None;
        // The head was judged when it was offered; the folder may have changed since.
        let judge = || {
            let judged = Self::may_take_its_place(name, &place, head, models).and_then(|()| {
                let (used, _) = self.used(sender, name, head.id(), false).map_err(|error| unread(&error))?;
                if used.saturating_add(pushed.bytes) > sender.quota {
                    let message = "the quota of this client does not suffice any more";
                    return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
                }
                self.judge.accept(upload.note()).map(drop).map_err(|reason| not_taken(&reason))
            });
            judged.map_err(|refusal| {
                refused = Some(refusal);
                FetchError::NothingWanted
            })
        };
        let area = self.area(name, &sender.name, head.id());
        let record = || pushed.write(&place, &area).map_err(FetchError::from);
        match (upload.publish(judge, record), refused) {
            (_, Some(refusal)) => return Err(refusal),
            (Err(error), None) => return Err(self.unpublished(open.open(), &error)),
            (Ok(()), None) => {}
        }
        *is_published = true;
        lock(&self.uploads).remove(&(Arc::clone(&sender.name), head.id()));
        open.end();
        self.remove(&place, sender, head.id());
        models.look_at_now(&place);
        info!(target: "weighbridge", client = &*sender.name, model = name.as_str(), head = %head.id(), "upload published");
        Ok(())
    }

    /// A release that was not published. What is in its way stays there: the upload need not be read again for that.
    fn unpublished(&self, open: &Arc<Open>, error: &FetchError) -> Refusal {
        match error {
            FetchError::Store(StoreError::Io(_)) => self.broken(open, error),
            error => unwritten(error),
        }
    }

    /// Closes an upload that could not be written: what is on disk is read again when its head is offered again. A disk may report
    /// success for what it has lost: what could not be synced is removed.
    pub(crate) fn broken(&self, open: &Arc<Open>, error: &FetchError) -> Refusal {
        open.upload.remove_unsynced();
        for entry in lock(&self.uploads).values_mut() {
            if entry.open.as_ref().is_some_and(|other| Arc::ptr_eq(other, open)) {
                entry.close().into_iter().for_each(|open| open.end());
            }
        }
        unwritten(error)
    }

    fn remove(&self, place: &std::path::Path, sender: &Sender, head: HeadId) {
        if let Err(error) = Upload::remove(place, &Self::key(&sender.name, head)) {
            warn!(target: "weighbridge", "what was left of an upload stays: {error}");
        }
    }

    /// The number of uploads.
    pub(crate) fn count(&self) -> usize {
        lock(&self.uploads).len()
    }
}

fn not_taken(reason: &NotTaken) -> Refusal {
    let status = match reason.code {
        ErrorCode::ROLLBACK | ErrorCode::FORK => StatusCode::CONFLICT,
        code if code.get() >= 9000 => StatusCode::SERVICE_UNAVAILABLE,
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
        FetchError::NotPruned { .. } => {
            let message = "the place of this model has files that nobody pushed";
            Refusal::new(StatusCode::CONFLICT, message).coded(code)
        }
        FetchError::Store(StoreError::InTheWay { .. }) => {
            error!(target: "weighbridge", code = code.get(), "not written: {fault}");
            let message = format!("something else is in the place of a file of this model [W{code}]");
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
