//! The instruction types and their arguments.

use crate::python::{self, Flags, Pattern, PatternError};
use serde_json::{Map, Value};

/// All instruction ids of IFEval.
pub const INSTRUCTION_IDS: [&str; 25] = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
];

/// Why an instruction has no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("`{0}` is not an instruction")]
    Unknown(String),
    #[error("argument `{name}` is missing, zero or empty")]
    Missing { name: &'static str },
    #[error("argument `{name}` is {found}, expected {expected}")]
    Argument { name: &'static str, found: String, expected: &'static str },
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// How a count is compared with its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    AtLeast,
    LessThan,
}

/// A threshold on a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub relation: Relation,
    pub count: usize,
}

impl Bound {
    /// Whether a count satisfies the threshold.
    #[must_use]
    pub fn allows(self, count: usize) -> bool {
        match self.relation {
            Relation::AtLeast => count >= self.count,
            Relation::LessThan => count < self.count,
        }
    }
}

/// One instruction with its arguments, ready to check replies.
#[derive(Debug, Clone)]
pub enum Instruction {
    KeywordExistence(Vec<Pattern>),
    KeywordFrequency { keyword: Pattern, bound: Bound },
    ForbiddenWords(Vec<Pattern>),
    LetterFrequency { letter: char, bound: Bound },
    ResponseLanguage(String),
    NumberSentences(Bound),
    NumberParagraphs(usize),
    NumberWords(Bound),
    NthParagraphFirstWord { paragraphs: usize, nth: usize, first_word: String },
    NumberPlaceholders(usize),
    Postscript(Postscript),
    NumberBulletLists(usize),
    ConstrainedResponse,
    NumberHighlightedSections(usize),
    MultipleSections { splitter: Splitter, sections: usize },
    JsonFormat,
    Title,
    TwoResponses,
    RepeatPrompt(String),
    EndChecker(String),
    Quotation,
    CapitalWordFrequency(Bound),
    EnglishCapital,
    EnglishLowercase,
    NoComma,
}

/// What a postscript begins with.
#[derive(Debug, Clone)]
pub enum Postscript {
    /// `P.S.`
    Once,
    /// `P.P.S`
    Twice,
    /// Anything else, in lower case.
    Marker(Pattern),
}

/// What stands before the number of a section.
#[derive(Debug, Clone)]
pub enum Splitter {
    Literal(String),
    /// The whole pattern with space and number.
    Pattern(Pattern),
}

struct Arguments<'a>(&'a Map<String, Value>);

impl Arguments<'_> {
    fn text(&self, name: &'static str) -> Result<&str, Invalid> {
        match self.0.get(name) {
            None | Some(Value::Null) => Err(Invalid::Missing { name }),
            Some(Value::String(text)) if text.is_empty() => Err(Invalid::Missing { name }),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(Invalid::Argument { name, found: other.to_string(), expected: "a text" }),
        }
    }

    /// A positive whole number. Data sets that went through a table hold them as floats.
    fn count(&self, name: &'static str) -> Result<usize, Invalid> {
        let bad =
            |found: &Value| Invalid::Argument { name, found: found.to_string(), expected: "a positive whole number" };
        match self.0.get(name) {
            None | Some(Value::Null) => Err(Invalid::Missing { name }),
            Some(value) => match value.as_f64() {
                Some(0.0) => Err(Invalid::Missing { name }),
                Some(number) if number > 0.0 && number.fract() == 0.0 && number < 1e9 => Ok(number as usize),
                _ => Err(bad(value)),
            },
        }
    }

    fn bound(&self, count: &'static str, relation: &'static str) -> Result<Bound, Invalid> {
        let count = self.count(count)?;
        let relation = match self.text(relation)? {
            "at least" => Relation::AtLeast,
            "less than" => Relation::LessThan,
            other => {
                return Err(Invalid::Argument {
                    name: relation,
                    found: format!("`{other}`"),
                    expected: "`at least` or `less than`",
                });
            }
        };
        Ok(Bound { relation, count })
    }

    fn texts(&self, name: &'static str) -> Result<Vec<&str>, Invalid> {
        let bad = |found: &Value| Invalid::Argument { name, found: found.to_string(), expected: "a list of texts" };
        match self.0.get(name) {
            None | Some(Value::Null) => Err(Invalid::Missing { name }),
            Some(Value::Array(items)) if items.is_empty() => Err(Invalid::Missing { name }),
            Some(list @ Value::Array(items)) => {
                items.iter().map(|item| item.as_str().ok_or_else(|| bad(list))).collect()
            }
            Some(other) => Err(bad(other)),
        }
    }
}

