//! Canonical forms: quotients of polynomials with exact coefficients, whose unknowns are variables, constants such as π,
//! square and higher roots of primes, logarithms of primes, and functions of canonical arguments.
//!
//! Equal canonical forms mean equal expressions. Different ones mean different expressions where all unknowns are
//! variables; otherwise an identity may hold that the form does not know.

use super::{
    constant, exact,
    expr::{Constant, Expr, Function, Symbol},
    polynomial::{Exponent, Monomial, Polynomial, Quotient},
};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// Products of terms at most, and unknowns.
const MAX_WORK: u32 = 20_000;
const MAX_ATOMS: usize = 64;
const MAX_EXPONENT: i64 = 1 << 20;
/// A power of a sum is multiplied out up to this exponent.
const MAX_POWER: u32 = 48;
/// Nesting at most.
const MAX_DEPTH: u32 = 200;
/// Primes below this are split off integers.
const PRIMES_BELOW: u32 = 2_000;

/// What stands for itself in a canonical form.
#[derive(Debug, Clone, PartialEq)]
enum Atom {
    Variable(Symbol),
    Constant(Constant),
    /// An integer of which a root is taken.
    Root(BigInt),
    /// The natural logarithm of an integer.
    Logarithm(BigInt),
    Call(Function, Vec<Quotient>),
    Power(Box<(Quotient, Quotient)>),
}

/// What canonical forms say about two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Different,
    Unknown,
}

/// Compares the canonical forms of two expressions.
#[must_use]
pub fn compare(a: &Expr, b: &Expr) -> Comparison {
    let mut forms = Forms::default();
    let (Some(a), Some(b)) = (forms.quotient(a), forms.quotient(b)) else { return Comparison::Unknown };
    let (Some(left), Some(right)) = (forms.times(&a.upper, &b.lower), forms.times(&b.upper, &a.lower)) else {
        return Comparison::Unknown;
    };
    if left == right {
        Comparison::Equal
    } else if forms.only_variables() {
        Comparison::Different
    } else {
        Comparison::Unknown
    }
}

/// The numerator and denominator of an expression as polynomials in its variables alone; none where it is not rational
/// in them. Unknowns are numbered in the order of `variables`.
#[must_use]
pub fn rational_function(expr: &Expr, variables: &[Symbol]) -> Option<Quotient> {
    let mut forms = Forms::default();
    for variable in variables {
        forms.atom(Atom::Variable(variable.clone()))?;
    }
    let quotient = forms.quotient(expr)?;
    let whole = |polynomial: &Polynomial| {
        polynomial.0.keys().flatten().all(|(_, exponent)| exponent.is_integer() && !exponent.is_negative())
    };
    (forms.only_variables() && whole(&quotient.upper) && whole(&quotient.lower)).then_some(quotient)
}

#[derive(Default)]
struct Forms {
    atoms: Vec<Atom>,
    work: u32,
    depth: u32,
}

impl Forms {
    fn only_variables(&self) -> bool {
        self.atoms.iter().all(|atom| matches!(atom, Atom::Variable(_)))
    }

    fn atom(&mut self, atom: Atom) -> Option<u32> {
        let known = self.atoms.iter().position(|known| *known == atom);
        let index = known.unwrap_or(self.atoms.len());
        if known.is_none() {
            if index == MAX_ATOMS {
                return None;
            }
            self.atoms.push(atom);
        }
        u32::try_from(index).ok()
    }

    fn unknown(&mut self, atom: Atom) -> Option<Quotient> {
        let index = self.atom(atom)?;
        Some(Quotient::of(Polynomial::term(vec![(index, Exponent::one())], BigRational::one())))
    }

