//! Python regular expressions, translated for a Rust engine with the same meaning of `\w`, `\s`, `\d` and `\b`.

use fancy_regex::{Regex, RegexBuilder};

/// Steps of backtracking after which a search is given up.
const BACKTRACK_LIMIT: usize = 1_000_000;

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x{1c}-\x{1f}";

/// The pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("`{pattern}` is not a regular expression: {why}")]
    Syntax { pattern: String, why: String },
    #[error("searching for `{pattern}` takes too many steps")]
    TooComplex { pattern: String },
}

/// A compiled Python regular expression.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern of Python's `re` module; `ignore_case` and `multi_line` are its flags of those names.
    pub fn new(source: &str, ignore_case: bool, multi_line: bool) -> Result<Self, PatternError> {
        let syntax = |why: String| PatternError::Syntax { pattern: source.to_owned(), why };
        let translated = Translator { chars: source.chars().collect(), at: 0, ignore_case, multi_line }
            .run()
            .map_err(|why| syntax(why.to_owned()))?;
        let flags = match (ignore_case, multi_line) {
            (true, true) => "(?im)",
            (true, false) => "(?i)",
            (false, true) => "(?m)",
            (false, false) => "",
        };
        let regex = RegexBuilder::new(&format!("{flags}{translated}"))
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| syntax(error.to_string()))?;
        Ok(Self { source: source.to_owned(), regex })
    }

    fn too_complex(&self) -> PatternError {
        PatternError::TooComplex { pattern: self.source.clone() }
    }

    /// `re.search(...) is not None`.
    pub fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        self.regex.is_match(text).map_err(|_| self.too_complex())
    }

    /// `len(re.findall(...))`.
    pub fn count(&self, text: &str) -> Result<usize, PatternError> {
        let mut count = 0;
        for found in self.regex.find_iter(text) {
            found.map_err(|_| self.too_complex())?;
            count += 1;
        }
        Ok(count)
    }

    /// The texts that `re.finditer(...)` finds.
    pub fn find_all<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, PatternError> {
        self.regex.find_iter(text).map(|found| found.map(|m| m.as_str()).map_err(|_| self.too_complex())).collect()
    }

    /// Groups of the pattern, without the whole.
    pub fn groups(&self) -> usize {
        self.regex.captures_len().saturating_sub(1)
    }

    /// `re.sub(...)`; `with` refers to groups as `$1`.
    pub fn replace_all(&self, text: &str, with: &str) -> Result<String, PatternError> {
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for captures in self.regex.captures_iter(text) {
            let captures = captures.map_err(|_| self.too_complex())?;
            let Some(whole) = captures.get(0) else { continue };
            out.push_str(&text[end..whole.start()]);
            captures.expand(with, &mut out);
            end = whole.end();
        }
        out.push_str(&text[end..]);
        Ok(out)
    }
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    ignore_case: bool,
    multi_line: bool,
}

