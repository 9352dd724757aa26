//! A parser of the ambiguous grammar that the reference generates its parser from.
//!
//! Every rule yields all ends it can reach from a place, in order of preference (earlier alternatives first, repetitions
//! as long as possible) and each end once. The first derivation that takes the whole input is then the one that the
//! reference's adaptive prediction finds. Results are remembered per rule and place, so that the work is polynomial in
//! the number of tokens; budget and depth bound it.

use super::{
    lexer::{Kind, Token},
    syntax::{Node, NodeId, Operator, Span, Suffix},
};
use std::rc::Rc;

/// Nested rules at most: what is deeper is no answer.
const MAX_DEPTH: u32 = 420;
/// Ends found at most.
const MAX_ENDS: usize = 200_000;

/// A derivation: the token behind it, and its node.
type End = (u32, NodeId);
type Ends = Rc<[End]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Rule {
    Relation,
    Expr,
    Product,
    ProductPlain,
    Unary,
    UnaryPlain,
    Postfix,
    PostfixPlain,
    Power,
    PowerPlain,
    Operand,
    OperandPlain,
    Function,
    Atom,
    Name,
    NameBare,
    Subscript,
    SubscriptValue,
    Superscript,
    NameList,
    Arguments,
    CommonArguments,
    Element,
    ElementPlain,
    Commas,
    CommasPlain,
    Semicolons,
    SemicolonsPlain,
    PlusMinus,
    SetAtom,
    SetGroup,
    SetIntersection,
    SetUnion,
    SetMinus,
    SetRelation,
    MatrixRows,
    Count,
}

/// Why tokens have no derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxError {
    NoDerivation,
    TooComplex,
}

/// A parsed text: the arena of nodes and the root.
pub struct Tree {
    pub nodes: Vec<Node>,
    pub root: NodeId,
}

