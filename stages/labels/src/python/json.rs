//! What Python's `json.loads` accepts: JSON, plus `NaN`, `Infinity`, lone surrogates and numbers out of range.

/// Nesting at which Python's decoder gives up with a recursion error.
const MAX_DEPTH: usize = 990;
/// Digits of an integer at which Python refuses the conversion.
const MAX_INT_DIGITS: usize = 4300;

/// Whether `json.loads(text)` succeeds.
pub fn is_json(text: &str) -> bool {
    let mut parser = Parser { bytes: text.as_bytes(), at: 0 };
    parser.space();
    parser.value(0).is_some() && {
        parser.space();
        parser.at == parser.bytes.len()
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, word: &str) -> Option<()> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => self.items(b'}', depth, true),
            b'[' => self.items(b']', depth, false),
            b'"' => self.string(),
            b't' => self.eat("true"),
            b'f' => self.eat("false"),
            b'n' => self.eat("null"),
            b'N' => self.eat("NaN"),
            b'I' => self.eat("Infinity"),
            b'-' if self.bytes[self.at..].starts_with(b"-Infinity") => self.eat("-Infinity"),
            _ => self.number(),
        }
    }

    fn items(&mut self, close: u8, depth: usize, keyed: bool) -> Option<()> {
        self.at += 1;
        self.space();
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            if keyed {
                (self.peek()? == b'"').then_some(())?;
                self.string()?;
                self.space();
                (self.peek()? == b':').then(|| self.at += 1)?;
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            let next = self.peek()?;
            self.at += 1;
            if next == close {
                return Some(());
            }
            (next == b',').then_some(())?;
            self.space();
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                0..=0x1f => return None,
                b'\\' => {
                    let escape = self.peek()?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let digits = self.bytes.get(self.at..self.at + 4)?;
                            digits.iter().all(u8::is_ascii_hexdigit).then(|| self.at += 4)?;
                        }
                        _ => return None,
                    }
                }
                _ => {}
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let mut integer = 1;
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            integer = self.digits();
            (integer > 0).then_some(())?;
        }
        let end_of_integer = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                self.at -= 1;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            let before = self.at;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                self.at = before;
            }
        }
        (self.at > end_of_integer || integer <= MAX_INT_DIGITS).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_python_accepts() {
        for good in [
            "NaN",
            "-Infinity",
            "[Infinity]",
            "1e999",
            r#""\ud800""#,
            r#"{"a":1,"a":2}"#,
            "3",
            " [1, 2.5e-3 ] ",
            "-0",
            "{}",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "01",
            "[1,]",
            "{,}",
            "\u{feff}1",
            "\"a\nb\"",
            "'a'",
            "1.",
            ".5",
            "+1",
            "nan",
            "{\"a\"}",
            "[1 2]",
            "\"\\x\"",
            "--1",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn deep_nesting_ends() {
        assert!(!is_json(&"[".repeat(100_000)));
        assert!(is_json(&format!("{}{}", "[".repeat(500), "]".repeat(500))));
    }
}
