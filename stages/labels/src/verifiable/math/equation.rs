//! Whether two equations have the same solutions, as far as the reference's solver tells: solved for the first variable
//! by name, they must have the same roots.
//!
//! The other variables get random values in a prime field (Schwartz and Zippel), so that roots are compared by
//! polynomial arithmetic alone: two equations have the same roots where their square-free parts are proportional.

use super::{
    canonical,
    expr::{Expr, Order, Relation, Symbol},
    numeric,
    polynomial::Polynomial,
    sets::RealSet,
};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::ToPrimitive;

/// A Mersenne prime.
const PRIME: u64 = (1 << 61) - 1;
/// Values of the other variables that are tried, and degree at most.
const SAMPLES: u64 = 3;
const MAX_DEGREE: usize = 64;

/// Whether the solutions of two equations agree; none where that is not found out.
#[must_use]
pub fn same_solutions(gold: &Relation, prediction: &Relation) -> Option<bool> {
    let (a, b) = (variables(gold), variables(prediction));
    if a.len() < 2 || b.len() < 2 {
        // The reference compares solutions of one variable only where there are none at all.
        return Some(a.len() == 1 && b.len() == 1 && never_holds(gold) && never_holds(prediction));
    }
    let (left, right) = (difference(gold), difference(prediction));
    if a != b || a.len() > 16 {
        return Some(false);
    }
    let (Some(p), Some(q)) = (canonical::rational_function(&left, &a), canonical::rational_function(&right, &a)) else {
        return proportional(&left, &right);
    };
    for sample in 1..=SAMPLES {
        let (p, q) = (roots_of(&p.upper, &p.lower, sample)?, roots_of(&q.upper, &q.lower, sample)?);
        if p != q {
            return Some(false);
        }
    }
    Some(true)
}

fn variables(relation: &Relation) -> Vec<Symbol> {
    difference(relation).symbols()
}

fn difference(relation: &Relation) -> Expr {
    Expr::difference(&relation.left, &relation.right)
}

fn never_holds(relation: &Relation) -> bool {
    let relation = Relation { order: Order::Equal, ..relation.clone() };
    RealSet::solutions(&[relation]).is_some_and(|set| set.is_empty() || set.is_line())
}

/// Whether one expression is a multiple of the other, at probed points.
fn proportional(a: &Expr, b: &Expr) -> Option<bool> {
    let environment: Vec<(Symbol, f64)> =
        a.symbols().into_iter().enumerate().map(|(i, symbol)| (symbol, 0.7 + 0.31 * i as f64)).collect();
    let at: Vec<_> = environment.iter().map(|(symbol, value)| (symbol, (*value).into())).collect();
    let (x, y) = (numeric::evaluate(a, &at)?, numeric::evaluate(b, &at)?);
    if x.norm() < 1e-9 || y.norm() < 1e-9 || x.im.abs() > 1e-12 || y.im.abs() > 1e-12 {
        return None;
    }
    let scale = |value: f64| BigRational::from_float(value).map(Expr::rational);
    let (x, y) = (scale(x.re)?, scale(y.re)?);
    numeric::agree(&Expr::Mul(vec![y, a.clone()]), &Expr::Mul(vec![x, b.clone()]))
}

/// The monic polynomial in the first variable whose roots are those of the numerator that the denominator lacks, each
/// once, with values for the other variables.
fn roots_of(upper: &Polynomial, lower: &Polynomial, sample: u64) -> Option<Vec<u64>> {
    let (upper, lower) = (univariate(upper, sample)?, univariate(lower, sample)?);
    let derivative: Vec<u64> = upper.iter().enumerate().skip(1).map(|(i, c)| multiply(*c, i as u64)).collect();
    let simple = divide(&upper, &gcd(&upper, &derivative))?.0;
    let common = gcd(&simple, &lower);
    Some(monic(divide(&simple, &common)?.0))
}

