//! The forward pass over rows of many sequences at once.

use super::{cache::KvCache, load::CpuModel, load::Layer};
use crate::{
    LmError, LmResult,
    kernel::{self, LANES, Line, Store, matmul},
};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one thread takes through a layer together.
const TILE: usize = 96;

/// New tokens of one sequence, which continue what its cache holds.
pub struct Segment<'a> {
    pub cache: &'a mut KvCache,
    pub tokens: &'a [u32],
}

/// Where one row of the batch stands.
#[derive(Clone, Copy)]
struct Place {
    segment: usize,
    position: usize,
}

/// Buffers of a forward pass, kept between passes. Rows are tokens.
#[derive(Default)]
pub struct Workspace {
    places: Vec<Place>,
    /// The residual stream, `[rows, hidden]`.
    stream: Vec<f32>,
    tiles: Tiles,
    cos: Vec<Vec<f32>>,
    sin: Vec<Vec<f32>>,
}

#[derive(Default)]
struct Tiles {
    normed: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    gated: Vec<f32>,
}

/// A tile's share of the buffers.
struct Tile<'a> {
    first: usize,
    stream: &'a mut [f32],
    normed: &'a mut [f32],
    qkv: &'a mut [f32],
    attended: &'a mut [f32],
    gate_up: &'a mut [f32],
    gated: &'a mut [f32],
}

/// Scratch of the attention of one row.
#[derive(Default)]
struct Attention {
    scores: Vec<f32>,
    sums: Vec<Line>,
}

impl CpuModel {
    /// An empty cache for `positions` positions.
    #[must_use]
    pub fn cache(&self, positions: usize) -> KvCache {
        KvCache::new(self.layout, positions)
    }

