//! Reads the header of a GGUF file, by rules G14 to G22 of `spec/gguf.md`, in their order. `gguf_walk` has the earlier
//! rules.

use crate::error::{Excerpt, FormatError, NUMBER_LIMIT};
use crate::gguf_error::GgufError;
use crate::gguf_types::ValueType;
use crate::gguf_walk::{Info, Item, Stop, walk};
use crate::split::Split;
use crate::unknown::UnknownDtype;
use crate::{Parsed, TensorSpan};

pub(crate) fn parse(prefix: &[u8], file_size: u64) -> Result<Parsed, FormatError> {
    let (mut values, mut infos) = (Values::default(), Vec::new());
    let header_end = match walk(prefix, file_size, |item| match item {
        Item::Value { key, kind, bytes } => values.take_in(key, kind, bytes),
        Item::Tensor(info) => infos.push(info),
    }) {
        Ok(end) => end,
        Err(Stop::Need(length)) => return Ok(Parsed::NeedPrefix(length)),
        Err(Stop::Fault(error)) => return Err(error),
    };
    if let Some(key) = repeated(&mut values.keys) {
        return Err(GgufError::RepeatedKey { key: Excerpt::of(key) }.into());
    }
    let alignment = values.alignment()?;
    let split = values.split()?;
    let mut names = infos.iter().map(|info| info.name).collect();
    if let Some(name) = repeated(&mut names) {
        return Err(GgufError::RepeatedName { tensor: Excerpt::of(name) }.into());
    }
    let data = Data { header_end, alignment, file_size };
    let mut tensors = Vec::new();
    for info in &infos {
        tensors.extend(data.span(info)?);
    }
    if let Some(info) = infos.iter().find(|info| info.dtype.is_none()) {
        let dtype = UnknownDtype::of_gguf(info.name, info.number);
        let names = infos.iter().map(|info| info.name.to_owned()).collect();
        return Ok(Parsed::UnknownDtype { dtype, names, split });
    }
    let tensors = data.lay_out(tensors)?;
    // Without tensors, the file may end at the end of the header, before any padding.
    Ok(Parsed::Tensors { tensors, header_len: data.start().min(file_size), split })
}

pub(crate) fn needs_prefix(prefix: &[u8], file_size: u64) -> Option<u64> {
    match walk(prefix, file_size, |_| ()) {
        Err(Stop::Need(length)) => Some(length),
        Ok(_) | Err(Stop::Fault(_)) => None,
    }
}

/// Finds a text that occurs twice.
fn repeated<'a>(texts: &mut Vec<&'a str>) -> Option<&'a str> {
    texts.sort_unstable();
    texts.windows(2).find_map(|pair| match pair {
        [one, next] if one == next => Some(*one),
        _ => None,
    })
}

type Value<'a> = (ValueType, &'a [u8]);

/// All keys, and the values that describe the file itself.
#[derive(Default)]
struct Values<'a> {
    keys: Vec<&'a str>,
    alignment: Option<Value<'a>>,
    split_no: Option<Value<'a>>,
    split_count: Option<Value<'a>>,
    split_tensors: Option<Value<'a>>,
}

impl<'a> Values<'a> {
    fn take_in(&mut self, key: &'a str, kind: ValueType, bytes: &'a [u8]) {
        self.keys.push(key);
        match key {
            "general.alignment" => self.alignment = Some((kind, bytes)),
            "split.no" => self.split_no = Some((kind, bytes)),
            "split.count" => self.split_count = Some((kind, bytes)),
            "split.tensors.count" => self.split_tensors = Some((kind, bytes)),
            _ => {}
        }
    }

    /// Applies rule G15.
    fn alignment(&self) -> Result<u64, GgufError> {
        let Some((kind, bytes)) = self.alignment else { return Ok(DEFAULT_ALIGNMENT) };
        let value = bytes.try_into().ok().filter(|_| kind == ValueType::U32).map(u32::from_le_bytes);
        let fits = |value: &u32| value.is_power_of_two() && ALIGNMENTS.contains(value);
        value.filter(fits).map(u64::from).ok_or(GgufError::Alignment { found: value })
    }