    fn quotient(&mut self, expr: &Expr) -> Option<Quotient> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let result = self.form(expr);
        self.depth -= 1;
        result
    }

    fn form(&mut self, expr: &Expr) -> Option<Quotient> {
        match expr {
            Expr::Integer(_) | Expr::Rational(_) | Expr::Float(_) | Expr::Hundredth => {
                Some(Quotient::constant(constant::value(expr)?))
            }
            Expr::Symbol(symbol) => self.unknown(Atom::Variable(symbol.clone())),
            Expr::Constant(constant @ (Constant::Pi | Constant::E | Constant::EulerGamma | Constant::I)) => {
                self.unknown(Atom::Constant(*constant))
            }
            Expr::Add(terms) => {
                let mut sum = Quotient::constant(BigRational::zero());
                for term in terms {
                    let term = self.quotient(term)?;
                    sum = self.plus(&sum, &term)?;
                }
                Some(sum)
            }
            Expr::Mul(factors) => {
                let mut product = Quotient::constant(BigRational::one());
                for factor in factors {
                    let factor = self.quotient(factor)?;
                    product = self.product(&product, &factor)?;
                }
                Some(product)
            }
            Expr::Power(pair) => self.power(&pair.0, &pair.1),
            Expr::Call(Function::Log, arguments) => {
                let [argument, base] = arguments.as_slice() else { return None };
                let (argument, base) = (self.logarithm(argument)?, self.logarithm(base)?);
                self.divided(&argument, &base)
            }
            Expr::Call(function, arguments) => {
                if let Some(value) = constant::value(expr) {
                    return Some(Quotient::constant(value));
                }
                let arguments = arguments.iter().map(|argument| self.quotient(argument));
                let arguments = arguments.collect::<Option<Vec<_>>>()?;
                self.unknown(Atom::Call(function.clone(), arguments))
            }
            _ => None,
        }
    }

    /// The natural logarithm: of a positive rational number as a sum over primes.
    fn logarithm(&mut self, expr: &Expr) -> Option<Quotient> {
        if *expr == Expr::Constant(Constant::E) {
            return Some(Quotient::constant(BigRational::one()));
        }
        match constant::value(expr) {
            Some(value) if value.is_positive() => {
                let mut sum = Quotient::constant(BigRational::zero());
                for (integer, sign) in [(value.numer(), 1), (value.denom(), -1)] {
                    for (prime, times) in factors(integer) {
                        let index = self.atom(Atom::Logarithm(prime))?;
                        let times = BigRational::from_integer((i64::from(times) * sign).into());
                        let term = Polynomial::term(vec![(index, Exponent::one())], times);
                        sum = self.plus(&sum, &Quotient::of(term))?;
                    }
                }
                Some(sum)
            }
            Some(_) => None,
            None => {
                let argument = self.quotient(expr)?;
                self.unknown(Atom::Call(Function::Log, vec![argument]))
            }
        }
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Option<Quotient> {
        let Some(value) = constant::value(exponent) else {
            let (base, exponent) = (self.quotient(base)?, self.quotient(exponent)?);
            return self.unknown(Atom::Power(Box::new((base, exponent))));
        };
        let base = self.quotient(base)?;
        if value.is_integer() {
            return self.whole_power(&base, value.numer());
        }
        if let Some(number) = base.as_constant() {
            return self.root(&number, &value);
        }
        // (c·u)^r is c^r·u^r for a positive number c and a single unknown u.
        if let Some((coefficient, monomial)) = base.as_term()
            && coefficient.is_positive()
            && let [(index, power)] = monomial.as_slice()
            && power.is_one()
            && matches!(self.atoms[*index as usize], Atom::Variable(_) | Atom::Constant(Constant::Pi | Constant::E))
        {
            let exponent = small(&value)?;
            let unknown = Quotient::of(Polynomial::term(vec![(*index, exponent)], BigRational::one()));
            let number = self.root(&coefficient, &value)?;
            return self.product(&number, &unknown);
        }
        let exponent = Quotient::constant(value);
        self.unknown(Atom::Power(Box::new((base, exponent))))
    }

    fn whole_power(&mut self, base: &Quotient, exponent: &BigInt) -> Option<Quotient> {
        let base = if exponent.is_negative() { base.inverse()? } else { base.clone() };
        let exponent = exponent.abs();
        if let Some(number) = base.as_constant() {
            return Some(Quotient::constant(exact::power(&number, &exponent)?));
        }
        if let Some((coefficient, monomial)) = base.as_term() {
            let times = exponent.to_i64().filter(|times| *times <= MAX_EXPONENT)?;
            let number = exact::power(&coefficient, &exponent)?;
            let monomial = monomial.into_iter().map(|(index, power)| (index, power * times)).collect();
            return self.simplified(monomial, number).map(Quotient::of);
        }
        let times = exponent.to_u32().filter(|times| *times <= MAX_POWER)?;
        let mut power = Quotient::constant(BigRational::one());
        for _ in 0..times {
            power = self.product(&power, &base)?;
        }
        Some(power)
    }

    /// `number ^ exponent` for a fractional exponent: roots of primes, and of -1 where it is a square root.
    fn root(&mut self, number: &BigRational, exponent: &BigRational) -> Option<Quotient> {
        if number.is_zero() {
            return exponent.is_positive().then(|| Quotient::constant(BigRational::zero()));
        }
        let exponent = small(exponent)?;
        let mut monomial: Monomial = Vec::new();
        if number.is_negative() {
            if *exponent.denom() != 2 {
                return None;
            }
            let index = self.atom(Atom::Constant(Constant::I))?;
            monomial.push((index, Exponent::from_integer(*exponent.numer())));
        }
        for (integer, sign) in [(number.numer().abs(), 1), (number.denom().clone(), -1)] {
            for (prime, times) in factors(&integer) {
                let index = self.atom(Atom::Root(prime))?;
                monomial.push((index, exponent * i64::from(times) * sign));
            }
        }
        self.simplified(monomial, BigRational::one()).map(Quotient::of)
    }

    /// A term in order, with whole powers of roots made numbers and powers of the imaginary unit reduced.
    fn simplified(&mut self, mut monomial: Monomial, mut coefficient: BigRational) -> Option<Polynomial> {
        monomial.sort_by_key(|(index, _)| *index);
        let mut merged: Monomial = Vec::with_capacity(monomial.len());
        for (index, exponent) in monomial {
            match merged.last_mut() {
                Some((last, power)) if *last == index => *power += exponent,
                _ => merged.push((index, exponent)),
            }
        }
        let mut kept = Vec::with_capacity(merged.len());
        for (index, mut exponent) in merged {
            if exponent.numer().abs() > MAX_EXPONENT || *exponent.denom() > MAX_EXPONENT {
                return None;
            }
            match &self.atoms[index as usize] {
                Atom::Root(base) => {
                    let whole = exponent.floor();
                    exponent -= whole;
                    let base = BigRational::from_integer(base.clone());
                    coefficient *= exact::power(&base, &(*whole.numer()).into())?;
                }
                Atom::Constant(Constant::I) if exponent.is_integer() => {
                    let quarter = exponent.numer().mod_floor(&4);
                    if quarter >= 2 {
                        coefficient = -coefficient;
                    }
                    exponent = Exponent::from_integer(quarter % 2);
                }
                _ => {}
            }
            if !exponent.is_zero() {
                kept.push((index, exponent));
            }
        }
        Some(Polynomial::term(kept, exact::bounded(coefficient)?))
    }

    fn times(&mut self, a: &Polynomial, b: &Polynomial) -> Option<Polynomial> {
        let work = u32::try_from(a.0.len() * b.0.len()).ok()?;
        self.work = self.work.checked_add(work)?;
        if self.work > MAX_WORK {
            return None;
        }
        if let Some(one) = [(a, b), (b, a)].into_iter().find(|(one, _)| one.is_one()) {
            return Some(one.1.clone());
        }
        let mut product = Polynomial::default();
        for (left, x) in &a.0 {
            for (right, y) in &b.0 {
                let monomial = left.iter().chain(right).copied().collect();
                let term = self.simplified(monomial, x * y)?;
                product.add(term)?;
            }
        }
        Some(product)
    }

    fn product(&mut self, a: &Quotient, b: &Quotient) -> Option<Quotient> {
        let (upper, lower) = (self.times(&a.upper, &b.upper)?, self.times(&a.lower, &b.lower)?);
        Some(Quotient { upper, lower }.reduced())
    }

    fn divided(&mut self, a: &Quotient, b: &Quotient) -> Option<Quotient> {
        self.product(a, &b.inverse()?)
    }

    fn plus(&mut self, a: &Quotient, b: &Quotient) -> Option<Quotient> {
        if a.lower == b.lower {
            let mut upper = a.upper.clone();
            upper.add(b.upper.clone())?;
            return Some(Quotient { upper, lower: a.lower.clone() });
        }
        let mut upper = self.times(&a.upper, &b.lower)?;
        upper.add(self.times(&b.upper, &a.lower)?)?;
        let lower = self.times(&a.lower, &b.lower)?;
        Some(Quotient { upper, lower }.reduced())
    }
}

