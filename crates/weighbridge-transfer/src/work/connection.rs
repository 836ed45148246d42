//! One connection to one source: takes work, asks, hands over what comes.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot::error::TryRecvError;
use weighbridge_manifest::shown;

use crate::{
    decide::schedule::{ConnectionId, Lease, LeaseId, LeaseKind, Take},
    event::SourceIndex,
    source::Fault,
    work::budget::Buffer,
    work::engine::{Engine, Refusal},
    work::landing::Landing,
    work::target::Target,
    work::whole,
};

/// How a run of chunks ended.
enum End {
    /// Nothing is left of it.
    Done,
    /// All of it has come, and the last piece is being judged and written.
    Landing(Landing),
    /// The source gave nothing, or not all.
    Fault(Fault),
    /// A chunk is not the signed one, and the source is suspected.
    Mismatch,
    /// Something is wrong here, and the fetch ends.
    Here,
}

/// Works for one source, as long as there is something to do and the source is to be asked.
pub(crate) async fn work(engine: Arc<Engine>, source: SourceIndex, connection: ConnectionId) {
    engine.board.roster().begins(source);
    let _running = Running { engine: &engine, source };
    let mut last = LastPieces::default();
    serve(&engine, source, connection, &mut last).await;
    // What has come is judged and written, whatever ended the connection.
    let _ = last.down_to(0).await;
}

/// Takes leases and fetches them, one after the other, until there is nothing to do or the source is not to be asked.
async fn serve(engine: &Arc<Engine>, source: SourceIndex, connection: ConnectionId, last: &mut LastPieces) {
    let board = &engine.board;
    let (generation, cases) = {
        let roster = board.roster();
        (roster.generation(source), roster.cases(source))
    };
    let is_wanted = || !engine.has_failed() && board.roster().generation(source) == generation;
    while is_wanted() && !board.roster().is_crowded(source) {
        // Memory first: a lease is not held while its source is not asked.
        let Some(buffer) = engine.buffers.take().await else { return };
        let Some(lease) = take(engine, source, connection) else {
            drop(buffer);
            if let Some(position) = whole::take(engine, source) {
                whole::run(engine, source, position).await;
                continue;
            }
            return;
        };
        let Some(target) = engine.targets.get(&lease.file).map(Arc::clone) else { return };
        let held = LeaseGuard { engine: Arc::clone(engine), lease: lease.id };
        let asked = Asked::of(engine, source);
        let end = run(engine, Giver { source, cases }, &lease, &target, buffer).await;
        drop(asked);
        // The next request does not wait for what the last one brought: of small files it would wait most of the time.
        let end = match end {
            End::Landing(landing) => {
                last.add(landing, held);
                last.down_to(MAX_LANDINGS).await
            }
            end => {
                drop(held);
                end
            }
        };
        if !is_wanted() {
            return;
        }
        let now = Instant::now();
        let is_suspect = match end {
            End::Done | End::Landing(_) => continue,
            End::Here | End::Mismatch => return,
            End::Fault(fault) => board.roster().failed(source, Some(lease.file), &fault, now),
        };
        board.changed.notify_waiters();
        if is_suspect {
            engine.case.find_out(board, source, None);
        }
    }
}

/// Counts the connection, and whoever ends it, as gone.
struct Running<'a> {
    engine: &'a Engine,
    source: SourceIndex,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.engine.board.roster().ends(self.source);
    }
}

/// Who is asked for the bytes of a lease, and how often it had been suspected by then.
#[derive(Clone, Copy)]
struct Giver {
    source: SourceIndex,
    cases: u64,
}

/// The time in which the source is asked: the watchdog counts that alone.
struct Asked<'a> {
    engine: &'a Engine,
    source: SourceIndex,
}

impl<'a> Asked<'a> {
    fn of(engine: &'a Engine, source: SourceIndex) -> Self {
        engine.board.roster().ask_begins(source);
        Self { engine, source }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.engine.board.roster().ask_ends(self.source);
    }
}

/// The last pieces of leases, which are judged and written while the connection asks for more. A lease is held until then.
#[derive(Default)]
struct LastPieces(VecDeque<(Landing, LeaseGuard)>);

