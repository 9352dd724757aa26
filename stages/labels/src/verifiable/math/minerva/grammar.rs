//! The LaTeX that sympy's `parse_latex` reads: a shorter grammar than math-verify's, of which the longest beginning of a
//! text that is an expression counts, and what stands behind it is ignored.

use super::super::{
    exact::{self, Number},
    expr::{Constant, Expr, Function, Symbol},
};
use super::tokens::{Token, spelling, tokenize};

const MAX_DEPTH: u32 = 60;

/// Reads the beginning of a text; none where that fails, or where it is a relation.
#[must_use]
pub fn read(text: &str) -> Option<Expr> {
    let tokens = tokenize(text.trim())?;
    let mut reader = Reader { tokens, at: 0, depth: 0, bars: 0 };
    let expr = reader.sum()?;
    match reader.peek()? {
        Token::Sign('=' | '<' | '>') => None,
        Token::Command(name) if is_relation(name) => None,
        _ => Some(expr),
    }
}

fn is_relation(name: &str) -> bool {
    matches!(name, "\\neq" | "\\leq" | "\\le" | "\\leqq" | "\\leqslant" | "\\geq" | "\\ge" | "\\geqq" | "\\geqslant")
}

struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: u32,
    /// Bars that wait for their partner.
    bars: u32,
}

