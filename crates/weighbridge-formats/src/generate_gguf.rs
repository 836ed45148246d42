//! Generates GGUF models of any size for tests, benches and the demo. They are shaped like Llama, and quantised in
//! several ways.
//!
//! The same settings give the same bytes on every machine. Two models that differ only in their variant (and are not
//! [`Variant::Every`]) have the same tensors of the same shapes. A tensor that has the same dtype in both has the same
//! bytes in both, as in real quantisations of one model. No scale and no weight is NaN or infinite.

#![allow(clippy::arithmetic_side_effects, reason = "dimensions are chosen here, from at most 2^40 weights")]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::generate::Summary;
use crate::generate_gguf_header::header;
use crate::gguf_types::{DTYPES, Dtype};

/// The settings of a generated GGUF model.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gguf {
    /// The approximate number of weights. The smallest model has 2,000,000 weights, the largest 2^40; numbers outside
    /// this range give the smallest or the largest.
    pub weights: u64,
    /// The types of the tensors.
    pub variant: Variant,
    /// The number of files for the tensors: at least one, at most the number of tensors.
    pub parts: u16,
    /// The version of the format.
    pub version: Version,
    /// The alignment of tensor offsets: a power of two from 8 to 1,048,576. It is written unless it is 32.
    pub alignment: u32,
    /// The seed from which the weights are derived.
    pub seed: u64,
}

/// The types of a generated model's tensors. Norms are always F32.
// Exhaustive on purpose: callers choose from these variants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// All F32.
    F32,
    /// All F16.
    F16,
    /// All BF16.
    Bf16,
    /// All `Q8_0`.
    Q8,
    /// `Q4_0`, with the output in `Q6_K`.
    Q4,
    /// `Q4_K`, with the output in `Q6_K`. Shares all but a few tensors with [`Q4KMedium`](Self::Q4KMedium).
    Q4KSmall,
    /// `Q4_K`, with the output and half of the more sensitive tensors in `Q6_K`.
    Q4KMedium,
    /// Every type of the format, and tensors of zero, three and four dimensions.
    Every,
}

/// A version of the format. The versions differ only in the number.
// Exhaustive on purpose: callers choose from these versions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// The version written until October 2023.
    V2,
    /// The version written since then.
    V3,
}

impl Gguf {
    /// A model in one file whose tensors have about `bytes` bytes together, within a few hundredths.
    pub fn of_size(bytes: u64, variant: Variant, seed: u64) -> Self {
        let mut model = Self { variant, seed, ..Self::small(seed) };
        model.weights = bytes;
        // The number of bytes is nearly proportional to the number of weights.
        for _ in 0..3 {
            let have = model.tensors().iter().map(|tensor| tensor.bytes).sum::<u64>().max(1);
            let weights = u128::from(model.weights) * u128::from(bytes) / u128::from(have);
            model.weights = u64::try_from(weights).unwrap_or(u64::MAX).clamp(LEAST_WEIGHTS, MOST_WEIGHTS);
        }
        model
    }

    /// A `Q4_K_M` model of about a megabyte in one file, which is written almost at once.
    pub fn small(seed: u64) -> Self {
        Self {
            weights: LEAST_WEIGHTS,
            variant: Variant::Q4KMedium,
            parts: 1,
            version: Version::V3,
            alignment: 32,
            seed,
        }
    }

    /// Writes the model into `folder`, which is created if needed. The only files are `model-Q4_K_M.gguf`, or its
    /// parts, with the name of the variant, so several variants fit in one folder.
    ///
    /// # Errors
    /// Errors of the operating system. An existing file is never overwritten: the error is then
    /// [`io::ErrorKind::AlreadyExists`]. After an error, the files written so far stay.
    ///
    /// # Cost
    /// A few GB per second if the disk allows. Memory for the header and 2 MiB, for any size.
    pub fn write(&self, folder: &Path) -> io::Result<Summary> {
        let parts = self.split();
        let total = parts.iter().map(Vec::len).sum();
        fs::create_dir_all(folder)?;
        let mut summary = Summary { files: Vec::new(), bytes: 0, tensors: 0 };
        let mut block = vec![0; BLOCK];
        for (position, tensors) in parts.iter().enumerate() {
            let variant = self.variant.name();
            let name = match parts.len() {
                1 => format!("model-{variant}.gguf"),
                count => format!("model-{variant}-{:05}-of-{count:05}.gguf", position + 1),
            };
            let mut output = Output {
                file: BufWriter::with_capacity(BLOCK, File::create_new(folder.join(&name))?),
                written: 0,
                alignment: u64::from(self.alignment.max(1)),
            };
            summary.files.push(name);
            output.put(&header(self, position, parts.len(), total, tensors))?;
            output.pad()?;
            for tensor in tensors {
                let mut weights = Weights::new(self.seed, tensor);
                let mut left = tensor.bytes;
                while left > 0 {
                    let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                    let part = block.get_mut(..part).unwrap_or_default();
                    weights.fill(part);
                    output.put(part)?;
                    left -= length(part);
                }
                output.pad()?;
                summary.tensors += 1;
            }
            output.file.flush()?;
            summary.bytes += output.written;
        }
        Ok(summary)
    }

