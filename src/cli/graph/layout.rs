//! A layered layout (Sugiyama, Tagawa and Toda 1981): layers by longest path, crossings reduced by barycentres, edges over
//! several layers routed through points of their own.

use super::Drawing;

/// Space between layers and between neighbours, in pixels.
const LAYER_GAP: f64 = 56.0;
const GAP: f64 = 28.0;
const MARGIN: f64 = 24.0;
/// Sweeps down and up after which crossings hardly change.
const SWEEPS: usize = 8;

/// A placed node: centre and size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Where everything is.
pub struct Layout {
    pub width: f64,
    pub height: f64,
    pub nodes: Vec<Placed>,
    /// Points of each edge, in the order of the drawing's edges.
    pub edges: Vec<Vec<(f64, f64)>>,
}

/// Places nodes of the given sizes.
pub fn layout(drawing: &Drawing, sizes: &[(f64, f64)]) -> Layout {
    let count = drawing.nodes.len();
    let mut layer = vec![0_usize; count];
    // Nodes are in topological order, so one pass finds the longest path to each.
    for (from, to) in sorted_by_target(&drawing.edges) {
        layer[to] = layer[to].max(layer[from] + 1);
    }
    let depth = layer.iter().max().map_or(0, |deepest| deepest + 1);
    let mut sizes = sizes.to_vec();
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); depth];
    for (node, at) in layer.iter().enumerate() {
        layers[*at].push(node);
    }
    // Points that long edges pass through count as narrow nodes.
    let mut chains: Vec<Vec<usize>> = Vec::with_capacity(drawing.edges.len());
    for &(from, to) in &drawing.edges {
        let mut chain = vec![from];
        for between in layers.iter_mut().take(layer[to]).skip(layer[from] + 1) {
            sizes.push((8.0, 0.0));
            between.push(sizes.len() - 1);
            chain.push(sizes.len() - 1);
        }
        chain.push(to);
        chains.push(chain);
    }
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); sizes.len()];
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); sizes.len()];
    for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
        below[pair[0]].push(pair[1]);
        above[pair[1]].push(pair[0]);
    }
    reduce_crossings(&mut layers, &above, &below, sizes.len());
    let x = place(&layers, &sizes, &above, &below);
    let mut top = MARGIN;
    let mut y = vec![0.0; sizes.len()];
    for nodes in &layers {
        let height = nodes.iter().map(|node| sizes[*node].1).fold(0.0, f64::max);
        nodes.iter().for_each(|node| y[*node] = top + height / 2.0);
        top += height + LAYER_GAP;
    }
    let right = (0..sizes.len()).map(|node| x[node] + sizes[node].0 / 2.0).fold(0.0, f64::max);
    let edges = chains
        .iter()
        .map(|chain| {
            let last = chain.len() - 1;
            let point = |(at, node): (usize, &usize)| match at {
                0 => (x[*node], y[*node] + sizes[*node].1 / 2.0),
                _ if at == last => (x[*node], y[*node] - sizes[*node].1 / 2.0),
                _ => (x[*node], y[*node]),
            };
            chain.iter().enumerate().map(point).collect()
        })
        .collect();
    let placed = |node: usize| Placed { x: x[node], y: y[node], width: sizes[node].0, height: sizes[node].1 };
    Layout { width: right + MARGIN, height: top - LAYER_GAP + MARGIN, nodes: (0..count).map(placed).collect(), edges }
}

fn sorted_by_target(edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut edges = edges.to_vec();
    edges.sort_unstable_by_key(|(from, to)| (*to, *from));
    edges
}

