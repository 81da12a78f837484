//! config.json, read in the styles of transformers 4.x and 5.x, and written so that both read it right.

use serde_json::{Map, Value, json};

use super::config::{Architecture, ConfigError, ModelConfig, RopeConfig, RopeScaling};
use super::{Activation, DType};

/// Whose parameter names a model folder uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Hugging Face: `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
    /// Ours: `causal_lm.layer_stack.layers.0.attention.query_linear.weight`.
    Native,
}

/// `model_type` of native folders: this prefix and the family's name.
const NATIVE_PREFIX: &str = "chandlery-";
/// Prefix that Forgather's generated models carry.
const FORGATHER_PREFIX: &str = "forgather-dynamic-causal-";
/// Where a native config.json keeps the Hugging Face configuration it came from, so that nothing is lost on the way back.
const SOURCE_KEY: &str = "hf_source_config";

/// Typed access to one JSON object with errors that name the field and the file.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    origin: &'a str,
    family: &'a str,
}

impl Fields<'_> {
    fn invalid(&self, field: &str, found: &Value, expected: &str) -> ConfigError {
        ConfigError::Invalid {
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
            origin: self.origin.to_owned(),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.invalid(field, value, "a whole number"))
    }

    fn required(&self, field: &str) -> Result<usize, ConfigError> {
        self.size(field)?.ok_or_else(|| ConfigError::Missing {
            field: field.to_owned(),
            origin: self.origin.to_owned(),
            family: self.family.to_owned(),
        })
    }

    fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.invalid(field, value, "a number"))
    }

    fn flag(&self, field: &str) -> Result<bool, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.invalid(field, value, "true or false"))
    }

    fn text(&self, field: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.invalid(field, value, "a string"))
    }

    fn id(&self, field: &str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.map(Some).ok_or_else(|| self.invalid(field, value, "a token id"))
    }

    fn ids(&self, field: &str) -> Result<Vec<u32>, ConfigError> {
        match self.get(field) {
            Some(Value::Array(ids)) => ids
                .iter()
                .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                .collect::<Option<Vec<u32>>>()
                .ok_or_else(|| self.invalid(field, &Value::Array(ids.clone()), "a list of token ids")),
            _ => Ok(self.id(field)?.into_iter().collect()),
        }
    }

    fn object(&self, field: &str) -> Result<Option<&Map<String, Value>>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_object().map(Some).ok_or_else(|| self.invalid(field, value, "an object"))
    }
}

