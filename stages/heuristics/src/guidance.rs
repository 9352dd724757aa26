//! Classifier-free guidance.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    distribution::Distribution,
    info::{ParamInfo, ProcessorInfo},
};

/// Classifier-free guidance (Sanchez et al. 2023, as in transformers): with l the log-softmax, `g·(l − l_u) + l_u`,
/// where `l_u` comes from the logits of the unconditional or negative prompt. A token that either leaves out is
/// removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Guidance {
    guidance_scale: f64,
}

impl Guidance {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "cfg",
        about: "moves the logits away from those of an unconditional prompt (classifier-free guidance)",
        source: "transformers; Sanchez et al. 2023",
        stateful: false,
        needs: &[Self::UNCONDITIONAL],
        params: &[ParamInfo::any("guidance_scale", "1 leaves the distribution, above 1 strengthens the prompt")],
    };
    /// Name of one row `[V]` of further logits.
    const UNCONDITIONAL: &'static str = "unconditional";

    /// # Errors
    /// `guidance_scale` is missing or no number.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Ok(Self { guidance_scale: Self::INFO.read(params)?.number("guidance_scale") })
    }
}

impl Processor for Guidance {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("guidance_scale", self.guidance_scale.into())])
    }

    fn needs(&self) -> &'static [&'static str] {
        Self::INFO.needs
    }

    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError> {
        let log_sum = row.distribution()?.log_sum();
        let mut rows = context.further(self.name(), Self::UNCONDITIONAL, row.vocabulary())?;
        let other = rows.next().unwrap_or_default();
        let other_log_sum = Distribution::of_further(Self::UNCONDITIONAL, 0, other)?.log_sum();
        row.map_tokens(|token, logit| {
            if other[token] == f32::NEG_INFINITY {
                return f32::NEG_INFINITY;
            }
            let (log, other) = (f64::from(logit) - log_sum, f64::from(other[token]) - other_log_sum);
            (self.guidance_scale * (log - other) + other).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
        });
        Ok(())
    }
}
