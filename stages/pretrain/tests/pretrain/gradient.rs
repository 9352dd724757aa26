//! The backward pass against finite differences of the forward pass.

use lsn_pretrain::{
    data::push,
    initial_parameters,
    model::{Model, Shard, Workspace},
};

fn shard(model_tokens: usize) -> Shard {
    let mut shard = Shard { bounds: vec![0], ..Shard::default() };
    for document in crate::common::documents(model_tokens) {
        push(&mut shard, &document, 0.3);
    }
    shard
}

#[test]
fn every_parameter_block_has_the_gradient_of_finite_differences() {
    let model = Model::new(crate::common::small_model(), crate::common::VOCABULARY);
    let mut parameters = initial_parameters(&model, 7);
    // Norm weights away from 1, so that a missing factor shows.
    for (index, range) in model.layout.norms().into_iter().enumerate() {
        parameters[range].iter_mut().enumerate().for_each(|(i, w)| *w = 0.7 + 0.05 * ((i + index) % 7) as f32);
    }
    // A larger embedding keeps the loss away from its flat start.
    parameters[model.layout.embedding.clone()].iter_mut().for_each(|p| *p *= 20.0);
    let (shard, mut work) = (shard(4), Workspace::default());
    let mut gradient = vec![0.0; model.layout.len];
    let loss = model.loss(&parameters, &shard, &mut work, Some(&mut gradient));
    assert!(loss.is_finite() && loss > 1.0, "{loss}");

    let mut blocks =
        vec![("embedding", model.layout.embedding.clone()), ("final norm", model.layout.final_norm.clone())];
    for layer in &model.layout.layers {
        blocks.extend([
            ("attention norm", layer.attention_norm.clone()),
            ("qkv", layer.qkv.clone()),
            ("out", layer.out.clone()),
            ("mlp norm", layer.mlp_norm.clone()),
            ("gate up", layer.gate_up.clone()),
            ("down", layer.down.clone()),
        ]);
    }
    for (name, range) in blocks {
        // Along a fixed pattern of signs the whole block moves at once: its slope is the signed sum of the gradient.
        for pattern in 1..4_usize {
            let sign = |i: usize| if (i * pattern + i / 3).is_multiple_of(2) { 1.0 } else { -1.0 };
            let analytic: f64 = gradient[range.clone()].iter().enumerate().map(|(i, &g)| sign(i) * f64::from(g)).sum();
            let mut at = |step: f64| {
                let mut moved = parameters.clone();
                moved[range.clone()].iter_mut().enumerate().for_each(|(i, p)| *p += (sign(i) * step) as f32);
                model.loss(&moved, &shard, &mut work, None)
            };
            let step = 1e-3;
            let numeric = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
            let tolerance = 2e-2 * analytic.abs().max(numeric.abs()) + 2e-2;
            assert!((analytic - numeric).abs() < tolerance, "{name}, pattern {pattern}: {analytic} and {numeric}");
        }
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    let model = Model::new(crate::common::small_model(), crate::common::VOCABULARY);
    let parameters = initial_parameters(&model, 3);
    let mut gradient = vec![0.0; model.layout.len];
    model.loss(&parameters, &shard(17), &mut Workspace::default(), Some(&mut gradient));
    assert_eq!(gradient.iter().filter(|g| **g == 0.0 || !g.is_finite()).count(), 0);
}

#[test]
fn documents_of_a_shard_do_not_see_each_other() {
    let model = Model::new(crate::common::small_model(), crate::common::VOCABULARY);
    let parameters = initial_parameters(&model, 5);
    let mut work = Workspace::default();
    let apart: f64 = crate::common::documents(5)
        .iter()
        .map(|document| {
            let mut alone = Shard { bounds: vec![0], ..Shard::default() };
            push(&mut alone, document, 0.3);
            model.loss(&parameters, &alone, &mut work, None)
        })
        .sum();
    let together = model.loss(&parameters, &shard(5), &mut work, None);
    assert!((apart - together).abs() < 1e-4 * together, "{apart} and {together}");
}
