//! Penalties on tokens of the history.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{ParamInfo, ProcessorInfo, last_n_value},
};

/// Scales a logit towards less for θ > 1: `z·θ` below 0, else `z/θ`.
fn scale(logit: f32, penalty: f32) -> f32 {
    if logit < 0.0 { logit * penalty } else { logit / penalty }
}

/// Calls `f` once for each candidate among `tokens`, with its position and how often it occurs.
pub(crate) fn for_each_counted(row: &mut Row<'_>, tokens: &[u32], mut f: impl FnMut(&mut Row<'_>, usize, u32)) {
    let vocabulary = row.vocabulary();
    let mut counts = std::mem::take(&mut row.buffers().counts);
    if counts.len() < vocabulary {
        counts.resize(vocabulary, 0);
    }
    for &token in tokens {
        if let Some(count) = counts.get_mut(token as usize) {
            *count += 1;
        }
    }
    for &token in tokens {
        let count = counts.get_mut(token as usize).map_or(0, std::mem::take);
        if let (true, Some(position)) = (count > 0, row.position(token)) {
            f(row, position, count);
        }
    }
    row.buffers().counts = counts;
}

/// Repetition penalty (CTRL, Keskar et al. 2019): each id of the history once, `z·θ` below 0, else `z/θ`.
#[derive(Debug, Clone, PartialEq)]
pub struct RepetitionPenalty {
    penalty: f64,
    prompt_ignore_length: usize,
}

impl RepetitionPenalty {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "repetition_penalty",
        about: "scales the logits of all tokens of prompt and answer so far towards less",
        source: "transformers; Keskar et al. 2019",
        stateful: false,
        needs: &[],
        params: &[
            ParamInfo::positive("penalty", "above 1 discourages, below 1 encourages"),
            ParamInfo::index("prompt_ignore_length", "so many ids at the start do not count").or(0),
        ],
    };

    /// # Errors
    /// `penalty` is missing, or a value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { penalty: values.number("penalty"), prompt_ignore_length: values.count("prompt_ignore_length") })
    }
}

impl Processor for RepetitionPenalty {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO
            .canonical([("penalty", self.penalty.into()), ("prompt_ignore_length", self.prompt_ignore_length.into())])
    }

    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        let tokens = context.history.tokens.get(self.prompt_ignore_length..).unwrap_or_default();
        let penalty = self.penalty as f32;
        for_each_counted(row, tokens, |row, position, _| row.update(position, |logit| scale(logit, penalty)));
        Ok(())
    }
}

/// Penalties on the last `last_n` ids (llama.cpp): the repetition scaling with `repeat`, then `z −= count·frequency +
/// presence`.
#[derive(Debug, Clone, PartialEq)]
pub struct Penalties {
    last_n: Option<usize>,
    repeat: f64,
    frequency: f64,
    presence: f64,
}

impl Penalties {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "penalties",
        about: "repetition, frequency and presence penalties on the last tokens",
        source: "llama.cpp",
        stateful: false,
        needs: &[],
        params: &[
            ParamInfo::last_n("last_n", "how many of the last ids count; -1: all").or(64),
            ParamInfo::positive("repeat", "scaling as of repetition_penalty; 1 is none").or_number(1.0),
            ParamInfo::any("frequency", "subtracted once per occurrence").or_number(0.0),
            ParamInfo::any("presence", "subtracted once per token that occurs").or_number(0.0),
        ],
    };

    /// # Errors
    /// A value is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self {
            last_n: values.last_n("last_n"),
            repeat: values.number("repeat"),
            frequency: values.number("frequency"),
            presence: values.number("presence"),
        })
    }
}

impl Processor for Penalties {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([
            ("last_n", last_n_value(self.last_n)),
            ("repeat", self.repeat.into()),
            ("frequency", self.frequency.into()),
            ("presence", self.presence.into()),
        ])
    }

    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        let repeat = self.repeat as f32;
        for_each_counted(row, context.history.window(self.last_n), |row, position, count| {
            let less = (f64::from(count) * self.frequency + self.presence) as f32;
            row.update(position, |logit| scale(logit, repeat) - less);
        });
        Ok(())
    }
}
