//! Decoding by contrasting layers.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    distribution::Distribution,
    info::{ParamInfo, ProcessorInfo},
    row::Cut,
    select::at_least,
};

/// DoLa (Chuang et al. 2023, as in transformers): of the early layers, takes the one whose Jensen–Shannon divergence
/// from the final one is largest; removes `l < max l + ln relative_top` and leaves `l − l_early`, l the log-softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct Dola {
    relative_top: f64,
}

impl Dola {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "dola",
        about: "contrasts the final layer's log-probabilities with those of the early layer that differs most",
        source: "transformers 4.53; Chuang et al. 2023",
        stateful: false,
        needs: &[Self::EARLY],
        params: &[ParamInfo::positive_share("relative_top", "least share of the largest probability").or_number(0.1)],
    };
    /// Name of the early layers' logits `[layers, V]`.
    const EARLY: &'static str = "early";

    /// # Errors
    /// `relative_top` is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Ok(Self { relative_top: Self::INFO.read(params)?.number("relative_top") })
    }
}

/// An early layer and its divergence, to within an error.
struct Layer<'a> {
    logits: &'a [f32],
    log_sum: f64,
    estimate: f64,
    error: f64,
}

impl Layer<'_> {
    /// Whether this layer's divergence from `row` is above another's: exactly where the estimates leave it open.
    fn is_further(&self, other: &Self, row: &Row<'_>, log_sum: f64) -> bool {
        let lead = self.estimate - other.estimate;
        if lead.abs() > self.error + other.error {
            return lead > 0.0;
        }
        let exact = |layer: &Self| divergence(row, log_sum, layer.logits, layer.log_sum);
        exact(self) > exact(other)
    }
}

/// Σ over the candidates of `m·(ln m − ½(ln p + ln q))`, `m = (p + q)/2`: what transformers compares between layers, up
/// to a factor that all layers share.
fn divergence(row: &Row<'_>, log_sum: f64, early: &[f32], early_log_sum: f64) -> f64 {
    let term = |(position, &logit): (usize, &f32)| {
        let (log, early) = (f64::from(logit) - log_sum, f64::from(early[row.token(position)]) - early_log_sum);
        let mean = 0.5 * (log.exp() + early.exp());
        if mean > 0.0 { mean * (mean.ln() - 0.5 * (log + early)) } else { 0.0 }
    };
    let candidates = row.logits().iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
    candidates.map(term).sum()
}

impl Processor for Dola {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("relative_top", self.relative_top.into())])
    }

    fn needs(&self) -> &'static [&'static str] {
        Self::INFO.needs
    }

    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError> {
        let log_sum = row.distribution()?.log_sum();
        let max = row.max()?;
        let mut chosen: Option<Layer<'_>> = None;
        for (layer, logits) in context.further(self.name(), Self::EARLY, row.vocabulary())?.enumerate() {
            let early_log_sum = Distribution::of_finite(Self::EARLY, layer, logits)?.log_sum();
            let (estimate, error) = row.layer_divergence(log_sum, logits, early_log_sum);
            let layer = Layer { logits, log_sum: early_log_sum, estimate, error };
            // The first of equal ones.
            if chosen.as_ref().is_none_or(|chosen| layer.is_further(chosen, row, log_sum)) {
                chosen = Some(layer);
            }
        }
        let Some(Layer { logits: early, log_sum: early_log_sum, .. }) = chosen else { return Ok(()) };
        row.keep(Cut::from_floor(at_least(f64::from(max) + self.relative_top.ln()).min(max)))?;
        row.map_tokens(|token, logit| {
            ((f64::from(logit) - log_sum) - (f64::from(early[token]) - early_log_sum)) as f32
        });
        Ok(())
    }
}
