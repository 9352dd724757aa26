//! The penalised likelihood of paired comparisons with ties, and Newton's method on it.
//!
//! With `Z = e^{t_a} + e^{t_b} + 2 e^{θ + (t_a + t_b)/2}`, the probabilities of a win, a loss and a tie are the three
//! summands over Z (R. R. Davidson, "On extending the Bradley–Terry model to accommodate ties", 1970); without ties this
//! is the Bradley–Terry model. Its logarithm is concave in the ratings t and in θ, so Newton's method with halved steps
//! finds the one optimum, if there is one.

use super::bradley_terry::{FitError, Prior};
use nalgebra::{DMatrix, DVector};

/// All games of two players.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    pub a: usize,
    pub b: usize,
    /// Points that went to `a`, ties aside.
    pub won: f64,
    pub lost: f64,
    pub tied: f64,
}

/// Sums up games `(a, b, won, lost, tied)` by pair, with `a < b`, in order.
pub fn pairs(games: impl IntoIterator<Item = Pair>) -> Vec<Pair> {
    let ordered = |pair: Pair| {
        if pair.a < pair.b {
            pair
        } else {
            Pair { a: pair.b, b: pair.a, won: pair.lost, lost: pair.won, tied: pair.tied }
        }
    };
    let mut pairs: Vec<Pair> = games.into_iter().map(ordered).collect();
    pairs.sort_by_key(|pair| (pair.a, pair.b));
    pairs.dedup_by(|next, sum| {
        let same = (next.a, next.b) == (sum.a, sum.b);
        if same {
            sum.won += next.won;
            sum.lost += next.lost;
            sum.tied += next.tied;
        }
        same
    });
    pairs
}

/// Where Newton's method has come to.
pub struct Point {
    pub ratings: Vec<f64>,
    /// θ, the logarithm of the tie parameter; minus infinity without ties.
    pub log_tie: f64,
}

/// Ratings this far apart, or a tie parameter this extreme, only arise where no finite estimate exists.
const RUNAWAY: f64 = 100.0;
/// Halvings of a step that raises the value.
const MAX_HALVINGS: u32 = 40;
const MAX_STEPS: usize = 200;
/// Relative error of a value: near the optimum, a good step may seem to raise it by as much.
const ROUNDING: f64 = 1e-12;

/// The negative logarithm of likelihood and prior.
pub struct Objective<'a> {
    pub pairs: &'a [Pair],
    pub prior: Prior,
    /// Group of every player: without a prior, ratings are only defined within one.
    pub groups: &'a [usize],
}

/// Probabilities of a win of `a`, of `b` and of a tie.
fn probabilities(difference: f64, log_tie: f64) -> (f64, f64, f64) {
    let logits = [0.5 * difference, -0.5 * difference, std::f64::consts::LN_2 + log_tie];
    let most = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let [a, b, tie] = logits.map(|logit| (logit - most).exp());
    let sum = a + b + tie;
    (a / sum, b / sum, tie / sum)
}

fn log_probabilities(difference: f64, log_tie: f64) -> (f64, f64, f64) {
    let logits = [0.5 * difference, -0.5 * difference, std::f64::consts::LN_2 + log_tie];
    let most = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let norm = most + logits.map(|logit| (logit - most).exp()).iter().sum::<f64>().ln();
    (logits[0] - norm, logits[1] - norm, logits[2] - norm)
}

