//! A second reading of accepted files, as simple as can be: no limits, no refusals but a `None` at the file's end.

use weighbridge_formats::TensorSpan;

/// All tensors of a well-formed file, in the order of the header.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<TensorSpan>> {
    let mut rest = bytes.get(8..)?;
    let tensors = number(&mut rest, 8)?;
    let mut alignment = 32;
    for _ in 0..number(&mut rest, 8)? {
        let key = text(&mut rest)?;
        let kind = number(&mut rest, 4)?;
        if key == b"general.alignment" {
            alignment = number(&mut rest, 4)?;
        } else {
            skip(&mut rest, kind)?;
        }
    }
    let mut spans = Vec::new();
    for _ in 0..tensors {
        let name = String::from_utf8(text(&mut rest)?.to_vec()).ok()?;
        let mut shape = Vec::new();
        for _ in 0..number(&mut rest, 4)? {
            shape.insert(0, number(&mut rest, 8)?);
        }
        let dtype = number(&mut rest, 4)?;
        let (dtype, block, block_bytes) =
            DTYPES.iter().find(|row| row.0 == dtype).map(|row| (row.1, row.2, row.3))?;
        let mut size = u128::from(block_bytes);
        for dimension in &shape {
            // Big enough for four dimensions that end in a size below 2^53, or in nothing.
            size = if shape.contains(&0) { 0 } else { size.checked_mul(u128::from(*dimension))? };
        }
        let size = u64::try_from(size / u128::from(block)).ok()?;
        spans.push(TensorSpan { name, dtype: dtype.into(), shape, offset: number(&mut rest, 8)?, size });
    }
    let start = u64::try_from(bytes.len() - rest.len()).ok()?.div_ceil(alignment) * alignment;
    spans.iter_mut().for_each(|span| span.offset += start);
    Some(spans)
}

fn number(rest: &mut &[u8], width: usize) -> Option<u64> {
    let (bytes, after) = rest.split_at_checked(width)?;
    *rest = after;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(rest, 8)?).ok()?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(text)
}

fn skip(rest: &mut &[u8], kind: u64) -> Option<()> {
    match kind {
        0 | 1 | 7 => number(rest, 1).map(drop),
        2 | 3 => number(rest, 2).map(drop),
        4..=6 => number(rest, 4).map(drop),
        8 => text(rest).map(drop),
        9 => {
            let kind = number(rest, 4)?;
            let count = number(rest, 8)?;
            (0..count).try_for_each(|_| skip(rest, kind))
        }
        10..=12 => number(rest, 8).map(drop),
        _ => None,
    }
}

/// Number, name, elements and bytes of a block, as gguf-py has them.
pub(crate) const DTYPES: &[(u64, &str, u64, u64)] = &[
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 40),
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
];
