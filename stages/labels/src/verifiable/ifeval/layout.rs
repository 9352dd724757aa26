//! Paragraphs, bullets, highlights and other marks in a reply. The comments give the reference's patterns; every scan is
//! linear in the reply.

use crate::python::{self, is_blank, is_space, is_unicode_word, strip};
use memchr::{memchr, memchr2, memchr2_iter, memmem};

/// `\w+`, as nltk's tokeniser reads it: its patterns run on the `regex` module and not on `re`, so `\w` means something
/// else here than in the keyword checks.
pub fn words(reply: &str) -> usize {
    let mut count = 0;
    let mut inside = false;
    for c in reply.chars() {
        let word = is_unicode_word(c);
        count += usize::from(word && !inside);
        inside = word;
    }
    count
}

/// Pieces of a text, without blank ones at either end; none where one in between is blank.
fn filled_pieces<'a>(reply: &'a str, divider: &str) -> Option<Vec<&'a str>> {
    let pieces: Vec<&str> = reply.split(divider).collect();
    let last = pieces.len() - 1;
    let mut filled = Vec::with_capacity(pieces.len());
    for (i, piece) in pieces.into_iter().enumerate() {
        if !is_blank(piece) {
            filled.push(piece);
        } else if i != 0 && i != last {
            return None;
        }
    }
    Some(filled)
}

/// Paragraphs divided by three asterisks (`\s?\*\*\*\s?`); none where an inner one is blank. Blank ones at either end do
/// not count.
pub fn starred_paragraphs(reply: &str) -> Option<usize> {
    filled_pieces(reply, "***").map(|pieces| pieces.len())
}

/// Two different texts with six asterisks between them; blank ones are allowed at either end.
pub fn two_responses(reply: &str) -> bool {
    filled_pieces(reply, "******").is_some_and(|pieces| matches!(pieces.as_slice(), [a, b] if strip(a) != strip(b)))
}

/// The first word of the `nth` paragraph (counted with the blank ones), lower-cased and without punctuation, where the
/// reply has exactly `paragraphs` that are not blank.
pub fn first_word_of_paragraph(reply: &str, paragraphs: usize, nth: usize) -> Option<String> {
    let pieces: Vec<&str> = reply.split("\n\n").collect();
    let filled = pieces.iter().filter(|piece| !is_blank(piece)).count();
    if nth > filled || filled != paragraphs {
        return None;
    }
    let word = python::split_whitespace(pieces[nth - 1]).next()?;
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let end = word.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(word.len());
    Some(word[..end].chars().flat_map(char::to_lowercase).collect())
}

/// `\[.*?\]`.
pub fn placeholders(reply: &str) -> usize {
    let bytes = reply.as_bytes();
    let (mut count, mut at) = (0, 0);
    while let Some(open) = memchr(b'[', &bytes[at..]) {
        at += open + 1;
        let Some(end) = memchr2(b']', b'\n', &bytes[at..]) else { break };
        count += usize::from(bytes[at + end] == b']');
        at += end + 1;
    }
    count
}

/// `^\s*\*[^\*].*$` and `^\s*-.*$`, from line to line: white space may span lines, and so may the character behind `*`.
pub fn bullets(reply: &str) -> usize {
    marked_lines(reply, |rest| {
        let behind = rest.strip_prefix('*')?.chars().next()?;
        (behind != '*').then(|| 1 + behind.len_utf8())
    }) + marked_lines(reply, |rest| rest.starts_with('-').then_some(1))
}

/// Lines whose text, behind white space, begins with a mark; `mark` says how many bytes the mark takes.
fn marked_lines(reply: &str, mark: impl Fn(&str) -> Option<usize>) -> usize {
    let mut count = 0;
    let mut line = Some(0);
    while let Some(start) = line {
        let text = reply[start..].trim_start_matches(is_space);
        let mut at = reply.len() - text.len();
        if let Some(length) = mark(text) {
            count += 1;
            at += length;
            // What the mark took may have been the end of its line.
            at += memchr(b'\n', &reply.as_bytes()[at..]).unwrap_or(reply.len() - at);
            if reply[..at].ends_with('\n') {
                line = Some(at);
                continue;
            }
        }
        line = memchr(b'\n', &reply.as_bytes()[at..]).map(|end| at + end + 1);
    }
    count
}

