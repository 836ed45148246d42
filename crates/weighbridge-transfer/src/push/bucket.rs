//! A bucket as the target of a push.
//!
//! A bucket judges nothing. So each byte is judged here, in the memory that is sent, and random ones are read back before the head
//! is written, last of all.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use object_store::{
    Attribute, Attributes, GetOptions, MultipartId, ObjectStore as _, PutMultipartOptions, PutOptions,
    path::Path,
};
use url::Url;
use weighbridge_store::HEAD;

use super::{
    PushError, blocking,
    board::{Board, Trouble},
    model::{Model, judged::Judged},
    pace::Pace,
};
use crate::{
    board::lock,
    source::{
        Fault,
        bucket::{BucketError, Denied, OfMachine, Place, Purpose},
        http::{Client, find},
    },
};

mod object;
mod read_back;
mod refusal;
#[cfg(test)]
mod tests;

use object::{Content, Object, Upload};
use refusal::Refusal;

/// A folder in a bucket.
pub(super) struct Bucket {
    place: Place,
    /// The files up to this size are sent at once, others in parts of at least this size.
    piece: u64,
    /// Whether it has done what it was asked at least once: its credentials are good.
    has_answered: AtomicBool,
    /// Whether it takes metadata with objects, and with uploads in parts.
    takes_metadata: [AtomicBool; 2],
    /// The uploads in parts that are neither completed nor given up.
    open: Mutex<Vec<(Path, MultipartId)>>,
}

impl Bucket {
    /// # Errors
    /// The reason, as a sentence.
    pub(super) fn open(address: &Url, client: Client) -> Result<Self, String> {
        match Place::open(address, client, Purpose::Target) {
            Ok(place) => Ok(Self::of(place, PIECE)),
            Err(BucketError::Address(why)) => Err(format!("it is no address of a bucket: {why}")),
            Err(BucketError::Credentials(why)) => Err(format!("there are no credentials: {why}")),
        }
    }

    fn of(place: Place, piece: u64) -> Self {
        let takes_metadata = [AtomicBool::new(true), AtomicBool::new(true)];
        Self { place, piece, has_answered: AtomicBool::new(false), takes_metadata, open: Mutex::default() }
    }

    /// Writes the objects of a model, reads some back, and writes the head.
    ///
    /// # Errors
    /// [`PushError`]. The head was not written then, unless the bucket took it and its answer was lost; an older one stands there still.
    pub(super) async fn push(&self, model: &Arc<Model>, board: &Board) -> Result<(), PushError> {
        let files = Group::of(Object::files(self, model)?);
        let metadata = Group::of(Object::metadata(self, model).await?);
        let head = Object::head(self)?;
        let sender = Sender { bucket: self, model, board, pace: Pace::default() };
        let attempt = async || {
            // Metadata last: until they are replaced, an older release can be fetched as far as its files are there.
            for group in [&files, &metadata] {
                sender.bring(group).await?;
            }
            board.at(HEAD);
            self.put(&head, model.note.clone(), None).await?;
            board.goes_on();
            Ok(())
        };
        let pushed = board.persevere(attempt).await;
        self.give_up().await;
        pushed
    }

    /// Gives up the uploads in parts that were begun and not completed, as far as the bucket answers soon: it keeps, and bills, parts.
    pub(super) async fn give_up(&self) {
        let open = std::mem::take(&mut *lock(&self.open));
        let abort = |(key, id): (Path, MultipartId)| async move {
            // An upload that cannot be given up is left to the rules of the bucket.
            drop(self.place.store.abort_multipart(&key, &id).await);
        };
        let all = futures_util::future::join_all(open.into_iter().map(abort));
        drop(tokio::time::timeout(GIVING_UP, all).await);
    }

    /// The reason why the bucket cannot be asked, if it is a lack of credentials.
    fn without_credentials(&self, error: &object_store::Error) -> Option<String> {
        let is_of_machine = find::<OfMachine>(error).is_some();
        let is_denied_there = self.place.has_no_keys() && find::<Fault>(error).is_none();
        // A bucket that has answered before has credentials, and may only not get new ones now.
        let may_lack = (is_of_machine || is_denied_there) && !self.has_answered.load(Relaxed);
        may_lack.then(|| self.place.not_asked(error).to_string())
    }

    /// Takes note of an answer.
    fn answered<T>(&self, answer: object_store::Result<T>) -> Result<T, Refusal> {
        if answer.as_ref().err().is_none_or(|error| find::<Denied>(error).is_some()) {
            self.has_answered.store(true, Relaxed);
        }
        answer.map_err(|error| Refusal::of(&error, self))
    }

