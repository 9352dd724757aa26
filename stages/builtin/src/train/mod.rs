//! `train`: the best generations and the frozen model that wrote them → a sampler network.
//!
//! Every position of every row is replayed teacher-forced on the exact token ids that were generated; the row's own pipeline
//! gives the target. A training that was interrupted at any moment goes on from its last checkpoint and ends with the same
//! bytes as one that was not.

mod ahead;
mod checkpoint;
mod devices;
mod emphasis;
mod log;
mod params;
mod replay;
mod samples;
mod stream;
mod tensorboard;

pub use params::TrainParams;
pub(crate) use params::target_issue;

use ahead::ahead;
use checkpoint::{Best, Saved};
use emphasis::{Drawn, Stake};
pub(crate) use log::Line;
use log::Log;
use lsn_lm::{Day, LanguageModel, LoadOptions};
use lsn_samplers::{
    Checkpoint, Example, Real, RowLoss, Sampler, SamplerError, Schedule, Trainer, TrainerConfig, loss_and_gradient,
};
use lsn_stage::{
    Determinism, FailureClass, ParamIssue, Port, PortKind, Stage, StageContext, StageError, StageResult,
    record::{Record, ScoredRow},
};
use rand::seq::SliceRandom;
use rayon::ThreadPool;
use replay::{Position, Replay, Replayed};
use samples::{Samples, generator};
use serde_json::json;
use std::{sync::Arc, time::Instant};
use stream::{Group, Stream};

/// The stage type.
pub struct Train;

impl Stage for Train {
    type Params = TrainParams;

    fn name(&self) -> &'static str {
        "train"
    }

    fn about(&self) -> &'static str {
        "trains a sampler network to reproduce the heuristics behind the best generations"
    }

    fn version(&self) -> u32 {
        6
    }

    fn determinism(&self) -> Determinism {
        Determinism::Seeded
    }

    fn inputs(&self, _params: &TrainParams) -> Vec<Port> {
        let rows = PortKind::DataSet(ScoredRow::TYPE.to_owned());
        vec![
            Port::new("training", rows, "the generations to learn from, with the pipelines that drew them"),
            Port::new("model", PortKind::Directory, "the language model that generated them"),
        ]
    }

    fn outputs(&self, _params: &TrainParams) -> Vec<Port> {
        vec![
            Port::new("sampler", PortKind::Directory, "the sampler: sampler.safetensors and config.json"),
            Port::new("log", PortKind::File, "losses, learning rate and gradient norm per step (JSONL)"),
            Port::new("tensorboard", PortKind::Directory, "the log as a TensorBoard event file"),
        ]
    }

    fn check(&self, params: &TrainParams) -> Result<(), Vec<ParamIssue>> {
        let issues = params.issues();
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: TrainParams, ctx: &StageContext) -> StageResult<()> {
        // Every GPU is waited for by a thread of its own.
        let threads = ctx.threads().max(ctx.gpus().len());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| StageError::user(format!("cannot start {threads} threads: {error}")))?;
        train(&params, ctx, &pool)
    }
}

fn from_sampler(error: SamplerError) -> StageError {
    let class = match error {
        SamplerError::Device(_) => FailureClass::Infrastructure,
        _ => FailureClass::User,
    };
    StageError::new(class, error.to_string())
}

