//! Files without a layer: verified as a whole, and released at the end or not at all.

use std::{
    fmt,
    io::{self, Read, Write},
    vec::Vec,
};

use weighbridge_manifest::{EntryPath, FileEntry, Proven, VerifiedFileList};
use weighbridge_tree::{ChainingValue, ChunkError, Coded, ErrorCode, FileRoot, Granule, Grid};

use crate::{
    page_buffer::PageBuffer,
    reader::read_some,
    released::{VerifiedFile, unit_of},
    stream::{Gather, LengthError, Run},
    verifier_error::VerifierError,
};

/// Verifies a file whose layer is lost or not published, from its bytes in order, in any splits.
///
/// Without a layer no byte is known to be good before the last one has come. Until then the bytes go to a *quarantine*:
/// a file under another name, a buffer, or [`io::sink`] if only the verdict is wanted.
///
/// # Guarantee
/// [`finish`](Self::finish) returns a [`VerifiedFile`] only if the bytes written to the quarantine, in this order, are
/// those of the signed file (rule 13). The quarantine is never given more bytes than the signed length.
///
/// # Non-guarantee
/// **The content of the quarantine is unverified until then.** After a refusal it stays unverified for ever: it must
/// not be read, and has to be thrown away (rule 2). Accepted content that is read again later is not verified by that
/// (rule 10): it may be put under its final name, and is opened like any other file of a model.
///
/// # Cost
/// One BLAKE3 pass, on one core. A buffer of 256 KiB and up to 2 MiB for hashes, for files up to 16 GiB; up to 16 MiB
/// and 2 MiB up to 1 TiB, and 2 MiB for each further TiB.
///
/// # Example
/// ```
/// use weighbridge_verify::{Coded, WholeFile};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (files, content) = (&sample.list, sample.bytes(0));
/// # let mut bad = content.to_vec();
/// # bad[20_000] ^= 1;
///
/// // A `Vec` is the quarantine here. For a large file it is a file under another name.
/// let mut quarantine = Vec::new();
/// let mut whole = WholeFile::new(files, 0, &mut quarantine)?;
/// for piece in content.chunks(1_500) {
///     whole.push(piece)?;
/// }
/// assert_eq!(whole.finish()?.path().as_str(), "model.bin");
/// assert_eq!(quarantine, content);
///
/// // Without a layer, wrong bytes are refused at the end, and all of the quarantine is thrown away.
/// let mut quarantine = Vec::new();
/// let mut whole = WholeFile::new(files, 0, &mut quarantine)?;
/// whole.push(&bad)?;
/// assert_eq!(whole.finish().unwrap_err().error_code().get(), 2101);
/// drop(quarantine);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct WholeFile<W> {
    position: usize,
    path: EntryPath,
    signed: FileRoot,
    grid: Grid,
    gather: Gather,
    /// The chaining value of each piece that came, if the file has more than one piece.
    values: Vec<ChainingValue>,
    /// The root of a file of at most one piece.
    only: Option<FileRoot>,
    quarantine: W,
    stopped: bool,
}

impl<W: Write> WholeFile<W> {
    /// Verifies the file at `position` of a list.
    ///
    /// # Errors
    /// [`VerifierError::NotWanted`]: the list has no such file.
    pub fn new(files: &VerifiedFileList, position: usize, quarantine: W) -> Result<Self, VerifierError> {
        let entry = files.entries().get(position).ok_or(VerifierError::NotWanted { position })?;
        Self::of_entry(position, entry, quarantine)
    }

    /// Verifies a file that a proof shows. `position` is the file's position in a list that the caller does not have.
    ///
    /// # Errors
    /// [`VerifierError::NotWanted`]: the proof shows no such file.
    pub fn of_proven(proven: &Proven, position: usize, quarantine: W) -> Result<Self, VerifierError> {
        let shown = |(at, _): &&(u64, FileEntry)| usize::try_from(*at) == Ok(position);
        let (_, entry) = proven.files().iter().find(shown).ok_or(VerifierError::NotWanted { position })?;
        Self::of_entry(position, entry, quarantine)
    }

