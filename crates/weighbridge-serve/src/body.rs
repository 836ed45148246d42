//! The bytes of answers. Those of files are judged in the buffer from which they are sent (rule 10).

use std::{
    fmt,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};
use weighbridge_bandwidth::Paced;
use weighbridge_store::ViewError;
use weighbridge_tree::ChunkError;

use crate::{
    coming::{Waiting, Wished},
    figures::Record,
    models::Models,
    release::{Item, Release, len},
    room::{Portion, Room},
    route::MetadataFile,
    seat::Seat,
};

/// The body of an answer.
///
/// # Guarantee
/// Bytes of a file are signed ones: each chunk was accepted in the buffer from which its bytes are sent. Where a chunk is not the
/// signed one, the body ends with an error before a byte of it, so that the connection is closed before the length that the head
/// of the answer says.
///
/// # Cost
/// At most three pieces of 1 MiB, or of one chunk where chunks are larger: one is on its way, one waits, one is read. Where memory is
/// scarce a piece is one chunk, and the next one is read when this one is on its way.
pub struct Body {
    bytes: Source,
    /// The rest of a piece, of which some waits for its turn.
    part: Bytes,
    paced: Option<Paced>,
    record: Record,
}

enum Source {
    Whole(Option<Bytes>),
    Pieces(Box<Pieces>),
}

impl Body {
    /// A body that is in memory already.
    pub(crate) fn whole(bytes: Bytes, mut record: Record) -> Self {
        record.left = len(&bytes);
        Self::of(Source::Whole(Some(bytes)), record)
    }

    /// A body whose first piece is judged already.
    pub(crate) fn pieces(mut pieces: Box<Pieces>, first: Bytes, mut record: Record) -> Self {
        record.left = pieces.range.end.saturating_sub(pieces.range.start).saturating_add(len(&first));
        pieces.ready = Some(first);
        Self::of(Source::Pieces(pieces), record)
    }

    fn of(bytes: Source, record: Record) -> Self {
        Self { bytes, part: Bytes::new(), paced: record.paced(), record }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let body = self.get_mut();
        while body.part.is_empty() {
            let next = match &mut body.bytes {
                Source::Whole(bytes) => bytes.take().map(Ok),
                Source::Pieces(pieces) => ready!(pieces.poll_next(context)),
            };
            match next {
                None => return Poll::Ready(None),
                Some(Ok(bytes)) => body.part = bytes,
                Some(Err(error)) => {
                    body.record.refuse(&error);
                    return Poll::Ready(Some(Err(CutShort(error))));
                }
            }
        }
        let bytes = match &mut body.paced {
            Some(paced) => ready!(paced.poll_next(&mut body.part, context)),
            None => std::mem::take(&mut body.part),
        };
        body.record.send(len(&bytes));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.record.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.record.left)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body of {} bytes", self.record.left)
    }
}

