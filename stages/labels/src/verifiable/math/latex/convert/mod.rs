//! From the syntax tree to an expression, with the reference's readings: `3\frac45` is a mixed number, names lose their
//! case, `\text{..}` is a variable named so, `x \approx 3` is 3, `(5, 3)` is a pair because no interval runs backwards.

mod collections;
mod functions;
mod names;

use super::super::{
    exact::{self, Number},
    expr::{Constant, Expr, Function, Matrix, Symbol},
};
use super::{
    lexer::Token,
    parser::Tree,
    syntax::{Node, NodeId, Operator, Span, Suffix},
};
use functions::norm;

/// Nested operations at most.
const MAX_DEPTH: u32 = 160;

/// Why a tree means nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MeaningError {
    #[error("a construct that is not mathematics the verifier knows")]
    Unsupported,
    #[error("a number of more than {} digits", exact::MAX_DIGITS)]
    NumberTooLong,
    #[error("nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("a set where a number must stand, or the reverse")]
    WrongKind,
}

type Meaning = Result<Expr, MeaningError>;

/// Gives the tree its meaning. `real` says whether variables are real numbers.
///
/// # Errors
/// [`MeaningError`] where the tree has none.
pub fn convert(text: &str, tokens: &[Token], tree: &Tree, real: bool) -> Meaning {
    let mut converter = Converter { text, tokens, nodes: &tree.nodes, real, depth: 0 };
    converter.root(tree.root)
}

struct Converter<'a> {
    text: &'a str,
    tokens: &'a [Token],
    nodes: &'a [Node],
    real: bool,
    depth: u32,
}

