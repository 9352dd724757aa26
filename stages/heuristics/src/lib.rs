//! Sampling heuristics: logits processors, pipelines and grids.
