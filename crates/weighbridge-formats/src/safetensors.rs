//! Reads the header of a safetensors file, by rules T1 to T18 of `spec/tensors.md`, in their order.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::error::{EntryFault, Excerpt, FormatError, NUMBER_LIMIT};
use crate::json::{Cursor, Natural, WHITE_SPACE};
use crate::unknown::UnknownDtype;
use crate::{Parsed, TensorSpan};

pub(crate) fn parse(prefix: &[u8], file_size: u64) -> Result<Parsed, FormatError> {
    let header = match locate(prefix, file_size)? {
        Located::Header(header) => header,
        Located::NeedPrefix(length) => return Ok(Parsed::NeedPrefix(length)),
    };
    let header_len = HEADER_START.saturating_add(length(header));
    // A header that is not JSON gets the code for that (T6), regardless of other faults in its entries. An
    // implementation that parses first and checks the entries afterwards must find the same code.
    let (tensors, unknown) =
        read(header, header_len).map_err(|error| grammar(header).err().unwrap_or(error))?;
    let tensors = lay_out(tensors, header_len, file_size)?;
    Ok(match unknown {
        None => Parsed::Tensors { tensors, header_len, split: None },
        Some(dtype) => {
            let names = tensors.into_iter().map(|tensor| tensor.name).collect();
            Parsed::UnknownDtype { dtype, names, split: None }
        }
    })
}

pub(crate) fn needs_prefix(prefix: &[u8], file_size: u64) -> Option<u64> {
    match locate(prefix, file_size) {
        Ok(Located::NeedPrefix(length)) => Some(length),
        Ok(Located::Header(_)) | Err(_) => None,
    }
}

/// Whether these first bytes look like a safetensors file: an allowed length, then an object.
pub(crate) fn seems(prefix: &[u8]) -> bool {
    let Some((len, rest)) = prefix.split_first_chunk() else { return false };
    let start = rest.iter().find(|byte| !WHITE_SPACE.contains(byte));
    u64::from_le_bytes(*len) <= MAX_HEADER && start == Some(&b'{')
}

enum Located<'a> {
    Header(&'a [u8]),
    NeedPrefix(u64),
}

/// The bytes of the header, after its length is checked (T1 to T5).
fn locate(prefix: &[u8], file_size: u64) -> Result<Located<'_>, FormatError> {
    let file_len = usize::try_from(file_size).unwrap_or(usize::MAX);
    let known = prefix.get(..file_len).unwrap_or(prefix);
    if known.starts_with(LFS_POINTER) {
        return Err(FormatError::LfsPointer);
    }
    if file_size < HEADER_START {
        return Err(FormatError::TooShort { file_size });
    }
    let Some((len, rest)) = known.split_first_chunk() else { return Ok(Located::NeedPrefix(HEADER_START)) };
    if LFS_POINTER.starts_with(known) && file_len >= LFS_POINTER.len() {
        return Ok(Located::NeedPrefix(length(LFS_POINTER)));
    }
    let len = u64::from_le_bytes(*len);
    if len > MAX_HEADER {
        return Err(FormatError::HeaderTooLong { len });
    }
    let header_len = HEADER_START.saturating_add(len);
    if header_len > file_size {
        return Err(FormatError::HeaderPastEnd { len, file_size });
    }
    let Some(header) = usize::try_from(len).ok().and_then(|len| rest.get(..len)) else {
        return Ok(Located::NeedPrefix(header_len));
    };
    match header.iter().find(|byte| !WHITE_SPACE.contains(byte)) {
        Some(b'{') => Ok(Located::Header(header)),
        found => Err(FormatError::HeaderStart { found: found.copied() }),
    }
}

/// Checks that the header is JSON and nothing else (T6), with any content.
fn grammar(header: &[u8]) -> Result<(), FormatError> {
    let mut cursor = Cursor::new(header, HEADER_START)?;
    cursor.skip_value(0)?;
    cursor.expect_end()?;
    Ok(())
}

/// Reads the entries in their written order (T7 to T15), and the first unknown dtype.
fn read(header: &[u8], header_len: u64) -> Result<(Vec<TensorSpan>, Option<UnknownDtype>), FormatError> {
    let mut cursor = Cursor::new(header, HEADER_START)?;
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    let mut unknown = None;
    let mut is_first = true;
    cursor.expect("{", "`{`")?;
    while let Some(name) = cursor.next_name(&mut is_first)? {
        if !names.insert(name.clone()) {
            return Err(FormatError::RepeatedName { name: Excerpt::of(&name), at: cursor.at() });
        }
        if name == "__metadata__" {
            read_metadata(&mut cursor)?;
        } else {
            let entry = read_entry(&mut cursor, &name)?;
            if let (None, None) = (&unknown, entry.dtype.known) {
                unknown = Some(UnknownDtype::of_safetensors(&name, &entry.dtype.name));
            }
            tensors.push(entry.into_span(name, header_len)?);
        }
    }
    cursor.expect_end()?;
    Ok((tensors, unknown))
}

