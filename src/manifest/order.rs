//! Puts tasks into topological order, or shows the circle that forbids one.

use super::{
    Source, TaskIndex,
    connect::Link,
    problem::{Finding, Findings},
};
use petgraph::{
    algo::{tarjan_scc, toposort},
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};
use std::{cmp::Reverse, collections::BinaryHeap};

/// Tasks in topological order, by their place in the manifest where they are free.
///
/// `stages` gives each stage's number of tasks, `sources` every task's inputs; a stage that `is_sketch` is wrong somewhere,
/// and its tasks are not known. `None`: there is a circle, which is reported.
pub fn order<'a>(
    names: &[&str],
    stages: &[usize],
    links: &[Link],
    sources: impl Fn(usize) -> Box<dyn Iterator<Item = &'a Source> + 'a>,
    is_sketch: impl Fn(usize) -> bool,
    findings: &mut Findings,
) -> Option<Vec<usize>> {
    let mut graph: DiGraph<(), usize> = DiGraph::with_capacity(names.len(), links.len());
    for _ in names {
        graph.add_node(());
    }
    for (at, link) in links.iter().enumerate() {
        graph.add_edge(NodeIndex::new(link.from), NodeIndex::new(link.to), at);
    }
    let first: Vec<usize> = stages.iter().scan(0, |next, count| Some(std::mem::replace(next, *next + count))).collect();
    if toposort(&graph, None).is_ok() {
        let edges = links.iter().map(|link| (link.from, link.to));
        let stages_in_order = stable(names.len(), edges);
        return Some(
            stages_in_order.into_iter().flat_map(|stage| first[stage]..first[stage] + stages[stage]).collect(),
        );
    }
    // Stages may refer to each other in a circle when their instances do not (a recurrence over a matrix).
    let count: usize = stages.iter().sum();
    let mut tasks: DiGraph<(), ()> = DiGraph::with_capacity(count, count);
    for _ in 0..count {
        tasks.add_node(());
    }
    for task in 0..count {
        for source in sources(task) {
            if let Source::Output { task: TaskIndex(from), .. } = source {
                tasks.add_edge(NodeIndex::new(*from as usize), NodeIndex::new(task), ());
            }
        }
    }
    if toposort(&tasks, None).is_ok() {
        // With tasks that are not known, only what holds for all instances of a stage can be called a circle.
        let certain = graph.filter_map(|_, ()| Some(()), |_, link| links[*link].whole.then_some(*link));
        for component in tarjan_scc(&certain) {
            if component.iter().any(|stage| is_sketch(stage.index()))
                && let Some(circle) = circle(&certain, &component)
            {
                findings.push(describe(names, links, &circle));
            }
        }
        let edges = tasks.edge_references().map(|edge| (edge.source().index(), edge.target().index()));
        return Some(stable(count, edges));
    }
    for component in tarjan_scc(&graph) {
        if let Some(circle) = circle(&graph, &component) {
            findings.push(describe(names, links, &circle));
        }
    }
    None
}

/// Kahn's algorithm, the smallest free node first.
fn stable(count: usize, edges: impl Iterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut missing = vec![0_usize; count];
    for (from, to) in edges {
        after[from].push(to);
        missing[to] += 1;
    }
    let mut free: BinaryHeap<Reverse<usize>> = (0..count).filter(|node| missing[*node] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(node)) = free.pop() {
        order.push(node);
        for next in &after[node] {
            missing[*next] -= 1;
            if missing[*next] == 0 {
                free.push(Reverse(*next));
            }
        }
    }
    order
}

/// A shortest circle of a strongly connected component, as edges.
fn circle(graph: &DiGraph<(), usize>, component: &[NodeIndex]) -> Option<Vec<usize>> {
    let start = *component.iter().min()?;
    let mut reached: Vec<Option<(NodeIndex, usize)>> = vec![None; graph.node_count()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut edges: Vec<_> = graph.edges(node).map(|edge| (*edge.weight(), edge.target())).collect();
        edges.sort_unstable();
        for (link, target) in edges.into_iter().filter(|(_, target)| component.contains(target)) {
            if target == start {
                let mut circle = vec![link];
                let mut at = node;
                while let Some((before, link)) = reached[at.index()].filter(|_| at != start) {
                    circle.push(link);
                    at = before;
                }
                circle.reverse();
                return Some(circle);
            }
            if reached[target.index()].is_none() {
                reached[target.index()] = Some((node, link));
                queue.push_back(target);
            }
        }
    }
    None
}

fn describe(names: &[&str], links: &[Link], circle: &[usize]) -> Finding {
    let mut path: Vec<&str> = circle.iter().map(|link| names[links[*link].from]).collect();
    path.push(path[0]);
    let closing = &links[*circle.last().unwrap_or(&0)];
    let message = if circle.len() == 1 {
        format!("stage `{}` depends on itself", path[0])
    } else {
        format!("stages depend on each other in a circle: {}", path.join(" → "))
    };
    let label = |link: &Link| format!("`{}` needs `{}`", names[link.to], names[link.from]);
    let mut finding = Finding::new(closing.span, message, label(closing)).help("remove one of these inputs");
    for link in circle.iter().map(|link| &links[*link]).filter(|link| link.span != closing.span) {
        finding = finding.also(link.span, label(link));
    }
    finding
}
