//! Double-precision complex values of expressions, and probing at seeded points.

use super::{
    constant, exact,
    expr::{Constant, Expr, Function, Symbol},
};
use num_complex::Complex64;
use num_traits::Zero;
use std::{cmp::Ordering, f64::consts};

/// Operations of one evaluation at most, and terms of one sum or product.
const MAX_STEPS: u32 = 50_000;
const MAX_TERMS: i64 = 2_000;
/// Points at which two expressions must agree, and those tried to find that many.
const POINTS: usize = 6;
const TRIES: usize = 24;
/// Relative differences up to these count as rounding: of constants, and of probed values.
const CONSTANT_TOLERANCE: f64 = 1e-12;
const PROBE_TOLERANCE: f64 = 1e-9;

/// The Euler–Mascheroni constant.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// Values of variables.
type Environment<'a> = [(&'a Symbol, Complex64)];

struct Evaluation {
    steps: u32,
}

/// The value of an expression at a point; none where it is undefined, unknown, not finite or takes too long.
#[must_use]
pub fn evaluate(expr: &Expr, environment: &Environment<'_>) -> Option<Complex64> {
    let value = Evaluation { steps: 0 }.value(expr, environment)?;
    value.is_finite().then_some(value)
}

/// The value of an expression without variables.
#[must_use]
pub fn constant(expr: &Expr) -> Option<Complex64> {
    evaluate(expr, &[])
}

/// The value of an expression without variables as a real number, infinities included.
#[must_use]
pub fn real(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Constant(Constant::Infinity) => Some(f64::INFINITY),
        Expr::Constant(Constant::NegativeInfinity) => Some(f64::NEG_INFINITY),
        _ => {
            let value = constant(expr)?;
            (value.im.abs() <= CONSTANT_TOLERANCE * value.re.abs().max(1.0)).then_some(value.re)
        }
    }
}

/// How two real constants compare: exactly where both are rational.
#[must_use]
pub fn compare(a: &Expr, b: &Expr) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (constant::value(a), constant::value(b)) {
        return Some(a.cmp(&b));
    }
    let (a, b) = (real(a)?, real(b)?);
    if a.is_finite() && b.is_finite() && close(a.into(), b.into(), CONSTANT_TOLERANCE) {
        Some(Ordering::Equal)
    } else {
        a.partial_cmp(&b)
    }
}

/// Whether a constant is known not to be a real number.
#[must_use]
pub fn is_not_real(expr: &Expr) -> bool {
    match expr {
        Expr::Symbol(symbol) => !symbol.real,
        _ => real(expr).is_none() && constant(expr).is_some(),
    }
}

/// Whether two constants have the same value up to rounding; none where either has no value.
#[must_use]
pub fn equal_constants(a: &Expr, b: &Expr) -> Option<bool> {
    Some(close(constant(a)?, constant(b)?, CONSTANT_TOLERANCE))
}

fn close(a: Complex64, b: Complex64, tolerance: f64) -> bool {
    let difference = (a - b).norm();
    difference == 0.0 || difference <= tolerance * a.norm().max(b.norm()) || difference < 1e-15
}

/// Whether two expressions agree at seeded points of all variables; none where too few points have values.
#[must_use]
pub fn agree(a: &Expr, b: &Expr) -> Option<bool> {
    let mut symbols = a.symbols();
    symbols.extend(b.symbols());
    symbols.sort();
    symbols.dedup();
    if symbols.is_empty() {
        return equal_constants(a, b);
    }
    let mut agreed = 0;
    for point in 0..TRIES {
        let environment: Vec<(&Symbol, Complex64)> =
            symbols.iter().enumerate().map(|(i, symbol)| (symbol, coordinate(symbol, i, point))).collect();
        let (Some(left), Some(right)) = (evaluate(a, &environment), evaluate(b, &environment)) else { continue };
        if !close(left, right, PROBE_TOLERANCE) {
            return Some(false);
        }
        agreed += 1;
        if agreed == POINTS {
            return Some(true);
        }
    }
    None
}

/// The value of a variable at a point: of either sign and moderate size, the same in every run.
fn coordinate(symbol: &Symbol, index: usize, point: usize) -> Complex64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(1 + (index as u64) * 64 + point as u64);
    let mut unit = || {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let size = 0.3 + 2.4 * unit();
    let real = if unit() < 0.5 { -size } else { size };
    let imaginary = if symbol.real { 0.0 } else { unit() - 0.5 };
    Complex64::new(real, imaginary)
}

