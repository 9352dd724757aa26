//! Labels: what a generation is worth, in numbers that agree with the field's reference software.
//!
//! * [`quality`]: Swiss tournaments under a pairwise judge, rated by a Bradley–Terry fit.
//! * [`diversity`]: self-BLEU, embedding entropy and Vendi score of a set of texts.
//! * [`verifiable`]: answers that a program can check: GSM8K, MATH strings, IFEval and RLVR instructions.
//! * [`language`]: which language a text is written in.
//!
//! Everything here takes plain data and gives plain data; nothing reads files or knows where rows come from.

pub mod diversity;
pub mod language;
mod python;
pub mod quality;
pub mod verifiable;
