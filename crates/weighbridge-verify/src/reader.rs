//! A [`Read`] over an untrusted reader.

use std::{
    borrow::Borrow,
    fmt,
    io::{self, BufRead, ErrorKind, Read},
    ops::Range,
};

use weighbridge_tree::ChunkError;

use crate::{
    page_buffer::PageBuffer,
    stream::{LengthError, NoSuchRun, Run},
    verifier::FileVerifier,
};

/// Reads one file's bytes, in order, from an untrusted reader.
///
/// `V` is a [`FileVerifier`], or a reference or an `Arc` that leads to one. Several readers can share a verifier, each
/// with its own run of chunks.
///
/// # Guarantee
/// Every byte returned is of an accepted chunk (rule 2). The reader reports the end only if the inner reader ends
/// exactly behind the last chunk (rule 6).
///
/// # Non-guarantee
/// A caller that stops before the end knows nothing of the bytes that follow.
///
/// # Errors
/// As [`io::Error`], and again at each further read:
/// - of the kind [`InvalidData`](ErrorKind::InvalidData), with a [`ChunkError`] in it that names the chunk (2102),
/// - of the kind [`UnexpectedEof`](ErrorKind::UnexpectedEof), with [`LengthError::EndsEarly`] (2103),
/// - of the kind [`InvalidData`](ErrorKind::InvalidData), with [`LengthError::GoesOn`] (2103).
///
/// Errors of the inner reader are passed on, and no bytes are lost: the next read goes on at the same place.
///
/// # Cost
/// Memory of one chunk, a copy of each byte, and the cost of [`FileVerifier::accept`]. Reads through [`BufRead`] do not
/// copy. At the end the reader asks for one byte more. If the source neither sends that byte nor ends, the last read
/// waits.
///
/// # Example
/// ```
/// use std::io::{ErrorKind, Read};
/// use weighbridge_verify::VerifyingReader;
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (verifier, content) = (sample.verifier(0), sample.bytes(0));
/// # let mut bad = content.to_vec();
/// # bad[20_000] ^= 1;
///
/// // `verifier` is the file's verifier; `content` stands for a connection or any other reader.
/// let mut read = Vec::new();
/// VerifyingReader::new(verifier, content).read_to_end(&mut read)?;
/// assert_eq!(read, content);
///
/// // Of bytes that are wrong in the second of three chunks, only the first chunk is given.
/// let mut read = Vec::new();
/// let mut reader = VerifyingReader::new(verifier, &bad[..]);
/// let error = reader.read_to_end(&mut read).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidData);
/// assert_eq!((read.as_slice(), reader.next()), (&content[..16_384], 1));
///
/// // So is a file that ends early.
/// let error = VerifyingReader::new(verifier, &content[..39_999]).read_to_end(&mut read).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct VerifyingReader<V, R> {
    verifier: V,
    reader: R,
    run: Run,
    /// The bytes of the next chunk read so far, or those of an accepted chunk.
    buffer: PageBuffer,
    /// The number of bytes of the next chunk that were read. 0 while accepted bytes are in the buffer.
    filled: usize,
    /// The accepted bytes of the buffer that were not returned yet.
    ready: Range<usize>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Reading,
    AtEnd,
    Chunk(ChunkError),
    Length(LengthError),
}

impl<V: Borrow<FileVerifier>, R: Read> VerifyingReader<V, R> {
    /// Reads a file from its beginning to its end.
    pub fn new(verifier: V, reader: R) -> Self {
        let run = Run::whole(verifier.borrow().layer().grid());
        Self::over(verifier, reader, run)
    }

    /// Reads a run of at least one chunk. The first byte of `reader` is the first byte of chunk `chunks.start`, its
    /// last byte the last one of chunk `chunks.end - 1`.
    ///
    /// # Errors
    /// [`NoSuchRun`]: the range is empty, reversed, or past the file's end.
    pub fn of_run(verifier: V, chunks: Range<u64>, reader: R) -> Result<Self, NoSuchRun> {
        let run = Run::of(verifier.borrow().layer().grid(), chunks)?;
        Ok(Self::over(verifier, reader, run))
    }

    fn over(verifier: V, reader: R, run: Run) -> Self {
        Self {
            verifier,
            reader,
            run,
            buffer: PageBuffer::new(),
            filled: 0,
            ready: 0..0,
            state: State::Reading,
        }
    }

    /// The position of the first chunk that this reader did not accept. After a refusal, another source continues from
    /// here.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.run.next()
    }

    /// The inner reader. Bytes that were read ahead of the caller, less than a chunk and a byte, are lost.
    #[must_use]
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Reads and accepts the next chunk, or checks that the inner reader ends.
    fn advance(&mut self) -> io::Result<()> {
        match &self.state {
            State::Reading => {}
            State::AtEnd => return Ok(()),
            State::Chunk(fault) => return Err(invalid(fault)),
            State::Length(fault) => return Err(fault.clone().into()),
        }
        let Some((index, len)) = self.run.wanted() else { return self.expect_end() };
        // At most 16 MiB, the largest chunk. Bytes read before an error of the inner reader stay in the buffer.
        self.buffer.resize(len);
        while let Some(room) = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty()) {
            match read_some(&mut self.reader, room)? {
                0 => return self.refuse_length(self.run.ends_early(self.filled)),
                // A faulty reader may report more bytes than it had room for. The loop then ends, and the chunk is
                // checked.
                read => self.filled = self.filled.saturating_add(read),
            }
        }
        if let Err(fault) = self.verifier.borrow().accept(index, &self.buffer) {
            let error = invalid(&fault);
            self.state = State::Chunk(fault);
            return Err(error);
        }
        self.run.advance();
        self.filled = 0;
        self.ready = 0..len;
        Ok(())
    }

    fn expect_end(&mut self) -> io::Result<()> {
        if read_some(&mut self.reader, &mut [0])? > 0 {
            return self.refuse_length(self.run.goes_on());
        }
        self.state = State::AtEnd;
        Ok(())
    }

    fn refuse_length(&mut self, fault: LengthError) -> io::Result<()> {
        self.state = State::Length(fault.clone());
        Err(fault.into())
    }
}

impl<V: Borrow<FileVerifier>, R: Read> BufRead for VerifyingReader<V, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ready.is_empty() {
            self.advance()?;
        }
        Ok(self.buffer.get(self.ready.clone()).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.ready.start = self.ready.start.saturating_add(amount);
    }
}

impl<V: Borrow<FileVerifier>, R: Read> Read for VerifyingReader<V, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// Shows neither the inner reader nor any byte of the buffer.
impl<V: Borrow<FileVerifier>, R> fmt::Debug for VerifyingReader<V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifyingReader");
        shown.field("verifier", self.verifier.borrow()).field("next", &self.run.next());
        shown.field("state", &self.state).finish_non_exhaustive()
    }
}

impl From<LengthError> for io::Error {
    fn from(fault: LengthError) -> Self {
        let kind = match fault {
            LengthError::EndsEarly { .. } => ErrorKind::UnexpectedEof,
            LengthError::GoesOn { .. } => ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}

fn invalid(fault: &ChunkError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, fault.clone())
}

/// One read, repeated while it is interrupted.
pub(crate) fn read_some(reader: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
