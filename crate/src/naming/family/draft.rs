//! A first description of a family, to start from: what its files say, and which known family is nearest.

use std::collections::HashSet;
use std::fmt::Write;

use serde_json::Value;

use super::asked::asked_parts;
use super::fields::is_harmless;
use super::{Families, Family, FieldTreatment};
use crate::spec::{ModelConfig, ModelSpec, Naming, TensorTable};

/// Returns the YAML of a family for a model that no family describes: `json` is its config.json, `table` its tensors.
///
/// The file is valid: it extends the known family whose rules name most of the tensors, keeps the other names as they
/// are, and holds for the values of this config.json alone where nothing says what a field means.
pub(crate) fn draft_family(json: &Value, table: &TensorTable, families: &Families) -> String {
    let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or("unnamed");
    let nearest = nearest(json, table, families);
    let mut text = format!(
        "# A first description of {model_type}, made from its config.json and the names of its tensors. Check every line;\n\
         # notebooks/converters/gpt2.yaml explains all keys. It can be used at once:\n\
         #\n\
         #     chandlery convert SRC DST --layout-only --converter-path THIS_FILE    names and bits alone\n\
         #     chandlery convert SRC DST --converter-path THIS_FILE                  says what the model still needs\n"
    );
    let parts = asked_parts(json, families);
    if !parts.is_empty() {
        text.push_str("#\n# Parts that config.json asks for:\n");
    }
    for part in &parts {
        let state = if part.family.is_some() { "exists" } else { "does not exist yet" };
        let _ = writeln!(text, "#   {state}: {}", part.in_words());
    }
    let _ = writeln!(text, "family: {}", quoted(model_type));
    let family = nearest.as_ref().map(|candidate| candidate.family);
    if let Some(family) = family {
        text.push_str("# Of all known families, this one's rules name the most tensors.\n");
        let _ = writeln!(text, "extends: {}", family.name());
    }
    if let Some(class) = json.pointer("/architectures/0").and_then(Value::as_str) {
        let _ = writeln!(text, "hugging_face: {{ class: {} }}", quoted(class));
    }
    text.push_str(&fields(json, family, families));
    text.push_str(&rules(table, nearest.as_ref()));
    let same = family.map_or("FAMILY", Family::name);
    let _ = write!(
        text,
        "# Until a `reference:` says how to judge it, bits are proven and logits are not judged. If the model computes exactly as\n\
         # another family does:\n\
         # same_reference_as: {same}\n"
    );
    text
}

/// A family, and the modules of a small model of it, whose layers are called 0.
struct Candidate<'a> {
    family: &'a Family,
    modules: HashSet<String>,
}

impl<'a> Candidate<'a> {
    fn new(family: &'a Family) -> Self {
        let small = ModelConfig {
            vocab_size: 8,
            hidden_size: 8,
            intermediate_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            head_dim: 4,
            max_position_embeddings: 8,
            ..ModelConfig::usual(family.architecture())
        };
        let table = ModelSpec::resolve(&small).table(small.dtype);
        Self { family, modules: table.rows().iter().map(|row| module(row.path.as_str())).collect() }
    }

    /// Whether the rules make parameters of the model of a tensor.
    fn names(&self, name: &str) -> bool {
        let renamed = self.family.rules_to(Naming::Native).rename(&name.into());
        renamed.is_some_and(|renamed| renamed.to.iter().all(|native| self.modules.contains(&module(native.as_str()))))
    }
}

/// Returns the module of a parameter, with 0 for every number.
fn module(name: &str) -> String {
    let module = [".weight", ".bias"].iter().find_map(|word| name.strip_suffix(word)).unwrap_or(name);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    module.split('.').map(|part| if number(part) { "0" } else { part }).collect::<Vec<_>>().join(".")
}

/// Returns the family whose rules name the most tensors; of several, the one that knows most fields of config.json.
fn nearest<'a>(json: &Value, table: &TensorTable, families: &'a Families) -> Option<Candidate<'a>> {
    let candidates = families.of_type("llama").into_iter().chain(families.iter()).map(Candidate::new);
    let scored = candidates.map(|candidate| {
        let named = table.rows().iter().filter(|row| candidate.names(row.path.as_str())).count();
        ((named, usize::MAX - candidate.family.unread_fields(json).len()), candidate)
    });
    let best = scored.fold(None, |best: Option<((usize, usize), Candidate<'a>)>, (score, candidate)| match best {
        Some((most, _)) if most >= score => best,
        _ => Some((score, candidate)),
    });
    best.filter(|((named, _), _)| 2 * named >= table.len().max(1)).map(|(_, candidate)| candidate)
}

