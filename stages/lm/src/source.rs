//! Where a model comes from: a folder, or the Hugging Face hub through its local cache.

use crate::{LmError, LmResult, weights};
use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{ApiBuilder, ApiRepo},
};
use std::path::PathBuf;

/// Files besides the weights that a model folder may have; only `config.json` must exist.
const SIDE_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// How to reach the hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Folder of the hub's cache, as the Python client lays it out.
    pub cache: PathBuf,
    /// Base address of the hub.
    pub endpoint: Option<String>,
    /// Access token; never written anywhere.
    pub token: Option<String>,
    /// Use what the cache has and nothing else.
    pub offline: bool,
}

impl HubOptions {
    /// Reads `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` (else the token file in the cache) and `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = Cache::from_env();
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()));
        Self {
            endpoint: variable("HF_ENDPOINT"),
            token: variable("HF_TOKEN").or_else(|| cache.token()),
            offline,
            cache: cache.path().clone(),
        }
    }

    /// The folder of a model in the cache, fetched first where it is not there and `offline` is not set. `revision` is a
    /// branch, tag or commit; `main` without it.
    ///
    /// # Errors
    /// The model does not exist, the hub cannot be reached, or offline and not in the cache.
    pub fn fetch(&self, repo: &str, revision: Option<&str>) -> LmResult<PathBuf> {
        let revision = revision.unwrap_or("main");
        let named = |revision: &str| Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        let config = if self.offline {
            Cache::new(self.cache.clone()).repo(named(revision)).get("config.json").ok_or_else(|| LmError::Hub {
                repo: repo.to_owned(),
                message: format!(
                    "revision `{revision}` is not in the cache `{}` and HF_HUB_OFFLINE is set; fetch it once online",
                    self.cache.display()
                ),
            })?
        } else {
            let mut builder = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
                .with_progress(false)
                .with_retries(3)
                .with_token(self.token.clone());
            if let Some(endpoint) = &self.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            let failed = |what: &str, error: &dyn std::fmt::Display| LmError::Hub {
                repo: repo.to_owned(),
                message: format!(
                    "{what}: {error}; check the name, HF_TOKEN for gated models, or set HF_HUB_OFFLINE=1 to use the cache"
                ),
            };
            let api = builder.build().map_err(|error| failed("hub client", &error))?;
            let info =
                api.repo(named(revision)).info().map_err(|error| failed(&format!("revision `{revision}`"), &error))?;
            // All files from the commit that the revision means now, even if it moves meanwhile.
            let pinned = api.repo(named(&info.sha));
            let names: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
            fetch_files(&pinned, &names).map_err(|(file, error)| failed(&format!("file `{file}`"), &error))?
        };
        config.parent().map(PathBuf::from).ok_or_else(|| LmError::Hub {
            repo: repo.to_owned(),
            message: format!("`{}` has no folder", config.display()),
        })
    }
}

/// Fetches what a model folder needs of the files that exist; gives the path of `config.json`.
fn fetch_files(repo: &ApiRepo, existing: &[String]) -> Result<PathBuf, (String, String)> {
    let get = |name: &str| repo.get(name).map_err(|error| (name.to_owned(), error.to_string()));
    let has = |name: &str| existing.iter().any(|file| file == name);
    let config = get("config.json")?;
    for name in SIDE_FILES.iter().skip(1).filter(|name| has(name)) {
        get(name)?;
    }
    if has(weights::SINGLE) {
        get(weights::SINGLE)?;
        return Ok(config);
    }
    let index = get(weights::INDEX)?;
    let wrong = |message: String| (weights::INDEX.to_owned(), message);
    let text = std::fs::read_to_string(&index).map_err(|error| wrong(error.to_string()))?;
    for shard in weights::shard_names(&text).map_err(wrong)? {
        get(&shard)?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline(cache: PathBuf) -> HubOptions {
        HubOptions { cache, endpoint: None, token: None, offline: true }
    }

    #[test]
    fn offline_models_come_from_the_cache_or_say_so() {
        let cache = tempfile::tempdir().unwrap();
        let root = cache.path().join("models--org--name");
        let snapshot = root.join("snapshots").join("abc");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(root.join("refs")).unwrap();
        std::fs::write(root.join("refs/main"), "abc").unwrap();
        std::fs::write(snapshot.join("config.json"), "{}").unwrap();
        let hub = offline(cache.path().to_owned());
        assert_eq!(hub.fetch("org/name", None).unwrap(), snapshot);
        let error = hub.fetch("org/other", Some("v2")).unwrap_err().to_string();
        assert!(error.contains("org/other") && error.contains("`v2`") && error.contains("HF_HUB_OFFLINE"), "{error}");
    }
}
