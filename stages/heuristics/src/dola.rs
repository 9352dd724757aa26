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
        let mut chosen: Option<(f64, &[f32], f64)> = None;
        for (layer, early) in context.further(self.name(), Self::EARLY, row.vocabulary())?.enumerate() {
            let early_log_sum = Distribution::of_finite(Self::EARLY, layer, early)?.log_sum();
            let divergence = divergence(row, log_sum, early, early_log_sum);
            // The first of equal ones.
            if chosen.is_none_or(|(most, ..)| divergence > most) {
                chosen = Some((divergence, early, early_log_sum));
            }
        }
        let Some((_, early, early_log_sum)) = chosen else { return Ok(()) };
        row.keep(Cut::from_floor(at_least(f64::from(max) + self.relative_top.ln()).min(max)))?;
        row.map_tokens(|token, logit| {
            ((f64::from(logit) - log_sum) - (f64::from(early[token]) - early_log_sum)) as f32
        });
        Ok(())
    }
}
