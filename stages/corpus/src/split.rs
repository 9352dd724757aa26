//! Which documents may be trained on: decided by what a problem is.

/// The disjoint parts of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// What the language model is trained on.
    Train,
    /// What its held-out loss and accuracy are measured on.
    HeldOut,
    /// Prompts to train samplers with.
    PromptsTrain,
    /// Prompts to evaluate samplers with.
    PromptsHeldOut,
}

impl Split {
    /// The split of a content hash: 4 % each for the three held-out parts, the rest for training.
    #[must_use]
    pub fn of(content: u64) -> Self {
        match content % 100 {
            0..4 => Self::HeldOut,
            4..8 => Self::PromptsTrain,
            8..12 => Self::PromptsHeldOut,
            _ => Self::Train,
        }
    }

    /// A constant that keeps the random streams of the splits apart.
    pub(crate) fn stream(self) -> u64 {
        match self {
            Self::Train => 0,
            Self::HeldOut => 1,
            Self::PromptsTrain => 2,
            Self::PromptsHeldOut => 3,
        }
    }
}

/// Hashes the parts of a problem's content: FNV-1a over length-prefixed parts, then the finaliser of MurmurHash3.
///
/// Stable for ever: changing it moves problems between the splits.
pub(crate) fn content_hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut byte = |value: u8| {
        hash ^= u64::from(value);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    };
    for part in parts {
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut byte);
        part.bytes().for_each(&mut byte);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
