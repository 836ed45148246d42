//! One connection to one source: takes leases, asks the source, and hands pieces over to be judged.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot::error::TryRecvError;

use super::{buffers::Buffer, engine::Engine, landing::Landing, target::Target, whole};
use crate::{
    catalog::Suspicion,
    decide::{ConnectionId, Lease, LeaseId},
    event::SourceId,
    source::{
        Fault, Source,
        contract::{self, ExactBody},
    },
};

/// How a run of chunks ended.
enum End {
    /// Nothing is left of the run.
    Done,
    /// All bytes of the run have come, and the last piece is being judged and written.
    Landing(Landing),
    /// The source gave nothing, or not all.
    Fault(Fault),
    /// The source says that its copy of the run's first chunk is bad.
    BadChunk(String),
    /// The source gives the run to another member of the swarm for this time.
    HeldBack(Duration),
    /// A chunk is not the signed one.
    Mismatch,
    /// Bytes of a class above went first, for as long as a source can be expected to wait.
    HeldUp,
    /// A local error ends the fetch.
    Here,
}

/// Works for one source, as long as there is work and the source may be asked.
pub(crate) async fn work(running: Running, source: Arc<dyn Source>, connection: ConnectionId) {
    let Running { engine, source: id } = &running;
    let mut last = LastPieces::default();
    serve(engine, *id, &source, connection, &mut last).await;
    // Received pieces are judged and written, even if the connection ended with a fault.
    let _ = last.down_to(0).await;
}

/// Takes leases and fetches them one after the other, until there is no work or the source may not be asked.
async fn serve(
    engine: &Arc<Engine>,
    id: SourceId,
    source: &Arc<dyn Source>,
    connection: ConnectionId,
    last: &mut LastPieces,
) {
    let board = &engine.board;
    let (generation, cases) = {
        let decisions = board.decide();
        (decisions.generation(id), decisions.cases(id))
    };
    let is_wanted = || !engine.has_failed() && board.decide().generation(id) == generation;
    while is_wanted() && !board.decide().is_crowded(id) {
        board.may_ask().await;
        // The buffer comes first: a lease is not held while its source is not asked.
        let Some(buffer) = engine.buffers.take().await else { return };
        let Some(lease) = engine.take(connection, id) else {
            drop(buffer);
            if let Some(position) = whole::take(engine, id) {
                let _asked = Asked::begin(engine, id);
                whole::run(engine, id, position).await;
                continue;
            }
            return;
        };
        let Some(target) = engine.chunks.targets.get(&lease.file).map(Arc::clone) else { return };
        let held = LeaseGuard { engine: Arc::clone(engine), lease: lease.id };
        let asked = Asked::begin(engine, id);
        let request = Request { engine, giver: Giver { source: id, cases }, lease: &lease, target: &target };
        let end = request.run(source.as_ref(), buffer).await;
        drop(asked);
        // The next request does not wait for the pieces of the last one: for small files it would wait most of the
        // time.
        let end = match end {
            End::Landing(landing) => {
                last.add(landing, held);
                // A guide names the next run by what is here, so the last one has to be judged before.
                let most = if board.decide().is_directed() { 0 } else { MAX_LANDINGS };
                last.down_to(most).await
            }
            end => {
                if let End::HeldBack(time) = end {
                    // It is told before the lease is given back, as the reason for that.
                    board.decide().hold_back(id, time, Instant::now());
                }
                drop(held);
                end
            }
        };
        if !is_wanted() {
            return;
        }
        match end {
            End::Done | End::Landing(_) | End::Mismatch | End::HeldBack(_) | End::HeldUp => {}
            End::Here => return,
            End::BadChunk(what) => {
                board.decide().lacks_chunk(id, lease.file, lease.chunks.start, what);
                // Others may have waited for this source to give the chunk.
                board.changed.notify_waiters();
            }
            End::Fault(fault) => {
                if let Some(suspicion) = Suspicion::of_fault(board, id, lease.file, cases, &fault) {
                    suspicion.judge(&engine.case, None);
                }
            }
        }
    }
}

/// Counts a connection as running until it is dropped, however it ends, and even if it never began.
pub(crate) struct Running {
    engine: Arc<Engine>,
    source: SourceId,
}

impl Running {
    pub(crate) fn begin(engine: &Arc<Engine>, source: SourceId) -> Self {
        engine.board.decide().connection_begins(source);
        Self { engine: Arc::clone(engine), source }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.board.decide().connection_ends(self.source);
        self.engine.board.changed.notify_waiters();
    }
}

/// The source that gives the bytes of a lease, and how often it had been suspected when it was asked.
#[derive(Clone, Copy)]
struct Giver {
    source: SourceId,
    cases: u64,
}

/// The time in which the source is asked. The watchdog watches the source only during that time.
struct Asked<'a> {
    engine: &'a Engine,
    source: SourceId,
}

impl<'a> Asked<'a> {
    fn begin(engine: &'a Engine, source: SourceId) -> Self {
        engine.board.decide().ask_begins(source);
        Self { engine, source }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.engine.board.decide().ask_ends(self.source);
    }
}

