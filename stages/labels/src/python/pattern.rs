//! Python regular expressions, translated for a Rust engine with the same meaning of `\w`, `\s`, `\d` and `\b`.

use super::literal::Literal;
use fancy_regex::{Regex, RegexBuilder};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
};

/// Steps of backtracking after which a search is given up, by how many searches went before it in the same text: a
/// pattern that is hard everywhere in a text must end, too.
const BACKTRACK_LIMITS: [(usize, usize); 3] = [(0, 1_000_000), (16, 64_000), (256, 4_000)];
/// Bytes of a pattern; longer ones are not compiled.
const MAX_PATTERN: usize = 10_000;
/// Bytes that a compiled pattern may take.
const MAX_COMPILED: usize = 1 << 20;
/// Instructions of a compiled pattern that backtracks.
const MAX_PROGRAM: usize = 100_000;
/// Compiled patterns that are kept for the next instruction with the same one.
const MAX_CACHED: usize = 512;

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
pub struct Pattern(Engine);

#[derive(Debug, Clone)]
enum Engine {
    Literal(Arc<Literal>),
    Regex(Arc<Compiled>),
}

/// Flags of Python's `re.compile`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    pub ignore_case: bool,
    pub multi_line: bool,
}

type Cache = HashMap<(String, Flags), Result<Arc<Compiled>, PatternError>>;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

impl Pattern {
    /// Compiles a pattern of Python's `re` module.
    pub fn new(source: &str, flags: Flags) -> Result<Self, PatternError> {
        if is_literal(source) {
            return Ok(Self(Engine::Literal(Arc::new(Literal::new(source, flags.ignore_case, false)))));
        }
        Ok(Self(Engine::Regex(compile(source, flags)?)))
    }

    /// Compiles `\bsource\b`, ignoring case.
    pub fn word(source: &str) -> Result<Self, PatternError> {
        if is_literal(source) {
            return Ok(Self(Engine::Literal(Arc::new(Literal::new(source, true, true)))));
        }
        let flags = Flags { ignore_case: true, multi_line: false };
        Ok(Self(Engine::Regex(compile(&format!(r"\b{source}\b"), flags)?)))
    }

    /// `re.search(...) is not None`.
    pub fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        match &self.0 {
            Engine::Literal(literal) => Ok(literal.is_in(text)),
            Engine::Regex(regex) => regex.is_match(text),
        }
    }

    /// `len(re.findall(...))`.
    pub fn count(&self, text: &str) -> Result<usize, PatternError> {
        match &self.0 {
            Engine::Literal(literal) => Ok(literal.count(text)),
            Engine::Regex(regex) => regex.count(text),
        }
    }

    /// Groups of the pattern, without the whole.
    pub fn groups(&self) -> usize {
        match &self.0 {
            Engine::Literal(_) => 0,
            Engine::Regex(regex) => regex.groups,
        }
    }
}

/// Whether a pattern has no character with a meaning of its own, so that it matches itself.
pub fn is_literal(source: &str) -> bool {
    !source.is_empty() && !source.contains(['\\', '.', '^', '$', '*', '+', '?', '{', '}', '[', ']', '|', '(', ')'])
}

/// `re.escape`.
pub fn escape(text: &str) -> String {
    let special = |c: char| "\\.^$*+?{}[]|()-&~# \t\n\r\u{b}\u{c}".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn compile(source: &str, flags: Flags) -> Result<Arc<Compiled>, PatternError> {
    let key = (source.to_owned(), flags);
    if let Some(known) = CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return known.clone();
    }
    let compiled = Compiled::new(source, flags).map(Arc::new);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
    cache.insert(key, compiled.clone());
    compiled
}

/// A pattern in the forms that texts need: ASCII texts have simpler character classes, which need no backtracking.
#[derive(Debug)]
struct Compiled {
    source: String,
    flags: Flags,
    groups: usize,
    ascii: OnceLock<Result<Ladder, PatternError>>,
    unicode: OnceLock<Result<Ladder, PatternError>>,
}

/// The same expression under each of [`BACKTRACK_LIMITS`].
#[derive(Debug)]
struct Ladder {
    expression: String,
    steps: [OnceLock<Option<Regex>>; BACKTRACK_LIMITS.len()],
}

