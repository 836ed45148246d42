//! A sink for the bytes of one file, in any splits.

use core::{borrow::Borrow, fmt, ops::Range};

use weighbridge_tree::{ChunkError, Coded, ErrorCode};

use crate::{
    released::VerifiedChunk,
    stream::{Gather, LengthError, NoSuchRun, Run},
    verifier::FileVerifier,
};

/// Takes a file's bytes in order and in any splits, and hands each accepted chunk to a handler.
///
/// `V` is a [`FileVerifier`], or a reference or an `Arc` that leads to one. Several sinks can share a verifier, each
/// with its own run of chunks. With the feature `std`, a sink whose handler returns an [`io::Result`](std::io::Result)
/// is a [`Write`](std::io::Write).
///
/// # Guarantee
/// The handler sees accepted chunks only (rule 2), each once and in order. It sees no chunk from the first refused one
/// on.
///
/// # Non-guarantee
/// A run may be incomplete until [`finish`](Self::finish) returns `Ok`.
///
/// # Cost
/// The cost of [`FileVerifier::accept`]. A chunk that lies in the pushed bytes as a whole is checked and handed on in
/// place. Other chunks are gathered first, in memory of one chunk.
///
/// # Example
/// ```
/// use std::convert::Infallible;
/// use weighbridge_verify::{ChunkSink, ErrorCode, FileVerifier, VerifiedChunk};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (verifier, content) = (sample.verifier(0), sample.bytes(0));
/// # let mut bad = content.to_vec();
/// # bad[20_000] ^= 1;
///
/// let mut kept = Vec::new();
/// let mut keep = |chunk: VerifiedChunk<'_>| {
///     kept.extend_from_slice(chunk.bytes());
///     Ok::<_, Infallible>(())
/// };
///
/// // A stream comes in any pieces. This one is wrong in the second of three chunks.
/// let mut first = ChunkSink::new(verifier, &mut keep);
/// let refused = bad.chunks(1_500).find_map(|piece| first.push(piece).err()).unwrap();
/// assert_eq!(refused.error_code().map(ErrorCode::get), Some(2102));
///
/// // Another source goes on where the first was refused.
/// let from = first.next();
/// let mut second = ChunkSink::of_run(verifier, from..verifier.count(), &mut keep)?;
/// second.push(sample.chunks(0, from..verifier.count()))?;
/// second.finish()?;
/// assert_eq!(kept, content);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct ChunkSink<V, F> {
    verifier: V,
    handler: F,
    gather: Gather,
    /// Set by the first refusal, and while `push` is at work, so that a handler that panics stops the sink too.
    stopped: bool,
}

impl<V, F, E> ChunkSink<V, F>
where
    V: Borrow<FileVerifier>,
    F: FnMut(VerifiedChunk<'_>) -> Result<(), E>,
{
    /// A sink for a whole file.
    pub fn new(verifier: V, handler: F) -> Self {
        let run = Run::whole(verifier.borrow().layer().grid());
        Self { verifier, handler, gather: Gather::new(run), stopped: false }
    }

    /// A sink for a run of at least one chunk. The first byte pushed is the first byte of chunk `chunks.start`.
    ///
    /// # Errors
    /// [`NoSuchRun`]: the range is empty, reversed, or past the file's end.
    pub fn of_run(verifier: V, chunks: Range<u64>, handler: F) -> Result<Self, NoSuchRun> {
        let run = Run::of(verifier.borrow().layer().grid(), chunks)?;
        Ok(Self { verifier, handler, gather: Gather::new(run), stopped: false })
    }

    /// Takes the next bytes: none, a part of a chunk, or many chunks.
    ///
    /// # Errors
    /// [`SinkError`]: a chunk is refused (2102), bytes follow the end (2103), or the handler fails. Earlier chunks were
    /// handed on; the sink takes nothing more. To continue with another source, make a new sink that begins at
    /// [`next`](Self::next). A chunk whose handler failed stays accepted, and the new sink accepts it again.
    ///
    /// # Panics
    /// Never, unless the handler does.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SinkError<E>> {
        if self.stopped {
            return Err(SinkError::Stopped);
        }
        self.stopped = true;
        self.take(bytes)?;
        self.stopped = false;
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), SinkError<E>> {
        while !bytes.is_empty() {
            let Some((index, chunk, behind)) = self.gather.next(bytes).map_err(SinkError::Length)? else {
                break;
            };
            let chunk = self.verifier.borrow().accept(index, chunk).map_err(SinkError::Chunk)?;
            (self.handler)(chunk).map_err(SinkError::Handler)?;
            self.gather.advance();
            bytes = behind;
        }
        Ok(())
    }

    /// The position of the first chunk that was not handed on.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.gather.run.next()
    }

    /// Ends the stream, and checks that the run is complete.
    ///
    /// # Guarantee
    /// Every chunk of the run was accepted and handed on.
    ///
    /// # Errors
    /// [`SinkError`]: bytes are missing (2103), or the sink was stopped before.
    pub fn finish(self) -> Result<(), SinkError<E>> {
        if self.stopped {
            return Err(SinkError::Stopped);
        }
        self.gather.finish().map_err(SinkError::Length)
    }
}

/// Takes all bytes or refuses them. `flush` does nothing: bytes of an incomplete chunk wait for the rest of the chunk.
#[cfg(feature = "std")]
impl<V, F> std::io::Write for ChunkSink<V, F>
where
    V: Borrow<FileVerifier>,
    F: FnMut(VerifiedChunk<'_>) -> std::io::Result<()>,
{
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        use std::io::{
            Error,
            ErrorKind::{Interrupted, InvalidData},
        };
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            // A caller would retry `Interrupted`, and then see the error of a stopped sink instead of this one.
            Err(SinkError::Handler(error)) if error.kind() == Interrupted => Err(Error::other(error)),
            Err(SinkError::Handler(error)) => Err(error),
            Err(SinkError::Chunk(fault)) => Err(Error::new(InvalidData, fault)),
            Err(SinkError::Length(fault)) => Err(fault.into()),
            Err(SinkError::Stopped) => Err(Error::other(SinkError::<Error>::Stopped)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<V: Borrow<FileVerifier>, F> fmt::Debug for ChunkSink<V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ChunkSink");
        shown.field("verifier", self.verifier.borrow()).field("next", &self.gather.run.next());
        shown.field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

/// The reason why a sink takes no more bytes. Its handler saw nothing from the fault on.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError<E> {
    /// A chunk is not the signed one.
    Chunk(ChunkError),
    /// The bytes do not end where the signed ones end.
    Length(LengthError),
    /// The handler's own error.
    Handler(E),
    /// Bytes were pushed after an error. The caller's fault.
    Stopped,
}

impl<E> SinkError<E> {
    /// The number in `spec/error-codes.md`; `None` for the handler's own error.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Chunk(fault) => Some(fault.error_code()),
            Self::Length(fault) => Some(fault.error_code()),
            Self::Handler(_) => None,
            Self::Stopped => Some(ErrorCode::BUG),
        }
    }
}

impl<E: fmt::Display> fmt::Display for SinkError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk(fault) => fault.fmt(f),
            Self::Length(fault) => fault.fmt(f),
            Self::Handler(error) => error.fmt(f),
            Self::Stopped => f.write_str("API misuse: the sink has refused already"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for SinkError<E> {}