    fn of_entry(position: usize, entry: &FileEntry, quarantine: W) -> Result<Self, VerifierError> {
        // Never fails: sizes of verified entries are below 2^53, the limit of a grid.
        let grid = Grid::new(entry.size, piece_of(entry.size));
        let grid = grid.map_err(|_| VerifierError::NotWanted { position })?;
        Ok(Self {
            position,
            path: entry.path.clone(),
            signed: entry.root,
            grid,
            gather: Gather::new(Run::whole(grid)),
            values: Vec::new(),
            only: grid.is_empty().then(|| FileRoot::of(&[])),
            quarantine,
            stopped: false,
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`WholeError`]: there are more bytes than the signed length (2103), or the quarantine cannot be written to
    /// (9002). The verification has then failed, and takes nothing more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), WholeError> {
        if self.stopped {
            return Err(WholeError::Stopped);
        }
        self.stopped = true;
        self.take(bytes)?;
        self.stopped = false;
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), WholeError> {
        while !bytes.is_empty() {
            let Some((index, piece, behind)) = self.gather.next(bytes).map_err(WholeError::Length)? else {
                break;
            };
            // Hash and write the same buffer (rule 10).
            if self.grid.has_layer() {
                self.values.push(self.grid.chaining_value(index, piece).map_err(WholeError::Piece)?);
            } else {
                self.only = Some(FileRoot::of(piece));
            }
            self.quarantine.write_all(piece).map_err(WholeError::Quarantine)?;
            self.gather.advance();
            bytes = behind;
        }
        Ok(())
    }

    /// Takes everything that a source has, and verifies the file.
    ///
    /// # Errors
    /// [`WholeError`]: the errors of [`push`](Self::push) and [`finish`](Self::finish), and if the source cannot be
    /// read (9002).
    pub fn take_all(mut self, mut source: impl Read) -> Result<VerifiedFile, WholeError> {
        // The buffer has the length of a piece and is filled before it is used, so that no piece is copied.
        let mut buffer = PageBuffer::zeroed(unit_of(self.grid));
        loop {
            let mut filled = 0_usize;
            while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
                match read_some(&mut source, room).map_err(WholeError::Source)? {
                    0 => break,
                    read => filled = filled.saturating_add(read).min(buffer.len()),
                }
            }
            self.push(buffer.get(..filled).unwrap_or_default())?;
            if filled < buffer.len() {
                return self.finish();
            }
        }
    }

    /// Ends the file, flushes the quarantine, and returns the verified file if its bytes are the signed ones.
    ///
    /// # Errors
    /// [`WholeError`]: bytes are missing (2103), they are not the signed ones (2101), the quarantine cannot be flushed
    /// (9002), or an earlier call failed.
    pub fn finish(mut self) -> Result<VerifiedFile, WholeError> {
        if self.stopped {
            return Err(WholeError::Stopped);
        }
        self.gather.finish().map_err(WholeError::Length)?;
        let found = match self.only {
            None => self.grid.merge_root(&self.values).ok(),
            only => only,
        };
        if found != Some(self.signed) {
            return Err(WholeError::Mismatch { expected: self.signed });
        }
        self.quarantine.flush().map_err(WholeError::Quarantine)?;
        Ok(VerifiedFile::new(self.position, self.path, self.grid.len(), self.signed))
    }
}

