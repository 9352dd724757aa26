//! Where training starts.

use crate::{
    Architecture,
    layout::{Layout, Tensor},
    real::Real,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sharpness and offset of an informed start's gate: it closes at a log-probability of −8, within a nat.
const GATE: [f64; 2] = [3.0, 24.0];
/// What is left of the weights into a head's output, and into the residual branches that are to be learned on top.
const DAMPING: f64 = 0.1;
/// A `RankedTransform`'s gate: sharper than the reference start's, open by less and moved by smaller weights, so that its cuts
/// become fine sooner.
const RANKED_SHARPNESS: f64 = 60.0;
const RANKED_GATE: f64 = 0.1;
const RANKED_DAMPING: f64 = 0.25;
/// Log-probability of the lowest kink of the encoder's units.
const LOWEST_KINK: f64 = -14.0;
/// Input of the gate of the encoder's linear unit: far enough up that the unit hardly bends while its input is learned.
const LINEAR_GATE: f64 = 4.0;
/// The share of ℓ in the encoder's first feature.
const LINEAR_SHARE: f64 = 0.25;
/// Exponents of p that the keys of the first block start as, in equal ratios.
const POWERS: [f64; 2] = [0.25, 4.0];

/// The parameters that a network starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// The reference's: PyTorch's defaults. A `SamplingNetwork` starts with a gate that is half closed for all tokens, and with
    /// sums over the vocabulary in which the improbable tokens, being so many, have all the weight.
    #[default]
    Reference,
    /// The same but for what a sampler is known to need: close to the identity, with a sharp gate that is open to probable tokens;
    /// in a `SamplingNetwork` an encoder of kinks that are spread over log-probabilities, and a first block whose sums weigh tokens
    /// by powers of their probability and which the others hardly change. Parameters, shapes and forward pass are the same.
    Informed,
}

/// The raw value that softplus maps to `value`.
fn inverse_softplus(value: f64) -> f64 {
    value + (-(-value).exp()).ln_1p()
}

/// The parameters of one network by tensor name.
struct Parameters<'a, T> {
    layout: &'a Layout,
    values: &'a mut [T],
}

impl<T: Real> Parameters<'_, T> {
    /// Changes the elements of a tensor, where the network has it: `change(index, value)`.
    fn change(&mut self, name: &str, change: impl Fn(usize, f64) -> f64) {
        if let Some(tensor) = self.layout.tensors().iter().find(|tensor| tensor.name == name) {
            let values = &mut self.values[tensor.offset..tensor.offset + tensor.len()];
            for (index, value) in values.iter_mut().enumerate() {
                *value = T::of(change(index, value.f64()));
            }
        }
    }

    fn set(&mut self, name: &str, start: &[f64]) {
        self.change(name, |index, _| start[index]);
    }

    fn damp(&mut self, name: &str) {
        self.change(&format!("{name}.weight"), |_, value| DAMPING * value);
        self.change(&format!("{name}.bias"), |_, value| DAMPING * value);
    }
}

impl Initialization {
    /// Changes parameters that are the reference's initial ones.
    pub(crate) fn apply<T: Real>(self, architecture: &Architecture, layout: &Layout, values: &mut [T]) {
        if self == Self::Reference {
            return;
        }
        let mut parameters = Parameters { layout, values };
        let gate = GATE.map(inverse_softplus);
        match architecture {
            Architecture::LocalProbabilityTransform(_) => {
                parameters.damp("mlp.down_proj");
                parameters.set("truncation_scale", &GATE[..1]);
                parameters.set("truncation_threshold", &GATE[1..]);
            }
            Architecture::SimpleDistributionAwareTransform(_) => {
                parameters.damp("global_mlp.down_proj");
                // One or the other exists.
                parameters.damp("truncation_head");
                parameters.set("truncation_head.bias", &gate);
                parameters.set("truncation_params", &gate);
            }
            Architecture::SamplingNetwork(config) => {
                encoder(&mut parameters);
                keys(&mut parameters, config.d_model);
                for block in 0..config.n_blocks {
                    parameters.damp(&format!("blocks.{block}.ffn.down_proj"));
                    if block > 0 {
                        parameters.damp(&format!("blocks.{block}.attention.o_proj"));
                    }
                }
                parameters.damp("transformation_head.down_proj");
                parameters.damp("scaling_head.down_proj");
                parameters.set("scaling_head.down_proj.bias", &[inverse_softplus(1.0)]);
                parameters.damp("truncation_head.down_proj");
                parameters.set("truncation_head.down_proj.bias", &gate);
            }
            Architecture::RankedTransform(_) => {
                parameters.change("output.weight", |_, value| RANKED_DAMPING * value);
                parameters.set("output.bias", &[0.0, RANKED_GATE]);
                parameters.set("sharpness", &[RANKED_SHARPNESS.ln()]);
            }
        }
    }
}

