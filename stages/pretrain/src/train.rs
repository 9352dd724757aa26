//! The training loop: fixed shards summed in fixed order, so that the result depends on the seed and not on the threads.

use crate::{
    PretrainError,
    chat::Encoded,
    checkpoint::{self, RunState},
    config::ModelConfig,
    data::{Cursor, ShardStream, push},
    model::{Model, Shard, Workspace},
    optimizer::{self, Moments, OptimizerConfig},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

/// What decides the trained model, together with the documents and the tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    pub model: ModelConfig,
    pub optimizer: OptimizerConfig,
    /// Seed of the initial weights and of the order of the documents.
    pub seed: u64,
    /// Optimiser steps in all.
    pub steps: u64,
    /// Shards per step. Their gradients are summed in order, so this is part of the result; the number of threads is not.
    pub shards: usize,
    /// Tokens per shard, at most.
    pub shard_tokens: usize,
    /// Loss weight of the prompt's tokens; the reply's is 1.
    pub prompt_weight: f64,
    /// Steps between two entries of the loss curve.
    pub log_every: u64,
    /// Steps between two measurements of the held-out loss.
    pub eval_every: u64,
    /// Held-out documents that its loss is measured on.
    pub eval_documents: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            model: ModelConfig::default(),
            optimizer: OptimizerConfig::default(),
            seed: 1,
            steps: 1500,
            shards: 4,
            shard_tokens: 1024,
            prompt_weight: 0.1,
            log_every: 20,
            eval_every: 100,
            eval_documents: 400,
            checkpoint_every: 100,
        }
    }
}

impl TrainConfig {
    /// What cannot work about this configuration, if anything.
    #[must_use]
    pub fn issue(&self) -> Option<String> {
        let positive = [
            ("steps", self.steps),
            ("log_every", self.log_every),
            ("eval_every", self.eval_every),
            ("checkpoint_every", self.checkpoint_every),
            ("shards", self.shards as u64),
            ("shard_tokens", self.shard_tokens as u64),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some(format!("{name} is 0, give a positive number"));
        }
        if !(0.0..=1.0).contains(&self.prompt_weight) {
            return Some(format!("prompt_weight is {}, give a number between 0 and 1", self.prompt_weight));
        }
        self.model.issue()
    }
}

/// One entry of the loss curve. Losses are nats per weighted token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossRecord {
    /// Steps done.
    pub step: u64,
    /// Tokens seen.
    pub tokens: u64,
    pub lr: f64,
    /// Mean over the steps since the last entry.
    pub train_loss: f64,
    /// On the replies of the held-out documents.
    pub heldout_loss: Option<f64>,
}

/// What a finished run gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    pub parameters: Vec<f32>,
    pub log: Vec<LossRecord>,
    pub tokens: u64,
}

/// Draws initial weights: norms are 1, the embedding has standard deviation 0.02, matrices `fan_in^(-1/2)`, and those that write
/// to the residual stream are smaller by `(2 layers)^(1/2)` (Radford et al. 2019).
#[must_use]
pub fn initial_parameters(model: &Model, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    let mut parameters = vec![1.0_f32; model.layout.len];
    let c = &model.config;
    let depth = ((2 * c.num_hidden_layers) as f64).sqrt();
    let mut draw = |range: std::ops::Range<usize>, deviation: f64| {
        for pair in parameters[range].chunks_mut(2) {
            // Box–Muller: two normal numbers from two uniform ones.
            let (u, angle): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random::<f64>() * std::f64::consts::TAU);
            let radius = (-2.0 * u.ln()).sqrt() * deviation;
            let both = [radius * angle.cos(), radius * angle.sin()];
            #[expect(clippy::cast_possible_truncation, reason = "weights are kept in single precision")]
            pair.iter_mut().zip(both).for_each(|(p, x)| *p = x as f32);
        }
    };
    let fan_in = |width: usize| (width as f64).sqrt().recip();
    draw(model.layout.embedding.clone(), 0.02);
    for layer in &model.layout.layers {
        draw(layer.qkv.clone(), fan_in(c.hidden_size));
        draw(layer.out.clone(), fan_in(c.query_width()) / depth);
        draw(layer.gate_up.clone(), fan_in(c.hidden_size));
        draw(layer.down.clone(), fan_in(c.intermediate_size) / depth);
    }
    parameters
}

