//! Which model it is: a digest of everything in a folder that decides what the model says.

use crate::{LmError, LmResult, weights::weight_files};
use std::{fmt, path::Path};

/// BLAKE3 over config, generation config, weights, tokenizer and chat template of a model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelDigest([u8; 32]);

/// Domain of the hash; its number rises when the list of files or their order changes.
const DOMAIN: &str = "lsn/model/1";

/// Small files that decide prompts, stops and arithmetic; an absent one counts as such.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

impl ModelDigest {
    /// Hashes a model folder. File names and places do not count, contents do.
    ///
    /// # Errors
    /// A file cannot be read, or there are no weights.
    pub fn of_dir(dir: &Path) -> LmResult<Self> {
        let mut whole = blake3::Hasher::new();
        whole.update(DOMAIN.as_bytes());
        let mut add = |hash: Option<blake3::Hash>| {
            whole.update(&[u8::from(hash.is_some())]);
            whole.update(hash.map_or([0; 32], Into::into).as_slice());
        };
        for name in FILES {
            let path = dir.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => add(Some(blake3::hash(&bytes))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => add(None),
                Err(source) => return Err(LmError::Read { path, source }),
            }
        }
        for path in weight_files(dir)? {
            let mut hasher = blake3::Hasher::new();
            hasher.update_mmap_rayon(&path).map_err(|source| LmError::Read { path, source })?;
            add(Some(hasher.finalize()));
        }
        Ok(Self(*whole.finalize().as_bytes()))
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDigest({})", &self.to_string()[..12])
    }
}
