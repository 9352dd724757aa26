//! Who decides which of two texts is better.

/// One question to a judge: which of the two replies to `prompt` is better?
///
/// `first` and `second` are the order in which the judge is shown them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// What the caller knows the tournament by (a prompt and a seed).
    pub tournament: usize,
    /// The player shown first.
    pub first: usize,
    /// The player shown second.
    pub second: usize,
    /// The players' texts.
    pub texts: (&'a str, &'a str),
}

/// Answers comparisons in batches, so that requests of many tournaments can share one round trip.
pub trait PairJudge {
    type Error;

    /// P(first is better) for every comparison, each in `0..=1`, in the order asked.
    ///
    /// # Errors
    /// The judge cannot answer; the tournaments stop where they are.
    fn judge(&mut self, comparisons: &[Comparison<'_>]) -> Result<Vec<f64>, Self::Error>;
}

/// A judge that already has one score per player: `P(a better) = σ(β · (score a − score b))`.
///
/// It has no position bias, so both presentation orders agree. Suits scalar reward models and likelihoods.
#[derive(Debug, Clone)]
pub struct ScoreJudge {
    scores: Vec<Vec<f64>>,
    beta: f64,
}

impl ScoreJudge {
    /// `scores[tournament][player]`; `beta` is the inverse temperature of the comparison.
    #[must_use]
    pub fn new(scores: Vec<Vec<f64>>, beta: f64) -> Self {
        Self { scores, beta }
    }
}

impl PairJudge for ScoreJudge {
    type Error = std::convert::Infallible;

    fn judge(&mut self, comparisons: &[Comparison<'_>]) -> Result<Vec<f64>, Self::Error> {
        Ok(comparisons
            .iter()
            .map(|asked| {
                let scores = &self.scores[asked.tournament];
                sigmoid(self.beta * (scores[asked.first] - scores[asked.second]))
            })
            .collect())
    }
}

/// P(first is better), from the probabilities of the two answers that name the first and the second reply as a judge's next
/// token; 0.5 where it gives neither.
#[must_use]
pub fn preference(first: f64, second: f64) -> f64 {
    /// Below it, a judge says something else altogether.
    const NEITHER: f64 = 1e-9;
    let sum = first + second;
    if sum > NEITHER { first / sum } else { 0.5 }
}

/// The logistic function, without overflow at either end.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}