/// `\*[^\n\*]*\*` and `\*\*[^\n\*]*\*\*`, each with something inside.
pub fn highlights(reply: &str) -> usize {
    let bytes = reply.as_bytes();
    let (mut count, mut at) = (0, 0);
    while let Some(open) = memchr(b'*', &bytes[at..]) {
        let inside = at + open + 1;
        let Some(end) = memchr2(b'*', b'\n', &bytes[inside..]) else { break };
        at = inside + end + 1;
        count += usize::from(bytes[at - 1] == b'*' && !is_blank(&reply[inside..at - 1]));
    }
    let mut at = 0;
    while let Some(open) = memmem::find(&bytes[at..], b"**") {
        let inside = at + open + 2;
        let Some(end) = memchr2(b'*', b'\n', &bytes[inside..]) else { break };
        let end = inside + end;
        if bytes[end..].starts_with(b"**") {
            count += usize::from(!is_blank(&reply[inside..end]));
            at = end + 2;
        } else {
            at = inside - 1;
        }
    }
    count
}

/// A reply that is meant to be JSON, without the code fence around it.
pub fn without_code_fence(reply: &str) -> &str {
    let mut text = strip(reply);
    for prefix in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    strip(text.strip_suffix("```").unwrap_or(text))
}

/// `<<[^\n]+>>` with something inside.
pub fn has_title(reply: &str) -> bool {
    reply.split('\n').any(|line| {
        let title = line.find("<<").zip(line.rfind(">>")).filter(|(open, close)| close > &(open + 2));
        title.is_some_and(|(open, close)| {
            let inside = line[open..close + 2].trim_start_matches('<').trim_end_matches('>');
            !is_blank(inside)
        })
    })
}

/// Matches of `\s?splitter\s?\d+\s?`, where the splitter stands for itself.
pub fn numbered_sections(reply: &str, splitter: &str) -> usize {
    let finder = memmem::Finder::new(splitter.as_bytes());
    let first = splitter.chars().next().map_or(1, char::len_utf8);
    let (mut count, mut at) = (0, 0);
    while let Some(found) = reply.as_bytes().get(at..).and_then(|rest| finder.find(rest)) {
        at += found;
        let behind = &reply[at + splitter.len()..];
        let number = behind.strip_prefix(is_space).unwrap_or(behind);
        let rest = number.trim_start_matches(python::is_decimal);
        if rest.len() < number.len() {
            count += 1;
            at = reply.len() - rest.len();
        } else {
            at += first;
        }
    }
    count
}

/// `p\.\s?p\.\s?s` (`twice`) or `p\.\s?s\.`, in any case and in the middle of a word, too.
pub fn has_postscript(reply: &str, twice: bool) -> bool {
    fn dotted(text: &str, letter: char) -> Option<&str> {
        text.strip_prefix([letter, letter.to_ascii_uppercase()])?.strip_prefix('.')
    }
    let behind_p = |text| dotted(text, 'p').map(|rest: &str| rest.strip_prefix(is_space).unwrap_or(rest));
    memchr2_iter(b'p', b'P', reply.as_bytes()).any(|at| match behind_p(&reply[at..]) {
        Some(rest) if twice => behind_p(rest).is_some_and(|rest| rest.starts_with(['s', 'S'])),
        Some(rest) => dotted(rest, 's').is_some(),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bullets_span_lines_as_the_patterns_do() {
        for (reply, count) in [
            ("* a\n* b\n- c", 3),
            ("**a\n *b*", 1),
            ("*\nnext\n* b", 2),
            ("*\n* b", 1),
            ("*\n\n* b", 2),
            ("\n \n * x\n---", 2),
            ("*", 0),
            ("-", 1),
            ("a\n\u{a0}- b", 1),
        ] {
            assert_eq!(bullets(reply), count, "{reply:?}");
        }
    }

    #[test]
    fn marks_pair_up_as_the_patterns_do() {
        for (reply, count) in
            [("*a*", 1), ("**a**", 1), ("*a* b *c*", 2), ("***a***", 2), ("* *", 0), ("*a\n*b*", 1), ("****", 0)]
        {
            assert_eq!(highlights(reply), count, "{reply:?}");
        }
        assert_eq!(placeholders("[a] [b\n[c] [] ]]"), 3);
        assert!(has_title("x <<a>> y") && !has_title("<<>>") && !has_title("<<\n>>") && !has_title("<<<a>"));
        assert!(has_title("<< >> <<b>>") && !has_title("<<< >>>"));
    }

    #[test]
    fn sections_are_numbered() {
        assert_eq!(numbered_sections("Section 1\nSECTION 2 Section3 Section x Section  4", "Section"), 2);
        assert_eq!(numbered_sections("Section ٣", "Section"), 1);
    }

    #[test]
    fn postscripts_may_stand_in_a_word() {
        assert!(
            has_postscript("U.P.S. x", false) && has_postscript("p. s. y", false) && !has_postscript("P.S x", false)
        );
        assert!(has_postscript("P.P.S", true) && has_postscript("p. P. stay", true) && !has_postscript("P.S.", true));
    }
}
