//! Truncation by a probability threshold: `p < t` is removed, so equality and equal logits stay together.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{MIN_TOKENS_TO_KEEP, ParamInfo, ProcessorInfo},
    row::Cut,
    select::at_least,
};

/// Removes `p < threshold`, except logits as large as the `min_tokens`-th largest.
fn keep_from(row: &mut Row<'_>, threshold: f64, min_tokens: usize) -> Result<(), RowError> {
    let floor = row.distribution()?.floor_at(threshold);
    let spared = row.kth_largest(min_tokens)?;
    row.keep(Cut::from_floor(floor.min(spared)))
}

/// Min-p (Nguyen et al. 2024): removes `p < min_p · max p`; the `min_tokens_to_keep` most probable stay.
#[derive(Debug, Clone, PartialEq)]
pub struct MinP {
    min_p: f64,
    min_tokens_to_keep: usize,
}

impl MinP {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "min_p",
        about: "keeps tokens at least min_p times as probable as the most probable one",
        source: "transformers; Nguyen et al. 2024",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::share("min_p", "share of the largest probability"), MIN_TOKENS_TO_KEEP],
    };

    /// # Errors
    /// `min_p` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { min_p: values.number("min_p"), min_tokens_to_keep: values.count("min_tokens_to_keep") })
    }
}

impl Processor for MinP {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("min_p", self.min_p.into()), ("min_tokens_to_keep", self.min_tokens_to_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let max = row.max()?;
        let floor = at_least(f64::from(max) + self.min_p.ln()).min(max);
        let spared = row.rank_cut(self.min_tokens_to_keep)?;
        row.keep(if spared.logit < floor { spared } else { Cut::from_floor(floor) })
    }
}

/// Epsilon sampling (Hewitt et al. 2022): removes `p < ε`.
#[derive(Debug, Clone, PartialEq)]
pub struct Epsilon {
    epsilon: f64,
    min_tokens_to_keep: usize,
}

impl Epsilon {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "epsilon",
        about: "keeps tokens of at least probability epsilon",
        source: "transformers; Hewitt et al. 2022",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::inner_share("epsilon", "the least probability"), MIN_TOKENS_TO_KEEP],
    };

    /// # Errors
    /// `epsilon` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { epsilon: values.number("epsilon"), min_tokens_to_keep: values.count("min_tokens_to_keep") })
    }
}

impl Processor for Epsilon {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("epsilon", self.epsilon.into()), ("min_tokens_to_keep", self.min_tokens_to_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        keep_from(row, self.epsilon, self.min_tokens_to_keep)
    }
}

/// Eta sampling (Hewitt et al. 2022): removes `p < min(ε, √ε · e^(−H))`. The parameter is called `epsilon`, as in
/// transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct Eta {
    epsilon: f64,
    min_tokens_to_keep: usize,
}

impl Eta {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "eta",
        about: "keeps tokens of at least min(epsilon, sqrt(epsilon) * exp(-entropy)) probability",
        source: "transformers; Hewitt et al. 2022",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::inner_share("epsilon", "bound of the least probability"), MIN_TOKENS_TO_KEEP],
    };

    /// # Errors
    /// `epsilon` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { epsilon: values.number("epsilon"), min_tokens_to_keep: values.count("min_tokens_to_keep") })
    }
}

impl Processor for Eta {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("epsilon", self.epsilon.into()), ("min_tokens_to_keep", self.min_tokens_to_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let eta = self.epsilon.min(self.epsilon.sqrt() * (-row.entropy()?).exp());
        keep_from(row, eta, self.min_tokens_to_keep)
    }
}

/// Top-a (KoboldAI, text-generation-webui): removes `p < a · (max p)²`.
#[derive(Debug, Clone, PartialEq)]
pub struct TopA {
    top_a: f64,
}

impl TopA {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "top_a",
        about: "keeps tokens of at least a times the square of the largest probability",
        source: "text-generation-webui, aphrodite-engine",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::share("top_a", "factor of the squared largest probability")],
    };

    /// # Errors
    /// `top_a` is missing or out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Ok(Self { top_a: Self::INFO.read(params)?.number("top_a") })
    }
}

impl Processor for TopA {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("top_a", self.top_a.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let largest = 1.0 / row.distribution()?.sum;
        keep_from(row, self.top_a * largest * largest, 1)
    }
}

/// Top-nσ (arXiv 2411.07641): removes `z < max − n·σ`, σ the population standard deviation of the candidates' logits.
#[derive(Debug, Clone, PartialEq)]
pub struct TopNSigma {
    n: f64,
}

impl TopNSigma {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "top_n_sigma",
        about: "keeps tokens whose logit is within n standard deviations of the largest",
        source: "llama.cpp; arXiv 2411.07641",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::positive("n", "how many standard deviations of the logits")],
    };

    /// # Errors
    /// `n` is missing or not above 0.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Ok(Self { n: Self::INFO.read(params)?.number("n") })
    }
}

impl Processor for TopNSigma {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("n", self.n.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let max = row.max()?;
        let floor = at_least(f64::from(max) - self.n * row.deviation());
        row.keep(Cut::from_floor(floor.min(max)))
    }
}
