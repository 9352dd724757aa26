//! `label.overlap`: generations → how much of each one is in a corpus, word for word.
//!
//! The corpus is a local index, whose tokens are then the unit of all measures, or one behind a server of the infini-gram API,
//! where the unit is a word between white space and only the greedy cover is measured: it takes the fewest questions.

use crate::{
    corpus_index::{CorpusTokenizer, index_error},
    label_memo::{LabelMemo, for_each_chunk},
};
use lsn_digest::{Canonical, Digest};
use lsn_infinigram::{
    CREATIVITY_LENGTHS, CorpusCounts, GreedyCover, Index, MatchProfile,
    client::{Answer, Client, ClientError, ClientOptions, CountCache},
};
use lsn_stage::{
    FailureClass, ParamIssue, Port, PortKind, RowKey, RowSpace, Stage, StageContext, StageError, StageResult,
    dataset::{DataSetReader, DataSetWriter},
    record::{FinishReason, Generation, OverlapLabel, Record},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

/// Parameters of `label.overlap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelOverlapParams {
    /// Longest pieces of the greedy cover, in tokens of the index or in words.
    pub max_n: usize,
    /// Lengths of the n-grams whose share in the corpus is measured (local index only).
    pub ngrams: Vec<usize>,
    /// A corpus behind a server, instead of the input `index`.
    pub api: Option<OverlapApi>,
}

/// A server of the infini-gram API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverlapApi {
    /// The server's name of the corpus, such as `v4_rpj_llama_s4`.
    pub index: String,
    /// Where the server is.
    #[serde(default = "public_url")]
    pub url: String,
    /// Requests under way at a time.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Seconds that one request may take.
    #[serde(default = "default_timeout")]
    pub timeout_s: u64,
    /// Requests for one count before the task fails; the engine may try the task again, and goes on from what was answered.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
}

fn public_url() -> String {
    lsn_infinigram::client::PUBLIC_URL.to_owned()
}

fn default_concurrency() -> usize {
    ClientOptions::new("").concurrency
}

fn default_timeout() -> u64 {
    ClientOptions::new("").timeout.as_secs()
}

fn default_attempts() -> u32 {
    ClientOptions::new("").retry.attempts
}

impl Default for LabelOverlapParams {
    fn default() -> Self {
        Self { max_n: 10, ngrams: vec![5, 8, 13], api: None }
    }
}

/// The stage type.
pub struct LabelOverlap;

impl Stage for LabelOverlap {
    type Params = LabelOverlapParams;

    fn name(&self) -> &'static str {
        "label.overlap"
    }

    fn about(&self) -> &'static str {
        "measures how much of each generation is in a corpus: greedy cover, longest match, n-gram hits, Creativity Index"
    }

    fn version(&self) -> u32 {
        1
    }

    fn inputs(&self, params: &LabelOverlapParams) -> Vec<Port> {
        let index = Port::new("index", PortKind::Directory, "an index made by `index` or by the infini-gram package");
        let tokenizer = "the folder of the index's `tokenizer.json`, where the index does not hold it";
        vec![
            Port::new("generations", PortKind::DataSet(Generation::TYPE.to_owned()), "the generations to measure"),
            if params.api.is_some() { index.optional() } else { index },
            Port::new("tokenizer", PortKind::Directory, tokenizer).optional(),
        ]
    }

    fn outputs(&self, _params: &LabelOverlapParams) -> Vec<Port> {
        vec![Port::new("rows", PortKind::DataSet(OverlapLabel::TYPE.to_owned()), "one row per generation")]
    }

    fn check(&self, params: &LabelOverlapParams) -> Result<(), Vec<ParamIssue>> {
        let mut issues = Vec::new();
        let mut at_least_one = |pointer: String, value: u64| {
            if value == 0 {
                issues.push(ParamIssue { pointer, message: "must be at least 1".to_owned(), suggestion: None });
            }
        };
        at_least_one("/max_n".to_owned(), params.max_n as u64);
        for (place, n) in params.ngrams.iter().enumerate() {
            at_least_one(format!("/ngrams/{place}"), *n as u64);
        }
        if let Some(api) = &params.api {
            at_least_one("/api/concurrency".to_owned(), api.concurrency as u64);
            at_least_one("/api/timeout_s".to_owned(), api.timeout_s);
            at_least_one("/api/attempts".to_owned(), u64::from(api.attempts));
        }
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }

    fn run(&self, params: LabelOverlapParams, ctx: &StageContext) -> StageResult<()> {
        let corpus = Corpus::open(ctx, &params)?;
        let reader = DataSetReader::<Generation>::open(&ctx.input("generations")?.path)?;
        let memo = LabelMemo::open(ctx, "label.overlap")?;
        let mut writer = DataSetWriter::create(ctx.output("rows")?)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(corpus.threads(ctx, &params))
            .build()
            .map_err(|error| StageError::new(FailureClass::Infrastructure, format!("cannot start threads: {error}")))?;
        let (mut tokens, mut covered, mut refused) = (0_u64, 0_u64, 0_u64);
        for_each_chunk(ctx, &reader, &memo, |groups| {
            let labels = pool.install(|| {
                let rows = groups.par_iter().flat_map(|group| group.rows.par_iter());
                rows.map(|row| {
                    ctx.check_cancelled()?;
                    label(&params, &corpus, &memo, row)
                })
                .collect::<StageResult<Vec<_>>>()
            });
            // What the server has answered stays, whatever came after.
            corpus.flush()?;
            for label in labels? {
                match label.infinigram_total_coverage {
                    Some(coverage) => {
                        tokens += label.tokens;
                        covered += coverage;
                    }
                    None => refused += 1,
                }
                writer.push(&label)?;
            }
            Ok(())
        })?;
        writer.finish()?;
        if tokens > 0 {
            ctx.metric("overlap/coverage", covered as f64 / tokens as f64);
        }
        if refused > 0 {
            ctx.warn(format!("{refused} generations could not be measured; their rows say why"));
        }
        Ok(())
    }
}

