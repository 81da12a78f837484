//! config.json, read in the styles of transformers 4.x and 5.x, and written so that both read it right.

use serde_json::{Map, Value, json};

use super::config::{ConfigError, ModelConfig};
use super::fields::Fields;
use super::parts::{self, PARTS, PartFields, Reading};
use super::{Architecture, DType, Field, user_part};

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
/// Keys of a project's YAML that describe no part: the family, and what belongs to the folder.
const PROJECT_KEYS: &[&str] = &["model_type", "model_name", "tokenizer"];
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

    /// Whether a config.json leaves the element type to the weights: it says none, or `auto`.
    pub fn leaves_dtype_open(json: &Value) -> bool {
        let open = |field: &str| json.get(field).is_none_or(|dtype| dtype.is_null() || dtype == "auto");
        ["dtype", "torch_dtype"].into_iter().all(open)
    }

    /// Which side a config.json belongs to and which family it describes.
    ///
    /// # Errors
    /// [`ConfigError`] if `model_type` is missing or names no family of this crate.
    pub fn identify(json: &Value, origin: &str) -> Result<(Side, Architecture), ConfigError> {
        let empty = Map::new();
        let fields = Fields { object: json.as_object().unwrap_or(&empty), origin, family: "language", strict: false };
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
        let fields =
            Fields { object: json.as_object().unwrap_or(&empty), origin, family: architecture.name(), strict: false };
        Self::from_fields(&fields, Side::HuggingFace, architecture)
    }

    /// Reads what a project renders to: the fields of a native config.json, with the family as `model_type`. A key that is
    /// no field is an error, and so is what has no effect in rotary parameters or in an entry of `layers`.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and [`ConfigError::Unknown`] or [`ConfigError::NoEffect`].
    pub fn from_project(json: &Value, origin: &str) -> Result<Self, ConfigError> {
        let empty = Map::new();
        let object = json.as_object().unwrap_or(&empty);
        let fields = Fields { object, origin, family: "language", strict: true };
        let families: Vec<_> = Architecture::ALL.iter().map(|&family| (family.name(), family)).collect();
        let architecture = fields.word("model_type", &families)?.ok_or_else(|| fields.missing("model_type"))?;
        let known = || parts::fields().flat_map(|field| std::iter::once(&field.name).chain(field.aliases_of()));
        let own = user_part::chosen_by(object);
        let own = own.iter().flat_map(|part| part.fields()).map(|field| &field.name);
        let known: Vec<&str> = PROJECT_KEYS.iter().chain(known()).chain(own).copied().collect();
        if let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) {
            let advice = "correct or remove it; `chandlery project fields` lists the fields";
            return Err(fields.unknown("field", unknown, &known, advice));
        }
        Self::from_fields(&fields, Side::Native, architecture)
    }

    /// Of the fields that a project gave and this configuration was read from, those whose value it does not hold, each as
    /// the error that says so.
    pub fn dropped(&self, json: &Value, origin: &str) -> Vec<ConfigError> {
        let empty = Map::new();
        let object = json.as_object().unwrap_or(&empty);
        let fields = Fields { object, origin, family: self.architecture.name(), strict: true };
        parts::dropped(object, self).into_iter().map(|field| fields.lost(field)).collect()
    }

    /// Reads a config.json of either side. `origin` names the file in errors.
    ///
    /// # Errors
    /// [`ConfigError`] for missing, ill-typed, inconsistent or unsupported fields.
    pub fn from_json(json: &Value, origin: &str) -> Result<(Self, Side), ConfigError> {
        let (side, architecture) = Self::identify(json, origin)?;
        let empty = Map::new();
        let fields =
            Fields { object: json.as_object().unwrap_or(&empty), origin, family: architecture.name(), strict: false };
        if side == Side::Native {
            refuse_misspelt(&fields)?;
        }
        Ok((Self::from_fields(&fields, side, architecture)?, side))
    }

    pub(super) fn from_fields(
        fields: &Fields<'_>,
        side: Side,
        architecture: Architecture,
    ) -> Result<Self, ConfigError> {
        // Only native configurations choose parts: a class of transformers is what its family is.
        let has = |field: &&Field| side == Side::Native || field.is_hugging_face();
        let mut config = architecture.usual();
        for field in parts::fields().filter(has) {
            field.read(&Reading { fields, side }, &mut config)?;
        }
        if side == Side::Native {
            user_part::read_fields(fields, &mut config)?;
        }
        parts::layer::complete(&mut config);
        config.validate(fields.origin)?;
        Ok(config)
    }

    /// The fields both sides share, with both spellings of the element type and of the rotary parameters.
    fn shared_fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for field in parts::fields().filter(|field| field.is_hugging_face()) {
            fields.extend(field.value(self).map(|value| (field.name.to_owned(), value)));
            fields.extend(field.written_beside(self));
        }
        fields
    }

    /// The choices of parts that are not what the family takes for granted, or all of them.
    fn part_fields(&self, all: bool) -> Map<String, Value> {
        let usual = self.architecture.usual();
        let outermost_first = PARTS.iter().rev().flat_map(PartFields::fields);
        let own = outermost_first.filter(|field| !field.is_hugging_face());
        let differing = own.filter(|field| all || field.value(self) != field.value(&usual));
        let mut fields: Map<String, Value> =
            differing.filter_map(|field| Some((field.name.to_owned(), field.value(self)?))).collect();
        fields.extend(self.part_fields.clone());
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
        let mut doubled = Map::new();
        for field in parts::fields() {
            let beside = field.written_beside(self);
            if !beside.is_empty() {
                doubled.extend(field.value(self).map(|value| (field.name.to_owned(), value)));
                doubled.extend(beside);
            }
        }
        for (key, value) in doubled {
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
        if self.has_python() {
            fields.extend(python_classes());
        }
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
            let stated = DType::parse(native.get("dtype").and_then(Value::as_str).unwrap_or_default());
            if let (Ok(before), true) = (&mut before, Self::leaves_dtype_open(source))
                && stated == Some(self.dtype)
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

/// A key of a native config.json that is a field but for a letter or two: it was meant, and would be passed over. Keys of
/// other programs are none of this one's business.
fn refuse_misspelt(fields: &Fields<'_>) -> Result<(), ConfigError> {
    let names: Vec<&str> = parts::fields().map(|field| field.name).filter(|name| name.len() > 6).collect();
    let close = |key: &str| names.iter().any(|name| (1..=2).contains(&strsim::osa_distance(key, name)));
    match fields.object.keys().find(|key| parts::field(key).is_none() && close(key)) {
        Some(key) => Err(fields.unknown("field", key, &names, "correct or remove it")),
        None => Ok(()),
    }
}

/// The family in a native `model_type`, ours or Forgather's.
fn native_type(model_type: &str) -> Option<&str> {
    model_type.strip_prefix(NATIVE_PREFIX).or_else(|| model_type.strip_prefix(FORGATHER_PREFIX))
}

/// The classes of the Python sources beside a config.json, which transformers imports if `trust_remote_code` allows it.
fn python_classes() -> [(String, Value); 2] {
    let classes = json!({
        "AutoConfig": "configuration_chandlery.ChandleryConfig",
        "AutoModel": "modeling_chandlery.ChandleryModel",
        "AutoModelForCausalLM": "modeling_chandlery.ChandleryForCausalLM",
    });
    [("architectures".to_owned(), json!(["ChandleryForCausalLM"])), ("auto_map".to_owned(), classes)]
}

fn sorted(fields: Map<String, Value>) -> Value {
    let mut entries: Vec<_> = fields.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}
