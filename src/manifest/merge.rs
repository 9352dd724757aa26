//! Putting manifests together: `extends`, site profiles, and parameters from outside.

use super::{
    Overrides,
    problem::{Finding, Findings},
    source::{SourceId, Sources, Span},
    tree::{self, Entry, Kind, Node},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A manifest file with everything it extends, nearest first.
pub struct Chain {
    /// Each file's tree, the manifest that was asked for first.
    pub files: Vec<(SourceId, Node)>,
}

/// Reads a manifest and what it extends.
pub fn read_chain(path: &Path, sources: &mut Sources, findings: &mut Findings) -> Option<Chain> {
    let mut files: Vec<(SourceId, Node)> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut next: Option<(PathBuf, Option<Span>)> = Some((path.to_owned(), None));
    while let Some((path, wanted_by)) = next.take() {
        let identity = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if let (Some(at), Some(span)) = (seen.iter().position(|known| *known == identity), wanted_by) {
            let mut names: Vec<&str> = files[at..].iter().map(|(id, _)| sources.get(*id).name.as_str()).collect();
            names.push(names.first().copied().unwrap_or_default());
            findings.push(
                Finding::new(
                    span,
                    format!("manifests that extend each other: {}", names.join(" → ")),
                    "closes the circle",
                )
                .help("remove one of these `extends`"),
            );
            return None;
        }
        seen.push(identity);
        let id = read(&path, wanted_by, sources, findings)?;
        let node = tree::parse(id, sources, findings)?;
        if !matches!(node.kind, Kind::Map(_)) {
            let label = format!("expected a mapping, found {}", node.describe());
            findings
                .push(Finding::new(node.span, "this is not a pipeline manifest", label).help("begin with `lsn: 1`"));
            return None;
        }
        if let Some(parent) = node.get("extends") {
            match parent.as_text() {
                Some(text) => next = Some((sources.get(id).directory.join(text), Some(parent.span))),
                None => findings.push(Finding::new(
                    parent.span,
                    format!("`extends` is {}", parent.describe()),
                    "expected the path of a manifest",
                )),
            }
        }
        files.push((id, node));
    }
    Some(Chain { files })
}

/// Reads a text file into `sources`. A file that cannot be read is reported where it is mentioned.
fn read(path: &Path, wanted_by: Option<Span>, sources: &mut Sources, findings: &mut Findings) -> Option<SourceId> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = shown(path);
    let error = match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) if text.len() < u32::MAX as usize => return Some(sources.add(shown, directory, text)),
        Ok(Ok(_)) => "it is larger than 4 GiB".to_owned(),
        Ok(Err(error)) => format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        Err(error) => error.to_string(),
    };
    let span = wanted_by.unwrap_or_else(|| {
        let id = sources.add(shown.clone(), directory, String::new());
        Span::new(id, 0..0)
    });
    let finding = Finding::new(span, format!("cannot read {shown}: {error}"), "named here");
    // A file that is there is no misspelt name.
    findings.push(match neighbour(path).filter(|_| !path.exists()) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding,
    });
    None
}

/// A path as people are shown it, without `.` and `x/..` inside.
fn shown(path: &Path) -> String {
    super::paths::normalise(path).display().to_string()
}

/// A file beside a missing one whose name is close to it.
#[must_use]
pub fn neighbour(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> =
        fs::read_dir(directory).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let near = super::problem::nearest(wanted, names.iter().map(String::as_str))?;
    Some(super::paths::normalise(&directory.join(near)).display().to_string())
}

/// `child` over `parent`: mappings key by key, anything else replaced; `null` removes a key where `removing`.
#[must_use]
pub fn over(parent: Node, child: Node, removing: bool) -> Node {
    match (parent.kind, child.kind) {
        (Kind::Map(mut merged), Kind::Map(changes)) => {
            for change in changes {
                let known = merged.iter().position(|entry| entry.key == change.key);
                match (known, &change.value.kind) {
                    (Some(at), Kind::Null) if removing => {
                        merged.remove(at);
                    }
                    (Some(at), _) => {
                        let old = std::mem::replace(&mut merged[at].value, Node::new(change.value.span, Kind::Null));
                        let removing = removing && change.key != "params";
                        merged[at] = Entry { value: over(old, change.value, removing), ..change };
                    }
                    (None, _) => merged.push(change),
                }
            }
            Node::new(child.span, Kind::Map(merged))
        }
        (_, kind) => Node::new(child.span, kind),
    }
}

/// Merges a chain. `name` and `extends` are not inherited.
#[must_use]
pub fn merged(chain: &Chain) -> Node {
    let mut files = chain.files.iter().rev();
    let Some((_, first)) = files.next() else { return Node::empty_map(Span::new(chain.files[0].0, 0..0)) };
    files.fold(first.clone(), |mut parent, (_, child)| {
        if let Kind::Map(entries) = &mut parent.kind {
            entries.retain(|entry| entry.key != "name" && entry.key != "extends");
        }
        over(parent, child.clone(), true)
    })
}

