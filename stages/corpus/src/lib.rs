//! A synthetic corpus whose tasks make sampling matter.
