//! Checkpoint directories: `sampler.safetensors` under the reference's tensor names, and `config.json`.

use crate::{Architecture, Precision, Sampler, SamplerError, Tensor, real::Real};
use half::bf16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// The parameters.
pub const WEIGHTS_FILE: &str = "sampler.safetensors";
/// Architecture, arguments, provenance.
pub const CONFIG_FILE: &str = "config.json";
/// The reference implementation's parameters: a PyTorch pickle.
pub const REFERENCE_FILE: &str = "sampler_model.bin";

/// Version of the directory's format. A reader of version n reads all versions up to n.
const FORMAT_VERSION: u32 = 1;
/// What `torch.compile` puts before every name.
const COMPILED_PREFIX: &str = "_orig_mod.";

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Config {
    format_version: u32,
    #[serde(flatten)]
    architecture: Architecture,
    /// Where the parameters come from: digests of base model and data, hyper-parameters.
    #[serde(default)]
    provenance: Value,
}

/// A sampler and where it comes from.
#[derive(Debug)]
pub struct Checkpoint {
    pub sampler: Sampler<f32>,
    /// Free-form; null where nothing is recorded.
    pub provenance: Value,
}

/// A tensor as read from a file.
struct Loaded {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn failed(path: &Path, error: impl ToString) -> SamplerError {
    SamplerError::File { path: path.to_owned(), message: error.to_string() }
}

impl Checkpoint {
    /// Reads a checkpoint directory: `config.json` with `sampler.safetensors` or, where that is missing, the reference's
    /// `sampler_model.bin`.
    ///
    /// # Errors
    /// A file is missing or damaged, of a newer format, or does not hold exactly the tensors of the architecture.
    pub fn load(directory: &Path) -> Result<Self, SamplerError> {
        let path = directory.join(CONFIG_FILE);
        let text = fs::read(&path).map_err(|error| failed(&path, error))?;
        let config: Config = serde_json::from_slice(&text).map_err(|error| failed(&path, error))?;
        if config.format_version > FORMAT_VERSION {
            let message =
                format!("format version {} is newer than {FORMAT_VERSION}, update the program", config.format_version);
            return Err(failed(&path, message));
        }
        let weights = directory.join(WEIGHTS_FILE);
        let reference = directory.join(REFERENCE_FILE);
        let tensors = if !weights.exists() && reference.exists() {
            read_pickle(&reference)?
        } else {
            read_safetensors(&weights)?
        };
        Ok(Self { sampler: fill(config.architecture, tensors)?, provenance: config.provenance })
    }

    /// Writes the directory, which is created where it is missing. Equal checkpoints give equal bytes.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), SamplerError> {
        self.save_as(directory, Precision::F32)
    }

    /// [`Checkpoint::save`] with parameters rounded to `precision`, and as wide.
    ///
    /// # Errors
    /// As for [`Checkpoint::save`].
    pub fn save_as(&self, directory: &Path, precision: Precision) -> Result<(), SamplerError> {
        fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        let path = directory.join(WEIGHTS_FILE);
        let (layout, params) = (self.sampler.layout(), self.sampler.parameters());
        type Encode = fn(&[f32]) -> Vec<u8>;
        let (dtype, to_bytes): (_, Encode) = match precision {
            Precision::F32 => (Dtype::F32, f32::to_bytes),
            Precision::Bf16 => {
                (Dtype::BF16, |values| values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect())
            }
        };
        let bytes = |tensor: &Tensor| to_bytes(&params[tensor.offset..tensor.offset + tensor.len()]);
        let data: Vec<_> = layout.tensors().iter().map(|tensor| (tensor, bytes(tensor))).collect();
        let views = data
            .iter()
            .map(|(tensor, bytes)| Ok((&tensor.name, TensorView::new(dtype, tensor.shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| failed(&path, error))?;
        let bytes = safetensors::serialize(views, None).map_err(|error| failed(&path, error))?;
        fs::write(&path, bytes).map_err(|error| failed(&path, error))?;
        let config = Config {
            format_version: FORMAT_VERSION,
            architecture: self.sampler.architecture().clone(),
            provenance: self.provenance.clone(),
        };
        let path = directory.join(CONFIG_FILE);
        let mut text = serde_json::to_string_pretty(&config).map_err(|error| failed(&path, error))?;
        text.push('\n');
        fs::write(&path, text).map_err(|error| failed(&path, error))
    }
}

fn read_safetensors(path: &Path) -> Result<BTreeMap<String, Loaded>, SamplerError> {
    let bytes = fs::read(path).map_err(|error| failed(path, error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| failed(path, error))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let values = match view.dtype() {
            Dtype::F32 => f32::from_bytes(view.data()),
            Dtype::BF16 => view.data().as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            other => return Err(failed(path, format!("tensor `{name}` is {other:?}, expected F32 or BF16"))),
        };
        tensors.insert(name, Loaded { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

fn read_pickle(path: &Path) -> Result<BTreeMap<String, Loaded>, SamplerError> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in candle_core::pickle::read_all(path).map_err(|error| failed(path, error))? {
        let name = name.strip_prefix(COMPILED_PREFIX).unwrap_or(&name).to_owned();
        let values = tensor
            .to_dtype(candle_core::DType::F32)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1())
            .map_err(|error| failed(path, format!("tensor `{name}`: {error}")))?;
        tensors.insert(name, Loaded { shape: tensor.dims().to_vec(), values });
    }
    Ok(tensors)
}

/// A sampler with exactly these tensors.
fn fill(architecture: Architecture, mut tensors: BTreeMap<String, Loaded>) -> Result<Sampler<f32>, SamplerError> {
    let mut sampler = Sampler::new(architecture, 0)?;
    for tensor in sampler.layout().tensors().to_vec() {
        let Some(loaded) = tensors.remove(&tensor.name) else {
            let found = tensors.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(SamplerError::MissingTensor { tensor: tensor.name, found });
        };
        if loaded.shape != tensor.shape {
            return Err(SamplerError::TensorShape { tensor: tensor.name, shape: loaded.shape, expected: tensor.shape });
        }
        sampler.parameters_mut()[tensor.offset..tensor.offset + tensor.len()].copy_from_slice(&loaded.values);
    }
    match tensors.into_keys().next() {
        Some(tensor) => Err(SamplerError::UnknownTensor { tensor, architecture: sampler.architecture().name() }),
        None => Ok(sampler),
    }
}
