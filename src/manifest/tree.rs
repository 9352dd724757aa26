//! YAML text → a tree in which every key and value knows its place.
//!
//! Scalars follow the YAML 1.2 core schema (`no` is text, `0o17` is a number). Aliases are expanded, `<<` merges mappings.

use super::{
    expression::Template,
    problem::{Finding, Findings},
    source::{SourceId, Sources, Span},
};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span as EventSpan, Tag};
use serde_json::{Map, Number, Value};
use std::{collections::HashMap, sync::Arc};

/// Aliases may multiply a small text into a huge tree; past this many nodes the text is refused.
const MOST_NODES: usize = 4_000_000;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// Text with expressions that need matrix coordinates.
    Template(Arc<Template>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    #[must_use]
    pub fn new(span: Span, kind: Kind) -> Self {
        Self { span, kind }
    }

    #[must_use]
    pub fn empty_map(span: Span) -> Self {
        Self::new(span, Kind::Map(Vec::new()))
    }

    /// A plain value in which every part has the place `span`.
    #[must_use]
    pub fn from_value(span: Span, value: Value) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(value),
            Value::Number(value) => Kind::Number(value),
            Value::String(value) => Kind::Text(value),
            Value::Array(items) => Kind::List(items.into_iter().map(|item| Self::from_value(span, item)).collect()),
            Value::Object(fields) => Kind::Map(
                fields
                    .into_iter()
                    .map(|(key, value)| Entry { key, key_span: span, value: Self::from_value(span, value) })
                    .collect(),
            ),
        };
        Self { span, kind }
    }

    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }

    #[must_use]
    pub fn items(&self) -> &[Node] {
        if let Kind::List(items) = &self.kind { items } else { &[] }
    }

    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// What it is, in words.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) | Kind::Template(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// Whether a part of it needs matrix coordinates.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        match &self.kind {
            Kind::Template(_) => true,
            Kind::List(items) => items.iter().any(Self::is_dynamic),
            Kind::Map(entries) => entries.iter().any(|entry| entry.value.is_dynamic()),
            _ => false,
        }
    }

    /// Without places; a template as the text it was written as.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::Template(template) => Value::String(template.source().to_owned()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The node that a JSON pointer names, or its nearest ancestor that is written, and the place of its key.
    #[must_use]
    pub fn locate(&self, pointer: &str) -> (&Node, Option<Span>) {
        let mut node = self;
        let mut key_span = None;
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let next = match &node.kind {
                Kind::Map(_) => node.entry(&segment).map(|entry| (&entry.value, Some(entry.key_span))),
                Kind::List(items) => {
                    segment.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (item, None))
                }
                _ => None,
            };
            let Some((child, span)) = next else { break };
            node = child;
            key_span = span;
        }
        (node, key_span)
    }
}

/// Reads one YAML document. Duplicate keys and the like go to `findings`; `None` when no tree can be made.
pub fn parse(source: SourceId, sources: &Sources, findings: &mut Findings) -> Option<Node> {
    parse_at(source, 0, sources, findings)
}

/// As [`parse`], for the part of the text that begins at `from`.
pub fn parse_at(source: SourceId, from: usize, sources: &Sources, findings: &mut Findings) -> Option<Node> {
    // Positions stay those of the whole text.
    let text = format!("{}{}", " ".repeat(from), &sources.get(source).text()[from..]);
    let text = text.as_str();
    let mut reader = Reader {
        source,
        text,
        parser: Parser::new_from_str_with_options(
            text,
            granit_parser::options! { emit_comments: false, emit_unresolved_aliases: true },
        ),
        anchors: HashMap::new(),
        nodes: 0,
        findings,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(finding) => {
            findings.push(finding);
            None
        }
    }
}

