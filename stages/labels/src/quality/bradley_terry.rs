//! Bradley–Terry ratings from wins, ties and fractional outcomes.
//!
//! `P(i beats j) = σ(t_i − t_j)` (R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", 1952).

use super::{
    graph::{components_are_strong, weak_components},
    judge::sigmoid,
};
use nalgebra::{DMatrix, DVector};
use std::collections::BTreeMap;

/// One game: `a_share` of the point went to `a`, the rest to `b`. A tie is 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    pub a: usize,
    pub b: usize,
    pub a_share: f64,
}

/// What is known before any game.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Prior {
    /// Maximum likelihood: exists only where everybody has both won and lost, directly or through others.
    None,
    /// `games` virtual wins and as many virtual losses of every player against an anchor of rating 0: a logistic prior.
    Anchor { games: f64 },
    /// A penalty of `alpha · Σ t²`: a normal prior of variance `1 / (2 alpha)`.
    Gaussian { alpha: f64 },
}

/// How far the fit is driven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitOptions {
    pub prior: Prior,
    /// Largest change of a rating in the last sweep.
    pub tolerance: f64,
    pub max_sweeps: usize,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { prior: Prior::Anchor { games: 0.5 }, tolerance: 1e-12, max_sweeps: 200_000 }
    }
}

/// Fitted ratings on the natural-log scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratings {
    /// Mean 0: over all players with a prior, within each connected group without one.
    pub ratings: Vec<f64>,
    /// Of the centred ratings, from the curvature at the optimum (prior included).
    pub standard_errors: Vec<f64>,
    /// The group of players that each one is connected to through games, numbered by first player.
    pub groups: Vec<usize>,
    /// What was subtracted to centre: `ratings + centre` is relative to the prior's anchor. 0 without a prior.
    pub centre: f64,
    pub sweeps: usize,
}

/// Why there are no ratings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    #[error("a game names players {a} and {b}, but there are {players} players")]
    Player { a: usize, b: usize, players: usize },
    #[error("outcome {a_share} of the game between players {a} and {b} is not between 0 and 1")]
    Outcome { a: usize, b: usize, a_share: f64 },
    #[error("the prior's strength {0} must be positive and finite")]
    Strength(f64),
    #[error(
        "some players only win or only lose against the others, so no finite maximum-likelihood rating exists: use a prior"
    )]
    NoFiniteEstimate,
    #[error("not converged after {sweeps} sweeps: ratings still change by {change:e}")]
    NotConverged { sweeps: usize, change: f64 },
}

struct Opponent {
    player: usize,
    won: f64,
    lost: f64,
}

/// The sufficient statistics of a set of games.
pub struct BradleyTerry {
    opponents: Vec<Vec<Opponent>>,
}

impl BradleyTerry {
    /// Sums up games.
    ///
    /// # Errors
    /// A game names an unknown player, a player twice, or an outcome outside `0..=1`.
    pub fn new(players: usize, outcomes: impl IntoIterator<Item = Outcome>) -> Result<Self, FitError> {
        let mut won: Vec<BTreeMap<usize, (f64, f64)>> = vec![BTreeMap::new(); players];
        for Outcome { a, b, a_share } in outcomes {
            if a >= players || b >= players || a == b {
                return Err(FitError::Player { a, b, players });
            }
            if !(0.0..=1.0).contains(&a_share) {
                return Err(FitError::Outcome { a, b, a_share });
            }
            for (i, j, share) in [(a, b, a_share), (b, a, 1.0 - a_share)] {
                let sum = won[i].entry(j).or_default();
                sum.0 += share;
                sum.1 += 1.0 - share;
            }
        }
        let opponents = won
            .into_iter()
            .map(|row| row.into_iter().map(|(player, (won, lost))| Opponent { player, won, lost }).collect())
            .collect();
        Ok(Self { opponents })
    }

    fn edges(&self) -> impl Iterator<Item = (usize, &Opponent)> {
        self.opponents.iter().enumerate().flat_map(|(i, row)| row.iter().map(move |opponent| (i, opponent)))
    }

    /// Fits ratings.
    ///
    /// # Errors
    /// No finite estimate exists, or the iteration did not converge.
    pub fn fit(&self, options: &FitOptions) -> Result<Ratings, FitError> {
        let players = self.opponents.len();
        let groups = weak_components(players, self.edges().map(|(i, o)| (i, o.player)));
        let (mut ratings, sweeps) = match options.prior {
            Prior::None => {
                let beats: Vec<_> = self.edges().filter(|(_, o)| o.won > 0.0).map(|(i, o)| (i, o.player)).collect();
                if !components_are_strong(&groups, &beats) {
                    return Err(FitError::NoFiniteEstimate);
                }
                self.newman(0.0, &groups, options)?
            }
            Prior::Anchor { games: strength } | Prior::Gaussian { alpha: strength }
                if !(strength > 0.0 && strength.is_finite()) =>
            {
                return Err(FitError::Strength(strength));
            }
            Prior::Anchor { games } => self.newman(games, &groups, options)?,
            Prior::Gaussian { alpha } => self.newton(alpha, options)?,
        };
        let standard_errors = self.standard_errors(&ratings, options.prior, &groups);
        let centre = match options.prior {
            Prior::None => {
                centre_groups(&mut ratings, &groups);
                0.0
            }
            _ => {
                let centre = ratings.iter().sum::<f64>() / players.max(1) as f64;
                ratings.iter_mut().for_each(|rating| *rating -= centre);
                centre
            }
        };
        Ok(Ratings { ratings, standard_errors, groups, centre, sweeps })
    }

