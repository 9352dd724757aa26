//! Operands: signs, powers and suffixes, fractions, matrices, names and numbers.

use super::{
    super::{
        lexer::Kind,
        syntax::{Node, NodeId, Suffix},
    },
    End, Found, MAX_DEPTH, Parser, Rule,
};

impl Parser<'_> {
    /// A sign and another unary, or operands side by side; only the first may be a function where `next` is plain.
    pub(super) fn unary(&mut self, at: u32, own: Rule, next: Rule) -> Found {
        let mut found = Found::default();
        if let Some(sign @ (Kind::Add | Kind::Sub)) = self.kind(at) {
            for &(end, inner) in self.ends(own, at + 1).iter() {
                self.push(&mut found, end, || Node::Signed(sign == Kind::Sub, inner));
            }
            return found;
        }
        self.prolonged(at, Rule::Postfix, |parser, (end, node), seen| {
            let right = parser.ends(next, end);
            let new = right.iter().rev().filter(|(after, _)| !seen.contains(after));
            new.map(|&(after, right)| (after, parser.add(Node::Juxtaposed(node, right)))).collect()
        })
    }

    pub(super) fn postfix(&mut self, at: u32, base: Rule) -> Found {
        let mut found = Found::default();
        let mut steps: Vec<(u32, NodeId, bool)> =
            self.ends(base, at).iter().rev().map(|(end, node)| (*end, *node, false)).collect();
        while let Some((end, node, done)) = steps.pop() {
            if done {
                self.keep(&mut found, end, node);
                continue;
            }
            steps.push((end, node, true));
            let mut suffixes = Vec::new();
            match self.kind(end) {
                Some(Kind::Bang) => suffixes.push((end + 1, Suffix::Factorial)),
                Some(Kind::Transpose) => suffixes.push((end + 1, Suffix::Transpose)),
                Some(Kind::Degree) => suffixes.push((end + 1, Suffix::Degree)),
                Some(Kind::Bar) => self.evaluations(end + 1, &mut suffixes),
                _ => {}
            }
            for (after, suffix) in suffixes.into_iter().rev() {
                let suffixed = self.add(Node::Suffixed(node, suffix));
                steps.push((after, suffixed, false));
            }
            if steps.len() > MAX_DEPTH as usize * 4 {
                self.exhausted = true;
                return found;
            }
        }
        found
    }

    /// The limits behind an evaluation bar: `^{..}`, `_{..}`, or both in this order.
    pub(super) fn evaluations(&mut self, at: u32, suffixes: &mut Vec<(u32, Suffix)>) {
        let uppers = self.evaluation_limits(at, Kind::Caret);
        for &(end, upper) in &uppers {
            suffixes.push((end, Suffix::Evaluate(None, Some(upper))));
        }
        for (end, lower) in self.evaluation_limits(at, Kind::Underscore) {
            suffixes.push((end, Suffix::Evaluate(Some(lower), None)));
        }
        for (end, upper) in uppers {
            for (after, lower) in self.evaluation_limits(end, Kind::Underscore) {
                suffixes.push((after, Suffix::Evaluate(Some(lower), Some(upper))));
            }
        }
    }

    pub(super) fn evaluation_limits(&mut self, at: u32, script: Kind) -> Vec<End> {
        if !self.is(at, script) || !self.is(at + 1, Kind::LeftBrace) {
            return Vec::new();
        }
        let mut limits = Vec::new();
        for &(end, value) in self.ends(Rule::Expr, at + 2).iter() {
            if self.is(end, Kind::RightBrace) {
                limits.push((end + 1, value));
            }
        }
        for (end, value) in self.equality(at + 2) {
            if self.is(end, Kind::RightBrace) {
                limits.push((end + 1, value));
            }
        }
        limits
    }

    /// `expr = expr`.
    pub(super) fn equality(&mut self, at: u32) -> Vec<End> {
        let mut found = Vec::new();
        for &(end, left) in self.ends(Rule::Expr, at).iter() {
            let Some(kind @ (Kind::Equal | Kind::Assign)) = self.kind(end) else { continue };
            for &(after, right) in self.ends(Rule::Expr, end + 1).iter() {
                let node = self.add(Node::Relation(kind, left, right));
                found.push((after, node));
            }
        }
        found
    }

    /// `operand (^ exponent subscript?)*`.
    pub(super) fn power(&mut self, at: u32, operand: Rule) -> Found {
        self.prolonged(at, operand, |parser, (end, node), _| {
            let mut longer = Vec::new();
            for &(after, exponent) in parser.ends(Rule::Superscript, end).iter() {
                let raised = parser.add(Node::Power(node, exponent));
                longer
                    .extend(parser.ends(Rule::Subscript, after).iter().map(|&(subscripted, _)| (subscripted, raised)));
                longer.push((after, raised));
            }
            longer.reverse();
            longer
        })
    }

    pub(super) fn operand(&mut self, at: u32, functions: bool) -> Found {
        let mut found = Found::default();
        for pair in [
            (Kind::LeftParen, Kind::RightParen),
            (Kind::LeftGroup, Kind::RightGroup),
            (Kind::LeftBrace, Kind::RightBrace),
            (Kind::LeftBracket, Kind::RightBracket),
            (Kind::LeftBraceVisual, Kind::RightBraceVisual),
            (Kind::LeftBraceCommand, Kind::RightBraceCommand),
            (Kind::LeftBrack, Kind::RightBrack),
        ] {
            self.enclosed(&mut found, at, pair, Rule::Expr, |_| None);
        }
        if matches!(self.kind(at), Some(Kind::Phantom | Kind::Boxed)) {
            self.enclosed(&mut found, at + 1, (Kind::LeftBrace, Kind::RightBrace), Rule::Expr, |_| None);
        }
        type Wrap = fn(NodeId) -> Option<Node>;
        let wrapped: [((Kind, Kind), Wrap); 9] = [
            ((Kind::Norm, Kind::Norm), |inner| Some(Node::Norm(inner))),
            ((Kind::Bar, Kind::Bar), |inner| Some(Node::Abs(inner))),
            ((Kind::LeftVert, Kind::RightVert), |inner| Some(Node::Abs(inner))),
            ((Kind::Vert, Kind::Vert), |inner| Some(Node::Abs(inner))),
            ((Kind::LeftAngle, Kind::RightAngle), |_| Some(Node::Angle)),
            ((Kind::LeftFloor, Kind::RightFloor), |inner| Some(Node::Floor(inner))),
            ((Kind::LeftLowerCorner, Kind::RightLowerCorner), |inner| Some(Node::Floor(inner))),
            ((Kind::LeftCeil, Kind::RightCeil), |inner| Some(Node::Ceil(inner))),
            ((Kind::LeftUpperCorner, Kind::RightUpperCorner), |inner| Some(Node::Ceil(inner))),
        ];
        for (pair, wrap) in wrapped {
            self.enclosed(&mut found, at, pair, Rule::Expr, wrap);
        }
        if functions {
            self.all_of(&mut found, Rule::Function, at);
        }
        self.all_of(&mut found, Rule::Atom, at);
        match self.kind(at) {
            Some(Kind::Frac) => self.frac(&mut found, at),
            Some(Kind::LeftBrace | Kind::Binom) => self.binom(&mut found, at),
            Some(Kind::MatrixBegin | Kind::ArrayBegin | Kind::DetBegin) => self.matrix(&mut found, at),
            _ => {}
        }
        found
    }

    /// `{expr}` at a place.
    pub(super) fn braced(&mut self, at: u32) -> Vec<End> {
        if !self.is(at, Kind::LeftBrace) {
            return Vec::new();
        }
        let inner = self.ends(Rule::Expr, at + 1);
        inner.iter().filter(|(end, _)| self.is(*end, Kind::RightBrace)).map(|(end, node)| (end + 1, *node)).collect()
    }

    pub(super) fn frac(&mut self, found: &mut Found, at: u32) {
        for (end, upper) in self.braced(at + 1) {
            for (after, lower) in self.braced(end) {
                let (upper_span, lower_span) = ((at + 2, end - 1), (end + 1, after - 1));
                self.push(found, after, || Node::Frac { upper, lower, upper_span, lower_span });
            }
        }
    }

    pub(super) fn binom(&mut self, found: &mut Found, at: u32) {
        if self.is(at, Kind::Binom) {
            for (end, upper) in self.braced(at + 1) {
                for (after, lower) in self.braced(end) {
                    self.push(found, after, || Node::Binom(upper, lower));
                }
            }
            return;
        }
        for &(end, upper) in self.ends(Rule::Expr, at + 1).iter() {
            if self.is(end, Kind::Choose) {
                for &(after, lower) in self.ends(Rule::Expr, end + 1).iter() {
                    if self.is(after, Kind::RightBrace) {
                        self.push(found, after + 1, || Node::Binom(upper, lower));
                    }
                }
            }
        }
    }

    pub(super) fn matrix(&mut self, found: &mut Found, at: u32) {
        let closing = match self.kind(at) {
            Some(Kind::MatrixBegin) => Kind::MatrixEnd,
            Some(Kind::ArrayBegin) => Kind::ArrayEnd,
            _ => Kind::DetEnd,
        };
        for &(end, rows) in self.ends(Rule::MatrixRows, at + 1).iter() {
            if self.is(end, closing) {
                if closing == Kind::DetEnd {
                    let Node::Matrix(rows) = self.nodes[rows as usize].clone() else { continue };
                    self.push(found, end + 1, || Node::Det(rows));
                } else {
                    self.keep(found, end + 1, rows);
                }
            }
        }
    }

    /// Rows of cells, without the commands around them. Cells cannot be ambiguous at their separators: the first
    /// derivation that ends before one is taken.
    pub(super) fn matrix_rows(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        let (mut rows, mut row, mut place) = (Vec::new(), Vec::new(), at);
        loop {
            let cells = self.ends(Rule::Expr, place);
            let closing = |kind| {
                matches!(kind, Kind::Ampersand | Kind::RowBreak | Kind::MatrixEnd | Kind::ArrayEnd | Kind::DetEnd)
            };
            let Some(&(end, cell)) = cells.iter().find(|(end, _)| self.kind(*end).is_some_and(closing)) else {
                return found;
            };
            row.push(cell);
            match self.kind(end) {
                Some(Kind::Ampersand) => place = end + 1,
                Some(Kind::RowBreak) => {
                    rows.push(std::mem::take(&mut row));
                    place = end + 1;
                    let closing = [Kind::MatrixEnd, Kind::ArrayEnd, Kind::DetEnd];
                    if self.kind(place).is_some_and(|kind| closing.contains(&kind)) {
                        self.push(&mut found, place, || Node::Matrix(rows));
                        return found;
                    }
                }
                _ => {
                    rows.push(row);
                    self.push(&mut found, end, || Node::Matrix(rows));
                    return found;
                }
            }
        }
    }

    /// The script's node; for subscripts of names also a list of arguments may stand in the braces.
    pub(super) fn script(&mut self, at: u32, sign: Kind, lists: bool) -> Found {
        let mut found = Found::default();
        if !self.is(at, sign) {
            return found;
        }
        self.all_of(&mut found, Rule::Atom, at + 1);
        for (end, inner) in self.braced(at + 1) {
            self.keep(&mut found, end, inner);
        }
        if lists {
            let pair = (Kind::LeftBrace, Kind::RightBrace);
            self.enclosed(&mut found, at + 1, pair, Rule::Arguments, |_| None);
        }
        found
    }

    pub(super) fn name_token(&self, at: u32) -> bool {
        matches!(self.kind(at), Some(Kind::Letter | Kind::Greek | Kind::OtherSymbol | Kind::Accent))
    }

    pub(super) fn name(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        if !self.name_token(at) {
            return found;
        }
        let named = |subscript: Option<u32>, superscript| Node::Name {
            token: at,
            subscript: subscript.map(|end| (at + 1, end)),
            superscript,
        };
        let supers = self.ends(Rule::Superscript, at + 1);
        for &(end, power) in supers.iter() {
            for &(after, _) in self.ends(Rule::Subscript, end).iter() {
                let node = Node::Name { token: at, subscript: Some((end, after)), superscript: Some(power) };
                self.push(&mut found, after, || node);
            }
        }
        let subs = self.ends(Rule::Subscript, at + 1);
        for &(end, _) in subs.iter() {
            for &(after, power) in self.ends(Rule::Superscript, end).iter() {
                self.push(&mut found, after, || named(Some(end), Some(power)));
            }
        }
        for &(end, _) in subs.iter() {
            self.push(&mut found, end, || named(Some(end), None));
        }
        for &(end, power) in supers.iter() {
            self.push(&mut found, end, || named(None, Some(power)));
        }
        self.push(&mut found, at + 1, || named(None, None));
        found
    }

    /// A name without a superscript.
    pub(super) fn name_bare(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        if !self.name_token(at) {
            return found;
        }
        for &(end, _) in self.ends(Rule::Subscript, at + 1).iter() {
            let node = Node::Name { token: at, subscript: Some((at + 1, end)), superscript: None };
            self.push(&mut found, end, || node);
        }
        self.push(&mut found, at + 1, || Node::Name { token: at, subscript: None, superscript: None });
        found
    }

    pub(super) fn number_subscript(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        if self.is(at, Kind::Number) {
            for &(end, _) in self.ends(Rule::Subscript, at + 1).iter() {
                self.push(&mut found, end, || Node::Number(at));
            }
            self.push(&mut found, at + 1, || Node::Number(at));
        }
        found
    }

    pub(super) fn atom(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        let simple = match self.kind(at) {
            Some(Kind::Letter | Kind::Greek | Kind::OtherSymbol | Kind::Accent) => return self.name(at),
            Some(Kind::Number) => return self.number_subscript(at),
            Some(Kind::Symbol) => Node::Symbol(at),
            Some(Kind::PercentNumber) => Node::Percent(at),
            Some(Kind::ENotation) => Node::ENotation(at),
            Some(Kind::CapitalE) => Node::CapitalE,
            Some(Kind::Differential) => Node::Differential(at),
            Some(Kind::Gamma) => Node::Gamma,
            _ => return found,
        };
        self.push(&mut found, at + 1, || simple);
        found
    }
}
