//! After the first row of a size, no processor allocates.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod common;

use common::{pipeline, settings};
use lsn_heuristics::{Context, FurtherLogits, History, Pipeline, Scratch};
use serde_json::json;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VOCABULARY: usize = 20_000;

/// A row of spread `spread`, in another order for each `seed`.
fn row(seed: u64, spread: f32) -> Vec<f32> {
    let number = |at: u64| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed).rotate_left(31) >> 40;
    (0..VOCABULARY as u64).map(|at| number(at) as f32 / 16_777_216.0 * spread).collect()
}

/// Allocations of one step on each row but the first, which only warms up.
fn allocations(pipeline: &Pipeline, rows: &[Vec<f32>]) -> u64 {
    let history: Vec<u32> = (0..300).map(|at| at * 7 % 50).collect();
    let early: Vec<f32> = (0..2 * VOCABULARY).map(|at| (at % 13) as f32).collect();
    let further = [
        FurtherLogits { name: "unconditional", logits: &early[..VOCABULARY] },
        FurtherLogits { name: "early", logits: &early },
    ];
    let context = Context { history: History { tokens: &history, prompt_len: 9 }, further: &further };
    let mut scratch = Scratch::default();
    let mut state = pipeline.start(1);
    let mut counted = 0;
    for (at, row) in rows.iter().enumerate() {
        let mut logits = row.clone();
        let before = ALLOCATIONS.get();
        pipeline.process(&mut logits, context, &mut state, &mut scratch).unwrap();
        let best = (0..VOCABULARY).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        pipeline.accept(best as u32, &logits, &mut state).unwrap();
        if at > 0 {
            counted += ALLOCATIONS.get() - before;
        }
    }
    counted
}

#[test]
fn no_step_allocates() {
    // The first row is peaked: later ones need more of every buffer.
    let rows: Vec<_> = [40.0, 0.0, 8.0, 1.0, 20.0].iter().zip(1..).map(|(&spread, seed)| row(seed, spread)).collect();
    for (name, params, _) in settings() {
        assert_eq!(allocations(&pipeline(&[(name, params)]), &rows), 0, "`{name}`");
    }
    let steps = [
        ("temperature", json!({"temperature": 0.7})),
        ("top_k", json!({"top_k": 50})),
        ("top_p", json!({"top_p": 0.95})),
        ("min_p", json!({"min_p": 0.05})),
    ];
    assert_eq!(allocations(&pipeline(&steps), &rows), 0);
}
