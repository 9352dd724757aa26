//! Loss and gradient of a shard: a handful of documents laid end to end, each seeing only itself.
//!
//! The backward pass is written out by hand over buffers that are kept between steps: at this size a general tape spends more
//! time on allocating and clearing than on multiplying. `tests/gradient.rs` checks it against finite differences.

use crate::{
    config::{LayerLayout, Layout, ModelConfig},
    kernels::{
        causal_softmax, columns, cross_entropy, linear, linear_backward, matmul, rms_norm, rms_norm_backward, rotate,
        rows, swiglu, swiglu_backward,
    },
    vector::vectorised,
};

/// Documents laid end to end.
#[derive(Debug, Clone, Default)]
pub struct Shard {
    /// All tokens, `[n]`.
    pub tokens: Vec<u32>,
    /// First position of each document, and the end: `documents + 1` numbers.
    pub bounds: Vec<usize>,
    /// The weight of predicting the token at each position from those before it, `[n]`; 0 at the start of a document.
    pub weights: Vec<f32>,
}

impl Shard {
    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn documents(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.bounds.windows(2).map(|pair| (pair[0], pair[1] - pair[0]))
    }

    /// How many attention probabilities one head of one layer has.
    fn pairs(&self) -> usize {
        self.documents().map(|(_, len)| len * len).sum()
    }
}

/// Cosines and sines of the rotary angles, `[positions, head_dim / 2]` each.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
    half: usize,
}

impl RotaryTable {
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let half = config.head_dim / 2;
        let angles = (0..config.max_position_embeddings).flat_map(|position| {
            (0..half).map(move |i| {
                let frequency = config.rope_theta.powf(-(i as f64) / half as f64);
                position as f64 * frequency
            })
        });
        #[expect(clippy::cast_possible_truncation, reason = "the table is kept in single precision")]
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { cos, sin, half }
    }

    /// Cosines and sines of one position.
    #[must_use]
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// What the forward pass keeps of one layer.
#[derive(Default)]
struct LayerTape {
    input: Vec<f32>,
    attention_inverse: Vec<f32>,
    attention_normed: Vec<f32>,
    /// Queries and keys are rotated.
    qkv: Vec<f32>,
    /// Per document and head, `[length, length]`.
    probabilities: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    mlp_inverse: Vec<f32>,
    mlp_normed: Vec<f32>,
    gate_up: Vec<f32>,
    hidden: Vec<f32>,
}

/// Buffers of one worker; they grow to the largest shard and stay.
#[derive(Default)]
pub struct Workspace {
    layers: Vec<LayerTape>,
    output: Vec<f32>,
    final_inverse: Vec<f32>,
    final_normed: Vec<f32>,
    /// Rows of the final hidden states whose prediction counts, and their logits.
    picked: Vec<f32>,
    picked_rows: Vec<usize>,
    logits: Vec<f32>,
    d_stream: Vec<f32>,
    d_normed: Vec<f32>,
    d_qkv: Vec<f32>,
    d_attended: Vec<f32>,
    d_hidden: Vec<f32>,
    d_scores: Vec<f32>,
}

fn size(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}

/// A model's shape, ready to compute with.
#[derive(Debug, Clone)]
pub struct Model {
    pub config: ModelConfig,
    pub vocabulary: usize,
    pub layout: Layout,
    pub rotary: RotaryTable,
}

impl Model {
    #[must_use]
    pub fn new(config: ModelConfig, vocabulary: usize) -> Self {
        let layout = Layout::new(&config, vocabulary);
        let rotary = RotaryTable::new(&config);
        Self { config, vocabulary, layout, rotary }
    }

    pub(crate) fn eps(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        let eps = self.config.rms_norm_eps as f32;
        eps
    }

    /// The weighted sum of the cross-entropies (nats) of a shard. With `gradient`, their gradient is *added* to it.
    ///
    /// # Panics
    /// `parameters` or `gradient` are not of [`Layout::len`], or a document is longer than the longest position.
    pub fn loss(&self, parameters: &[f32], shard: &Shard, work: &mut Workspace, gradient: Option<&mut [f32]>) -> f64 {
        assert_eq!(parameters.len(), self.layout.len, "parameters do not fit the layout");
        vectorised(
            #[inline(always)]
            || {
                self.forward(parameters, shard, work);
                let loss = self.head(parameters, shard, work);
                if let Some(gradient) = gradient {
                    assert_eq!(gradient.len(), self.layout.len, "gradient does not fit the layout");
                    self.backward(parameters, shard, work, gradient);
                }
                loss
            },
        )
    }

