//! Exact arithmetic whose size is bounded: integers, fractions, and decimals with their number of digits.

use num_bigint::{BigInt, Sign};
use num_integer::Integer as _;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// The most bits of a numerator or denominator; what needs more has no exact value here.
pub const MAX_BITS: u64 = 1 << 14;
/// The most digits of a written number, and the largest power of ten it may carry.
pub const MAX_DIGITS: usize = 4300;
/// Significant digits of a decimal written with fewer.
const LEAST_DIGITS: u32 = 15;

/// A decimal number: its exact value, and to how many significant digits it is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Float {
    value: BigRational,
    digits: u32,
}

impl Float {
    /// A decimal of an exact value.
    #[must_use]
    pub fn new(value: BigRational, digits: u32) -> Self {
        Self { value, digits: digits.max(LEAST_DIGITS) }
    }

    #[must_use]
    pub fn value(&self) -> &BigRational {
        &self.value
    }

    #[must_use]
    pub fn digits(&self) -> u32 {
        self.digits
    }

    #[must_use]
    pub fn negated(&self) -> Self {
        Self { value: -self.value.clone(), digits: self.digits }
    }
}

/// A number as written: ASCII digits with at most one point, then perhaps an exponent behind `e` or `E`.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    Integer(BigInt),
    Float(Float),
}

/// Reads a number as written; none where it is not one or has more than [`MAX_DIGITS`] digits.
#[must_use]
pub fn parse_number(text: &str) -> Option<Number> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(unsigned[at + 1..].parse::<i64>().ok()?)),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_integer = exponent.is_none() && !mantissa.contains('.');
    let digits: String = [whole, part].concat();
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut value = BigInt::parse_bytes(digits.as_bytes(), 10)?;
    if negative {
        value = -value;
    }
    if is_integer {
        return Some(Number::Integer(value));
    }
    let shift = exponent.unwrap_or(0).checked_sub(i64::try_from(part.len()).ok()?)?;
    if shift.unsigned_abs() > MAX_DIGITS as u64 {
        return None;
    }
    let scale = power_of_ten(u32::try_from(shift.unsigned_abs()).ok()?);
    let value = if shift < 0 { BigRational::new(value, scale) } else { BigRational::from_integer(value * scale) };
    let significant = digits.trim_start_matches('0').len();
    Some(Number::Float(Float::new(value, u32::try_from(significant).ok()?)))
}

fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// Whether numerator and denominator are within [`MAX_BITS`].
#[must_use]
pub fn in_bounds(value: &BigRational) -> bool {
    value.numer().bits() <= MAX_BITS && value.denom().bits() <= MAX_BITS
}

/// The value, where it is within bounds.
#[must_use]
pub fn bounded(value: BigRational) -> Option<BigRational> {
    in_bounds(&value).then_some(value)
}

/// `base ^ exponent`, exact; none where it is undefined or too large.
#[must_use]
pub fn power(base: &BigRational, exponent: &BigInt) -> Option<BigRational> {
    if exponent.is_zero() || base.is_one() {
        return Some(BigRational::one());
    }
    if base.is_zero() {
        return exponent.is_positive().then(BigRational::zero);
    }
    if *base == -BigRational::one() {
        return Some(if exponent.is_even() { BigRational::one() } else { base.clone() });
    }
    let times = exponent.magnitude().to_u64()?;
    let bits = base.numer().bits().max(base.denom().bits());
    if bits.checked_mul(times)? > MAX_BITS {
        return None;
    }
    let times = u32::try_from(times).ok()?;
    let (up, down) = (base.numer().pow(times), base.denom().pow(times));
    Some(if exponent.is_negative() { BigRational::new(down, up) } else { BigRational::new(up, down) })
}

/// The exact `degree`-th root of a value that is not negative, where it is rational.
#[must_use]
pub fn exact_root(value: &BigRational, degree: u32) -> Option<BigRational> {
    if degree == 0 || value.is_negative() {
        return None;
    }
    let root = |n: &BigInt| {
        let root = n.nth_root(degree);
        (root.pow(degree) == *n).then_some(root)
    };
    Some(BigRational::new(root(value.numer())?, root(value.denom())?))
}

/// `n!`; none above 1000.
#[must_use]
pub fn factorial(n: &BigInt) -> Option<BigInt> {
    let n = n.to_u64().filter(|n| *n <= 1000)?;
    Some((2..=n).fold(BigInt::one(), |product, k| product * k))
}

