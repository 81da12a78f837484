//! The native config.json, and Forgather's. That of Hugging Face's classes is read by `convert`, family by family.

use serde_json::{Map, Value, json};

use super::config::{ConfigError, ModelConfig};
use super::fields::Fields;
use super::parts::{self, Field, PARTS, PartFields, Reading};
use super::{Architecture, family_names, user_part};

/// The parameter names that a model folder uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Hugging Face: `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
    /// Ours: `causal_lm.layer_stack.layers.0.attention.query_linear.weight`.
    Native,
}

/// `model_type` of native folders: this prefix and the family's name.
pub(super) const NATIVE_PREFIX: &str = "chandlery-";
/// Prefix that Forgather's generated models carry.
const FORGATHER_PREFIX: &str = "forgather-dynamic-causal-";
/// Keys of a project's YAML that do not describe a part: the family, and what belongs to the folder.
const PROJECT_KEYS: &[&str] = &["model_type", "model_name", "tokenizer"];
/// The field that repeats the family in a native config.json.
const ARCHITECTURE_KEY: &str = "chandlery_arch";
/// Where a native config.json keeps the Hugging Face configuration it came from, so that nothing is lost on the way back.
const SOURCE_KEY: &str = "hf_source_config";

impl ModelConfig {
    /// Returns whose names the weights next to a config.json have: native ones if its `model_type` is ours or Forgather's, or if it
    /// says what it was converted from.
    pub fn naming_of(json: &Value) -> Naming {
        let native = json.get("model_type").and_then(Value::as_str).is_some_and(|name| native_type(name).is_some());
        let converted = json.get("hf_model_type").is_some_and(Value::is_string);
        if native || converted { Naming::Native } else { Naming::HuggingFace }
    }

    /// Returns whether a config.json leaves the element type to the weights: the field is missing, or `auto`.
    pub fn leaves_dtype_open(json: &Value) -> bool {
        let open = |field: &str| json.get(field).is_none_or(|dtype| dtype.is_null() || dtype == "auto");
        ["dtype", "torch_dtype"].into_iter().all(open)
    }

    /// Returns the family that a native config.json describes.
    ///
    /// # Errors
    /// [`ConfigError`] if `model_type` is missing, or names no family that this crate knows and not every field is said.
    pub fn identify(json: &Value, origin: &str) -> Result<Architecture, ConfigError> {
        let empty = Map::new();
        let object = json.as_object().unwrap_or(&empty);
        let fields = Fields { object, origin, family: "language", strict: false };
        let model_type = fields.text("model_type")?.ok_or_else(|| fields.missing("model_type"))?;
        // A native type says which parts there are; where it was converted from matters only for the way back.
        let name = match (native_type(model_type), fields.text("hf_model_type")?) {
            (Some(name), _) | (None, Some(name)) => Some(name),
            (None, None) => None,
        };
        let found = name.and_then(Architecture::from_forgather_name).or_else(|| {
            // A configuration of a family that is not built in has every field.
            let name = model_type
                .strip_prefix(NATIVE_PREFIX)
                .filter(|name| object.get(ARCHITECTURE_KEY) == Some(&json!(name)))?;
            let config = Self::from_fields(&fields, Architecture::nameless()).ok()?;
            let whole = config.part_fields(true).keys().all(|field| object.contains_key(field));
            whole.then(|| Architecture::define(name, &Map::new(), origin).ok()).flatten()
        });
        found.ok_or_else(|| {
            let known = family_names().collect::<Vec<_>>().join(", ");
            fields.unsupported("model_type", name.unwrap_or(model_type), &known)
        })
    }