/// The last pieces of leases, which are judged and written while the connection asks for more. Each lease is held until
/// its piece is written.
#[derive(Default)]
struct LastPieces(VecDeque<(Landing, LeaseGuard)>);

impl LastPieces {
    fn add(&mut self, landing: Landing, held: LeaseGuard) {
        self.0.push_back((landing, held));
    }

    /// Waits until at most `most` pieces are left. Returns whether any piece was not good.
    async fn down_to(&mut self, most: usize) -> End {
        let mut end = End::Done;
        loop {
            let are_few = self.0.len() <= most;
            let Some((landing, _)) = self.0.front_mut() else { return end };
            let landed = match landing.try_recv() {
                Err(TryRecvError::Empty) if are_few => return end,
                Err(TryRecvError::Empty) => landing.await.ok(),
                landed => landed.ok(),
            };
            self.0.pop_front();
            match landed {
                Some(true) => {}
                Some(false) => end = End::Mismatch,
                None => return End::Here,
            }
        }
    }
}

/// How many pieces of one connection may wait to be judged.
const MAX_LANDINGS: usize = 4;

/// Gives back the rest of a lease, however its connection ends.
struct LeaseGuard {
    engine: Arc<Engine>,
    lease: LeaseId,
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.engine.board.decide().give_back(self.lease);
    }
}

/// A piece that is being received, and the part of it that has come.
struct Coming {
    piece: Piece,
    buffer: Buffer,
    /// When the connection began to wait for its first byte.
    since: Instant,
}

impl Coming {
    fn have(&self) -> u64 {
        len_u64(&self.buffer.bytes)
    }
}

/// A request for the chunks of a lease.
struct Request<'a> {
    engine: &'a Arc<Engine>,
    giver: Giver,
    lease: &'a Lease,
    target: &'a Arc<Target>,
}

