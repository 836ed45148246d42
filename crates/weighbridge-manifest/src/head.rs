//! The head's text, which a publisher signs.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use weighbridge_tree::{ChunkSize, Coded, ErrorCode, HeadId, MAX_ENTRIES, ModelRoot, TensorsRoot};

use crate::{
    cursor::canonical_number,
    lines::{LineFault, Lines, Misread},
    name::ModelName,
    time::Time,
};

/// The fields of a head. They are a claim until a [`VerifiedHead`](crate::VerifiedHead) holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The model's name.
    pub name: ModelName,
    /// The revision: 1 for the first, and one more for each later revision.
    pub revision: u64,
    /// The previous head; `None` for revision 1.
    pub previous: Option<HeadId>,
    /// The time at which the head was made, as stated by the publisher.
    pub created: Time,
    /// The time at which the head expires; `None` if never.
    pub expires: Option<Time>,
    /// The sum of all file sizes, in bytes.
    pub bytes: u64,
    /// The size of the file list.
    pub files: ListSize,
    /// The root of the model tree. It binds the file list.
    pub root: ModelRoot,
    /// The tensor list; `None` if the publisher did not look at tensors.
    pub tensors: Option<Tensors>,
    /// The unit of verification of files that are larger than it.
    pub chunk_size: ChunkSize,
    /// Further lines. They never change which data is accepted.
    pub ext: Vec<Ext>,
}

/// The size of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListSize {
    /// The number of lines.
    pub count: u64,
    /// The length in bytes.
    pub length: u64,
}

/// A head's description of its tensor list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensors {
    /// The size of the tensor list.
    pub list: ListSize,
    /// The root of the tensor tree. It binds the tensor list.
    pub root: TensorsRoot,
}

/// One `ext` line. The order of values is the required order of lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ext {
    /// The key: `[a-z0-9.-]{1,32}`.
    pub key: String,
    /// The value: printable ASCII, 1 to 256 characters, no space at either end.
    pub value: String,
}

impl Head {
    /// Reads a head's text.
    ///
    /// # Errors
    /// [`HeadError`], the first fault in the order of `spec/head.md`. Exactly one text exists for each head (rule 6).
    pub fn parse(text: &str) -> Result<Self, HeadError> {
        if text.len() > MAX_TEXT {
            return Err(HeadError { line: 0, fault: HeadFault::TooLong { bytes: text.len() } });
        }
        let mut lines = Lines::new(text);
        if lines.next() != Some(VERSION) {
            return Err(HeadError { line: lines.number(), fault: HeadFault::Version });
        }
        let name = lines.value("name", |v| ModelName::parse(v).ok())?;
        let revision = lines.value("revision", canonical_number)?;
        let previous = lines.value("previous", none_or(|v| HeadId::from_hex(v).ok()))?;
        let created = lines.value("created", |v| Time::parse(v).ok())?;
        let expires = lines.value("expires", |v| match v {
            "never" => Some(None),
            time => Time::parse(time).ok().map(Some),
        })?;
        let bytes = lines.value("bytes", canonical_number)?;
        let files = lines.value("files", |v| list_size(v).filter(|list| list.count > 0))?;
        let root = lines.value("root", |v| ModelRoot::from_hex(v).ok())?;
        let tensor_list = lines.value("tensors", none_or(list_size))?;
        let tensors_root = lines.value("tensors-root", none_or(|v| TensorsRoot::from_hex(v).ok()))?;
        let chunk_size = lines.value("chunk-size", |v| ChunkSize::new(canonical_number(v)?).ok())?;
        let ext = ext_lines(&mut lines)?;
        let tensors = match (tensor_list, tensors_root) {
            (Some(list), Some(root)) => Some(Tensors { list, root }),
            (None, None) => None,
            _ => {
                return Err(HeadError::contradiction(
                    "'tensors' and 'tensors-root' are both 'none' or neither",
                ));
            }
        };
        let head =
            Self { name, revision, previous, created, expires, bytes, files, root, tensors, chunk_size, ext };
        match head.contradiction() {
            Some(what) => Err(HeadError::contradiction(what)),
            None => Ok(head),
        }
    }

    /// Writes the text to be signed.
    ///
    /// # Errors
    /// [`HeadError`] if [`parse`](Self::parse) would refuse the text or read another head from it.
    pub fn to_text(&self) -> Result<String, HeadError> {
        let text = self.to_string();
        if Self::parse(&text)? == *self {
            Ok(text)
        } else {
            // Only `ext` is free text: a space in its key or an LF in its value changes the reading.
            Err(HeadError { line: 0, fault: HeadFault::Value { key: "ext" } })
        }
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.revision == 0 {
            return Some("revisions count from 1");
        }
        if (self.revision == 1) != self.previous.is_none() {
            return Some("revision 1 has no previous head, every other has one");
        }
        if self.expires.is_some_and(|expires| expires <= self.created) {
            return Some("it expires before it was created");
        }
        None
    }
}

/// Writes the text, even if the head is not valid.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or<T: fmt::Display>(value: Option<T>, absent: &str) -> String {
            value.map_or_else(|| absent.into(), |v| v.to_string())
        }
        writeln!(f, "{VERSION}")?;
        writeln!(f, "name {}", self.name)?;
        writeln!(f, "revision {}", self.revision)?;
        writeln!(f, "previous {}", or(self.previous, "none"))?;
        writeln!(f, "created {}", self.created)?;
        writeln!(f, "expires {}", or(self.expires, "never"))?;
        writeln!(f, "bytes {}", self.bytes)?;
        writeln!(f, "files {}", self.files)?;
        writeln!(f, "root {}", self.root)?;
        writeln!(f, "tensors {}", or(self.tensors.map(|t| t.list), "none"))?;
        writeln!(f, "tensors-root {}", or(self.tensors.map(|t| t.root), "none"))?;
        writeln!(f, "chunk-size {}", self.chunk_size.bytes())?;
        self.ext.iter().try_for_each(|ext| writeln!(f, "ext {} {}", ext.key, ext.value))
    }
}

