//! `lsn index`: n-gram indexes of text by hand: build one, ask one. Indexes of the infini-gram package can be asked too.

use super::{CliError, CliResult, Global, Status, Style, write_json};
use crate::manifest::ByteSize;
use clap::{Subcommand, ValueEnum};
use lsn_infinigram::{
    Backoff, CREATIVITY_LENGTHS, CorpusCounts, GreedyCover, Index, IndexError, MatchProfile, NextTokens, Probability,
    TokenWidth,
};
use lsn_stage::{FailureClass, StageError};
use lsn_stages::corpus_index::{self, CorpusTokenizer, DocumentFormat, IndexParams};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    thread,
};

/// Arguments of `lsn index`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Index the n-grams of documents
    Build(BuildArgs),
    /// Ask an index
    Query(QueryArgs),
}

#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// Files of documents, or directories of them
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<PathBuf>,
    /// Where the index goes; a directory without an index
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// A folder with a `tokenizer.json`; without it, every byte of the text is a token
    #[arg(short, long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// What a document is
    #[arg(short, long, value_name = "WHAT", default_value = "rows")]
    format: Format,
    /// The field of a row that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// Memory to sort in; less of it makes more shards, and these slower queries
    #[arg(short, long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: u64,
    /// Shards that are sorted at a time, in that memory all together
    #[arg(long, value_name = "N", default_value_t = 1)]
    sorters: usize,
    /// Threads that tokenize
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Rows of JSONL, JSON, CSV or Parquet
    Rows,
    /// Lines of plain text
    Lines,
    /// Whole files of plain text
    Files,
}

#[derive(Debug, clap::Args)]
struct QueryArgs {
    /// A directory with an index
    #[arg(value_name = "DIR")]
    index: PathBuf,
    /// What to ask
    #[arg(value_name = "WHAT", required_unless_present = "batch", conflicts_with = "batch")]
    what: Option<Question>,
    /// The text to ask about
    #[arg(value_name = "TEXT", conflicts_with_all = ["ids", "batch"])]
    text: Option<String>,
    /// Token ids instead of a text
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',', conflicts_with = "batch")]
    ids: Option<Vec<u32>>,
    /// Questions from a file (`-`: from stdin), one JSON object a line: `{"what": "count", "text": "…"}` or `"ids": […]`
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// A folder with the index's `tokenizer.json`, where the index does not hold it
    #[arg(short, long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// How wide the tokens of an index are that does not say: u8, u16 or u32
    #[arg(long, value_name = "WIDTH")]
    width: Option<TokenWidth>,
    /// Longest pieces of the greedy cover
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_n: usize,
    /// How many places or next tokens to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    show: usize,
    /// As JSON, with all next tokens; field names as in the infini-gram API
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    /// How often it occurs
    Count,
    /// How probable its last token is after the others
    Prob,
    /// Which tokens follow
    Ntd,
    /// How probable its last token is after the longest suffix of the others that occurs
    InfgramProb,
    /// Which tokens follow its longest suffix that occurs
    InfgramNtd,
    /// Where it occurs
    Find,
    /// How much of it is in the corpus
    Overlap,
}

/// A line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    what: Question,
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

