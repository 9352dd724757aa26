//! Minimum-weight perfect matching in a complete graph.
//!
//! Edmonds' blossom method in its primal–dual form with one dual per node and blossom, O(n³)
//! (J. Edmonds, "Paths, trees, and flowers", 1965; H. N. Gabow, "An efficient implementation of Edmonds' algorithm for
//! maximum matching on graphs", 1976; Z. Galil, "Efficient algorithms for finding maximum matching in graphs", 1986).

use std::collections::VecDeque;

/// The graph has no perfect matching that can be computed exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchingError {
    #[error("cannot pair {0} nodes: the number must be even")]
    Odd(usize),
    #[error("edge weight {weight} between {a} and {b} is outside 0..{limit}")]
    Weight { a: usize, b: usize, weight: i64, limit: i64 },
    #[error("node {0} is left over in every matching: too many pairs are ruled out")]
    Imperfect(usize),
}

/// Pairs up all `nodes` such that the sum of `weight(a, b)` over the pairs is least; returns every node's partner.
///
/// `weight` is asked for `a < b` only; none means that the two must not be paired. Of several best matchings the same one
/// is always returned.
///
/// # Errors
/// `nodes` is odd, a weight is negative or so large that sums could overflow, or no perfect matching exists.
pub fn min_weight_perfect_matching(
    nodes: usize,
    weight: impl Fn(usize, usize) -> Option<i64>,
) -> Result<Vec<usize>, MatchingError> {
    if nodes % 2 == 1 {
        return Err(MatchingError::Odd(nodes));
    }
    if nodes == 0 {
        return Ok(Vec::new());
    }
    let limit = i64::MAX / (16 * (nodes as i64 + 1));
    let mut largest = 0;
    for a in 0..nodes {
        for b in a + 1..nodes {
            let Some(weight) = weight(a, b) else { continue };
            if !(0..limit).contains(&weight) {
                return Err(MatchingError::Weight { a, b, weight, limit });
            }
            largest = largest.max(weight);
        }
    }
    // Maximising `bonus − weight` with a bonus above any sum of weights makes every maximum matching perfect.
    let bonus = (largest + 1) * (nodes as i64 / 2 + 1);
    let mut search = Search::new(nodes);
    for a in 0..nodes {
        for b in a + 1..nodes {
            let gain = weight(a, b).map_or(0, |weight| bonus - weight);
            search.edge[a + 1][b + 1] = Edge { from: a + 1, to: b + 1, gain };
            search.edge[b + 1][a + 1] = Edge { from: b + 1, to: a + 1, gain };
        }
    }
    for node in 1..=nodes {
        search.dual[node] = bonus;
    }
    while search.augment_once() {}
    let partner = |node: usize| search.mate[node + 1].checked_sub(1).ok_or(MatchingError::Imperfect(node));
    (0..nodes).map(partner).collect()
}

/// Node and blossom numbers start at 1; 0 stands for "none".
const NONE: usize = 0;

#[derive(Clone, Copy, Default)]
struct Edge {
    from: usize,
    to: usize,
    gain: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Free,
    /// At even distance from the root of an alternating tree.
    Even,
    Odd,
}

struct Search {
    nodes: usize,
    /// Nodes and blossoms in use: `1..=top`.
    top: usize,
    edge: Vec<Vec<Edge>>,
    dual: Vec<i64>,
    mate: Vec<usize>,
    /// The even node with the tightest edge to this outermost blossom.
    tightest: Vec<usize>,
    /// The outermost blossom that holds a node or blossom.
    outer: Vec<usize>,
    parent: Vec<usize>,
    /// `child[b][node]`: the member of blossom `b` that holds `node`.
    child: Vec<Vec<usize>>,
    mark: Vec<Mark>,
    visited: Vec<u64>,
    visit: u64,
    members: Vec<Vec<usize>>,
    queue: VecDeque<usize>,
}

