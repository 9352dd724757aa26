//! Diversity of a set of texts: what they share word for word, and how far apart their embeddings lie.

mod self_bleu;
mod tokenize;
mod vendi;

pub use self_bleu::{BleuForm, SelfBleu, Smoothing, self_bleu, self_bleu_tokens};
pub use tokenize::BleuTokenizer;
pub use vendi::{Order, Spectrum, SpectrumError};
