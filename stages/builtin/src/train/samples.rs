//! The training rows as token ids on disk, and which of their positions are trained on.

use super::TrainParams;
use crate::generate::{answer::state_seed, sampler::recorded_pipeline};
use lsn_digest::Canonical;
use lsn_heuristics::Pipeline;
use lsn_lm::LanguageModel;
use lsn_stage::{
    StageContext, StageError, StageResult,
    dataset::DataSetReader,
    record::{PromptId, ScoredRow},
};
use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::Path,
};

/// One row: prompt ids, generated ids, and the pipeline that drew them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub prompt: Vec<u32>,
    pub generated: Vec<u32>,
    pub pipeline: usize,
    /// Seed of the pipeline's own draws when the row was generated.
    pub state_seed: u64,
    /// Positions of `generated` that are trained on, ascending.
    pub positions: Vec<u32>,
}

/// Where a row lies in the file, and how many positions of it are trained on.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    prompt: u32,
    generated: u32,
    pipeline: u32,
    positions: u32,
    state_seed: u64,
}

/// All rows; only their sizes are in memory.
pub struct Samples {
    file: File,
    entries: Vec<Entry>,
    pipelines: Vec<Pipeline>,
    /// Whether every row's pipeline is the one that drew it.
    pub drew: bool,
    seed: u64,
    /// Rows for training, by their number.
    pub training: Vec<u32>,
    /// Rows for validation.
    pub validation: Vec<u32>,
    /// Rows without a position within `max_seq_length`.
    pub skipped: u64,
}

/// A generator for one purpose, row or epoch.
pub fn generator(seed: u64, purpose: &str, numbers: &[u64]) -> ChaCha8Rng {
    let mut key = Canonical::new("lsn/train-rng/1");
    key.u64(seed).str(purpose).seq(numbers.len());
    numbers.iter().for_each(|&number| {
        key.u64(number);
    });
    ChaCha8Rng::from_seed(*key.finish().as_bytes())
}

/// Whether a prompt is held back: a property of the prompt, so that further rows move none of the others.
fn held_back(seed: u64, prompt: PromptId, fraction: f64) -> bool {
    let mut key = Canonical::new("lsn/train-validation/1");
    key.u64(seed).digest(&prompt.0);
    let digest = key.finish();
    let mut head = [0; 8];
    head.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_le_bytes(head) as f64) < fraction * 2f64.powi(64)
}

impl Samples {
    /// Reads the rows at `rows`, renders their prompts with the model's chat template and writes the ids to `path`.
    pub fn prepare(
        rows: &Path,
        path: &Path,
        model: &LanguageModel,
        params: &TrainParams,
        ctx: &StageContext,
    ) -> StageResult<Self> {
        let io = |error: std::io::Error| StageError::io(format!("cannot write {}", path.display()), &error);
        let mut writer = BufWriter::new(File::create(path).map_err(io)?);
        let (mut entries, mut pipelines) = (Vec::new(), Vec::new());
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        let mut by_form = HashMap::new();
        let (mut offset, mut skipped) = (0, 0);
        for row in DataSetReader::<ScoredRow>::open(rows)?.rows()? {
            ctx.check_cancelled()?;
            let generation = row?.generation;
            let place = |what: String| {
                let sampler = &generation.sampler_info.name;
                StageError::user(format!("generation {} of sampler `{sampler}`: {what}", generation.generation_id))
            };
            let prompt = params.prompt_form.encode(model, &generation.prompt);
            let prompt = prompt.map_err(|error| place(error.to_string()))?;
            let room = params.max_seq_length.saturating_sub(prompt.len());
            let generated = &generation.token_ids[..generation.token_ids.len().min(room)];
            if generated.is_empty() || prompt.is_empty() {
                skipped += 1;
                continue;
            }
            let pipeline = match &params.target {
                Some(processors) => Pipeline::from_config(processors),
                None => recorded_pipeline(&generation.sampler_info),
            };
            let pipeline = pipeline.map_err(|error| place(error.to_string()))?;
            let form = pipeline.canonical();
            let state_seed = state_seed(&generation, &form);
            let pipeline = *by_form.entry(form.to_string()).or_insert_with(|| {
                pipelines.push(pipeline);
                pipelines.len() - 1
            });
            let number = entries.len() as u32;
            let positions = generated.len().min(params.positions_per_row.unwrap_or(usize::MAX));
            entries.push(Entry {
                offset,
                prompt: prompt.len() as u32,
                generated: generated.len() as u32,
                pipeline: pipeline as u32,
                positions: positions as u32,
                state_seed,
            });
            for id in prompt.iter().chain(generated) {
                writer.write_all(&id.to_le_bytes()).map_err(io)?;
            }
            offset += 4 * (prompt.len() + generated.len()) as u64;
            if held_back(params.seed, generation.prompt.prompt_id, params.validation_fraction) {
                validation.push(number);
            } else {
                training.push(number);
            }
        }
        writer.flush().map_err(io)?;
        if training.is_empty() {
            let what = format!(
                "no row is left to train on: {} held back for validation, {skipped} without a generated token within \
                 max_seq_length {}",
                validation.len(),
                params.max_seq_length
            );
            return Err(StageError::user(what).hint("raise `max_seq_length` or lower `validation_fraction`"));
        }
        let file = File::open(path).map_err(io)?;
        let drew = params.target.is_none();
        Ok(Self { file, entries, pipelines, drew, seed: params.seed, training, validation, skipped })
    }

    /// How many positions of a row are trained on.
    pub fn positions(&self, row: u32) -> usize {
        self.entries[row as usize].positions as usize
    }

    pub fn pipeline(&self, index: usize) -> &Pipeline {
        &self.pipelines[index]
    }

    /// One row with the positions that are trained on, which are the same in every epoch.
    pub fn get(&self, row: u32) -> StageResult<Sample> {
        let entry = self.entries[row as usize];
        let (prompt, generated) = (entry.prompt as usize, entry.generated as usize);
        let mut bytes = vec![0; 4 * (prompt + generated)];
        self.file
            .read_exact_at(&mut bytes, entry.offset)
            .map_err(|error| StageError::io("cannot read the prepared training rows", &error))?;
        let ids: Vec<u32> = bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        let mut rng = generator(self.seed, "positions", &[row.into()]);
        let mut positions: Vec<u32> =
            index::sample(&mut rng, generated, entry.positions as usize).into_iter().map(|at| at as u32).collect();
        positions.sort_unstable();
        Ok(Sample {
            prompt: ids[..prompt].to_vec(),
            generated: ids[prompt..].to_vec(),
            pipeline: entry.pipeline as usize,
            state_seed: entry.state_seed,
            positions,
        })
    }
}
