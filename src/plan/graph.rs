//! The task graph: who waits for whom.

use crate::manifest::{Pipeline, Source, TaskIndex};

/// Dependencies and dependents of every task, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    dependencies: Lists,
    dependents: Lists,
}

/// Lists of task indices, one per task, in one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lists {
    starts: Vec<u32>,
    items: Vec<TaskIndex>,
}

impl Lists {
    fn get(&self, task: TaskIndex) -> &[TaskIndex] {
        let at = task.0 as usize;
        &self.items[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

impl Graph {
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        Self::from_dependencies(pipeline.tasks.iter().map(|task| {
            task.inputs.values().flatten().filter_map(|source| match source {
                Source::Output { task, .. } => Some(*task),
                Source::Path { .. } | Source::Glob { .. } => None,
            })
        }))
    }

    /// From each task's dependencies, which must come before it.
    pub fn from_dependencies<I: IntoIterator<Item = TaskIndex>>(tasks: impl Iterator<Item = I>) -> Self {
        let mut dependencies = Lists { starts: vec![0], items: Vec::new() };
        let mut counts = Vec::new();
        let mut list = Vec::new();
        for task in tasks {
            list.clear();
            list.extend(task);
            list.sort_unstable();
            list.dedup();
            counts.push(0_u32);
            for dependency in &list {
                counts[dependency.0 as usize] += 1;
            }
            dependencies.items.extend_from_slice(&list);
            dependencies.starts.push(index(dependencies.items.len()));
        }
        let mut starts = vec![0];
        for count in &counts {
            starts.push(starts[starts.len() - 1] + count);
        }
        let mut next = starts.clone();
        let mut items = vec![TaskIndex(0); dependencies.items.len()];
        for at in 0..counts.len() {
            let task = TaskIndex(index(at));
            for dependency in dependencies.get(task) {
                let slot = &mut next[dependency.0 as usize];
                items[*slot as usize] = task;
                *slot += 1;
            }
        }
        Self { dependencies, dependents: Lists { starts, items } }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.dependencies.starts.len() - 1
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All tasks, dependencies first.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = TaskIndex> + use<> {
        (0..index(self.len())).map(TaskIndex)
    }

    #[must_use]
    pub fn dependencies(&self, task: TaskIndex) -> &[TaskIndex] {
        self.dependencies.get(task)
    }

    #[must_use]
    pub fn dependents(&self, task: TaskIndex) -> &[TaskIndex] {
        self.dependents.get(task)
    }

    /// For every task the length of the longest way from its start to the end of everything that waits for it.
    #[must_use]
    pub fn critical_path(&self, duration: impl Fn(TaskIndex) -> u64) -> Vec<u64> {
        let mut lengths = vec![0; self.len()];
        for task in self.tasks().rev() {
            let after = self.dependents(task).iter().map(|next| lengths[next.0 as usize]).max().unwrap_or(0);
            lengths[task.0 as usize] = duration(task).saturating_add(after);
        }
        lengths
    }

    /// The given tasks and everything they wait for, directly or not.
    #[must_use]
    pub fn with_ancestors(&self, targets: &[TaskIndex]) -> Vec<bool> {
        let mut wanted = vec![false; self.len()];
        for target in targets {
            wanted[target.0 as usize] = true;
        }
        for task in self.tasks().rev() {
            if wanted[task.0 as usize] {
                for dependency in self.dependencies(task) {
                    wanted[dependency.0 as usize] = true;
                }
            }
        }
        wanted
    }
}

/// Tasks are counted in 32 bits; a pipeline cannot hold more.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(dependencies: &[&[u32]]) -> Graph {
        Graph::from_dependencies(dependencies.iter().map(|list| list.iter().copied().map(TaskIndex)))
    }

    #[test]
    fn a_diamond() {
        let graph = graph(&[&[], &[0], &[0, 0], &[1, 2]]);
        assert_eq!(graph.dependents(TaskIndex(0)), [TaskIndex(1), TaskIndex(2)]);
        assert_eq!(graph.dependencies(TaskIndex(2)), [TaskIndex(0)]);
        assert_eq!(graph.dependencies(TaskIndex(3)), [TaskIndex(1), TaskIndex(2)]);
        let durations = [1, 10, 2, 1];
        assert_eq!(graph.critical_path(|task| durations[task.0 as usize]), [12, 11, 3, 1]);
        assert_eq!(graph.with_ancestors(&[TaskIndex(1)]), [true, true, false, false]);
    }
}
