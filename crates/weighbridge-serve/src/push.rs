//! The requests of a push: offers, lists, layers, chunks, and the end.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking, time};
use weighbridge_manifest::MAX_NOTE;
use weighbridge_transfer::{FetchError, parse_push_range};
use weighbridge_tree::{ErrorCode, Grid, HeadId, Nonce};

use crate::{
    accept::{Accept, InUse, Sender, no_upload},
    answer::Site,
    figures::Record,
    refusal::{Refusal, failed, not_found},
    reply::{Answer, Sent, text},
    route::{MetadataFile, PushRoute, ServedName, parameters},
    seat::Seat,
};

/// The bytes that are judged and written at once, where chunks are not larger.
const PIECE: u64 = 1 << 20;

/// The time in which some byte of a request has to come.
const BYTE_TIME: Duration = Duration::from_secs(60);

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Site {
    /// Answers a request of a sender, who may push this model.
    #[expect(clippy::too_many_arguments, reason = "each is another part of one request")]
    pub(crate) async fn push<B>(
        self: &Arc<Self>,
        accept: &Arc<Accept>,
        (name, head, route): (ServedName, HeadId, PushRoute),
        sender: Sender,
        parts: &Parts,
        body: B,
        seat: &Arc<Seat>,
        record: &Record,
    ) -> Result<Answer, Refusal>
    where
        B: HttpBody,
        B::Error: Into<Boxed>,
    {
        let sender = Arc::new(sender);
        let accept = Arc::clone(accept);
        let open = || accept.find(&sender, &name, head).ok_or_else(no_upload);
        let incoming = Incoming { body: std::pin::pin!(body), seat, rest: Bytes::new() };
        match (&parts.method, route) {
            (&Method::POST, PushRoute::Upload) => {
                let note = incoming.whole(u64::try_from(MAX_NOTE).unwrap_or(u64::MAX)).await?;
                let most = self.room.memory();
                let (offered, who, of) = (Arc::clone(&accept), Arc::clone(&sender), name.clone());
                let models = Arc::clone(self.models());
                let offer = move || offered.offer(&who, &of, head, &note, &models, most);
                let state = in_turn(&accept.turns, offer).await??;
                self.attend(&accept, accept.find(&sender, &name, head), &sender);
                json(&state)
            }
            (&Method::GET | &Method::HEAD, PushRoute::Upload) => {
                self.attend(&accept, accept.find(&sender, &name, head), &sender);
                let asked = Arc::clone(&accept);
                let state = in_turn(&accept.turns, move || asked.state_of(&sender, &name, head)).await??;
                json(&state)
            }
            (&Method::DELETE, PushRoute::Upload) => {
                let asked = Arc::clone(&accept);
                in_turn(&accept.publishing, move || asked.give_up(&sender, &name, head)).await??;
                Ok(done())
            }
            (_, PushRoute::Missing) => {
                let open = open()?;
                self.attend(&accept, Some(open.clone()), &sender);
                let missing = in_turn(&accept.turns, move || open.missing()).await?;
                json(&missing)
            }
            (_, PushRoute::Publish) => {
                let nonce = parameters(parts.uri.query()).and_then(|pairs| match pairs.as_slice() {
                    [(key, value)] if key == "nonce" => Nonce::from_hex(value).ok(),
                    _ => None,
                });
                let nonce = nonce.ok_or_else(|| {
                    let message = "`?nonce=` has to be 64 hexadecimal digits, drawn anew each time";
                    Refusal::new(StatusCode::BAD_REQUEST, message).closing()
                })?;
                drop(incoming.whole(0).await?);
                let models = Arc::clone(self.models());
                let asked = Arc::clone(&accept);
                let publish = move || asked.publish(&sender, &name, head, nonce, &models);
                let receipt = in_turn(&accept.publishing, publish).await??;
                Ok(text("text/plain; charset=utf-8", receipt))
            }
            (_, PushRoute::Metadata(MetadataFile::Layers)) => {
                let open = open().map_err(Refusal::closing)?;
                until_ended(&open, self.layers(&accept, &open, parts, incoming)).await?;
                self.attend(&accept, Some(open), &sender);
                Ok(done())
            }
            (_, PushRoute::Metadata(file)) => {
                let open = open().map_err(Refusal::closing)?;
                until_ended(&open, self.list(&accept, &open, file, incoming)).await?;
                self.attend(&accept, Some(open), &sender);
                Ok(done())
            }
            (_, PushRoute::File(path)) => {
                let open = open().map_err(Refusal::closing)?;
                until_ended(&open, self.chunks(&accept, &open, &path, parts, incoming, record)).await
            }
            _ => Err(not_found()),
        }
    }

    /// Begins what an open upload needs beside requests: what comes is synced, and once the layers are there, the server looks for what
    /// it has already.
    fn attend(self: &Arc<Self>, accept: &Arc<Accept>, open: Option<InUse>, sender: &Arc<Sender>) {
        let Some(open) = open else { return };
        // Before the lists are there, nothing is to be synced.
        if open.upload.files().is_some() && open.is_first_to_sync() {
            let (accept, weak) = (Arc::clone(accept), Arc::downgrade(open.open()));
            tokio::spawn(async move {
                while let Some(open) = weak.upgrade().filter(|open| !open.is_ended()) {
                    open.upload.batch().await;
                    let here = Arc::clone(&open);
                    let synced = spawn_blocking(move || here.upload.sync()).await;
                    if let Ok(Err(error)) = synced {
                        // The log has it. The sender offers the head again, and what is on disk is read.
                        drop(accept.broken(&open, &error));
                    }
                }
            });
        }
        if open.begins() {
            let (sender, models) = (Arc::clone(sender), Arc::clone(self.models()));
            // It is not waited for: the state of the upload says whether it has ended.
            drop(spawn_blocking(move || open.look(&sender, &models)));
        }
    }

    /// Takes a list.
    async fn list<B>(
        &self,
        accept: &Accept,
        open: &InUse,
        file: MetadataFile,
        incoming: Incoming<'_, B>,
    ) -> Result<(), Refusal>
    where
        B: HttpBody,
        B::Error: Into<Boxed>,
    {
        let head = open.upload.head().head();
        let length = match file {
            MetadataFile::Files => head.files.length,
            _ => head.tensors.map_or(0, |tensors| tensors.list.length),
        };
        incoming.has_length(length)?;
        let memory = usize::try_from(length).unwrap_or(usize::MAX);
        let portion = Arc::clone(&self.room).take(memory, Arc::clone(incoming.seat)).await;
        let list = incoming.whole(length).await?;
        let here = open.clone();
        let taken = self.desk.work(move || {
            let _portion = portion;
            here.upload.put_list(file.name(), &list)
        });
        let taken = taken.await?;
        open.come();
        let taken = taken.map_err(|error| accept.broken(open.open(), &error).closing())?;
        taken.map_err(|why| refused(why, ErrorCode::LIST_ROOT).closing())
    }

    /// Takes layers: all of `chunks.layer`, or those of a range that begins with one.
    async fn layers<B>(
        &self,
        accept: &Accept,
        open: &InUse,
        parts: &Parts,
        mut incoming: Incoming<'_, B>,
    ) -> Result<(), Refusal>
    where
        B: HttpBody,
        B::Error: Into<Boxed>,
    {
        let size = open.upload.layers_len();
        let size = size.ok_or_else(|| conflict("the lists have to come before the layers").closing())?;
        let range = content_range(&parts.headers, size)?;
        incoming.has_length(range.end.saturating_sub(range.start))?;
        let mut at = range.start;
        while at < range.end {
            let layer = open.upload.layer_at(at).ok_or_else(|| {
                Refusal::new(StatusCode::BAD_REQUEST, "the range does not begin with a layer").closing()
            })?;
            let mut end = layer.end;
            // As many whole layers as fit into a piece, and at least one.
            while let Some(next) = open
                .upload
                .layer_at(end)
                .filter(|next| next.end <= range.end && next.end.saturating_sub(at) <= PIECE)
            {
                end = next.end;
            }
            if end > range.end {
                let message = "the range does not end with a layer";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, message).closing());
            }
            let length = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let mut portion = Arc::clone(&self.room).take(length, Arc::clone(incoming.seat)).await;
            incoming.fill(portion.buffer(length)).await?;
            let here = open.clone();
            let taken = self.desk.work(move || here.upload.put_layers(at, portion.as_ref())).await?;
            open.come();
            let taken = taken.map_err(|error| accept.broken(open.open(), &error).closing())?;
            let _all = taken.map_err(|why| refused(why, ErrorCode::LAYER_MISMATCH).closing())?;
            at = end;
        }
        Ok(())
    }

    /// Takes chunks of a file: all, or those of a range that has whole chunks. The good ones before a bad one count.
    async fn chunks<B>(
        &self,
        accept: &Accept,
        open: &InUse,
        path: &str,
        parts: &Parts,
        mut incoming: Incoming<'_, B>,
        record: &Record,
    ) -> Result<Answer, Refusal>
    where
        B: HttpBody,
        B::Error: Into<Boxed>,
    {
        let files = open.upload.files().map(Arc::clone);
        let files = files.ok_or_else(|| conflict("the lists have to come before chunks").closing())?;
        let (position, entry) = files.find(path).ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, "the model has no file at this path").closing()
        })?;
        let grid = Grid::new(entry.size, files.chunk_size()).map_err(|_| failed())?;
        let unit = grid.granule().bytes();
        let range = content_range(&parts.headers, entry.size)?;
        incoming.has_length(range.end.saturating_sub(range.start))?;
        let is_whole = |at: u64| at == entry.size || at.checked_rem(unit) == Some(0);
        if !is_whole(range.start) || !is_whole(range.end) {
            let message = format!("the range has parts of chunks, which have {unit} bytes");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message).closing());
        }
        let mut at = range.start;
        while at < range.end {
            let most = if self.room.is_ample() { PIECE.max(unit) } else { unit };
            let most = most.checked_div(unit).unwrap_or(1).saturating_mul(unit);
            let wanted = most.min(range.end.saturating_sub(at));
            let length = usize::try_from(wanted).unwrap_or(usize::MAX);
            let mut portion = Arc::clone(&self.room).take(length, Arc::clone(incoming.seat)).await;
            let unit_here = usize::try_from(unit).unwrap_or(usize::MAX);
            let came = incoming.fill_some(portion.buffer(length), unit_here).await;
            let (filled, broken) = match came {
                Ok(filled) => (filled, None),
                Err((filled, refusal)) => (filled, Some(refusal)),
            };
            // The last chunk of what has come is whole if it is that of the range.
            let whole = match filled == length {
                true => filled,
                false => filled.saturating_sub(filled.checked_rem(unit_here).unwrap_or(0)),
            };
            // The rest comes again.
            let came = if broken.is_none() { whole } else { filled };
            open.receive(u64::try_from(came).unwrap_or(u64::MAX));
            record.receive(u64::try_from(came).unwrap_or(u64::MAX));
            if broken.is_none() {
                incoming.give_back(portion.buffer(length).get(whole..filled).unwrap_or_default());
            }
            if whole > 0 {
                let (here, first) = (open.clone(), at.checked_div(unit).unwrap_or(0));
                // Writes to one file wait for each other, and do so by spinning: no more of them than there are cores.
                let judged = self.desk.work(move || {
                    let bytes = portion.as_ref().get(..whole).unwrap_or_default();
                    here.upload.accept(position, first, bytes)
                });
                let judged = judged.await?.map_err(|error| not_judged(accept, open, &error).closing())?;
                record.verify(judged.new);
                if let Some(wrong) = judged.wrong.first() {
                    record.refuse_received();
                    let message = format!(
                        "chunk {} of {} is not the signed one",
                        wrong.chunk,
                        weighbridge_manifest::shown(path)
                    );
                    return Err(refused(message, ErrorCode::CHUNK_MISMATCH).closing());
                }
            }
            if let Some(refusal) = broken {
                return Err(refusal);
            }
            at = at.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
        }
        Ok(done())
    }
}

