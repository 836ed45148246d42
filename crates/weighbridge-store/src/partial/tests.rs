use std::fs;

use tempfile::TempDir;
use weighbridge_testkit::{CHUNK, Sample};
use weighbridge_verify::PageBuffer;

use super::*;
use crate::destination::Destination;

const FILES: [(&str, usize); 2] = [("a", 100_000), ("b", 50_000)];

fn place() -> (TempDir, Destination, Sample) {
    let place = tempfile::tempdir().unwrap();
    let destination = Destination::open(place.path()).unwrap();
    (place, destination, Sample::of(&FILES, 1))
}

fn partial(destination: &Destination, sample: &Sample, file: usize) -> PartialFile {
    destination.partial(sample.root(file), sample.size(file)).unwrap()
}

fn write(partial: &PartialFile, sample: &Sample, file: usize, chunks: Range<u64>) -> Result<(), StoreError> {
    let first = chunks.start;
    let run = sample.verifier(file).accept_run(first, sample.chunks(file, chunks)).unwrap();
    partial.write(&run)
}

#[test]
fn is_a_hole_of_the_signed_length() {
    let place = tempfile::tempdir().unwrap();
    let destination = Destination::open(place.path()).unwrap();
    let root = FileRoot::of(b"of a file that nobody has");
    let partial = destination.partial(root, 1 << 40).unwrap();
    let metadata = fs::metadata(place.path().join(PARTIAL).join(root.to_string())).unwrap();
    assert_eq!(metadata.len(), 1 << 40);
    #[cfg(unix)]
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) < 1_000);
    assert!(partial.extents().unwrap().iter().map(|part| part.end - part.start).sum::<u64>() < 1 << 30);
    let mut bytes = [1; 100];
    partial.read_at(&mut bytes, 1 << 39).unwrap();
    assert_eq!(bytes, [0; 100]);
}

#[test]
fn holds_what_was_written_at_its_place() {
    let (_place, destination, sample) = place();
    let partial = partial(&destination, &sample, 0);
    write(&partial, &sample, 0, 2..4).unwrap();
    write(&partial, &sample, 0, 6..7).unwrap();
    destination.sync(&[&partial]).remove(0).unwrap();
    let mut bytes = PageBuffer::zeroed(100_000);
    bytes.fill(9);
    partial.read_at(&mut bytes, 0).unwrap();
    let at = |chunk: u64| usize::try_from(chunk * CHUNK).unwrap();
    assert!(bytes[..at(2)].iter().chain(&bytes[at(4)..at(6)]).all(|byte| *byte == 0));
    assert_eq!(bytes[at(2)..at(4)], sample.bytes(0)[at(2)..at(4)]);
    assert_eq!(bytes[at(6)..], sample.bytes(0)[at(6)..]);
    let extents = partial.extents().unwrap();
    assert!((2 * CHUNK..4 * CHUNK).step_by(512).all(|at| extents.iter().any(|part| part.contains(&at))));
}

#[test]
fn takes_no_chunks_of_another_file() {
    let (place, destination, sample) = place();
    let partial = partial(&destination, &sample, 0);
    assert!(write(&partial, &sample, 1, 0..1).is_err());
    assert!(write(&partial, &sample, 1, 1..2).is_err());
    let there = fs::read(place.path().join(partial.path())).unwrap();
    assert!(there.iter().all(|byte| *byte == 0));
}

#[test]
fn takes_no_chunk_past_a_length_that_is_not_its_own() {
    let (place, destination, sample) = place();
    let partial = destination.partial(sample.root(0), CHUNK + 1).unwrap();
    write(&partial, &sample, 0, 0..1).unwrap();
    assert!(write(&partial, &sample, 0, 1..2).is_err());
    assert_eq!(fs::metadata(place.path().join(partial.path())).unwrap().len(), CHUNK + 1);
}

#[test]
fn is_found_again_with_what_is_in_it() {
    let (place, destination, sample) = place();
    write(&partial(&destination, &sample, 0), &sample, 0, 1..3).unwrap();
    drop(destination);
    let destination = Destination::open(place.path()).unwrap();
    let mut bytes = PageBuffer::zeroed(usize::try_from(2 * CHUNK).unwrap());
    partial(&destination, &sample, 0).read_at(&mut bytes, CHUNK).unwrap();
    assert_eq!(&*bytes, sample.chunks(0, 1..3));
}

