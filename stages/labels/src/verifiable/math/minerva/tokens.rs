//! The tokens of the LaTeX that sympy's `parse_latex` reads.

const MAX_TOKENS: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A single sign, digit or letter.
    Sign(char),
    Letter(char),
    Digit(char),
    /// A command with its backslash, or a spelling with a meaning of its own.
    Command(&'a str),
    /// `d` with a variable behind it.
    Differential(&'a str),
    /// Something that is no token; looking at it fails.
    Unknown,
    End,
}

/// Commands that end where they end, whatever letters follow.
pub(super) fn tokenize(text: &str) -> Option<Vec<Token<'_>>> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        if tokens.len() == MAX_TOKENS {
            return None;
        }
        let length = match c {
            ' ' | '\t' | '\r' | '\n' => 1,
            '\\' => {
                let letters = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
                let name = &rest[..1 + letters];
                if letters == 0 {
                    let next = rest[1..].chars().next();
                    match next {
                        Some('{') => tokens.push(Token::Command("\\{")),
                        Some('}') => tokens.push(Token::Command("\\}")),
                        Some(',' | ':' | ';' | '!' | '*' | '-' | '.' | '/' | '"' | '(' | '=') => {}
                        _ => tokens.push(Token::Unknown),
                    }
                    1 + next.map_or(0, char::len_utf8)
                } else {
                    let skipped = [
                        "\\thinspace",
                        "\\medspace",
                        "\\thickspace",
                        "\\quad",
                        "\\qquad",
                        "\\negthinspace",
                        "\\negmedspace",
                        "\\negthickspace",
                        "\\left",
                        "\\right",
                        "\\vrule",
                        "\\vcenter",
                        "\\vbox",
                        "\\vskip",
                        "\\vspace",
                        "\\hfil",
                    ];
                    if !skipped.contains(&name) {
                        tokens.push(Token::Command(name));
                    }
                    name.len()
                }
            }
            'd' => {
                let blank = rest[1..].bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
                let behind = &rest[1 + blank..];
                let length = match behind.bytes().next() {
                    Some(b'\\') => {
                        let letters = behind[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
                        if letters > 0 { 1 + letters } else { 0 }
                    }
                    Some(byte) if byte.is_ascii_alphabetic() => 1,
                    _ => 0,
                };
                if length > 0 {
                    tokens.push(Token::Differential(&behind[..length]));
                    1 + blank + length
                } else {
                    tokens.push(Token::Letter('d'));
                    1
                }
            }
            c if c.is_ascii_alphabetic() => {
                tokens.push(Token::Letter(c));
                1
            }
            c if c.is_ascii_digit() => {
                tokens.push(Token::Digit(c));
                1
            }
            '+' | '-' | '*' | '/' | '(' | ')' | '{' | '}' | '[' | ']' | '|' | '_' | '^' | ':' | '=' | '<' | '>'
            | '!' | '\'' | ',' | '.' => {
                tokens.push(Token::Sign(c));
                1
            }
            c => {
                tokens.push(Token::Unknown);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Some(tokens)
}

pub(super) fn spelling(token: &Token<'_>) -> String {
    match token {
        Token::Sign(c) | Token::Letter(c) | Token::Digit(c) => c.to_string(),
        Token::Command(name) => (*name).to_owned(),
        Token::Differential(variable) => format!("d{variable}"),
        Token::Unknown | Token::End => String::new(),
    }
}
