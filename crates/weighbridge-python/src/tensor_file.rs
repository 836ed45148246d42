//! A tensor file, of which bytes are handed out only after the chunks that hold them were accepted.

use std::{collections::HashMap, ops::Range, sync::Arc};

use pyo3::prelude::*;
use rayon::prelude::*;
use weighbridge_formats::{Format, Parsed, TensorSpan, parse};
use weighbridge_store::{FileView, ModelView, TensorView};
use weighbridge_tree::ErrorCode;

use crate::{
    cores,
    failure::{Failure, Result},
};

/// An open tensor file. Any number of threads may use it; the interpreter is free while they read and hash.
#[pyclass(frozen, module = "weighbridge._native")]
pub(crate) struct TensorFile {
    view: Arc<ModelView>,
    position: usize,
    path: String,
    /// The beginning of the file, up to the first tensor.
    header: Vec<u8>,
    /// In the order of their places.
    tensors: Vec<TensorSpan>,
    by_name: HashMap<String, usize>,
}

/// Memory of the caller that is to be filled.
#[derive(Clone, Copy)]
struct Memory {
    address: usize,
    len: usize,
}

impl Memory {
    /// # Safety
    /// The memory must be there, writable, and used by nobody else for as long as the result lives.
    #[allow(unsafe_code, reason = "arrays of Python are filled where they are")]
    unsafe fn bytes<'m>(self) -> Result<&'m mut [u8]> {
        if self.len == 0 {
            return Ok(&mut []);
        }
        if self.address == 0
            || self.address.checked_add(self.len).is_none_or(|end| isize::try_from(end).is_err())
        {
            return Err(Failure::new(ErrorCode::BUG, "an array without memory"));
        }
        let start = std::ptr::with_exposed_provenance_mut::<u8>(self.address);
        // SAFETY: the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, self.len) })
    }
}

impl TensorFile {
    pub(crate) fn open(view: Arc<ModelView>, list: Option<&TensorView>, path: &str) -> Result<Self> {
        let failed = |failure: Failure| failure.in_file(path);
        let Some((position, _)) = view.files().find(path) else {
            return Err(failed(Failure::new(
                ErrorCode::FILE_NOT_LISTED,
                format!("{path} is not in the signed list"),
            )));
        };
        let format = Format::of(path).filter(|format| *format == Format::Safetensors);
        let Some(format) = format else {
            return Err(failed(Failure::usage(format!("{path} is no safetensors file by its name"))));
        };
        let file = view.file(position).map_err(|error| failed(Failure::of_view(&error)))?;
        // Of a file with a dtype that its signer does not know, no tensors are listed.
        if let Some(list) = list.filter(|list| !list.tensors().of_file(path).is_empty()) {
            list.check_header(path).map_err(|error| failed(Failure::of(&error)))?;
        }
        let (header, tensors) = read_header(file, format).map_err(failed)?;
        let by_name = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        Ok(Self { position, path: path.to_owned(), header, tensors, by_name, view })
    }

    fn tensor(&self, name: &str) -> Result<&TensorSpan> {
        let found = self.by_name.get(name).and_then(|at| self.tensors.get(*at));
        found.ok_or_else(|| {
            Failure::new(ErrorCode::USAGE, format!("File does not contain tensor {name}"))
                .in_file(&self.path)
                .in_tensor(name)
        })
    }

    /// Fills memory with a part of a tensor, on all threads of the pool if this is one of them.
    fn fill(&self, tensor: &TensorSpan, part: Range<u64>, into: &mut [u8], on_pool: bool) -> Result<()> {
        let failed = |failure: Failure| failure.in_file(&self.path).in_tensor(&tensor.name);
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        if part.end > tensor.size || part.end.saturating_sub(part.start) != len {
            return Err(failed(Failure::new(
                ErrorCode::BUG,
                "memory of another length than that of the tensor",
            )));
        }
        let file = self.view.file(self.position).map_err(|error| failed(Failure::of_view(&error)))?;
        let start = tensor.offset.saturating_add(part.start);
        let read = if on_pool { file.fill_at_on_all_cores(start, into) } else { file.fill_at(start, into) };
        read.map_err(|error| failed(Failure::of_view(&error)))
    }
}

