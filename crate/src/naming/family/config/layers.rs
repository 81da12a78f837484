//! Fields that say something of each layer: lists with a value for each, and rules that tell the layers apart.

use serde_json::{Map, Value, json};

use super::super::expression::fields_of;
use super::super::raw::{EachLayer, RawField};
use super::super::spanned::Spanned;
use super::{ConfigMap, FamilyError, same};
use crate::spec::ModelConfig;

/// More layers than any model has; a configuration of more is refused where it is checked.
const MOST_LAYERS: u64 = 10_000;

impl ConfigMap {
    fn layer_fields(&self) -> impl Iterator<Item = &RawField> {
        self.fields.iter().filter(|field| field.each_layer.is_some())
    }

    /// Adds the fields of each layer to a native configuration: as the model's own where all layers agree, otherwise as
    /// `layers`.
    pub(super) fn put_layers(
        &self,
        native: &mut Value,
        hf: &Map<String, Value>,
        origin: &str,
    ) -> Result<(), FamilyError> {
        let count = native["num_hidden_layers"].as_u64().filter(|count| (1..=MOST_LAYERS).contains(count));
        let Some(count) = count else { return Ok(()) };
        let mut layers = vec![Map::new(); count as usize];
        for field in self.layer_fields() {
            let Some(target) = field.target() else { continue };
            if self.applies(field, hf, origin)? {
                let values = self.layer_values(field, hf, layers.len(), origin)?;
                layers.iter_mut().zip(values).for_each(|(layer, value)| drop(layer.insert(target.text.clone(), value)));
            }
        }
        put_runs(native, &layers);
        Ok(())
    }

    /// Returns the native value of each layer by one entry.
    pub(super) fn layer_values(
        &self,
        field: &RawField,
        hf: &Map<String, Value>,
        count: usize,
        origin: &str,
    ) -> Result<Vec<Value>, FamilyError> {
        let stated = self.stated_values(field, hf, count, origin)?;
        let Some(expression) = &field.to_native else {
            let Some(known) = &field.values else { return Ok(stated) };
            let words = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let one = |value: &Value| {
                let found = known.get(&super::word(value)).cloned();
                found.ok_or_else(|| self.not_covered(&field.hf, value, origin, &words()))
            };
            return stated.iter().map(one).collect();
        };
        let mut seen = named_by(expression, hf);
        let lists = self.lists_before(field, expression, hf, count, origin)?;
        let mut values = Vec::with_capacity(count);
        for (layer, value) in stated.into_iter().enumerate() {
            for (name, list) in &lists {
                seen.insert((*name).to_owned(), list[layer].clone());
            }
            seen.insert("layer".to_owned(), json!(layer));
            seen.insert("value".to_owned(), value);
            values.push(self.computed(&field.hf.text, expression, &seen, origin)?);
        }
        Ok(values)
    }

    /// Returns an entry's value for each layer at Hugging Face. If a list is missing, its default is computed for each
    /// layer, from the values that earlier lists have for that layer.
    fn stated_values(
        &self,
        field: &RawField,
        hf: &Map<String, Value>,
        count: usize,
        origin: &str,
    ) -> Result<Vec<Value>, FamilyError> {
        let names = field.aliases.iter().map(String::as_str).chain([field.hf.text.as_str()]);
        let stated = names.into_iter().find_map(|name| hf.get(name).filter(|value| !value.is_null()));
        match (field.each_layer, stated) {
            (Some(EachLayer::List), Some(Value::Array(list))) if list.len() == count => return Ok(list.clone()),
            (Some(EachLayer::List), Some(other)) => {
                let found = other.as_array().map_or_else(|| other.to_string(), |list| format!("{} values", list.len()));
                let what = format!("`{}` is {found}, expected a list of {count}", field.hf.text);
                return Err(self.fault(what, origin, &field.hf, "correct the field: it has a value for each layer"));
            }
            (_, Some(value)) => return Ok(vec![value.clone(); count]),
            (_, None) => {}
        }
        let default = field.default.as_ref().ok_or_else(|| self.missing(field, origin))?;
        let mut seen = named_by(default, hf);
        let lists = self.lists_before(field, default, hf, count, origin)?;
        let mut values = Vec::with_capacity(count);
        for layer in 0..count {
            seen.insert("layer".to_owned(), json!(layer));
            for (name, list) in &lists {
                seen.insert((*name).to_owned(), list[layer].clone());
            }
            values.push(self.computed(&field.hf.text, default, &seen, origin)?);
        }
        Ok(values)
    }

    /// Returns what the lists that an expression names, and that come before its entry, say of each layer.
    fn lists_before(
        &self,
        field: &RawField,
        expression: &Spanned,
        hf: &Map<String, Value>,
        count: usize,
        origin: &str,
    ) -> Result<Vec<(&str, Vec<Value>)>, FamilyError> {
        let named = fields_of(&expression.text);
        let before = self.layer_fields().take_while(|other| other.hf != field.hf);
        let before = before.filter(|other| other.each_layer == Some(EachLayer::List) && named.contains(&other.hf.text));
        before.map(|other| Ok((other.hf.text.as_str(), self.stated_values(other, hf, count, origin)?))).collect()
    }

