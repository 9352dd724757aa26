//! Means per sampler with intervals over prompts, and paired comparisons with the learned sampler.

use super::{
    EvaluateParams,
    collect::{Answer, Cell, Collected},
};
use lsn_stage::{StageError, StageResult, record::PromptId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A mean over prompts with its bootstrap percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub mean: f64,
    /// Absent without a bootstrap, or where a single prompt has the metric.
    pub interval: Option<[f64; 2]>,
    /// How many prompts have the metric.
    pub prompts: u32,
}

/// One sampler. Every number is a mean over prompts of the mean over the seeds of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub learned: bool,
    /// By mean score, from 1.
    pub rank: u32,
    /// The combined score of `score`.
    pub score: Estimate,
    /// Bradley–Terry rating.
    pub quality: Option<Estimate>,
    /// Share of correct answers to verifiable prompts.
    pub pass_at_1: Option<Estimate>,
    /// Probability that one of k answers is correct (Chen et al. 2021), k as in [`Evaluation::k`].
    pub pass_at_k: Option<Estimate>,
    /// Effective number of different answers.
    pub vendi: Option<Estimate>,
    pub self_bleu: Option<Estimate>,
    /// Generated tokens per answer.
    pub tokens: Estimate,
    /// The learned sampler against this one, absent for itself.
    pub against: Option<Comparison>,
}

/// The learned sampler against a heuristic, on the same prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Score of the learned sampler minus that of the heuristic: prompt by prompt, each side's mean over its seeds.
    pub difference: Estimate,
    /// Share of (prompt, seed) pairs that the learned sampler's answer wins by score; ties count half.
    pub win_rate: Estimate,
    /// The interval of the difference lies above 0 (`better`), below 0 (`worse`), or holds 0 (`open`).
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Better,
    Open,
    Worse,
}

/// The answer to the stage's question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Of the learned sampler by mean score.
    pub rank: u32,
    pub samplers: u32,
    /// Heuristics that it beats beyond the interval, that it is within the interval of, and that beat it.
    pub better_than: u32,
    pub undecided: u32,
    pub worse_than: u32,
    pub beats_every_heuristic: bool,
    /// The heuristic with the highest mean score.
    pub best_heuristic: String,
}

/// The whole table, by rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub sampler: String,
    /// Prompts that every sampler answered; the others are left out.
    pub prompts: u32,
    pub prompts_left_out: u32,
    pub k: u32,
    pub bootstrap: u32,
    pub confidence: f64,
    pub verdict: Verdict,
    pub samplers: Vec<Entry>,
}

/// Resamples of the prompts, the same for all samplers and metrics, so that differences are paired.
struct Bootstrap {
    /// How often each prompt is drawn, per resample.
    weights: Vec<Vec<u32>>,
    confidence: f64,
}

impl Bootstrap {
    fn new(params: &EvaluateParams, prompts: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
        let resample = |_| {
            let mut weights = vec![0; prompts];
            (0..prompts).for_each(|_| weights[rng.random_range(0..prompts)] += 1);
            weights
        };
        Self { weights: (0..params.bootstrap).map(resample).collect(), confidence: params.confidence }
    }

