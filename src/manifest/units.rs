//! Human units: `512MiB`, `4 GB`, `90s`, `1h 30m`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, time::Duration};

/// A number of bytes, written as a whole number or with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time, written with units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

impl ByteSize {
    pub const FORMAT: &'static str = "byte-size";
    pub const EXAMPLES: &'static str = "`512MiB`, `1.5GiB`, `4GB` or a number of bytes";

    /// Binary units are powers of 1024 (`KiB` … `TiB`), decimal ones powers of 1000 (`kB` … `TB`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kib" | "ki" => 1024.0,
            "mib" | "mi" => 1_048_576.0,
            "gib" | "gi" => 1_073_741_824.0,
            "tib" | "ti" => 1_099_511_627_776.0,
            "kb" | "k" => 1e3,
            "mb" | "m" => 1e6,
            "gb" | "g" => 1e9,
            "tb" | "t" => 1e12,
            _ => return None,
        };
        if digits.bytes().all(|digit| digit.is_ascii_digit()) && factor.to_bits() == 1.0_f64.to_bits() {
            return digits.parse().ok().map(Self);
        }
        let bytes = (digits.parse::<f64>().ok()? * factor).round();
        // Beyond 2⁶³ nothing has so much memory; the cast is exact for whole numbers of this size.
        (bytes.is_finite() && bytes < 9e18).then_some(Self(bytes as u64))
    }
}

impl TimeSpan {
    pub const FORMAT: &'static str = "time-span";
    pub const EXAMPLES: &'static str = "`90s`, `30m`, `1h 30m` or `2days`";

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        humantime::parse_duration(text.trim()).ok().map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.into_iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a size such as {}", ByteSize::EXAMPLES)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes).map(ByteSize).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        ByteSize::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "format": Self::FORMAT, "examples": ["512MiB", "4GiB"]},
            {"type": "integer", "minimum": 0},
        ]})
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let expected = format!("a length of time such as {}", Self::EXAMPLES);
            de::Error::invalid_value(de::Unexpected::Str(&text), &expected.as_str())
        })
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for TimeSpan {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": Self::FORMAT, "examples": ["90s", "30m", "1h 30m"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", 512),
            ("1KiB", 1024),
            ("1.5 GiB", 1_610_612_736),
            ("4GB", 4_000_000_000),
            ("16g", 16_000_000_000),
            ("2Mi", 2_097_152),
        ] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
        for text in ["", "GiB", "12 parsecs", "1.2.3MB", "-1GB", "1e99TB", "999999999TiB"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back_as_written(bytes in 0_u64..(1 << 52)) {
            prop_assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()), Some(ByteSize(bytes)));
        }

        #[test]
        fn a_time_reads_back_as_written(seconds in 0_u64..100_000_000) {
            let span = TimeSpan(Duration::from_secs(seconds));
            prop_assert_eq!(TimeSpan::parse(&span.to_string()), Some(span));
        }
    }
}
