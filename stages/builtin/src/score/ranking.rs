//! The samplers by mean of each metric, with bootstrap intervals over prompts.
//!
//! The Poisson bootstrap (Chamandy et al., "Estimating Uncertainty for Massive Data Streams", 2012) gives every prompt a
//! Poisson(1) weight in each resample, drawn from a generator seeded by the prompt's id: one pass, and the intervals do not
//! depend on the order of prompts.

use lsn_digest::Canonical;
use lsn_stage::{
    StageError, StageResult,
    record::{PromptId, ScoredRow},
};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;

const METRICS: usize = 4;

/// Mean, the bounds of its interval, and the place by it among the samplers that have one, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub place: u32,
}

/// One sampler's place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ranked {
    pub sampler: String,
    pub rows: u64,
    pub training_rows: u64,
    pub score: Option<Estimate>,
    /// Standardised rating.
    pub quality: Option<Estimate>,
    /// Standardised diversity on the prompts where it counts.
    pub diversity: Option<Estimate>,
    /// Share of correct answers among those that can be verified.
    pub accuracy: Option<Estimate>,
}

impl Ranked {
    const METRICS: [fn(&mut Self) -> &mut Option<Estimate>; METRICS] = [
        |ranked| &mut ranked.score,
        |ranked| &mut ranked.quality,
        |ranked| &mut ranked.diversity,
        |ranked| &mut ranked.accuracy,
    ];
}

#[derive(Clone)]
struct Sums {
    rows: u64,
    training_rows: u64,
    total: [(f64, f64); METRICS],
    /// (weighted sum, weighted count) of each metric in each resample.
    resampled: Vec<[(f64, f64); METRICS]>,
}

/// Sums in the making.
pub(super) struct Ranking {
    resamples: usize,
    seed: u64,
    samplers: BTreeMap<String, Sums>,
}

impl Ranking {
    pub fn new(resamples: u32, seed: u64) -> Self {
        Self { resamples: resamples as usize, seed, samplers: BTreeMap::new() }
    }

    pub fn prompt(&mut self, prompt: PromptId, rows: &[ScoredRow], top_k: u32) {
        let mut own: BTreeMap<&str, [(f64, f64); METRICS]> = BTreeMap::new();
        for row in rows {
            let name = &row.generation.sampler_info.name;
            let values = [Some(row.score), row.normalized_quality, row.normalized_diversity, row.verifiable_reward];
            for (sum, value) in own.entry(name).or_default().iter_mut().zip(values) {
                if let Some(value) = value {
                    sum.0 += value;
                    sum.1 += 1.0;
                }
            }
            let empty = || Sums {
                rows: 0,
                training_rows: 0,
                total: Default::default(),
                resampled: vec![Default::default(); self.resamples],
            };
            let sums = self.samplers.entry(name.clone()).or_insert_with(empty);
            sums.rows += 1;
            sums.training_rows += u64::from(row.rank.is_some_and(|rank| rank <= top_k));
        }
        let mut canonical = Canonical::new("lsn/poisson-bootstrap/1");
        canonical.u64(self.seed).digest(&prompt.0);
        let mut rng = ChaCha8Rng::from_seed(*canonical.finish().as_bytes());
        let weights: Vec<f64> = (0..self.resamples).map(|_| poisson(&mut rng)).collect();
        for (name, values) in own {
            let Some(sums) = self.samplers.get_mut(name) else { continue };
            let add = |into: &mut [(f64, f64); METRICS], weight: f64| {
                for (sum, value) in into.iter_mut().zip(&values) {
                    sum.0 += weight * value.0;
                    sum.1 += weight * value.1;
                }
            };
            add(&mut sums.total, 1.0);
            for (resample, &weight) in sums.resampled.iter_mut().zip(&weights) {
                add(resample, weight);
            }
        }
    }

    /// The samplers, best mean score first; those of one mean in the order of their names.
    pub fn finish(self, confidence: f64) -> Vec<Ranked> {
        let mut ranked: Vec<Ranked> = self
            .samplers
            .into_iter()
            .map(|(sampler, sums)| {
                let [score, quality, diversity, accuracy] =
                    std::array::from_fn(|metric| estimate(&sums, metric, confidence));
                let Sums { rows, training_rows, .. } = sums;
                Ranked { sampler, rows, training_rows, score, quality, diversity, accuracy }
            })
            .collect();
        let mean = |ranked: &Ranked| ranked.score.map_or(f64::NEG_INFINITY, |score| score.mean);
        ranked.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        for metric in Ranked::METRICS {
            let mut estimates: Vec<&mut Estimate> =
                ranked.iter_mut().filter_map(|ranked| metric(ranked).as_mut()).collect();
            // Stable: samplers of one mean stay in the order of their scores.
            estimates.sort_by(|a, b| b.mean.total_cmp(&a.mean));
            for (estimate, place) in estimates.into_iter().zip(1..) {
                estimate.place = place;
            }
        }
        ranked
    }
}

/// A Poisson(1) variate by inversion.
fn poisson(rng: &mut ChaCha8Rng) -> f64 {
    let uniform = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut term = (-1.0_f64).exp();
    let mut below = term;
    let mut count = 0.0;
    while uniform >= below && count < 20.0 {
        count += 1.0;
        term /= count;
        below += term;
    }
    count
}

fn estimate(sums: &Sums, metric: usize, confidence: f64) -> Option<Estimate> {
    let (sum, count) = sums.total[metric];
    if count == 0.0 {
        return None;
    }
    let mean = sum / count;
    let mut means: Vec<f64> = sums
        .resampled
        .iter()
        .map(|sums| sums[metric])
        .filter(|sums| sums.1 > 0.0)
        .map(|sums| sums.0 / sums.1)
        .collect();
    means.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let place = (share * means.len() as f64).floor() as usize;
        means.get(place.min(means.len().saturating_sub(1))).copied().unwrap_or(mean)
    };
    let tail = (1.0 - confidence) / 2.0;
    Some(Estimate { mean, low: quantile(tail), high: quantile(1.0 - tail), place: 0 })
}

/// The ranking as a table.
pub(super) fn to_csv(ranking: &[Ranked]) -> StageResult<Vec<u8>> {
    let failed = |error: String| StageError::user(format!("cannot encode the ranking: {error}"));
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["rank".to_owned(), "sampler".into(), "rows".into(), "training_rows".into()];
    for metric in ["score", "quality", "diversity", "accuracy"] {
        header.extend([
            metric.to_owned(),
            format!("{metric}_low"),
            format!("{metric}_high"),
            format!("{metric}_place"),
        ]);
    }
    out.write_record(header).map_err(|error| failed(error.to_string()))?;
    for (ranked, place) in ranking.iter().zip(1..) {
        let mut record: Vec<String> = vec![
            i32::to_string(&place),
            ranked.sampler.clone(),
            ranked.rows.to_string(),
            ranked.training_rows.to_string(),
        ];
        for estimate in [ranked.score, ranked.quality, ranked.diversity, ranked.accuracy] {
            record.extend(match estimate {
                Some(Estimate { mean, low, high, place }) => {
                    let [mean, low, high] = [mean, low, high].map(|value| format!("{value:.6}"));
                    [mean, low, high, place.to_string()]
                }
                None => Default::default(),
            });
        }
        out.write_record(record).map_err(|error| failed(error.to_string()))?;
    }
    out.into_inner().map_err(|error| failed(error.to_string()))
}
