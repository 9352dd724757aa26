//! Exclude top choices.

use crate::{
    ConfigError, Context, Params, Row, RowError, RowState, StatefulProcessor,
    info::{MIN_KEEP, ParamInfo, ProcessorInfo},
    state,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// XTC (text-generation-webui pull request 6335, as in llama.cpp): with the given probability, removes all tokens of
/// `p ≥ threshold` but the least probable of them; of equal ones the highest token id stays.
///
/// One draw per position, whether or not it matters, from a stream of the row's seed: replay draws the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Xtc {
    probability: f64,
    threshold: f64,
    min_keep: usize,
}

impl Xtc {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "xtc",
        about: "by chance removes the most probable tokens, all but the last of those above a threshold",
        source: "llama.cpp; text-generation-webui pull request 6335",
        stateful: true,
        needs: &[],
        params: &[
            ParamInfo::share("probability", "how often it acts"),
            ParamInfo::share("threshold", "least probability of a top choice; above 0.5 nothing happens"),
            MIN_KEEP,
        ],
    };

    /// # Errors
    /// A value is missing or out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self {
            probability: values.number("probability"),
            threshold: values.number("threshold"),
            min_keep: values.count("min_keep"),
        })
    }

    fn exclude(&self, row: &mut Row<'_>) -> Result<(), RowError> {
        let distribution = row.distribution()?;
        // A threshold of 0 has no floor, but removed tokens are below any.
        let floor = distribution.floor_at(self.threshold).max(f32::MIN);
        if self.threshold > 0.5 || distribution.probability(distribution.max) < self.threshold {
            return Ok(());
        }
        let (mut top, mut least, mut last) = (0, f32::INFINITY, 0);
        for (position, &logit) in row.logits().iter().enumerate().filter(|(_, logit)| **logit >= floor) {
            top += 1;
            if logit <= least {
                (least, last) = (logit, position);
            }
        }
        if top >= 2 && row.candidates() - (top - 1) >= self.min_keep {
            row.retain(|position, logit| logit < least || position == last);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct XtcState {
    processor: Xtc,
    saved: Saved,
    random: ChaCha8Rng,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    seed: u64,
    draws: u64,
}

impl XtcState {
    fn at(processor: Xtc, saved: Saved) -> Self {
        /// Words of the generator's stream that one draw uses.
        const WORDS: u128 = 2;
        let mut random = ChaCha8Rng::seed_from_u64(saved.seed);
        random.set_word_pos(WORDS * u128::from(saved.draws));
        Self { processor, saved, random }
    }
}

impl StatefulProcessor for Xtc {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([
            ("probability", self.probability.into()),
            ("threshold", self.threshold.into()),
            ("min_keep", self.min_keep.into()),
        ])
    }

    fn start(&self, row_seed: u64) -> Box<dyn RowState> {
        Box::new(XtcState::at(self.clone(), Saved { seed: row_seed, draws: 0 }))
    }

    fn restore(&self, saved: &Value) -> Result<Box<dyn RowState>, ConfigError> {
        Ok(Box::new(XtcState::at(self.clone(), state::restore(Self::INFO.name, saved)?)))
    }
}

impl RowState for XtcState {
    fn process(&mut self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        let draw: f64 = self.random.random();
        self.saved.draws += 1;
        if draw < self.processor.probability { self.processor.exclude(row) } else { Ok(()) }
    }

    fn accept(&mut self, _token: u32, _probability: f64) {}

    fn save(&self) -> Value {
        state::save(&self.saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_generator_goes_on_where_it_was() {
        let xtc = Xtc { probability: 0.5, threshold: 0.1, min_keep: 1 };
        let mut state = XtcState::at(xtc.clone(), Saved { seed: 7, draws: 0 });
        let draws: Vec<f64> = (0..50).map(|_| state.random.random()).collect();
        for (at, draw) in draws.iter().enumerate() {
            let mut later = XtcState::at(xtc.clone(), Saved { seed: 7, draws: at as u64 });
            assert_eq!(later.random.random::<f64>(), *draw);
        }
    }
}