/// Reads an object of strings, whose content is not used, or `null` (T8).
fn read_metadata(cursor: &mut Cursor<'_>) -> Result<(), FormatError> {
    match cursor.peek() {
        Some(b'{') => {}
        Some(b'n') => return Ok(cursor.expect("null", "`null`")?),
        _ => return Err(FormatError::MetadataNotObject),
    }
    let mut keys = HashSet::new();
    let mut is_first = true;
    cursor.expect("{", "`{`")?;
    while let Some(key) = cursor.next_name(&mut is_first)? {
        if keys.contains(&key) {
            return Err(FormatError::RepeatedMetadataKey { key: Excerpt::of(&key), at: cursor.at() });
        }
        if cursor.peek() != Some(b'"') {
            return Err(FormatError::MetadataNotString { key: Excerpt::of(&key) });
        }
        cursor.string()?;
        keys.insert(key);
    }
    Ok(())
}

/// A tensor's entry in the header.
struct Entry<'a> {
    dtype: Named<'a>,
    shape: Vec<u64>,
    /// `begin` and `end` are counted from the end of the header; too large values are `u64::MAX`.
    begin: u64,
    end: u64,
}

/// A dtype's name in the header, with its row of the table.
struct Named<'a> {
    name: Cow<'a, str>,
    known: Option<&'static Dtype>,
}

/// Reads the keys, types and limits of one entry (T9 to T12).
fn read_entry<'a>(cursor: &mut Cursor<'a>, name: &str) -> Result<Entry<'a>, FormatError> {
    let fault = |fault| FormatError::Entry { tensor: Excerpt::of(name), fault };
    if cursor.peek() != Some(b'{') {
        return Err(fault(EntryFault::NotObject));
    }
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    let mut is_first = true;
    cursor.expect("{", "`{`")?;
    while let Some(key) = cursor.next_name(&mut is_first)? {
        let repeated = |key| fault(EntryFault::RepeatedKey(key));
        match &*key {
            "dtype" if dtype.is_some() => return Err(repeated("dtype")),
            "dtype" => dtype = Some(read_dtype(cursor, name)?),
            "shape" if shape.is_some() => return Err(repeated("shape")),
            "shape" => shape = Some(read_shape(cursor, name)?),
            "data_offsets" if offsets.is_some() => return Err(repeated("data_offsets")),
            "data_offsets" => {
                offsets = Some(read_offsets(cursor)?.ok_or_else(|| fault(EntryFault::DataOffsets))?);
            }
            _ => return Err(fault(EntryFault::UnknownKey(Excerpt::of(&key)))),
        }
    }
    let missing = |key| move || fault(EntryFault::MissingKey(key));
    let dtype = dtype.ok_or_else(missing("dtype"))?;
    let shape = shape.ok_or_else(missing("shape"))?;
    let (begin, end) = offsets.ok_or_else(missing("data_offsets"))?;
    Ok(Entry { dtype, shape, begin, end })
}

fn read_dtype<'a>(cursor: &mut Cursor<'a>, tensor: &str) -> Result<Named<'a>, FormatError> {
    if cursor.peek() != Some(b'"') {
        return Err(FormatError::Entry { tensor: Excerpt::of(tensor), fault: EntryFault::Dtype });
    }
    let name = cursor.string()?;
    let known = DTYPES.iter().find(|dtype| dtype.name == name);
    Ok(Named { name, known })
}

fn read_shape(cursor: &mut Cursor<'_>, tensor: &str) -> Result<Vec<u64>, FormatError> {
    let fault = || FormatError::Entry { tensor: Excerpt::of(tensor), fault: EntryFault::Shape };
    if cursor.peek() != Some(b'[') {
        return Err(fault());
    }
    let mut shape = Vec::new();
    let mut is_first = true;
    cursor.expect("[", "`[`")?;
    while cursor.next_element(&mut is_first)? {
        if shape.len() == MAX_DIMENSIONS {
            return Err(FormatError::TooManyDimensions { tensor: Excerpt::of(tensor) });
        }
        let Natural::Below(dimension) = cursor.natural()? else { return Err(fault()) };
        shape.push(dimension);
    }
    Ok(shape)
}

/// Reads begin and end; `None` if there are not two integers.
fn read_offsets(cursor: &mut Cursor<'_>) -> Result<Option<(u64, u64)>, FormatError> {
    if cursor.peek() != Some(b'[') {
        return Ok(None);
    }
    let mut offsets = [0; 2];
    let mut is_first = true;
    cursor.expect("[", "`[`")?;
    for offset in &mut offsets {
        if !cursor.next_element(&mut is_first)? {
            return Ok(None);
        }
        *offset = match cursor.natural()? {
            Natural::Below(value) => value,
            Natural::TooLarge => u64::MAX,
            Natural::Not => return Ok(None),
        };
    }
    let [begin, end] = offsets;
    Ok((!cursor.next_element(&mut is_first)?).then_some((begin, end)))
}

