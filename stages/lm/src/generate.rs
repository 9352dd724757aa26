//! Batched generation: rows join and leave as they begin and finish, and none can tell who else is there.
//!
//! Every worker thread takes rows from one queue into its own slots and decodes them together; nothing is shared between
//! workers but the queue and the prompts' prefixes. Since a row's logits are the same bits in any company (see
//! [`crate::kernel`]) and its random numbers come from its own key, its text depends on the row alone.

use crate::{
    LmError, LmResult, RowProcessor, TextTokenizer,
    batch::{Batch, Decoder},
};
use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// One text to be generated.
pub struct GenerationRow {
    /// The caller's name for the row; comes back with the result.
    pub tag: u64,
    /// Prompt ids. Neighbouring rows with equal prompts share its computation.
    pub prompt: Arc<[u32]>,
    /// Key of the row's random numbers.
    pub key: [u8; 32],
    pub processor: RowProcessor,
}

/// What all rows of a call have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    /// Tokens per row at most.
    pub max_tokens: usize,
    /// Ids that end a row.
    pub eos_ids: Vec<u32>,
    /// Texts that end a row; they are cut off. They need a tokenizer.
    pub stop_strings: Vec<String>,
    /// Keep the log-probability of each token under the distribution that it was drawn from.
    pub log_probs: bool,
    /// Worker threads.
    pub threads: usize,
    /// Rows that one worker decodes together at most.
    pub slots: usize,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self { max_tokens: 256, eos_ids: Vec::new(), stop_strings: Vec::new(), log_probs: false, threads: 1, slots: 96 }
    }
}

/// Why a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// An end-of-text id was drawn.
    Eos,
    /// A stop string appeared.
    StopString,
    /// `max_tokens` or the model's positions were used up.
    Length,
}

/// A finished row.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Every id that was drawn, the end-of-text id included.
    pub token_ids: Vec<u32>,
    /// Log-probabilities of the ids, where asked for.
    pub log_probs: Option<Vec<f32>>,
    pub finish_reason: FinishReason,
    /// The text without special tokens and stop string; `None` without a tokenizer.
    pub text: Option<String>,
}

/// Why a row has no result; the other rows go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFailure {
    #[error("prompt of {tokens} tokens leaves no room in the model's {limit} positions")]
    PromptTooLong { tokens: usize, limit: usize },
    #[error("prompt is empty")]
    PromptEmpty,
    #[error("token id {id} of the prompt is outside the vocabulary of {vocab}")]
    TokenOutOfRange { id: u32, vocab: usize },
    #[error("logits processor, at token {step}: {message}")]
    Processor { step: usize, message: String },
    #[error("no token can be drawn at token {step}: {message}")]
    Draw { step: usize, message: String },
    #[error("tokenizer: {0}")]
    Decode(String),
    #[error("prompt: {0}")]
    Model(String),
}

/// Result of one row.
pub(crate) type RowResult = Result<Generated, RowFailure>;

/// A prompt's prefix, computed by whoever comes first.
type PrefixCell<P> = Arc<OnceLock<Result<P, RowFailure>>>;
type Recent<P> = VecDeque<(Arc<[u32]>, PrefixCell<P>)>;

/// Prefixes of the prompts last seen, so that workers on neighbouring rows compute each once.
struct Prefixes<P> {
    recent: Mutex<Recent<P>>,
    keep: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks; a poisoned one could only come from a caller's callback, which ends the call anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Clone> Prefixes<P> {
    fn get(&self, prompt: &Arc<[u32]>, compute: impl FnOnce() -> Result<P, RowFailure>) -> Result<P, RowFailure> {
        let cell = {
            let mut recent = lock(&self.recent);
            if let Some((_, cell)) = recent.iter().find(|(ids, _)| Arc::ptr_eq(ids, prompt) || ids == prompt) {
                Arc::clone(cell)
            } else {
                let cell = PrefixCell::default();
                recent.push_back((Arc::clone(prompt), Arc::clone(&cell)));
                if recent.len() > self.keep {
                    recent.pop_front();
                }
                cell
            }
        };
        cell.get_or_init(compute).clone()
    }
}

/// Checks a prompt, then computes it.
fn prefill<D: Decoder>(decoder: &mut D, ids: &[u32]) -> Result<D::Prefix, RowFailure> {
    let (vocab, limit) = (decoder.vocab_size(), decoder.max_positions());
    if ids.is_empty() {
        return Err(RowFailure::PromptEmpty);
    }
    if ids.len() >= limit {
        return Err(RowFailure::PromptTooLong { tokens: ids.len(), limit });
    }
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        return Err(RowFailure::TokenOutOfRange { id: *id, vocab });
    }
    decoder.prefill(ids).map_err(|error| RowFailure::Model(error.to_string()))
}

/// Generates all rows with one decoder per thread and gives each result to `finished` as the row ends, in no particular order.
/// `finished` breaks to stop early; rows in flight are then dropped. `rows` is drawn from lazily.
///
/// # Errors
/// Stop strings without a tokenizer, or a device that fails. What is wrong with one row is that row's own result.
pub(crate) fn run<D: Decoder>(
    decoders: Vec<D>,
    tokenizer: Option<&TextTokenizer>,
    options: &GenerationOptions,
    rows: impl Iterator<Item = GenerationRow> + Send,
    finished: impl FnMut(u64, RowResult) -> ControlFlow<()> + Send,
) -> LmResult<()> {
    if !options.stop_strings.is_empty() && tokenizer.is_none() {
        return Err(LmError::NoTokenizer("for the stop strings".to_owned()));
    }
    // Few rows are spread evenly instead of filling the first worker.
    let share = rows.size_hint().1.unwrap_or(usize::MAX).div_ceil(decoders.len().max(1));
    let slots = options.slots.min(share).max(1);
    let prefixes = Prefixes { recent: Mutex::default(), keep: 2 * decoders.len() };
    let rows = Mutex::new(rows.fuse());
    let finished = Mutex::new(finished);
    let stopped = AtomicBool::new(false);
    let worker = |decoder: D| -> LmResult<()> {
        let slots = slots.min(decoder.slots());
        let mut batch = Batch::new(decoder, tokenizer, options);
        let mut done = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            while batch.len() < slots {
                let Some(row) = lock(&rows).next() else { break };
                let prefix = prefixes.get(&row.prompt, || prefill(batch.decoder(), &row.prompt));
                match prefix {
                    Ok(prefix) => batch.join(row, &prefix).inspect_err(|_| stopped.store(true, Ordering::Relaxed))?,
                    Err(failure) => done.push((row.tag, Err(failure))),
                }
            }
            if batch.is_empty() && done.is_empty() {
                break;
            }
            batch.choose(&mut done);
            for (tag, result) in done.drain(..) {
                if lock(&finished)(tag, result).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
            if let Err(error) = batch.step() {
                stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = decoders.into_iter().map(|decoder| scope.spawn(|| worker(decoder))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
