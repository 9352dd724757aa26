//! The tensor model as the decoder of a generation batch: a fixed number of slots, always decoded together.

use super::{
    load::TensorModel,
    network::{KeyValue, Places},
};
use crate::{LmResult, batch::Decoder};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// A computed prompt.
pub(crate) struct TensorPrefix {
    layers: Vec<KeyValue>,
    len: usize,
    logits: Vec<f32>,
}

/// A row's slot and how many positions of it are filled.
pub(crate) struct TensorRow {
    slot: usize,
    len: usize,
}

/// Slots `[slots, kv_heads, context, head_dim]` of every layer. Shapes never change, so that a row's rounding does not depend on
/// how many rows there are or how long they are.
pub(crate) struct TensorDecoder<'a> {
    model: &'a TensorModel,
    caches: Vec<KeyValue>,
    free: Vec<usize>,
    slots: usize,
}

impl<'a> TensorDecoder<'a> {
    /// # Errors
    /// The device has too little memory for the caches.
    pub fn new(model: &'a TensorModel, slots: usize) -> LmResult<Self> {
        let config = &model.config;
        let shape = (slots, config.kv_heads, model.context, config.head_dim);
        let zeros = || Tensor::zeros(shape, model.dtype, &model.device);
        let caches = model.layers.iter().map(|_| Ok((zeros()?, zeros()?))).collect::<Result<_>>()?;
        Ok(Self { model, caches, free: (0..slots).rev().collect(), slots })
    }

    /// Where each slot stands; free ones stand at 0 and are overwritten when a row takes them.
    fn places(&self, positions: &[usize]) -> Result<Places> {
        let (context, device) = (self.model.context, &self.model.device);
        let mut masks = Vec::new();
        for window in self.model.windows() {
            let mask = TensorModel::mask(positions, context, window);
            masks.push((window, Tensor::from_vec(mask, (self.slots, 1, 1, context), device)?));
        }
        let positions: Vec<u32> = positions.iter().map(|position| *position as u32).collect();
        Ok(Places { positions: Tensor::from_vec(positions, self.slots, device)?, masks })
    }

    fn batch_logits(&self, ids: Vec<u32>, positions: &[usize]) -> Result<Vec<f32>> {
        let config = &self.model.config;
        let places = self.places(positions)?;
        let shape = (self.slots, config.kv_heads, 1, config.head_dim);
        let targets = places.positions.reshape((self.slots, 1, 1, 1))?.broadcast_as(shape)?.contiguous()?;
        let write = |layer: usize, (k, v): KeyValue| {
            let (keys, values) = &self.caches[layer];
            keys.scatter_set(&targets, &k, 2)?;
            values.scatter_set(&targets, &v, 2)?;
            Ok((keys.clone(), values.clone()))
        };
        let ids = Tensor::from_vec(ids, (self.slots, 1), &self.model.device)?;
        let stream = self.model.run(&ids, &places, write, |_, _| Ok(()))?;
        self.model.logits(&stream)?.flatten_all()?.to_vec1()
    }
}

impl Decoder for TensorDecoder<'_> {
    type Prefix = Arc<TensorPrefix>;
    type Row = TensorRow;

    fn vocab_size(&self) -> usize {
        self.model.config.vocab_size
    }

    fn max_positions(&self) -> usize {
        self.model.context
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn prefill(&mut self, ids: &[u32]) -> LmResult<Arc<TensorPrefix>> {
        let (stream, layers) = self.model.sequence(ids, |_, _| Ok(()))?;
        let last = stream.narrow(1, ids.len() - 1, 1)?;
        let logits = self.model.logits(&last)?.flatten_all()?.to_vec1()?;
        Ok(Arc::new(TensorPrefix { layers, len: ids.len(), logits }))
    }

    fn first_logits(prefix: &Arc<TensorPrefix>) -> &[f32] {
        &prefix.logits
    }

    fn begin(&mut self, prefix: &Arc<TensorPrefix>, _positions: usize) -> LmResult<TensorRow> {
        let slot = self.free.pop().ok_or_else(|| candle_core::Error::msg("all slots of the batch are taken"))?;
        let rest = self.model.context - prefix.len;
        for ((keys, values), (k, v)) in self.caches.iter().zip(&prefix.layers) {
            keys.slice_set(&k.pad_with_zeros(2, 0, rest)?.contiguous()?, 0, slot)?;
            values.slice_set(&v.pad_with_zeros(2, 0, rest)?.contiguous()?, 0, slot)?;
        }
        Ok(TensorRow { slot, len: prefix.len })
    }

    fn end(&mut self, row: TensorRow) {
        self.free.push(row.slot);
    }

    fn step(&mut self, rows: &mut [(&mut TensorRow, u32)], logits: &mut Vec<f32>) -> LmResult<()> {
        let (mut ids, mut positions) = (vec![0; self.slots], vec![0; self.slots]);
        for (row, token) in rows.iter_mut() {
            ids[row.slot] = *token;
            positions[row.slot] = row.len;
            row.len += 1;
        }
        let all = self.batch_logits(ids, &positions)?;
        let vocab = self.vocab_size();
        logits.clear();
        for (row, _) in rows {
            logits.extend_from_slice(&all[row.slot * vocab..(row.slot + 1) * vocab]);
        }
        Ok(())
    }
}