    /// Reads what a project renders to: the fields of a native config.json, with the family as `model_type`. A key that is
    /// not a field is an error, and so is one without effect in rotary parameters or in an entry of `layers`.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and [`ConfigError::Unknown`] or [`ConfigError::NoEffect`].
    pub fn from_project(json: &Value, origin: &str) -> Result<Self, ConfigError> {
        let empty = Map::new();
        let object = json.as_object().unwrap_or(&empty);
        let fields = Fields { object, origin, family: "language", strict: true };
        let name = fields.text("model_type")?.ok_or_else(|| fields.missing("model_type"))?;
        let known = || family_names().collect::<Vec<_>>().join(", ");
        let architecture =
            Architecture::from_name(name).ok_or_else(|| fields.unsupported("model_type", name, &known()))?;
        let known = || parts::fields().flat_map(|field| std::iter::once(&field.name).chain(field.aliases_of()));
        let own = user_part::chosen_by(object);
        let own = own.iter().flat_map(|part| part.fields()).map(|field| &field.name);
        let known: Vec<&str> = PROJECT_KEYS.iter().chain(known()).chain(own).copied().collect();
        if let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) {
            let advice = "correct or remove it; `chandlery project fields` lists the fields";
            return Err(fields.unknown("field", unknown, &known, advice));
        }
        Self::whole(&fields, architecture)
    }

    /// Reads a whole model, as opposed to a run of its layers.
    fn whole(fields: &Fields<'_>, architecture: Architecture) -> Result<Self, ConfigError> {
        let config = Self::from_fields(fields, architecture)?;
        parts::shared_keys::fault_of_whole(&config, fields.origin).map_or(Ok(config), Err)
    }

    /// Of the fields that a project gave and this configuration was read from, those whose value it does not hold, each as
    /// the error that says so.
    pub fn dropped(&self, json: &Value, origin: &str) -> Vec<ConfigError> {
        let empty = Map::new();
        let object = json.as_object().unwrap_or(&empty);
        let fields = Fields { object, origin, family: self.architecture.name(), strict: true };
        parts::dropped(object, self).into_iter().map(|field| fields.lost(field)).collect()
    }

    /// Reads a native config.json. `origin` names the file in errors.
    ///
    /// # Errors
    /// [`ConfigError`] for missing, ill-typed, inconsistent or unsupported fields.
    pub fn from_json(json: &Value, origin: &str) -> Result<Self, ConfigError> {
        let architecture = Self::identify(json, origin)?;
        let empty = Map::new();
        let fields =
            Fields { object: json.as_object().unwrap_or(&empty), origin, family: architecture.name(), strict: false };
        refuse_misspelt(&fields)?;
        Self::whole(&fields, architecture)
    }

    pub(super) fn from_fields(fields: &Fields<'_>, architecture: Architecture) -> Result<Self, ConfigError> {
        let mut config = Self::usual(architecture);
        for field in parts::fields() {
            field.read(&Reading { fields }, &mut config)?;
        }
        user_part::read_fields(fields, &mut config)?;
        parts::layer::complete(&mut config);
        config.validate(fields.origin)?;
        Ok(config)
    }

    /// The defaults of a family: the fields that its description has.
    pub(super) fn with_defaults(
        architecture: Architecture,
        object: &Map<String, Value>,
        origin: &str,
    ) -> Result<Self, ConfigError> {
        let fields = Fields { object, origin, family: architecture.name(), strict: false };
        let names: Vec<&str> = parts::fields().map(|field| field.name).filter(|name| *name != "layers").collect();
        if let Some(unknown) = object.keys().find(|key| !names.contains(&key.as_str())) {
            let advice = "correct or remove it; `chandlery project fields` lists the fields";
            return Err(fields.unknown("field", unknown, &names, advice));
        }
        let mut config = Self::plain(architecture);
        for field in parts::fields().filter(|field| object.contains_key(field.name)) {
            field.read(&Reading { fields: &fields }, &mut config)?;
        }
        Ok(config)
    }

    /// Returns the fields that are written whatever their values, with both spellings of the element type and of the rotary
    /// parameters.
    fn shared_fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for field in parts::fields().filter(|field| field.is_always_written()) {
            fields.extend(field.value(self).map(|value| (field.name.to_owned(), value)));
            fields.extend(field.written_beside(self));
        }
        fields
    }

    /// Returns the choices of parts that are not what the family takes for granted or that exported sources read, or all
    /// of them.
    fn part_fields(&self, all: bool) -> Map<String, Value> {
        let usual = Self::usual(self.architecture);
        let outermost_first = PARTS.iter().rev().flat_map(PartFields::fields);
        let own = outermost_first.filter(|field| !field.is_always_written());
        let runs: Vec<&Self> = match self.layers.as_slice() {
            [] => vec![self],
            runs => runs.iter().map(|run| &*run.config).collect(),
        };
        let exported = |field: &Field| field.condition().is_some() && runs.iter().any(|own| field.is_exported(own));
        let differing = own.filter(|field| all || field.value(self) != field.value(&usual) || exported(field));
        let mut fields: Map<String, Value> =
            differing.filter_map(|field| Some((field.name.to_owned(), field.value(self)?))).collect();
        fields.extend(self.part_fields.clone());
        fields
    }

    /// Adds to a config.json of this configuration what it lacks of either spelling of the element type and of the rotary
    /// parameters: transformers 4 passes over those of version 5, and assumes others in silence.
    pub fn fill_legacy_keys(&self, json: &mut Value) {
        let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        // Other families' fields have other names.
        let native = model_type.starts_with(NATIVE_PREFIX);
        if model_type != self.architecture.name() && !native {
            return;
        }
        let Some(fields) = json.as_object_mut() else { return };
        let mut doubled = Map::new();
        // Where layers differ, what the model's own fields say is not what fields of Hugging Face would say.
        let differs = |field: &&parts::Field| {
            let other = |layer: &Self| field.has_effect(layer) && field.value(layer) != field.value(self);
            !native && self.layers.iter().any(|run| other(&run.config))
        };
        for field in parts::fields().filter(|field| !differs(field)) {
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

    /// Returns every field that describes the model to the native side, those included that its family takes for granted.
    pub fn to_all_fields(&self) -> Map<String, Value> {
        let mut fields = self.shared_fields();
        fields.extend(self.part_fields(true));
        fields.insert("model_type".to_owned(), json!(self.architecture.native_model_type()));
        fields
    }

    /// Returns a native config.json. `source` is what the model was converted from, kept whole for the way back: the
    /// family's `model_type` at Hugging Face and the configuration.
    pub fn to_native_json(&self, source: Option<(&str, &Value)>) -> Value {
        let mut fields = self.shared_fields();
        fields.extend(self.part_fields(!self.architecture.is_built_in()));
        fields.insert("model_type".to_owned(), json!(self.architecture.native_model_type()));
        fields.insert(ARCHITECTURE_KEY.to_owned(), json!(self.architecture.name()));
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

    /// Returns the Hugging Face configuration that a native config.json remembers.
    pub fn source_of(native: &Value) -> Option<&Value> {
        native.get(SOURCE_KEY).filter(|source| source.is_object())
    }
}

/// Returns a key of a native config.json that is almost a field: a typo that would be ignored. Keys of
/// other programs are left alone.
fn refuse_misspelt(fields: &Fields<'_>) -> Result<(), ConfigError> {
    let names: Vec<&str> = parts::fields().map(|field| field.name).filter(|name| name.len() > 6).collect();
    let close = |key: &str| names.iter().any(|name| (1..=2).contains(&strsim::osa_distance(key, name)));
    match fields.object.keys().find(|key| parts::field(key).is_none() && close(key)) {
        Some(key) => Err(fields.unknown("field", key, &names, "correct or remove it")),
        None => Ok(()),
    }
}

/// Returns the family in a native `model_type`, ours or Forgather's.
fn native_type(model_type: &str) -> Option<&str> {
    model_type.strip_prefix(NATIVE_PREFIX).or_else(|| model_type.strip_prefix(FORGATHER_PREFIX))
}

/// Returns the classes of the Python sources next to a config.json, which transformers imports if `trust_remote_code`
/// allows it.
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
