//! Training a small Llama-architecture language model from scratch on the CPU.
