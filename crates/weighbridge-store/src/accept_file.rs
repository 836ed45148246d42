//! Accepts the chunks of a local file, on all cores.

use std::{
    fs::File,
    io,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

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
    let grid = verifier.layer().grid();
    let next = AtomicU64::new(0);
    let work = || {
        let mut buffer = PageBuffer::new();
        // `Relaxed` suffices: the counter hands out positions, and orders no other memory.
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(range) = grid.range(index) else { return Ok(()) };
            let len = range.end.saturating_sub(range.start);
            buffer.resize(usize::try_from(len).unwrap_or(0));
            match read_exact_at(file, &mut buffer, range.start) {
                // A refused chunk counts as absent.
                Ok(()) => drop(verifier.accept(index, &buffer)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
            progress(len);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(usize::try_from(grid.count()).unwrap_or(usize::MAX));
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().fold(mine, |result, other| {
            result.and(other.join().unwrap_or_else(|_| Err(io::Error::other("a thread has ended"))))
        })
    })
}
