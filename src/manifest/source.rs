//! The texts that a manifest is read from, and positions in them.

use miette::NamedSource;
use std::{ops::Range, path::PathBuf, sync::Arc};

/// Position of a text in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A range of bytes in one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    #[must_use]
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        // A manifest of 4 GiB is refused when it is read, so positions fit.
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { source, start: narrow(range.start), end: narrow(range.end.max(range.start)) }
    }

    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One text: a manifest, a file of parameters, or an argument of the command line.
#[derive(Debug)]
pub struct Source {
    /// As shown to people: the path as it was given.
    pub name: String,
    /// The directory that relative paths in this text start from.
    pub directory: PathBuf,
    named: Arc<NamedSource<String>>,
}

impl Source {
    #[must_use]
    pub fn text(&self) -> &str {
        self.named.inner()
    }
}

/// All texts read so far.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    pub fn add(&mut self, name: impl Into<String>, directory: impl Into<PathBuf>, text: String) -> SourceId {
        let name = name.into();
        let named = Arc::new(NamedSource::new(&name, text).with_language("yaml"));
        self.0.push(Source { name, directory: directory.into(), named });
        SourceId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    #[must_use]
    pub fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0 as usize]
    }

    /// The text of a span, empty where it lies outside.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.source).text().get(span.range()).unwrap_or_default()
    }

    pub(super) fn named(&self, id: SourceId) -> Arc<NamedSource<String>> {
        Arc::clone(&self.get(id).named)
    }

    /// Line and column, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, span: Span) -> (usize, usize) {
        let text = self.get(span.source).text();
        let before = text.get(..span.start as usize).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}
