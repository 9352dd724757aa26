//! The instruction checks that reinforcement learning with verifiable rewards is trained with (open-instruct's
//! `if_functions`; N. Lambert et al., "Tülu 3", arXiv 2411.15124): 25 functions keyed by `func_name`, which are *not*
//! IFEval's verdicts. Keywords are substrings, counts are mostly exact, sentences are split by a pattern.
//!
//! A ground truth is a JSON object with `func_name` and the arguments of all functions, null where they do not apply.
//! What makes the reference raise an exception, and so reward 0, is a typed [`Invalid`] here.

mod arguments;
mod text;

pub use arguments::Quantifier;

use super::ifeval::layout;
use crate::{
    language,
    python::{self, Flags, Pattern, PatternError},
};
use arguments::Arguments;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use text::{divided_paragraphs, sentences, words};

/// Which state of the reference. Four functions were changed after the first one: choice, sections, sentences and the
/// frequency of words in capitals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Edition {
    /// As the first RLVR data sets were used with: the reply must be *part of* an option; sections are counted exactly
    /// and without numbers; `!` ends no sentence; "around" means exactly for words in capitals.
    #[default]
    First,
    /// An option must be part of the reply; at least that many numbered sections; `!` ends sentences; "around" allows
    /// a tenth for words in capitals.
    Revised,
}