/// Unit 0 is ℓ itself, the only one that the first feature is made of; the others bend at points of their own.
fn encoder<T: Real>(parameters: &mut Parameters<'_, T>) {
    let width = |tensor: &Tensor| tensor.shape[1];
    let Some(units) = parameters.layout.tensors().iter().find(|tensor| tensor.name == "encoder.mlp.down_proj.weight")
    else {
        return;
    };
    let units = width(units);
    let kink = |unit: usize| LOWEST_KINK * (unit as f64 - 0.5) / (units as f64 - 1.0).max(1.0);
    let silu = LINEAR_GATE / (1.0 + (-LINEAR_GATE).exp());
    parameters.change("encoder.mlp.gate_proj.weight", |unit, _| if unit == 0 { 0.0 } else { 2.0 });
    parameters.change("encoder.mlp.gate_proj.bias", |unit, _| if unit == 0 { LINEAR_GATE } else { -2.0 * kink(unit) });
    parameters.change("encoder.mlp.up_proj.weight", |unit, _| if unit == 0 { 1.0 / silu } else { 0.0 });
    parameters.change("encoder.mlp.up_proj.bias", |unit, _| if unit == 0 { 0.0 } else { 0.25 });
    parameters.change("encoder.mlp.down_proj.weight", |index, value| match index {
        0 => LINEAR_SHARE,
        index if index < units => 0.0,
        _ => value,
    });
    parameters.change("encoder.mlp.down_proj.bias", |feature, value| if feature == 0 { 0.0 } else { value });
}

/// The keys of the first block: φ(k) = elu(k) + 1 of k = a·ℓ is p^a, because ℓ ≤ 0.
fn keys<T: Real>(parameters: &mut Parameters<'_, T>, width: usize) {
    let [least, most] = POWERS;
    let power = |key: usize| least * (most / least).powf(key as f64 / (width as f64 - 1.0).max(1.0));
    let is_key = |row: usize| (width..2 * width).contains(&row);
    parameters.change("blocks.0.qkv_proj.weight", |index, value| match (index / width, index % width) {
        (row, 0) if is_key(row) => power(row - width) / LINEAR_SHARE,
        (row, _) if is_key(row) => 0.0,
        _ => value,
    });
    parameters.change("blocks.0.qkv_proj.bias", |row, value| if is_key(row) { 0.0 } else { value });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogitSet, RankedTransform, Sampler, SimpleDistributionAwareTransform, Statistic, Workspace};

    fn architectures() -> [Architecture; 4] {
        let aware = |use_dynamic_truncation| {
            let statistics = vec![Statistic::MaxLogProb, Statistic::Entropy];
            let config = SimpleDistributionAwareTransform { hidden_dims: 16, use_dynamic_truncation, statistics };
            Architecture::SimpleDistributionAwareTransform(config)
        };
        let ranked = Architecture::RankedTransform(RankedTransform { hidden_dims: 16 });
        [Architecture::default(), aware(true), aware(false), ranked]
    }

    #[test]
    fn an_informed_start_hardly_changes_probable_tokens() {
        let logits: Vec<f32> = (0..60).map(|token| -(token as f32) / 20.0).collect();
        let set = LogitSet::distinct(&logits).unwrap();
        for architecture in architectures() {
            let sampler = Sampler::<f64>::with_initialization(architecture, 3, Initialization::Informed).unwrap();
            let mut workspace = Workspace::default();
            let out = sampler.forward(&set, &mut workspace);
            // Up to a constant, which does not count.
            let shift = |(out, ell): (&f64, &f64)| out - ell;
            let shifts: Vec<f64> = out.iter().zip(set.log_probs()).map(shift).collect();
            let most = shifts.iter().copied().fold(f64::MIN, f64::max);
            let least = shifts.iter().copied().fold(f64::MAX, f64::min);
            assert!(most - least < 1.0, "{}: {least} to {most}", sampler.architecture().name());
        }
    }

    #[test]
    fn the_first_feature_is_linear_and_the_first_keys_are_powers_of_the_probability() {
        let sampler =
            Sampler::<f64>::with_initialization(Architecture::default(), 3, Initialization::Informed).unwrap();
        let tensor = |name: &str| {
            let tensor = sampler.layout().tensors().iter().find(|tensor| tensor.name == name).unwrap();
            &sampler.parameters()[tensor.offset..tensor.offset + tensor.len()]
        };
        let [gate, up] = ["gate", "up"].map(|part| {
            (tensor(&format!("encoder.mlp.{part}_proj.weight")), tensor(&format!("encoder.mlp.{part}_proj.bias")))
        });
        let (down, bias) = (tensor("encoder.mlp.down_proj.weight"), tensor("encoder.mlp.down_proj.bias"));
        let (keys, key_bias) = (tensor("blocks.0.qkv_proj.weight"), tensor("blocks.0.qkv_proj.bias"));
        for ell in [-9.0, -2.5, -0.1] {
            let units = (0..gate.0.len()).map(|unit| {
                let x = gate.0[unit] * ell + gate.1[unit];
                x / (1.0 + (-x).exp()) * (up.0[unit] * ell + up.1[unit])
            });
            let units: Vec<f64> = units.collect();
            let features: Vec<f64> = down
                .chunks(units.len())
                .zip(bias)
                .map(|(row, bias)| bias + row.iter().zip(&units).map(|(weight, unit)| weight * unit).sum::<f64>())
                .collect();
            assert!((features[0] - 0.25 * ell).abs() < 1e-12, "{features:?}");
            let key = |row: usize| {
                let weights = &keys[row * features.len()..(row + 1) * features.len()];
                key_bias[row] + weights.iter().zip(&features).map(|(weight, x)| weight * x).sum::<f64>()
            };
            assert!((key(32) - 0.25 * ell).abs() < 1e-9 && (key(63) - 4.0 * ell).abs() < 1e-9);
        }
    }

    #[test]
    fn softplus_is_inverted() {
        assert!((inverse_softplus(1.0) - 0.541_324_854_612_918).abs() < 1e-12);
        assert_eq!(inverse_softplus(48.0), 48.0);
    }
}
