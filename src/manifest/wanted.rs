//! The inputs that a stage asks for, as written.

use super::{
    problem::{Finding, Findings},
    reference::{self, Reference},
    source::Span,
    tree::{Kind, Node},
};
use std::path::PathBuf;

/// One input with everything that is wanted for it.
pub struct Wanted {
    pub name: String,
    pub name_span: Span,
    pub span: Span,
    pub items: Vec<Item>,
    /// Written as a list, even if of one.
    pub list: bool,
    /// It says different things for different coordinates of the matrix.
    pub dynamic: bool,
}

/// One thing that is wanted.
pub enum Item {
    Reference(Reference, Span),
    Path(PathBuf, Span),
    Glob(String, Span),
}

/// Reads `inputs:` of an instance, of which `templates` is the form as written. What cannot be read is reported and
/// left out.
pub fn read(node: &Node, templates: &Node, findings: &mut Findings) -> Vec<Wanted> {
    let mut all = Vec::with_capacity(node.entries().len());
    for entry in node.entries() {
        let list = matches!(entry.value.kind, Kind::List(_));
        let written = if list { entry.value.items() } else { std::slice::from_ref(&entry.value) };
        let items = written.iter().filter_map(|item| self::item(item, findings)).collect();
        if !reference::is_name(&entry.key) {
            let message = format!("`{}` cannot name an input", entry.key);
            findings.push(Finding::new(entry.key_span, message, "expected letters, digits, `_` and `-`"));
        }
        all.push(Wanted {
            name: entry.key.clone(),
            name_span: entry.key_span,
            span: entry.value.span,
            items,
            list,
            dynamic: templates.get(&entry.key).is_some_and(Node::is_dynamic),
        });
    }
    all
}

fn item(node: &Node, findings: &mut Findings) -> Option<Item> {
    if let Some(text) = node.as_text() {
        return match reference::parse(text) {
            Some(Ok(reference)) => Some(Item::Reference(reference, node.span)),
            Some(Err(message)) => {
                findings.push(
                    Finding::new(node.span, message, "cannot be read as a selection of instances")
                        .help("write `stage[*].output` or `stage[key=value].output`; `./` in front forces a path"),
                );
                None
            }
            None if text.contains(['*', '?']) => {
                findings.push(
                    Finding::new(node.span, "a path with wildcards", "a plain text names one file or directory").help(
                        format!(
                            "write `{{glob: \"{text}\"}}` for all that match, `{{path: \"{text}\"}}` for the very name"
                        ),
                    ),
                );
                None
            }
            None => Some(Item::Path(PathBuf::from(text), node.span)),
        };
    }
    match node.entries() {
        [entry] => match (entry.key.as_str(), entry.value.as_text()) {
            ("path", Some(text)) => Some(Item::Path(PathBuf::from(text), entry.value.span)),
            ("glob", Some(text)) => match globset::Glob::new(text) {
                Ok(_) => Some(Item::Glob(text.to_owned(), entry.value.span)),
                Err(error) => {
                    let message = format!("`{text}` is not a glob: {}", error.kind());
                    findings.push(Finding::new(entry.value.span, message, "expected something like `data/**/*.jsonl`"));
                    None
                }
            },
            _ => unexpected(node, findings),
        },
        _ => unexpected(node, findings),
    }
}

fn unexpected(node: &Node, findings: &mut Findings) -> Option<Item> {
    let label = "expected `stage.output`, a path, `{path: …}` or `{glob: …}`";
    findings.push(Finding::new(node.span, format!("an input that is {}", node.describe()), label));
    None
}