pub fn execute(args: &Args, _global: &Global) -> CliResult<Status> {
    match &args.action {
        Action::Build(args) => build(args),
        Action::Query(args) => query(args),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    ByteSize::parse(text).map(|size| size.0).ok_or_else(|| format!("`{text}` is no size; write {}", ByteSize::EXAMPLES))
}

fn stage_failed(error: StageError) -> CliError {
    let StageError { class, message, hint } = error;
    let failed = if class == FailureClass::User { CliError::usage(message) } else { CliError::failed(message) };
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn index_failed(error: IndexError) -> CliError {
    match &error {
        IndexError::Io { .. } => CliError::failed(error.to_string()),
        IndexError::UnknownWidth { .. } => CliError::usage(error.to_string()).hint("`--width u16`, for example"),
        _ => CliError::usage(error.to_string()),
    }
}

fn build(args: &BuildArgs) -> CliResult<Status> {
    let tokenizer = match &args.tokenizer {
        Some(folder) => CorpusTokenizer::from_folder(folder).map_err(stage_failed)?,
        None => CorpusTokenizer::Bytes,
    };
    let params = IndexParams {
        format: match args.format {
            Format::Rows => DocumentFormat::Rows,
            Format::Lines => DocumentFormat::Lines,
            Format::Files => DocumentFormat::Files,
        },
        field: args.field.clone(),
        memory_mib: (args.memory >> 20).max(1),
        sorters: args.sorters,
    };
    let threads = args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let sources: Vec<&Path> = args.sources.iter().map(PathBuf::as_path).collect();
    let built = corpus_index::build(&sources, &tokenizer, &params, &args.out, threads, |_| Ok(()));
    let built = built.map_err(stage_failed)?;
    let mut out = io::stdout().lock();
    if args.json {
        write_json(&mut out, &built)?;
    } else {
        writeln!(
            out,
            "{} documents, {} {} tokens in {}: {}",
            built.documents,
            built.tokens,
            built.token_width,
            if built.shards == 1 { "one shard".to_owned() } else { format!("{} shards", built.shards) },
            args.out.display()
        )?;
    }
    Ok(Status::Done)
}

/// An index and, once a text has to be cut, its tokenizer.
struct Corpus<'a> {
    args: &'a QueryArgs,
    index: Index,
    tokenizer: Option<CorpusTokenizer>,
}

fn query(args: &QueryArgs) -> CliResult<Status> {
    let index = Index::open(&args.index, args.width).map_err(index_failed)?;
    let mut corpus = Corpus { args, index, tokenizer: None };
    let mut out = io::stdout().lock();
    let Some(batch) = &args.batch else {
        let Some(what) = args.what else { return Err(CliError::usage("there is nothing to ask")) };
        let ids = corpus.ids(args.text.as_deref(), args.ids.as_deref())?;
        let answer = corpus.answer(what, &ids)?;
        if args.json {
            write_json(&mut out, &answer)?;
        } else {
            corpus.print(&mut out, what, &answer)?;
        }
        return Ok(Status::Done);
    };
    let unreadable = |error| CliError::usage(format!("cannot read `{}`: {error}", batch.display()));
    let lines: Box<dyn BufRead> = if batch.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(batch).map_err(unreadable)?))
    };
    for (number, line) in (1..).zip(lines.lines()) {
        let in_line = |error: CliError| CliError { message: format!("line {number}: {}", error.message), ..error };
        let line: Line = serde_json::from_str(&line.map_err(unreadable)?)
            .map_err(|error| in_line(CliError::usage(error.to_string())))?;
        let ids = corpus.ids(line.text.as_deref(), line.ids.as_deref()).map_err(in_line)?;
        serde_json::to_writer(&mut out, &corpus.answer(line.what, &ids).map_err(in_line)?).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    Ok(Status::Done)
}

