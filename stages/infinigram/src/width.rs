//! How wide a token id is in an index.

use crate::IndexError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The unsigned integer that an index keeps each token id in, little-endian. Its largest value separates documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenWidth {
    U8,
    U16,
    U32,
}

impl TokenWidth {
    /// All widths, narrowest first.
    pub const ALL: [Self; 3] = [Self::U8, Self::U16, Self::U32];

    /// Bytes per token.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// The id in front of every document: all bits set. No token of a document may have it; a query may.
    #[must_use]
    pub const fn separator(self) -> u32 {
        match self {
            Self::U8 => u8::MAX as u32,
            Self::U16 => u16::MAX as u32,
            Self::U32 => u32::MAX,
        }
    }

    /// The narrowest width for ids below `vocabulary`.
    #[must_use]
    pub fn for_vocabulary(vocabulary: u32) -> Self {
        Self::ALL.into_iter().find(|width| vocabulary <= width.separator()).unwrap_or(Self::U32)
    }

    /// Appends ids as an index keeps them.
    ///
    /// # Errors
    /// An id is too large for the width.
    pub(crate) fn encode(self, tokens: &[u32], out: &mut Vec<u8>) -> Result<(), IndexError> {
        if let Some(&token) = tokens.iter().find(|token| **token > self.separator()) {
            return Err(IndexError::TokenTooLarge { token, width: self });
        }
        match self {
            Self::U8 => out.extend(tokens.iter().map(|token| *token as u8)),
            Self::U16 => out.extend(tokens.iter().flat_map(|token| (*token as u16).to_le_bytes())),
            Self::U32 => out.extend(tokens.iter().flat_map(|token| token.to_le_bytes())),
        }
        Ok(())
    }

    /// The ids of an encoded text; bytes after the last whole token are left out.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<u32> {
        match self {
            Self::U8 => bytes.iter().map(|byte| u32::from(*byte)).collect(),
            Self::U16 => bytes.as_chunks().0.iter().map(|bytes| u32::from(u16::from_le_bytes(*bytes))).collect(),
            Self::U32 => bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
        }
    }
}

impl fmt::Display for TokenWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
        })
    }
}

impl FromStr for TokenWidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|width| width.to_string() == text)
            .ok_or_else(|| format!("`{text}` is no token width, expected u8, u16 or u32"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_leaves_room_for_the_separator() {
        let widths = [255, 256, 65_535, 65_536].map(TokenWidth::for_vocabulary);
        assert_eq!(widths, [TokenWidth::U8, TokenWidth::U16, TokenWidth::U16, TokenWidth::U32]);
    }

    #[test]
    fn ids_come_back() {
        for width in TokenWidth::ALL {
            let tokens = [0, 1, 77, width.separator()];
            let mut bytes = Vec::new();
            width.encode(&tokens, &mut bytes).unwrap();
            assert_eq!(bytes.len(), tokens.len() * width.bytes());
            assert_eq!(width.decode(&bytes), tokens);
            assert_eq!(width.to_string().parse(), Ok(width));
        }
        let error = TokenWidth::U8.encode(&[256], &mut Vec::new()).unwrap_err();
        assert!(matches!(error, IndexError::TokenTooLarge { token: 256, width: TokenWidth::U8 }));
    }
}
