//! A sampler network with its parameters.

use crate::{
    Architecture, Grouping, INTERPOLATION_TOLERANCE, LogitSet, RowError, RowLoss, SamplerError, Statistic, Target,
    attention::{Attention, AttentionState},
    gate::Gate,
    grouping::Grouper,
    interpolation::Grid,
    layout::{Init, Layout},
    loss::loss_and_gradient,
    pointwise::{Aware, Local, PointwiseState},
    ranked::{Ranked, RankedState},
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
    Ranked(Ranked),
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
    ranked: RankedState<T>,
    set: LogitSet,
    grouper: Grouper,
    grid: Grid,
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
            Architecture::RankedTransform(config) => (Network::Ranked(Ranked::new(config, &mut layout)), vec![]),
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

    fn run(&self, set: &LogitSet, train: bool, workspace: &mut Workspace<T>) {
        workspace.row.fill(set, &self.statistics);
        if matches!(self.network, Network::Ranked(_)) {
            workspace.ranked.fill(set);
        }
        self.run_row(train, workspace);
    }

    /// Evaluates the network on the row, and the features, that are in the workspace.
    fn run_row(&self, train: bool, workspace: &mut Workspace<T>) {
        let Workspace { row, attention, pointwise, ranked, modified, output, .. } = workspace;
        modified.resize(row.ell.len(), T::ZERO);
        output.resize(row.ell.len(), T::ZERO);
        match &self.network {
            Network::Local(network) => network.forward(&self.params, row, pointwise, modified, output),
            Network::Aware(network) => network.forward(&self.params, row, pointwise, modified, output),
            Network::Attention(network) => network.forward(&self.params, row, train, attention, modified, output),
            Network::Ranked(network) => network.forward(&self.params, row, ranked, output),
        }
    }

    /// The truncation of the row that was evaluated last; none where it is not a function of the modified logit.
    fn gate(&self, workspace: &Workspace<T>) -> Option<Gate<T>> {
        match &self.network {
            Network::Local(network) => Some(network.gate(&self.params)),
            Network::Aware(network) => Some(network.gate(&self.params, &workspace.row.statistics)),
            Network::Attention(_) => Some(workspace.attention.gate()),
            Network::Ranked(_) => None,
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
        let Workspace { row, attention, pointwise, ranked, modified, output, gradient, .. } = workspace;
        let loss = loss_and_gradient(set, output, target, gamma, Some((gradient, scale)));
        match &self.network {
            Network::Local(network) => network.backward(&self.params, row, pointwise, modified, gradient, grads),
            Network::Aware(network) => network.backward(&self.params, row, pointwise, modified, gradient, grads),
            Network::Attention(network) => network.backward(&self.params, row, attention, modified, gradient, grads),
            Network::Ranked(network) => network.backward(&self.params, ranked, gradient, grads),
        }
        loss
    }
}

/// Applying is for `f32` alone, so that it is compiled here, with the networks' loops, and not lightly where it is called.
impl Sampler<f32> {
    /// Rewrites one row of raw logits `[V]` into new ones; −inf stays.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn apply(&self, logits: &mut [f32], workspace: &mut Workspace<f32>) -> Result<(), RowError> {
        // Ranks need the logits in order, which is what distinct groups come in.
        let ranked = matches!(self.network, Network::Ranked(_));
        self.apply_grouped(logits, if ranked { Grouping::Distinct } else { Grouping::Automatic }, workspace)
    }

    /// [`Sampler::apply`] with a choice of how tokens are grouped; the result is the same up to rounding.
    ///
    /// # Errors
    /// As for [`Sampler::apply`].
    pub fn apply_grouped(
        &self,
        logits: &mut [f32],
        grouping: Grouping,
        workspace: &mut Workspace<f32>,
    ) -> Result<(), RowError> {
        // The set's memory is the workspace's, which the forward pass borrows too.
        let mut set = std::mem::take(&mut workspace.set);
        let grouped = set.refill(logits, grouping, &mut workspace.grouper);
        if grouped.is_ok() {
            set.scatter(self.forward(&set, workspace), logits);
        }
        workspace.set = set;
        grouped.map(drop)
    }

    /// [`Sampler::apply`] on a grid of knots, for rows of many distinct logits: the result differs from the exact one by about
    /// [`INTERPOLATION_TOLERANCE`](crate::INTERPOLATION_TOLERANCE) at most. A [`RankedTransform`](crate::RankedTransform), whose
    /// features jump from logit to logit, rows that span more than 127 nats and those on which the network bends too sharply
    /// are evaluated exactly.
    ///
    /// # Errors
    /// As for [`Sampler::apply`].
    pub fn apply_interpolated(&self, logits: &mut [f32], workspace: &mut Workspace<f32>) -> Result<(), RowError> {
        if matches!(self.network, Network::Ranked(_))
            || !workspace.grid.fill(logits, &self.statistics, &mut workspace.row)?
        {
            return self.apply(logits, workspace);
        }
        self.run_row(false, workspace);
        let Some(gate) = self.gate(workspace) else { return self.apply(logits, workspace) };
        let largest = workspace.output.iter().fold(1.0_f64, |largest, value| largest.max(value.f64().abs()));
        if Grid::error(&workspace.modified) * gate.steepness() > INTERPOLATION_TOLERANCE / 2.0 * largest {
            return self.apply(logits, workspace);
        }
        let Workspace { grid, modified, output, gradient, .. } = workspace;
        gradient.resize(logits.len(), 0.0);
        output.resize(logits.len(), 0.0);
        grid.interpolate(modified, logits, gradient);
        gate.forward(gradient, output);
        for (logit, &new) in logits.iter_mut().zip(&*output).filter(|(logit, _)| **logit != f32::NEG_INFINITY) {
            *logit = new;
        }
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