impl Corpus<'_> {
    fn tokenizer(&mut self) -> CliResult<&CorpusTokenizer> {
        let tokenizer = match self.tokenizer.take() {
            Some(tokenizer) => tokenizer,
            None => {
                CorpusTokenizer::of_index(&self.args.index, self.args.tokenizer.as_deref()).map_err(stage_failed)?
            }
        };
        Ok(self.tokenizer.insert(tokenizer))
    }

    fn ids(&mut self, text: Option<&str>, ids: Option<&[u32]>) -> CliResult<Vec<u32>> {
        match (text, ids) {
            (Some(text), None) => self.tokenizer()?.encode(text).map_err(stage_failed),
            (None, Some(ids)) => Ok(ids.to_vec()),
            _ => Err(CliError::usage("ask about a text or about token ids")),
        }
    }

    fn answer(&self, what: Question, ids: &[u32]) -> CliResult<Value> {
        let index = &self.index;
        let last =
            || ids.split_last().ok_or_else(|| CliError::usage("there is no last token to tell the probability of"));
        match what {
            Question::Count => Ok(json!({"count": index.count(ids).map_err(index_failed)?})),
            Question::Prob => {
                let (next, prompt) = last()?;
                Ok(probability(&index.prob(prompt, next).map_err(index_failed)?))
            }
            Question::InfgramProb => {
                let (next, prompt) = last()?;
                let Backoff { suffix_len, result } = index.infgram_prob(prompt, next).map_err(index_failed)?;
                Ok(with(probability(&result), "suffix_len", json!(suffix_len)))
            }
            Question::Ntd => Ok(next_tokens(&index.ntd(ids).map_err(index_failed)?)),
            Question::InfgramNtd => {
                let Backoff { suffix_len, result } = index.infgram_ntd(ids).map_err(index_failed)?;
                Ok(with(next_tokens(&result), "suffix_len", json!(suffix_len)))
            }
            Question::Find => self.places(ids).map_err(index_failed),
            Question::Overlap => self.overlap(ids).map_err(index_failed),
        }
    }

    fn places(&self, ids: &[u32]) -> Result<Value, IndexError> {
        let found = self.index.find(ids)?;
        let ranks =
            found.ranks.iter().enumerate().flat_map(|(shard, ranks)| ranks.clone().map(move |rank| (shard, rank)));
        let places: Vec<Value> = ranks
            .take(self.args.show)
            .map(|(shard, rank)| {
                let place = self.index.occurrence(shard, rank)?;
                Ok(json!({"document": place.document, "position": place.position}))
            })
            .collect::<Result<_, IndexError>>()?;
        let segments: Vec<Value> = found.ranks.iter().map(|ranks| json!([ranks.start, ranks.end])).collect();
        Ok(json!({"cnt": found.count, "segment_by_shard": segments, "places": places}))
    }

    fn overlap(&self, ids: &[u32]) -> Result<Value, IndexError> {
        let profile = MatchProfile::of(&self.index, ids, usize::MAX)?;
        let GreedyCover { coverage, breaks, pieces } = profile.greedy(self.args.max_n);
        let hits: Map<String, Value> = (1..=profile.len().min(13))
            .map(|n| {
                let hits = profile.hits(n);
                (n.to_string(), json!({"ngrams": hits.ngrams, "in_corpus": hits.in_corpus}))
            })
            .collect();
        Ok(json!({
            "tokens": profile.len(), "coverage": coverage, "breaks": breaks, "pieces": pieces,
            "longest_match": profile.longest(), "longest_match_ending_at": profile.ending(), "ngram_hits": hits,
            "creativity_index": profile.creativity_index(CREATIVITY_LENGTHS),
        }))
    }

    fn print(&mut self, out: &mut impl Write, what: Question, answer: &Value) -> CliResult<()> {
        let show = self.args.show;
        match what {
            Question::Count => writeln!(out, "{}", answer["count"])?,
            Question::Prob | Question::InfgramProb => {
                writeln!(out, "{} = {} / {}", answer["prob"], answer["cont_cnt"], answer["prompt_cnt"])?;
                if let Some(len) = answer.get("suffix_len") {
                    writeln!(out, "after the last {len} tokens")?;
                }
            }
            Question::Ntd | Question::InfgramNtd => {
                let followed = answer["result_by_token_id"].as_object().into_iter().flatten();
                let mut followed: Vec<(u64, u32)> =
                    followed.filter_map(|(id, found)| Some((found["cont_cnt"].as_u64()?, id.parse().ok()?))).collect();
                followed.sort_by_key(|(count, id)| (std::cmp::Reverse(*count), *id));
                writeln!(out, "{} occurrences, {} different tokens follow", answer["prompt_cnt"], followed.len())?;
                // Without a tokenizer there are ids to show.
                let tokenizer = self.tokenizer().ok();
                for (count, id) in followed.into_iter().take(show) {
                    let piece = tokenizer.and_then(|tokenizer| tokenizer.decode(&[id]).ok()).unwrap_or_default();
                    writeln!(out, "{count:>10}  {id:>6}  {piece:?}")?;
                }
                if answer["document_ends"] != 0 {
                    writeln!(out, "{:>10}  end of a document", answer["document_ends"])?;
                }
                if let Some(len) = answer.get("suffix_len") {
                    writeln!(out, "after the last {len} tokens")?;
                }
            }
            Question::Find => {
                writeln!(out, "{} occurrences", answer["cnt"])?;
                for place in answer["places"].as_array().into_iter().flatten() {
                    match place["position"].as_u64() {
                        Some(position) => writeln!(out, "document {}, token {position}", place["document"])?,
                        None => writeln!(out, "document {}, its separator", place["document"])?,
                    }
                }
            }
            Question::Overlap => {
                for name in ["tokens", "coverage", "breaks", "longest_match", "creativity_index"] {
                    writeln!(out, "{}: {}", Style::strong(name), answer[name])?;
                }
                for (n, hits) in answer["ngram_hits"].as_object().into_iter().flatten() {
                    writeln!(out, "{n}-grams in the corpus: {} of {}", hits["in_corpus"], hits["ngrams"])?;
                }
            }
        }
        Ok(())
    }
}

/// `prob` is null where the prompt never occurs.
fn probability(found: &Probability) -> Value {
    json!({"prompt_cnt": found.prompt_count, "cont_cnt": found.next_count, "prob": found.value()})
}

fn next_tokens(found: &NextTokens) -> Value {
    let results: Map<String, Value> = found
        .tokens
        .iter()
        .map(|(id, count)| {
            let prob = *count as f64 / found.prompt_count as f64;
            (id.to_string(), json!({"cont_cnt": count, "prob": prob}))
        })
        .collect();
    json!({"prompt_cnt": found.prompt_count, "result_by_token_id": results, "document_ends": found.document_ends})
}

fn with(mut answer: Value, name: &str, value: Value) -> Value {
    answer[name] = value;
    answer
}