impl Objective<'_> {
    fn has_ties(&self) -> bool {
        self.pairs.iter().any(|pair| pair.tied > 0.0)
    }

    /// The value. A tie that never happened counts as nothing, though its logarithm may be minus infinity.
    fn value(&self, point: &Point) -> f64 {
        let games: f64 = self
            .pairs
            .iter()
            .map(|pair| {
                let (a, b, tie) = log_probabilities(point.ratings[pair.a] - point.ratings[pair.b], point.log_tie);
                let tied = if pair.tied > 0.0 { pair.tied * tie } else { 0.0 };
                pair.won * a + pair.lost * b + tied
            })
            .sum();
        let prior: f64 = match self.prior {
            Prior::None => 0.0,
            Prior::Gaussian { alpha } => alpha * point.ratings.iter().map(|t| t * t).sum::<f64>(),
            Prior::Anchor { games } => {
                let both = |&t: &f64| {
                    let (a, b, _) = log_probabilities(t, f64::NEG_INFINITY);
                    a + b
                };
                -games * point.ratings.iter().map(both).sum::<f64>()
            }
        };
        prior - games
    }

    /// Second derivatives over the ratings and, last, θ. Without a prior, the projection on each group's constant
    /// vector is added, along which the value does not change.
    pub fn curvature(&self, point: &Point) -> DMatrix<f64> {
        let players = point.ratings.len();
        let mut curvature = DMatrix::zeros(players + 1, players + 1);
        for &Pair { a, b, won, lost, tied } in self.pairs {
            let (pa, pb, tie) = probabilities(point.ratings[a] - point.ratings[b], point.log_tie);
            let games = won + lost + tied;
            // Variance of half the difference of points, and its covariance with being a tie.
            let weight = games * 0.25 * (pa + pb - (pa - pb) * (pa - pb));
            let mixed = -games * 0.5 * (pa - pb) * tie;
            curvature[(a, a)] += weight;
            curvature[(b, b)] += weight;
            curvature[(a, b)] -= weight;
            curvature[(b, a)] -= weight;
            for (player, mixed) in [(a, mixed), (b, -mixed)] {
                curvature[(player, players)] += mixed;
                curvature[(players, player)] += mixed;
            }
            curvature[(players, players)] += games * tie * (1.0 - tie);
        }
        if !self.has_ties() {
            curvature[(players, players)] = 1.0;
        }
        match self.prior {
            Prior::None => {
                let mut sizes = vec![0.0; players];
                self.groups.iter().for_each(|&group| sizes[group] += 1.0);
                for i in 0..players {
                    for j in (0..players).filter(|&j| self.groups[i] == self.groups[j]) {
                        curvature[(i, j)] += 1.0 / sizes[self.groups[i]];
                    }
                }
            }
            Prior::Gaussian { alpha } => (0..players).for_each(|i| curvature[(i, i)] += 2.0 * alpha),
            Prior::Anchor { games } => {
                for (i, &rating) in point.ratings.iter().enumerate() {
                    let (above, below, _) = probabilities(rating, f64::NEG_INFINITY);
                    curvature[(i, i)] += 2.0 * games * above * below;
                }
            }
        }
        curvature
    }

    fn gradient(&self, point: &Point) -> DVector<f64> {
        let players = point.ratings.len();
        let mut gradient = DVector::zeros(players + 1);
        for &Pair { a, b, won, lost, tied } in self.pairs {
            let (pa, pb, tie) = probabilities(point.ratings[a] - point.ratings[b], point.log_tie);
            let games = won + lost + tied;
            let slope = 0.5 * (games * (pa - pb) - (won - lost));
            gradient[a] += slope;
            gradient[b] -= slope;
            gradient[players] += games * tie - tied;
        }
        match self.prior {
            Prior::None => {}
            Prior::Gaussian { alpha } => {
                point.ratings.iter().enumerate().for_each(|(i, t)| gradient[i] += 2.0 * alpha * t);
            }
            Prior::Anchor { games } => {
                for (i, &rating) in point.ratings.iter().enumerate() {
                    let (above, below, _) = probabilities(rating, f64::NEG_INFINITY);
                    gradient[i] += games * (above - below);
                }
            }
        }
        gradient
    }

    /// Newton's method from a point, until no rating changes by `tolerance`; gives the number of steps.
    ///
    /// # Errors
    /// The ratings run away, or the steps do not become small.
    pub fn minimise(&self, point: &mut Point, tolerance: f64) -> Result<usize, FitError> {
        let players = point.ratings.len();
        if !self.has_ties() {
            point.log_tie = f64::NEG_INFINITY;
        }
        let mut now = self.value(point);
        let mut change = f64::INFINITY;
        for step_number in 1..=MAX_STEPS {
            let Some(cholesky) = self.curvature(point).cholesky() else { return Err(FitError::NoFiniteEstimate) };
            let step = cholesky.solve(&self.gradient(point));
            let moved = |scale: f64| Point {
                ratings: point.ratings.iter().zip(step.iter()).map(|(t, s)| t - scale * s).collect(),
                log_tie: point.log_tie - scale * step[players],
            };
            let mut scale = 1.0;
            let mut next = moved(scale);
            let mut value = self.value(&next);
            for _ in 0..MAX_HALVINGS {
                if value <= now + ROUNDING * now.abs().max(1.0) {
                    break;
                }
                scale *= 0.5;
                next = moved(scale);
                value = self.value(&next);
            }
            change = step.amax();
            let spread = next.ratings.iter().fold(0.0_f64, |most, t| most.max(t.abs()));
            if spread > RUNAWAY || (self.has_ties() && next.log_tie.abs() > RUNAWAY) {
                return Err(FitError::NoFiniteEstimate);
            }
            (*point, now) = (next, value);
            if change < tolerance {
                return Ok(step_number);
            }
        }
        Err(FitError::NotConverged { sweeps: MAX_STEPS, change })
    }

    /// Standard errors of the ratings, centred as `Ratings` says: from the inverse of the curvature.
    pub fn standard_errors(&self, point: &Point) -> Vec<f64> {
        let players = point.ratings.len();
        let Some(cholesky) = self.curvature(point).cholesky() else { return vec![f64::INFINITY; players] };
        // With the inverse L' of the triangular factor, the covariance is L'ᵀ L': its diagonal needs no full product.
        let mut inverse = DMatrix::identity(players + 1, players + 1);
        cholesky.l_dirty().solve_lower_triangular_mut(&mut inverse);
        let variances = (0..players).map(|i| inverse.column(i).norm_squared());
        let mut sizes = vec![0.0; players];
        self.groups.iter().for_each(|&group| sizes[group] += 1.0);
        let mut ones = DVector::from_element(players + 1, 1.0);
        ones[players] = 0.0;
        let rows = cholesky.solve(&ones);
        let total = rows.rows(0, players).sum() / (players as f64).powi(2);
        variances
            .enumerate()
            .map(|(i, variance)| match self.prior {
                Prior::None => variance - 1.0 / sizes[self.groups[i]],
                _ => variance - 2.0 * rows[i] / players as f64 + total,
            })
            .map(|variance| variance.max(0.0).sqrt())
            .collect()
    }
}
