//! What a logits processor is: one trait for those without memory, one for those with.

use crate::{ConfigError, Context, Params, Row, RowError};
use serde_json::Value;
use std::fmt::Debug;

/// A logits processor whose output depends on the row and its context only.
pub trait Processor: Send + Sync + Debug {
    /// The name in configuration files.
    fn name(&self) -> &'static str;

    /// The parameters in canonical form: numbers normalised, those equal to their default left out.
    fn params(&self) -> Params;

    /// Names of the further logits that [`Context`] must carry.
    fn needs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Rewrites one row of logits. −inf means "not a candidate" and stays.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit; further logits are missing or do not fit.
    fn process(&self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError>;
}

/// A logits processor that also depends on what was drawn at earlier positions of the row, or on chance.
///
/// The processor itself is shared and immutable; each row has a [`RowState`] of its own.
pub trait StatefulProcessor: Send + Sync + Debug {
    /// The name in configuration files.
    fn name(&self) -> &'static str;

    /// As [`Processor::params`].
    fn params(&self) -> Params;

    /// As [`Processor::needs`].
    fn needs(&self) -> &'static [&'static str] {
        &[]
    }

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
    fn process(&mut self, row: &mut Row<'_>, context: &Context<'_>) -> Result<(), RowError>;

    /// Learns which token was drawn and its probability under the whole pipeline's output.
    fn accept(&mut self, token: u32, probability: f64);

    /// Everything that a replay from here needs, between an `accept` and the next `process`.
    fn save(&self) -> Value;
}
