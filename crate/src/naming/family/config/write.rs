//! Makes a Hugging Face configuration of a native one, and checks that it means the same.

use serde_json::{Map, Value, json};

use super::super::expression::{evaluate, literal};
use super::super::raw::{EachLayer, RawField};
use super::{ConfigMap, DTYPES, FamilyError, SHARED, get, object, same, says_something, set, word};
use crate::spec::ModelConfig;

impl ConfigMap {
    /// Writes a Hugging Face configuration. `source` is the configuration that the model was converted from, if there
    /// is one, with the model that it describes: fields that did not change keep its values.
    pub(in crate::naming::family) fn write(
        &self,
        config: &ModelConfig,
        source: Option<(&Value, &ModelConfig)>,
        origin: &str,
    ) -> Result<Map<String, Value>, FamilyError> {
        let config = &self.canonical(config);
        let (native, before) = (self.seen_by_expressions(config), source.map(|(_, old)| self.seen_by_expressions(old)));
        let mut hf = match source {
            Some((Value::Object(source), _)) => source.clone(),
            _ => {
                let mut fields = self.hf_fields.clone();
                fields.insert("architectures".to_owned(), json!(self.class.iter().collect::<Vec<_>>()));
                fields.insert("model_type".to_owned(), json!(self.model_type));
                fields
            }
        };
        let old = |field: &str| before.as_ref().map(|before| before.get(field).unwrap_or(&Value::Null));
        for field in SHARED.iter().filter(|field| !self.lists(field)) {
            let value = native.get(*field).unwrap_or(&Value::Null);
            if old(field) != Some(value) && (native.contains_key(*field) || hf.contains_key(*field)) {
                hf.insert((*field).to_owned(), value.clone());
            }
        }
        if source.is_none_or(|(_, old)| old.dtype != config.dtype) {
            let silent = ModelConfig::leaves_dtype_open(&Value::Object(hf.clone()));
            for field in DTYPES {
                if silent || hf.contains_key(*field) {
                    hf.insert((*field).to_owned(), json!(config.dtype.torch_name()));
                }
            }
        }
        for field in self.fields.iter().filter(|field| !field.read_only) {
            if (field.target().is_none() && field.to_hf.is_none()) || !self.applies(field, &self.known(&hf), origin)? {
                continue;
            }
            if field.each_layer.is_some() {
                self.write_layers(&mut hf, field, config, &native, origin)?;
                continue;
            }
            let wanted = self.hf_value(field, &native, origin);
            let unchanged = before.as_ref().and_then(|before| self.hf_value(field, before, origin).ok());
            if unchanged.is_some_and(|old| wanted.as_ref().is_ok_and(|wanted| same(&old, wanted))) {
                continue;
            }
            let wanted = wanted?;
            let mut whole = Value::Object(hf);
            for alias in &field.aliases {
                // A non-empty alias would take precedence over the field.
                if whole.get(alias).is_some_and(says_something) {
                    let own = native.get(alias.as_str()).unwrap_or(&wanted).clone();
                    set(&mut whole, alias, own);
                }
            }
            set(&mut whole, &field.hf.text, wanted);
            hf = object(whole);
        }
        self.require_same(config, &Value::Object(hf.clone()), origin)?;
        hf.sort_keys();
        Ok(hf)
    }

    /// Returns the fields that expressions for Hugging Face's side see: every native field, and those of each layer. A field that
    /// has an effect in some layers alone is that of the first of them.
    fn seen_by_expressions(&self, config: &ModelConfig) -> Map<String, Value> {
        let mut native = config.to_all_fields();
        for (field, value) in config.layers.iter().flat_map(|run| run.config.to_all_fields()) {
            native.entry(field).or_insert(value);
        }
        let layers = self.layers_of(config);
        if !layers.is_empty() {
            native.insert("layers".to_owned(), json!(layers));
        }
        native
    }

    /// Returns the fields of an incomplete configuration, completed with what is known.
    fn known(&self, stated: &Map<String, Value>) -> Map<String, Value> {
        let mut hf = stated.clone();
        for field in self.fields.iter().filter(|field| field.each_layer != Some(EachLayer::List)) {
            if let Ok(Some(value)) = self.value_of(field, stated, &hf, "") {
                let mut whole = Value::Object(hf);
                set(&mut whole, &field.hf.text, value);
                hf = object(whole);
            }
        }
        hf
    }

