//! Banning repeated n-grams.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{ParamInfo, ProcessorInfo},
};

/// No-repeat-n-gram: removes each token that would complete an n-gram that the history holds already. It may remove
/// all.
#[derive(Debug, Clone, PartialEq)]
pub struct NoRepeatNgram {
    ngram_size: usize,
}

impl NoRepeatNgram {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "no_repeat_ngram",
        about: "removes tokens that would repeat an n-gram of prompt and answer so far",
        source: "transformers",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::count("ngram_size", "length of the n-grams; 1 bans all ids so far")],
    };

    /// # Errors
    /// `ngram_size` is missing or not at least 1.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        Ok(Self { ngram_size: Self::INFO.read(params)?.count("ngram_size") })
    }
}

impl Processor for NoRepeatNgram {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("ngram_size", self.ngram_size.into())])
    }

    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        let tokens = context.history.tokens;
        let Some(start) = tokens.len().checked_sub(self.ngram_size - 1) else { return Ok(()) };
        let suffix = &tokens[start..];
        for ngram in tokens.windows(self.ngram_size) {
            if let Some((&last, first)) = ngram.split_last()
                && first == suffix
                && let Some(position) = row.position(last)
            {
                row.remove(position);
            }
        }
        Ok(())
    }
}
