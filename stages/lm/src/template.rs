//! Chat templates: Jinja as transformers renders it.

use crate::{LmError, LmResult};
use minijinja::{
    Environment, Error, ErrorKind, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, fmt::Write as _, path::Path};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; a template may know more.
    pub role: String,
    pub content: String,
}

impl Message {
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A calendar day that a template may print through `strftime_now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// A compiled chat template with the special tokens it may print.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    variables: BTreeMap<String, String>,
}

const NAME: &str = "chat_template";
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A template's own refusal, kept apart from errors of the engine.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

impl ChatTemplate {
    /// Compiles a template. `variables` (`bos_token`, `eos_token`, …) are visible to it by name.
    ///
    /// Blocks are trimmed as transformers does. `strftime_now` exists only where a day is given: a prompt that changed with
    /// the date would make results unrepeatable, and templates have a default of their own for its absence.
    ///
    /// # Errors
    /// The template has a syntax error.
    pub fn new(source: &str, variables: BTreeMap<String, String>, day: Option<Day>) -> LmResult<Self> {
        let template = |error: Error| LmError::Template(error.to_string());
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(template)?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message)))
        });
        environment.add_filter("tojson", to_json);
        if let Some(day) = day {
            environment.add_function("strftime_now", move |format: String| day.format(&format));
        }
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(template)?;
        Ok(Self { environment, source: source.to_owned(), variables })
    }

    /// The template of a model folder: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json` (of several, the
    /// one named `default`); special tokens from `tokenizer_config.json`. `None` where the folder has no template.
    ///
    /// # Errors
    /// A file is malformed or the template has a syntax error.
    pub fn from_dir(dir: &Path, day: Option<Day>) -> LmResult<Option<Self>> {
        let config_path = dir.join("tokenizer_config.json");
        let config: serde_json::Value = match std::fs::read_to_string(&config_path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| LmError::Malformed { path: config_path, message: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => serde_json::Value::Null,
            Err(source) => return Err(LmError::Read { path: config_path, source }),
        };
        let jinja = dir.join("chat_template.jinja");
        let source = match std::fs::read_to_string(&jinja) {
            Ok(source) => Some(source),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match config.get("chat_template") {
                Some(serde_json::Value::Array(named)) => named
                    .iter()
                    .find(|entry| entry["name"] == "default")
                    .and_then(|entry| entry["template"].as_str())
                    .map(str::to_owned),
                Some(one) => one.as_str().map(str::to_owned),
                None => None,
            },
            Err(source) => return Err(LmError::Read { path: jinja, source }),
        };
        let token = |value: &serde_json::Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
        let variables = ["bos_token", "eos_token", "pad_token", "unk_token"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), config.get(name).and_then(token)?)))
            .collect();
        source.map(|source| Self::new(&source, variables, day)).transpose()
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation; with `add_generation_prompt` the text ends where the assistant's answer begins. Values of
    /// `extra` are visible to the template and win over the special tokens.
    ///
    /// # Errors
    /// [`LmError::TemplateRaised`] where the template refuses the conversation, [`LmError::Template`] where it is wrong.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &BTreeMap<String, serde_json::Value>,
    ) -> LmResult<String> {
        let mut context: BTreeMap<&str, Value> =
            self.variables.iter().map(|(name, value)| (name.as_str(), Value::from(value.as_str()))).collect();
        context.insert("tools", Value::from(()));
        context.insert("documents", Value::from(()));
        context.extend(extra.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value)))));
        context.insert("messages", Value::from(Serde(messages)));
        context.insert("add_generation_prompt", Value::from(add_generation_prompt));
        let template = self.environment.get_template(NAME).map_err(|error| LmError::Template(error.to_string()))?;
        template.render(context).map_err(|error| {
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                if let Some(raised) = inner.downcast_ref::<Raised>() {
                    return LmError::TemplateRaised(raised.0.clone());
                }
                source = inner.source();
            }
            LmError::Template(format!("{error:#}"))
        })
    }
}

/// `{% generation %} … {% endgeneration %}` marks the assistant's tokens for training; it prints nothing.
fn without_generation_tags(source: &str) -> String {
    let mut source = source.to_owned();
    for open in ["{%", "{%-"] {
        for close in ["%}", "-%}"] {
            source = source.replace(&format!("{open} generation {close}"), &format!("{open} if true {close}"));
            source = source.replace(&format!("{open} endgeneration {close}"), &format!("{open} endif {close}"));
        }
    }
    source
}

