//! The numbers of GGUF: types of values and of tensors, as in `spec/gguf.md`.

/// The type of a key's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ValueType(u32);

impl ValueType {
    pub(crate) const U16: Self = Self(2);
    pub(crate) const U32: Self = Self(4);
    pub(crate) const I32: Self = Self(5);
    pub(crate) const BOOL: Self = Self(7);
    pub(crate) const STRING: Self = Self(8);
    pub(crate) const ARRAY: Self = Self(9);

    /// The type of this number; `None` if the number is not a type.
    pub(crate) fn of(number: u32) -> Option<Self> {
        (number <= 12).then_some(Self(number))
    }

    /// The name in gguf-py.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            0 => "UINT8",
            1 => "INT8",
            2 => "UINT16",
            3 => "INT16",
            4 => "UINT32",
            5 => "INT32",
            6 => "FLOAT32",
            7 => "BOOL",
            8 => "STRING",
            9 => "ARRAY",
            10 => "UINT64",
            11 => "INT64",
            _ => "FLOAT64",
        }
    }

    /// The number of bytes of every value of this type; `None` for strings and arrays.
    pub(crate) fn width(self) -> Option<u64> {
        match self.0 {
            0 | 1 | 7 => Some(1),
            2 | 3 => Some(2),
            4..=6 => Some(4),
            10..=12 => Some(8),
            _ => None,
        }
    }

    /// The fewest bytes that a value of this type has. An empty string is only its length, and an empty array only its
    /// type and count.
    pub(crate) fn least(self) -> u64 {
        self.width().unwrap_or(if self == Self::STRING { 8 } else { 12 })
    }
}

/// The type of a tensor. Elements are packed in blocks along the first dimension.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Dtype {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    /// The number of elements in a block.
    pub(crate) block: u64,
    /// The number of bytes in a block.
    pub(crate) bytes: u64,
}

impl Dtype {
    pub(crate) fn of(number: u32) -> Option<&'static Self> {
        DTYPES.iter().find(|dtype| dtype.number == number)
    }

    /// The number of bytes of a tensor whose last dimension is a multiple of the block; `None` beyond a `u128`.
    ///
    /// A dimension of 0 makes the tensor empty, in any place and for any size of the other dimensions.
    pub(crate) fn size(&self, shape: &[u64]) -> Option<u128> {
        if shape.contains(&0) {
            return Some(0);
        }
        let elements = shape.iter().try_fold(1_u128, |product, &dim| product.checked_mul(u128::from(dim)))?;
        elements.checked_div(u128::from(self.block))?.checked_mul(u128::from(self.bytes))
    }
}

const fn dtype(number: u32, name: &'static str, block: u64, bytes: u64) -> Dtype {
    Dtype { number, name, block, bytes }
}