/// The end of a body before its length: the data of the server are not what was signed, or cannot be read.
#[derive(Debug)]
pub struct CutShort(ViewError);

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for CutShort {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A range of an item, read and judged piece by piece: one piece is prepared while the one before is sent.
pub(crate) struct Pieces {
    content: Arc<Content>,
    /// The bytes of the item that no piece has yet.
    range: Range<u64>,
    room: Arc<Room>,
    seat: Arc<Seat>,
    /// A piece that is judged.
    ready: Option<Bytes>,
    step: Step,
}

enum Step {
    /// Nothing is prepared.
    Idle,
    /// The next bytes are on their way.
    Coming(Waiting),
    /// Others have all memory.
    Waiting(Piece, Pin<Box<dyn Future<Output = Portion> + Send>>),
    Loading(Piece, JoinHandle<Result<Bytes, ViewError>>),
}

impl Pieces {
    pub(crate) fn new(content: Content, range: Range<u64>, room: Arc<Room>, seat: Arc<Seat>) -> Box<Self> {
        Box::new(Self { content: Arc::new(content), range, room, seat, ready: None, step: Step::Idle })
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, ViewError>> {
        std::future::poll_fn(|context| self.poll_next_error(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ViewError>>> {
        let next = ready!(self.poll_next_error(context));
        // The next piece is prepared while this one is sent.
        if matches!(next, Some(Ok(_))) && matches!(self.step, Step::Idle) && self.room.is_ample() {
            self.prepare();
        }
        Poll::Ready(next)
    }

    fn poll_next_error(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ViewError>>> {
        if let Some(piece) = self.ready.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        loop {
            match &mut self.step {
                Step::Idle if self.range.is_empty() => return Poll::Ready(None),
                Step::Idle => {
                    if let Some(waiting) = self.content.wait(&self.range) {
                        self.step = Step::Coming(waiting);
                        continue;
                    }
                    self.prepare();
                    if matches!(self.step, Step::Idle) {
                        let piece = self.content.piece(&self.range, 1);
                        let memory = Arc::clone(&self.room).take(piece.memory(), Arc::clone(&self.seat));
                        self.step = Step::Waiting(piece, Box::pin(memory));
                    }
                }
                Step::Coming(waiting) => {
                    let arrived = ready!(waiting.as_mut().poll(context));
                    self.step = Step::Idle;
                    if let Err(lost) = arrived {
                        self.range = 0..0;
                        return Poll::Ready(Some(Err(lost)));
                    }
                }
                Step::Waiting(piece, portion) => {
                    let portion = ready!(portion.as_mut().poll(context));
                    let piece = piece.clone();
                    self.load(&piece, portion);
                }
                Step::Loading(piece, loading) => {
                    let loaded = ready!(Pin::new(loading).poll(context));
                    let begin = piece.sent.start;
                    self.step = Step::Idle;
                    // A task that panicked, or that a runtime has ended, gives nothing.
                    let loaded = loaded.unwrap_or_else(|_| Err(self.content.lost()));
                    match &loaded {
                        // The next piece begins where this one ends.
                        Ok(bytes) => self.range.start = begin.saturating_add(len(bytes)),
                        Err(_) => self.range = 0..0,
                    }
                    return Poll::Ready(Some(loaded));
                }
            }
        }
    }

    /// Begins to load the next piece, if there is one, and memory for it.
    fn prepare(&mut self) {
        if self.range.is_empty() || !self.content.has(&self.content.piece(&self.range, 1)) {
            return;
        }
        let piece = self.content.piece_here(&self.range, self.most());
        if let Some(portion) = self.room.try_take(piece.memory(), &self.seat) {
            self.load(&piece, portion);
        }
    }

    /// The length of a piece, unless a chunk is longer.
    fn most(&self) -> u64 {
        if self.room.is_ample() { PIECE } else { 1 }
    }

    fn load(&mut self, piece: &Piece, portion: Portion) {
        let (content, loaded) = (Arc::clone(&self.content), piece.clone());
        self.range.start = piece.sent.end;
        let loading = spawn_blocking(move || content.load(&loaded, portion));
        self.step = Step::Loading(piece.clone(), loading);
    }
}

/// A part of an item that is read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// The bytes of the item that are sent.
    sent: Range<u64>,
    /// The bytes that are read for it: whole chunks, or whole layers.
    read: Range<u64>,
}

impl Piece {
    fn memory(&self) -> usize {
        usize::try_from(self.read.end.saturating_sub(self.read.start)).unwrap_or(usize::MAX)
    }

    /// The bytes that are sent, out of those that were read.
    fn cut(&self, read: &Bytes) -> Bytes {
        let at = |place: u64| {
            usize::try_from(place.saturating_sub(self.read.start)).unwrap_or(usize::MAX).min(read.len())
        };
        read.slice(at(self.sent.start)..at(self.sent.end))
    }
}

/// The item of a release that is sent, from which pieces are read.
pub(crate) struct Content {
    models: Arc<Models>,
    release: Arc<Release>,
    kind: Kind,
    /// Of a release that is on its way: these bytes are asked for before others.
    _wished: Option<Wished>,
}

enum Kind {
    File(usize),
    Layers,
}

/// The length of a piece where there is memory enough, unless a chunk is longer.
const PIECE: u64 = 1 << 20;

impl Content {
    /// The content from which a range is to be sent. `None` if the item is held in memory.
    pub(crate) fn of(
        models: Arc<Models>,
        release: Arc<Release>,
        item: Item,
        range: &Range<u64>,
    ) -> Option<Self> {
        let kind = match item {
            Item::File(position) => Kind::File(position),
            Item::Metadata(MetadataFile::Layers) => Kind::Layers,
            Item::Metadata(_) => return None,
        };
        let wished = match (&kind, release.as_coming()) {
            (Kind::File(position), Some(coming)) => Some(coming.wish(*position, range)),
            _ => None,
        };
        Some(Self { models, release, kind, _wished: wished })
    }

    /// The wait for the first bytes of a range, if they are on their way.
    fn wait(&self, range: &Range<u64>) -> Option<Waiting> {
        let coming = self.release.as_coming()?;
        let piece = self.piece(range, 1);
        if self.has(&piece) {
            return None;
        }
        Some(match self.kind {
            Kind::File(position) => coming.wait(position, piece.read),
            Kind::Layers => {
                let run = self.release.layers_from(piece.read.start, 1)?;
                coming.wait_for_layers(run.files.0..run.files.1)
            }
        })
    }

    /// Whether the bytes of a piece are here.
    fn has(&self, piece: &Piece) -> bool {
        let Some(coming) = self.release.as_coming() else { return true };
        match self.kind {
            Kind::File(position) => coming.has(position, &piece.read),
            Kind::Layers => {
                let most = piece.read.end.saturating_sub(piece.read.start);
                let run = self.release.layers_from(piece.read.start, most);
                let has = |file: usize| self.release.layer_len(file) == 0 || coming.layer(file).is_ok();
                run.is_some_and(|run| (run.files.0..run.files.1).all(has))
            }
        }
    }

    /// The first piece of a range of which all is here: about `most` bytes, or one chunk.
    fn piece_here(&self, range: &Range<u64>, most: u64) -> Piece {
        let piece = self.piece(range, most);
        if self.has(&piece) { piece } else { self.piece(range, 1) }
    }

    /// The first piece of a range that is not empty: about `most` bytes, but whole chunks, or whole layers.
    fn piece(&self, range: &Range<u64>, most: u64) -> Piece {
        let read = match self.kind {
            Kind::File(position) => {
                let size = self.release.size(Item::File(position));
                let chunk = self.release.files().chunk_size().bytes();
                let aligned =
                    |at: u64, unit: u64| at.checked_next_multiple_of(unit).unwrap_or(u64::MAX).min(size);
                // Pieces end where chunks end, so that no chunk is judged for two of them.
                let end = aligned(range.start.saturating_add(1), most.max(chunk));
                let start = range.start.checked_div(chunk).unwrap_or(0).saturating_mul(chunk);
                start..if end > range.end { aligned(range.end, chunk) } else { end }
            }
            // A layer is judged as a whole, also where only a part of it is sent.
            Kind::Layers => {
                self.release.layers_from(range.start, most).map_or(range.clone(), |run| run.begin..run.end)
            }
        };
        Piece { sent: range.start..read.end.min(range.end), read }
    }

    /// Reads and judges a piece. If it has a bad chunk behind good ones, these are given: whoever asks again from there on is told which
    /// chunk is bad.
    fn load(&self, piece: &Piece, mut portion: Portion) -> Result<Bytes, ViewError> {
        // A client that loads a model asks for its next file when it has this one.
        self.models.used(&self.release);
        let into = portion.buffer(piece.memory());
        match self.kind {
            Kind::File(position) => match self.models.fill(&self.release, position, piece.read.start, into) {
                Err(ViewError::Chunk { fault: ChunkError::Mismatch { range, .. }, .. })
                    if range.start > piece.sent.start =>
                {
                    let good = Piece { sent: piece.sent.start..range.start, read: piece.read.clone() };
                    self.release.give(position, &good.sent);
                    return Ok(good.cut(&Bytes::from_owner(portion)));
                }
                read => read?,
            },
            Kind::Layers => self.load_layers(piece, into)?,
        }
        if let Kind::File(position) = self.kind {
            self.release.give(position, &piece.sent);
        }
        Ok(piece.cut(&Bytes::from_owner(portion)))
    }

    fn load_layers(&self, piece: &Piece, mut into: &mut [u8]) -> Result<(), ViewError> {
        let most = piece.read.end.saturating_sub(piece.read.start);
        let run = self.release.layers_from(piece.read.start, most).ok_or_else(|| self.lost())?;
        for position in (run.files.0..run.files.1).filter(|file| self.release.layer_len(*file) > 0) {
            for value in self.models.layer(&self.release, position)?.values() {
                let value = value.as_bytes();
                let (here, behind) = into.split_at_mut_checked(value.len()).ok_or_else(|| self.lost())?;
                here.copy_from_slice(value);
                into = behind;
            }
        }
        if into.is_empty() { Ok(()) } else { Err(self.lost()) }
    }

    /// The error of a piece that nothing gave; never caused by data.
    fn lost(&self) -> ViewError {
        ViewError::PastEnd { path: String::new(), range: 0..0, size: 0 }
    }
}
