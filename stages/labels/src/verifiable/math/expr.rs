//! Expressions as a parser leaves them: what was written, unevaluated, with exact numbers.

use super::exact::Float;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

/// A mathematical object: a number, a symbolic expression, a set, a tuple, a relation or a matrix.
///
/// Equality of values of this type is of form, not of meaning: `1 + 2` is not `3`.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Integer(BigInt),
    /// A fraction in lowest terms with a denominator above 1.
    Rational(BigRational),
    /// A number written with a decimal point.
    Float(Float),
    Symbol(Symbol),
    Constant(Constant),
    /// The factor 1/100 that a percent sign leaves.
    Hundredth,
    Add(Vec<Expr>),
    Mul(Vec<Expr>),
    /// Base and exponent.
    Power(Box<(Expr, Expr)>),
    Call(Function, Vec<Expr>),
    Matrix(Matrix),
    /// Distinct elements in the order in which they were written.
    Set(Vec<Expr>),
    Tuple(Vec<Expr>),
    Interval(Box<Interval>),
    Union(Box<(Expr, Expr)>),
    Intersection(Box<(Expr, Expr)>),
    Complement(Box<(Expr, Expr)>),
    Domain(Domain),
    Relation(Box<Relation>),
    /// A chain such as `1 < x < 2`: relations that share their sides.
    Chain(Vec<Relation>),
    Not(Box<Expr>),
    Truth(bool),
}

/// A variable. Variables of complex expressions are not those of real ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    pub name: String,
    pub real: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constant {
    Pi,
    E,
    EulerGamma,
    I,
    Infinity,
    NegativeInfinity,
    /// One divided by zero.
    ComplexInfinity,
    /// Zero divided by zero.
    Undefined,
}

