//! `config.json` of a Hugging Face folder, turned into the one description that the network is built from.

use crate::{Activation, LmError, LmResult, RopeConfig};
use serde_json::Value;
use std::path::Path;

/// The model families that differ in arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
}

/// How one layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerAttention {
    /// Number of latest positions, the own one included, that a position sees; `None` for all.
    pub window: Option<usize>,
    /// Index into [`ModelConfig::ropes`].
    pub rope: usize,
}

/// Everything that decides the arithmetic of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub family: Family,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    /// Query heads; `heads % kv_heads == 0`.
    pub heads: usize,
    /// Key and value heads (grouped-query attention, Ainslie et al. 2023).
    pub kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f32,
    /// Norm weights are stored as an offset from 1 (Gemma).
    pub norm_offset: bool,
    pub activation: Activation,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub output_bias: bool,
    /// Biases in the feed-forward block.
    pub mlp_bias: bool,
    /// Norms on each head of the queries and keys.
    pub qk_norm: bool,
    /// Norms after attention and around the feed-forward block (Gemma 2 and 3).
    pub sandwich_norms: bool,
    /// Factor on the attention scores.
    pub attention_scale: f32,
    /// `cap · tanh(x / cap)` on the attention scores.
    pub attention_soft_cap: Option<f32>,
    /// `cap · tanh(x / cap)` on the logits.
    pub final_soft_cap: Option<f32>,
    /// Factor on the embeddings.
    pub embedding_scale: Option<f32>,
    /// The output head is the embedding matrix.
    pub tied_head: bool,
    /// One entry per layer.
    pub layers: Vec<LayerAttention>,
    /// The rotary embeddings that layers refer to.
    pub ropes: Vec<RopeConfig>,
    /// The longest sequence that the model was made for.
    pub max_positions: usize,
    /// Ids that end a text, of `config.json`; `generation_config.json` may replace them.
    pub eos_ids: Vec<u32>,
    /// Id that begins a text.
    pub bos_id: Option<u32>,
}

/// Typed access to one JSON object, with errors that name the field.
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn wrong(name: &str, wanted: &str, found: &Value) -> LmError {
        LmError::Config { field: name.to_owned(), message: format!("expected {wanted}, found `{found}`") }
    }

    fn typed<T>(&self, name: &str, wanted: &str, read: impl Fn(&'a Value) -> Option<T>) -> LmResult<Option<T>> {
        self.get(name).map(|value| read(value).ok_or_else(|| Self::wrong(name, wanted, value))).transpose()
    }

    fn size(&self, name: &str) -> LmResult<Option<usize>> {
        self.typed(name, "a positive integer", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
        })
    }

    fn need_size(&self, name: &str) -> LmResult<usize> {
        self.size(name)?
            .ok_or_else(|| LmError::Config { field: name.to_owned(), message: "missing, expected a size".to_owned() })
    }

    fn number(&self, name: &str) -> LmResult<Option<f64>> {
        self.typed(name, "a number", Value::as_f64)
    }

    fn flag(&self, name: &str) -> LmResult<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn text(&self, name: &str) -> LmResult<Option<&'a str>> {
        self.typed(name, "a string", Value::as_str)
    }
}

