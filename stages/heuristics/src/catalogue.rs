//! The processors that configuration files can name.

use crate::{
    AdaptiveP, ConfigError, Dola, Dry, DynamicTemperature, Epsilon, Eta, Greedy, Guidance, LogSoftmax, MinP,
    MirostatV1, MirostatV2, NoRepeatNgram, PLess, PLessNorm, Params, Penalties, ProcessorInfo, Quadratic,
    RepetitionPenalty, TailFree, Temperature, TopA, TopH, TopK, TopNSigma, TopP, Typical, Xtc, pipeline::Step,
};

/// A description, and what builds the processor.
struct Entry {
    info: &'static ProcessorInfo,
    build: fn(&Params) -> Result<Step, ConfigError>,
}

macro_rules! entry {
    ($kind:ident $processor:ident) => {
        Entry { info: &$processor::INFO, build: |params| Ok(Step::$kind(Box::new($processor::from_params(params)?))) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParamInfo, Pipeline, ProcessorConfig};
    use serde_json::{Value, json};

    fn build(name: &str, params: &Params) -> Result<Step, ConfigError> {
        build_processor(name, params)
    }

    #[test]
    fn the_descriptions_are_those_of_the_processors() {
        for name in processor_names() {
            let info = describe_processor(name).unwrap_or_else(|| panic!("`{name}` is not described"));
            let value = |param: &ParamInfo| match param.expected {
                lists if lists.contains("list") => json!([[1]]),
                count if count.contains("integer") => json!(3),
                one if one.contains("at least 1") => json!(1.5),
                _ => json!(0.5),
            };
            let all: Params = info.params.iter().map(|param| (param.name.to_owned(), value(param))).collect();
            let step = build(name, &all).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(matches!(step, Step::Stateful(_)), info.stateful, "`{name}`");
            let pipeline = Pipeline::new(vec![step]);
            assert_eq!(pipeline.needs(), info.needs, "`{name}`");
            // Values that are no defaults all come back.
            assert_eq!(pipeline.config(), [ProcessorConfig { name: name.to_owned(), params: all.clone() }]);
            for param in info.params {
                let mut fewer = all.clone();
                fewer.remove(param.name);
                let built = build(name, &fewer);
                assert_eq!(built.is_ok(), param.default.is_some(), "`{}` of `{name}`", param.name);
                if let Some(default) = param.default {
                    let mut told = all.clone();
                    told.insert(param.name.to_owned(), default.into());
                    let step = build(name, &told).unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(Pipeline::new(vec![step]).config()[0].params, fewer, "`{}` of `{name}`", param.name);
                }
                let mut wrong = all.clone();
                wrong.insert(param.name.to_owned(), json!("high"));
                let error = build(name, &wrong).expect_err("text is no number");
                assert!(error.to_string().contains(param.expected), "{error}");
            }
            let mut more = all.clone();
            more.insert("no_such_parameter".to_owned(), json!(1));
            let Err(ConfigError::UnknownParam { known, .. }) = build(name, &more) else {
                panic!("`{name}` takes any parameter");
            };
            assert_eq!(known.matches('`').count() / 2, info.params.len(), "`{name}`: {known}");
        }
    }

    #[test]
    fn canonical_forms_that_keys_are_hashed_from_stay() {
        let canonical = |name: &str, params: Value| {
            let params: Params = serde_json::from_value(params).unwrap_or_else(|error| panic!("{error}"));
            let step = build(name, &params).unwrap_or_else(|error| panic!("{error}"));
            Pipeline::new(vec![step]).canonical().to_string()
        };
        for (name, params, form) in [
            ("temperature", json!({"temperature": 1}), r#"{"temperature":1.0}"#),
            ("greedy", json!({}), "{}"),
            ("top_k", json!({"top_k": 50.0, "min_tokens_to_keep": 1}), r#"{"top_k":50}"#),
            ("top_p", json!({"top_p": 0.9, "min_tokens_to_keep": 2}), r#"{"min_tokens_to_keep":2,"top_p":0.9}"#),
            ("min_p", json!({"min_p": 0}), r#"{"min_p":0.0}"#),
            ("typical", json!({"mass": 0.9}), r#"{"mass":0.9}"#),
            ("epsilon", json!({"epsilon": 2e-4}), r#"{"epsilon":0.0002}"#),
            ("eta", json!({"epsilon": 0.5}), r#"{"epsilon":0.5}"#),
            ("log_softmax", json!({}), "{}"),
        ] {
            assert_eq!(canonical(name, params), format!(r#"[{{"name":"{name}","params":{form}}}]"#));
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (name, params) in [
            ("dynamic_temperature", json!({"temperature": -0.1, "range": 0.5})),
            ("dynamic_temperature", json!({"temperature": 1, "range": -0.5})),
            ("top_h", json!({"top_h": 0})),
            ("top_a", json!({"top_a": 1.1})),
            ("top_n_sigma", json!({"n": 0})),
            ("tfs", json!({"z": 0.9, "min_keep": 0})),
            ("quadratic", json!({"smoothing_factor": 0})),
            ("quadratic", json!({"smoothing_factor": 0.3, "smoothing_curve": 0.5})),
            ("repetition_penalty", json!({"penalty": 0})),
            ("repetition_penalty", json!({"penalty": 1.1, "prompt_ignore_length": -1})),
            ("penalties", json!({"last_n": -2})),
            ("no_repeat_ngram", json!({"ngram_size": 0})),
            ("dry", json!({"multiplier": 0.8, "base": 0.9})),
            ("dry", json!({"multiplier": 0.8, "allowed_length": 0})),
            ("dry", json!({"multiplier": 0.8, "breakers": [[]]})),
            ("dry", json!({"multiplier": 0.8, "breakers": [[-1]]})),
            ("dola", json!({"relative_top": 0})),
            ("xtc", json!({"probability": 2, "threshold": 0.1})),
            ("mirostat_v1", json!({"m": 1})),
            ("mirostat_v2", json!({"tau": 0})),
            ("adaptive_p", json!({"target": 1.5})),
            ("adaptive_p", json!({"target": 0.5, "decay": 1})),
        ] {
            let told: Params = serde_json::from_value(params.clone()).unwrap_or_else(|error| panic!("{error}"));
            let refused = matches!(build(name, &told), Err(ConfigError::BadParam { .. }));
            assert!(refused, "`{name}` takes {params}");
        }
    }
}
