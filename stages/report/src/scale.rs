//! Axes: from values to pixels, with ticks at round numbers.

/// A linear axis.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Maps `low..high` to the pixels `from..to`; a domain without extent is widened.
    pub fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = if high - low > f64::EPSILON * low.abs().max(1e-12) {
            (low, high)
        } else {
            (low - low.abs().max(1.0) * 0.5, low + low.abs().max(1.0) * 0.5)
        };
        Self { low, high, from, to }
    }

    /// The pixel of a value; values outside the domain stay at its ends.
    pub fn at(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Round values inside the domain, about `wanted` of them.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / wanted.max(1) as f64;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(10.0 * magnitude);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

/// The domain of some values, with the least and largest included; `(0, 1)` for none.
pub fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// A domain with some air at both ends.
pub fn padded((low, high): (f64, f64), share: f64) -> (f64, f64) {
    let pad = (high - low) * share;
    (low - pad, high + pad)
}

/// A number for people: as many digits as it takes, no more than three that count.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e5).contains(&magnitude) {
        let text = format!("{value:.1e}").replace(".0e", "e");
        return text.replace('-', "\u{2212}");
    }
    let digits = match magnitude {
        m if m >= 100.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.replace('-', "\u{2212}")
}

/// How many decimals numbers of this size need for three digits that count; the same for a whole column.
pub fn decimals(values: impl Iterator<Item = f64>) -> usize {
    match values.filter(|v| v.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs())) {
        most if most >= 100.0 => 0,
        most if most >= 10.0 => 1,
        most if most >= 1.0 => 2,
        _ => 3,
    }
}

/// A number with so many decimals and a real minus sign.
pub fn fixed(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}").replace('-', "\u{2212}")
}

/// A probability as a tick label on a log axis: `1`, `0.1`, `10⁻³`.
pub fn power_of_ten(exponent: i32) -> String {
    match exponent {
        0 => "1".to_owned(),
        -1 => "0.1".to_owned(),
        -2 => "0.01".to_owned(),
        _ => {
            let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
            let sign = if exponent < 0 { "⁻" } else { "" };
            let raised: String = exponent
                .unsigned_abs()
                .to_string()
                .chars()
                .filter_map(|c| c.to_digit(10))
                .map(|digit| digits[digit as usize])
                .collect();
            format!("10{sign}{raised}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let near = |got: Vec<f64>, expected: &[f64]| {
            assert_eq!(got.len(), expected.len(), "{got:?}");
            got.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{got:?}"));
        };
        near(Scale::new((0.0, 1.0), (0.0, 100.0)).ticks(5), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        near(Scale::new((-3.0, 17.0), (0.0, 100.0)).ticks(4), &[0.0, 5.0, 10.0, 15.0]);
        assert!(Scale::new((2.0, 2.0), (0.0, 1.0)).at(2.0).is_finite());
    }

    #[test]
    fn numbers_are_short() {
        let texts: Vec<String> = [0.0, 0.5, -1.25, 12.34, 1234.0, 1e-5, 3.0].map(short).into();
        assert_eq!(texts, ["0", "0.5", "−1.25", "12.3", "1234", "1e−5", "3"]);
        assert_eq!(power_of_ten(-12), "10⁻¹²");
    }
}
