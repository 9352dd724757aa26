//! Key manifests: exactly what decides a task's outputs, and the task key hashed from it.

use lsn_cache::TaskKey;
use lsn_digest::{Canonical, Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The version of the key format.
///
/// It is raised when the same fields would be hashed otherwise. Rule for old records: one whose key manifest has an older
/// format but equal fields is adopted under the new key, never recomputed.
pub const KEY_FORMAT: u32 = 1;

/// One input artifact as a key sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyInput {
    pub digest: Digest,
    /// The file name under which the artifact appears; only where the program sees it (`command`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Everything that decides a task's outputs; equal key manifests mean that the outputs can be reused.
///
/// Stored with the action record. What is not here (stage name, retries, resources, paths, executor) never recomputes
/// anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyManifest {
    pub format: u32,
    /// The stage type.
    pub stage: Arc<str>,
    /// The stage type's behaviour version.
    pub version: u32,
    pub params: Arc<Value>,
    pub inputs: BTreeMap<String, Vec<KeyInput>>,
    pub env: Arc<BTreeMap<String, String>>,
}

impl KeyManifest {
    /// The task key: the canonical encoding of this value's JSON form under the domain `lsn/task-key`.
    #[must_use]
    pub fn key(&self) -> TaskKey {
        let mut encoder = Canonical::new("lsn/task-key");
        encoder.map(6).str("env").map(self.env.len());
        for (name, value) in &*self.env {
            encoder.str(name).str(value);
        }
        encoder.str("format").u64(self.format.into()).str("inputs").map(self.inputs.len());
        for (name, artifacts) in &self.inputs {
            encoder.str(name).seq(artifacts.len());
            for artifact in artifacts {
                encoder.map(1 + usize::from(artifact.name.is_some())).str("digest").str(&artifact.digest.hex());
                if let Some(name) = &artifact.name {
                    encoder.str("name").str(name);
                }
            }
        }
        encoder.str("params").json(&self.params).str("stage").str(&self.stage);
        encoder.str("version").u64(self.version.into());
        TaskKey(encoder.finish())
    }

    /// The form that an action record stores.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Every field is a string, a number, JSON already, or a map with string keys: nothing of it can fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads a stored key manifest; `None` for one of a newer or foreign format.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        Self::deserialize(json).ok().filter(|manifest| manifest.format <= KEY_FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> KeyManifest {
        KeyManifest {
            format: KEY_FORMAT,
            stage: "generate".into(),
            version: 3,
            params: Arc::new(json!({"seed": 1, "max_tokens": 64, "pipeline": {"temperature": 0.7}})),
            inputs: BTreeMap::from([
                ("model".to_owned(), vec![KeyInput { digest: Digest::of(b"model"), name: None }]),
                (
                    "prompts".to_owned(),
                    vec![
                        KeyInput { digest: Digest::of(b"a"), name: Some("a.txt".to_owned()) },
                        KeyInput { digest: Digest::of(b"b"), name: Some("b.txt".to_owned()) },
                    ],
                ),
            ]),
            env: Arc::new(BTreeMap::from([("LANG".to_owned(), "C".to_owned())])),
        }
    }

    /// Invariant 5: the stored key manifest is what was hashed.
    #[test]
    fn the_key_is_the_digest_of_the_stored_form() {
        let manifest = manifest();
        let mut encoder = Canonical::new("lsn/task-key");
        encoder.json(&manifest.to_json());
        assert_eq!(manifest.key().0, encoder.finish());
        assert_eq!(KeyManifest::from_json(&manifest.to_json()).as_ref(), Some(&manifest));
    }

    /// A change of these digests recomputes everything that anybody ever computed: raise [`KEY_FORMAT`] and write the
    /// adoption of old records instead of updating the snapshot.
    #[test]
    fn keys_are_frozen() {
        insta::assert_snapshot!("task_key", manifest().key().0.hex());
        let bare = KeyManifest {
            stage: "command".into(),
            params: Arc::new(json!({"run": "cp ${inputs.a} ${outputs.b}", "outputs": {"b": "b.txt"}, "shell": "sh"})),
            inputs: BTreeMap::new(),
            env: Arc::default(),
            version: 1,
            format: KEY_FORMAT,
        };
        insta::assert_snapshot!("task_key_without_inputs", bare.key().0.hex());
    }

    #[test]
    fn every_field_decides() {
        let base = manifest();
        let mut others = vec![
            KeyManifest { format: 2, ..base.clone() },
            KeyManifest { stage: "verify".into(), ..base.clone() },
            KeyManifest { version: 4, ..base.clone() },
            KeyManifest { params: Arc::new(json!({})), ..base.clone() },
            KeyManifest { inputs: BTreeMap::new(), ..base.clone() },
            KeyManifest { env: Arc::default(), ..base.clone() },
        ];
        let mut renamed = base.clone();
        renamed.inputs.get_mut("prompts").unwrap()[0].name = Some("c.txt".to_owned());
        others.push(renamed);
        let mut swapped = base.clone();
        swapped.inputs.get_mut("prompts").unwrap().reverse();
        others.push(swapped);
        for other in others {
            assert_ne!(other.key(), base.key(), "{other:?}");
        }
    }
}
