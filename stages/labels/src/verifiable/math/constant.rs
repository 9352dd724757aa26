//! The exact value of expressions without variables, where it is rational and of bounded size.

use super::{
    exact::{self, bounded},
    expr::{Expr, Function},
};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// The value of an expression, where it is a rational number that [`exact`] can hold.
#[must_use]
pub fn value(expr: &Expr) -> Option<BigRational> {
    match expr {
        Expr::Integer(_) | Expr::Rational(_) | Expr::Float(_) => expr.exact_literal(),
        Expr::Hundredth => Some(BigRational::new(1.into(), 100.into())),
        Expr::Add(terms) => terms.iter().try_fold(BigRational::zero(), |sum, term| bounded(sum + value(term)?)),
        Expr::Mul(factors) => {
            factors.iter().try_fold(BigRational::one(), |product, factor| bounded(product * value(factor)?))
        }
        Expr::Power(pair) => power(&value(&pair.0)?, &value(&pair.1)?),
        Expr::Call(function, arguments) => call(function, arguments),
        _ => None,
    }
}

fn power(base: &BigRational, exponent: &BigRational) -> Option<BigRational> {
    if exponent.is_integer() {
        return exact::power(base, exponent.numer());
    }
    let degree = exponent.denom().to_u32().filter(|degree| *degree <= 64)?;
    let root = exact::exact_root(base, degree)?;
    exact::power(&root, exponent.numer())
}

fn integer(expr: &Expr) -> Option<BigInt> {
    let value = value(expr)?;
    value.is_integer().then(|| value.to_integer())
}

fn call(function: &Function, arguments: &[Expr]) -> Option<BigRational> {
    let whole = |value: BigInt| Some(BigRational::from_integer(value));
    match (function, arguments) {
        (Function::Abs, [x]) => Some(value(x)?.abs()),
        (Function::Floor, [x]) => Some(value(x)?.floor()),
        (Function::Ceiling, [x]) => Some(value(x)?.ceil()),
        (Function::Factorial, [n]) => {
            let n = integer(n)?;
            if exact::is_negative(&n) { None } else { whole(exact::factorial(&n)?) }
        }
        (Function::Gamma, [n]) => {
            let n = integer(n)? - 1;
            if exact::is_negative(&n) { None } else { whole(exact::factorial(&n)?) }
        }
        (Function::Binomial, [n, k]) => whole(exact::binomial(&integer(n)?, &integer(k)?)?),
        (Function::Mod, [a, b]) => {
            let (a, b) = (value(a)?, value(b)?);
            if b.is_zero() { None } else { Some(&a - &b * (&a / &b).floor()) }
        }
        (Function::Determinant, [Expr::Matrix(matrix)]) if matrix.rows == matrix.columns => {
            determinant(matrix.cells.iter().map(value).collect::<Option<_>>()?, matrix.rows)
        }
        (Function::Max, all) => all.iter().map(value).collect::<Option<Vec<_>>>()?.into_iter().max(),
        (Function::Min, all) => all.iter().map(value).collect::<Option<Vec<_>>>()?.into_iter().min(),
        _ => None,
    }
}

/// By elimination with row exchanges.
fn determinant(mut cells: Vec<BigRational>, size: usize) -> Option<BigRational> {
    let mut result = BigRational::one();
    for column in 0..size {
        let Some(pivot) = (column..size).find(|row| !cells[row * size + column].is_zero()) else {
            return Some(BigRational::zero());
        };
        if pivot != column {
            (0..size).for_each(|k| cells.swap(pivot * size + k, column * size + k));
            result = -result;
        }
        let head = cells[column * size + column].clone();
        result = bounded(result * &head)?;
        for row in column + 1..size {
            let factor = &cells[row * size + column] / &head;
            for k in column..size {
                let above = &factor * &cells[column * size + k];
                cells[row * size + k] = bounded(&cells[row * size + k] - above)?;
            }
        }
    }
    Some(result)
}

/// Whether a decimal takes part in the value, so that sympy's number would be one too.
#[must_use]
pub fn is_inexact(expr: &Expr) -> bool {
    expr.any(&|part| matches!(part, Expr::Float(_)))
}

/// The fewest significant digits of the decimals in it.
#[must_use]
pub fn digits(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Float(float) => Some(float.digits()),
        _ => expr.parts().into_iter().filter_map(digits).min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_or_none() {
        let nine = || Expr::integer(9);
        let root = Expr::power(nine(), Expr::fraction(&3.into(), &2.into()));
        assert_eq!(value(&root), Some(BigRational::from_integer(27.into())));
        let tower = Expr::power(nine(), Expr::power(nine(), Expr::power(nine(), nine())));
        assert_eq!(value(&tower), None);
        assert_eq!(value(&Expr::Call(Function::Factorial, vec![Expr::integer(1_000_000)])), None);
        let zero = Expr::integer(0);
        assert_eq!(value(&Expr::reciprocal(zero)), None);
    }
}
