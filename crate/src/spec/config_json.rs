//! config.json, read in the styles of transformers 4.x and 5.x, and written so that both read it right.

use serde_json::{Map, Value, json};

use super::choices::{AttentionKind, NormPlacement, PositionEmbedding};
use super::config::{ConfigError, ModelConfig};
use super::fields::Fields;
use super::parts_json::{
    activation_from, choice, dropout_from, initialization_from, layers_from, norm_from, placement_from, position_from,
    rope_fields, window_from,
};
use super::quantization_json::{self, quantization_from};
use super::{Architecture, DType};

/// Whose parameter names a model folder uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Hugging Face: `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
    /// Ours: `causal_lm.layer_stack.layers.0.attention.query_linear.weight`.
    Native,
}

/// `model_type` of native folders: this prefix and the family's name.
pub(super) const NATIVE_PREFIX: &str = "chandlery-";
/// Prefix that Forgather's generated models carry.
const FORGATHER_PREFIX: &str = "forgather-dynamic-causal-";
/// Where a native config.json keeps the Hugging Face configuration it came from, so that nothing is lost on the way back.
const SOURCE_KEY: &str = "hf_source_config";

impl ModelConfig {
    /// Whose names the weights beside a config.json have: native ones if its `model_type` is ours or Forgather's, or if it
    /// says what it was converted from.
    pub fn side_of(json: &Value) -> Side {
        let native = json.get("model_type").and_then(Value::as_str).is_some_and(|name| native_type(name).is_some());
        let converted = json.get("hf_model_type").is_some_and(Value::is_string);
        if native || converted { Side::Native } else { Side::HuggingFace }
    }