impl Request<'_> {
    /// Fetches a run of chunks, in order.
    async fn run(&self, source: &dyn Source, buffer: Buffer) -> End {
        let (board, target) = (&self.engine.board, self.target);
        let range = target.range(&self.lease.chunks);
        let claim = self.lease.claim.as_ref();
        let mut body = match contract::open_for(source, &target.what(), range.clone(), claim).await {
            Ok(body) => body,
            Err(Fault::HeldBack(time)) => return End::HeldBack(time),
            Err(Fault::BadChunk(what)) => return End::BadChunk(what),
            Err(fault) => return End::Fault(fault),
        };
        if body.start() == 0 && range.start > 0 {
            board.decide().has_no_ranges(self.giver.source);
        }
        let mut at = body.start();
        let Some(piece) = self.next_piece(self.lease.chunks.start) else { return End::Done };
        let mut coming = Coming { piece, buffer, since: Instant::now() };
        let mut landing: Option<Landing> = None;
        loop {
            let mut frame = match self.next_frame(&mut body, &coming).await {
                Next::Frame(frame) => frame,
                // A slow source is not given the time for a full piece: whole chunks that have come count soon.
                Next::Soon => Bytes::new(),
                Next::Taken => return landed(landing).await,
                Next::Fault(fault) => {
                    // Whole chunks that came before the end are judged all the same.
                    let end = landed(landing).await;
                    let whole = self.whole_chunks(&coming.buffer);
                    if matches!(end, End::Here) || whole == 0 {
                        return if matches!(end, End::Here) { end } else { End::Fault(fault) };
                    }
                    coming.buffer.bytes.truncate(self.length_of(whole));
                    let end = landed(Some(self.land(coming.piece.first, coming.buffer))).await;
                    return if matches!(end, End::Here) { end } else { End::Fault(fault) };
                }
            };
            if !frame.is_empty() {
                let len = u64::try_from(frame.len()).unwrap_or(u64::MAX);
                board.decide().lease_received(self.lease.id, len, Instant::now());
                if !board.received_of_lease(frame.len(), self.giver.source, self.lease.id).await {
                    let end = landed(landing).await;
                    return if matches!(end, End::Done) { End::HeldUp } else { end };
                }
            }
            loop {
                at += self.keep(&mut coming, &mut frame, at);
                let is_full = coming.have() == coming.piece.len();
                let chunks = if is_full { coming.piece.chunks } else { self.whole_chunks(&coming.buffer) };
                if !is_full && (chunks == 0 || coming.since.elapsed() < SOON) {
                    break;
                }
                let rest =
                    if is_full { Vec::new() } else { coming.buffer.bytes.split_off(self.length_of(chunks)) };
                // One piece is judged while the next one is received.
                if let end @ End::Here = landed(landing.take()).await {
                    return end;
                }
                let next_first = coming.piece.first + chunks;
                landing = Some(self.land(coming.piece.first, coming.buffer));
                let Some(mut buffer) = self.more_memory().await else { return End::Here };
                let Some(piece) = self.next_piece(next_first) else {
                    return landing.map_or(End::Done, End::Landing);
                };
                // The rest is the beginning of the next chunk, which another source may have given meanwhile.
                if piece.first == next_first {
                    buffer.bytes.extend_from_slice(&rest);
                }
                coming = Coming { piece, buffer, since: Instant::now() };
            }
        }
    }

    /// A buffer for the next piece. The source does not have to give anything while this machine lacks memory.
    async fn more_memory(&self) -> Option<Buffer> {
        struct Pausing<'a>(&'a Engine, SourceId);
        impl Drop for Pausing<'_> {
            fn drop(&mut self) {
                self.0.board.decide().pay(self.1, false);
            }
        }
        self.engine.board.decide().pay(self.giver.source, true);
        let _pausing = Pausing(self.engine, self.giver.source);
        self.engine.buffers.take().await
    }

    /// The next bytes; or that it is time to judge whole chunks that have come, or that nothing is left of the lease.
    async fn next_frame(&self, body: &mut ExactBody, coming: &Coming) -> Next {
        let soon = async {
            if self.whole_chunks(&coming.buffer) > 0 {
                tokio::time::sleep_until((coming.since + SOON).into()).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            frame = body.next() => match frame {
                Ok(Some(frame)) => Next::Frame(frame),
                // The stream ended with the range, and so did its last piece.
                Ok(None) => Next::Fault(Fault::Unreachable("ended early".to_owned())),
                Err(fault) => Next::Fault(fault),
            },
            () = soon => Next::Soon,
            () = self.taken() => Next::Taken,
        }
    }

    /// Copies the part of a frame that belongs to the piece into the buffer. Returns how many bytes of the frame are
    /// used up.
    fn keep(&self, coming: &mut Coming, frame: &mut Bytes, at: u64) -> u64 {
        let have = coming.have();
        let before = if have == 0 { coming.piece.bytes.start.saturating_sub(at) } else { 0 };
        // Bytes before the piece: chunks that are not wanted, or that another source gave first.
        let skip = usize::try_from(before).unwrap_or(usize::MAX).min(frame.len());
        if skip > 0 {
            let skipped = u64::try_from(skip).unwrap_or(u64::MAX);
            self.engine.board.decide().add_passed(self.giver.source, skipped);
        }
        let room = usize::try_from(coming.piece.len() - have).unwrap_or(usize::MAX);
        let kept = (frame.len() - skip).min(room);
        coming.buffer.bytes.extend_from_slice(&frame[skip..skip + kept]);
        let used = frame.split_to(skip + kept);
        u64::try_from(used.len()).unwrap_or(u64::MAX)
    }

    /// Waits until nothing is left of the lease: others have taken it over, or were faster.
    async fn taken(&self) {
        let board = &self.engine.board;
        loop {
            let shortened = board.shortened.notified();
            if board.decide().extent(self.lease.id).is_empty() {
                return;
            }
            shortened.await;
        }
    }

    /// The next piece that is left of the lease, from chunk `from` on, if there is one.
    fn next_piece(&self, from: u64) -> Option<Piece> {
        let left = self.engine.board.decide().extent(self.lease.id);
        let most = (self.engine.piece / self.target.grid.granule().bytes()).max(1);
        let first = left.start.max(from);
        let end = left.end.min(first.saturating_add(most));
        (first < end).then(|| Piece { first, chunks: end - first, bytes: self.target.range(&(first..end)) })
    }

    /// How many complete chunks a buffer has, if none of them is the file's last.
    fn whole_chunks(&self, buffer: &Buffer) -> u64 {
        len_u64(&buffer.bytes) / self.target.grid.granule().bytes()
    }

    /// The bytes of this many chunks, if none of them is the file's last.
    fn length_of(&self, chunks: u64) -> usize {
        let bytes = chunks.saturating_mul(self.target.grid.granule().bytes());
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Hands a piece over to be judged and written, on a thread that may block on the disk. A source that gave wrong
    /// bytes is suspected at once, even if its connection ends meanwhile.
    fn land(&self, first: u64, buffer: Buffer) -> Landing {
        let (Giver { source, cases }, lease) = (self.giver, self.lease.id);
        self.engine.board.decide().piece_came(source);
        let (here, target) = (Arc::clone(self.engine), Arc::clone(self.target));
        self.engine.landings.land(move || {
            let engine = here;
            let wrong = engine.land((lease, source), &target, first, &buffer.bytes);
            let Some(wrong) = wrong else { return !engine.has_failed() };
            if let Some(suspicion) = Suspicion::of(&engine.board, source, cases, wrong) {
                suspicion.judge(&engine.case, None);
            }
            false
        })
    }
}

/// The next result of reading a body.
enum Next {
    Frame(Bytes),
    /// Whole chunks have waited long enough to be judged.
    Soon,
    /// Nothing is left of the lease.
    Taken,
    Fault(Fault),
}

/// How long whole chunks wait to be judged if they do not fill a piece.
const SOON: Duration = Duration::from_millis(500);

/// Bytes that are read, judged and written at once.
#[derive(Clone)]
struct Piece {
    first: u64,
    chunks: u64,
    bytes: std::ops::Range<u64>,
}

impl Piece {
    fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

async fn landed(landing: Option<Landing>) -> End {
    let Some(landing) = landing else { return End::Done };
    match landing.await {
        Ok(true) => End::Done,
        Ok(false) => End::Mismatch,
        Err(_) => End::Here,
    }
}
