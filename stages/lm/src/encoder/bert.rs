//! The network: token, position and segment embeddings, then layers of full attention, each normalised behind its sum.

use super::folder::BertConfig;
use crate::{LmError, LmResult};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use std::collections::HashMap;

/// The function of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// With the error function.
    Gelu,
    /// By the hyperbolic tangent.
    GeluTanh,
    Relu,
}

struct Linear {
    /// `[in, out]`.
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        centred.broadcast_div(&deviation)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

/// The network of a folder, f32 on the CPU.
pub(super) struct Bert {
    words: Tensor,
    positions: Tensor,
    /// The embedding of segment 0: there is one text.
    segment: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
    activation: Activation,
    vocabulary: usize,
}

/// Tensors by the names of transformers' `BertModel`, with or without the prefix of a larger model.
struct Named<'a> {
    tensors: &'a HashMap<String, Tensor>,
    prefix: &'static str,
}

impl Named<'_> {
    fn get(&self, name: &str, shape: &[usize]) -> LmResult<Tensor> {
        let full = format!("{}{name}", self.prefix);
        // Early checkpoints call the parameters of a norm gamma and beta.
        let early = full.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let tensor = self.tensors.get(&full).or_else(|| self.tensors.get(&early));
        let tensor = tensor.ok_or_else(|| LmError::MissingTensor { name: full.clone() })?;
        if tensor.dims() != shape {
            return Err(LmError::Shape { name: full, expected: shape.to_vec(), found: tensor.dims().to_vec() });
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> LmResult<Linear> {
        let weight = self.get(&format!("{name}.weight"), &[outputs, inputs])?.t()?.contiguous()?;
        Ok(Linear { weight, bias: self.get(&format!("{name}.bias"), &[outputs])? })
    }

    fn norm(&self, name: &str, width: usize, eps: f64) -> LmResult<LayerNorm> {
        let weight = self.get(&format!("{name}.weight"), &[width])?;
        Ok(LayerNorm { weight, bias: self.get(&format!("{name}.bias"), &[width])?, eps })
    }
}

impl Bert {
    pub fn load(config: &BertConfig, tensors: &HashMap<String, Tensor>) -> LmResult<Self> {
        let prefixed = tensors.contains_key("bert.embeddings.word_embeddings.weight");
        let named = Named { tensors, prefix: if prefixed { "bert." } else { "" } };
        let (d, f, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let embedding = |name: &str, rows| named.get(&format!("embeddings.{name}_embeddings.weight"), &[rows, d]);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            let at = |name: &str| format!("encoder.layer.{layer}.{name}");
            layers.push(Layer {
                query: named.linear(&at("attention.self.query"), d, d)?,
                key: named.linear(&at("attention.self.key"), d, d)?,
                value: named.linear(&at("attention.self.value"), d, d)?,
                output: named.linear(&at("attention.output.dense"), d, d)?,
                attention_norm: named.norm(&at("attention.output.LayerNorm"), d, eps)?,
                up: named.linear(&at("intermediate.dense"), d, f)?,
                down: named.linear(&at("output.dense"), f, d)?,
                norm: named.norm(&at("output.LayerNorm"), d, eps)?,
            });
        }
        Ok(Self {
            words: embedding("word", config.vocab_size)?,
            positions: embedding("position", config.max_position_embeddings)?,
            segment: embedding("token_type", config.type_vocab_size)?.get(0)?,
            norm: named.norm("embeddings.LayerNorm", d, eps)?,
            layers,
            heads: config.num_attention_heads,
            activation: config.activation()?,
            vocabulary: config.vocab_size,
        })
    }

    pub fn max_positions(&self) -> usize {
        self.positions.dims()[0]
    }

    pub fn width(&self) -> usize {
        self.words.dims()[1]
    }

    /// Final hidden states `[tokens, width]`, row-major.
    pub fn forward(&self, ids: &[u32]) -> LmResult<Vec<f32>> {
        if ids.is_empty() {
            return Err(LmError::EmptyPrompt);
        }
        if let Some(&id) = ids.iter().find(|id| **id as usize >= self.vocabulary) {
            return Err(LmError::TokenOutOfRange { id, vocab: self.vocabulary });
        }
        if ids.len() > self.max_positions() {
            return Err(LmError::TooLong { tokens: ids.len(), limit: self.max_positions() });
        }
        let index = Tensor::new(ids, &Device::Cpu)?;
        let embedded = (self.words.index_select(&index, 0)? + self.positions.narrow(0, 0, ids.len())?)?;
        let mut x = self.norm.forward(&embedded.broadcast_add(&self.segment)?)?;
        for layer in &self.layers {
            x = self.layer(layer, &x)?;
        }
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn layer(&self, layer: &Layer, x: &Tensor) -> candle_core::Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let head = width / self.heads;
        // [heads, tokens, head]
        let split = |x: Tensor| x.reshape((tokens, self.heads, head))?.transpose(0, 1)?.contiguous();
        let (q, k, v) =
            (split(layer.query.forward(x)?)?, split(layer.key.forward(x)?)?, split(layer.value.forward(x)?)?);
        let scores = (q.matmul(&k.transpose(1, 2)?)? / (head as f64).sqrt())?;
        let seen = softmax_last_dim(&scores)?.matmul(&v)?.transpose(0, 1)?.reshape((tokens, width))?;
        let x = layer.attention_norm.forward(&(layer.output.forward(&seen)? + x)?)?;
        let up = layer.up.forward(&x)?;
        let up = match self.activation {
            Activation::Gelu => up.gelu_erf()?,
            Activation::GeluTanh => up.gelu()?,
            Activation::Relu => up.relu()?,
        };
        layer.norm.forward(&(layer.down.forward(&up)? + x)?)
    }
}