/// Reads and verifies the header of a file.
fn read_header(file: &FileView, format: Format) -> Result<(Vec<u8>, Vec<TensorSpan>)> {
    let size = file.verifier().layer().grid().len();
    let mut prefix = Vec::new();
    loop {
        match parse(format, &prefix, size).map_err(|error| Failure::of(&error))? {
            Parsed::Tensors { tensors, header_len, .. } => {
                prefix.truncate(usize::try_from(header_len).unwrap_or(usize::MAX));
                return Ok((prefix, tensors));
            }
            Parsed::UnknownDtype { dtype, .. } => return Err(Failure::of(&dtype)),
            Parsed::NeedPrefix(len) => {
                let known = prefix.len();
                // At most 100 MB, the longest header that is accepted.
                prefix.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
                let start = u64::try_from(known).unwrap_or(u64::MAX);
                let read = file.read_at(start, prefix.get_mut(known..).unwrap_or_default());
                read.map_err(|error| Failure::of_view(&error))?;
            }
        }
    }
}

#[pymethods]
impl TensorFile {
    /// The file's path in the model.
    #[getter]
    fn path(&self) -> &str {
        &self.path
    }

    /// The names of the tensors, sorted.
    fn keys(&self) -> Vec<&str> {
        let mut keys = self.offset_keys();
        keys.sort_unstable();
        keys
    }

    /// The names of the tensors, in the order of their places in the file.
    fn offset_keys(&self) -> Vec<&str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    /// The JSON text of the header, as it was verified.
    fn header(&self) -> &[u8] {
        // Behind the eight bytes of its length.
        self.header.get(8..).unwrap_or_default()
    }

    /// A tensor's dtype by the format's name for it, its shape, its number of bytes, and where it begins in the file.
    fn info(&self, name: &str) -> Result<(String, Vec<u64>, u64, u64)> {
        let tensor = self.tensor(name)?;
        Ok((tensor.dtype.clone(), tensor.shape.clone(), tensor.size, tensor.offset))
    }

    /// Fills memory with whole tensors: for each its name, the address of the memory, and the number of its bytes. The caller
    /// keeps the memory, which nobody else uses meanwhile.
    ///
    /// If a chunk is bad, an error is raised, and what is in the memory is not to be used.
    fn read(&self, py: Python<'_>, wanted: Vec<(String, usize, usize)>) -> Result<()> {
        let jobs =
            wanted.into_iter().map(|(name, address, len)| Ok((self.tensor(&name)?, Memory { address, len })));
        let jobs = jobs.collect::<Result<Vec<_>>>()?;
        let fill = |on_pool: bool, (tensor, memory): (&TensorSpan, Memory)| {
            #[allow(unsafe_code, reason = "the array is filled where it is")]
            // SAFETY: `_open.py` calls this with arrays that it has just made, and holds until this returns.
            let into = unsafe { memory.bytes() }?;
            self.fill(tensor, 0..tensor.size, into, on_pool)
        };
        py.detach(|| {
            cores::on_all(|on_pool| match on_pool {
                true => jobs.into_par_iter().try_for_each(|job| fill(true, job)),
                false => jobs.into_iter().try_for_each(|job| fill(false, job)),
            })
        })
    }