/// Returns the fields that the nearest family does not know, as checks, or all of them if there is none.
fn fields(json: &Value, nearest: Option<&Family>, families: &Families) -> String {
    let known = nearest.map(Family::fields).unwrap_or_default();
    let listed =
        |name: &str| known.iter().any(|field| field.name == name || field.aliases.iter().any(|alias| alias == name));
    let others = json.as_object().into_iter().flatten();
    let others = others.filter(|(name, value)| {
        let everywhere = is_harmless(name, value) || ["auto_map", "quantization_config"].contains(&name.as_str());
        // Every family needs a width, so that one without a parent says it.
        !everywhere && !listed(name)
    });
    let (mut config, mut checks, mut open) = (String::new(), String::new(), String::new());
    for (name, value) in others {
        let elsewhere = families.iter().find_map(|family| {
            family.fields().into_iter().find(|field| {
                field.name == *name && field.treatment == FieldTreatment::Mapped && field.native.len() == 1
            })
        });
        match elsewhere.filter(|_| nearest.is_none()) {
            Some(field) => {
                let _ = writeln!(config, "  - {{ hf: {}, native: {} }}", quoted(name), field.native[0]);
            }
            None if is_plain(value) => {
                let that = format!("{name} == {value}");
                let otherwise = format!("nothing says what another {name} means");
                let _ = writeln!(checks, "  - {{ that: {}, else: {} }}", quoted(&that), quoted(&otherwise));
            }
            None => {
                let _ = writeln!(open, "#   {name}: {value}");
            }
        }
    }
    let mut text = String::new();
    if !config.is_empty() {
        let _ = write!(text, "# Fields that other families have.\nconfig:\n{config}");
    }
    if !checks.is_empty() {
        let _ = write!(
            text,
            "# Fields that nothing here reads: say under `config:` what they mean, list them under `harmless:` if they change\n\
             # nothing, or leave them here; then the family holds for these values alone.\nchecks:\n{checks}"
        );
    }
    if !open.is_empty() {
        let _ = write!(
            text,
            "# Fields that are lists or have fields of their own; a `config:` entry must read them:\n{open}"
        );
    }
    text
}

/// Whether a value can stand in an expression as JSON writes it.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => items.iter().all(|item| item.is_number() || item.is_string() || item.is_boolean()),
        Value::Null | Value::Object(_) => false,
    }
}

/// Returns rules that keep the names of tensors that no rule of the nearest family names.
fn rules(table: &TensorTable, nearest: Option<&Candidate<'_>>) -> String {
    let unnamed = table.rows().iter().map(|row| row.path.as_str());
    let unnamed = unnamed.filter(|name| nearest.is_none_or(|candidate| !candidate.names(name)));
    let mut kept: Vec<(String, String)> = Vec::new();
    for name in unnamed {
        let module = ["weight", "bias"].iter().find_map(|word| name.strip_suffix(word)).unwrap_or(name);
        let rule = kept_rule(module);
        if !kept.contains(&rule) {
            kept.push(rule);
        }
    }
    if kept.is_empty() {
        return String::new();
    }
    let why = match nearest {
        Some(Candidate { family, .. }) => {
            format!("# Tensors that no rule of {} names: they keep their names.\n", family.name())
        }
        None => "# No known family has such names: they stay as they are.\n".to_owned(),
    };
    let mut text = format!("{why}to_native:\n");
    for (pattern, replacement) in kept {
        let _ = writeln!(text, "  - {{ match: {}, replace: {} }}", quoted(&pattern), quoted(&replacement));
    }
    text
}

/// Returns the pattern of a name and what restores it: numbers are groups.
fn kept_rule(name: &str) -> (String, String) {
    let (mut pattern, mut replacement, mut groups) = (String::new(), String::new(), 0);
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            pattern.push_str("\\.");
            replacement.push('.');
        }
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            groups += 1;
            pattern.push_str("(\\d+)");
            let _ = write!(replacement, "${{{groups}}}");
        } else {
            pattern.push_str(&regex::escape(part));
            replacement.push_str(&part.replace('$', "$$"));
        }
    }
    (pattern, replacement)
}

/// Returns a text as YAML quotes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_names_are_patterns_with_groups() {
        let (pattern, replacement) = kept_rule("model.layers.3.mixer.a_b.");
        assert_eq!(
            (pattern.as_str(), replacement.as_str()),
            (r"model\.layers\.(\d+)\.mixer\.a_b\.", "model.layers.${1}.mixer.a_b.")
        );
    }
}
