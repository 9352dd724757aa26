//! Bradley–Terry ratings from wins, ties and fractional outcomes.
//!
//! `P(i beats j) = σ(t_i − t_j)` (R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs", 1952).

use super::{
    graph::{components_are_strong, weak_components},
    likelihood::{Objective, Pair, Point, pairs},
};

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
    /// Whether standard errors are computed, which takes time cubic in the players.
    pub standard_errors: bool,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { prior: Prior::Anchor { games: 0.5 }, tolerance: 1e-12, max_sweeps: 200_000, standard_errors: true }
    }
}

/// Fitted ratings on the natural-log scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratings {
    /// Mean 0: over all players with a prior, within each connected group without one.
    pub ratings: Vec<f64>,
    /// Of the centred ratings, from the curvature at the optimum (prior included); empty where not asked for.
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

/// Sweeps after which Newton's method takes over, where the players are few enough for it: Newman's iteration takes many
/// where the ratings are only just finite.
const SWEEPS_BEFORE_NEWTON: usize = 500;
/// Players up to which a step of Newton's method, cubic in their number, is worth it.
const PLAYERS_FOR_NEWTON: usize = 1500;
/// Below this, rounding moves the solution of a linear system.
const NEWTON_TOLERANCE: f64 = 1e-10;

#[derive(Clone, Copy)]
struct Opponent {
    player: usize,
    won: f64,
    lost: f64,
}

/// The sufficient statistics of a set of games.
pub struct BradleyTerry {
    players: usize,
    pairs: Vec<Pair>,
}

impl BradleyTerry {
    /// Sums up games.
    ///
    /// # Errors
    /// A game names an unknown player, a player twice, or an outcome outside `0..=1`.
    pub fn new(players: usize, outcomes: impl IntoIterator<Item = Outcome>) -> Result<Self, FitError> {
        let checked = outcomes.into_iter().map(|Outcome { a, b, a_share }| {
            if a >= players || b >= players || a == b {
                return Err(FitError::Player { a, b, players });
            }
            if !(0.0..=1.0).contains(&a_share) {
                return Err(FitError::Outcome { a, b, a_share });
            }
            Ok(Pair { a, b, won: a_share, lost: 1.0 - a_share, tied: 0.0 })
        });
        Ok(Self { players, pairs: pairs(checked.collect::<Result<Vec<_>, _>>()?) })
    }

    /// Fits ratings.
    ///
    /// # Errors
    /// No finite estimate exists, or the iteration did not converge.
    pub fn fit(&self, options: &FitOptions) -> Result<Ratings, FitError> {
        let groups = checked_groups(self.players, &self.pairs, options.prior)?;
        let objective = Objective { pairs: &self.pairs, prior: options.prior, groups: &groups };
        let mut point = Point { ratings: vec![0.0; self.players], log_tie: f64::NEG_INFINITY };
        let sweeps = match options.prior {
            Prior::Gaussian { .. } => objective.minimise(&mut point, options.tolerance.max(NEWTON_TOLERANCE))?,
            Prior::None => self.newman(0.0, &objective, &mut point, options)?,
            Prior::Anchor { games } => self.newman(games, &objective, &mut point, options)?,
        };
        Ok(ratings(point, &objective, sweeps, options))
    }

    /// All opponents of every player: where a player's begin, and the opponents of all.
    fn opponents(&self) -> (Vec<usize>, Vec<Opponent>) {
        let mut starts = vec![0; self.players + 1];
        for pair in &self.pairs {
            starts[pair.a + 1] += 1;
            starts[pair.b + 1] += 1;
        }
        for player in 0..self.players {
            starts[player + 1] += starts[player];
        }
        let mut next = starts.clone();
        let mut opponents = vec![Opponent { player: 0, won: 0.0, lost: 0.0 }; 2 * self.pairs.len()];
        for pair in &self.pairs {
            for (player, opponent) in [
                (pair.a, Opponent { player: pair.b, won: pair.won, lost: pair.lost }),
                (pair.b, Opponent { player: pair.a, won: pair.lost, lost: pair.won }),
            ] {
                opponents[next[player]] = opponent;
                next[player] += 1;
            }
        }
        (starts, opponents)
    }

