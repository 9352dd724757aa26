//! A byte-level BPE tokenizer for chats, and its Hugging Face files.

use crate::{
    PretrainError,
    chat::{BOS, CHAT_TEMPLATE, END, SPECIAL_TOKENS},
};
use serde_json::json;
use std::{fs, path::Path};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerBuilder,
    models::bpe::{BPE, BpeTrainerBuilder},
    pre_tokenizers::{byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

/// Trains a tokenizer of `vocabulary` tokens: the special tokens, the 256 bytes, and merges. Digits stay single.
///
/// # Errors
/// The vocabulary has no room for the bytes and the special tokens, or training fails.
pub fn train<I, S>(texts: I, vocabulary: usize) -> Result<Tokenizer, PretrainError>
where
    I: Iterator<Item = S> + Send,
    S: AsRef<str> + Send,
{
    let least = 256 + SPECIAL_TOKENS.len();
    if vocabulary < least {
        return Err(PretrainError::Config(format!("vocabulary is {vocabulary}, give at least {least}")));
    }
    let failed = |error: tokenizers::Error| PretrainError::Tokenizer(error.to_string());
    let bytes = || ByteLevel::default().add_prefix_space(false);
    let parts = vec![PreTokenizerWrapper::Digits(Digits::new(true)), PreTokenizerWrapper::ByteLevel(bytes())];
    let mut tokenizer =
        TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new()
            .with_model(BPE::default())
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(parts))))
            .with_decoder(Some(DecoderWrapper::ByteLevel(bytes())))
            .build()
            .map_err(failed)?;
    let special = SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special)
        .build();
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    // The generic wrapper types are the ones that `Tokenizer` reads back.
    let text = serde_json::to_string(&tokenizer).map_err(|e| PretrainError::Tokenizer(e.to_string()))?;
    text.parse().map_err(failed)
}

/// Writes `tokenizer.json` and `tokenizer_config.json` with the chat template.
///
/// # Errors
/// The file system refuses.
pub fn write(tokenizer: &Tokenizer, directory: &Path, max_length: usize) -> Result<(), PretrainError> {
    fs::create_dir_all(directory).map_err(|e| PretrainError::io("create", directory, e))?;
    let text = tokenizer.to_string(true).map_err(|e| PretrainError::Tokenizer(e.to_string()))?;
    let path = directory.join("tokenizer.json");
    fs::write(&path, text + "\n").map_err(|e| PretrainError::io("write", &path, e))?;
    let added: serde_json::Map<String, serde_json::Value> = SPECIAL_TOKENS
        .iter()
        .filter_map(|token| Some((tokenizer.token_to_id(token)?.to_string(), *token)))
        .map(|(id, content)| {
            let flags = json!({
                "content": content, "lstrip": false, "normalized": false,
                "rstrip": false, "single_word": false, "special": true,
            });
            (id, flags)
        })
        .collect();
    let config = json!({
        "added_tokens_decoder": added,
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": SPECIAL_TOKENS[1..4],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "model_max_length": max_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    let path = directory.join("tokenizer_config.json");
    fs::write(&path, format!("{config:#}\n")).map_err(|e| PretrainError::io("write", &path, e))
}

/// Reads `tokenizer.json` of a directory.
///
/// # Errors
/// It is missing or damaged.
pub fn read(directory: &Path) -> Result<Tokenizer, PretrainError> {
    let path = directory.join("tokenizer.json");
    Tokenizer::from_file(&path).map_err(|e| PretrainError::Tokenizer(format!("`{}`: {e}", path.display())))
}
