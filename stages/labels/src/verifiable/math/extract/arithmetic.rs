//! Arithmetic as Python writes it: `+ - * / // **` and parentheses over plain numbers.

use super::super::{
    exact::{self, Number},
    expr::{Expr, Function},
};
use crate::python::is_space;

/// Nested parentheses and signs at most, and characters.
const MAX_DEPTH: u32 = 80;
const MAX_LENGTH: usize = 4096;

/// Reads an arithmetic expression, unevaluated; none where Python would refuse it.
#[must_use]
pub fn read(text: &str) -> Option<Expr> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let sum = reader.sum()?;
    reader.skip();
    reader.rest.is_empty().then_some(sum)
}

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches(is_space);
    }

    fn take(&mut self, sign: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<Expr> {
        let mut sum = self.product()?;
        loop {
            if self.take("+") {
                sum = Expr::sum(sum, self.product()?);
            } else if self.take("-") {
                sum = Expr::sum(sum, self.product()?.negated());
            } else {
                return Some(sum);
            }
        }
    }

    fn product(&mut self) -> Option<Expr> {
        let mut product = self.signed()?;
        loop {
            self.skip();
            if self.rest.starts_with("**") {
                return None;
            }
            if self.take("*") {
                product = Expr::product(product, self.signed()?);
            } else if self.take("//") {
                let quotient = Expr::product(product, Expr::reciprocal(self.signed()?));
                product = Expr::Call(Function::Floor, vec![quotient]);
            } else if self.take("/") {
                product = Expr::product(product, Expr::reciprocal(self.signed()?));
            } else {
                return Some(product);
            }
        }
    }

    fn signed(&mut self) -> Option<Expr> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = if self.take("-") {
            self.signed().map(Expr::negated)
        } else if self.take("+") {
            self.signed()
        } else {
            self.power()
        };
        self.depth -= 1;
        value
    }

    fn power(&mut self) -> Option<Expr> {
        let base = self.operand()?;
        if self.take("**") { Some(Expr::power(base, self.signed()?)) } else { Some(base) }
    }

    fn operand(&mut self) -> Option<Expr> {
        let value = if self.take("(") {
            let inner = self.sum()?;
            self.take(")").then_some(inner)?
        } else {
            self.number()?
        };
        // A value before a parenthesis is a call, and no number can be called.
        self.skip();
        (!self.rest.starts_with('(')).then_some(value)
    }

    fn number(&mut self) -> Option<Expr> {
        self.skip();
        let length = self.rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        if !text.contains('.') && text.len() > 1 && text.starts_with('0') && text.bytes().any(|byte| byte != b'0') {
            return None;
        }
        match exact::parse_number(text)? {
            Number::Integer(value) => Some(Expr::Integer(value)),
            Number::Float(value) => Some(Expr::Float(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::constant;
    use super::*;
    use num_rational::BigRational;

    #[test]
    fn precedence_is_pythons() {
        for (text, expected) in [("3+2*3", 9), ("-2**2", -4), ("2**3**2", 512), ("(3+2) * -4", -20), ("7//2", 3)] {
            let value = constant::value(&read(text).unwrap()).unwrap();
            assert_eq!(value, BigRational::from_integer(expected.into()), "{text}");
        }
        for text in ["2(3)", "05+1", "1 2", "5-", "(1", "1.2.3", "2***3", &"(".repeat(5000)] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
