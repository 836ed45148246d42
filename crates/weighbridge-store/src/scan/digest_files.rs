//! Computes one digest of each file, and nothing else.

use std::{
    cmp::Reverse,
    sync::atomic::{AtomicUsize, Ordering},
};

use weighbridge_manifest::{DigestKind, ListedDigest};
use weighbridge_verify::PageBuffer;

use super::{Digester, ScanError, check_unchanged, open, unread};
use crate::{io::read_exact_at, place::Place};

/// A file whose digest is wanted.
#[derive(Clone, Debug)]
pub struct DigestJob {
    /// The file to open: the target, if the path in the model is a link.
    pub file: Place,
    /// The length in bytes that the file must have.
    pub size: u64,
    /// The digest to compute.
    pub kind: DigestKind,
}

/// Reads all files once, on all threads of the current rayon pool, and computes the digest of each.
///
/// One thread reads a file from beginning to end, the largest files first. `read` is told of each number of further bytes
/// that was read, and `done` the result of each job; both are called from many threads, and jobs end in any order.
///
/// # Cost
/// One pass of the digest over all bytes. A buffer of 64 KiB for each thread.
///
/// # Example
/// ```
/// use std::sync::Mutex;
/// use weighbridge_store::{scan::{DigestJob, digest_files}, walk};
/// use weighbridge_manifest::DigestKind;
/// # let folder = weighbridge_testkit::Folder::with(&[("hello.txt", b"hello\n")]);
/// # let model = folder.path();
///
/// let found = walk(model)?.files.into_iter();
/// let jobs: Vec<_> =
///     found.map(|f| DigestJob { file: f.file, size: f.size, kind: DigestKind::GitBlob }).collect();
/// let ids = Mutex::new(Vec::new());
/// digest_files(&jobs, &|_| {}, &|_, result| ids.lock().unwrap().push(result.unwrap().to_string()));
/// // What `git hash-object` prints.
/// assert_eq!(*ids.lock().unwrap(), ["git-blob:ce013625030ba8dba906f756967f9e9ca394464a"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn digest_files(
    jobs: &[DigestJob],
    read: &(dyn Fn(u64) + Sync),
    done: &(dyn Fn(usize, Result<ListedDigest, ScanError>) + Sync),
) {
    let mut order: Vec<(usize, &DigestJob)> = jobs.iter().enumerate().collect();
    // A large file that comes last would keep one core busy alone.
    order.sort_by_key(|(_, job)| Reverse(job.size));
    let next = AtomicUsize::new(0);
    rayon::broadcast(|_| {
        let mut buffer = PageBuffer::new();
        while let Some((index, job)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            done(*index, job.digest(&mut buffer, read));
        }
    });
}

impl DigestJob {
    fn digest(
        &self,
        buffer: &mut PageBuffer,
        read: &(dyn Fn(u64) + Sync),
    ) -> Result<ListedDigest, ScanError> {
        let path = self.file.to_path_buf();
        let (file, stamp) = open(&self.file, self.size, &path)?;
        let mut digester = Digester::new(self.kind, self.size);
        let mut at = 0;
        while at < self.size {
            let length = self.size.saturating_sub(at).min(PIECE);
            buffer.resize(usize::try_from(length).unwrap_or(0));
            read_exact_at(&file, buffer, at).map_err(|error| unread(error, &path))?;
            digester.update(buffer);
            at = at.saturating_add(length);
            read(length);
        }
        check_unchanged(&file, &stamp, &path)?;
        digester.finish()
    }
}

/// The number of bytes read at once. They are hashed from the nearest cache of a core: 256 KiB cost a quarter more.
const PIECE: u64 = 1 << 16;
