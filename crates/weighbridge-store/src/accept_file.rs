//! Accepts the chunks of a local file, on all cores.

use std::{
    fs::File,
    io, iter,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use weighbridge_tree::ChunkError;
use weighbridge_verify::{FileVerifier, PageBuffer};

use crate::io::read_exact_at;

/// Reads a local file on all cores and accepts every chunk that is as signed.
///
/// Afterwards the verifier knows which chunks are present, and [`finish`](FileVerifier::finish) tells whether all of
/// them are.
///
/// `progress` is called once for each chunk, with the chunk's length in bytes, from several threads.
///
/// # Guarantee
/// Each accepted chunk was read once, and was accepted from the buffer into which it was read (rule 10).
///
/// # Non-guarantee
/// A chunk that differs from the signed one is no error: a hole reads as zeros, a torn write as arbitrary bytes.
/// Bytes behind the signed length are not looked at. Later changes of the file are not noticed.
///
/// # Errors
/// The error of the operating system. Chunks that were accepted before the error stay accepted.
///
/// # Cost
/// Reads and hashes the file once. Holds one chunk in memory for each core.
///
/// # Example
/// ```
/// use std::fs::File;
/// use weighbridge_store::accept_file;
/// # use weighbridge_testkit::{Folder, Sample};
/// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
/// # let (verifier, content) = (sample.verifier(0), sample.bytes(0));
/// # let folder = Folder::with(&[("model.bin", content)]);
/// # folder.alter("model.bin", |bytes| bytes[16_384..32_768].fill(0));
///
/// // An earlier download has left a hole in place of the second of three chunks.
/// accept_file(verifier, &File::open(folder.at("model.bin"))?, |_bytes| {})?;
/// let missing: Vec<_> = verifier.missing().collect();
/// assert_eq!(missing, [1..2]);
///
/// // So only that chunk has to be fetched.
/// assert!(verifier.accept(1, &content[16_384..32_768]).is_ok());
/// assert!(verifier.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn accept_file(verifier: &FileVerifier, file: &File, progress: impl Fn(u64) + Sync) -> io::Result<()> {
    let count = verifier.count();
    let next = AtomicU64::new(0);
    let work = || {
        // `Relaxed` suffices: the counter hands out positions, and orders no other memory.
        let mine = iter::from_fn(|| Some(next.fetch_add(1, Relaxed)).filter(|index| *index < count));
        // A refused chunk counts as absent.
        accept_chunks(verifier, file, mine, |len, _| progress(len))
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(usize::try_from(count).unwrap_or(usize::MAX));
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().fold(mine, |result, other| {
            result.and(other.join().unwrap_or_else(|_| Err(io::Error::other("a thread has ended"))))
        })
    })
}

/// Reads chunks of a local file on the calling thread, and accepts each that is as signed. Chunks that the file does not have
/// are passed over.
///
/// `tell` is called once for each chunk, with its length in bytes and the verdict. A file that ends before the end of the chunk
/// gives a chunk of another length.
///
/// # Guarantee, non-guarantee
/// Those of [`accept_file`].
///
/// # Errors
/// The error of the operating system. Chunks that were accepted before the error stay accepted.
///
/// # Cost
/// Reads and hashes each chunk once. Holds one chunk in memory.
///
/// # Example
/// ```
/// use std::fs::File;
/// use weighbridge_store::accept_chunks;
/// # use weighbridge_testkit::{Folder, Sample};
/// # let sample = Sample::of(&[("model.bin", 40_000)], 1);
/// # let (verifier, content) = (sample.verifier(0), sample.bytes(0));
/// # let folder = Folder::with(&[("model.bin", content)]);
/// # folder.alter("model.bin", |bytes| bytes[16_384..32_768].fill(0));
///
/// // The second of three chunks is not as signed.
/// let mut bad = Vec::new();
/// accept_chunks(verifier, &File::open(folder.at("model.bin"))?, 0..2, |_, verdict| bad.extend(verdict.err()))?;
/// assert_eq!(bad.len(), 1);
/// assert_eq!(verifier.missing().collect::<Vec<_>>(), [1..3], "and nobody has looked at the third");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn accept_chunks(
    verifier: &FileVerifier,
    file: &File,
    chunks: impl IntoIterator<Item = u64>,
    mut tell: impl FnMut(u64, Result<(), ChunkError>),
) -> io::Result<()> {
    let grid = verifier.layer().grid();
    let mut buffer = PageBuffer::new();
    for index in chunks {
        let Some(range) = grid.range(index) else { continue };
        let len = range.end.saturating_sub(range.start);
        buffer.resize(usize::try_from(len).unwrap_or(0));
        let bytes: &[u8] = match read_exact_at(file, &mut buffer, range.start) {
            Ok(()) => &buffer,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => &[],
            Err(error) => return Err(error),
        };
        tell(len, verifier.accept(index, bytes).map(drop));
    }
    Ok(())
}
