//! Proofs that files or tensors are in a model, or that a path is not; slices that carry bytes.

use core::ffi::c_char;

use weighbridge_manifest::{Proven, SignedProof};
use weighbridge_verify::tree::{FileRoot, SliceDecoder, SliceRange};

use crate::{
    border::{Place, bytes, free, given, memory, put, text},
    error::{Failure, call, wb_code, wb_error},
    head::wb_head,
    lists::{WB_NO_LAYER, wb_file, wb_files, wb_tensor},
    policy::{expectation, wb_expected, wb_policy},
};

/// What a proof shows, under a head that is believed. Whoever made it chose what it shows: ask for what is wanted. It
/// never changes.
pub struct wb_proof {
    proven: Proven,
    head: wb_head,
}

/// The range of a slice.
#[repr(C)]
pub struct wb_slice {
    /// The position of the file in the file list.
    pub file_position: usize,
    /// The first byte in the file.
    pub start: u64,
    /// The byte behind the last one.
    pub end: u64,
    /// The number of bytes of the slice, with the hashes in it.
    pub encoded_len: u64,
}

impl wb_proof {
    fn of(proven: Proven) -> Self {
        Self { head: wb_head(proven.head().clone()), proven }
    }

    /// The file at a place of the proof.
    fn file(&self, nth: usize) -> Option<wb_file> {
        let (position, entry) = self.proven.files().get(nth)?;
        let chunk_size = self.head.0.head().chunk_size;
        Some(wb_file::of(entry, usize::try_from(*position).ok()?, chunk_size, WB_NO_LAYER))
    }

    fn tensor(&self, nth: usize) -> Option<wb_tensor> {
        let (position, entry) = self.proven.tensors().get(nth)?;
        // The file of each tensor is in the proof.
        let (file, _) = self.proven.files().iter().find(|(_, file)| file.path == entry.file)?;
        Some(wb_tensor::of(entry, usize::try_from(*position).ok()?, usize::try_from(*file).ok()?))
    }

    pub(crate) fn proven(&self) -> &Proven {
        &self.proven
    }
}

/// Decides whether a proof is believed, and shows what it claims.
///
/// Errors: its head is refused (11xx, 12xx, 31xx, 32xx), or its form or what it claims is wrong (13xx, 14xx, 24xx, 25xx,
/// 26xx).
/// Cost: that of a signature, and a hash for each line.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_verify(
    text: *const u8,
    text_len: usize,
    policy: *const wb_policy,
    expected: *const wb_expected,
    proof: *mut *mut wb_proof,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(proof)?;
            let (policy, (expected, now)) = (given(policy, "the policy")?, expectation(expected)?);
            let proof = SignedProof::parse(bytes(text, text_len, "the proof")?);
            let proven = proof.map_err(|error| Failure::of(&error))?.verify(&policy.0, &expected, now);
            place.fill(wb_proof::of(proven.map_err(|error| Failure::of(&error))?));
            Ok(())
        })
    }
}

/// Decides whether a proof shows what it claims under a head that was believed before; its signatures are not checked again.
///
/// Errors: its note is malformed (11xx), it has another head (2506), or its form or what it claims is wrong (13xx, 14xx,
/// 24xx, 25xx, 26xx).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_verify_under(
    text: *const u8,
    text_len: usize,
    head: *const wb_head,
    proof: *mut *mut wb_proof,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (place, head) = (Place::at(proof)?, given(head, "the head")?);
            let proof = SignedProof::parse(bytes(text, text_len, "the proof")?);
            let proven = proof.map_err(|error| Failure::of(&error))?.under(&head.0);
            place.fill(wb_proof::of(proven.map_err(|error| Failure::of(&error))?));
            Ok(())
        })
    }
}

/// The head of the proof. It belongs to the proof, and is not freed; null without a proof.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_head(proof: *const wb_proof) -> *const wb_head {
    // SAFETY: the rules of the header.
    unsafe { proof.as_ref() }.map_or(core::ptr::null(), |proof| &raw const proof.head)
}

/// The number of files that the proof shows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_files(proof: *const wb_proof) -> usize {
    // SAFETY: the rules of the header.
    unsafe { proof.as_ref() }.map_or(0, |proof| proof.proven.files().len())
}

/// Gives a file that the proof shows, counted from 0. Returns whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_file(proof: *const wb_proof, nth: usize, file: *mut wb_file) -> bool {
    // SAFETY: the rules of the header.
    unsafe { put(file, proof.as_ref().and_then(|proof| proof.file(nth))) }
}

/// Finds a file by its path. Returns whether the proof shows that the model has it; if not, the model may have it or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_find_file(
    proof: *const wb_proof,
    path: *const c_char,
    file: *mut wb_file,
) -> bool {
    // SAFETY: the rules of the header.
    unsafe {
        let found = proof.as_ref().and_then(|proof| {
            let path = text(path, "the path").ok()?;
            proof.file(proof.proven.files().iter().position(|(_, entry)| entry.path.as_str() == path)?)
        });
        put(file, found)
    }
}

/// The number of tensors that the proof shows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_tensors(proof: *const wb_proof) -> usize {
    // SAFETY: the rules of the header.
    unsafe { proof.as_ref() }.map_or(0, |proof| proof.proven.tensors().len())
}

