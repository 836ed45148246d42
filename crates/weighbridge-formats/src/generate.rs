//! Generates models of any size for tests, benches and the demo. They are shaped like Llama, and filled from a seed.
//!
//! The same settings give the same bytes on every machine. The weights are random numbers of the same magnitude as real
//! ones, and none is NaN or infinite. Such a model loads, but its output is nonsense.

#![allow(clippy::arithmetic_side_effects, reason = "dimensions are chosen here, from a size below 2^50")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// The settings of a generated model.
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Llama {
    /// The number of bytes of all tensors together, without headers and small files.
    ///
    /// The actual sum is smaller by at most one row of the vocabulary. The smallest model has about 0.5 MB, the largest
    /// 2^50 bytes; sizes outside this range give the smallest or the largest.
    pub bytes: u64,
    /// The number of files for the tensors: at least one, at most the number of tensors.
    ///
    /// A single shard is called `model.safetensors` and has no index, as on hubs.
    pub shards: u64,
    /// The seed from which the weights are derived.
    pub seed: u64,
    /// The type of all tensors.
    pub dtype: Dtype,
}

/// The type of a generated model's tensors.
// Exhaustive on purpose: callers choose from these types.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dtype {
    /// Two bytes per element, the type in which Llama is published.
    Bf16,
    /// Two bytes per element.
    F16,
    /// Four bytes per element.
    F32,
}

/// The result of [`Llama::write`].
#[must_use]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// The names of all files in the folder, in the order of writing.
    pub files: Vec<String>,
    /// The number of bytes of all files together.
    pub bytes: u64,
    /// The number of tensors in all files.
    pub tensors: u64,
}

impl Llama {
    /// A BF16 model of about `bytes` bytes; 2 GB give 417 tensors.
    pub fn of_size(bytes: u64, shards: u64, seed: u64) -> Self {
        Self { bytes, shards, seed, dtype: Dtype::Bf16 }
    }

    /// A model of 4 MB in two shards, which is written almost at once.
    pub fn small(seed: u64) -> Self {
        Self::of_size(4_000_000, 2, seed)
    }

    /// Writes the model into `folder`, which is created if needed.
    ///
    /// # Errors
    /// Errors of the operating system. An existing file is never overwritten: the error is then
    /// [`io::ErrorKind::AlreadyExists`]. After an error, the files written so far stay.
    ///
    /// # Cost
    /// A few GB per second if the disk allows, and 2 MiB of memory for any size.
    pub fn write(&self, folder: &Path) -> io::Result<Summary> {
        let dimensions = Dimensions::of(self);
        let shards = dimensions.shards(self);
        fs::create_dir_all(folder)?;
        let mut output =
            Output { folder, summary: Summary { files: Vec::new(), bytes: 0, tensors: 0 }, seed: self.seed };
        for (name, text) in dimensions.texts(self) {
            output.text(name, &text)?;
        }
        let mut placed = Vec::new();
        for (position, tensors) in shards.iter().enumerate() {
            let name = match shards.len() {
                1 => "model.safetensors".to_owned(),
                count => format!("model-{:05}-of-{count:05}.safetensors", position + 1),
            };
            output.shard(&name, tensors, self.dtype)?;
            placed.extend(tensors.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        }
        if shards.len() > 1 {
            let total = shards.iter().flatten().map(|tensor| tensor.bytes).sum();
            output.text("model.safetensors.index.json", &index(total, &mut placed))?;
        }
        Ok(output.summary)
    }
}

/// The folder in which the model is written.
struct Output<'a> {
    folder: &'a Path,
    summary: Summary,
    seed: u64,
}

impl Output<'_> {
    fn create(&mut self, name: &str) -> io::Result<BufWriter<File>> {
        let file = File::create_new(self.folder.join(name))?;
        self.summary.files.push(name.to_owned());
        Ok(BufWriter::with_capacity(BLOCK, file))
    }

    fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        let mut file = self.create(name)?;
        file.write_all(text.as_bytes())?;
        self.summary.bytes += length(text);
        file.flush()
    }

    fn shard(&mut self, name: &str, tensors: &[Tensor], dtype: Dtype) -> io::Result<()> {
        let header = header(tensors, dtype);
        let mut file = self.create(name)?;
        file.write_all(&length(&header).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        self.summary.bytes += 8 + length(&header);
        let mut block = vec![0; BLOCK];
        for tensor in tensors {
            let mut weights = Weights::new(self.seed, &tensor.name, dtype);
            let mut left = tensor.bytes;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                let part = block.get_mut(..part).unwrap_or_default();
                weights.fill(part);
                file.write_all(part)?;
                left -= u64::try_from(part.len()).unwrap_or(left);
            }
            self.summary.bytes += tensor.bytes;
            self.summary.tensors += 1;
        }
        file.flush()
    }
}

