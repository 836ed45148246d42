//! Gets the chunk layers of wanted files: from disk if they are there, else from any source that has the right ones.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use futures_util::{StreamExt as _, stream};
use weighbridge_store::{Layers, LayersFile};

use crate::{
    catalog::{Part, one_of},
    error::FetchError,
    source::What,
    work::engine::Engine,
    work::local,
    work::target::Target,
};

/// Layers that are asked for in one request: neighbours in `chunks.layer`.
struct Group {
    range: Range<u64>,
    /// The position of each file, and the range of its layer in `chunks.layer`.
    files: Vec<(usize, Range<u64>)>,
}

/// Neighbours are asked for together up to this length; a longer layer is asked for alone.
const MAX_GROUP: u64 = 8 << 20;
/// How many groups are asked for at the same time.
const AT_ONCE: usize = 4;

/// Gets the layers of all wanted files, in list order, and begins each file when its layer is accepted. `twins` are files with the bytes
/// of a wanted one: the layer of that is theirs, too.
///
/// # Errors
/// [`FetchError`]: no source has the right layers, or a received layer cannot be written.
pub(crate) async fn accept_all(
    engine: &Arc<Engine>,
    staged: Arc<LayersFile>,
    published: Option<Layers>,
    twins: Vec<(usize, usize)>,
) -> Result<(), FetchError> {
    let (places, size) = places(engine);
    let mut lacking: VecDeque<Group> = VecDeque::new();
    let mut known = Vec::new();
    for (position, target) in &engine.chunks.targets {
        let place = places.get(*position).cloned().unwrap_or(0..0);
        if !target.grid.has_layer() || is_on_disk(engine, target, &place, &staged, published.as_ref()) {
            known.push(*position);
            if known.len() >= local::GROUP {
                local::spawn(engine, std::mem::take(&mut known));
            }
            continue;
        }
        match lacking.back_mut() {
            Some(group) if group.range.end == place.start && place.end - group.range.start <= MAX_GROUP => {
                group.range.end = place.end;
                group.files.push((*position, place));
            }
            _ => lacking.push_back(Group { range: place.clone(), files: vec![(*position, place)] }),
        }
    }
    if !known.is_empty() {
        local::spawn(engine, known);
    }
    let accepted = lacking.into_iter().map(|group| accept(engine, group, size, &staged));
    let mut accepted = stream::iter(accepted).buffer_unordered(AT_ONCE);
    while let Some(result) = accepted.next().await {
        result?;
    }
    drop(accepted);
    // They are not asked for; whoever reads the folder judges them by layers of their own.
    let write = move |engine: &Engine| {
        twins.into_iter().try_for_each(|(twin, first)| {
            let (Ok(file), Some(place)) = (engine.chunks.verifier.file(first), places.get(twin)) else {
                return Ok(());
            };
            let layer = file.layer().values().iter().flat_map(|value| *value.as_bytes()).collect::<Vec<_>>();
            staged.write(place.clone(), &layer).map_err(FetchError::from)
        })
    };
    engine.blocking(write).await.unwrap_or(Ok(()))
}

/// The length of `chunks.layer` in bytes.
pub(crate) fn length(engine: &Engine) -> u64 {
    places(engine).1
}

/// The range of each file's layer in `chunks.layer`, and the total length.
fn places(engine: &Engine) -> (Vec<Range<u64>>, u64) {
    let mut end = 0;
    let chunk_size = engine.chunks.files.chunk_size();
    let place = |entry: &weighbridge_manifest::FileEntry| {
        let start = end;
        end += weighbridge_tree::Grid::new(entry.size, chunk_size).map_or(0, |grid| grid.layer_len());
        start..end
    };
    let places = engine.chunks.files.entries().iter().map(place).collect();
    (places, end)
}

fn is_on_disk(
    engine: &Engine,
    target: &Target,
    place: &Range<u64>,
    staged: &LayersFile,
    published: Option<&Layers>,
) -> bool {
    let of_disk = staged.read(place.clone()).ok();
    if of_disk.is_some_and(|bytes| engine.chunks.verifier.accept_layer(target.position, &bytes).is_ok()) {
        return true;
    }
    let layer = published.and_then(|layers| layers.of(&engine.chunks.files, target.position).ok());
    layer.is_some_and(|layer| {
        let bytes: Vec<u8> = layer.values().iter().flat_map(|value| *value.as_bytes()).collect();
        engine.chunks.verifier.add_layer(target.position, layer).is_ok()
            && staged.write(place.clone(), &bytes).is_ok()
    })
}

async fn accept(
    engine: &Arc<Engine>,
    group: Group,
    size: u64,
    staged: &Arc<LayersFile>,
) -> Result<(), FetchError> {
    let part = Part { what: What::Layers { size }, range: group.range.clone() };
    let judge = |bytes: Vec<u8>| {
        for (position, place) in &group.files {
            let at = |end: u64| usize::try_from(end - group.range.start).unwrap_or(usize::MAX);
            let layer = bytes.get(at(place.start)..at(place.end)).unwrap_or_default();
            engine.chunks.verifier.accept_layer(*position, layer).map_err(|error| error.to_string())?;
        }
        Ok(bytes)
    };
    let board = &engine.board;
    let found = match one_of(board, &engine.case, &part, &|_| false, judge).await {
        // Files without a layer may still be fetched as a whole, whatever happens to the other files.
        Err(FetchError::NoSource { .. } | FetchError::Overwritten { .. }) if may_come(engine, &group) => None,
        found => found?,
    };
    match found {
        Some(bytes) => {
            let (range, staged) = (group.range.clone(), Arc::clone(staged));
            let write = engine.board.tasks.blocking(move || staged.write(range, &bytes));
            if let Ok(written) = write.await {
                written?;
            }
            let positions: Vec<_> = group.files.iter().map(|(position, _)| *position).collect();
            positions.chunks(local::GROUP).for_each(|group| local::spawn(engine, group.to_vec()));
        }
        None => group.files.iter().for_each(|(position, _)| local::spawn_whole(engine, *position)),
    }
    Ok(())
}

fn may_come(engine: &Engine, group: &Group) -> bool {
    let decisions = engine.board.decide();
    let sources = decisions.model_sources();
    let may = |position: usize| sources.iter().any(|source| decisions.may_serve_whole(*source, position));
    group.files.iter().any(|(position, _)| may(*position))
}
