//! Whether a predicted answer equals the reference answer: math-verify 0.9.0's rules in their order, on exact values
//! and canonical forms first and on probed points where those do not decide.

mod matrices;
mod verdict;

pub use verdict::{Difference, Equality, Mode};

use super::{
    canonical::{self, Comparison},
    constant, equation, exact,
    expr::{Constant, Domain, Expr, Interval, Matrix, Order, Relation},
    numeric,
    sets::RealSet,
};
use matrices::matrix;
use num_rational::BigRational;
use num_traits::{FromPrimitive, Zero};
use std::cmp::Ordering;

/// Decimal places that count where a number is a decimal.
const PLACES: u32 = 6;
/// Comparisons of parts that one pair of answers may need.
const MAX_COMPARISONS: u32 = 2_000;
/// Significant digits of values that are not exact.
const DIGITS: u32 = 15;

type Outcome = Result<Equality, Difference>;

/// Compares a prediction with the reference answer. The order matters: `gold` decides what form is asked for.
///
/// # Errors
/// Why they differ.
pub fn compare(gold: &Expr, prediction: &Expr, mode: Mode) -> Outcome {
    Comparer { mode, left: MAX_COMPARISONS }.compare(gold, prediction)
}

struct Comparer {
    mode: Mode,
    left: u32,
}

impl Comparer {
    fn compare(&mut self, gold: &Expr, prediction: &Expr) -> Outcome {
        self.left = self.left.checked_sub(1).ok_or(Difference::TooComplex)?;
        let (gold_assigns, prediction_assigns) = (is_assignment(gold), is_assignment(prediction));
        let gold_equates = is_equation(gold);
        let prediction_equates = is_equation(prediction);
        // A chain of assignments says what its first name is worth in the end.
        let gold = if gold_assigns { ends(gold) } else { gold.clone() };
        let prediction = if prediction_assigns { ends(prediction) } else { prediction.clone() };
        let (mut gold, prediction) = if prediction_equates && !gold_equates {
            (gold, last_side(prediction))
        } else if gold_assigns && !prediction_equates {
            (last_side(gold), prediction)
        } else {
            (gold, prediction)
        };
        if gold.is_relation() && prediction.is_set() {
            gold = as_set(gold);
        }
        let mut prediction = prediction;
        if self.mode == Mode::Strict && prediction.is_relation() && gold.is_set() {
            prediction = as_set(prediction);
        }
        let (gold, prediction) = (&gold, &prediction);
        if matches!(gold, Expr::Constant(Constant::Undefined | Constant::ComplexInfinity)) {
            return Err(Difference::Undefined);
        }
        if same_form(gold, prediction) {
            return Ok(Equality::Form);
        }
        if gold.is_relation() && prediction.is_relation() {
            return self.relations(gold, prediction);
        }
        let collection = |expr: &Expr| expr.is_set() || matches!(expr, Expr::Tuple(_));
        if collection(gold) || collection(prediction) {
            return self.collections(gold, prediction);
        }
        if matches!(gold, Expr::Symbol(_)) || matches!(prediction, Expr::Symbol(_)) {
            return names(gold, prediction);
        }
        self.values(gold, prediction)
    }

    fn values(&mut self, gold: &Expr, prediction: &Expr) -> Outcome {
        let (matrices, others) = (matrix(gold), matrix(prediction));
        if matrices.is_some() || others.is_some() {
            let (Some(a), Some(b)) = (matrices, others) else { return Err(Difference::Kind) };
            return self.matrices(&a, &b);
        }
        let scalar = |expr: &Expr| expr.is_scalar() && !expr.has_matrix();
        if !scalar(gold) || !scalar(prediction) {
            return Err(Difference::Kind);
        }
        if let Some(outcome) = self.numbers(gold, prediction) {
            return outcome;
        }
        symbolic(gold, prediction)
    }

    /// Rules that hold where one side is a number, with or without a percent sign; none where they do not decide.
    fn numbers(&self, gold: &Expr, prediction: &Expr) -> Option<Outcome> {
        let number = |expr: &Expr| expr.percentage().unwrap_or(expr).is_number();
        let float = |expr: &Expr| matches!(expr.percentage().unwrap_or(expr), Expr::Float(_));
        let integer = |expr: &Expr| match expr.percentage().unwrap_or(expr) {
            Expr::Integer(value) => Some(value.clone()),
            _ => None,
        };
        if !number(gold) && !number(prediction) {
            return None;
        }
        if float(gold) || float(prediction) {
            let equal = rounded(gold).is_some_and(|gold| rounded(prediction) == Some(gold));
            return equal.then_some(Ok(Equality::Rounded));
        }
        let (Some(a), Some(b)) = (integer(gold), integer(prediction)) else { return None };
        let signs_differ = gold.percentage().is_some() != prediction.percentage().is_some();
        if a != b || !signs_differ {
            return if a == b { Some(Ok(Equality::Value)) } else { None };
        }
        (self.mode == Mode::Compat || a.is_zero()).then_some(Ok(Equality::Percentage))
    }

