//! The files of an encoder's folder.

use super::{Pooling, bert::Activation, wordpiece};
use crate::{LmError, LmResult};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::HashMap, path::Path};
use tokenizers::Tokenizer;

/// What `config.json` says; defaults are transformers'.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
    #[serde(default = "gelu")]
    pub hidden_act: String,
    pub position_embedding_type: Option<String>,
}

fn two() -> usize {
    2
}

fn epsilon() -> f64 {
    1e-12
}

fn gelu() -> String {
    "gelu".to_owned()
}

impl BertConfig {
    pub fn activation(&self) -> LmResult<Activation> {
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(config("hidden_act", format!("is `{other}`, known: gelu, gelu_new, gelu_pytorch_tanh, relu"))),
        }
    }

    fn check(&self) -> LmResult<()> {
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let message = format!("{} heads do not divide {}", self.num_attention_heads, self.hidden_size);
            return Err(config("num_attention_heads", message));
        }
        if self.type_vocab_size == 0 || self.max_position_embeddings < 2 {
            return Err(config("max_position_embeddings", "there is no room for a text".to_owned()));
        }
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => Err(config("position_embedding_type", format!("is `{other}`, known: absolute"))),
        }
    }
}

fn config(field: &str, message: String) -> LmError {
    LmError::Config { field: field.to_owned(), message }
}

/// Whether a configuration is of a BERT encoder.
pub(super) fn is_bert(config: &Value) -> bool {
    let class = config.pointer("/architectures/0").and_then(Value::as_str).unwrap_or_default();
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    kind == "bert" || (kind.is_empty() && class.starts_with("Bert"))
}

/// A JSON file, `None` where there is none.
pub(super) fn read_json(path: &Path) -> LmResult<Option<Value>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| LmError::Malformed { path: path.to_owned(), message: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LmError::Read { path: path.to_owned(), source }),
    }
}

/// Everything in a folder, read.
pub(super) struct EncoderFolder {
    pub config: BertConfig,
    pub tensors: HashMap<String, Tensor>,
    pub tokenizer: Tokenizer,
    pub pooling: Pooling,
    pub max_tokens: Option<usize>,
    pub digest: [u8; 32],
}

/// The files that decide an embedding, in the order of the digest; of two kinds of weights the first counts.
const SMALL: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
];
const SAFETENSORS: &str = "model.safetensors";
const PICKLE: &str = "pytorch_model.bin";

impl EncoderFolder {
    pub fn read(dir: &Path) -> LmResult<Self> {
        let missing = |file| LmError::MissingFile { dir: dir.to_owned(), file };
        let path = dir.join("config.json");
        let json = read_json(&path)?.ok_or_else(|| missing("config.json"))?;
        if !is_bert(&json) {
            let named = json.get("model_type").or_else(|| json.pointer("/architectures/0"));
            return Err(LmError::UnknownArchitecture(named.map_or_else(String::new, Value::to_string)));
        }
        let config: BertConfig =
            serde_json::from_value(json).map_err(|error| LmError::Malformed { path, message: error.to_string() })?;
        config.check()?;
        let weights = dir.join(SAFETENSORS);
        let (weights, tensors) = if weights.is_file() {
            let tensors = candle_core::safetensors::load(&weights, &Device::Cpu)?;
            (weights, tensors)
        } else {
            let weights = dir.join(PICKLE);
            if !weights.is_file() {
                return Err(missing(SAFETENSORS));
            }
            let tensors = candle_core::pickle::read_all(&weights)?.into_iter().collect();
            (weights, tensors)
        };
        let pooling = match read_json(&dir.join("1_Pooling/config.json"))? {
            Some(json) => pooling(&json)?,
            None => Pooling::default(),
        };
        let length = read_json(&dir.join("sentence_bert_config.json"))?;
        let max_tokens = length.and_then(|json| json.get("max_seq_length")?.as_u64()).map(|max| (max as usize).max(2));
        Ok(Self {
            config,
            tensors,
            tokenizer: wordpiece::read(dir)?,
            pooling,
            max_tokens,
            digest: digest(dir, &weights)?,
        })
    }
}

/// What `1_Pooling/config.json` of sentence-transformers asks for.
fn pooling(json: &Value) -> LmResult<Pooling> {
    let asked: Vec<&str> = json
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| name.starts_with("pooling_mode_") && **value == Value::Bool(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match asked.as_slice() {
        ["pooling_mode_mean_tokens"] | [] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        other => Err(config("1_Pooling/config.json", format!("asks for {}, known: mean or cls", other.join(", ")))),
    }
}

fn digest(dir: &Path, weights: &Path) -> LmResult<[u8; 32]> {
    let mut whole = blake3::Hasher::new();
    whole.update(b"lsn/encoder/1");
    for name in SMALL {
        let path = dir.join(name);
        let hash = match std::fs::read(&path) {
            Ok(bytes) => *blake3::hash(&bytes).as_bytes(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => [0; 32],
            Err(source) => return Err(LmError::Read { path, source }),
        };
        whole.update(&hash);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(weights).map_err(|source| LmError::Read { path: weights.to_owned(), source })?;
    whole.update(hasher.finalize().as_bytes());
    Ok(*whole.finalize().as_bytes())
}
