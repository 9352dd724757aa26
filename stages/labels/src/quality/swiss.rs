//! Swiss pairing: every round pairs players of near-equal score who have not met.

use super::matching::{MatchingError, min_weight_perfect_matching};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Score differences are compared in steps of this size.
const SCORE_STEP: f64 = 1e-3;

/// One round: who meets whom, and who sits out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    pub pairs: Vec<(usize, usize)>,
    /// The player without an opponent when the number of players is odd; it scores half a point.
    pub bye: Option<usize>,
}

/// A round cannot be paired or scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SwissError {
    #[error("the round has {pairs} pairs, but {outcomes} outcomes were given")]
    Outcomes { pairs: usize, outcomes: usize },
    #[error("outcome {outcome} of the game between players {a} and {b} is not between 0 and 1")]
    Outcome { a: usize, b: usize, outcome: f64 },
    #[error(transparent)]
    Matching(#[from] MatchingError),
}

/// Rounds of a tournament: `ceil(log2 n) + extra`, but never more than can be played without a rematch.
#[must_use]
pub fn swiss_rounds(players: usize, extra: u32) -> usize {
    if players < 2 {
        return 0;
    }
    let separating = players.next_power_of_two().trailing_zeros() as usize;
    let without_rematch = if players.is_multiple_of(2) { players - 1 } else { players };
    (separating + extra as usize).min(without_rematch)
}

/// The state of one Swiss tournament: alternate [`Swiss::pair`] and [`Swiss::record`].
///
/// A round is a minimum-weight perfect matching: the bye goes to a player with the fewest, then there are as few rematches
/// as possible, then the smallest sum of score gaps. The first round is a seeded shuffle. Everything is decided by the seed and the outcomes.
#[derive(Debug, Clone)]
pub struct Swiss {
    scores: Vec<f64>,
    byes: Vec<u32>,
    met: Vec<Vec<u32>>,
    /// Initial rank of every player, from the seed.
    rank: Vec<usize>,
}