/// What is remembered of a text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Overlap {
    tokens: u64,
    coverage: Option<u64>,
    breaks: Option<u64>,
    longest_match: Option<u64>,
    ngram_hit_rates: BTreeMap<usize, f64>,
    creativity_index: Option<f64>,
    problem: Option<String>,
}

/// Where n-grams are counted.
enum Corpus {
    Local { index: Box<Index>, tokenizer: CorpusTokenizer, digest: Digest },
    Served { client: Box<Client>, answers: Arc<dyn RowSpace>, api: OverlapApi },
}

impl Corpus {
    fn open(ctx: &StageContext, params: &LabelOverlapParams) -> StageResult<Self> {
        let Some(api) = &params.api else {
            let artifact = ctx.input("index")?;
            let tokenizer = ctx.input_opt("tokenizer").map(|folder| folder.path.as_path());
            let tokenizer = CorpusTokenizer::of_index(&artifact.path, tokenizer)?;
            let index = match Index::open(&artifact.path, None) {
                // An index of other software does not say; its tokenizer does.
                Err(lsn_infinigram::IndexError::UnknownWidth { .. }) => {
                    Index::open(&artifact.path, Some(tokenizer.width()))
                }
                opened => opened,
            };
            let index = Box::new(index.map_err(index_error)?);
            let mut digest = Canonical::new("lsn/corpus/1");
            digest.digest(&artifact.digest).str(&tokenizer.name());
            return Ok(Self::Local { index, tokenizer, digest: digest.finish() });
        };
        let answers = ctx.rows("label.overlap.counts")?;
        let options = ClientOptions {
            url: api.url.clone(),
            concurrency: api.concurrency,
            timeout: Duration::from_secs(api.timeout_s),
            ..ClientOptions::new(&api.index)
        };
        let options = ClientOptions {
            retry: lsn_infinigram::client::Retry { attempts: api.attempts, ..options.retry },
            ..options
        };
        let client = Client::new(options, Box::new(RowCache(Arc::clone(&answers)))).map_err(client_error)?;
        // A wrong name would be refused for every row; better once, and before the first.
        client.count(&["the"]).map_err(client_error)?;
        Ok(Self::Served { client: Box::new(client), answers, api: api.clone() })
    }

    /// A thread that waits for a server needs no processor.
    fn threads(&self, ctx: &StageContext, params: &LabelOverlapParams) -> usize {
        match self {
            Self::Local { .. } => ctx.threads(),
            Self::Served { .. } => params.api.as_ref().map_or(1, |api| api.concurrency),
        }
    }

    fn flush(&self) -> StageResult<()> {
        match self {
            Self::Local { .. } => Ok(()),
            Self::Served { answers, .. } => Ok(answers.flush()?),
        }
    }

