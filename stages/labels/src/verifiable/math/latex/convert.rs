//! From the syntax tree to an expression, with the reference's readings: `3\frac45` is a mixed number, names lose their
//! case, `\text{..}` is a variable named so, `x \approx 3` is 3, `(5, 3)` is a pair because no interval runs backwards.

use super::super::{
    exact::{self, Number},
    expr::{Constant, Domain, Expr, Function, Interval, Matrix, Order, Relation, Symbol},
    numeric,
};
use super::{
    lexer::{Kind, Token},
    parser::Tree,
    syntax::{Node, NodeId, Operator, Span, Suffix},
};
use num_bigint::BigInt;
use num_integer::Integer;
use std::cmp::Ordering;

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

    fn root(&mut self, id: NodeId) -> Meaning {
        match self.node(id).clone() {
            Node::Elements(list) => {
                if let Some(number) = grouped_number(self.text) {
                    return Ok(number);
                }
                self.elements(list)
            }
            Node::SetRelation(set) => self.set(set),
            _ => self.set(id),
        }
    }

    /// A list with commas and semicolons: its only element, or a set.
    fn elements(&mut self, list: NodeId) -> Meaning {
        let mut groups = self.groups(list)?;
        if groups.len() == 1 {
            let mut group = groups.remove(0);
            return Ok(if group.len() == 1 { group.remove(0) } else { Expr::set(group) });
        }
        if groups.iter().all(|group| group.len() == 1) {
            return Ok(Expr::set(groups.into_iter().flatten().collect()));
        }
        Ok(Expr::set(groups.into_iter().map(Expr::Tuple).collect()))
    }

    fn groups(&mut self, list: NodeId) -> Result<Vec<Vec<Expr>>, MeaningError> {
        let spine = self.spine(list, |node| match node {
            Node::Semicolon(left, right) => Some((*left, *right)),
            _ => None,
        });
        spine.into_iter().map(|group| self.group(group)).collect()
    }

    fn group(&mut self, list: NodeId) -> Result<Vec<Expr>, MeaningError> {
        let mut all = Vec::new();
        for element in self.comma_spine(list) {
            match self.node(element).clone() {
                Node::PlusMinus(None, value) => {
                    let value = self.scalar(value)?;
                    all.extend([value.clone().negated(), value]);
                }
                Node::PlusMinus(Some(left), right) => {
                    let (left, right) = (self.scalar(left)?, self.scalar(right)?);
                    all.push(Expr::Add(vec![left.clone(), right.clone()]));
                    all.push(Expr::Add(vec![left, right.negated()]));
                }
                _ => all.push(self.element(element)?),
            }
        }
        Ok(all)
    }

    fn comma_spine(&self, list: NodeId) -> Vec<NodeId> {
        let parts = self.spine(list, |node| match node {
            Node::Comma(left, right) => Some((*left, *right)),
            _ => None,
        });
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match self.node(part) {
                Node::Comma(..) => flat.extend(self.comma_spine(part)),
                _ => flat.push(part),
            }
        }
        flat
    }

    /// The operands of a chain to the left, first to last.
    fn spine(&self, id: NodeId, open: impl Fn(&Node) -> Option<(NodeId, NodeId)>) -> Vec<NodeId> {
        let (mut at, mut parts) = (id, Vec::new());
        while let Some((left, right)) = open(self.node(at)) {
            parts.push(right);
            at = left;
        }
        parts.push(at);
        parts.reverse();
        parts
    }

    fn element(&mut self, id: NodeId) -> Meaning {
        match self.node(id) {
            Node::Relation(..) => self.relation(id),
            Node::Interval { .. } | Node::Literal(_) | Node::Tuple(_) | Node::Set(_) | Node::Boxed(_) => self.set(id),
            _ => self.scalar(id),
        }
    }

    fn relation(&mut self, id: NodeId) -> Meaning {
        let (mut at, mut signs) = (id, Vec::new());
        while let Node::Relation(kind, left, right) = self.node(at) {
            signs.push((*kind, *right));
            at = *left;
        }
        let mut left = self.scalar(at)?;
        for (kind, right) in signs.into_iter().rev() {
            let right = self.scalar(right)?;
            let order = match kind {
                Kind::Assign | Kind::Equal => Order::Equal,
                Kind::Unequal => Order::Unequal,
                Kind::Less => Order::Less,
                Kind::LessEqual => Order::LessEqual,
                Kind::Greater => Order::Greater,
                Kind::GreaterEqual => Order::GreaterEqual,
                // The exact side of an approximation counts, unless it only is a name.
                Kind::Approx => {
                    if left.names_a_value() {
                        left = right;
                    }
                    continue;
                }
                _ => return Err(MeaningError::Unsupported),
            };
            left = match left {
                Expr::Chain(mut relations) => {
                    let shared = relations.last().map(|last| last.right.clone()).ok_or(MeaningError::Unsupported)?;
                    relations.push(Relation { order, left: shared, right });
                    Expr::Chain(relations)
                }
                Expr::Relation(first) => {
                    let next = Relation { order, left: first.right.clone(), right };
                    Expr::Chain(vec![*first, next])
                }
                left => Expr::Relation(Box::new(Relation { order, left, right })),
            };
        }
        Ok(left)
    }

    fn set(&mut self, id: NodeId) -> Meaning {
        self.nested(|this| match this.node(id).clone() {
            Node::Union(left, right) => Ok(Expr::Union(Box::new((this.operand_set(left)?, this.operand_set(right)?)))),
            Node::Intersection(left, right) => {
                Ok(Expr::Intersection(Box::new((this.operand_set(left)?, this.operand_set(right)?))))
            }
            Node::Minus(left, right) => {
                Ok(Expr::Complement(Box::new((this.operand_set(left)?, this.operand_set(right)?))))
            }
            Node::Subset(inner, outer) => {
                let (inner, outer) = (this.set(inner)?, this.set(outer)?);
                Ok(Expr::Truth(inner == outer))
            }
            Node::Membership(kind, names, set) => {
                let left = this.names(names)?;
                let right = match this.node(set).clone() {
                    Node::Elements(list) => this.elements(list)?,
                    _ => this.set(set)?,
                };
                let equation = Expr::Relation(Box::new(Relation { order: Order::Equal, left, right }));
                Ok(if kind == Kind::NotIn { Expr::Not(Box::new(equation)) } else { equation })
            }
            Node::Interval { left_open, right_open, start, end } => {
                let (start, end) = (this.scalar(start)?, this.scalar(end)?);
                interval(start, end, left_open, right_open)
            }
            Node::Literal(kind) => Ok(Expr::Domain(match kind {
                Kind::Naturals => Domain::Naturals,
                Kind::Integers => Domain::Integers,
                Kind::Rationals => Domain::Rationals,
                Kind::Reals => Domain::Reals,
                Kind::Complexes => Domain::Complexes,
                Kind::EmptySet => Domain::Empty,
                _ => return Err(MeaningError::Unsupported),
            })),
            Node::Tuple(list) => {
                let mut groups = this.groups(list)?;
                if groups.len() == 1 && groups[0].len() == 1 {
                    return Ok(groups.remove(0).remove(0));
                }
                Ok(Expr::Tuple(groups.into_iter().flatten().collect()))
            }
            Node::Set(list) => Ok(Expr::set(this.groups(list)?.into_iter().flatten().collect())),
            Node::Boxed(list) => this.elements(list),
            _ => this.scalar(id),
        })
    }

    /// A set to unite, intersect or subtract; a tuple counts as the set of its parts.
    fn operand_set(&mut self, id: NodeId) -> Meaning {
        match self.set(id)? {
            Expr::Tuple(parts) => Ok(Expr::set(parts)),
            set if set.is_set() => Ok(set),
            _ => Err(MeaningError::WrongKind),
        }
    }

    fn names(&mut self, id: NodeId) -> Meaning {
        let Node::Names(names) = self.node(id).clone() else { return self.scalar(id) };
        let mut parts: Vec<Expr> = names.into_iter().map(|name| self.scalar(name)).collect::<Result<_, _>>()?;
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Tuple(parts) })
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

    fn name(&mut self, token: u32, subscript: Option<Span>, superscript: Option<NodeId>) -> Meaning {
        let text = self.token_text(token);
        let mut name = match self.tokens[token as usize].kind {
            // The imaginary unit loses its scripts.
            Kind::Letter if text == "I" => return Ok(Expr::Constant(Constant::I)),
            Kind::Accent => accented(text),
            _ => text.trim().to_owned(),
        };
        if let Some((from, to)) = subscript {
            let inner = self.span_text((from + 1, to));
            let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(&inner).trim();
            if inner.chars().count() > 1 {
                name.push_str(&format!("_{{{inner}}}"));
            } else {
                name.push_str(&format!("_{inner}"));
            }
        }
        let value = self.named(&name);
        self.raised(value, superscript)
    }

    fn named(&self, name: &str) -> Expr {
        let name = name.trim();
        let name = greek_name(&name.replace('"', "")).map_or_else(|| name.to_owned(), str::to_owned);
        let name = name.strip_prefix('\\').unwrap_or(&name);
        let lower = if matches!(name, "pi" | "gamma" | "Gamma") { name.to_owned() } else { name.to_lowercase() };
        match lower.as_str() {
            "pi" => Expr::Constant(Constant::Pi),
            "gamma" | "Gamma" => Expr::Constant(Constant::EulerGamma),
            _ => self.symbol(lower),
        }
    }

    /// The variable behind a `d`, in its own case.
    fn differential(&self, token: u32) -> String {
        let text = &self.token_text(token)[1..];
        let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        text.strip_prefix('\\').unwrap_or(text).to_owned()
    }

    /// The variable of a derivative's denominator, `dx` or `\partial x`.
    fn derivative_variable(&self, (from, to): Span) -> Option<(Expr, bool)> {
        let kind = |token: u32| self.tokens[token as usize].kind;
        if to == from + 1 && kind(from) == Kind::Differential {
            return Some((self.symbol(self.differential(from)), false));
        }
        let partial = to == from + 2 && self.token_text(from) == "\\partial" && kind(from + 1) == Kind::Letter;
        partial.then(|| (self.symbol(self.token_text(from + 1)), true))
    }

    /// `\frac{d}{dx}`: the variable.
    fn bare_derivative(&self, id: NodeId) -> Option<Expr> {
        let Node::Frac { upper_span: (from, to), lower_span, .. } = self.node(id) else { return None };
        let (variable, partial) = self.derivative_variable(*lower_span)?;
        let sign = if partial { "\\partial" } else { "d" };
        (*to == *from + 1 && self.token_text(*from) == sign).then_some(variable)
    }

    fn frac(&mut self, upper: NodeId, lower: NodeId, upper_span: Span, lower_span: Span) -> Meaning {
        if let Some((variable, partial)) = self.derivative_variable(lower_span) {
            let first = self.token_text(upper_span.0);
            if (!partial && first.starts_with('d')) || (partial && first == "\\partial") {
                let body = self.symbol(self.span_text(upper_span));
                return Ok(Expr::Call(Function::Derivative, vec![body, variable]));
            }
        }
        Ok(quotient(self.scalar(upper)?, self.scalar(lower)?))
    }

    fn matrix(&mut self, rows: &[Vec<NodeId>]) -> Meaning {
        let mut cells = Vec::with_capacity(rows.len());
        for row in rows {
            cells.push(row.iter().map(|cell| self.scalar(*cell)).collect::<Result<Vec<_>, _>>()?);
        }
        Matrix::from_rows(cells).map(Expr::Matrix).ok_or(MeaningError::WrongKind)
    }

    fn arguments(&mut self, list: NodeId) -> Result<Vec<Expr>, MeaningError> {
        self.comma_spine(list).into_iter().map(|argument| self.scalar(argument)).collect()
    }

    fn variadic(&mut self, name: u32, list: NodeId) -> Meaning {
        let arguments = self.arguments(list)?;
        let function = match self.token_text(name).trim_start_matches('\\') {
            "gcd" => Function::Gcd,
            "lcm" => Function::Lcm,
            "max" => Function::Max,
            "min" => Function::Min,
            _ => return Err(MeaningError::Unsupported),
        };
        let integers = arguments.iter().map(|argument| match argument {
            Expr::Integer(value) => Some(value.clone()),
            _ => None,
        });
        if let (Function::Gcd | Function::Lcm, Some(integers)) = (&function, integers.collect::<Option<Vec<_>>>()) {
            let join = |a: BigInt, b: &BigInt| if function == Function::Gcd { a.gcd(b) } else { a.lcm(b) };
            let start = BigInt::from(i32::from(function == Function::Lcm));
            return Ok(Expr::Integer(integers.iter().fold(start, join)));
        }
        Ok(Expr::Call(function, arguments))
    }

    fn unary(
        &mut self,
        name: u32,
        subscript: Option<NodeId>,
        superscript: Option<NodeId>,
        argument: NodeId,
    ) -> Meaning {
        let argument = self.scalar(argument)?;
        let mut power = superscript.map(|exponent| self.scalar(exponent)).transpose()?;
        let name = self.token_text(name).trim_start_matches('\\').to_owned();
        let one = |function| Ok(Expr::Call(function, vec![argument.clone()]));
        let mut inverse = |usual, inverse| {
            // `\sin^{-1}` is the inverse function, not the reciprocal.
            if power.as_ref().is_some_and(|power| power.is_integer_literal(-1)) {
                power = None;
                one(inverse)
            } else {
                one(usual)
            }
        };
        let call = match name.as_str() {
            "log" | "ln" => {
                let base = match subscript {
                    Some(base) => self.scalar(base)?,
                    None if name == "ln" => Expr::Constant(Constant::E),
                    None => Expr::integer(10),
                };
                Ok(Expr::Call(Function::Log, vec![argument.clone(), base]))
            }
            "exp" => Ok(Expr::power(Expr::Constant(Constant::E), argument.clone())),
            "floor" => one(Function::Floor),
            "ceil" => one(Function::Ceiling),
            "det" if matches!(argument, Expr::Matrix(_)) => one(Function::Determinant),
            "norm" => norm(argument.clone()),
            "Gamma" | "gamma" => one(Function::Gamma),
            "sin" => inverse(Function::Sin, Function::Asin),
            "cos" => inverse(Function::Cos, Function::Acos),
            "tan" => inverse(Function::Tan, Function::Atan),
            "csc" => inverse(Function::Csc, Function::Acsc),
            "sec" => inverse(Function::Sec, Function::Asec),
            "cot" => inverse(Function::Cot, Function::Acot),
            "sinh" => inverse(Function::Sinh, Function::Asinh),
            "cosh" => inverse(Function::Cosh, Function::Acosh),
            "tanh" => inverse(Function::Tanh, Function::Atanh),
            "arcsin" => one(Function::Asin),
            "arccos" => one(Function::Acos),
            "arctan" => one(Function::Atan),
            "arccsc" => one(Function::Acsc),
            "arcsec" => one(Function::Asec),
            "arccot" => one(Function::Acot),
            "arsinh" | "arcsinh" => one(Function::Asinh),
            "arcosh" | "arccosh" => one(Function::Acosh),
            "artanh" | "arctanh" => one(Function::Atanh),
            "trace" | "tr" => trace(&argument),
            _ => Err(MeaningError::Unsupported),
        }?;
        Ok(match power {
            Some(power) => Expr::power(call, power),
            None => call,
        })
    }
}