/// The profile that was asked for, put under and over the stages: under what they say go its `defaults`, over it its `stages`.
pub fn apply_profile(node: Node, name: &str, sources: &mut Sources, findings: &mut Findings) -> Node {
    let profiles = node.get("profiles");
    let Some(profile) = profiles.and_then(|profiles| profiles.get(name)).cloned() else {
        let id = sources.add("command line", "", format!("--profile {name}"));
        let span = Span::new(id, 10..10 + name.len());
        let known: Vec<&str> = profiles.map(Node::entries).unwrap_or_default().iter().map(|e| e.key.as_str()).collect();
        let label = if known.is_empty() { "the manifest has no profiles" } else { "not under `profiles`" };
        findings.push(Finding::new(span, format!("unknown profile `{name}`"), label).suggest(name, "profiles", known));
        return node;
    };
    let mut node = node;
    let mut merge_at = |key: &str, change: Option<&Node>, only_known: bool| {
        let (Kind::Map(entries), Some(change)) = (&mut node.kind, change) else { return };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
            let mut change = change.clone();
            if let (true, Kind::Map(changes)) = (only_known, &mut change.kind) {
                // An unknown stage is reported where profiles are checked.
                changes.retain(|change| entry.value.entry(&change.key).is_some());
            }
            let span = entry.value.span;
            entry.value = over(entry.value.clone(), change, true);
            entry.value.span = span;
        } else if !only_known {
            entries.push(Entry { key: key.to_owned(), key_span: change.span, value: change.clone() });
        }
    };
    merge_at("defaults", profile.get("defaults"), false);
    merge_at("stages", profile.get("stages"), true);
    node
}

/// `--params` files, then `--set`, over the declared parameters.
pub fn override_params(declared: Node, overrides: &Overrides, sources: &mut Sources, findings: &mut Findings) -> Node {
    let mut params = declared;
    for path in &overrides.params_files {
        let Some(id) = read(path, None, sources, findings) else { continue };
        let Some(node) = tree::parse(id, sources, findings) else { continue };
        if !matches!(node.kind, Kind::Map(_)) {
            let label = format!("expected a mapping, found {}", node.describe());
            findings.push(Finding::new(node.span, "this is not a file of parameters", label));
            continue;
        }
        for entry in node.entries() {
            let path = [entry.key.as_str()];
            set(&mut params, &path, entry.key_span, entry.value.clone(), sources, findings);
        }
    }
    for argument in &overrides.set {
        let id = sources.add("command line", "", format!("--set {argument}"));
        let start = "--set ".len();
        let Some((key, value)) = argument.split_once('=') else {
            let span = Span::new(id, start..start + argument.len());
            findings.push(
                Finding::new(span, format!("`--set {argument}` has no value"), "expected `key=value`")
                    .help(format!("write `--set {argument}=VALUE`")),
            );
            continue;
        };
        let key_span = Span::new(id, start..start + key.len());
        let at = start + key.len() + 1;
        let parsed = if value.trim().is_empty() {
            Some(Node::new(Span::new(id, at..at), Kind::Null))
        } else {
            tree::parse_at(id, at, sources, findings)
        };
        let Some(value) = parsed else { continue };
        let whole = params.entry(key).is_some();
        let path: Vec<&str> = if whole { vec![key] } else { key.split('.').collect() };
        set(&mut params, &path, key_span, value, sources, findings);
    }
    params
}

/// Replaces a declared parameter, or a part of one. A mapping that has keys takes no new ones.
fn set(params: &mut Node, path: &[&str], span: Span, value: Node, sources: &Sources, findings: &mut Findings) {
    let mut node = params;
    for (depth, key) in path.iter().enumerate() {
        let written = path[..=depth].join(".");
        let last = depth + 1 == path.len();
        let open = depth > 0 && node.entries().is_empty();
        let what = node.describe();
        let Kind::Map(entries) = &mut node.kind else {
            let parent = path[..depth].join(".");
            findings.push(Finding::new(
                span,
                format!("`{written}` cannot be set: the parameter `{parent}` is {what}"),
                "not a mapping",
            ));
            return;
        };
        let known = entries.iter().position(|entry| entry.key == *key);
        let at = match known {
            Some(at) => at,
            None if open => {
                entries.push(Entry { key: (*key).to_owned(), key_span: span, value: Node::empty_map(span) });
                entries.len() - 1
            }
            None => {
                let known: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
                let label = if known.is_empty() {
                    "the manifest declares no parameters"
                } else {
                    "not declared under `params`"
                };
                let finding = Finding::new(span, format!("undeclared parameter `{written}`"), label);
                findings.push(finding.suggest(key, "parameters", known));
                return;
            }
        };
        if last {
            let old = std::mem::replace(&mut entries[at].value, Node::new(span, Kind::Null));
            entries[at].value =
                if sources.get(span.source).name == "command line" { value } else { over(old, value, false) };
            return;
        }
        node = &mut entries[at].value;
    }
}
