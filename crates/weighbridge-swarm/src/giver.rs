//! Answers the requests of members, from what this one has verified.

use std::{
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt as _;
use weighbridge_bandwidth::{Class, Peer};
use weighbridge_manifest::{write_files, write_tensors};
use weighbridge_tree::Grid;

use crate::{
    channel::Channel,
    guide::Shelf,
    message::{Item, Message},
    swarm::Member,
    wire,
};

/// The time for which a channel for requests may be silent.
const IDLE: Duration = Duration::from_secs(120);
/// The time that a member has to take a frame.
const FRAME_TIME: Duration = Duration::from_secs(20);
/// The least bytes per second that a member has to take, beyond that time.
const LEAST_RATE: u64 = 64 << 10;
/// The bytes that are sent at once.
const FRAME: usize = 64 << 10;
/// The most bytes of one request that are read into memory at once.
const MOST: u64 = 16 << 20;

/// Answers one request after the other, until the channel ends.
pub(crate) async fn answer(member: &Arc<Member>, channel: Channel) -> io::Result<()> {
    let Channel { peer, mut stream } = channel;
    let share = member.upload.share(Class::Peers, Peer::with_key(*peer.as_bytes()));
    loop {
        let Message::Get { item, start, count } = wire::read(&mut stream, 0, IDLE).await? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if member.state().neighbours.is_banned(&peer) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let turn = match member.ticket.is_open() {
            true => member.may_answer(&peer, item, count).map(|()| None),
            false => member.turns.take(peer).await.map(Some),
        };
        let _turn = match turn {
            Ok(turn) => turn,
            Err(wait) => {
                let wait = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
                wire::write(&mut stream, &Message::Busy(wait), FRAME_TIME).await?;
                continue;
            }
        };
        let shelf = member.state().work.as_ref().map(|work| Arc::clone(&work.shelf));
        let range = start..start.saturating_add(count);
        let given = match shelf {
            Some(shelf) => read(shelf, item, range).await,
            None => None,
        };
        let Some(bytes) = given else {
            wire::write(&mut stream, &Message::Lack, FRAME_TIME).await?;
            continue;
        };
        if item == Item::Head {
            wire::write(&mut stream, &Message::GiveAll(bytes), FRAME_TIME).await?;
            continue;
        }
        wire::write(&mut stream, &Message::Give, FRAME_TIME).await?;
        // One that takes less than this in all would hold a place for hours.
        let seconds = u64::try_from(bytes.len()).unwrap_or(u64::MAX).checked_div(LEAST_RATE).unwrap_or(0);
        let mut left = FRAME_TIME.saturating_add(Duration::from_secs(seconds));
        for frame in bytes.chunks(FRAME) {
            share.pay(frame.len()).await;
            let began = Instant::now();
            wire::timed(left.min(FRAME_TIME), stream.write_all(frame)).await?;
            left = left.saturating_sub(began.elapsed());
            if matches!(item, Item::File(_)) {
                member.has_sent(&peer, u64::try_from(frame.len()).unwrap_or(0));
            }
        }
        wire::timed(FRAME_TIME, stream.flush()).await?;
    }
}

/// Reads what was asked for, on a thread that may wait for the disk; `None` if it is not all here.
async fn read(shelf: Arc<Shelf>, item: Item, range: Range<u64>) -> Option<Vec<u8>> {
    if item != Item::Head && range.end.saturating_sub(range.start) > MOST {
        return None;
    }
    tokio::task::spawn_blocking(move || {
        let holding = &shelf.holding;
        match item {
            Item::Head => Some(holding.note().to_vec()),
            Item::Files => {
                let write =
                    || write_files(holding.files().entries().to_vec()).ok().map(|list| list.text.into());
                part(shelf.files.get_or_init(write).as_deref()?, &range)
            }
            Item::Tensors => {
                let tensors = holding.tensors()?;
                let write = || write_tensors(tensors.entries().to_vec()).ok().map(|list| list.text.into());
                part(shelf.tensors.get_or_init(write).as_deref()?, &range)
            }
            Item::Layers => layers(&shelf, &range),
            Item::File(root) => file(&shelf, &root, &range),
        }
    })
    .await
    .ok()
    .flatten()
}

fn part(bytes: &[u8], range: &Range<u64>) -> Option<Vec<u8>> {
    let at = |place: u64| usize::try_from(place).ok();
    Some(bytes.get(at(range.start)?..at(range.end)?)?.to_vec())
}

/// A range of the layers of all files, in the order of the list.
fn layers(shelf: &Shelf, range: &Range<u64>) -> Option<Vec<u8>> {
    let holding = &shelf.holding;
    let files = holding.files();
    let mut bytes = Vec::with_capacity(usize::try_from(range.end.saturating_sub(range.start)).ok()?);
    let mut begin = 0u64;
    for (position, entry) in files.entries().iter().enumerate() {
        let end = begin.saturating_add(Grid::new(entry.size, files.chunk_size()).ok()?.layer_len());
        let here = begin.max(range.start)..end.min(range.end);
        if here.start < here.end {
            // A file with the same root has the same layer.
            let of_root = || shelf.positions.get(&entry.root).and_then(|position| holding.layer(*position));
            let known = holding.layer(position).or_else(of_root)?;
            let layer: Vec<u8> = known.values().iter().flat_map(|value| *value.as_bytes()).collect();
            let from = here.start.saturating_sub(begin)..here.end.saturating_sub(begin);
            bytes.extend_from_slice(&part(&layer, &from)?);
        }
        begin = end;
    }
    (range.end <= begin).then_some(bytes)
}

fn file(shelf: &Shelf, root: &weighbridge_tree::FileRoot, range: &Range<u64>) -> Option<Vec<u8>> {
    let (holding, position) = (&shelf.holding, *shelf.positions.get(root)?);
    let size = holding.files().entries().get(position)?.size;
    let chunk = holding.files().chunk_size().bytes();
    if range.end > size {
        return None;
    }
    let chunks = range.start.checked_div(chunk)?..range.end.div_ceil(chunk);
    let first = chunks.start.saturating_mul(chunk);
    let bytes = holding.has(position, &chunks).then(|| holding.read(position, chunks).ok()).flatten()?;
    let within = range.start.saturating_sub(first)..range.end.saturating_sub(first);
    part(&bytes, &within)
}
