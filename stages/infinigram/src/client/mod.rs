//! A client of the public infini-gram API (<https://infini-gram.readthedocs.io/en/latest/api.html>), or of any server that
//! answers its `count` queries.
//!
//! A question is asked once: answers go to a [`CountCache`] and come from there ever after, for a published corpus does not
//! change. No more than a few requests are under way at a time, failures that may pass are tried again after growing pauses,
//! and a request that pauses keeps its place, so that a server in trouble gets fewer requests, not more.

mod cache;
mod permits;
mod retry;

pub use cache::{Answer, CacheFile, CountCache, NoCache};
pub use retry::Retry;

use crate::CorpusCounts;
use permits::Permits;
use reqwest::{StatusCode, blocking, header::RETRY_AFTER};
use serde_json::{Value, json};
use std::{io, thread, time::Duration};

/// The public server.
pub const PUBLIC_URL: &str = "https://api.infini-gram.io/";

/// Which corpus to ask, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientOptions {
    pub url: String,
    /// The server's name of the corpus, such as `v4_rpj_llama_s4`.
    pub index: String,
    /// Requests under way at a time, however many threads ask.
    pub concurrency: usize,
    /// Time for one request, its answer included.
    pub timeout: Duration,
    pub retry: Retry,
}

impl ClientOptions {
    /// The public server: four requests at a time, of 30 seconds each.
    #[must_use]
    pub fn new(index: impl Into<String>) -> Self {
        Self {
            url: PUBLIC_URL.to_owned(),
            index: index.into(),
            concurrency: 4,
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
        }
    }
}

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot set up an HTTP client: {0}")]
    Setup(#[source] reqwest::Error),
    /// The server understood and says no: the query is too long, holds tokens that it does not know, or names no index of
    /// its. The same query is refused again.
    #[error("`{url}` refuses the query: {message}")]
    Refused { url: String, message: String },
    /// No answer, or none that makes sense, in all attempts; another time there may be one.
    #[error("no answer from `{url}` in {attempts} attempts: {problem}; try again later")]
    Unavailable { url: String, attempts: u32, problem: String },
    #[error("cannot use the cache of answers: {0}")]
    Cache(#[from] io::Error),
}

impl ClientError {
    /// Whether the same question may be answered another time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Cache(_))
    }
}

/// A corpus behind a server. Tokens are ids of its tokenizer (`u32`) or words (`&str`), which are asked for joined by single
/// spaces, as in the reference's overlap labeller. Safe to use from many threads at once.
pub struct Client {
    http: blocking::Client,
    options: ClientOptions,
    permits: Permits,
    cache: Box<dyn CountCache>,
}

/// What came back of one attempt.
enum Attempt {
    Answered(Answer),
    Refused(String),
    /// What went wrong, and how long the server wants to be left alone.
    Failed(String, Option<Duration>),
}

