//! Sampling from the weights that are being trained: enough to measure them, with a key-value cache and many rows at once.

use crate::{
    kernels::{causal_softmax, dot, exp, linear, max, rms_norm, rotate, swiglu},
    model::Model,
    vector::vectorised,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How to sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeOptions {
    /// 0 is greedy.
    pub temperature: f32,
    pub max_tokens: usize,
    /// Generation ends before this token.
    pub stop: u32,
    pub seed: u64,
}

/// Keys and values of one row, `[layers][position, key width]`.
struct Cache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

struct Row {
    prompt_left: std::vec::IntoIter<u32>,
    next: u32,
    position: usize,
    cache: Cache,
    output: Vec<u32>,
    rng: ChaCha8Rng,
    done: bool,
}

/// Continues every prompt. Row `i` draws from its own random stream; all rows advance by one token at a time, those still in
/// their prompt included.
#[must_use]
pub fn generate(model: &Model, parameters: &[f32], prompts: &[Vec<u32>], options: DecodeOptions) -> Vec<Vec<u32>> {
    let layers = model.config.num_hidden_layers;
    let mut rows: Vec<Row> = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            let mut prompt_left = prompt.clone().into_iter();
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            rng.set_stream(index as u64);
            let next = prompt_left.next();
            Row {
                done: next.is_none(),
                next: next.unwrap_or_default(),
                prompt_left,
                position: 0,
                cache: Cache { keys: vec![Vec::new(); layers], values: vec![Vec::new(); layers] },
                output: Vec::new(),
                rng,
            }
        })
        .collect();
    loop {
        let mut active: Vec<&mut Row> = rows.iter_mut().filter(|row| !row.done).collect();
        if active.is_empty() {
            break;
        }
        let logits = vectorised(
            #[inline(always)]
            || step(model, parameters, &mut active),
        );
        for (row, logits) in active.into_iter().zip(logits.chunks_exact(model.vocabulary)) {
            row.position += 1;
            if let Some(token) = row.prompt_left.next() {
                row.next = token;
                continue;
            }
            let token = choose(logits, options.temperature, &mut row.rng);
            row.done = token == options.stop
                || row.output.len() + 1 >= options.max_tokens
                || row.position + 1 >= model.config.max_position_embeddings;
            if token != options.stop {
                row.output.push(token);
            }
            row.next = token;
        }
    }
    rows.into_iter().map(|row| row.output).collect()
}

fn choose(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> u32 {
    let index = if temperature <= 0.0 {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(index, _)| index)
    } else {
        let top = max(logits);
        let weights: Vec<f32> = logits.iter().map(|&x| exp((x - top) / temperature)).collect();
        let mut left = rng.random::<f32>() * weights.iter().sum::<f32>();
        weights
            .iter()
            .position(|&w| {
                left -= w;
                left < 0.0
            })
            .unwrap_or(weights.len() - 1)
    };
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// One token of every row; returns the logits, `[rows, vocabulary]`.
#[inline(always)]
fn step(model: &Model, parameters: &[f32], rows: &mut [&mut Row]) -> Vec<f32> {
    let (c, n, d) = (&model.config, rows.len(), model.config.hidden_size);
    let (width, key_width, qkv_width, ff) = (c.query_width(), c.key_width(), c.qkv_width(), c.intermediate_size);
    let (hd, group) = (c.head_dim, c.num_attention_heads / c.num_key_value_heads);
    let scale = (hd as f32).sqrt().recip();
    let embedding = &parameters[model.layout.embedding.clone()];
    let mut x: Vec<f32> = rows.iter().flat_map(|row| &embedding[row.next as usize * d..][..d]).copied().collect();
    let (mut normed, mut inverse) = (vec![0.0; n * d], vec![0.0; n]);
    let mut qkv = vec![0.0; n * qkv_width];
    let mut attended = vec![0.0; n * width];
    let (mut gate_up, mut hidden) = (vec![0.0; n * 2 * ff], vec![0.0; n * ff]);
    let mut scores = Vec::new();
    for (index, at) in model.layout.layers.iter().enumerate() {
        rms_norm(&mut normed, &mut inverse, &x, &parameters[at.attention_norm.clone()], model.eps());
        linear(&mut qkv, &normed, &parameters[at.qkv.clone()], n, qkv_width, d, false);
        attended.fill(0.0);
        for ((row, qkv), out) in
            rows.iter_mut().zip(qkv.chunks_exact_mut(qkv_width)).zip(attended.chunks_exact_mut(width))
        {
            let (cos, sin) = model.rotary.at(row.position);
            rotate(&mut qkv[..width + key_width], hd, cos, sin, 1.0);
            let (keys, values) = (&mut row.cache.keys[index], &mut row.cache.values[index]);
            keys.extend_from_slice(&qkv[width..width + key_width]);
            values.extend_from_slice(&qkv[width + key_width..]);
            for (head, out) in out.chunks_exact_mut(hd).enumerate() {
                let at = head / group * hd;
                scores.clear();
                scores.extend(keys.chunks_exact(key_width).map(|key| dot(&qkv[head * hd..][..hd], &key[at..at + hd])));
                let seen = scores.len();
                causal_softmax(&mut scores, seen, scale);
                for (&p, value) in scores.iter().zip(values.chunks_exact(key_width)) {
                    out.iter_mut().zip(&value[at..at + hd]).for_each(|(o, v)| *o += p * v);
                }
            }
        }
        linear(&mut x, &attended, &parameters[at.out.clone()], n, d, width, true);
        rms_norm(&mut normed, &mut inverse, &x, &parameters[at.mlp_norm.clone()], model.eps());
        linear(&mut gate_up, &normed, &parameters[at.gate_up.clone()], n, 2 * ff, d, false);
        swiglu(&mut hidden, &gate_up, ff);
        linear(&mut x, &hidden, &parameters[at.down.clone()], n, d, ff, true);
    }
    rms_norm(&mut normed, &mut inverse, &x, &parameters[model.layout.final_norm.clone()], model.eps());
    let mut logits = vec![0.0; n * model.vocabulary];
    linear(&mut logits, &normed, embedding, n, model.vocabulary, d, false);
    logits
}
