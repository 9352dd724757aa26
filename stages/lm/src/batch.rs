//! The rows that one worker decodes together.

use crate::{
    LmResult, TextTokenizer,
    generate::{FinishReason, Generated, GenerationOptions, GenerationRow, RowFailure, RowResult},
    kernel::Isa,
    sampling::{BatchLogitsProcessor, History, RowProcessor, RowRng, arg_max, draw},
};
use std::sync::Arc;

/// What computes the logits of a batch. A row's logits must not depend on the other rows, to the bit.
pub(crate) trait Decoder: Send {
    /// A computed prompt, cheap to clone.
    type Prefix: Clone + Send + Sync;
    /// The cache of one row.
    type Row: Send;

    fn vocab_size(&self) -> usize;
    fn max_positions(&self) -> usize;
    /// Rows that can be decoded together at most.
    fn slots(&self) -> usize {
        usize::MAX
    }
    fn prefill(&mut self, ids: &[u32]) -> LmResult<Self::Prefix>;
    /// Logits after the last prompt token, `[vocab]`.
    fn first_logits(prefix: &Self::Prefix) -> &[f32];
    /// Begins a row of up to `positions` positions in all.
    fn begin(&mut self, prefix: &Self::Prefix, positions: usize) -> LmResult<Self::Row>;
    /// Takes a finished row's memory back.
    fn end(&mut self, row: Self::Row);
    /// Feeds each row its token and gives the logits `[rows, vocab]` after it.
    fn step(&mut self, rows: &mut [(&mut Self::Row, u32)], logits: &mut Vec<f32>) -> LmResult<()>;
}

/// One row in the batch.
struct Slot<R> {
    tag: u64,
    /// Prompt ids, then generated ones.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Longest that `tokens` may become.
    limit: usize,
    rng: RowRng,
    processor: RowProcessor,
    log_probs: Vec<f32>,
    row: R,
}

/// The rows in flight of one worker, with the raw logits of their next tokens.
pub(crate) struct Batch<'a, D: Decoder> {
    decoder: D,
    tokenizer: Option<&'a TextTokenizer>,
    options: &'a GenerationOptions,
    slots: Vec<Slot<D::Row>>,
    /// `[slots, vocab]`.
    logits: Vec<f32>,
    weights: Vec<f32>,
}

impl<'a, D: Decoder> Batch<'a, D> {
    pub fn new(decoder: D, tokenizer: Option<&'a TextTokenizer>, options: &'a GenerationOptions) -> Self {
        Self { decoder, tokenizer, options, slots: Vec::new(), logits: Vec::new(), weights: Vec::new() }
    }

    pub fn decoder(&mut self) -> &mut D {
        &mut self.decoder
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a row whose prompt is computed.
    pub fn join(&mut self, row: GenerationRow, prefix: &D::Prefix) -> LmResult<()> {
        let prompt_len = row.prompt.len();
        let limit = (prompt_len + self.options.max_tokens.max(1)).min(self.decoder.max_positions());
        let mut tokens = Vec::with_capacity(limit);
        tokens.extend_from_slice(&row.prompt);
        self.logits.extend_from_slice(D::first_logits(prefix));
        self.slots.push(Slot {
            tag: row.tag,
            tokens,
            prompt_len,
            limit,
            rng: RowRng::new(row.key),
            processor: row.processor,
            log_probs: Vec::new(),
            // The last token is never fed back.
            row: self.decoder.begin(prefix, limit - 1)?,
        });
        Ok(())
    }

    /// Chooses the next token of every row; rows that end leave the batch and go to `done`.
    pub fn choose(&mut self, done: &mut Vec<(u64, RowResult)>) {
        let vocab = self.decoder.vocab_size();
        let mut failures = self.process(vocab);
        let mut staying = Vec::with_capacity(self.slots.len());
        for (index, mut slot) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            let logits = &self.logits[index * vocab..(index + 1) * vocab];
            let result = match failures[index].take() {
                Some(failure) => Some(Err(failure)),
                None => slot.advance(logits, self.tokenizer, self.options, &mut self.weights).transpose(),
            };
            match result {
                None => staying.push(slot),
                Some(result) => {
                    done.push((slot.tag, result));
                    self.decoder.end(slot.row);
                }
            }
        }
        self.slots = staying;
        self.logits.clear();
    }