    #[inline(always)]
    fn forward(&self, parameters: &[f32], shard: &Shard, work: &mut Workspace) {
        let (c, n, d) = (&self.config, shard.len(), self.config.hidden_size);
        work.layers.resize_with(c.num_hidden_layers, LayerTape::default);
        size(&mut work.output, n * d);
        let embedding = &parameters[self.layout.embedding.clone()];
        for (row, &token) in work.output.chunks_exact_mut(d).zip(&shard.tokens) {
            row.copy_from_slice(&embedding[token as usize * d..][..d]);
        }
        for (tape, layout) in work.layers.iter_mut().zip(&self.layout.layers) {
            std::mem::swap(&mut tape.input, &mut work.output);
            size(&mut work.output, n * d);
            self.layer(parameters, layout, shard, tape, &mut work.output);
        }
        size(&mut work.final_normed, n * d);
        size(&mut work.final_inverse, n);
        let weight = &parameters[self.layout.final_norm.clone()];
        rms_norm(&mut work.final_normed, &mut work.final_inverse, &work.output, weight, self.eps());
    }

    #[inline(always)]
    fn layer(&self, parameters: &[f32], at: &LayerLayout, shard: &Shard, tape: &mut LayerTape, output: &mut [f32]) {
        let (c, n, d) = (&self.config, shard.len(), self.config.hidden_size);
        let (width, qkv_width, ff) = (c.query_width(), c.qkv_width(), c.intermediate_size);
        size(&mut tape.attention_inverse, n);
        size(&mut tape.attention_normed, n * d);
        size(&mut tape.qkv, n * qkv_width);
        size(&mut tape.attended, n * width);
        size(&mut tape.middle, n * d);
        size(&mut tape.mlp_inverse, n);
        size(&mut tape.mlp_normed, n * d);
        size(&mut tape.gate_up, n * 2 * ff);
        size(&mut tape.hidden, n * ff);

        let norm = &parameters[at.attention_norm.clone()];
        rms_norm(&mut tape.attention_normed, &mut tape.attention_inverse, &tape.input, norm, self.eps());
        linear(&mut tape.qkv, &tape.attention_normed, &parameters[at.qkv.clone()], n, qkv_width, d, false);
        self.rotate_all(&mut tape.qkv, shard, 1.0);
        self.attend(shard, tape);
        tape.middle.copy_from_slice(&tape.input);
        linear(&mut tape.middle, &tape.attended, &parameters[at.out.clone()], n, d, width, true);

        let norm = &parameters[at.mlp_norm.clone()];
        rms_norm(&mut tape.mlp_normed, &mut tape.mlp_inverse, &tape.middle, norm, self.eps());
        linear(&mut tape.gate_up, &tape.mlp_normed, &parameters[at.gate_up.clone()], n, 2 * ff, d, false);
        swiglu(&mut tape.hidden, &tape.gate_up, ff);
        output.copy_from_slice(&tape.middle);
        linear(output, &tape.hidden, &parameters[at.down.clone()], n, d, ff, true);
    }

    #[inline(always)]
    fn rotate_all(&self, qkv: &mut [f32], shard: &Shard, sign: f32) {
        let (c, width) = (&self.config, self.config.qkv_width());
        let rotated = c.query_width() + c.key_width();
        for (start, len) in shard.documents() {
            for position in 0..len {
                let (cos, sin) = self.rotary.at(position);
                rotate(&mut qkv[(start + position) * width..][..rotated], c.head_dim, cos, sin, sign);
            }
        }
    }

    fn scale(&self) -> f32 {
        (self.config.head_dim as f32).sqrt().recip()
    }