/// An exponent of moderate size.
fn small(value: &BigRational) -> Option<Exponent> {
    let (up, down) = (value.numer().to_i64()?, value.denom().to_i64()?);
    (up.abs() <= MAX_EXPONENT && down <= MAX_EXPONENT).then(|| Exponent::new(up, down))
}

/// The primes below a bound of a positive integer with their multiplicities, then what is left.
fn factors(integer: &BigInt) -> Vec<(BigInt, u32)> {
    let (mut rest, mut found) = (integer.clone(), Vec::new());
    let mut prime = 2_u32;
    while prime < PRIMES_BELOW && !rest.is_one() {
        let mut times = 0;
        while (&rest % prime).is_zero() {
            rest /= prime;
            times += 1;
        }
        if times > 0 {
            found.push((prime.into(), times));
        }
        if BigInt::from(u64::from(prime) * u64::from(prime)) > rest {
            break;
        }
        prime += if prime == 2 { 1 } else { 2 };
    }
    if !rest.is_one() {
        found.push((rest, 1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x() -> Expr {
        Expr::Symbol(Symbol { name: "x".into(), real: true })
    }

    fn sqrt(n: i64) -> Expr {
        Expr::power(Expr::integer(n), Expr::fraction(&1.into(), &2.into()))
    }

    #[test]
    fn radicals_have_one_form() {
        let five_root_three = Expr::product(Expr::integer(5), sqrt(3));
        assert_eq!(compare(&five_root_three, &sqrt(75)), Comparison::Equal);
        let quotient = Expr::Mul(vec![Expr::integer(15), Expr::reciprocal(sqrt(3))]);
        assert_eq!(compare(&five_root_three, &quotient), Comparison::Equal);
        assert_ne!(compare(&five_root_three, &sqrt(74)), Comparison::Equal);
        assert_eq!(compare(&Expr::power(sqrt(-1), Expr::integer(2)), &Expr::integer(-1)), Comparison::Equal);
    }

    #[test]
    fn rational_functions_are_decided() {
        let square = Expr::power(x(), Expr::integer(2));
        let upper = Expr::difference(&square, &Expr::integer(81));
        let lower = Expr::difference(&x(), &Expr::integer(9));
        let quotient = Expr::Mul(vec![upper, Expr::reciprocal(lower)]);
        assert_eq!(compare(&quotient, &Expr::sum(x(), Expr::integer(9))), Comparison::Equal);
        assert_eq!(compare(&quotient, &Expr::sum(x(), Expr::integer(8))), Comparison::Different);
    }

    #[test]
    fn logarithms_of_numbers_split_into_primes() {
        let log = |n: i64, base: i64| Expr::Call(Function::Log, vec![Expr::integer(n), Expr::integer(base)]);
        assert_eq!(compare(&log(8, 2), &Expr::integer(3)), Comparison::Equal);
        assert_eq!(compare(&log(8, 10), &Expr::product(Expr::integer(3), log(2, 10))), Comparison::Equal);
    }

    #[test]
    fn the_work_is_bounded() {
        let sum = Expr::Add((0..40).map(|i| Expr::Symbol(Symbol { name: format!("x{i}"), real: true })).collect());
        let power = Expr::power(sum, Expr::integer(40));
        assert_eq!(compare(&power, &Expr::one()), Comparison::Unknown);
    }
}