impl Evaluation {
    fn value(&mut self, expr: &Expr, environment: &Environment<'_>) -> Option<Complex64> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return None;
        }
        Some(match expr {
            Expr::Integer(_) | Expr::Rational(_) | Expr::Float(_) => exact::to_f64(&expr.exact_literal()?).into(),
            Expr::Hundredth => 0.01.into(),
            Expr::Symbol(symbol) => environment.iter().find(|(name, _)| *name == symbol)?.1,
            Expr::Constant(constant) => match constant {
                Constant::Pi => consts::PI.into(),
                Constant::E => consts::E.into(),
                Constant::EulerGamma => EULER_GAMMA.into(),
                Constant::I => Complex64::I,
                _ => return None,
            },
            Expr::Add(terms) => {
                let mut sum = Complex64::zero();
                for term in terms {
                    sum += self.value(term, environment)?;
                }
                sum
            }
            Expr::Mul(factors) => {
                let mut product = Complex64::ONE;
                for factor in factors {
                    product *= self.value(factor, environment)?;
                }
                product
            }
            Expr::Power(pair) => {
                let (base, exponent) = (self.value(&pair.0, environment)?, self.value(&pair.1, environment)?);
                power(base, exponent)?
            }
            Expr::Call(function, arguments) => self.call(function, arguments, environment)?,
            _ => return None,
        })
    }

    fn call(&mut self, function: &Function, arguments: &[Expr], environment: &Environment<'_>) -> Option<Complex64> {
        if let (Function::Sum | Function::Product, [term, Expr::Symbol(index), first, last]) = (function, arguments) {
            return self.series(*function == Function::Product, term, index, [first, last], environment);
        }
        if let (Function::Determinant, [Expr::Matrix(matrix)]) = (function, arguments) {
            let cells: Option<Vec<Complex64>> = matrix.cells.iter().map(|cell| self.value(cell, environment)).collect();
            return if matrix.rows == matrix.columns { determinant(cells?, matrix.rows) } else { None };
        }
        let values: Option<Vec<Complex64>> =
            arguments.iter().map(|argument| self.value(argument, environment)).collect();
        let values = values?;
        let reals = || values.iter().map(|value| is_real(*value).then_some(value.re)).collect::<Option<Vec<f64>>>();
        let &x = values.first()?;
        Some(match (function, values.len()) {
            (Function::Sin, 1) => x.sin(),
            (Function::Cos, 1) => x.cos(),
            (Function::Tan, 1) => x.tan(),
            (Function::Csc, 1) => x.sin().inv(),
            (Function::Sec, 1) => x.cos().inv(),
            (Function::Cot, 1) => x.tan().inv(),
            (Function::Asin, 1) => x.asin(),
            (Function::Acos, 1) => x.acos(),
            (Function::Atan, 1) => x.atan(),
            (Function::Acsc, 1) => x.inv().asin(),
            (Function::Asec, 1) => x.inv().acos(),
            (Function::Acot, 1) => x.inv().atan(),
            (Function::Sinh, 1) => x.sinh(),
            (Function::Cosh, 1) => x.cosh(),
            (Function::Tanh, 1) => x.tanh(),
            (Function::Asinh, 1) => x.asinh(),
            (Function::Acosh, 1) => x.acosh(),
            (Function::Atanh, 1) => x.atanh(),
            (Function::Log, 2) if !x.is_zero() => {
                let base = values[1];
                if base == Complex64::from(consts::E) { x.ln() } else { x.ln() / base.ln() }
            }
            (Function::Abs, 1) => x.norm().into(),
            (Function::Floor, 1) => reals()?[0].floor().into(),
            (Function::Ceiling, 1) => reals()?[0].ceil().into(),
            (Function::Factorial, 1) => gamma(reals()?[0] + 1.0)?.into(),
            (Function::Gamma, 1) => gamma(reals()?[0])?.into(),
            (Function::Binomial, 2) => {
                let reals = reals()?;
                let (n, k) = (reals[0], reals[1]);
                (gamma(n + 1.0)? / (gamma(k + 1.0)? * gamma(n - k + 1.0)?)).into()
            }
            (Function::Mod, 2) => {
                let reals = reals()?;
                (reals[0] - reals[1] * (reals[0] / reals[1]).floor()).into()
            }
            (Function::Max, _) => reals()?.into_iter().fold(f64::NEG_INFINITY, f64::max).into(),
            (Function::Min, _) => reals()?.into_iter().fold(f64::INFINITY, f64::min).into(),
            _ => return None,
        })
    }

    fn series(
        &mut self,
        product: bool,
        term: &Expr,
        index: &Symbol,
        [first, last]: [&Expr; 2],
        environment: &Environment<'_>,
    ) -> Option<Complex64> {
        let bound = |value: Complex64| {
            let whole = is_real(value) && value.re.fract() == 0.0 && value.re.abs() < 1e9;
            whole.then_some(value.re as i64)
        };
        let (first, last) = (bound(self.value(first, environment)?)?, bound(self.value(last, environment)?)?);
        if last - first >= MAX_TERMS {
            return None;
        }
        let mut inner = vec![(index, Complex64::zero())];
        inner.extend(environment.iter().filter(|(name, _)| *name != index));
        let mut total = if product { Complex64::ONE } else { Complex64::zero() };
        for i in first..=last {
            inner[0].1 = (i as f64).into();
            let value = self.value(term, &inner)?;
            if product {
                total *= value;
            } else {
                total += value;
            }
        }
        Some(total)
    }
}

