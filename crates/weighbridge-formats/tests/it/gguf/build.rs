//! Writes GGUF files field by field, valid or not.

/// A file that is built exactly from its fields, even if they do not fit together.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// The counts that the file claims; the true counts if `None`.
    pub(crate) counts: Option<(u64, u64)>,
    pub(crate) values: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Tensor>,
    /// The multiple to which the header is padded.
    pub(crate) alignment: usize,
    /// The number of bytes after the padded header.
    pub(crate) data: usize,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    pub(crate) rank: u32,
    pub(crate) dims: Vec<u64>,
    pub(crate) dtype: u32,
    pub(crate) offset: u64,
}

/// The numbers of some types of values.
pub(crate) const U8: u32 = 0;
pub(crate) const U16: u32 = 2;
pub(crate) const U32: u32 = 4;
pub(crate) const I32: u32 = 5;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// The numbers of some types of tensors.
pub(crate) const F32: u32 = 0;
pub(crate) const Q8_0: u32 = 8;
pub(crate) const I8: u32 = 24;
pub(crate) const BF16: u32 = 30;

pub(crate) fn tensor(name: &str, dtype: u32, dims: &[u64], offset: u64) -> Tensor {
    let rank = u32::try_from(dims.len()).unwrap();
    Tensor { name: name.into(), rank, dims: dims.into(), dtype, offset }
}

pub(crate) fn file(values: &[Vec<u8>], tensors: &[Tensor], data: usize) -> File {
    File {
        magic: *b"GGUF",
        version: 3,
        counts: None,
        values: values.into(),
        tensors: tensors.into(),
        alignment: 32,
        data,
    }
}

pub(crate) fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u64::try_from(text.len()).unwrap().to_le_bytes(), text].concat()
}

pub(crate) fn value(key: impl AsRef<[u8]>, kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&string(key)[..], &kind.to_le_bytes(), bytes].concat()
}

pub(crate) fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), &count.to_le_bytes()[..], elements].concat()
}

/// `depth` arrays within arrays. The innermost is an empty array of bytes.
pub(crate) fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = array(ARRAY, 1, &[]).repeat(depth - 1);
    bytes.extend(array(U8, 0, &[]));
    bytes
}

impl Tensor {
    fn bytes(&self) -> Vec<u8> {
        let dims: Vec<u8> = self.dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let (rank, dtype) = (self.rank.to_le_bytes(), self.dtype.to_le_bytes());
        [&string(&self.name)[..], &rank, &dims, &dtype, &self.offset.to_le_bytes()].concat()
    }
}

impl File {
    pub(crate) fn header(&self) -> Vec<u8> {
        let len = |n: usize| u64::try_from(n).unwrap();
        let (tensors, values) = self.counts.unwrap_or((len(self.tensors.len()), len(self.values.len())));
        let mut bytes = [&self.magic[..], &self.version.to_le_bytes()].concat();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(values.to_le_bytes());
        bytes.extend(self.values.concat());
        bytes.extend(self.tensors.iter().flat_map(Tensor::bytes));
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(self.alignment) + self.data, 0);
        bytes
    }

    pub(crate) fn aligned(mut self, alignment: u32) -> Self {
        self.values.push(value("general.alignment", U32, &alignment.to_le_bytes()));
        self.alignment = usize::try_from(alignment).unwrap();
        self
    }
}
