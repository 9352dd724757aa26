//! A model and documents small enough to compute with in a test.

use lsn_pretrain::{TrainConfig, chat::Encoded, config::ModelConfig};

pub fn small_model() -> ModelConfig {
    ModelConfig {
        hidden_size: 12,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        max_position_embeddings: 64,
        ..ModelConfig::default()
    }
}

pub fn small_config() -> TrainConfig {
    let mut config = TrainConfig {
        model: small_model(),
        steps: 24,
        shards: 3,
        shard_tokens: 40,
        log_every: 4,
        eval_every: 8,
        checkpoint_every: 4,
        ..TrainConfig::default()
    };
    config.optimizer.warmup_steps = 5;
    config.optimizer.lr = 0.02;
    config
}

pub const VOCABULARY: usize = 17;

/// Documents in which each token follows from the one before it, so that there is something to learn.
pub fn documents(count: usize) -> Vec<Encoded> {
    let next = |token: u32| (token * 3 + 2) % VOCABULARY as u32;
    (0..count)
        .map(|index| {
            let start = (index * 7 % VOCABULARY) as u32;
            let tokens = std::iter::successors(Some(start), |&t| Some(next(t))).take(6 + index % 9).collect();
            Encoded { tokens, reply_start: 2 }
        })
        .collect()
}
