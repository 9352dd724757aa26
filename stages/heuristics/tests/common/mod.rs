//! One or more settings of every processor.

use lsn_heuristics::{Pipeline, ProcessorConfig};
use serde_json::{Value, json};

/// What holds of a setting.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "not every test asks for all of it")]
pub struct Traits {
    /// The most probable token stays, and stays the most probable.
    pub keeps_max: bool,
    /// Which tokens stay depends on their logits only, so it moves with them.
    pub equivariant: bool,
}

const PLAIN: Traits = Traits { keeps_max: true, equivariant: true };

/// Processor, parameters and what holds. Further logits are given by the caller.
pub fn settings() -> Vec<(&'static str, Value, Traits)> {
    let any = Traits { keeps_max: false, equivariant: true };
    let by_id = Traits { keeps_max: false, equivariant: false };
    vec![
        ("temperature", json!({"temperature": 0.6}), PLAIN),
        ("temperature", json!({"temperature": 1e-30}), PLAIN),
        ("dynamic_temperature", json!({"temperature": 1.0, "range": 0.7, "exponent": 0.5}), PLAIN),
        ("greedy", json!({}), PLAIN),
        ("top_k", json!({"top_k": 7}), PLAIN),
        ("top_p", json!({"top_p": 0.8}), PLAIN),
        ("top_p", json!({"top_p": 0.0}), PLAIN),
        ("min_p", json!({"min_p": 0.2}), PLAIN),
        ("min_p", json!({"min_p": 1.0}), PLAIN),
        ("typical", json!({"mass": 0.4}), any),
        ("epsilon", json!({"epsilon": 0.05}), PLAIN),
        ("eta", json!({"epsilon": 0.1}), PLAIN),
        ("top_h", json!({"top_h": 0.5}), PLAIN),
        ("top_a", json!({"top_a": 0.9}), PLAIN),
        ("top_n_sigma", json!({"n": 0.8}), PLAIN),
        ("tfs", json!({"z": 0.7}), PLAIN),
        ("p_less", json!({}), PLAIN),
        ("p_less_norm", json!({}), PLAIN),
        ("quadratic", json!({"smoothing_factor": 0.4, "smoothing_curve": 2.0}), PLAIN),
        ("log_softmax", json!({}), PLAIN),
        ("repetition_penalty", json!({"penalty": 1.3}), by_id),
        ("penalties", json!({"repeat": 1.1, "frequency": 0.2, "presence": 0.1, "last_n": 8}), by_id),
        ("no_repeat_ngram", json!({"ngram_size": 2}), by_id),
        ("dry", json!({"multiplier": 0.8, "allowed_length": 1}), by_id),
        ("cfg", json!({"guidance_scale": 1.5}), by_id),
        ("dola", json!({}), by_id),
        ("xtc", json!({"probability": 0.6, "threshold": 0.1}), any),
        ("mirostat_v1", json!({"tau": 3.0}), PLAIN),
        ("mirostat_v2", json!({"tau": 2.0}), PLAIN),
        ("adaptive_p", json!({"target": 0.3}), any),
    ]
}

pub fn pipeline(steps: &[(&str, Value)]) -> Pipeline {
    let config: Vec<_> = steps
        .iter()
        .map(|(name, params)| ProcessorConfig {
            name: (*name).to_owned(),
            params: serde_json::from_value(params.clone()).unwrap(),
        })
        .collect();
    Pipeline::from_config(&config).unwrap()
}