fn train(params: &TrainParams, ctx: &StageContext, pool: &ThreadPool) -> StageResult<()> {
    let day = params.date.as_deref().and_then(Day::parse);
    let options = LoadOptions { compute: params.device.compute(ctx)?, context: Some(params.max_seq_length), day };
    let model = LanguageModel::load(&ctx.input("model")?.path, &options)
        .map_err(|error| StageError::user(format!("input `model`: {error}")))?;
    let rows = ctx.input("training")?;
    let samples = Samples::prepare(&rows.path, &ctx.scratch().join("rows"), &model, params, ctx)?;
    if samples.skipped > 0 {
        ctx.warn(format!("{} rows have no token within max_seq_length {}", samples.skipped, params.max_seq_length));
    }
    let stream = Stream::new(&samples, params.seed, params.shuffle_rows);
    let positions = stream.epoch_len() * params.epochs;
    let total_steps = positions.div_ceil(params.step_positions() as u64).min(params.max_steps.unwrap_or(u64::MAX));
    ctx.note(format!(
        "{} rows, {} positions per epoch, {total_steps} steps of {}; {} rows for validation",
        samples.training.len(),
        stream.epoch_len(),
        params.step_positions(),
        samples.validation.len(),
    ));
    let mut training = Training::open(params, ctx, total_steps)?;
    let validation = pool.install(|| Validation::prepare(params, ctx, &model, &samples))?;
    let keep = if params.epochs > 1 { params.cache_bytes } else { 0 };
    let mut replay = Replay::new(&model, &samples, ctx.scratch(), keep)?;
    let cost = replay.cost();
    let start = training.trainer.steps() * params.step_positions() as u64;
    let wanted = (total_steps * params.step_positions() as u64).saturating_sub(start);
    // The model's forward passes of the next group run beside the steps on the present one, on the threads of one pool.
    ahead(
        |outlet| {
            let mut prepared = 0;
            for group in stream.groups_from(start, params.epochs) {
                let stopped = || if outlet.is_closed() { Err(StageError::cancelled()) } else { ctx.check_cancelled() };
                prepared += (group.positions.len() - group.done) as u64;
                let loaded = pool.install(|| {
                    let replayed = replay.load(&group.rows, stopped)?;
                    let stakes = emphasis::stakes(params, &group, &replayed)?;
                    Ok((group, replayed, stakes))
                });
                if !outlet.push(loaded) || prepared >= wanted {
                    break;
                }
            }
        },
        |groups| {
            let mut pending = Vec::with_capacity(params.step_positions());
            for loaded in groups {
                let (group, replayed, stakes) = loaded?;
                pool.install(|| {
                    let positions = training.positions(&group, &replayed, stakes)?;
                    training.steps_on(&positions, &replayed, &mut pending, validation.as_ref())
                })?;
                if training.is_over() {
                    return Ok(());
                }
            }
            if pending.is_empty() { Ok(()) } else { pool.install(|| training.step(&mut pending, validation.as_ref())) }
        },
    )?;
    if let Some(summary) = cost.summary(model.config().vocab_size) {
        ctx.note(summary);
    }
    training.publish()
}

/// The held-back positions.
struct Validation {
    replayed: Replayed,
    positions: Vec<Position>,
}

impl Validation {
    /// Chooses and replays the positions; `None` without held-back rows.
    fn prepare(
        params: &TrainParams,
        ctx: &StageContext,
        model: &LanguageModel,
        samples: &Samples,
    ) -> StageResult<Option<Self>> {
        if samples.validation.is_empty() {
            return Ok(None);
        }
        let mut positions: Vec<Position> = samples
            .validation
            .iter()
            .flat_map(|&row| (0..samples.positions(row) as u32).map(move |index| Position { row, index }))
            .collect();
        positions.shuffle(&mut generator(params.seed, "validation", &[]));
        positions.truncate(params.validation_positions);
        let mut rows: Vec<u32> = positions.iter().map(|position| position.row).collect();
        rows.sort_unstable();
        rows.dedup();
        let replayed = Replay::new(model, samples, ctx.scratch(), u64::MAX)?.load(&rows, || ctx.check_cancelled())?;
        Ok(Some(Self { replayed, positions }))
    }
}

/// Sum of losses over examples, of the network and of the raw logits.
#[derive(Default)]
struct Sums {
    loss: RowLoss,
    raw: RowLoss,
}

impl Sums {
    fn add(&mut self, loss: RowLoss, examples: &[Example]) {
        self.loss.kl += loss.kl * examples.len() as f64;
        self.loss.penalty += loss.penalty * examples.len() as f64;
        for Example { set, target } in examples {
            let raw = loss_and_gradient(set, set.log_probs(), target, 0.0, None);
            self.raw.kl += raw.kl;
            self.raw.penalty += raw.penalty;
        }
    }
}

/// A running training with its log and checkpoints.
struct Training<'a> {
    params: &'a TrainParams,
    ctx: &'a StageContext,
    trainer: Trainer<f32>,
    log: Log,
    best: Option<(Best, Vec<u8>)>,
    /// The group that comes up, or is being trained on.
    drawn: Option<Arc<Drawn>>,
    /// The one that the last step ended in: what is drawn after it is drawn alike by an attempt that goes on from it.
    drawn_at_step: Option<Arc<Drawn>>,
    total_steps: u64,
    /// Of this attempt, for the reported speed.
    started: Instant,
    positions: u64,
}