impl Search {
    fn new(nodes: usize) -> Self {
        // At most one blossom for every two nodes can exist at a time; the lists are re-used.
        let size = nodes + nodes / 2 + 2;
        let mut new = Self {
            nodes,
            top: nodes,
            edge: vec![vec![Edge::default(); size]; size],
            dual: vec![0; size],
            mate: vec![NONE; size],
            tightest: vec![NONE; size],
            outer: vec![NONE; size],
            parent: vec![NONE; size],
            child: vec![vec![NONE; nodes + 1]; size],
            mark: vec![Mark::Free; size],
            visited: vec![0; size],
            visit: 0,
            members: vec![Vec::new(); size],
            queue: VecDeque::new(),
        };
        for node in 1..=nodes {
            new.outer[node] = node;
            new.child[node][node] = node;
        }
        new
    }

    fn slack(&self, edge: Edge) -> i64 {
        self.dual[edge.from] + self.dual[edge.to] - 2 * self.edge[edge.from][edge.to].gain
    }

    fn offer(&mut self, node: usize, target: usize) {
        let best = self.tightest[target];
        if best == NONE || self.slack(self.edge[node][target]) < self.slack(self.edge[best][target]) {
            self.tightest[target] = node;
        }
    }

    fn find_tightest(&mut self, target: usize) {
        self.tightest[target] = NONE;
        for node in 1..=self.nodes {
            let outer = self.outer[node];
            if self.edge[node][target].gain > 0 && outer != target && self.mark[outer] == Mark::Even {
                self.offer(node, target);
            }
        }
    }

    fn enqueue(&mut self, item: usize) {
        if item <= self.nodes {
            self.queue.push_back(item);
        } else {
            for member in self.members[item].clone() {
                self.enqueue(member);
            }
        }
    }

    fn set_outer(&mut self, item: usize, outer: usize) {
        self.outer[item] = outer;
        if item > self.nodes {
            for member in self.members[item].clone() {
                self.set_outer(member, outer);
            }
        }
    }

    /// Position of `member` in a blossom, after turning the blossom such that it is even.
    fn even_position(&mut self, blossom: usize, member: usize) -> usize {
        let members = &mut self.members[blossom];
        let position = members.iter().position(|&m| m == member).unwrap_or(0);
        if position % 2 == 0 {
            return position;
        }
        members[1..].reverse();
        members.len() - position
    }

    fn set_mate(&mut self, item: usize, other: usize) {
        let edge = self.edge[item][other];
        self.mate[item] = edge.to;
        if item <= self.nodes {
            return;
        }
        let base = self.child[item][edge.from];
        let position = self.even_position(item, base);
        for i in 0..position {
            let (a, b) = (self.members[item][i], self.members[item][i ^ 1]);
            self.set_mate(a, b);
        }
        self.set_mate(base, other);
        self.members[item].rotate_left(position);
    }

    fn flip_path(&mut self, mut item: usize, mut other: usize) {
        loop {
            let next = self.outer[self.mate[item]];
            self.set_mate(item, other);
            if next == NONE {
                return;
            }
            let up = self.outer[self.parent[next]];
            self.set_mate(next, up);
            (item, other) = (up, next);
        }
    }

    fn common_ancestor(&mut self, mut a: usize, mut b: usize) -> usize {
        self.visit += 1;
        while a != NONE || b != NONE {
            if a != NONE {
                if self.visited[a] == self.visit {
                    return a;
                }
                self.visited[a] = self.visit;
                a = self.outer[self.mate[a]];
                if a != NONE {
                    a = self.outer[self.parent[a]];
                }
            }
            std::mem::swap(&mut a, &mut b);
        }
        NONE
    }

    fn collect_arm(&mut self, blossom: usize, mut item: usize, ancestor: usize) {
        while item != ancestor {
            let below = self.outer[self.mate[item]];
            self.members[blossom].extend([item, below]);
            self.enqueue(below);
            item = self.outer[self.parent[below]];
        }
    }