/// Every type of `ggml.h` that a file can have, spelled as in gguf-py's `GGMLQuantizationType`.
pub(crate) const DTYPES: &[Dtype] = &[
    dtype(0, "F32", 1, 4),
    dtype(1, "F16", 1, 2),
    dtype(2, "Q4_0", 32, 18),
    dtype(3, "Q4_1", 32, 20),
    dtype(6, "Q5_0", 32, 22),
    dtype(7, "Q5_1", 32, 24),
    dtype(8, "Q8_0", 32, 34),
    dtype(9, "Q8_1", 32, 36),
    dtype(10, "Q2_K", 256, 84),
    dtype(11, "Q3_K", 256, 110),
    dtype(12, "Q4_K", 256, 144),
    dtype(13, "Q5_K", 256, 176),
    dtype(14, "Q6_K", 256, 210),
    dtype(15, "Q8_K", 256, 292),
    dtype(16, "IQ2_XXS", 256, 66),
    dtype(17, "IQ2_XS", 256, 74),
    dtype(18, "IQ3_XXS", 256, 98),
    dtype(19, "IQ1_S", 256, 50),
    dtype(20, "IQ4_NL", 32, 18),
    dtype(21, "IQ3_S", 256, 110),
    dtype(22, "IQ2_S", 256, 82),
    dtype(23, "IQ4_XS", 256, 136),
    dtype(24, "I8", 1, 1),
    dtype(25, "I16", 1, 2),
    dtype(26, "I32", 1, 4),
    dtype(27, "I64", 1, 8),
    dtype(28, "F64", 1, 8),
    dtype(29, "IQ1_M", 256, 56),
    dtype(30, "BF16", 1, 2),
    dtype(34, "TQ1_0", 256, 54),
    dtype(35, "TQ2_0", 256, 66),
    dtype(39, "MXFP4", 32, 17),
    dtype(40, "NVFP4", 64, 36),
    dtype(41, "Q1_0", 128, 18),
    dtype(42, "Q2_0", 64, 18),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once followed gguf-py, which had 40 bytes for a block of Q8_1; ggml has 36. These are the types of
    /// `ggml_type` in `ggml.h`, and the `static_assert` after each struct of `ggml-common.h`, term by term.
    #[test]
    fn blocks_are_as_long_as_ggml_common_h_asserts() {
        const HALF: u64 = 2;
        const QK_K: u64 = 256;
        let ggml = [
            dtype(0, "F32", 1, 4),
            dtype(1, "F16", 1, 2),
            dtype(2, "Q4_0", 32, HALF + 32 / 2),
            dtype(3, "Q4_1", 32, 2 * HALF + 32 / 2),
            dtype(6, "Q5_0", 32, HALF + 4 + 32 / 2),
            dtype(7, "Q5_1", 32, 2 * HALF + 4 + 32 / 2),
            dtype(8, "Q8_0", 32, HALF + 32),
            dtype(9, "Q8_1", 32, 2 * HALF + 32),
            dtype(10, "Q2_K", QK_K, 2 * HALF + QK_K / 16 + QK_K / 4),
            dtype(11, "Q3_K", QK_K, HALF + QK_K / 4 + QK_K / 8 + 12),
            dtype(12, "Q4_K", QK_K, 2 * HALF + 12 + QK_K / 2),
            dtype(13, "Q5_K", QK_K, 2 * HALF + 12 + QK_K / 2 + QK_K / 8),
            dtype(14, "Q6_K", QK_K, HALF + QK_K / 16 + 3 * QK_K / 4),
            dtype(15, "Q8_K", QK_K, 4 + QK_K + QK_K / 16 * 2),
            dtype(16, "IQ2_XXS", QK_K, HALF + QK_K / 8 * 2),
            dtype(17, "IQ2_XS", QK_K, HALF + QK_K / 8 * 2 + QK_K / 32),
            dtype(18, "IQ3_XXS", QK_K, HALF + 3 * (QK_K / 8)),
            dtype(19, "IQ1_S", QK_K, HALF + QK_K / 8 + QK_K / 16),
            dtype(20, "IQ4_NL", 32, HALF + 32 / 2),
            dtype(21, "IQ3_S", QK_K, HALF + 13 * (QK_K / 32) + QK_K / 64),
            dtype(22, "IQ2_S", QK_K, HALF + QK_K / 4 + QK_K / 16),
            dtype(23, "IQ4_XS", QK_K, HALF + 2 + QK_K / 64 + QK_K / 2),
            dtype(24, "I8", 1, 1),
            dtype(25, "I16", 1, 2),
            dtype(26, "I32", 1, 4),
            dtype(27, "I64", 1, 8),
            dtype(28, "F64", 1, 8),
            dtype(29, "IQ1_M", QK_K, QK_K / 8 + QK_K / 16 + QK_K / 32),
            dtype(30, "BF16", 1, 2),
            dtype(34, "TQ1_0", QK_K, HALF + QK_K / 64 + (QK_K - 4 * QK_K / 64) / 5),
            dtype(35, "TQ2_0", QK_K, HALF + QK_K / 4),
            dtype(39, "MXFP4", 32, 1 + 32 / 2),
            dtype(40, "NVFP4", 64, 64 / 16 + 64 / 2),
            dtype(41, "Q1_0", 128, HALF + 128 / 8),
            dtype(42, "Q2_0", 64, HALF + 64 / 4),
        ];
        assert_eq!(DTYPES, ggml);
    }
}