impl<'a> Training<'a> {
    /// Begins, or goes on from the newest whole checkpoint.
    fn open(params: &'a TrainParams, ctx: &'a StageContext, total_steps: u64) -> StageResult<Self> {
        let config = TrainerConfig {
            optimizer: params.optimizer,
            adamw: params.adamw,
            schedule: Schedule {
                kind: params.scheduler,
                lr: params.lr,
                warmup_steps: params.warmup_steps,
                total_steps,
            },
            gamma: params.gamma,
            max_grad_norm: params.max_grad_norm,
        };
        let sampler = Sampler::new(params.network.clone(), params.seed).map_err(from_sampler)?;
        let devices = devices::of(params, &sampler, ctx)?;
        let mut trainer = Trainer::new(sampler, config)
            .and_then(|trainer| trainer.with_lr_factors(&params.lr_factors))
            .map_err(from_sampler)?
            .with_precision(params.precision)
            .with_devices(devices);
        let mut log = Log::open(ctx.scratch().join("log.jsonl"))?;
        let (mut best, mut drawn) = (None, None);
        if let Some(saved) = checkpoint::newest(ctx.scratch(), &mut log, ctx)? {
            trainer.restore(&saved.trainer).map_err(from_sampler)?;
            (best, drawn) = (saved.best, saved.drawn.map(Arc::new));
            ctx.note(format!("going on after step {} of {total_steps}", saved.step));
        }
        let drawn_at_step = drawn.clone();
        let started = Instant::now();
        Ok(Self { params, ctx, trainer, log, best, drawn, drawn_at_step, total_steps, started, positions: 0 })
    }

    /// Whether all steps are done, or validation has not improved for too long.
    fn is_over(&self) -> bool {
        let tired = self
            .best
            .as_ref()
            .zip(self.params.early_stopping)
            .is_some_and(|((best, _), patience)| best.misses >= patience);
        tired || self.trainer.steps() >= self.total_steps
    }

    /// The positions of `group` that are still to be trained on, in their order.
    fn positions(&mut self, group: &Group, replayed: &Replayed, mut stakes: Vec<Stake>) -> StageResult<Vec<Position>> {
        let by_loss = self.params.emphasis.loss > 0.0;
        let drawn = self.drawn.as_ref().filter(|drawn| drawn.place == group.place);
        let mut positions = match drawn.map(|drawn| drawn.positions.clone()) {
            Some(positions) => positions,
            None => {
                if by_loss {
                    self.add_losses(&group.positions, replayed, &mut stakes)?;
                }
                emphasis::draw(self.params, group, &stakes)
            }
        };
        self.drawn = by_loss.then(|| Arc::new(Drawn { place: group.place, positions: positions.clone() }));
        positions.drain(..group.done);
        Ok(positions)
    }

    /// Sets what the network has left at each position.
    fn add_losses(&mut self, positions: &[Position], replayed: &Replayed, stakes: &mut [Stake]) -> StageResult<()> {
        let size = self.params.step_positions();
        for (positions, stakes) in positions.chunks(size).zip(stakes.chunks_mut(size)) {
            if let Err(cancelled) = self.ctx.check_cancelled() {
                self.save()?;
                return Err(cancelled);
            }
            let losses = self.trainer.losses(&replayed.examples(positions)?);
            stakes.iter_mut().zip(losses).for_each(|(stake, loss)| stake.loss = loss.kl);
        }
        Ok(())
    }

    /// All steps that `positions` are enough for; what is left over stays in `pending`.
    fn steps_on(
        &mut self,
        positions: &[Position],
        replayed: &Replayed,
        pending: &mut Vec<Example>,
        validation: Option<&Validation>,
    ) -> StageResult<()> {
        let mut rest = positions;
        while !rest.is_empty() && !self.is_over() {
            let (now, later) = rest.split_at(rest.len().min(self.params.step_positions() - pending.len()));
            pending.extend(replayed.examples(now)?);
            rest = later;
            if pending.len() == self.params.step_positions() {
                self.step(pending, validation)?;
            }
        }
        Ok(())
    }

