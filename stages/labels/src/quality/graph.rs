//! Connected components of small directed graphs.

/// Component number of every node, ignoring the direction of edges; numbered by first node.
pub fn weak_components(nodes: usize, edges: impl Iterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..nodes).collect();
    fn root(parent: &mut [usize], mut node: usize) -> usize {
        while parent[node] != node {
            parent[node] = parent[parent[node]];
            node = parent[node];
        }
        node
    }
    for (a, b) in edges {
        let (a, b) = (root(&mut parent, a), root(&mut parent, b));
        parent[a.max(b)] = a.min(b);
    }
    let mut number = vec![usize::MAX; nodes];
    let mut next = 0;
    (0..nodes)
        .map(|node| {
            let root = root(&mut parent, node);
            if number[root] == usize::MAX {
                number[root] = next;
                next += 1;
            }
            number[root]
        })
        .collect()
}

/// Whether every node of each weak component reaches every other one of it along directed edges.
pub fn components_are_strong(components: &[usize], edges: &[(usize, usize)]) -> bool {
    let nodes = components.len();
    let mut forward = vec![Vec::new(); nodes];
    let mut backward = vec![Vec::new(); nodes];
    for &(from, to) in edges {
        forward[from].push(to);
        backward[to].push(from);
    }
    let count = components.iter().max().map_or(0, |last| last + 1);
    let mut size = vec![0; count];
    let mut start = vec![0; count];
    for (node, &component) in components.iter().enumerate() {
        if size[component] == 0 {
            start[component] = node;
        }
        size[component] += 1;
    }
    // A component is strong exactly if one of its nodes reaches all of it forwards and backwards.
    (0..count).all(|c| reached(&forward, start[c]) == size[c] && reached(&backward, start[c]) == size[c])
}

fn reached(edges: &[Vec<usize>], start: usize) -> usize {
    let mut seen = vec![false; edges.len()];
    let mut stack = vec![start];
    seen[start] = true;
    let mut count = 0;
    while let Some(node) = stack.pop() {
        count += 1;
        for &next in &edges[node] {
            if !seen[next] {
                seen[next] = true;
                stack.push(next);
            }
        }
    }
    count
}
