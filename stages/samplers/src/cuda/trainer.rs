//! Supervised training on a device: as [`crate::Trainer`], on rows that are there already.

use super::{
    CudaError, CudaSampler, Device, DeviceLogits,
    device::Buffer,
    kernels::{FLAT, WIDE, arguments, launch},
};
use crate::{Layout, OptimizerKind, RowLoss, Sampler, SamplerError, StepMetrics, Trainer, TrainerConfig};

/// Raw logits and what the heuristic made of them, some rows each.
pub type MicroBatch<'a> = (&'a DeviceLogits, &'a DeviceLogits);

/// A network in training on a device.
#[derive(Debug)]
pub struct CudaTrainer {
    config: TrainerConfig,
    sampler: CudaSampler,
    layout: Layout,
    first: Buffer<f32>,
    second: Buffer<f32>,
    squared_norm: Buffer<f64>,
    step: u64,
}

impl CudaTrainer {
    /// # Errors
    /// A hyper-parameter is out of its range, the optimiser is not AdamW, or as [`CudaSampler::new`].
    pub fn new(device: &Device, sampler: Sampler<f32>, config: TrainerConfig) -> Result<Self, CudaError> {
        if config.optimizer != OptimizerKind::Adamw {
            return Err(CudaError::Unsupported("an optimiser other than `adamw`".to_owned()));
        }
        // The processor's trainer knows what a hyper-parameter may be.
        let sampler = Trainer::new(sampler, config)?.into_sampler();
        let parameters = sampler.parameters().len();
        Ok(Self {
            config,
            sampler: CudaSampler::new(device, &sampler)?,
            layout: sampler.layout().clone(),
            first: device.zeros(parameters)?,
            second: device.zeros(parameters)?,
            squared_norm: device.zeros(1)?,
            step: 0,
        })
    }

    #[must_use]
    pub fn sampler(&self) -> &CudaSampler {
        &self.sampler
    }

    /// One optimiser step over micro-batches, each of which weighs the same; as [`Trainer::step`].
    ///
    /// # Errors
    /// As there, or the device fails.
    pub fn step(&mut self, micro_batches: &[MicroBatch<'_>]) -> Result<StepMetrics, CudaError> {
        let gamma = self.config.gamma;
        self.sampler.clear_gradient()?;
        let mut total = RowLoss::default();
        for (at, (raw, target)) in micro_batches.iter().enumerate() {
            let weight = 1.0 / (raw.rows() * micro_batches.len()) as f64;
            self.sampler.add_gradient(raw, target, (gamma, weight))?;
            // The last one's losses are read together with the norm.
            if at + 1 < micro_batches.len() {
                add(&mut total, &self.sampler.losses(raw.rows())?, weight);
            }
        }
        let (network, length) = (&self.sampler.network, self.layout.len());
        let (device, kernels) = (&network.device, &network.kernels);
        let arguments = arguments![&self.sampler.gradient, length, &self.squared_norm];
        launch(device, kernels.squared_norm.as_ref(), (1, 1), WIDE, arguments)?;
        if let Some((raw, _)) = micro_batches.last() {
            let weight = 1.0 / (raw.rows() * micro_batches.len()) as f64;
            add(&mut total, &self.sampler.losses(raw.rows())?, weight);
        }
        let loss = total.total(gamma);
        if self.step == 0 {
            self.check_connected()?;
        }
        let grad_norm = device.download(&self.squared_norm, 1)?[0].sqrt();
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return Err(SamplerError::Diverged { step: self.step, loss, grad_norm }.into());
        }
        let lr = self.config.schedule.lr(self.step);
        let adamw = &self.config.adamw;
        let [beta1, beta2] = adamw.betas;
        let exponent = (self.step + 1) as f64;
        let single = |value: f64| value as f32;
        let arguments = arguments![
            &self.sampler.gradient,
            &self.squared_norm,
            single(self.config.max_grad_norm.unwrap_or(0.0)),
            length,
            single(1.0 - lr * adamw.weight_decay),
            single(beta1),
            single(beta2),
            single(lr / (1.0 - beta1.powf(exponent))),
            single(1.0 / (1.0 - beta2.powf(exponent)).sqrt()),
            single(adamw.eps),
            &self.first,
            &self.second,
            &network.parameters,
        ];
        launch(device, kernels.adamw.as_ref(), (length.div_ceil(FLAT), 1), FLAT, arguments)?;
        network.pack()?;
        let metrics = StepMetrics { step: self.step, loss, kl: total.kl, penalty: total.penalty, lr, grad_norm };
        self.step += 1;
        Ok(metrics)
    }

    /// Every tensor must receive a gradient when any does.
    fn check_connected(&self) -> Result<(), CudaError> {
        let gradient = self.sampler.gradient()?;
        let silent = |tensor: &&crate::Tensor| {
            gradient[tensor.offset..tensor.offset + tensor.len()].iter().all(|&slope| slope == 0.0)
        };
        match self.layout.tensors().iter().find(silent) {
            Some(tensor) if gradient.iter().any(|&slope| slope != 0.0) => {
                Err(SamplerError::NoGradient { tensor: tensor.name.clone() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Adds `weight` times the losses of some rows.
fn add(total: &mut RowLoss, rows: &[RowLoss], weight: f64) {
    for row in rows {
        total.kl += weight * row.kl;
        total.penalty += weight * row.penalty;
    }
}
