//! Built-in projects made of what families list under `sizes:`: a configuration for each size, in Hugging Face's fields.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::builtin::{Builtin, PROJECTS};
use crate::naming::Families;
use crate::spec::{ModelConfig, family_file, family_names};

/// The key of a size that is not a field: how many parameters such a model has. A test compares it.
const PARAMETERS: &str = "parameters";

/// Native fields that a project does not write: what its tokenizer says, and older names of others.
const UNWRITTEN: &[&str] = &[
    "model_type",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "rope_theta",
    "rope_scaling",
    "partial_rotary_factor",
    "dtype",
    "torch_dtype",
];

#[derive(Deserialize)]
struct Sizes {
    #[serde(default)]
    sizes: Map<String, Value>,
}

/// Returns a built-in project by name.
pub(super) fn built_in(name: &str) -> Option<&'static Builtin> {
    PROJECTS.iter().find(|project| project.name == name).or_else(|| of_family(name))
}

/// Returns the names of all built-in projects.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PROJECTS.iter().map(|project| project.name).chain(family_names().filter(|name| has_sizes(name)))
}

fn has_sizes(family: &str) -> bool {
    family_file(family).is_some_and(|yaml| yaml.contains("\nsizes:\n"))
}

/// Returns the project of a family with sizes. Reading one takes milliseconds, so it is done for those that are asked for.
fn of_family(name: &str) -> Option<&'static Builtin> {
    static MADE: LazyLock<Mutex<HashMap<String, Option<&'static Builtin>>>> = LazyLock::new(Mutex::default);
    if !has_sizes(name) {
        return None;
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    // A test makes every one.
    *made.entry(name.to_owned()).or_insert_with(|| make(name).map(|project| &*Box::leak(Box::new(project))))
}

fn make(family: &str) -> Option<Builtin> {
    let yaml = family_file(family)?;
    let sizes = serde_yaml::from_str::<Sizes>(yaml).ok()?.sizes;
    let shapes: Vec<(&String, Map<String, Value>)> =
        sizes.iter().map(|(name, fields)| Some((name, shape(family, fields)?))).collect::<Option<_>>()?;
    // What some size says, the others say as well: as models of the family usually have it.
    let usual = usual(family)?;
    let mut written: Map<String, Value> = Map::new();
    for field in shapes.iter().flat_map(|(_, fields)| fields.keys()) {
        written.entry(field.clone()).or_insert_with(|| usual.get(field).cloned().unwrap_or(Value::Null));
    }
    let first = sizes.keys().next()?;
    let mut files = vec![
        ("project.yaml".to_owned(), declaration(family, yaml, first)),
        ("model.yaml".to_owned(), definition(family, &written)),
    ];
    for (name, fields) in &shapes {
        let parameters = sizes[*name].get(PARAMETERS).map(|count| format!(": {count} parameters")).unwrap_or_default();
        let mut text = format!("{{#- The size {name}{parameters}. -#}}\n");
        let model = format!("{family}_{name}").to_lowercase();
        text.push_str(&format!("{{% set model_name = model_name | default({}) -%}}\n", json!(model)));
        for (field, value) in fields {
            text.push_str(&format!("{{% set {field} = {field} | default({}) -%}}\n", literal(value)));
        }
        text.push_str("{% include \"model.yaml\" %}\n");
        files.push((format!("configs/{name}.yaml"), text));
    }
    let leaked = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let files: Vec<(&'static str, &'static str)> =
        files.into_iter().map(|(file, text)| (leaked(file), leaked(text))).collect();
    Some(Builtin { name: leaked(family.to_owned()), files: Box::leak(files.into_boxed_slice()) })
}

/// Returns the native fields of a size that differ from those that models of the family usually have.
fn shape(family: &str, fields: &Value) -> Option<Map<String, Value>> {
    let mut config = fields.as_object()?.clone();
    config.shift_remove(PARAMETERS);
    config.insert("model_type".to_owned(), json!(family));
    let (read, _) = Families::built_in().ok()?.read_config(&Value::Object(config), family).ok()?;
    let usual = usual(family)?;
    let own = read.to_all_fields().into_iter();
    Some(own.filter(|(field, value)| !UNWRITTEN.contains(&field.as_str()) && usual.get(field) != Some(value)).collect())
}

fn usual(family: &str) -> Option<Map<String, Value>> {
    Some(ModelConfig::usual(crate::spec::Architecture::from_name(family)?).to_all_fields())
}

fn declaration(family: &str, yaml: &str, first: &str) -> String {
    let comment = yaml.lines().take_while(|line| line.starts_with('#')).map(|line| line.trim_start_matches(['#', ' ']));
    let description = comment.collect::<Vec<_>>().join(" ");
    format!("name: {family}\ndescription: {}\ndefault_config: {}\n", json!(description), json!(first))
}

fn definition(family: &str, fields: &Map<String, Value>) -> String {
    let mut text = format!("model_type: {family}\nmodel_name: {{{{ model_name | tojson }}}}\n");
    text.push_str("tokenizer: {{ tokenizer | default(\"2k\") | tojson }}\n");
    for (field, value) in fields {
        text.push_str(&format!("{field}: {{{{ {field} | default({}) | tojson }}}}\n", literal(value)));
    }
    text
}

/// A value as templates write it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{}: {}", json!(key), literal(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DType, ModelSpec};

    #[test]
    fn every_size_has_the_parameters_that_it_says() {
        for family in family_names().filter(|family| has_sizes(family)) {
            let sizes = serde_yaml::from_str::<Sizes>(family_file(family).unwrap()).unwrap().sizes;
            let project = crate::project::project(family).unwrap();
            assert!(sizes.len() >= 2, "{family}");
            for (name, fields) in &sizes {
                let config = project.config(name).and_then(|config| config.render());
                let config = config.unwrap_or_else(|error| panic!("{family}, {name}: {error}"));
                let found = ModelSpec::resolve(&config).table(DType::BF16).parameters();
                if let Some(parameters) = fields.get(PARAMETERS).and_then(Value::as_u64) {
                    assert_eq!(found, parameters, "{family}, {name}");
                }
            }
        }
    }
}
