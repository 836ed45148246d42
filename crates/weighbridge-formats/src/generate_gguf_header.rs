//! Writes the header of a generated GGUF file, byte by byte.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "dimensions are chosen by the generator, from at most 2^40 weights"
)]

use crate::generate_gguf::{Dimensions, Gguf, Tensor, Version};

/// The header up to the padding before the first tensor.
pub(crate) fn header(model: &Gguf, part: usize, parts: usize, total: usize, tensors: &[Tensor]) -> Vec<u8> {
    let mut values = Values::default();
    if part == 0 {
        describe(model, &mut values);
    }
    if model.alignment != 32 {
        values.put("general.alignment", 4, &model.alignment.to_le_bytes());
    }
    if parts > 1 {
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
        values.put("split.no", 2, &short(part));
        values.put("split.count", 2, &short(parts));
        let total = i32::try_from(total).unwrap_or(i32::MAX);
        values.put("split.tensors.count", 5, &total.to_le_bytes());
    }
    let version: u32 = match model.version {
        Version::V2 => 2,
        Version::V3 => 3,
    };
    let mut header = b"GGUF".to_vec();
    header.extend(version.to_le_bytes());
    header.extend(u64::try_from(tensors.len()).unwrap_or(0).to_le_bytes());
    header.extend(values.count.to_le_bytes());
    header.extend(values.bytes);
    let mut offset: u64 = 0;
    for tensor in tensors {
        text(&mut header, &tensor.name);
        header.extend(u32::try_from(tensor.dims.len()).unwrap_or(0).to_le_bytes());
        header.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
        header.extend(tensor.dtype.number.to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset = (offset + tensor.bytes).next_multiple_of(u64::from(model.alignment.max(1)));
    }
    header
}

/// Adds the values that loaders need, and a vocabulary, which is most of a real header.
fn describe(model: &Gguf, values: &mut Values) {
    let Dimensions { hidden, inner, layers, vocabulary } = Dimensions::of(model);
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    values.text("general.architecture", "llama");
    values.text("general.name", "A generated model");
    values.text("general.license", "cc0-1.0");
    values.put("general.quantization_version", 4, &number(2));
    for (key, value) in [
        ("llama.context_length", 8192),
        ("llama.embedding_length", hidden),
        ("llama.block_count", layers),
        ("llama.feed_forward_length", inner),
        ("llama.attention.head_count", 16),
        ("llama.attention.head_count_kv", 4),
        ("llama.rope.dimension_count", hidden / 16),
        ("llama.vocab_size", vocabulary),
    ] {
        values.put(key, 4, &number(value));
    }
    values.put("llama.rope.freq_base", 6, &500_000_f32.to_le_bytes());
    values.put("llama.attention.layer_norm_rms_epsilon", 6, &1e-5_f32.to_le_bytes());
    values.text("tokenizer.ggml.model", "gpt2");
    values.texts("tokenizer.ggml.tokens", vocabulary, |token| format!("Ġ{token}"));
    let types = (0..vocabulary).flat_map(|_| 1_i32.to_le_bytes());
    values.array("tokenizer.ggml.token_type", 5, vocabulary, types);
    values.texts("tokenizer.ggml.merges", vocabulary / 2, |token| format!("Ġ {token}"));
    values.put("tokenizer.ggml.add_bos_token", 7, &[0]);
    values.put("tokenizer.ggml.eos_token_id", 4, &number(1));
}

/// The key-values of a header.
#[derive(Default)]
struct Values {
    count: u64,
    bytes: Vec<u8>,
}

impl Values {
    fn put(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        self.put(key, 8, &bytes);
    }

    fn array(&mut self, key: &str, kind: u32, count: u64, elements: impl IntoIterator<Item = u8>) {
        self.put(key, 9, &kind.to_le_bytes());
        self.bytes.extend(count.to_le_bytes());
        self.bytes.extend(elements);
    }

    fn texts(&mut self, key: &str, count: u64, element: impl Fn(u64) -> String) {
        self.array(key, 8, count, []);
        for number in 0..count {
            text(&mut self.bytes, &element(number));
        }
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(length(text.as_bytes()).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