/// Reads ids given as one number or a list of numbers.
pub(crate) fn token_ids(value: &Value, field: &str) -> LmResult<Vec<u32>> {
    let one = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| Fields::wrong(field, "a token id or a list of them", value))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(ids) => ids.iter().map(one).collect(),
        id => Ok(vec![one(id)?]),
    }
}

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// The file cannot be read, names an unknown architecture, or a field is missing or wrong.
    pub fn read(path: &Path) -> LmResult<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| LmError::Read { path: path.to_owned(), source })?;
        let json = serde_json::from_str(&text)
            .map_err(|error| LmError::Malformed { path: path.to_owned(), message: error.to_string() })?;
        Self::from_json(&json)
    }

    /// Reads the parsed `config.json`, in the form with `rope_theta` and `rope_scaling` or in that with `rope_parameters`.
    ///
    /// # Errors
    /// An unknown architecture, or a field that is missing or wrong.
    pub fn from_json(json: &Value) -> LmResult<Self> {
        let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let family = match model_type {
            "llama" => Family::Llama,
            "mistral" => Family::Mistral,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            "gemma2" => Family::Gemma2,
            "gemma3_text" => Family::Gemma3,
            "gemma3" => {
                let mut text = json.get("text_config").cloned().unwrap_or_default();
                text["model_type"] = Value::from("gemma3_text");
                return Self::from_json(&text);
            }
            other => {
                let class = json.pointer("/architectures/0").and_then(Value::as_str).unwrap_or("");
                let name = if other.is_empty() { class } else { other };
                return Err(LmError::UnknownArchitecture(name.to_owned()));
            }
        };
        Self::of_family(family, &Fields(json))
    }

    fn of_family(family: Family, fields: &Fields<'_>) -> LmResult<Self> {
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        // Published Gemma 3 configs leave out what equals the defaults of transformers' `Gemma3TextConfig`.
        let gemma3 = |name: &str, default: usize| -> LmResult<usize> {
            if family == Family::Gemma3 { Ok(fields.size(name)?.unwrap_or(default)) } else { fields.need_size(name) }
        };
        let hidden_size = gemma3("hidden_size", 2304)?;
        let heads = gemma3("num_attention_heads", 8)?;
        let kv_heads = fields.size("num_key_value_heads")?.unwrap_or(match family {
            Family::Gemma2 | Family::Gemma3 => 4,
            _ => heads,
        });
        if !heads.is_multiple_of(kv_heads) {
            return Err(LmError::Config {
                field: "num_key_value_heads".to_owned(),
                message: format!("{kv_heads} does not divide num_attention_heads {heads}"),
            });
        }
        let head_dim = fields.size("head_dim")?.unwrap_or(match family {
            Family::Gemma2 | Family::Gemma3 => 256,
            Family::Qwen3 => 128,
            _ => hidden_size / heads,
        });
        if !head_dim.is_multiple_of(2) {
            return Err(LmError::Config {
                field: "head_dim".to_owned(),
                message: format!("{head_dim} is odd; rotary embedding needs pairs"),
            });
        }
        let attention_bias = fields.flag("attention_bias")?.unwrap_or(false);
        let scalar = match fields.number("query_pre_attn_scalar")? {
            Some(scalar) if gemma => scalar,
            _ if gemma => 256.0,
            _ => head_dim as f64,
        };
        let max_positions = fields.size("max_position_embeddings")?.unwrap_or(match family {
            Family::Llama => 2048,
            Family::Gemma2 => 8192,
            Family::Qwen2 | Family::Qwen3 => 32_768,
            Family::Mistral | Family::Gemma3 => 131_072,
        });
        let ropes = ropes(family, fields, head_dim, max_positions)?;
        Ok(Self {
            family,
            vocab_size: gemma3("vocab_size", 262_208)?,
            hidden_size,
            intermediate_size: gemma3("intermediate_size", 9216)?,
            heads,
            kv_heads,
            head_dim,
            norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            norm_offset: gemma,
            activation: activation(family, fields)?,
            qkv_bias: attention_bias || family == Family::Qwen2,
            output_bias: attention_bias && family != Family::Qwen2,
            mlp_bias: fields.flag("mlp_bias")?.unwrap_or(false) && family == Family::Llama,
            qk_norm: matches!(family, Family::Qwen3 | Family::Gemma3),
            sandwich_norms: gemma,
            attention_scale: (1.0 / scalar.sqrt()) as f32,
            attention_soft_cap: soft_cap(fields, "attn_logit_softcapping", family, 50.0)?,
            final_soft_cap: soft_cap(fields, "final_logit_softcapping", family, 30.0)?,
            embedding_scale: gemma.then(|| (hidden_size as f32).sqrt()),
            tied_head: fields.flag("tie_word_embeddings")?.unwrap_or(gemma),
            layers: layers(family, fields, gemma3("num_hidden_layers", 26)?)?,
            ropes,
            max_positions,
            eos_ids: token_ids(fields.0.get("eos_token_id").unwrap_or(&Value::Null), "eos_token_id")?,
            bos_id: token_ids(fields.0.get("bos_token_id").unwrap_or(&Value::Null), "bos_token_id")?.first().copied(),
        })
    }

    /// Query heads per key-value head.
    #[must_use]
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Gemma 2 caps by default; an explicit `null` switches a cap off, so absence and `null` differ.
fn soft_cap(fields: &Fields<'_>, name: &str, family: Family, default: f32) -> LmResult<Option<f32>> {
    if !matches!(family, Family::Gemma2 | Family::Gemma3) {
        return Ok(None);
    }
    let absent = fields.0.get(name).is_none();
    let default = (family == Family::Gemma2 && absent).then_some(default);
    Ok(fields.number(name)?.map(|cap| cap as f32).or(default))
}

