//! The forward pass on tensors.

use super::load::{Linear, TensorLayer, TensorModel};
use crate::{Activation, Forward, LmError, LmResult, kernel};
use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use std::ops::Range;

/// Keys and values of one layer, `[batch, kv_heads, positions, head_dim]` each.
pub(super) type KeyValue = (Tensor, Tensor);

impl Linear {
    /// `x: [.., inputs]` with any leading dimensions.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (inputs, outputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let y = x.reshape(((), inputs))?.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias)?.reshape(shape),
            None => y.reshape(shape),
        }
    }
}

/// Which rows stand where, and what they may see.
pub(super) struct Places {
    /// Positions of the batch, flattened `[batch · tokens]`.
    pub positions: Tensor,
    /// For each kind of layer window, 0 or −∞, `[batch or 1, 1, tokens, keys]` in f32.
    pub masks: Vec<(Option<usize>, Tensor)>,
}

impl TensorModel {
    /// The windows that occur among the layers.
    pub(super) fn windows(&self) -> Vec<Option<usize>> {
        let mut windows: Vec<_> = self.config.layers.iter().map(|layer| layer.window).collect();
        windows.sort();
        windows.dedup();
        windows
    }

    /// The mask of queries at `positions`, one row of `keys` keys each: 0 where a key is seen, −∞ elsewhere.
    pub(super) fn mask(positions: &[usize], keys: usize, window: Option<usize>) -> Vec<f32> {
        let seen = |position: usize, key: usize| key <= position && window.is_none_or(|window| position - key < window);
        let row = |position| (0..keys).map(move |key| if seen(position, key) { 0.0 } else { f32::NEG_INFINITY });
        positions.iter().flat_map(|position| row(*position)).collect()
    }