impl LastPieces {
    fn add(&mut self, landing: Landing, held: LeaseGuard) {
        self.0.push_back((landing, held));
    }

    /// Waits until no more than so many are left. Says whether one was not good.
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
            if landed != Some(true) {
                end = End::Mismatch;
            }
        }
    }
}

/// How many pieces of one connection may wait to be judged.
const MAX_LANDINGS: usize = 4;

/// Gives back what is left of a lease, however its connection ends.
struct LeaseGuard {
    engine: Arc<Engine>,
    lease: LeaseId,
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.engine.schedule().give_back(self.lease);
        self.engine.board.changed.notify_waiters();
    }
}

/// What a source gives in about a second, as far as that is known.
const FIRST_REQUEST: u64 = 4 << 20;
const MAX_REQUEST: u64 = 64 << 20;

fn take(engine: &Engine, source: SourceIndex, connection: ConnectionId) -> Option<Lease> {
    let roster = engine.board.roster();
    let rate = roster.rate(source);
    let bytes = if rate == 0 { FIRST_REQUEST } else { rate.clamp(engine.piece, MAX_REQUEST) };
    let limits = Take { bytes, whole_files: !roster.knows_ranges(source) };
    let may = |file| roster.may_serve(source, file);
    let rate_of = |source| roster.rate(source);
    let lease = engine.schedule().take(connection, source, limits, &may, &rate_of, Instant::now())?;
    if lease.kind != LeaseKind::Fresh {
        engine.board.shortened.notify_waiters();
    }
    Some(lease)
}

/// Fetches a run of chunks, in order.
async fn run(
    engine: &Arc<Engine>,
    giver: Giver,
    lease: &Lease,
    target: &Arc<Target>,
    mut buffer: Buffer,
) -> End {
    let (board, source) = (&engine.board, giver.source);
    let range = target.range(&lease.chunks);
    let opened = board.sources[source].open(&target.what(), range.clone()).await;
    let mut body = match opened {
        Ok(body) => body,
        Err(fault) => return End::Fault(fault),
    };
    if body.start() == 0 && range.start > 0 {
        board.roster().lacks_ranges(source);
    }
    let mut at = body.start();
    let mut piece = Piece::next(engine, lease, target, lease.chunks.start);
    let mut landing: Option<Landing> = None;
    let mut since = Instant::now();
    loop {
        let Some(wanted) = &piece else { return landing.map_or(End::Done, End::Landing) };
        let frame = tokio::select! {
            frame = body.next() => frame,
            () = taken(engine, lease) => return landed(landing).await,
        };
        let mut frame = match frame {
            Ok(Some(frame)) => frame,
            // The range is over, and so is the last piece of it.
            Ok(None) => return End::Fault(Fault::Unreachable("ended early".to_owned())),
            Err(fault) => {
                // What has come before is judged all the same.
                let mut end = landed(landing).await;
                let whole = whole_chunks(target, &buffer);
                if matches!(end, End::Done) && whole > 0 {
                    buffer.bytes.truncate(length_of(target, whole));
                    end = landed(Some(land(engine, giver, lease.id, target, wanted.first, buffer))).await;
                }
                return if matches!(end, End::Done) { End::Fault(fault) } else { end };
            }
        };
        board.received(frame.len(), source).await;
        let mut wanted = wanted.clone();
        while !frame.is_empty() {
            // Before the piece: nobody asked for it, or somebody else was faster.
            let skip =
                usize::try_from(wanted.bytes.start.saturating_sub(at)).unwrap_or(usize::MAX).min(frame.len());
            let have = u64::try_from(buffer.bytes.len()).unwrap_or(u64::MAX);
            let skip = if have == 0 { skip } else { 0 };
            if skip > 0 {
                board.roster().passed(source, u64::try_from(skip).unwrap_or(u64::MAX));
            }
            let room = wanted.bytes.end - wanted.bytes.start - have;
            let kept = frame.len().saturating_sub(skip).min(usize::try_from(room).unwrap_or(usize::MAX));
            buffer.bytes.extend_from_slice(&frame[skip..skip + kept]);
            frame = frame.slice(skip + kept..);
            at += u64::try_from(skip + kept).unwrap_or(u64::MAX);
            let mut chunks = wanted.chunks;
            let mut rest = Vec::new();
            if u64::try_from(kept).unwrap_or(u64::MAX) < room {
                // Of a slow source a piece is not waited for: what it has given counts soon.
                chunks = whole_chunks(target, &buffer);
                if chunks == 0 || since.elapsed() < SOON {
                    break;
                }
                rest = buffer.bytes.split_off(length_of(target, chunks));
            }
            // One piece is judged while the next one comes.
            match landed(landing.take()).await {
                End::Done => {}
                end => return end,
            }
            let next_first = wanted.first + chunks;
            landing = Some(land(engine, giver, lease.id, target, wanted.first, buffer));
            since = Instant::now();
            buffer = match engine.buffers.take().await {
                Some(buffer) => buffer,
                None => return End::Here,
            };
            match Piece::next(engine, lease, target, next_first) {
                Some(next) => wanted = next,
                None => return landing.map_or(End::Done, End::Landing),
            }
            // It is the beginning of the next chunk, which somebody else may have given meanwhile.
            if wanted.first == next_first {
                buffer.bytes.extend_from_slice(&rest);
            }
        }
        piece = Some(wanted);
    }
}