/// Gives a tensor that the proof shows, counted from 0. Returns whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_tensor(proof: *const wb_proof, nth: usize, tensor: *mut wb_tensor) -> bool {
    // SAFETY: the rules of the header.
    unsafe { put(tensor, proof.as_ref().and_then(|proof| proof.tensor(nth))) }
}

/// Finds a tensor by its name and the path of its file. Returns whether the proof shows that the model has it; if not,
/// the model may have it or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_find_tensor(
    proof: *const wb_proof,
    file: *const c_char,
    name: *const c_char,
    tensor: *mut wb_tensor,
) -> bool {
    // SAFETY: the rules of the header.
    unsafe {
        let found = proof.as_ref().and_then(|proof| {
            let (file, name) = (text(file, "the path").ok()?, text(name, "the name").ok()?);
            let is_it = |(file_of, name_of): (&str, &str)| file_of == file && name_of == name;
            let tensors = proof.proven.tensors().iter();
            proof
                .tensor(tensors.map(|(_, entry)| (entry.file.as_str(), entry.name.as_str())).position(is_it)?)
        });
        put(tensor, found)
    }
}

/// Whether the proof shows that the model does not have this path. If not, the model may have it or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_is_absent(proof: *const wb_proof, path: *const c_char) -> bool {
    // SAFETY: the rules of the header.
    let (proof, path) = unsafe { (proof.as_ref(), text(path, "the path")) };
    matches!((proof, path), (Some(proof), Ok(path)) if proof.proven.is_absent(path))
}

/// Gives the range of the slice that goes with the proof. Returns whether one does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_slice(proof: *const wb_proof, slice: *mut wb_slice) -> bool {
    // SAFETY: the rules of the header.
    let claim = unsafe { proof.as_ref() }.and_then(|proof| proof.proven.slice());
    let claim = claim.and_then(|claim| {
        let (range, encoded_len) = (claim.range.range(), claim.range.encoded_len());
        let file_position = usize::try_from(claim.position).ok()?;
        Some(wb_slice { file_position, start: range.start, end: range.end, encoded_len })
    });
    // SAFETY: the rules of the header.
    unsafe { put(slice, claim) }
}

/// Decides whether a slice carries the bytes of the range that the proof names, and writes these bytes into `into`, which
/// has room for exactly `end - start` of them.
///
/// Errors: the slice is refused (26xx), the proof names no slice, or `into` has another length (9001). What is in `into`
/// is then not to be used. Cost: one BLAKE3 pass; no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_check_slice(
    proof: *const wb_proof,
    slice: *const u8,
    slice_len: usize,
    into: *mut u8,
    into_len: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let claim = given(proof, "the proof")?.proven.slice();
            let claim = claim.ok_or_else(|| Failure::misuse("no slice goes with the proof"))?;
            apart((slice, slice_len), (into, into_len))?;
            let into = memory(into, into_len, "the memory for the bytes")?;
            check(claim.file.root, claim.range, bytes(slice, slice_len, "the slice")?, into)
        })
    }
}

/// Decides whether a slice carries the bytes from `start` to before `end` of a file, counted from 0, and writes these
/// bytes into `into`, which has room for exactly `end - start` of them.
///
/// Errors: the range or the slice is refused (26xx), the list has no such file, or `into` has another length (9001). What
/// is in `into` is then not to be used. Cost: one BLAKE3 pass; no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_files_check_slice(
    files: *const wb_files,
    position: usize,
    start: u64,
    end: u64,
    slice: *const u8,
    slice_len: usize,
    into: *mut u8,
    into_len: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let entry = given(files, "the file list")?.entry(position)?;
            let range = SliceRange::new(entry.size, start..end).map_err(|error| Failure::of(&error))?;
            apart((slice, slice_len), (into, into_len))?;
            let into = memory(into, into_len, "the memory for the bytes")?;
            check(entry.root, range, bytes(slice, slice_len, "the slice")?, into)
        })
    }
}

/// Refuses memory that is read and written by one call.
fn apart(read: (*const u8, usize), written: (*mut u8, usize)) -> Result<(), Failure> {
    let (read_from, written_to) = (read.0.addr(), written.0.addr());
    let overlap =
        read_from < written_to.saturating_add(written.1) && written_to < read_from.saturating_add(read.1);
    if overlap && read.1 > 0 && written.1 > 0 {
        return Err(Failure::misuse("the slice and the memory for its bytes overlap"));
    }
    Ok(())
}

fn check(root: FileRoot, range: SliceRange, slice: &[u8], into: &mut [u8]) -> Result<(), Failure> {
    let len = range.range().end.saturating_sub(range.range().start);
    if u64::try_from(into.len()) != Ok(len) {
        return Err(Failure::misuse(alloc::format!("the range has {len} bytes, the memory {}", into.len())));
    }
    let (mut decoder, mut input, mut rest) = (SliceDecoder::new(root, range), slice, into);
    while let Some(released) = decoder.next(&mut input).map_err(|error| Failure::of(&error))? {
        // No more bytes are released than the range has.
        let split = rest.split_at_mut_checked(released.len());
        let (here, behind) =
            split.ok_or_else(|| Failure::misuse("the slice has more bytes than its range"))?;
        here.copy_from_slice(released);
        rest = behind;
    }
    decoder.finish(input).map_err(|error| Failure::of(&error))
}

/// Frees a proof, with its head. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_proof_free(proof: *mut wb_proof) {
    // SAFETY: the rules of the header.
    unsafe { free(proof) }
}
