//! Action records: what a task key gave, and everything that decided it.

use crate::Artifact;
use lsn_digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The version of the record format that this program writes.
///
/// Rule for readers: a record of a newer version is a miss and is left alone; an older one is read by the code of its
/// version.
pub const RECORD_VERSION: u32 = 1;

const RECORD_WORD: &str = "lsn-action";

/// Names an action record: the digest of everything that decides a task's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskKey(pub Digest);

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The result of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    pub key: TaskKey,
    /// Exactly the fields that were hashed into the key.
    pub key_manifest: Value,
    /// Output name → artifact.
    pub outputs: BTreeMap<String, Artifact>,
    /// How far two computations of the key must agree (`exact`, `seeded`, `sampled`).
    pub determinism: String,
    pub provenance: Provenance,
}

/// How a result came about. Nothing of it decides a hit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The pipeline's name, to find earlier records of the same task.
    pub pipeline: String,
    /// The task's name in that pipeline.
    pub task: String,
    /// When the task ended: milliseconds since the Unix epoch.
    pub finished_ms: u64,
    /// How long it ran: milliseconds.
    pub duration_ms: u64,
    /// Facts about the computation that do not name a host: versions, threads, kind of device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// Row counts by what became of the rows (`reused`, `computed`, `failed`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "metrics")]
    pub metrics: BTreeMap<String, f64>,
}

impl Provenance {
    #[must_use]
    pub fn finished(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.finished_ms)
    }

    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}

/// The bytes are not an action record that this program can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRecordError {
    #[error("it does not start with `{RECORD_WORD}` and a version")]
    NotARecord,
    #[error("it has format {found}, this program reads up to {RECORD_VERSION}; use a newer lsn")]
    Newer { found: u32 },
    #[error("its checksum does not match its content")]
    Checksum,
    #[error("its content does not parse: {0}")]
    Content(String),
    #[error("it is the record of another key, {0}")]
    OtherKey(TaskKey),
}

impl ActionRecord {
    /// The stored form: one line with word, version and BLAKE3 of the rest, then one JSON document.
    ///
    /// # Errors
    /// The key manifest or a fact cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_vec(self)?;
        let mut bytes = format!("{RECORD_WORD} {RECORD_VERSION} {}\n", Digest::of(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads the stored form and checks it.
    ///
    /// # Errors
    /// Any damage, a newer format, or the record of another key than `key`.
    pub fn decode(key: &TaskKey, bytes: &[u8]) -> Result<Self, ParseRecordError> {
        let record = Self::decode_any(bytes)?;
        if record.key == *key { Ok(record) } else { Err(ParseRecordError::OtherKey(record.key)) }
    }

    fn decode_any(bytes: &[u8]) -> Result<Self, ParseRecordError> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(ParseRecordError::NotARecord)?;
        let (head, body) = (&bytes[..end], &bytes[end + 1..]);
        let head = std::str::from_utf8(head).map_err(|_| ParseRecordError::NotARecord)?;
        let mut words = head.split(' ');
        if words.next() != Some(RECORD_WORD) {
            return Err(ParseRecordError::NotARecord);
        }
        let version: u32 = words.next().and_then(|word| word.parse().ok()).ok_or(ParseRecordError::NotARecord)?;
        if version > RECORD_VERSION {
            return Err(ParseRecordError::Newer { found: version });
        }
        let checksum: Digest = words.next().and_then(|word| word.parse().ok()).ok_or(ParseRecordError::NotARecord)?;
        if Digest::of(body) != checksum {
            return Err(ParseRecordError::Checksum);
        }
        serde_json::from_slice(body).map_err(|error| ParseRecordError::Content(error.to_string()))
    }

    /// Whether two records give the same outputs.
    #[must_use]
    pub fn same_outputs(&self, other: &Self) -> bool {
        self.outputs.len() == other.outputs.len()
            && self.outputs.iter().zip(&other.outputs).all(|((name, a), (other_name, b))| {
                name == other_name && a.digest() == b.digest() && a.executable() == b.executable()
            })
    }
}

impl Artifact {
    fn executable(&self) -> bool {
        matches!(self, Self::File(file) if file.executable)
    }
}

/// JSON has no NaN and no infinities; they are written as strings.
mod metrics {
    use serde::{Deserialize, Deserializer, Serializer, ser::SerializeMap};
    use serde_json::Value;
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(metrics: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(metrics.len()))?;
        for (name, value) in metrics {
            if value.is_finite() {
                map.serialize_entry(name, value)?;
            } else {
                map.serialize_entry(name, &value.to_string())?;
            }
        }
        map.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
        BTreeMap::<String, Value>::deserialize(deserializer)?
            .into_iter()
            .map(|(name, value)| {
                let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                number.map(|number| (name, number)).ok_or_else(|| serde::de::Error::custom("a metric is not a number"))
            })
            .collect()
    }
}
