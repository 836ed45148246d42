//! A local folder as a source.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use weighbridge_store::{FOLDER, Metadata, open_to_read, read_some_at};
use weighbridge_verify::PageBuffer;

use super::{
    Fault,
    paths::{Part, Paths},
};
use crate::guide::Claim;

/// A folder that has a model's files, or some of them. Links are followed, as in the cache of a hub: their targets are
/// trusted no less than the folder.
#[derive(Debug)]
pub(crate) struct FolderSource {
    root: PathBuf,
}

/// The bytes of a range of a file. Another process may change its length and content meanwhile.
struct FolderBody {
    file: Arc<File>,
    left: Range<u64>,
}

impl FolderSource {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { root: path }
    }
}

impl Paths for FolderSource {
    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
    }

    async fn whole(&self, path: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        let (root, path) = (self.root.clone(), path.to_owned());
        blocking(move || {
            let (file, len) = open(&place(&root, &path))?;
            let mut bytes = Vec::new();
            if len <= limit {
                // The length of the file is not trusted: the bytes that are read decide.
                file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| fault(&error))?;
            }
            let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let longest = len.max(read);
            if longest > limit {
                return Err(Fault::OtherFile(format!("has {longest} bytes, at most {limit} can be right")));
            }
            Ok(bytes)
        })
        .await
    }

    async fn part(&self, path: &str, range: Range<u64>, size: u64, _: Option<&Claim>) -> Result<Part, Fault> {
        let (root, path) = (self.root.clone(), path.to_owned());
        blocking(move || {
            let (file, len) = open(&place(&root, &path))?;
            if len != size {
                return Err(Fault::OtherFile(format!("has {len} bytes instead of {size}")));
            }
            let start = range.start;
            let body = FolderBody { file: Arc::new(file), left: range };
            let next = |mut body: FolderBody| async move {
                Ok::<_, Fault>(body.next().await?.map(|bytes| (bytes, body)))
            };
            Ok(Part { start, bytes: stream::try_unfold(body, next).boxed() })
        })
        .await
    }
}

impl FolderBody {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Range { start, end } = self.left;
        if start >= end {
            return Ok(None);
        }
        let (file, len) = (Arc::clone(&self.file), end.saturating_sub(start).min(PIECE));
        let bytes = blocking(move || {
            let mut bytes = PageBuffer::zeroed(usize::try_from(len).unwrap_or(0));
            let read = read_some_at(&file, &mut bytes, start).map_err(|error| fault(&error))?;
            bytes.resize(read);
            Ok(Bytes::from_owner(bytes))
        })
        .await?;
        if bytes.is_empty() {
            return Err(Fault::OtherFile(format!("was cut to {start} bytes or less while it was read")));
        }
        self.left.start = start.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(Some(bytes))
    }
}

/// The most bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// The place of a file. Metadata of a release that weighbridge has put into the cache of a hub lie beside its snapshot.
fn place(root: &Path, path: &str) -> PathBuf {
    match path.split_once('/') {
        Some((FOLDER, name)) => Metadata::of_model(root).folder().join(name),
        _ => root.join(path),
    }
}

/// Opens a regular file, and returns its length. A FIFO in its place is not waited for.
fn open(path: &Path) -> Result<(File, u64), Fault> {
    let file = open_to_read(path).map_err(|error| fault(&error))?;
    let metadata = file.metadata().map_err(|error| fault(&error))?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(Fault::Refused("is no regular file".to_owned()))
    }
}

fn fault(error: &io::Error) -> Fault {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | NotADirectory => Fault::Missing,
        PermissionDenied => Fault::Refused(error.to_string()),
        _ => Fault::Unreachable(error.to_string()),
    }
}

/// Runs a call that may wait for a disk on a thread where it delays no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let gone = |_| Fault::Unreachable("reading was given up".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(gone)?
}

#[cfg(test)]
mod tests;