impl Converter<'_> {
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    fn token_text(&self, token: u32) -> &str {
        let token = self.tokens[token as usize];
        &self.text[token.start..token.end]
    }

    /// The tokens of a span without anything between them.
    fn span_text(&self, (from, to): Span) -> String {
        (from..to).map(|token| self.token_text(token)).collect()
    }

    fn symbol(&self, name: impl Into<String>) -> Expr {
        Expr::Symbol(Symbol { name: name.into(), real: self.real })
    }

    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, MeaningError>) -> Result<T, MeaningError> {
        if self.depth == MAX_DEPTH {
            return Err(MeaningError::TooDeep);
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    fn scalar(&mut self, id: NodeId) -> Meaning {
        self.nested(|this| match this.node(id).clone() {
            Node::Binary(..) => this.binary(id),
            Node::Signed(minus, inner) => {
                let inner = this.scalar(inner)?;
                Ok(if minus { inner.negated() } else { inner })
            }
            Node::Juxtaposed(..) => this.juxtaposed(id),
            Node::Suffixed(inner, suffix) => this.suffixed(inner, suffix),
            Node::Power(base, exponent) => Ok(Expr::power(this.scalar(base)?, this.scalar(exponent)?)),
            Node::Norm(inner) => norm(this.scalar(inner)?),
            Node::Abs(inner) => this.call(Function::Abs, inner),
            Node::Floor(inner) => this.call(Function::Floor, inner),
            Node::Ceil(inner) => this.call(Function::Ceiling, inner),
            Node::Name { token, subscript, superscript } => this.name(token, subscript, superscript),
            Node::Number(token) => this.number(token),
            Node::ENotation(token) => this.number(token),
            Node::Percent(token) => {
                let text = this.token_text(token).trim_end_matches(['%', '\\']).trim_end();
                Ok(Expr::percent(literal(text)?))
            }
            Node::CapitalE => Ok(this.symbol("e")),
            Node::Differential(token) => Ok(this.symbol(format!("d{}", this.differential(token)))),
            Node::Gamma => Ok(Expr::Constant(Constant::EulerGamma)),
            Node::Symbol(token) => match this.token_text(token) {
                "\\partial" => Err(MeaningError::Unsupported),
                _ => Ok(Expr::Constant(Constant::Infinity)),
            },
            Node::Frac { upper, lower, upper_span, lower_span } => this.frac(upper, lower, upper_span, lower_span),
            Node::Binom(upper, lower) => {
                let (upper, lower) = (this.scalar(upper)?, this.scalar(lower)?);
                if let (Expr::Integer(n), Expr::Integer(k)) = (&upper, &lower)
                    && let Some(value) = exact::binomial(n, k)
                {
                    return Ok(Expr::Integer(value));
                }
                Ok(Expr::Call(Function::Binomial, vec![upper, lower]))
            }
            Node::Matrix(rows) => this.matrix(&rows),
            Node::Det(rows) => Ok(Expr::Call(Function::Determinant, vec![this.matrix(&rows)?])),
            Node::Unary { name, subscript, superscript, argument } => {
                this.unary(name, subscript, superscript, argument)
            }
            Node::Variadic { name, superscript, arguments } => {
                let call = this.variadic(name, arguments)?;
                this.raised(call, superscript)
            }
            Node::Apply { name, superscript, arguments } => {
                let function = Function::Named(this.span_text(name));
                let arguments = this.arguments(arguments)?;
                this.raised(Expr::Call(function, arguments), superscript)
            }
            Node::Sqrt { root, base } => {
                let base = this.scalar(base)?;
                let exponent = match root {
                    None => Expr::fraction(&1.into(), &2.into()),
                    Some(root) => match this.scalar(root)? {
                        Expr::Integer(degree) => Expr::fraction(&1.into(), &degree),
                        Expr::Rational(degree) => Expr::rational(degree.recip()),
                        degree => Expr::reciprocal(degree),
                    },
                };
                Ok(Expr::power(base, exponent))
            }
            Node::Euler(None) => Ok(Expr::Constant(Constant::E)),
            Node::Euler(Some(exponent)) => Ok(Expr::power(Expr::Constant(Constant::E), this.scalar(exponent)?)),
            Node::Series { product, index, first, last, term } => {
                let function = if product { Function::Product } else { Function::Sum };
                let parts = [term, index, first, last].map(|part| this.scalar(part));
                Ok(Expr::Call(function, parts.into_iter().collect::<Result<_, _>>()?))
            }
            Node::Limit { variable, target, body } => {
                let name = this.token_text(variable).trim().trim_start_matches('\\').to_owned();
                let (body, target) = (this.scalar(body)?, this.scalar(target)?);
                Ok(Expr::Call(Function::Limit, vec![body, this.symbol(name), target]))
            }
            Node::Integral { limits, integrand, differential } => {
                let integrand = integrand.map_or(Ok(Expr::one()), |integrand| this.scalar(integrand))?;
                let variable = differential.map_or_else(|| "x".to_owned(), |token| this.differential(token));
                let mut parts = vec![integrand, this.symbol(variable)];
                if let Some((low, high)) = limits {
                    parts.extend([this.scalar(low)?, this.scalar(high)?]);
                }
                Ok(Expr::Call(Function::Integral, parts))
            }
            Node::Angle | Node::Comma(..) | Node::Semicolon(..) | Node::PlusMinus(..) | Node::Names(_) => {
                Err(MeaningError::Unsupported)
            }
            Node::Relation(..) => this.relation(id),
            Node::Interval { .. }
            | Node::Tuple(_)
            | Node::Set(_)
            | Node::Boxed(_)
            | Node::Literal(_)
            | Node::Union(..)
            | Node::Intersection(..)
            | Node::Minus(..)
            | Node::Subset(..)
            | Node::Membership(..)
            | Node::SetRelation(_)
            | Node::Elements(_) => Err(MeaningError::WrongKind),
        })
    }

    fn call(&mut self, function: Function, inner: NodeId) -> Meaning {
        Ok(Expr::Call(function, vec![self.scalar(inner)?]))
    }

    fn number(&self, token: u32) -> Meaning {
        literal(self.token_text(token))
    }

    fn binary(&mut self, id: NodeId) -> Meaning {
        let (mut at, mut steps) = (id, Vec::new());
        while let Node::Binary(operator, left, right) = self.node(at) {
            steps.push((*operator, *right));
            at = *left;
        }
        let mut left = self.scalar(at)?;
        for (operator, right) in steps.into_iter().rev() {
            let right = self.scalar(right)?;
            left = match operator {
                Operator::Add => Expr::sum(left, right),
                Operator::Sub => Expr::sum(left, right.negated()),
                Operator::Mul => Expr::product(left, right),
                Operator::Div => quotient(left, right),
                Operator::Mod => Expr::Call(Function::Mod, vec![left, right]),
            };
        }
        Ok(left)
    }

    /// Factors side by side, from the right: an integer before a positive fraction or integer makes a mixed number.
    fn juxtaposed(&mut self, id: NodeId) -> Meaning {
        let factors = self.spine(id, |node| match node {
            Node::Juxtaposed(left, right) => Some((*left, *right)),
            _ => None,
        });
        let mut factors = factors.into_iter().rev();
        let last = factors.next().ok_or(MeaningError::Unsupported)?;
        let mut product = self.scalar(last)?;
        for factor in factors {
            if let Some(variable) = self.bare_derivative(factor) {
                product = Expr::Call(Function::Derivative, vec![product, variable]);
                continue;
            }
            let factor = self.scalar(factor)?;
            product = match (&factor, &product) {
                (Expr::Integer(whole), part) if part.is_positive_rational() => {
                    let part = part.exact_literal().ok_or(MeaningError::Unsupported)?;
                    let part = if exact::is_negative(whole) { -part } else { part };
                    Expr::rational(part + whole)
                }
                _ => Expr::product(factor, product),
            };
        }
        Ok(product)
    }

    fn suffixed(&mut self, inner: NodeId, suffix: Suffix) -> Meaning {
        let value = self.scalar(inner)?;
        Ok(match suffix {
            Suffix::Factorial => Expr::Call(Function::Factorial, vec![value]),
            Suffix::Degree => value,
            Suffix::Transpose => match value {
                Expr::Matrix(matrix) => {
                    let cell = |row: usize, column: usize| matrix.cells[row * matrix.columns + column].clone();
                    let cells = (0..matrix.columns).flat_map(|c| (0..matrix.rows).map(move |r| (r, c)));
                    let cells = cells.map(|(row, column)| cell(row, column)).collect();
                    Expr::Matrix(Matrix { rows: matrix.columns, columns: matrix.rows, cells })
                }
                other => other,
            },
            Suffix::Evaluate(lower, upper) => {
                let at = |this: &mut Self, limit: NodeId| -> Meaning {
                    let (variable, point) = match this.node(limit).clone() {
                        Node::Relation(_, variable, point) => {
                            let Expr::Symbol(variable) = this.scalar(variable)? else {
                                return Err(MeaningError::Unsupported);
                            };
                            (Some(variable), this.scalar(point)?)
                        }
                        _ => {
                            let point = this.scalar(limit)?;
                            (point.symbols().into_iter().next(), point)
                        }
                    };
                    Ok(variable.map_or_else(|| value.clone(), |v| substituted(&value, &v, &point)))
                };
                match (lower, upper) {
                    (Some(lower), Some(upper)) => {
                        let (lower, upper) = (at(self, lower)?, at(self, upper)?);
                        Expr::sum(upper, Expr::product(lower, Expr::integer(-1)))
                    }
                    (Some(limit), None) | (None, Some(limit)) => at(self, limit)?,
                    (None, None) => value,
                }
            }
        })
    }

    fn raised(&mut self, base: Expr, superscript: Option<NodeId>) -> Meaning {
        Ok(match superscript {
            Some(exponent) => Expr::power(base, self.scalar(exponent)?),
            None => base,
        })
    }
}

/// A fraction of two integers, else the product with the reciprocal.
fn quotient(upper: Expr, lower: Expr) -> Expr {
    match (&upper, &lower) {
        (Expr::Integer(upper), Expr::Integer(lower)) => Expr::fraction(upper, lower),
        _ => Expr::Mul(vec![upper, Expr::reciprocal(lower)]),
    }
}

/// A number as written, without separators.
fn literal(text: &str) -> Meaning {
    match exact::parse_number(text).ok_or(MeaningError::NumberTooLong)? {
        Number::Integer(value) => Ok(Expr::Integer(value)),
        Number::Float(value) => Ok(Expr::Float(value)),
    }
}

/// The expression with a variable replaced.
fn substituted(expr: &Expr, variable: &Symbol, value: &Expr) -> Expr {
    let all = |parts: &[Expr]| parts.iter().map(|part| substituted(part, variable, value)).collect();
    match expr {
        Expr::Symbol(symbol) if symbol == variable => value.clone(),
        Expr::Add(parts) => Expr::Add(all(parts)),
        Expr::Mul(parts) => Expr::Mul(all(parts)),
        Expr::Call(function, parts) => Expr::Call(function.clone(), all(parts)),
        Expr::Power(pair) => Expr::power(substituted(&pair.0, variable, value), substituted(&pair.1, variable, value)),
        other => other.clone(),
    }
}
