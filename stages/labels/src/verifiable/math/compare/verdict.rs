//! What a comparison says, and how far it goes.

use std::fmt;

/// How far math-verify's habits go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Verdicts as math-verify gives them.
    #[default]
    Compat,
    /// Where math-verify's verdict is a known quirk, what the answer means: 25 % is not 25, an ordered tuple is no set,
    /// equations of one variable and inequalities may be scaled, an interval and its inequality are the same either way
    /// round, and equations without solutions are not all alike.
    Strict,
}

/// Why two answers are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// The same text.
    Text,
    /// Written the same.
    Form,
    /// The same exact number.
    Value,
    /// The same canonical form.
    Canonical,
    /// The same values at the probed points.
    Probed,
    /// The same decimal after rounding.
    Rounded,
    /// The same number before and without a percent sign.
    Percentage,
    /// The same name.
    Name,
    /// Equal parts.
    Parts,
    /// The same numbers in both sets.
    Set,
    /// The same relation, perhaps turned round.
    Relation,
    /// Equations with the same solutions.
    Solutions,
}

/// Why two answers are not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Different values.
    Value,
    /// Different names.
    Name,
    /// Different kinds of objects.
    Kind,
    /// Different parts, or numbers of parts.
    Parts,
    /// Different sets.
    Set,
    /// Different relations.
    Relation,
    /// The reference answer is undefined.
    Undefined,
    /// Whether they are equal takes too long to find out.
    TooComplex,
}

impl fmt::Display for Equality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "the same text",
            Self::Form => "written the same",
            Self::Value => "the same number",
            Self::Canonical => "the same canonical form",
            Self::Probed => "the same values at the probed points",
            Self::Rounded => "the same to six decimals",
            Self::Percentage => "the same number of percent",
            Self::Name => "the same name",
            Self::Parts => "equal parts",
            Self::Set => "the same set",
            Self::Relation => "the same relation",
            Self::Solutions => "the same solutions",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "another value",
            Self::Name => "another name",
            Self::Kind => "another kind of object",
            Self::Parts => "other parts",
            Self::Set => "another set",
            Self::Relation => "another relation",
            Self::Undefined => "the reference answer is undefined",
            Self::TooComplex => "too complex to decide",
        })
    }
}