impl Ladder {
    fn build(&self, step: usize) -> Result<Regex, String> {
        RegexBuilder::new(&self.expression)
            .backtrack_limit(BACKTRACK_LIMITS[step].1)
            .delegate_size_limit(MAX_COMPILED)
            .delegate_dfa_size_limit(MAX_COMPILED)
            .max_prog_size(MAX_PROGRAM)
            .build()
            .map_err(|error| error.to_string())
    }

    fn step(&self, step: usize) -> Option<&Regex> {
        self.steps[step].get_or_init(|| self.build(step).ok()).as_ref()
    }
}

impl Compiled {
    fn new(source: &str, flags: Flags) -> Result<Self, PatternError> {
        let mut new =
            Self { source: source.to_owned(), flags, groups: 0, ascii: OnceLock::new(), unicode: OnceLock::new() };
        if source.len() > MAX_PATTERN {
            return Err(new.syntax(format!("it is longer than {MAX_PATTERN} bytes")));
        }
        new.groups = new.engine(true)?.step(0).map_or(0, |regex| regex.captures_len().saturating_sub(1));
        Ok(new)
    }

    fn syntax(&self, why: String) -> PatternError {
        let pattern = self.source.chars().take(200).collect();
        PatternError::Syntax { pattern, why }
    }

    fn too_complex(&self) -> PatternError {
        PatternError::TooComplex { pattern: self.source.clone() }
    }

    /// The expression for ASCII texts (which an ASCII pattern is needed for, too) or for all.
    fn engine(&self, ascii: bool) -> Result<&Ladder, PatternError> {
        let ascii = ascii && self.source.is_ascii();
        let cell = if ascii { &self.ascii } else { &self.unicode };
        cell.get_or_init(|| {
            let translator = Translator { chars: self.source.chars().collect(), at: 0, flags: self.flags, ascii };
            let translated = translator.run().map_err(|why| self.syntax(why.to_owned()))?;
            let letters = match self.flags {
                Flags { ignore_case: true, multi_line: true } => "(?im)",
                Flags { ignore_case: true, .. } => "(?i)",
                Flags { multi_line: true, .. } => "(?m)",
                _ => "",
            };
            let ladder = Ladder { expression: format!("{letters}{translated}"), steps: Default::default() };
            let first = ladder.build(0).map_err(|why| self.syntax(why))?;
            ladder.steps[0].get_or_init(|| Some(first));
            Ok(ladder)
        })
        .as_ref()
        .map_err(Clone::clone)
    }

    fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        let regex = self.engine(text.is_ascii())?.step(0).ok_or_else(|| self.too_complex())?;
        regex.is_match(text).map_err(|_| self.too_complex())
    }

    fn count(&self, text: &str) -> Result<usize, PatternError> {
        let engine = self.engine(text.is_ascii())?;
        let (mut count, mut from) = (0, 0);
        while from <= text.len() {
            let step = BACKTRACK_LIMITS.iter().rposition(|(searches, _)| count >= *searches).unwrap_or(0);
            let regex = engine.step(step).ok_or_else(|| self.too_complex())?;
            let Some(found) = regex.find_from_pos(text, from).map_err(|_| self.too_complex())? else { break };
            count += 1;
            from = found.end();
            // An empty match may follow another one, but not in the same place.
            if found.start() == found.end() {
                from += text[from..].chars().next().map_or(1, char::len_utf8);
            }
        }
        Ok(count)
    }
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    flags: Flags,
    /// For texts and patterns of ASCII characters only.
    ascii: bool,
}