fn reduce_crossings(layers: &mut [Vec<usize>], above: &[Vec<usize>], below: &[Vec<usize>], count: usize) {
    let mut position = vec![0.0; count];
    let number = |nodes: &[usize], position: &mut Vec<f64>| {
        nodes.iter().enumerate().for_each(|(at, node)| position[*node] = at as f64);
    };
    layers.iter().for_each(|nodes| number(nodes, &mut position));
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let order: Vec<usize> =
            if down { (1..layers.len()).collect() } else { (0..layers.len().saturating_sub(1)).rev().collect() };
        for at in order {
            let neighbours = if down { above } else { below };
            let mut keyed: Vec<(f64, usize)> = layers[at]
                .iter()
                .map(|node| {
                    (mean(neighbours[*node].iter().map(|other| position[*other])).unwrap_or(position[*node]), *node)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[at] = keyed.into_iter().map(|(_, node)| node).collect();
            number(&layers[at], &mut position);
        }
    }
}

/// Horizontal centres: as near to the neighbours' mean as the order and the sizes allow.
fn place(layers: &[Vec<usize>], sizes: &[(f64, f64)], above: &[Vec<usize>], below: &[Vec<usize>]) -> Vec<f64> {
    let mut x = vec![0.0; sizes.len()];
    for nodes in layers {
        let mut left = 0.0;
        for node in nodes {
            x[*node] = left + sizes[*node].0 / 2.0;
            left += sizes[*node].0 + GAP;
        }
    }
    for sweep in 0..SWEEPS {
        for nodes in layers {
            let neighbours = |node: usize| {
                let near = if sweep % 2 == 0 { &above[node] } else { &below[node] };
                mean(near.iter().map(|other| x[*other]))
            };
            let wished: Vec<f64> = nodes.iter().map(|node| neighbours(*node).unwrap_or(x[*node])).collect();
            for (at, centre) in spread(nodes, &wished, sizes).into_iter().enumerate() {
                x[nodes[at]] = centre;
            }
        }
    }
    let left = (0..sizes.len()).map(|node| x[node] - sizes[node].0 / 2.0).fold(f64::INFINITY, f64::min);
    if left.is_finite() {
        x.iter_mut().for_each(|centre| *centre += MARGIN - left);
    }
    x
}

/// Centres in order, none overlapping, with the least sum of squared distances from the wished ones (pool adjacent violators).
fn spread(nodes: &[usize], wished: &[f64], sizes: &[(f64, f64)]) -> Vec<f64> {
    // Offsets turn "no overlap" into "not decreasing".
    let mut offsets = Vec::with_capacity(nodes.len());
    let mut offset = 0.0;
    for (at, node) in nodes.iter().enumerate() {
        if at > 0 {
            offset += (sizes[nodes[at - 1]].0 + sizes[*node].0) / 2.0 + GAP;
        }
        offsets.push(offset);
    }
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (wish, offset) in wished.iter().zip(&offsets) {
        let mut block = (wish - offset, 1_usize);
        while let Some(&(mean, count)) = blocks.last().filter(|(mean, _)| *mean > block.0) {
            let total = count + block.1;
            block = ((mean * count as f64 + block.0 * block.1 as f64) / total as f64, total);
            blocks.pop();
        }
        blocks.push(block);
    }
    let levels = blocks.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count));
    levels.zip(offsets).map(|(level, offset)| level + offset).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_overlaps_and_every_edge_goes_down(
            count in 1_usize..14,
            pairs in proptest::collection::btree_set((0_usize..14, 0_usize..14), 0..40),
        ) {
            let node = |at: usize| Node { name: format!("n{at}"), uses: String::new(), tasks: 1, cached: 0, state: State::Unknown };
            let edges = pairs.into_iter().filter(|(from, to)| from < to && *to < count).collect();
            let drawing = Drawing { pipeline: "p".into(), nodes: (0..count).map(node).collect(), edges };
            let sizes: Vec<(f64, f64)> = (0..count).map(|at| (60.0 + at as f64 * 7.0, 40.0)).collect();
            let layout = layout(&drawing, &sizes);
            for (at, a) in layout.nodes.iter().enumerate() {
                prop_assert!(a.x - a.width / 2.0 >= MARGIN - 1e-6 && a.x + a.width / 2.0 <= layout.width - MARGIN + 1e-6);
                prop_assert!(a.y + a.height / 2.0 <= layout.height - MARGIN + 1e-6);
                for b in &layout.nodes[at + 1..] {
                    let apart = (a.y - b.y).abs() >= 40.0 || (a.x - b.x).abs() >= (a.width + b.width) / 2.0;
                    prop_assert!(apart, "{a:?} {b:?}");
                }
            }
            for points in &layout.edges {
                prop_assert!(points.windows(2).all(|pair| pair[0].1 < pair[1].1));
            }
        }
    }
}
