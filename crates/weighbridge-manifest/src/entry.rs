//! The lines of the lists: one canonical JSON object for each file and each tensor.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use sha2::Digest as _;
use weighbridge_tree::{Coded, ErrorCode, FileRoot, TensorHash};

use crate::{
    cursor::{Cursor, canonical_number},
    path::{EntryPath, PathError, TensorName, TensorNameError},
};

/// A file of a model, as its list describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The file's path in the model.
    pub path: EntryPath,
    /// The file's length in bytes.
    pub size: u64,
    /// The BLAKE3 hash of the file's bytes. Only this hash decides whether the bytes are accepted (rule 13).
    pub root: FileRoot,
    /// The file's SHA-256, for other tools. It never decides whether bytes are accepted.
    pub sha256: Option<Sha256>,
}

/// The SHA-256 of a file, for comparison with tools that know no other hash. No `Default` (rule 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The SHA-256 of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    fn from_hex(text: &str) -> Option<Self> {
        // Use the roots' reader, so that there is one reader for hexadecimal hashes.
        FileRoot::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A tensor of a model, as its list describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// The tensor's name, unique in its file.
    pub name: TensorName,
    /// The file that holds the tensor.
    pub file: EntryPath,
    /// The element type, spelled as in the file's format.
    pub dtype: Dtype,
    /// The dimensions, outermost first.
    pub shape: Vec<u64>,
    /// The offset of the tensor's first byte from the start of the file, in bytes.
    pub offset: u64,
    /// The number of bytes, without padding.
    pub size: u64,
    /// The BLAKE3 hash of the tensor's bytes alone. It serves to find and compare tensors, never to accept them
    /// (rule 13).
    pub hash: TensorHash,
}

/// The name of an element type: `[A-Z][A-Z0-9_]{0,31}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dtype(Arc<str>);

impl Dtype {
    /// Checks a name; `None` if it does not match `[A-Z][A-Z0-9_]{0,31}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let well_formed =
            text.starts_with(|c: char| c.is_ascii_uppercase()) && text.len() <= 32 && text.bytes().all(inner);
        well_formed.then(|| Self(Arc::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FileEntry {
    /// Reads one line, without its LF.
    ///
    /// # Errors
    /// [`LineError`] if the line is not in canonical form or its path is refused.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        length(line)?;
        let mut line = Line::new(line);
        let path = line.field("{\"file\":\"", Line::string)?;
        let size = line.field("\",\"size\":", Line::number)?;
        let root = line.field(",\"blake3\":\"", |l| FileRoot::from_hex(l.word()).ok())?;
        let sha256 = match line.cursor.literal("\",\"sha256\":\"") {
            Some(()) => Some(line.value(|l| Sha256::from_hex(l.word()))?),
            None => None,
        };
        line.end()?;
        Ok(Self { path: EntryPath::parse(&path)?, size, root, sha256 })
    }
}

/// Writes the line, without its LF.
impl fmt::Display for FileEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, size, root, sha256 } = self;
        write!(f, "{{\"file\":\"{}\",\"size\":{size},\"blake3\":\"{root}\"", Escaped(path.as_str()))?;
        if let Some(sha256) = sha256 {
            write!(f, ",\"sha256\":\"{sha256}\"")?;
        }
        f.write_str("}")
    }
}

impl TensorEntry {
    /// Reads one line, without its LF.
    ///
    /// # Errors
    /// [`LineError`] if the line is not in canonical form, or if its name or path is refused.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        Self::parse_after(line, None)
    }

    /// Like [`parse`](Self::parse), but shares path and dtype with the previous entry if they are equal. So a list of a
    /// million tensors holds each path and dtype only once.
    pub(crate) fn parse_after(line: &str, before: Option<&Self>) -> Result<Self, LineError> {
        length(line)?;
        let mut line = Line::new(line);
        let name = line.field("{\"tensor\":\"", Line::string)?;
        let file = line.field("\",\"file\":\"", Line::string)?;
        let dtype = line.field("\",\"dtype\":\"", |l| {
            let word = l.word();
            match before {
                Some(b) if b.dtype.as_str() == word => Some(b.dtype.clone()),
                _ => Dtype::parse(word),
            }
        })?;
        let shape = line.field("\",\"shape\":[", Line::shape)?;
        let offset = line.field("],\"offset\":", Line::number)?;
        let size = line.field(",\"size\":", Line::number)?;
        let hash = line.field(",\"blake3\":\"", |l| TensorHash::from_hex(l.word()).ok())?;
        line.end()?;
        let name = TensorName::parse(&name)?;
        let file = match before {
            Some(b) if b.file.as_str() == file => b.file.clone(),
            _ => EntryPath::parse(&file)?,
        };
        Ok(Self { name, file, dtype, shape, offset, size, hash })
    }
}