impl fmt::Display for ListSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, self.length)
    }
}

fn ext_lines(lines: &mut Lines<'_>) -> Result<Vec<Ext>, HeadError> {
    let mut all: Vec<Ext> = Vec::new();
    while !lines.is_at_end() {
        if all.len() == MAX_EXT {
            let line = lines.number().saturating_add(1);
            return Err(HeadError { line, fault: HeadFault::TooManyExt });
        }
        let ext = lines.value("ext", ext)?;
        if all.last().is_some_and(|before| *before >= ext) {
            return Err(HeadError { line: lines.number(), fault: HeadFault::ExtOrder });
        }
        all.push(ext);
    }
    Ok(all)
}

fn ext(line: &str) -> Option<Ext> {
    let (key, value) = line.split_once(' ')?;
    let key_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    let well_formed = (1..=32).contains(&key.len())
        && key.bytes().all(key_char)
        && (1..=256).contains(&value.len())
        && value.bytes().all(|b| (b' '..=b'~').contains(&b))
        && value.trim_matches(' ').len() == value.len();
    well_formed.then(|| Ext { key: key.into(), value: value.into() })
}

fn none_or<T>(read: impl Fn(&str) -> Option<T>) -> impl Fn(&str) -> Option<Option<T>> {
    move |value| match value {
        "none" => Some(None),
        some => read(some).map(Some),
    }
}

fn list_size(value: &str) -> Option<ListSize> {
    let (count, length) = value.split_once(' ')?;
    let (count, length) = (canonical_number(count)?, canonical_number(length)?);
    // Limit the length to the longest lines with their LF: a reader allocates by this length before it verifies the
    // list.
    let most = count.checked_mul(LONGEST_LINE)?;
    (count <= MAX_ENTRIES && length <= most).then_some(ListSize { count, length })
}

const VERSION: &str = "weighbridge/head/v1";
const MAX_EXT: usize = 16;
/// The most bytes of a list's line, its LF included.
const LONGEST_LINE: u64 = 8_193;
/// The longest text, in bytes. Key services sign texts up to this length without hashing them first.
pub const MAX_TEXT: usize = 4_096;

/// The reason why a text is not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError {
    /// The line, counted from 1; 0 if the whole text is at fault.
    pub line: usize,
    /// The fault.
    pub fault: HeadFault,
}

/// Kinds of fault in a head's text.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// The text is longer than [`MAX_TEXT`].
    TooLong {
        /// The length of the text in bytes.
        bytes: usize,
    },
    /// The first line is not `weighbridge/head/v1`.
    Version,
    /// The line is missing, or another line is in its place.
    Line {
        /// The key of the expected line.
        expected: &'static str,
    },
    /// An `ext` line does not sort after the line before it.
    ExtOrder,
    /// There are more than 16 `ext` lines.
    TooManyExt,
    /// The line's value is malformed.
    Value {
        /// The line's key.
        key: &'static str,
    },
    /// Two lines contradict each other.
    Contradiction {
        /// The contradiction, as a sentence.
        what: &'static str,
    },
}

impl HeadError {
    fn contradiction(what: &'static str) -> Self {
        Self { line: 0, fault: HeadFault::Contradiction { what } }
    }
}

impl Coded for HeadError {
    fn error_code(&self) -> ErrorCode {
        match self.fault {
            HeadFault::TooLong { .. } => ErrorCode::HEAD_TOO_LONG,
            HeadFault::Version => ErrorCode::HEAD_VERSION,
            HeadFault::Line { .. } | HeadFault::ExtOrder | HeadFault::TooManyExt => ErrorCode::HEAD_LINE,
            HeadFault::Value { .. } => ErrorCode::HEAD_VALUE,
            HeadFault::Contradiction { .. } => ErrorCode::HEAD_CONTRADICTION,
        }
    }
}

impl From<Misread> for HeadError {
    fn from(Misread { line, key, fault }: Misread) -> Self {
        let fault = match fault {
            LineFault::Key => HeadFault::Line { expected: key },
            LineFault::Value => HeadFault::Value { key },
        };
        Self { line, fault }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            HeadFault::TooLong { bytes } => {
                write!(f, "the head's text has at most {MAX_TEXT} bytes, this one {bytes}")?;
            }
            HeadFault::Version => write!(f, "the head is not of version {VERSION}")?,
            HeadFault::Line { expected } => write!(f, "the head's line '{expected}' is missing")?,
            HeadFault::ExtOrder => f.write_str("the head's 'ext' lines do not strictly increase")?,
            HeadFault::TooManyExt => write!(f, "the head has more than {MAX_EXT} 'ext' lines")?,
            HeadFault::Value { key } => write!(f, "the head's value of '{key}' is malformed")?,
            HeadFault::Contradiction { what } => write!(f, "the head contradicts itself: {what}")?,
        }
        if self.line > 0 { write!(f, " (line {})", self.line) } else { Ok(()) }
    }
}

impl core::error::Error for HeadError {}
