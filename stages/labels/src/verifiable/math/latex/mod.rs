//! LaTeX to expressions: tokens, derivation, meaning.

mod convert;
mod lexer;
mod parser;
mod syntax;

pub use convert::MeaningError;

use super::expr::Expr;
use lexer::LexError;
use parser::SyntaxError;

/// Why a LaTeX text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LatexError {
    #[error("no token begins at byte {0}")]
    Token(usize),
    #[error("more than {} tokens", lexer::MAX_TOKENS)]
    TooLong,
    #[error("not an expression of the grammar")]
    Syntax,
    #[error("reading it takes more work than allowed")]
    TooComplex,
    #[error(transparent)]
    Meaning(#[from] MeaningError),
}

/// Reads normalised LaTeX; `real` says whether variables stand for real numbers.
///
/// # Errors
/// [`LatexError`] where it is no expression, or one beyond the bounds on size and work.
pub fn read(text: &str, real: bool) -> Result<Expr, LatexError> {
    let tokens = lexer::tokenize(text).map_err(|error| match error {
        LexError::Unknown(at) => LatexError::Token(at),
        LexError::TooLong => LatexError::TooLong,
    })?;
    let tree = parser::parse(&tokens).map_err(|error| match error {
        SyntaxError::NoDerivation => LatexError::Syntax,
        SyntaxError::TooComplex => LatexError::TooComplex,
    })?;
    Ok(convert::convert(text, &tokens, &tree, real)?)
}