    /// Which side a config.json belongs to and which family it describes.
    ///
    /// # Errors
    /// [`ConfigError`] if `model_type` is missing or names no family of this crate.
    pub fn identify(json: &Value, origin: &str) -> Result<(Side, Architecture), ConfigError> {
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: "language" };
        let model_type = fields.text("model_type")?.ok_or_else(|| fields.missing("model_type"))?;
        // A native type says which parts there are; where it was converted from matters only for the way back.
        let (side, name) = match (native_type(model_type), fields.text("hf_model_type")?) {
            (Some(name), _) | (None, Some(name)) => (Side::Native, name),
            (None, None) => (Side::HuggingFace, model_type),
        };
        let found = match side {
            Side::Native => Architecture::from_forgather_name(name),
            Side::HuggingFace => Architecture::from_name(name).filter(|family| family.hf_class().is_some()),
        };
        let names =
            |families: Vec<Architecture>| families.iter().map(|family| family.name()).collect::<Vec<_>>().join(", ");
        let architecture = found.ok_or_else(|| {
            let supported = match side {
                Side::Native => Architecture::ALL.to_vec(),
                Side::HuggingFace => Architecture::convertible().collect(),
            };
            fields.unsupported("model_type", name, &names(supported))
        })?;
        Ok((side, architecture))
    }

    /// Reads a Hugging Face config.json as one of `architecture`, whatever its `model_type` says.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_hf_json(json: &Value, architecture: Architecture, origin: &str) -> Result<Self, ConfigError> {
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: architecture.name() };
        Self::from_fields(&fields, Side::HuggingFace, architecture)
    }

    /// Reads what a project renders to: the fields of a native config.json, with the family as `model_type`.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_project(json: &Value, origin: &str) -> Result<Self, ConfigError> {
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: "language" };
        let families: Vec<_> = Architecture::ALL.iter().map(|&family| (family.name(), family)).collect();
        let architecture = fields.word("model_type", &families)?.ok_or_else(|| fields.missing("model_type"))?;
        Self::from_fields(&fields, Side::Native, architecture)
    }

    /// Reads a config.json of either side. `origin` names the file in errors.
    ///
    /// # Errors
    /// [`ConfigError`] for missing, ill-typed, inconsistent or unsupported fields.
    pub fn from_json(json: &Value, origin: &str) -> Result<(Self, Side), ConfigError> {
        let (side, architecture) = Self::identify(json, origin)?;
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: architecture.name() };
        Ok((Self::from_fields(&fields, side, architecture)?, side))
    }

    pub(super) fn from_fields(
        fields: &Fields<'_>,
        side: Side,
        architecture: Architecture,
    ) -> Result<Self, ConfigError> {
        // Only native configurations choose parts: a class of transformers is what its family is.
        let part = match side {
            Side::Native => Some(fields),
            Side::HuggingFace => None,
        };
        let usual = architecture.defaults();
        let attention =
            choice(part, "attention_type", &[AttentionKind::MultiHead, AttentionKind::SingleHead], |kind| kind.name())?
                .unwrap_or(usual.attention);
        let hidden_size = fields.required("hidden_size")?;
        let heads = match attention {
            AttentionKind::MultiHead => fields.required("num_attention_heads")?,
            AttentionKind::SingleHead => 1,
        };
        let head_dim = match fields.size("head_dim")? {
            Some(head_dim) => head_dim,
            // The default of the family's configuration class in transformers.
            None if architecture == Architecture::Qwen3 && side == Side::HuggingFace => 128,
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
        let mut config = Self {
            architecture,
            vocab_size: fields.required("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required("intermediate_size")?,
            num_hidden_layers: fields.required("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: fields.size("num_key_value_heads")?.unwrap_or(match (side, architecture) {
                (Side::HuggingFace, Architecture::Mistral) => 8,
                (Side::HuggingFace, Architecture::Qwen3) => 32,
                _ => heads,
            }),
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings")?.unwrap_or(2048),
            norm: norm_from(fields, part, &usual)?,
            placement: placement_from(part, &usual)?,
            final_norm: part.map_or(Ok(usual.final_norm), |part| part.flag("final_norm", usual.final_norm))?,
            attention,
            position: position_from(fields, part, &usual)?,
            scale_embedding: part
                .map_or(Ok(usual.scale_embedding), |part| part.flag("scale_embedding", usual.scale_embedding))?,
            activation: activation_from(fields, side)?.unwrap_or(usual.activation),
            gated: part.map_or(Ok(usual.gated), |part| part.flag("gated_mlp", usual.gated))?,
            feedforward: part.map_or(Ok(true), |part| part.flag("feedforward", true))?,
            sliding_window: window_from(fields, side, architecture)?,
            qk_norm: part.map_or(Ok(usual.qk_norm), |part| part.flag("qk_norm", usual.qk_norm))?,
            tie_word_embeddings: fields.flag("tie_word_embeddings", usual.tied)?,
            attention_bias: fields.flag("attention_bias", false)?,
            mlp_bias: fields.flag("mlp_bias", usual.mlp_bias)?,
            dropout: dropout_from(fields, part, &usual)?,
            initialization: initialization_from(part, &usual)?,
            layers: Vec::new(),
            dtype,
            bos_token_id: fields.id("bos_token_id")?,
            eos_token_id: fields.ids("eos_token_id")?,
            // transformers writes -1 for "no padding" in some old Llama configurations.
            pad_token_id: fields
                .get("pad_token_id")
                .filter(|id| id.as_i64() != Some(-1))
                .map_or(Ok(None), |_| fields.id("pad_token_id"))?,
            quantization: quantization_from(fields)?,
        };
        if let Some(part) = part {
            config.layers = layers_from(part, architecture)?;
        }
        config.validate(fields.origin)?;
        Ok(config)
    }

    /// The fields both sides share, with both spellings of the element type and of the rotary parameters.
    fn shared_fields(&self) -> Map<String, Value> {
        let eos = match self.eos_token_id.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let fields = json!({
            "attention_bias": self.attention_bias,
            "attention_dropout": self.dropout.attention,
            "bos_token_id": self.bos_token_id,
            "dtype": self.dtype.torch_name(),
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": self.activation.name(),
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "mlp_bias": self.mlp_bias,
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "pad_token_id": self.pad_token_id,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": self.dtype.torch_name(),
            "vocab_size": self.vocab_size,
        });
        let Value::Object(mut fields) = fields else { return Map::new() };
        if let Some(quantization) = &self.quantization {
            fields.insert(quantization_json::KEY.to_owned(), quantization.to_json());
        }
        fields.insert(self.norm.kind.eps_field().to_owned(), json!(self.norm.eps));
        if let PositionEmbedding::Rope(rope) = &self.position {
            fields.extend(rope_fields(rope));
        }
        match self.architecture {
            Architecture::Llama | Architecture::CausalLm | Architecture::DeepOne | Architecture::SingleHead => {
                if self.sliding_window.is_some() {
                    fields.insert("sliding_window".to_owned(), json!(self.sliding_window));
                }
            }
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

    /// The choices of parts that are not what the family takes for granted, or all of them.
    fn part_fields(&self, all: bool) -> Map<String, Value> {
        let usual = self.architecture.defaults();
        let mut fields = Map::new();
        let mut differing = |field: &str, differs: bool, value: Value| {
            if differs || all && !value.is_null() {
                fields.insert(field.to_owned(), value);
            }
        };
        differing("norm_type", self.norm.kind != usual.norm.kind, json!(self.norm.kind.name()));
        differing("norm_placement", self.placement != usual.placement, json!(self.placement.name()));
        if let NormPlacement::DeepNet { alpha } = self.placement {
            differing("deepnet_alpha", alpha.is_some(), json!(alpha));
        }
        differing("final_norm", self.final_norm != usual.final_norm, json!(self.final_norm));
        differing("attention_type", self.attention != usual.attention, json!(self.attention.name()));
        differing("qk_norm", self.qk_norm != usual.qk_norm, json!(self.qk_norm));
        let position = self.position.name() != usual.position.name();
        differing("position_embedding", position, json!(self.position.name()));
        if let PositionEmbedding::Alibi(alibi) = &self.position {
            differing("alibi_slopes", self.position != usual.position, json!(alibi.slopes.name()));
            differing("alibi_trainable", self.position != usual.position, json!(alibi.trainable));
        }
        differing("scale_embedding", self.scale_embedding != usual.scale_embedding, json!(self.scale_embedding));
        differing("gated_mlp", self.gated != usual.gated, json!(self.gated));
        differing("feedforward", !self.feedforward, json!(self.feedforward));
        for ((field, value), (_, usual)) in self.dropout.fields().into_iter().zip(usual.dropout.fields()) {
            differing(field, value != usual, json!(value));
        }
        let initialization = match self.initialization.name() {
            Some(name) => json!(name),
            None => json!(self.initialization.rules(self)),
        };
        differing("initialization", self.initialization != usual.initialization, initialization);
        let runs = self.layers.iter().map(|run| {
            let mut entry = run.set.clone();
            entry.insert("count".to_owned(), json!(run.count));
            Value::Object(entry)
        });
        differing("layers", !self.layers.is_empty(), runs.collect());
        fields
    }

    /// Adds to a config.json of this configuration what it lacks of either spelling of the element type and of the rotary
    /// parameters: transformers 4 passes over those of version 5, and assumes others in silence.
    pub fn spell_for_all_readers(&self, json: &mut Value) {
        let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        // Other families' fields have other names.
        if model_type != self.architecture.name() && !model_type.starts_with(NATIVE_PREFIX) {
            return;
        }
        let Some(fields) = json.as_object_mut() else { return };
        let doubled = ["dtype", "torch_dtype", "rope_parameters", "rope_theta", "rope_scaling"];
        for (key, value) in self.shared_fields().into_iter().filter(|(key, _)| doubled.contains(&key.as_str())) {
            let set = fields.get(&key).is_some_and(|value| !value.is_null());
            if !set && !value.is_null() {
                fields.insert(key, value);
            }
        }
    }

    /// Every field that describes the model to the native side, those included that its family takes for granted.
    pub fn to_all_fields(&self) -> Map<String, Value> {
        let mut fields = self.shared_fields();
        fields.extend(self.part_fields(true));
        fields.insert("model_type".to_owned(), json!(self.architecture.native_model_type()));
        fields
    }

    /// A native config.json. `source` is what the model was converted from, kept whole for the way back: the family's
    /// `model_type` at Hugging Face and the configuration.
    pub fn to_native_json(&self, source: Option<(&str, &Value)>) -> Value {
        let mut fields = self.shared_fields();
        fields.extend(self.part_fields(false));
        fields.insert("model_type".to_owned(), json!(self.architecture.native_model_type()));
        fields.insert("chandlery_arch".to_owned(), json!(self.architecture.name()));
        fields.insert("chandlery_arch_version".to_owned(), json!(Architecture::VERSION.to_string()));
        // The classes of the Python sources beside it, which transformers imports if `trust_remote_code` allows it.
        fields.insert("architectures".to_owned(), json!(["ChandleryForCausalLM"]));
        let classes = json!({
            "AutoConfig": "configuration_chandlery.ChandleryConfig",
            "AutoModel": "modeling_chandlery.ChandleryModel",
            "AutoModelForCausalLM": "modeling_chandlery.ChandleryForCausalLM",
        });
        fields.insert("auto_map".to_owned(), classes);
        if let Some((model_type, source)) = source {
            fields.insert("hf_model_type".to_owned(), json!(model_type));
            fields.insert(SOURCE_KEY.to_owned(), source.clone());
        }
        sorted(fields)
    }

    /// The Hugging Face configuration that a native config.json remembers.
    pub fn source_of(native: &Value) -> Option<&Value> {
        native.get(SOURCE_KEY).filter(|source| source.is_object())
    }

    /// A Hugging Face config.json. `native` is the native one: if it remembers the configuration it was converted
    /// from and nothing that matters changed since, that configuration comes back as it was.
    pub fn to_hf_json(&self, native: &Value) -> Value {
        if let Some(source) = Self::source_of(native)
            && let Value::Object(kept) = source
        {
            let mut before = Self::from_hf_json(source, self.architecture, SOURCE_KEY);
            // A configuration that does not say its element type leaves that to the weights, and may go on doing so.
            let dtype = |json: &Value| {
                ["dtype", "torch_dtype"].iter().find_map(|key| json.get(*key)?.as_str().map(DType::parse))
            };
            if let (Ok(before), None) = (&mut before, dtype(source))
                && dtype(native).flatten() == Some(self.dtype)
            {
                before.dtype = self.dtype;
            }
            if before.as_ref().is_ok_and(|before| before == self) {
                return source.clone();
            }
            // What did not change keeps the form that it had.
            let before = before.map(|before| before.shared_fields()).unwrap_or_default();
            let mut fields = kept.clone();
            fields.extend(self.shared_fields().into_iter().filter(|(field, value)| before.get(field) != Some(value)));
            return sorted(fields);
        }
        let mut fields = self.shared_fields();
        fields.insert("architectures".to_owned(), json!([self.architecture.hf_class()]));
        fields.insert("model_type".to_owned(), json!(self.architecture.name()));
        sorted(fields)
    }
}

/// The family in a native `model_type`, ours or Forgather's.
fn native_type(model_type: &str) -> Option<&str> {
    model_type.strip_prefix(NATIVE_PREFIX).or_else(|| model_type.strip_prefix(FORGATHER_PREFIX))
}

fn sorted(fields: Map<String, Value>) -> Value {
    let mut entries: Vec<_> = fields.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}
