//! An embedded decoder-only language model: weights, tokenizer, chat template, forward, batched decoding.
