//! Embedding texts with a BERT-class encoder (J. Devlin et al., arXiv 1810.04805), as sentence-transformers does (N. Reimers,
//! I. Gurevych, arXiv 1908.10084): the hidden states of a text's tokens, pooled and scaled to length 1.

mod bert;
mod folder;
mod wordpiece;

use crate::{LmError, LmResult};
use bert::Bert;
use std::path::Path;
use tokenizers::Tokenizer;

/// How the hidden states of a text become one vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens, `[CLS]` and `[SEP]` included.
    #[default]
    Mean,
    /// The first token's, `[CLS]`.
    Cls,
}

/// A text encoder of a model folder.
pub struct TextEncoder {
    network: Bert,
    tokenizer: Tokenizer,
    pooling: Pooling,
    /// Longer texts are cut, in tokens.
    max_tokens: usize,
    digest: [u8; 32],
}

impl TextEncoder {
    /// Whether a folder's `config.json` names an encoder rather than a language model.
    #[must_use]
    pub fn is_encoder(dir: &Path) -> bool {
        folder::read_json(&dir.join("config.json"))
            .is_ok_and(|config| config.is_some_and(|config| folder::is_bert(&config)))
    }

    /// Loads a folder of the MiniLM or BGE kind: `config.json`; `model.safetensors` or `pytorch_model.bin`; `tokenizer.json` or
    /// `vocab.txt`. `1_Pooling/config.json` decides the pooling and `sentence_bert_config.json` the length, where they exist.
    ///
    /// # Errors
    /// A missing or malformed file, an unknown architecture, a missing tensor or a wrong shape, by name.
    pub fn load(dir: &Path) -> LmResult<Self> {
        let folder = folder::EncoderFolder::read(dir)?;
        let network = Bert::load(&folder.config, &folder.tensors)?;
        let max_tokens = folder.max_tokens.unwrap_or(usize::MAX).min(network.max_positions());
        Ok(Self { network, tokenizer: folder.tokenizer, pooling: folder.pooling, max_tokens, digest: folder.digest })
    }

    /// BLAKE3 of everything in the folder that decides an embedding.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Length of an embedding.
    #[must_use]
    pub fn width(&self) -> usize {
        self.network.width()
    }

    /// Ids of a text as the network sees it, cut to its length, with `[CLS]` and `[SEP]`.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode(&self, text: &str) -> LmResult<Vec<u32>> {
        let failed = |error: tokenizers::Error| LmError::Tokenizer(error.to_string());
        let encoding = self.tokenizer.encode_fast(text, true).map_err(failed)?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > self.max_tokens {
            let end = ids.last().copied();
            ids.truncate(self.max_tokens);
            if let (Some(last), Some(end)) = (ids.last_mut(), end) {
                *last = end;
            }
        }
        Ok(ids)
    }

    /// Final hidden states `[tokens, width]`, row-major.
    ///
    /// # Errors
    /// No tokens, or one outside the vocabulary.
    pub fn hidden(&self, ids: &[u32]) -> LmResult<Vec<f32>> {
        self.network.forward(ids)
    }

    /// The embedding of a text: pooled, of length 1.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    pub fn embed(&self, text: &str) -> LmResult<Vec<f32>> {
        let hidden = self.hidden(&self.encode(text)?)?;
        let rows = match self.pooling {
            Pooling::Mean => hidden.as_slice(),
            Pooling::Cls => &hidden[..self.width()],
        };
        Ok(unit_mean(rows, self.width()))
    }
}

/// The mean of the rows of a row-major matrix, scaled to length 1; zeros stay zeros.
#[must_use]
fn unit_mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    mean.iter().map(|x| (x / norm) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_have_unit_length() {
        let mean = unit_mean(&[3.0, 0.0, 3.0, 8.0], 2);
        assert!((mean[0] - 0.6).abs() < 1e-6 && (mean[1] - 0.8).abs() < 1e-6);
        assert_eq!(unit_mean(&[0.0, 0.0], 2), [0.0, 0.0]);
    }
}
