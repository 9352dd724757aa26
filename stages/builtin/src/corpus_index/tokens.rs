//! The tokenizer of an index: kept beside it, so that questions are cut as the documents were.

use lsn_digest::Digest;
use lsn_infinigram::{Description, TokenWidth};
use lsn_lm::TextTokenizer;
use lsn_stage::{StageError, StageResult};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The tokenizer's file, in a model folder and in an index.
const FILE: &str = "tokenizer.json";
const BYTES: &str = "bytes";

/// Cuts texts into the tokens of an index.
pub enum CorpusTokenizer {
    /// Every byte of the UTF-8 text is a token, as in the infini-gram package without a tokenizer.
    Bytes,
    /// A `tokenizer.json`.
    File { tokenizer: Box<TextTokenizer>, path: PathBuf, digest: Digest },
}

impl CorpusTokenizer {
    /// Reads the `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// There is none, or it does not read.
    pub fn from_folder(folder: &Path) -> StageResult<Self> {
        let path = folder.join(FILE);
        let bytes =
            fs::read(&path).map_err(|error| StageError::user(format!("cannot read {}: {error}", path.display())))?;
        let tokenizer = TextTokenizer::from_file(&path).map_err(|error| StageError::user(error.to_string()))?;
        Ok(Self::File { tokenizer: Box::new(tokenizer), path, digest: Digest::of(&bytes) })
    }

    /// The tokenizer of an index: the one in `folder` if given, else the one that the index was built with.
    ///
    /// # Errors
    /// It is not known, or it is another one than the index was built with.
    pub fn of_index(index: &Path, folder: Option<&Path>) -> StageResult<Self> {
        let built_with = Description::read(index).map_err(super::index_error)?.and_then(|said| said.tokenizer);
        let tokenizer = match (folder, built_with.as_deref()) {
            (Some(folder), _) => Self::from_folder(folder)?,
            (None, Some(BYTES)) => Self::Bytes,
            (None, _) if index.join(FILE).exists() => Self::from_folder(index)?,
            (None, _) => {
                return Err(StageError::user(format!("the tokenizer of {} is not known", index.display()))
                    .hint("give the folder of the `tokenizer.json` that the index was built with"));
            }
        };
        match built_with {
            Some(built_with) if built_with != tokenizer.name() => Err(StageError::user(format!(
                "{} was built with the tokenizer `{built_with}`, not with `{}`",
                index.display(),
                tokenizer.name()
            ))
            .hint("use the tokenizer that the index was built with, or build the index again")),
            _ => Ok(tokenizer),
        }
    }

    /// What the index says about its tokens.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Bytes => BYTES.to_owned(),
            Self::File { digest, .. } => format!("{FILE} {digest}"),
        }
    }

    /// The narrowest tokens that hold its ids.
    #[must_use]
    pub fn width(&self) -> TokenWidth {
        match self {
            Self::Bytes => TokenWidth::U8,
            Self::File { tokenizer, .. } => {
                TokenWidth::for_vocabulary(u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX))
            }
        }
    }

    /// The ids of a text, without special tokens around it.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode(&self, text: &str) -> StageResult<Vec<u32>> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Self::File { tokenizer, .. } => {
                tokenizer.encode(text, false).map_err(|error| StageError::user(error.to_string()))
            }
        }
    }

    /// The text of ids; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer fails on the ids.
    pub fn decode(&self, ids: &[u32]) -> StageResult<String> {
        match self {
            Self::Bytes => {
                let bytes: Vec<u8> = ids.iter().filter_map(|id| u8::try_from(*id).ok()).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Self::File { tokenizer, .. } => tokenizer.decode(ids).map_err(|error| StageError::user(error.to_string())),
        }
    }

    /// Leaves the tokenizer beside its index.
    pub(super) fn save(&self, index: &Path) -> StageResult<()> {
        let Self::File { path, .. } = self else { return Ok(()) };
        let copy = || fs::read(path).and_then(|bytes| fs::write(index.join(FILE), bytes));
        copy().map_err(|error| StageError::io(format!("cannot copy {}", path.display()), &error))
    }
}
