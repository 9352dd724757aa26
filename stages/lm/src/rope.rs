//! Rotary position embedding: frequencies with their scalings, and tables of cosines and sines.

use crate::{LmError, LmResult};
use serde_json::Value;
use std::f64::consts::TAU;

/// How the frequencies are stretched beyond the trained length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    None,
    /// Every frequency divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: long wave lengths divided by `factor`, short ones kept, a ramp between (Dubey et al. 2024).
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_positions: f64,
    },
}

/// One rotary embedding over heads of `dim` dimensions (Su et al. 2021).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    pub theta: f64,
    pub dim: usize,
    pub scaling: RopeScaling,
}

impl RopeConfig {
    /// Unscaled frequencies `theta^(−2i/dim)`.
    #[must_use]
    pub fn plain(theta: f64, dim: usize) -> Self {
        Self { theta, dim, scaling: RopeScaling::None }
    }

    /// Reads `rope_scaling` or `rope_parameters`; `rope_theta` in it wins over `theta`.
    ///
    /// # Errors
    /// An unknown type of scaling, or a field that is missing or no number.
    pub fn from_json(json: &Value, theta: f64, dim: usize, max_positions: usize) -> LmResult<Self> {
        let field = |name: &str| LmError::Config {
            field: format!("rope_parameters.{name}"),
            message: format!("missing or not a number in `{json}`"),
        };
        let number = |name: &str| json.get(name).and_then(Value::as_f64).ok_or_else(|| field(name));
        let theta =
            if json.get("rope_theta").is_some_and(|theta| !theta.is_null()) { number("rope_theta")? } else { theta };
        let kind = json.get("rope_type").or_else(|| json.get("type")).and_then(Value::as_str).unwrap_or("default");
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_positions: number("original_max_position_embeddings").unwrap_or(max_positions as f64),
            },
            other => {
                return Err(LmError::Config {
                    field: "rope_parameters.rope_type".to_owned(),
                    message: format!("unknown type `{other}`; known: default, linear, llama3"),
                });
            }
        };
        Ok(Self { theta, dim, scaling })
    }

    /// The `dim/2` angular frequencies, rounded to f32 as the reference implementations do.
    #[must_use]
    pub fn frequencies(&self) -> Vec<f32> {
        (0..self.dim / 2)
            .map(|index| {
                let frequency = 1.0 / self.theta.powf((2 * index) as f64 / self.dim as f64);
                match self.scaling {
                    RopeScaling::None => frequency as f32,
                    RopeScaling::Linear { factor } => (frequency / factor) as f32,
                    RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => {
                        let wave_length = TAU / frequency;
                        if wave_length < original_positions / high_freq_factor {
                            frequency as f32
                        } else if wave_length > original_positions / low_freq_factor {
                            (frequency / factor) as f32
                        } else {
                            let smooth = (original_positions / wave_length - low_freq_factor)
                                / (high_freq_factor - low_freq_factor);
                            ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
                        }
                    }
                }
            })
            .collect()
    }

    /// Cosines and sines for positions `0 .. positions`, each `[positions, dim/2]`.
    ///
    /// The angle is rounded to f32 before the functions are taken, as in the reference implementations.
    #[must_use]
    pub fn tables(&self, positions: usize) -> (Vec<f32>, Vec<f32>) {
        let frequencies = self.frequencies();
        let angles = (0..positions).flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        angles.map(|angle| (f64::from(angle).cos() as f32, f64::from(angle).sin() as f32)).unzip()
    }
}
