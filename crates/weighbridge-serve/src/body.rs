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
use weighbridge_store::ViewError;

use crate::{
    figures::Record,
    models::Models,
    release::{Item, Release, len},
    room::{Portion, Room, Seat},
    route::MetadataFile,
};

/// The body of an answer.
///
/// # Guarantee
/// Bytes of a file are signed ones: each chunk was accepted in the buffer from which its bytes are sent. Where a chunk is not the
/// signed one, the body ends with an error before a byte of it, so that the connection is closed before the length that the head
/// of the answer says.
///
/// # Cost
/// At most two pieces of 1 MiB, or of one chunk where chunks are larger.
pub struct Body {
    bytes: Source,
    left: u64,
    record: Record,
}

enum Source {
    Whole(Option<Bytes>),
    Pieces(Box<Pieces>),
}

impl Body {
    /// A body that is in memory already.
    pub(crate) fn whole(bytes: Bytes, record: Record) -> Self {
        Self { left: len(&bytes), bytes: Source::Whole(Some(bytes)), record }
    }

    /// A body whose first piece is judged already.
    pub(crate) fn pieces(mut pieces: Box<Pieces>, first: Bytes, record: Record) -> Self {
        let left = pieces.range.end.saturating_sub(pieces.range.start).saturating_add(len(&first));
        pieces.ready = Some(first);
        Self { left, bytes: Source::Pieces(pieces), record }
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
        let next = match &mut body.bytes {
            Source::Whole(bytes) => bytes.take().map(Ok),
            Source::Pieces(pieces) => ready!(pieces.poll_next(context)),
        };
        let frame = match next {
            None => None,
            Some(Ok(bytes)) => {
                body.left = body.left.saturating_sub(len(&bytes));
                body.record.send(len(&bytes));
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => {
                body.record.cut_short(&error);
                Some(Err(CutShort(error)))
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body of {} bytes", self.left)
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
    /// Others have all memory.
    Waiting(Pin<Box<dyn Future<Output = Portion> + Send>>),
    Loading(JoinHandle<Result<Bytes, ViewError>>),
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
        if matches!(next, Some(Ok(_))) && matches!(self.step, Step::Idle) {
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
                    self.prepare();
                    if matches!(self.step, Step::Idle) {
                        let memory = Arc::clone(&self.room).take(self.wanted(), Arc::clone(&self.seat));
                        self.step = Step::Waiting(Box::pin(memory));
                    }
                }
                Step::Waiting(portion) => {
                    let portion = ready!(portion.as_mut().poll(context));
                    self.load(portion);
                }
                Step::Loading(piece) => {
                    let piece = ready!(Pin::new(piece).poll(context));
                    self.step = Step::Idle;
                    // A task that panicked, or that a runtime has ended, gives nothing.
                    let piece = piece.unwrap_or_else(|_| Err(self.content.lost()));
                    if piece.is_err() {
                        self.range = 0..0;
                    }
                    return Poll::Ready(Some(piece));
                }
            }
        }
    }

    /// Begins to load the next piece, if there is one, and memory for it.
    fn prepare(&mut self) {
        if self.range.is_empty() {
            return;
        }
        if let Some(portion) = self.room.try_take(self.wanted(), &self.seat) {
            self.load(portion);
        }
    }

    /// The number of bytes of memory for the next piece.
    fn wanted(&self) -> usize {
        usize::try_from(self.content.piece(&self.range).1).unwrap_or(usize::MAX)
    }

    fn load(&mut self, portion: Portion) {
        let (end, _) = self.content.piece(&self.range);
        let piece = self.range.start..end;
        self.range.start = end;
        let content = Arc::clone(&self.content);
        self.step = Step::Loading(spawn_blocking(move || {
            let loaded = content.load(piece, portion);
            if let (Err(fault), Kind::File(position)) = (&loaded, &content.kind) {
                content.models.read_failed(&content.release, *position, fault);
            }
            loaded
        }));
    }
}

/// The item of a release that is sent, from which pieces are read.
pub(crate) struct Content {
    models: Arc<Models>,
    release: Arc<Release>,
    kind: Kind,
}

enum Kind {
    File(usize),
    Layers,
}

/// The length of a piece, unless a chunk is longer.
const PIECE: u64 = 1 << 20;

impl Content {
    /// `None` if the item is held in memory.
    pub(crate) fn of(models: Arc<Models>, release: Arc<Release>, item: Item) -> Option<Self> {
        let kind = match item {
            Item::File(position) => Kind::File(position),
            Item::Metadata(MetadataFile::Layers) => Kind::Layers,
            Item::Metadata(_) => return None,
        };
        Some(Self { models, release, kind })
    }

    /// The end of the first piece of a range that is not empty, and the memory that the piece takes.
    fn piece(&self, range: &Range<u64>) -> (u64, u64) {
        match self.kind {
            Kind::File(_) => {
                // Pieces end where chunks end, so that no chunk is judged for two of them.
                let unit = self.release.files().chunk_size().bytes().max(PIECE);
                let behind = range.start.saturating_add(1).checked_next_multiple_of(unit);
                let end = behind.unwrap_or(u64::MAX).min(range.end);
                (end, end.saturating_sub(range.start))
            }
            // A layer is judged as a whole, also where only a part of it is sent.
            Kind::Layers => match self.release.layers_from(range.start, PIECE) {
                Some(run) => (run.end.min(range.end), run.end.saturating_sub(run.begin)),
                None => (range.end, 0),
            },
        }
    }

    /// Reads and judges a piece.
    fn load(&self, piece: Range<u64>, mut portion: Portion) -> Result<Bytes, ViewError> {
        match self.kind {
            Kind::File(position) => {
                let file = self.models.file(&self.release, position)?;
                let len = usize::try_from(piece.end.saturating_sub(piece.start)).unwrap_or(usize::MAX);
                file.fill_at(piece.start, portion.buffer(len))?;
                Ok(Bytes::from_owner(portion))
            }
            Kind::Layers => self.load_layers(&piece, portion),
        }
    }

    fn load_layers(&self, piece: &Range<u64>, mut portion: Portion) -> Result<Bytes, ViewError> {
        let run = self.release.layers_from(piece.start, PIECE).ok_or_else(|| self.lost())?;
        let len = usize::try_from(run.end.saturating_sub(run.begin)).unwrap_or(usize::MAX);
        let buffer = portion.buffer(len);
        let mut rest = &mut *buffer;
        for position in run.files.0..run.files.1 {
            for value in self.release.view.layer(position)?.values() {
                let (into, behind) =
                    rest.split_at_mut_checked(value.as_bytes().len()).ok_or_else(|| self.lost())?;
                into.copy_from_slice(value.as_bytes());
                rest = behind;
            }
        }
        let within = |at: u64| usize::try_from(at.saturating_sub(run.begin)).unwrap_or(usize::MAX).min(len);
        Ok(Bytes::from_owner(portion).slice(within(piece.start)..within(piece.end)))
    }

    /// The error of a piece that nothing gave; never caused by data.
    fn lost(&self) -> ViewError {
        ViewError::PastEnd { path: String::new(), range: 0..0, size: 0 }
    }
}
