//! Text to token ids and back.

use crate::{LmError, LmResult};
use std::path::Path;

/// The tokenizer of a model folder.
pub struct TextTokenizer(tokenizers::Tokenizer);

impl TextTokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn from_file(path: &Path) -> LmResult<Self> {
        tokenizers::Tokenizer::from_file(path)
            .map(Self)
            .map_err(|error| LmError::Malformed { path: path.to_owned(), message: error.to_string() })
    }

    /// Ids of a text; `special` adds what the tokenizer puts around a text of its own (a rendered chat has that already).
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode(&self, text: &str, special: bool) -> LmResult<Vec<u32>> {
        let encoding = self.0.encode_fast(text, special).map_err(|error| LmError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids without special tokens; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer fails on the ids.
    pub fn decode(&self, ids: &[u32]) -> LmResult<String> {
        self.0.decode(ids, true).map_err(|error| LmError::Tokenizer(error.to_string()))
    }

    /// The piece of one id, as the vocabulary spells it.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.0.id_to_token(id)
    }

    /// The id of a piece.
    #[must_use]
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.0.token_to_id(piece)
    }

    /// Number of pieces, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}
