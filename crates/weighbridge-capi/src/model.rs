//! A model folder on disk.

use alloc::sync::Arc;
use core::{ffi::c_char, ptr};
use std::path::{self, Path, PathBuf};

use weighbridge_manifest::shown;
use weighbridge_store::{Metadata, ModelView, OpenModel, TensorView, ViewError, verify::PageBuffer};

use crate::{
    border::{Place, free, given, memory, optional_text, put, text},
    error::{Failure, call, wb_code, wb_error},
    head::wb_head,
    lists::{wb_files, wb_tensors},
    policy::{expectation, wb_expected, wb_policy},
};

/// A model folder whose head is believed. All functions but `wb_model_free` may be called from any number of threads at once.
pub struct wb_model {
    head: wb_head,
    files: wb_files,
    tensors: Option<wb_tensors>,
    view: Arc<ModelView>,
    by_name: Option<TensorView>,
}

impl wb_model {
    fn open(
        folder: &Path,
        metadata: &Metadata,
        policy: &wb_policy,
        expected: *const wb_expected,
    ) -> Result<Self, Failure> {
        // SAFETY: the rules of the header.
        let (expected, now) = unsafe { expectation(expected) }?;
        let opened = OpenModel::open(folder, metadata, &policy.0, &expected, now);
        let OpenModel { files, tensors, view, by_name } = opened.map_err(|error| Failure::of(&error))?;
        let tensors = tensors.map(|list| wb_tensors { list, files: Arc::clone(&files) });
        Ok(Self { head: wb_head(files.head().clone()), files: wb_files::of(files), tensors, view, by_name })
    }

    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<(), Failure> {
        let entry = self.files.entry(file)?;
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > entry.size) {
            return Err(Failure::misuse("the file has no such bytes"));
        }
        self.view.file(file).and_then(|view| view.fill_at(offset, into)).map_err(|error| of_view(&error))
    }

    fn read_tensor(&self, position: usize, offset: u64, into: &mut [u8]) -> Result<(), Failure> {
        let missing = || Failure::misuse("the list has no tensor at this position");
        let by_name = self.by_name.as_ref().ok_or_else(missing)?;
        let entry = by_name.tensors().entries().get(position).ok_or_else(missing)?;
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > entry.size) {
            return Err(Failure::misuse("the tensor has no such bytes"));
        }
        by_name.check_header(entry.file.as_str()).map_err(|error| match &error {
            weighbridge_store::TensorError::View(view) => of_view(view),
            _ => Failure::of(&error),
        })?;
        let (file, _) = self.view.files().find(entry.file.as_str()).ok_or_else(missing)?;
        let offset = entry.offset.saturating_add(offset);
        self.view.file(file).and_then(|view| view.fill_at(offset, into)).map_err(|error| of_view(&error))
    }

    /// Looks at each chunk of a file.
    fn verify(&self, file: usize) -> Result<(), Failure> {
        let entry = self.files.entry(file)?;
        // An empty file has no chunk, but has to be there.
        self.view.file(file).map_err(|error| of_view(&error))?;
        let chunk = self.files.list.chunk_size().bytes();
        let (mut buffer, mut at) = (PageBuffer::new(), 0);
        while at < entry.size {
            let len = chunk.min(entry.size.saturating_sub(at));
            buffer.resize(usize::try_from(len).unwrap_or(usize::MAX));
            self.read(file, at, &mut buffer)?;
            at = at.saturating_add(len);
        }
        Ok(())
    }
}

/// The working directory may become another one while the model is open.
fn absolute(path: &str) -> Result<PathBuf, Failure> {
    path::absolute(path)
        .map_err(|error| Failure::misuse(alloc::format!("the folder '{}': {error}", shown(path))))
}

fn of_view(error: &ViewError) -> Failure {
    match error {
        ViewError::Chunk { fault, .. } => Failure::of(error).at_chunk(fault),
        _ => Failure::of(error),
    }
}

