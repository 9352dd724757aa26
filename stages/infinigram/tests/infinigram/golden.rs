//! The index against the recorded answers of the infini-gram package.

use lsn_infinigram::{
    Backoff, BuildOptions, CorpusCounts, GreedyCover, Index, MatchProfile, NgramHits, Probability, TokenWidth, build,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fs, path::PathBuf};

#[derive(Deserialize)]
struct Meta {
    document_separator: u32,
    eos_token_id: u32,
    token_dtype: String,
    documents: u64,
    total_tokens_without_separators: u64,
}

#[derive(Deserialize)]
struct Document {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Query {
    id: String,
    ids: Vec<u32>,
    count: u64,
    cont_id: Option<u32>,
    prob: Option<Prob>,
    infgram_prob: Option<Prob>,
    ntd_support: Option<usize>,
    /// The most frequent ones.
    ntd: Option<Vec<(u32, u64)>>,
}

#[derive(Deserialize)]
struct Prob {
    prompt_cnt: u64,
    cont_cnt: u64,
    prob: f64,
    suffix_len: Option<usize>,
}

#[derive(Deserialize)]
struct Overlap {
    id: String,
    ids: Vec<u32>,
    longest_match_ending_at: Vec<usize>,
    longest_match: usize,
    ngram_hits: BTreeMap<usize, Hits>,
    greedy: Greedy,
}

#[derive(Deserialize)]
struct Hits {
    ngrams: usize,
    in_corpus: usize,
}

#[derive(Deserialize)]
struct Greedy {
    max_n: usize,
    coverage: usize,
    breaks: usize,
    pieces: Vec<(usize, usize)>,
}

fn path(file: &str) -> PathBuf {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    root.join("infinigram").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{}: {error}", path(file).display()))
}

fn rows<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let rows: Vec<T> = read(file).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty(), "{file} holds no cases");
    rows
}

fn assert_probability(id: &str, got: Probability, expected: &Prob) {
    assert_eq!((got.prompt_count, got.next_count), (expected.prompt_cnt, expected.cont_cnt), "{id}");
    // The package says -1 where the prompt never occurs.
    assert!((got.value().unwrap_or(-1.0) - expected.prob).abs() <= 1e-12, "{id}: {got:?}, expected {}", expected.prob);
}

fn check_query(index: &Index, meta: &Meta, query: &Query) {
    let id = query.id.as_str();
    assert_eq!(index.count(&query.ids).unwrap(), query.count, "{id}");
    let found = index.find(&query.ids).unwrap();
    assert_eq!(found.count, query.count, "{id}");
    if let Some(next) = query.cont_id {
        if let Some(expected) = &query.prob {
            assert_probability(id, index.prob(&query.ids, &next).unwrap(), expected);
        }
        if let Some(expected) = &query.infgram_prob {
            let Backoff { suffix_len, result } = index.infgram_prob(&query.ids, &next).unwrap();
            assert_eq!(Some(suffix_len), expected.suffix_len, "{id}");
            assert_probability(id, result, expected);
        }
    }
    if let Some(expected) = &query.ntd {
        let next = index.ntd(&query.ids).unwrap();
        assert_eq!(next.prompt_count, query.count, "{id}");
        assert_eq!(next.tokens.values().sum::<u64>() + next.document_ends, query.count, "{id}");
        let counts = index.ntd_compat(&query.ids, meta.eos_token_id).unwrap();
        assert_eq!(Some(counts.len()), query.ntd_support, "{id}");
        let mut sorted: Vec<(u32, u64)> = counts.into_iter().collect();
        sorted.sort_by_key(|(token, count)| (std::cmp::Reverse(*count), *token));
        sorted.truncate(expected.len());
        assert_eq!(&sorted, expected, "{id}");
    }
}

fn check_overlap(index: &Index, case: &Overlap) {
    let id = case.id.as_str();
    let profile = MatchProfile::of(index, &case.ids, usize::MAX).unwrap();
    assert_eq!(profile.ending(), case.longest_match_ending_at, "{id}");
    assert_eq!(profile.longest(), case.longest_match, "{id}");
    for (n, Hits { ngrams, in_corpus }) in &case.ngram_hits {
        assert_eq!(profile.hits(*n), NgramHits { ngrams: *ngrams, in_corpus: *in_corpus }, "{id}, {n}-grams");
    }
    let Greedy { max_n, coverage, breaks, pieces } = &case.greedy;
    let expected = GreedyCover { coverage: *coverage, breaks: *breaks, pieces: pieces.clone() };
    assert_eq!(profile.greedy(*max_n), expected, "{id}");
    assert_eq!(GreedyCover::of(index, &case.ids, *max_n).unwrap(), expected, "{id}");
}

#[test]
fn golden_infinigram() {
    let meta: Meta = serde_json::from_str(&read("meta.json")).unwrap();
    let width: TokenWidth = meta.token_dtype.parse().unwrap();
    assert_eq!(width.separator(), meta.document_separator);
    let corpus: Vec<Document> = rows("corpus.jsonl");
    let (queries, overlaps): (Vec<Query>, Vec<Overlap>) = (rows("queries.jsonl"), rows("overlap.jsonl"));
    let build_in = |memory| {
        let dir = tempfile::tempdir().unwrap();
        let options = BuildOptions { memory, ..BuildOptions::new(width) };
        let description = build(dir.path(), options, corpus.iter().map(|document| &document.ids)).unwrap();
        assert_eq!(description.documents, meta.documents);
        assert_eq!(description.tokens, meta.total_tokens_without_separators + meta.documents);
        Index::open(dir.path(), None).unwrap()
    };
    // Once in one shard, as the package had it, and once in several, which changes nothing but the package's slip.
    let (whole, cut) = (build_in(1 << 30), build_in(30_000));
    assert!(whole.shards() == 1 && cut.shards() > 1);
    for query in &queries {
        check_query(&whole, &meta, query);
        assert_eq!(cut.count(&query.ids).unwrap(), query.count, "{}", query.id);
        assert_eq!(cut.infgram_ntd(&query.ids).unwrap(), whole.infgram_ntd(&query.ids).unwrap(), "{}", query.id);
        if let Some(next) = &query.cont_id {
            let of = |index: &Index| index.infgram_prob(&query.ids, next).unwrap();
            assert_eq!(of(&cut), of(&whole), "{}", query.id);
        }
    }
    for case in &overlaps {
        check_overlap(&whole, case);
        check_overlap(&cut, case);
    }
    println!("cases: {}", queries.len() + overlaps.len());
}
