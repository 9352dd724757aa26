//! `tokenizer`: a byte-level BPE tokenizer with a chat template, trained on a corpus.

use crate::pretrain::stage_error;
use lsn_pretrain::{
    chat::{SPECIAL_TOKENS, read_chats},
    tokenizer,
};
use lsn_stage::{ParamIssue, Port, PortKind, Stage, StageContext, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `tokenizer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerParams {
    /// Number of tokens: special tokens, the 256 bytes, and merges.
    pub vocabulary: usize,
    /// Documents to learn merges from, from the start of the corpus.
    pub documents: usize,
    /// `model_max_length` of the written configuration.
    pub max_length: usize,
}

impl Default for TokenizerParams {
    fn default() -> Self {
        Self { vocabulary: 1024, documents: 20_000, max_length: 512 }
    }
}

/// Writes `tokenizer.json` and `tokenizer_config.json`.
pub struct Tokenizer;

impl Stage for Tokenizer {
    type Params = TokenizerParams;

    fn name(&self) -> &'static str {
        "tokenizer"
    }

    fn about(&self) -> &'static str {
        "trains a byte-level BPE tokenizer with a chat template"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, _params: &TokenizerParams) -> Vec<Port> {
        vec![Port::new("documents", PortKind::File, "chats, one JSON object a line")]
    }

    fn outputs(&self, _params: &TokenizerParams) -> Vec<Port> {
        vec![Port::new("tokenizer", PortKind::Directory, "tokenizer.json and tokenizer_config.json")]
    }

    fn check(&self, params: &TokenizerParams) -> Result<(), Vec<ParamIssue>> {
        let least = 256 + SPECIAL_TOKENS.len();
        if params.vocabulary >= least {
            return Ok(());
        }
        let message =
            format!("{} leaves no room for the bytes and the special tokens, give at least {least}", params.vocabulary);
        Err(vec![ParamIssue { pointer: "/vocabulary".to_owned(), message, suggestion: None }])
    }

    fn run(&self, params: TokenizerParams, ctx: &StageContext) -> StageResult<()> {
        let mut chats = read_chats(&ctx.input("documents")?.path).map_err(stage_error)?;
        chats.truncate(params.documents);
        let texts = chats.iter().flat_map(|c| [c.system.as_deref(), Some(&*c.prompt), Some(&*c.reply)]).flatten();
        let trained = tokenizer::train(texts, params.vocabulary).map_err(stage_error)?;
        ctx.check_cancelled()?;
        ctx.metric("tokens", trained.get_vocab_size(true) as f64);
        tokenizer::write(&trained, ctx.output("tokenizer")?, params.max_length).map_err(stage_error)
    }
}