impl ModelConfig {
    /// Which side a config.json belongs to and which family it describes.
    ///
    /// # Errors
    /// [`ConfigError`] if `model_type` is missing or names no family of this crate.
    pub fn identify(json: &Value, origin: &str) -> Result<(Side, Architecture), ConfigError> {
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: "language" };
        let Some(model_type) = fields.text("model_type")? else {
            return Err(ConfigError::Missing {
                field: "model_type".to_owned(),
                origin: origin.to_owned(),
                family: "language".to_owned(),
            });
        };
        let native = model_type.strip_prefix(NATIVE_PREFIX).or_else(|| model_type.strip_prefix(FORGATHER_PREFIX));
        let (side, name) = match (native, fields.text("hf_model_type")?) {
            (Some(_), Some(name)) => (Side::Native, name),
            (None, Some(name)) => (Side::Native, name),
            (Some(name), None) => (Side::Native, name),
            (None, None) => (Side::HuggingFace, model_type),
        };
        let architecture = Architecture::from_name(name).ok_or_else(|| ConfigError::Unsupported {
            what: "model_type".to_owned(),
            found: name.to_owned(),
            supported: Architecture::ALL.iter().map(|family| family.name()).collect::<Vec<_>>().join(", "),
            origin: origin.to_owned(),
        })?;
        Ok((side, architecture))
    }

    /// Reads a config.json of either side. `origin` names the file in errors.
    ///
    /// # Errors
    /// [`ConfigError`] for missing, ill-typed, inconsistent or unsupported fields.
    pub fn from_json(json: &Value, origin: &str) -> Result<(Self, Side), ConfigError> {
        let (side, architecture) = Self::identify(json, origin)?;
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: architecture.name() };
        if let Some(activation) = fields.text("hidden_act")?
            && serde_json::from_value::<Activation>(json!(activation)).is_err()
        {
            return Err(ConfigError::Unsupported {
                what: "hidden_act".to_owned(),
                found: activation.to_owned(),
                supported: "silu".to_owned(),
                origin: origin.to_owned(),
            });
        }
        let heads = fields.required("num_attention_heads")?;
        let hidden_size = fields.required("hidden_size")?;
        let head_dim = match fields.size("head_dim")? {
            Some(head_dim) => head_dim,
            // The defaults of the families' configuration classes in transformers.
            None if architecture == Architecture::Qwen3 => 128,
            None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                let expected = format!("a divisor of hidden_size ({hidden_size}), or a head_dim beside it");
                return Err(fields.invalid("num_attention_heads", &json!(heads), &expected));
            }
        };
        let dtype = match fields.text("dtype")?.or(fields.text("torch_dtype")?) {
            None => DType::F32,
            Some(name) => DType::parse(name)
                .filter(|dtype| dtype.is_weight_float())
                .ok_or_else(|| fields.invalid("dtype", &json!(name), "float32, bfloat16, float16 or float64"))?,
        };
        let config = Self {
            architecture,
            vocab_size: fields.required("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required("intermediate_size")?,
            num_hidden_layers: fields.required("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: fields.size("num_key_value_heads")?.unwrap_or(match architecture {
                Architecture::Llama => heads,
                Architecture::Mistral => 8,
                Architecture::Qwen3 => 32,
            }),
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings")?.unwrap_or(2048),
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope: rope_from(&fields)?,
            sliding_window: window_from(&fields, architecture)?,
            qk_norm: architecture == Architecture::Qwen3,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?,
            attention_bias: fields.flag("attention_bias")?,
            mlp_bias: fields.flag("mlp_bias")?,
            dtype,
            bos_token_id: fields.id("bos_token_id")?,
            eos_token_id: fields.ids("eos_token_id")?,
            // transformers writes -1 for "no padding" in some old Llama configurations.
            pad_token_id: fields
                .get("pad_token_id")
                .filter(|id| id.as_i64() != Some(-1))
                .map_or(Ok(None), |_| fields.id("pad_token_id"))?,
        };
        config.validate(origin)?;
        Ok((config, side))
    }

    /// The fields both sides share, with both spellings of the element type and of the rotary parameters.
    fn shared_fields(&self) -> Map<String, Value> {
        let mut rope = json!({ "rope_theta": self.rope.theta, "rope_type": "default" });
        let mut scaling = Value::Null;
        if let Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) = &self.rope.scaling
        {
            scaling = json!({
                "factor": factor,
                "high_freq_factor": high_freq_factor,
                "low_freq_factor": low_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
                "rope_type": "llama3",
            });
            rope = scaling.clone();
            rope["rope_theta"] = json!(self.rope.theta);
        }
        let eos = match self.eos_token_id.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let fields = json!({
            "attention_bias": self.attention_bias,
            "bos_token_id": self.bos_token_id,
            "dtype": self.dtype.torch_name(),
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "mlp_bias": self.mlp_bias,
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "pad_token_id": self.pad_token_id,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": rope,
            "rope_scaling": scaling,
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": self.dtype.torch_name(),
            "vocab_size": self.vocab_size,
        });
        let Value::Object(mut fields) = fields else { return Map::new() };
        match self.architecture {
            Architecture::Llama => {}
            Architecture::Mistral => {
                fields.insert("sliding_window".to_owned(), json!(self.sliding_window));
            }
            Architecture::Qwen3 => {
                fields.insert("sliding_window".to_owned(), json!(self.sliding_window));
                fields.insert("use_sliding_window".to_owned(), json!(self.sliding_window.is_some()));
                fields.insert("max_window_layers".to_owned(), json!(0));
            }
        }
        fields
    }

    /// A native config.json. `source` is the Hugging Face configuration the model was converted from, kept whole.
    pub fn to_native_json(&self, source: Option<&Value>) -> Value {
        let mut fields = self.shared_fields();
        fields.insert("model_type".to_owned(), json!(format!("{NATIVE_PREFIX}{}", self.architecture.name())));
        fields.insert("chandlery_arch".to_owned(), json!(self.architecture.name()));
        fields.insert("chandlery_arch_version".to_owned(), json!("1"));
        if let Some(source) = source {
            fields.insert("hf_model_type".to_owned(), json!(self.architecture.name()));
            fields.insert(SOURCE_KEY.to_owned(), source.clone());
        }
        sorted(fields)
    }

    /// A Hugging Face config.json. `native` is the native one: if it remembers the configuration it was converted
    /// from and nothing that matters changed since, that configuration comes back as it was.
    pub fn to_hf_json(&self, native: &Value) -> Value {
        if let Some(source) = native.get(SOURCE_KEY) {
            if Self::from_json(source, SOURCE_KEY).is_ok_and(|(config, _)| config == *self) {
                return source.clone();
            }
            if let Value::Object(kept) = source {
                let mut fields = kept.clone();
                fields.extend(self.shared_fields());
                return sorted(fields);
            }
        }
        let mut fields = self.shared_fields();
        fields.insert("architectures".to_owned(), json!([self.architecture.hf_class()]));
        fields.insert("model_type".to_owned(), json!(self.architecture.name()));
        sorted(fields)
    }
}