    /// The metadata of an object with this root.
    fn metadata(&self, root: &str) -> Attributes {
        let mut metadata = Attributes::new();
        metadata.insert(self.root_name(), root.to_owned().into());
        metadata
    }

    /// The name by which the bucket notes the root of an object. Azure takes no hyphens.
    fn root_name(&self) -> Attribute {
        Attribute::Metadata(if self.place.takes_hyphens { ROOT } else { ROOT_OF_AZURE }.into())
    }

    /// Asks with the root of an object, and without it from when on the store takes none.
    async fn noting<T>(
        &self,
        (kind, root): (usize, Option<&str>),
        ask: impl AsyncFn(Attributes) -> object_store::Result<T>,
    ) -> Result<T, Refusal> {
        let takes = self.takes_metadata.get(kind);
        if let Some(root) = root.filter(|_| takes.is_some_and(|takes| takes.load(Relaxed))) {
            match self.answered(ask(self.metadata(root)).await) {
                Err(Refusal::Unsupported(_)) => {
                    if let Some(takes) = takes {
                        takes.store(false, Relaxed);
                    }
                }
                answer => return answer,
            }
        }
        self.answered(ask(Attributes::new()).await)
    }

    async fn put(&self, key: &Path, bytes: Bytes, root: Option<&str>) -> Result<(), Refusal> {
        let put = async |attributes| {
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.place.store.put_opts(key, bytes.clone().into(), options).await
        };
        self.noting((WHOLE, root), put).await.map(drop)
    }

    async fn begin(&self, object: &Object) -> Result<MultipartId, Refusal> {
        let begin = async |attributes| {
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            self.place.store.create_multipart_opts(&object.key, options).await
        };
        let id = self.noting((IN_PARTS, object.root.as_deref()), begin).await?;
        lock(&self.open).push((object.key.clone(), id.clone()));
        Ok(id)
    }

    /// The size of an object, and the root that the bucket has noted with it.
    async fn look(&self, key: &Path) -> Result<(u64, Option<String>), Refusal> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let answer = self.answered(self.place.store.get_opts(key, options).await)?;
        let root = answer.attributes.get(&self.root_name()).map(|root| root.as_ref().to_owned());
        Ok((answer.meta.size, root))
    }
}

/// Objects that are brought, and then read back.
struct Group {
    objects: Vec<Object>,
    is_good: AtomicBool,
}

impl Group {
    fn of(objects: Vec<Object>) -> Self {
        Self { objects, is_good: AtomicBool::new(false) }
    }
}

/// The push to one bucket. What stands is known from one attempt to the next.
struct Sender<'a> {
    bucket: &'a Bucket,
    model: &'a Arc<Model>,
    board: &'a Board,
    pace: Pace,
}

