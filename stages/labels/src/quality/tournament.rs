//! Many tournaments at once: one batch of questions to the judge per round, over all of them.

use super::{
    bradley_terry::{BradleyTerry, FitError, FitOptions, Outcome, Ratings},
    judge::{Comparison, PairJudge},
    swiss::{Swiss, SwissError, swiss_rounds},
};

/// How tournaments are played.
#[derive(Debug, Clone, PartialEq)]
pub struct TournamentOptions {
    /// Rounds beyond `ceil(log2 n)`.
    pub extra_rounds: u32,
    /// Ask the judge in both presentation orders and average.
    pub both_orders: bool,
}

impl Default for TournamentOptions {
    fn default() -> Self {
        Self { extra_rounds: 1, both_orders: true }
    }
}

/// One game as it was judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Game {
    pub a: usize,
    pub b: usize,
    /// P(a better) when a was shown first.
    pub a_first: f64,
    /// P(a better) when b was shown first, where both orders were asked.
    pub b_first: Option<f64>,
}

impl Game {
    /// The share of the point that goes to `a`: the mean over the presentation orders.
    #[must_use]
    pub fn outcome(&self) -> f64 {
        self.b_first.map_or(self.a_first, |other| 0.5 * (self.a_first + other))
    }

    /// Whether the two presentation orders name different winners.
    #[must_use]
    pub fn flipped(&self) -> bool {
        self.b_first.is_some_and(|other| (self.a_first - 0.5) * (other - 0.5) < 0.0)
    }
}

/// A finished tournament.
#[derive(Debug, Clone, PartialEq)]
pub struct TournamentResult {
    pub games: Vec<Game>,
    /// Swiss points with byes; comparable between players only through [`rate`].
    pub scores: Vec<f64>,
}

impl TournamentResult {
    /// The share of games whose two presentation orders disagree; none without such games.
    #[must_use]
    pub fn flip_rate(&self) -> Option<f64> {
        let both = self.games.iter().filter(|game| game.b_first.is_some()).count();
        let flipped = self.games.iter().filter(|game| game.flipped()).count();
        (both > 0).then(|| flipped as f64 / both as f64)
    }
}

/// Why a set of tournaments stopped.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TournamentError<E: std::error::Error> {
    #[error("the judge failed: {0}")]
    Judge(E),
    #[error("the judge answered {answers} of {questions} comparisons")]
    Answers { questions: usize, answers: usize },
    #[error(transparent)]
    Swiss(#[from] SwissError),
}

/// Plays one tournament per entry of `players` (its texts) and `seeds`, round by round, all at once.
///
/// # Errors
/// The judge fails, or answers with something that is not a probability.
pub fn run_tournaments<J: PairJudge>(
    players: &[Vec<&str>],
    seeds: &[u64],
    options: &TournamentOptions,
    judge: &mut J,
) -> Result<Vec<TournamentResult>, TournamentError<J::Error>>
where
    J::Error: std::error::Error,
{
    let mut tables: Vec<(Swiss, Vec<Game>)> =
        players.iter().zip(seeds).map(|(texts, &seed)| (Swiss::new(texts.len(), seed), Vec::new())).collect();
    let rounds: Vec<usize> = players.iter().map(|texts| swiss_rounds(texts.len(), options.extra_rounds)).collect();
    for round in 0..rounds.iter().copied().max().unwrap_or(0) {
        let mut pairings = Vec::new();
        let mut questions = Vec::new();
        for (tournament, (swiss, _)) in tables.iter().enumerate().filter(|(t, _)| round < rounds[*t]) {
            let pairing = swiss.pair()?;
            for &(a, b) in &pairing.pairs {
                let texts = &players[tournament];
                let ask = |first: usize, second: usize| Comparison {
                    tournament,
                    first,
                    second,
                    texts: (texts[first], texts[second]),
                };
                questions.push(ask(a, b));
                if options.both_orders {
                    questions.push(ask(b, a));
                }
            }
            pairings.push((tournament, pairing));
        }
        let answers = judge.judge(&questions).map_err(TournamentError::Judge)?;
        if answers.len() != questions.len() {
            return Err(TournamentError::Answers { questions: questions.len(), answers: answers.len() });
        }
        let mut answers = answers.chunks(if options.both_orders { 2 } else { 1 });
        for (tournament, pairing) in pairings {
            let games: Vec<Game> = pairing
                .pairs
                .iter()
                .zip(answers.by_ref())
                .map(|(&(a, b), asked)| Game { a, b, a_first: asked[0], b_first: asked.get(1).map(|p| 1.0 - p) })
                .collect();
            let outcomes: Vec<f64> = games.iter().map(Game::outcome).collect();
            let (swiss, played) = &mut tables[tournament];
            swiss.record(&pairing, &outcomes)?;
            played.extend(games);
        }
    }
    Ok(tables.into_iter().map(|(swiss, games)| TournamentResult { games, scores: swiss.scores().to_vec() }).collect())
}

/// Bradley–Terry ratings of a tournament's players from its games; byes do not count.
///
/// # Errors
/// As [`BradleyTerry::fit`].
pub fn rate(players: usize, games: &[Game], options: &FitOptions) -> Result<Ratings, FitError> {
    let outcomes = games.iter().map(|game| Outcome { a: game.a, b: game.b, a_share: game.outcome() });
    BradleyTerry::new(players, outcomes)?.fit(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{Prior, ScoreJudge};

    #[test]
    fn the_scores_behind_soft_outcomes_are_recovered() {
        let texts: Vec<Vec<&str>> = vec![vec!["x"; 13], vec!["y"; 24], vec!["z"; 1]];
        let scores: Vec<Vec<f64>> = texts.iter().map(|t| (0..t.len()).map(|i| i as f64 * 0.4).collect()).collect();
        let mut judge = ScoreJudge::new(scores, 1.0);
        let options = TournamentOptions { extra_rounds: 3, both_orders: true };
        let results = run_tournaments(&texts, &[1, 2, 3], &options, &mut judge).unwrap();
        let exact = FitOptions { prior: Prior::None, ..FitOptions::default() };
        for (result, texts) in results.iter().zip(&texts) {
            let ratings = rate(texts.len(), &result.games, &exact).unwrap();
            let middle = (texts.len() - 1) as f64 / 2.0;
            for (i, rating) in ratings.ratings.iter().enumerate() {
                assert!((rating - 0.4 * (i as f64 - middle)).abs() < 1e-8);
            }
        }
        assert_eq!(results[0].flip_rate(), Some(0.0));
        assert_eq!(results[2].flip_rate(), None);
        assert_eq!(results[1].games.len(), 12 * 8);
    }

    struct FirstSlot;

    impl PairJudge for FirstSlot {
        type Error = std::convert::Infallible;

        fn judge(&mut self, comparisons: &[Comparison<'_>]) -> Result<Vec<f64>, Self::Error> {
            Ok(vec![0.9; comparisons.len()])
        }
    }

    #[test]
    fn a_judge_that_always_likes_the_first_slot_ends_in_draws_and_is_reported() {
        let result = run_tournaments(&[vec!["x"; 6]], &[5], &TournamentOptions::default(), &mut FirstSlot).unwrap();
        assert_eq!(result[0].flip_rate(), Some(1.0));
        assert!(result[0].scores.iter().all(|score| (score - 2.0).abs() < 1e-12));
    }
}
