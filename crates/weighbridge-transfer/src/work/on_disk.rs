//! The disk's half of a model that comes: what is there already of its files, hashed again, and the names that complete files get.

use std::{fs::File, io::ErrorKind::NotFound, ops::Range};

use weighbridge_manifest::EntryPath;
use weighbridge_store::{IoError, Naming, PartialFile, Stamp, StoreError, read_exact_at};
use weighbridge_verify::{FileVerifier, PageBuffer, WholeError, WholeFile};

use super::{chunk_store::ChunkStore, engine::piece_of, target::Target};
use crate::{error::FetchError, ranges::RangeSet};

/// Told what happens while files get their names, and may end it.
pub(crate) trait Watch {
    /// Calls `name`, which gives a file its name.
    ///
    /// # Errors
    /// That of `name`, or the work is to end here.
    fn naming(
        &mut self,
        path: &EntryPath,
        name: &mut dyn FnMut() -> Result<(), FetchError>,
    ) -> Result<(), FetchError>;

    /// The name of a file is durable.
    fn named(&mut self, path: EntryPath, size: u64);
}

/// Gives final names to all files of which every chunk is durable, and to the copies of them that the model lists under other names.
/// Returns the number of copied bytes.
pub(crate) fn name_files(
    chunks: &ChunkStore,
    twins: &[(usize, usize)],
    naming: &mut Naming,
    watch: &mut dyn Watch,
) -> Result<u64, FetchError> {
    let mut names = Vec::new();
    for target in chunks.targets.values().filter(|target| target.is_whole()) {
        watch.naming(&target.path, &mut || place(chunks, target, naming))?;
        names.push((target.path.clone(), target.grid.len()));
        if names.len() >= NAMES {
            settle(&mut names, naming, watch)?;
        }
    }
    // A twin is copied from a file that has its final name already.
    settle(&mut names, naming, watch)?;
    let mut copied = 0_u64;
    for (position, first) in twins {
        let (Some(entry), Some(first)) = (chunks.files.entries().get(*position), chunks.targets.get(first))
        else {
            continue;
        };
        watch.naming(&entry.path, &mut || twin(chunks, first, &entry.path, naming))?;
        copied = copied.saturating_add(entry.size);
        names.push((entry.path.clone(), entry.size));
        if names.len() >= NAMES {
            settle(&mut names, naming, watch)?;
        }
    }
    settle(&mut names, naming, watch)?;
    Ok(copied)
}

/// How many names are synced together. With more, a person sees the first one later; with fewer, the same folders are
/// synced more often.
const NAMES: usize = 2_048;

fn settle(
    names: &mut Vec<(EntryPath, u64)>,
    naming: &mut Naming,
    watch: &mut dyn Watch,
) -> Result<(), FetchError> {
    naming.settle()?;
    names.drain(..).for_each(|(path, size)| watch.named(path, size));
    Ok(())
}

pub(crate) fn stamp_of_file(file: &File) -> Option<Stamp> {
    Stamp::of(file).ok().filter(Stamp::is_certain)
}

/// The file under the final name, if it has the right length.
pub(crate) fn named(chunks: &ChunkStore, target: &Target) -> Result<Option<File>, FetchError> {
    let named = chunks.destination.finished(&target.path)?;
    // Making an empty file is as fast as looking at it.
    Ok(named.filter(|(_, len)| *len == target.grid.len() && *len > 0).map(|(file, _)| file))
}

