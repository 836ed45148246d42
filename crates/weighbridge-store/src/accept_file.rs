//! All chunks of a local file, on all cores.

use std::{
    fs::File,
    io,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use weighbridge_verify::{FileVerifier, PageBuffer};

use crate::io::read_exact_at;

/// Reads a local file and accepts whatever chunks of it are good, on all cores. Then the verifier knows which are there,
/// and [`finish`](FileVerifier::finish) whether that is all of them.
///
/// `progress` is told of each chunk that was read, by its length, from several threads.
///
/// # Guarantee
/// An accepted chunk was read once, and accepted from the buffer into which it was read (rule 10).
///
/// # Non-guarantee
/// A chunk that is not good is no error: a hole reads as zeros, a torn write as anything. Bytes behind the signed length
/// are not looked at. What the file holds after it was read nobody knows.
///
/// # Errors
/// The error of the operating system. Chunks that were accepted before stay so.
///
/// # Cost
/// Reads and hashes the file once. A chunk of memory for each core.
pub fn accept_file(verifier: &FileVerifier, file: &File, progress: impl Fn(u64) + Sync) -> io::Result<()> {
    let grid = verifier.layer().grid();
    let next = AtomicU64::new(0);
    let work = || {
        let mut buffer = PageBuffer::new();
        // The counter hands out positions, and orders nothing.
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(range) = grid.range(index) else { return Ok(()) };
            let len = range.end.saturating_sub(range.start);
            buffer.resize(usize::try_from(len).unwrap_or(0));
            match read_exact_at(file, &mut buffer, range.start) {
                // A refusal says that it is not there.
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