impl Entry<'_> {
    /// Checks the offsets, and, if the dtype is known, the size that dtype and shape require (T13 to T15).
    fn into_span(self, name: Cow<'_, str>, header_len: u64) -> Result<TensorSpan, FormatError> {
        let Self { dtype, shape, begin, end } = self;
        let tensor = || Excerpt::of(&name);
        if header_len.saturating_add(begin.max(end)) >= NUMBER_LIMIT {
            return Err(FormatError::OffsetTooLarge { tensor: tensor() });
        }
        let size = end.checked_sub(begin).ok_or_else(|| FormatError::OffsetsReversed {
            tensor: tensor(),
            begin,
            end,
        })?;
        if let Some(known) = dtype.known {
            // Wrapping at 2^64 keeps the remainder by 8, so the check is exact for every shape.
            if shape.iter().fold(known.bits, |bits, &dimension| bits.wrapping_mul(dimension)) % 8 != 0 {
                return Err(FormatError::NotWholeBytes { tensor: tensor(), dtype: known.name });
            }
            let needed = known.bytes(&shape);
            if needed != Some(u128::from(size)) {
                return Err(FormatError::SizeMismatch { tensor: tensor(), needed, found: size });
            }
        }
        let offset = header_len.saturating_add(begin);
        Ok(TensorSpan { name: name.into_owned(), dtype: dtype.name.into_owned(), shape, offset, size })
    }
}

/// Returns the tensors in the order of their bytes, and checks that they cover the file to its end without hole or
/// overlap (T16 to T18).
fn lay_out(
    mut tensors: Vec<TensorSpan>,
    header_len: u64,
    file_size: u64,
) -> Result<Vec<TensorSpan>, FormatError> {
    tensors.sort_unstable_by(|a, b| (a.offset, a.size, &a.name).cmp(&(b.offset, b.size, &b.name)));
    let mut end = header_len;
    let mut before = None;
    for tensor in &tensors {
        if tensor.offset > end {
            let tensor_name = Excerpt::of(&tensor.name);
            return Err(FormatError::Hole { from: end, to: tensor.offset, tensor: tensor_name });
        }
        if tensor.offset < end {
            return Err(FormatError::Overlap {
                tensor: Excerpt::of(&tensor.name),
                at: tensor.offset,
                other: Excerpt::of(before.unwrap_or_default()),
                other_end: end,
            });
        }
        end = tensor.offset.saturating_add(tensor.size);
        before = Some(tensor.name.as_str());
    }
    if end != file_size {
        return Err(FormatError::FileEnd { tensors_end: end, file_size });
    }
    Ok(tensors)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A type of elements.
struct Dtype {
    name: &'static str,
    bits: u64,
}

impl Dtype {
    /// The number of bytes of a tensor whose number of bits is a multiple of 8; `None` if the bits exceed a `u128`.
    ///
    /// A dimension of 0 makes the tensor empty, in any place and for any size of the other dimensions.
    fn bytes(&self, shape: &[u64]) -> Option<u128> {
        if shape.contains(&0) {
            return Some(0);
        }
        let bits = shape
            .iter()
            .try_fold(u128::from(self.bits), |bits, &dimension| bits.checked_mul(u128::from(dimension)))?;
        Some(bits / 8)
    }
}

/// Every dtype of safetensors 0.8, with its spelling.
const DTYPES: [Dtype; 22] = [
    Dtype { name: "BOOL", bits: 8 },
    Dtype { name: "F4", bits: 4 },
    Dtype { name: "F6_E2M3", bits: 6 },
    Dtype { name: "F6_E3M2", bits: 6 },
    Dtype { name: "U8", bits: 8 },
    Dtype { name: "I8", bits: 8 },
    Dtype { name: "F8_E5M2", bits: 8 },
    Dtype { name: "F8_E4M3", bits: 8 },
    Dtype { name: "F8_E8M0", bits: 8 },
    Dtype { name: "F8_E4M3FNUZ", bits: 8 },
    Dtype { name: "F8_E5M2FNUZ", bits: 8 },
    Dtype { name: "I16", bits: 16 },
    Dtype { name: "U16", bits: 16 },
    Dtype { name: "F16", bits: 16 },
    Dtype { name: "BF16", bits: 16 },
    Dtype { name: "I32", bits: 32 },
    Dtype { name: "U32", bits: 32 },
    Dtype { name: "F32", bits: 32 },
    Dtype { name: "C64", bits: 64 },
    Dtype { name: "F64", bits: 64 },
    Dtype { name: "I64", bits: 64 },
    Dtype { name: "U64", bits: 64 },
];

/// The header starts after eight bytes, which hold its length.
const HEADER_START: u64 = 8;
pub(crate) const MAX_HEADER: u64 = 100_000_000;
const MAX_DIMENSIONS: usize = 16;
/// The beginning of every Git LFS pointer, in any version of the specification.
pub(crate) const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