    /// One optimiser step on `pending`, which is emptied; then validation and checkpoint when they are due.
    fn step(&mut self, pending: &mut Vec<Example>, validation: Option<&Validation>) -> StageResult<()> {
        let examples = std::mem::take(pending);
        let batches: Vec<Vec<Example>> =
            examples.chunks(self.params.token_batch_size).map(<[Example]>::to_vec).collect();
        let metrics = self.trainer.step(&batches).map_err(from_sampler)?;
        self.drawn_at_step.clone_from(&self.drawn);
        let step = self.trainer.steps();
        let mut sums = Sums::default();
        sums.add(RowLoss { kl: metrics.kl, penalty: metrics.penalty }, &examples);
        let count = examples.len() as f64;
        self.log.push(&Line::Train {
            step,
            loss: metrics.loss,
            kl: metrics.kl,
            penalty: metrics.penalty,
            raw_kl: sums.raw.kl / count,
            raw_penalty: sums.raw.penalty / count,
            lr: metrics.lr,
            grad_norm: metrics.grad_norm,
        })?;
        self.positions += examples.len() as u64;
        self.ctx.progress(step, Some(self.total_steps), "steps");
        self.ctx.metric("loss", metrics.loss);
        let seconds = self.started.elapsed().as_secs_f64();
        self.ctx.metric("positions_per_second", self.positions as f64 / seconds.max(1e-9));
        let last = step == self.total_steps;
        if let Some(validation) = validation
            && (last || step.is_multiple_of(self.params.eval_steps))
        {
            self.validate(validation)?;
        }
        let cancelled = self.ctx.check_cancelled();
        if cancelled.is_err() || last || self.is_over() || step.is_multiple_of(self.params.save_steps) {
            self.save()?;
        }
        cancelled
    }

    /// Makes the present state what a later attempt goes on from.
    fn save(&mut self) -> StageResult<()> {
        let trainer = self.trainer.save().map_err(from_sampler)?;
        let saved = Saved {
            step: self.trainer.steps(),
            trainer,
            best: self.best.clone(),
            drawn: self.drawn_at_step.as_deref().cloned(),
        };
        checkpoint::save(self.ctx.scratch(), &saved, &mut self.log)
    }

    fn validate(&mut self, validation: &Validation) -> StageResult<()> {
        let mut sums = Sums::default();
        for positions in validation.positions.chunks(self.params.step_positions()) {
            let examples = validation.replayed.examples(positions)?;
            sums.add(self.trainer.evaluate(&examples), &examples);
        }
        let count = validation.positions.len() as f64;
        let [mean, raw] = [sums.loss, sums.raw].map(|sum| RowLoss { kl: sum.kl / count, penalty: sum.penalty / count });
        let (step, loss) = (self.trainer.steps(), mean.total(self.params.gamma));
        self.log.push(&Line::Validation {
            step,
            loss,
            kl: mean.kl,
            penalty: mean.penalty,
            raw_kl: raw.kl,
            raw_penalty: raw.penalty,
        })?;
        self.ctx.metric("validation_loss", loss);
        match &mut self.best {
            Some((best, _)) if loss >= best.loss => best.misses += 1,
            best => {
                let parameters = f32::to_bytes(self.trainer.sampler().parameters());
                *best = Some((Best { step, loss, misses: 0 }, parameters));
            }
        }
        Ok(())
    }

    /// Writes the outputs: with validation the best parameters, without it the last ones.
    fn publish(self) -> StageResult<()> {
        let Self { params, ctx, trainer, log, best, .. } = self;
        let steps = trainer.steps();
        let mut sampler = trainer.into_sampler();
        let mut provenance = json!({
            "base_model": ctx.input("model")?.digest,
            "training_rows": ctx.input("training")?.digest,
            "steps": steps,
            "parameters": params,
        });
        if let Some((best, parameters)) = best {
            sampler.parameters_mut().copy_from_slice(&f32::from_bytes(&parameters));
            provenance["validation"] = json!({"step": best.step, "loss": best.loss});
            ctx.note(format!("best validation loss {:.4} after step {}", best.loss, best.step));
        }
        let checkpoint = Checkpoint { sampler, provenance };
        checkpoint.save_as(ctx.output("sampler")?, params.precision).map_err(from_sampler)?;
        log.publish(ctx.output("log")?, ctx.output("tensorboard")?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