    #[inline(always)]
    fn attend(&self, shard: &Shard, tape: &mut LayerTape) {
        let (c, hd) = (&self.config, self.config.head_dim);
        let (width, qkv_width) = (c.query_width(), c.qkv_width());
        let group = c.num_attention_heads / c.num_key_value_heads;
        size(&mut tape.probabilities, shard.pairs() * c.num_attention_heads);
        let mut offset = 0;
        for (start, len) in shard.documents() {
            let document = &tape.qkv[start * qkv_width..(start + len) * qkv_width];
            for head in 0..c.num_attention_heads {
                let query = &document[head * hd..];
                let key = &document[width + head / group * hd..];
                let value = &document[width + c.key_width() + head / group * hd..];
                let p = &mut tape.probabilities[offset..][..len * len];
                offset += len * len;
                matmul([len, len, hd], p, rows(len), false, query, rows(qkv_width), key, columns(qkv_width));
                for (i, row) in p.chunks_exact_mut(len).enumerate() {
                    causal_softmax(row, i + 1, self.scale());
                }
                let out = &mut tape.attended[start * width + head * hd..];
                matmul([len, hd, len], out, rows(width), false, p, rows(len), value, rows(qkv_width));
            }
        }
    }

    /// Losses of the positions that count; leaves their logits' gradient in `work.logits`.
    #[inline(always)]
    fn head(&self, parameters: &[f32], shard: &Shard, work: &mut Workspace) -> f64 {
        let (d, v) = (self.config.hidden_size, self.vocabulary);
        work.picked_rows.clear();
        // The state at `i` predicts the token at `i + 1`.
        work.picked_rows.extend((1..shard.len()).filter(|&i| shard.weights[i] != 0.0).map(|i| i - 1));
        let m = work.picked_rows.len();
        size(&mut work.picked, m * d);
        size(&mut work.logits, m * v);
        for (row, &i) in work.picked.chunks_exact_mut(d).zip(&work.picked_rows) {
            row.copy_from_slice(&work.final_normed[i * d..][..d]);
        }
        let embedding = &parameters[self.layout.embedding.clone()];
        linear(&mut work.logits, &work.picked, embedding, m, v, d, false);
        let rows = work.logits.chunks_exact_mut(v).zip(&work.picked_rows);
        rows.map(|(row, &i)| f64::from(cross_entropy(row, shard.tokens[i + 1] as usize, shard.weights[i + 1]))).sum()
    }

    #[inline(always)]
    fn backward(&self, parameters: &[f32], shard: &Shard, work: &mut Workspace, gradient: &mut [f32]) {
        let (n, d, v) = (shard.len(), self.config.hidden_size, self.vocabulary);
        let m = work.picked_rows.len();
        size(&mut work.d_normed, n * d);
        size(&mut work.d_stream, n * d);
        size(&mut work.d_hidden, m * d);
        linear_backward(
            &mut work.d_hidden,
            &mut gradient[self.layout.embedding.clone()],
            &work.logits,
            &work.picked,
            &parameters[self.layout.embedding.clone()],
            m,
            v,
            d,
        );
        work.d_normed.fill(0.0);
        for (row, &i) in work.d_hidden.chunks_exact(d).zip(&work.picked_rows) {
            work.d_normed[i * d..][..d].copy_from_slice(row);
        }
        work.d_stream.fill(0.0);
        rms_norm_backward(
            &mut work.d_stream,
            &mut gradient[self.layout.final_norm.clone()],
            &work.d_normed,
            &work.output,
            &parameters[self.layout.final_norm.clone()],
            &work.final_inverse,
        );
        for index in (0..self.config.num_hidden_layers).rev() {
            self.layer_backward(parameters, index, shard, work, gradient);
        }
        let embedding = &mut gradient[self.layout.embedding.clone()];
        for (row, &token) in work.d_stream.chunks_exact(d).zip(&shard.tokens) {
            for (sum, x) in embedding[token as usize * d..][..d].iter_mut().zip(row) {
                *sum += x;
            }
        }
    }