/// Why a ground truth cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the ground truth is not a JSON object: {0}")]
    Json(String),
    #[error("the ground truth has no `func_name`")]
    Nameless,
    #[error("`{0}` is not a function of this dialect")]
    Unknown(String),
    #[error("`{function}` needs argument `{name}`")]
    Missing { function: &'static str, name: &'static str },
    #[error("`{function}` has no argument `{name}`")]
    Unexpected { function: &'static str, name: String },
    #[error("argument `{name}` is {found}, expected {expected}")]
    Argument { name: &'static str, found: String, expected: &'static str },
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// One function with its arguments, ready to check replies.
#[derive(Debug, Clone)]
pub struct Constraint {
    check: Check,
    edition: Edition,
}

#[derive(Debug, Clone)]
enum Check {
    Keywords(Vec<String>),
    KeywordFrequency {
        word: String,
        count: f64,
    },
    ForbiddenWords(Vec<String>),
    LetterFrequency {
        letter: char,
        count: f64,
    },
    ResponseLanguage(String),
    ParagraphCount(f64),
    Words {
        count: f64,
        quantifier: Quantifier,
    },
    Sentences {
        count: f64,
        quantifier: Quantifier,
    },
    Paragraphs {
        count: f64,
        first_word: String,
        index: usize,
    },
    Postscript(String),
    Placeholders(f64),
    BulletPoints(f64),
    Title,
    Choice(Vec<String>),
    HighlightedSections(f64),
    Sections {
        splitter: String,
        count: f64,
    },
    /// The splitter with its number, of the revised edition.
    NumberedSections {
        pattern: Pattern,
        count: f64,
    },
    JsonFormat,
    RepeatPrompt(String),
    TwoResponses,
    Uppercase,
    Lowercase,
    CapitalWords {
        count: f64,
        quantifier: Quantifier,
    },
    End(String),
    Quotation,
    NoCommas,
}

/// All functions with their arguments, in the reference's spelling.
pub const FUNCTIONS: [(&str, &[&str]); 25] = [
    ("verify_keywords", &["keyword_list"]),
    ("verify_keyword_frequency", &["word", "N"]),
    ("validate_forbidden_words", &["forbidden_words"]),
    ("verify_letter_frequency", &["letter", "N"]),
    ("validate_response_language", &["language"]),
    ("verify_paragraph_count", &["N"]),
    ("validate_word_constraint", &["N", "quantifier"]),
    ("verify_sentence_constraint", &["N", "quantifier"]),
    ("validate_paragraphs", &["N", "first_word", "i"]),
    ("verify_postscript", &["postscript_marker"]),
    ("validate_placeholders", &["N"]),
    ("verify_bullet_points", &["N"]),
    ("validate_title", &[]),
    ("validate_choice", &["options"]),
    ("validate_highlighted_sections", &["N"]),
    ("validate_sections", &["N", "section_splitter"]),
    ("validate_json_format", &[]),
    ("validate_repeat_prompt", &["original_prompt"]),
    ("validate_two_responses", &[]),
    ("validate_uppercase", &[]),
    ("validate_lowercase", &[]),
    ("validate_frequency_capital_words", &["N", "quantifier"]),
    ("validate_end", &["end_phrase"]),
    ("validate_quotation", &[]),
    ("validate_no_commas", &[]),
];

/// A tenth, rounded half to even as Python does, and at least 1.
fn tenth(count: f64) -> f64 {
    (count * 0.1).round_ties_even().max(1.0)
}

impl Constraint {
    /// Reads a ground truth: a JSON object, or a text that is one.
    ///
    /// # Errors
    /// It is no object, names no known function, or its arguments do not fit the function.
    pub fn parse(ground_truth: &Value, edition: Edition) -> Result<Self, Invalid> {
        match ground_truth {
            Value::String(text) => {
                let parsed: Value = serde_json::from_str(text).map_err(|error| Invalid::Json(error.to_string()))?;
                match parsed {
                    Value::Object(map) => Self::of_object(&map, edition),
                    _ => Err(Invalid::Json("it holds something else".to_owned())),
                }
            }
            Value::Object(map) => Self::of_object(map, edition),
            _ => Err(Invalid::Json("it is something else".to_owned())),
        }
    }

    fn of_object(map: &Map<String, Value>, edition: Edition) -> Result<Self, Invalid> {
        Ok(Self { check: Check::of_object(map, edition)?, edition })
    }

    /// Whether a reply (without its thinking section) keeps to the constraint. One without any letters is in no language.
    ///
    /// # Errors
    /// A pattern search was given up.
    pub fn check(&self, reply: &str) -> Result<bool, Invalid> {
        use Check as C;
        let edition = self.edition;
        Ok(match &self.check {
            C::Keywords(words) => {
                let reply = reply.to_lowercase();
                words.iter().all(|word| reply.contains(word.as_str()))
            }
            C::KeywordFrequency { word, count } => {
                let reply = reply.to_lowercase();
                words(&reply).filter(|found| found == word).count() as f64 == *count
            }
            C::ForbiddenWords(words) => {
                let reply = reply.to_lowercase();
                !words.iter().any(|word| reply.contains(word.as_str()))
            }
            C::LetterFrequency { letter, count } => reply.matches(*letter).count() as f64 == *count,
            C::ResponseLanguage(wanted) => language::detect(reply).is_ok_and(|found| found == Some(wanted)),
            C::ParagraphCount(count) => divided_paragraphs(reply).is_some_and(|found| found as f64 == *count),
            C::Words { count, quantifier } => {
                quantifier.allows(python::split_whitespace(reply).count(), *count, tenth(*count))
            }
            C::Sentences { count, quantifier } => quantifier.allows(sentences(reply, edition), *count, 1.0),
            C::Paragraphs { count, first_word, index } => {
                let paragraphs: Vec<&str> = reply.split("\n\n").collect();
                paragraphs.len() as f64 == *count
                    && paragraphs
                        .get(index - 1)
                        .is_some_and(|text| python::strip(text).starts_with(first_word.as_str()))
            }
            C::Postscript(marker) => reply
                .find(marker.as_str())
                .is_some_and(|at| python::strip(&reply[at..]).chars().count() > marker.chars().count()),
            C::Placeholders(count) => layout::placeholders(reply) as f64 >= *count,
            C::BulletPoints(count) => {
                let bullets = reply.split('\n').filter(|line| python::strip(line).starts_with(['*', '-'])).count();
                bullets as f64 == *count
            }
            C::Title => reply
                .split('\n')
                .any(|line| line.find("<<").zip(line.rfind(">>")).is_some_and(|(open, close)| close >= open + 2)),
            C::Choice(options) => options.iter().any(|option| match edition {
                Edition::First => option.contains(reply),
                Edition::Revised => reply.contains(option.as_str()),
            }),
            C::HighlightedSections(count) => {
                let pairs: usize = reply.split('\n').map(|line| line.matches('*').count() / 2).sum();
                pairs as f64 >= *count
            }
            C::Sections { splitter, count } => {
                let mut sections = reply.split(splitter.as_str()).peekable();
                sections.next_if_eq(&"");
                sections.count() as f64 == *count
            }
            C::NumberedSections { pattern, count } => pattern.count(reply)? as f64 >= *count,
            C::JsonFormat => python::is_json(reply),
            C::RepeatPrompt(prompt) => reply.starts_with(prompt.as_str()),
            C::TwoResponses => {
                let responses: Vec<&str> = reply.split("******").map(python::strip).collect();
                matches!(responses.as_slice(), [a, b] if a != b)
            }
            C::Uppercase => reply == reply.to_uppercase(),
            C::Lowercase => reply == reply.to_lowercase(),
            C::CapitalWords { count, quantifier } => {
                let found = words(reply).filter(|word| word.bytes().all(|b| b.is_ascii_uppercase())).count();
                let tolerance = match edition {
                    Edition::First => 0.0,
                    Edition::Revised => tenth(*count),
                };
                quantifier.allows(found, *count, tolerance)
            }
            C::End(phrase) => reply.ends_with(phrase.as_str()),
            C::Quotation => reply.starts_with('"') && reply.ends_with('"'),
            C::NoCommas => !reply.contains(','),
        })
    }
}

impl Check {
    fn of_object(map: &Map<String, Value>, edition: Edition) -> Result<Self, Invalid> {
        let name = map.get("func_name").and_then(Value::as_str).ok_or(Invalid::Nameless)?;
        let &(function, names) =
            FUNCTIONS.iter().find(|(known, _)| *known == name).ok_or_else(|| Invalid::Unknown(name.to_owned()))?;
        let given = map.iter().filter(|(name, value)| *name != "func_name" && !value.is_null());
        for (name, _) in given {
            if !names.contains(&name.as_str()) {
                return Err(Invalid::Unexpected { function, name: name.clone() });
            }
        }
        let args = Arguments { function, map };
        Ok(match function {
            "verify_keywords" => Self::Keywords(lowered(args.texts("keyword_list")?)),
            "verify_keyword_frequency" => {
                Self::KeywordFrequency { word: args.text("word")?.to_lowercase(), count: args.number("N")? }
            }
            "validate_forbidden_words" => Self::ForbiddenWords(lowered(args.texts("forbidden_words")?)),
            "verify_letter_frequency" => {
                let text = args.text("letter")?;
                let mut chars = text.chars();
                let (Some(letter), None) = (chars.next(), chars.next()) else {
                    return Err(Arguments::wrong(args.value("letter")?, "letter", "one character"));
                };
                Self::LetterFrequency { letter, count: args.number("N")? }
            }
            "validate_response_language" => Self::ResponseLanguage(args.text("language")?),
            "verify_paragraph_count" => Self::ParagraphCount(args.number("N")?),
            "validate_word_constraint" => Self::Words { count: args.number("N")?, quantifier: args.quantifier()? },
            "verify_sentence_constraint" => {
                Self::Sentences { count: args.number("N")?, quantifier: args.quantifier()? }
            }
            "validate_paragraphs" => {
                let (count, index) = (args.number("N")?, args.number("i")?);
                if index < 1.0 || index > count || index.fract() != 0.0 {
                    return Err(Arguments::wrong(args.value("i")?, "i", "a whole number from 1 to `N`"));
                }
                Self::Paragraphs { count, first_word: args.text("first_word")?, index: index as usize }
            }
            "verify_postscript" => Self::Postscript(args.text("postscript_marker")?),
            "validate_placeholders" => Self::Placeholders(args.number("N")?),
            "verify_bullet_points" => Self::BulletPoints(args.number("N")?),
            "validate_title" => Self::Title,
            "validate_choice" => Self::Choice(args.texts("options")?),
            "validate_highlighted_sections" => Self::HighlightedSections(args.number("N")?),
            "validate_sections" => sections(args.text("section_splitter")?, args.number("N")?, edition)?,
            "validate_json_format" => Self::JsonFormat,
            "validate_repeat_prompt" => Self::RepeatPrompt(args.text("original_prompt")?),
            "validate_two_responses" => Self::TwoResponses,
            "validate_uppercase" => Self::Uppercase,
            "validate_lowercase" => Self::Lowercase,
            "validate_frequency_capital_words" => {
                Self::CapitalWords { count: args.number("N")?, quantifier: args.quantifier()? }
            }
            "validate_end" => Self::End(args.text("end_phrase")?),
            "validate_quotation" => Self::Quotation,
            "validate_no_commas" => Self::NoCommas,
            other => return Err(Invalid::Unknown(other.to_owned())),
        })
    }
}

fn lowered(words: Vec<String>) -> Vec<String> {
    words.into_iter().map(|word| word.to_lowercase()).collect()
}

fn sections(splitter: String, count: f64, edition: Edition) -> Result<Check, Invalid> {
    match edition {
        Edition::First if splitter.is_empty() => Err(Invalid::Argument {
            name: "section_splitter",
            found: "empty".to_owned(),
            expected: "a text that sections begin with",
        }),
        Edition::First => Ok(Check::Sections { splitter, count }),
        Edition::Revised => {
            let pattern = format!(r"\s?{}\s?\d+\s?", python::escape(&splitter));
            let pattern = Pattern::new(&pattern, Flags { ignore_case: true, multi_line: false })?;
            Ok(Check::NumberedSections { pattern, count })
        }
    }
}

/// Checks a reply against a ground truth.
///
/// # Errors
/// The ground truth cannot be used, or a pattern search was given up.
pub fn verify(reply: &str, ground_truth: &Value, edition: Edition) -> Result<bool, Invalid> {
    Constraint::parse(ground_truth, edition)?.check(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(ground_truth: Value, reply: &str) -> Result<bool, Invalid> {
        verify(reply, &ground_truth, Edition::First)
    }

    #[test]
    fn every_function_can_be_read_and_decides() {
        // A reply that passes and one that does not, for every function.
        let cases = [
            (json!({"func_name": "verify_keywords", "keyword_list": ["Sun"]}), "a sunny day", "rain"),
            (json!({"func_name": "verify_keyword_frequency", "word": "Sun", "N": 2}), "sun, SUN.", "sun sunny"),
            (json!({"func_name": "validate_forbidden_words", "forbidden_words": ["sun"]}), "rain", "Sunny"),
            (json!({"func_name": "verify_letter_frequency", "letter": "s", "N": 1}), "Ss", "ss"),
            (
                json!({"func_name": "validate_response_language", "language": "de"}),
                "Das Wetter ist heute wirklich schön.",
                "The weather is really nice today.",
            ),
            (json!({"func_name": "verify_paragraph_count", "N": 2}), "a\r\n * * * \nb", "a\n* * *\n"),
            (json!({"func_name": "validate_word_constraint", "N": 3, "quantifier": "around"}), "a b", "a"),
            (
                json!({"func_name": "verify_sentence_constraint", "N": 2, "quantifier": "at least"}),
                "A b. C d?",
                "Hi Dr. X! Y",
            ),
            (json!({"func_name": "validate_paragraphs", "N": 2, "first_word": "b", "i": 2}), "a\n\n bc", "a\n\nb\n\n"),
            (json!({"func_name": "verify_postscript", "postscript_marker": "P.S."}), "x P.S. y", "x P.S. "),
            (json!({"func_name": "validate_placeholders", "N": 1}), "[]", "[\n]"),
            (json!({"func_name": "verify_bullet_points", "N": 2}), "* a\n -b", "* a"),
            (json!({"func_name": "validate_title"}), "<<>>", "<<>\n>"),
            (json!({"func_name": "validate_choice", "options": ["yes", "no"]}), "ye", "yes!"),
            (json!({"func_name": "validate_highlighted_sections", "N": 2}), "**\n*a*", "*a*b*"),
            (json!({"func_name": "validate_sections", "N": 1, "section_splitter": "S"}), "S 1", "a S 1"),
            (json!({"func_name": "validate_json_format"}), "{\"a\": NaN}", "```{}```"),
            (json!({"func_name": "validate_repeat_prompt", "original_prompt": "Do"}), "Do it", "do it"),
            (json!({"func_name": "validate_two_responses"}), "a******", "a****** a"),
            (json!({"func_name": "validate_uppercase"}), "A 1", "a"),
            (json!({"func_name": "validate_lowercase"}), "a 1", "A"),
            (
                json!({"func_name": "validate_frequency_capital_words", "N": 1, "quantifier": "around"}),
                "A B1 Cd",
                "A B",
            ),
            (json!({"func_name": "validate_end", "end_phrase": "end."}), "the end.", "the end. "),
            (json!({"func_name": "validate_quotation"}), "\"", "\"a\" "),
            (json!({"func_name": "validate_no_commas"}), "a b", "a, b"),
        ];
        let tested: Vec<&str> = cases.iter().map(|(truth, ..)| truth["func_name"].as_str().unwrap()).collect();
        assert_eq!(tested, FUNCTIONS.map(|(name, _)| name));
        for (truth, good, bad) in cases {
            assert_eq!(check(truth.clone(), good), Ok(true), "{truth} {good:?}");
            assert_eq!(check(truth.clone(), bad), Ok(false), "{truth} {bad:?}");
        }
    }

    #[test]
    fn the_text_of_a_data_set_row_is_read() {
        let row = r#"{"func_name": "validate_title", "N": null, "quantifier": null, "options": null}"#;
        assert_eq!(check(json!(row), "<<a>>"), Ok(true));
    }

    #[test]
    fn malformed_ground_truth_has_no_verdict() {
        for truth in [
            json!("{"),
            json!("[]"),
            json!(3),
            json!({"N": 1}),
            json!({"func_name": "exec"}),
            json!({"func_name": "verify_keywords"}),
            json!({"func_name": "verify_keywords", "keyword_list": "a"}),
            json!({"func_name": "validate_title", "N": 1}),
            json!({"func_name": "validate_word_constraint", "N": 1, "quantifier": "exactly"}),
            json!({"func_name": "verify_letter_frequency", "letter": "ab", "N": 1}),
            json!({"func_name": "validate_paragraphs", "N": 2, "first_word": "b", "i": 3}),
            json!({"func_name": "validate_sections", "N": 1, "section_splitter": ""}),
        ] {
            assert!(check(truth.clone(), "a").is_err(), "{truth}");
        }
    }

    #[test]
    fn the_revised_edition_differs_in_four_functions() {
        let revised = |truth: Value, reply: &str| verify(reply, &truth, Edition::Revised);
        let sections = json!({"func_name": "validate_sections", "N": 3, "section_splitter": "Part."});
        assert_eq!(revised(sections.clone(), "part. 1 x PART.2 y Part.3"), Ok(true));
        assert_eq!(check(sections, "part. 1 x PART.2 y Part.3"), Ok(false));
        assert_eq!(revised(json!({"func_name": "validate_choice", "options": ["yes"]}), "yes!"), Ok(true));
        let sentences = json!({"func_name": "verify_sentence_constraint", "N": 2, "quantifier": "at least"});
        assert_eq!(revised(sentences, "Hi! There"), Ok(true));
        let capitals = json!({"func_name": "validate_frequency_capital_words", "N": 2, "quantifier": "around"});
        assert_eq!(revised(capitals, "A B C"), Ok(true));
    }
}