fn activation(family: Family, fields: &Fields<'_>) -> LmResult<Activation> {
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
    let name = match (gemma, fields.text("hidden_activation")?, fields.text("hidden_act")?) {
        (true, Some(name), _) => name,
        (true, None, _) => "gelu_pytorch_tanh",
        (false, _, name) => name.unwrap_or("silu"),
    };
    match name {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
        other => Err(LmError::Config {
            field: if gemma { "hidden_activation" } else { "hidden_act" }.to_owned(),
            message: format!("unknown activation `{other}`; known: silu, gelu_pytorch_tanh"),
        }),
    }
}

fn layers(family: Family, fields: &Fields<'_>, count: usize) -> LmResult<Vec<LayerAttention>> {
    let window = fields.size("sliding_window")?;
    let (window, sliding): (Option<usize>, Vec<bool>) = match family {
        Family::Llama => (None, vec![false; count]),
        Family::Mistral => {
            // transformers' `MistralConfig` slides over 4096 positions unless the field says `null`.
            let window = if fields.0.get("sliding_window").is_none() { Some(4096) } else { window };
            (window, vec![true; count])
        }
        Family::Qwen2 | Family::Qwen3 => {
            let on = fields.flag("use_sliding_window")?.unwrap_or(false);
            let from = fields.0.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28) as usize;
            (window.filter(|_| on), (0..count).map(|layer| layer >= from).collect())
        }
        Family::Gemma2 => (window.or(Some(4096)), (0..count).map(|layer| layer % 2 == 0).collect()),
        Family::Gemma3 => {
            let pattern =
                fields.size("sliding_window_pattern")?.or(fields.size("_sliding_window_pattern")?).unwrap_or(6);
            (window.or(Some(4096)), (0..count).map(|layer| (layer + 1) % pattern != 0).collect())
        }
    };
    let sliding = match fields.get("layer_types") {
        Some(Value::Array(types)) if types.len() == count => types
            .iter()
            .map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(Fields::wrong("layer_types", "`sliding_attention` or `full_attention`", kind)),
            })
            .collect::<LmResult<Vec<bool>>>()?,
        Some(other) => return Err(Fields::wrong("layer_types", &format!("a list of {count} layer types"), other)),
        None => sliding,
    };
    Ok(sliding
        .into_iter()
        .map(|sliding| LayerAttention {
            window: window.filter(|_| sliding),
            rope: usize::from(sliding && family == Family::Gemma3),
        })
        .collect())
}

