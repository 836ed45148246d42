//! A model for the examples: one file of tensors, weighed by hand. Publishers use `weighbridge weigh` for this.

#![allow(dead_code, reason = "each example uses a part")]

use std::error::Error;

use weighbridge_verify::{
    manifest::{
        Dtype, EntryPath, Expectation, FileEntry, Head, ModelName, SignedHead, TensorEntry, TensorName, Time,
        TrustPolicy, VerifiedFileList, VerifiedTensorList, write_files, write_tensors,
    },
    tree::{ChunkSize, FileRoot, Grid, TensorHash, head_id},
};

/// The chunk size of the model: the smallest one.
pub(crate) const CHUNK: usize = 16 << 10;

/// A model with its verified lists.
pub(crate) struct SmallModel {
    pub(crate) weights: Vec<u8>,
    pub(crate) files: VerifiedFileList,
    pub(crate) tensors: VerifiedTensorList,
    pub(crate) layers: Vec<u8>,
}

impl SmallModel {
    /// A safetensors file of `count` tensors of 100 rows each, with its lists, and a head that is trusted by its id.
    pub(crate) fn weigh(count: usize) -> Result<Self, Box<dyn Error>> {
        const ROWS: usize = 100;
        let size = |nth: usize| ROWS * (150 + nth % 7);
        let (mut header, mut end) = (Vec::new(), 0);
        for nth in 0..count {
            let begin = end;
            end += size(nth);
            header.push(format!(
                r#""layer.{nth}":{{"dtype":"U8","shape":[{ROWS},{}],"data_offsets":[{begin},{end}]}}"#,
                size(nth) / ROWS
            ));
        }
        let header = format!("{{{}}}", header.join(","));
        let mut weights = u64::try_from(header.len())?.to_le_bytes().to_vec();
        weights.extend(header.bytes());
        let start = weights.len();
        // A period of 251 bytes, which divides no chunk size, so that no two chunks are alike.
        weights.extend((0..251_u8).cycle().take(end));

        let path = EntryPath::parse("model.safetensors")?;
        let (mut tensors, mut offset) = (Vec::new(), start);
        for nth in 0..count {
            let bytes = &weights[offset..offset + size(nth)];
            tensors.push(TensorEntry {
                name: TensorName::parse(&format!("layer.{nth}"))?,
                file: path.clone(),
                dtype: Dtype::parse("U8").ok_or("no dtype")?,
                shape: vec![u64::try_from(ROWS)?, u64::try_from(size(nth) / ROWS)?],
                offset: u64::try_from(offset)?,
                size: u64::try_from(size(nth))?,
                hash: TensorHash::of(bytes),
            });
            offset += size(nth);
        }
        let tensors = write_tensors(tensors)?;

        let grid = Grid::new(u64::try_from(weights.len())?, ChunkSize::MIN)?;
        let mut layers = Vec::new();
        for (index, chunk) in (0..).zip(weights.chunks(CHUNK)) {
            layers.extend(grid.chaining_value(index, chunk)?.as_bytes());
        }
        let root = FileRoot::of(&weights);
        let files =
            write_files(vec![FileEntry { path, size: u64::try_from(weights.len())?, root, sha256: None }])?;

        let text = Head {
            name: ModelName::parse("example/small")?,
            revision: 1,
            previous: None,
            created: Time::parse("2026-11-20T16:31:00Z")?,
            expires: None,
            bytes: files.bytes,
            files: files.list,
            root: files.root,
            tensors: Some(tensors.tensors),
            chunk_size: ChunkSize::MIN,
            ext: Vec::new(),
        }
        .to_text()?;
        let policy = TrustPolicy::new(Vec::new(), Vec::new(), vec![head_id(text.as_bytes())])?;
        let note = format!("{text}\n\u{2014} nobody AAAAAAE=\n");
        let head = SignedHead::parse(note.as_bytes())?.verify(&policy, &Expectation::any(), None)?;
        let files = head.open_files(files.text.as_bytes())?;
        let tensors = files.open_tensors(tensors.text.as_bytes())?;
        Ok(Self { weights, files, tensors, layers })
    }
}
