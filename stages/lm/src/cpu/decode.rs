//! The CPU model as the decoder of a generation batch.

use super::{CpuModel, KvCache, Prefix, Segment, Workspace};
use crate::{LmResult, batch::Decoder};

pub(crate) struct CpuDecoder<'a> {
    model: &'a CpuModel,
    spare: Vec<KvCache>,
    work: Workspace,
}

impl<'a> CpuDecoder<'a> {
    pub fn new(model: &'a CpuModel) -> Self {
        Self { model, spare: Vec::new(), work: Workspace::default() }
    }
}

impl Decoder for CpuDecoder<'_> {
    type Prefix = Prefix;
    type Row = KvCache;

    fn vocab_size(&self) -> usize {
        self.model.config().vocab_size
    }

    fn max_positions(&self) -> usize {
        self.model.config().max_positions
    }

    fn prefill(&mut self, ids: &[u32]) -> LmResult<Prefix> {
        self.model.prefill(ids, false)
    }

    fn first_logits(prefix: &Prefix) -> &[f32] {
        &prefix.logits
    }

    fn begin(&mut self, prefix: &Prefix, positions: usize) -> LmResult<KvCache> {
        let mut cache = self.spare.pop().unwrap_or_else(|| self.model.cache(0));
        cache.restart(prefix, positions);
        Ok(cache)
    }

    fn end(&mut self, row: KvCache) {
        self.spare.push(row);
    }

    fn step(&mut self, rows: &mut [(&mut KvCache, u32)], logits: &mut Vec<f32>) -> LmResult<()> {
        let mut segments: Vec<Segment<'_>> =
            rows.iter_mut().map(|(cache, token)| Segment { cache, tokens: std::slice::from_ref(token) }).collect();
        self.model.forward(&mut segments, &mut self.work, false, |_, _| {})?;
        let count = segments.len();
        self.model.logits(&self.work, 0..count, false, logits);
        Ok(())
    }
}
