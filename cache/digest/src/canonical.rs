//! The canonical encoding: one value, one byte string, for every version of this crate.

use crate::Digest;
use serde_json::Value;

/// Numbers whose magnitude is below this are the same value as integers and as floats.
const EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Hashes a sequence of typed values under a domain.
///
/// Two sequences have the same digest exactly if they have the same domain and the same values in the same order.
/// JSON objects are hashed with sorted keys; the numbers `1` and `1.0` are the same value.
#[derive(Clone)]
pub struct Canonical {
    hasher: blake3::Hasher,
}

impl Canonical {
    /// Starts an encoding. `domain` names the hashed type and its format version, such as `lsn/task-key/1`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut new = Self { hasher: blake3::Hasher::new() };
        new.tagged(b'D', domain.as_bytes());
        new
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.hasher.update(&[tag]);
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.tagged(b'b', bytes);
        self
    }

    pub fn str(&mut self, text: &str) -> &mut Self {
        self.tagged(b's', text.as_bytes());
        self
    }

    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.tagged(b'h', digest.as_bytes());
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.tagged(b't', &[u8::from(value)]);
        self
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.int(i128::from(value))
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.int(i128::from(value))
    }

    fn int(&mut self, value: i128) -> &mut Self {
        self.tagged(b'i', &value.to_le_bytes());
        self
    }

    /// A finite or non-finite float; integral values are encoded as integers, and all NaNs are one value.
    pub fn f64(&mut self, value: f64) -> &mut Self {
        if value.fract() == 0.0 && value.abs() <= EXACT_INTEGER {
            return self.int(value as i128);
        }
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        self.tagged(b'f', &bits.to_le_bytes());
        self
    }

    pub fn none(&mut self) -> &mut Self {
        self.tagged(b'n', &[]);
        self
    }

    /// Announces a sequence of `len` values, which must follow.
    pub fn seq(&mut self, len: usize) -> &mut Self {
        self.tagged(b'[', &(len as u64).to_le_bytes());
        self
    }

    /// Announces a map of `len` entries; key and value of each must follow, sorted by key.
    pub fn map(&mut self, len: usize) -> &mut Self {
        self.tagged(b'{', &(len as u64).to_le_bytes());
        self
    }

    pub fn json(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.none(),
            Value::Bool(value) => self.bool(*value),
            Value::Number(number) => {
                if let Some(value) = number.as_i64() {
                    self.i64(value)
                } else if let Some(value) = number.as_u64() {
                    self.u64(value)
                } else {
                    self.f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::String(text) => self.str(text),
            Value::Array(items) => {
                self.seq(items.len());
                for item in items {
                    self.json(item);
                }
                self
            }
            Value::Object(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(b.0));
                self.map(sorted.len());
                for (key, value) in sorted {
                    self.str(key).json(value);
                }
                self
            }
        }
    }

    #[must_use]
    pub fn finish(&self) -> Digest {
        self.hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn digest(value: &Value) -> Digest {
        let mut encoder = Canonical::new("test/1");
        encoder.json(value);
        encoder.finish()
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// The value with every float that is an exact integer written as one.
    fn with_integers(value: Value) -> Value {
        match value {
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT_INTEGER => {
                    Value::from(float as i64)
                }
                _ => Value::Number(number),
            },
            Value::Array(items) => items.into_iter().map(with_integers).collect(),
            Value::Object(entries) => {
                Value::Object(entries.into_iter().map(|(key, value)| (key, with_integers(value))).collect())
            }
            other => other,
        }
    }

    /// A change of this digest changes every key there is: raise the version in the domains instead.
    #[test]
    fn the_encoding_is_frozen() {
        let value = json!({"b": [1, 2.5, null, true, "x"], "a": {"k": -1}});
        assert_eq!(digest(&value).hex(), "69cfad3ad03f10c7a7bda98bd388ff35fe52c3767ddf0059cdc2ba92ada49cfd");
    }

    #[test]
    fn integral_floats_are_integers_and_key_order_does_not_count() {
        assert_eq!(digest(&json!(1)), digest(&json!(1.0)));
        assert_eq!(digest(&json!({"a": 1, "b": 2})), digest(&json!({"b": 2, "a": 1})));
    }

    #[test]
    fn nesting_is_part_of_the_value() {
        assert_ne!(digest(&json!([[1], 2])), digest(&json!([[1, 2]])));
        assert_ne!(digest(&json!(["ab", "c"])), digest(&json!(["a", "bc"])));
        assert_ne!(digest(&json!("1")), digest(&json!(1)));
    }

    proptest! {
        #[test]
        fn equal_values_and_only_they_have_equal_digests(a in json_value(), b in json_value()) {
            let equal = with_integers(a.clone()) == with_integers(b.clone());
            prop_assert_eq!(digest(&a) == digest(&b), equal);
            prop_assert_eq!(digest(&a), digest(&with_integers(a)));
        }
    }
}
