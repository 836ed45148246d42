//! Existence proofs and slices, made on request.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use weighbridge_manifest::{ProveError, Wanted, readings};
use weighbridge_store::ViewError;
use weighbridge_tree::{Coded as _, SliceRange, Slicer};
use weighbridge_verify::PageBuffer;

use crate::{
    models::Models,
    refusal::{Refusal, failed, unreadable},
    release::Release,
    reply::{Answer, Sent, text},
    route::parameters,
};

/// The things that a query asks to be shown.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    files: Vec<String>,
    tensors: Vec<String>,
    absent: Vec<String>,
    /// A range of bytes of the one file.
    bytes: Option<Range<u64>>,
}

/// A slice is made in memory, so that a larger range is asked for in several slices.
const MAX_SLICE: u64 = 4 << 20;

/// The memory for a proof: its entries, the nodes beside them, and their text.
pub(crate) const MEMORY: u64 = 8 << 20;

impl Asked {
    pub(crate) fn of(query: Option<&str>) -> Result<Self, Refusal> {
        let bad = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, message);
        let mut asked = Self::default();
        for (key, value) in parameters(query).ok_or_else(|| bad("the query is malformed"))? {
            match key.as_str() {
                "file" => asked.files.push(value),
                "tensor" => asked.tensors.push(value),
                "absent" => asked.absent.push(value),
                "bytes" if asked.bytes.is_none() => {
                    let range = value.split_once('-').and_then(|(first, last)| {
                        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                        (first <= last).then(|| first..last.saturating_add(1))
                    });
                    asked.bytes =
                        Some(range.ok_or_else(|| bad("`bytes` is FIRST-LAST, both counted from 0"))?);
                }
                _ => {
                    return Err(bad(
                        "the query names other things than file=, tensor=, absent= and one bytes=",
                    ));
                }
            }
        }
        if asked.files.is_empty() && asked.tensors.is_empty() && asked.absent.is_empty() {
            return Err(bad("ask for file=PATH, tensor=FILE:NAME or absent=PATH"));
        }
        Ok(asked)
    }

    /// Answers with a proof of what the query names, and of a slice if it names one.
    pub(crate) fn prove(&self, release: &Release) -> Result<Answer, Refusal> {
        let prove = || {
            let mut wanted = Wanted::of(release.files(), release.tensors());
            for path in &self.files {
                wanted = wanted.file(path)?;
            }
            for tensor in &self.tensors {
                wanted = wanted.tensor_named(tensor)?;
            }
            for path in &self.absent {
                wanted = wanted.absent(path)?;
            }
            if self.bytes.is_some() {
                let (path, range) = self.sliced(release)?;
                wanted = wanted.slice(&path, range)?;
            }
            wanted.prove(release.note()).map_err(Fault::from)
        };
        Ok(text("text/plain; charset=utf-8", prove()?))
    }

    /// The memory that the slice takes: its bytes, the path to them, and one chunk.
    pub(crate) fn memory(&self, release: &Release) -> Result<u64, Refusal> {
        let len = match (&self.bytes, self.tensors.is_empty()) {
            (Some(range), _) => range.end.saturating_sub(range.start),
            (None, true) => self.sliced(release).map(|(_, range)| range.end.saturating_sub(range.start))?,
            // To find a tensor is some work; its slice has at most this many bytes.
            (None, false) => MAX_SLICE,
        };
        Self::fits(len)?;
        Ok(len.saturating_mul(2).saturating_add(release.files().chunk_size().bytes()))
    }

    fn fits(len: u64) -> Result<(), Refusal> {
        if len <= MAX_SLICE {
            return Ok(());
        }
        let message = format!("a slice has at most {MAX_SLICE} bytes here: ask for several");
        Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message))
    }

    /// Answers with the slice that the query names.
    pub(crate) fn slice(&self, models: &Models, release: &Release) -> Result<Answer, Refusal> {
        let (path, range) = self.sliced(release)?;
        Self::fits(range.end.saturating_sub(range.start))?;
        let mut answer = text("application/octet-stream", String::new());
        answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.content = Sent::Whole(make(models, release, &path, range)?);
        Ok(answer)
    }

    /// The file and the bytes of the slice: a range of the one file, or all of the one tensor.
    fn sliced(&self, release: &Release) -> Result<(String, Range<u64>), Fault> {
        if self.bytes.is_none() && !self.absent.is_empty() {
            return Err(Fault::Asked("of what is absent there is no slice".to_owned()));
        }
        match (self.files.as_slice(), self.tensors.as_slice(), &self.bytes) {
            ([path], [], Some(range)) => Ok((path.clone(), range.clone())),
            ([path], [], None) => {
                let size = release.files().find(path).map_or(0, |(_, entry)| entry.size);
                Ok((path.clone(), 0..size))
            }
            ([], [asked], None) => {
                let tensors = release.tensors().ok_or(ProveError::NoTensorList)?;
                let found = readings(asked).find_map(|(file, name)| tensors.find(file, name));
                let (_, tensor) = found
                    .ok_or_else(|| Fault::NotFound("the model has no tensor of this name".to_owned()))?;
                let end = tensor.offset.saturating_add(tensor.size);
                Ok((tensor.file.as_str().to_owned(), tensor.offset..end))
            }
            _ => Err(Fault::Asked(
                "a slice is of one file=, with or without bytes=, or of one tensor=".to_owned(),
            )),
        }
    }
}

/// Reads and judges the chunks of a range, and makes the slice of it.
fn make(models: &Models, release: &Release, path: &str, range: Range<u64>) -> Result<Bytes, Fault> {
    let not_listed = || Fault::NotFound("the model has no file of this path".to_owned());
    let (position, entry) = release.files().find(path).ok_or_else(not_listed)?;
    let range = SliceRange::new(entry.size, range).map_err(|error| Fault::Asked(error.to_string()))?;
    let layer = models.layer(release, position).map_err(Fault::View)?;
    let bug = |_| Fault::Bug;
    let (mut slice, mut chunk) = (Vec::new(), PageBuffer::new());
    let mut slicer = Slicer::new(&layer, range, &mut slice).map_err(bug)?;
    while let Some(index) = slicer.wanted() {
        let bytes = layer.grid().range(index).ok_or(Fault::Bug)?;
        chunk.resize(usize::try_from(bytes.end.saturating_sub(bytes.start)).unwrap_or(0));
        models.fill(release, position, bytes.start, &mut chunk).map_err(Fault::View)?;
        slicer.push(&chunk, &mut slice).map_err(bug)?;
    }
    slicer.finish().map_err(bug)?;
    Ok(slice.into())
}

/// The reason why there is no proof, or no slice.
enum Fault {
    Asked(String),
    NotFound(String),
    View(ViewError),
    Bug,
}

impl From<ProveError> for Fault {
    fn from(error: ProveError) -> Self {
        let message = format!("{error} [W{}]", error.error_code());
        match error {
            ProveError::NotListed { .. } | ProveError::NoTensorList => Self::NotFound(message),
            _ => Self::Asked(message),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Asked(message) => Self::new(StatusCode::BAD_REQUEST, message),
            Fault::NotFound(message) => Self::new(StatusCode::NOT_FOUND, message),
            Fault::View(fault) => unreadable(fault),
            Fault::Bug => failed(),
        }
    }
}
