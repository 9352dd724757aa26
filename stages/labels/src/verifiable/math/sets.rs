//! Sets of real numbers as ordered, disjoint pieces, for set algebra and for the solutions of inequalities.

use super::{
    canonical, constant, exact,
    expr::{Constant, Domain, Expr, Interval, Order, Relation, Symbol},
    numeric,
    polynomial::Polynomial,
};
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// Pieces of a set, and degree of an inequality, at most.
const MAX_PIECES: usize = 256;
const MAX_DEGREE: usize = 24;

/// A place on the extended real line, with the number that it was given as.
#[derive(Debug, Clone)]
pub struct Place {
    value: f64,
    exact: Option<BigRational>,
    expr: Expr,
}

impl Place {
    fn infinite(constant: Constant) -> Self {
        let value = if constant == Constant::Infinity { f64::INFINITY } else { f64::NEG_INFINITY };
        Self { value, exact: None, expr: Expr::Constant(constant) }
    }

    fn new(expr: &Expr) -> Option<Self> {
        let exact = constant::value(expr);
        Some(Self { value: numeric::real(expr)?, exact, expr: expr.clone() })
    }

    fn rational(value: BigRational) -> Self {
        Self { value: exact::to_f64(&value), expr: Expr::rational(value.clone()), exact: Some(value) }
    }

    fn order(&self, other: &Self) -> Ordering {
        if let (Some(a), Some(b)) = (&self.exact, &other.exact) {
            return a.cmp(b);
        }
        let (a, b) = (self.value, other.value);
        let finite = a.is_finite() && b.is_finite();
        if a == b || finite && (a - b).abs() <= 1e-11 * a.abs().max(b.abs()).max(1e-3) {
            Ordering::Equal
        } else {
            a.total_cmp(&b)
        }
    }
}

/// All places between two; a single place is closed on both sides.
#[derive(Debug, Clone)]
pub struct Piece {
    low: Place,
    high: Place,
    low_open: bool,
    high_open: bool,
}

/// Pieces in ascending order, none touching the next.
#[derive(Debug, Clone)]
pub struct RealSet(Vec<Piece>);

impl RealSet {
    fn line() -> Self {
        Self(vec![Piece {
            low: Place::infinite(Constant::NegativeInfinity),
            high: Place::infinite(Constant::Infinity),
            low_open: true,
            high_open: true,
        }])
    }

    fn point(place: Place) -> Self {
        Self(vec![Piece { low: place.clone(), high: place, low_open: false, high_open: false }])
    }

