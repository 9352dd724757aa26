//! Weights of a folder packed for the CPU kernels.

use super::cache::Layout;
use crate::{
    LmResult, ModelConfig, RopeConfig,
    kernel::{Isa, PackedMatrix},
    weights::Weights,
};

/// Positions whose rotary tables are kept; later ones are computed when asked for.
const TABLE_POSITIONS: usize = 4096;

pub(super) struct Layer {
    pub input_norm: Vec<f32>,
    /// `[q | k | v]` rows.
    pub qkv: PackedMatrix,
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
    pub output: PackedMatrix,
    pub post_attention_norm: Option<Vec<f32>>,
    pub mlp_norm: Vec<f32>,
    /// `[gate | up]` rows.
    pub gate_up: PackedMatrix,
    pub down: PackedMatrix,
    pub post_mlp_norm: Option<Vec<f32>>,
}

/// Cosines and sines of one rotary embedding.
pub(super) struct Rope {
    config: RopeConfig,
    frequencies: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    fn new(config: RopeConfig, positions: usize) -> Self {
        let (cos, sin) = config.tables(positions.min(TABLE_POSITIONS));
        Self { config, frequencies: config.frequencies(), cos, sin }
    }

    /// Appends cosines and sines (`[dim/2]` each) of one position.
    pub fn append(&self, position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        let half = self.config.dim / 2;
        let range = position * half..(position + 1) * half;
        if let (Some(c), Some(s)) = (self.cos.get(range.clone()), self.sin.get(range)) {
            cos.extend_from_slice(c);
            sin.extend_from_slice(s);
            return;
        }
        for frequency in &self.frequencies {
            let angle = f64::from(position as f32 * frequency);
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
}

/// A model in f32, packed for the kernels of this crate.
pub struct CpuModel {
    pub(super) config: ModelConfig,
    pub(super) isa: Isa,
    pub(super) layout: Layout,
    /// Row-major embeddings `[vocab, hidden]`; `None` where the head is tied and serves both.
    pub(super) embeddings: Option<Vec<f32>>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Vec<f32>,
    pub(super) head: PackedMatrix,
    pub(super) ropes: Vec<Rope>,
}

/// Packs several `[rows, k]` matrices, and their biases, one under the other.
fn stack(weights: &Weights, parts: &[(String, usize)], k: usize, bias: bool) -> LmResult<PackedMatrix> {
    let mut packed = PackedMatrix::zeros(parts.iter().map(|(_, rows)| rows).sum(), k);
    let mut biases = Vec::new();
    let mut first = 0;
    for (name, rows) in parts {
        packed.fill_rows(first, &weights.read(&format!("{name}.weight"), &[*rows, k])?);
        if bias {
            biases.extend(weights.read(&format!("{name}.bias"), &[*rows])?);
        }
        first += rows;
    }
    Ok(packed.with_bias(bias.then_some(biases)))
}

impl CpuModel {
    /// Packs the weights of a folder.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the config says.
    pub fn load(config: ModelConfig, weights: &Weights) -> LmResult<Self> {
        let (d, dh, f, v) = (config.hidden_size, config.head_dim, config.intermediate_size, config.vocab_size);
        let norm = |name: String, size: usize| -> LmResult<Vec<f32>> {
            let mut weight = weights.read(&format!("{name}.weight"), &[size])?;
            if config.norm_offset {
                weight.iter_mut().for_each(|w| *w += 1.0);
            }
            Ok(weight)
        };
        let mut layers = Vec::with_capacity(config.layers.len());
        for index in 0..config.layers.len() {
            let at = |name: &str| format!("layers.{index}.{name}");
            let head_norm = |name: &str| config.qk_norm.then(|| norm(at(&format!("self_attn.{name}")), dh)).transpose();
            let outer = |name: &str| config.sandwich_norms.then(|| norm(at(name), d)).transpose();
            let (queries, keys) = (config.heads * dh, config.kv_heads * dh);
            let projections =
                [(at("self_attn.q_proj"), queries), (at("self_attn.k_proj"), keys), (at("self_attn.v_proj"), keys)];
            let mlp_norm = if config.sandwich_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
            layers.push(Layer {
                input_norm: norm(at("input_layernorm"), d)?,
                qkv: stack(weights, &projections, d, config.qkv_bias)?,
                q_norm: head_norm("q_norm")?,
                k_norm: head_norm("k_norm")?,
                output: stack(weights, &[(at("self_attn.o_proj"), d)], queries, config.output_bias)?,
                post_attention_norm: outer("post_attention_layernorm")?,
                mlp_norm: norm(at(mlp_norm), d)?,
                gate_up: stack(weights, &[(at("mlp.gate_proj"), f), (at("mlp.up_proj"), f)], d, config.mlp_bias)?,
                down: stack(weights, &[(at("mlp.down_proj"), d)], f, config.mlp_bias)?,
                post_mlp_norm: outer("post_feedforward_layernorm")?,
            });
        }
        let embeddings = weights.read("embed_tokens.weight", &[v, d])?;
        let (head, embeddings) = if config.tied_head {
            (PackedMatrix::pack(&embeddings, v, d), None)
        } else {
            (PackedMatrix::pack(&weights.read("lm_head.weight", &[v, d])?, v, d), Some(embeddings))
        };
        let ropes = config.ropes.iter().map(|rope| Rope::new(*rope, config.max_positions)).collect();
        let final_norm = norm("norm".to_owned(), d)?;
        Ok(Self {
            layout: Layout::new(&config),
            isa: Isa::detect(),
            embeddings,
            layers,
            final_norm,
            head,
            ropes,
            config,
        })
    }

    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Computes with another instruction set than the widest; results are the same bits.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Multiply-adds of one decoded token outside attention: what bounds the speed from below.
    #[must_use]
    pub fn products_per_token(&self) -> u64 {
        let size = |matrix: &PackedMatrix| (matrix.inputs() * matrix.outputs()) as u64;
        let layers: u64 = self
            .layers
            .iter()
            .map(|layer| size(&layer.qkv) + size(&layer.output) + size(&layer.gate_up) + size(&layer.down))
            .sum();
        layers + size(&self.head)
    }
}