    /// `x / sqrt(mean(x²) + eps) · weight` in f32.
    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let scale = (wide.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.config.norm_eps))?.sqrt()?;
        wide.broadcast_div(&scale)?.broadcast_mul(weight)?.to_dtype(x.dtype())
    }

    /// Rotates `x: [batch, heads, tokens, head_dim]`.
    fn rotate(&self, x: &Tensor, rope: usize, positions: &Tensor) -> Result<Tensor> {
        let (batch, _, tokens, dim) = x.dims4()?;
        let (cos, sin) = &self.ropes[rope];
        let table = |table: &Tensor| table.index_select(positions, 0)?.reshape((batch, 1, tokens, dim / 2));
        let (cos, sin) = (table(cos)?, table(sin)?);
        let (a, b) = (x.narrow(3, 0, dim / 2)?, x.narrow(3, dim / 2, dim / 2)?);
        let low = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let high = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[low, high], 3)
    }

    /// Splits `[batch, tokens, heads · head_dim]` into `[batch, heads, tokens, head_dim]`, normed where there is a norm.
    fn heads(&self, x: &Tensor, norm: Option<&Tensor>) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let dim = self.config.head_dim;
        let x = x.reshape((batch, tokens, width / dim, dim))?;
        let x = match norm {
            Some(weight) => self.norm(&x, weight)?,
            None => x,
        };
        x.transpose(1, 2)?.contiguous()
    }

    fn attend(
        &self,
        index: usize,
        x: &Tensor,
        places: &Places,
        cache: &mut impl FnMut(usize, KeyValue) -> Result<KeyValue>,
    ) -> Result<Tensor> {
        let (layer, kind) = (&self.layers[index], self.config.layers[index]);
        let (batch, tokens, _) = x.dims3()?;
        let (kv_heads, group, dim) = (self.config.kv_heads, self.config.group(), self.config.head_dim);
        let q = self.rotate(&self.heads(&layer.q.forward(x)?, layer.q_norm.as_ref())?, kind.rope, &places.positions)?;
        let k = self.rotate(&self.heads(&layer.k.forward(x)?, layer.k_norm.as_ref())?, kind.rope, &places.positions)?;
        let v = self.heads(&layer.v.forward(x)?, None)?;
        let (k, v) = cache(index, (k.contiguous()?, v))?;
        let keys = k.dim(2)?;
        let q = q.contiguous()?.reshape((batch, kv_heads, group * tokens, dim))?;
        let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * f64::from(self.config.attention_scale))?;
        let scores = match self.config.attention_soft_cap {
            Some(cap) => soft_cap(&scores, cap)?,
            None => scores,
        };
        let scores = scores.reshape((batch, kv_heads * group, tokens, keys))?;
        let mask = places.masks.iter().find(|(window, _)| *window == kind.window);
        let scores = match mask {
            Some((_, mask)) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let weights = softmax_last_dim(&scores)?.to_dtype(self.dtype)?;
        let mixed = weights.reshape((batch, kv_heads, group * tokens, keys))?.matmul(&v)?;
        let mixed = mixed.reshape((batch, kv_heads * group, tokens, dim))?.transpose(1, 2)?;
        layer.output.forward(&mixed.reshape((batch, tokens, kv_heads * group * dim))?)
    }

    fn feed_forward(&self, layer: &TensorLayer, x: &Tensor) -> Result<Tensor> {
        let gate = layer.gate.forward(x)?;
        let gate = match self.config.activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        layer.down.forward(&(gate * layer.up.forward(x)?)?)
    }

    /// Takes `ids: [batch, tokens]` through all layers; gives the residual stream `[batch, tokens, hidden]`. `cache` gets each
    /// layer's new keys and values and gives those to attend over. `observe(i, stream)` sees the stream before layer `i`.
    pub(super) fn run(
        &self,
        ids: &Tensor,
        places: &Places,
        mut cache: impl FnMut(usize, KeyValue) -> Result<KeyValue>,
        mut observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let x = self.embeddings.index_select(&ids.flatten_all()?, 0)?;
        let mut x = x.reshape((batch, tokens, self.config.hidden_size))?;
        if let Some(scale) = self.config.embedding_scale {
            x = (x * f64::from(scale))?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            observe(index, &x)?;
            let mut y = self.attend(index, &self.norm(&x, &layer.input_norm)?, places, &mut cache)?;
            if let Some(weight) = &layer.post_attention_norm {
                y = self.norm(&y, weight)?;
            }
            x = (x + y)?;
            let mut y = self.feed_forward(layer, &self.norm(&x, &layer.mlp_norm)?)?;
            if let Some(weight) = &layer.post_mlp_norm {
                y = self.norm(&y, weight)?;
            }
            x = (x + y)?;
        }
        Ok(x)
    }

    /// Logits in f32 of the rows of a residual stream.
    pub(super) fn logits(&self, stream: &Tensor) -> Result<Tensor> {
        let logits = self.head.forward(&self.norm(stream, &self.final_norm)?)?.to_dtype(DType::F32)?;
        match self.config.final_soft_cap {
            Some(cap) => soft_cap(&logits, cap),
            None => Ok(logits),
        }
    }

    /// One sequence from its beginning: the stream, and every layer's keys and values.
    pub(super) fn sequence(
        &self,
        ids: &[u32],
        observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> LmResult<(Tensor, Vec<KeyValue>)> {
        if ids.is_empty() {
            return Err(LmError::EmptyPrompt);
        }
        if ids.len() > self.context {
            return Err(LmError::TooLong { tokens: ids.len(), limit: self.context });
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            return Err(LmError::TokenOutOfRange { id: *id, vocab: self.config.vocab_size });
        }
        let positions: Vec<usize> = (0..ids.len()).collect();
        let mut masks = Vec::new();
        for window in self.windows() {
            let mask = Self::mask(&positions, ids.len(), window);
            masks.push((window, Tensor::from_vec(mask, (1, 1, ids.len(), ids.len()), &self.device)?));
        }
        let positions = Tensor::arange(0u32, ids.len() as u32, &self.device)?;
        let mut kept = Vec::with_capacity(self.layers.len());
        let keep = |_, (k, v): KeyValue| {
            kept.push((k.clone(), v.clone()));
            Ok((k, v))
        };
        let ids = Tensor::from_slice(ids, (1, ids.len()), &self.device)?;
        let stream = self.run(&ids, &Places { positions, masks }, keep, observe)?;
        Ok((stream, kept))
    }

    /// As [`crate::CpuModel::forward_all`].
    ///
    /// # Errors
    /// As there, or the device fails.
    pub fn forward_all(&self, ids: &[u32], positions: Range<usize>, hidden: &[usize]) -> LmResult<Forward> {
        let layers = self.layers.len();
        if let Some(layer) = hidden.iter().find(|layer| **layer > layers) {
            return Err(LmError::NoSuchLayer { layer: *layer, layers });
        }
        let floats = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let mut states = vec![Vec::new(); hidden.len()];
        let (stream, _) = self.sequence(ids, |layer, stream| {
            for (_, state) in hidden.iter().zip(&mut states).filter(|(wanted, _)| **wanted == layer) {
                *state = floats(stream)?;
            }
            Ok(())
        })?;
        for (_, state) in hidden.iter().zip(&mut states).filter(|(wanted, _)| **wanted == layers) {
            *state = floats(&self.norm(&stream, &self.final_norm)?)?;
        }
        let logits = if positions.is_empty() {
            Vec::new()
        } else {
            floats(&self.logits(&stream.narrow(1, positions.start, positions.len())?)?)?
        };
        Ok(Forward { logits, hidden: states })
    }

    /// As [`crate::CpuModel::score_continuations`]; each continuation is one pass with its prompt.
    ///
    /// # Errors
    /// As there, or the device fails.
    pub fn score_continuations(&self, prompt: &[u32], continuations: &[&[u32]]) -> LmResult<Vec<Vec<f32>>> {
        let score = |ids: &&[u32]| {
            let Some((_, fed)) = ids.split_last() else { return Ok(Vec::new()) };
            let all = [prompt, fed].concat();
            let logits = self.forward_all(&all, prompt.len().saturating_sub(1)..all.len(), &[])?.logits;
            let rows = logits.chunks_exact(self.config.vocab_size).zip(*ids);
            Ok(rows
                .map(|(row, id)| {
                    let logit = row.get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
                    (f64::from(logit) - kernel::log_sum_exp(kernel::Isa::detect(), row)) as f32
                })
                .collect())
        };
        continuations.iter().map(score).collect()
    }

    /// As [`crate::CpuModel::embed_continuations`]; each continuation is one pass with its prompt.
    ///
    /// # Errors
    /// As there, or the device fails.
    pub fn embed_continuations(
        &self,
        prompt: &[u32],
        continuations: &[&[u32]],
        layer: usize,
    ) -> LmResult<Vec<Vec<f64>>> {
        let embed = |ids: &&[u32]| {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let all = [prompt, ids].concat();
            let states = self.forward_all(&all, 0..0, &[layer])?.hidden.swap_remove(0);
            let mut mean = vec![0.0; self.config.hidden_size];
            for row in states[prompt.len() * mean.len()..].chunks_exact(mean.len()) {
                mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / ids.len() as f64);
            }
            Ok(mean)
        };
        continuations.iter().map(embed).collect()
    }
}

/// `cap · tanh(x / cap)`.
fn soft_cap(x: &Tensor, cap: f32) -> Result<Tensor> {
    (x / f64::from(cap))?.tanh()? * f64::from(cap)
}
