//! Cuts text at its `${ … }`, without understanding what stands between the braces.

/// A part of a text.
pub enum Piece<'a> {
    Text(&'a str),
    /// The source between the braces, and the whole with them.
    Expression {
        source: &'a str,
        whole: &'a str,
        ordinal: usize,
    },
    /// `${` without its `}`.
    Open {
        ordinal: usize,
    },
}

/// Cuts text at its expressions; the ordinal counts every `${`.
#[must_use]
pub fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut ordinal = 0;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${` is an escaped `${`.
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
        } else {
            pieces.push(Piece::Text(&rest[..at]));
            let Some(end) = closing(&rest[at + 2..]) else {
                pieces.push(Piece::Open { ordinal });
                rest = &rest[at + 2..];
                ordinal += 1;
                continue;
            };
            let (source, whole) = (&rest[at + 2..at + 2 + end], &rest[at..at + end + 3]);
            pieces.push(Piece::Expression { source, whole, ordinal });
            // An expression may itself contain `${` inside quotes.
            ordinal += source.matches("${").count();
            rest = &rest[at + end + 3..];
        }
        ordinal += 1;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Text("")));
    pieces
}

/// Where the brace that ends an expression is, past nested braces and quotes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<String> {
        let piece = |piece: Piece<'_>| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Expression { source, ordinal, .. } => format!("{ordinal}<{source}>"),
            Piece::Open { ordinal } => format!("{ordinal}<"),
        };
        split(text).into_iter().map(piece).collect()
    }

    #[test]
    fn braces_quotes_and_escapes() {
        assert_eq!(written("a${b}c"), ["a", "0<b>", "c"]);
        assert_eq!(written("${ {'}': 1}['}'] }${x}"), ["0< {'}': 1}['}'] >", "1<x>"]);
        assert_eq!(written("$${b}${c}"), ["${", "b}", "1<c>"]);
        assert_eq!(written("a${b"), ["a", "0<", "b"]);
        assert_eq!(written("${x:-${y}}!"), ["0<x:-${y}>", "!"]);
        assert_eq!(written("$b {c}"), ["$b {c}"]);
        assert!(written("").is_empty());
    }
}
