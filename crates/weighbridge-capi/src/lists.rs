//! The lists that a head binds.

use alloc::{sync::Arc, vec::Vec};
use core::ffi::c_char;

use weighbridge_manifest::{FileEntry, TensorEntry, VerifiedFileList, VerifiedTensorList};
use weighbridge_verify::tree::{ChunkSize, Grid};

use crate::{
    border::{Place, bytes, free, given, put, text, wb_text},
    error::{Failure, call, wb_code, wb_error},
    head::wb_head,
};

/// The files of a model, as the head binds them. It never changes.
pub struct wb_files {
    pub(crate) list: Arc<VerifiedFileList>,
    /// Of each file, where its layer begins in `chunks.layer`.
    layers: Vec<u64>,
}

/// The tensors of a model, as the head binds them. It never changes.
pub struct wb_tensors {
    pub(crate) list: Arc<VerifiedTensorList>,
    pub(crate) files: Arc<VerifiedFileList>,
}

/// The place of a layer is not known (`wb_file`).
pub const WB_NO_LAYER: u64 = u64::MAX;

/// A file of a model.
#[repr(C)]
pub struct wb_file {
    /// The path in the model, its parts separated by `/`.
    pub path: wb_text,
    /// The position in the file list, counted from 0.
    pub position: usize,
    /// The number of bytes.
    pub size: u64,
    /// The number of chunks.
    pub chunks: u64,
    /// Where the file's layer begins in `chunks.layer`; `WB_NO_LAYER` in a proof, which does not have the other files.
    pub layer_offset: u64,
    /// The number of bytes of the layer: 32 for each chunk, none for a file of one chunk or none.
    pub layer_len: u64,
    /// The BLAKE3 hash of the file.
    pub root: [u8; 32],
}

/// A tensor of a model.
#[repr(C)]
pub struct wb_tensor {
    /// The name, unique in its file.
    pub name: wb_text,
    /// The path of the file in the model.
    pub file: wb_text,
    /// The position of the file in the file list.
    pub file_position: usize,
    /// The position in the tensor list, counted from 0.
    pub position: usize,
    /// The type of the elements, as the format of the file spells it.
    pub dtype: wb_text,
    /// The dimensions, outermost first; `rank` of them, none for a scalar.
    pub shape: *const u64,
    /// The number of dimensions.
    pub rank: usize,
    /// Where the tensor begins in its file, in bytes.
    pub offset: u64,
    /// The number of bytes, without padding.
    pub size: u64,
}

impl wb_file {
    pub(crate) fn of(entry: &FileEntry, position: usize, chunk_size: ChunkSize, layer_offset: u64) -> Self {
        let grid = Grid::new(entry.size, chunk_size);
        // Sizes of a verified list are below 2^53, so there is a grid.
        let (chunks, layer_len) = grid.map_or((0, 0), |grid| (grid.count(), grid.layer_len()));
        let (path, root) = (wb_text::of(entry.path.as_str()), *entry.root.as_bytes());
        Self { path, position, size: entry.size, chunks, layer_offset, layer_len, root }
    }
}

impl wb_tensor {
    pub(crate) fn of(entry: &TensorEntry, position: usize, file_position: usize) -> Self {
        Self {
            name: wb_text::of(entry.name.as_str()),
            file: wb_text::of(entry.file.as_str()),
            file_position,
            position,
            dtype: wb_text::of(entry.dtype.as_str()),
            shape: entry.shape.as_ptr(),
            rank: entry.shape.len(),
            offset: entry.offset,
            size: entry.size,
        }
    }
}

impl wb_files {
    pub(crate) fn of(list: Arc<VerifiedFileList>) -> Self {
        let mut next = 0_u64;
        let layers = list.entries().iter().map(|entry| {
            let len = Grid::new(entry.size, list.chunk_size()).map_or(0, Grid::layer_len);
            // Below 2^53 bytes for each of fewer than 2^31 files, by the limits of lists.
            let here = next;
            next = next.saturating_add(len);
            here
        });
        let layers = layers.collect();
        Self { list, layers }
    }

    fn file(&self, position: usize) -> Option<wb_file> {
        let (entry, layer) = (self.list.entries().get(position)?, *self.layers.get(position)?);
        Some(wb_file::of(entry, position, self.list.chunk_size(), layer))
    }

