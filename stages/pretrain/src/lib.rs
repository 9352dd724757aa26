//! Training a small Llama-architecture language model from scratch on the CPU.
//!
//! [`tokenizer::train`] makes a byte-level BPE tokenizer, [`train`] the weights, [`export::write`] a Hugging Face folder, and
//! [`decode::generate`] samples from the weights to measure them.

pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod decode;
mod error;
pub mod export;
pub mod grow;
mod kernels;
pub mod measure;
pub mod model;
pub mod optimizer;
pub mod tokenizer;
mod train;
mod vector;

pub use error::PretrainError;
pub use train::{Job, LossRecord, Sets, TrainConfig, Trained, evaluate, initial_parameters, train};