    fn shrink(&mut self, a: usize, ancestor: usize, b: usize) {
        let blossom = (self.nodes + 1..=self.top).find(|&blossom| self.outer[blossom] == NONE).unwrap_or(self.top + 1);
        self.top = self.top.max(blossom);
        self.dual[blossom] = 0;
        self.mark[blossom] = Mark::Even;
        self.mate[blossom] = self.mate[ancestor];
        self.members[blossom] = vec![ancestor];
        self.collect_arm(blossom, a, ancestor);
        self.members[blossom][1..].reverse();
        self.collect_arm(blossom, b, ancestor);
        self.set_outer(blossom, blossom);
        for other in 1..=self.top {
            self.edge[blossom][other].gain = 0;
            self.edge[other][blossom].gain = 0;
        }
        self.child[blossom].fill(NONE);
        for member in self.members[blossom].clone() {
            for other in 1..=self.top {
                if self.edge[blossom][other].gain == 0
                    || self.slack(self.edge[member][other]) < self.slack(self.edge[blossom][other])
                {
                    self.edge[blossom][other] = self.edge[member][other];
                    self.edge[other][blossom] = self.edge[other][member];
                }
            }
            for node in 1..=self.nodes {
                if self.child[member][node] != NONE {
                    self.child[blossom][node] = member;
                }
            }
        }
        self.find_tightest(blossom);
    }

    fn expand(&mut self, blossom: usize) {
        for member in self.members[blossom].clone() {
            self.set_outer(member, member);
        }
        let entry = self.child[blossom][self.edge[blossom][self.parent[blossom]].from];
        let position = self.even_position(blossom, entry);
        let members = self.members[blossom].clone();
        for i in (0..position).step_by(2) {
            let (odd, even) = (members[i], members[i + 1]);
            self.parent[odd] = self.edge[even][odd].from;
            self.mark[odd] = Mark::Odd;
            self.mark[even] = Mark::Even;
            self.tightest[odd] = NONE;
            self.find_tightest(even);
            self.enqueue(even);
        }
        self.mark[entry] = Mark::Odd;
        self.parent[entry] = self.parent[blossom];
        for &member in &members[position + 1..] {
            self.mark[member] = Mark::Free;
            self.find_tightest(member);
        }
        self.outer[blossom] = NONE;
    }

    /// Uses a tight edge from an even node; `true` when it closed an augmenting path.
    fn follow(&mut self, edge: Edge) -> bool {
        let (a, b) = (self.outer[edge.from], self.outer[edge.to]);
        match self.mark[b] {
            Mark::Free => {
                self.parent[b] = edge.from;
                self.mark[b] = Mark::Odd;
                let below = self.outer[self.mate[b]];
                self.tightest[b] = NONE;
                self.tightest[below] = NONE;
                self.mark[below] = Mark::Even;
                self.enqueue(below);
                false
            }
            Mark::Even => {
                let ancestor = self.common_ancestor(a, b);
                if ancestor == NONE {
                    self.flip_path(a, b);
                    self.flip_path(b, a);
                    return true;
                }
                self.shrink(a, ancestor, b);
                false
            }
            Mark::Odd => false,
        }
    }

    fn outermost_blossoms(&self) -> impl Iterator<Item = usize> + use<> {
        let found: Vec<usize> = (self.nodes + 1..=self.top).filter(|&b| self.outer[b] == b).collect();
        found.into_iter()
    }

    /// Grows alternating trees from all single nodes until two of them join; `false` when the matching is complete.
    fn augment_once(&mut self) -> bool {
        self.mark.fill(Mark::Free);
        self.tightest.fill(NONE);
        self.queue.clear();
        for item in 1..=self.top {
            if self.outer[item] == item && self.mate[item] == NONE {
                self.parent[item] = NONE;
                self.mark[item] = Mark::Even;
                self.enqueue(item);
            }
        }
        if self.queue.is_empty() {
            return false;
        }
        loop {
            while let Some(node) = self.queue.pop_front() {
                if self.mark[self.outer[node]] == Mark::Odd {
                    continue;
                }
                for other in 1..=self.nodes {
                    let edge = self.edge[node][other];
                    if edge.gain > 0 && self.outer[node] != self.outer[other] {
                        if self.slack(edge) > 0 {
                            self.offer(node, self.outer[other]);
                        } else if self.follow(edge) {
                            return true;
                        }
                    }
                }
            }
            if !self.adjust_duals() {
                return false;
            }
            self.queue.clear();
            for item in 1..=self.top {
                let node = self.tightest[item];
                if self.outer[item] == item && node != NONE && self.outer[node] != item {
                    let edge = self.edge[node][item];
                    if self.slack(edge) == 0 && self.follow(edge) {
                        return true;
                    }
                }
            }
            for blossom in self.outermost_blossoms() {
                if self.mark[blossom] == Mark::Odd && self.dual[blossom] == 0 {
                    self.expand(blossom);
                }
            }
        }
    }

