//! Tail-free sampling.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{MIN_KEEP, ParamInfo, ProcessorInfo},
    scratch::cleared,
};

/// Tail-free sampling (Brick 2019, as llama.cpp had it): over descending probabilities, with weights |second
/// difference| normalised to 1, keeps the first `i` tokens, `i ≥ min_keep` the first index whose running weight is
/// above `z`.
#[derive(Debug, Clone, PartialEq)]
pub struct TailFree {
    z: f64,
    min_keep: usize,
}

impl TailFree {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "tfs",
        about: "cuts where the curve of descending probabilities has become flat (tail-free sampling)",
        source: "llama.cpp of 2024; Brick 2019",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::positive_share("z", "share of the curvature to keep; 1 keeps all"), MIN_KEEP],
    };
    /// Where all second differences together are smaller, they count as equal.
    const FLAT: f64 = 1e-6;

    /// # Errors
    /// `z` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { z: values.number("z"), min_keep: values.count("min_keep") })
    }
}

/// Tokens after which the end of the walk is looked for first; then after twice as many each.
const FIRST_LOOK: usize = 512;

/// |second difference| at each place.
fn differences(probabilities: &[f64]) -> impl Iterator<Item = f64> {
    probabilities.windows(3).map(|p| ((p[0] - p[1]) - (p[1] - p[2])).abs())
}

impl TailFree {
    /// The first index of at least `min_keep` whose running weight is above z.
    fn crossing(&self, weights: impl Iterator<Item = f64>) -> Option<usize> {
        let mut running = 0.0;
        weights.enumerate().find_map(|(index, weight)| {
            running += weight;
            (running > self.z && index >= self.min_keep).then_some(index)
        })
    }

    /// The crossing, where the most probable tokens alone decide it: because probabilities only fall, all further
    /// differences add at least 0 and at most the sum of the last two probabilities.
    fn decided(&self, probabilities: &[f64]) -> Option<usize> {
        /// More than the rounding of the sums over a whole row.
        const ROUNDING: f64 = 1e-9;
        let least: f64 = differences(probabilities).sum();
        let most = least + probabilities.last_chunk::<2>()?.iter().sum::<f64>();
        if least <= Self::FLAT {
            return None;
        }
        let crossing = |sum: f64| self.crossing(differences(probabilities).map(|d| d / sum));
        let (early, late) = (crossing(least * (1.0 - ROUNDING))?, crossing(most * (1.0 + ROUNDING))?);
        (early == late).then_some(early)
    }
}

impl Processor for TailFree {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("z", self.z.into()), ("min_keep", self.min_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let distribution = row.distribution()?;
        let candidates = row.candidates();
        if self.z >= 1.0 || candidates <= 2 {
            return Ok(());
        }
        let mut probabilities = std::mem::take(&mut row.buffers().probabilities);
        cleared(&mut probabilities, row.vocabulary());
        let mut kept = None;
        let mut next_look = FIRST_LOOK;
        row.visit_descending(|_, logit| {
            probabilities.push(distribution.probability(logit));
            if probabilities.len() == next_look {
                next_look *= 2;
                kept = self.decided(&probabilities);
            }
            kept.is_none()
        })?;
        if kept.is_none() {
            let sum: f64 = differences(&probabilities).sum();
            let flat = 1.0 / (candidates - 2) as f64;
            let weights = differences(&probabilities).map(|d| if sum > Self::FLAT { d / sum } else { flat });
            kept = self.crossing(weights);
        }
        row.buffers().probabilities = probabilities;
        let Some(kept) = kept else { return Ok(()) };
        let cut = row.rank_cut(kept)?;
        row.keep(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, Pipeline, Scratch, pipeline::Step};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn looking_early_finds_what_the_whole_curve_says(
            bulk in prop::collection::vec(-9.0_f32..0.0, 0..6000), top in prop::collection::vec(0.0_f32..9.0, 3..90),
            z in 0.01_f64..0.9999, min_keep in 1_usize..700, coarse in any::<bool>(),
        ) {
            let round = |logit: f32| if coarse { (logit * 16.0).round() / 16.0 } else { logit };
            let row: Vec<f32> = top.into_iter().chain(bulk).map(round).collect();
            let mut probabilities: Vec<f64> = row.iter().map(|&logit| f64::from(logit).exp()).collect();
            let mass: f64 = probabilities.iter().sum();
            probabilities.iter_mut().for_each(|p| *p /= mass);
            probabilities.sort_by(|a, b| b.total_cmp(a));
            let curve: f64 = differences(&probabilities).sum();
            let mut running = 0.0;
            let running: Vec<f64> = differences(&probabilities).map(|d| { running += d / curve; running }).collect();
            // Away from the cut by more than the error of f32 exponentials.
            prop_assume!(running.iter().all(|weight| (weight - z).abs() > 1e-5));
            let crossing = running.iter().enumerate().position(|(at, weight)| *weight > z && at >= min_keep);
            let pipeline = Pipeline::new(vec![Step::Stateless(Box::new(TailFree { z, min_keep }))]);
            let mut kept = row.clone();
            pipeline.process(&mut kept, History::default(), &mut pipeline.start(0), &mut Scratch::default()).unwrap();
            let kept = kept.iter().filter(|logit| logit.is_finite()).count();
            prop_assert_eq!(kept, crossing.unwrap_or(row.len()));
        }
    }
}
