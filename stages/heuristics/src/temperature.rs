//! Temperature, fixed and by entropy.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError,
    info::{ParamInfo, ProcessorInfo},
};

/// Temperature: `z / T`.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    temperature: f64,
}

impl Temperature {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "temperature",
        about: "divides all logits by the temperature",
        source: "transformers",
        stateful: false,
        needs: &[],
        params: &[ParamInfo::positive("temperature", "below 1 sharpens, above 1 flattens")],
    };

    /// # Errors
    /// `temperature` is missing or not above 0.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self { temperature: values.number("temperature") })
    }
}

impl Processor for Temperature {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([("temperature", self.temperature.into())])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        // A temperature that f32 cannot hold is the nearest that it can.
        row.divide((self.temperature as f32).clamp(f32::MIN_POSITIVE, f32::MAX))
    }
}

/// Dynamic temperature (arXiv 2309.02772, as in llama.cpp's `temp_ext`): `z / T'` with `T' = lo + (hi −
/// lo)·h^exponent`, where h = H / ln n over the n candidates, lo = max(0, T − range), hi = T + range. `T' = 0` is
/// greedy, a range of 0 plain temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicTemperature {
    temperature: f64,
    range: f64,
    exponent: f64,
}

impl DynamicTemperature {
    pub(crate) const INFO: ProcessorInfo = ProcessorInfo {
        name: "dynamic_temperature",
        about: "divides all logits by a temperature that rises with the entropy of the candidates",
        source: "llama.cpp (temp_ext), arXiv 2309.02772",
        stateful: false,
        needs: &[],
        params: &[
            ParamInfo::non_negative("temperature", "middle of the range; 0 without a range is greedy"),
            ParamInfo::non_negative("range", "how far the temperature may go up and down"),
            ParamInfo::positive("exponent", "power of the normalised entropy").or_number(1.0),
        ],
    };

    /// # Errors
    /// A value is missing or out of its range.
    pub fn from_params(params: &Params) -> Result<Self, ConfigError> {
        let values = Self::INFO.read(params)?;
        Ok(Self {
            temperature: values.number("temperature"),
            range: values.number("range"),
            exponent: values.number("exponent"),
        })
    }
}

impl Processor for DynamicTemperature {
    fn name(&self) -> &'static str {
        Self::INFO.name
    }

    fn params(&self) -> Params {
        Self::INFO.canonical([
            ("temperature", self.temperature.into()),
            ("range", self.range.into()),
            ("exponent", self.exponent.into()),
        ])
    }

    fn process(&self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
        row.max()?;
        let temperature = if self.range > 0.0 {
            let candidates = row.candidates();
            if candidates <= 1 {
                return Ok(());
            }
            let share = (row.entropy()? / (candidates as f64).ln()).clamp(0.0, 1.0);
            let (low, high) = ((self.temperature - self.range).max(0.0), self.temperature + self.range);
            low + (high - low) * share.powf(self.exponent)
        } else {
            self.temperature
        } as f32;
        if temperature > 0.0 { row.divide(temperature.min(f32::MAX)) } else { row.keep_first_max() }
    }
}
