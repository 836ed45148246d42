//! A store in memory that keeps a record, and does odd things when a test says so.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
};

use tokio::sync::Notify;

use crate::board::lock;

#[derive(Clone, Debug, Default)]
pub(super) struct Odd(Arc<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) memory: InMemory,
    /// What was written, in order: `put KEY`, `begin KEY`, `part KEY INDEX`, `complete KEY`, `abort KEY`.
    record: Mutex<Vec<String>>,
    /// So many requests fail for once, from now on, after as many that do not.
    pub(super) fails: AtomicUsize,
    pub(super) fails_after: AtomicUsize,
    /// Writing is denied from the request of this number on, if it is not 0.
    pub(super) denies_from: AtomicUsize,
    /// So many times the object of this key is kept with another byte than it was sent, here and in all chunks behind.
    pub(super) spoils: Mutex<Option<(&'static str, usize, usize)>>,
    pub(super) takes_no_metadata: AtomicBool,
    /// Parts are taken, and then nothing is said.
    pub(super) hangs: AtomicBool,
    /// The next part finds no upload.
    pub(super) forgets: AtomicBool,
    pub(super) most_parts: AtomicUsize,
    parts_now: AtomicUsize,
    /// The first part is taken once there is a second one.
    pub(super) waits_for_two: AtomicBool,
    came: Notify,
}

impl Deref for Odd {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("odd")
    }
}

pub(super) fn failure(words: &'static str) -> Error {
    Error::Generic { store: "odd", source: words.into() }
}

impl Odd {
    /// What was written since the last call.
    pub(super) fn take_record(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.record))
    }

    pub(super) fn has_taken_a_part(&self) -> bool {
        lock(&self.record).iter().any(|write| write.starts_with("part "))
    }

    fn note(&self, what: String) {
        lock(&self.record).push(what);
    }

    fn write(&self) -> Result<()> {
        let less = |n: usize| n.checked_sub(1);
        if self.fails.load(SeqCst) > 0
            && self.fails_after.fetch_update(SeqCst, SeqCst, less).is_err()
            && self.fails.fetch_update(SeqCst, SeqCst, less).is_ok()
        {
            return Err(failure("is tired"));
        }
        match self.denies_from.load(SeqCst) {
            0 => Ok(()),
            1 => Err(Error::PermissionDenied { path: String::new(), source: "denies it".into() }),
            n => {
                self.denies_from.store(n - 1, SeqCst);
                Ok(())
            }
        }
    }

    fn spoiled(&self, key: &Path, bytes: bytes::Bytes) -> bytes::Bytes {
        let mut spoils = lock(&self.spoils);
        let Some((_, at, times)) = spoils.as_mut().filter(|(name, ..)| key.as_ref().ends_with(*name)) else {
            return bytes;
        };
        let Some(rest) = times.checked_sub(1) else { return bytes };
        *times = rest;
        let mut bytes = bytes.to_vec();
        bytes.iter_mut().skip(*at).step_by(1 << 14).for_each(|byte| *byte ^= 1);
        bytes.into()
    }

    fn check_metadata(&self, attributes: &object_store::Attributes) -> Result<()> {
        match self.takes_no_metadata.load(SeqCst) && !attributes.is_empty() {
            true => Err(Error::NotImplemented { operation: "metadata".into(), implementer: "odd".into() }),
            false => Ok(()),
        }
    }

    pub(super) async fn content(&self, key: &str) -> Option<Vec<u8>> {
        let got = self.memory.get_opts(&Path::parse(key).unwrap(), GetOptions::default()).await.ok()?;
        Some(got.bytes().await.unwrap().to_vec())
    }

    /// Puts bytes past the record.
    pub(super) async fn set(&self, key: &str, bytes: &[u8]) {
        let bytes = PutPayload::from(bytes.to_vec());
        self.memory.put_opts(&Path::parse(key).unwrap(), bytes, PutOptions::default()).await.unwrap();
    }
}

#[async_trait]
impl ObjectStore for Odd {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check_metadata(&options.attributes)?;
        self.write()?;
        self.note(format!("put {key}"));
        let payload = PutPayload::from(self.spoiled(key, payload.into()));
        self.memory.put_opts(key, payload, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("parts are written by their number")
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.memory.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.note("delete".to_owned());
        self.memory.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

#[async_trait]
impl MultipartStore for Odd {
    async fn create_multipart(&self, key: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(key, PutMultipartOptions::default()).await
    }

    async fn create_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<MultipartId> {
        self.check_metadata(&options.attributes)?;
        self.write()?;
        self.note(format!("begin {key}"));
        self.memory.create_multipart_opts(key, options).await
    }

    async fn put_part(&self, key: &Path, id: &MultipartId, index: usize, data: PutPayload) -> Result<PartId> {
        let now = self.parts_now.fetch_add(1, SeqCst) + 1;
        self.most_parts.fetch_max(now, SeqCst);
        self.came.notify_one();
        while self.waits_for_two.load(SeqCst) && self.most_parts.load(SeqCst) < 2 {
            self.came.notified().await;
        }
        self.parts_now.fetch_sub(1, SeqCst);
        if self.forgets.swap(false, SeqCst) {
            return Err(Error::NotFound { path: String::new(), source: "no such upload".into() });
        }
        self.write()?;
        let part = self.memory.put_part(key, id, index, data).await?;
        self.note(format!("part {key} {index}"));
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(part)
    }

    async fn complete_multipart(
        &self,
        key: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.write()?;
        self.note(format!("complete {key}"));
        let completed = self.memory.complete_multipart(key, id, parts).await?;
        if lock(&self.spoils).is_some() {
            let got = self.memory.get_opts(key, GetOptions::default()).await?;
            let attributes = got.attributes.clone();
            let bytes = self.spoiled(key, got.bytes().await?);
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.memory.put_opts(key, bytes.into(), options).await?;
        }
        Ok(completed)
    }

    async fn abort_multipart(&self, key: &Path, id: &MultipartId) -> Result<()> {
        self.note(format!("abort {key}"));
        self.memory.abort_multipart(key, id).await
    }
}
