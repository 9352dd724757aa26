//! A sampler network with its parameters.

use crate::{
    Architecture, LogitSet, RowLoss, SamplerError, Statistic, Target,
    attention::{Attention, AttentionState},
    kernels::reserve,
    layout::{Init, Layout},
    loss::loss_and_gradient,
    pointwise::{Aware, Local, PointwiseState},
    real::Real,
    row::Row,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

#[derive(Debug)]
enum Network {
    Local(Local),
    Aware(Aware),
    Attention(Attention),
}

/// A network of one of the architectures, with its parameters in `T`.
#[derive(Debug)]
pub struct Sampler<T> {
    architecture: Architecture,
    statistics: Vec<Statistic>,
    layout: Layout,
    network: Network,
    params: Vec<T>,
}

/// Working memory of one thread; any sampler, any row.
#[derive(Debug, Default)]
pub struct Workspace<T> {
    row: Row<T>,
    attention: AttentionState<T>,
    pointwise: PointwiseState<T>,
    modified: Vec<T>,
    output: Vec<T>,
    gradient: Vec<T>,
}

impl<T: Real> Sampler<T> {
    /// A network as PyTorch would initialise it, from our own generator: the same seed gives the same parameters everywhere.
    ///
    /// # Errors
    /// The architecture's arguments do not fit together.
    pub fn new(architecture: Architecture, seed: u64) -> Result<Self, SamplerError> {
        architecture.check()?;
        let mut layout = Layout::default();
        let (network, statistics) = match &architecture {
            Architecture::LocalProbabilityTransform(config) => {
                (Network::Local(Local::new(config, &mut layout)), vec![])
            }
            Architecture::SimpleDistributionAwareTransform(config) => {
                (Network::Aware(Aware::new(config, &mut layout)), config.statistics.clone())
            }
            Architecture::SamplingNetwork(config) => (Network::Attention(Attention::new(config, &mut layout)), vec![]),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut params = Vec::with_capacity(layout.len());
        for tensor in layout.tensors() {
            match tensor.init {
                Init::Uniform { bound } => {
                    params.extend((0..tensor.len()).map(|_| T::of((2.0 * rng.random::<f64>() - 1.0) * bound)));
                }
                Init::Constant(value) => params.extend((0..tensor.len()).map(|_| T::of(value))),
                Init::Values(values) => params.extend(values.map(T::of)),
            }
        }
        Ok(Self { architecture, statistics, layout, network, params })
    }

    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All parameters, laid out by [`Sampler::layout`].
    #[must_use]
    pub fn parameters(&self) -> &[T] {
        &self.params
    }

    pub fn parameters_mut(&mut self) -> &mut [T] {
        &mut self.params
    }

    /// The new logit of each distinct raw logit of `set`.
    pub fn forward<'a>(&self, set: &LogitSet, workspace: &'a mut Workspace<T>) -> &'a [T] {
        self.run(set, false, workspace);
        &workspace.output
    }

    fn run(&self, set: &LogitSet, keep: bool, workspace: &mut Workspace<T>) {
        let Workspace { row, attention, pointwise, modified, output, .. } = workspace;
        row.fill(set, &self.statistics);
        let modified = reserve(modified, row.ell.len());
        let output = reserve(output, row.ell.len());
        match &self.network {
            Network::Local(network) => network.forward(&self.params, row, pointwise, modified, output),
            Network::Aware(network) => network.forward(&self.params, row, pointwise, modified, output),
            Network::Attention(network) => network.forward(&self.params, row, keep, attention, modified, output),
        }
    }

    /// The loss of one row.
    pub fn loss(&self, set: &LogitSet, target: &Target, gamma: f64, workspace: &mut Workspace<T>) -> RowLoss {
        self.run(set, false, workspace);
        loss_and_gradient(set, &workspace.output, target, gamma, None)
    }

    /// The loss of one row; adds `scale` times its gradient to `grads`, which is laid out as the parameters.
    pub fn loss_and_gradient(
        &self,
        set: &LogitSet,
        target: &Target,
        (gamma, scale): (f64, f64),
        workspace: &mut Workspace<T>,
        grads: &mut [T],
    ) -> RowLoss {
        self.run(set, true, workspace);
        let Workspace { row, attention, pointwise, modified, output, gradient } = workspace;
        let loss = loss_and_gradient(set, output, target, gamma, Some((gradient, scale)));
        match &self.network {
            Network::Local(network) => network.backward(&self.params, row, pointwise, modified, gradient, grads),
            Network::Aware(network) => network.backward(&self.params, row, pointwise, modified, gradient, grads),
            Network::Attention(network) => network.backward(&self.params, row, attention, modified, gradient, grads),
        }
        loss
    }

    /// Rewrites one row of raw logits `[V]` into new ones; −inf stays.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn apply(&self, logits: &mut [f32], workspace: &mut Workspace<T>) -> Result<(), crate::RowError> {
        let set = LogitSet::distinct(logits)?;
        set.scatter(self.forward(&set, workspace), logits);
        Ok(())
    }

    /// Rewrites raw logits `[B, V]` into new ones, rows side by side on the threads of the current pool.
    ///
    /// # Errors
    /// `logits` are not whole rows, or a row holds NaN or +inf, or no finite logit.
    pub fn apply_rows(&self, logits: &mut [f32], vocabulary: usize) -> Result<(), SamplerError> {
        if vocabulary == 0 || !logits.len().is_multiple_of(vocabulary) {
            return Err(SamplerError::Shape { logits: logits.len(), vocabulary });
        }
        logits.par_chunks_mut(vocabulary).enumerate().try_for_each_init(
            Workspace::default,
            |workspace, (row, logits)| {
                self.apply(logits, workspace).map_err(|source| SamplerError::Row { row, source })
            },
        )
    }
}