/// Generates the weights of one tensor, eight bytes at a time.
struct Weights {
    state: u64,
    kept: u64,
    set: u64,
}

impl Weights {
    fn new(seed: u64, name: &str, dtype: Dtype) -> Self {
        // In each element the sign, two bits of the exponent and the mantissa are random. The other bits of the
        // exponent are set so that magnitudes are between 2^-7 and 2^-3.
        let (kept, set) = match dtype {
            Dtype::Bf16 => (0x81ff_81ff_81ff_81ff, 0x3c00_3c00_3c00_3c00),
            Dtype::F16 => (0x8fff_8fff_8fff_8fff, 0x2000_2000_2000_2000),
            Dtype::F32 => (0x81ff_ffff_81ff_ffff, 0x3c00_0000_3c00_0000),
        };
        let state = name.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self { state, kept, set }
    }

    /// Fills the next part of the tensor. Every part except the last must be a multiple of eight bytes.
    fn fill(&mut self, part: &mut [u8]) {
        let mut words = part.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        for (byte, random) in rest.iter_mut().zip(self.next().to_le_bytes()) {
            *byte = random;
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state) & self.kept | self.set
    }
}

/// The output function of SplitMix64.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

struct Tensor {
    name: String,
    shape: Vec<u64>,
    bytes: u64,
}

/// Dimensions in Llama's proportions: keys and values have a quarter of the heads, and the MLP has 3.5 times the width.
struct Dimensions {
    hidden: u64,
    layers: u64,
    vocabulary: u64,
}

impl Dimensions {
    fn of(model: &Llama) -> Self {
        let bytes = model.bytes.min(1 << 50);
        let parameters = bytes / model.dtype.bytes();
        let layers = match bytes / 1_000_000 {
            0..32 => 4,
            32..512 => 16,
            512..1_000 => 24,
            1_000..8_000 => 46,
            _ => 80,
        };
        // Layers take about 85 % of the model. The rest goes to the vocabulary, whose rows fill up the size.
        let square = parameters / 100 * 85 / (13 * layers);
        let hidden = (square.isqrt() / 64 * 64).max(64);
        let in_layers = layers * (13 * hidden * hidden + 2 * hidden) + hidden;
        let vocabulary = (parameters.saturating_sub(in_layers) / (2 * hidden)).max(256);
        Self { hidden, layers, vocabulary }
    }

    fn intermediate(&self) -> u64 {
        self.hidden / 2 * 7
    }

