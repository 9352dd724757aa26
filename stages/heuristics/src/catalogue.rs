//! The processors that configuration files can name.

use crate::{
    AdaptiveP, ConfigError, Dola, Dry, DynamicTemperature, Epsilon, Eta, Greedy, Guidance, LogSoftmax, MinP, MirostatV1,
    MirostatV2, NoRepeatNgram, PLess, PLessNorm, Params, Penalties, ProcessorInfo, Quadratic, RepetitionPenalty,
    TailFree, Temperature, TopA, TopH, TopK, TopNSigma, TopP, Typical, Xtc, pipeline::Step,
};

/// A description, and what builds the processor.
struct Entry {
    info: &'static ProcessorInfo,
    build: fn(&Params) -> Result<Step, ConfigError>,
}

macro_rules! entry {
    ($kind:ident $processor:ident) => {
        Entry {
            info: &$processor::INFO,
            build: |params| Ok(Step::$kind(Box::new($processor::from_params(params)?))),
        }
    };
}

/// In the order of the documentation.
static CATALOGUE: [Entry; 27] = [
    entry!(Stateless Temperature),
    entry!(Stateless DynamicTemperature),
    entry!(Stateless Greedy),
    entry!(Stateless TopK),
    entry!(Stateless TopP),
    entry!(Stateless MinP),
    entry!(Stateless Typical),
    entry!(Stateless Epsilon),
    entry!(Stateless Eta),
    entry!(Stateless TopH),
    entry!(Stateless TopA),
    entry!(Stateless TopNSigma),
    entry!(Stateless TailFree),
    entry!(Stateless PLess),
    entry!(Stateless PLessNorm),
    entry!(Stateless Quadratic),
    entry!(Stateless LogSoftmax),
    entry!(Stateless RepetitionPenalty),
    entry!(Stateless Penalties),
    entry!(Stateless NoRepeatNgram),
    entry!(Stateless Dry),
    entry!(Stateless Guidance),
    entry!(Stateless Dola),
    entry!(Stateful Xtc),
    entry!(Stateful MirostatV1),
    entry!(Stateful MirostatV2),
    entry!(Stateful AdaptiveP),
];

/// Names of all processors.
pub fn processor_names() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().map(|entry| entry.info.name)
}

fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.info.name == name)
}

/// The description of a processor.
#[must_use]
pub fn describe_processor(name: &str) -> Option<&'static ProcessorInfo> {
    find(name).map(|entry| entry.info)
}

/// Builds the processor of a name.
///
/// # Errors
/// The name is unknown, or its parameters are incomplete, unknown or out of range.
pub fn build_processor(name: &str, params: &Params) -> Result<Step, ConfigError> {
    let entry = find(name).ok_or_else(|| {
        let known = processor_names().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        ConfigError::UnknownProcessor { name: name.to_owned(), known }
    })?;
    (entry.build)(params)
}
