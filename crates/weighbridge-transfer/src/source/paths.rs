//! Sources that are asked by path. They share how a path is made, and how the rest of a short answer is asked for.

use std::{
    fmt,
    ops::Range,
    path::Path,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::{Body, Fault, Source, What};
use crate::guide::Claim;

/// A kind of source that is asked by path.
pub(crate) trait Paths: fmt::Debug + Send + Sync + 'static {
    /// Reads the whole of a file of at most `limit` bytes.
    fn whole(&self, path: &str, limit: u64) -> impl Future<Output = Result<Vec<u8>, Fault>> + Send;

    /// Gets one answer to a request for a range of a file of `size` bytes. Kinds that do not tell the members of a swarm apart pass
    /// the claim over.
    fn part(
        &self,
        path: &str,
        range: Range<u64>,
        size: u64,
        claim: Option<&Claim>,
    ) -> impl Future<Output = Result<Part, Fault>> + Send;

    /// The folder on this machine that the source reads, if there is one.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// One answer. It has the first byte of the range, perhaps others before it, and may end before the range does.
pub(crate) struct Part {
    /// The position in the file of the first byte.
    pub(crate) start: u64,
    /// The bytes. The stream ends where the answer said that it would, or with a fault.
    pub(crate) bytes: BoxStream<'static, Result<Bytes, Fault>>,
}

/// A source of a kind that is asked by path.
#[derive(Debug)]
pub(crate) struct PathSource<P> {
    name: String,
    kind: Arc<P>,
    /// The folder that the metadata lies in, once that is known.
    metadata: OnceLock<&'static str>,
    /// The folders that the metadata may lie in.
    candidates: &'static [&'static str],
}

/// The folder of the metadata of a source that has the model.
const WITH_MODEL: &[&str] = &["weighbridge/"];
/// The folders of a place that has metadata alone: it may have no folder around it.
const ALONE: &[&str] = &["weighbridge/", ""];

impl<P: Paths> PathSource<P> {
    /// A source that has a model.
    pub(crate) fn new(name: String, kind: P) -> Self {
        Self { name, kind: Arc::new(kind), metadata: OnceLock::new(), candidates: WITH_MODEL }
    }

    /// Turns the source into a place for metadata.
    pub(crate) fn of_metadata(self) -> Self {
        Self { candidates: ALONE, ..self }
    }

    /// The kind.
    pub(crate) fn kind(&self) -> &P {
        &self.kind
    }

    fn path(&self, what: &What) -> String {
        match what {
            What::File { path, .. } | What::Listed { path, .. } => path.as_str().to_owned(),
            _ => {
                let folder = self.metadata.get().unwrap_or(&self.candidates[0]);
                format!("{folder}{}", what.name())
            }
        }
    }

    /// Reads a range of the file at `path`, and asks again for what an answer lacks.
    pub(crate) async fn read(
        &self,
        path: String,
        range: Range<u64>,
        size: u64,
        claim: Option<&Claim>,
    ) -> Result<Body, Fault> {
        let end = range.end;
        let Part { start, bytes } = self.kind.part(&path, range, size, claim).await?;
        let asked = Asked { kind: Arc::clone(&self.kind), path, size, at: start, end, part: bytes };
        let next = |mut asked: Asked<P>| async move {
            Ok::<_, Fault>(asked.next().await?.map(|bytes| (bytes, asked)))
        };
        Ok(Body::new(start, stream::try_unfold(asked, next)))
    }
}

/// A range that is being read.
struct Asked<P> {
    kind: Arc<P>,
    path: String,
    size: u64,
    /// The position in the file of the next byte, and the end of the range.
    at: u64,
    end: u64,
    part: BoxStream<'static, Result<Bytes, Fault>>,
}

impl<P: Paths> Asked<P> {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(bytes) = self.part.next().await.transpose()? {
                self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                return Ok(Some(bytes));
            } else if self.at >= self.end {
                return Ok(None);
            }
            let Part { start, bytes } =
                self.kind.part(&self.path, self.at..self.end, self.size, None).await?;
            if start != self.at {
                // A new request for the rest would make the fetch see, and pay for, the bytes before it.
                let what = "gave less than it was asked for, and then not the rest".to_owned();
                return Err(Fault::Unreachable(what));
            }
            self.part = bytes;
        }
    }
}

#[async_trait]
impl<P: Paths> Source for PathSource<P> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn whole(&self, what: &What, limit: u64) -> Result<Vec<u8>, Fault> {
        if !what.is_metadata() {
            return self.kind.whole(&self.path(what), limit).await;
        }
        let mut answer = Err(Fault::Missing);
        for folder in self.candidates {
            answer = self.kind.whole(&format!("{folder}{}", what.name()), limit).await;
            match answer {
                Ok(_) => {
                    let _ = self.metadata.set(folder);
                    break;
                }
                // Stores deny files that they do not have.
                Err(Fault::Missing | Fault::Refused(_)) => {}
                Err(_) => break,
            }
        }
        answer
    }

    async fn open(&self, what: &What, range: Range<u64>) -> Result<Body, Fault> {
        let Some(size) = what.size() else {
            return Err(Fault::Refused("a head has no ranges".to_owned()));
        };
        self.read(self.path(what), range, size, None).await
    }

    async fn open_claimed(&self, what: &What, range: Range<u64>, claim: &Claim) -> Result<Body, Fault> {
        let Some(size) = what.size() else { return self.open(what, range).await };
        self.read(self.path(what), range, size, Some(claim)).await
    }

    fn folder(&self) -> Option<&Path> {
        self.kind.folder()
    }
}

#[cfg(test)]
impl<P: Paths> PathSource<P> {
    pub(crate) async fn whole_at(&self, path: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        self.kind.whole(path, limit).await
    }
}