    /// Moves all duals by the largest step that keeps every slack non-negative; `false` when no single node can gain.
    fn adjust_duals(&mut self) -> bool {
        let mut step = i64::MAX;
        for blossom in self.outermost_blossoms() {
            if self.mark[blossom] == Mark::Odd {
                step = step.min(self.dual[blossom] / 2);
            }
        }
        for item in 1..=self.top {
            if self.outer[item] == item && self.tightest[item] != NONE {
                let slack = self.slack(self.edge[self.tightest[item]][item]);
                match self.mark[item] {
                    Mark::Free => step = step.min(slack),
                    Mark::Even => step = step.min(slack / 2),
                    Mark::Odd => {}
                }
            }
        }
        let even = |search: &Self, node: usize| search.mark[search.outer[node]] == Mark::Even;
        if (1..=self.nodes).any(|node| even(self, node) && self.dual[node] <= step) {
            return false;
        }
        for node in 1..=self.nodes {
            match self.mark[self.outer[node]] {
                Mark::Even => self.dual[node] -= step,
                Mark::Odd => self.dual[node] += step,
                Mark::Free => {}
            }
        }
        for blossom in self.outermost_blossoms() {
            match self.mark[blossom] {
                Mark::Even => self.dual[blossom] += 2 * step,
                Mark::Odd => self.dual[blossom] -= 2 * step,
                Mark::Free => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(partner: &[usize], weight: &dyn Fn(usize, usize) -> i64) -> i64 {
        partner.iter().enumerate().filter(|(a, b)| a < b).map(|(a, &b)| weight(a, b)).sum()
    }

    fn best_by_trying_all(left: &mut Vec<usize>, weight: &dyn Fn(usize, usize) -> Option<i64>) -> Option<i64> {
        let Some(a) = left.pop() else { return Some(0) };
        let mut best: Option<i64> = None;
        for i in 0..left.len() {
            let b = left.remove(i);
            if let Some(edge) = weight(b.min(a), b.max(a))
                && let Some(rest) = best_by_trying_all(left, weight)
            {
                best = Some(best.map_or(edge + rest, |best| best.min(edge + rest)));
            }
            left.insert(i, b);
        }
        left.push(a);
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn matches_the_best_of_all_matchings(
            half in 1_usize..6,
            weights in prop::collection::vec(0_i64..30, 100),
            allowed in prop::sample::select(vec![8, 15, 30]),
        ) {
            let nodes = 2 * half;
            // From a weight on, pairs are ruled out; 30 rules out none.
            let weight = |a: usize, b: usize| Some(weights[a * 10 + b]).filter(|weight| *weight < allowed);
            let best = best_by_trying_all(&mut (0..nodes).collect(), &weight);
            match min_weight_perfect_matching(nodes, weight) {
                Ok(partner) => {
                    for (a, &b) in partner.iter().enumerate() {
                        prop_assert!(a != b && partner[b] == a);
                        prop_assert!(weight(a.min(b), a.max(b)).is_some());
                    }
                    prop_assert_eq!(Some(total(&partner, &|a, b| weight(a, b).unwrap())), best);
                }
                Err(error) => {
                    prop_assert!(matches!(error, MatchingError::Imperfect(_)));
                    prop_assert_eq!(best, None);
                }
            }
        }
    }

    #[test]
    fn many_nodes_on_a_line_pair_with_their_neighbours() {
        let weight = |a: usize, b: usize| (b as i64 - a as i64) * 1000;
        let partner = min_weight_perfect_matching(200, |a, b| Some(weight(a, b))).unwrap();
        assert_eq!(total(&partner, &weight), 100_000);
    }

    #[test]
    fn odd_counts_and_bad_weights_are_errors() {
        assert_eq!(min_weight_perfect_matching(3, |_, _| Some(0)), Err(MatchingError::Odd(3)));
        assert!(min_weight_perfect_matching(2, |_, _| Some(-1)).is_err());
        assert!(matches!(min_weight_perfect_matching(2, |_, _| None), Err(MatchingError::Imperfect(_))));
    }
}
