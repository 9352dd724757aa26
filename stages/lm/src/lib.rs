//! An embedded decoder-only language model: weights, tokenizer, chat template, forward, batched decoding; text encoders of the
//! BERT class.

mod batch;
mod config;
mod cpu;
mod encoder;
mod error;
mod generate;
mod identity;
pub mod kernel;
mod model;
mod reward;
mod rope;
mod sampling;
mod source;
mod template;
mod tensor;
mod tokenizer;
mod weights;

pub use config::{Family, LayerAttention, ModelConfig};
pub use cpu::{CpuModel, Forward, KvCache, Prefix, Segment, Workspace};
pub use encoder::{Pooling, TextEncoder};
pub use error::{LmError, LmResult};
pub use generate::{FinishReason, Generated, GenerationOptions, GenerationRow, RowFailure};
pub use identity::ModelDigest;
pub use kernel::Activation;
pub use model::{Compute, LanguageModel, LoadOptions};
pub use rope::{RopeConfig, RopeScaling};
pub use sampling::{
    BatchLogitsProcessor, DrawError, History, LogitsProcessor, ProcessorError, RowProcessor, RowRng, arg_max, draw,
};
pub use source::HubOptions;
pub use template::{ChatTemplate, Day, Message};
pub use tensor::TensorModel;
pub use tokenizer::TextTokenizer;
pub use weights::{Weights, weight_files};