    /// One value per prompt; `None` where no prompt has the metric.
    fn estimate(&self, values: &[Option<f64>]) -> Option<Estimate> {
        let present: Vec<(usize, f64)> =
            values.iter().enumerate().filter_map(|(prompt, value)| Some((prompt, (*value)?))).collect();
        let count = present.len();
        if count == 0 {
            return None;
        }
        let mean = present.iter().map(|(_, value)| value).sum::<f64>() / count as f64;
        let mut means: Vec<f64> = self
            .weights
            .iter()
            .filter_map(|weights| {
                let (mut sum, mut total) = (0.0, 0.0);
                for &(prompt, value) in &present {
                    sum += f64::from(weights[prompt]) * value;
                    total += f64::from(weights[prompt]);
                }
                // A resample without any prompt that has the metric says nothing about it.
                (total > 0.0).then(|| sum / total)
            })
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let interval = (count > 1 && !means.is_empty()).then(|| {
            let tail = (1.0 - self.confidence) / 2.0;
            let at = |share: f64| means[(share * (means.len() - 1) as f64).round() as usize];
            [at(tail), at(1.0 - tail)]
        });
        Some(Estimate { mean, interval, prompts: count as u32 })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Probability that at least one of k answers drawn from these without replacement is correct: 1 − C(n−c, k) / C(n, k).
fn pass_at(k: u32, cell: &Cell) -> Option<f64> {
    let verdicts: Vec<bool> = cell.by_seed.values().filter_map(|answer| answer.correct).collect();
    let (n, correct) = (verdicts.len() as u32, verdicts.iter().filter(|correct| **correct).count() as u32);
    if n == 0 || k > n {
        return None;
    }
    let wrong = n - correct;
    if wrong < k {
        return Some(1.0);
    }
    Some(1.0 - (0..k).map(|drawn| f64::from(wrong - drawn) / f64::from(n - drawn)).product::<f64>())
}

/// Share of common seeds at which `a` has the higher score.
fn wins(a: &Cell, b: &Cell) -> Option<f64> {
    let outcome = |(seed, x): (&u64, &Answer)| {
        let y = b.by_seed.get(seed)?;
        Some(if x.score > y.score { 1.0 } else { f64::from(u8::from(x.score == y.score)) / 2.0 })
    };
    mean(a.by_seed.iter().filter_map(outcome))
}

/// The cells of the common prompts, in one order for all samplers.
type Column<'a> = Vec<&'a Cell>;

/// The prompts that all samplers answered.
fn common(collected: &Collected) -> Vec<PromptId> {
    let mut cells = collected.samplers.values();
    let Some(first) = cells.next() else { return Vec::new() };
    let rest: Vec<_> = cells.collect();
    first.keys().copied().filter(|prompt| rest.iter().all(|cells| cells.contains_key(prompt))).collect()
}

impl Evaluation {
    /// # Errors
    /// The learned sampler or any heuristic is missing, or no prompt was answered by all.
    pub fn new(collected: &Collected, params: &EvaluateParams) -> StageResult<Self> {
        let names = || collected.samplers.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
        if !collected.samplers.contains_key(&params.sampler) {
            return Err(StageError::user(format!("no row of sampler `{}`, found `{}`", params.sampler, names()))
                .hint("set `sampler` to the name under which the learned sampler's rows were generated"));
        }
        if collected.samplers.len() < 2 {
            return Err(StageError::user(format!("all rows are of sampler `{}`, nothing to compare it with", names())));
        }
        let prompts = common(collected);
        if prompts.is_empty() {
            return Err(StageError::user("no prompt was answered by every sampler")
                .hint("generate with all samplers from the same prompts"));
        }
        let all: std::collections::BTreeSet<_> = collected.samplers.values().flat_map(|cells| cells.keys()).collect();
        let columns: BTreeMap<&str, Column<'_>> = collected
            .samplers
            .iter()
            .map(|(name, cells)| (name.as_str(), prompts.iter().map(|prompt| &cells[prompt]).collect()))
            .collect();
        let fewest = columns.values().flatten().map(|cell| cell.by_seed.len() as u32).min().unwrap_or(1);
        let k = params.k.unwrap_or(fewest).max(1);
        let bootstrap = Bootstrap::new(params, prompts.len());
        let learned = &columns[params.sampler.as_str()];
        let mut samplers = columns
            .iter()
            .map(|(name, column)| {
                let rival = (*name != params.sampler).then_some(learned.as_slice());
                entry(name, column, rival, k, &bootstrap)
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| StageError::user("a sampler has a prompt without any answer"))?;
        samplers.sort_by(|a, b| b.score.mean.total_cmp(&a.score.mean));
        samplers.iter_mut().zip(1..).for_each(|(entry, rank)| entry.rank = rank);
        Ok(Self {
            sampler: params.sampler.clone(),
            prompts: prompts.len() as u32,
            prompts_left_out: (all.len() - prompts.len()) as u32,
            k,
            bootstrap: params.bootstrap,
            confidence: params.confidence,
            verdict: verdict(&samplers),
            samplers,
        })
    }
}

fn entry(name: &str, column: &[&Cell], learned: Option<&[&Cell]>, k: u32, bootstrap: &Bootstrap) -> Option<Entry> {
    let estimate = |value: &dyn Fn(&Cell) -> Option<f64>| {
        bootstrap.estimate(&column.iter().map(|cell| value(cell)).collect::<Vec<_>>())
    };
    let over_seeds =
        |value: fn(&Answer) -> Option<f64>| estimate(&move |cell: &Cell| mean(cell.by_seed.values().filter_map(value)));
    let score = |cell: &Cell| mean(cell.by_seed.values().map(|answer| answer.score));
    let against = learned.and_then(|learned| {
        let pairs = || learned.iter().zip(column);
        let differences: Vec<_> = pairs().map(|(a, b)| Some(score(a)? - score(b)?)).collect();
        let difference = bootstrap.estimate(&differences)?;
        let outcome = match difference.interval {
            Some([low, _]) if low > 0.0 => Outcome::Better,
            Some([_, high]) if high < 0.0 => Outcome::Worse,
            _ => Outcome::Open,
        };
        let win_rate = bootstrap.estimate(&pairs().map(|(a, b)| wins(a, b)).collect::<Vec<_>>())?;
        Some(Comparison { difference, win_rate, outcome })
    });
    Some(Entry {
        name: name.to_owned(),
        learned: learned.is_none(),
        rank: 0,
        score: estimate(&score)?,
        quality: over_seeds(|answer| answer.quality),
        pass_at_1: over_seeds(|answer| answer.correct.map(|correct| f64::from(u8::from(correct)))),
        pass_at_k: estimate(&|cell| pass_at(k, cell)),
        vendi: estimate(&|cell| cell.vendi),
        self_bleu: estimate(&|cell| cell.self_bleu),
        tokens: over_seeds(|answer| Some(answer.tokens))?,
        against,
    })
}

fn verdict(ranked: &[Entry]) -> Verdict {
    let count = |outcome| {
        ranked.iter().filter(|entry| entry.against.is_some_and(|against| against.outcome == outcome)).count() as u32
    };
    let (better_than, undecided, worse_than) = (count(Outcome::Better), count(Outcome::Open), count(Outcome::Worse));
    Verdict {
        rank: ranked.iter().find(|entry| entry.learned).map_or(0, |entry| entry.rank),
        samplers: ranked.len() as u32,
        better_than,
        undecided,
        worse_than,
        beats_every_heuristic: undecided + worse_than == 0,
        best_heuristic: ranked.iter().find(|entry| !entry.learned).map_or_else(String::new, |entry| entry.name.clone()),
    }
}
