//! Chunks as they come, in any order, from any number of threads.

use alloc::sync::Arc;
use core::slice;

use weighbridge_verify::{FileVerifier, ModelVerifier, VerifierError};

use crate::{
    border::{Place, bytes, free, given, put},
    error::{Failure, call, wb_code, wb_error},
    lists::wb_files,
    proof::wb_proof,
};

/// Knows which chunks of the wanted files were accepted. All functions but `wb_verifier_free` may be called from any number of
/// threads at once, also with the same chunk. What was accepted stays accepted.
pub struct wb_verifier(Wanted);

enum Wanted {
    Listed(ModelVerifier),
    Proven(FileVerifier),
}

/// Neighbouring chunks.
#[repr(C)]
pub struct wb_run {
    /// The first chunk, counted from 0.
    pub first: u64,
    /// The chunk behind the last one.
    pub end: u64,
}

impl wb_verifier {
    fn file(&self, position: usize) -> Result<&FileVerifier, Failure> {
        match &self.0 {
            Wanted::Listed(model) => model.file(position).map_err(|error| failure(&error)),
            Wanted::Proven(file) if file.position() == position => Ok(file),
            Wanted::Proven(_) => Err(not_wanted()),
        }
    }

    /// The first run of missing chunks from `first` on.
    fn missing(&self, position: usize, first: u64) -> Option<wb_run> {
        let run = match (self.file(position), &self.0) {
            (Ok(file), _) => {
                let grid = file.layer().grid();
                file.missing_in(grid.range(first)?.start..grid.len())?.next()?
            }
            // Of a file without a layer, all chunks are missing.
            (Err(_), Wanted::Listed(model)) => {
                let all = model.missing_of_file(position).ok()?.next()?;
                first.max(all.start)..all.end
            }
            (Err(_), Wanted::Proven(_)) => return None,
        };
        (run.start < run.end).then_some(wb_run { first: run.start, end: run.end })
    }
}

fn not_wanted() -> Failure {
    Failure::misuse("the file at this position is not wanted")
}

fn failure(error: &VerifierError) -> Failure {
    match error {
        VerifierError::NotWanted { .. } => not_wanted(),
        VerifierError::Chunk { fault, .. } => Failure::of(error).at_chunk(fault),
        _ => Failure::of(error),
    }
}

/// Begins to verify files of a list: those at the `wanted_count` positions in `wanted`, or all if `wanted` is null.
///
/// Errors: the list has no such file (9001), or an empty file whose root is not that of no bytes (2101). Cost: a slot for
/// each file of the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_new(
    files: *const wb_files,
    wanted: *const usize,
    wanted_count: usize,
    verifier: *mut *mut wb_verifier,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (place, files) = (Place::at(verifier)?, given(files, "the file list")?);
            let list = Arc::clone(&files.list);
            let fits =
                wanted_count.checked_mul(size_of::<usize>()).is_some_and(|n| isize::try_from(n).is_ok());
            let model = if wanted.is_null() {
                ModelVerifier::new(list)
            } else if wanted_count == 0 {
                ModelVerifier::only(list, [])
            } else if fits {
                ModelVerifier::only(list, slice::from_raw_parts(wanted, wanted_count).iter().copied())
            } else {
                return Err(Failure::misuse("there are more positions than memory can have"));
            };
            place.fill(wb_verifier(Wanted::Listed(model.map_err(|error| failure(&error))?)));
            Ok(())
        })
    }
}

/// Begins to verify the one file that a proof shows at this position of the list, by its layer. No list is needed.
///
/// Errors: the proof shows no such file (9001), or the layer is refused (2101, 22xx).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_of_proof(
    proof: *const wb_proof,
    file: usize,
    layer: *const u8,
    layer_len: usize,
    verifier: *mut *mut wb_verifier,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (place, proof) = (Place::at(verifier)?, given(proof, "the proof")?);
            let layer = bytes(layer, layer_len, "the layer")?;
            let file = FileVerifier::of_proven(proof.proven(), file, layer);
            place.fill(wb_verifier(Wanted::Proven(file.map_err(|error| failure(&error))?)));
            Ok(())
        })
    }
}

/// Accepts the layer of a file, the part of `chunks.layer` that `wb_file` names. Files of more than one chunk need theirs before
/// their first chunk is accepted. A layer that was accepted before is taken again.
///
/// Errors: the layer is refused (22xx), or the file is not wanted (9001).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_accept_layer(
    verifier: *const wb_verifier,
    file: usize,
    layer: *const u8,
    layer_len: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (verifier, layer) = (given(verifier, "the verifier")?, bytes(layer, layer_len, "the layer")?);
            match &verifier.0 {
                Wanted::Listed(model) => model.accept_layer(file, layer).map_err(|error| failure(&error)),
                Wanted::Proven(_) => Err(Failure::misuse("the verifier of a proof has its layer")),
            }
        })
    }
}

