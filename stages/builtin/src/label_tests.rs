//! What the labellers' tests share.

use lsn_digest::Digest;
use lsn_stage::{
    RowError, RowKey, RowMemo, RowSpace,
    record::{FinishReason, Generation, GenerationId, Prompt, SamplerInfo},
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

pub fn generation(prompt: &Prompt, sampler: &str, seed: u64, text: &str) -> Generation {
    let id = GenerationId::new(prompt.prompt_id, &json!(sampler), seed, &Digest::of(b"m"), &json!({}));
    Generation {
        generation_id: id,
        prompt: prompt.clone(),
        sampler_info: SamplerInfo { name: sampler.to_owned(), config: Vec::new() },
        seed,
        generation: text.to_owned(),
        token_ids: Vec::new(),
        finish_reason: FinishReason::Stop,
        logprobs: None,
        model: "m".to_owned(),
        error: None,
    }
}

/// A row memo in memory, one space for all namespaces.
#[derive(Clone, Default)]
pub struct MemoryMemo(Arc<Mutex<HashMap<Digest, Vec<u8>>>>);

impl MemoryMemo {
    /// Rows that were put in.
    pub fn computed(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl RowMemo for MemoryMemo {
    fn open(&self, _namespace: &str) -> Result<Arc<dyn RowSpace>, RowError> {
        Ok(Arc::new(self.clone()))
    }
}

impl RowSpace for MemoryMemo {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, RowError> {
        Ok(self.0.lock().unwrap().get(&key.0).cloned())
    }

    fn put(&self, key: &RowKey, value: &[u8]) -> Result<(), RowError> {
        self.0.lock().unwrap().entry(key.0).or_insert_with(|| value.to_vec());
        Ok(())
    }

    fn flush(&self) -> Result<(), RowError> {
        Ok(())
    }
}
