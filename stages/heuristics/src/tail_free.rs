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
        row.visit_descending(|_, logit| {
            probabilities.push(distribution.probability(logit));
            true
        })?;
        let differences = || probabilities.windows(3).map(|p| ((p[0] - p[1]) - (p[1] - p[2])).abs());
        let sum: f64 = differences().sum();
        let flat = 1.0 / (candidates - 2) as f64;
        let mut running = 0.0;
        let kept = differences().enumerate().find_map(|(index, difference)| {
            running += if sum > Self::FLAT { difference / sum } else { flat };
            (running > self.z && index >= self.min_keep).then_some(index)
        });
        row.buffers().probabilities = probabilities;
        let Some(kept) = kept else { return Ok(()) };
        let cut = row.rank_cut(kept)?;
        row.keep(cut)
    }
}
