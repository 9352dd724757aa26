//! Everything wrong with a manifest, in one report: each problem with its place, what was expected and what to do.

use super::source::{Sources, Span};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::Serialize;
use std::{collections::HashSet, fmt, sync::Arc};

/// One thing wrong, before its place is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What was expected, shown under the marked text.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// Further places that belong to it, each with its own label; in the same text as `span`, others are left out.
    pub also: Vec<(Span, String)>,
}

impl Finding {
    #[must_use]
    pub fn new(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: label.into(), help: None, also: Vec::new() }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean" where a candidate is near `word`, otherwise lists the candidates.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match suggestion(word, what, candidates) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }
}

/// The candidate that `word` was probably meant to be.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let longest = word.chars().count().max(candidate.chars().count());
            *distance <= (longest / 3).max(1) && *distance < longest
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or the known names when none is near, or nothing when there are none.
#[must_use]
pub fn suggestion<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = candidates.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    if let Some(near) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if known.is_empty() {
        return None;
    }
    Some(format!("known {what}: {}", list(known, 24)))
}

/// `a`, `b`, … with at most `most` names.
#[must_use]
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names.iter().take(most).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > most {
        text += &format!(" and {} more", names.len() - most);
    }
    text
}

/// Collects findings; the same finding at the same place is kept once.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
    closed: HashSet<Span>,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        let same = |known: &Finding| known.span == finding.span && known.message == finding.message;
        if !self.closed.contains(&finding.span) && !self.all.iter().rev().take(64).any(same) {
            self.all.push(finding);
        }
    }

    /// What is wrong at this place is known: a missing value there raises no second complaint.
    pub fn close(&mut self, span: Span) {
        self.closed.insert(span);
    }

    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// Whether something was found, or nothing more is to be found, at this very place.
    #[must_use]
    pub fn is_known(&self, span: Span) -> bool {
        self.closed.contains(&span) || self.all.iter().any(|finding| finding.span == span)
    }

    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.all
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Sorted by place, with the texts looked up.
    #[must_use]
    pub fn resolve(mut self, sources: &Sources, severity: Severity) -> Vec<Problem> {
        self.all.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
        self.all.dedup();
        self.all.into_iter().map(|finding| Problem::new(finding, sources, severity)).collect()
    }
}

/// One thing wrong with a manifest, with its place.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    /// What was expected.
    pub label: String,
    pub help: Option<String>,
    #[serde(skip)]
    severity: Severity,
    #[serde(skip)]
    source: Arc<NamedSource<String>>,
    #[serde(skip)]
    labels: Vec<LabeledSpan>,
}

impl Problem {
    fn new(finding: Finding, sources: &Sources, severity: Severity) -> Self {
        let (line, column) = sources.position(finding.span);
        let mark = |span: Span, text: &str| {
            // An empty range would be drawn as nothing.
            (Some(text.to_owned()).filter(|text| !text.is_empty()), (span.range().start, span.range().len().max(1)))
        };
        let (label, range) = mark(finding.span, &finding.label);
        let mut labels = vec![LabeledSpan::new_primary_with_span(label, range)];
        for (span, text) in finding.also.iter().filter(|(span, _)| span.source == finding.span.source) {
            let (label, range) = mark(*span, text);
            labels.push(LabeledSpan::new_with_span(label, range));
        }
        Self {
            file: sources.get(finding.span.source).name.clone(),
            line,
            column,
            message: finding.message,
            label: finding.label,
            help: finding.help,
            severity,
            source: sources.named(finding.span.source),
            labels,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// All problems of a manifest and the files that it is made of; never empty.
#[derive(Debug, Clone, Serialize)]
pub struct ManifestErrors {
    /// The manifest that was asked for.
    pub manifest: String,
    pub problems: Vec<Problem>,
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{count} problem{} in {}", if count == 1 { "" } else { "s" }, self.manifest)
    }
}

impl std::error::Error for ManifestErrors {}

impl Diagnostic for ManifestErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

impl ManifestErrors {
    /// The whole report for people, at most `width` columns wide.
    #[must_use]
    pub fn render(&self, width: usize, colour: bool) -> String {
        format!("{}\n{self}\n", render(&self.problems, width, colour))
    }
}

/// Something suspicious that does not stop a run.
pub type Warning = Problem;

/// Problems or warnings as text for people, at most `width` columns wide.
#[must_use]
pub fn render(problems: &[Problem], width: usize, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(1).without_cause_chain();
    let handler = if colour { handler } else { handler.without_syntax_highlighting() };
    let mut text = String::new();
    for problem in problems {
        // Writing into a string cannot fail.
        let _ = handler.render_report(&mut text, problem);
        text.push('\n');
    }
    text
}