/// `n` over `k` for integers, zero where `k` is negative or above a `n` that is not; none where it is too large.
#[must_use]
pub fn binomial(n: &BigInt, k: &BigInt) -> Option<BigInt> {
    if k.is_negative() {
        return Some(BigInt::zero());
    }
    let mut k = k.clone();
    if !n.is_negative() {
        if k > *n {
            return Some(BigInt::zero());
        }
        k = k.clone().min(n - &k);
    }
    let k = k.to_u64().filter(|k| *k <= 1000)?;
    if n.bits() > 64 {
        return None;
    }
    let mut result = BigInt::one();
    for i in 0..k {
        result = result * (n - i) / (i + 1);
    }
    Some(result)
}

/// The value to `places` decimal places, a tie to the even neighbour.
#[must_use]
pub fn round_half_even(value: &BigRational, places: u32) -> BigRational {
    let scale = BigRational::from_integer(power_of_ten(places));
    let scaled = value * &scale;
    let mut below = scaled.floor().to_integer();
    let rest = (scaled - BigRational::from_integer(below.clone())) * BigInt::from(2);
    let one = BigRational::one();
    if rest > one || (rest == one && below.is_odd()) {
        below += 1;
    }
    BigRational::from_integer(below) / scale
}

/// Digits before the decimal point of a value that is not zero: 1 for 2.5, 0 for 0.5, -1 for 0.05.
#[must_use]
pub fn decimal_magnitude(value: &BigRational) -> i64 {
    let (up, down) = (value.numer().magnitude(), value.denom().magnitude());
    let estimate = (up.bits() as f64 - down.bits() as f64) * std::f64::consts::LOG10_2;
    let mut magnitude = estimate.floor() as i64 - 1;
    let absolute = value.abs();
    let ten = |exponent: i64| {
        let scale = BigRational::from_integer(power_of_ten(exponent.unsigned_abs() as u32));
        if exponent < 0 { scale.recip() } else { scale }
    };
    while absolute >= ten(magnitude) {
        magnitude += 1;
    }
    magnitude
}

/// The value to `digits` significant decimal digits' worth of bits, a tie to the even neighbour.
#[must_use]
pub fn round_to_digits(value: &BigRational, digits: u32) -> BigRational {
    if value.is_zero() {
        return value.clone();
    }
    let bits = ((f64::from(digits) + 1.0) * std::f64::consts::LOG2_10).round().max(1.0) as i64;
    let exponent = value.numer().bits() as i64 - value.denom().bits() as i64;
    let shift = bits - exponent;
    let two = BigInt::from(2).pow(shift.unsigned_abs() as u32);
    let scale = if shift < 0 { BigRational::new(BigInt::one(), two) } else { BigRational::from_integer(two) };
    // One bit too many at most; halving once brings it to the wanted width.
    let scale = if (value.abs() * &scale).to_integer().bits() as i64 > bits { scale / BigInt::from(2) } else { scale };
    round_half_even(&(value * &scale), 0) / scale
}

/// The nearest double.
#[must_use]
pub fn to_f64(value: &BigRational) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

/// Whether the number is below zero.
#[must_use]
pub fn is_negative(value: &BigInt) -> bool {
    value.sign() == Sign::Minus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(up: i64, down: i64) -> BigRational {
        BigRational::new(up.into(), down.into())
    }

    #[test]
    fn rounding_ties_go_to_even() {
        assert_eq!(round_half_even(&ratio(25, 10), 0), ratio(2, 1));
        assert_eq!(round_half_even(&ratio(-35, 10), 0), ratio(-4, 1));
        assert_eq!(round_half_even(&ratio(1, 3), 6), ratio(333_333, 1_000_000));
    }

    #[test]
    fn magnitudes_count_the_digits_before_the_point() {
        for (value, digits) in [(ratio(5, 2), 1), (ratio(1, 2), 0), (ratio(1, 20), -1), (ratio(1000, 1), 4)] {
            assert_eq!(decimal_magnitude(&value), digits);
        }
    }

    #[test]
    fn numbers_are_read_exactly() {
        let Some(Number::Float(value)) = parse_number("-0.250") else { panic!("a decimal") };
        assert_eq!(value.value(), &ratio(-1, 4));
        assert_eq!(parse_number("007"), Some(Number::Integer(7.into())));
        assert_eq!(parse_number("1e999999999"), None);
        assert_eq!(parse_number("."), None);
    }

    #[test]
    fn powers_stop_at_the_bound() {
        assert_eq!(power(&ratio(2, 3), &(-2).into()).unwrap(), ratio(9, 4));
        assert!(power(&ratio(9, 1), &BigInt::from(9).pow(9)).is_none());
    }
}
