//! A network on a device, as its users see it.

use super::{
    CudaError, Device, DeviceLogits,
    columns::{Columns, Targets, reserve},
    device::Buffer,
    network::Network,
};
use crate::{Example, GradientDevice, RowLoss, Sampler, SamplerError, example_columns::ExampleColumns, kernels::add};

/// A sampler network on a CUDA device.
#[derive(Debug)]
pub struct CudaSampler {
    network: Network,
    columns: Columns,
    targets: Targets,
    /// d predicted of all columns, and d parameters.
    slopes: Buffer<f32>,
    gradient: Buffer<f32>,
    parameters: usize,
}

impl CudaSampler {
    /// Compiles the kernels for `sampler`'s network and copies its parameters.
    ///
    /// # Errors
    /// The network is too wide or unknown to the kernels, or the device fails.
    pub fn new(device: &Device, sampler: &Sampler<f32>) -> Result<Self, CudaError> {
        let parameters = sampler.parameters().len();
        Ok(Self {
            network: Network::new(device, sampler)?,
            columns: Columns::new(device)?,
            targets: Targets::new(device)?,
            slopes: device.zeros(0)?,
            gradient: device.zeros(parameters)?,
            parameters,
        })
    }

    #[must_use]
    pub fn device(&self) -> &Device {
        &self.network.device
    }

    /// All parameters, laid out as [`Sampler::parameters`].
    ///
    /// # Errors
    /// The device fails.
    pub fn parameters(&self) -> Result<Vec<f32>, CudaError> {
        self.device().download(&self.network.parameters, self.parameters)
    }

    /// Overwrites all parameters.
    ///
    /// # Errors
    /// There are not as many of them as before, or the device fails.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), CudaError> {
        if parameters.len() != self.parameters {
            let message = format!("{} parameters instead of {}", parameters.len(), self.parameters);
            return Err(SamplerError::State(message).into());
        }
        self.network.device.write(parameters, &mut self.network.parameters)?;
        self.network.pack()
    }

    /// Rewrites rows of raw logits into new ones, on the device; −inf stays.
    ///
    /// # Errors
    /// A row holds NaN or +inf, or no finite logit, or the device fails.
    pub fn apply(&mut self, logits: &mut DeviceLogits) -> Result<(), CudaError> {
        let network = &mut self.network;
        self.columns.group(&network.device, &network.kernels, network.shape.multiple(), logits, None)?;
        network.forward(&self.columns, false)?;
        self.columns.scatter(&network.device, &network.kernels, network.predicted(), logits)
    }

    /// As [`Sampler::apply_rows`].
    ///
    /// # Errors
    /// As there, or the device fails.
    pub fn apply_rows(&mut self, logits: &mut [f32], vocabulary: usize) -> Result<(), CudaError> {
        let mut rows = DeviceLogits::new(self.device(), logits, vocabulary)?;
        self.apply(&mut rows)?;
        logits.copy_from_slice(&rows.read(self.device())?);
        Ok(())
    }

    /// Loss of each row, and in [`CudaSampler::gradient`] `scale` times the gradient of their sum; `factors` are γ and `scale`.
    ///
    /// # Errors
    /// As [`CudaSampler::apply`], or a target keeps no token or one whose raw logit is −inf.
    pub fn loss_and_gradient(
        &mut self,
        raw: &DeviceLogits,
        target: &DeviceLogits,
        factors: (f64, f64),
    ) -> Result<Vec<RowLoss>, CudaError> {
        self.clear_gradient()?;
        let Self { network, columns, targets, .. } = self;
        let multiple = network.shape.multiple();
        columns.group(&network.device, &network.kernels, multiple, raw, Some((target, targets)))?;
        self.queue_gradient(factors)?;
        self.targets.read(&self.network.device, raw.rows())
    }

    /// The gradient of the last call, laid out as the parameters.
    ///
    /// # Errors
    /// The device fails.
    pub fn gradient(&self) -> Result<Vec<f32>, CudaError> {
        self.device().download(&self.gradient, self.parameters)
    }

    fn clear_gradient(&mut self) -> Result<(), CudaError> {
        self.network.device.clear(&mut self.gradient, self.parameters)
    }

    /// Queues both passes over the columns and targets that are there; the losses can be read afterwards.
    fn queue_gradient(&mut self, (gamma, scale): (f64, f64)) -> Result<(), CudaError> {
        let Self { network, columns, targets, slopes, gradient, .. } = self;
        let device = network.device.clone();
        network.forward(columns, true)?;
        reserve(&device, slopes, columns.len())?;
        let factors = (gamma as f32, scale as f32);
        targets.loss(&device, &network.kernels, columns, network.predicted(), factors, slopes)?;
        network.backward(columns, slopes, gradient)
    }

    fn example_gradient(
        &mut self,
        sampler: &Sampler<f32>,
        examples: &[Example],
        factors: (f64, f64),
    ) -> Result<(RowLoss, Vec<f32>), CudaError> {
        let grouped = ExampleColumns::new(examples, self.network.shape.multiple());
        self.set_parameters(sampler.parameters())?;
        self.clear_gradient()?;
        self.columns.load(&self.network.device, &grouped, &mut self.targets)?;
        self.queue_gradient(factors)?;
        let losses = self.targets.read(self.device(), examples.len())?;
        Ok((losses.into_iter().sum(), self.gradient()?))
    }
}

impl GradientDevice<f32> for CudaSampler {
    fn add_gradient(
        &mut self,
        sampler: &Sampler<f32>,
        examples: &[Example],
        factors: (f64, f64),
        grads: &mut [f32],
    ) -> Result<RowLoss, SamplerError> {
        let (loss, gradient) = self.example_gradient(sampler, examples, factors)?;
        add(&gradient, grads);
        Ok(loss)
    }
}
