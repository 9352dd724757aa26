//! Answers that a program can check.

mod answer;
pub mod gsm8k;
pub mod ifeval;
pub mod math;
pub mod rlvr;

pub use answer::final_answer;