/// Sets with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    Empty,
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Function {
    Sin,
    Cos,
    Tan,
    Csc,
    Sec,
    Cot,
    Asin,
    Acos,
    Atan,
    Acsc,
    Asec,
    Acot,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    /// Argument and base.
    Log,
    Abs,
    Floor,
    Ceiling,
    Factorial,
    Binomial,
    Gamma,
    Max,
    Min,
    Mod,
    Gcd,
    Lcm,
    Determinant,
    /// Term, index, first and last.
    Sum,
    Product,
    /// Integrand and variable, then both limits where there are any.
    Integral,
    Derivative,
    Limit,
    /// A function that only has a name.
    Named(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    pub start: Expr,
    pub end: Expr,
    pub left_open: bool,
    pub right_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    /// The relation that holds when both sides are swapped; none for `≠`, which the reference leaves out.
    #[must_use]
    pub fn flipped(self) -> Option<Self> {
        Some(match self {
            Self::Equal => Self::Equal,
            Self::Unequal => return None,
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub order: Order,
    pub left: Expr,
    pub right: Expr,
}

/// Row-major; `cells.len() == rows * columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub cells: Vec<Expr>,
}

impl Matrix {
    /// A matrix of equally long rows; none where they differ.
    #[must_use]
    pub fn from_rows(rows: Vec<Vec<Expr>>) -> Option<Self> {
        let columns = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != columns) {
            return None;
        }
        Some(Self { rows: rows.len(), columns, cells: rows.into_iter().flatten().collect() })
    }
}

impl Expr {
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self::Integer(value.into())
    }

    /// An integer or a fraction, whichever the value is.
    #[must_use]
    pub fn rational(value: BigRational) -> Self {
        if value.is_integer() { Self::Integer(value.to_integer()) } else { Self::Rational(value) }
    }

    /// `numerator / denominator`, with the reference's answers for a zero denominator.
    #[must_use]
    pub fn fraction(numerator: &BigInt, denominator: &BigInt) -> Self {
        match (numerator.is_zero(), denominator.is_zero()) {
            (true, true) => Self::Constant(Constant::Undefined),
            (false, true) => Self::Constant(Constant::ComplexInfinity),
            _ => Self::rational(BigRational::new(numerator.clone(), denominator.clone())),
        }
    }

    #[must_use]
    pub fn power(base: Self, exponent: Self) -> Self {
        Self::Power(Box::new((base, exponent)))
    }

    #[must_use]
    pub fn reciprocal(base: Self) -> Self {
        Self::power(base, Self::integer(-1))
    }

    /// A sum, with sums among the terms dissolved.
    #[must_use]
    pub fn sum(left: Self, right: Self) -> Self {
        Self::Add(spliced(left, right, |expr| match expr {
            Self::Add(terms) => Ok(terms),
            other => Err(other),
        }))
    }

    /// A product, with products among the factors dissolved.
    #[must_use]
    pub fn product(left: Self, right: Self) -> Self {
        Self::Mul(spliced(left, right, |expr| match expr {
            Self::Mul(factors) => Ok(factors),
            other => Err(other),
        }))
    }

    /// `left - right` as it stands.
    #[must_use]
    pub fn difference(left: &Self, right: &Self) -> Self {
        Self::Add(vec![left.clone(), Self::Mul(vec![Self::integer(-1), right.clone()])])
    }

    /// The number itself where it is one, else the product with -1.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Integer(value) => Self::Integer(-value),
            Self::Rational(value) => Self::Rational(-value),
            Self::Float(value) => Self::Float(value.negated()),
            Self::Constant(Constant::Infinity) => Self::Constant(Constant::NegativeInfinity),
            Self::Constant(Constant::NegativeInfinity) => Self::Constant(Constant::Infinity),
            Self::Constant(value @ (Constant::ComplexInfinity | Constant::Undefined)) => Self::Constant(value),
            other => Self::product(Self::integer(-1), other),
        }
    }

    /// `value` percent.
    #[must_use]
    pub fn percent(value: Self) -> Self {
        Self::Mul(vec![value, Self::Hundredth])
    }

    /// What stands before a percent sign.
    #[must_use]
    pub fn percentage(&self) -> Option<&Self> {
        match self {
            Self::Mul(factors) => match factors.as_slice() {
                [value, Self::Hundredth] => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// A set of the elements, each kept once; no elements make the empty set.
    #[must_use]
    pub fn set(elements: Vec<Self>) -> Self {
        if elements.is_empty() {
            return Self::Domain(Domain::Empty);
        }
        let mut distinct: Vec<Self> = Vec::with_capacity(elements.len());
        for element in elements {
            if !distinct.contains(&element) {
                distinct.push(element);
            }
        }
        Self::Set(distinct)
    }

    /// Whether this is a number literal: an integer, a fraction, a decimal or an infinity.
    #[must_use]
    pub fn is_number(&self) -> bool {
        match self {
            Self::Integer(_) | Self::Rational(_) | Self::Float(_) => true,
            Self::Constant(constant) => matches!(
                constant,
                Constant::Infinity | Constant::NegativeInfinity | Constant::ComplexInfinity | Constant::Undefined
            ),
            _ => false,
        }
    }

    /// Whether this is a set: finite, interval, named or composed.
    #[must_use]
    pub fn is_set(&self) -> bool {
        matches!(
            self,
            Self::Set(_)
                | Self::Interval(_)
                | Self::Union(_)
                | Self::Intersection(_)
                | Self::Complement(_)
                | Self::Domain(_)
        )
    }

    /// Whether this can stand in sums, products and powers.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Integer(_)
                | Self::Rational(_)
                | Self::Float(_)
                | Self::Symbol(_)
                | Self::Constant(_)
                | Self::Hundredth
                | Self::Add(_)
                | Self::Mul(_)
                | Self::Power(_)
                | Self::Call(..)
        )
    }

    #[must_use]
    pub fn is_relation(&self) -> bool {
        matches!(self, Self::Relation(_) | Self::Chain(_))
    }

    /// The parts this is made of, in order.
    #[must_use]
    pub fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Add(parts) | Self::Mul(parts) | Self::Call(_, parts) | Self::Set(parts) | Self::Tuple(parts) => {
                parts.iter().collect()
            }
            Self::Power(pair) | Self::Union(pair) | Self::Intersection(pair) | Self::Complement(pair) => {
                vec![&pair.0, &pair.1]
            }
            Self::Matrix(matrix) => matrix.cells.iter().collect(),
            Self::Interval(interval) => vec![&interval.start, &interval.end],
            Self::Relation(relation) => vec![&relation.left, &relation.right],
            Self::Chain(relations) => relations.iter().flat_map(|r| [&r.left, &r.right]).collect(),
            Self::Not(inner) => vec![inner],
            _ => Vec::new(),
        }
    }

    /// Whether any part, or the whole, satisfies the predicate.
    pub fn any(&self, test: &impl Fn(&Self) -> bool) -> bool {
        test(self) || self.parts().into_iter().any(|part| part.any(test))
    }

    /// Whether it comes to a matrix and not to a number.
    #[must_use]
    pub fn has_matrix(&self) -> bool {
        match self {
            Self::Matrix(_) => true,
            Self::Call(Function::Determinant, _) => false,
            _ => self.parts().into_iter().any(Self::has_matrix),
        }
    }

    /// The variables, each once, by name.
    #[must_use]
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut found = Vec::new();
        self.collect_symbols(&mut found);
        found.sort();
        found.dedup();
        found
    }

    fn collect_symbols(&self, into: &mut Vec<Symbol>) {
        if let Self::Symbol(symbol) = self {
            into.push(symbol.clone());
        }
        for part in self.parts() {
            part.collect_symbols(into);
        }
    }

    /// Whether nothing but variables occurs in it, as in `x`, `xy`, `f(x)` and `(x, y)`: such a left side names a value.
    #[must_use]
    pub fn names_a_value(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::Power(pair) if pair.1 == Self::integer(-1) => pair.0.names_a_value(),
            _ => {
                let parts = self.parts();
                !parts.is_empty() && parts.into_iter().all(Self::names_a_value)
            }
        }
    }

    /// The exact value of a number literal.
    #[must_use]
    pub fn exact_literal(&self) -> Option<BigRational> {
        match self {
            Self::Integer(value) => Some(BigRational::from_integer(value.clone())),
            Self::Rational(value) => Some(value.clone()),
            Self::Float(value) => Some(value.value().clone()),
            _ => None,
        }
    }

    /// Whether this is an integer equal to the given one.
    #[must_use]
    pub fn is_integer_literal(&self, value: i64) -> bool {
        matches!(self, Self::Integer(own) if *own == BigInt::from(value))
    }

    /// Whether this is a number literal above zero.
    #[must_use]
    pub fn is_positive_rational(&self) -> bool {
        match self {
            Self::Integer(value) => value.is_positive(),
            Self::Rational(value) => value.is_positive(),
            _ => false,
        }
    }

    /// One, as a number.
    #[must_use]
    pub fn one() -> Self {
        Self::Integer(BigInt::one())
    }
}

fn spliced(left: Expr, right: Expr, open: impl Fn(Expr) -> Result<Vec<Expr>, Expr>) -> Vec<Expr> {
    let mut parts = open(left).unwrap_or_else(|whole| vec![whole]);
    match open(right) {
        Ok(more) => parts.extend(more),
        Err(whole) => parts.push(whole),
    }
    parts
}
