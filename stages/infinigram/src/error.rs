//! What can be wrong with an index.

use crate::TokenWidth;
use std::{
    io,
    path::{Path, PathBuf},
};

/// An index cannot be built, opened or searched.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file is not what the layout promises: truncated, overwritten, or of another token width.
    #[error("`{}` is damaged: {problem}; build the index again", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("`{}` holds no index: {problem}", path.display())]
    NoIndex { path: PathBuf, problem: String },
    #[error("`{}` does not say how wide its tokens are; give the width that it was built with", path.display())]
    UnknownWidth { path: PathBuf },
    #[error("the index of `{}` holds {found} tokens, not {given}", path.display())]
    OtherWidth { path: PathBuf, found: TokenWidth, given: TokenWidth },
    #[error("`{}` has the format {format}, this program reads up to {newest}; use a newer lsn", path.display())]
    NewerFormat { path: PathBuf, format: u32, newest: u32 },
    #[error("`{}` holds an index already; choose another directory or remove it", path.display())]
    Exists { path: PathBuf },
    #[error(
        "token id {token} does not fit an index of {width} tokens; build it with wider ones, or use the right tokenizer"
    )]
    TokenTooLarge { token: u32, width: TokenWidth },
    #[error("document {document} holds token id {}, which separates the documents of a {width} index; use wider tokens", width.separator())]
    SeparatorInDocument { document: u64, width: TokenWidth },
    #[error(
        "document {document} has {tokens} tokens, and the memory limit allows {most} at a time; allow more memory or use fewer threads"
    )]
    DocumentTooLong { document: u64, tokens: u64, most: u64 },
    #[error("there are no documents to index")]
    NoDocuments,
    #[error("cannot sort the suffixes of `{}`: {problem}", path.display())]
    Sort { path: PathBuf, problem: String },
}

impl IndexError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }
}