    fn key(&self, params: &LabelOverlapParams, text: &str) -> Digest {
        let mut key = Canonical::new("lsn/row/label.overlap/1");
        key.u64(params.max_n as u64).str(text);
        match self {
            Self::Local { digest, .. } => {
                key.digest(digest).seq(params.ngrams.len());
                for n in &params.ngrams {
                    key.u64(*n as u64);
                }
            }
            Self::Served { api, .. } => {
                key.str(&api.url).str(&api.index);
            }
        }
        key.finish()
    }

    fn measure(&self, params: &LabelOverlapParams, text: &str) -> StageResult<Overlap> {
        match self {
            Self::Local { index, tokenizer, .. } => {
                let tokens = tokenizer.encode(text)?;
                let profile = MatchProfile::of(&**index, &tokens, usize::MAX).map_err(index_error)?;
                let cover = profile.greedy(params.max_n);
                let rates = params.ngrams.iter().filter_map(|n| Some((*n, profile.hits(*n).rate()?)));
                Ok(Overlap {
                    longest_match: Some(profile.longest() as u64),
                    ngram_hit_rates: rates.collect(),
                    creativity_index: profile.creativity_index(CREATIVITY_LENGTHS),
                    ..Overlap::covered(tokens.len(), &cover)
                })
            }
            Self::Served { client, .. } => {
                let words: Vec<&str> = text.split_whitespace().collect();
                match GreedyCover::of(&**client, &words, params.max_n) {
                    Ok(cover) => Ok(Overlap::covered(words.len(), &cover)),
                    Err(refused @ ClientError::Refused { .. }) => Ok(Overlap {
                        tokens: words.len() as u64,
                        problem: Some(refused.to_string()),
                        ..Overlap::default()
                    }),
                    Err(error) => Err(client_error(error)),
                }
            }
        }
    }
}

impl Overlap {
    fn covered(tokens: usize, cover: &GreedyCover) -> Self {
        Self {
            tokens: tokens as u64,
            coverage: Some(cover.coverage as u64),
            breaks: Some(cover.breaks as u64),
            ..Self::default()
        }
    }
}

fn label(
    params: &LabelOverlapParams,
    corpus: &Corpus,
    memo: &LabelMemo,
    row: &Generation,
) -> StageResult<OverlapLabel> {
    let overlap = if row.finish_reason == FinishReason::Error {
        Overlap { problem: Some("failed generation".to_owned()), ..Overlap::default() }
    } else {
        memo.get_or(corpus.key(params, &row.generation), || corpus.measure(params, &row.generation))?
    };
    Ok(OverlapLabel {
        prompt_id: row.prompt.prompt_id,
        generation_id: row.generation_id,
        sampler: row.sampler_info.name.clone(),
        seed: row.seed,
        tokens: overlap.tokens,
        infinigram_total_coverage: overlap.coverage,
        infinigram_breaks: overlap.breaks,
        longest_match: overlap.longest_match,
        ngram_hit_rates: overlap.ngram_hit_rates,
        creativity_index: overlap.creativity_index,
        problem: overlap.problem,
    })
}

fn client_error(error: ClientError) -> StageError {
    let class = if error.is_transient() { FailureClass::Infrastructure } else { FailureClass::User };
    StageError::new(class, error.to_string())
}

/// A server's answers among the rows of the store.
struct RowCache(Arc<dyn RowSpace>);

impl RowCache {
    fn key(question: &str) -> RowKey {
        RowKey(Canonical::new("lsn/row/label.overlap.counts/1").str(question).finish())
    }
}

impl CountCache for RowCache {
    fn get(&self, question: &str) -> io::Result<Option<Answer>> {
        let found = self.0.get(&Self::key(question)).map_err(io::Error::other)?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn put(&self, question: &str, answer: &Answer) -> io::Result<()> {
        self.0.put(&Self::key(question), &serde_json::to_vec(answer)?).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        corpus_index::{CorpusIndex, IndexParams},
        harness::{Harness, read},
        label_tests::{MemoryMemo, generation},
    };
    use lsn_stage::{NoEvents, record::Prompt};
    use serde_json::{Value, json};
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        path::Path,
        thread,
    };

    const TEXTS: [&str; 4] = ["the cat sat on the mat", "the cat sat, xylophone the mat", "XQ", ""];

    fn generations(harness: &Harness) -> std::path::PathBuf {
        let prompt = Prompt::new("d", "p", None);
        let rows: Vec<Generation> =
            TEXTS.iter().zip(0..).map(|(text, seed)| generation(&prompt, "h", seed, text)).collect();
        harness.rows("generations", &rows)
    }

