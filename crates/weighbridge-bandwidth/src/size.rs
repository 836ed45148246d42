//! Sizes as people write them.

use std::fmt;

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// The reason why a text is no size.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// It is no number with a unit, or more than 2^64 bytes.
    Malformed,
    /// It is a size of no bytes.
    Nothing,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a size is written like 262144, 256KiB, 1GiB or 100MB",
            Self::Nothing => "a size is at least one byte",
        })
    }
}

impl std::error::Error for SizeError {}

/// A number of bytes, such as `262144`, `256KiB` or `100MB`, and never none.
///
/// # Errors
/// [`SizeError`].
///
/// # Example
/// ```
/// use weighbridge_bandwidth::byte_size;
///
/// assert_eq!(byte_size("256KiB"), Ok(262_144));
/// assert!(byte_size("0").is_err() && byte_size("1.5MB").is_err());
/// ```
pub fn byte_size(text: &str) -> Result<u64, SizeError> {
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (digits, unit) = unit.unwrap_or((text, 1));
    // The parser of numbers would take a sign.
    let number =
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(0) => Err(SizeError::Nothing),
        Some(bytes) => Ok(bytes),
        None => Err(SizeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units_and_no_sign_no_space_and_no_fraction() {
        for (text, size) in [
            ("1", Ok(1)),
            ("500kB", Ok(500_000)),
            ("2TiB", Ok(2 << 40)),
            ("0", Err(SizeError::Nothing)),
            ("0MiB", Err(SizeError::Nothing)),
            ("", Err(SizeError::Malformed)),
            ("+1", Err(SizeError::Malformed)),
            ("-1", Err(SizeError::Malformed)),
            ("1.5GiB", Err(SizeError::Malformed)),
            ("1 MiB", Err(SizeError::Malformed)),
            ("1mib", Err(SizeError::Malformed)),
            ("MiB", Err(SizeError::Malformed)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(SizeError::Malformed)),
            ("16777216TiB", Err(SizeError::Malformed)),
        ] {
            assert_eq!(byte_size(text), size, "{text}");
        }
    }
}
