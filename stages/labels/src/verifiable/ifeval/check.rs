//! Whether a reply follows an instruction, as the reference's `check_following` of each type decides.

use super::{
    instruction::{Instruction, Invalid, Postscript, Splitter},
    layout, punkt,
    word_tokenize::capital_words,
};
use crate::{language, python};

impl Instruction {
    /// Checks a reply that is not blank.
    ///
    /// # Errors
    /// The check needs something that is not built in, or a pattern search was given up.
    pub(super) fn check(&self, reply: &str) -> Result<bool, Invalid> {
        Ok(match self {
            Self::KeywordExistence(keywords) => {
                for keyword in keywords {
                    if !keyword.is_match(reply)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::KeywordFrequency { keyword, bound } => bound.allows(keyword.count(reply)?),
            Self::ForbiddenWords(words) => {
                for word in words {
                    if word.is_match(reply)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::LetterFrequency { letter, bound } => bound.allows(letters(reply, *letter)),
            Self::ResponseLanguage(wanted) => is_in(reply, wanted),
            Self::NumberSentences(bound) => bound.allows(punkt::count_sentences(reply)),
            Self::NumberParagraphs(wanted) => layout::starred_paragraphs(reply) == Some(*wanted),
            Self::NumberWords(bound) => bound.allows(layout::words(reply)),
            Self::NthParagraphFirstWord { paragraphs, nth, first_word } => {
                layout::first_word_of_paragraph(reply, *paragraphs, *nth).is_some_and(|word| word == *first_word)
            }
            Self::NumberPlaceholders(wanted) => layout::placeholders(reply) >= *wanted,
            Self::Postscript(Postscript::Once) => layout::has_postscript(reply, false),
            Self::Postscript(Postscript::Twice) => layout::has_postscript(reply, true),
            Self::Postscript(Postscript::Marker(marker)) => marker.is_match(&reply.to_lowercase())?,
            Self::NumberBulletLists(wanted) => layout::bullets(reply) == *wanted,
            Self::ConstrainedResponse => {
                ["My answer is yes.", "My answer is no.", "My answer is maybe."].iter().any(|o| reply.contains(o))
            }
            Self::NumberHighlightedSections(wanted) => layout::highlights(reply) >= *wanted,
            Self::MultipleSections { splitter: Splitter::Literal(splitter), sections } => {
                layout::numbered_sections(reply, splitter) >= *sections
            }
            Self::MultipleSections { splitter: Splitter::Pattern(splitter), sections } => {
                // Groups of the splitter become pieces of their own in Python's split.
                splitter.count(reply)? * (1 + splitter.groups()) >= *sections
            }
            Self::JsonFormat => python::is_json(layout::without_code_fence(reply)),
            Self::Title => layout::has_title(reply),
            Self::TwoResponses => layout::two_responses(reply),
            Self::RepeatPrompt(prompt) => {
                let text = python::strip(reply);
                match text.get(..prompt.len()) {
                    Some(head) if head.is_ascii() && prompt.is_ascii() => head.eq_ignore_ascii_case(prompt),
                    _ => text.to_lowercase().starts_with(prompt),
                }
            }
            Self::EndChecker(phrase) => {
                let text = python::strip(reply).trim_matches('"');
                match text.len().checked_sub(phrase.len()).and_then(|from| text.get(from..)) {
                    Some(tail) if tail.is_ascii() && phrase.is_ascii() => tail.eq_ignore_ascii_case(phrase),
                    _ => text.to_lowercase().ends_with(phrase),
                }
            }
            Self::Quotation => {
                let text = python::strip(reply);
                text.len() > 1 && text.starts_with('"') && text.ends_with('"')
            }
            Self::CapitalWordFrequency(bound) => bound.allows(capital_words(reply)),
            Self::EnglishCapital => python::is_upper(reply) && is_in(reply, "en"),
            Self::EnglishLowercase => python::is_lower(reply) && is_in(reply, "en"),
            Self::NoComma => !reply.contains(','),
        })
    }
}

/// Whether a reply is in the language with that code. One without any letters passes, as in the reference.
fn is_in(reply: &str, code: &str) -> bool {
    language::detect(reply).map_or(true, |found| found == Some(code))
}

/// Occurrences of a letter from a to z in the lower-cased reply. Two characters beyond ASCII have one in their lower case.
fn letters(reply: &str, letter: char) -> usize {
    let (lower, upper) = (letter as u8, letter.to_ascii_uppercase() as u8);
    let plain = memchr::memchr2_iter(lower, upper, reply.as_bytes()).count();
    let other = match letter {
        'i' => reply.matches('İ').count(),
        'k' => reply.matches('\u{212a}').count(),
        _ => 0,
    };
    plain + other
}
