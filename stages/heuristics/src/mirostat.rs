//! Mirostat: truncation steered towards a target surprise.

use crate::{
    ConfigError, Context, Params, Row, RowError, RowState, StatefulProcessor,
    info::{ParamInfo, ProcessorInfo},
    row::Cut,
    select::at_least,
    state,
};
use serde_json::Value;

/// Target and learning rate; μ, the bound on surprise in bits, is the state.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Control {
    tau: f64,
    eta: f64,
}

const TAU: ParamInfo = ParamInfo::positive("tau", "target surprise in bits").or_number(5.0);
const ETA: ParamInfo = ParamInfo::non_negative("eta", "learning rate").or_number(0.1);

impl Control {
    /// `μ −= η·(−log2 p − τ)`.
    fn updated(self, mu: f64, probability: f64) -> f64 {
        mu - self.eta * (-probability.log2() - self.tau)
    }
}

/// Mirostat (Basu et al. 2020, as in llama.cpp): estimates Zipf's exponent from the `m` most probable tokens and keeps
/// so many tokens that the expected surprise is μ.
#[derive(Debug, Clone, PartialEq)]
pub struct MirostatV1 {
    control: Control,
    m: usize,
}

impl MirostatV1 {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "mirostat_v1",
        about: "keeps as many tokens as hold the text's surprise at a target, by an estimate of Zipf's exponent",
        source: "llama.cpp; Basu et al. 2020",
        stateful: true,
        needs: &[],
        params: &[TAU, ETA, ParamInfo::two_or_more("m", "how many tokens the estimate uses").or(100)],
    };

    /// # Errors
    /// A value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        let control = Control { tau: values.number("tau"), eta: values.number("eta") };
        Ok(Self { control, m: values.count("m") })
    }

    /// `k = (ε·2^μ / (1 − V^−ε))^(1/s)` with ε = s − 1.
    fn tokens_to_keep(&self, mu: f64, row: &mut Row<'_>) -> Result<usize, RowError> {
        let (mut products, mut squares) = (0.0, 0.0);
        let (mut previous, mut rank) = (f32::NAN, 0_usize);
        row.visit_descending(|_, logit| {
            if rank > 0 {
                // ln(p_i / p_(i+1)) is a difference of logits, defined even where a probability is 0.
                let (t, b) = (((rank + 1) as f64 / rank as f64).ln(), f64::from(previous) - f64::from(logit));
                products += t * b;
                squares += t * t;
            }
            previous = logit;
            rank += 1;
            rank < self.m
        })?;
        if rank < 2 {
            return Ok(1);
        }
        let s = products / squares;
        let epsilon = s - 1.0;
        let log_vocabulary = (row.vocabulary() as f64).ln();
        // (1 − V^−ε) / ε, which tends to ln V.
        let per_epsilon = if epsilon == 0.0 { log_vocabulary } else { -(-epsilon * log_vocabulary).exp_m1() / epsilon };
        let k = (mu.exp2() / per_epsilon).powf(1.0 / s);
        Ok(if k >= 1.0 { k as usize } else { 1 })
    }
}

impl StatefulProcessor for MirostatV1 {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("tau", self.control.tau.into()), ("eta", self.control.eta.into()), ("m", self.m.into())])
    }

    fn start(&self, _row_seed: u64) -> Box<dyn RowState> {
        Box::new(MirostatV1State { mu: 2.0 * self.control.tau, processor: self.clone() })
    }

    fn restore(&self, saved: &Value) -> Result<Box<dyn RowState>, ConfigError> {
        Ok(Box::new(MirostatV1State { mu: state::restore(Self::INFO.name, saved)?, processor: self.clone() }))
    }
}

#[derive(Debug)]
struct MirostatV1State {
    processor: MirostatV1,
    mu: f64,
}

impl RowState for MirostatV1State {
    fn process(&mut self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let kept = self.processor.tokens_to_keep(self.mu, row)?;
        let cut = row.rank_cut(kept)?;
        row.keep(cut)
    }

    fn accept(&mut self, _token: u32, probability: f64) {
        self.mu = self.processor.control.updated(self.mu, probability);
    }

    fn save(&self) -> Value {
        state::save(&self.mu)
    }
}

/// Mirostat 2.0 (Basu et al. 2020, as in llama.cpp): keeps `−log2 p ≤ μ`, at least one token.
#[derive(Debug, Clone, PartialEq)]
pub struct MirostatV2 {
    control: Control,
}

impl MirostatV2 {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "mirostat_v2",
        about: "keeps tokens up to a surprise that moves so as to hold the text's surprise at a target",
        source: "llama.cpp; Basu et al. 2020",
        stateful: true,
        needs: &[],
        params: &[TAU, ETA],
    };

    /// # Errors
    /// A value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { control: Control { tau: values.number("tau"), eta: values.number("eta") } })
    }
}

impl StatefulProcessor for MirostatV2 {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("tau", self.control.tau.into()), ("eta", self.control.eta.into())])
    }

    fn start(&self, _row_seed: u64) -> Box<dyn RowState> {
        Box::new(MirostatV2State { control: self.control, mu: 2.0 * self.control.tau })
    }

    fn restore(&self, saved: &Value) -> Result<Box<dyn RowState>, ConfigError> {
        Ok(Box::new(MirostatV2State { control: self.control, mu: state::restore(Self::INFO.name, saved)? }))
    }
}

#[derive(Debug)]
struct MirostatV2State {
    control: Control,
    mu: f64,
}

impl RowState for MirostatV2State {
    fn process(&mut self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let log_sum = row.distribution()?.log_sum();
        let floor = at_least(log_sum - self.mu * std::f64::consts::LN_2);
        let cut = if floor > row.max()? { row.rank_cut(1)? } else { Cut::from_floor(floor) };
        row.keep(cut)
    }

    fn accept(&mut self, _token: u32, probability: f64) {
        self.mu = self.control.updated(self.mu, probability);
    }

    fn save(&self) -> Value {
        state::save(&self.mu)
    }
}
