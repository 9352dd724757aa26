//! Supervised training, one optimiser step at a time: a deterministic state machine that can be saved between steps.

use crate::{
    AdamWConfig, LogitSet, OptimizerKind, Precision, RowError, RowLoss, Sampler, SamplerError, Schedule, Target,
    Workspace,
    gradient_device::{GradientDevice, Processor, add_gradient_of_all},
    kernels::dot,
    optimizer::Optimizer,
    real::Real,
};
use rayon::prelude::*;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};

/// One position: raw logits and what the heuristic made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    pub set: LogitSet,
    pub target: Target,
}

impl Example {
    /// The example of raw logits `[V]` and of what a heuristic made of them, without the knowledge of which token is which.
    ///
    /// # Errors
    /// The lengths differ, a row holds NaN or +inf or nothing finite, or the target keeps a token whose raw logit is −inf.
    pub fn new(raw: &[f32], target: &[f32]) -> Result<Self, RowError> {
        let set = LogitSet::distinct(raw)?;
        let target = Target::new(&set, target)?;
        Ok(Self { set: set.without_tokens(), target })
    }
}

/// What a training run keeps constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainerConfig {
    pub optimizer: OptimizerKind,
    /// Of SOAP in the eigenbasis.
    pub adamw: AdamWConfig,
    pub schedule: Schedule,
    /// Weight of the truncation penalty; at least 0.
    pub gamma: f64,
    /// Gradients whose norm is larger are scaled down to it.
    pub max_grad_norm: Option<f64>,
}

/// What one optimiser step reports: means over its micro-batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// Counted from 0.
    pub step: u64,
    pub loss: f64,
    pub kl: f64,
    pub penalty: f64,
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// A network in training: parameters, moments and the number of steps done.
#[derive(Debug)]
pub struct Trainer<T> {
    config: TrainerConfig,
    /// With the parameters that it is evaluated with.
    sampler: Sampler<T>,
    precision: Precision,
    /// Unless the precision is the full one, the parameters that the optimiser updates.
    masters: Vec<T>,
    optimizer: Optimizer<T>,
    devices: Vec<Box<dyn GradientDevice<T>>>,
    step: u64,
}

impl<T: Real> Trainer<T> {
    /// # Errors
    /// A hyper-parameter is out of its range.
    pub fn new(sampler: Sampler<T>, config: TrainerConfig) -> Result<Self, SamplerError> {
        let [beta1, beta2] = config.adamw.betas;
        let positive = |parameter, value: f64| (parameter, value, "a finite number above 0", value > 0.0);
        let at_least_0 = |parameter, value: f64| (parameter, value, "a finite number of at least 0", value >= 0.0);
        let rate = |parameter, value: f64| (parameter, value, "at least 0 and below 1", (0.0..1.0).contains(&value));
        for (parameter, value, expected, fits) in [
            positive("lr", config.schedule.lr),
            positive("eps", config.adamw.eps),
            positive("max_grad_norm", config.max_grad_norm.unwrap_or(1.0)),
            at_least_0("gamma", config.gamma),
            at_least_0("weight_decay", config.adamw.weight_decay),
            rate("betas[0]", beta1),
            rate("betas[1]", beta2),
        ] {
            if !(fits && value.is_finite()) {
                return Err(SamplerError::HyperParameter { parameter, value, expected });
            }
        }
        let optimizer = Optimizer::new(config.optimizer, config.adamw, sampler.layout());
        let devices: Vec<Box<dyn GradientDevice<T>>> = vec![Box::new(Processor)];
        Ok(Self { config, sampler, precision: Precision::F32, masters: Vec::new(), optimizer, devices, step: 0 })
    }

    /// Multiplies the learning rate of parameter groups: the tensors whose name begins with a key of `factors`; of several such
    /// keys the longest counts.
    ///
    /// # Errors
    /// A factor is not a finite number above 0, or no tensor's name begins with its key.
    pub fn with_lr_factors(mut self, factors: &BTreeMap<String, f64>) -> Result<Self, SamplerError> {
        if let Some(&value) = factors.values().find(|factor| !(**factor > 0.0 && factor.is_finite())) {
            let (parameter, expected) = ("lr_factors", "finite numbers above 0");
            return Err(SamplerError::HyperParameter { parameter, value, expected });
        }
        match self.optimizer.set_lr_factors(factors) {
            Some(unknown) => Err(SamplerError::UnknownGroup {
                group: unknown.to_owned(),
                architecture: self.sampler.architecture().name(),
            }),
            None => Ok(self),
        }
    }

