//! Polynomials in numbered unknowns with exact coefficients, and quotients of them.

use super::exact;
use num_rational::{BigRational, Ratio};
use num_traits::{One, Zero};
use std::collections::{BTreeMap, btree_map::Entry};

pub type Exponent = Ratio<i64>;

/// Unknowns with their exponents, by unknown.
pub type Monomial = Vec<(u32, Exponent)>;

/// A sum of monomials with their coefficients.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polynomial(pub BTreeMap<Monomial, BigRational>);

/// A quotient of two polynomials; the lower one is not zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Quotient {
    pub upper: Polynomial,
    pub lower: Polynomial,
}

impl Polynomial {
    pub fn term(monomial: Monomial, coefficient: BigRational) -> Self {
        let mut terms = BTreeMap::new();
        if !coefficient.is_zero() {
            terms.insert(monomial, coefficient);
        }
        Self(terms)
    }

    pub fn is_one(&self) -> bool {
        self.0.len() == 1 && self.0.iter().all(|(monomial, number)| monomial.is_empty() && number.is_one())
    }

    pub fn add(&mut self, other: Self) -> Option<()> {
        for (monomial, number) in other.0 {
            let entry = self.0.entry(monomial);
            match entry {
                Entry::Vacant(place) => {
                    place.insert(number);
                }
                Entry::Occupied(mut place) => {
                    *place.get_mut() += number;
                    if !exact::in_bounds(place.get()) {
                        return None;
                    }
                    if place.get().is_zero() {
                        place.remove();
                    }
                }
            }
        }
        Some(())
    }

    pub fn scaled(&self, number: &BigRational) -> Self {
        Self(self.0.iter().map(|(monomial, own)| (monomial.clone(), own * number)).collect())
    }
}

impl Quotient {
    pub fn of(upper: Polynomial) -> Self {
        Self { upper, lower: Polynomial::term(Vec::new(), BigRational::one()) }
    }

    pub fn constant(value: BigRational) -> Self {
        Self::of(Polynomial::term(Vec::new(), value))
    }

    /// The number it is, where it is one.
    pub fn as_constant(&self) -> Option<BigRational> {
        if self.upper.0.is_empty() {
            return Some(BigRational::zero());
        }
        let (number, monomial) = self.as_term()?;
        monomial.is_empty().then_some(number)
    }

    /// Coefficient and unknowns, where it is a single term over one.
    pub fn as_term(&self) -> Option<(BigRational, Monomial)> {
        if self.upper.0.len() != 1 || !self.lower.is_one() {
            return None;
        }
        let (monomial, number) = self.upper.0.iter().next()?;
        Some((number.clone(), monomial.clone()))
    }

    pub fn inverse(&self) -> Option<Self> {
        if self.upper.0.is_empty() {
            return None;
        }
        Some(Self { upper: self.lower.clone(), lower: self.upper.clone() }.reduced())
    }

    /// A denominator of one term becomes one; another gets 1 as its last coefficient.
    pub fn reduced(self) -> Self {
        let Some((monomial, number)) = self.lower.0.iter().next_back() else { return self };
        if self.lower.is_one() {
            return self;
        }
        let scale = number.recip();
        if self.lower.0.len() == 1 && monomial.is_empty() {
            return Self::of(self.upper.scaled(&scale));
        }
        Self { upper: self.upper.scaled(&scale), lower: self.lower.scaled(&scale) }
    }
}
