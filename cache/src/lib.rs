//! The content-addressed store, its index, row segments and materialising.