impl<'a> Reader<'a> {
    fn token(&self, ahead: usize) -> Token<'a> {
        self.tokens.get(self.at + ahead).copied().unwrap_or(Token::End)
    }

    /// The next token; none where it is no token at all.
    fn peek(&self) -> Option<Token<'a>> {
        let token = self.token(0);
        (token != Token::Unknown).then_some(token)
    }

    fn takes(&mut self, token: Token<'_>) -> bool {
        let taken = self.token(0) == token;
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, token: Token<'_>) -> Option<()> {
        self.takes(token).then_some(())
    }

    fn sum(&mut self) -> Option<Expr> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let mut sum = self.product(false)?;
        loop {
            match self.peek()? {
                Token::Sign('+') => {
                    self.at += 1;
                    sum = Expr::sum(sum, self.product(false)?);
                }
                Token::Sign('-') => {
                    self.at += 1;
                    sum = Expr::sum(sum, self.product(false)?.negated());
                }
                _ => break,
            }
        }
        self.depth -= 1;
        Some(sum)
    }

    /// Factors; `plain` leaves functions out behind the first operand of each.
    fn product(&mut self, plain: bool) -> Option<Expr> {
        let mut product = self.signed(plain)?;
        loop {
            match self.peek()? {
                Token::Sign('*') | Token::Command("\\times" | "\\cdot") => {
                    self.at += 1;
                    product = Expr::product(product, self.signed(plain)?);
                }
                Token::Sign('/' | ':') | Token::Command("\\div") => {
                    self.at += 1;
                    product = Expr::product(product, Expr::reciprocal(self.signed(plain)?));
                }
                _ => return Some(product),
            }
        }
    }

    fn signed(&mut self, plain: bool) -> Option<Expr> {
        let mut minus = false;
        while let Token::Sign(sign @ ('+' | '-')) = self.peek()? {
            minus ^= sign == '-';
            self.at += 1;
        }
        let mut factors = vec![self.postfix()?];
        while self.starts_operand(plain)? {
            factors.push(self.postfix()?);
        }
        // A letter x between numbers is a sign of multiplication.
        let is_times = |i: usize, factors: &[Expr]| {
            i > 0
                && i + 1 < factors.len()
                && matches!(&factors[i], Expr::Symbol(symbol) if symbol.name == "x")
                && factors[i - 1].symbols().is_empty()
                && factors[i + 1].symbols().is_empty()
        };
        let kept = (0..factors.len()).filter(|i| !is_times(*i, &factors)).map(|i| factors[i].clone());
        let product = kept.reduce(Expr::product)?;
        Some(if minus { product.negated() } else { product })
    }

    /// Whether the next token begins an operand that is multiplied without a sign.
    fn starts_operand(&self, plain: bool) -> Option<bool> {
        Some(match self.peek()? {
            Token::Letter(_) | Token::Digit(_) | Token::Differential(_) | Token::Sign('(' | '[' | '{') => true,
            // A second bar closes, unless nothing is open.
            Token::Sign('|') => self.bars == 0,
            Token::Command(name) => match name {
                "\\}" | "\\times" | "\\cdot" | "\\div" | "\\rangle" | "\\rfloor" | "\\rceil" => false,
                "\\{" => true,
                _ if is_relation(name) => false,
                _ => !(plain && is_function(name)),
            },
            _ => false,
        })
    }

    fn postfix(&mut self) -> Option<Expr> {
        let mut value = self.operand()?;
        while self.peek()? == Token::Sign('^') {
            self.at += 1;
            let exponent = self.script()?;
            if self.peek()? == Token::Sign('_') {
                self.at += 1;
                self.script()?;
            }
            value = Expr::power(value, exponent);
        }
        while self.peek()? == Token::Sign('!') {
            self.at += 1;
            value = Expr::Call(Function::Factorial, vec![value]);
        }
        Some(value)
    }

    /// `{expr}` or an atom.
    fn script(&mut self) -> Option<Expr> {
        if self.takes(Token::Sign('{')) {
            let inner = self.sum()?;
            self.expect(Token::Sign('}'))?;
            return Some(inner);
        }
        self.atom()
    }

    fn braced(&mut self) -> Option<Expr> {
        self.expect(Token::Sign('{'))?;
        let inner = self.sum()?;
        self.expect(Token::Sign('}'))?;
        Some(inner)
    }

    fn operand(&mut self) -> Option<Expr> {
        for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
            if self.takes(Token::Sign(open)) {
                let inner = self.sum()?;
                self.expect(Token::Sign(close))?;
                return Some(inner);
            }
        }
        match self.peek()? {
            Token::Command("\\{") => self.enclosed(Token::Command("\\}"), None),
            Token::Sign('|') => self.enclosed(Token::Sign('|'), Some(Function::Abs)),
            Token::Command("\\lfloor") => self.enclosed(Token::Command("\\rfloor"), Some(Function::Floor)),
            Token::Command("\\lceil") => self.enclosed(Token::Command("\\rceil"), Some(Function::Ceiling)),
            Token::Command(name) if is_function(name) => {
                self.at += 1;
                self.function(name)
            }
            _ => self.atom(),
        }
    }

    fn enclosed(&mut self, close: Token<'_>, function: Option<Function>) -> Option<Expr> {
        self.at += 1;
        let bars = u32::from(close == Token::Sign('|'));
        self.bars += bars;
        let inner = self.sum()?;
        self.expect(close)?;
        self.bars -= bars;
        Some(match function {
            Some(function) => Expr::Call(function, vec![inner]),
            None => inner,
        })
    }

    fn symbol(name: impl Into<String>) -> Expr {
        Expr::Symbol(Symbol { name: name.into(), real: false })
    }

    fn atom(&mut self) -> Option<Expr> {
        let token = self.peek()?;
        self.at += 1;
        match token {
            Token::Digit(first) => self.number(first),
            Token::Letter(letter) => self.named(letter.to_string()),
            Token::Differential(variable) => Some(Self::symbol(format!("d{}", variable.trim_start_matches('\\')))),
            Token::Command("\\frac" | "\\dfrac" | "\\tfrac") => {
                let upper = self.fraction_part()?;
                let lower = self.fraction_part()?;
                Some(Expr::product(upper, Expr::reciprocal(lower)))
            }
            Token::Command("\\binom" | "\\dbinom" | "\\tbinom") => {
                let (n, k) = (self.braced()?, self.braced()?);
                Some(Expr::Call(Function::Binomial, vec![n, k]))
            }
            Token::Command("\\mathit") => {
                self.expect(Token::Sign('{'))?;
                let mut name = String::new();
                while let Token::Letter(letter) = self.token(0) {
                    name.push(letter);
                    self.at += 1;
                }
                self.expect(Token::Sign('}'))?;
                Some(Self::symbol(name))
            }
            Token::Command("\\infty") => Some(Expr::Constant(Constant::Infinity)),
            Token::Command(name)
                if !is_relation(name)
                    && !matches!(
                        name,
                        "\\{"
                            | "\\}"
                            | "\\langle"
                            | "\\rangle"
                            | "\\times"
                            | "\\cdot"
                            | "\\div"
                            | "\\rfloor"
                            | "\\rceil"
                            | "\\to"
                            | "\\rightarrow"
                            | "\\Rightarrow"
                            | "\\longrightarrow"
                            | "\\Longrightarrow"
                    ) =>
            {
                // sympy keeps the symbol π as a symbol, too.
                self.named(name[1..].to_owned())
            }
            _ => None,
        }
    }

    fn fraction_part(&mut self) -> Option<Expr> {
        if let Token::Digit(digit) = self.token(0) {
            self.at += 1;
            return Some(Expr::integer(digit.to_digit(10)?.into()));
        }
        self.braced()
    }

    fn number(&mut self, first: char) -> Option<Expr> {
        let mut text = first.to_string();
        loop {
            match self.peek()? {
                Token::Digit(digit) => {
                    text.push(digit);
                    self.at += 1;
                }
                Token::Sign(',') => {
                    let digits = [self.token(1), self.token(2), self.token(3)];
                    let group: Option<String> = digits
                        .iter()
                        .map(|token| if let Token::Digit(digit) = token { Some(*digit) } else { None })
                        .collect();
                    match group {
                        Some(group) => {
                            text.push_str(&group);
                            self.at += 4;
                        }
                        None => break,
                    }
                }
                _ => break,
            }
        }
        if self.token(0) == Token::Sign('.') && matches!(self.token(1), Token::Digit(_)) {
            text.push('.');
            self.at += 1;
            while let Token::Digit(digit) = self.token(0) {
                text.push(digit);
                self.at += 1;
            }
        }
        self.peek()?;
        // Python reads no integer with leading zeros, and neither does sympy.
        if !text.contains('.') && text.starts_with('0') && text.bytes().any(|byte| byte != b'0') {
            return None;
        }
        match exact::parse_number(&text)? {
            Number::Integer(value) => Some(Expr::Integer(value)),
            Number::Float(value) => Some(Expr::Float(value)),
        }
    }

    /// A variable with its subscript and primes, or a function of that name where arguments follow.
    fn named(&mut self, mut name: String) -> Option<Expr> {
        if self.peek()? == Token::Sign('_') {
            self.at += 1;
            let from = self.at;
            self.script()?;
            let inner: String = self.tokens[from..self.at].iter().map(spelling).collect();
            name.push_str(&format!("_{{{}}}", inner.trim_start_matches('{').trim_end_matches('}')));
        }
        while self.takes(Token::Sign('\'')) {
            name.push('\'');
        }
        if self.peek()? == Token::Sign('(')
            && let Some(arguments) = self.arguments()
        {
            return Some(Expr::Call(Function::Named(name), arguments));
        }
        Some(Self::symbol(name))
    }

    /// `(expr, ..)`; back at the parenthesis where that is not what follows.
    fn arguments(&mut self) -> Option<Vec<Expr>> {
        let (at, depth, bars) = (self.at, self.depth, self.bars);
        self.at += 1;
        let mut arguments = Vec::new();
        while let Some(argument) = self.sum() {
            arguments.push(argument);
            if self.takes(Token::Sign(')')) {
                return Some(arguments);
            }
            if !self.takes(Token::Sign(',')) {
                break;
            }
        }
        (self.at, self.depth, self.bars) = (at, depth, bars);
        None
    }

    fn function(&mut self, name: &str) -> Option<Expr> {
        if name == "\\sqrt" {
            let root = if self.takes(Token::Sign('[')) {
                let root = self.sum()?;
                self.expect(Token::Sign(']'))?;
                root
            } else {
                Expr::integer(2)
            };
            let base = self.braced()?;
            return Some(Expr::power(base, Expr::reciprocal(root)));
        }
        if name == "\\overline" {
            return self.braced();
        }
        let (mut subscript, mut power) = (None, None);
        loop {
            match self.peek()? {
                Token::Sign('_') if subscript.is_none() => {
                    self.at += 1;
                    subscript = Some(self.script()?);
                }
                Token::Sign('^') if power.is_none() => {
                    self.at += 1;
                    power = Some(self.script()?);
                }
                _ => break,
            }
        }
        let argument = if self.takes(Token::Sign('(')) {
            let argument = self.sum()?;
            self.expect(Token::Sign(')'))?;
            argument
        } else {
            self.product(true)?
        };
        let inverse = power.as_ref().is_some_and(|power| power.is_integer_literal(-1));
        let function = match (name, inverse) {
            ("\\log" | "\\ln" | "\\lg", _) => {
                let usual = if name == "\\lg" { Expr::integer(10) } else { Expr::Constant(Constant::E) };
                let call = Expr::Call(Function::Log, vec![argument, subscript.unwrap_or(usual)]);
                return Some(raised(call, power));
            }
            ("\\exp", _) => return Some(raised(Expr::power(Expr::Constant(Constant::E), argument), power)),
            ("\\sin", false) => Function::Sin,
            ("\\cos", false) => Function::Cos,
            ("\\tan", false) => Function::Tan,
            ("\\csc", false) => Function::Csc,
            ("\\sec", false) => Function::Sec,
            ("\\cot", false) => Function::Cot,
            ("\\sinh", false) => Function::Sinh,
            ("\\cosh", false) => Function::Cosh,
            ("\\tanh", false) => Function::Tanh,
            ("\\sin" | "\\arcsin", _) => Function::Asin,
            ("\\cos" | "\\arccos", _) => Function::Acos,
            ("\\tan" | "\\arctan", _) => Function::Atan,
            ("\\csc" | "\\arccsc", _) => Function::Acsc,
            ("\\sec" | "\\arcsec", _) => Function::Asec,
            ("\\cot" | "\\arccot", _) => Function::Acot,
            ("\\sinh" | "\\arsinh", _) => Function::Asinh,
            ("\\cosh" | "\\arcosh", _) => Function::Acosh,
            ("\\tanh" | "\\artanh", _) => Function::Atanh,
            _ => return None,
        };
        let arc = name.starts_with("\\ar");
        let power = power.filter(|_| arc || !inverse);
        Some(raised(Expr::Call(function, vec![argument]), power))
    }
}

fn raised(base: Expr, power: Option<Expr>) -> Expr {
    match power {
        Some(power) => Expr::power(base, power),
        None => base,
    }
}

fn is_function(name: &str) -> bool {
    const NAMES: [&str; 27] = [
        "\\sqrt",
        "\\overline",
        "\\log",
        "\\ln",
        "\\lg",
        "\\exp",
        "\\sin",
        "\\cos",
        "\\tan",
        "\\csc",
        "\\sec",
        "\\cot",
        "\\arcsin",
        "\\arccos",
        "\\arctan",
        "\\arccsc",
        "\\arcsec",
        "\\arccot",
        "\\sinh",
        "\\cosh",
        "\\tanh",
        "\\arsinh",
        "\\arcosh",
        "\\artanh",
        "\\int",
        "\\sum",
        "\\prod",
    ];
    NAMES.contains(&name) || name == "\\lim"
}
