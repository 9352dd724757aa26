//! Labels: ratings, diversity and verifiers.
