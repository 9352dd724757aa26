//! Truncation by rank: how many tokens, or how much mass or entropy, from the most probable on.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{MIN_TOKENS_TO_KEEP, ParamInfo, ProcessorInfo},
    row::Cut,
};

/// Top-k (Fan et al. 2018): keeps `z ≥` the k-th largest `z`, so every tie of the k-th stays.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    top_k: usize,
    min_tokens_to_keep: usize,
}

impl TopK {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "top_k",
        about: "keeps the k most probable tokens",
        source: "transformers; Fan et al. 2018",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::count("top_k", "how many tokens; all ties of the last one stay too"), MIN_TOKENS_TO_KEEP],
    };

    /// # Errors
    /// `top_k` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { top_k: values.count("top_k"), min_tokens_to_keep: values.count("min_tokens_to_keep") })
    }
}

impl Processor for TopK {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("top_k", self.top_k.into()), ("min_tokens_to_keep", self.min_tokens_to_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let floor = row.kth_largest(self.top_k.max(self.min_tokens_to_keep))?;
        row.keep(Cut::from_floor(floor))
    }
}

/// Nucleus sampling, top-p (Holtzman et al. 2019): from the most probable token down, keeps a token while the mass
/// before it is below `top_p`. Of equal logits the higher token ids come first.
#[derive(Debug, Clone, PartialEq)]
pub struct TopP {
    top_p: f64,
    min_tokens_to_keep: usize,
}

impl TopP {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "top_p",
        about: "keeps the smallest set of most probable tokens that holds probability p (nucleus sampling)",
        source: "transformers; Holtzman et al. 2019",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::share("top_p", "probability to keep"), MIN_TOKENS_TO_KEEP],
    };

    /// # Errors
    /// `top_p` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { top_p: values.number("top_p"), min_tokens_to_keep: values.count("min_tokens_to_keep") })
    }
}

impl Processor for TopP {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("top_p", self.top_p.into()), ("min_tokens_to_keep", self.min_tokens_to_keep.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        if self.top_p >= 1.0 {
            return Ok(());
        }
        let wanted = self.top_p * row.distribution()?.sum;
        row.mass_cut(wanted, self.min_tokens_to_keep)?.map_or(Ok(()), |cut| row.keep(cut))
    }
}

/// Top-H (arXiv 2509.02510): of the 100 most probable tokens, with q their softmax, keeps the most probable while the
/// running sum of `−q ln q` is at most `top_h` times its total; the first one always.
#[derive(Debug, Clone, PartialEq)]
pub struct TopH {
    top_h: f64,
}

impl TopH {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "top_h",
        about: "keeps the most probable of the top 100 tokens up to a share of their entropy",
        source: "transformers; arXiv 2509.02510",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::positive_share("top_h", "share of the entropy to keep")],
    };
    /// Lower ranks are always removed.
    const MOST: usize = 100;

    /// # Errors
    /// `top_h` is missing or out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Ok(Self { top_h: Self::INFO.read(params)?.number("top_h") })
    }
}

impl Processor for TopH {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("top_h", self.top_h.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        let max = f64::from(row.max()?);
        let mut top = [Cut::from_floor(f32::NEG_INFINITY); Self::MOST];
        let mut found = 0;
        row.visit_descending(|position, logit| {
            top[found] = Cut { logit, position };
            found += 1;
            found < Self::MOST
        })?;
        let top = &top[..found];
        let sum: f64 = top.iter().map(|token| (f64::from(token.logit) - max).exp()).sum();
        // Terms of tokens whose probability is 0 in f32 do not exist for transformers.
        let term = |token: &Cut| {
            let log = f64::from(token.logit) - max - sum.ln();
            (log.exp() >= f64::from(f32::MIN_POSITIVE)).then_some(-log.exp() * log)
        };
        let bound = self.top_h * top.iter().filter_map(term).sum::<f64>();
        let mut running = 0.0;
        let kept = top.iter().take_while(|token| {
            term(token).is_some_and(|term| {
                running += term;
                running <= bound
            })
        });
        let last = top[kept.count().max(1) - 1];
        row.keep(last)
    }
}
