//! Word tables that several grammars draw from. They are kept small so that a small tokenizer gives most words one token.

pub(crate) const GIRLS: &[&str] =
    &["Anna", "Mia", "Lena", "Sara", "Nora", "Ella", "Ruth", "Clara", "Ida", "Rosa", "Vera", "Maya"];

pub(crate) const BOYS: &[&str] =
    &["Tom", "Ben", "Max", "Leo", "Sam", "Paul", "Jack", "Omar", "Finn", "Karl", "Hugo", "Adam"];

/// Things that people have, find, buy and give away, in the plural.
pub(crate) const OBJECTS: &[&str] = &[
    "apples", "pears", "shells", "stones", "cards", "books", "pencils", "marbles", "stamps", "cookies", "eggs",
    "flowers", "beads", "buttons", "balls", "candles",
];

/// What holds objects, in the plural and in the singular.
pub(crate) const CONTAINERS: &[(&str, &str)] = &[
    ("boxes", "box"),
    ("bags", "bag"),
    ("baskets", "basket"),
    ("jars", "jar"),
    ("bowls", "bowl"),
    ("drawers", "drawer"),
];

/// What a shop sells: singular and plural.
pub(crate) const GOODS: &[(&str, &str)] = &[
    ("cup", "cups"),
    ("pen", "pens"),
    ("hat", "hats"),
    ("toy", "toys"),
    ("cake", "cakes"),
    ("lamp", "lamps"),
    ("map", "maps"),
    ("kite", "kites"),
];
