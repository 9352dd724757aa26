//! A deeper model that starts out computing the same function as a trained one.

use crate::{PretrainError, model::Model};

/// Parameters of `target`, made of those of `base`: its layers are spread evenly over the new depth, and every layer in between is a
/// copy of the one before it whose output matrices are zero, so that it adds nothing yet (block expansion, Wu et al. 2024,
/// arXiv 2401.02415).
///
/// # Errors
/// The two differ in more than their depth, or the target is shallower.
pub fn deepen(base: &Model, parameters: &[f32], target: &Model) -> Result<Vec<f32>, PretrainError> {
    let (old, new) = (base.config.num_hidden_layers, target.config.num_hidden_layers);
    let same_depth = crate::config::ModelConfig { num_hidden_layers: old, ..target.config.clone() };
    if same_depth != base.config || base.vocabulary != target.vocabulary || new < old {
        return Err(PretrainError::Config(format!(
            "a base model of {:?} with {} tokens cannot grow into {:?} with {}; only num_hidden_layers may differ, upwards",
            base.config, base.vocabulary, target.config, target.vocabulary
        )));
    }
    let mut grown = vec![0.0; target.layout.len];
    let mut copy = |to: &std::ops::Range<usize>, from: &std::ops::Range<usize>| {
        grown[to.clone()].copy_from_slice(&parameters[from.clone()]);
    };
    copy(&target.layout.embedding, &base.layout.embedding);
    copy(&target.layout.final_norm, &base.layout.final_norm);
    let mut last = None;
    for (index, to) in target.layout.layers.iter().enumerate() {
        let source = index * old / new;
        let from = &base.layout.layers[source];
        copy(&to.attention_norm, &from.attention_norm);
        copy(&to.qkv, &from.qkv);
        copy(&to.mlp_norm, &from.mlp_norm);
        copy(&to.gate_up, &from.gate_up);
        if last != Some(source) {
            copy(&to.out, &from.out);
            copy(&to.down, &from.down);
        }
        last = Some(source);
    }
    Ok(grown)
}
