//! What a processor may look at besides the row itself.

use crate::RowError;

/// The token ids of a row so far: the prompt, then what was generated.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'a> {
    pub tokens: &'a [u32],
    /// How many of `tokens` are the prompt.
    pub prompt_len: usize,
}

impl<'a> History<'a> {
    /// The last `last_n` ids; all of them for `None`.
    pub(crate) fn window(&self, last_n: Option<usize>) -> &'a [u32] {
        let first = last_n.map_or(0, |last_n| self.tokens.len().saturating_sub(last_n));
        &self.tokens[first..]
    }
}

/// Logits of the same position from elsewhere: another prompt, or earlier layers.
#[derive(Debug, Clone, Copy)]
pub struct FurtherLogits<'a> {
    pub name: &'a str,
    /// One or more rows `[n, V]`, by token id.
    pub logits: &'a [f32],
}

/// What a processor may look at besides the row itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    pub history: History<'a>,
    /// Logits that the steps of a pipeline ask for by name (`Pipeline::needs`).
    pub further: &'a [FurtherLogits<'a>],
}

impl<'a> From<History<'a>> for Context<'a> {
    fn from(history: History<'a>) -> Self {
        Self { history, further: &[] }
    }
}

impl<'a> Context<'a> {
    /// The rows `[n, V]`, n ≥ 1, of a name.
    ///
    /// # Errors
    /// They are missing, or not whole rows.
    pub fn further(
        &self,
        processor: &'static str,
        name: &'static str,
        vocabulary: usize,
    ) -> Result<std::slice::ChunksExact<'a, f32>, RowError> {
        let found = self.further.iter().find(|further| further.name == name);
        let logits = found.ok_or(RowError::MissingLogits { processor, name })?.logits;
        if vocabulary == 0 || logits.is_empty() || !logits.len().is_multiple_of(vocabulary) {
            return Err(RowError::LogitsShape { name, len: logits.len(), vocabulary });
        }
        Ok(logits.chunks_exact(vocabulary))
    }
}
