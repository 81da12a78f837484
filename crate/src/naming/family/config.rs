//! The configuration of a family as data: fields of Hugging Face's config.json and the native ones they become, both
//! ways.

mod layers;
mod write;

use serde_json::{Map, Value, json};

use super::expression::{evaluate, holds};
use super::raw::{EachLayer, RawCheck, RawFamily, RawField};
use super::spanned::Spanned;
use super::{FamilyError, expression};
use crate::spec::{Architecture, ConfigError, ModelConfig};

/// Fields that mean the same everywhere and need no entry.
const SHARED: &[&str] = &["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "quantization_config"];
/// The two names of the element type.
const DTYPES: &[&str] = &["dtype", "torch_dtype"];

/// The mapping, checked.
#[derive(Clone, Debug)]
pub(super) struct ConfigMap {
    family: String,
    model_type: String,
    class: Option<String>,
    architecture: Architecture,
    hf_fields: Map<String, Value>,
    native_fields: Map<String, Value>,
    fields: Vec<RawField>,
    checks: Vec<RawCheck>,
    /// The place of the whole family, for faults that no single entry causes.
    place: Spanned,
}

impl ConfigMap {
    pub(super) fn new(written: &RawFamily, architecture: Architecture) -> Result<Self, FamilyError> {
        let expressions = written.fields_with_expressions();
        for expression in expressions {
            expression::check(&expression.text).map_err(|reason| FamilyError::Syntax {
                reason: format!("`{}` is not an expression: {reason}", expression.text),
                place: expression.at(),
                advice: "write arithmetic and comparisons of fields, such as `4 * n_embd`".to_owned(),
            })?;
        }
        let mut native_fields = written.native.clone();
        // Entries override the defaults of the architecture.
        native_fields
            .retain(|field, value| field != "architecture" && architecture.shared_fields().get(field) != Some(value));
        native_fields.insert("model_type".to_owned(), json!(architecture.native_model_type()));
        Ok(Self {
            family: written.family.text.clone(),
            model_type: written.model_type().to_owned(),
            class: written.hugging_face.class.clone(),
            architecture,
            hf_fields: written.hugging_face.fields.clone(),
            native_fields,
            fields: written.config.clone(),
            checks: written.checks.clone(),
            place: written.family.clone(),
        })
    }

    /// The entries of the family's file.
    pub(super) fn fields(&self) -> impl Iterator<Item = &RawField> {
        self.fields.iter()
    }

    fn fault(&self, what: String, origin: &str, at: &Spanned, advice: &str) -> FamilyError {
        FamilyError::Config { what, origin: origin.to_owned(), place: at.at(), advice: advice.to_owned() }
    }

    /// Returns whether an entry says what becomes of a field.
    fn lists(&self, field: &str) -> bool {
        self.fields.iter().any(|entry| entry.hf.text == field)
    }

    /// Reads a Hugging Face configuration.
    pub(super) fn read(&self, json: &Value, origin: &str) -> Result<ModelConfig, FamilyError> {
        let empty = Map::new();
        let stated = json.as_object().unwrap_or(&empty);
        let hf = self.filled(stated, origin)?;
        self.check(&hf, origin)?;
        let mut native = Value::Object(self.native_fields.clone());
        for field in SHARED.iter().chain(DTYPES).filter(|field| !self.lists(field)) {
            if let Some(value) = stated.get(*field).filter(|value| !DTYPES.contains(field) || *value != "auto") {
                native[*field] = value.clone();
            }
        }
        for field in self.fields.iter().filter(|field| field.each_layer.is_none()) {
            if field.target().is_some() && self.applies(field, &hf, origin)? {
                let value = self.native_value(field, &hf, origin)?;
                field.native.0.iter().for_each(|target| set(&mut native, &target.text, value.clone()));
            }
        }
        self.put_layers(&mut native, &hf, origin)?;
        ModelConfig::from_json(&native, origin).map_err(|error| self.with_hf_field_names(error))
    }

    /// Returns the fields of a configuration with what the class assumes for those that are left out or null.
    fn filled(&self, stated: &Map<String, Value>, origin: &str) -> Result<Map<String, Value>, FamilyError> {
        let mut hf = stated.clone();
        for field in self.fields.iter().filter(|field| field.each_layer != Some(EachLayer::List)) {
            if let Some(value) = self.value_of(field, stated, &hf, origin)? {
                let mut whole = Value::Object(hf);
                set(&mut whole, &field.hf.text, value);
                hf = object(whole);
            }
        }
        Ok(hf)
    }

    /// Returns a field's value: an alias's, its own, or what the class assumes; `None` if there is none of these.
    fn value_of(
        &self,
        field: &RawField,
        stated: &Map<String, Value>,
        hf: &Map<String, Value>,
        origin: &str,
    ) -> Result<Option<Value>, FamilyError> {
        let own = get(stated, &field.hf.text);
        let aliased = field.aliases.iter().filter_map(|alias| get(stated, alias)).find(|value| says_something(value));
        if let Some(value) = aliased.or(own.filter(|value| !value.is_null())) {
            return Ok(Some(value.clone()));
        }
        if field.required {
            return Err(self.missing(field, origin));
        }
        let assumed = field.if_null.as_ref().filter(|_| own.is_some()).or(field.default.as_ref());
        // A field of a missing object is missing.
        let assumed = assumed.filter(|_| !field.hf.text.contains('.'));
        assumed.map(|expression| self.computed(&field.hf.text, expression, hf, origin)).transpose()
    }

    fn missing(&self, field: &RawField, origin: &str) -> FamilyError {
        let native = field.target().map_or("field", |native| native.text.as_str());
        let what = format!("`{}` is missing; it is the model's {native}", field.hf.text);
        self.fault(what, origin, &field.hf, "add it, or give the entry a default")
    }

    fn computed(
        &self,
        what: &str,
        expression: &Spanned,
        fields: &Map<String, Value>,
        origin: &str,
    ) -> Result<Value, FamilyError> {
        evaluate(&expression.text, fields).map_err(|reason| {
            let advice = "add the fields it needs, or correct the expression";
            self.fault(format!("`{what}` cannot be computed: {reason}"), origin, expression, advice)
        })
    }

    /// Rejects configurations that the family does not cover.
    fn check(&self, hf: &Map<String, Value>, origin: &str) -> Result<(), FamilyError> {
        for check in &self.checks {
            let holds = holds(&check.that.text, hf).map_err(|reason| {
                let what = format!("`{}` cannot be checked: {reason}", check.that.text);
                self.fault(what, origin, &check.that, "correct the check, or the configuration")
            })?;
            if !holds {
                let what = format!("this {} configuration is not covered: {}", self.family, check.otherwise);
                let advice = format!("use a model for which `{}` holds", check.that.text);
                return Err(self.fault(what, origin, &check.that, &advice));
            }
        }
        for field in self.fields.iter().filter(|field| !field.must.is_empty()) {
            let value = get(hf, &field.hf.text).unwrap_or(&Value::Null);
            if !field.must.iter().any(|allowed| same(allowed, value)) {
                let allowed = field.must.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
                return Err(self.not_covered(&field.hf, value, origin, &allowed));
            }
        }
        Ok(())
    }

    fn not_covered(&self, field: &Spanned, value: &Value, origin: &str, allowed: &str) -> FamilyError {
        let what = format!("`{}` is {value}, which the family {} does not cover", field.text, self.family);
        self.fault(what, origin, field, &format!("use one of: {allowed}"))
    }

    fn applies(&self, field: &RawField, hf: &Map<String, Value>, origin: &str) -> Result<bool, FamilyError> {
        let Some(when) = &field.when else { return Ok(true) };
        let what = |reason: String| format!("cannot decide whether `{}` applies: {reason}", field.hf.text);
        let advice = "correct the condition, or the configuration";
        holds(&when.text, hf).map_err(|reason| self.fault(what(reason), origin, when, advice))
    }

    /// Returns what one entry makes of a Hugging Face configuration whose fields are filled in.
    fn native_value(&self, field: &RawField, hf: &Map<String, Value>, origin: &str) -> Result<Value, FamilyError> {
        if let Some(expression) = &field.to_native {
            let native = field.target().unwrap_or(&field.hf);
            return self.computed(&native.text, expression, hf, origin);
        }
        let value = match (get(hf, &field.hf.text), &field.default) {
            (Some(value), default) if !value.is_null() || default.is_some() => value.clone(),
            (None, Some(default)) => self.computed(&field.hf.text, default, hf, origin)?,
            _ => return Err(self.missing(field, origin)),
        };
        let Some(values) = field.values.as_ref().filter(|_| !value.is_null()) else { return Ok(value) };
        values.get(&word(&value)).cloned().ok_or_else(|| {
            let known = values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.not_covered(&field.hf, &value, origin, &known)
        })
    }

    /// Returns a field at fault by the name that stands in the file.
    fn with_hf_field_names(&self, mut error: ConfigError) -> FamilyError {
        let (ConfigError::Missing { field, .. } | ConfigError::Invalid { field, .. }) = &mut error else {
            return error.into();
        };
        let renamed =
            |entry: &&RawField| entry.target().is_some_and(|native| native.text == *field && entry.hf.text != *field);
        if let Some(entry) = self.fields.iter().filter(|entry| entry.each_layer.is_none()).find(renamed) {
            *field = format!("{} ({field})", entry.hf.text);
        }
        error.into()
    }
}

impl RawFamily {
    /// Returns every expression, to be checked before it is needed.
    fn fields_with_expressions(&self) -> impl Iterator<Item = &Spanned> {
        let fields = self.config.iter();
        let fields = fields
            .flat_map(|field| [&field.default, &field.if_null, &field.to_native, &field.to_hf, &field.when])
            .flatten();
        fields.chain(self.checks.iter().map(|check| &check.that))
    }
}

/// Returns the value at a path of keys joined by dots.
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

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Returns false for null and for an empty object, which transformers also takes as missing.
fn says_something(value: &Value) -> bool {
    !value.is_null() && value.as_object().is_none_or(|fields| !fields.is_empty())
}

/// Numbers are equal by value: 1 and 1.0.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

/// Returns a value as the key of a YAML mapping writes it.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
