//! A sink for the bytes of one file, in whatever splits they come.

use core::{borrow::Borrow, fmt, ops::Range};

use weighbridge_tree::ChunkError;

use crate::{
    released::VerifiedChunk,
    stream::{Gather, LengthError, NoSuchRun, Run},
    verifier::FileVerifier,
};

/// Takes a file's bytes in order and in any splits, and hands each chunk on once it is accepted.
///
/// `V` is a [`FileVerifier`], or what leads to one: a reference, an `Arc`. Several sinks can share it, each with a run of
/// its own. With the feature `std` a sink whose handler gives an [`io::Result`](std::io::Result) is a
/// [`Write`](std::io::Write).
///
/// # Guarantee
/// The handler sees accepted chunks only (rule 2), each once, in order, and nothing from the first refused one on.
///
/// # Non-guarantee
/// That a run is whole before [`finish`](Self::finish) says so.
///
/// # Cost
/// That of [`FileVerifier::accept`]. A chunk that lies in the pushed bytes as a whole is checked and handed on where it
/// lies; others are gathered first, in memory of one chunk.
#[must_use]
pub struct ChunkSink<V, F> {
    verifier: V,
    handler: F,
    gather: Gather,
    /// Set by the first refusal, and while bytes are worked on: a handler that panics stops the sink too.
    stopped: bool,
}

impl<V, F, E> ChunkSink<V, F>
where
    V: Borrow<FileVerifier>,
    F: FnMut(VerifiedChunk<'_>) -> Result<(), E>,
{
    /// A sink for a file from its beginning to its end.
    pub fn new(verifier: V, handler: F) -> Self {
        let run = Run::whole(verifier.borrow().layer().grid());
        Self { verifier, handler, gather: Gather::new(run), stopped: false }
    }

    /// A sink for some neighbouring chunks, at least one. The first byte pushed is the first of chunk `chunks.start`.
    ///
    /// # Errors
    /// [`NoSuchRun`]: the range is empty, turned round, or past the file's end.
    pub fn of_run(verifier: V, chunks: Range<u64>, handler: F) -> Result<Self, NoSuchRun> {
        let run = Run::of(verifier.borrow().layer().grid(), chunks)?;
        Ok(Self { verifier, handler, gather: Gather::new(run), stopped: false })
    }

    /// Takes the next bytes: none, one, many chunks, parts of them.
    ///
    /// # Errors
    /// [`SinkError`]: a chunk is refused (2102), bytes come behind the end (2103), or the handler fails. Chunks before
    /// were handed on; the sink takes nothing more. Whoever has another source goes on with a new sink, from
    /// [`next`](Self::next). A chunk whose handler failed stays accepted, and will be again.
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

    /// Says that no more bytes come.
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

/// Takes all bytes or refuses; there is nothing to flush, since what is gathered waits for the rest of its chunk.
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
            // Whoever writes would try that again, and be told of misuse and not of the error.
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

/// Why a sink takes no more bytes. Nothing from there on was handed to its handler.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError<E> {
    /// A chunk is not the signed one.
    Chunk(ChunkError),
    /// The bytes end in another place than the signed one.
    Length(LengthError),
    /// The handler's own error.
    Handler(E),
    /// Bytes were pushed behind an error. The caller's fault.
    Stopped,
}

impl<E> SinkError<E> {
    /// The number in `spec/error-codes.md`; `None` for the handler's own error.
    #[must_use]
    pub fn error_code(&self) -> Option<u16> {
        match self {
            Self::Chunk(fault) => Some(fault.error_code()),
            Self::Length(fault) => Some(fault.error_code()),
            Self::Handler(_) => None,
            Self::Stopped => Some(9999),
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
