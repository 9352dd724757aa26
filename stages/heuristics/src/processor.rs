//! What a logits processor is: one trait for those without memory, one for those with.

use crate::{ConfigError, Params, RowError, Scratch};
use serde_json::Value;
use std::fmt::Debug;

/// The token ids of a row so far: the prompt, then what was generated.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'a> {
    pub tokens: &'a [u32],
    /// How many of `tokens` are the prompt.
    pub prompt_len: usize,
}

/// A logits processor whose output depends on the row and its history only.
pub trait Processor: Send + Sync + Debug {
    /// The name in configuration files.
    fn name(&self) -> &'static str;

    /// The parameters in canonical form: numbers normalised, those equal to their default left out.
    fn params(&self) -> Params;

    /// Rewrites one row of `V` logits. −inf means "not a candidate" and stays.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    fn process(&self, logits: &mut [f32], history: History<'_>, scratch: &mut Scratch) -> Result<(), RowError>;
}

/// A logits processor that also depends on what was drawn at earlier positions of the row.
///
/// The processor itself is shared and immutable; each row has a [`RowState`] of its own.
pub trait StatefulProcessor: Send + Sync + Debug {
    /// The name in configuration files.
    fn name(&self) -> &'static str;

    /// As [`Processor::params`].
    fn params(&self) -> Params;

    /// The state before the first position. All randomness of the row comes from `row_seed`.
    fn start(&self, row_seed: u64) -> Box<dyn RowState>;

    /// The state that [`RowState::save`] described.
    ///
    /// # Errors
    /// `saved` is not such a description.
    fn restore(&self, saved: &Value) -> Result<Box<dyn RowState>, ConfigError>;
}

/// One row's state of a [`StatefulProcessor`]; per position, one `process` and then one `accept`.
pub trait RowState: Send + Debug {
    /// As [`Processor::process`].
    ///
    /// # Errors
    /// As [`Processor::process`].
    fn process(&mut self, logits: &mut [f32], history: History<'_>, scratch: &mut Scratch) -> Result<(), RowError>;

    /// Learns which token was drawn and its probability under the whole pipeline's output.
    fn accept(&mut self, token: u32, probability: f64);

    /// Everything that a replay from here needs.
    fn save(&self) -> Value;
}
