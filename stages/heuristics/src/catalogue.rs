//! The processors that configuration files can name.

use crate::{
    ConfigError, Epsilon, Eta, Greedy, LogSoftmax, MinP, Params, Temperature, TopK, TopP, Typical, pipeline::Step,
};

type Builder = fn(&Params) -> Result<Step, ConfigError>;

/// By name, in the order of the documentation.
const CATALOGUE: [(&str, Builder); 9] = [
    (Temperature::NAME, |params| Ok(Step::Stateless(Box::new(Temperature::from_params(params)?)))),
    (Greedy::NAME, |params| Ok(Step::Stateless(Box::new(Greedy::from_params(params)?)))),
    (TopK::NAME, |params| Ok(Step::Stateless(Box::new(TopK::from_params(params)?)))),
    (TopP::NAME, |params| Ok(Step::Stateless(Box::new(TopP::from_params(params)?)))),
    (MinP::NAME, |params| Ok(Step::Stateless(Box::new(MinP::from_params(params)?)))),
    (Typical::NAME, |params| Ok(Step::Stateless(Box::new(Typical::from_params(params)?)))),
    (Epsilon::NAME, |params| Ok(Step::Stateless(Box::new(Epsilon::from_params(params)?)))),
    (Eta::NAME, |params| Ok(Step::Stateless(Box::new(Eta::from_params(params)?)))),
    (LogSoftmax::NAME, |params| Ok(Step::Stateless(Box::new(LogSoftmax::from_params(params)?)))),
];

/// Names of all processors.
pub fn processor_names() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().map(|(name, _)| *name)
}

/// Builds the processor of a name.
///
/// # Errors
/// The name is unknown, or its parameters are incomplete, unknown or out of range.
pub fn build_processor(name: &str, params: &Params) -> Result<Step, ConfigError> {
    let (_, build) = CATALOGUE.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let known = processor_names().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        ConfigError::UnknownProcessor { name: name.to_owned(), known }
    })?;
    build(params)
}