/// The rotary embeddings: one, or for Gemma 3 that of full and that of sliding layers.
fn ropes(family: Family, fields: &Fields<'_>, dim: usize, max_positions: usize) -> LmResult<Vec<RopeConfig>> {
    let default_theta = match family {
        Family::Gemma3 => 1_000_000.0,
        _ => 10_000.0,
    };
    let parameters = fields.get("rope_parameters");
    let (full, local) = match parameters {
        Some(nested) if nested.get("full_attention").is_some() || nested.get("sliding_attention").is_some() => {
            (nested.get("full_attention"), nested.get("sliding_attention"))
        }
        one => (one, None),
    };
    let theta = fields.number("rope_theta")?.unwrap_or(default_theta);
    let main = match full.or_else(|| fields.get("rope_scaling")) {
        Some(scaling) => RopeConfig::from_json(scaling, theta, dim, max_positions)?,
        None => RopeConfig::plain(theta, dim),
    };
    if family != Family::Gemma3 {
        return Ok(vec![main]);
    }
    let local_theta = fields.number("rope_local_base_freq")?.unwrap_or(10_000.0);
    let local = match local {
        Some(scaling) => RopeConfig::from_json(scaling, local_theta, dim, max_positions)?,
        None => RopeConfig::plain(local_theta, dim),
    };
    Ok(vec![main, local])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RopeScaling;
    use serde_json::json;

    fn base(model_type: &str) -> Value {
        json!({
            "model_type": model_type, "vocab_size": 10, "hidden_size": 32, "intermediate_size": 64,
            "num_attention_heads": 4, "num_hidden_layers": 6, "rms_norm_eps": 1e-5,
        })
    }

    fn with(mut config: Value, fields: Value) -> Value {
        let Value::Object(fields) = fields else { unreachable!() };
        for (name, value) in fields {
            config[name] = value;
        }
        config
    }

    #[test]
    fn the_old_and_the_new_form_of_rope_parameters_agree() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        let old = with(base("llama"), json!({"rope_theta": 500000.0, "rope_scaling": scaling}));
        let new = with(base("llama"), json!({"rope_parameters": with(scaling, json!({"rope_theta": 500000.0}))}));
        let (old, new) = (ModelConfig::from_json(&old).unwrap(), ModelConfig::from_json(&new).unwrap());
        assert_eq!(old, new);
        assert!(matches!(old.ropes[0].scaling, RopeScaling::Llama3 { .. }));

        let old = with(base("gemma3_text"), json!({"rope_theta": 1e6, "rope_local_base_freq": 1e4, "head_dim": 8}));
        let new = with(
            base("gemma3_text"),
            json!({"head_dim": 8, "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
        );
        assert_eq!(ModelConfig::from_json(&old).unwrap(), ModelConfig::from_json(&new).unwrap());
    }

    #[test]
    fn gemma3_slides_in_five_of_six_layers() {
        let config = ModelConfig::from_json(&base("gemma3_text")).unwrap();
        let windows: Vec<_> = config.layers.iter().map(|layer| layer.window).collect();
        assert_eq!(windows, [Some(4096), Some(4096), Some(4096), Some(4096), Some(4096), None]);
        assert_eq!(config.layers.iter().map(|layer| layer.rope).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn errors_name_the_architecture_or_the_field() {
        let error = |config: Value| ModelConfig::from_json(&config).unwrap_err().to_string();
        assert!(error(base("mamba")).contains("`mamba`"));
        assert!(error(with(base("llama"), json!({"hidden_size": "big"}))).contains("`hidden_size`"));
        assert!(error(with(base("llama"), json!({"vocab_size": null}))).contains("`vocab_size`"));
        assert!(error(with(base("llama"), json!({"num_key_value_heads": 3}))).contains("`num_key_value_heads`"));
        assert!(error(with(base("llama"), json!({"hidden_act": "relu9"}))).contains("`relu9`"));
        assert!(error(with(base("llama"), json!({"rope_scaling": {"type": "mystery"}}))).contains("`mystery`"));
        assert!(error(with(base("gemma2"), json!({"layer_types": ["odd"]}))).contains("`layer_types`"));
    }
}
