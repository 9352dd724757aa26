//! Safetensors weights of a model folder: one file or shards with an index, read through memory maps.

use crate::{LmError, LmResult};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

/// The name of the single file, and of the index of shards.
pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The paths of a folder's weight files: `model.safetensors`, or the shards that the index names, in order of name.
///
/// # Errors
/// Neither exists, or the index is malformed.
pub fn weight_files(dir: &Path) -> LmResult<Vec<PathBuf>> {
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = dir.join(INDEX);
    let text = std::fs::read_to_string(&index)
        .map_err(|_| LmError::MissingFile { dir: dir.to_owned(), file: "model.safetensors" })?;
    let malformed = |message: String| LmError::Malformed { path: index.clone(), message };
    shard_names(&text).map_err(malformed).map(|names| names.into_iter().map(|name| dir.join(name)).collect())
}

/// The distinct shard names of an index file's text, sorted.
pub(crate) fn shard_names(text: &str) -> Result<Vec<String>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let map = json.get("weight_map").and_then(Value::as_object).ok_or("no object `weight_map`")?;
    let mut names = Vec::new();
    for (tensor, shard) in map {
        let shard = shard.as_str().ok_or_else(|| format!("the shard of `{tensor}` is not a string"))?;
        if Path::new(shard).components().count() != 1 || shard.starts_with('.') {
            return Err(format!("shard `{shard}` is not a plain file name"));
        }
        names.push(shard.to_owned());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Named tensors of one or more mapped safetensors files, read as f32.
pub struct Weights {
    files: Vec<(PathBuf, Mmap)>,
    /// Tensor name → index into `files`.
    tensors: BTreeMap<String, usize>,
    prefix: String,
}

impl Weights {
    /// Maps the weight files of a model folder.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn open(dir: &Path) -> LmResult<Self> {
        let mut weights = Self { files: Vec::new(), tensors: BTreeMap::new(), prefix: "model.".to_owned() };
        for path in weight_files(dir)? {
            let read = |source| LmError::Read { path: path.clone(), source };
            let file = File::open(&path).map_err(read)?;
            // SAFETY: artifacts and hub caches are never changed in place; a file that another program truncates while it
            // is mapped would abort the process, as for every reader of safetensors.
            let map = unsafe { Mmap::map(&file) }.map_err(read)?;
            let index = weights.files.len();
            for name in parse(&path, &map)?.names() {
                weights.tensors.insert(name.to_owned(), index);
            }
            weights.files.push((path, map));
        }
        // Multimodal checkpoints keep the language model under a prefix of its own.
        let prefixes = ["model.", "language_model.model.", "model.language_model.", ""];
        if let Some(prefix) =
            prefixes.iter().find(|prefix| weights.tensors.contains_key(&format!("{prefix}embed_tokens.weight")))
        {
            weights.prefix = (*prefix).to_owned();
        }
        Ok(weights)
    }

    /// Full name of a tensor of the decoder, such as `layers.0.mlp.up_proj.weight`.
    fn full(&self, name: &str) -> String {
        if name.starts_with("lm_head") || name == crate::reward::HEAD {
            let stem = self.prefix.strip_suffix("model.").unwrap_or("");
            return format!("{stem}{name}");
        }
        format!("{}{name}", self.prefix)
    }

    /// Whether the decoder has a tensor.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(&self.full(name))
    }

    /// A tensor as row-major f32.
    ///
    /// # Errors
    /// It is missing, has another shape than `shape`, or a dtype other than F32, F16 and BF16.
    pub fn read(&self, name: &str, shape: &[usize]) -> LmResult<Vec<f32>> {
        let name = self.full(name);
        let index = self.tensors.get(&name).ok_or_else(|| LmError::MissingTensor { name: name.clone() })?;
        let (path, map) = &self.files[*index];
        let file = parse(path, map)?;
        let tensor = file.tensor(&name).map_err(|_| LmError::MissingTensor { name: name.clone() })?;
        if tensor.shape() != shape {
            return Err(LmError::Shape { name, expected: shape.to_vec(), found: tensor.shape().to_vec() });
        }
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => Ok(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Dtype::F16 => Ok(data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()),
            Dtype::BF16 => Ok(data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()),
            other => Err(LmError::Dtype { name, dtype: format!("{other:?}") }),
        }
    }
}

fn parse<'a>(path: &Path, map: &'a Mmap) -> LmResult<SafeTensors<'a>> {
    SafeTensors::deserialize(map)
        .map_err(|error| LmError::Malformed { path: path.to_owned(), message: error.to_string() })
}
