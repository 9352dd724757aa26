//! The state of a run on disk: written whole, synced and renamed, so that a kill leaves the old one or the new one.

use crate::{PretrainError, data::Cursor, optimizer::Moments, train::LossRecord};
use safetensors::{SafeTensors, tensor::Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

const FILE: &str = "checkpoint.safetensors";
const FORMAT: u32 = 1;

/// Everything that a run needs to go on as if it had never stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// Steps done.
    pub step: u64,
    pub cursor: Cursor,
    pub parameters: Vec<f32>,
    pub moments: Moments,
    /// Tokens seen.
    pub tokens: u64,
    pub log: Vec<LossRecord>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    identity: String,
    step: u64,
    epoch: u64,
    taken: usize,
    tokens: u64,
    log: Vec<LossRecord>,
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Writes the state into `directory`. `identity` names what the run computes; [`load`] demands the same.
///
/// # Errors
/// The file system refuses.
pub fn save(directory: &Path, identity: &str, state: &RunState) -> Result<(), PretrainError> {
    fs::create_dir_all(directory).map_err(|e| PretrainError::io("create", directory, e))?;
    let (path, temporary) = (directory.join(FILE), directory.join("checkpoint.tmp"));
    let failed = |message: String| PretrainError::Checkpoint { path: path.clone(), message };
    let header = Header {
        format: FORMAT,
        identity: identity.to_owned(),
        step: state.step,
        epoch: state.cursor.epoch,
        taken: state.cursor.taken,
        tokens: state.tokens,
        log: state.log.clone(),
    };
    let header = serde_json::to_string(&header).map_err(|e| failed(e.to_string()))?;
    let parts = [
        ("parameters", bytes(&state.parameters)),
        ("first_moments", bytes(&state.moments.first)),
        ("second_moments", bytes(&state.moments.second)),
    ];
    let views = parts
        .iter()
        .map(|(name, data)| Ok((*name, TensorView::new(Dtype::F32, vec![data.len() / 4], data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| failed(e.to_string()))?;
    let metadata = Some(HashMap::from([("run".to_owned(), header)]));
    let content = safetensors::serialize(views, metadata).map_err(|e| failed(e.to_string()))?;
    let mut file = File::create(&temporary).map_err(|e| PretrainError::io("create", &temporary, e))?;
    file.write_all(&content).and_then(|()| file.sync_all()).map_err(|e| PretrainError::io("write", &temporary, e))?;
    fs::rename(&temporary, &path).map_err(|e| PretrainError::io("rename", &path, e))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| PretrainError::io("sync", directory, e))
}

/// The state kept in `directory`, if there is one of the same identity.
///
/// # Errors
/// A checkpoint is there but damaged.
pub fn load(directory: &Path, identity: &str) -> Result<Option<RunState>, PretrainError> {
    let path = directory.join(FILE);
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PretrainError::io("read", &path, error)),
    };
    let damaged = |message: String| PretrainError::Checkpoint {
        path: path.clone(),
        message: format!("{message}; remove it to start again"),
    };
    let (_, metadata) = SafeTensors::read_metadata(&content).map_err(|e| damaged(e.to_string()))?;
    let header =
        metadata.metadata().as_ref().and_then(|m| m.get("run")).ok_or_else(|| damaged("no header".to_owned()))?;
    let header: Header = serde_json::from_str(header).map_err(|e| damaged(e.to_string()))?;
    if header.format != FORMAT || header.identity != identity {
        return Ok(None);
    }
    let tensors = SafeTensors::deserialize(&content).map_err(|e| damaged(e.to_string()))?;
    let read = |name: &str| -> Result<Vec<f32>, PretrainError> {
        let tensor = tensors.tensor(name).map_err(|e| damaged(e.to_string()))?;
        Ok(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    Ok(Some(RunState {
        step: header.step,
        cursor: Cursor { epoch: header.epoch, taken: header.taken },
        parameters: read("parameters")?,
        moments: Moments { first: read("first_moments")?, second: read("second_moments")? },
        tokens: header.tokens,
        log: header.log,
    }))
}