/// The Euclidean norm of a matrix; of anything else there is none.
fn norm(argument: Expr) -> Meaning {
    let Expr::Matrix(matrix) = argument else { return Err(MeaningError::WrongKind) };
    let square = |cell| Expr::power(Expr::Call(Function::Abs, vec![cell]), Expr::integer(2));
    let sum = Expr::Add(matrix.cells.into_iter().map(square).collect());
    Ok(Expr::power(sum, Expr::fraction(&1.into(), &2.into())))
}

fn trace(argument: &Expr) -> Meaning {
    let Expr::Matrix(matrix) = argument else { return Err(MeaningError::WrongKind) };
    if matrix.rows != matrix.columns {
        return Err(MeaningError::WrongKind);
    }
    Ok(Expr::Add((0..matrix.rows).map(|i| matrix.cells[i * matrix.columns + i].clone()).collect()))
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

/// A whole text that is one number with commas between groups of three digits.
fn grouped_number(text: &str) -> Option<Expr> {
    let text = text.trim();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = match unsigned.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let mut more = groups.peekable();
    more.peek()?;
    let grouped = digits(first) && first.len() <= 3 && more.all(|group| group.len() == 3 && digits(group));
    if !grouped || part.is_some_and(|part| !digits(part)) {
        return None;
    }
    if text.starts_with('0') {
        // A leading zero makes the comma a decimal point.
        return literal(&text.replace(',', ".")).ok();
    }
    literal(&text.replace(',', "")).ok()
}

/// An interval, or what it comes to where its ends meet or cross.
fn interval(start: Expr, end: Expr, left_open: bool, right_open: bool) -> Meaning {
    let order = numeric::compare(&end, &start);
    let backwards = match (left_open, right_open) {
        (true, true) => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        (false, false) => order == Some(Ordering::Less),
        _ => false,
    };
    if backwards {
        return Ok(Expr::Tuple(vec![start, end]));
    }
    for side in [&start, &end] {
        if numeric::is_not_real(side) {
            return Err(MeaningError::WrongKind);
        }
    }
    let (low, high) = (Expr::Constant(Constant::NegativeInfinity), Expr::Constant(Constant::Infinity));
    if order == Some(Ordering::Less) || start == high || end == low {
        return Ok(Expr::Domain(Domain::Empty));
    }
    if order == Some(Ordering::Equal) {
        return Ok(if left_open || right_open { Expr::Domain(Domain::Empty) } else { Expr::set(vec![end]) });
    }
    let (left_open, right_open) = (left_open || start == low, right_open || end == high);
    Ok(Expr::Interval(Box::new(Interval { start, end, left_open, right_open })))
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

/// The name that a dressed-up text stands for.
fn accented(text: &str) -> String {
    let (command, inner) = text[1..].split_once('{').unwrap_or((&text[1..], ""));
    let inner = inner.strip_suffix('}').unwrap_or(inner).replace(' ', "");
    let command = match command {
        "bar" | "overline" => "bar",
        "vec" | "overrightarrow" => "vec",
        "tilde" | "widetilde" => "tilde",
        other if other.contains("text") || other.contains("mbox") => return inner.replace(['(', ')'], ""),
        other if other.contains("math") => "math",
        other => other,
    };
    format!("{command}{{{inner}}}")
}

/// The name of a Greek letter, by command or character.
fn greek_name(text: &str) -> Option<&'static str> {
    Some(match text {
        "α" | "\\alpha" => "alpha",
        "β" | "\\beta" => "beta",
        "γ" | "\\gamma" => "gamma",
        "Γ" | "\\Gamma" => "Gamma",
        "δ" | "\\delta" => "delta",
        "Δ" | "\\Delta" => "Delta",
        "ε" | "\\epsilon" => "epsilon",
        "ϵ" | "\\varepsilon" => "varepsilon",
        "ζ" | "\\zeta" => "zeta",
        "η" | "\\eta" => "eta",
        "θ" | "\\theta" => "theta",
        "Θ" | "\\Theta" => "Theta",
        "ϑ" | "\\vartheta" => "vartheta",
        "ι" | "\\iota" => "iota",
        "κ" | "\\kappa" => "kappa",
        "λ" | "\\lambda" => "lambda",
        "Λ" | "\\Lambda" => "Lambda",
        "μ" | "\\mu" => "mu",
        "ν" | "\\nu" => "nu",
        "ξ" | "\\xi" => "xi",
        "Ξ" | "\\Xi" => "Xi",
        "ο" | "\\omicron" => "omicron",
        "π" | "\\pi" => "pi",
        "Π" | "\\Pi" => "Pi",
        "ϖ" | "\\varpi" => "varpi",
        "ρ" | "\\rho" => "rho",
        "ϱ" | "\\varrho" => "varrho",
        "σ" | "\\sigma" => "sigma",
        "Σ" | "\\Sigma" => "Sigma",
        "ς" | "\\varsigma" => "varsigma",
        "τ" | "\\tau" => "tau",
        "υ" | "\\upsilon" => "upsilon",
        "Υ" | "\\Upsilon" => "Upsilon",
        "φ" | "\\phi" => "phi",
        "Φ" | "\\Phi" => "Phi",
        "ϕ" | "\\varphi" => "varphi",
        "χ" | "\\chi" => "chi",
        "ψ" | "\\psi" => "psi",
        "Ψ" | "\\Psi" => "Psi",
        "ω" | "\\omega" => "omega",
        "Ω" | "\\Omega" => "Omega",
        _ => return None,
    })
}
