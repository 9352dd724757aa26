//! Functions and their arguments, roots, sums, products, limits and integrals.

use super::{
    super::{
        lexer::Kind,
        syntax::{Node, NodeId, Span},
    },
    End, Found, Parser, Rule,
};

impl Parser<'_> {
    pub(super) fn function(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        match self.kind(at) {
            Some(Kind::Unary | Kind::Gamma) => self.unary_function(&mut found, at, at + 1),
            Some(Kind::Variadic) => self.variadic_function(&mut found, at, at + 1),
            Some(Kind::OperatorName) if self.is(at + 1, Kind::LeftBrace) && self.is(at + 3, Kind::RightBrace) => {
                match self.kind(at + 2) {
                    Some(Kind::UnaryName) => self.unary_function(&mut found, at + 2, at + 4),
                    Some(Kind::VariadicName) => self.variadic_function(&mut found, at + 2, at + 4),
                    _ => {}
                }
            }
            Some(Kind::Letter | Kind::Greek | Kind::OtherSymbol | Kind::Accent) => self.application(&mut found, at),
            Some(Kind::Integral) => self.integral(&mut found, at),
            Some(Kind::Sqrt) => self.sqrt(&mut found, at),
            Some(Kind::Sum | Kind::Product) => self.series(&mut found, at),
            Some(Kind::Limit) => self.limit(&mut found, at),
            Some(Kind::Euler) => {
                for &(end, power) in self.ends(Rule::Superscript, at + 1).iter() {
                    self.push(&mut found, end, || Node::Euler(Some(power)));
                }
                self.push(&mut found, at + 1, || Node::Euler(None));
            }
            _ => {}
        }
        found
    }

    /// Scripts behind a function's name, in the order in which they are tried: place, subscript, superscript.
    pub(super) fn scripts(&mut self, at: u32) -> Vec<(u32, Option<NodeId>, Option<NodeId>)> {
        let mut all: Vec<(u32, Option<NodeId>, Option<NodeId>)> = Vec::new();
        let subs = self.ends(Rule::Subscript, at);
        let supers = self.ends(Rule::Superscript, at);
        for &(end, sub) in subs.iter() {
            for &(after, power) in self.ends(Rule::Superscript, end).iter() {
                all.push((after, Some(sub), Some(power)));
            }
            all.push((end, Some(sub), None));
        }
        for &(end, power) in supers.iter() {
            all.push((end, None, Some(power)));
        }
        all.push((at, None, None));
        for &(end, power) in supers.iter() {
            for &(after, sub) in self.ends(Rule::Subscript, end).iter() {
                all.push((after, Some(sub), Some(power)));
            }
        }
        all
    }

    pub(super) fn unary_function(&mut self, found: &mut Found, name: u32, at: u32) {
        for (end, subscript, superscript) in self.scripts(at) {
            let call = |argument| Node::Unary { name, subscript, superscript, argument };
            self.enclosed(found, end, (Kind::LeftParen, Kind::RightParen), Rule::Expr, |inner| Some(call(inner)));
            for &(after, argument) in self.ends(Rule::ProductPlain, end).iter() {
                self.push(found, after, || call(argument));
            }
        }
    }

    /// A function of several arguments in parentheses; without them the reference fails, and so does this.
    pub(super) fn variadic_function(&mut self, found: &mut Found, name: u32, at: u32) {
        for (end, _, superscript) in self.scripts(at) {
            self.enclosed(found, end, (Kind::LeftParen, Kind::RightParen), Rule::Arguments, |arguments| {
                Some(Node::Variadic { name, superscript, arguments })
            });
        }
    }

    pub(super) fn application(&mut self, found: &mut Found, at: u32) {
        let round = (Kind::LeftParen, Kind::RightParen);
        let square = (Kind::LeftBracket, Kind::RightBracket);
        for &(end, _) in self.ends(Rule::NameBare, at).iter() {
            let mut heads: Vec<(u32, Option<NodeId>)> =
                self.ends(Rule::Superscript, end).iter().map(|(after, power)| (*after, Some(*power))).collect();
            heads.push((end, None));
            for (after, superscript) in heads {
                let name: Span = (at, end);
                let call = |arguments| Some(Node::Apply { name, superscript, arguments });
                for pair in [round, square] {
                    self.enclosed(found, after, pair, Rule::CommonArguments, call);
                }
                if self.is(after, Kind::LeftBrace) {
                    for pair in [round, square] {
                        let mut inner = Found::default();
                        self.enclosed(&mut inner, after + 1, pair, Rule::CommonArguments, call);
                        for (close, node) in inner.0 {
                            if self.is(close, Kind::RightBrace) {
                                self.keep(found, close + 1, node);
                            }
                        }
                    }
                }
            }
        }
    }

    /// `atom`, `expr ,` or several arguments with commas between.
    pub(super) fn common_arguments(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        self.all_of(&mut found, Rule::Atom, at);
        for &(end, first) in self.ends(Rule::Expr, at).iter() {
            if self.is(end, Kind::Comma) {
                self.keep(&mut found, end + 1, first);
                for &(after, rest) in self.ends(Rule::Arguments, end + 1).iter() {
                    self.push(&mut found, after, || Node::Comma(first, rest));
                }
            }
        }
        found
    }

    pub(super) fn sqrt(&mut self, found: &mut Found, at: u32) {
        let mut heads = Vec::new();
        if self.is(at + 1, Kind::LeftBracket) {
            for &(end, root) in self.ends(Rule::Expr, at + 2).iter() {
                if self.is(end, Kind::RightBracket) {
                    heads.push((end + 1, Some(root)));
                }
            }
        }
        heads.push((at + 1, None));
        for (end, root) in heads {
            for (after, base) in self.braced(end) {
                self.push(found, after, || Node::Sqrt { root, base });
            }
        }
    }

    pub(super) fn series(&mut self, found: &mut Found, at: u32) {
        let product = self.is(at, Kind::Product);
        // Each head: the place behind it, the equation below and the value above.
        let mut heads = Vec::new();
        for (end, equation) in self.series_start(at + 1) {
            for &(after, last) in self.ends(Rule::Superscript, end).iter() {
                heads.push((after, equation, last));
            }
        }
        for &(end, last) in self.ends(Rule::Superscript, at + 1).iter() {
            for (after, equation) in self.series_start(end) {
                heads.push((after, equation, last));
            }
        }
        for (end, equation, last) in heads {
            let Node::Relation(_, index, first) = self.nodes[equation as usize] else { continue };
            for &(after, term) in self.ends(Rule::Product, end).iter() {
                self.push(found, after, || Node::Series { product, index, first, last, term });
            }
        }
    }

    pub(super) fn series_start(&mut self, at: u32) -> Vec<End> {
        if !self.is(at, Kind::Underscore) || !self.is(at + 1, Kind::LeftBrace) {
            return Vec::new();
        }
        let inner = self.equality(at + 2);
        inner.into_iter().filter(|(end, _)| self.is(*end, Kind::RightBrace)).map(|(end, n)| (end + 1, n)).collect()
    }

    pub(super) fn limit(&mut self, found: &mut Found, at: u32) {
        let variable = at + 3;
        let named = matches!(self.kind(variable), Some(Kind::Letter | Kind::Greek | Kind::OtherSymbol));
        let opened = self.is(at + 1, Kind::Underscore) && self.is(at + 2, Kind::LeftBrace);
        if !opened || !named || !self.is(at + 4, Kind::Approach) {
            return;
        }
        for &(mut end, target) in self.ends(Rule::Expr, at + 5).iter() {
            let signed = matches!(self.kind(end + 2), Some(Kind::Add | Kind::Sub));
            if self.is(end, Kind::Caret) && self.is(end + 1, Kind::LeftBrace) && signed {
                end += 4;
            }
            if self.is(end, Kind::RightBrace) {
                for &(after, body) in self.ends(Rule::Product, end + 1).iter() {
                    self.push(found, after, || Node::Limit { variable, target, body });
                }
            }
        }
    }

    pub(super) fn integral(&mut self, found: &mut Found, at: u32) {
        let mut heads: Vec<(u32, Option<(NodeId, NodeId)>)> = Vec::new();
        for &(end, low) in self.ends(Rule::SubscriptValue, at + 1).iter() {
            for &(after, high) in self.ends(Rule::Superscript, end).iter() {
                heads.push((after, Some((low, high))));
            }
        }
        for &(end, high) in self.ends(Rule::Superscript, at + 1).iter() {
            for &(after, low) in self.ends(Rule::SubscriptValue, end).iter() {
                heads.push((after, Some((low, high))));
            }
        }
        heads.push((at + 1, None));
        for (end, limits) in heads {
            for &(after, integrand) in self.ends(Rule::Expr, end).iter() {
                if self.is(after, Kind::Differential) {
                    let (integrand, differential) = (Some(integrand), Some(after));
                    self.push(found, after + 1, || Node::Integral { limits, integrand, differential });
                }
            }
            if self.is(end, Kind::Differential) {
                let differential = Some(end);
                self.push(found, end + 1, || Node::Integral { limits, integrand: None, differential });
            }
            for &(after, integrand) in self.ends(Rule::Expr, end).iter() {
                let integrand = Some(integrand);
                self.push(found, after, || Node::Integral { limits, integrand, differential: None });
            }
        }
    }
}
