//! Mathematical answers: the MATH benchmark's strings, the Minerva normaliser, and equivalence by meaning.
//!
//! * [`last_boxed`], [`boxed_content`]: the box of a solution.
//! * [`hendrycks`]: the string rules of the benchmark's authors.
//! * [`minerva`]: the normaliser of the Minerva evaluation and its equivalence.
//! * [`verify`]: the answers of two texts, extracted, read and compared as math-verify 0.9.0 does, without its time-outs:
//!   the size of texts, expressions and numbers and the number of steps are bounded instead, so that every pair takes
//!   bounded time.

mod boxed;
mod canonical;
mod compare;
mod constant;
mod equation;
mod exact;
mod expr;
mod extract;
pub mod hendrycks;
mod latex;
pub mod minerva;
mod normalize;
mod numeric;
mod polynomial;
mod sets;
mod verify;

pub use boxed::{boxed_content, last_boxed};
pub use compare::{Difference, Equality, Mode};
pub use extract::{Choices, ChoicesError};
pub use verify::{Answer, Options, Reason, Verdict, verify, verify_choice};
