//! Parameters of `train`.

use super::emphasis::Emphasis;
use crate::{device::Device, generate::PromptForm};
use lsn_heuristics::{Pipeline, ProcessorConfig};
use lsn_lm::Day;
use lsn_samplers::{AdamWConfig, Architecture, OptimizerKind, Precision, ScheduleKind};
use lsn_stage::ParamIssue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters of `train`; the defaults are the reference's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainParams {
    /// The network: `{architecture: SamplingNetwork, arguments: {…}}`.
    pub network: Architecture,
    /// The processors whose result is the target at every position; null takes the pipeline that drew the row.
    pub target: Option<Vec<ProcessorConfig>>,
    /// How prompts reached the model: as in the `generate` stage that the rows come from.
    pub prompt_form: PromptForm,
    /// The day (`YYYY-MM-DD`) that chat templates printed: as in the `generate` stage that the rows come from.
    pub date: Option<String>,
    /// What computes: with `cuda` the language model on the task's first GPU in bf16, and the network on all of them in f32, each
    /// with an equal share of every micro-batch. A `RankedTransform` has no CUDA kernels and stays on the processor.
    pub device: Device,
    /// Decides the initial parameters, the order of the data and the validation split.
    pub seed: u64,
    /// Highest learning rate.
    pub lr: f64,
    /// Factors of the learning rate for parameter groups, by the beginning of their tensors' names: `{truncation_head: 10}`.
    pub lr_factors: BTreeMap<String, f64>,
    /// Weight of the predicted mass on removed tokens.
    pub gamma: f64,
    /// Positions per micro-batch.
    pub token_batch_size: usize,
    /// Micro-batches per optimiser step.
    pub gradient_accumulation_steps: usize,
    /// Shape of the learning rate after its warm-up.
    pub scheduler: ScheduleKind,
    /// Optimiser steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Which optimiser: `adamw`, or `soap`, which goes by the parameters of `adamw` too.
    pub optimizer: OptimizerKind,
    pub adamw: AdamWConfig,
    /// Number format of the parameters that the network is evaluated with and published in; the optimiser updates f32 ones.
    pub precision: Precision,
    /// Gradients of a larger norm are scaled down to it; null leaves them as they are.
    pub max_grad_norm: Option<f64>,
    /// Prompt and generation are cut to this many tokens together.
    pub max_seq_length: usize,
    /// Passes over the data.
    pub epochs: u64,
    /// Ends the training after this many optimiser steps, and the schedule with it.
    pub max_steps: Option<u64>,
    /// At most this many positions of each row, chosen at random; null takes all.
    pub positions_per_row: Option<usize>,
    /// Which positions are trained on more often than others.
    pub emphasis: Emphasis,
    /// How many rows have their positions mixed with each other.
    pub shuffle_rows: usize,
    /// Share of the prompts that is held back for validation.
    pub validation_fraction: f64,
    /// Positions of the validation set, at most.
    pub validation_positions: usize,
    /// Optimiser steps between validations.
    pub eval_steps: u64,
    /// Ends the training after this many validations without a better loss; null never does.
    pub early_stopping: Option<u64>,
    /// Optimiser steps between checkpoints, which an interrupted training goes on from.
    pub save_steps: u64,
    /// Bytes on disk for logits of the base model that are kept from one epoch to the next.
    pub cache_bytes: u64,
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            network: Architecture::default(),
            target: None,
            prompt_form: PromptForm::default(),
            date: None,
            device: Device::Cpu,
            seed: 0,
            lr: 1e-3,
            lr_factors: BTreeMap::new(),
            gamma: 1.0,
            token_batch_size: 12,
            gradient_accumulation_steps: 2,
            scheduler: ScheduleKind::Cosine,
            warmup_steps: 100,
            optimizer: OptimizerKind::default(),
            adamw: AdamWConfig::default(),
            precision: Precision::default(),
            max_grad_norm: Some(1.0),
            max_seq_length: 1000,
            epochs: 1,
            max_steps: None,
            positions_per_row: None,
            emphasis: Emphasis::default(),
            shuffle_rows: 64,
            validation_fraction: 0.0,
            validation_positions: 512,
            eval_steps: 100,
            early_stopping: None,
            save_steps: 100,
            cache_bytes: 16 << 30,
        }
    }
}

