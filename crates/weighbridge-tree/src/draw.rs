//! Drawing numbers from a challenge's text.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::hash::Context;

/// The most BLAKE3 chunks that one challenge asks for.
pub const MAX_SAMPLES: u64 = 4_096;

/// Draws min(`samples`, `count`) distinct numbers below `count` from a challenge's text, ascending; never more than
/// [`MAX_SAMPLES`].
///
/// # Guarantee
/// Every number is equally likely, provided that the text holds 32 bytes that nobody could choose. Output values that
/// would favour low numbers are skipped.
///
/// # Non-guarantee
/// A party that chooses the text can choose the numbers, by trying texts.
///
/// # Cost
/// Memory for the drawn numbers. On average, fewer than two values of the BLAKE3 output for each value that is not too
/// high, and at most about 37,000 values that are not too high, if all of 4,096 numbers are wanted.
#[must_use]
pub fn draw(text: &[u8], count: u64, samples: u64) -> Vec<u64> {
    draw_from(values(text), count, samples)
}

/// The output for the samples, read as consecutive u64le values. The output has 2^64 bytes, more than any caller reads.
fn values(text: &[u8]) -> impl Iterator<Item = u64> {
    let mut output = Context::AUDIT_SAMPLES.output(text);
    core::iter::repeat_with(move || {
        let mut value = [0; 8];
        output.fill(&mut value);
        u64::from_le_bytes(value)
    })
}

fn draw_from(values: impl Iterator<Item = u64>, count: u64, samples: u64) -> Vec<u64> {
    let wanted = usize::try_from(samples.min(count).min(MAX_SAMPLES)).unwrap_or(0);
    // 2^64 mod count, computed without 2^64; `None` means a count of 0.
    let Some(surplus) = u64::MAX.checked_rem(count).and_then(|it| it.saturating_add(1).checked_rem(count))
    else {
        return Vec::new();
    };
    let last = u64::MAX.saturating_sub(surplus);
    let mut drawn = BTreeSet::new();
    for value in values {
        if drawn.len() >= wanted {
            break;
        }
        if value <= last {
            drawn.extend(value.checked_rem(count));
        }
    }
    drawn.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_would_favour_low_numbers_are_passed_over() {
        // 2^64 mod 10 is 6: the six highest values would make 0 to 5 more likely.
        let from = |values: &[u64]| draw_from(values.iter().copied(), 10, 1);
        for back in 0..6 {
            assert_eq!(from(&[u64::MAX - back, 7]), [7]);
        }
        assert_eq!(from(&[u64::MAX - 6, 7]), [9]);
        // Powers of two divide 2^64, so nothing is skipped.
        assert_eq!(draw_from([u64::MAX].into_iter(), 1 << 63, 1), [(1 << 63) - 1]);
        assert_eq!(draw_from([u64::MAX].into_iter(), 1, 1), [0]);
        // Just above 2^63, every value at or above the count is skipped.
        let count = (1 << 63) + 1;
        assert_eq!(draw_from([u64::MAX, count, 5].into_iter(), count, 1), [5]);
        assert_eq!(draw_from([count - 1].into_iter(), count, 1), [count - 1]);
    }

    #[test]
    fn repeats_are_passed_over() {
        assert_eq!(draw_from([3, 13, 3, 23, 1].into_iter(), 10, 2), [1, 3]);
    }
}