    fn matrices(&mut self, gold: &Matrix, prediction: &Matrix) -> Outcome {
        if (gold.rows, gold.columns) != (prediction.rows, prediction.columns) {
            return Err(Difference::Parts);
        }
        for (a, b) in gold.cells.iter().zip(&prediction.cells) {
            self.left = self.left.checked_sub(1).ok_or(Difference::TooComplex)?;
            self.values(a, b).map_err(|_| Difference::Parts)?;
        }
        Ok(Equality::Parts)
    }

    fn relations(&mut self, gold: &Expr, prediction: &Expr) -> Outcome {
        let (a, b) = match (gold, prediction) {
            (Expr::Chain(gold), Expr::Chain(prediction)) => {
                if gold.len() != prediction.len() {
                    return Err(Difference::Relation);
                }
                for (a, b) in gold.iter().zip(prediction) {
                    self.relation(a, b)?;
                }
                return Ok(Equality::Relation);
            }
            (Expr::Relation(a), Expr::Relation(b)) => (a, b),
            _ => return self.same_solution_set(gold, prediction).ok_or(Difference::Relation),
        };
        self.relation(a, b).or_else(|difference| self.same_solution_set(gold, prediction).ok_or(difference))
    }

    /// In strict mode, whether two relations of one variable hold for the same numbers.
    fn same_solution_set(&self, gold: &Expr, prediction: &Expr) -> Option<Equality> {
        if self.mode == Mode::Compat {
            return None;
        }
        let (a, b) = (solutions(gold)?, solutions(prediction)?);
        let named = |expr: &Expr| expr.symbols();
        (!a.is_empty() && !a.is_line() && a.equals(&b) && named(gold) == named(prediction))
            .then_some(Equality::Solutions)
    }

    fn relation(&mut self, gold: &Relation, prediction: &Relation) -> Outcome {
        let minus = |left: &Expr, right: &Expr| {
            let fits = |expr: &Expr| expr.is_scalar() || matches!(expr, Expr::Matrix(_));
            (fits(left) && fits(right)).then(|| Expr::difference(left, right))
        };
        let sides = minus(&gold.left, &gold.right);
        if gold.order == prediction.order
            && let (Some(a), Some(b)) = (&sides, minus(&prediction.left, &prediction.right))
            && self.compare(a, &b).is_ok()
        {
            return Ok(Equality::Relation);
        }
        let flipped = gold.order.flipped().ok_or(Difference::Relation)?;
        if flipped == prediction.order
            && let (Some(a), Some(b)) = (&sides, minus(&prediction.right, &prediction.left))
            && self.compare(a, &b).is_ok()
        {
            return Ok(Equality::Relation);
        }
        let equations = gold.order == Order::Equal && prediction.order == Order::Equal;
        let one_variable = sides.is_some_and(|sides| sides.symbols().len() < 2);
        if equations
            && !(self.mode == Mode::Strict && one_variable)
            && equation::same_solutions(gold, prediction) == Some(true)
        {
            return Ok(Equality::Solutions);
        }
        Err(Difference::Relation)
    }

    fn collections(&mut self, gold: &Expr, prediction: &Expr) -> Outcome {
        if let (Expr::Interval(a), Expr::Interval(b)) = (gold, prediction) {
            return self.intervals(a, b);
        }
        // What is no collection counts as the set of it alone.
        let single = |expr: &Expr| {
            if expr.is_set() || matches!(expr, Expr::Tuple(_)) { expr.clone() } else { Expr::Set(vec![expr.clone()]) }
        };
        let (gold, prediction) = (&single(gold), &single(prediction));
        if same_form(gold, prediction) {
            return Ok(Equality::Form);
        }
        if gold.is_set()
            && prediction.is_set()
            && let (Some(a), Some(b)) = (RealSet::of(gold), RealSet::of(prediction))
            && a.equals(&b)
        {
            return Ok(Equality::Set);
        }
        let pair = |interval: &Interval| Expr::Tuple(vec![interval.start.clone(), interval.end.clone()]);
        let open = |interval: &Interval| interval.left_open && interval.right_open;
        match (gold, prediction) {
            (Expr::Set(_) | Expr::Tuple(_), Expr::Set(_) | Expr::Tuple(_)) => self.elements(gold, prediction),
            (Expr::Interval(interval), Expr::Set(_) | Expr::Tuple(_)) if open(interval) => {
                self.elements(&pair(interval), prediction)
            }
            (Expr::Set(_) | Expr::Tuple(_), Expr::Interval(interval)) if open(interval) => {
                self.elements(gold, &pair(interval))
            }
            _ => Err(Difference::Set),
        }
    }