impl Sender<'_> {
    /// Brings the objects of a group, until what is read back of them is good.
    async fn bring(&self, group: &Group) -> Result<(), Trouble> {
        if !group.is_good.load(Relaxed) {
            let objects: Vec<_> = group.objects.iter().collect();
            self.send(&objects).await?;
            self.check(&objects).await?;
            group.is_good.store(true, Relaxed);
        }
        Ok(())
    }

    /// Sends what does not stand yet: small objects some at a time, then one large one after another, so that each soon counts.
    async fn send(&self, objects: &[&Object]) -> Result<(), Trouble> {
        let is_small = |object: &&Object| object.size <= object.part(self.bucket.piece);
        let (small, large): (Vec<&Object>, Vec<&Object>) =
            objects.iter().partition(|object| is_small(object));
        self.pace.all(small, |object| self.send_small(object)).await?;
        for object in large {
            self.send_large(object).await?;
        }
        Ok(())
    }

    async fn send_small(&self, object: &Object) -> Result<Option<Duration>, Trouble> {
        if self.stands(object).await? {
            return Ok(None);
        }
        let from = self.open(object).await?;
        let bytes = self.read(&from, 0..object.size).await?;
        let began = Instant::now();
        self.bucket.put(&object.key, bytes, object.root.as_deref()).await?;
        self.count_sent(object, object.size);
        self.has_taken_all_of(object);
        Ok(Some(began.elapsed()))
    }

    async fn send_large(&self, object: &Object) -> Result<(), Trouble> {
        if self.stands(object).await? {
            return Ok(());
        }
        let part = object.part(self.bucket.piece);
        if object.state().upload.is_none() {
            let id = self.bucket.begin(object).await?;
            object.state().upload = Some(Upload::new(id, object.size.div_ceil(part)));
        }
        let Some((id, missing)) =
            object.state().upload.as_ref().map(|upload| (upload.id.clone(), upload.missing()))
        else {
            return Err(Trouble::Ended(PushError::Bug));
        };
        let from = self.open(object).await?;
        let send = |index| self.send_part(object, &from, (&id, index, part));
        self.pace.all(missing, send).await?;
        let parts =
            object.state().upload.as_ref().map(|upload| upload.parts.iter().flatten().cloned().collect());
        let Some(parts) = parts else { return Err(Trouble::Ended(PushError::Bug)) };
        let completed = self.bucket.place.store.complete_multipart(&object.key, &id, parts).await;
        self.bucket.answered(completed).map_err(|refusal| self.begin_anew(object, refusal))?;
        lock(&self.bucket.open).retain(|(_, open)| *open != id);
        self.has_taken_all_of(object);
        Ok(())
    }

    async fn send_part(
        &self,
        object: &Object,
        from: &Judged,
        (id, index, part): (&MultipartId, usize, u64),
    ) -> Result<Option<Duration>, Trouble> {
        let start = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(part);
        let end = start.saturating_add(part).min(object.size);
        let bytes = self.read(from, start..end).await?;
        let (began, length) = (Instant::now(), end.saturating_sub(start));
        let taken = self.bucket.place.store.put_part(&object.key, id, index, bytes.into()).await;
        let taken = self.bucket.answered(taken).map_err(|refusal| self.begin_anew(object, refusal))?;
        self.count_sent(object, length);
        let new = object.state().take_part(id, index, taken, length);
        self.board.gain(if object.counts { new } else { 0 }, 0);
        Ok(Some(began.elapsed()))
    }

    /// The trouble when an upload in parts cannot go on. One that the bucket does not know any more is begun anew.
    fn begin_anew(&self, object: &Object, refusal: Refusal) -> Trouble {
        match refusal {
            Refusal::Missing(why) => {
                let mut state = object.state();
                state.upload = None;
                state.begun_anew = state.begun_anew.saturating_add(1);
                if state.begun_anew > MOST_ANEW {
                    return Trouble::Ended(refused(why));
                }
                Trouble::Again { why, after: None, has_answered: true }
            }
            refusal => refusal.into(),
        }
    }

    /// Whether an object stands already, from this run or another.
    async fn stands(&self, object: &Object) -> Result<bool, Trouble> {
        self.board.at(&object.name);
        {
            let state = object.state();
            if state.stands || state.upload.is_some() || state.wrong.is_some() {
                return Ok(state.stands);
            }
        }
        // Metadata are small, and sent without asking for the ones that stand there.
        let Some(root) = &object.root else { return Ok(false) };
        match self.bucket.look(&object.key).await {
            Ok((size, noted)) if size == object.size && noted.as_ref() == Some(root) => {
                self.has_taken_all_of(object);
                Ok(true)
            }
            Err(Refusal::Other(trouble @ Trouble::Again { .. })) => Err(trouble),
            // Stores deny objects that they do not have. Whether this one may be written, writing it says.
            _ => Ok(false),
        }
    }

    fn has_taken_all_of(&self, object: &Object) {
        let (verified, durable) = object.state().take_whole(object.size);
        if object.counts { self.board.gain(verified, durable) } else { self.board.goes_on() }
    }

    fn count_sent(&self, object: &Object, bytes: u64) {
        if matches!(object.content, Content::File(_)) {
            self.board.sent.fetch_add(bytes, Relaxed);
        }
    }

    async fn open(&self, object: &Object) -> Result<Judged, Trouble> {
        match &object.content {
            Content::Metadata(judged) => Ok(judged.clone()),
            Content::File(position) => {
                let (model, position) = (Arc::clone(self.model), *position);
                blocking(move || model.judged_file(position)).await.map_err(Trouble::Ended)
            }
        }
    }

    async fn read(&self, from: &Judged, range: std::ops::Range<u64>) -> Result<Bytes, Trouble> {
        let (model, from) = (Arc::clone(self.model), from.clone());
        blocking(move || model.read_judged(&from, &range)).await.map_err(Trouble::Ended)
    }
}

fn refused(message: String) -> PushError {
    PushError::Refused { code: None, message }
}

/// How long a bucket may say nothing before the push says so: it says nothing while it is sent an object.
pub(super) const SILENT: Duration = Duration::from_secs(20);
/// How often an upload in parts is begun anew that the bucket does not know any more.
const MOST_ANEW: u32 = 3;
/// The smallest parts.
const PIECE: u64 = 8 << 20;
/// How long uploads may take to be given up.
const GIVING_UP: Duration = Duration::from_secs(5);
/// The names of an object's metadata that has the root of the file.
const ROOT: &str = "weighbridge-root";
const ROOT_OF_AZURE: &str = "weighbridge_root";
/// Kinds of writing.
const WHOLE: usize = 0;
const IN_PARTS: usize = 1;
