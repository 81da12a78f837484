//! The configuration of a family as data: fields of Hugging Face's config.json and the native ones they become, both ways.

use serde_json::{Map, Value, json};

use super::expression::{evaluate, holds};
use super::marked::Marked;
use super::written::{Written, WrittenField};
use super::{FamilyError, expression};
use crate::spec::{Architecture, ConfigError, ModelConfig};

/// Fields that mean the same everywhere and need no entry.
const SHARED: &[&str] = &["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"];
/// The two spellings of the element type.
const DTYPES: &[&str] = &["dtype", "torch_dtype"];

/// The mapping, checked.
#[derive(Clone, Debug)]
pub(super) struct ConfigMap {
    family: String,
    model_type: String,
    class: Option<String>,
    hf_fields: Map<String, Value>,
    native_fields: Map<String, Value>,
    fields: Vec<WrittenField>,
    /// The whole family, for what no entry is to blame for.
    place: Marked,
}

impl ConfigMap {
    pub(super) fn new(written: &Written, model_type: &str, architecture: Architecture) -> Result<Self, FamilyError> {
        let expressions = written.fields_with_expressions();
        for expression in expressions {
            expression::check(&expression.text).map_err(|reason| FamilyError::Syntax {
                reason: format!("`{}` is not an expression: {reason}", expression.text),
                place: expression.at(),
                advice: "write arithmetic and comparisons of fields, such as `4 * n_embd`".to_owned(),
            })?;
        }
        let mut native_fields = written.native.clone();
        native_fields.remove("architecture");
        native_fields.insert("model_type".to_owned(), json!(format!("chandlery-{}", architecture.name())));
        Ok(Self {
            family: written.family.text.clone(),
            model_type: model_type.to_owned(),
            class: written.hugging_face.class.clone(),
            hf_fields: written.hugging_face.fields.clone(),
            native_fields,
            fields: written.config.clone(),
            place: written.family.clone(),
        })
    }

    fn fault(&self, what: String, origin: &str, at: &Marked, advice: &str) -> FamilyError {
        FamilyError::Config { what, origin: origin.to_owned(), place: at.at(), advice: advice.to_owned() }
    }

    /// Reads a Hugging Face configuration.
    pub(super) fn read(&self, json: &Value, origin: &str) -> Result<ModelConfig, FamilyError> {
        let empty = Map::new();
        let hf = json.as_object().unwrap_or(&empty);
        let mut native = Value::Object(self.native_fields.clone());
        for field in SHARED.iter().chain(DTYPES) {
            if let Some(value) = hf.get(*field).filter(|value| !DTYPES.contains(field) || *value != "auto") {
                native[*field] = value.clone();
            }
        }
        for field in &self.fields {
            if self.applies(field, hf, origin)? {
                let value = self.native_value(field, hf, origin)?;
                set(&mut native, &field.native.text, value);
            }
        }
        ModelConfig::from_json(&native, origin).map(|(config, _)| config).map_err(|error| self.in_their_words(error))
    }

    fn applies(&self, field: &WrittenField, hf: &Map<String, Value>, origin: &str) -> Result<bool, FamilyError> {
        let Some(when) = &field.when else { return Ok(true) };
        let what = |reason: String| format!("whether `{}` applies cannot be said: {reason}", field.hf.text);
        let advice = "correct the condition, or the configuration";
        holds(&when.text, hf).map_err(|reason| self.fault(what(reason), origin, when, advice))
    }

    /// What one entry makes of a Hugging Face configuration.
    fn native_value(&self, field: &WrittenField, hf: &Map<String, Value>, origin: &str) -> Result<Value, FamilyError> {
        let computed = |expression: &Marked| {
            let what = |reason: String| format!("`{}` cannot be computed: {reason}", field.native.text);
            let advice = "add the fields it needs, or correct the expression";
            evaluate(&expression.text, hf).map_err(|reason| self.fault(what(reason), origin, expression, advice))
        };
        if let Some(expression) = &field.to_native {
            return computed(expression);
        }
        let value = match (get(hf, &field.hf.text), &field.default) {
            (Some(value), _) if !value.is_null() => value.clone(),
            (_, Some(default)) => computed(default)?,
            _ => {
                let what = format!("`{}` is missing; it is the model's {}", field.hf.text, field.native.text);
                return Err(self.fault(what, origin, &field.hf, "add it, or give the entry a default"));
            }
        };
        let Some(values) = &field.values else { return Ok(value) };
        values.get(&word(&value)).cloned().ok_or_else(|| {
            let known = values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let what = format!("`{}` is {value}, which the family {} does not cover", field.hf.text, self.family);
            self.fault(what, origin, &field.hf, &format!("use one of: {known}"))
        })
    }

