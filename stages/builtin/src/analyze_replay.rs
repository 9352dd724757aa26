//! Replaying rows: raw, target and learned distribution at every position.

use crate::analyze::AnalyzeParams;
use crate::analyze_statistics::{Curves, Record};
use crate::generate::{answer::state_seed, sampler::recorded_pipeline};
use crate::teacher_forcing;
use lsn_lm::LanguageModel;
use lsn_report::{Candidate, Example};
use lsn_samplers::{Sampler, Workspace};
use lsn_stage::{StageError, StageResult, dataset::DataSetReader, record::ScoredRow};
use std::{collections::BTreeMap, path::Path};

/// The rows to replay: those of the smallest ids, which is a random sample that does not depend on how many rows there are.
pub fn choose_rows(params: &AnalyzeParams, path: &Path) -> StageResult<Vec<ScoredRow>> {
    let mut chosen = BTreeMap::new();
    for row in DataSetReader::<ScoredRow>::open(path)?.rows()? {
        let row = row?;
        if params.exclude.contains(&row.generation.sampler_info.name) || row.generation.token_ids.is_empty() {
            continue;
        }
        chosen.insert(row.generation.generation_id, row);
        if chosen.len() > params.max_rows {
            chosen.pop_last();
        }
    }
    if chosen.is_empty() {
        return Err(StageError::user("input `rows` holds no row with tokens of a fixed heuristic").hint(
            "give rows that heuristics drew, such as `score.training`; `exclude` names samplers that are left out",
        ));
    }
    Ok(chosen.into_values().collect())
}

/// What one row showed.
pub struct Replayed {
    pub records: Vec<Record>,
    pub curves: Curves,
}

/// Model and sampler, ready to replay rows on several threads.
pub struct Replayer<'a> {
    model: &'a LanguageModel,
    sampler: &'a Sampler<f32>,
    max_positions: usize,
}

/// The three distributions of one position as natural log-probabilities.
pub struct Distributions {
    pub raw: Vec<f64>,
    pub target: Vec<f64>,
    pub learned: Vec<f64>,
}

impl<'a> Replayer<'a> {
    pub fn new(model: &'a LanguageModel, sampler: &'a Sampler<f32>, max_positions: usize) -> Self {
        Self { model, sampler, max_positions }
    }

    /// Every position of a row.
    pub fn replay(&self, row: &ScoredRow) -> StageResult<Replayed> {
        let mut records = Vec::new();
        let mut curves = Curves::default();
        self.positions(row, self.max_positions, |position, distributions| {
            records.push(Record::measure(position, distributions));
            curves.add(distributions);
        })?;
        Ok(Replayed { records, curves })
    }

    /// One position in full.
    pub fn example(&self, row: &ScoredRow, record: &Record, why: &str, top_k: usize) -> StageResult<Example> {
        let mut candidates = Vec::new();
        let chosen = row.generation.token_ids[record.position];
        self.positions(row, record.position + 1, |position, distributions| {
            if position == record.position {
                candidates = self.candidates(distributions, chosen, top_k);
            }
        })?;
        let failed = |error| StageError::user(format!("generation {}: {error}", row.generation.generation_id));
        let tokenizer = self.model.tokenizer().map_err(failed)?;
        let before = tokenizer.decode(&row.generation.token_ids[..record.position]).map_err(failed)?;
        Ok(Example {
            why: why.to_owned(),
            context: format!("{}\n\n{before}", row.generation.prompt.prompt.trim_end()),
            position: record.position,
            pipeline: row.generation.sampler_info.name.clone(),
            entropy: record.raw_entropy,
            raw_kl: record.raw_kl,
            learned_kl: record.learned_kl,
            candidates,
        })
    }

    /// The most probable tokens and the one that the text goes on with.
    fn candidates(&self, distributions: &Distributions, chosen: u32, top_k: usize) -> Vec<Candidate> {
        let raw = &distributions.raw;
        let mut order: Vec<usize> = (0..raw.len()).filter(|&token| raw[token] > f64::NEG_INFINITY).collect();
        order.sort_by(|&a, &b| raw[b].total_cmp(&raw[a]).then(a.cmp(&b)));
        if let Some(place) = order.iter().position(|&token| token == chosen as usize)
            && place >= top_k
        {
            order.insert(top_k.saturating_sub(1), chosen as usize);
        }
        order.truncate(top_k);
        let finite = |log: f64| (log > f64::NEG_INFINITY).then_some(log);
        order
            .into_iter()
            .map(|token| Candidate {
                text: self.token(token as u32),
                raw: raw[token],
                target: finite(distributions.target[token]),
                learned: finite(distributions.learned[token]),
                chosen: token == chosen as usize,
            })
            .collect()
    }

    /// A token's text; special tokens, which decode to nothing, as the vocabulary spells them.
    fn token(&self, id: u32) -> String {
        let Ok(tokenizer) = self.model.tokenizer() else { return id.to_string() };
        match tokenizer.decode(&[id]) {
            Ok(text) if !text.is_empty() => text,
            _ => tokenizer.piece(id).unwrap_or_else(|| id.to_string()),
        }
    }

    fn positions(&self, row: &ScoredRow, most: usize, mut visit: impl FnMut(usize, &Distributions)) -> StageResult<()> {
        let generation = &row.generation;
        let failed = |error: String| {
            let sampler = &generation.sampler_info.name;
            StageError::user(format!("generation {} of sampler `{sampler}`: {error}", generation.generation_id))
        };
        let (text, system) = (&generation.prompt.prompt, generation.prompt.system_prompt.as_deref());
        let prompt = self.model.encode_prompt(text, system).map_err(|error| failed(error.to_string()))?;
        let pipeline = recorded_pipeline(&generation.sampler_info).map_err(|error| failed(error.to_string()))?;
        let mut workspace = Workspace::default();
        teacher_forcing::Replay {
            model: self.model,
            pipeline: &pipeline,
            drew: true,
            state_seed: state_seed(generation, &pipeline.canonical()),
            prompt: &prompt,
            generated: &generation.token_ids[..generation.token_ids.len().min(most)],
        }
        .positions(
            |_| true,
            |position, raw, target| {
                let mut learned = raw.to_vec();
                self.sampler.apply(&mut learned, &mut workspace).map_err(|error| error.to_string())?;
                let distributions = Distributions {
                    raw: log_softmax(raw),
                    target: log_softmax(target),
                    learned: log_softmax(&learned),
                };
                visit(position, &distributions);
                Ok(())
            },
        )
        .map_err(failed)
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    let norm = max + sum.ln();
    logits.iter().map(|&logit| f64::from(logit) - norm).collect()
}