/// Writes the line, without its LF.
impl fmt::Display for TensorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, file, dtype, shape, offset, size, hash } = self;
        let (name, file) = (Escaped(name.as_str()), Escaped(file.as_str()));
        write!(f, "{{\"tensor\":\"{name}\",\"file\":\"{file}\",\"dtype\":\"{dtype}\",\"shape\":[")?;
        for (i, dimension) in shape.iter().enumerate() {
            write!(f, "{}{dimension}", if i == 0 { "" } else { "," })?;
        }
        write!(f, "],\"offset\":{offset},\"size\":{size},\"blake3\":\"{hash}\"}}")
    }
}

/// A string with only `"` and `\` escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['"', '\\']) {
            match part.strip_suffix(['"', '\\']) {
                Some(plain) => {
                    let special = part.strip_prefix(plain).unwrap_or_default();
                    write!(f, "{plain}\\{special}")?;
                }
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

fn length(line: &str) -> Result<(), LineError> {
    if line.len() > MAX_LINE { Err(LineError::TooLong) } else { Ok(()) }
}

/// Reads the fields of a line in their only valid order.
struct Line<'a> {
    cursor: Cursor<'a>,
    whole: usize,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        Self { cursor: Cursor::new(line), whole: line.len() }
    }

    /// Reads the value after `label`.
    fn field<T>(&mut self, label: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, LineError> {
        self.literal(label)?;
        self.value(read)
    }

    fn value<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, LineError> {
        let begin = self.cursor;
        read(self).ok_or_else(|| self.not_canonical(begin))
    }

    fn literal(&mut self, literal: &str) -> Result<(), LineError> {
        self.cursor.literal(literal).ok_or_else(|| {
            let mut differs = self.cursor;
            for c in literal.chars() {
                if differs.literal(c.encode_utf8(&mut [0; 4])).is_none() {
                    break;
                }
            }
            self.not_canonical(differs)
        })
    }

    fn end(&mut self) -> Result<(), LineError> {
        self.literal("\"}")?;
        self.value(|line| line.cursor.rest_must_be_empty())
    }

    fn not_canonical(&self, at: Cursor<'_>) -> LineError {
        LineError::NotCanonical { column: self.whole.saturating_sub(at.rest().len()).saturating_add(1) }
    }

    /// Reads the characters of a string up to its closing quote; the quote stays unread. JSON does not allow unescaped
    /// control characters below U+0020. The checks of paths and names refuse U+007F to U+009F.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            text.push_str(self.cursor.while_is(|c| c >= ' ' && c != '"' && c != '\\'));
            if self.cursor.rest().starts_with('"') {
                return Some(text);
            }
            self.cursor.literal("\\")?;
            text.push(self.cursor.char().filter(|c| matches!(c, '"' | '\\'))?);
        }
    }

    /// Reads the letters, digits and underscores of a value that needs no escapes.
    fn word(&mut self) -> &'a str {
        self.cursor.while_is(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn number(&mut self) -> Option<u64> {
        canonical_number(self.cursor.while_is(|c| c.is_ascii_digit()))
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        let mut shape = Vec::new();
        if self.cursor.rest().starts_with(']') {
            return Some(shape);
        }
        while shape.len() < MAX_DIMENSIONS {
            shape.push(self.number()?);
            if self.cursor.literal(",").is_none() {
                return Some(shape);
            }
        }
        None
    }
}

/// The longest line, in bytes without its LF.
pub const MAX_LINE: usize = 8_192;
const MAX_DIMENSIONS: usize = 16;

/// The reason why a line is not an entry.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line is longer than [`MAX_LINE`].
    TooLong,
    /// The line is not in the canonical form of an entry.
    NotCanonical {
        /// The byte, counted from 1, at which the line differs or the malformed value begins.
        column: usize,
    },
    /// The path is refused.
    Path(PathError),
    /// The tensor name is refused.
    Name(TensorNameError),
}

impl From<PathError> for LineError {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<TensorNameError> for LineError {
    fn from(error: TensorNameError) -> Self {
        Self::Name(error)
    }
}

impl Coded for LineError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::TooLong => ErrorCode::LIST_LINE_TOO_LONG,
            Self::NotCanonical { .. } => ErrorCode::LIST_LINE_NOT_CANONICAL,
            Self::Path(error) => error.error_code(),
            Self::Name(error) => error.error_code(),
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a line has at most {MAX_LINE} bytes, this one has more"),
            Self::NotCanonical { column } => write!(f, "not in canonical form at byte {column}"),
            Self::Path(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LineError {}