    /// Newman's iteration (M. E. J. Newman, "Efficient computation of rankings from pairwise comparisons", JMLR 24, 2023).
    fn newman(&self, anchor: f64, groups: &[usize], options: &FitOptions) -> Result<(Vec<f64>, usize), FitError> {
        let mut strengths = vec![1.0_f64; self.opponents.len()];
        let mut change = 0.0_f64;
        for sweep in 1..=options.max_sweeps {
            let before: Vec<f64> = strengths.iter().map(|p| p.ln()).collect();
            for (i, row) in self.opponents.iter().enumerate() {
                let mine = strengths[i];
                let (mut up, mut down) = (anchor / (mine + 1.0), anchor / (mine + 1.0));
                for opponent in row {
                    let theirs = strengths[opponent.player];
                    up += opponent.won * theirs / (mine + theirs);
                    down += opponent.lost / (mine + theirs);
                }
                if down > 0.0 {
                    strengths[i] = up / down;
                }
            }
            let mut after: Vec<f64> = strengths.iter().map(|p| p.ln()).collect();
            if anchor == 0.0 {
                centre_groups(&mut after, groups);
                strengths = after.iter().map(|t| t.exp()).collect();
            }
            change = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            if change < options.tolerance {
                return Ok((after, sweep));
            }
        }
        Err(FitError::NotConverged { sweeps: options.max_sweeps, change })
    }

    /// Newton's method on the penalised likelihood, which is strictly convex; steps are halved until it decreases.
    fn newton(&self, alpha: f64, options: &FitOptions) -> Result<(Vec<f64>, usize), FitError> {
        let players = self.opponents.len();
        let mut ratings = vec![0.0; players];
        let loss = |t: &[f64]| -> f64 {
            let games: f64 = self.edges().map(|(i, o)| -o.won * log_sigmoid(t[i] - t[o.player])).sum();
            games + alpha * t.iter().map(|x| x * x).sum::<f64>()
        };
        let mut now = loss(&ratings);
        let mut change = 0.0_f64;
        for sweep in 1..=options.max_sweeps {
            let gradient = DVector::from_fn(players, |i, _| {
                let games: f64 = self.opponents[i]
                    .iter()
                    .map(|o| (o.won + o.lost) * sigmoid(ratings[i] - ratings[o.player]) - o.won)
                    .sum();
                games + 2.0 * alpha * ratings[i]
            });
            let mut curvature = self.curvature(&ratings);
            (0..players).for_each(|i| curvature[(i, i)] += 2.0 * alpha);
            let Some(cholesky) = curvature.cholesky() else { break };
            let step = cholesky.solve(&gradient);
            let mut scale = 1.0;
            let (next, next_loss) = loop {
                let next: Vec<f64> = ratings.iter().zip(step.iter()).map(|(t, s)| t - scale * s).collect();
                let value = loss(&next);
                if value <= now || scale < 1e-6 {
                    break (next, value);
                }
                scale *= 0.5;
            };
            change = step.amax() * scale;
            (ratings, now) = (next, next_loss);
            if change < options.tolerance.max(1e-12) {
                return Ok((ratings, sweep));
            }
        }
        Err(FitError::NotConverged { sweeps: options.max_sweeps, change })
    }

    /// Second derivative of the negative log-likelihood: a graph Laplacian with weights `n_ij · p_ij · p_ji`.
    fn curvature(&self, ratings: &[f64]) -> DMatrix<f64> {
        let players = ratings.len();
        let mut laplacian = DMatrix::zeros(players, players);
        for (i, o) in self.edges() {
            let p = sigmoid(ratings[i] - ratings[o.player]);
            let weight = (o.won + o.lost) * p * (1.0 - p);
            laplacian[(i, i)] += weight;
            laplacian[(i, o.player)] -= weight;
        }
        laplacian
    }