    /// The set an expression denotes; none where its ends are no real numbers, or it is no set of such pieces.
    #[must_use]
    pub fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Domain(Domain::Empty) => Some(Self(Vec::new())),
            Expr::Domain(Domain::Reals) => Some(Self::line()),
            Expr::Interval(interval) => {
                let (low, high) = (Place::new(&interval.start)?, Place::new(&interval.end)?);
                Some(Self(vec![Piece { low, high, low_open: interval.left_open, high_open: interval.right_open }]))
            }
            Expr::Set(elements) => {
                let mut set = Self(Vec::new());
                for element in elements {
                    let place = Place::new(element).filter(|place| place.value.is_finite())?;
                    set = set.union(&Self::point(place))?;
                }
                Some(set)
            }
            Expr::Union(pair) => Self::of(&pair.0)?.union(&Self::of(&pair.1)?),
            Expr::Intersection(pair) => Self::of(&pair.0)?.intersection(&Self::of(&pair.1)?),
            Expr::Complement(pair) => Self::of(&pair.0)?.intersection(&Self::of(&pair.1)?.complement()),
            _ => None,
        }
    }

    /// The places of one variable at which all relations hold; none where that is not found.
    #[must_use]
    pub fn solutions(relations: &[Relation]) -> Option<Self> {
        let mut set = Self::line();
        let mut variable: Option<Symbol> = None;
        for relation in relations {
            let mut symbols = relation.left.symbols();
            symbols.extend(relation.right.symbols());
            symbols.sort();
            symbols.dedup();
            let [symbol] = symbols.as_slice() else { return None };
            if variable.get_or_insert_with(|| symbol.clone()) != symbol || !symbol.real {
                return None;
            }
            set = set.intersection(&solved(relation, symbol)?)?;
        }
        Some(set)
    }

    /// The set written as an expression with the fewest parts.
    #[must_use]
    pub fn to_expr(&self) -> Expr {
        let mut points = Vec::new();
        let mut parts = Vec::new();
        for piece in &self.0 {
            if piece.low.order(&piece.high) == Ordering::Equal {
                points.push(piece.low.expr.clone());
                continue;
            }
            parts.push(Expr::Interval(Box::new(Interval {
                start: piece.low.expr.clone(),
                end: piece.high.expr.clone(),
                left_open: piece.low_open,
                right_open: piece.high_open,
            })));
        }
        if !points.is_empty() {
            parts.push(Expr::set(points));
        }
        let joined = parts.into_iter().reduce(|all, part| Expr::Union(Box::new((all, part))));
        joined.unwrap_or(Expr::Domain(Domain::Empty))
    }

    /// Whether both are the same set.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(a, b)| {
                a.low_open == b.low_open
                    && a.high_open == b.high_open
                    && a.low.order(&b.low) == Ordering::Equal
                    && a.high.order(&b.high) == Ordering::Equal
            })
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every real number is in it.
    #[must_use]
    pub fn is_line(&self) -> bool {
        self.equals(&Self::line())
    }

    fn union(&self, other: &Self) -> Option<Self> {
        let mut pieces: Vec<Piece> = self.0.iter().chain(&other.0).cloned().collect();
        if pieces.len() > MAX_PIECES {
            return None;
        }
        pieces.sort_by(|a, b| a.low.order(&b.low).then(a.low_open.cmp(&b.low_open)));
        let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            if let Some(last) = merged.last_mut() {
                let meet = piece.low.order(&last.high);
                if meet == Ordering::Less || (meet == Ordering::Equal && !(piece.low_open && last.high_open)) {
                    match piece.high.order(&last.high) {
                        Ordering::Greater => (last.high, last.high_open) = (piece.high, piece.high_open),
                        Ordering::Equal => last.high_open &= piece.high_open,
                        Ordering::Less => {}
                    }
                    continue;
                }
            }
            merged.push(piece);
        }
        Some(Self(merged))
    }

    fn intersection(&self, other: &Self) -> Option<Self> {
        let mut pieces = Vec::new();
        for a in &self.0 {
            for b in &other.0 {
                let (low, low_open) = match a.low.order(&b.low) {
                    Ordering::Greater => (&a.low, a.low_open),
                    Ordering::Less => (&b.low, b.low_open),
                    Ordering::Equal => (&a.low, a.low_open || b.low_open),
                };
                let (high, high_open) = match a.high.order(&b.high) {
                    Ordering::Less => (&a.high, a.high_open),
                    Ordering::Greater => (&b.high, b.high_open),
                    Ordering::Equal => (&a.high, a.high_open || b.high_open),
                };
                let kept = match low.order(high) {
                    Ordering::Less => true,
                    Ordering::Equal => !low_open && !high_open,
                    Ordering::Greater => false,
                };
                if kept {
                    pieces.push(Piece { low: low.clone(), high: high.clone(), low_open, high_open });
                }
                if pieces.len() > MAX_PIECES {
                    return None;
                }
            }
        }
        Some(Self(pieces))
    }

    fn complement(&self) -> Self {
        let mut pieces = Vec::new();
        let (mut low, mut low_open) = (Place::infinite(Constant::NegativeInfinity), true);
        for piece in &self.0 {
            let gap = low.order(&piece.low);
            if gap == Ordering::Less || (gap == Ordering::Equal && !low_open && piece.low_open) {
                let (high, high_open) = (piece.low.clone(), !piece.low_open);
                pieces.push(Piece { low: low.clone(), high, low_open, high_open });
            }
            (low, low_open) = (piece.high.clone(), !piece.high_open);
        }
        if low.value < f64::INFINITY {
            let high = Place::infinite(Constant::Infinity);
            pieces.push(Piece { low, high, low_open, high_open: true });
        }
        Self(pieces)
    }
}