impl Instruction {
    /// Reads an instruction id with its arguments. Null, zero and empty arguments count as missing.
    ///
    /// # Errors
    /// The id is unknown, or an argument is missing, of the wrong kind, out of range or an invalid pattern.
    pub fn parse(id: &str, arguments: &Map<String, Value>) -> Result<Self, Invalid> {
        let args = Arguments(arguments);
        let search = |pattern: &str| Pattern::new(pattern, Flags { ignore_case: true, multi_line: false });
        Ok(match id {
            "keywords:existence" => {
                Self::KeywordExistence(args.texts("keywords")?.into_iter().map(search).collect::<Result<_, _>>()?)
            }
            "keywords:frequency" => Self::KeywordFrequency {
                keyword: search(python::strip(args.text("keyword")?))?,
                bound: args.bound("frequency", "relation")?,
            },
            "keywords:forbidden_words" => Self::ForbiddenWords(
                args.texts("forbidden_words")?.into_iter().map(Pattern::word).collect::<Result<_, _>>()?,
            ),
            "keywords:letter_frequency" => Self::LetterFrequency {
                letter: letter(args.text("letter")?)?,
                bound: args.bound("let_frequency", "let_relation")?,
            },
            "language:response_language" => Self::ResponseLanguage(args.text("language")?.to_owned()),
            "length_constraints:number_sentences" => Self::NumberSentences(args.bound("num_sentences", "relation")?),
            "length_constraints:number_paragraphs" => Self::NumberParagraphs(args.count("num_paragraphs")?),
            "length_constraints:number_words" => Self::NumberWords(args.bound("num_words", "relation")?),
            "length_constraints:nth_paragraph_first_word" => nth_paragraph(&args)?,
            "detectable_content:number_placeholders" => Self::NumberPlaceholders(args.count("num_placeholders")?),
            "detectable_content:postscript" => Self::Postscript(postscript(args.text("postscript_marker")?)?),
            "detectable_format:number_bullet_lists" => Self::NumberBulletLists(args.count("num_bullets")?),
            "detectable_format:constrained_response" => Self::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Self::NumberHighlightedSections(args.count("num_highlights")?)
            }
            "detectable_format:multiple_sections" => Self::MultipleSections {
                splitter: splitter(args.text("section_spliter")?)?,
                sections: args.count("num_sections")?,
            },
            "detectable_format:json_format" => Self::JsonFormat,
            "detectable_format:title" => Self::Title,
            "combination:two_responses" => Self::TwoResponses,
            "combination:repeat_prompt" => Self::RepeatPrompt(folded(args.text("prompt_to_repeat")?)),
            "startend:end_checker" => Self::EndChecker(folded(args.text("end_phrase")?)),
            "startend:quotation" => Self::Quotation,
            "change_case:capital_word_frequency" => {
                Self::CapitalWordFrequency(args.bound("capital_frequency", "capital_relation")?)
            }
            "change_case:english_capital" => Self::EnglishCapital,
            "change_case:english_lowercase" => Self::EnglishLowercase,
            "punctuation:no_comma" => Self::NoComma,
            other => return Err(Invalid::Unknown(other.to_owned())),
        })
    }
}

fn letter(text: &str) -> Result<char, Invalid> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_ascii_alphabetic() => Ok(c.to_ascii_lowercase()),
        _ => Err(Invalid::Argument { name: "letter", found: format!("`{text}`"), expected: "one letter from a to z" }),
    }
}

fn nth_paragraph(args: &Arguments<'_>) -> Result<Instruction, Invalid> {
    let (paragraphs, nth) = (args.count("num_paragraphs")?, args.count("nth_paragraph")?);
    if nth > paragraphs {
        return Err(Invalid::Argument {
            name: "nth_paragraph",
            found: nth.to_string(),
            expected: "no more than `num_paragraphs`",
        });
    }
    let first_word = args.text("first_word")?.to_lowercase();
    Ok(Instruction::NthParagraphFirstWord { paragraphs, nth, first_word })
}

fn folded(text: &str) -> String {
    python::strip(text).to_lowercase()
}

fn postscript(marker: &str) -> Result<Postscript, PatternError> {
    Ok(match python::strip(marker) {
        "P.P.S" => Postscript::Twice,
        "P.S." => Postscript::Once,
        other => {
            let marker = other.to_lowercase();
            let flags = Flags { ignore_case: false, multi_line: true };
            // What surrounds the marker in the reference changes what is found only where the marker is a pattern.
            let pattern = if python::is_literal(&marker) { marker } else { format!(r"\s*{marker}.*$") };
            Postscript::Marker(Pattern::new(&pattern, flags)?)
        }
    })
}

fn splitter(text: &str) -> Result<Splitter, PatternError> {
    let text = python::strip(text);
    Ok(if python::is_literal(text) {
        Splitter::Literal(text.to_owned())
    } else {
        Splitter::Pattern(Pattern::new(&format!(r"\s?{text}\s?\d+\s?"), Flags::default())?)
    })
}