fn sorted(fields: Map<String, Value>) -> Value {
    let mut entries: Vec<_> = fields.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}

/// The window that all layers share. Qwen3 has one only where `use_sliding_window` says so, and may give it to some
/// layers only, which is refused.
fn window_from(fields: &Fields<'_>, architecture: Architecture) -> Result<Option<usize>, ConfigError> {
    let window = fields.size("sliding_window")?;
    match architecture {
        Architecture::Llama => Ok(None),
        Architecture::Mistral => Ok(window),
        Architecture::Qwen3 if !fields.flag("use_sliding_window")? => Ok(None),
        Architecture::Qwen3 => {
            let full = fields.size("max_window_layers")?.unwrap_or(28).min(fields.required("num_hidden_layers")?);
            if full > 0 && window.is_some() {
                return Err(ConfigError::Unsupported {
                    what: "max_window_layers".to_owned(),
                    found: full.to_string(),
                    supported: "0 (a window in every layer), or use_sliding_window false".to_owned(),
                    origin: fields.origin.to_owned(),
                });
            }
            Ok(window)
        }
    }
}

/// Rotary parameters in the 5.x place (`rope_parameters`), else in the 4.x places (`rope_theta`, `rope_scaling`).
fn rope_from(fields: &Fields<'_>) -> Result<RopeConfig, ConfigError> {
    let parameters = fields.object("rope_parameters")?;
    let scaling = fields.object("rope_scaling")?;
    let place = if parameters.is_some() { "rope_parameters" } else { "rope_scaling" };
    let origin = format!("{}, {place}", fields.origin);
    let empty = Map::new();
    let rope = Fields { object: parameters.or(scaling).unwrap_or(&empty), origin: &origin, family: fields.family };
    let partial = rope.number("partial_rotary_factor")?.or(fields.number("partial_rotary_factor")?).unwrap_or(1.0);
    if partial != 1.0 {
        return Err(ConfigError::Unsupported {
            what: "partial_rotary_factor".to_owned(),
            found: partial.to_string(),
            supported: "1.0".to_owned(),
            origin,
        });
    }
    let theta = rope.number("rope_theta")?.or(fields.number("rope_theta")?).unwrap_or(10_000.0);
    let scaling = match rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default") {
        "default" => None,
        "llama3" => {
            let number = |field| rope.number(field)?.ok_or_else(|| missing_in(&rope, field));
            Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: rope.required("original_max_position_embeddings")?,
            })
        }
        other => {
            return Err(ConfigError::Unsupported {
                what: "rope_type".to_owned(),
                found: other.to_owned(),
                supported: "default, llama3".to_owned(),
                origin,
            });
        }
    };
    Ok(RopeConfig { theta, scaling })
}

fn missing_in(fields: &Fields<'_>, field: &str) -> ConfigError {
    ConfigError::Missing { field: field.to_owned(), origin: fields.origin.to_owned(), family: fields.family.to_owned() }
}
