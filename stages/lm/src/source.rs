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
    use serde_json::json;
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::{Arc, Mutex},
    };

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

    /// Serves one model over loopback as the hub does, until the test ends; notes what was asked for.
    fn serve(files: &'static [(&'static str, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .map(|line| line.to_lowercase())
                    .collect();
                asked.lock().unwrap().extend(lines.iter().cloned());
                let path = lines[0].split(' ').nth(1).unwrap();
                let (status, headers, body) = if path == "/api/models/org/name/revision/main" {
                    let names: Vec<_> = files.iter().map(|(name, _)| json!({"rfilename": name})).collect();
                    ("200 OK", String::new(), json!({"sha": COMMIT, "siblings": names}).to_string())
                } else if let Some((name, body)) =
                    files.iter().find(|(name, _)| path == format!("/org/name/resolve/{COMMIT}/{name}"))
                {
                    // A range of the first byte asks for the size; the file itself is asked for from byte 0 on.
                    let first = lines.iter().any(|line| line == "range: bytes=0-0");
                    let end = if first { 1 } else { body.len() };
                    let range = format!("content-range: bytes 0-{}/{}", end - 1, body.len());
                    let headers = format!("etag: \"{name}\"\r\nx-repo-commit: {COMMIT}\r\n{range}\r\n");
                    ("206 Partial Content", headers, body[..end].to_owned())
                } else {
                    ("404 Not Found", String::new(), String::new())
                };
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                )
                .unwrap();
            }
        });
        (address, log)
    }

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_model_is_fetched_whole_and_once_with_the_token() {
        const FILES: &[(&str, &str)] = &[
            ("config.json", "{}"),
            ("README.md", "not needed"),
            ("tokenizer.json", "{}"),
            ("model.safetensors.index.json", r#"{"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}"#),
            ("x.safetensors", "xx"),
            ("y.safetensors", "yyy"),
        ];
        let (endpoint, log) = serve(FILES);
        let cache = tempfile::tempdir().unwrap();
        let token = Some("secret".to_owned());
        let hub = HubOptions { cache: cache.path().to_owned(), endpoint: Some(endpoint), token, offline: false };
        let dir = hub.fetch("org/name", None).unwrap();
        for (name, content) in FILES.iter().filter(|(name, _)| *name != "README.md") {
            assert_eq!(std::fs::read_to_string(dir.join(name)).unwrap(), *content);
        }
        assert!(!dir.join("README.md").exists());
        let asked = std::mem::take(&mut *log.lock().unwrap());
        assert!(asked.iter().any(|line| line == "authorization: bearer secret"));
        assert_eq!(hub.fetch("org/name", None).unwrap(), dir);
        assert!(!log.lock().unwrap().iter().any(|line| line.contains("/resolve/")));
        assert_eq!(offline(cache.path().to_owned()).fetch("org/name", Some(COMMIT)).unwrap(), dir);
        let error = hub.fetch("org/missing", None).unwrap_err().to_string();
        assert!(error.contains("org/missing") && error.contains("HF_TOKEN") && !error.contains("secret"), "{error}");
    }
}