/// `tojson` with Python's spacing and order: `json.dumps(value, ensure_ascii=False)`; `indent` as there.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "tojson").with_source(error))?;
    let mut separators = separators.unwrap_or_default().into_iter();
    let item = separators.next().unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.to_owned());
    let key = separators.next().unwrap_or_else(|| ": ".to_owned());
    let mut out = String::new();
    Json { indent, ascii, sorted, item, key }.write(&json, 0, &mut out);
    Ok(Value::from_safe_string(out))
}

struct Json {
    indent: Option<usize>,
    ascii: bool,
    sorted: bool,
    item: String,
    key: String,
}

impl Json {
    fn write(&self, value: &serde_json::Value, depth: usize, out: &mut String) {
        match value {
            serde_json::Value::Array(items) if !items.is_empty() => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.next(index, depth + 1, out);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push(']');
            }
            serde_json::Value::Object(entries) if !entries.is_empty() => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.sorted {
                    entries.sort_by(|a, b| a.0.cmp(b.0));
                }
                out.push('{');
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    self.next(index, depth + 1, out);
                    self.string(key, out);
                    out.push_str(&self.key);
                    self.write(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push('}');
            }
            serde_json::Value::String(text) => self.string(text, out),
            other => out.push_str(&other.to_string()),
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        for c in serde_json::Value::from(text).to_string().chars() {
            if self.ascii && !c.is_ascii() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            } else {
                out.push(c);
            }
        }
    }

    fn next(&self, index: usize, depth: usize, out: &mut String) {
        if index > 0 {
            out.push_str(&self.item);
        }
        self.line(depth, out);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

impl Day {
    /// Parses `YYYY-MM-DD`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (year, month, day) =
            (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let leap = |year: i32| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1..=days).contains(&day).then_some(Self { year, month, day })
    }

    /// Day of the week, 0 for Sunday, by Sakamoto's method.
    fn weekday(self) -> usize {
        let shift = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4][self.month as usize - 1];
        let year = self.year - i32::from(self.month < 3);
        (year + year / 4 - year / 100 + year / 400 + shift + self.day as i32).rem_euclid(7) as usize
    }

    /// Python's `strftime` for the fields of a date; times are midnight.
    fn format(self, format: &str) -> Result<String, Error> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let month = MONTHS[self.month as usize - 1];
            let weekday = WEEKDAYS[self.weekday()];
            let _ = match chars.next() {
                Some('Y') => write!(out, "{}", self.year),
                Some('y') => write!(out, "{:02}", self.year.rem_euclid(100)),
                Some('m') => write!(out, "{:02}", self.month),
                Some('d') => write!(out, "{:02}", self.day),
                Some('e') => write!(out, "{:2}", self.day),
                Some('B') => write!(out, "{month}"),
                Some('b') => write!(out, "{}", &month[..3]),
                Some('A') => write!(out, "{weekday}"),
                Some('a') => write!(out, "{}", &weekday[..3]),
                Some('H' | 'M' | 'S') => write!(out, "00"),
                Some('%') => write!(out, "%"),
                other => {
                    let field = other.map_or(String::new(), String::from);
                    return Err(Error::new(
                        ErrorKind::InvalidOperation,
                        format!("strftime_now: unknown field `%{field}`"),
                    ));
                }
            };
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, day: Option<Day>) -> String {
        let template = ChatTemplate::new(source, BTreeMap::new(), day).unwrap();
        template.render(&[Message::new("user", "é")], true, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn the_date_is_the_given_one_or_undefined() {
        let source = "{% if strftime_now is defined %}{{ strftime_now('%a %d %b %Y') }}{% else %}none{% endif %}";
        assert_eq!(render(source, Day::parse("2024-02-29")), "Thu 29 Feb 2024");
        assert_eq!(render(source, None), "none");
        assert_eq!(Day::parse("2023-02-29"), None);
    }

    #[test]
    fn to_json_follows_python() {
        assert_eq!(render("{{ messages[0] | tojson }}", None), r#"{"role": "user", "content": "é"}"#);
        assert_eq!(
            render("{{ messages[0] | tojson(ensure_ascii=true, separators=[',', ':']) }}", None),
            r#"{"role":"user","content":"\u00e9"}"#
        );
        assert_eq!(render("{{ [1, {}] | tojson(indent=2) }}", None), "[\n  1,\n  {}\n]");
    }

    #[test]
    fn blocks_are_trimmed_and_generation_tags_print_nothing() {
        assert_eq!(render("  {% if true %}\nx\n  {% endif %}\n{% generation %}y{% endgeneration %}", None), "x\ny");
    }
}