impl Swiss {
    #[must_use]
    pub fn new(players: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..players).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut rank = vec![0; players];
        for (position, &player) in order.iter().enumerate() {
            rank[player] = position;
        }
        Self { scores: vec![0.0; players], byes: vec![0; players], met: vec![vec![0; players]; players], rank }
    }

    /// Points so far: the sum of outcomes plus half a point for each bye.
    #[must_use]
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Pairs the next round.
    ///
    /// # Errors
    /// Only when there are so many players (thousands) that weights overflow.
    pub fn pair(&self) -> Result<Pairing, SwissError> {
        let players = self.scores.len();
        if players < 2 {
            return Ok(Pairing { pairs: Vec::new(), bye: None });
        }
        let mut order: Vec<usize> = (0..players).collect();
        order.sort_by(|&a, &b| self.scores[b].total_cmp(&self.scores[a]).then(self.rank[a].cmp(&self.rank[b])));
        let steps: Vec<i64> = order.iter().map(|&player| (self.scores[player] / SCORE_STEP).round() as i64).collect();
        let lowest = steps[players - 1];
        let nodes = players + players % 2;

        // Gap and rematch are two digits of one number: no sum of the lower one reaches the higher one.
        let distance = nodes as i64 * nodes as i64;
        let gap_digit = |gap: i64, apart: usize| gap * distance + apart as i64;
        let rematch = gap_digit(steps[0] - lowest + 1, nodes) * (nodes as i64 / 2 + 1);
        let fewest_byes = self.byes.iter().copied().min().unwrap_or(0);
        let partner = min_weight_perfect_matching(nodes, |i, j| {
            if j == players {
                let eligible = self.byes[order[i]] == fewest_byes;
                return eligible.then(|| gap_digit(steps[i] - lowest, players - 1 - i));
            }
            let met = i64::from(self.met[order[i]][order[j]]);
            Some(met * rematch + gap_digit(steps[i] - steps[j], j - i))
        })?;

        let mut pairing = Pairing { pairs: Vec::with_capacity(players / 2), bye: None };
        for (i, &j) in partner.iter().enumerate().filter(|&(i, &j)| i < j) {
            if j == players {
                pairing.bye = Some(order[i]);
            } else {
                pairing.pairs.push((order[i], order[j]));
            }
        }
        Ok(pairing)
    }

    /// Adds a round's outcomes: for each pair, the first player's share of the point.
    ///
    /// # Errors
    /// The outcomes do not fit the pairing; nothing is recorded then.
    pub fn record(&mut self, pairing: &Pairing, outcomes: &[f64]) -> Result<(), SwissError> {
        if pairing.pairs.len() != outcomes.len() {
            return Err(SwissError::Outcomes { pairs: pairing.pairs.len(), outcomes: outcomes.len() });
        }
        for (&(a, b), &outcome) in pairing.pairs.iter().zip(outcomes) {
            if !(0.0..=1.0).contains(&outcome) {
                return Err(SwissError::Outcome { a, b, outcome });
            }
        }
        for (&(a, b), &outcome) in pairing.pairs.iter().zip(outcomes) {
            self.scores[a] += outcome;
            self.scores[b] += 1.0 - outcome;
            self.met[a][b] += 1;
            self.met[b][a] += 1;
        }
        if let Some(player) = pairing.bye {
            self.scores[player] += 0.5;
            self.byes[player] += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn rounds_separate_a_winner_and_never_force_a_rematch() {
        let rounds: Vec<_> = [0, 1, 2, 3, 4, 5, 8, 9, 24, 396].iter().map(|&n| swiss_rounds(n, 1)).collect();
        assert_eq!(rounds, [0, 0, 1, 3, 3, 4, 4, 5, 6, 10]);
    }

    /// Whether the players in `left` can be paired without a rematch.
    fn free_matching_exists(left: &[usize], met: &BTreeSet<(usize, usize)>) -> bool {
        let Some((&a, rest)) = left.split_first() else { return true };
        rest.iter().enumerate().any(|(i, &b)| {
            let others: Vec<usize> = rest.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, &p)| p).collect();
            !met.contains(&(a.min(b), a.max(b))) && free_matching_exists(&others, met)
        })
    }

    proptest! {
        #[test]
        fn every_round_is_legal(
            players in 2_usize..10,
            rounds in 1_usize..9,
            seed: u64,
            outcomes in prop::collection::vec(0.0_f64..=1.0, 64),
        ) {
            let mut swiss = Swiss::new(players, seed);
            let mut met = BTreeSet::new();
            let mut outcomes = outcomes.into_iter().cycle();
            for _ in 0..rounds {
                let pairing = swiss.pair().unwrap();
                prop_assert_eq!(&pairing, &swiss.clone().pair().unwrap());
                let mut seen: Vec<usize> = pairing.pairs.iter().flat_map(|&(a, b)| [a, b]).chain(pairing.bye).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..players).collect::<Vec<_>>());
                let rematches = pairing.pairs.iter().filter(|&&(a, b)| met.contains(&(a.min(b), a.max(b)))).count();
                if rematches > 0 {
                    let fewest = swiss.byes.iter().min().unwrap();
                    let byes: Vec<Option<usize>> = match pairing.bye {
                        None => vec![None],
                        Some(_) => (0..players).filter(|&p| swiss.byes[p] == *fewest).map(Some).collect(),
                    };
                    for bye in byes {
                        let left: Vec<usize> = (0..players).filter(|&p| Some(p) != bye).collect();
                        prop_assert!(!free_matching_exists(&left, &met), "an avoidable rematch");
                    }
                }
                met.extend(pairing.pairs.iter().map(|&(a, b)| (a.min(b), a.max(b))));
                let round: Vec<f64> = outcomes.by_ref().take(pairing.pairs.len()).collect();
                swiss.record(&pairing, &round).unwrap();
                prop_assert!(swiss.byes.iter().max().unwrap() - swiss.byes.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn many_players_can_be_paired() {
        let mut swiss = Swiss::new(301, 3);
        let mut met = BTreeSet::new();
        for round in 0..4 {
            let pairing = swiss.pair().unwrap();
            assert_eq!(pairing.pairs.len(), 150);
            assert!(pairing.pairs.iter().all(|&(a, b)| met.insert((a.min(b), a.max(b)))), "round {round}");
            let outcomes: Vec<f64> = pairing.pairs.iter().map(|&(a, b)| f64::from(u8::from(a < b))).collect();
            swiss.record(&pairing, &outcomes).unwrap();
        }
    }

    #[test]
    fn the_seed_decides_the_first_round() {
        let pairs = |seed| Swiss::new(16, seed).pair().unwrap().pairs;
        assert_eq!(pairs(1), pairs(1));
        assert_ne!(pairs(1), pairs(2));
    }

    #[test]
    fn wrong_outcomes_are_refused() {
        let mut swiss = Swiss::new(4, 0);
        let pairing = swiss.pair().unwrap();
        assert!(matches!(swiss.record(&pairing, &[1.0]), Err(SwissError::Outcomes { pairs: 2, outcomes: 1 })));
        assert!(matches!(swiss.record(&pairing, &[1.0, f64::NAN]), Err(SwissError::Outcome { .. })));
        assert_eq!(swiss.scores(), [0.0; 4]);
    }
}