fn is_real(value: Complex64) -> bool {
    value.im.abs() <= CONSTANT_TOLERANCE * value.re.abs().max(1.0)
}

/// The principal power.
fn power(base: Complex64, exponent: Complex64) -> Option<Complex64> {
    if exponent.im == 0.0 && exponent.re.fract() == 0.0 && exponent.re.abs() <= 1024.0 {
        if base.is_zero() && exponent.re < 0.0 {
            return None;
        }
        if base.im == 0.0 {
            return Some(base.re.powi(exponent.re as i32).into());
        }
        return Some(base.powi(exponent.re as i32));
    }
    if base.is_zero() {
        return (exponent.re > 0.0).then(Complex64::zero);
    }
    if base.im == 0.0 && exponent.im == 0.0 && base.re > 0.0 {
        return Some(base.re.powf(exponent.re).into());
    }
    if exponent == Complex64::new(0.5, 0.0) {
        return Some(base.sqrt());
    }
    Some(base.powc(exponent))
}

/// The gamma function on the real line (Lanczos' approximation, g = 7, n = 9); none at its poles.
fn gamma(x: f64) -> Option<f64> {
    const COEFFICIENTS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x.fract() == 0.0 {
        if x <= 0.0 {
            return None;
        }
        if x <= 171.0 {
            return Some((2..x as u32).fold(1.0, |product, k| product * f64::from(k)));
        }
        return None;
    }
    if x < 0.5 {
        return Some(consts::PI / ((consts::PI * x).sin() * gamma(1.0 - x)?));
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let series = (1..9).fold(COEFFICIENTS[0], |sum, i| sum + COEFFICIENTS[i] / (x + i as f64));
    Some((2.0 * consts::PI).sqrt() * t.powf(x + 0.5) * (-t).exp() * series)
}

/// By elimination with row exchanges.
fn determinant(mut cells: Vec<Complex64>, size: usize) -> Option<Complex64> {
    let mut result = Complex64::ONE;
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| cells[a * size + column].norm().total_cmp(&cells[b * size + column].norm()))?;
        if cells[pivot * size + column].is_zero() {
            return Some(Complex64::zero());
        }
        if pivot != column {
            (0..size).for_each(|k| cells.swap(pivot * size + k, column * size + k));
            result = -result;
        }
        let head = cells[column * size + column];
        result *= head;
        for row in column + 1..size {
            let factor = cells[row * size + column] / head;
            for k in column..size {
                let above = cells[column * size + k];
                cells[row * size + k] -= factor * above;
            }
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_hold_at_the_probed_points() {
        let x = || Expr::Symbol(Symbol { name: "x".into(), real: true });
        let square = |f| Expr::power(Expr::Call(f, vec![x()]), Expr::integer(2));
        let one = Expr::Add(vec![square(Function::Sin), square(Function::Cos)]);
        assert_eq!(agree(&one, &Expr::one()), Some(true));
        assert_eq!(agree(&one, &x()), Some(false));
        let root = Expr::power(Expr::power(x(), Expr::integer(2)), Expr::fraction(&1.into(), &2.into()));
        assert_eq!(agree(&root, &Expr::Call(Function::Abs, vec![x()])), Some(true));
        assert_eq!(agree(&root, &x()), Some(false));
    }

    #[test]
    fn the_gamma_function_meets_its_known_values() {
        assert!((gamma(0.5).unwrap() - consts::PI.sqrt()).abs() < 1e-12);
        assert_eq!(gamma(6.0), Some(120.0));
        assert_eq!(gamma(-3.0), None);
    }
}
