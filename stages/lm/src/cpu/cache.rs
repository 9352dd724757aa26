//! Cached keys and values, and prefixes of them that many sequences share.

use crate::{
    ModelConfig,
    kernel::{LANES, Line},
};
use std::sync::Arc;

/// Sizes that every cache of one model shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Lines per value row: `head_dim` rounded up to whole lines.
    pub value_lines: usize,
}

impl Layout {
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            layers: config.layers.len(),
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            value_lines: config.head_dim.div_ceil(LANES),
        }
    }
}

/// Keys and values of `blocks · 16` consecutive positions, for all layers and heads.
#[derive(Debug, Clone)]
struct Blocks {
    layout: Layout,
    blocks: usize,
    /// `[layer][head][block][dim]` lines of sixteen positions.
    keys: Vec<Line>,
    /// `[layer][head][position][value_lines]`.
    values: Vec<Line>,
}

impl Blocks {
    fn new(layout: Layout, blocks: usize) -> Self {
        let mut new = Self { layout, blocks: 0, keys: Vec::new(), values: Vec::new() };
        new.resize(blocks);
        new
    }

    /// Makes room for `blocks`; what was there is forgotten.
    fn resize(&mut self, blocks: usize) {
        let heads = self.layout.layers * self.layout.kv_heads;
        self.blocks = blocks;
        self.keys.resize(heads * blocks * self.layout.head_dim, Line::default());
        self.values.resize(heads * blocks * LANES * self.layout.value_lines, Line::default());
    }

    fn keys_at(&self, layer: usize, head: usize) -> usize {
        (layer * self.layout.kv_heads + head) * self.blocks * self.layout.head_dim
    }

    fn values_at(&self, layer: usize, head: usize) -> usize {
        (layer * self.layout.kv_heads + head) * self.blocks * LANES * self.layout.value_lines
    }

    fn write(&mut self, layer: usize, head: usize, position: usize, key: &[f32], value: &[f32]) {
        let (block, lane) = (position / LANES, position % LANES);
        let start = self.keys_at(layer, head) + block * self.layout.head_dim;
        for (line, key) in self.keys[start..start + self.layout.head_dim].iter_mut().zip(key) {
            line.0[lane] = *key;
        }
        let start = self.values_at(layer, head) + position * self.layout.value_lines;
        for (line, value) in self.values[start..].iter_mut().zip(value.chunks(LANES)) {
            line.0[..value.len()].copy_from_slice(value);
        }
    }

    /// Copies one block of `other` over one of this.
    fn copy_block(&mut self, to: usize, other: &Self, from: usize) {
        let (d, v) = (self.layout.head_dim, LANES * self.layout.value_lines);
        for layer in 0..self.layout.layers {
            for head in 0..self.layout.kv_heads {
                let (a, b) = (self.keys_at(layer, head) + to * d, other.keys_at(layer, head) + from * d);
                self.keys[a..a + d].copy_from_slice(&other.keys[b..b + d]);
                let (a, b) = (self.values_at(layer, head) + to * v, other.values_at(layer, head) + from * v);
                self.values[a..a + v].copy_from_slice(&other.values[b..b + v]);
            }
        }
    }
}

/// A stretch of cached positions of one layer and head: whole blocks of keys, rows of values.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub keys: &'a [Line],
    pub values: &'a [Line],
}

/// A computed beginning of sequences. Cheap to clone; continuations read it in place.
#[derive(Debug, Clone)]
pub struct Prefix {
    blocks: Arc<Blocks>,
    len: usize,
    /// Logits after the last position, `[vocab]`.
    pub(crate) logits: Arc<[f32]>,
}

impl Prefix {
    /// Number of positions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no positions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The cache of one sequence: whole blocks of a shared prefix, then blocks of its own.
#[derive(Debug, Clone)]
pub struct KvCache {
    shared: Option<Arc<Blocks>>,
    /// Positions held by `shared`, a multiple of 16.
    base: usize,
    own: Blocks,
    len: usize,
}

impl KvCache {
    pub(super) fn new(layout: Layout, positions: usize) -> Self {
        Self { shared: None, base: 0, own: Blocks::new(layout, positions.div_ceil(LANES)), len: 0 }
    }

    /// Empties the cache and makes it continue `prefix` up to `positions` in all, keeping its memory.
    ///
    /// The prefix's last, partly filled block is copied, so that positions keep their places in blocks.
    pub(crate) fn restart(&mut self, prefix: &Prefix, positions: usize) {
        self.base = prefix.len / LANES * LANES;
        self.len = prefix.len;
        self.own.resize(positions.max(prefix.len).div_ceil(LANES) - self.base / LANES);
        if self.len > self.base {
            self.own.copy_block(0, &prefix.blocks, self.base / LANES);
        }
        self.shared = Some(Arc::clone(&prefix.blocks));
    }

    /// Number of cached positions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.base + self.own.blocks * LANES
    }

    pub(super) fn advance(&mut self, positions: usize) {
        self.len += positions;
    }

    pub(super) fn write(&mut self, layer: usize, head: usize, position: usize, key: &[f32], value: &[f32]) {
        let position = position - self.base;
        self.own.write(layer, head, position, key, value);
    }

    /// The cached positions from block `first` up to the block of `last`, in one or two spans in order.
    pub(super) fn spans(&self, layer: usize, head: usize, first: usize, last: usize) -> [Option<Span<'_>>; 2] {
        let end = last / LANES + 1;
        let border = self.base / LANES;
        let cut = |blocks: &'_ Blocks, from: usize, to: usize| {
            let (d, v) = (blocks.layout.head_dim, LANES * blocks.layout.value_lines);
            let (k, r) = (blocks.keys_at(layer, head), blocks.values_at(layer, head));
            (k + from * d..k + to * d, r + from * v..r + to * v)
        };
        let shared = self.shared.as_deref().filter(|_| first < border).map(|blocks| {
            let (keys, values) = cut(blocks, first, border.min(end));
            Span { keys: &blocks.keys[keys], values: &blocks.values[values] }
        });
        let own = (end > border).then(|| {
            let (keys, values) = cut(&self.own, first.max(border) - border, end - border);
            Span { keys: &self.own.keys[keys], values: &self.own.values[values] }
        });
        [shared, own]
    }

    /// Turns a cache without a prefix of its own into one that others may continue.
    pub(crate) fn into_prefix(self, logits: Vec<f32>) -> Prefix {
        debug_assert!(self.shared.is_none());
        Prefix { blocks: Arc::new(self.own), len: self.len, logits: logits.into() }
    }
}
