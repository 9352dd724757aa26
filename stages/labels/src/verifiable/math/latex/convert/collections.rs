//! Lists, relations and sets.

use super::super::{
    super::{
        expr::{Constant, Domain, Expr, Interval, Order, Relation},
        numeric,
    },
    lexer::Kind,
    syntax::{Node, NodeId},
};
use super::{Converter, Meaning, MeaningError, literal};
use std::cmp::Ordering;

impl Converter<'_> {
    pub(super) fn root(&mut self, id: NodeId) -> Meaning {
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
    pub(super) fn elements(&mut self, list: NodeId) -> Meaning {
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

    pub(super) fn groups(&mut self, list: NodeId) -> Result<Vec<Vec<Expr>>, MeaningError> {
        let spine = self.spine(list, |node| match node {
            Node::Semicolon(left, right) => Some((*left, *right)),
            _ => None,
        });
        spine.into_iter().map(|group| self.group(group)).collect()
    }

    pub(super) fn group(&mut self, list: NodeId) -> Result<Vec<Expr>, MeaningError> {
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

    pub(super) fn comma_spine(&self, list: NodeId) -> Vec<NodeId> {
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
    pub(super) fn spine(&self, id: NodeId, open: impl Fn(&Node) -> Option<(NodeId, NodeId)>) -> Vec<NodeId> {
        let (mut at, mut parts) = (id, Vec::new());
        while let Some((left, right)) = open(self.node(at)) {
            parts.push(right);
            at = left;
        }
        parts.push(at);
        parts.reverse();
        parts
    }

    pub(super) fn element(&mut self, id: NodeId) -> Meaning {
        match self.node(id) {
            Node::Relation(..) => self.relation(id),
            Node::Interval { .. } | Node::Literal(_) | Node::Tuple(_) | Node::Set(_) | Node::Boxed(_) => self.set(id),
            _ => self.scalar(id),
        }
    }

    pub(super) fn relation(&mut self, id: NodeId) -> Meaning {
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

    pub(super) fn set(&mut self, id: NodeId) -> Meaning {
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
    pub(super) fn operand_set(&mut self, id: NodeId) -> Meaning {
        match self.set(id)? {
            Expr::Tuple(parts) => Ok(Expr::set(parts)),
            set if set.is_set() => Ok(set),
            _ => Err(MeaningError::WrongKind),
        }
    }

    pub(super) fn names(&mut self, id: NodeId) -> Meaning {
        let Node::Names(names) = self.node(id).clone() else { return self.scalar(id) };
        let mut parts: Vec<Expr> = names.into_iter().map(|name| self.scalar(name)).collect::<Result<_, _>>()?;
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Tuple(parts) })
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