/// Where a relation between rational functions of one variable holds.
fn solved(relation: &Relation, variable: &Symbol) -> Option<RealSet> {
    let difference = Expr::difference(&relation.left, &relation.right);
    let quotient = canonical::rational_function(&difference, std::slice::from_ref(variable))?;
    let (upper, lower) = (coefficients(&quotient.upper)?, coefficients(&quotient.lower)?);
    let (zeros, poles) = (roots(&upper)?, roots(&lower)?);
    let mut set = RealSet(Vec::new());
    let holds = |sign: f64| match relation.order {
        Order::Equal => sign == 0.0,
        Order::Unequal => sign != 0.0,
        Order::Less => sign < 0.0,
        Order::LessEqual => sign <= 0.0,
        Order::Greater => sign > 0.0,
        Order::GreaterEqual => sign >= 0.0,
    };
    let sign_at = |x: f64| {
        let value =
            |coefficients: &[BigRational]| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + exact::to_f64(c));
        let value = value(&upper) / value(&lower);
        if value == 0.0 { 0.0 } else { value.signum() }
    };
    let mut breaks: Vec<(Place, bool)> =
        zeros.into_iter().map(|zero| (zero, true)).chain(poles.into_iter().map(|pole| (pole, false))).collect();
    breaks.sort_by(|a, b| a.0.order(&b.0).then(a.1.cmp(&b.1)));
    breaks.dedup_by(|a, b| a.0.order(&b.0) == Ordering::Equal);
    let mut low = Place::infinite(Constant::NegativeInfinity);
    for at in 0..=breaks.len() {
        let high = breaks.get(at).map_or_else(|| Place::infinite(Constant::Infinity), |(place, _)| place.clone());
        let middle = match (low.value.is_finite(), high.value.is_finite()) {
            (true, true) => (low.value + high.value) / 2.0,
            (true, false) => low.value + low.value.abs().max(1.0),
            (false, true) => high.value - high.value.abs().max(1.0),
            (false, false) => 0.0,
        };
        if holds(if upper.is_empty() { 0.0 } else { sign_at(middle) }) {
            let piece = Piece { low: low.clone(), high: high.clone(), low_open: true, high_open: true };
            set = set.union(&RealSet(vec![piece]))?;
        }
        if let Some((place, is_zero)) = breaks.get(at)
            && *is_zero
            && holds(0.0)
        {
            set = set.union(&RealSet::point(place.clone()))?;
        }
        low = high;
    }
    Some(set)
}

/// Coefficients of a polynomial in one variable from the constant up; none of a zero polynomial.
fn coefficients(polynomial: &Polynomial) -> Option<Vec<BigRational>> {
    let mut list: Vec<BigRational> = Vec::new();
    for (monomial, coefficient) in &polynomial.0 {
        let degree = match monomial.as_slice() {
            [] => 0,
            [(_, exponent)] => exponent.to_integer().to_usize()?,
            _ => return None,
        };
        if degree > MAX_DEGREE {
            return None;
        }
        if list.len() <= degree {
            list.resize(degree + 1, BigRational::zero());
        }
        list[degree] = coefficient.clone();
    }
    Some(list)
}

/// The real roots of a polynomial: exact up to degree 2, rational ones of higher degree too, others to rounding.
fn roots(coefficients: &[BigRational]) -> Option<Vec<Place>> {
    let two = || BigRational::from_integer(2.into());
    match coefficients {
        [] | [_] => Some(Vec::new()),
        [c, b] => Some(vec![Place::rational(-c / b)]),
        [c, b, a] => {
            let discriminant = b * b - a * c * BigRational::from_integer(4.into());
            if discriminant.is_negative() {
                return Some(Vec::new());
            }
            let middle = -b / (a * two());
            if discriminant.is_zero() {
                return Some(vec![Place::rational(middle)]);
            }
            let spread = discriminant / (a * a * BigRational::from_integer(4.into()));
            if let Some(root) = exact::exact_root(&spread, 2) {
                return Some(vec![Place::rational(&middle - &root), Place::rational(&middle + &root)]);
            }
            let root = Expr::power(Expr::rational(spread), Expr::fraction(&1.into(), &2.into()));
            let shifted = |root: Expr| Place::new(&Expr::sum(Expr::rational(middle.clone()), root));
            Some(vec![shifted(root.clone().negated())?, shifted(root)?])
        }
        _ => {
            let doubles: Vec<f64> = coefficients.iter().map(exact::to_f64).collect();
            let places = real_roots(&doubles).into_iter().map(|root| {
                let expr = nearby_rational(root, coefficients).map(Expr::rational);
                let expr = expr.or_else(|| {
                    let value = BigRational::from_float(root)?;
                    Some(Expr::Float(exact::Float::new(value, 15)))
                })?;
                Place::new(&expr)
            });
            places.collect()
        }
    }
}