    fn tensors(&self, dtype: Dtype) -> Vec<Tensor> {
        let (hidden, intermediate, kv) = (self.hidden, self.intermediate(), self.hidden / 4);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: Vec<u64>| {
            let bytes = shape.iter().product::<u64>() * dtype.bytes();
            tensors.push(Tensor { name, shape, bytes });
        };
        add("model.embed_tokens.weight".to_owned(), vec![self.vocabulary, hidden]);
        for layer in 0..self.layers {
            for (part, shape) in [
                ("input_layernorm", vec![hidden]),
                ("mlp.down_proj", vec![hidden, intermediate]),
                ("mlp.gate_proj", vec![intermediate, hidden]),
                ("mlp.up_proj", vec![intermediate, hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("self_attn.k_proj", vec![kv, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.v_proj", vec![kv, hidden]),
            ] {
                add(format!("model.layers.{layer}.{part}.weight"), shape);
            }
        }
        add("model.norm.weight".to_owned(), vec![hidden]);
        add("lm_head.weight".to_owned(), vec![self.vocabulary, hidden]);
        tensors
    }

    /// The tensors of each shard: consecutive, with about the same number of bytes in each shard, and no shard empty.
    fn shards(&self, model: &Llama) -> Vec<Vec<Tensor>> {
        let tensors = self.tensors(model.dtype);
        let mut left: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
        let mut tensors_left = tensors.len();
        let mut shards_left = usize::try_from(model.shards).unwrap_or(usize::MAX).clamp(1, tensors_left);
        let mut shards = Vec::new();
        let mut shard: Vec<Tensor> = Vec::new();
        let mut shard_bytes = 0;
        for tensor in tensors {
            let share = left / u64::try_from(shards_left).unwrap_or(1);
            let is_full = shard_bytes + tensor.bytes / 2 > share || tensors_left < shards_left;
            if is_full && !shard.is_empty() && shards_left > 1 {
                shards.push(std::mem::take(&mut shard));
                shards_left -= 1;
                left -= shard_bytes;
                shard_bytes = 0;
            }
            tensors_left -= 1;
            shard_bytes += tensor.bytes;
            shard.push(tensor);
        }
        shards.push(shard);
        for shard in &mut shards {
            // The reference writer orders tensors of one dtype by name.
            shard.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        shards
    }

    /// The small files next to the weights.
    fn texts(&self, model: &Llama) -> [(&'static str, String); 5] {
        let Self { hidden, layers, vocabulary } = self;
        let intermediate = self.intermediate();
        let torch_dtype = model.dtype.in_config();
        let config = format!(
            "{{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"bos_token_id\": 0,\n  \"eos_token_id\": 1,\n  \
             \"hidden_act\": \"silu\",\n  \"hidden_size\": {hidden},\n  \"intermediate_size\": {intermediate},\n  \
             \"max_position_embeddings\": 8192,\n  \"model_type\": \"llama\",\n  \"num_attention_heads\": 16,\n  \
             \"num_hidden_layers\": {layers},\n  \"num_key_value_heads\": 4,\n  \"rms_norm_eps\": 1e-05,\n  \
             \"rope_theta\": 500000.0,\n  \"tie_word_embeddings\": false,\n  \"torch_dtype\": \"{torch_dtype}\",\n  \
             \"vocab_size\": {vocabulary}\n}}\n"
        );
        let readme = format!(
            "---\nlibrary_name: transformers\nlicense: cc0-1.0\n---\n\n# A generated model\n\nShaped like Llama: \
             {layers} layers, {hidden} wide, {vocabulary} tokens. The weights are random, from the seed {}.\n",
            model.seed
        );
        let mut tokenizer = "{\n  \"version\": \"1.0\",\n  \"added_tokens\": [],\n  \"normalizer\": null,\n  \
             \"pre_tokenizer\": {\"type\": \"Whitespace\"},\n  \"model\": {\n    \"type\": \"WordLevel\",\n    \
             \"unk_token\": \"<0>\",\n    \"vocab\": {"
            .to_owned();
        for token in 0..256 {
            let comma = if token == 0 { "" } else { "," };
            // Writing into a string does not fail.
            let _ = write!(tokenizer, "{comma}\n      \"<{token}>\": {token}");
        }
        tokenizer.push_str("\n    }\n  }\n}\n");
        let generation = "{\n  \"bos_token_id\": 0,\n  \"eos_token_id\": 1\n}\n".to_owned();
        let tokenizer_config =
            "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"unk_token\": \"<0>\"\n}\n"
                .to_owned();
        [
            ("README.md", readme),
            ("config.json", config),
            ("generation_config.json", generation),
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", tokenizer_config),
        ]
    }
}

impl Dtype {
    fn bytes(self) -> u64 {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    fn in_config(self) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
        }
    }
}

/// A shard's header, padded with spaces so that the tensors begin at a multiple of eight.
fn header(tensors: &[Tensor], dtype: Dtype) -> String {
    let mut text = r#"{"__metadata__":{"format":"pt"}"#.to_owned();
    let mut begin = 0;
    for Tensor { name, shape, bytes } in tensors {
        let shape: Vec<_> = shape.iter().map(u64::to_string).collect();
        let (dtype, shape, end) = (dtype.name(), shape.join(","), begin + bytes);
        // Writing into a string does not fail.
        let _ = write!(
            text,
            r#","{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#
        );
        begin = end;
    }
    text.push('}');
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    text
}

fn index(total: u64, placed: &mut [(String, String)]) -> String {
    placed.sort_unstable();
    let lines: Vec<_> = placed.iter().map(|(tensor, file)| format!("    \"{tensor}\": \"{file}\"")).collect();
    let map = lines.join(",\n");
    format!(
        "{{\n  \"metadata\": {{\n    \"total_size\": {total}\n  }},\n  \"weight_map\": {{\n{map}\n  }}\n}}\n"
    )
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The number of bytes written at once; a multiple of eight.
const BLOCK: usize = 1 << 20;
/// The step of SplitMix64: 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
