//! A language model as its users see it: network, tokenizer, chat template, stops and identity in one.

use crate::{
    ChatTemplate, CpuModel, Day, Forward, Generated, GenerationOptions, GenerationRow, LmError, LmResult, Message,
    ModelConfig, ModelDigest, RowFailure, TextTokenizer,
    config::token_ids,
    cpu::CpuDecoder,
    generate, reward,
    tensor::{TensorDecoder, TensorModel},
    weights::Weights,
};
use candle_core::{DType, Device};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
};

/// Where, and so in which arithmetic, a model computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compute {
    /// This crate's own kernels, f32.
    #[default]
    Cpu,
    /// Candle's kernels on the CPU, f32: a second opinion, slower.
    CandleCpu,
    /// A CUDA device by ordinal, bf16; needs the feature `cuda`.
    Cuda(usize),
}

/// How to load a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    pub compute: Compute,
    /// Positions that caches have room for where they cannot grow, on [`Compute::CandleCpu`] and [`Compute::Cuda`]; 2048
    /// without it.
    pub context: Option<usize>,
    /// The day that chat templates may print; without it they use their own default.
    pub day: Option<Day>,
}

/// Positions of caches that cannot grow, where none are asked for.
const CONTEXT: usize = 2048;

enum Network {
    Cpu(CpuModel),
    Tensor(TensorModel),
}

/// A loaded model.
pub struct LanguageModel {
    dir: PathBuf,
    digest: ModelDigest,
    network: Network,
    tokenizer: Option<TextTokenizer>,
    template: Option<ChatTemplate>,
    eos_ids: Vec<u32>,
    reward_head: Option<Vec<f32>>,
}

impl LanguageModel {
    /// Loads a Hugging Face folder. Tokenizer and chat template may be absent; calls that need them then fail.
    ///
    /// # Errors
    /// A missing or malformed file, an unknown architecture, a missing tensor or a wrong shape, by name.
    pub fn load(dir: &Path, options: &LoadOptions) -> LmResult<Self> {
        let config_path = dir.join("config.json");
        if !config_path.is_file() {
            return Err(LmError::MissingFile { dir: dir.to_owned(), file: "config.json" });
        }
        let mut config = ModelConfig::read(&config_path)?;
        let weights = Weights::open(dir)?;
        let reward_head = reward::read_head(&mut config, &weights)?;
        let eos_ids = eos_ids(dir, &config)?;
        let tokenizer_path = dir.join("tokenizer.json");
        let tokenizer = tokenizer_path.is_file().then(|| TextTokenizer::from_file(&tokenizer_path)).transpose()?;
        Ok(Self {
            digest: ModelDigest::of_dir(dir)?,
            template: ChatTemplate::from_dir(dir, options.day)?,
            network: Network::load(config, &weights, options)?,
            dir: dir.to_owned(),
            tokenizer,
            eos_ids,
            reward_head,
        })
    }

