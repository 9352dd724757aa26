//! Artifacts: immutable files and directories, named by the digest of their content.

use base64::{Engine, engine::general_purpose::STANDARD};
use lsn_digest::{Canonical, Digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, sync::Arc};

/// One output of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Artifact {
    File(FileEntry),
    Directory(Directory),
}

/// A file: the digest and number of its bytes, and whether it is executable.
///
/// Contents of a few KiB travel inside (`inline`); all others are blobs of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "inline")]
    pub inline: Option<Arc<[u8]>>,
}

/// What lies under one relative path of a directory artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    File(FileEntry),
    /// Listed so that empty directories come back too.
    Directory,
}

/// A directory: relative paths (`/` between names, UTF-8) with what lies there.
///
/// Symbolic links do not occur: a link is recorded as what a reader finds behind it, so that an artifact means the same
/// on every file system and object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    digest: Digest,
    entries: BTreeMap<String, Entry>,
}

impl Directory {
    /// Computes the digest of `entries`: over the sorted list of relative path, kind, executable bit and digest.
    #[must_use]
    pub fn new(entries: BTreeMap<String, Entry>) -> Self {
        let mut encoder = Canonical::new("lsn/directory/1");
        encoder.map(entries.len());
        for (path, entry) in &entries {
            encoder.str(path);
            match entry {
                Entry::File(file) => encoder.str("file").bool(file.executable).digest(&file.digest),
                Entry::Directory => encoder.str("directory"),
            };
        }
        Self { digest: encoder.finish(), entries }
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }
}

impl Artifact {
    /// What names the artifact in keys: of a file its content digest, of a directory the digest of its listing.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::File(file) => file.digest,
            Self::Directory(directory) => directory.digest,
        }
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files().map(|(_, file)| file.size).sum()
    }

    /// Every file with its relative path; the path of a file artifact is empty.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileEntry)> {
        let (single, many) = match self {
            Self::File(file) => (Some(("", file)), None),
            Self::Directory(directory) => (None, Some(directory)),
        };
        let many = many.into_iter().flat_map(|directory| {
            directory.entries.iter().filter_map(|(path, entry)| match entry {
                Entry::File(file) => Some((path.as_str(), file)),
                Entry::Directory => None,
            })
        });
        single.into_iter().chain(many)
    }

    /// The files whose contents are blobs of the store.
    pub fn blobs(&self) -> impl Iterator<Item = (&str, &FileEntry)> {
        self.files().filter(|(_, file)| file.inline.is_none())
    }
}

/// Inline contents as a JSON string where they are UTF-8, else as `{"base64": …}`.
mod inline {
    use super::{Arc, Deserialize, Deserializer, Engine, STANDARD, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Text<'a> {
        Utf8(std::borrow::Cow<'a, str>),
        Other { base64: String },
    }

    #[expect(clippy::ref_option, reason = "the signature that serde's `with` asks for")]
    pub fn serialize<S: Serializer>(bytes: &Option<Arc<[u8]>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes
            .as_deref()
            .map(|bytes| match std::str::from_utf8(bytes) {
                Ok(text) => Text::Utf8(text.into()),
                Err(_) => Text::Other { base64: STANDARD.encode(bytes) },
            })
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<[u8]>>, D::Error> {
        Option::<Text<'_>>::deserialize(deserializer)?
            .map(|text| match text {
                Text::Utf8(text) => Ok(text.as_bytes().into()),
                Text::Other { base64 } => STANDARD.decode(base64).map(Into::into).map_err(serde::de::Error::custom),
            })
            .transpose()
    }
}