impl Translator {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn run(mut self) -> Result<String, &'static str> {
        let mut out = String::new();
        while let Some(c) = self.peek(0) {
            self.at += 1;
            match c {
                '\\' => self.escape(&mut out, false)?,
                '[' => self.class(&mut out)?,
                '{' => self.repetition(&mut out),
                '}' => out.push_str(r"\}"),
                '$' if !self.multi_line => out.push_str(r"(?=\n?\z)"),
                '(' if self.peek(0) == Some('?') && self.peek(1) == Some('#') => {
                    while self.peek(0).is_some_and(|c| c != ')') {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                // Python folds the dotted and the dotless i with the plain one; Unicode's simple folding does not.
                'i' | 'I' | 'İ' | 'ı' if self.ignore_case => out.push_str("[iIİı]"),
                _ => out.push(c),
            }
        }
        Ok(out)
    }

    /// `{` begins a repetition only where it reads `{m}`, `{m,}`, `{,n}` or `{m,n}`; else it is a character.
    fn repetition(&mut self, out: &mut String) {
        let rest: String = self.chars[self.at..].iter().take_while(|&&c| c != '}').collect();
        let closed = self.chars.get(self.at + rest.chars().count()) == Some(&'}');
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let repetition = match rest.split_once(',') {
            Some((low, high)) if digits(low) && digits(high) => {
                Some(format!("{{{},{high}}}", if low.is_empty() { "0" } else { low }))
            }
            None if !rest.is_empty() && digits(&rest) => Some(format!("{{{rest}}}")),
            _ => None,
        };
        match repetition {
            Some(repetition) if closed => {
                self.at += rest.len() + 1;
                out.push_str(&repetition);
            }
            _ => out.push_str(r"\{"),
        }
    }

    fn escape(&mut self, out: &mut String, in_class: bool) -> Result<(), &'static str> {
        let c = self.peek(0).ok_or("it ends with a backslash")?;
        self.at += 1;
        let set = |inside: &str, negated: bool| match (in_class, negated) {
            (true, false) => inside.to_owned(),
            (true, true) => format!("[^{inside}]"),
            (false, false) => format!("[{inside}]"),
            (false, true) => format!("[^{inside}]"),
        };
        let word = format!("[{WORD}]");
        match c {
            'w' | 'W' => out.push_str(&set(WORD, c == 'W')),
            's' | 'S' => out.push_str(&set(SPACE, c == 'S')),
            'd' | 'D' => out.push_str(&set(r"\p{Nd}", c == 'D')),
            'b' if in_class => out.push_str(r"\x{8}"),
            'b' => out.push_str(&format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))")),
            'B' if !in_class => out.push_str(&format!("(?:(?<={word})(?={word})|(?<!{word})(?!{word}))")),
            'A' if !in_class => out.push_str(r"\A"),
            'Z' if !in_class => out.push_str(r"\z"),
            'n' | 't' | 'r' | 'f' | 'v' | 'a' => out.extend(['\\', c]),
            'x' => self.code(2, out)?,
            'u' => self.code(4, out)?,
            'U' => self.code(8, out)?,
            '0' => out.push_str(r"\x{0}"),
            '1'..='9' if !in_class => out.extend(['\\', c]),
            c if c.is_ascii_alphanumeric() => return Err("it has an unknown escape"),
            c if c.is_ascii() && c != ' ' => out.extend(['\\', c]),
            c => out.push(c),
        }
        Ok(())
    }

    fn code(&mut self, digits: usize, out: &mut String) -> Result<(), &'static str> {
        let text: String = self.chars[self.at..].iter().take(digits).collect();
        if text.chars().count() != digits || !text.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err("it has an incomplete escape");
        }
        self.at += digits;
        out.push_str(&format!(r"\x{{{text}}}"));
        Ok(())
    }

    fn class(&mut self, out: &mut String) -> Result<(), &'static str> {
        out.push('[');
        if self.peek(0) == Some('^') {
            self.at += 1;
            out.push('^');
        }
        let mut first = true;
        loop {
            let c = self.peek(0).ok_or("it has an unclosed character class")?;
            self.at += 1;
            match c {
                ']' if !first => break,
                '\\' => self.escape(out, true)?,
                // Python has no set operations inside a class.
                '[' | ']' | '&' | '~' | '^' => out.extend(['\\', c]),
                '-' if first || self.peek(0) == Some(']') => out.push_str(r"\-"),
                'i' | 'I' if self.ignore_case && self.peek(0) != Some('-') => out.push_str("iIİı"),
                _ => out.push(c),
            }
            first = false;
        }
        out.push(']');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, true, false).unwrap().is_match(text).unwrap()
    }

    #[test]
    fn words_follow_python() {
        assert!(!found(r"\bx\b", "x² x_ 2x") && found(r"\bx\b", "a x b"));
        assert!(!found(r"\bnaïve\b", "a naïveté") && found(r"^\w+$", "x²\n"));
        assert_eq!(Pattern::new(r"\w+", false, false).unwrap().count("don't stop").unwrap(), 3);
    }

    #[test]
    fn case_folds_as_python_does() {
        assert!(found("k", "\u{212a}") && found("s", "ſ") && found("i", "İ") && found("ı", "I"));
        assert!(!found("straße", "STRASSE"));
    }

    #[test]
    fn odd_patterns_read_as_python_reads_them() {
        assert!(found("c++", "C") && found("a{", "a{") && found("a{,2}b", "aab") && found("x}", "X}"));
        assert!(found("[[]", "[") && found("[a&&b]", "&") && found("a-b", "a-b") && found("(?#note)q", "q"));
        assert!(found("[^a-]", "b") && !found("[^a-]", "-") && found("two words", "two words"));
        for bad in ["(", r"\q", "[a", "a**", "\\"] {
            assert!(matches!(Pattern::new(bad, true, false), Err(PatternError::Syntax { .. })), "{bad}");
        }
    }

    #[test]
    fn catastrophic_patterns_end() {
        let pattern = Pattern::new(r"(?:(?=a)a|a)+b", true, false).unwrap();
        assert!(matches!(pattern.is_match(&"a".repeat(64)), Err(PatternError::TooComplex { .. })));
    }
}