impl Translator {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn folds_i(&self) -> bool {
        self.flags.ignore_case && !self.ascii
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
                '$' if !self.flags.multi_line => out.push_str(r"(?=\n?\z)"),
                '(' if self.peek(0) == Some('?') && self.peek(1) == Some('#') => {
                    while self.peek(0).is_some_and(|c| c != ')') {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                // Python folds the dotted and the dotless i with the plain one; Unicode's simple folding does not.
                'i' | 'I' | 'İ' | 'ı' if self.folds_i() => out.push_str("[iIİı]"),
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
        let letters = if self.ascii { "0-9A-Za-z_" } else { r"\p{L}\p{N}_" };
        let word = format!("[{letters}]");
        match c {
            'w' | 'W' => out.push_str(&set(letters, c == 'W')),
            's' | 'S' => out.push_str(&set(SPACE, c == 'S')),
            'd' | 'D' => out.push_str(&set(r"\p{Nd}", c == 'D')),
            'b' if in_class => out.push_str(r"\x{8}"),
            'b' | 'B' if self.ascii && !in_class => out.extend(['\\', c]),
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
                low if self.peek(0) == Some('-') && self.peek(1).is_some_and(|high| !"\\[]".contains(high)) => {
                    let high = self.peek(1).unwrap_or(low);
                    self.at += 2;
                    out.extend([low, '-']);
                    out.extend("&~^-".contains(high).then_some('\\'));
                    out.push(high);
                    if self.folds_i() && ((low..=high).contains(&'i') || (low..=high).contains(&'I')) {
                        out.push_str("İı");
                    }
                }
                'i' | 'I' if self.folds_i() => out.push_str("iIİı"),
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

    const IGNORE_CASE: Flags = Flags { ignore_case: true, multi_line: false };

    fn found(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, IGNORE_CASE).unwrap().is_match(text).unwrap()
    }

    #[test]
    fn words_follow_python() {
        assert!(!found(r"\bx\b", "x² x_ 2x") && found(r"\bx\b", "a x b"));
        assert!(!found(r"\bnaïve\b", "a naïveté") && found(r"^\w+$", "x²\n"));
        assert_eq!(Pattern::new(r"\w+", Flags::default()).unwrap().count("don't stop").unwrap(), 3);
        assert!(!Pattern::word("x").unwrap().is_match("x² x_ 2x").unwrap());
        assert!(Pattern::word("x.").unwrap().is_match("a xy b").unwrap());
    }

    #[test]
    fn case_folds_as_python_does() {
        assert!(found("k", "\u{212a}") && found("s", "ſ") && found("i", "İ") && found("ı", "I"));
        assert!(
            found("k.", "\u{212a}x")
                && found("[s]", "ſ")
                && found("[A-Z]", "İ")
                && !found("[^a-z]", "ı")
                && found("i?i", "İ")
                && found("(?:ı)", "I")
        );
        assert!(!found("straße", "STRASSE"));
    }

    #[test]
    fn odd_patterns_read_as_python_reads_them() {
        assert!(found("c++", "C") && found("a{", "a{") && found("a{,2}b", "aab") && found("x}", "X}"));
        assert!(found("[[]", "[") && found("[a&&b]", "&") && found("a-b", "a-b") && found("(?#note)q", "q"));
        assert!(found("[+--]", ",") && found("[a-c-e]", "-") && found("[a-]", "-") && found("[]-a]", "_"));
        assert!(found("[^a-]", "b") && !found("[^a-]", "-") && found("two words", "two words"));
        for bad in ["(", r"\q", "[a", "a**", "\\"] {
            assert!(matches!(Pattern::new(bad, IGNORE_CASE), Err(PatternError::Syntax { .. })), "{bad}");
        }
        let specials = r"a.b*c[d]$-& #é";
        assert!(Pattern::new(&escape(specials), Flags::default()).unwrap().is_match(specials).unwrap());
    }

    #[test]
    fn empty_matches_count_as_in_python() {
        let count = |pattern: &str, text: &str| Pattern::new(pattern, IGNORE_CASE).unwrap().count(text).unwrap();
        assert_eq!((count("x*", "axb"), count("x*", "ax"), count("x*", "é"), count("(?:)", "ab")), (4, 3, 2, 3));
    }

    #[test]
    fn catastrophic_patterns_end() {
        let pattern = Pattern::new(r"(?:(?=a)a|a)+b", IGNORE_CASE).unwrap();
        assert!(matches!(pattern.is_match(&"a".repeat(64)), Err(PatternError::TooComplex { .. })));
        let everywhere = Pattern::new(r"(?=((?:(?=a)a|a)+b)?)", IGNORE_CASE).unwrap();
        assert!(everywhere.count(&"aaaaaaaaaaaa ".repeat(4000)).is_err());
        assert!(Pattern::new(&"(a{1000}){1000}".repeat(3), IGNORE_CASE).is_err());
        assert!(Pattern::new(&"(".repeat(20_000), IGNORE_CASE).is_err());
    }
}