    /// The tensors of each part: consecutive, with about the same number of bytes in each part, and no part empty.
    fn split(&self) -> Vec<Vec<Tensor>> {
        let tensors = self.tensors();
        let total: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
        let count = usize::from(self.parts).clamp(1, tensors.len());
        let share = total / u64::try_from(count).unwrap_or(1);
        let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut left = tensors.len();
        for tensor in tensors {
            let others = count - parts.len() - 1;
            if others > 0 && !part.is_empty() && (bytes + tensor.bytes / 2 > share || left <= others) {
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
            left -= 1;
            bytes += tensor.bytes;
            part.push(tensor);
        }
        parts.push(part);
        parts
    }

    fn tensors(&self) -> Vec<Tensor> {
        let Dimensions { hidden, inner, layers, vocabulary } = Dimensions::of(self);
        let mut tensors = Vec::new();
        let mut matrices = 0;
        let mut add = |name: String, dims: Vec<u64>, role: Role| {
            let dtype = self.variant.dtype(role, matrices);
            matrices += usize::from(role != Role::Norm);
            tensors.push(Tensor::new(name, dims, dtype));
        };
        add("token_embd.weight".to_owned(), vec![hidden, vocabulary], Role::Matrix);
        for layer in 0..layers {
            let sensitive = if layer % 2 == 0 { Role::Sensitive } else { Role::Matrix };
            for (part, dims, role) in [
                ("attn_norm", vec![hidden], Role::Norm),
                ("attn_q", vec![hidden, hidden], Role::Matrix),
                ("attn_k", vec![hidden, hidden / 4], Role::Matrix),
                ("attn_v", vec![hidden, hidden / 4], sensitive),
                ("attn_output", vec![hidden, hidden], Role::Matrix),
                ("ffn_norm", vec![hidden], Role::Norm),
                ("ffn_gate", vec![hidden, inner], Role::Matrix),
                ("ffn_up", vec![hidden, inner], Role::Matrix),
                ("ffn_down", vec![inner, hidden], sensitive),
            ] {
                add(format!("blk.{layer}.{part}.weight"), dims, role);
            }
        }
        add("output_norm.weight".to_owned(), vec![hidden], Role::Norm);
        add("output.weight".to_owned(), vec![hidden, vocabulary], Role::Output);
        if self.variant == Variant::Every {
            add("extra.scalar".to_owned(), vec![], Role::Norm);
            tensors.push(Tensor::new("extra.cube".to_owned(), vec![256, 3, 2], named("Q4_K")));
            tensors.push(Tensor::new("extra.four".to_owned(), vec![32, 3, 5, 2], named("Q8_0")));
        }
        tensors
    }
}

/// The purpose of a tensor, which determines its type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Norm,
    Matrix,
    Sensitive,
    Output,
}

impl Variant {
    /// The name of the quantisation, as in file names.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8 => "Q8_0",
            Self::Q4 => "Q4_0",
            Self::Q4KSmall => "Q4_K_S",
            Self::Q4KMedium => "Q4_K_M",
            Self::Every => "EVERY",
        }
    }

    fn dtype(self, role: Role, matrix: usize) -> &'static Dtype {
        named(match (self, role) {
            (_, Role::Norm) | (Self::F32, _) => "F32",
            (Self::Q4 | Self::Q4KSmall | Self::Q4KMedium, Role::Output)
            | (Self::Q4KMedium, Role::Sensitive) => "Q6_K",
            (Self::F16, _) => "F16",
            (Self::Bf16, _) => "BF16",
            (Self::Q8, _) => "Q8_0",
            (Self::Q4, _) => "Q4_0",
            (Self::Q4KSmall | Self::Q4KMedium, _) => "Q4_K",
            (Self::Every, _) => DTYPES.iter().cycle().nth(matrix).map_or("F32", |dtype| dtype.name),
        })
    }
}

