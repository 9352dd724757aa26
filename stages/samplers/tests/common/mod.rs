//! Reading golden data.

use safetensors::{Dtype, SafeTensors};
use std::path::PathBuf;

pub fn folder(name: &str) -> PathBuf {
    let root = std::env::var_os("LSN_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")), PathBuf::from);
    root.join(name)
}

pub fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A tensor of f32 or f64, as f64.
pub fn tensor(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f64>) {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let values = match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect(),
        Dtype::F64 => view.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        other => panic!("{name} is {other:?}"),
    };
    (view.shape().to_vec(), values)
}

/// Rows of an f32 tensor `[.., V]`.
pub fn rows(file: &SafeTensors<'_>, name: &str) -> Vec<Vec<f32>> {
    let (shape, values) = tensor(file, name);
    let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    narrow.chunks(*shape.last().unwrap()).map(<[f32]>::to_vec).collect()
}