    /// Writes a Hugging Face configuration. `source` is the one that the model was converted from, if it was: what did
    /// not change stays as it was there.
    pub(super) fn write(
        &self,
        config: &ModelConfig,
        source: Option<&Value>,
        origin: &str,
    ) -> Result<Map<String, Value>, FamilyError> {
        let native = config.to_all_fields();
        let mut hf = match source {
            Some(Value::Object(source)) => source.clone(),
            _ => {
                let mut fields = self.hf_fields.clone();
                fields.insert("architectures".to_owned(), json!(self.class.iter().collect::<Vec<_>>()));
                fields.insert("model_type".to_owned(), json!(self.model_type));
                fields
            }
        };
        for field in SHARED {
            let value = native.get(*field).cloned().unwrap_or(Value::Null);
            if hf.get(*field).unwrap_or(&Value::Null) != &value {
                hf.insert((*field).to_owned(), value);
            }
        }
        let silent = ModelConfig::leaves_dtype_open(&Value::Object(hf.clone()));
        for field in DTYPES {
            if silent || hf.contains_key(*field) {
                hf.insert((*field).to_owned(), json!(config.dtype.torch_name()));
            }
        }
        for field in &self.fields {
            if !self.applies(field, &hf, origin)? {
                continue;
            }
            let wanted = get(&native, &field.native.text).cloned().unwrap_or(Value::Null);
            // A default may stay unsaid where it was.
            let said = source.is_some() || get(&hf, &field.hf.text).is_some();
            if said && self.native_value(field, &hf, origin).is_ok_and(|value| same(&value, &wanted)) {
                continue;
            }
            let value = self.hf_value(field, &native, wanted, origin)?;
            let mut whole = Value::Object(std::mem::take(&mut hf));
            set(&mut whole, &field.hf.text, value);
            hf = match whole {
                Value::Object(fields) => fields,
                _ => Map::new(),
            };
        }
        self.require_same(config, &Value::Object(hf.clone()), origin)?;
        Ok(hf)
    }

    fn hf_value(
        &self,
        field: &WrittenField,
        native: &Map<String, Value>,
        wanted: Value,
        origin: &str,
    ) -> Result<Value, FamilyError> {
        if let Some(expression) = &field.to_hf {
            let what = |reason: String| format!("`{}` cannot be computed: {reason}", field.hf.text);
            let advice = "correct the expression: it sees the native fields";
            return evaluate(&expression.text, native)
                .map_err(|reason| self.fault(what(reason), origin, expression, advice));
        }
        let Some(values) = &field.values else { return Ok(wanted) };
        // The first word that means it. Keys of YAML mappings are texts here: `true` and `1` are read as what they say.
        match values.iter().find(|(_, value)| same(value, &wanted)) {
            Some((word, _)) => Ok(serde_json::from_str(word).unwrap_or_else(|_| json!(word))),
            None => {
                let known = values.values().map(word).collect::<Vec<_>>().join(", ");
                let what =
                    format!("`{}` is {wanted}, which the family {} does not cover", field.native.text, self.family);
                Err(self.fault(what, origin, &field.native, &format!("use one of: {known}")))
            }
        }
    }

    /// The proof of the mapping: what was written must read as what was meant.
    fn require_same(&self, config: &ModelConfig, hf: &Value, origin: &str) -> Result<(), FamilyError> {
        let read = self.read(hf, origin)?;
        if read == *config {
            return Ok(());
        }
        let (meant, said) = (config.to_all_fields(), read.to_all_fields());
        let mut lost: Vec<String> = meant
            .iter()
            .filter(|(field, value)| said.get(*field) != Some(value) && !DTYPES.contains(&field.as_str()))
            .map(|(field, value)| match said.get(field) {
                Some(other) => format!("{field} {value} (it would be {other})"),
                None => format!("{field} {value}"),
            })
            .collect();
        lost.extend(said.keys().filter(|field| !meant.contains_key(*field)).map(|field| format!("no {field}")));
        let what = format!("a {} configuration cannot say that this model has {}", self.family, lost.join(", "));
        let advice =
            "add an entry under `config:` if the family has a field for it; else no folder of it can hold this model";
        Err(self.fault(what, origin, &self.place, advice))
    }

    /// A field at fault by the name that stands in the file.
    fn in_their_words(&self, mut error: ConfigError) -> FamilyError {
        let (ConfigError::Missing { field, .. } | ConfigError::Invalid { field, .. }) = &mut error else {
            return error.into();
        };
        if let Some(entry) = self.fields.iter().find(|entry| entry.native.text == *field && entry.hf.text != *field) {
            *field = format!("{} ({field})", entry.hf.text);
        }
        error.into()
    }
}

impl Written {
    /// Every expression, to be checked before it is needed.
    fn fields_with_expressions(&self) -> impl Iterator<Item = &Marked> {
        let fields = self.config.iter();
        let fields = fields.flat_map(|field| [&field.default, &field.to_native, &field.to_hf, &field.when]).flatten();
        fields.chain(self.checks.iter().map(|check| &check.that))
    }
}

/// The value at a path of keys joined by dots.
fn get<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let first = fields.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}

fn set(target: &mut Value, path: &str, value: Value) {
    let mut place = target;
    for key in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
}

/// Numbers are equal by value: 1 and 1.0.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

/// A value as the key of a YAML mapping writes it.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
