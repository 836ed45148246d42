//! The lines of the lists: one canonical JSON object for each file and each tensor.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use weighbridge_tree::{FileRoot, TensorHash};

use crate::{
    cursor::{Cursor, canonical_number},
    path::{EntryPath, PathError, TensorName, TensorNameError},
};

/// A file of a model, as its list names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it lies in the model.
    pub path: EntryPath,
    /// Its length in bytes.
    pub size: u64,
    /// The BLAKE3 hash of its bytes: the only authority over them (rule 13).
    pub root: FileRoot,
    /// Its SHA-256, for other tools. Accepts nothing.
    pub sha256: Option<Sha256>,
}

/// The SHA-256 of a file, for those who compare with tools that know no other. No `Default` (rule 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    fn from_hex(text: &str) -> Option<Self> {
        // One reader for hashes in hexadecimal: that of the roots.
        FileRoot::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A tensor of a model, as its list names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// The tensor's name, unique in its file.
    pub name: TensorName,
    /// The file that holds it.
    pub file: EntryPath,
    /// Its type, spelled as the file's format spells it.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Where its bytes begin, counted from the start of the file.
    pub offset: u64,
    /// How many bytes it has, without padding.
    pub size: u64,
    /// The BLAKE3 hash of its bytes alone. Finds and compares; never accepts (rule 13).
    pub hash: TensorHash,
}

/// Whether tensors are listed for a file of this path.
#[must_use]
pub fn is_tensor_file(path: &EntryPath) -> bool {
    [".safetensors", ".gguf"].iter().any(|ending| path.as_str().ends_with(ending))
}

/// The name of an element type: `[A-Z][A-Z0-9_]{0,31}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dtype(Arc<str>);

impl Dtype {
    /// Checks and takes a name; `None` if it is not of the form above.
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

/// The line, without its LF.
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
    /// [`LineError`] if the line is not in canonical form, or its name or path is refused.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        Self::parse_after(line, None)
    }

    /// As [`parse`](Self::parse); shares path and dtype with the entry before where they are equal, so that a list of a
    /// million tensors holds each only once.
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

/// The line, without its LF.
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

/// A string with `"` and `\` escaped, and nothing else.
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

/// Reads a line in the one order in which it may be written.
struct Line<'a> {
    cursor: Cursor<'a>,
    whole: usize,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        Self { cursor: Cursor::new(line), whole: line.len() }
    }

    /// The value that stands behind `label`.
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

    /// The characters of a string up to its closing quote, which stays. In JSON, controls do not stand for themselves;
    /// that U+007F to U+009F do is for paths and names to refuse.
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

    /// Letters and digits of a value that needs no escapes.
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

/// Why a line is not an entry.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// Longer than [`MAX_LINE`].
    TooLong,
    /// Not the one way to write an entry.
    NotCanonical {
        /// The byte, counted from 1, where it differs or the value begins that is malformed.
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

impl LineError {
    /// The code of `spec/error-codes.md`.
    #[must_use]
    pub fn error_code(&self) -> u16 {
        match self {
            Self::TooLong => 1303,
            Self::NotCanonical { .. } => 1302,
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
