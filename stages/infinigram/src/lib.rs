//! How often any n-gram, of any length, occurs in a corpus.
//!
//! * [`Index`]: a suffix array over token ids on disk, searched through memory maps. [`IndexBuilder`] makes one in bounded
//!   memory. The layout is that of the infini-gram package (Liu et al. 2024, <https://arxiv.org/abs/2401.17377>), so each
//!   opens the other's indexes.
//! * [`CorpusCounts`]: what one can ask of a corpus: counts, n-gram and ∞-gram probabilities, longest matches.
//! * [`MatchProfile`], [`GreedyCover`]: how much of a text is in the corpus, word for word.
//! * `client` (a feature, on by default): the same questions to a server that speaks the public infini-gram API.
//!
//! Tokens are numbers here; whoever calls has the tokenizer.

mod build;
#[cfg(feature = "client")]
pub mod client;
mod counts;
mod description;
mod error;
mod index;
mod overlap;
mod shard;
mod suffixes;
mod width;

pub use build::{BuildOptions, IndexBuilder, build};
pub use counts::{Backoff, CorpusCounts, Probability};
pub use description::{DESCRIPTION_FILE, Description};
pub use error::IndexError;
pub use index::{Index, Matches, NextTokens, Occurrence};
pub use overlap::{CREATIVITY_LENGTHS, GreedyCover, MatchProfile, NgramHits};
pub use width::TokenWidth;