/// Whether the file under the final name is the wanted one.
pub(crate) fn is_all_good(
    target: &Target,
    file: &FileVerifier,
    named: &File,
    goes_on: &dyn Fn() -> bool,
) -> Result<bool, FetchError> {
    let mut buffer = PageBuffer::new();
    for run in pieces(target, &(0..target.grid.count())) {
        if !goes_on() || !read(target, named, &run, &mut buffer)? {
            return Ok(false);
        }
        for (index, piece) in run.clone().zip(buffer.chunks(unit(target))) {
            if file.layer().check(index, piece).is_err() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

pub(crate) fn chunks_in(target: &Target, partial: &PartialFile) -> Result<RangeSet, FetchError> {
    let mut there = RangeSet::default();
    let unit = target.grid.granule().bytes();
    for extent in partial.extents()? {
        let end = if extent.end >= target.grid.len() { target.grid.count() } else { extent.end / unit };
        let first = extent.start.div_ceil(unit);
        if first < end {
            there.insert(first..end);
        }
    }
    Ok(there)
}

/// Hashes the chunks that an earlier fetch has written. Bad ones are asked for like all others.
pub(crate) fn recount(
    chunks: &ChunkStore,
    target: &Target,
    file: &FileVerifier,
    there: &RangeSet,
    goes_on: &dyn Fn() -> bool,
    bad: &mut dyn FnMut(&RangeSet),
) -> Result<(), FetchError> {
    let mut buffer = PageBuffer::new();
    for run in target.wanted.iter().flat_map(|run| there.within(&run).collect::<Vec<_>>()) {
        for run in pieces(target, &run) {
            if !goes_on() {
                return Ok(());
            }
            let partial = target.partial(&chunks.destination)?;
            buffer.resize(usize::try_from(target.bytes(&run)).unwrap_or(0));
            partial.read_at(&mut buffer, target.range(&run).start)?;
            let mut wrong = RangeSet::default();
            for (index, piece) in run.clone().zip(buffer.chunks(unit(target))) {
                match file.accept(index, piece) {
                    Ok(good) => {
                        chunks.found(target, &(index..index + 1));
                        chunks.tell_tensors(&good);
                    }
                    Err(_) => wrong.insert(index..index + 1),
                }
            }
            bad(&wrong);
        }
    }
    Ok(())
}

/// Gives the final name to a file whose chunks are all durable.
fn place(chunks: &ChunkStore, target: &Target, naming: &mut Naming) -> Result<(), FetchError> {
    if target.is_in_place(&chunks.destination)? {
        return Ok(());
    }
    // Another process may be renaming the file at this moment, and for that long it has neither name.
    let mut tries = 0..MOMENTS;
    let mut found = target.place(&chunks.destination, naming)?;
    while !found && tries.next().is_some() {
        found = place_again(chunks, target, naming)?;
        if !found {
            std::thread::sleep(MOMENT);
        }
    }
    if !found {
        let what = "it was removed or placed elsewhere by another process";
        let error = std::io::Error::new(NotFound, what);
        return Err(IoError::at("finish", target.path.as_str())(error).into());
    }
    target.placed();
    Ok(())
}

const MOMENTS: u32 = 25;
pub(crate) const MOMENT: std::time::Duration = std::time::Duration::from_millis(20);

/// Does as [`place`], for a file of which only the name is known by now: it is read again, and so verified again (rule
/// 10).
fn place_again(chunks: &ChunkStore, target: &Target, naming: &mut Naming) -> Result<bool, FetchError> {
    let (destination, len) = (&chunks.destination, target.grid.len());
    let partial = match target.grid.count() {
        0 => Some(destination.partial(target.root, len)?),
        _ => destination.partial_if_there(target.root, len)?,
    };
    if let Some(partial) = partial
        && is_signed(chunks, target, partial.file())?
    {
        naming.place(destination, &partial, &target.path)?;
        return Ok(true);
    }
    // Another process may have given the file its name meanwhile.
    let named = destination.finished(&target.path)?.filter(|(_, there)| *there == len);
    let is_placed = named.map_or(Ok(false), |(named, _)| is_signed(chunks, target, &named))?;
    if is_placed {
        destination.settle(&target.path)?;
    }
    Ok(is_placed)
}

/// Whether a file has the bytes of the signed root, with or without a layer.
pub(crate) fn is_signed(chunks: &ChunkStore, target: &Target, file: &File) -> Result<bool, FetchError> {
    let mut whole =
        WholeFile::new(&chunks.files, target.position, std::io::sink()).map_err(FetchError::Entry)?;
    let mut buffer = PageBuffer::new();
    for run in pieces(target, &(0..target.grid.count())) {
        if !read(target, file, &run, &mut buffer)? || whole.push(&buffer).is_err() {
            return Ok(false);
        }
    }
    Ok(whole.finish().is_ok())
}

/// Copies a file that is there under one name to another name: a model may list the same file twice.
fn twin(
    chunks: &ChunkStore,
    first: &Target,
    path: &EntryPath,
    naming: &mut Naming,
) -> Result<(), FetchError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match copy_whole(chunks, first, path, naming) {
            // Another process that does the same has taken our copy for its own.
            Err(error) if is_gone(&error) && tries < TRIES => {}
            copied => return copied,
        }
    }
}

const TRIES: u32 = 4;

fn is_gone(error: &FetchError) -> bool {
    matches!(error, FetchError::Store(StoreError::Io(error)) if error.source.kind() == NotFound)
}

fn copy_whole(
    chunks: &ChunkStore,
    first: &Target,
    path: &EntryPath,
    naming: &mut Naming,
) -> Result<(), FetchError> {
    let gone = || FetchError::from(IoError::at("read", first.path.as_str())(NotFound.into()));
    let destination = &chunks.destination;
    let (named, _) = destination.finished(&first.path)?.ok_or_else(gone)?;
    // The copy is judged as a whole, since the file may have no layer.
    let copy = destination.quarantine(first.root)?;
    let mut whole =
        WholeFile::new(&chunks.files, first.position, copy.writer()).map_err(FetchError::Entry)?;
    let mut buffer = PageBuffer::new();
    for run in pieces(first, &(0..first.grid.count())) {
        if !read(first, &named, &run, &mut buffer)? {
            return Err(gone());
        }
        whole.push(&buffer).map_err(|error| not_copied(first, error))?;
    }
    let _verified = whole.finish().map_err(|error| not_copied(first, error))?;
    Ok(naming.place(destination, &copy.release(first.grid.len())?, path)?)
}

fn not_copied(first: &Target, error: WholeError) -> FetchError {
    let error = match error {
        WholeError::Quarantine(error) => error,
        error => std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()),
    };
    IoError::at("copy", first.path.as_str())(error).into()
}

/// Reads a run of chunks. Returns `false` if the file has become shorter.
pub(crate) fn read(
    target: &Target,
    file: &File,
    run: &Range<u64>,
    buffer: &mut PageBuffer,
) -> Result<bool, FetchError> {
    buffer.resize(usize::try_from(target.bytes(run)).unwrap_or(0));
    match read_exact_at(file, buffer, target.range(run).start) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(IoError::at("read", target.path.as_str())(error).into()),
    }
}

pub(crate) fn pieces(target: &Target, run: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let step = (piece_of(target.grid.granule().bytes()) / target.grid.granule().bytes()).max(1);
    let Range { start, end } = *run;
    let starts = std::iter::successors(Some(start), move |at| at.checked_add(step));
    starts.take_while(move |at| *at < end).map(move |at| at..end.min(at + step))
}

pub(crate) fn unit(target: &Target) -> usize {
    usize::try_from(target.grid.granule().bytes()).unwrap_or(usize::MAX).max(1)
}
