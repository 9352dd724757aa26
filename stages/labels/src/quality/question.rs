//! The text of a pairwise question to a generative judge.

/// A text with `{prompt}`, `{first}` and `{second}` in it, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Prompt,
    First,
    Second,
}

/// What a question template lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has no `{0}`")]
pub struct MissingPlaceholder(pub &'static str);

const PLACEHOLDERS: [(&str, Piece); 3] =
    [("{prompt}", Piece::Prompt), ("{first}", Piece::First), ("{second}", Piece::Second)];

impl QuestionTemplate {
    /// # Errors
    /// A placeholder does not occur.
    pub fn parse(text: &str) -> Result<Self, MissingPlaceholder> {
        if let Some((name, _)) = PLACEHOLDERS.iter().find(|(name, _)| !text.contains(name)) {
            return Err(MissingPlaceholder(name));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        let next = |rest: &str| {
            let found = PLACEHOLDERS.iter().filter_map(|(name, piece)| Some((rest.find(name)?, *name, piece.clone())));
            found.min_by_key(|(at, ..)| *at)
        };
        while let Some((at, name, piece)) = next(rest) {
            pieces.extend([Piece::Text(rest[..at].to_owned()), piece]);
            rest = &rest[at + name.len()..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { pieces })
    }

    /// The question. What is put in is taken as it is, placeholders in it too.
    #[must_use]
    pub fn fill(&self, prompt: &str, first: &str, second: &str) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Prompt => prompt.to_owned(),
            Piece::First => first.to_owned(),
            Piece::Second => second.to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let template = QuestionTemplate::parse("Q {prompt} B {second} A {first} {x}").unwrap();
        assert_eq!(template.fill("{first}", "{second}", "2"), "Q {first} B 2 A {second} {x}");
        assert_eq!(QuestionTemplate::parse("{prompt} {first}"), Err(MissingPlaceholder("{second}")));
    }
}