/// Until nothing is left of a lease: others have taken it over, or were faster.
async fn taken(engine: &Engine, lease: &Lease) {
    loop {
        let shortened = engine.board.shortened.notified();
        if engine.schedule().extent(lease.id).is_empty() {
            return;
        }
        shortened.await;
    }
}

/// What came in so long is judged, whether it is a piece or not.
const SOON: Duration = Duration::from_millis(500);

/// What is read, judged and written at once.
#[derive(Clone)]
struct Piece {
    first: u64,
    chunks: u64,
    bytes: std::ops::Range<u64>,
}

impl Piece {
    /// The next piece from chunk `from` on that is left of the lease, if there is one.
    fn next(engine: &Engine, lease: &Lease, target: &Target, from: u64) -> Option<Self> {
        let left = engine.schedule().extent(lease.id);
        let most = (engine.piece / target.grid.granule().bytes()).max(1);
        let first = left.start.max(from);
        let end = left.end.min(first.saturating_add(most));
        (first < end).then(|| Self { first, chunks: end - first, bytes: target.range(&(first..end)) })
    }
}

/// How many chunks, none of them the file's last, a buffer has all of.
fn whole_chunks(target: &Target, buffer: &Buffer) -> u64 {
    u64::try_from(buffer.bytes.len()).unwrap_or(u64::MAX) / target.grid.granule().bytes()
}

/// How many bytes so many chunks have, none of them the file's last.
fn length_of(target: &Target, chunks: u64) -> usize {
    usize::try_from(chunks.saturating_mul(target.grid.granule().bytes())).unwrap_or(usize::MAX)
}

/// Hands a piece over to be judged and written, on a thread that may wait for the disk. Whoever gave something else is
/// suspected there and then, whatever becomes of its connection; unless it was judged after it was asked.
fn land(
    engine: &Arc<Engine>,
    giver: Giver,
    lease: LeaseId,
    target: &Arc<Target>,
    first: u64,
    buffer: Buffer,
) -> Landing {
    let Giver { source, cases } = giver;
    engine.board.roster().came(source);
    let (here, target) = (Arc::clone(engine), Arc::clone(target));
    engine.landings.land(move || {
        let engine = here;
        let (new, refusal) = engine.land(lease, &target, first, &buffer.bytes);
        let board = &engine.board;
        board.roster().landed(source, new);
        match refusal {
            None => return true,
            Some(Refusal::Chunk(fault)) => {
                let what = format!("{}: {fault}", shown(target.path.as_str()));
                let is_suspect = board.roster().suspect_since(source, cases, what);
                if is_suspect {
                    engine.case.find_out(board, source, None);
                    board.changed.notify_waiters();
                }
            }
            Some(Refusal::Here(error)) => engine.fail(error),
        }
        false
    })
}

async fn landed(landing: Option<Landing>) -> End {
    let Some(landing) = landing else { return End::Done };
    match landing.await {
        Ok(true) => End::Done,
        Ok(false) => End::Mismatch,
        Err(_) => End::Here,
    }
}