/// Accepts a chunk, counted from 0 in its file, if `chunk` has the bytes that were signed for it. They may be used from
/// this memory; what is read again from elsewhere is not verified.
///
/// Errors: the bytes are refused (2102), there are too many or too few (2107), the file has no such chunk (2108), its
/// layer was not accepted (9106), it is not wanted (9001). The chunk can be offered again.
/// Cost: one BLAKE3 pass on the calling thread. No memory, no lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_accept(
    verifier: *const wb_verifier,
    file: usize,
    index: u64,
    chunk: *const u8,
    chunk_len: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let file = given(verifier, "the verifier")?.file(file)?;
            let accepted = file.accept(index, bytes(chunk, chunk_len, "the chunk")?);
            accepted.map(drop).map_err(|fault| Failure::of_chunk(file.path().as_str(), &fault))
        })
    }
}

/// Gives the first run of chunks of a file that were not accepted, from the chunk `first` on. Returns whether there is
/// one: to see all of them, go on behind the end of each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_missing(
    verifier: *const wb_verifier,
    file: usize,
    first: u64,
    run: *mut wb_run,
) -> bool {
    // SAFETY: the rules of the header.
    unsafe { put(run, verifier.as_ref().and_then(|verifier| verifier.missing(file, first))) }
}

/// Whether all chunks were accepted that hold the bytes from `start` to before `end` of a file, such as those of a
/// tensor. False for bytes that the file does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_has(
    verifier: *const wb_verifier,
    file: usize,
    start: u64,
    end: u64,
) -> bool {
    // SAFETY: the rules of the header.
    let file = unsafe { verifier.as_ref() }.and_then(|verifier| verifier.file(file).ok());
    file.is_some_and(|file| file.has(&(start..end)))
}

/// The number of accepted bytes of all wanted files, each counted once. It never falls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_accepted_bytes(verifier: *const wb_verifier) -> u64 {
    // SAFETY: the rules of the header.
    unsafe { verifier.as_ref() }.map_or(0, |verifier| match &verifier.0 {
        Wanted::Listed(model) => model.accepted_bytes(),
        Wanted::Proven(file) => file.accepted_bytes(),
    })
}

/// The number of bytes of all wanted files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_wanted_bytes(verifier: *const wb_verifier) -> u64 {
    // SAFETY: the rules of the header.
    unsafe { verifier.as_ref() }.map_or(0, |verifier| match &verifier.0 {
        Wanted::Listed(model) => model.wanted_bytes(),
        Wanted::Proven(file) => file.layer().grid().len(),
    })
}

/// Whether all chunks of all wanted files were accepted. False without a verifier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_is_complete(verifier: *const wb_verifier) -> bool {
    // SAFETY: the rules of the header.
    unsafe { verifier.as_ref() }.is_some_and(|verifier| match &verifier.0 {
        Wanted::Listed(model) => model.is_complete(),
        Wanted::Proven(file) => file.is_complete(),
    })
}

/// Reads chunks of a file from a descriptor, `count` of them from the chunk `first` on, at their places and by no shared
/// position, and accepts each that is as signed. The calling thread does this; more threads may take other chunks of the
/// file. Chunks behind the end of the file do not count, so that `UINT64_MAX` stands for all. The descriptor stays the
/// caller's.
///
/// Errors: that of the first chunk that is refused, or not there, after all chunks were looked at (2102, 2107); it cannot be read
/// (9002); and those of `wb_verifier_accept`. Cost: memory for one chunk.
#[cfg(all(feature = "std", unix))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_accept_descriptor(
    verifier: *const wb_verifier,
    file: usize,
    descriptor: core::ffi::c_int,
    first: u64,
    count: u64,
    error: *mut wb_error,
) -> wb_code {
    use std::{fs::File, mem::ManuallyDrop, os::fd::FromRawFd as _};

    use weighbridge_store::{ErrorCode, accept_chunks};

    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let file = given(verifier, "the verifier")?.file(file)?;
            if descriptor < 0 {
                return Err(Failure::misuse("the descriptor is negative"));
            }
            // It is not closed: it belongs to the caller.
            let opened = ManuallyDrop::new(File::from_raw_fd(descriptor));
            let mut bad = None;
            let chunks = first..first.saturating_add(count).min(file.count());
            let read = accept_chunks(file, &opened, chunks, |_, verdict| {
                if let (Err(fault), None) = (verdict, &bad) {
                    bad = Some(Failure::of_chunk(file.path().as_str(), &fault));
                }
            });
            let path = weighbridge_manifest::shown(file.path().as_str());
            read.map_err(|error| {
                Failure::refused(ErrorCode::IO, &alloc::format!("cannot read {path}: {error}"))
            })?;
            bad.map_or(Ok(()), Err)
        })
    }
}

/// Frees a verifier, which no other thread uses any more. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_free(verifier: *mut wb_verifier) {
    // SAFETY: the rules of the header.
    unsafe { free(verifier) }
}