    fn standard_errors(&self, ratings: &[f64], prior: Prior, groups: &[usize]) -> Vec<f64> {
        let players = ratings.len();
        let mut curvature = self.curvature(ratings);
        let sizes = group_sizes(groups);
        for i in 0..players {
            match prior {
                // Adding the projection on each group's constant vector makes the Laplacian invertible.
                Prior::None => {
                    for j in (0..players).filter(|&j| groups[j] == groups[i]) {
                        curvature[(i, j)] += 1.0 / sizes[groups[i]] as f64;
                    }
                }
                Prior::Anchor { games } => {
                    let p = sigmoid(ratings[i]);
                    curvature[(i, i)] += 2.0 * games * p * (1.0 - p);
                }
                Prior::Gaussian { alpha } => curvature[(i, i)] += 2.0 * alpha,
            }
        }
        let Some(cholesky) = curvature.cholesky() else { return vec![f64::INFINITY; players] };
        let covariance = cholesky.inverse();
        let total = covariance.sum() / (players as f64).powi(2);
        (0..players)
            .map(|i| {
                let variance = match prior {
                    Prior::None => covariance[(i, i)] - 1.0 / sizes[groups[i]] as f64,
                    _ => covariance[(i, i)] - 2.0 * covariance.row(i).sum() / players as f64 + total,
                };
                variance.max(0.0).sqrt()
            })
            .collect()
    }
}

fn log_sigmoid(x: f64) -> f64 {
    if x >= 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() }
}

fn group_sizes(groups: &[usize]) -> Vec<usize> {
    let mut sizes = vec![0; groups.iter().max().map_or(0, |last| last + 1)];
    groups.iter().for_each(|&group| sizes[group] += 1);
    sizes
}

fn centre_groups(ratings: &mut [f64], groups: &[usize]) {
    let sizes = group_sizes(groups);
    let mut sums = vec![0.0; sizes.len()];
    for (rating, &group) in ratings.iter().zip(groups) {
        sums[group] += rating;
    }
    for (rating, &group) in ratings.iter_mut().zip(groups) {
        *rating -= sums[group] / sizes[group] as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(players: usize, games: &[(usize, usize, f64)], prior: Prior) -> Result<Ratings, FitError> {
        let outcomes = games.iter().map(|&(a, b, a_share)| Outcome { a, b, a_share });
        BradleyTerry::new(players, outcomes)?.fit(&FitOptions { prior, ..FitOptions::default() })
    }

    #[test]
    fn two_players_have_the_closed_form() {
        let ratings = fit(2, &[(0, 1, 1.0), (0, 1, 1.0), (0, 1, 1.0), (1, 0, 1.0)], Prior::None).unwrap();
        assert!((ratings.ratings[0] - ratings.ratings[1] - 3_f64.ln()).abs() < 1e-10);
        // Var(t0 − t1) = 1 / (n p q), and each centred rating is half the difference.
        let expected = 0.5 * (1.0 / (4.0 * 0.75 * 0.25_f64)).sqrt();
        assert!((ratings.standard_errors[0] - expected).abs() < 1e-9);
    }

    #[test]
    fn an_undefeated_player_needs_a_prior() {
        let games = [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0), (2, 1, 1.0)];
        assert_eq!(fit(3, &games, Prior::None), Err(FitError::NoFiniteEstimate));
        for prior in [Prior::Anchor { games: 0.5 }, Prior::Gaussian { alpha: 0.1 }] {
            let ratings = fit(3, &games, prior).unwrap();
            assert!(ratings.ratings[0] > ratings.ratings[1] && ratings.ratings[0].is_finite());
            assert!((ratings.ratings[1] - ratings.ratings[2]).abs() < 1e-9);
        }
    }

    #[test]
    fn groups_without_a_common_opponent_are_centred_apart() {
        let games = [(0, 1, 0.7), (2, 3, 0.2)];
        let ratings = fit(4, &games, Prior::None).unwrap();
        assert_eq!(ratings.groups, [0, 0, 1, 1]);
        assert!((ratings.ratings[0] + ratings.ratings[1]).abs() < 1e-12);
        assert!((ratings.ratings[2] + ratings.ratings[3]).abs() < 1e-12);
    }

    #[test]
    fn a_player_without_games_sits_at_the_anchor() {
        let ratings = fit(3, &[(0, 1, 0.9)], Prior::Anchor { games: 0.5 }).unwrap();
        assert!((ratings.ratings[2] + ratings.centre).abs() < 1e-12);
        assert!(ratings.standard_errors[2] > ratings.standard_errors[0]);
        assert_eq!(fit(1, &[], Prior::Anchor { games: 0.5 }).unwrap().ratings, [0.0]);
    }

    #[test]
    fn impossible_games_are_refused() {
        assert!(matches!(fit(2, &[(0, 2, 1.0)], Prior::None), Err(FitError::Player { .. })));
        assert!(matches!(fit(2, &[(0, 1, 1.5)], Prior::None), Err(FitError::Outcome { .. })));
        assert!(matches!(fit(2, &[], Prior::Anchor { games: 0.0 }), Err(FitError::Strength(_))));
    }
}