/// Loss in nats per reply token over documents.
#[must_use]
pub fn evaluate(model: &Model, parameters: &[f32], documents: &[Encoded], shard_tokens: usize) -> f64 {
    let (mut work, mut shard) = (Workspace::default(), Shard { bounds: vec![0], ..Shard::default() });
    let (mut loss, mut weight) = (0.0, 0.0);
    let mut flush = |shard: &mut Shard| {
        weight += shard.weights.iter().map(|&w| f64::from(w)).sum::<f64>();
        loss += model.loss(parameters, shard, &mut work, None);
        *shard = Shard { bounds: vec![0], ..Shard::default() };
    };
    for document in documents {
        if !shard.is_empty() && shard.len() + document.tokens.len() > shard_tokens {
            flush(&mut shard);
        }
        push(&mut shard, document, 0.0);
    }
    if !shard.is_empty() {
        flush(&mut shard);
    }
    loss / weight.max(1.0)
}

/// Documents to train on and to measure with.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    pub train: &'a [Encoded],
    pub heldout: &'a [Encoded],
}

impl Sets<'_> {
    fn check(&self, config: &TrainConfig) -> Result<(), PretrainError> {
        if self.train.is_empty() {
            return Err(PretrainError::NoDocuments);
        }
        let limit = config.shard_tokens.min(config.model.max_position_embeddings);
        let longest = self.train.iter().chain(self.heldout).enumerate().find(|(_, d)| d.tokens.len() > limit);
        longest.map_or(Ok(()), |(index, d)| Err(PretrainError::TooLong { index, tokens: d.tokens.len(), limit }))
    }
}

/// Everything about a run but its configuration.
pub struct Job<'a> {
    /// Number of tokens of the tokenizer.
    pub vocabulary: usize,
    pub sets: Sets<'a>,
    /// Weights to start from, of the layout of the configured model; drawn from the seed where there are none.
    pub initial: Option<Vec<f32>>,
    /// Where checkpoints are kept.
    pub directory: &'a Path,
    /// Names the configuration and all inputs: a checkpoint of another identity is not gone on from.
    pub identity: &'a str,
    pub threads: usize,
}

