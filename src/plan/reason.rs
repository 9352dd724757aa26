//! Why a task runs: the difference between two key manifests, field by field.

use super::key::{KeyInput, KeyManifest};
use crate::manifest::TaskId;
use lsn_digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::HashMap, fmt};

/// Why a task is to run, or ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No earlier record of this task is known.
    New,
    /// A field of the key manifest differs from the nearest earlier record. `None`: the field did not or does not exist.
    Changed { field: String, old: Option<Value>, new: Option<Value> },
    /// An input's content differs from the nearest earlier record.
    InputChanged {
        input: String,
        /// Which of the input's artifacts, where it has several.
        position: Option<usize>,
        old: Option<Digest>,
        new: Option<Digest>,
        /// Where the new content comes from: a task's output or a path.
        source: Option<String>,
    },
    /// The record of the same key once existed, but not any more (gc, another store).
    RecordMissing,
    /// The record exists, but an output's content is gone or damaged.
    BlobMissing { message: String },
    /// `--force` names the stage.
    Forced,
    /// `cache: false`.
    Uncached,
    /// Some inputs are not known before these tasks have run; if they give the same bytes as before, this one may be cached.
    Upstream { tasks: Vec<TaskId> },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Changed { field, old: Some(old), new: Some(new) } => {
                let (old, new) = excerpts(old, new);
                write!(f, "{field}: {old} → {new}")
            }
            Self::Changed { field, old: None, new: Some(new) } => write!(f, "{field} added: {}", excerpt(new)),
            Self::Changed { field, old, .. } => {
                write!(f, "{field} removed: {}", excerpt(old.as_ref().unwrap_or(&Value::Null)))
            }
            Self::InputChanged { input, position, old, new, source } => {
                write!(f, "input {input}")?;
                if let Some(position) = position {
                    write!(f, "[{position}]")?;
                }
                match (old, new) {
                    (Some(old), Some(new)) => write!(f, " changed: {} → {}", old.short(), new.short())?,
                    (None, Some(new)) => write!(f, " added: {}", new.short())?,
                    (Some(old), None) => write!(f, " removed: {}", old.short())?,
                    (None, None) => {}
                }
                source.as_ref().map_or(Ok(()), |source| write!(f, " ({source})"))
            }
            Self::RecordMissing => f.write_str("its earlier result is no longer in the store"),
            Self::BlobMissing { message } => f.write_str(message),
            Self::Forced => f.write_str("forced"),
            Self::Uncached => f.write_str("cache: false"),
            Self::Upstream { tasks } => {
                f.write_str("waits on ")?;
                for (i, task) in tasks.iter().take(3).enumerate() {
                    write!(f, "{}{task}", if i > 0 { ", " } else { "" })?;
                }
                if tasks.len() > 3 {
                    write!(f, " and {} more", tasks.len() - 3)?;
                }
                f.write_str("; may be cached")
            }
        }
    }
}

/// Longer values are shown in part, in so many characters.
const SHOWN: usize = 60;

/// Of what is shown in part, so much stands before the first difference.
const BEFORE: usize = 20;

/// A JSON value in a few words: its beginning if it is long.
#[must_use]
pub fn excerpt(value: &Value) -> String {
    shown(&value.to_string().chars().collect::<Vec<_>>(), 0)
}

/// Two JSON values, each in part if it is long: both from one place before the first difference, so that they never look
/// the same.
fn excerpts(old: &Value, new: &Value) -> (String, String) {
    let characters = |value: &Value| value.to_string().chars().collect::<Vec<_>>();
    let (old, new) = (characters(old), characters(new));
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let start = if same + BEFORE < SHOWN {
        0
    } else {
        // Not further than needed to reach the end of both, and from the beginning of a word if there is one near.
        let from = (same - BEFORE).min((old.len().max(new.len()) + 1).saturating_sub(SHOWN));
        (from..same.min(from + BEFORE)).find(|at| *at == 0 || old[at - 1].is_whitespace()).unwrap_or(from)
    };
    (shown(&old, start), shown(&new, start))
}

/// A text, or so much of it from `start` on as is shown of a long one.
fn shown(text: &[char], start: usize) -> String {
    if text.len() <= SHOWN {
        return text.iter().collect();
    }
    let end = text.len().min(start + SHOWN - 1);
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
    format!("{before}{}{after}", text[start..end].iter().collect::<String>())
}

/// The inputs whose content a task does not know yet; they are left out of a comparison.
pub type Unknown<'a> = &'a dyn Fn(&str) -> bool;

