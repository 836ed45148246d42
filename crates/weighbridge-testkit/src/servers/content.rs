//! The bytes of an answer: those of a file, as faults change them.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::Path,
};

/// A file as it is served.
pub(super) struct Content {
    source: Source,
    /// The number of bytes that the file appears to have.
    pub(super) length: u64,
    edits: Vec<(Edit, Range<u64>)>,
}

enum Source {
    File(File),
    Memory(Vec<u8>),
}

/// A change of the file's bytes.
pub(super) enum Edit {
    Flip,
    Zeros,
    Garbage,
    Other(File),
    Swapped(u64),
}

impl Content {
    /// Opens a file; `None` if there is none.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Self { length: metadata.len(), source: Source::File(file), edits: Vec::new() })
    }

    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let length = u64::try_from(bytes.len()).unwrap();
        Self { source: Source::Memory(bytes), length, edits: Vec::new() }
    }

    /// Changes the bytes of this range when they are read.
    pub(super) fn edit(&mut self, edit: Edit, within: Range<u64>) {
        self.edits.push((edit, within));
    }

    /// Reads the bytes from `offset` on, with zeros behind the real end of the file.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) {
        self.source.read(offset, buffer);
        let end = offset + u64::try_from(buffer.len()).unwrap();
        for (edit, within) in &self.edits {
            let (from, to) = (within.start.max(offset), within.end.min(end));
            if from < to {
                let part = &mut buffer[index(from - offset)..index(to - offset)];
                match edit {
                    Edit::Flip if from > within.start => {}
                    Edit::Flip => part[0] ^= 1,
                    Edit::Zeros => part.fill(0),
                    Edit::Garbage => (from..).zip(part).for_each(|(at, byte)| *byte = random(at)),
                    Edit::Other(file) => read(file, from, part),
                    Edit::Swapped(chunk) => self.swap(*chunk, from, part),
                }
            }
        }
    }

    fn swap(&self, chunk: u64, mut offset: u64, mut part: &mut [u8]) {
        while !part.is_empty() {
            let (number, within) = (offset / chunk, offset % chunk);
            let (now, rest) = part.split_at_mut(part.len().min(index(chunk - within)));
            let other = (number ^ 1) * chunk;
            if (number | 1) * chunk + chunk <= self.length {
                self.source.read(other + within, now);
            }
            offset += u64::try_from(now.len()).unwrap();
            part = rest;
        }
    }
}

impl Source {
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        match self {
            Self::File(file) => read(file, offset, buffer),
            Self::Memory(bytes) => {
                let from = bytes.get(index(offset)..).unwrap_or_default();
                let there = from.len().min(buffer.len());
                buffer[..there].copy_from_slice(&from[..there]);
                buffer[there..].fill(0);
            }
        }
    }
}

/// Reads the file, and zeros behind its end: a file may have been cut since its length was read.
fn read(mut file: &File, offset: u64, buffer: &mut [u8]) {
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut there = 0;
    while there < buffer.len() {
        match file.read(&mut buffer[there..]) {
            Ok(0) => break,
            Ok(count) => there += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("a served file cannot be read: {error}"),
        }
    }
    buffer[there..].fill(0);
}

fn random(at: u64) -> u8 {
    let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()[7]
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