    /// The entry at a position, which the caller has to have right.
    pub(crate) fn entry(&self, position: usize) -> Result<&FileEntry, Failure> {
        self.list
            .entries()
            .get(position)
            .ok_or_else(|| Failure::misuse("the list has no file at this position"))
    }
}

impl wb_tensors {
    fn tensor(&self, position: usize) -> Option<wb_tensor> {
        let entry = self.list.entries().get(position)?;
        let (file, _) = self.files.find(entry.file.as_str())?;
        Some(wb_tensor::of(entry, position, file))
    }
}

/// Decides whether the bytes of `files.jsonl` are the file list that a head binds.
///
/// Errors: they are not, or a path is malformed (13xx, 14xx). Cost: one pass; memory for the entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_files_verify(
    head: *const wb_head,
    list: *const u8,
    list_len: usize,
    files: *mut *mut wb_files,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(files)?;
            let (head, list) = (given(head, "the head")?, bytes(list, list_len, "the file list")?);
            let list = head.0.open_files(list).map_err(|error| Failure::of(&error))?;
            place.fill(wb_files::of(Arc::new(list)));
            Ok(())
        })
    }
}

/// The number of files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_files_count(files: *const wb_files) -> usize {
    // SAFETY: the rules of the header.
    unsafe { files.as_ref() }.map_or(0, |files| files.list.entries().len())
}

/// Gives the file at a position, counted from 0, in the order of their paths. Returns whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_files_get(files: *const wb_files, position: usize, file: *mut wb_file) -> bool {
    // SAFETY: the rules of the header.
    unsafe { put(file, files.as_ref().and_then(|files| files.file(position))) }
}

/// Finds a file by its path in the model. Returns whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_files_find(
    files: *const wb_files,
    path: *const c_char,
    file: *mut wb_file,
) -> bool {
    // SAFETY: the rules of the header.
    unsafe {
        let found = files.as_ref().and_then(|files| {
            let (position, _) = files.list.find(text(path, "the path").ok()?)?;
            files.file(position)
        });
        put(file, found)
    }
}

/// Frees a file list. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_files_free(files: *mut wb_files) {
    // SAFETY: the rules of the header.
    unsafe { free(files) }
}

/// Decides whether the bytes of `tensors.jsonl` are the tensor list that the head binds of which these are the files.
///
/// Errors: they are not, a name is malformed, or the head lists no tensors (13xx, 14xx). Cost: one pass; memory for the entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tensors_verify(
    files: *const wb_files,
    list: *const u8,
    list_len: usize,
    tensors: *mut *mut wb_tensors,
    error: *mut wb_error,
) -> wb_code {
    // SAFETY: the rules of the header.
    unsafe {
        call(error, || {
            let place = Place::at(tensors)?;
            let (files, list) = (given(files, "the file list")?, bytes(list, list_len, "the tensor list")?);
            let list = files.list.open_tensors(list).map_err(|error| Failure::of(&error))?;
            place.fill(wb_tensors { list: Arc::new(list), files: Arc::clone(&files.list) });
            Ok(())
        })
    }
}

/// The number of tensors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tensors_count(tensors: *const wb_tensors) -> usize {
    // SAFETY: the rules of the header.
    unsafe { tensors.as_ref() }.map_or(0, |tensors| tensors.list.entries().len())
}

/// Gives the tensor at a position, counted from 0, in the order of files, and of names in each. Returns whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tensors_get(
    tensors: *const wb_tensors,
    position: usize,
    tensor: *mut wb_tensor,
) -> bool {
    // SAFETY: the rules of the header.
    unsafe { put(tensor, tensors.as_ref().and_then(|tensors| tensors.tensor(position))) }
}

/// Finds a tensor by its name and the path of its file in the model. Returns whether there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tensors_find(
    tensors: *const wb_tensors,
    file: *const c_char,
    name: *const c_char,
    tensor: *mut wb_tensor,
) -> bool {
    // SAFETY: the rules of the header.
    unsafe {
        let found = tensors.as_ref().and_then(|tensors| {
            let (file, name) = (text(file, "the path").ok()?, text(name, "the name").ok()?);
            tensors.tensor(tensors.list.find(file, name)?.0)
        });
        put(tensor, found)
    }
}

/// Frees a tensor list. Null is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_tensors_free(tensors: *mut wb_tensors) {
    // SAFETY: the rules of the header.
    unsafe { free(tensors) }
}