/// Parses all tokens.
///
/// # Errors
/// [`SyntaxError`] where no derivation takes all of them, or finding out takes too much.
pub fn parse(tokens: &[Token]) -> Result<Tree, SyntaxError> {
    let places = tokens.len() + 1;
    let mut parser = Parser {
        tokens,
        nodes: Vec::new(),
        known: vec![None; Rule::Count as usize * places],
        places,
        depth: 0,
        found: 0,
        exhausted: false,
    };
    let root = parser.whole();
    match root {
        _ if parser.exhausted => Err(SyntaxError::TooComplex),
        Some(root) => Ok(Tree { nodes: parser.nodes, root }),
        None => Err(SyntaxError::NoDerivation),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    nodes: Vec<Node>,
    known: Vec<Option<Ends>>,
    places: usize,
    depth: u32,
    found: usize,
    exhausted: bool,
}

/// Ends in order, each once.
#[derive(Default)]
struct Found(Vec<End>);

impl Found {
    fn has(&self, end: u32) -> bool {
        self.0.iter().any(|(known, _)| *known == end)
    }
}

impl Parser<'_> {
    fn kind(&self, at: u32) -> Option<Kind> {
        self.tokens.get(at as usize).map(|token| token.kind)
    }

    fn is(&self, at: u32, kind: Kind) -> bool {
        self.kind(at) == Some(kind)
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.nodes.len() as NodeId;
        self.nodes.push(node);
        id
    }

    fn push(&mut self, found: &mut Found, end: u32, node: impl FnOnce() -> Node) {
        if !found.has(end) {
            let node = self.add(node());
            self.keep(found, end, node);
        }
    }

    fn keep(&mut self, found: &mut Found, end: u32, node: NodeId) {
        if !found.has(end) {
            found.0.push((end, node));
            self.found += 1;
            self.exhausted |= self.found > MAX_ENDS;
        }
    }

    /// `opening rule closing`, each derivation wrapped.
    fn enclosed(
        &mut self,
        found: &mut Found,
        at: u32,
        (opening, closing): (Kind, Kind),
        rule: Rule,
        wrap: impl Fn(NodeId) -> Option<Node>,
    ) {
        if !self.is(at, opening) {
            return;
        }
        for &(end, inner) in self.ends(rule, at + 1).iter() {
            if self.is(end, closing) {
                match wrap(inner) {
                    Some(node) => self.push(found, end + 1, || node),
                    None => self.keep(found, end + 1, inner),
                }
            }
        }
    }

    fn ends(&mut self, rule: Rule, at: u32) -> Ends {
        if self.exhausted || at as usize >= self.tokens.len() {
            return Rc::new([]);
        }
        let place = rule as usize * self.places + at as usize;
        if let Some(known) = &self.known[place] {
            return Rc::clone(known);
        }
        if self.depth == MAX_DEPTH {
            self.exhausted = true;
            return Rc::new([]);
        }
        self.depth += 1;
        let found: Ends = self.derive(rule, at).0.into();
        self.depth -= 1;
        self.known[place] = Some(Rc::clone(&found));
        found
    }

    fn derive(&mut self, rule: Rule, at: u32) -> Found {
        match rule {
            Rule::Relation => self.chain(at, Rule::Expr, |kind| {
                let relation = matches!(
                    kind,
                    Kind::In
                        | Kind::Assign
                        | Kind::Equal
                        | Kind::Approx
                        | Kind::Less
                        | Kind::LessEqual
                        | Kind::Greater
                        | Kind::GreaterEqual
                        | Kind::Unequal
                );
                relation.then_some(Joint::Relation(kind))
            }),
            Rule::Expr => self.chain(at, Rule::Product, |kind| match kind {
                Kind::Add => Some(Joint::Binary(Operator::Add)),
                Kind::Sub => Some(Joint::Binary(Operator::Sub)),
                _ => None,
            }),
            Rule::Product => self.chain(at, Rule::Unary, multiplicative),
            Rule::ProductPlain => self.chain(at, Rule::UnaryPlain, multiplicative),
            Rule::Unary => self.unary(at, Rule::Unary, Rule::Postfix),
            Rule::UnaryPlain => self.unary(at, Rule::UnaryPlain, Rule::PostfixPlain),
            Rule::Postfix => self.postfix(at, Rule::Power),
            Rule::PostfixPlain => self.postfix(at, Rule::PowerPlain),
            Rule::Power => self.power(at, Rule::Operand),
            Rule::PowerPlain => self.power(at, Rule::OperandPlain),
            Rule::Operand => self.operand(at, true),
            Rule::OperandPlain => self.operand(at, false),
            Rule::Function => self.function(at),
            Rule::Atom => self.atom(at),
            Rule::Name => self.name(at),
            Rule::NameBare => self.name_bare(at),
            Rule::Subscript => self.script(at, Kind::Underscore, true),
            Rule::SubscriptValue => self.script(at, Kind::Underscore, false),
            Rule::Superscript => self.script(at, Kind::Caret, false),
            Rule::NameList => self.name_list(at),
            Rule::Arguments => self.chain(at, Rule::Expr, |kind| (kind == Kind::Comma).then_some(Joint::Comma)),
            Rule::CommonArguments => self.common_arguments(at),
            Rule::Element => self.element(at, Rule::Relation),
            Rule::ElementPlain => self.element(at, Rule::Expr),
            Rule::Commas => self.chain(at, Rule::Element, |kind| (kind == Kind::Comma).then_some(Joint::Comma)),
            Rule::CommasPlain => {
                self.chain(at, Rule::ElementPlain, |kind| (kind == Kind::Comma).then_some(Joint::Comma))
            }
            Rule::Semicolons => {
                self.chain(at, Rule::Commas, |kind| (kind == Kind::Semicolon).then_some(Joint::Semicolon))
            }
            Rule::SemicolonsPlain => {
                self.chain(at, Rule::CommasPlain, |kind| (kind == Kind::Semicolon).then_some(Joint::Semicolon))
            }
            Rule::PlusMinus => self.plus_minus(at),
            Rule::SetAtom => self.set_atom(at),
            Rule::SetGroup => self.set_group(at),
            Rule::SetIntersection => {
                self.chain(at, Rule::SetGroup, |kind| (kind == Kind::Intersection).then_some(Joint::Intersection))
            }
            Rule::SetUnion => {
                self.chain(at, Rule::SetIntersection, |kind| (kind == Kind::Union).then_some(Joint::Union))
            }
            Rule::SetMinus => self.chain(at, Rule::SetUnion, |kind| (kind == Kind::SetMinus).then_some(Joint::Minus)),
            Rule::SetRelation => self.set_relation(at),
            Rule::MatrixRows => self.matrix_rows(at),
            Rule::Count => Found::default(),
        }
    }

    /// `set_elements_relation | set_elements | set_relation`, up to the end of the input.
    fn whole(&mut self) -> Option<NodeId> {
        let last = self.tokens.len() as u32;
        let complete = |ends: &[End]| ends.iter().find(|(end, _)| *end == last).map(|(_, node)| *node);
        for &(end, names) in self.ends(Rule::NameList, 0).iter() {
            let Some(kind @ (Kind::In | Kind::Assign)) = self.kind(end) else { continue };
            if let Some(elements) = complete(&self.ends(Rule::SemicolonsPlain, end + 1)) {
                let elements = self.add(Node::Elements(elements));
                return Some(self.add(Node::Membership(kind, names, elements)));
            }
        }
        if let Some(elements) = complete(&self.ends(Rule::Semicolons, 0)) {
            return Some(self.add(Node::Elements(elements)));
        }
        let relation = complete(&self.ends(Rule::SetRelation, 0))?;
        Some(self.add(Node::SetRelation(relation)))
    }

    /// `operand (joint operand)*`, joined from the left, the longest first.
    fn chain(&mut self, at: u32, operand: Rule, joint: impl Fn(Kind) -> Option<Joint>) -> Found {
        let mut found = Found::default();
        let mut seen: Vec<u32> = Vec::new();
        // Each step is either still to be prolonged or, when met again, done with.
        let mut steps: Vec<(u32, NodeId, bool)> =
            self.ends(operand, at).iter().rev().map(|(end, node)| (*end, *node, false)).collect();
        while let Some((end, node, done)) = steps.pop() {
            if done {
                self.keep(&mut found, end, node);
                continue;
            }
            if seen.contains(&end) {
                continue;
            }
            seen.push(end);
            steps.push((end, node, true));
            if let Some(joint) = self.kind(end).and_then(&joint) {
                for &(next, right) in self.ends(operand, end + 1).iter().rev() {
                    if !seen.contains(&next) {
                        let joined = self.add(joint.node(node, right));
                        steps.push((next, joined, false));
                    }
                }
            }
        }
        found
    }

    /// A sign and another unary, or operands side by side; only the first may be a function where `next` is plain.
    fn unary(&mut self, at: u32, own: Rule, next: Rule) -> Found {
        let mut found = Found::default();
        if let Some(sign @ (Kind::Add | Kind::Sub)) = self.kind(at) {
            for &(end, inner) in self.ends(own, at + 1).iter() {
                self.push(&mut found, end, || Node::Signed(sign == Kind::Sub, inner));
            }
            return found;
        }
        let mut seen: Vec<u32> = Vec::new();
        let mut steps: Vec<(u32, NodeId, bool)> =
            self.ends(Rule::Postfix, at).iter().rev().map(|(end, node)| (*end, *node, false)).collect();
        while let Some((end, node, done)) = steps.pop() {
            if done {
                self.keep(&mut found, end, node);
                continue;
            }
            if seen.contains(&end) {
                continue;
            }
            seen.push(end);
            steps.push((end, node, true));
            for &(after, right) in self.ends(next, end).iter().rev() {
                if !seen.contains(&after) {
                    let joined = self.add(Node::Juxtaposed(node, right));
                    steps.push((after, joined, false));
                }
            }
        }
        found
    }

    fn postfix(&mut self, at: u32, base: Rule) -> Found {
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
    fn evaluations(&mut self, at: u32, suffixes: &mut Vec<(u32, Suffix)>) {
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

    fn evaluation_limits(&mut self, at: u32, script: Kind) -> Vec<End> {
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
    fn equality(&mut self, at: u32) -> Vec<End> {
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
    fn power(&mut self, at: u32, operand: Rule) -> Found {
        let mut found = Found::default();
        let mut seen: Vec<u32> = Vec::new();
        let mut steps: Vec<(u32, NodeId, bool)> =
            self.ends(operand, at).iter().rev().map(|(end, node)| (*end, *node, false)).collect();
        while let Some((end, node, done)) = steps.pop() {
            if done {
                self.keep(&mut found, end, node);
                continue;
            }
            if seen.contains(&end) {
                continue;
            }
            seen.push(end);
            steps.push((end, node, true));
            let mut longer = Vec::new();
            for &(after, exponent) in self.ends(Rule::Superscript, end).iter() {
                let raised = self.add(Node::Power(node, exponent));
                for &(subscripted, _) in self.ends(Rule::Subscript, after).iter() {
                    longer.push((subscripted, raised, false));
                }
                longer.push((after, raised, false));
            }
            steps.extend(longer.into_iter().rev());
        }
        found
    }

    fn operand(&mut self, at: u32, functions: bool) -> Found {
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

    fn all_of(&mut self, found: &mut Found, rule: Rule, at: u32) {
        for &(end, node) in self.ends(rule, at).iter() {
            self.keep(found, end, node);
        }
    }

    /// `{expr}` at a place.
    fn braced(&mut self, at: u32) -> Vec<End> {
        if !self.is(at, Kind::LeftBrace) {
            return Vec::new();
        }
        let inner = self.ends(Rule::Expr, at + 1);
        inner.iter().filter(|(end, _)| self.is(*end, Kind::RightBrace)).map(|(end, node)| (end + 1, *node)).collect()
    }

    fn frac(&mut self, found: &mut Found, at: u32) {
        for (end, upper) in self.braced(at + 1) {
            for (after, lower) in self.braced(end) {
                let (upper_span, lower_span) = ((at + 2, end - 1), (end + 1, after - 1));
                self.push(found, after, || Node::Frac { upper, lower, upper_span, lower_span });
            }
        }
    }

    fn binom(&mut self, found: &mut Found, at: u32) {
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

    fn matrix(&mut self, found: &mut Found, at: u32) {
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
    fn matrix_rows(&mut self, at: u32) -> Found {
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
    fn script(&mut self, at: u32, sign: Kind, lists: bool) -> Found {
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

    fn name_token(&self, at: u32) -> bool {
        matches!(self.kind(at), Some(Kind::Letter | Kind::Greek | Kind::OtherSymbol | Kind::Accent))
    }

    fn name(&mut self, at: u32) -> Found {
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
    fn name_bare(&mut self, at: u32) -> Found {
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

    fn number_subscript(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        if self.is(at, Kind::Number) {
            for &(end, _) in self.ends(Rule::Subscript, at + 1).iter() {
                self.push(&mut found, end, || Node::Number(at));
            }
            self.push(&mut found, at + 1, || Node::Number(at));
        }
        found
    }

    fn atom(&mut self, at: u32) -> Found {
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

    fn function(&mut self, at: u32) -> Found {
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
    fn scripts(&mut self, at: u32) -> Vec<(u32, Option<NodeId>, Option<NodeId>)> {
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

    fn unary_function(&mut self, found: &mut Found, name: u32, at: u32) {
        for (end, subscript, superscript) in self.scripts(at) {
            let call = |argument| Node::Unary { name, subscript, superscript, argument };
            self.enclosed(found, end, (Kind::LeftParen, Kind::RightParen), Rule::Expr, |inner| Some(call(inner)));
            for &(after, argument) in self.ends(Rule::ProductPlain, end).iter() {
                self.push(found, after, || call(argument));
            }
        }
    }

    /// A function of several arguments in parentheses; without them the reference fails, and so does this.
    fn variadic_function(&mut self, found: &mut Found, name: u32, at: u32) {
        for (end, _, superscript) in self.scripts(at) {
            self.enclosed(found, end, (Kind::LeftParen, Kind::RightParen), Rule::Arguments, |arguments| {
                Some(Node::Variadic { name, superscript, arguments })
            });
        }
    }

    fn application(&mut self, found: &mut Found, at: u32) {
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
    fn common_arguments(&mut self, at: u32) -> Found {
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

    fn sqrt(&mut self, found: &mut Found, at: u32) {
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

    fn series(&mut self, found: &mut Found, at: u32) {
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

    fn series_start(&mut self, at: u32) -> Vec<End> {
        if !self.is(at, Kind::Underscore) || !self.is(at + 1, Kind::LeftBrace) {
            return Vec::new();
        }
        let inner = self.equality(at + 2);
        inner.into_iter().filter(|(end, _)| self.is(*end, Kind::RightBrace)).map(|(end, n)| (end + 1, n)).collect()
    }

    fn limit(&mut self, found: &mut Found, at: u32) {
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

    fn integral(&mut self, found: &mut Found, at: u32) {
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

    fn name_list(&mut self, at: u32) -> Found {
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

    fn element(&mut self, at: u32, last: Rule) -> Found {
        let mut found = Found::default();
        for rule in [Rule::PlusMinus, Rule::SetAtom, last] {
            self.all_of(&mut found, rule, at);
        }
        found
    }

    fn plus_minus(&mut self, at: u32) -> Found {
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

    fn set_atom(&mut self, at: u32) -> Found {
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

    fn interval(&mut self, found: &mut Found, at: u32) {
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

    fn set_group(&mut self, at: u32) -> Found {
        let mut found = Found::default();
        self.enclosed(&mut found, at, (Kind::LeftParen, Kind::RightParen), Rule::SetMinus, |_| None);
        self.all_of(&mut found, Rule::SetAtom, at);
        found
    }

    fn set_relation(&mut self, at: u32) -> Found {
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

/// What joins two operands of a chain.
#[derive(Clone, Copy)]
enum Joint {
    Binary(Operator),
    Relation(Kind),
    Comma,
    Semicolon,
    Union,
    Intersection,
    Minus,
}

impl Joint {
    fn node(self, left: NodeId, right: NodeId) -> Node {
        match self {
            Self::Binary(operator) => Node::Binary(operator, left, right),
            Self::Relation(kind) => Node::Relation(kind, left, right),
            Self::Comma => Node::Comma(left, right),
            Self::Semicolon => Node::Semicolon(left, right),
            Self::Union => Node::Union(left, right),
            Self::Intersection => Node::Intersection(left, right),
            Self::Minus => Node::Minus(left, right),
        }
    }
}

fn multiplicative(kind: Kind) -> Option<Joint> {
    Some(Joint::Binary(match kind {
        Kind::Mul | Kind::Times | Kind::Cdot => Operator::Mul,
        Kind::Div | Kind::DivCommand | Kind::Colon => Operator::Div,
        Kind::Mod => Operator::Mod,
        _ => return None,
    }))
}