/// A fraction with a small denominator that is a root exactly.
fn nearby_rational(root: f64, coefficients: &[BigRational]) -> Option<BigRational> {
    (1..=64_i64).find_map(|denominator| {
        let numerator = (root * denominator as f64).round();
        if numerator.abs() > 1e12 {
            return None;
        }
        let candidate = BigRational::new((numerator as i64).into(), denominator.into());
        let value = coefficients.iter().rev().fold(BigRational::zero(), |sum, c| sum * &candidate + c);
        value.is_zero().then_some(candidate)
    })
}

/// All real roots, each once, by bisection between the extrema.
fn real_roots(coefficients: &[f64]) -> Vec<f64> {
    let degree = coefficients.len() - 1;
    if degree == 1 {
        return vec![-coefficients[0] / coefficients[1]];
    }
    let derivative: Vec<f64> = coefficients.iter().enumerate().skip(1).map(|(i, c)| c * i as f64).collect();
    let value = |x: f64| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let scale = |x: f64| coefficients.iter().rev().fold(0.0, |sum, c| sum * x.abs() + c.abs());
    let lead = coefficients[degree].abs();
    let bound = 1.0 + coefficients[..degree].iter().fold(0.0_f64, |largest, c| largest.max(c.abs() / lead));
    let mut stops = vec![-bound];
    stops.extend(real_roots(&derivative).into_iter().filter(|x| x.abs() < bound));
    stops.push(bound);
    let mut found: Vec<f64> = Vec::new();
    for pair in stops.windows(2) {
        let (mut low, mut high) = (pair[0], pair[1]);
        // A root that is an extremum touches zero without a change of sign.
        if value(high).abs() <= 1e-12 * scale(high) {
            found.push(high);
            continue;
        }
        if value(low).abs() <= 1e-12 * scale(low) || value(low).signum() == value(high).signum() {
            continue;
        }
        for _ in 0..200 {
            let middle = (low + high) / 2.0;
            if value(middle).signum() == value(low).signum() {
                low = middle;
            } else {
                high = middle;
            }
        }
        found.push((low + high) / 2.0);
    }
    found.dedup_by(|a, b| (*a - *b).abs() <= 1e-9 * b.abs().max(1.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(start: i64, end: i64, left_open: bool, right_open: bool) -> Expr {
        let (start, end) = (Expr::integer(start), Expr::integer(end));
        Expr::Interval(Box::new(Interval { start, end, left_open, right_open }))
    }

    fn x() -> Expr {
        Expr::Symbol(Symbol { name: "x".into(), real: true })
    }

    fn set(expr: &Expr) -> RealSet {
        RealSet::of(expr).unwrap()
    }

    #[test]
    fn touching_pieces_merge() {
        let joined = Expr::Union(Box::new((interval(9, 10, false, false), interval(10, 14, false, false))));
        assert!(set(&joined).equals(&set(&interval(9, 14, false, false))));
        let apart = Expr::Union(Box::new((interval(9, 10, false, true), interval(10, 14, true, false))));
        assert!(!set(&apart).equals(&set(&interval(9, 14, false, false))));
    }

    #[test]
    fn inequalities_are_solved() {
        let square = Expr::power(x(), Expr::integer(2));
        let relation = |order, left: Expr, right: i64| Relation { order, left, right: Expr::integer(right) };
        let within = RealSet::solutions(&[relation(Order::LessEqual, square.clone(), 4)]).unwrap();
        assert!(within.equals(&set(&interval(-2, 2, false, false))));
        let cube = Expr::power(x(), Expr::integer(3));
        let chain = [relation(Order::Greater, cube, 8), relation(Order::Less, x(), 5)];
        assert!(RealSet::solutions(&chain).unwrap().equals(&set(&interval(2, 5, true, true))));
        let never = RealSet::solutions(&[relation(Order::Less, square, 0)]).unwrap();
        assert_eq!(never.to_expr(), Expr::Domain(Domain::Empty));
    }
}