    fn hf_value(&self, field: &RawField, native: &Map<String, Value>, origin: &str) -> Result<Value, FamilyError> {
        if let Some(expression) = &field.to_hf {
            let what = |reason: String| format!("`{}` cannot be computed: {reason}", field.hf.text);
            let advice = "correct the expression: it sees the native fields";
            let value = evaluate(&expression.text, native)
                .map_err(|reason| self.fault(what(reason), origin, expression, advice))?;
            // Some classes refuse 1 where they have 1.0.
            let float = field.default.as_ref().and_then(|default| literal(&default.text)).is_some_and(|it| it.is_f64());
            return Ok(value.as_u64().filter(|_| float).map_or(value, |whole| json!(whole as f64)));
        }
        let target = field.target().unwrap_or(&field.hf);
        let wanted = get(native, &target.text).cloned().unwrap_or(Value::Null);
        let Some(values) = &field.values else { return Ok(wanted) };
        // Takes the first key that has this value. Keys of YAML mappings are texts here: `true` and `1` are parsed.
        match values.iter().find(|(_, value)| same(value, &wanted)) {
            Some((word, _)) => Ok(serde_json::from_str(word).unwrap_or_else(|_| json!(word))),
            None => {
                let known = values.values().map(word).collect::<Vec<_>>().join(", ");
                Err(self.not_covered(target, &wanted, origin, &known))
            }
        }
    }

    /// Writes a field that differs by layer, unless the existing value, or its absence, means the same.
    fn write_layers(
        &self,
        hf: &mut Map<String, Value>,
        field: &RawField,
        config: &ModelConfig,
        native: &Map<String, Value>,
        origin: &str,
    ) -> Result<(), FamilyError> {
        let Some(target) = field.target() else { return Ok(()) };
        let layers = self.layers_of(config);
        let wanted: Vec<Value> = layers.iter().map(|layer| layer[&target.text].clone()).collect();
        let known = self.known(hf);
        let agrees = |found: &[Value]| found.iter().zip(&wanted).all(|(a, b)| same(a, b));
        if self.layer_values(field, &known, wanted.len(), origin).is_ok_and(|found| agrees(&found)) {
            return Ok(());
        }
        let value = match (&field.to_hf, field.each_layer) {
            (Some(expression), Some(EachLayer::List)) => {
                let mut seen = native.clone();
                let mut list = Vec::new();
                for (index, layer) in layers.iter().enumerate() {
                    seen.extend(layer.clone());
                    seen.insert("layer".to_owned(), json!(index));
                    list.push(self.computed(&field.hf.text, expression, &seen, origin)?);
                }
                Value::Array(list)
            }
            (None, Some(EachLayer::List)) => {
                let one = |value: &Value| match &field.values {
                    None => Ok(value.clone()),
                    Some(values) => match values.iter().find(|(_, native)| same(native, value)) {
                        Some((word, _)) => Ok(serde_json::from_str(word).unwrap_or_else(|_| json!(word))),
                        None => {
                            let known = values.values().map(word).collect::<Vec<_>>().join(", ");
                            Err(self.not_covered(target, value, origin, &known))
                        }
                    },
                };
                Value::Array(wanted.iter().map(one).collect::<Result<_, _>>()?)
            }
            (Some(expression), _) => self.computed(&field.hf.text, expression, native, origin)?,
            (None, _) => self.tried(field, &known, &wanted).ok_or_else(|| {
                let what = format!("no `{}` gives this model's layers their {}", field.hf.text, target.text);
                self.fault(what, origin, &field.hf, "convert to a family whose configurations list the layers")
            })?,
        };
        hf.insert(field.hf.text.clone(), value);
        Ok(())
    }

    /// Checks the mapping: the written configuration must read back as the intended model.
    fn require_same(&self, config: &ModelConfig, hf: &Value, origin: &str) -> Result<(), FamilyError> {
        let mut read = self.read(hf, origin)?;
        // Native fields that are not written do not exist in a Hugging Face configuration.
        read.quantization.clone_from(&config.quantization);
        if ModelConfig::leaves_dtype_open(hf) {
            read.dtype = config.dtype;
        }
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
        let advice = match self.architecture.is_built_in() && self.architecture.name() == self.family {
            true => "use it as it is: its folder holds Python sources that transformers loads with trust_remote_code",
            false => {
                "add an entry under `config:` if the family has a field for it; else no folder of it can hold this model"
            }
        };
        Err(self.fault(what, origin, &self.place, advice))
    }
}
