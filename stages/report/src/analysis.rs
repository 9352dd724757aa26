//! What teacher-forced positions show of a sampler: raw logits, the target that a heuristic makes of them, and what the
//! network makes of them.

use serde::{Deserialize, Serialize};

/// Means over all texts at one position of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PositionMean {
    /// Token of the reply, from 0.
    pub position: usize,
    /// Texts that are long enough.
    pub count: usize,
    /// KL(target ‖ raw), nats.
    pub raw_kl: f64,
    /// KL(target ‖ learned), nats.
    pub learned_kl: f64,
    /// Mass that the raw distribution has on tokens that the target removed.
    pub raw_truncated: f64,
    /// The same of the learned distribution.
    pub learned_truncated: f64,
}

/// Means over all positions of the texts that one pipeline wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineMean {
    pub pipeline: String,
    pub positions: usize,
    /// KL(target ‖ raw), nats.
    pub raw_kl: f64,
    /// KL(target ‖ learned), nats.
    pub learned_kl: f64,
}

/// A token at one position; natural log-probabilities, `None` where it is removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub text: String,
    pub raw: f64,
    pub target: Option<f64>,
    pub learned: Option<f64>,
    /// Whether the text goes on with this token.
    pub chosen: bool,
}

/// One position in full: the most probable tokens under the raw distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Why this position was chosen: `median KL`, `largest KL`, …
    pub why: String,
    /// What came before.
    pub context: String,
    pub position: usize,
    /// The target's pipeline.
    pub pipeline: String,
    /// Entropy of the raw distribution, nats.
    pub entropy: f64,
    pub raw_kl: f64,
    pub learned_kl: f64,
    pub candidates: Vec<Candidate>,
}

/// All tokens whose raw log-probability lies in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TransferBin {
    /// Middle of the interval, nats.
    pub raw: f64,
    /// Tokens in it.
    pub count: u64,
    /// Quantiles of the learned log-probability: 10 %, 50 %, 90 %.
    pub learned: [f64; 3],
    /// Median of the target's log-probability over the tokens it keeps.
    pub target: Option<f64>,
    /// Share of the tokens that the target removes.
    pub removed: f64,
}

/// Means of two curves in one interval of a third quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub x: f64,
    pub count: u64,
    pub raw: f64,
    pub target: f64,
    pub learned: f64,
}

/// Everything that was measured on teacher-forced positions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    pub texts: usize,
    pub positions: usize,
    /// Means over all positions, in nats and mass.
    pub raw_kl: f64,
    pub learned_kl: f64,
    pub raw_truncated: f64,
    pub learned_truncated: f64,
    pub by_position: Vec<PositionMean>,
    /// Most positions first.
    #[serde(default)]
    pub by_pipeline: Vec<PipelineMean>,
    pub transfer: Vec<TransferBin>,
    /// x: predicted probability; `raw` and `learned`: the target's mean probability where that curve predicted x. `target` is x.
    pub calibration: Vec<Bin>,
    /// x: entropy of the raw distribution; the entropies of the three distributions.
    pub entropy: Vec<Bin>,
    pub examples: Vec<Example>,
}