    /// Takes the new tokens of all segments through the network and leaves the residual stream in `work`, rows in the order
    /// of segments and tokens. `observe(i, rows)` sees the stream before layer `i`, and after the last one with `i` = layers.
    /// With `parallel` the rows are spread over the current rayon pool; the result is the same.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    ///
    /// # Panics
    /// A segment's cache has too little room for its tokens.
    pub fn forward(
        &self,
        segments: &mut [Segment<'_>],
        work: &mut Workspace,
        parallel: bool,
        mut observe: impl FnMut(usize, &[f32]),
    ) -> LmResult<()> {
        self.embed(segments, work)?;
        let Workspace { places, stream, tiles, cos, sin } = work;
        let config = &self.config;
        for (index, layer) in self.layers.iter().enumerate() {
            observe(index, stream);
            let rope = config.layers[index].rope;
            let (cos, sin) = (&cos[rope], &sin[rope]);
            tiles.each(self, stream, parallel, |tile| self.project(layer, tile, cos, sin));
            self.remember(index, segments, places, &tiles.qkv);
            let segments = &*segments;
            tiles.each(self, stream, parallel, |mut tile| {
                self.attend(index, segments, places, &mut tile);
                self.finish(layer, &mut tile);
            });
        }
        observe(self.layers.len(), stream);
        for segment in segments {
            segment.cache.advance(segment.tokens.len());
        }
        Ok(())
    }

    /// Fills the stream with embeddings, and the places and rotary tables of all rows.
    fn embed(&self, segments: &[Segment<'_>], work: &mut Workspace) -> LmResult<()> {
        let config = &self.config;
        let d = config.hidden_size;
        work.places.clear();
        for (segment, new) in segments.iter().enumerate() {
            let start = new.cache.len();
            assert!(start + new.tokens.len() <= new.cache.capacity(), "cache of segment {segment} is too small");
            work.places.extend((start..start + new.tokens.len()).map(|position| Place { segment, position }));
        }
        work.stream.resize(work.places.len() * d, 0.0);
        let tokens = segments.iter().flat_map(|segment| segment.tokens);
        for (token, row) in tokens.zip(work.stream.chunks_exact_mut(d)) {
            let id = *token as usize;
            if id >= config.vocab_size {
                return Err(LmError::TokenOutOfRange { id: *token, vocab: config.vocab_size });
            }
            match &self.embeddings {
                Some(table) => row.copy_from_slice(&table[id * d..(id + 1) * d]),
                None => self.head.copy_row(id, row),
            }
            if let Some(scale) = config.embedding_scale {
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        work.cos.resize_with(self.ropes.len(), Vec::new);
        work.sin.resize_with(self.ropes.len(), Vec::new);
        for ((rope, cos), sin) in self.ropes.iter().zip(&mut work.cos).zip(&mut work.sin) {
            cos.clear();
            sin.clear();
            for place in &work.places {
                rope.append(place.position, cos, sin);
            }
        }
        Ok(())
    }

    /// Norm, projections, head norms and rotation: everything before the rows of a sequence must meet.
    fn project(&self, layer: &Layer, tile: Tile<'_>, cos: &[f32], sin: &[f32]) {
        let config = &self.config;
        let (d, half) = (config.hidden_size, config.head_dim / 2);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let rows = tile.stream.len() / d;
        kernel::rms_norm(self.isa, tile.stream, &layer.input_norm, config.norm_eps, tile.normed);
        matmul(self.isa, tile.normed, rows, &layer.qkv, tile.qkv, Store::Set);
        let mut normed = vec![0.0; if config.qk_norm { queries } else { 0 }];
        for (row, qkv) in tile.qkv.chunks_exact_mut(queries + 2 * keys).enumerate() {
            let angles = (tile.first + row) * half..(tile.first + row + 1) * half;
            let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
            let (q, rest) = qkv.split_at_mut(queries);
            let k = &mut rest[..keys];
            for (heads, norm) in [(q, &layer.q_norm), (k, &layer.k_norm)] {
                if let Some(weight) = norm {
                    let normed = &mut normed[..heads.len()];
                    kernel::rms_norm(self.isa, heads, weight, config.norm_eps, normed);
                    heads.copy_from_slice(normed);
                }
                kernel::rotate(self.isa, heads, cos, sin);
            }
        }
    }

    /// Writes the new keys and values into the caches.
    fn remember(&self, layer: usize, segments: &mut [Segment<'_>], places: &[Place], qkv: &[f32]) {
        let config = &self.config;
        let dh = config.head_dim;
        let (queries, keys) = (config.heads * dh, config.kv_heads * dh);
        for (place, row) in places.iter().zip(qkv.chunks_exact(queries + 2 * keys)) {
            let (k, v) = row[queries..].split_at(keys);
            for (head, (k, v)) in k.chunks_exact(dh).zip(v.chunks_exact(dh)).enumerate() {
                segments[place.segment].cache.write(layer, head, place.position, k, v);
            }
        }
    }

    /// Causal attention of the tile's rows over their caches.
    fn attend(&self, layer: usize, segments: &[Segment<'_>], places: &[Place], tile: &mut Tile<'_>) {
        let config = &self.config;
        let (dh, group) = (config.head_dim, config.group());
        let (queries, keys) = (config.heads * dh, config.kv_heads * dh);
        let mut scratch = Attention::default();
        let rows = tile.qkv.chunks_exact(queries + 2 * keys).zip(tile.attended.chunks_exact_mut(queries));
        for ((qkv, out), place) in rows.zip(&places[tile.first..]) {
            let cache = &*segments[place.segment].cache;
            let from = config.layers[layer].window.map_or(0, |window| (place.position + 1).saturating_sub(window));
            for head in 0..config.kv_heads {
                let heads = head * group * dh..(head + 1) * group * dh;
                let spans = cache.spans(layer, head, from / LANES, place.position);
                let seen = Seen { spans, skip: from % LANES, count: place.position + 1 - from / LANES * LANES };
                self.attend_group(&seen, &qkv[heads.clone()], &mut out[heads], &mut scratch);
            }
        }
    }

    /// The query heads that share one key-value head, for one row.
    fn attend_group(&self, seen: &Seen<'_>, queries: &[f32], out: &mut [f32], scratch: &mut Attention) {
        let config = &self.config;
        let dh = config.head_dim;
        let lines = self.layout.value_lines;
        scratch.scores.resize(seen.count.next_multiple_of(LANES), 0.0);
        for (q, out) in queries.chunks_exact(dh).zip(out.chunks_exact_mut(dh)) {
            let mut rest = scratch.scores.as_mut_slice();
            for span in seen.spans.iter().flatten() {
                let (scores, after) = rest.split_at_mut(span.keys.len() / dh * LANES);
                kernel::score_span(self.isa, q, span.keys, config.attention_scale, scores);
                rest = after;
            }
            if let Some(cap) = config.attention_soft_cap {
                kernel::soft_cap(self.isa, &mut scratch.scores[..seen.count], cap);
            }
            kernel::softmax_masked(self.isa, &mut scratch.scores, seen.skip, seen.count);
            scratch.sums.clear();
            scratch.sums.resize(4 * lines, Line::default());
            let mut rest = &scratch.scores[..seen.count];
            for span in seen.spans.iter().flatten() {
                let (weights, after) = rest.split_at(rest.len().min(span.values.len() / lines));
                kernel::value_span(self.isa, weights, span.values, lines, &mut scratch.sums);
                rest = after;
            }
            for (index, value) in out.iter_mut().enumerate() {
                let chain = |chain: usize| scratch.sums[chain * lines + index / LANES].0[index % LANES];
                *value = (chain(0) + chain(2)) + (chain(1) + chain(3));
            }
        }
    }

    /// Output projection and feed-forward block, with their residuals.
    fn finish(&self, layer: &Layer, tile: &mut Tile<'_>) {
        let config = &self.config;
        let (isa, eps) = (self.isa, config.norm_eps);
        let rows = tile.stream.len() / config.hidden_size;
        let project = |x: &[f32], w, norm: Option<&Vec<f32>>, stream: &mut [f32], a: &mut [f32], b: &mut [f32]| {
            let Some(weight) = norm else {
                return matmul(isa, x, rows, w, stream, Store::Add);
            };
            let a = &mut a[..stream.len()];
            matmul(isa, x, rows, w, a, Store::Set);
            kernel::rms_norm(isa, a, weight, eps, b);
            stream.iter_mut().zip(b).for_each(|(x, y)| *x += *y);
        };
        let post = layer.post_attention_norm.as_ref();
        project(tile.attended, &layer.output, post, tile.stream, tile.gate_up, tile.normed);
        kernel::rms_norm(isa, tile.stream, &layer.mlp_norm, eps, tile.normed);
        matmul(isa, tile.normed, rows, &layer.gate_up, tile.gate_up, Store::Set);
        kernel::gate(isa, tile.gate_up, config.intermediate_size, config.activation, tile.gated);
        project(tile.gated, &layer.down, layer.post_mlp_norm.as_ref(), tile.stream, tile.gate_up, tile.normed);
    }

    /// Logits `[rows, vocab]` of some rows of the last forward pass.
    pub fn logits(&self, work: &Workspace, rows: Range<usize>, parallel: bool, out: &mut Vec<f32>) {
        let (d, v) = (self.config.hidden_size, self.config.vocab_size);
        let stream = &work.stream[rows.start * d..rows.end * d];
        out.resize(rows.len() * v, 0.0);
        let tile = |(stream, out): (&[f32], &mut [f32])| {
            let mut normed = vec![0.0; stream.len()];
            kernel::rms_norm(self.isa, stream, &self.final_norm, self.config.norm_eps, &mut normed);
            matmul(self.isa, &normed, stream.len() / d, &self.head, out, Store::Set);
            if let Some(cap) = self.config.final_soft_cap {
                kernel::soft_cap(self.isa, out, cap);
            }
        };
        if parallel {
            stream.par_chunks(TILE * d).zip(out.par_chunks_mut(TILE * v)).for_each(tile);
        } else {
            stream.chunks(TILE * d).zip(out.chunks_mut(TILE * v)).for_each(tile);
        }
    }

    /// The final norm of rows of the residual stream, as the last of the hidden states.
    #[must_use]
    pub fn final_hidden(&self, stream: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; stream.len()];
        kernel::rms_norm(self.isa, stream, &self.final_norm, self.config.norm_eps, &mut normed);
        normed
    }
}

/// The cached positions that one row sees, in whole blocks.
struct Seen<'a> {
    spans: [Option<super::cache::Span<'a>>; 2],
    /// Positions of the first block that lie before the window.
    skip: usize,
    /// Positions from the start of the first block up to and including the row's own.
    count: usize,
}

impl Tiles {
    /// Runs `work` on every tile of the rows in `stream`.
    fn each(&mut self, model: &CpuModel, stream: &mut [f32], parallel: bool, work: impl Fn(Tile<'_>) + Sync) {
        let config = &model.config;
        let d = config.hidden_size;
        let rows = stream.len() / d;
        let queries = config.heads * config.head_dim;
        let qkv = queries + 2 * config.kv_heads * config.head_dim;
        let f = config.intermediate_size;
        // The wide buffer also takes rows of width `d` between a projection and its norm.
        let wide = (2 * f).max(d);
        self.normed.resize(rows * d, 0.0);
        self.qkv.resize(rows * qkv, 0.0);
        self.attended.resize(rows * queries, 0.0);
        self.gate_up.resize(rows * wide, 0.0);
        self.gated.resize(rows * f, 0.0);
        let make = |(first, ((((stream, normed), qkv), attended), (gate_up, gated)))| {
            work(Tile { first, stream, normed, qkv, attended, gate_up, gated });
        };
        let firsts = 0..rows.div_ceil(TILE);
        if parallel && rows > TILE {
            firsts
                .into_par_iter()
                .map(|tile| tile * TILE)
                .zip(
                    stream
                        .par_chunks_mut(TILE * d)
                        .zip(self.normed.par_chunks_mut(TILE * d))
                        .zip(self.qkv.par_chunks_mut(TILE * qkv))
                        .zip(self.attended.par_chunks_mut(TILE * queries))
                        .zip(self.gate_up.par_chunks_mut(TILE * wide).zip(self.gated.par_chunks_mut(TILE * f))),
                )
                .for_each(make);
        } else {
            firsts
                .map(|tile| tile * TILE)
                .zip(
                    stream
                        .chunks_mut(TILE * d)
                        .zip(self.normed.chunks_mut(TILE * d))
                        .zip(self.qkv.chunks_mut(TILE * qkv))
                        .zip(self.attended.chunks_mut(TILE * queries))
                        .zip(self.gate_up.chunks_mut(TILE * wide).zip(self.gated.chunks_mut(TILE * f))),
                )
                .for_each(make);
        }
    }
}
