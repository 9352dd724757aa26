//! The tokenizer of an encoder's folder: `tokenizer.json`, or BERT's WordPiece over a `vocab.txt`.

use super::folder::read_json;
use crate::{LmError, LmResult};
use std::path::Path;
use tokenizers::{
    Tokenizer, models::wordpiece::WordPiece, normalizers::bert::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer,
    processors::bert::BertProcessing,
};

pub(super) fn read(dir: &Path) -> LmResult<Tokenizer> {
    let path = dir.join("tokenizer.json");
    if path.is_file() {
        let mut tokenizer = Tokenizer::from_file(&path)
            .map_err(|error| LmError::Malformed { path: path.clone(), message: error.to_string() })?;
        // Texts are encoded one by one, and cut to the length of the network.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| LmError::Malformed { path, message: error.to_string() })?;
        return Ok(tokenizer);
    }
    let path = dir.join("vocab.txt");
    if !path.is_file() {
        return Err(LmError::MissingFile { dir: dir.to_owned(), file: "tokenizer.json" });
    }
    let malformed = |message: String| LmError::Malformed { path: path.clone(), message };
    let words = WordPiece::from_file(&path.to_string_lossy())
        .unk_token("[UNK]".to_owned())
        .build()
        .map_err(|error| malformed(error.to_string()))?;
    let lowercase = read_json(&dir.join("tokenizer_config.json"))?
        .and_then(|json| json.get("do_lower_case")?.as_bool())
        .unwrap_or(true);
    let mut tokenizer = Tokenizer::new(words);
    let special = |name: &str| {
        let id = tokenizer.token_to_id(name).map(|id| (name.to_owned(), id));
        id.ok_or_else(|| malformed(format!("has no `{name}`")))
    };
    let (end, start) = (special("[SEP]")?, special("[CLS]")?);
    let normalizer = BertNormalizer::new(true, true, None, lowercase);
    tokenizer.with_normalizer(Some(normalizer)).map_err(|error| malformed(error.to_string()))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(end, start)));
    Ok(tokenizer)
}