    fn run(
        harness: &Harness,
        inputs: &[(&str, &[&Path])],
        params: &LabelOverlapParams,
        memo: &Arc<MemoryMemo>,
    ) -> StageResult<Vec<OverlapLabel>> {
        let ctx = harness.context_with(inputs, &["rows"], memo.clone(), Arc::new(NoEvents));
        LabelOverlap.run(params.clone(), &ctx)?;
        let mut labels = read::<OverlapLabel>(ctx.output("rows").unwrap());
        labels.sort_by_key(|label| label.seed);
        Ok(labels)
    }

    #[test]
    fn generations_are_measured_against_an_index_and_remembered() {
        let harness = Harness::new();
        let corpus = harness.file("corpus", "{\"text\": \"the cat sat on the mat\"}\n{\"text\": \"a dog\"}\n");
        let ctx = harness.context(&[("documents", &[corpus.as_path()])], &["index"]);
        CorpusIndex.run(IndexParams::default(), &ctx).unwrap();
        let index = ctx.output("index").unwrap();
        let rows = generations(&harness);
        let inputs: &[(&str, &[&Path])] = &[("generations", &[&rows]), ("index", &[index])];
        let memo = Arc::new(MemoryMemo::default());
        let params = LabelOverlapParams { max_n: 6, ngrams: vec![3], ..LabelOverlapParams::default() };
        let labels = run(&harness, inputs, &params, &memo).unwrap();
        assert_eq!(run(&harness, inputs, &params, &memo).unwrap(), labels);
        assert_eq!(memo.computed(), TEXTS.len());
        let all = &labels[0];
        assert_eq!((all.tokens, all.infinigram_total_coverage, all.infinigram_breaks), (22, Some(22), Some(0)));
        assert_eq!((all.longest_match, all.creativity_index, all.ngram_hit_rates[&3]), (Some(22), Some(0.0), 1.0));
        let part = &labels[1];
        assert!(part.longest_match == Some(11) && part.creativity_index.unwrap() > 0.0, "{part:?}");
        assert!(part.ngram_hit_rates[&3] < 1.0);
        assert_eq!((labels[2].infinigram_total_coverage, labels[2].infinigram_breaks), (Some(0), Some(0)));
        assert_eq!((labels[3].tokens, labels[3].creativity_index), (0, None));
    }

    /// Answers like the API: words that are in a sentence are in the corpus, and some are refused.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut reader = BufReader::new(&stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let request: Value = serde_json::from_slice(&body).unwrap();
                let query = request["query"].as_str().unwrap();
                let answer = if request["index"] != "v4_test" {
                    json!({"error": "[Flask] Invalid index"})
                } else if query.contains("XQ") {
                    json!({"error": "Please limit your input"})
                } else {
                    json!({"count": u64::from("the cat sat on the mat".contains(query)), "token_ids": [1]})
                }
                .to_string();
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
                (&stream).write_all((head + &answer).as_bytes()).unwrap();
            }
        });
        url
    }

    #[test]
    fn generations_are_measured_by_a_server_and_its_answers_kept() {
        let harness = Harness::new();
        let rows = generations(&harness);
        let inputs: &[(&str, &[&Path])] = &[("generations", &[&rows])];
        let api: OverlapApi = serde_json::from_value(json!({"index": "v4_test", "url": server()})).unwrap();
        let params = LabelOverlapParams { api: Some(api.clone()), ..LabelOverlapParams::default() };
        let memo = Arc::new(MemoryMemo::default());
        let labels = run(&harness, inputs, &params, &memo).unwrap();
        let computed = memo.computed();
        assert_eq!(run(&harness, inputs, &params, &memo).unwrap(), labels);
        assert_eq!(memo.computed(), computed);
        let cover = |label: &OverlapLabel| (label.tokens, label.infinigram_total_coverage, label.infinigram_breaks);
        assert_eq!(cover(&labels[0]), (6, Some(6), Some(0)));
        // `sat,` and `xylophone` are not there; only the first of them breaks a match.
        assert_eq!(cover(&labels[1]), (6, Some(4), Some(1)));
        assert_eq!(cover(&labels[2]), (1, None, None));
        assert!(labels[2].problem.as_ref().unwrap().contains("limit your input"));
        assert_eq!(cover(&labels[3]), (0, Some(0), Some(0)));

        let unknown = LabelOverlapParams { api: Some(OverlapApi { index: "v5".to_owned(), ..api }), ..params };
        let error = run(&harness, inputs, &unknown, &memo).unwrap_err();
        assert!(error.class == FailureClass::User && error.message.contains("Invalid index"), "{error}");
    }
}
