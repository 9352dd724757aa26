//! What each processor is and which parameters it takes, for people.

use serde::Serialize;

/// One parameter of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ParamInfo {
    pub name: &'static str,
    /// The values it takes, in words.
    pub expected: &'static str,
    /// `None`: required.
    pub default: Option<&'static str>,
}

/// A processor in words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessorInfo {
    pub name: &'static str,
    /// One line: which tokens stay, or how logits change.
    pub about: &'static str,
    pub params: &'static [ParamInfo],
}

const fn required(name: &'static str, expected: &'static str) -> ParamInfo {
    ParamInfo { name, expected, default: None }
}

const KEEP: ParamInfo =
    ParamInfo { name: "min_tokens_to_keep", expected: "an integer of at least 1", default: Some("1") };

const PROBABILITY: &str = "a number from 0 to 1";
const OPEN: &str = "a number above 0 and below 1";

const ALL: [ProcessorInfo; 9] = [
    ProcessorInfo {
        name: "temperature",
        about: "divides all logits by the temperature",
        params: &[required("temperature", "a number above 0")],
    },
    ProcessorInfo { name: "greedy", about: "keeps the most probable token only", params: &[] },
    ProcessorInfo {
        name: "top_k",
        about: "keeps the k most probable tokens",
        params: &[required("top_k", "an integer of at least 1"), KEEP],
    },
    ProcessorInfo {
        name: "top_p",
        about: "keeps the smallest set of most probable tokens that holds probability p (nucleus sampling)",
        params: &[required("top_p", PROBABILITY), KEEP],
    },
    ProcessorInfo {
        name: "min_p",
        about: "keeps tokens at least min_p times as probable as the most probable one",
        params: &[required("min_p", PROBABILITY), KEEP],
    },
    ProcessorInfo {
        name: "typical",
        about: "keeps the tokens whose surprise is nearest the entropy, up to the given mass (locally typical sampling)",
        params: &[required("mass", OPEN), KEEP],
    },
    ProcessorInfo {
        name: "epsilon",
        about: "keeps tokens of at least probability epsilon",
        params: &[required("epsilon", OPEN), KEEP],
    },
    ProcessorInfo {
        name: "eta",
        about: "keeps tokens of at least min(epsilon, sqrt(epsilon) * exp(-entropy)) probability",
        params: &[required("epsilon", OPEN), KEEP],
    },
    ProcessorInfo { name: "log_softmax", about: "turns logits into log-probabilities", params: &[] },
];

/// The description of a processor.
#[must_use]
pub fn describe_processor(name: &str) -> Option<&'static ProcessorInfo> {
    ALL.iter().find(|info| info.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigError, Params, build_processor, processor_names};
    use serde_json::json;

    #[test]
    fn the_descriptions_are_those_of_the_processors() {
        for name in processor_names() {
            let info = describe_processor(name).unwrap_or_else(|| panic!("`{name}` is not described"));
            let value = |param: &ParamInfo| if param.expected.contains("integer") { json!(3) } else { json!(0.5) };
            let all: Params = info.params.iter().map(|param| (param.name.to_owned(), value(param))).collect();
            build_processor(name, &all).unwrap_or_else(|error| panic!("{error}"));
            for param in info.params {
                let mut fewer = all.clone();
                fewer.remove(param.name);
                let built = build_processor(name, &fewer);
                assert_eq!(built.is_ok(), param.default.is_some(), "`{}` of `{name}`", param.name);
                if let (Err(ConfigError::MissingParam { expected, .. }), None) = (built, param.default) {
                    assert_eq!(expected, param.expected, "`{}` of `{name}`", param.name);
                }
            }
            let mut more = all.clone();
            more.insert("no_such_parameter".to_owned(), json!(1));
            let Err(ConfigError::UnknownParam { known, .. }) = build_processor(name, &more) else {
                panic!("`{name}` takes any parameter");
            };
            assert!(info.params.iter().all(|param| known.contains(param.name)), "{known}");
            assert_eq!(known.matches('`').count() / 2, info.params.len(), "`{name}`: {known}");
        }
        assert_eq!(ALL.len(), processor_names().count());
    }
}