    /// Applies rule G16.
    fn split(&self) -> Result<Option<Split>, GgufError> {
        let short = |(kind, bytes): Value<'_>| {
            bytes.try_into().ok().filter(|_| kind == ValueType::U16).map(u16::from_le_bytes)
        };
        let Some(count) = self.split_count else { return Ok(None) };
        let count = short(count).ok_or(GgufError::Split)?;
        if count <= 1 {
            return Ok(None);
        }
        let number =
            self.split_no.and_then(short).filter(|number| *number < count).ok_or(GgufError::Split)?;
        let signed = |(kind, bytes): Value<'_>| {
            bytes.try_into().ok().filter(|_| kind == ValueType::I32).map(i32::from_le_bytes)
        };
        let tensors = match self.split_tensors {
            None => None,
            Some(value) => {
                let value = signed(value).and_then(|value| u32::try_from(value).ok());
                Some(value.ok_or(GgufError::Split)?)
            }
        };
        Ok(Some(Split { number, count, tensors }))
    }
}

/// The part of the file in which the bytes of tensors may lie.
struct Data {
    header_end: u64,
    alignment: u64,
    file_size: u64,
}

impl Data {
    /// The position at which the first tensor begins.
    fn start(&self) -> u64 {
        self.pad(self.header_end)
    }

    fn pad(&self, position: u64) -> u64 {
        position.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX)
    }

    /// The place and size of one tensor (G18, G19); `None` if its dtype does not determine its size.
    fn span(&self, info: &Info<'_>) -> Result<Option<TensorSpan>, GgufError> {
        let tensor = || Excerpt::of(info.name);
        if !info.offset.is_multiple_of(self.alignment) {
            let (offset, alignment) = (info.offset, self.alignment);
            return Err(GgufError::Offset { tensor: tensor(), offset, alignment });
        }
        let shape = info.shape();
        let size =
            info.dtype.map_or(Some(0), |dtype| dtype.size(&shape)).and_then(|size| size.try_into().ok());
        let offset = self.start().checked_add(info.offset);
        let end = offset.zip(size).and_then(|(offset, size)| offset.checked_add(size));
        let last = self.file_size.min(NUMBER_LIMIT.saturating_sub(1));
        let (Some(offset), Some(size), Some(_)) = (offset, size, end.filter(|end| *end <= last)) else {
            return Err(GgufError::TensorPastEnd {
                tensor: tensor(),
                offset: info.offset,
                file_size: self.file_size,
            });
        };
        let name = info.name.to_owned();
        Ok(info.dtype.map(|dtype| TensorSpan { name, dtype: dtype.name.to_owned(), shape, offset, size }))
    }

    /// Returns the tensors in the order of their bytes, and checks that only padding separates them (G20 to G22).
    fn lay_out(&self, mut tensors: Vec<TensorSpan>) -> Result<Vec<TensorSpan>, GgufError> {
        tensors.sort_unstable_by(|a, b| (a.offset, a.size, &a.name).cmp(&(b.offset, b.size, &b.name)));
        // Without tensors, no byte has to follow the header.
        let mut end = if tensors.is_empty() { self.header_end } else { self.start() };
        let mut before = None;
        for tensor in &tensors {
            let next = self.pad(end);
            if tensor.offset > next {
                let (from, to) = (next, tensor.offset);
                return Err(GgufError::Hole { from, to, tensor: Excerpt::of(&tensor.name) });
            }
            if tensor.offset < next {
                return Err(GgufError::Overlap {
                    tensor: Excerpt::of(&tensor.name),
                    at: tensor.offset,
                    other: Excerpt::of(before.unwrap_or_default()),
                    other_end: end,
                });
            }
            end = tensor.offset.saturating_add(tensor.size);
            before = Some(tensor.name.as_str());
        }
        if self.file_size != end && self.file_size != self.pad(end) {
            let (file_size, padded) = (self.file_size, self.pad(end));
            return Err(GgufError::FileEnd { tensors_end: end, padded, file_size });
        }
        Ok(tensors)
    }
}

const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENTS: std::ops::RangeInclusive<u32> = 8..=1 << 20;