/// What differs from `old` to `new`, in the order of the fields.
#[must_use]
pub fn differences(old: &KeyManifest, new: &KeyManifest, unknown: Unknown<'_>) -> Vec<Reason> {
    let mut found = Vec::new();
    if old.stage != new.stage {
        changed(&mut found, "uses", Some(&Value::from(&*old.stage)), Some(&Value::from(&*new.stage)));
    } else if old.version != new.version {
        // Between different stage types the versions say nothing.
        let field = format!("behaviour version of `{}`", new.stage);
        changed(&mut found, &field, Some(&old.version.into()), Some(&new.version.into()));
    }
    json_differences(&mut found, "params", Some(&old.params), Some(&new.params));
    let names: std::collections::BTreeSet<_> = old.env.keys().chain(new.env.keys()).collect();
    for name in names {
        let (old, new) = (old.env.get(name), new.env.get(name));
        if old != new {
            let value = |text: &String| Value::from(text.as_str());
            changed(&mut found, &format!("env.{name}"), old.map(value).as_ref(), new.map(value).as_ref());
        }
    }
    let names: std::collections::BTreeSet<_> = old.inputs.keys().chain(new.inputs.keys()).collect();
    for name in names {
        if !unknown(name) {
            let of = |manifest: &KeyManifest| manifest.inputs.get(name).cloned().unwrap_or_default();
            input_differences(&mut found, name, &of(old), &of(new));
        }
    }
    found
}

fn changed(found: &mut Vec<Reason>, field: &str, old: Option<&Value>, new: Option<&Value>) {
    found.push(Reason::Changed { field: field.to_owned(), old: old.cloned(), new: new.cloned() });
}

fn json_differences(found: &mut Vec<Reason>, field: &str, old: Option<&Value>, new: Option<&Value>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for name in names {
                json_differences(found, &format!("{field}.{name}"), old.get(name), new.get(name));
            }
        }
        // Lists of one length are compared item by item; otherwise positions say little and the lists are shown.
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                json_differences(found, &format!("{field}[{i}]"), Some(old), Some(new));
            }
        }
        (old, new) if old != new => changed(found, field, old, new),
        _ => {}
    }
}

