//! The built-in stage types: thin glue over the domain crates.
