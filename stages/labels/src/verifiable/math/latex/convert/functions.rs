//! Fractions, derivatives, matrices and the functions that have a name.

use super::super::{
    super::expr::{Constant, Expr, Function, Matrix},
    lexer::Kind,
    syntax::{Node, NodeId, Span},
};
use super::{Converter, Meaning, MeaningError, quotient};
use num_bigint::BigInt;
use num_integer::Integer;

impl Converter<'_> {
    /// The variable of a derivative's denominator, `dx` or `\partial x`.
    pub(super) fn derivative_variable(&self, (from, to): Span) -> Option<(Expr, bool)> {
        let kind = |token: u32| self.tokens[token as usize].kind;
        if to == from + 1 && kind(from) == Kind::Differential {
            return Some((self.symbol(self.differential(from)), false));
        }
        let partial = to == from + 2 && self.token_text(from) == "\\partial" && kind(from + 1) == Kind::Letter;
        partial.then(|| (self.symbol(self.token_text(from + 1)), true))
    }

    /// `\frac{d}{dx}`: the variable.
    pub(super) fn bare_derivative(&self, id: NodeId) -> Option<Expr> {
        let Node::Frac { upper_span: (from, to), lower_span, .. } = self.node(id) else { return None };
        let (variable, partial) = self.derivative_variable(*lower_span)?;
        let sign = if partial { "\\partial" } else { "d" };
        (*to == *from + 1 && self.token_text(*from) == sign).then_some(variable)
    }

    pub(super) fn frac(&mut self, upper: NodeId, lower: NodeId, upper_span: Span, lower_span: Span) -> Meaning {
        if let Some((variable, partial)) = self.derivative_variable(lower_span) {
            let first = self.token_text(upper_span.0);
            if (!partial && first.starts_with('d')) || (partial && first == "\\partial") {
                let body = self.symbol(self.span_text(upper_span));
                return Ok(Expr::Call(Function::Derivative, vec![body, variable]));
            }
        }
        Ok(quotient(self.scalar(upper)?, self.scalar(lower)?))
    }

    pub(super) fn matrix(&mut self, rows: &[Vec<NodeId>]) -> Meaning {
        let mut cells = Vec::with_capacity(rows.len());
        for row in rows {
            cells.push(row.iter().map(|cell| self.scalar(*cell)).collect::<Result<Vec<_>, _>>()?);
        }
        Matrix::from_rows(cells).map(Expr::Matrix).ok_or(MeaningError::WrongKind)
    }

    pub(super) fn arguments(&mut self, list: NodeId) -> Result<Vec<Expr>, MeaningError> {
        self.comma_spine(list).into_iter().map(|argument| self.scalar(argument)).collect()
    }

    pub(super) fn variadic(&mut self, name: u32, list: NodeId) -> Meaning {
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

    pub(super) fn unary(
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
pub(super) fn norm(argument: Expr) -> Meaning {
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
