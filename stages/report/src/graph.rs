//! A pipeline's stages and what flows between them, laid out in layers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: String,
    /// The stage type.
    #[serde(default)]
    pub uses: String,
    /// How many tasks it stands for.
    #[serde(default = "one")]
    pub tasks: u32,
}

fn one() -> u32 {
    1
}

/// An artifact that flows from one stage to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub from: String,
    pub to: String,
}

/// Stages and edges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// The graph cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("edge from `{from}` to `{to}` names a stage that is not among the nodes")]
    Dangling { from: String, to: String },
    #[error("the stages depend on each other in a circle")]
    Cycle,
}

/// Where a stage is drawn: column by longest path from a source, row by the mean of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub column: usize,
    pub row: f64,
}

impl Graph {
    /// Checks that the graph can be drawn.
    ///
    /// # Errors
    /// An edge names an unknown stage, or there is a cycle.
    pub fn check(&self) -> Result<(), GraphError> {
        let index = self.index();
        if let Some(edge) =
            self.edges.iter().find(|e| !index.contains_key(e.from.as_str()) || !index.contains_key(e.to.as_str()))
        {
            return Err(GraphError::Dangling { from: edge.from.clone(), to: edge.to.clone() });
        }
        self.columns().map(drop).ok_or(GraphError::Cycle)
    }

    fn index(&self) -> BTreeMap<&str, usize> {
        self.nodes.iter().enumerate().map(|(i, node)| (node.id.as_str(), i)).collect()
    }

    /// Edges as node numbers, without dangling ones and repetitions.
    pub(crate) fn links(&self) -> Vec<(usize, usize)> {
        let index = self.index();
        let mut links: Vec<(usize, usize)> = self
            .edges
            .iter()
            .filter_map(|edge| Some((*index.get(edge.from.as_str())?, *index.get(edge.to.as_str())?)))
            .collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    fn columns(&self) -> Option<Vec<usize>> {
        let links = self.links();
        let mut columns = vec![0; self.nodes.len()];
        // A longest path has fewer edges than there are nodes; one more pass that still moves something means a cycle.
        for pass in 0..=self.nodes.len() {
            let mut moved = false;
            for &(from, to) in &links {
                if columns[to] <= columns[from] {
                    columns[to] = columns[from] + 1;
                    moved = true;
                }
            }
            if !moved {
                return Some(columns);
            }
            if pass == self.nodes.len() {
                return None;
            }
        }
        Some(columns)
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        let links = self.links();
        let Some(mut columns) = self.columns() else { return Vec::new() };
        // A source is drawn just before the first stage that needs it.
        for node in 0..self.nodes.len() {
            if !links.iter().any(|&(_, to)| to == node)
                && let Some(next) = links.iter().filter(|&&(from, _)| from == node).map(|&(_, to)| columns[to]).min()
            {
                columns[node] = next.saturating_sub(1);
            }
        }
        let count = columns.iter().max().map_or(0, |last| last + 1);
        let mut layers: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (node, &column) in columns.iter().enumerate() {
            layers[column].push(node);
        }
        let mut rows = vec![0.0; self.nodes.len()];
        for layer in &layers {
            spread(layer, &mut rows);
        }
        // Barycentre sweeps, forwards and backwards, take crossings out.
        for sweep in 0..8 {
            let order: Vec<usize> = if sweep % 2 == 0 { (0..count).collect() } else { (0..count).rev().collect() };
            for column in order {
                let mean = |node: usize| {
                    let near: Vec<f64> = links
                        .iter()
                        .filter_map(|&(a, b)| (a == node).then_some(b).or((b == node).then_some(a)))
                        .map(|other| rows[other])
                        .collect();
                    if near.is_empty() { rows[node] } else { near.iter().sum::<f64>() / near.len() as f64 }
                };
                let mut keyed: Vec<(f64, usize)> = layers[column].iter().map(|&node| (mean(node), node)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                layers[column] = keyed.into_iter().map(|(_, node)| node).collect();
                spread(&layers[column].clone(), &mut rows);
            }
        }
        columns.into_iter().zip(rows).map(|(column, row)| Place { column, row }).collect()
    }
}

/// Rows of one layer, centred on 0.
fn spread(layer: &[usize], rows: &mut [f64]) {
    let middle = (layer.len() as f64 - 1.0) / 2.0;
    for (i, &node) in layer.iter().enumerate() {
        rows[node] = i as f64 - middle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let nodes = ["a", "b", "c", "d"].map(|id| Node { id: id.to_owned(), uses: String::new(), tasks: 1 });
        let edges = edges.iter().map(|(from, to)| Edge { from: (*from).to_owned(), to: (*to).to_owned() }).collect();
        Graph { nodes: nodes.to_vec(), edges }
    }

    #[test]
    fn columns_follow_the_longest_path() {
        let graph = graph(&[("a", "b"), ("b", "d"), ("a", "d"), ("c", "d")]);
        graph.check().unwrap();
        let columns: Vec<usize> = graph.places().iter().map(|place| place.column).collect();
        assert_eq!(columns, [0, 1, 1, 2]);
    }

    #[test]
    fn cycles_and_dangling_edges_are_refused() {
        assert_eq!(graph(&[("a", "b"), ("b", "a")]).check(), Err(GraphError::Cycle));
        assert!(matches!(graph(&[("a", "z")]).check(), Err(GraphError::Dangling { .. })));
    }
}