fn named(name: &str) -> &'static Dtype {
    static FALLBACK: Dtype = Dtype { number: 0, name: "F32", block: 1, bytes: 4 };
    DTYPES.iter().find(|dtype| dtype.name == name).unwrap_or(&FALLBACK)
}

pub(crate) struct Tensor {
    pub(crate) name: String,
    /// The dimensions in the order of the file, fastest first.
    pub(crate) dims: Vec<u64>,
    pub(crate) dtype: &'static Dtype,
    pub(crate) bytes: u64,
}

impl Tensor {
    fn new(name: String, dims: Vec<u64>, dtype: &'static Dtype) -> Self {
        let bytes = dtype.size(&dims).and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        Self { name, dims, dtype, bytes }
    }
}

/// The dimensions of the model. Rows of matrices are multiples of 256, the longest block.
pub(crate) struct Dimensions {
    pub(crate) hidden: u64,
    pub(crate) inner: u64,
    pub(crate) layers: u64,
    pub(crate) vocabulary: u64,
}

impl Dimensions {
    pub(crate) fn of(model: &Gguf) -> Self {
        let weights = model.weights.clamp(LEAST_WEIGHTS, MOST_WEIGHTS);
        let layers = match weights / 1_000_000 {
            // Seven matrices per layer, which is enough for every type.
            _ if model.variant == Variant::Every => 5,
            0..16 => 2,
            16..256 => 12,
            256..8_000 => 32,
            _ => 80,
        };
        // Layers take about 85 % of the model. The rest goes to the vocabulary, whose rows fill up the size.
        let square = weights / 100 * 85 * 2 / (23 * layers);
        let hidden = (square.isqrt() / 256 * 256).max(256);
        let in_layers = layers * (23 * hidden * hidden / 2 + 2 * hidden) + hidden;
        let vocabulary = (weights.saturating_sub(in_layers) / (2 * hidden)).max(256);
        Self { hidden, inner: 3 * hidden, layers, vocabulary }
    }
}

/// The file that is written.
struct Output {
    file: BufWriter<File>,
    written: u64,
    alignment: u64,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += length(bytes);
        self.file.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(self.alignment) - self.written;
        self.put(&vec![0; usize::try_from(padding).unwrap_or(0)])
    }
}

/// Generates the bytes of one tensor, eight at a time.
struct Weights {
    state: u64,
    kept: u64,
    set: u64,
}

impl Weights {
    fn new(seed: u64, tensor: &Tensor) -> Self {
        // `kept` are the random bits, and `set` are the other bits that are set. Exponents are chosen for small
        // magnitudes. The scale of a block may be at any byte, so in block types every byte could be the upper byte of
        // a float.
        let (kept, set) = match tensor.dtype.name {
            "F32" => (0x81ff_ffff_81ff_ffff, 0x3c00_0000_3c00_0000),
            "F16" => (0x8fff_8fff_8fff_8fff, 0x2000_2000_2000_2000),
            "BF16" => (0x81ff_81ff_81ff_81ff, 0x3c00_3c00_3c00_3c00),
            "F64" => (0x803f_ffff_ffff_ffff, 0x3f80_0000_0000_0000),
            "I8" | "I16" | "I32" | "I64" => (u64::MAX, 0),
            _ => (0x8f8f_8f8f_8f8f_8f8f, 0x2020_2020_2020_2020),
        };
        let identity = tensor.name.bytes().chain(tensor.dtype.name.bytes());
        let state = identity.fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self { state, kept, set }
    }

    /// Fills the next part of the tensor. Every part except the last must be a multiple of eight bytes.
    fn fill(&mut self, part: &mut [u8]) {
        for word in part.chunks_mut(8) {
            self.state = self.state.wrapping_add(GOLDEN);
            let random = mix(self.state) & self.kept | self.set;
            for (byte, random) in word.iter_mut().zip(random.to_le_bytes()) {
                *byte = random;
            }
        }
    }
}

/// The output function of SplitMix64.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

const LEAST_WEIGHTS: u64 = 2_000_000;
const MOST_WEIGHTS: u64 = 1 << 40;
/// The number of bytes written at once; a multiple of eight.
const BLOCK: usize = 1 << 20;
/// The step of SplitMix64: 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