/// Breaks off a request whose upload is given up or closed.
async fn until_ended<T>(open: &InUse, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::select! {
        result = work => result,
        () = open.ended() => Err(no_upload().closing()),
    }
}

/// The body of a request as it comes.
struct Incoming<'a, B> {
    body: Pin<&'a mut B>,
    seat: &'a Arc<Seat>,
    /// Bytes that have come and were not taken.
    rest: Bytes,
}

impl<B> Incoming<'_, B>
where
    B: HttpBody,
    B::Error: Into<Boxed>,
{
    /// Refuses a body of another length, before any of it is read.
    fn has_length(&self, length: u64) -> Result<(), Refusal> {
        if self.body.size_hint().exact() == Some(length) {
            return Ok(());
        }
        let message = format!("the body has to have {length} bytes");
        Err(Refusal::new(StatusCode::BAD_REQUEST, message).closing())
    }

    /// All of a body that may have this many bytes.
    async fn whole(mut self, most: u64) -> Result<Vec<u8>, Refusal> {
        let length = self.body.size_hint().exact().unwrap_or(u64::MAX);
        if length > most {
            let message = format!("the body may have at most {most} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message).closing());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    /// Puts bytes back that were taken last.
    fn give_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.rest = [bytes, &self.rest].concat().into();
        }
    }

    async fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Refusal> {
        let all = buffer.len();
        self.fill_some(buffer, all).await.map(drop).map_err(|(_, refusal)| refusal)
    }

    /// Fills a buffer, or as much of it as there is now, if that is `enough`. If the body ends before, says how much came.
    async fn fill_some(&mut self, buffer: &mut [u8], enough: usize) -> Result<usize, (usize, Refusal)> {
        let mut filled = 0usize;
        loop {
            let left = buffer.get_mut(filled..).unwrap_or_default();
            let here = self.rest.len().min(left.len());
            if let (Some(into), Some(from)) = (left.get_mut(..here), self.rest.get(..here)) {
                into.copy_from_slice(from);
            }
            self.rest.advance(here);
            filled = filled.saturating_add(here);
            if filled == buffer.len() {
                return Ok(filled);
            }
            let refusal = |status, message| (filled, Refusal::new(status, message).closing());
            let mut body = self.body.as_mut();
            let mut frame = pin!(body.frame());
            let frame = match at_once(frame.as_mut()).await {
                Some(frame) => Ok(frame),
                // A chunk that is complete is judged while others are awaited.
                None if filled >= enough => return Ok(filled),
                None => {
                    self.seat.await_bytes();
                    time::timeout(BYTE_TIME, frame).await
                }
            };
            let mut bytes = match frame {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => bytes,
                    // Trailers say nothing here.
                    Err(_) => continue,
                },
                Ok(None | Some(Err(_))) => {
                    return Err(refusal(StatusCode::BAD_REQUEST, "the request ended early"));
                }
                Err(_) => return Err(refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long")),
            };
            self.seat.receive(bytes.remaining());
            self.rest = bytes.copy_to_bytes(bytes.remaining());
        }
    }
}

/// The output of a future, if it is ready.
async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// The bytes of a file that a request brings: those of its `Content-Range`, or all.
fn content_range(headers: &HeaderMap, size: u64) -> Result<std::ops::Range<u64>, Refusal> {
    let mut ranges = headers.get_all(header::CONTENT_RANGE).iter();
    let range = match (ranges.next(), ranges.next()) {
        (None, _) => Some(0..size),
        (Some(range), None) => range.to_str().ok().and_then(|text| {
            let (range, all) = text.strip_prefix("bytes ")?.split_once('/')?;
            (all == size.to_string()).then(|| parse_push_range(range)).flatten()
        }),
        _ => None,
    };
    range.filter(|range| range.end <= size).ok_or_else(|| {
        let message = format!("Content-Range has to be `bytes FIRST-LAST/{size}`");
        Refusal::new(StatusCode::BAD_REQUEST, message).closing()
    })
}

fn refused(message: impl std::fmt::Display, code: ErrorCode) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("not taken: {message} [W{code}]")).coded(code)
}

fn conflict(message: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, message)
}

/// Chunks that could not be judged or written.
fn not_judged(accept: &Accept, open: &InUse, error: &FetchError) -> Refusal {
    match error {
        FetchError::Entry(_) | FetchError::NothingWanted => conflict("the layers have to come before chunks"),
        error => accept.broken(open.open(), error),
    }
}

/// An answer without content.
fn done() -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Answer { status: StatusCode::NO_CONTENT, headers, content: Sent::Whole(Bytes::new()) }
}

fn json(value: &impl Serialize) -> Result<Answer, Refusal> {
    let mut line = serde_json::to_string(value).map_err(|_| failed())?;
    line.push('\n');
    Ok(text("application/json", line))
}

/// Does work that waits for the disk, when it is its turn. A client that leaves does not free its place before the work is done.
async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| failed())?;
    let done = spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.map_err(|_| failed())
}