/// Opens a model folder: its head has to be believed, its lists have to be those that the head binds. No weight is read.
/// `meta` is the folder of the metadata; if it is null, they lie in `weighbridge` in the model folder, or at the place of
/// a snapshot in a Hugging Face cache. Paths are UTF-8; relative ones are those of the working directory at this call.
///
/// Files in the folder that are not listed are not looked at, and not refused: read what is listed, and nothing else.
///
/// While the model is open, this process is known as a reader of its release: it holds a lease in the folder's
/// `weighbridge`, so that whoever replaces the release keeps its files. Who frees the last reader of a replaced release
/// removes these (spec/model-folder.md). A folder that cannot be written is read without.
///
/// Errors: those of `wb_head_verify`, `wb_files_verify` and `wb_tensors_verify`; the layers have a wrong length (2201); a
/// release in the folder is being replaced (9108); something cannot be read (9002).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_open(
    folder: *const c_char,
    meta: *const c_char,
    policy: *const wb_policy,
    expected: *const wb_expected,
    model: *mut *mut wb_model,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let (place, policy) = (Place::at(model)?, given(policy, "the policy")?);
            let folder = absolute(text(folder, "the folder")?)?;
            let metadata = match optional_text(meta, "the folder of the metadata")? {
                None => Metadata::of_model(&folder),
                Some(meta) => Metadata::at(absolute(meta)?),
            };
            place.fill(wb_model::open(&folder, &metadata, policy, expected)?);
            Ok(())
        })
    }
}

/// The head. It belongs to the model, and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_head(model: *const wb_model) -> *const wb_head {
    // SAFETY: the rules of the header.
    unsafe { model.as_ref() }.map_or(ptr::null(), |model| &raw const model.head)
}

/// The file list. It belongs to the model, and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_files(model: *const wb_model) -> *const wb_files {
    // SAFETY: the rules of the header.
    unsafe { model.as_ref() }.map_or(ptr::null(), |model| &raw const model.files)
}

/// The tensor list; null if the head lists no tensors. It belongs to the model, and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_tensors(model: *const wb_model) -> *const wb_tensors {
    // SAFETY: the rules of the header.
    let tensors = unsafe { model.as_ref() }.and_then(|model| model.tensors.as_ref());
    tensors.map_or(ptr::null(), ptr::from_ref)
}

/// Fills `into` with the bytes of a file from `offset` on. Only chunks that hold them are read and hashed. A whole chunk
/// may be read into `into` and verified there; of others, verified bytes are copied. `into` need not be initialised. Until
/// the call has succeeded, what is in it is not to be used.
///
/// Errors: a chunk is not as signed (2102); the file is missing (2104), has another length (2103), has changed since it
/// was opened (2106), or leads out of the model (51xx); its layer is missing (9106) or refused (2202); it cannot be read
/// (9002); it has no such bytes (9001). Cost: one BLAKE3 pass over the chunks, on the calling thread. A buffer of one chunk
/// for each thread that reads, and some more in reserve; chunks of which a part was read are kept, at most 64 and 16 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_read(
    model: *const wb_model,
    file: usize,
    offset: u64,
    into: *mut u8,
    into_len: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            given(model, "the model")?.read(file, offset, memory(into, into_len, "the memory for the bytes")?)
        })
    }
}

/// Fills `into` with the bytes of a tensor from `offset` in the tensor on, wherever the model is split. Before the first
/// bytes of a file are given, its header is verified and compared with all that is listed for the file.
///
/// Errors: those of `wb_model_read`; the header is malformed (41xx, 43xx) or differs from the list (23xx); the list has
/// no such tensor (9001).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_read_tensor(
    model: *const wb_model,
    tensor: usize,
    offset: u64,
    into: *mut u8,
    into_len: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let into = memory(into, into_len, "the memory for the bytes")?;
            given(model, "the model")?.read_tensor(tensor, offset, into)
        })
    }
}

/// Reads a whole file, and verifies each chunk of it. To use more threads, give each another file, or `wb_model_read`
/// other parts.
///
/// Errors: those of `wb_model_read`, for the first bad chunk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_verify_file(
    model: *const wb_model,
    file: usize,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe { call(error, || given(model, "the model")?.verify(file)) }
}

/// The number of chunks, and of their bytes, that were read from all files so far. Either place may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_reads(model: *const wb_model, chunks: *mut u64, read: *mut u64) {
    // SAFETY: the rules of the header.
    unsafe {
        let reads = model.as_ref().map(|model| model.view.reads());
        put(chunks, Some(reads.map_or(0, |reads| reads.chunks)));
        put(read, Some(reads.map_or(0, |reads| reads.bytes)));
    }
}

/// Frees a model with its head and its lists, which no other thread uses any more. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_model_free(model: *mut wb_model) {
    // SAFETY: the rules of the header.
    unsafe { free(model) }
}