    /// Returns the native fields of each layer that entries decide.
    pub(super) fn layers_of(&self, config: &ModelConfig) -> Vec<Map<String, Value>> {
        let named: Vec<&str> = self.layer_fields().filter_map(|field| Some(field.target()?.text.as_str())).collect();
        if named.is_empty() {
            return Vec::new();
        }
        let of = |config: &ModelConfig| -> Map<String, Value> {
            let all = config.to_all_fields();
            let value = |name: &&str| ((*name).to_owned(), all.get(*name).cloned().unwrap_or(Value::Null));
            named.iter().map(value).collect()
        };
        match config.layers.as_slice() {
            [] => vec![of(config); config.num_hidden_layers],
            runs => runs.iter().flat_map(|run| vec![of(&run.config); run.count]).collect(),
        }
    }

    /// Returns the same model with its layers grouped as reading a configuration would group them, if layers differ
    /// only in fields that entries decide.
    pub(in crate::naming::family) fn canonical(&self, config: &ModelConfig) -> ModelConfig {
        let mut config = config.clone().of_family(self.architecture);
        // A Hugging Face configuration does not say how a new model is initialized, and an existing model does not need
        // it.
        let usual = ModelConfig::usual(self.architecture);
        let forget = |one: &mut ModelConfig| {
            one.initialization.clone_from(&usual.initialization);
            one.initializer_range = usual.initializer_range;
        };
        forget(&mut config);
        config.layers.iter_mut().for_each(|run| forget(&mut run.config));
        let layers = self.layers_of(&config);
        let decided = |field: &String| layers.first().is_some_and(|layer| layer.contains_key(field));
        if config.layers.is_empty() || !config.layers.iter().all(|run| run.set.keys().all(decided)) {
            return config;
        }
        let mut native = Value::Object(config.to_all_fields());
        if let Some(fields) = native.as_object_mut() {
            fields.shift_remove("layers");
        }
        put_runs(&mut native, &layers);
        ModelConfig::from_json(&native, "").unwrap_or(config)
    }

    /// Finds by trial the value at Hugging Face that `to_native` turns into `wanted`: a number up to the number of
    /// layers, a truth value, or a list of the numbers of layers that are alike.
    pub(super) fn tried(&self, field: &RawField, hf: &Map<String, Value>, wanted: &[Value]) -> Option<Value> {
        let numbers = (0..=wanted.len()).map(|number| json!(number));
        let stated = hf.get(&field.hf.text).cloned();
        let alike = wanted.iter().map(|value| {
            let places = wanted.iter().enumerate().filter(|(_, other)| same(other, value)).map(|(layer, _)| layer);
            json!(places.collect::<Vec<usize>>())
        });
        let candidates = stated.into_iter().chain(numbers).chain([json!(true), json!(false), Value::Null]);
        let mut candidates = candidates.chain(alike);
        candidates.find(|candidate| {
            let mut hf = hf.clone();
            hf.insert(field.hf.text.clone(), candidate.clone());
            let found = self.layer_values(field, &hf, wanted.len(), "");
            found.is_ok_and(|found| found.iter().zip(wanted).all(|(a, b)| same(a, b)))
        })
    }
}

/// Returns the fields that an expression names.
fn named_by(expression: &Spanned, fields: &Map<String, Value>) -> Map<String, Value> {
    let named = fields_of(&expression.text);
    let of = |name: &String| Some((name.clone(), fields.get(name)?.clone()));
    named.iter().filter_map(of).collect()
}

/// Puts the values of most layers into the model's own fields, and runs of layers with other values into `layers`.
fn put_runs(native: &mut Value, layers: &[Map<String, Value>]) {
    let mut kinds: Vec<(&Map<String, Value>, usize)> = Vec::new();
    for layer in layers {
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, count)) => *count += 1,
            None => kinds.push((layer, 1)),
        }
    }
    // Of several equally frequent values, the first.
    let Some(usual) = kinds.iter().rev().max_by_key(|(_, count)| *count).map(|(kind, _)| (*kind).clone()) else {
        return;
    };
    let Some(fields) = native.as_object_mut() else { return };
    fields.extend(usual.clone());
    if kinds.len() < 2 {
        return;
    }
    let mut runs: Vec<Value> = Vec::new();
    for same in layers.chunk_by(|a, b| a == b) {
        let own = same[0].iter().filter(|(field, value)| usual.get(*field) != Some(value));
        let mut run: Map<String, Value> = own.map(|(field, value)| (field.clone(), value.clone())).collect();
        run.insert("count".to_owned(), json!(same.len()));
        runs.push(Value::Object(run));
    }
    fields.insert("layers".to_owned(), Value::Array(runs));
}
