//! Checkpoints in the scratch directory: what an interrupted training goes on from.
//!
//! A checkpoint file is a JSON header line, the trainer's state, the best parameters so far, and a BLAKE3 digest of all that.
//! It is written beside its final name, made durable and renamed, so a file under that name is whole or was damaged later; the
//! one before it stays as a spare.

use super::{emphasis::Drawn, log::Log};
use lsn_digest::Digest;
use lsn_stage::{StageContext, StageError, StageResult};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

const PREFIX: &str = "checkpoint-";
/// Version of the file; a file of another version is passed over.
const VERSION: u32 = 2;
/// Newest checkpoints that stay.
const KEPT: usize = 2;

/// How validation went so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
    /// Validations since without a better loss.
    pub misses: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    step: u64,
    /// Length of the log up to and including `step`.
    log_bytes: u64,
    best: Option<Best>,
    drawn: Option<Drawn>,
    trainer_bytes: usize,
    best_bytes: usize,
}

/// The state of a training between two steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    pub step: u64,
    pub trainer: Vec<u8>,
    pub best: Option<(Best, Vec<u8>)>,
    /// The group that the step ended in, where drawing its positions anew would need the network of an earlier step.
    pub drawn: Option<Drawn>,
}

fn path(scratch: &Path, step: u64) -> PathBuf {
    scratch.join(format!("{PREFIX}{step:012}"))
}

/// Makes `saved` what a later attempt goes on from; the log is made durable first.
pub fn save(scratch: &Path, saved: &Saved, log: &mut Log) -> StageResult<()> {
    let io = |error: std::io::Error| StageError::io("cannot write a training checkpoint", &error);
    let best = saved.best.as_ref();
    let header = Header {
        version: VERSION,
        step: saved.step,
        log_bytes: log.sync()?,
        best: best.map(|(best, _)| best.clone()),
        drawn: saved.drawn.clone(),
        trainer_bytes: saved.trainer.len(),
        best_bytes: best.map_or(0, |(_, parameters)| parameters.len()),
    };
    let mut bytes = serde_json::to_vec(&header)
        .map_err(|error| StageError::user(format!("cannot write a training checkpoint: {error}")))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&saved.trainer);
    bytes.extend_from_slice(best.map_or(&[], |(_, parameters)| parameters));
    bytes.extend_from_slice(Digest::of(&bytes).as_bytes());
    let unfinished = scratch.join("checkpoint.unfinished");
    let mut file = File::create(&unfinished).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&unfinished, path(scratch, saved.step)).map_err(io)?;
    File::open(scratch).and_then(|directory| directory.sync_all()).map_err(io)?;
    for (_, old) in list(scratch)?.into_iter().skip(KEPT) {
        fs::remove_file(old).map_err(io)?;
    }
    Ok(())
}

/// All checkpoints, the newest first.
fn list(scratch: &Path) -> StageResult<Vec<(u64, PathBuf)>> {
    let io = |error: std::io::Error| StageError::io(format!("cannot list {}", scratch.display()), &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(scratch).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if let Some(step) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The newest whole checkpoint whose log is still there, with the log cut to it; damaged ones are removed with a warning.
pub fn newest(scratch: &Path, log: &mut Log, ctx: &StageContext) -> StageResult<Option<Saved>> {
    for (step, path) in list(scratch)? {
        let bytes = fs::read(&path).map_err(|error| StageError::io("cannot read a training checkpoint", &error))?;
        if let Some((header, saved)) = parse(&bytes)
            && log.cut(header.log_bytes)?
        {
            return Ok(Some(saved));
        }
        ctx.warn(format!(
            "the checkpoint of step {step} is damaged or of another version, going back to the one before"
        ));
        fs::remove_file(&path).map_err(|error| StageError::io("cannot remove a damaged checkpoint", &error))?;
    }
    log.cut(0)?;
    Ok(None)
}

fn parse(bytes: &[u8]) -> Option<(Header, Saved)> {
    let (content, digest) = bytes.split_last_chunk::<32>()?;
    if Digest::of(content).as_bytes() != digest {
        return None;
    }
    let end = content.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&content[..end]).ok()?;
    let (trainer, best) = content[end + 1..].split_at_checked(header.trainer_bytes)?;
    if header.version != VERSION || best.len() != header.best_bytes {
        return None;
    }
    let saved = Saved {
        step: header.step,
        trainer: trainer.to_vec(),
        best: header.best.clone().map(|state| (state, best.to_vec())),
        drawn: header.drawn.clone(),
    };
    Some((header, saved))
}
