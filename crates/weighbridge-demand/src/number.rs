//! Real numbers that come out the same on every platform.
//!
//! IEEE 754 fixes the result of +, −, ×, ÷ and of comparisons to the last bit. Nothing else is used: the standard
//! library's powers and logarithms differ between platforms.

/// The natural logarithm of 2.
pub(crate) const LN_2: f64 = std::f64::consts::LN_2;

/// The number as a real one. Exact up to 2^53, as byte counts are.
pub(crate) fn real(number: u64) -> f64 {
    let half = |number: u64| f64::from(u32::try_from(number & 0xffff_ffff).unwrap_or(u32::MAX));
    half(number >> 32) * 4_294_967_296.0 + half(number)
}

/// e to the power of −`x`; 1 if `x` is not positive.
pub(crate) fn decay(x: f64) -> f64 {
    if x > 700.0 {
        return 0.0;
    }
    let (mut rest, mut scale) = (x.max(0.0), 1.0);
    while rest >= LN_2 {
        rest -= LN_2;
        scale *= 0.5;
    }
    // The series of e^−rest, with rest below 0.7: the thirteenth term is below 10^−11.
    let sum = (1..=12_u32).rev().fold(1.0, |sum, term| 1.0 - sum * rest / f64::from(term));
    scale * sum
}

/// 2 to the power of −`x`; 1 if `x` is not positive.
pub(crate) fn halved(x: f64) -> f64 {
    decay(x * LN_2)
}

/// The chance of at least one event where `expected` are expected, independent of each other.
pub(crate) fn chance_of(expected: f64) -> f64 {
    // The difference would lose the digits of small numbers.
    if expected < 1e-4 { expected.max(0.0) } else { 1.0 - decay(expected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_the_standard_library() {
        for step in 0..2000_u32 {
            let x = f64::from(step) * 0.01;
            assert!((decay(x) / (-x).exp() - 1.0).abs() < 1e-10, "{x}");
            assert!((halved(x) / (-x).exp2() - 1.0).abs() < 1e-10, "{x}");
            assert!((chance_of(x) - (1.0 - (-x).exp())).abs() < 1e-8, "{x}");
        }
        assert_eq!((decay(0.0), decay(-3.0), decay(1e9), decay(f64::NAN)), (1.0, 1.0, 0.0, 1.0));
    }

    #[test]
    fn whole_numbers_stay_exact() {
        for number in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 53) - 1] {
            assert_eq!(real(number), number as f64);
        }
    }
}
