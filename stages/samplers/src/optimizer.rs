//! What moves the parameters, tensor by tensor: AdamW, or SOAP for matrices.

use crate::{
    AdamW, AdamWConfig, Layout, SamplerError,
    real::Real,
    soap::{self, Rotation},
};
use safetensors::{SafeTensorError, SafeTensors, tensor::TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

/// Which optimiser moves the parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov and Hutter 2019).
    #[default]
    Adamw,
    /// SOAP (Vyas et al. 2024): AdamW in the eigenbasis of every matrix's gradients; vectors are updated by AdamW itself.
    Soap,
}

/// The moments, and where SOAP keeps them in which basis.
#[derive(Debug)]
pub(crate) struct Optimizer<T> {
    config: AdamWConfig,
    adamw: AdamW<T>,
    /// One for each tensor.
    groups: Vec<Group>,
}

/// A tensor as the optimiser sees it.
#[derive(Debug)]
struct Group {
    name: String,
    range: Range<usize>,
    lr_factor: f64,
    /// With SOAP, of a matrix.
    rotation: Option<Rotation>,
}

impl<T: Real> Optimizer<T> {
    pub fn new(kind: OptimizerKind, config: AdamWConfig, layout: &Layout) -> Self {
        let groups = layout.tensors().iter().map(|tensor| Group {
            name: tensor.name.clone(),
            range: tensor.offset..tensor.offset + tensor.len(),
            lr_factor: 1.0,
            rotation: if kind == OptimizerKind::Soap { Rotation::of(tensor) } else { None },
        });
        Self { config, adamw: AdamW::new(config, layout.len()), groups: groups.collect() }
    }

    /// Multiplies the learning rate of the tensors whose name begins with a key of `factors`; of several such keys the longest
    /// counts. Gives a key that is the beginning of no name.
    pub fn set_lr_factors<'a>(&mut self, factors: &'a BTreeMap<String, f64>) -> Option<&'a str> {
        for group in &mut self.groups {
            let own = factors.iter().filter(|(key, _)| group.name.starts_with(*key));
            group.lr_factor = own.max_by_key(|(key, _)| key.len()).map_or(1.0, |(_, &factor)| factor);
        }
        let unknown = |key: &&String| !self.groups.iter().any(|group| group.name.starts_with(*key));
        factors.keys().find(unknown).map(String::as_str)
    }

    /// One update; `step` counts from 0.
    pub fn step(&mut self, step: u64, lr: f64, grads: &[T], params: &mut [T]) {
        for group in &mut self.groups {
            let (range, lr) = (group.range.clone(), lr * group.lr_factor);
            match &mut group.rotation {
                None => self.adamw.step(step, lr, range, grads, params),
                Some(rotation) => {
                    let (first, second) = (&mut self.adamw.first, &mut self.adamw.second);
                    let moments = (&mut first[range.clone()], &mut second[range.clone()]);
                    rotation.step((&self.config, step, lr), &grads[range.clone()], moments, &mut params[range]);
                }
            }
        }
    }

    /// A safetensors file of the moments, the bases and `parameters`, for [`Optimizer::restore`].
    pub fn save(&self, parameters: &[T], metadata: HashMap<String, String>) -> Result<Vec<u8>, SafeTensorError> {
        let vectors = [
            ("first_moment", T::to_bytes(&self.adamw.first)),
            ("parameters", T::to_bytes(parameters)),
            ("second_moment", T::to_bytes(&self.adamw.second)),
        ];
        let rotations = self.groups.iter().filter_map(|group| Some(group.rotation.as_ref()?.save(&group.name)));
        let rotations: Vec<_> = rotations.flatten().collect();
        let shape = vec![parameters.len()];
        let vectors = vectors.iter().map(|(name, bytes)| Ok((*name, TensorView::new(T::DTYPE, shape.clone(), bytes)?)));
        let matrices = rotations.iter().map(|(name, width, bytes)| Ok((name.as_str(), soap::view(*width, bytes)?)));
        let views: Result<Vec<_>, SafeTensorError> = vectors.chain(matrices).collect();
        safetensors::serialize(views?, Some(metadata))
    }

    /// Takes up a saved state and gives its parameters; on an error nothing has changed but, perhaps, the bases.
    pub fn restore(&mut self, file: &SafeTensors<'_>) -> Result<Vec<T>, SamplerError> {
        let state = |message: String| SamplerError::State(message);
        let len = self.adamw.first.len();
        let read = |name: &str| {
            let view = file.tensor(name).map_err(|error| state(error.to_string()))?;
            if view.dtype() != T::DTYPE || view.shape() != [len] {
                return Err(state(format!("`{name}` is {:?} {:?}, expected {len}", view.dtype(), view.shape())));
            }
            Ok(T::from_bytes(view.data()))
        };
        let (params, first, second) = (read("parameters")?, read("first_moment")?, read("second_moment")?);
        for group in &mut self.groups {
            if let Some(rotation) = &mut group.rotation {
                rotation.restore(&group.name, file)?;
            }
        }
        (self.adamw.first, self.adamw.second) = (first, second);
        Ok(params)
    }
}
