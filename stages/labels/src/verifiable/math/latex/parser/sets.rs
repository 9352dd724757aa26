//! Lists, intervals, sets and what is said about them.

use super::{
    super::{lexer::Kind, syntax::Node},
    Found, Parser, Rule,
};

impl Parser<'_> {
    pub(super) fn name_list(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        if !self.is(at, Kind::LeftParen) {
            for &(end, name) in self.ends(Rule::Name, at).iter() {
                self.push(&mut found, end, || Node::Names(vec![name]));
            }
            return found;
        }
        let (mut names, mut place) = (Vec::new(), at + 1);
        loop {
            let ends = self.ends(Rule::Name, place);
            let next = ends.iter().find(|(end, _)| matches!(self.kind(*end), Some(Kind::Comma | Kind::RightParen)));
            let Some(&(end, name)) = next else { return found };
            names.push(name);
            place = end + 1;
            if self.is(end, Kind::RightParen) {
                self.push(&mut found, place, || Node::Names(names));
                return found;
            }
        }
    }

    pub(super) fn element(&mut self, at: u32, last: Rule) -> Found {
        let mut found = Found::default();
        for rule in [Rule::PlusMinus, Rule::SetAtom, last] {
            self.all_of(&mut found, rule, at);
        }
        found
    }

    pub(super) fn plus_minus(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        if self.is(at, Kind::PlusMinus) {
            for &(end, value) in self.ends(Rule::Expr, at + 1).iter() {
                self.push(&mut found, end, || Node::PlusMinus(None, value));
            }
            return found;
        }
        for &(end, left) in self.ends(Rule::Expr, at).iter() {
            if self.is(end, Kind::PlusMinus) {
                for &(after, right) in self.ends(Rule::Expr, end + 1).iter() {
                    self.push(&mut found, after, || Node::PlusMinus(Some(left), right));
                }
            }
        }
        found
    }

    pub(super) fn set_atom(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        self.interval(&mut found, at);
        match self.kind(at) {
            Some(
                kind @ (Kind::Naturals
                | Kind::Integers
                | Kind::Rationals
                | Kind::Reals
                | Kind::Complexes
                | Kind::Primes
                | Kind::EmptySet),
            ) => self.push(&mut found, at + 1, || Node::Literal(kind)),
            Some(Kind::LeftBrace) if self.is(at + 1, Kind::RightBrace) => {
                self.push(&mut found, at + 2, || Node::Literal(Kind::EmptySet));
            }
            _ => {}
        }
        for pair in [
            (Kind::LeftParen, Kind::RightParen),
            (Kind::LeftParenVisual, Kind::RightParenVisual),
            (Kind::LeftBracket, Kind::RightBracket),
        ] {
            self.enclosed(&mut found, at, pair, Rule::Semicolons, |inner| Some(Node::Tuple(inner)));
        }
        for pair in [(Kind::LeftBrace, Kind::RightBrace), (Kind::LeftBraceVisual, Kind::RightBraceVisual)] {
            self.enclosed(&mut found, at, pair, Rule::Semicolons, |inner| Some(Node::Set(inner)));
        }
        if self.is(at, Kind::Boxed) {
            let pair = (Kind::LeftBrace, Kind::RightBrace);
            self.enclosed(&mut found, at + 1, pair, Rule::Semicolons, |inner| Some(Node::Boxed(inner)));
        }
        found
    }

    pub(super) fn interval(&mut self, found: &mut Found, at: u32) {
        let left_open = match self.kind(at) {
            Some(Kind::LeftBracket | Kind::LeftBrack) => false,
            Some(Kind::LeftParen | Kind::LeftParenVisual | Kind::LeftGroup) => true,
            _ => return,
        };
        for &(end, start) in self.ends(Rule::Expr, at + 1).iter() {
            if !self.is(end, Kind::Comma) {
                continue;
            }
            for &(after, last) in self.ends(Rule::Expr, end + 1).iter() {
                let right_open = match self.kind(after) {
                    Some(Kind::RightBracket | Kind::RightBrack) => false,
                    Some(Kind::RightParen | Kind::RightParenVisual | Kind::RightGroup) => true,
                    _ => continue,
                };
                self.push(found, after + 1, || Node::Interval { left_open, right_open, start, end: last });
            }
        }
    }

    pub(super) fn set_group(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        self.enclosed(&mut found, at, (Kind::LeftParen, Kind::RightParen), Rule::SetMinus, |_| None);
        self.all_of(&mut found, Rule::SetAtom, at);
        found
    }

    pub(super) fn set_relation(&mut self, at: u32) -> Found {
        let mut first = Found::default();
        for &(end, names) in self.ends(Rule::NameList, at).iter() {
            let Some(kind @ (Kind::In | Kind::NotIn | Kind::Assign)) = self.kind(end) else { continue };
            for &(after, set) in self.ends(Rule::SetRelation, end + 1).iter() {
                self.push(&mut first, after, || Node::Membership(kind, names, set));
            }
        }
        self.all_of(&mut first, Rule::SetMinus, at);
        let mut found = Found::default();
        for (end, left) in first.0 {
            if let Some(kind @ (Kind::Subset | Kind::Superset)) = self.kind(end) {
                for &(after, right) in self.ends(Rule::SetRelation, end + 1).iter() {
                    let (inner, outer) = if kind == Kind::Subset { (left, right) } else { (right, left) };
                    self.push(&mut found, after, || Node::Subset(inner, outer));
                }
            }
            self.keep(&mut found, end, left);
        }
        found
    }
}