struct Reader<'a> {
    source: SourceId,
    text: &'a str,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    findings: &'a mut Findings,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, EventSpan), Finding> {
        let at_end = Span::new(self.source, self.text.len()..self.text.len());
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(self.text.len()).min(self.text.len());
                Err(self.syntax(at, error.kind(), &error.info()))
            }
            None => Err(Finding::new(at_end, "the text ends too early", "expected more here")),
        }
    }

    fn syntax(&self, at: usize, kind: &ErrorKind, info: &str) -> Finding {
        // At the end of a line or of the text there is nothing to mark, so the last character before it is shown.
        let rest = self.text.get(at..).unwrap_or_default();
        let at = if rest.trim().is_empty() { self.text.trim_end().len().saturating_sub(1) } else { at };
        let at = (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let finding = Finding::new(Span::new(self.source, at..at + 1), format!("not valid YAML: {info}"), "here");
        let tab = self.text[..at].rsplit('\n').next().is_some_and(|line| line.contains('\t')) || rest.starts_with('\t');
        match kind {
            _ if tab => finding.help("indent with spaces: YAML does not allow tabs"),
            _ => finding.help("check indentation, quotes and brackets here and on the line above"),
        }
    }

    fn span(&self, span: EventSpan) -> Span {
        Span::new(self.source, span.byte_range().unwrap_or(0..0))
    }

    fn document(&mut self) -> Result<Node, Finding> {
        let whole = Span::new(self.source, 0..self.text.trim_end().len());
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd, _) => {
                    return Err(Finding::new(whole, "the file is empty", "expected a mapping"));
                }
                (event, span) => {
                    let node = self.node(event, span)?;
                    return self.end(node);
                }
            }
        }
    }

    fn end(&mut self, node: Node) -> Result<Node, Finding> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(node),
                (Event::DocumentStart(..), span) => {
                    return Err(Finding::new(
                        self.span(span),
                        "a second document in one file",
                        "a new document starts here",
                    )
                    .help("write one document per file"));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: EventSpan) -> Result<Node, Finding> {
        self.nodes += 1;
        let span = self.span(at);
        let before = self.nodes;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (self.scalar(&text, style, tag.as_deref(), span), anchor),
            Event::SequenceStart(_, anchor, _) => (self.list(span)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(span)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::UnresolvedAlias(name) => {
                self.findings.push(Finding::new(span, format!("unknown alias `*{name}`"), "no `&` of this name above"));
                (Node::new(span, Kind::Null), 0)
            }
            _ => return Err(Finding::new(span, "not valid YAML", "expected a value here")),
        };
        if anchor != 0 {
            let size = self.nodes - before + 1;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Finding> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Finding::new(span, "an alias inside its own anchor", "refers to itself"));
        };
        self.nodes += size;
        if self.nodes > MOST_NODES {
            return Err(Finding::new(
                span,
                "aliases expand to too many values",
                format!("more than {MOST_NODES} here"),
            ));
        }
        Ok(node.clone())
    }

    fn list(&mut self, start: Span) -> Result<Node, Finding> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    return Ok(Node::new(self.join(start, end), Kind::List(items)));
                }
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self, start: Span) -> Result<Node, Finding> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                entries.extend(merged.into_iter().filter(|entry| !seen.contains_key(&entry.key)));
                return Ok(Node::new(self.join(start, span), Kind::Map(entries)));
            }
            let key_span = self.span(span);
            let key = match event {
                Event::Scalar(text, ..) => text.into_owned(),
                other => {
                    let key = self.node(other, span)?;
                    self.findings.push(Finding::new(
                        key.span,
                        format!("a key that is {}", key.describe()),
                        "expected text as the key",
                    ));
                    String::new()
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if key == "<<" {
                merged.extend(self.merged(value));
            } else if let Some(&first) = seen.get(&key) {
                self.findings.push(
                    Finding::new(key_span, format!("duplicate key `{key}`"), "written again here")
                        .also(entries[first].key_span, "first written here")
                        .help("keep one of the two"),
                );
            } else {
                seen.insert(key.clone(), entries.len());
                entries.push(Entry { key, key_span, value });
            }
        }
    }

    fn merged(&mut self, value: Node) -> Vec<Entry> {
        match value.kind {
            Kind::Map(entries) => entries,
            Kind::List(items) => items.into_iter().flat_map(|item| self.merged(item)).collect(),
            _ => {
                let label = format!("expected a mapping, found {}", value.describe());
                self.findings.push(Finding::new(value.span, "`<<` merges mappings only", label));
                Vec::new()
            }
        }
    }

    /// From the start of a collection to its end, without the blank lines after a block.
    fn join(&self, start: Span, end: EventSpan) -> Span {
        let end = self.span(end).end as usize;
        let from = start.start as usize;
        let text = self.text.get(from..end.max(from)).unwrap_or_default();
        Span::new(self.source, from..from + text.trim_end().len())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        let plain = style == ScalarStyle::Plain;
        let kind = match tag.map(|tag| (tag.core_suffix(), tag)) {
            None if plain => core_schema(text),
            None => Ok(Kind::Text(text.to_owned())),
            Some((Some("str"), _)) => Ok(Kind::Text(text.to_owned())),
            Some((Some("null" | "bool" | "int" | "float"), _)) => core_schema(text),
            Some((_, tag)) => Err(format!("the tag `{}` is not supported", tag.original())),
        };
        let kind = kind.unwrap_or_else(|message| {
            self.findings.push(Finding::new(span, message, "expected a plain value"));
            Kind::Null
        });
        Node::new(span, kind)
    }
}

/// A plain scalar by the YAML 1.2 core schema (section 10.3.2 of the specification).
fn core_schema(text: &str) -> Result<Kind, String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |digits: &str, radix| match u64::from_str_radix(digits, radix) {
        Ok(number) => Ok(Kind::Number(number.into())),
        Err(_) if digits.chars().all(|digit| digit.is_digit(radix)) && !digits.is_empty() => {
            Err(format!("the number {text} is too large"))
        }
        Err(_) => Ok(Kind::Text(text.to_owned())),
    };
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Kind::Null),
        "true" | "True" | "TRUE" => return Ok(Kind::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Kind::Bool(false)),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("`{text}` is not a finite number"));
    }
    let numeric = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|digit: char| digit.is_ascii_digit())
        && unsigned.chars().all(|digit| digit.is_ascii_digit() || matches!(digit, '.' | 'e' | 'E' | '+' | '-'));
    if !numeric {
        return Ok(Kind::Text(text.to_owned()));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Kind::Number(number.into()));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(Kind::Number(number.into()));
    }
    if unsigned.chars().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("the number {text} is too large"));
    }
    match text.parse::<f64>().ok().map(Number::from_f64) {
        Some(Some(number)) => Ok(Kind::Number(number)),
        Some(None) => Err(format!("the number {text} is too large")),
        None => Ok(Kind::Text(text.to_owned())),
    }
}