    /// The same training with parameters that forward and backward passes see in `precision`; those that the optimiser updates,
    /// and that [`Trainer::save`] saves, stay what they are.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        let masters = self.masters().to_vec();
        self.precision = precision;
        self.set_masters(masters);
        self
    }

    /// The parameters that the optimiser updates.
    fn masters(&self) -> &[T] {
        match self.precision {
            Precision::F32 => self.sampler.parameters(),
            Precision::Bf16 => &self.masters,
        }
    }

    fn set_masters(&mut self, masters: Vec<T>) {
        self.precision.round(&masters, self.sampler.parameters_mut());
        self.masters = if self.precision == Precision::F32 { Vec::new() } else { masters };
    }

    #[must_use]
    pub fn sampler(&self) -> &Sampler<T> {
        &self.sampler
    }

    #[must_use]
    pub fn into_sampler(self) -> Sampler<T> {
        self.sampler
    }

    /// How many optimiser steps are done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The same training with gradients from `devices`, each of which gets an equal share of every micro-batch; without any, from the
    /// [`Processor`]. Parameters and the optimiser stay with the processor.
    #[must_use]
    pub fn with_devices(mut self, devices: Vec<Box<dyn GradientDevice<T>>>) -> Self {
        self.devices = if devices.is_empty() { vec![Box::new(Processor)] } else { devices };
        self
    }

    /// One optimiser step over `micro_batches`, each of which weighs the same (gradient accumulation).
    ///
    /// # Errors
    /// The loss is no longer finite, part of the network receives no gradient at all, or a device fails.
    pub fn step(&mut self, micro_batches: &[Vec<Example>]) -> Result<StepMetrics, SamplerError> {
        let mut grads = vec![T::ZERO; self.sampler.parameters().len()];
        let mut total = RowLoss::default();
        for batch in micro_batches {
            let weight = 1.0 / (batch.len() * micro_batches.len()) as f64;
            let factors = (self.config.gamma, weight);
            let loss = add_gradient_of_all(&mut self.devices, &self.sampler, batch, factors, &mut grads)?;
            total.kl += weight * loss.kl;
            total.penalty += weight * loss.penalty;
        }
        let loss = total.total(self.config.gamma);
        let grad_norm = norm(&grads);
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return Err(SamplerError::Diverged { step: self.step, loss, grad_norm });
        }
        if self.step == 0 {
            self.check_connected(&grads)?;
        }
        if let Some(limit) = self.config.max_grad_norm {
            let factor = T::of((limit / (grad_norm + 1e-6)).min(1.0));
            grads.iter_mut().for_each(|gradient| *gradient *= factor);
        }
        let lr = self.config.schedule.lr(self.step);
        let masters = match self.precision {
            Precision::F32 => self.sampler.parameters_mut(),
            Precision::Bf16 => &mut self.masters,
        };
        self.optimizer.step(self.step, lr, &grads, masters);
        if self.precision != Precision::F32 {
            self.precision.round(&self.masters, self.sampler.parameters_mut());
        }
        let metrics = StepMetrics { step: self.step, loss, kl: total.kl, penalty: total.penalty, lr, grad_norm };
        self.step += 1;
        Ok(metrics)
    }

    /// Every tensor must receive a gradient when any does.
    fn check_connected(&self, grads: &[T]) -> Result<(), SamplerError> {
        let silent = |tensor: &&crate::Tensor| {
            grads[tensor.offset..tensor.offset + tensor.len()].iter().all(|&gradient| gradient == T::ZERO)
        };
        match self.sampler.layout().tensors().iter().find(silent) {
            Some(tensor) if grads.iter().any(|&gradient| gradient != T::ZERO) => {
                Err(SamplerError::NoGradient { tensor: tensor.name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The loss of each example, without a step.
    #[must_use]
    pub fn losses(&self, examples: &[Example]) -> Vec<RowLoss> {
        let (sampler, gamma) = (&self.sampler, self.config.gamma);
        examples
            .par_iter()
            .map_init(Workspace::default, |workspace, example| {
                sampler.loss(&example.set, &example.target, gamma, workspace)
            })
            .collect()
    }

    /// Mean loss over examples, without a step.
    #[must_use]
    pub fn evaluate(&self, examples: &[Example]) -> RowLoss {
        let losses = self.losses(examples);
        let count = losses.len().max(1) as f64;
        let sum: RowLoss = losses.into_iter().sum();
        RowLoss { kl: sum.kl / count, penalty: sum.penalty / count }
    }

    /// Everything that [`Trainer::restore`] needs to go on: parameters, moments, steps done.
    ///
    /// # Errors
    /// The state cannot be serialised.
    pub fn save(&self) -> Result<Vec<u8>, SamplerError> {
        let metadata = HashMap::from([("step".to_owned(), self.step.to_string())]);
        self.optimizer.save(self.masters(), metadata).map_err(|error| SamplerError::State(error.to_string()))
    }

    /// Takes up a saved state of a trainer of the same configuration.
    ///
    /// # Errors
    /// `bytes` are not such a state.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SamplerError> {
        let state = |message: String| SamplerError::State(message);
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| state(error.to_string()))?;
        let step = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get("step")?.parse().ok())
            .ok_or_else(|| state("the number of steps is missing".to_owned()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| state(error.to_string()))?;
        let masters = self.optimizer.restore(&file)?;
        self.set_masters(masters);
        self.step = step;
        Ok(())
    }
}

/// Euclidean norm, summed in f64 where it matters.
fn norm<T: Real>(grads: &[T]) -> f64 {
    grads.chunks(4096).map(|chunk| dot(chunk, chunk).f64()).sum::<f64>().sqrt()
}
