//! Processors that reshape all logits and remove none.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{ParamInfo, ProcessorInfo},
};

/// Log-softmax: logits become log-probabilities (`renormalize_logits` of transformers).
#[derive(Debug, Clone, PartialEq)]
pub struct LogSoftmax;

impl LogSoftmax {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "log_softmax",
        about: "turns logits into log-probabilities",
        source: "transformers (renormalize_logits)",
        stateful: false,
        needs: &[],
        params: &[],
    };

    /// # Errors
    /// There are parameters.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Self::INFO.read(params)?;
        Ok(Self)
    }
}

impl Processor for LogSoftmax {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Params::new()
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let log_sum = row.distribution()?.log_sum();
        row.map(|logit| (f64::from(logit) - log_sum) as f32);
        Ok(())
    }
}

/// Quadratic sampling, or smoothing (text-generation-webui, aphrodite-engine): with `d = z − max`, `k = (3 − curve)/2`
/// and `s = (curve − 1)/2`, `z = max − k·factor·d² + s·factor·d³`.
#[derive(Debug, Clone, PartialEq)]
pub struct Quadratic {
    smoothing_factor: f64,
    smoothing_curve: f64,
}

impl Quadratic {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "quadratic",
        about: "lowers each logit by the square, and the cube, of its distance from the largest (smoothing)",
        source: "text-generation-webui, aphrodite-engine",
        stateful: false,
        needs: &[],
        params: &[
            ParamInfo::positive("smoothing_factor", "weight of the distance"),
            ParamInfo::one_or_more("smoothing_curve", "1 is purely quadratic, 3 purely cubic").or_number(1.0),
        ],
    };

    /// # Errors
    /// A value is missing or out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self {
            smoothing_factor: values.number("smoothing_factor"),
            smoothing_curve: values.number("smoothing_curve"),
        })
    }
}

impl Processor for Quadratic {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([
            ("smoothing_factor", self.smoothing_factor.into()),
            ("smoothing_curve", self.smoothing_curve.into()),
        ])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let max = f64::from(row.max()?);
        let square = self.smoothing_factor * (3.0 - self.smoothing_curve) / 2.0;
        let cube = self.smoothing_factor * (self.smoothing_curve - 1.0) / 2.0;
        row.map(|logit| {
            let d = f64::from(logit) - max;
            (max - square * d * d + cube * d * d * d) as f32
        });
        Ok(())
    }
}