    fn intervals(&mut self, gold: &Interval, prediction: &Interval) -> Outcome {
        if (gold.left_open, gold.right_open) != (prediction.left_open, prediction.right_open) {
            return Err(Difference::Set);
        }
        self.compare(&gold.start, &prediction.start).map_err(|_| Difference::Set)?;
        self.compare(&gold.end, &prediction.end).map_err(|_| Difference::Set)?;
        Ok(Equality::Parts)
    }

    /// Parts one by one: in order where the reference answer is a tuple, in ascending order where it is a set.
    fn elements(&mut self, gold: &Expr, prediction: &Expr) -> Outcome {
        let (a, b) = (gold.parts(), prediction.parts());
        if a.len() != b.len() {
            return Err(Difference::Parts);
        }
        let (gold_is_set, prediction_is_set) = (matches!(gold, Expr::Set(_)), matches!(prediction, Expr::Set(_)));
        if self.mode == Mode::Strict && gold_is_set && !prediction_is_set {
            return Err(Difference::Kind);
        }
        if !gold_is_set {
            for (a, b) in a.into_iter().zip(b) {
                self.compare(a, b).map_err(|_| Difference::Parts)?;
            }
            return Ok(Equality::Parts);
        }
        if let (Some(a), Some(b)) = (ascending(&a), ascending(&b)) {
            for (a, b) in a.into_iter().zip(b) {
                self.compare(a, b).map_err(|_| Difference::Parts)?;
            }
            return Ok(Equality::Parts);
        }
        let mut open = b;
        for element in a {
            let mut places = 0..open.len();
            let place = places.find(|place| self.compare(element, open[*place]).is_ok()).ok_or(Difference::Parts)?;
            open.remove(place);
        }
        Ok(Equality::Parts)
    }
}

fn is_equation(expr: &Expr) -> bool {
    match expr {
        Expr::Relation(relation) => relation.order == Order::Equal,
        Expr::Chain(relations) => relations.iter().all(|relation| relation.order == Order::Equal),
        _ => false,
    }
}

/// An equation, or chain of them, whose left side names a value.
fn is_assignment(expr: &Expr) -> bool {
    let first = match expr {
        Expr::Relation(relation) => Some(&**relation),
        Expr::Chain(relations) => relations.first(),
        _ => None,
    };
    is_equation(expr) && first.is_some_and(|first| first.left.names_a_value())
}

/// A chain of equations without its middle.
fn ends(expr: &Expr) -> Expr {
    match expr {
        Expr::Chain(relations) => match (relations.first(), relations.last()) {
            (Some(first), Some(last)) => Expr::Relation(Box::new(Relation {
                order: Order::Equal,
                left: first.left.clone(),
                right: last.right.clone(),
            })),
            _ => expr.clone(),
        },
        other => other.clone(),
    }
}

fn last_side(expr: Expr) -> Expr {
    match expr {
        Expr::Relation(relation) => relation.right,
        Expr::Chain(mut relations) => relations.pop().map_or(Expr::Truth(true), |last| last.right),
        other => other,
    }
}

fn solutions(expr: &Expr) -> Option<RealSet> {
    match expr {
        Expr::Relation(relation) => RealSet::solutions(std::slice::from_ref(relation)),
        Expr::Chain(relations) => RealSet::solutions(relations),
        _ => None,
    }
}

/// The set of solutions, where it is found.
fn as_set(expr: Expr) -> Expr {
    solutions(&expr).map_or(expr, |set| set.to_expr())
}

/// Whether two expressions are written the same, sets in any order.
fn same_form(a: &Expr, b: &Expr) -> bool {
    let pairs = |a: &[Expr], b: &[Expr]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_form(a, b));
    match (a, b) {
        (Expr::Set(a), Expr::Set(b)) => a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| same_form(x, y))),
        (Expr::Tuple(a), Expr::Tuple(b)) => pairs(a, b),
        (Expr::Union(a), Expr::Union(b)) | (Expr::Intersection(a), Expr::Intersection(b)) => {
            same_form(&a.0, &b.0) && same_form(&a.1, &b.1) || same_form(&a.0, &b.1) && same_form(&a.1, &b.0)
        }
        (Expr::Relation(a), Expr::Relation(b)) => {
            a.order == b.order && same_form(&a.left, &b.left) && same_form(&a.right, &b.right)
        }
        (Expr::Truth(_), _) | (_, Expr::Truth(_)) => false,
        (Expr::Domain(Domain::Reals), Expr::Interval(interval))
        | (Expr::Interval(interval), Expr::Domain(Domain::Reals)) => {
            interval.start == Expr::Constant(Constant::NegativeInfinity)
                && interval.end == Expr::Constant(Constant::Infinity)
        }
        _ => a == b,
    }
}

