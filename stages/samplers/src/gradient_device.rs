//! What computes the gradients of a training step: the processor, or several devices side by side.

use crate::{Example, RowLoss, Sampler, SamplerError, Workspace, kernels::add, real::Real};
use rayon::prelude::*;
use std::fmt;

/// Computes losses and gradients of whole micro-batches, or of a device's share of one.
pub trait GradientDevice<T: Real>: fmt::Debug + Send {
    /// Gives the sum of the losses of `examples` under `sampler`, and adds `scale` times its gradient to `grads`, which is laid out
    /// as the parameters; `factors` are γ and `scale`.
    ///
    /// # Errors
    /// The device fails.
    fn add_gradient(
        &mut self,
        sampler: &Sampler<T>,
        examples: &[Example],
        factors: (f64, f64),
        grads: &mut [T],
    ) -> Result<RowLoss, SamplerError>;
}

/// The processor: rows side by side on the threads of the current pool. The result does not depend on how many there are.
#[derive(Debug, Default, Clone, Copy)]
pub struct Processor;

impl<T: Real> GradientDevice<T> for Processor {
    fn add_gradient(
        &mut self,
        sampler: &Sampler<T>,
        examples: &[Example],
        factors: (f64, f64),
        grads: &mut [T],
    ) -> Result<RowLoss, SamplerError> {
        let rows: Vec<(RowLoss, Vec<T>)> = examples
            .par_iter()
            .map_init(Workspace::default, |workspace, Example { set, target }| {
                let mut grads = vec![T::ZERO; sampler.parameters().len()];
                (sampler.loss_and_gradient(set, target, factors, workspace, &mut grads), grads)
            })
            .collect();
        Ok(add_in_order(&rows, grads))
    }
}

/// The sum of all losses; gradients are added to `grads` one after the other.
fn add_in_order<T: Real>(parts: &[(RowLoss, Vec<T>)], grads: &mut [T]) -> RowLoss {
    parts.iter().for_each(|(_, part)| add(part, grads));
    parts.iter().map(|(loss, _)| *loss).sum()
}

/// As one device, with the examples shared out among `devices` in equal, consecutive parts. Partial gradients are added in the
/// devices' order, so the result depends on how many there are (by rounding) and on nothing else.
pub(crate) fn add_gradient_of_all<T: Real>(
    devices: &mut [Box<dyn GradientDevice<T>>],
    sampler: &Sampler<T>,
    examples: &[Example],
    factors: (f64, f64),
    grads: &mut [T],
) -> Result<RowLoss, SamplerError> {
    if let [device] = devices {
        return device.add_gradient(sampler, examples, factors, grads);
    }
    let share = examples.len().div_ceil(devices.len().max(1)).max(1);
    let parts: Vec<(RowLoss, Vec<T>)> = devices
        .par_iter_mut()
        .zip(examples.par_chunks(share))
        .map(|(device, examples)| {
            let mut grads = vec![T::ZERO; sampler.parameters().len()];
            Ok((device.add_gradient(sampler, examples, factors, &mut grads)?, grads))
        })
        .collect::<Result<_, SamplerError>>()?;
    Ok(add_in_order(&parts, grads))
}