    pub(crate) fn reward_head(&self) -> Option<&[f32]> {
        self.reward_head.as_deref()
    }

    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        match &self.network {
            Network::Cpu(network) => network.config(),
            Network::Tensor(network) => network.config(),
        }
    }

    /// Digest of everything in the folder that decides what the model says.
    #[must_use]
    pub fn digest(&self) -> &ModelDigest {
        &self.digest
    }

    /// The network of [`Compute::Cpu`], for calls that only it has.
    #[must_use]
    pub fn cpu(&self) -> Option<&CpuModel> {
        match &self.network {
            Network::Cpu(network) => Some(network),
            Network::Tensor(_) => None,
        }
    }

    /// Ids that end a text: those of `generation_config.json`, else of `config.json`.
    #[must_use]
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// # Errors
    /// The folder has no `tokenizer.json`.
    pub fn tokenizer(&self) -> LmResult<&TextTokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| LmError::NoTokenizer(self.dir.display().to_string()))
    }

    /// # Errors
    /// The folder has no chat template.
    pub fn chat_template(&self) -> LmResult<&ChatTemplate> {
        self.template.as_ref().ok_or_else(|| LmError::NoChatTemplate(self.dir.display().to_string()))
    }

    /// Ids of a conversation up to where the assistant's answer begins.
    ///
    /// # Errors
    /// No tokenizer, no template, or the template refuses the conversation.
    pub fn encode_chat(&self, messages: &[Message]) -> LmResult<Vec<u32>> {
        let text = self.chat_template()?.render(messages, true, &BTreeMap::new())?;
        self.tokenizer()?.encode(&text, false)
    }

    /// Ids of a user's prompt with an optional system prompt, as a conversation.
    ///
    /// # Errors
    /// As [`LanguageModel::encode_chat`].
    pub fn encode_prompt(&self, prompt: &str, system: Option<&str>) -> LmResult<Vec<u32>> {
        let system = system.map(|system| Message::new("system", system));
        let messages: Vec<_> = system.into_iter().chain([Message::new("user", prompt)]).collect();
        self.encode_chat(&messages)
    }

    /// Raw logits `[T, vocab]` after every token, teacher-forced.
    ///
    /// # Errors
    /// No tokens, too many of them, or one outside the vocabulary.
    pub fn logits(&self, ids: &[u32]) -> LmResult<Vec<f32>> {
        Ok(self.forward(ids, 0..ids.len(), &[])?.logits)
    }

    /// Raw logits at some positions and the hidden states of some layers; see [`CpuModel::forward_all`].
    ///
    /// # Errors
    /// As [`LanguageModel::logits`], or an unknown layer.
    pub fn forward(&self, ids: &[u32], positions: Range<usize>, hidden: &[usize]) -> LmResult<Forward> {
        match &self.network {
            Network::Cpu(network) => network.forward_all(ids, positions, hidden),
            Network::Tensor(network) => network.forward_all(ids, positions, hidden),
        }
    }

    /// Raw logits `[tokens, vocab]` that predicted each token of a continuation of a prompt.
    ///
    /// # Errors
    /// As [`LanguageModel::logits`].
    pub fn continuation_logits(&self, prompt: &[u32], continuation: &[u32]) -> LmResult<Vec<f32>> {
        let Some((_, fed)) = continuation.split_last() else { return Ok(Vec::new()) };
        let ids = [prompt, fed].concat();
        Ok(self.forward(&ids, prompt.len().saturating_sub(1)..ids.len(), &[])?.logits)
    }

    /// Natural log-probability of every token of every continuation of one prompt, which is computed once. Runs on the current
    /// rayon pool.
    ///
    /// # Errors
    /// As [`LanguageModel::logits`].
    pub fn score_continuations(&self, prompt: &[u32], continuations: &[&[u32]]) -> LmResult<Vec<Vec<f32>>> {
        match &self.network {
            Network::Cpu(network) => network.score_continuations(prompt, continuations),
            Network::Tensor(network) => network.score_continuations(prompt, continuations),
        }
    }

    /// Means over its tokens of the hidden states of each continuation of one prompt; see [`CpuModel::embed_continuations`]. Runs on
    /// the current rayon pool.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub fn embed_continuations(
        &self,
        prompt: &[u32],
        continuations: &[&[u32]],
        layer: usize,
    ) -> LmResult<Vec<Vec<f64>>> {
        match &self.network {
            Network::Cpu(network) => network.embed_continuations(prompt, continuations, layer),
            Network::Tensor(network) => network.embed_continuations(prompt, continuations, layer),
        }
    }

    /// Generates all rows and gives each result, by its row's tag, to `finished` as the row ends: in no particular order, one
    /// call at a time. `finished` breaks to stop early; rows in flight are then dropped. `rows` is drawn from lazily.
    ///
    /// # Errors
    /// Stop strings without a tokenizer. What is wrong with one row is that row's own result.
    pub fn generate(
        &self,
        options: &GenerationOptions,
        rows: impl Iterator<Item = GenerationRow> + Send,
        finished: impl FnMut(u64, Result<Generated, RowFailure>) -> ControlFlow<()> + Send,
    ) -> LmResult<()> {
        let tokenizer = self.tokenizer.as_ref();
        match &self.network {
            Network::Cpu(network) => {
                let decoders = (0..options.threads.max(1)).map(|_| CpuDecoder::new(network)).collect();
                generate::run(decoders, tokenizer, options, rows, finished)
            }
            Network::Tensor(network) => {
                let decoder = TensorDecoder::new(network, options.slots.max(1))?;
                generate::run(vec![decoder], tokenizer, options, rows, finished)
            }
        }
    }
}

impl Network {
    fn load(config: ModelConfig, weights: &Weights, options: &LoadOptions) -> LmResult<Self> {
        let context = options.context.unwrap_or(CONTEXT);
        let (device, dtype) = match options.compute {
            Compute::Cpu => return Ok(Self::Cpu(CpuModel::load(config, weights)?)),
            Compute::CandleCpu => (Device::Cpu, DType::F32),
            Compute::Cuda(ordinal) => (Device::new_cuda(ordinal)?, DType::BF16),
        };
        Ok(Self::Tensor(TensorModel::load(config, weights, device, dtype, context)?))
    }
}

/// End-of-text ids: `generation_config.json` where it names any, else `config.json`.
fn eos_ids(dir: &Path, config: &ModelConfig) -> LmResult<Vec<u32>> {
    let path = dir.join("generation_config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(config.eos_ids.clone()),
        Err(source) => return Err(LmError::Read { path, source }),
    };
    let json: Value =
        serde_json::from_str(&text).map_err(|error| LmError::Malformed { path, message: error.to_string() })?;
    let ids = token_ids(json.get("eos_token_id").unwrap_or(&Value::Null), "eos_token_id")?;
    Ok(if ids.is_empty() { config.eos_ids.clone() } else { ids })
}
