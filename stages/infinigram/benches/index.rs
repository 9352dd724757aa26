//! Building an index and counting in it, in CPU time of all threads: `cargo bench -p lsn-infinigram --profile dev`.
//! CPU time, not wall time, so that other work on the machine does not count. Bars: 5 MB of text per second and core to
//! build; 20 µs for a count in a warm index.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lsn_infinigram::{BuildOptions, CorpusCounts, Index, MatchProfile, TokenWidth, build};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Documents of words with the frequencies of English (Zipf), a sixth of them in phrases that come again.
fn documents(words: usize, vocabulary: u32) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Rank r with probability ∝ 1/r, by inversion of its continuous form.
    let word = |rng: &mut ChaCha8Rng| (f64::from(vocabulary).powf(rng.random()) - 1.0) as u32 % vocabulary;
    let phrases: Vec<Vec<u32>> = (0..2000).map(|_| (0..12).map(|_| word(&mut rng)).collect()).collect();
    let mut left = words;
    let mut documents = Vec::new();
    while left > 0 {
        let len = rng.random_range(100..600).min(left);
        let mut document = Vec::with_capacity(len + 12);
        while document.len() < len {
            if rng.random_ratio(1, 60) {
                document.extend_from_slice(phrases.choose(&mut rng).unwrap());
            } else {
                document.push(word(&mut rng));
            }
        }
        left -= len;
        documents.push(document);
    }
    documents
}

/// The documents as UTF-8 text, a byte a token: what an index without a tokenizer holds.
fn as_bytes(documents: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let spell = |word: &u32| format!("{word:x} ").into_bytes();
    documents.iter().map(|document| document.iter().flat_map(spell).map(u32::from).collect()).collect()
}

fn building(criterion: &mut Criterion<CpuTime>) {
    let words = documents(4_000_000, 30_000);
    let bytes = as_bytes(&words);
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    for (name, documents, width) in
        [("u8", &bytes, TokenWidth::U8), ("u16", &words, TokenWidth::U16), ("u32", &words, TokenWidth::U32)]
    {
        let tokens: u64 = documents.iter().map(|document| document.len() as u64).sum();
        // At u8 this is the text itself. A token of a tokenizer stands for about four bytes of English text.
        let text = if width == TokenWidth::U8 { tokens } else { 4 * tokens };
        group.throughput(Throughput::Bytes(text));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || tempfile::tempdir().unwrap(),
                |dir| {
                    build(dir.path(), BuildOptions::new(width), documents).unwrap();
                    dir
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn counting(criterion: &mut Criterion<CpuTime>) {
    let words = documents(30_000_000, 30_000);
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), BuildOptions::new(TokenWidth::U16), &words).unwrap();
    let index = Index::open(dir.path(), None).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut piece = |len: usize| {
        let document = words.choose(&mut rng).unwrap();
        let start = rng.random_range(0..document.len().saturating_sub(len).max(1));
        document[start..].iter().take(len).copied().collect::<Vec<u32>>()
    };
    let mut group = criterion.benchmark_group("query");
    for len in [1, 3, 8] {
        let queries: Vec<Vec<u32>> = (0..20_000).map(|_| piece(len)).collect();
        // Warm: every page that a query needs has been read.
        assert!(queries.iter().all(|query| index.count(query).unwrap() > 0));
        let mut next = queries.iter().cycle();
        group.bench_function(format!("count/{len}"), |bencher| {
            bencher.iter(|| index.count(next.next().unwrap()).unwrap());
        });
        let mut next = queries.iter().cycle();
        group.bench_function(format!("infgram_prob/{len}"), |bencher| {
            bencher.iter(|| index.infgram_prob(next.next().unwrap(), &7).unwrap());
        });
    }
    let texts: Vec<Vec<u32>> = (0..200).map(|_| (0..20).flat_map(|_| piece(10)).collect()).collect();
    let mut next = texts.iter().cycle();
    group.bench_function("profile of 200 tokens", |bencher| {
        bencher.iter(|| MatchProfile::of(&index, next.next().unwrap(), usize::MAX).unwrap());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = building, counting
}
criterion_main!(benches);
