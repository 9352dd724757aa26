//! Every answer against a search without an index.

use lsn_infinigram::{
    Backoff, BuildOptions, CorpusCounts, GreedyCover, Index, MatchProfile, Probability, TokenWidth, build,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, convert::Infallible};

/// The corpus as one list of tokens, a separator in front of each document.
struct Plain {
    tokens: Vec<u32>,
    separator: u32,
}

impl Plain {
    fn new(documents: &[Vec<u32>], width: TokenWidth) -> Self {
        let separator = width.separator();
        let tokens = documents.iter().flat_map(|document| [&[separator][..], document].concat()).collect();
        Self { tokens, separator }
    }

    fn places<'a>(&'a self, ngram: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(|at| self.tokens[*at..].starts_with(ngram))
    }
}

/// With the default method of everything but `count`.
impl CorpusCounts<u32> for Plain {
    type Error = Infallible;

    fn count(&self, ngram: &[u32]) -> Result<u64, Infallible> {
        Ok(self.places(ngram).count() as u64)
    }
}

fn width() -> impl Strategy<Value = TokenWidth> {
    proptest::sample::select(TokenWidth::ALL.to_vec())
}

/// Ids of one and of several bytes, whose order by value and by little-endian bytes differs.
const IDS: [u32; 7] = [0, 1, 2, 253, 254, 256, 70_000];

/// Few different tokens, so that n-grams repeat.
fn tokens(width: TokenWidth, most: usize) -> impl Strategy<Value = Vec<u32>> {
    let ids: Vec<u32> = IDS.into_iter().filter(|id| *id < width.separator()).collect();
    proptest::collection::vec(proptest::sample::select(ids), 0..most)
}

#[derive(Debug, Clone)]
struct Case {
    width: TokenWidth,
    documents: Vec<Vec<u32>>,
    queries: Vec<Vec<u32>>,
    /// How many tokens a shard may hold.
    shard: u64,
    threads: usize,
}

fn case() -> impl Strategy<Value = Case> {
    width().prop_flat_map(|width| {
        let documents = proptest::collection::vec(tokens(width, 12), 1..12);
        let with_separators = (tokens(width, 4), tokens(width, 4))
            .prop_map(move |(before, after)| [before, vec![width.separator()], after].concat());
        let query = prop_oneof![3 => tokens(width, 6), 1 => with_separators, 1 => tokens(width, 40)];
        let queries = proptest::collection::vec(query, 1..8);
        (documents, queries, 12..200_u64, 1..3_usize).prop_map(move |(documents, queries, shard, threads)| Case {
            width,
            documents,
            queries,
            shard,
            threads,
        })
    })
}