/// The rules for words: the letters of a product count as the word they spell, and case only for single letters.
fn names(gold: &Expr, prediction: &Expr) -> Outcome {
    let euler = |a: &Expr, b: &Expr| {
        *b == Expr::Constant(Constant::E) && matches!(a, Expr::Symbol(symbol) if symbol.name.eq_ignore_ascii_case("e"))
    };
    if euler(gold, prediction) || euler(prediction, gold) {
        return Ok(Equality::Name);
    }
    let letter = |factor: &Expr| match factor {
        Expr::Symbol(symbol) => Some(symbol.name.clone()),
        Expr::Constant(Constant::E) => Some("e".to_owned()),
        _ => None,
    };
    let spelled = |expr: &Expr| match expr {
        Expr::Mul(factors) => factors.iter().map(letter).collect::<Option<String>>(),
        _ => None,
    };
    let equal = match (gold, prediction) {
        (Expr::Symbol(a), Expr::Symbol(b)) => {
            let cased = |name: &str| if name.chars().count() > 1 { name.to_lowercase() } else { name.to_owned() };
            cased(&a.name) == cased(&b.name)
        }
        (Expr::Symbol(symbol), other) | (other, Expr::Symbol(symbol)) => {
            spelled(other).is_some_and(|word| word.to_lowercase() == symbol.name.to_lowercase())
        }
        _ => false,
    };
    if equal { Ok(Equality::Name) } else { Err(Difference::Name) }
}

/// Equality of two scalars by exact value, canonical form, and probing.
fn symbolic(gold: &Expr, prediction: &Expr) -> Outcome {
    if let (Some(a), Some(b)) = (constant::value(gold), constant::value(prediction)) {
        return if a == b { Ok(Equality::Value) } else { Err(Difference::Value) };
    }
    match canonical::compare(gold, prediction) {
        Comparison::Equal => return Ok(Equality::Canonical),
        Comparison::Different => return Err(Difference::Value),
        Comparison::Unknown => {}
    }
    match numeric::agree(gold, prediction) {
        Some(true) => Ok(Equality::Probed),
        Some(false) => Err(Difference::Value),
        None => Err(Difference::TooComplex),
    }
}

/// What rounding leaves of a number: the value, and whether it is a decimal. An integer is never the same as a decimal.
#[derive(PartialEq)]
struct Rounded {
    value: BigRational,
    decimal: bool,
}

fn rounded(expr: &Expr) -> Option<Rounded> {
    let exact = constant::value(expr);
    let inexact = constant::is_inexact(expr);
    if let Some(value) = &exact
        && !inexact
        && value.is_integer()
    {
        return Some(Rounded { value: value.clone(), decimal: false });
    }
    let value = match exact {
        Some(value) => value,
        None => BigRational::from_f64(numeric::real(expr).filter(|value| value.is_finite())?)?,
    };
    if value.is_zero() {
        return Some(Rounded { value, decimal: inexact });
    }
    let mut digits = exact::decimal_magnitude(&value) + i64::from(PLACES);
    if inexact {
        digits = digits.min(constant::digits(expr).unwrap_or(DIGITS).into());
    }
    let shifted = exact::round_half_even(&value, PLACES);
    let value = if shifted.is_integer() {
        shifted
    } else {
        exact::round_to_digits(&shifted, u32::try_from(digits.max(1)).ok()?)
    };
    Some(Rounded { value, decimal: true })
}

/// The elements in ascending order, where all are real numbers; an assignment counts as its value.
fn ascending<'a>(elements: &[&'a Expr]) -> Option<Vec<&'a Expr>> {
    let value = |expr: &'a Expr| match expr {
        Expr::Relation(relation) if is_assignment(expr) => &relation.right,
        Expr::Chain(relations) if is_assignment(expr) => relations.last().map_or(expr, |last| &last.right),
        other => other,
    };
    let mut keyed: Vec<(f64, &Expr)> =
        elements.iter().map(|element| Some((numeric::real(value(element))?, *element))).collect::<Option<_>>()?;
    keyed.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    Some(keyed.into_iter().map(|(_, element)| element).collect())
}