#[test]
fn gets_the_signed_length_whatever_it_had() {
    let (place, destination, sample) = place();
    let file = place.path().join(format!("{PARTIAL}/{}", sample.root(0)));
    for length in [0, 5, 99_999, 100_001, 1_000_000] {
        fs::write(&file, vec![7; length]).unwrap();
        let partial = partial(&destination, &sample, 0);
        let mut bytes = PageBuffer::zeroed(100_000);
        partial.read_at(&mut bytes, 0).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len(), 100_000);
        assert_eq!(bytes.iter().filter(|byte| **byte == 7).count(), length.min(100_000));
    }
}

#[test]
fn is_one_file_for_all_who_open_it() {
    let (place, first, sample) = place();
    let second = Destination::open(place.path()).unwrap();
    let (a, b) = (partial(&first, &sample, 0), partial(&second, &sample, 0));
    write(&a, &sample, 0, 0..3).unwrap();
    write(&b, &sample, 0, 2..7).unwrap();
    let mut bytes = PageBuffer::zeroed(100_000);
    a.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&*bytes, sample.bytes(0));
    assert_eq!(a.identity(), b.identity());
}

#[cfg(unix)]
#[test]
fn refuses_what_is_in_its_place() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let (place, destination, sample) = place();
    let file = place.path().join(format!("{PARTIAL}/{}", sample.root(0)));
    let mine = place.path().join("mine");
    let refused = |what: &str| {
        fs::write(&mine, b"mine").unwrap();
        let error = destination.partial(sample.root(0), 100_000).unwrap_err();
        assert!(matches!(error, StoreError::InTheWay { .. }), "{what}: {error}");
        assert_eq!(fs::read(&mine).unwrap(), b"mine", "{what}");
        if file.is_dir() { fs::remove_dir(&file).unwrap() } else { fs::remove_file(&file).unwrap() }
    };
    fs::create_dir(&file).unwrap();
    refused("folder");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    refused("fifo");
    std::os::unix::fs::symlink(&mine, &file).unwrap();
    refused("link");
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    refused("link to nothing");
    fs::write(&mine, b"mine").unwrap();
    fs::hard_link(&mine, &file).unwrap();
    refused("second name");
    partial(&destination, &sample, 0);
}

/// A disk whose first sync of a file does not end before it is told to.
#[derive(Debug)]
struct Slow {
    file: File,
    begun: std::sync::Barrier,
    ends: std::sync::Barrier,
    syncs: AtomicU64,
}

impl DiskFile for Slow {
    fn file(&self) -> &File {
        &self.file
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        DiskFile::set_len(&self.file, len)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        DiskFile::write_at(&self.file, bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        if self.syncs.fetch_add(1, SeqCst) == 0 {
            self.begun.wait();
            self.ends.wait();
        }
        Ok(())
    }
}

/// Two threads sync one file. The second was told at once that its chunk is durable, while the first was still syncing it.
#[test]
fn a_sync_that_another_thread_has_begun_is_not_believed_to_have_ended() {
    let (_place, destination, sample) = place();
    let quarantine = destination.quarantine(sample.root(0)).unwrap();
    let partial = quarantine.release(sample.size(0)).unwrap();
    let file = File::options().read(true).write(true).open(partial.sparse.place.clone()).unwrap();
    let barrier = || std::sync::Barrier::new(2);
    let slow = Arc::new(Slow { file, begun: barrier(), ends: barrier(), syncs: 0.into() });
    let site = Arc::clone(&partial.site);
    let partial = PartialFile::named(&site, sample.root(0), sample.size(0), Arc::<Slow>::clone(&slow));
    write(&partial, &sample, 0, 0..1).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| partial.sync_bytes());
        slow.begun.wait();
        partial.sync_bytes().unwrap();
        assert_eq!(slow.syncs.load(SeqCst), 2, "the second thread has not synced");
        slow.ends.wait();
        first.join().unwrap().unwrap();
    });
    // Nothing is synced twice without a write in between.
    partial.sync_bytes().unwrap();
    assert_eq!(slow.syncs.load(SeqCst), 2);
}