fn input_differences(found: &mut Vec<Reason>, input: &str, old: &[KeyInput], new: &[KeyInput]) {
    if old == new {
        return;
    }
    let several = old.len() > 1 || new.len() > 1;
    let mut push = |position: usize, old: Option<Digest>, new: Option<Digest>| {
        let position = several.then_some(position);
        found.push(Reason::InputChanged { input: input.to_owned(), position, old, new, source: None });
    };
    if old.len() == new.len() {
        for (i, (old, new)) in old.iter().zip(new).enumerate() {
            if old.digest != new.digest {
                push(i, Some(old.digest), Some(new.digest));
            }
        }
        for (i, (old, new)) in old.iter().zip(new).enumerate() {
            if old.name != new.name {
                let value = |name: &Option<String>| name.as_deref().map(Value::from);
                let field = format!("inputs.{input}[{i}] file name");
                changed(found, &field, value(&old.name).as_ref(), value(&new.name).as_ref());
            }
        }
        return;
    }
    // Of lists of different length, say which artifacts came and went; equal ones are counted.
    let mut counts: HashMap<&KeyInput, isize> = HashMap::new();
    old.iter().for_each(|artifact| *counts.entry(artifact).or_default() += 1);
    let mut came = Vec::new();
    for (i, artifact) in new.iter().enumerate() {
        let left = counts.entry(artifact).or_default();
        *left -= 1;
        if *left < 0 {
            came.push((i, artifact.digest));
        }
    }
    came.into_iter().for_each(|(i, digest)| push(i, None, Some(digest)));
    // Of several equal ones, the last went.
    let mut went = Vec::new();
    for (i, artifact) in old.iter().enumerate().rev() {
        if let Some(left) = counts.get_mut(artifact).filter(|left| **left > 0) {
            *left -= 1;
            went.push((i, artifact.digest));
        }
    }
    went.into_iter().rev().for_each(|(i, digest)| push(i, Some(digest), None));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::{collections::BTreeMap, sync::Arc};

    fn manifest(params: Value, inputs: &[(&str, &[&str])]) -> KeyManifest {
        let artifact = |text: &&str| KeyInput { digest: Digest::of(text.as_bytes()), name: None };
        KeyManifest {
            format: 1,
            stage: "s".into(),
            version: 1,
            params: Arc::new(params),
            inputs: inputs
                .iter()
                .map(|(name, list)| ((*name).to_owned(), list.iter().map(artifact).collect()))
                .collect(),
            env: Arc::new(BTreeMap::new()),
        }
    }

    fn said(old: &KeyManifest, new: &KeyManifest) -> Vec<String> {
        differences(old, new, &|_| false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_parameter_is_named_with_both_values() {
        let old = manifest(json!({"a": {"b": 1, "c": [1, 2]}, "gone": true}), &[]);
        let new = manifest(json!({"a": {"b": 2, "c": [1, 3]}, "came": "x"}), &[]);
        assert_eq!(
            said(&old, &new),
            ["params.a.b: 1 → 2", "params.a.c[1]: 2 → 3", "params.came added: \"x\"", "params.gone removed: true"]
        );
    }

    #[test]
    fn inputs_are_compared_by_position_or_by_content() {
        let old = manifest(json!({}), &[("rows", &["a", "b"]), ("model", &["m"])]);
        let new = manifest(json!({}), &[("rows", &["a", "c"]), ("model", &["m"])]);
        let expected = format!("input rows[1] changed: {} → {}", Digest::of(b"b").short(), Digest::of(b"c").short());
        assert_eq!(said(&old, &new), [expected]);
        let longer = manifest(json!({}), &[("rows", &["z", "a", "b"]), ("model", &["m"])]);
        assert_eq!(said(&old, &longer), [format!("input rows[0] added: {}", Digest::of(b"z").short())]);
        assert!(differences(&old, &new, &|input| input == "rows").is_empty());
    }

    /// However long the values are and wherever they differ, a person sees the difference.
    #[test]
    fn long_values_are_shown_where_they_differ() {
        let count = |to: usize| (0..to).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let line =
            |top: u32| format!("sort < ${{inputs.words}} | uniq -c | sort -rn | head -n {top} > ${{outputs.top}}");
        let run = |line: String| manifest(json!({"run": line}), &[]);
        assert_eq!(
            said(&run(line(10)), &run(line(3))),
            [
                "params.run: …| uniq -c | sort -rn | head -n 10 > ${outputs.top}\" → …| uniq -c | sort -rn | head -n 3 > ${outputs.top}\""
            ]
        );
        let end = said(&run(count(60) + " 1"), &run(count(60) + " 23"));
        assert!(
            end[0].ends_with(" 58 59 1\" → …42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 23\""),
            "{end:?}"
        );
        let begin = said(&run(format!("echo 1 {}", count(60))), &run(format!("echo 22 {}", count(60))));
        assert!(begin[0].starts_with("params.run: \"echo 1 0 1"), "{begin:?}");
        let one_word =
            said(&run("x".repeat(300) + "a" + &"y".repeat(300)), &run("x".repeat(300) + "b" + &"y".repeat(300)));
        let (old, new) = one_word[0].split_once(" → ").unwrap();
        assert_ne!(old.trim_start_matches("params.run: "), new);
        assert!(new.chars().count() <= SHOWN + 1);
        let cut = said(&run("z".repeat(130)), &run("z".repeat(120)));
        let (old, new) = cut[0].split_once(" → ").unwrap();
        assert_ne!(old.trim_start_matches("params.run: "), new);
    }

    /// Artifacts with equal bytes are artifacts all the same.
    #[test]
    fn equal_artifacts_that_come_and_go_are_counted() {
        let two = manifest(json!({}), &[("rows", &["a", "a"])]);
        let one = manifest(json!({}), &[("rows", &["a"])]);
        let digest = Digest::of(b"a").short();
        assert_eq!(said(&two, &one), [format!("input rows[1] removed: {digest}")]);
        assert_eq!(said(&one, &two), [format!("input rows[1] added: {digest}")]);
        let mixed = manifest(json!({}), &[("rows", &["b", "a", "c", "a"])]);
        let short = |text: &[u8]| Digest::of(text).short();
        assert_eq!(
            said(&two, &mixed),
            [format!("input rows[0] added: {}", short(b"b")), format!("input rows[2] added: {}", short(b"c"))]
        );
    }

    proptest! {
        /// Two values that differ never look the same, and two lists that differ have a reason.
        #[test]
        fn a_difference_is_always_seen(
            head in "[a-z \n\"]{0,120}", old in "[a-c ]{0,90}", new in "[a-c ]{0,90}", tail in "[a-z ]{0,120}",
            before in proptest::collection::vec("[ab]", 0..5), after in proptest::collection::vec("[ab]", 0..5),
        ) {
            let (old, new) = (format!("{head}{old}{tail}"), format!("{head}{new}{tail}"));
            let (shown_old, shown_new) = excerpts(&json!(old), &json!(new));
            prop_assert_eq!(old == new, shown_old == shown_new);
            let list = |texts: &[String]| {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                manifest(json!({}), &[("i", &texts)])
            };
            prop_assert_eq!(before == after, said(&list(&before), &list(&after)).is_empty());
        }
    }

    #[test]
    fn equal_manifests_have_no_differences_and_others_have_some() {
        let base = manifest(json!({"x": 1}), &[("i", &["a"])]);
        assert!(said(&base, &base.clone()).is_empty());
        let mut env = base.clone();
        env.env = Arc::new(BTreeMap::from([("K".to_owned(), "v".to_owned())]));
        assert_eq!(said(&base, &env), ["env.K added: \"v\""]);
        let stage = KeyManifest { stage: "t".into(), version: 9, ..base.clone() };
        assert_eq!(said(&base, &stage), ["uses: \"s\" → \"t\""]);
        let version = KeyManifest { version: 2, ..base.clone() };
        assert_eq!(said(&base, &version), ["behaviour version of `s`: 1 → 2"]);
    }
}
