//! Adaptive-p: draws tokens near a target probability.

use crate::{
    ConfigError, Context, Params, Row, RowError, RowState, StatefulProcessor,
    info::{ParamInfo, ProcessorInfo},
    state,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Adaptive-p (llama.cpp pull request 17927): with `a = clamp(2·target − s/w, 0, 1)` and `d = |p − a| / 0.3`,
/// `z = 5 − 10·d²/(1 + d)`. After a draw, `s = p + decay·s` and `w = 1 + decay·w` with the drawn token's p before this
/// step.
///
/// The output does not follow the order of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveP {
    target: f64,
    decay: f64,
}

impl AdaptiveP {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "adaptive_p",
        about: "favours tokens whose probability is near a target that balances what was drawn before",
        source: "llama.cpp pull request 17927",
        stateful: true,
        needs: &[],
        params: &[
            ParamInfo::signed_share("target", "probability to aim at; below 0 nothing happens"),
            ParamInfo::decay("decay", "how much of the past counts").or_number(0.9),
        ],
    };
    /// Distance from the target at which the curve has turned into a straight line.
    const WIDTH: f64 = 0.3;
    const PEAK: f64 = 5.0;
    const SHARPNESS: f64 = 10.0;

    /// # Errors
    /// `target` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { target: values.number("target"), decay: values.number("decay") })
    }

    fn at(&self, average: Average) -> Box<dyn RowState> {
        Box::new(AdaptivePState { processor: self.clone(), average, before: Vec::new() })
    }
}

impl StatefulProcessor for AdaptiveP {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("target", self.target.into()), ("decay", self.decay.into())])
    }

    fn start(&self, _row_seed: u64) -> Box<dyn RowState> {
        let weight = 1.0 / (1.0 - self.decay);
        self.at(Average { sum: self.target.max(0.0) * weight, weight })
    }

    fn restore(&self, saved: &Value) -> Result<Box<dyn RowState>, ConfigError> {
        Ok(self.at(state::restore(Self::INFO.name, saved)?))
    }
}

/// A weighted sum of the drawn tokens' probabilities, and the sum of the weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Average {
    sum: f64,
    weight: f64,
}

#[derive(Debug)]
struct AdaptivePState {
    processor: AdaptiveP,
    average: Average,
    /// Probabilities before this step, by token id, for the draw that follows.
    before: Vec<f32>,
}

impl RowState for AdaptivePState {
    fn process(&mut self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let distribution = row.distribution()?;
        let AdaptiveP { target, .. } = self.processor;
        if target < 0.0 {
            return Ok(());
        }
        let aim = (2.0 * target - self.average.sum / self.average.weight).clamp(0.0, 1.0);
        self.before.clear();
        self.before.resize(row.vocabulary(), 0.0);
        row.map_tokens(|token, logit| {
            let probability = distribution.probability(logit);
            self.before[token] = probability as f32;
            let d = (probability - aim).abs() / AdaptiveP::WIDTH;
            (AdaptiveP::PEAK - AdaptiveP::SHARPNESS * d * d / (1.0 + d)) as f32
        });
        Ok(())
    }

    fn accept(&mut self, token: u32, _probability: f64) {
        let AdaptiveP { target, decay } = self.processor;
        if target >= 0.0 {
            let probability = f64::from(self.before.get(token as usize).copied().unwrap_or(0.0));
            let Average { sum, weight } = &mut self.average;
            (*sum, *weight) = (probability + decay * *sum, 1.0 + decay * *weight);
        }
    }

    fn save(&self) -> Value {
        state::save(&self.average)
    }
}
