//! The training log: one JSON object a line, and the same numbers for TensorBoard.

use super::tensorboard::EventWriter;
use lsn_stage::{StageError, StageResult};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// A line of the log. Steps count from 1: what the parameters are after so many updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// One optimiser step: means over its positions, before the update.
    Train {
        step: u64,
        loss: f64,
        kl: f64,
        penalty: f64,
        /// The same for the raw logits: what doing nothing would cost on these positions.
        raw_kl: f64,
        raw_penalty: f64,
        lr: f64,
        /// Before clipping.
        grad_norm: f64,
    },
    /// Means over the validation set after the update.
    Validation { step: u64, loss: f64, kl: f64, penalty: f64, raw_kl: f64, raw_penalty: f64 },
}

impl Line {
    /// The step, and its numbers by TensorBoard's tags.
    pub fn scalars(&self) -> (u64, Vec<(&'static str, f64)>) {
        match *self {
            Self::Train { step, loss, kl, penalty, raw_kl, raw_penalty, lr, grad_norm } => {
                let scalars = vec![
                    ("train/loss", loss),
                    ("train/kl", kl),
                    ("train/penalty", penalty),
                    ("train/raw_kl", raw_kl),
                    ("train/raw_penalty", raw_penalty),
                    ("train/lr", lr),
                    ("train/grad_norm", grad_norm),
                ];
                (step, scalars)
            }
            Self::Validation { step, loss, kl, penalty, raw_kl, raw_penalty } => {
                let scalars = vec![
                    ("validation/loss", loss),
                    ("validation/kl", kl),
                    ("validation/penalty", penalty),
                    ("validation/raw_kl", raw_kl),
                    ("validation/raw_penalty", raw_penalty),
                ];
                (step, scalars)
            }
        }
    }
}

/// The log file of a training, append-only between checkpoints.
pub struct Log {
    path: PathBuf,
    file: BufWriter<File>,
}

fn failed(error: std::io::Error) -> StageError {
    StageError::io("cannot write the training log", &error)
}

impl Log {
    pub fn open(path: PathBuf) -> StageResult<Self> {
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    pub fn push(&mut self, line: &Line) -> StageResult<()> {
        serde_json::to_writer(&mut self.file, line).map_err(|error| failed(error.into()))?;
        self.file.write_all(b"\n").map_err(failed)
    }

    /// Makes all lines durable; the length of the file.
    pub fn sync(&mut self) -> StageResult<u64> {
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        Ok(self.file.get_ref().metadata().map_err(failed)?.len())
    }

    /// Cuts the file to its first `len` bytes; `false` where it is shorter than that.
    pub fn cut(&mut self, len: u64) -> StageResult<bool> {
        self.file.flush().map_err(failed)?;
        if self.file.get_ref().metadata().map_err(failed)?.len() < len {
            return Ok(false);
        }
        self.file.get_ref().set_len(len).map_err(failed)?;
        Ok(true)
    }

    /// Copies the log to `jsonl` and writes it as an event file into the directory `tensorboard`.
    pub fn publish(mut self, jsonl: &Path, tensorboard: &Path) -> StageResult<()> {
        self.sync()?;
        let text = fs::read_to_string(&self.path).map_err(failed)?;
        fs::write(jsonl, &text).map_err(failed)?;
        fs::create_dir_all(tensorboard).map_err(failed)?;
        let events = File::create(tensorboard.join("events.out.tfevents.0.lsn")).map_err(failed)?;
        let mut writer = EventWriter::new(BufWriter::new(events)).map_err(failed)?;
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).map_err(|error| failed(error.into()))?;
            let (step, scalars) = line.scalars();
            writer.scalars(step, &scalars).map_err(failed)?;
        }
        writer.finish().map(drop).map_err(failed)
    }
}
