//! The text form of a reference to another stage's output: `verify.rows`, `generate[*].rows`, `generate[seed=1].rows`.

/// Which instances of a stage are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// The only one: the stage has no matrix.
    Only,
    /// `[*]`.
    All,
    /// `[key=value, …]`: those whose coordinates agree.
    Where(Vec<(String, String)>),
}

/// A reference to outputs of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub stage: String,
    pub select: Select,
    pub output: String,
}

/// Whether a text is a name: a letter or `_`, then letters, digits, `_` and `-`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// Reads a reference. `None`: the text does not have the form of one and so is a path.
///
/// # Errors
/// It has the form, but what stands between the brackets cannot be read; the message says why.
pub fn parse(text: &str) -> Option<Result<Reference, String>> {
    let head = text.find(['.', '['])?;
    let (stage, rest) = text.split_at(head);
    if !is_name(stage) {
        return None;
    }
    let (select, rest) = if let Some(inner) = rest.strip_prefix('[') {
        let end = closing(inner)?;
        (Some(&inner[..end]), &inner[end + 1..])
    } else {
        (None, rest)
    };
    let output = rest.strip_prefix('.')?;
    if !is_name(output) {
        return None;
    }
    let select = match select.map(str::trim) {
        None => Ok(Select::Only),
        Some("*") => Ok(Select::All),
        Some(inner) => conditions(inner).map(Select::Where),
    };
    Some(select.map(|select| Reference { stage: stage.to_owned(), select, output: output.to_owned() }))
}

/// Where the bracket ends, past quoted text.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == ']' && !quoted).then_some(at)
    })
}

fn conditions(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut rest = text.trim();
    let mut conditions: Vec<(String, String)> = Vec::new();
    loop {
        let Some((key, after)) = rest.split_once('=') else {
            return Err(format!("expected `*` or `key=value` between the brackets, found `{rest}`"));
        };
        let key = key.trim();
        if !is_name(key) {
            return Err(format!("`{key}` is not the name of a matrix axis"));
        }
        let after = after.trim_start();
        let (value, tail) = match after.strip_prefix('"') {
            Some(inner) => {
                let Some((value, tail)) = inner.split_once('"') else {
                    return Err("a quoted value without its closing quote".to_owned());
                };
                (value, tail.trim_start())
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim_end(), &after[end..])
            }
        };
        if conditions.iter().any(|(known, _)| known == key) {
            return Err(format!("`{key}` is given twice"));
        }
        conditions.push((key.to_owned(), value.to_owned()));
        rest = match tail.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if tail.is_empty() => return Ok(conditions),
            None => return Err(format!("expected `,` or the end, found `{tail}`")),
        };
    }
}

/// The text of a matrix value, as it stands in task names and selections.
#[must_use]
pub fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As [`value_text`], quoted where the bare text would be read as something else.
#[must_use]
pub fn quoted_value(value: &serde_json::Value) -> String {
    let text = value_text(value);
    let bare = !text.is_empty() && text.trim() == text && !text.contains([',', ']', '[', '=', '"']) && text != "*";
    if bare { text } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Reference {
        parse(text).expect("a reference").expect("a valid one")
    }

    #[test]
    fn forms() {
        assert_eq!(of("verify.rows").select, Select::Only);
        assert_eq!(of("generate[*].rows").select, Select::All);
        let both = vec![("seed".to_owned(), "1".to_owned()), ("name".to_owned(), "a,b]".to_owned())];
        assert_eq!(of("generate[seed=1, name=\"a,b]\"].rows").select, Select::Where(both));
    }

    #[test]
    fn paths() {
        for text in ["./a.b", "configs/x.yaml", "rows", "a.b.c", "1.5", ".hidden", "a b.c", "x.tar.gz", "dir/", "a[.b"]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn broken_selections() {
        for text in ["a[].b", "a[seed].b", "a[seed=1,].b", "a[seed=1,seed=2].b", "a[\"x\"=1].b"] {
            assert!(matches!(parse(text), Some(Err(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_value_can_be_selected(value in "[^\"]{0,12}", key in "[a-z_]{1,8}") {
            let text = format!("s[{key}={}].o", quoted_value(&value.clone().into()));
            let expected = Select::Where(vec![(key, value)]);
            prop_assert_eq!(of(&text).select, expected);
        }
    }
}