impl TrainParams {
    /// Positions of one optimiser step.
    pub fn step_positions(&self) -> usize {
        self.token_batch_size * self.gradient_accumulation_steps
    }

    /// What has the right type but cannot work.
    pub fn issues(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        let mut issue = |pointer: &str, message: String| {
            issues.push(ParamIssue { pointer: pointer.to_owned(), message, suggestion: None });
        };
        if let Err(error) = self.network.check() {
            issue("/network", error.to_string());
        }
        if let Some(message) = self.target.as_deref().and_then(target_issue) {
            issue("/target", message);
        }
        if self.date.as_deref().is_some_and(|date| Day::parse(date).is_none()) {
            issue("/date", "expected a day as `YYYY-MM-DD`".to_owned());
        }
        for (pointer, value) in [
            ("/token_batch_size", self.token_batch_size as u64),
            ("/gradient_accumulation_steps", self.gradient_accumulation_steps as u64),
            ("/max_seq_length", self.max_seq_length as u64),
            ("/epochs", self.epochs),
            ("/max_steps", self.max_steps.unwrap_or(1)),
            ("/positions_per_row", self.positions_per_row.unwrap_or(1) as u64),
            ("/shuffle_rows", self.shuffle_rows as u64),
            ("/validation_positions", self.validation_positions as u64),
            ("/eval_steps", self.eval_steps),
            ("/early_stopping", self.early_stopping.unwrap_or(1)),
            ("/save_steps", self.save_steps),
        ] {
            if value == 0 {
                issue(pointer, "is 0, expected at least 1".to_owned());
            }
        }
        let [beta1, beta2] = self.adamw.betas;
        for (pointer, value, least, below) in [
            ("/lr", self.lr, f64::MIN_POSITIVE, f64::MAX),
            ("/gamma", self.gamma, 0.0, f64::MAX),
            ("/max_grad_norm", self.max_grad_norm.unwrap_or(1.0), f64::MIN_POSITIVE, f64::MAX),
            ("/adamw/betas/0", beta1, 0.0, 1.0),
            ("/adamw/betas/1", beta2, 0.0, 1.0),
            ("/adamw/eps", self.adamw.eps, f64::MIN_POSITIVE, f64::MAX),
            ("/adamw/weight_decay", self.adamw.weight_decay, 0.0, f64::MAX),
            ("/validation_fraction", self.validation_fraction, 0.0, 1.0),
        ] {
            if !(least..below).contains(&value) {
                let upper = if below == 1.0 { " and below 1" } else { "" };
                let lower = if least == 0.0 { "of at least 0" } else { "above 0" };
                issue(pointer, format!("is {value}, expected a number {lower}{upper}"));
            }
        }
        if let Some(message) = self.emphasis.issue() {
            issue("/emphasis", message);
        }
        if self.early_stopping.is_some() && self.validation_fraction == 0.0 {
            issue("/early_stopping", "needs a validation set, set `validation_fraction` above 0".to_owned());
        }
        issues
    }
}

/// What is wrong with processors as a target, where something is.
pub(crate) fn target_issue(processors: &[ProcessorConfig]) -> Option<String> {
    match Pipeline::from_config(processors) {
        Err(error) => Some(error.to_string()),
        Ok(pipeline) => pipeline.needs().first().map(|needed| format!("needs further logits `{needed}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsn_samplers::SamplingNetwork;

    #[test]
    fn parameters_that_cannot_work_are_all_named() {
        let params = TrainParams {
            lr: 0.0,
            epochs: 0,
            validation_fraction: 1.0,
            early_stopping: Some(3),
            network: Architecture::SamplingNetwork(SamplingNetwork {
                d_model: 32,
                d_ff: 64,
                n_blocks: 4,
                n_heads: 5,
                scale: true,
            }),
            ..TrainParams::default()
        };
        let pointers: Vec<String> = params.issues().into_iter().map(|issue| issue.pointer).collect();
        assert_eq!(pointers, ["/network", "/epochs", "/lr", "/validation_fraction"]);
        assert!(TrainParams::default().issues().is_empty());
    }
}
