//! Files of data sets on the Hugging Face hub.

use super::RowParams;
use hf_hub::{Cache, Repo, RepoType, api::sync::ApiBuilder};
use lsn_stage::{FailureClass, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One file of a data set repository at a fixed commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// The repository, `owner/name`.
    pub repo: String,
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
    /// The file's path in the repository.
    pub file: String,
    /// How its rows become prompts.
    #[serde(default)]
    pub source: RowParams,
}

impl HubFile {
    /// Whether the revision can only ever mean one content.
    pub(super) fn is_pinned(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The local copy of the file, downloaded where it is not there yet (`HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and
    /// `HF_HUB_OFFLINE` are honoured).
    pub(super) fn fetch(&self) -> StageResult<PathBuf> {
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Dataset, self.revision.clone());
        if let Some(path) = Cache::from_env().repo(repo.clone()).get(&self.file) {
            return Ok(path);
        }
        let name = format!("{}/{} at {}", self.repo, self.file, self.revision);
        let set = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty() && value != "0");
        if set("HF_HUB_OFFLINE").is_some() {
            return Err(StageError::user(format!("{name} is not in the local hub cache and HF_HUB_OFFLINE is set"))
                .hint("unset HF_HUB_OFFLINE, or fetch the file beforehand"));
        }
        let failed = |error: hf_hub::api::sync::ApiError| {
            StageError::new(FailureClass::Infrastructure, format!("cannot download {name}: {error}"))
                .hint("check the name and the network; a private data set needs HF_TOKEN")
        };
        let mut builder = ApiBuilder::from_env().with_progress(false);
        if let Some(token) = set("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        builder.build().map_err(failed)?.repo(repo).get(&self.file).map_err(failed)
    }
}