/// Trains a model, or goes on from the job's checkpoint. After each step `watch` is told the state's step and the last log entry; when it breaks, a checkpoint is
/// written and [`PretrainError::Interrupted`] returned. A run that was killed and resumed ends in the same bits.
///
/// # Errors
/// Bad configuration or data, a diverging loss, or a checkpoint that cannot be written or read.
pub fn train(
    config: &TrainConfig,
    job: Job<'_>,
    watch: &mut dyn FnMut(u64, Option<&LossRecord>) -> ControlFlow<()>,
) -> Result<Trained, PretrainError> {
    let Job { vocabulary, sets, initial, directory, identity, threads } = job;
    if let Some(issue) = config.issue() {
        return Err(PretrainError::Config(issue));
    }
    sets.check(config)?;
    let model = Model::new(config.model.clone(), vocabulary);
    if let Some(len) = initial.as_ref().map(Vec::len).filter(|&len| len != model.layout.len) {
        let message = format!("{len} initial weights do not fit a model of {}", model.layout.len);
        return Err(PretrainError::Config(message));
    }
    let mut state = match checkpoint::load(directory, identity)? {
        Some(state) if state.parameters.len() == model.layout.len => state,
        _ => RunState {
            step: 0,
            cursor: Cursor::default(),
            parameters: initial.unwrap_or_else(|| initial_parameters(&model, config.seed)),
            moments: Moments::zeros(model.layout.len),
            tokens: 0,
            log: Vec::new(),
        },
    };
    let heldout = &sets.heldout[..sets.heldout.len().min(config.eval_documents)];
    let mut stream = ShardStream::new(sets.train, config.seed, config.prompt_weight as f32, state.cursor);
    let mut gradients = vec![vec![0.0_f32; model.layout.len]; config.shards];
    let workers = threads.clamp(1, config.shards);
    let mut workspaces: Vec<Workspace> = (0..workers).map(|_| Workspace::default()).collect();
    let norms = model.layout.norms();
    let (mut losses, mut entries) = (0.0, 0_u64);
    let mut saved = state.step;

    while state.step < config.steps {
        let mut shards: Vec<Shard> = (0..config.shards).map(|_| stream.shard(config.shard_tokens)).collect();
        let total: f64 = shards.iter().flat_map(|s| &s.weights).map(|&w| f64::from(w)).sum();
        for shard in &mut shards {
            #[expect(clippy::cast_possible_truncation, reason = "weights are kept in single precision")]
            shard.weights.iter_mut().for_each(|w| *w = (f64::from(*w) / total) as f32);
        }
        let loss = shard_gradients(&model, &state.parameters, &shards, &mut gradients, &mut workspaces);
        if !loss.is_finite() {
            return Err(PretrainError::Diverged { step: state.step });
        }
        let (sum, rest) = gradients.split_at_mut(1);
        for gradient in rest {
            sum[0].iter_mut().zip(gradient.iter()).for_each(|(s, g)| *s += g);
        }
        let norm = optimizer::norm(&sum[0]);
        let factor = if norm > config.optimizer.max_grad_norm { config.optimizer.max_grad_norm / norm } else { 1.0 };
        let lr = config.optimizer.lr_at(state.step, config.steps);
        let optimizer = &config.optimizer;
        optimizer::update(
            optimizer,
            state.step,
            lr,
            factor,
            &mut state.parameters,
            &sum[0],
            &mut state.moments,
            &norms,
        );

        state.step += 1;
        state.cursor = stream.cursor();
        state.tokens += shards.iter().map(|s| s.len() as u64).sum::<u64>();
        losses += loss;
        entries += 1;
        let last = state.step == config.steps;
        let logs = state.step.is_multiple_of(config.log_every) || last;
        if logs {
            let evaluates = state.step.is_multiple_of(config.eval_every) || last;
            let heldout_loss = evaluates.then(|| evaluate(&model, &state.parameters, heldout, config.shard_tokens));
            let train_loss = losses / entries as f64;
            state.log.push(LossRecord { step: state.step, tokens: state.tokens, lr, train_loss, heldout_loss });
            (losses, entries) = (0.0, 0);
        }
        let goes_on = watch(state.step, if logs { state.log.last() } else { None });
        // Checkpoints lie on log entries, so that a resumed run averages over the same steps.
        if logs && (state.step - saved >= config.checkpoint_every || last) {
            checkpoint::save(directory, identity, &state)?;
            saved = state.step;
        }
        if goes_on.is_break() && !last {
            if logs {
                checkpoint::save(directory, identity, &state)?;
            }
            return Err(PretrainError::Interrupted { step: state.step });
        }
    }
    Ok(Trained { parameters: state.parameters, log: state.log, tokens: state.tokens })
}

/// Computes every shard's gradient into its own buffer; returns the sum of the losses, in order.
fn shard_gradients(
    model: &Model,
    parameters: &[f32],
    shards: &[Shard],
    gradients: &mut [Vec<f32>],
    workspaces: &mut [Workspace],
) -> f64 {
    let next = AtomicUsize::new(0);
    let slots: Vec<_> = gradients.iter_mut().map(|g| std::sync::Mutex::new((g, 0.0_f64))).collect();
    let run = |work: &mut Workspace| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(shard), Some(slot)) = (shards.get(index), slots.get(index)) else { return };
            let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            slot.0.fill(0.0);
            slot.1 = model.loss(parameters, shard, work, Some(slot.0.as_mut_slice()));
        }
    };
    match workspaces {
        [only] => run(only),
        many => std::thread::scope(|scope| {
            for work in many {
                scope.spawn(|| run(work));
            }
        }),
    }
    slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).1).sum()
}
