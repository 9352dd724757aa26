//! Locally typical sampling.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{MIN_TOKENS_TO_KEEP, ParamInfo, ProcessorInfo},
    select::{MassWalk, distance_key, position_of_distance},
};

/// Locally typical sampling (Meister et al. 2022): orders tokens by `d = |−ln p − H|` and keeps `d ≤ d[n]`, where `n`
/// tokens have a running mass below `mass`: the crossing token and all tied with it stay, and so do the
/// `min_tokens_to_keep` smallest `d`.
#[derive(Debug, Clone, PartialEq)]
pub struct Typical {
    mass: f64,
    min_tokens_to_keep: usize,
}

impl Typical {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "typical",
        about: "keeps the tokens whose surprise is nearest the entropy, up to the given mass (locally typical sampling)",
        source: "transformers; Meister et al. 2022",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::inner_share("mass", "probability to keep"), MIN_TOKENS_TO_KEEP],
    };

    /// # Errors
    /// `mass` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { mass: values.number("mass"), min_tokens_to_keep: values.count("min_tokens_to_keep") })
    }
}

impl Processor for Typical {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("mass", self.mass.into()), ("min_tokens_to_keep", self.min_tokens_to_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let distribution = row.distribution()?;
        let (entropy, surprise_at_max) = (row.entropy()?, distribution.sum.ln());
        // In f32, so that equal logits have equal distances whatever the rounding.
        let distance = |logit: f32| {
            let surprise = surprise_at_max - f64::from(logit - distribution.max);
            (surprise - entropy).abs() as f32
        };
        let kept = row.with_keys(|keys, logits| {
            let candidates = logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
            keys.extend(candidates.map(|(position, &logit)| distance_key(distance(logit), position)));
            let mut walk = MassWalk::new(self.mass * distribution.sum, 1);
            walk.through(keys, |key| distribution.weight(logits[position_of_distance(key)])).map(|crossing| {
                let spared = self.min_tokens_to_keep.min(keys.len()) - 1;
                (distance(logits[position_of_distance(crossing)]), *keys.select_nth_unstable(spared).1)
            })
        });
        if let Some((widest, spared)) = kept {
            row.retain(|position, logit| {
                let distance = distance(logit);
                distance <= widest || distance_key(distance, position) <= spared
            });
        }
        Ok(())
    }
}