    /// Runs the processors over the raw logits; gives the failure of each row that has one.
    fn process(&mut self, vocab: usize) -> Vec<Option<RowFailure>> {
        let mut failures: Vec<Option<RowFailure>> = vec![None; self.slots.len()];
        let mut shared: Vec<(Arc<dyn BatchLogitsProcessor>, Vec<usize>)> = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let history = History { tokens: &slot.tokens, prompt_len: slot.prompt_len };
            match &mut slot.processor {
                RowProcessor::Raw | RowProcessor::Greedy => {}
                RowProcessor::Own(processor) => {
                    let logits = &mut self.logits[index * vocab..(index + 1) * vocab];
                    if let Err(error) = processor.process(logits, history) {
                        failures[index] = Some(slot.failure(error.0));
                    }
                }
                RowProcessor::Shared(processor) => {
                    match shared.iter_mut().find(|(known, _)| Arc::ptr_eq(known, processor)) {
                        Some((_, rows)) => rows.push(index),
                        None => shared.push((Arc::clone(processor), vec![index])),
                    }
                }
            }
        }
        for (processor, rows) in shared {
            let mut gathered = Vec::with_capacity(rows.len() * vocab);
            rows.iter().for_each(|row| gathered.extend_from_slice(&self.logits[row * vocab..(row + 1) * vocab]));
            let histories: Vec<_> = rows
                .iter()
                .map(|row| &self.slots[*row])
                .map(|slot| History { tokens: &slot.tokens, prompt_len: slot.prompt_len })
                .collect();
            let outcome = processor.process_rows(&mut gathered, &histories);
            for (row, processed) in rows.into_iter().zip(gathered.chunks_exact(vocab)) {
                match &outcome {
                    Ok(()) => self.logits[row * vocab..(row + 1) * vocab].copy_from_slice(processed),
                    Err(error) => failures[row] = Some(self.slots[row].failure(error.0.clone())),
                }
            }
        }
        failures
    }

    /// Feeds every row its last token.
    pub fn step(&mut self) -> LmResult<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<_> = self
            .slots
            .iter_mut()
            .map(|slot| {
                let token = slot.tokens[slot.tokens.len() - 1];
                (&mut slot.row, token)
            })
            .collect();
        self.decoder.step(&mut rows, &mut self.logits)
    }
}

impl<R> Slot<R> {
    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    fn failure(&self, message: String) -> RowFailure {
        RowFailure::Processor { step: self.tokens.len() - self.prompt_len, message }
    }

    /// Draws the next token from processed logits; gives the result if the row ends with it.
    fn advance(
        &mut self,
        logits: &[f32],
        tokenizer: Option<&TextTokenizer>,
        options: &GenerationOptions,
        weights: &mut Vec<f32>,
    ) -> Result<Option<Generated>, RowFailure> {
        let drawn = match self.processor {
            RowProcessor::Greedy => arg_max(logits).map(|(token, _)| (token, 0.0)),
            _ => draw(Isa::detect(), logits, self.rng.uniform(), weights),
        };
        let (token, log_prob) =
            drawn.map_err(|error| RowFailure::Draw { step: self.generated(), message: error.to_string() })?;
        if let RowProcessor::Own(processor) = &mut self.processor {
            processor.chosen(token, logits).map_err(|error| self.failure(error.0))?;
        }
        self.tokens.push(token);
        if options.log_probs {
            self.log_probs.push(log_prob);
        }
        let stop = self.stop_string(tokenizer, &options.stop_strings)?;
        let finish_reason = if options.eos_ids.contains(&token) {
            FinishReason::Eos
        } else if stop.is_some() {
            FinishReason::StopString
        } else if self.tokens.len() >= self.limit {
            FinishReason::Length
        } else {
            return Ok(None);
        };
        let token_ids = self.tokens[self.prompt_len..].to_vec();
        let text = match (stop, tokenizer) {
            (Some(text), _) => Some(text),
            (None, Some(tokenizer)) => Some(decode(tokenizer, &token_ids)?),
            (None, None) => None,
        };
        let log_probs = options.log_probs.then(|| std::mem::take(&mut self.log_probs));
        Ok(Some(Generated { token_ids, log_probs, finish_reason, text }))
    }

    /// The text before the first stop string, if one appeared.
    fn stop_string(&self, tokenizer: Option<&TextTokenizer>, stops: &[String]) -> Result<Option<String>, RowFailure> {
        let (Some(tokenizer), Some(longest)) = (tokenizer, stops.iter().map(String::len).max()) else {
            return Ok(None);
        };
        let generated = &self.tokens[self.prompt_len..];
        // A stop string of n bytes that the last token completes lies within the last n pieces; a few more keep the decoder's
        // treatment of a text's beginning away from it.
        let tail = &generated[generated.len().saturating_sub(longest + 4)..];
        let tail = decode(tokenizer, tail)?;
        if !stops.iter().any(|stop| tail.contains(stop.as_str())) {
            return Ok(None);
        }
        let mut text = decode(tokenizer, generated)?;
        let cut = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        Ok(cut.map(|cut| {
            text.truncate(cut);
            text
        }))
    }
}

fn decode(tokenizer: &TextTokenizer, ids: &[u32]) -> Result<String, RowFailure> {
    tokenizer.decode(ids).map_err(|error| RowFailure::Decode(error.to_string()))
}