    /// Newman's iteration (M. E. J. Newman, "Efficient computation of rankings from pairwise comparisons", JMLR 24, 2023).
    fn newman(
        &self,
        anchor: f64,
        objective: &Objective<'_>,
        point: &mut Point,
        options: &FitOptions,
    ) -> Result<usize, FitError> {
        let (starts, opponents) = self.opponents();
        let mut strengths = vec![1.0_f64; self.players];
        let mut change = 0.0_f64;
        for sweep in 1..=options.max_sweeps {
            for i in 0..self.players {
                let mine = strengths[i];
                let (mut up, mut down) = (anchor / (mine + 1.0), anchor / (mine + 1.0));
                for opponent in &opponents[starts[i]..starts[i + 1]] {
                    let theirs = strengths[opponent.player];
                    let over = 1.0 / (mine + theirs);
                    up += opponent.won * theirs * over;
                    down += opponent.lost * over;
                }
                if down > 0.0 {
                    strengths[i] = up / down;
                }
            }
            let mut after: Vec<f64> = strengths.iter().map(|p| p.ln()).collect();
            if anchor == 0.0 {
                centre_groups(&mut after, objective.groups);
                strengths = after.iter().map(|t| t.exp()).collect();
            }
            change = point.ratings.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            point.ratings = after;
            if change < options.tolerance {
                return Ok(sweep);
            }
            if sweep == SWEEPS_BEFORE_NEWTON && self.players <= PLAYERS_FOR_NEWTON {
                let steps = objective.minimise(point, options.tolerance.max(NEWTON_TOLERANCE))?;
                return Ok(sweep + steps);
            }
        }
        Err(FitError::NotConverged { sweeps: options.max_sweeps, change })
    }
}

/// The groups that games connect, where the prior's strength is sound and, without one, every group's ratings are finite.
pub(super) fn checked_groups(players: usize, pairs: &[Pair], prior: Prior) -> Result<Vec<usize>, FitError> {
    let groups = weak_components(players, pairs.iter().map(|pair| (pair.a, pair.b)));
    match prior {
        Prior::None => {
            let wins = pairs.iter().flat_map(|pair| {
                let a = (pair.won + pair.tied > 0.0).then_some((pair.a, pair.b));
                let b = (pair.lost + pair.tied > 0.0).then_some((pair.b, pair.a));
                a.into_iter().chain(b)
            });
            if components_are_strong(&groups, &wins.collect::<Vec<_>>()) {
                Ok(groups)
            } else {
                Err(FitError::NoFiniteEstimate)
            }
        }
        Prior::Anchor { games: strength } | Prior::Gaussian { alpha: strength } => {
            if strength > 0.0 && strength.is_finite() { Ok(groups) } else { Err(FitError::Strength(strength)) }
        }
    }
}

/// Centres a fitted point.
pub(super) fn ratings(point: Point, objective: &Objective<'_>, sweeps: usize, options: &FitOptions) -> Ratings {
    let standard_errors = if options.standard_errors { objective.standard_errors(&point) } else { Vec::new() };
    let mut ratings = point.ratings;
    let groups = objective.groups.to_vec();
    let centre = match options.prior {
        Prior::None => {
            centre_groups(&mut ratings, &groups);
            0.0
        }
        _ => {
            let centre = ratings.iter().sum::<f64>() / ratings.len().max(1) as f64;
            ratings.iter_mut().for_each(|rating| *rating -= centre);
            centre
        }
    };
    Ratings { ratings, standard_errors, groups, centre, sweeps }
}

fn centre_groups(ratings: &mut [f64], groups: &[usize]) {
    let mut sums = vec![(0.0, 0.0); ratings.len()];
    for (rating, &group) in ratings.iter().zip(groups) {
        sums[group].0 += rating;
        sums[group].1 += 1.0;
    }
    for (rating, &group) in ratings.iter_mut().zip(groups) {
        *rating -= sums[group].0 / sums[group].1;
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
    fn ratings_that_are_only_just_finite_converge() {
        // A chain of players, each of which beat the next one a thousand times and lost once.
        let games: Vec<_> = (0..12).flat_map(|i| [(i, i + 1, 0.999), (i, i + 1, 0.999)]).collect();
        let ratings = fit(13, &games, Prior::None).unwrap();
        for (i, pair) in ratings.ratings.windows(2).enumerate() {
            assert!((pair[0] - pair[1] - 999_f64.ln()).abs() < 1e-7, "{i}");
        }
        let quick = FitOptions { prior: Prior::None, standard_errors: false, ..FitOptions::default() };
        let outcomes = games.iter().map(|&(a, b, a_share)| Outcome { a, b, a_share });
        let again = BradleyTerry::new(13, outcomes).unwrap().fit(&quick).unwrap();
        assert_eq!((again.ratings, again.standard_errors.len()), (ratings.ratings, 0));
    }

    #[test]
    fn impossible_games_are_refused() {
        assert!(matches!(fit(2, &[(0, 2, 1.0)], Prior::None), Err(FitError::Player { .. })));
        assert!(matches!(fit(2, &[(0, 1, 1.5)], Prior::None), Err(FitError::Outcome { .. })));
        assert!(matches!(fit(2, &[], Prior::Anchor { games: 0.0 }), Err(FitError::Strength(_))));
    }
}
