//! Ratings from wins and ties that are outcomes of their own: Davidson's model
//! (R. R. Davidson, "On extending the Bradley–Terry model to accommodate ties in paired comparison experiments", 1970).
//!
//! `P(tie) = 2ν√(p_a p_b) / (p_a + p_b + 2ν√(p_a p_b))` with `p = e^t`. Where half a point for a tie is enough, or
//! outcomes are fractions, use [`super::BradleyTerry`].

use super::{
    bradley_terry::{FitError, FitOptions, Ratings, checked_groups, ratings},
    likelihood::{Objective, Pair, Point, pairs},
};

/// How a game ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The first player won.
    A,
    /// The second player won.
    B,
    Tie,
}

/// Standard error of a rating that the games do not bound.
const BOUNDLESS: f64 = 1e4;

/// Games with ties.
pub struct Davidson {
    players: usize,
    pairs: Vec<Pair>,
}

/// Fitted ratings with the tie parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct DavidsonRatings {
    pub ratings: Ratings,
    /// ν: two equal players tie with probability `ν / (1 + ν)`. 0 where no game was tied.
    pub tie: f64,
}

impl Davidson {
    /// Sums up games `(a, b, decision)`.
    ///
    /// # Errors
    /// A game names an unknown player or a player twice.
    pub fn new(players: usize, games: impl IntoIterator<Item = (usize, usize, Decision)>) -> Result<Self, FitError> {
        let checked = games.into_iter().map(|(a, b, decision)| {
            if a >= players || b >= players || a == b {
                return Err(FitError::Player { a, b, players });
            }
            let share = |wanted: Decision| f64::from(u8::from(decision == wanted));
            Ok(Pair { a, b, won: share(Decision::A), lost: share(Decision::B), tied: share(Decision::Tie) })
        });
        Ok(Self { players, pairs: pairs(checked.collect::<Result<Vec<_>, _>>()?) })
    }

    /// Fits ratings and the tie parameter by Newton's method.
    ///
    /// # Errors
    /// No finite estimate exists (as for Bradley–Terry; also where all games are tied, or where the ratings can grow
    /// together with the tie parameter), or the iteration did not converge.
    pub fn fit(&self, options: &FitOptions) -> Result<DavidsonRatings, FitError> {
        let groups = checked_groups(self.players, &self.pairs, options.prior)?;
        let (tied, played) = self
            .pairs
            .iter()
            .fold((0.0, 0.0), |(tied, played), pair| (tied + pair.tied, played + pair.won + pair.lost + pair.tied));
        if tied > 0.0 && tied == played {
            return Err(FitError::NoFiniteEstimate);
        }
        let objective = Objective { pairs: &self.pairs, prior: options.prior, groups: &groups };
        // Between equal players, this is the estimate.
        let log_tie = (tied / (played - tied)).ln();
        let mut point = Point { ratings: vec![0.0; self.players], log_tie };
        let steps = objective.minimise(&mut point, options.tolerance.max(1e-10))?;
        // Where ratings and tie parameter can grow without end, rounding ends the search on a plain.
        if tied > 0.0 && objective.standard_errors(&point).iter().any(|error| *error > BOUNDLESS) {
            return Err(FitError::NoFiniteEstimate);
        }
        let tie = if tied > 0.0 { point.log_tie.exp() } else { 0.0 };
        Ok(DavidsonRatings { ratings: ratings(point, &objective, steps, options), tie })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{BradleyTerry, Outcome, Prior},
        *,
    };

    fn exact() -> FitOptions {
        FitOptions { prior: Prior::None, ..FitOptions::default() }
    }

    fn games(wins: usize, losses: usize, ties: usize) -> Vec<(usize, usize, Decision)> {
        let repeat = |count, decision| std::iter::repeat_n((0, 1, decision), count);
        repeat(wins, Decision::A).chain(repeat(losses, Decision::B)).chain(repeat(ties, Decision::Tie)).collect()
    }

    #[test]
    fn two_players_have_the_closed_form() {
        let fitted = Davidson::new(2, games(8, 2, 4)).unwrap().fit(&exact()).unwrap();
        let [a, b] = fitted.ratings.ratings[..] else { panic!() };
        // Frequencies are reproduced: e^(t_a − t_b) = 8/2 and ν = 4 / (2 √(8·2)).
        assert!((a - b - 4_f64.ln()).abs() < 1e-9 && (fitted.tie - 0.5).abs() < 1e-9, "{fitted:?}");
    }

    #[test]
    fn without_ties_it_is_bradley_terry() {
        let played = [(0, 1, Decision::A), (1, 2, Decision::A), (2, 0, Decision::A), (0, 1, Decision::A)];
        let fitted = Davidson::new(3, played).unwrap().fit(&exact()).unwrap();
        let outcomes = played.iter().map(|&(a, b, _)| Outcome { a, b, a_share: 1.0 });
        let plain = BradleyTerry::new(3, outcomes).unwrap().fit(&exact()).unwrap();
        for (a, b) in fitted.ratings.ratings.iter().zip(&plain.ratings) {
            assert!((a - b).abs() < 1e-9);
        }
        assert_eq!(fitted.tie, 0.0);
    }

    #[test]
    fn what_has_no_finite_estimate_is_refused() {
        for (wins, losses, ties) in [(0, 0, 3), (5, 0, 1), (5, 0, 0)] {
            let fitted = Davidson::new(2, games(wins, losses, ties)).unwrap().fit(&exact());
            assert_eq!(fitted, Err(FitError::NoFiniteEstimate), "{wins} {losses} {ties}");
        }
        let prior = FitOptions { prior: Prior::Gaussian { alpha: 0.1 }, ..FitOptions::default() };
        assert!(Davidson::new(2, games(5, 0, 1)).unwrap().fit(&prior).is_ok());
        assert!(matches!(Davidson::new(2, [(0, 2, Decision::Tie)]), Err(FitError::Player { .. })));
    }
}