    #[inline(always)]
    fn layer_backward(
        &self,
        parameters: &[f32],
        index: usize,
        shard: &Shard,
        work: &mut Workspace,
        gradient: &mut [f32],
    ) {
        let (c, n, d) = (&self.config, shard.len(), self.config.hidden_size);
        let (width, qkv_width, ff) = (c.query_width(), c.qkv_width(), c.intermediate_size);
        let at = &self.layout.layers[index];
        let Workspace { layers, d_stream, d_normed, d_qkv, d_attended, d_hidden, d_scores, .. } = work;
        let tape = &mut layers[index];

        size(d_hidden, n * ff);
        let (down, d_down) = (&parameters[at.down.clone()], &mut gradient[at.down.clone()]);
        linear_backward(d_hidden, d_down, d_stream, &tape.hidden, down, n, d, ff);
        swiglu_backward(&mut tape.gate_up, d_hidden, ff);
        let (gate_up, d_gate_up) = (&parameters[at.gate_up.clone()], &mut gradient[at.gate_up.clone()]);
        linear_backward(d_normed, d_gate_up, &tape.gate_up, &tape.mlp_normed, gate_up, n, 2 * ff, d);
        let (norm, d_norm) = (&parameters[at.mlp_norm.clone()], &mut gradient[at.mlp_norm.clone()]);
        rms_norm_backward(d_stream, d_norm, d_normed, &tape.middle, norm, &tape.mlp_inverse);

        size(d_attended, n * width);
        size(d_qkv, n * qkv_width);
        let (out, d_out) = (&parameters[at.out.clone()], &mut gradient[at.out.clone()]);
        linear_backward(d_attended, d_out, d_stream, &tape.attended, out, n, d, width);
        self.attend_backward(shard, tape, d_attended, d_qkv, d_scores);
        self.rotate_all(d_qkv, shard, -1.0);
        let (qkv, d_weight) = (&parameters[at.qkv.clone()], &mut gradient[at.qkv.clone()]);
        linear_backward(d_normed, d_weight, d_qkv, &tape.attention_normed, qkv, n, qkv_width, d);
        let (norm, d_norm) = (&parameters[at.attention_norm.clone()], &mut gradient[at.attention_norm.clone()]);
        rms_norm_backward(d_stream, d_norm, d_normed, &tape.input, norm, &tape.attention_inverse);
    }

    #[inline(always)]
    fn attend_backward(
        &self,
        shard: &Shard,
        tape: &LayerTape,
        d_attended: &[f32],
        d_qkv: &mut [f32],
        d_scores: &mut Vec<f32>,
    ) {
        let (c, hd) = (&self.config, self.config.head_dim);
        let (width, qkv_width, scale) = (c.query_width(), c.qkv_width(), self.scale());
        let group = c.num_attention_heads / c.num_key_value_heads;
        let mut offset = 0;
        for (start, len) in shard.documents() {
            let document = &tape.qkv[start * qkv_width..(start + len) * qkv_width];
            let d_document = &mut d_qkv[start * qkv_width..(start + len) * qkv_width];
            size(d_scores, len * len);
            for head in 0..c.num_attention_heads {
                let (query_at, key_at) = (head * hd, width + head / group * hd);
                let value_at = key_at + c.key_width();
                let p = &tape.probabilities[offset..][..len * len];
                offset += len * len;
                let d_out = &d_attended[start * width + head * hd..];
                // The first head of a group sets the shared gradients, the others add to them.
                let add = head % group != 0;
                let d_value = &mut d_document[value_at..];
                matmul([len, hd, len], d_value, rows(qkv_width), add, p, columns(len), d_out, rows(width));
                let value = &document[value_at..];
                matmul([len, len, hd], d_scores, rows(len), false, d_out, rows(width), value, columns(qkv_width));
                for (ds, p) in d_scores.chunks_exact_mut(len).zip(p.chunks_exact(len)) {
                    let mean = crate::kernels::dot(ds, p);
                    for i in 0..len {
                        ds[i] = p[i] * (ds[i] - mean) * scale;
                    }
                }
                let key = &document[key_at..];
                let d_query = &mut d_document[query_at..];
                matmul([len, hd, len], d_query, rows(qkv_width), false, d_scores, rows(len), key, rows(qkv_width));
                let query = &document[query_at..];
                let d_key = &mut d_document[key_at..];
                matmul([len, hd, len], d_key, rows(qkv_width), add, d_scores, columns(len), query, rows(qkv_width));
            }
        }
    }
}