fn univariate(polynomial: &Polynomial, sample: u64) -> Option<Vec<u64>> {
    let mut result: Vec<u64> = Vec::new();
    for (monomial, coefficient) in &polynomial.0 {
        let mut value = residue(coefficient)?;
        let mut degree = 0;
        for (index, exponent) in monomial {
            let exponent = u64::try_from(exponent.to_integer()).ok()?;
            if *index == 0 {
                degree = usize::try_from(exponent).ok()?;
            } else {
                // Any fixed values without structure will do.
                let point = (u64::from(*index) * 0x9e37_79b9 + sample * 0x85eb_ca6b + 12_345) % PRIME;
                value = multiply(value, power(multiply(point, point), exponent));
            }
        }
        if degree > MAX_DEGREE {
            return None;
        }
        if result.len() <= degree {
            result.resize(degree + 1, 0);
        }
        result[degree] = (result[degree] + value) % PRIME;
    }
    Some(trimmed(result))
}

fn residue(value: &BigRational) -> Option<u64> {
    let prime = BigInt::from(PRIME);
    let (up, down) = (value.numer().mod_floor(&prime).to_u64()?, value.denom().mod_floor(&prime).to_u64()?);
    (down != 0).then(|| multiply(up, inverse(down)))
}

fn multiply(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, base);
        }
        base = multiply(base, base);
        exponent >>= 1;
    }
    result
}

fn inverse(value: u64) -> u64 {
    power(value, PRIME - 2)
}

fn trimmed(mut polynomial: Vec<u64>) -> Vec<u64> {
    while polynomial.last() == Some(&0) {
        polynomial.pop();
    }
    polynomial
}

fn monic(polynomial: Vec<u64>) -> Vec<u64> {
    let Some(&lead) = polynomial.last() else { return polynomial };
    let scale = inverse(lead);
    polynomial.into_iter().map(|c| multiply(c, scale)).collect()
}

/// Quotient and remainder; none for division by zero.
fn divide(a: &[u64], b: &[u64]) -> Option<(Vec<u64>, Vec<u64>)> {
    let lead = inverse(*b.last()?);
    let mut rest = a.to_vec();
    let mut quotient = vec![0; (a.len() + 1).saturating_sub(b.len())];
    while rest.len() >= b.len() {
        let shift = rest.len() - b.len();
        let factor = multiply(*rest.last()?, lead);
        quotient[shift] = factor;
        for (i, c) in b.iter().enumerate() {
            rest[shift + i] = (rest[shift + i] + PRIME - multiply(factor, *c)) % PRIME;
        }
        rest.pop();
        rest = trimmed(rest);
    }
    Some((trimmed(quotient), rest))
}

fn gcd(a: &[u64], b: &[u64]) -> Vec<u64> {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    while let Some((_, rest)) = divide(&a, &b) {
        a = b;
        b = rest;
    }
    monic(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Expr {
        Expr::Symbol(Symbol { name: name.into(), real: true })
    }

    fn equation(left: Expr, right: Expr) -> Relation {
        Relation { order: Order::Equal, left, right }
    }

    #[test]
    fn scaled_equations_have_the_same_solutions() {
        let line = |scale: i64, constant: i64| {
            let x = Expr::product(Expr::integer(9 * scale), symbol("x"));
            let y = Expr::product(Expr::integer(5 * scale), symbol("y"));
            equation(Expr::sum(x, y), Expr::integer(constant))
        };
        assert_eq!(same_solutions(&line(1, 1), &line(2, 2)), Some(true));
        assert_eq!(same_solutions(&line(1, 1), &line(2, 3)), Some(false));
        let product = equation(Expr::product(symbol("x"), symbol("y")), Expr::one());
        let quotient = equation(symbol("y"), Expr::reciprocal(symbol("x")));
        assert_eq!(same_solutions(&product, &quotient), Some(true));
    }

    #[test]
    fn one_variable_counts_only_without_solutions() {
        let square = |constant: i64| equation(Expr::power(symbol("x"), Expr::integer(2)), Expr::integer(constant));
        assert_eq!(same_solutions(&square(4), &square(4)), Some(false));
        assert_eq!(same_solutions(&square(-4), &square(-9)), Some(true));
    }
}
