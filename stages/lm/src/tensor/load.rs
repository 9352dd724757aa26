//! Weights of a folder as candle tensors.

use crate::{LmResult, ModelConfig, weights::Weights};
use candle_core::{DType, Device, Tensor};

/// A linear map `y = x · Wᵀ (+ b)`.
pub(super) struct Linear {
    /// `[inputs, outputs]`.
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

pub(super) struct TensorLayer {
    pub input_norm: Tensor,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub q_norm: Option<Tensor>,
    pub k_norm: Option<Tensor>,
    pub output: Linear,
    pub post_attention_norm: Option<Tensor>,
    pub mlp_norm: Tensor,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    pub post_mlp_norm: Option<Tensor>,
}

/// A model on candle tensors of one device and dtype. Norm weights stay in f32.
pub struct TensorModel {
    pub(super) config: ModelConfig,
    pub(super) device: Device,
    pub(super) dtype: DType,
    pub(super) embeddings: Tensor,
    pub(super) layers: Vec<TensorLayer>,
    pub(super) final_norm: Tensor,
    pub(super) head: Linear,
    /// Cosines and sines of each rotary embedding, `[context, head_dim / 2]`.
    pub(super) ropes: Vec<(Tensor, Tensor)>,
    /// Positions that caches and tables have room for.
    pub(super) context: usize,
}

impl TensorModel {
    /// Puts the weights of a folder on a device. Caches have room for `context` positions, or the model's own limit if that is
    /// smaller: always the same shapes, so that no row's rounding depends on another row's length.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the config says, or the device has too little memory.
    pub fn load(
        config: ModelConfig,
        weights: &Weights,
        device: Device,
        dtype: DType,
        context: usize,
    ) -> LmResult<Self> {
        let context = context.min(config.max_positions);
        let (d, dh, f, v) = (config.hidden_size, config.head_dim, config.intermediate_size, config.vocab_size);
        let tensor = |name: &str, shape: &[usize], dtype: DType| -> LmResult<Tensor> {
            Ok(Tensor::from_vec(weights.read(name, shape)?, shape, &device)?.to_dtype(dtype)?)
        };
        let norm = |name: String, size: usize| -> LmResult<Tensor> {
            let weight = tensor(&format!("{name}.weight"), &[size], DType::F32)?;
            Ok(if config.norm_offset { (weight + 1.0)? } else { weight })
        };
        let linear = |name: String, outputs: usize, inputs: usize, bias: bool| -> LmResult<Linear> {
            Ok(Linear {
                weight: tensor(&format!("{name}.weight"), &[outputs, inputs], dtype)?.t()?.contiguous()?,
                bias: bias.then(|| tensor(&format!("{name}.bias"), &[outputs], dtype)).transpose()?,
            })
        };
        let (queries, keys) = (config.heads * dh, config.kv_heads * dh);
        let mut layers = Vec::with_capacity(config.layers.len());
        for index in 0..config.layers.len() {
            let at = |name: &str| format!("layers.{index}.{name}");
            let head_norm = |name: &str| config.qk_norm.then(|| norm(at(&format!("self_attn.{name}")), dh)).transpose();
            let outer = |name: &str| config.sandwich_norms.then(|| norm(at(name), d)).transpose();
            let mlp_norm = if config.sandwich_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
            layers.push(TensorLayer {
                input_norm: norm(at("input_layernorm"), d)?,
                q: linear(at("self_attn.q_proj"), queries, d, config.qkv_bias)?,
                k: linear(at("self_attn.k_proj"), keys, d, config.qkv_bias)?,
                v: linear(at("self_attn.v_proj"), keys, d, config.qkv_bias)?,
                q_norm: head_norm("q_norm")?,
                k_norm: head_norm("k_norm")?,
                output: linear(at("self_attn.o_proj"), d, queries, config.output_bias)?,
                post_attention_norm: outer("post_attention_layernorm")?,
                mlp_norm: norm(at(mlp_norm), d)?,
                gate: linear(at("mlp.gate_proj"), f, d, config.mlp_bias)?,
                up: linear(at("mlp.up_proj"), f, d, config.mlp_bias)?,
                down: linear(at("mlp.down_proj"), d, f, config.mlp_bias)?,
                post_mlp_norm: outer("post_feedforward_layernorm")?,
            });
        }
        let embeddings = tensor("embed_tokens.weight", &[v, d], dtype)?;
        let head = if config.tied_head {
            Linear { weight: embeddings.t()?, bias: None }
        } else {
            Linear { weight: tensor("lm_head.weight", &[v, d], dtype)?.t()?.contiguous()?, bias: None }
        };
        let mut ropes = Vec::with_capacity(config.ropes.len());
        for rope in &config.ropes {
            let (cos, sin) = rope.tables(context);
            let table = |values| Tensor::from_vec(values, (context, dh / 2), &device)?.to_dtype(dtype);
            ropes.push((table(cos)?, table(sin)?));
        }
        let final_norm = norm("norm".to_owned(), d)?;
        Ok(Self { embeddings, layers, final_norm, head, ropes, context, dtype, device: device.clone(), config })
    }

    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}
