//! Chat templates: Jinja as transformers renders it.

use crate::{LmError, LmResult};
use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, escape_formatter,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, ValueKind},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, fmt::Write as _, io, path::Path, thread};

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
/// What one rendering may do: about as many instructions, or 64 MB of text and lists. A conversation of a million tokens takes
/// a tenth of it. The engine does not charge for the text of a list inside `~`, nor for comparing lists: a template that doubles
/// a list some thirty times and then does either is slow by its own making.
const FUEL: u64 = 1_000_000;
/// Stack for values as deeply nested as the fuel allows, in bytes; only what is used is ever backed by memory.
const STACK: usize = 512 << 20;
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
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(print_value);
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
    /// [`LmError::TemplateRaised`] where the template refuses the conversation, [`LmError::Template`] where it is wrong or does
    /// more work than any chat template needs.
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
        let render = || {
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
        };
        // Values that a template nests by the fuel's worth are dropped and printed by recursion.
        thread::scope(|scope| {
            let rendering = thread::Builder::new().name(NAME.to_owned()).stack_size(STACK).spawn_scoped(scope, render);
            let rendering = rendering.map_err(|error| LmError::Template(format!("cannot start a thread: {error}")))?;
            rendering.join().unwrap_or_else(|_| Err(LmError::Template("the template engine panicked".to_owned())))
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

/// Prints a value. A list that is in itself many times over is small until it is written out, so it is paid for first.
fn print_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        let unpaid = write!(Meter(state), "{value}").is_err();
        if unpaid {
            state.consume_fuel(1)?;
        }
    }
    escape_formatter(out, state, value)
}

/// `tojson` with Python's spacing and order: `json.dumps(value, ensure_ascii=False)`; `indent` as there.
fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let failed = |error| Error::new(ErrorKind::BadSerialization, "tojson").with_source(error);
    serde_json::to_writer(Meter(state), value)
        .map_err(|error| state.consume_fuel(1).err().unwrap_or_else(|| failed(error)))?;
    let json = serde_json::to_value(value).map_err(failed)?;
    let mut separators = separators.unwrap_or_default().into_iter();
    let item = separators.next().unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.to_owned());
    let key = separators.next().unwrap_or_else(|| ": ".to_owned());
    let mut writer = Json { state, indent, ascii, sorted, item: &item, key: &key, out: String::new() };
    writer.write(&json, 0)?;
    Ok(Value::from_safe_string(writer.out))
}

/// Takes fuel for what is written to it.
struct Meter<'a, 'b, 'c>(&'a State<'b, 'c>);

impl io::Write for Meter<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.consume_fuel(fuel(bytes.len())).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Meter<'_, '_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.consume_fuel(fuel(text.len())).map_err(|_| fmt::Error)
    }
}

/// What bytes cost, as the engine charges for its own.
fn fuel(bytes: usize) -> u64 {
    1 + bytes as u64 / 64
}

struct Json<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    indent: Option<usize>,
    ascii: bool,
    sorted: bool,
    item: &'a str,
    key: &'a str,
    out: String,
}

impl Json<'_, '_, '_> {
    fn write(&mut self, value: &serde_json::Value, depth: usize) -> Result<(), Error> {
        match value {
            serde_json::Value::Array(items) if !items.is_empty() => {
                self.put("[")?;
                for (index, item) in items.iter().enumerate() {
                    self.next(index, depth + 1)?;
                    self.write(item, depth + 1)?;
                }
                self.line(depth)?;
                self.put("]")
            }
            serde_json::Value::Object(entries) if !entries.is_empty() => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.sorted {
                    entries.sort_by(|a, b| a.0.cmp(b.0));
                }
                self.put("{")?;
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    self.next(index, depth + 1)?;
                    self.string(key)?;
                    self.put(self.key)?;
                    self.write(item, depth + 1)?;
                }
                self.line(depth)?;
                self.put("}")
            }
            serde_json::Value::String(text) => self.string(text),
            other => self.put(&other.to_string()),
        }
    }

    fn put(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(fuel(text.len()))?;
        self.out.push_str(text);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ascii {
            return self.put(&quoted);
        }
        let mut escaped = String::with_capacity(quoted.len());
        for c in quoted.chars() {
            if c.is_ascii() {
                escaped.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
        self.put(&escaped)
    }

    fn next(&mut self, index: usize, depth: usize) -> Result<(), Error> {
        if index > 0 {
            self.put(self.item)?;
        }
        self.line(depth)
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = self.indent {
            let width = indent.saturating_mul(depth);
            self.state.consume_fuel(fuel(width))?;
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', width));
        }
        Ok(())
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
    fn no_template_works_without_end_or_grows_without_bound() {
        let loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        let doubled = "{% set n = namespace(x='ab') %}{% for i in range(64) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
        let shared = "{% set n = namespace(x=[1]) %}{% for i in range(64) %}{% set n.x = [n.x, n.x] %}{% endfor %}";
        let deep = "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}";
        let cases = [
            loops.to_owned(),
            doubled.to_owned(),
            format!("{shared}{{{{ n.x | tojson }}}}"),
            format!("{shared}{{{{ n.x }}}}"),
            format!("{deep}{{{{ n.x | tojson(indent=9) }}}}"),
            "{{ [[[[1]]]] | tojson(indent=99999999999999) }}".to_owned(),
            "{{ range(9999) | list | tojson(separators=['x' * 99999, '']) }}".to_owned(),
        ];
        for source in cases {
            let template = ChatTemplate::new(&source, BTreeMap::new(), None).unwrap();
            let error = template.render(&[], true, &BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains("fuel"), "{source}: {error}");
        }
        // Deep values are dropped, compared and printed without harm.
        for source in
            [deep.to_owned(), format!("{deep}{{% if n.x == n.x %}}y{{% endif %}}"), format!("{deep}{{{{ n.x }}}}")]
        {
            let template = ChatTemplate::new(&source, BTreeMap::new(), None).unwrap();
            let _ = template.render(&[], true, &BTreeMap::new());
        }
        // A million words, in and out.
        let long = Message::new("user", "word ".repeat(1_000_000));
        let source = "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim + '\n' }}{% endfor %}";
        let template = ChatTemplate::new(source, BTreeMap::new(), None).unwrap();
        assert!(template.render(&[long], true, &BTreeMap::new()).unwrap().len() > 4_999_999);
    }

    #[test]
    fn blocks_are_trimmed_and_generation_tags_print_nothing() {
        assert_eq!(render("  {% if true %}\nx\n  {% endif %}\n{% generation %}y{% endgeneration %}", None), "x\ny");
    }
}
