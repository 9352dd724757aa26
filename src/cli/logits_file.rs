//! Logits in safetensors files: what `lsn heuristics apply` and `lsn sampler apply` read and write.

use super::{CliError, CliResult};
use clap::ValueEnum;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// What to do with rows that hold NaN, +inf or no finite logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BadRows {
    Fail,
    /// Leave them as they are
    Keep,
}

impl BadRows {
    /// Fails on the first of the rows that could not be done, if that is what was asked for.
    pub fn check(self, failed: &[(usize, String)], path: &Path) -> CliResult<()> {
        match (failed.first(), self) {
            (Some((row, error)), Self::Fail) => {
                Err(CliError::failed(format!("row {row} of `{}`: {error}", path.display()))
                    .hint("`--bad-rows keep` leaves such rows as they are"))
            }
            _ => Ok(()),
        }
    }
}

/// Rows of a matrix.
pub struct Rows<T> {
    pub data: Vec<T>,
    pub width: usize,
}

/// The bytes of a file.
pub fn read(path: &Path) -> CliResult<Vec<u8>> {
    fs::read(path).map_err(|error| CliError::usage(format!("cannot read `{}`: {error}", path.display())))
}

/// The tensors of a safetensors file.
pub fn tensors<'a>(bytes: &'a [u8], path: &Path) -> CliResult<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|error| broken(path)(error.to_string()))
}

/// An error about the content of a file.
pub fn broken(path: &Path) -> impl Fn(String) -> CliError {
    move |message| CliError::usage(format!("`{}`: {message}", path.display()))
}

/// The numbers of an f32 tensor, in its file's order.
pub fn floats(view: &TensorView<'_>) -> Vec<f32> {
    view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The tensor `logits`, f32 `[B, V]`.
pub fn logits(tensors: &SafeTensors<'_>) -> Result<Rows<f32>, String> {
    let view = tensors.tensor("logits").map_err(|_| "no tensor `logits`".to_owned())?;
    let (Dtype::F32, [rows, width]) = (view.dtype(), view.shape()) else {
        return Err(format!("`logits` is {:?} {:?}, expected f32 [B, V]", view.dtype(), view.shape()));
    };
    if *rows == 0 || *width == 0 {
        return Err("`logits` is empty".to_owned());
    }
    Ok(Rows { data: floats(&view), width: *width })
}

/// Writes the tensor `logits`, f32 `[B, V]`.
pub fn write(path: &Path, logits: &Rows<f32>) -> CliResult<()> {
    let data: Vec<u8> = logits.data.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![logits.data.len() / logits.width, logits.width], &data)
        .map_err(|error| CliError::failed(error.to_string()))?;
    let failed = |error: String| CliError::failed(format!("cannot write `{}`: {error}", path.display()));
    // Renamed when it is whole: nobody finds half a file.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|error| failed(error.to_string()))?;
    safetensors::serialize_to_file([("logits", view)], None, file.path()).map_err(|error| failed(error.to_string()))?;
    file.persist(path).map(drop).map_err(|error| failed(error.error.to_string()))
}
