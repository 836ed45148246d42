//! Chunks as they come, in any order, from any number of threads.

use alloc::sync::Arc;
use weighbridge_verify::{FileVerifier, ModelVerifier, VerifierError};

use crate::{
    border::{Place, bytes, free, given, items, put},
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
    fn missing(&self, position: usize, first: u64) -> Result<wb_run, Failure> {
        let run = match &self.0 {
            // Without its layer, a file has no verifier yet.
            Wanted::Listed(model) if model.file(position).is_err() => {
                let mut all = model.missing_of_file(position).map_err(|error| failure(&error))?;
                all.next().map(|run| first.max(run.start)..run.end)
            }
            _ => {
                let file = self.file(position)?;
                let grid = file.layer().grid();
                let rest = grid.range(first).map(|chunk| chunk.start..grid.len());
                rest.and_then(|rest| file.missing_in(rest)?.next())
            }
        };
        let run = run.filter(|run| run.start < run.end).unwrap_or(first..first);
        Ok(wb_run { first: run.start, end: run.end })
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

/// Begins to verify all files of a list.
///
/// Errors: the list has an empty file whose root is not that of no bytes (2101). Cost: a slot for each file of the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_of_all(
    files: *const wb_files,
    verifier: *mut *mut wb_verifier,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (place, files) = (Place::at(verifier)?, given(files, "the file list")?);
            let model = ModelVerifier::new(Arc::clone(&files.list)).map_err(|error| failure(&error))?;
            place.fill(wb_verifier(Wanted::Listed(model)));
            Ok(())
        })
    }
}

/// Begins to verify those files of a list that are at the `wanted_count` positions in `wanted`; none if that is 0.
///
/// Errors: the list has no such file (9001), and those of `wb_verifier_of_all`. Cost: a slot for each file of the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_of_files(
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
            let wanted = items(wanted, wanted_count, "the positions")?.iter().copied();
            let model =
                ModelVerifier::only(Arc::clone(&files.list), wanted).map_err(|error| failure(&error))?;
            place.fill(wb_verifier(Wanted::Listed(model)));
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
/// Cost: one BLAKE3 pass on the calling thread, and no lock. Memory only for what is said of a refusal, and once for a file
/// of one chunk.
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

/// Gives the first run of chunks of a file that were not accepted, from the chunk `first` on. If there is none, the run
/// ends where it begins, at `first`. To see all of them, go on behind the end of each.
///
/// Errors: the file is not wanted (9001).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_missing(
    verifier: *const wb_verifier,
    file: usize,
    first: u64,
    run: *mut wb_run,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            if run.is_null() {
                return Err(Failure::misuse("the place for the run is null"));
            }
            put(run, Some(given(verifier, "the verifier")?.missing(file, first)?));
            Ok(())
        })
    }
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

/// Looks which chunks of a file an open descriptor has: reads `count` of them from the chunk `first` on, at their places
/// and by no shared position, and accepts each that is as signed. The calling thread does this; more threads may take
/// other chunks of the file. `UINT64_MAX` stands for all that follow. The descriptor stays the caller's.
///
/// This says what the file had when it was read. The bytes are not kept, and what is read again is not verified;
/// `wb_model_read` gives verified bytes.
///
/// Errors: that of the first chunk that is refused or not there, after the others were looked at (2102, 2107); the file is
/// longer than the signed one, if its last chunk was asked for (2103); it cannot be read (9002); and those of
/// `wb_verifier_accept`. Cost: memory for one chunk.
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
            let end = first.saturating_add(count).min(file.count());
            // An empty file has its end where it begins.
            let reaches_end = end == file.count() && (first < end || file.count() == 0);
            let read = accept_chunks(file, &opened, first..end, |_, verdict| {
                if let (Err(fault), None) = (verdict, &bad) {
                    bad = Some(Failure::of_chunk(file.path().as_str(), &fault));
                }
            });
            let path = weighbridge_manifest::shown(file.path().as_str());
            let (len, signed) = (read.and_then(|()| Ok(opened.metadata()?.len())), file.layer().grid().len());
            match (bad, len) {
                (Some(bad), _) => Err(bad),
                (None, Err(error)) => {
                    Err(Failure::refused(ErrorCode::IO, &alloc::format!("cannot read {path}: {error}")))
                }
                (None, Ok(len)) if reaches_end && len > signed => {
                    let said = alloc::format!("{path} has {len} bytes, the signed file has {signed}");
                    Err(Failure::refused(ErrorCode::FILE_LENGTH, &said))
                }
                (None, Ok(_)) => Ok(()),
            }
        })
    }
}

/// Frees a verifier, which no other thread uses any more. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_verifier_free(verifier: *mut wb_verifier) {
    // SAFETY: the rules of the header.
    unsafe { free(verifier) }
}