/// Verifies the file at `position` of a list, without a layer, from everything that a source has.
///
/// # Guarantee, non-guarantee, cost
/// Those of [`WholeFile`]. **The content of the quarantine is unverified until this returns a [`VerifiedFile`].**
///
/// # Errors
/// [`WholeError`]: the list has no such file; the source's length is not the signed one (2103), the source cannot be
/// read (9002), or is not the signed file (2101); the quarantine cannot be written to (9002).
///
/// # Example
/// ```
/// use std::io;
/// use weighbridge_verify::{Coded, verify_whole};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (files, content) = (&sample.list, sample.bytes(0));
///
/// let mut quarantine = Vec::new();
/// let file = verify_whole(files, 0, content, &mut quarantine)?;
/// assert_eq!((file.size(), quarantine.as_slice()), (40_000, content));
///
/// // Only the verdict is wanted here, of a source that ends early.
/// let refused = verify_whole(files, 0, &content[..39_999], io::sink()).unwrap_err();
/// assert_eq!(refused.error_code().get(), 2103);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_whole(
    files: &VerifiedFileList,
    position: usize,
    source: impl Read,
    quarantine: impl Write,
) -> Result<VerifiedFile, WholeError> {
    WholeFile::new(files, position, quarantine).map_err(WholeError::Entry)?.take_all(source)
}

/// The size of the pieces that are hashed one by one: a power of two, within bounds. A file of up to 1 TiB has at most
/// 2^16 pieces.
fn piece_of(size: u64) -> Granule {
    let bytes =
        size.div_ceil(1 << 16).checked_next_power_of_two().unwrap_or(MAX_PIECE).clamp(MIN_PIECE, MAX_PIECE);
    Granule::new(bytes).unwrap_or(Granule::MIN)
}

const MIN_PIECE: u64 = 1 << 18;
const MAX_PIECE: u64 = 1 << 24;

impl<W> fmt::Debug for WholeFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WholeFile");
        shown.field("position", &self.position).field("path", &self.path).field("stopped", &self.stopped);
        shown.finish_non_exhaustive()
    }
}

/// The reason why a file was not verified as a whole. The content of the quarantine has to be thrown away.
#[non_exhaustive]
#[derive(Debug)]
pub enum WholeError {
    /// There is no such file to verify.
    Entry(VerifierError),
    /// The bytes do not end where the signed ones end.
    Length(LengthError),
    /// The bytes are not those of the file.
    Mismatch {
        /// The signed root.
        expected: FileRoot,
    },
    /// The source cannot be read.
    Source(io::Error),
    /// The quarantine cannot be written to.
    Quarantine(io::Error),
    /// A piece could not be hashed. Data never causes this error.
    Piece(ChunkError),
    /// Bytes were pushed after an error. The caller's fault.
    Stopped,
}

impl Coded for WholeError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Entry(error) => error.error_code(),
            Self::Length(fault) => fault.error_code(),
            Self::Mismatch { .. } => ErrorCode::FILE_MISMATCH,
            Self::Source(_) | Self::Quarantine(_) => ErrorCode::IO,
            Self::Piece(_) | Self::Stopped => ErrorCode::BUG,
        }
    }
}

impl fmt::Display for WholeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(error) => error.fmt(f),
            Self::Length(fault) => fault.fmt(f),
            Self::Mismatch { .. } => f.write_str("data does not match the signed root"),
            Self::Source(error) => write!(f, "cannot read the source: {error}"),
            Self::Quarantine(error) => write!(f, "cannot write to the quarantine: {error}"),
            Self::Piece(fault) => fault.fmt(f),
            Self::Stopped => f.write_str("API misuse: the file was refused already"),
        }
    }
}

impl std::error::Error for WholeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error) | Self::Quarantine(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_hashes_is_bounded_up_to_a_tebibyte() {
        let pieces = |size: u64| (piece_of(size).bytes(), size.div_ceil(piece_of(size).bytes()));
        assert_eq!(pieces(0), (1 << 18, 0));
        assert_eq!(pieces(1 << 34), (1 << 18, 1 << 16));
        for size in [(1 << 34) + 1, (1 << 35) - 1, 1 << 35, (1 << 40) - 1, 1 << 40] {
            let (bytes, count) = pieces(size);
            assert!((1 << 18..=1 << 24).contains(&bytes) && count <= 1 << 16, "{size}: {count} of {bytes}");
        }
        // 2 MiB of hashes for each further TiB.
        assert_eq!(pieces(1 << 43), (1 << 24, 1 << 19));
        assert_eq!(pieces((1 << 53) - 1), (1 << 24, 1 << 29));
    }
}