impl Client {
    /// # Errors
    /// The system has no usable TLS or DNS set-up.
    ///
    /// # Panics
    /// Called inside an asynchronous runtime: this client blocks.
    pub fn new(options: ClientOptions, cache: Box<dyn CountCache>) -> Result<Self, ClientError> {
        let http = blocking::Client::builder()
            .timeout(options.timeout)
            .user_agent(concat!("lsn/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, permits: Permits::new(options.concurrency), options, cache })
    }

    /// Asks with `"query": …` or `"query_ids": …`. The token ids of the answer are kept only where they are wanted.
    fn ask(&self, field: &str, query: Value, want_ids: bool) -> Result<Answer, ClientError> {
        let request = json!({"index": self.options.index, "query_type": "count", field: query});
        let key = json!({"url": self.options.url, "request": request, "token_ids": want_ids}).to_string();
        if let Some(answer) = self.cache.get(&key)? {
            return Ok(answer);
        }
        let mut answer = self.request(&request)?;
        if !want_ids {
            answer.token_ids.clear();
        }
        self.cache.put(&key, &answer)?;
        Ok(answer)
    }

    fn request(&self, request: &Value) -> Result<Answer, ClientError> {
        let _permit = self.permits.take();
        let url = || self.options.url.clone();
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(request) {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Refused(message) => return Err(ClientError::Refused { url: url(), message }),
                Attempt::Failed(problem, _) if attempt >= self.options.retry.attempts => {
                    return Err(ClientError::Unavailable { url: url(), attempts: attempt, problem });
                }
                Attempt::Failed(problem, wanted) => {
                    let pause = self.options.retry.pause(attempt, wanted);
                    tracing::debug!(attempt, ?pause, problem, "the corpus server did not answer");
                    thread::sleep(pause);
                }
            }
        }
    }

    fn attempt(&self, request: &Value) -> Attempt {
        let response = match self.http.post(&self.options.url).json(request).send() {
            Ok(response) => response,
            Err(error) => return Attempt::Failed(with_causes(&error), None),
        };
        let status = response.status();
        let wanted = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let wanted = wanted.map(Duration::from_secs);
        match response.text() {
            Ok(body) => read_answer(status, &body, wanted),
            Err(error) => Attempt::Failed(with_causes(&error), wanted),
        }
    }
}

/// Answers are `{"count": n, "token_ids": […], …}` or `{"error": "…"}`; an error comes with status 200 or 400 where the
/// query is at fault, with 5xx where the server is. What stands before it may answer in its own words.
fn read_answer(status: StatusCode, body: &str, wanted: Option<Duration>) -> Attempt {
    let answer: Option<Value> = serde_json::from_str(body).ok();
    let said = answer.as_ref().and_then(|answer| answer.get("error")).map(|error| match error {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let may_pass = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY].contains(&status);
    if may_pass {
        let problem = said.unwrap_or_else(|| shortened(body));
        return Attempt::Failed(format!("status {status}: {problem}"), wanted);
    }
    if let Some(message) = said {
        return Attempt::Refused(message);
    }
    if !status.is_success() {
        return Attempt::Refused(format!("status {status}: {}", shortened(body)));
    }
    let count = answer.as_ref().and_then(|answer| answer.get("count")).and_then(Value::as_u64);
    let ids = answer.as_ref().and_then(|answer| answer.get("token_ids")).cloned();
    match count {
        Some(count) => {
            let token_ids = ids.and_then(|ids| serde_json::from_value(ids).ok()).unwrap_or_default();
            Attempt::Answered(Answer { count, token_ids })
        }
        None => Attempt::Failed(format!("the answer has no count: {}", shortened(body)), wanted),
    }
}

fn shortened(body: &str) -> String {
    body.trim().chars().take(200).collect()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl CorpusCounts<u32> for Client {
    type Error = ClientError;

    fn count(&self, ngram: &[u32]) -> Result<u64, ClientError> {
        Ok(self.ask("query_ids", json!(ngram), false)?.count)
    }
}

impl CorpusCounts<&str> for Client {
    type Error = ClientError;

    fn count(&self, words: &[&str]) -> Result<u64, ClientError> {
        let is_operator = |word: &&str| matches!(*word, "AND" | "OR");
        // Inside a query these are operators. Cut in front of each, no part has one inside, and ids have no operators.
        if words.len() > 2 && words[1..words.len() - 1].iter().any(is_operator) {
            let mut ids = Vec::new();
            let mut rest = words;
            while !rest.is_empty() {
                let end = rest[1..].iter().position(is_operator).map_or(rest.len(), |at| at + 1);
                let (part, after) = rest.split_at(end);
                ids.extend(self.ask("query", json!(part.join(" ")), true)?.token_ids);
                rest = after;
            }
            return CorpusCounts::<u32>::count(self, &ids);
        }
        Ok(self.ask("query", json!(words.join(" ")), false)?.count)
    }
}
