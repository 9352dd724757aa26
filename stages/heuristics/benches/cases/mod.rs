//! What the bench and the program for `benches/peers/heuristics.py` time: each pipeline of `pipelines.yaml` on one row.

use lsn_heuristics::{Context, FurtherLogits, HeuristicsFile, History, Pipeline};
use safetensors::SafeTensors;
use std::{error::Error, path::Path};

/// Ids so far: what the penalties look at.
const HISTORY: usize = 1000;
/// Early layers, for DoLa.
const LAYERS: usize = 2;

/// All pipelines with their names.
///
/// # Errors
/// The file that is part of this bench does not describe pipelines.
pub fn pipelines() -> Result<Vec<(String, Pipeline)>, Box<dyn Error>> {
    let file = HeuristicsFile::from_yaml(include_str!("pipelines.yaml"))?;
    let built = file.sampling_pipelines.into_iter().map(|config| Ok((config.name.clone(), config.build()?)));
    built.collect()
}

/// The tensor `logits` of a safetensors file, f32 `[1, V]`.
///
/// # Errors
/// There is no such file or tensor.
pub fn read_row(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let view = tensors.tensor("logits")?;
    Ok(view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// What pipelines look at besides a row of V logits.
pub struct Surroundings {
    history: Vec<u32>,
    further: Vec<f32>,
    vocabulary: usize,
}

impl Surroundings {
    /// Of `row`: a history with repetitions, and logits of other layers that are near it.
    pub fn of(row: &[f32]) -> Self {
        let history = (0..HISTORY as u32).map(|at| at * at % 701).collect();
        let further = (1..=LAYERS).flat_map(|layer| row.iter().map(move |z| z * (1.0 - 0.1 * layer as f32))).collect();
        Self { history, further, vocabulary: row.len() }
    }

    /// Runs `work` with the context that they make.
    pub fn with<T>(&self, work: impl FnOnce(Context<'_>) -> T) -> T {
        let further = [
            FurtherLogits { name: "unconditional", logits: &self.further[..self.vocabulary] },
            FurtherLogits { name: "early", logits: &self.further },
        ];
        work(Context { history: History { tokens: &self.history, prompt_len: 9 }, further: &further })
    }
}
