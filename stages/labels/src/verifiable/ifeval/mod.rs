//! IFEval: instructions whose fulfilment a program can check (J. Zhou et al., "Instruction-Following Evaluation for Large
//! Language Models", arXiv 2311.07911), verdict for verdict as the authors' Python program decides.
//!
//! [`Instruction::parse`] reads an instruction id with its arguments; [`Instruction::strict`] and [`Instruction::loose`]
//! check a reply. What the reference leaves to chance (a missing or zero argument is drawn at random there) or to an
//! exception is a typed [`Invalid`] verdict here, never a zero.

mod check;
mod instruction;
pub(super) mod layout;
mod punkt;
mod word_tokenize;

pub use instruction::{Bound, INSTRUCTION_IDS, Instruction, Invalid, Postscript, Relation, Splitter};

use crate::python;
use serde_json::{Map, Value};

/// What an instruction's check says about a reply.
pub type Verdict = Result<bool, Invalid>;

impl Instruction {
    /// The reply is not blank and follows the instruction.
    ///
    /// # Errors
    /// The instruction cannot be decided on this reply.
    pub fn strict(&self, reply: &str) -> Verdict {
        Ok(!python::is_blank(reply) && self.check(reply)?)
    }

    /// One of eight variants of the reply follows the instruction: as it is, without its first line, without its last
    /// line, without both; each also with all asterisks removed.
    ///
    /// # Errors
    /// No variant passes, and one of them could not be decided.
    pub fn loose(&self, reply: &str) -> Verdict {
        self.loosened(reply, self.strict(reply))
    }

    /// Both verdicts, for less than the price of the two.
    #[must_use]
    pub fn judge(&self, reply: &str) -> Judgement {
        let strict = self.strict(reply);
        Judgement { loose: self.loosened(reply, strict.clone()), strict }
    }

    fn loosened(&self, reply: &str, strict: Verdict) -> Verdict {
        let mut undecided = match strict {
            Ok(true) => return Ok(true),
            Ok(false) => None,
            Err(invalid) => Some(invalid),
        };
        let mut passes = |variant: &str| match self.strict(variant) {
            Ok(passed) => passed,
            Err(invalid) => {
                undecided = Some(invalid);
                false
            }
        };
        let mut variants = vec![reply];
        if let (Some(first), Some(last)) = (reply.find('\n'), reply.rfind('\n')) {
            let both = reply.get(first + 1..last).unwrap_or("");
            variants.extend([&reply[first + 1..], &reply[..last], both].map(python::strip));
        }
        if variants[1..].iter().any(|variant| passes(variant)) {
            return Ok(true);
        }
        if variants.iter().any(|variant| variant.contains('*') && passes(&variant.replace('*', ""))) {
            return Ok(true);
        }
        undecided.map_or(Ok(false), Err)
    }
}

/// The verdicts on one reply under one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub strict: Verdict,
    pub loose: Verdict,
}

/// The verdicts on one reply to a prompt with several instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptVerdict {
    pub strict: Vec<Verdict>,
    pub loose: Vec<Verdict>,
}

impl PromptVerdict {
    /// Whether every instruction is followed, by the strict verdicts.
    ///
    /// # Errors
    /// Some instruction is undecided and none is broken.
    pub fn all_strict(&self) -> Verdict {
        all(&self.strict)
    }

    /// Whether every instruction is followed, by the loose verdicts.
    ///
    /// # Errors
    /// As [`PromptVerdict::all_strict`].
    pub fn all_loose(&self) -> Verdict {
        all(&self.loose)
    }
}

fn all(verdicts: &[Verdict]) -> Verdict {
    if verdicts.iter().any(|verdict| verdict == &Ok(false)) {
        return Ok(false);
    }
    verdicts.iter().find_map(|verdict| verdict.clone().err()).map_or(Ok(true), Err)
}

/// Checks a reply against all instructions of a prompt, given as ids with their arguments.
#[must_use]
pub fn verify(reply: &str, instructions: &[(String, Map<String, Value>)]) -> PromptVerdict {
    let parsed: Vec<_> = instructions.iter().map(|(id, arguments)| Instruction::parse(id, arguments)).collect();
    let judged = parsed.iter().map(|parsed| match parsed {
        Ok(instruction) => instruction.judge(reply),
        Err(invalid) => Judgement { strict: Err(invalid.clone()), loose: Err(invalid.clone()) },
    });
    let (strict, loose) = judged.map(|judgement| (judgement.strict, judgement.loose)).unzip();
    PromptVerdict { strict, loose }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(id: &str, arguments: Value) -> Result<Instruction, Invalid> {
        Instruction::parse(id, arguments.as_object().unwrap())
    }

    #[test]
    fn what_the_reference_would_draw_at_random_is_invalid() {
        for (id, arguments) in [
            ("length_constraints:number_words", json!({"num_words": 0, "relation": "at least"})),
            ("length_constraints:number_words", json!({"num_words": 3, "relation": "at most"})),
            ("keywords:letter_frequency", json!({"letter": "ß", "let_frequency": 1, "let_relation": "at least"})),
            ("keywords:existence", json!({"keywords": []})),
            ("keywords:existence", json!({"keywords": ["("]})),
            (
                "length_constraints:nth_paragraph_first_word",
                json!({"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"}),
            ),
            ("no:such", json!({})),
        ] {
            assert!(parse(id, arguments.clone()).is_err(), "{id} {arguments}");
        }
    }

    #[test]
    fn one_broken_instruction_decides_although_another_is_undecided() {
        let instructions: Vec<(String, Map<String, Value>)> =
            vec![("punctuation:no_comma".into(), Map::new()), ("no:such".into(), Map::new())];
        assert_eq!(verify("a, b", &instructions).all_strict(), Ok(false));
        assert!(verify("a b", &instructions).all_strict().is_err());
    }

    #[test]
    fn one_line_replies_have_loose_variants() {
        let quoted = parse("startend:quotation", json!({})).unwrap();
        assert_eq!(quoted.strict("**\"x\"**"), Ok(false));
        assert_eq!(quoted.loose("**\"x\"**"), Ok(true));
        assert_eq!(quoted.loose(""), Ok(false));
    }
}
