//! Reads GGUF headers, by the specification's page alone: piece by piece, with sums in 128 bits, and `None` if a rule
//! is broken.

use std::collections::{BTreeMap, BTreeSet};

/// The content of a header.
#[derive(Debug, PartialEq)]
pub struct Header {
    pub tensors: Tensors,
    /// The number of a part, the count of parts and the count of tensors.
    pub split: Option<(u16, u16, Option<u32>)>,
}

#[derive(Debug, PartialEq)]
pub enum Tensors {
    Known {
        /// Name, dtype, shape, offset in the file and size, by offset.
        places: Vec<(String, String, Vec<u64>, u64, u64)>,
        /// The beginning of the data, or the end of the file if that is earlier.
        data: u64,
    },
    /// The tensor at index `first` of the header has the type `kind`, which is in no table. `names` are the names of
    /// all tensors.
    Unknown { first: usize, kind: u64, names: Vec<String> },
}

/// Reads the header of a file that begins with these bytes. `None` also if the bytes do not hold the whole header.
pub fn read(bytes: &[u8], file_size: u64) -> Option<Header> {
    let len = usize::try_from(file_size).unwrap_or(usize::MAX).min(bytes.len());
    let mut rest = &bytes[..len];
    let rest = &mut rest;
    if take(rest, 4)? != b"GGUF" || !(2..=3).contains(&number(rest, 4)?) {
        return None;
    }
    let (tensors, pairs) = (number(rest, 8)?, number(rest, 8)?);
    if tensors.max(pairs) > 1 << 20 {
        return None;
    }
    let mut values = BTreeMap::new();
    for _ in 0..pairs {
        let key = text(rest).filter(|key| !key.is_empty() && key.len() < 65_536)?;
        let kind = number(rest, 4)?;
        let before = *rest;
        value(rest, kind, 0)?;
        let bytes = &before[..before.len() - rest.len()];
        if values.insert(key, (kind, bytes)).is_some() {
            return None;
        }
    }
    let mut entries = Vec::new();
    for _ in 0..tensors {
        entries.push(entry(rest)?);
    }
    let end = (len - rest.len()) as u128;

    let alignment = match values.get("general.alignment") {
        None => 32,
        Some(&(4, mut bytes)) => number(&mut bytes, 4)?,
        Some(_) => return None,
    };
    if !(3..=20).any(|power| alignment == 1 << power) {
        return None;
    }
    let pad = |position: u128| position.div_ceil(alignment) * alignment;
    let split = split(&values)?;

    let file_size = u128::from(file_size);
    let mut names = BTreeSet::new();
    for Entry { name, offset, size, .. } in &entries {
        let tensor_end = pad(end) + offset + size;
        if offset % alignment != 0 || tensor_end > file_size || tensor_end >= 1 << 53 || !names.insert(name) {
            return None;
        }
    }
    if let Some(first) = entries.iter().position(|entry| entry.dtype.is_none()) {
        let kind = entries[first].kind as u64;
        let names = entries.into_iter().map(|entry| entry.name).collect();
        return Some(Header { tensors: Tensors::Unknown { first, kind, names }, split });
    }

    entries.sort_by(|a, b| (a.offset, a.size, &a.name).cmp(&(b.offset, b.size, &b.name)));
    let mut position = if entries.is_empty() { end } else { pad(end) };
    let mut places = Vec::new();
    for Entry { name, dtype, shape, offset, size, .. } in entries {
        let begin = pad(end) + offset;
        if begin != pad(position) {
            return None;
        }
        places.push((name, dtype?.to_owned(), shape, begin as u64, size as u64));
        position = begin + size;
    }
    let ends = file_size == position || file_size == pad(position);
    let data = pad(end).min(file_size) as u64;
    ends.then_some(Header { tensors: Tensors::Known { places, data }, split })
}

fn take<'a>(rest: &mut &'a [u8], len: u128) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = behind;
    Some(taken)
}

fn number(rest: &mut &[u8], len: u128) -> Option<u128> {
    Some(take(rest, len)?.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let len = number(rest, 8)?;
    String::from_utf8(take(rest, len)?.to_vec()).ok()
}

/// Skips a value that lies within `depth` nested arrays.
fn value(rest: &mut &[u8], kind: u128, depth: u32) -> Option<()> {
    match kind {
        0 | 1 => take(rest, 1).map(drop),
        2 | 3 => take(rest, 2).map(drop),
        4..=6 => take(rest, 4).map(drop),
        7 => number(rest, 1).filter(|bool| *bool < 2).map(drop),
        8 => {
            let len = number(rest, 8)?;
            take(rest, len).map(drop)
        }
        9 if depth < 8 => {
            let (kind, count) = (number(rest, 4)?, number(rest, 8)?);
            // Each element takes at least one byte, so the loop ends.
            (0..count).try_for_each(|_| value(rest, kind, depth + 1)).filter(|()| kind <= 12)
        }
        10..=12 => take(rest, 8).map(drop),
        _ => None,
    }
}

struct Entry {
    name: String,
    kind: u128,
    dtype: Option<&'static str>,
    shape: Vec<u64>,
    offset: u128,
    size: u128,
}

fn entry(rest: &mut &[u8]) -> Option<Entry> {
    let name = text(rest)?;
    let rank = number(rest, 4).filter(|rank| *rank <= 16)?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        shape.insert(0, number(rest, 8).filter(|dimension| *dimension < 1 << 53)? as u64);
    }
    let kind = number(rest, 4)?;
    let Some((_, dtype, block, bytes)) = DTYPES.into_iter().find(|dtype| u128::from(dtype.0) == kind) else {
        return Some(Entry { name, kind, dtype: None, shape, offset: number(rest, 8)?, size: 0 });
    };
    let (block, bytes) = (u128::from(block), u128::from(bytes));
    let row = shape.last().copied().map_or(1, u128::from);
    if row % block != 0 {
        return None;
    }
    let size = if shape.contains(&0) {
        0
    } else {
        // No file holds a product of 2^73, whatever follows.
        let product =
            |product: u128, dimension: &u64| Some(product.checked_mul(u128::from(*dimension))?.min(1 << 73));
        shape.iter().try_fold(1, product)? / block * bytes
    };
    Some(Entry { name, kind, dtype: Some(dtype), shape, offset: number(rest, 8)?, size })
}

#[allow(clippy::type_complexity, reason = "three numbers, of which one may be unsaid, and a verdict")]
fn split(values: &BTreeMap<String, (u128, &[u8])>) -> Option<Option<(u16, u16, Option<u32>)>> {
    let get = |key: &str, kind: u128| match values.get(key) {
        None => Some(None),
        Some(&(found, mut bytes)) if found == kind => {
            let len = bytes.len() as u128;
            Some(number(&mut bytes, len))
        }
        Some(_) => None,
    };
    let Some(count) = get("split.count", 2)? else { return Some(None) };
    if count < 2 {
        return Some(None);
    }
    let no = get("split.no", 2)?.filter(|no| *no < count)?;
    let tensors = get("split.tensors.count", 5)?;
    if tensors.is_some_and(|tensors| tensors >= 1 << 31) {
        return None;
    }
    Some(Some((no as u16, count as u16, tensors.map(|tensors| tensors as u32))))
}

/// The types of `ggml.h`, with the elements and bytes of their blocks. Not copied from a table of the crates.
pub const DTYPES: [(u64, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];
