//! Whether a reply follows an instruction, as the reference's `check_following` of each type decides.

use super::{
    instruction::{Instruction, Invalid},
    layout, punkt,
    word_tokenize::capital_words,
};
use crate::python;

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
            Self::LetterFrequency { letter, bound } => {
                bound.allows(reply.to_lowercase().chars().filter(|c| c == letter).count())
            }
            Self::ResponseLanguage(_) => return Err(Invalid::NeedsLanguage("language:response_language")),
            Self::NumberSentences(bound) => bound.allows(punkt::count_sentences(reply)?),
            Self::NumberParagraphs(wanted) => layout::starred_paragraphs(reply) == Some(*wanted),
            Self::NumberWords(bound) => bound.allows(layout::words(reply)),
            Self::NthParagraphFirstWord { paragraphs, nth, first_word } => {
                layout::first_word_of_paragraph(reply, *paragraphs, *nth).is_some_and(|word| word == *first_word)
            }
            Self::NumberPlaceholders(wanted) => layout::placeholders(reply) >= *wanted,
            Self::Postscript(marker) => marker.is_match(&reply.to_lowercase())?,
            Self::NumberBulletLists(wanted) => layout::bullets(reply) == *wanted,
            Self::ConstrainedResponse => {
                ["My answer is yes.", "My answer is no.", "My answer is maybe."].iter().any(|o| reply.contains(o))
            }
            Self::NumberHighlightedSections(wanted) => layout::highlights(reply) >= *wanted,
            Self::MultipleSections { splitter, sections } => {
                // Groups of the splitter become pieces of their own in Python's split.
                splitter.count(reply)? * (1 + splitter.groups()) >= *sections
            }
            Self::JsonFormat => python::is_json(layout::without_code_fence(reply)),
            Self::Title => layout::has_title(reply),
            Self::TwoResponses => layout::two_responses(reply),
            Self::RepeatPrompt(prompt) => {
                python::strip(&reply.to_lowercase()).starts_with(python::strip(&prompt.to_lowercase()))
            }
            Self::EndChecker(phrase) => python::strip(reply)
                .trim_matches('"')
                .to_lowercase()
                .ends_with(python::strip(phrase).to_lowercase().as_str()),
            Self::Quotation => {
                let text = python::strip(reply);
                text.len() > 1 && text.starts_with('"') && text.ends_with('"')
            }
            Self::CapitalWordFrequency(bound) => bound.allows(capital_words(reply)?),
            Self::EnglishCapital => {
                if python::is_upper(reply) {
                    return Err(Invalid::NeedsLanguage("change_case:english_capital"));
                }
                false
            }
            Self::EnglishLowercase => {
                if python::is_lower(reply) {
                    return Err(Invalid::NeedsLanguage("change_case:english_lowercase"));
                }
                false
            }
            Self::NoComma => !reply.contains(','),
        })
    }
}