proptest! {
    #[test]
    fn an_index_answers_as_a_search_does(case in case()) {
        let Case { width, documents, queries, shard, threads } = case;
        let dir = tempfile::tempdir().unwrap();
        let memory = shard * (4 + width.bytes() as u64) * threads as u64;
        let options = BuildOptions { memory, threads, ..BuildOptions::new(width) };
        build(dir.path(), options, &documents).unwrap();
        let index = Index::open(dir.path(), None).unwrap();
        let plain = Plain::new(&documents, width);
        prop_assert_eq!(index.tokens(), plain.tokens.len() as u64);
        prop_assert_eq!(index.documents(), documents.len() as u64);
        prop_assert!(index.tokens() <= shard || index.shards() > 1);

        // Neighbours are neighbours only inside a shard.
        let within_documents = |query: &&Vec<u32>| index.shards() == 1 || !query.contains(&plain.separator);
        for query in queries.iter().filter(within_documents) {
            prop_assert_eq!(index.count(query).unwrap(), plain.count(query).unwrap());

            // What is found is where it is said to be.
            let found = index.find(query).unwrap();
            let mut places = Vec::new();
            for (shard, ranks) in found.ranks.iter().enumerate() {
                for rank in ranks.clone() {
                    places.push(index.occurrence(shard, rank).unwrap());
                }
            }
            prop_assert_eq!(places.len() as u64, found.count);
            for place in &places {
                if let Some(position) = place.position {
                    let document = index.document(place.document).unwrap().unwrap();
                    prop_assert_eq!(&document, &documents[place.document as usize]);
                    let in_document = &query[..query.iter().position(|id| *id == plain.separator).unwrap_or(query.len())];
                    prop_assert!(document[position as usize..].starts_with(in_document));
                }
            }
            places.sort_by_key(|place| (place.document, place.position));
            places.dedup();
            prop_assert_eq!(places.len() as u64, found.count);

            // What follows.
            let next = index.ntd(query).unwrap();
            let mut expected: BTreeMap<Option<u32>, u64> = BTreeMap::new();
            for at in plain.places(query) {
                let token = plain.tokens.get(at + query.len()).filter(|token| **token != plain.separator);
                *expected.entry(token.copied()).or_default() += 1;
            }
            prop_assert_eq!(next.document_ends, expected.remove(&None).unwrap_or(0));
            let expected: BTreeMap<u32, u64> = expected.into_iter().filter_map(|(token, n)| Some((token?, n))).collect();
            prop_assert_eq!(next.tokens, expected);
            prop_assert_eq!(next.prompt_count, found.count);

            // Back-off, straight from its definition.
            let suffix_len = (0..=query.len()).rev().find(|len| plain.places(&query[query.len() - len..]).next().is_some());
            let suffix = &query[query.len() - suffix_len.unwrap()..];
            for next in [0, 254] {
                let probability = |prompt: &[u32]| Probability {
                    prompt_count: plain.count(prompt).unwrap(),
                    next_count: plain.count(&[prompt, &[next]].concat()).unwrap(),
                };
                prop_assert_eq!(index.prob(query, &next).unwrap(), probability(query));
                prop_assert_eq!(plain.prob(query, &next).unwrap(), probability(query));
                let expected = Backoff { suffix_len: suffix.len(), result: probability(suffix) };
                prop_assert_eq!(index.infgram_prob(query, &next).unwrap(), expected);
                prop_assert_eq!(plain.infgram_prob(query, &next).unwrap(), expected);
            }
            let backed_off = index.infgram_ntd(query).unwrap();
            prop_assert_eq!(backed_off.suffix_len, suffix.len());
            prop_assert_eq!(backed_off.result, index.ntd(suffix).unwrap());
        }
    }

    /// Separators inside a text are tokens like others here, but two documents meet only inside one shard: one shard.
    #[test]
    fn overlap_is_what_its_definition_says(case in case()) {
        let Case { width, documents, queries, .. } = case;
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), BuildOptions::new(width), &documents).unwrap();
        let index = Index::open(dir.path(), None).unwrap();
        let plain = Plain::new(&documents, width);
        for text in &queries {
            for most in [1, 3, usize::MAX] {
                let profile = MatchProfile::of(&index, text, most).unwrap();
                prop_assert_eq!(&profile, &MatchProfile::of(&plain, text, most).unwrap());
                let occurs = |start: usize, end: usize| plain.places(&text[start..end]).next().is_some();
                for (start, len) in profile.starting().iter().enumerate() {
                    let longest = (1..=most.min(text.len() - start)).rev().find(|len| occurs(start, start + len));
                    prop_assert_eq!(*len, longest.unwrap_or(0));
                }
                for (end, len) in profile.ending().iter().enumerate() {
                    let longest = (1..=most.min(end + 1)).rev().find(|len| occurs(end + 1 - len, end + 1));
                    prop_assert_eq!(*len, longest.unwrap_or(0));
                }
            }
            let profile = MatchProfile::of(&index, text, usize::MAX).unwrap();
            for n in 1..=text.len() + 1 {
                let hits: Vec<usize> =
                    (0..(text.len() + 1).saturating_sub(n)).filter(|at| plain.count(&text[*at..at + n]).unwrap() > 0).collect();
                prop_assert_eq!(profile.hits(n).in_corpus, hits.len());
                let covered = (0..text.len()).filter(|token| hits.iter().any(|at| (*at..at + n).contains(token))).count();
                let unique = (text.len() - covered) as f64 / text.len() as f64;
                prop_assert_eq!(profile.uniqueness(n).unwrap_or(f64::NAN).to_bits(), if text.is_empty() { f64::NAN } else { unique }.to_bits());
                let cover = GreedyCover::of(&plain, text, n).unwrap();
                prop_assert_eq!(&profile.greedy(n), &cover);
                prop_assert_eq!(GreedyCover::of(&index, text, n).unwrap(), cover);
            }
        }
    }
}