    /// Fills memory with a part of a tensor. Of each dimension, the outermost first, `wanted` has the first index, how many there
    /// are, and the step from one to the next; what is not in the tensor is refused. The elements have whole bytes.
    ///
    /// Only chunks with wanted bytes are read. For the memory and errors as `read`.
    #[allow(clippy::needless_pass_by_value, reason = "what Python gives is taken by value")]
    fn read_slice(
        &self,
        py: Python<'_>,
        name: &str,
        wanted: Vec<(u64, u64, u64)>,
        address: usize,
        len: usize,
    ) -> Result<()> {
        let tensor = self.tensor(name)?;
        let runs = Runs::of(tensor, &wanted).ok_or_else(|| {
            Failure::usage("the slice is not in the tensor").in_tensor(name).in_file(&self.path)
        })?;
        py.detach(|| {
            #[allow(unsafe_code, reason = "the array is filled where it is")]
            // SAFETY: as in `read`.
            let into = unsafe { Memory { address, len }.bytes() }?;
            if u64::try_from(into.len()).ok() != runs.bytes() {
                return Err(Failure::new(ErrorCode::BUG, "memory of another length than that of the slice"));
            }
            let run = usize::try_from(runs.len).unwrap_or(usize::MAX);
            if run == 0 {
                return Ok(());
            }
            // Neighbouring runs often share a chunk: a thread takes many of them.
            let (batch, runs) = ((BATCH / run).max(1), &runs);
            let fill = |on_pool: bool, (nth, part): (usize, &mut [u8])| {
                for (number, part) in part.chunks_mut(run).enumerate() {
                    let start = runs.start(nth.saturating_mul(batch).saturating_add(number));
                    self.fill(tensor, start..start.saturating_add(runs.len), part, on_pool)?;
                }
                Ok(())
            };
            let len = run.saturating_mul(batch);
            cores::on_all(|on_pool| match on_pool {
                true => into.par_chunks_mut(len).enumerate().try_for_each(|part| fill(true, part)),
                false => into.chunks_mut(len).enumerate().try_for_each(|part| fill(false, part)),
            })
        })
    }
}

/// The bytes of a slice: runs of one length.
struct Runs {
    /// The number of bytes of each.
    len: u64,
    /// Of each dimension above the runs: how many indices, and the bytes from one to the next.
    dimensions: Vec<(u64, u64)>,
    /// The place of the first.
    first: u64,
}

impl Runs {
    fn of(tensor: &TensorSpan, wanted: &[(u64, u64, u64)]) -> Option<Self> {
        if wanted.len() != tensor.shape.len() {
            return None;
        }
        let elements = tensor.shape.iter().try_fold(1_u64, |all, dimension| all.checked_mul(*dimension))?;
        // Without elements there are no bytes.
        let mut width = tensor.size.checked_div(elements).unwrap_or(0);
        let (mut runs, mut is_whole) = (Self { len: width, dimensions: Vec::new(), first: 0 }, true);
        for ((start, count, step), size) in wanted.iter().zip(&tensor.shape).rev() {
            if *count > 0 {
                let last = count.checked_sub(1)?.checked_mul(*step)?.checked_add(*start)?;
                (last < *size).then_some(())?;
            }
            runs.first = runs.first.checked_add(start.checked_mul(width)?)?;
            if is_whole && *step == 1 {
                // The runs of the dimensions below touch.
                runs.len = runs.len.checked_mul(*count)?;
                is_whole = count == size;
            } else {
                runs.dimensions.push((*count, step.checked_mul(width)?));
                is_whole = false;
            }
            width = width.checked_mul(*size)?;
        }
        runs.dimensions.reverse();
        Some(runs)
    }

    fn bytes(&self) -> Option<u64> {
        self.dimensions.iter().try_fold(self.len, |all, (count, _)| all.checked_mul(*count))
    }

    /// The place of the nth run in the tensor.
    fn start(&self, nth: usize) -> u64 {
        let mut rest = u64::try_from(nth).unwrap_or(u64::MAX);
        let mut start = self.first;
        for (count, stride) in self.dimensions.iter().rev() {
            let index = rest.checked_rem(*count).unwrap_or(0);
            rest = rest.checked_div(*count).unwrap_or(0);
            start = start.saturating_add(index.saturating_mul(*stride));
        }
        start
    }
}

/// The number of bytes that a thread takes of a slice at once.
const BATCH: usize = 1 << 20;
