//! Replaying the frozen model: raw logits and targets of the chosen positions, kept on disk between uses.

use super::samples::{Sample, Samples};
use lsn_heuristics::{History, Scratch};
use lsn_lm::LanguageModel;
use lsn_samplers::{Example, LogitSet, Real, Target};
use lsn_stage::{StageError, StageResult};
use rayon::prelude::*;
use std::{collections::HashMap, fs::File, os::unix::fs::FileExt, path::Path};

/// One position: a row, and which of its chosen positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub row: u32,
    pub index: u32,
}

/// Replayed logits by row. What does not fit into `limit` bytes is kept only until the next replay.
pub struct Replay<'a> {
    model: &'a LanguageModel,
    samples: &'a Samples,
    vocabulary: usize,
    kept: LogitFile,
    passing: LogitFile,
    limit: u64,
}

/// Rows of raw and target logits, one after the other.
struct LogitFile {
    file: File,
    len: u64,
    rows: HashMap<u32, u64>,
}

impl LogitFile {
    fn create(path: &Path) -> StageResult<Self> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path);
        let file = file.map_err(|error| StageError::io(format!("cannot create {}", path.display()), &error))?;
        Ok(Self { file, len: 0, rows: HashMap::new() })
    }

    fn push(&mut self, row: u32, logits: &[f32]) -> StageResult<()> {
        let bytes = f32::to_bytes(logits);
        self.file
            .write_all_at(&bytes, self.len)
            .map_err(|error| StageError::io("cannot write replayed logits to the scratch directory", &error))?;
        self.rows.insert(row, self.len);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl<'a> Replay<'a> {
    /// `scratch` is emptied of earlier replays. `limit`: bytes to keep for later epochs.
    pub fn new(model: &'a LanguageModel, samples: &'a Samples, scratch: &Path, limit: u64) -> StageResult<Self> {
        Ok(Self {
            model,
            samples,
            vocabulary: model.config().vocab_size,
            kept: LogitFile::create(&scratch.join("replay-kept"))?,
            passing: LogitFile::create(&scratch.join("replay-passing"))?,
            limit,
        })
    }

    /// Makes the positions of `rows` available to [`Replay::examples`]; rows replayed in an earlier call may be dropped.
    pub fn load(&mut self, rows: &[u32], cancelled: impl Fn() -> StageResult<()> + Sync) -> StageResult<()> {
        self.passing.rows.clear();
        self.passing.len = 0;
        let missing: Vec<u32> = rows.iter().copied().filter(|row| !self.kept.rows.contains_key(row)).collect();
        // As many rows at once as there are threads: more would only hold more logits in memory.
        for rows in missing.chunks(rayon::current_num_threads().max(1)) {
            cancelled()?;
            let replayed: Vec<Vec<f32>> =
                rows.par_iter().map(|&row| self.replay(&self.samples.get(row)?)).collect::<StageResult<_>>()?;
            for (&row, logits) in rows.iter().zip(&replayed) {
                let fits = self.kept.len + 4 * logits.len() as u64 <= self.limit;
                let file = if fits { &mut self.kept } else { &mut self.passing };
                file.push(row, logits)?;
            }
        }
        Ok(())
    }

    /// Raw and target logits `[positions, 2, V]` of one row.
    fn replay(&self, sample: &Sample) -> StageResult<Vec<f32>> {
        let vocabulary = self.vocabulary;
        let wanted = sample.positions.last().map_or(0, |&last| last as usize + 1);
        let raw = self
            .model
            .continuation_logits(&sample.prompt, &sample.generated[..wanted])
            .map_err(|error| StageError::user(format!("replaying a training row: {error}")))?;
        let pipeline = self.samples.pipeline(sample.pipeline);
        let mut state = pipeline.start(sample.state_seed);
        let mut scratch = Scratch::default();
        let mut tokens = sample.prompt.clone();
        let mut out = Vec::with_capacity(2 * vocabulary * sample.positions.len());
        for (position, raw) in raw.chunks_exact(vocabulary).enumerate() {
            let next = sample.generated[position];
            let chosen = sample.positions.binary_search(&(position as u32)).is_ok();
            if chosen || pipeline.is_stateful() {
                let mut target = raw.to_vec();
                let history = History { tokens: &tokens, prompt_len: sample.prompt.len() };
                pipeline
                    .process(&mut target, history, &mut state, &mut scratch)
                    .and_then(|()| pipeline.accept(next, &target, &mut state))
                    .map_err(|error| StageError::user(format!("replaying a training row: {error}")))?;
                if chosen {
                    out.extend_from_slice(raw);
                    out.append(&mut target);
                }
            }
            tokens.push(next);
        }
        Ok(out)
    }

    /// Examples of positions whose rows are loaded.
    pub fn examples(&self, positions: &[Position]) -> StageResult<Vec<Example>> {
        positions.par_iter().map(|&position| self.example(position)).collect()
    }

    fn example(&self, position: Position) -> StageResult<Example> {
        let io = |error: std::io::Error| StageError::io("cannot read replayed logits", &error);
        let (file, start) = match (self.kept.rows.get(&position.row), self.passing.rows.get(&position.row)) {
            (Some(start), _) => (&self.kept.file, start),
            (None, Some(start)) => (&self.passing.file, start),
            (None, None) => return Err(StageError::user(format!("training row {} was not replayed", position.row))),
        };
        let size = 8 * self.vocabulary;
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, start + u64::from(position.index) * size as u64).map_err(io)?;
        let logits = f32::from_bytes(&bytes);
        let (raw, target) = logits.split_at(self.vocabulary);
        let row = |error: lsn_samplers::RowError| StageError::user(format!("training row {}: {error}", position.row));
        let set = LogitSet::distinct(raw).map_err(row)?;
        let target = Target::new(&set, target).map_err(row)?;
        Ok(Example { set, target })
    }
}
