//! The syntax tree of a LaTeX expression: which rule took which tokens, before any of it means something.

use super::lexer::Kind;

/// Where a node lies in the tree's arena.
pub type NodeId = u32;
/// First token and the one behind the last.
pub type Span = (u32, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

#[derive(Debug, Clone, Copy)]
pub enum Suffix {
    Factorial,
    Transpose,
    Degree,
    /// `|_{..}^{..}`: lower, upper.
    Evaluate(Option<NodeId>, Option<NodeId>),
}

/// A node. Lists of unknown length are chains to the left: `Juxtaposed(Juxtaposed(a, b), c)`.
#[derive(Debug, Clone)]
pub enum Node {
    Binary(Operator, NodeId, NodeId),
    /// A sign before an operand; whether it is a minus.
    Signed(bool, NodeId),
    Juxtaposed(NodeId, NodeId),
    Suffixed(NodeId, Suffix),
    Power(NodeId, NodeId),
    Norm(NodeId),
    Abs(NodeId),
    Floor(NodeId),
    Ceil(NodeId),
    /// Something in angle brackets, which has no meaning here.
    Angle,
    /// A letter, command or accent, with the span of its subscript and with its superscript.
    Name {
        token: u32,
        subscript: Option<Span>,
        superscript: Option<NodeId>,
    },
    Number(u32),
    Percent(u32),
    ENotation(u32),
    CapitalE,
    Differential(u32),
    Gamma,
    /// Infinity or the partial sign.
    Symbol(u32),
    Frac {
        upper: NodeId,
        lower: NodeId,
        upper_span: Span,
        lower_span: Span,
    },
    Binom(NodeId, NodeId),
    Matrix(Vec<Vec<NodeId>>),
    Det(Vec<Vec<NodeId>>),
    /// A function of one argument: its name's token, subscript, superscript, argument.
    Unary {
        name: u32,
        subscript: Option<NodeId>,
        superscript: Option<NodeId>,
        argument: NodeId,
    },
    Variadic {
        name: u32,
        superscript: Option<NodeId>,
        arguments: NodeId,
    },
    /// `f(x)`: the span of the name.
    Apply {
        name: Span,
        superscript: Option<NodeId>,
        arguments: NodeId,
    },
    Sqrt {
        root: Option<NodeId>,
        base: NodeId,
    },
    Euler(Option<NodeId>),
    /// `\sum` or `\prod`: index, first, last, term.
    Series {
        product: bool,
        index: NodeId,
        first: NodeId,
        last: NodeId,
        term: NodeId,
    },
    Limit {
        variable: u32,
        target: NodeId,
        body: NodeId,
    },
    Integral {
        limits: Option<(NodeId, NodeId)>,
        integrand: Option<NodeId>,
        differential: Option<u32>,
    },
    /// Relation sign, both sides.
    Relation(Kind, NodeId, NodeId),
    PlusMinus(Option<NodeId>, NodeId),
    Interval {
        left_open: bool,
        right_open: bool,
        start: NodeId,
        end: NodeId,
    },
    Tuple(NodeId),
    Set(NodeId),
    Boxed(NodeId),
    Literal(Kind),
    Comma(NodeId, NodeId),
    Semicolon(NodeId, NodeId),
    Union(NodeId, NodeId),
    Intersection(NodeId, NodeId),
    Minus(NodeId, NodeId),
    /// Whether the left set lies in the right one.
    Subset(NodeId, NodeId),
    Names(Vec<NodeId>),
    /// `x ∈ S`, `x = S`, `x ∉ S`.
    Membership(Kind, NodeId, NodeId),
    /// A set expression that is the whole answer.
    SetRelation(NodeId),
    Elements(NodeId),
}
