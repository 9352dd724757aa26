//! The shape of the model and where each tensor lies in the flat parameter vector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Shape of a Llama-architecture model with tied embeddings; names as in Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the SwiGLU layer.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Key and value heads; query heads share them in equal groups.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    pub rms_norm_eps: f64,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            hidden_size: 192,
            intermediate_size: 512,
            num_hidden_layers: 5,
            num_attention_heads: 6,
            num_key_value_heads: 2,
            head_dim: 32,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-5,
            max_position_embeddings: 512,
        }
    }
}

impl ModelConfig {
    /// What cannot work about this shape, if anything.
    #[must_use]
    pub fn issue(&self) -> Option<String> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Some(format!("{name} is 0, give a positive number"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Some(format!("head_dim is {}, rotary embedding needs an even number", self.head_dim));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Some(format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        None
    }

    /// Width of all query heads.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads.
    #[must_use]
    pub fn key_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Width of queries, keys and values side by side.
    #[must_use]
    pub fn qkv_width(&self) -> usize {
        self.query_width() + 2 * self.key_width()
    }
}

/// Where the tensors of one layer lie. Matrices are `[out, in]`, row-major.
#[derive(Debug, Clone)]
pub struct LayerLayout {
    /// `[hidden]`
    pub attention_norm: Range<usize>,
    /// `[query + 2 key, hidden]`
    pub qkv: Range<usize>,
    /// `[hidden, query]`
    pub out: Range<usize>,
    /// `[hidden]`
    pub mlp_norm: Range<usize>,
    /// `[2 intermediate, hidden]`: gate, then up.
    pub gate_up: Range<usize>,
    /// `[hidden, intermediate]`
    pub down: Range<usize>,
}

/// Where all tensors lie.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `[vocabulary, hidden]`, also the output head.
    pub embedding: Range<usize>,
    pub layers: Vec<LayerLayout>,
    /// `[hidden]`
    pub final_norm: Range<usize>,
    /// Number of parameters.
    pub len: usize,
}

impl Layout {
    #[must_use]
    pub fn new(config: &ModelConfig, vocabulary: usize) -> Self {
        let mut end = 0;
        let mut take = |len: usize| {
            let start = end;
            end += len;
            start..end
        };
        let d = config.hidden_size;
        let embedding = take(vocabulary * d);
        let layers = (0..config.num_hidden_layers)
            .map(|_| LayerLayout {
                attention_norm: take(d),
                qkv: take(config.qkv_width() * d),
                out: take(d * config.query_width()),
                mlp_norm: take(d),
                gate_up: take(2 * config.intermediate_size * d),
                down: take(d * config.intermediate_size),
            })
            .collect();
        let final_norm = take(d);
        Self { embedding, layers, final_norm, len: end }
    }

    /// The norm weights: drawn as ones and without weight decay.
    #[must_use]
    pub fn norms(&self) -> Vec<Range<usize>> {
        let layers = self.layers.iter().flat_map(|l| [l.attention_norm.clone(), l.mlp_norm.clone()]);
        layers.chain([self.final_norm.clone()]).collect()
    }
}
