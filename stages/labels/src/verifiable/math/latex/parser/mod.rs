//! A parser of the ambiguous grammar that the reference generates its parser from.
//!
//! Every rule yields all ends it can reach from a place, in order of preference (earlier alternatives first, repetitions
//! as long as possible) and each end once. The first derivation that takes the whole input is then the one that the
//! reference's adaptive prediction finds. Results are remembered per rule and place, so that the work is polynomial in
//! the number of tokens; budget and depth bound it.

mod functions;
mod operands;
mod sets;

use super::{
    lexer::{Kind, Token},
    syntax::{Node, NodeId, Operator},
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
        self.prolonged(at, operand, |parser, (end, node), seen| {
            let Some(joint) = parser.kind(end).and_then(&joint) else { return Vec::new() };
            let right = parser.ends(operand, end + 1);
            let new = right.iter().rev().filter(|(next, _)| !seen.contains(next));
            new.map(|&(next, right)| (next, parser.add(joint.node(node, right)))).collect()
        })
    }

    /// What `operand` matches at a place, and all that this can be prolonged to, step by step, the longest first; of several ways to
    /// one end, the first. `longer` gives the next steps of one, the least wanted first; it is told which ends were reached.
    fn prolonged(
        &mut self,
        at: u32,
        operand: Rule,
        mut longer: impl FnMut(&mut Self, (u32, NodeId), &[u32]) -> Vec<(u32, NodeId)>,
    ) -> Found {
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
            steps.extend(longer(self, (end, node), &seen).into_iter().map(|(end, node)| (end, node, false)));
        }
        found
    }

    fn all_of(&mut self, found: &mut Found, rule: Rule, at: u32) {
        for &(end, node) in self.ends(rule, at).iter() {
            self.keep(found, end, node);
        }
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
