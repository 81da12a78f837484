//! The text model of a checkpoint that has other models as well, such as one for images.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::naming::{Families, Family};
use crate::spec::{Naming, ParamPath};

/// The native name of the embedding, which every model has.
pub(super) const EMBEDDING: &str = "causal_lm.input_encoder.embedding.weight";

/// Where the configuration of the text model stands.
const TEXT_CONFIGS: &[&str] = &["text_config", "llm_config", "language_config"];

/// Fields of the outer configuration that hold for the text model, where its own does not say them.
const SHARED: &[&str] =
    &["dtype", "torch_dtype", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "vocab_size"];

/// What stands before the names of a text model, without and with its head.
const PREFIXES: &[&str] = &["model.language_model.", "language_model.", "model.text_model.", "text_model."];

/// Tensors that are not those of the text model, by the beginning of their names, with their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtherTensors(BTreeMap<String, usize>);

/// Returns the config.json of the text model, if the outer one is of no known family and the text model's is. `model_type`
/// is the type that was asked for.
pub(super) fn text_config(json: &Value, families: &Families, model_type: Option<&str>) -> Option<Value> {
    let known = |json: &Value| json.get("model_type").and_then(Value::as_str).and_then(|name| families.of_type(name));
    if known(json).is_some() {
        return None;
    }
    let mut text = TEXT_CONFIGS.iter().find_map(|field| json.get(*field).filter(|text| text.is_object()))?.clone();
    let family = match model_type {
        Some(name) => families.of_type(name)?,
        None => known(&text)?,
    };
    for field in SHARED {
        // One name of the element type is enough.
        let said = match *field {
            "dtype" | "torch_dtype" => ["dtype", "torch_dtype"].iter().any(|name| text.get(*name).is_some()),
            field => text.get(field).is_some_and(|value| !value.is_null()),
        };
        if let Some(value) = json.get(*field).filter(|value| !value.is_null() && !said) {
            text[*field] = value.clone();
        }
    }
    if let (None, Some(class)) = (text.get("architectures"), family.class()) {
        text["architectures"] = json!([class]);
    }
    Some(text)
}

/// Narrows a checkpoint to the tensors of the text model, by the names that it has alone.
///
/// # Errors
/// [`CheckpointError`] if two tensors get the same name.
pub(super) fn narrowed(checkpoint: Checkpoint, family: &Family) -> Result<(Checkpoint, OtherTensors), CheckpointError> {
    let embedding = family.name_on(Naming::HuggingFace, &EMBEDDING.into());
    let base = embedding.as_str().split('.').next().unwrap_or("model").to_owned();
    let mut others = OtherTensors::default();
    let checkpoint = checkpoint.renamed(|name| {
        let own = name_alone(name.as_str(), &base);
        if own.is_none() {
            others.add(name);
        }
        own
    })?;
    Ok((checkpoint, others))
}

/// Returns the name of a tensor where the text model is saved by itself; `None` if it is not the text model's.
fn name_alone(name: &str, base: &str) -> Option<ParamPath> {
    if let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        let whole = ["lm_head.", base].iter().any(|start| rest.starts_with(start));
        return Some(if whole { rest.into() } else { format!("{base}.{rest}").as_str().into() });
    }
    name.starts_with("lm_head.").then(|| name.into())
}

impl OtherTensors {
    fn add(&mut self, name: &ParamPath) {
        let parts: Vec<&str> = name.as_str().split('.').collect();
        let kept = if parts.first() == Some(&"model") { 2 } else { 1 };
        *self.0.entry(parts[..kept.min(parts.len())].join(".")).or_default() += 1;
    }

    /// Says what was left, if anything.
    pub(crate) fn note(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let total: usize = self.0.values().sum();
        let each: Vec<String> = self.0.iter().map(|(start, count)| format!("{start} ({count})")).collect();
        Some(format!("only the text model was taken; {total} tensors of other parts were left: {}", each.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_text_model_alone() {
        for (there, alone) in [
            ("model.language_model.layers.0.mlp.up_proj.weight", Some("model.layers.0.mlp.up_proj.weight")),
            ("language_model.model.layers.0.mlp.up_proj.weight", Some("model.layers.0.mlp.up_proj.weight")),
            ("language_model.lm_head.weight", Some("lm_head.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("model.text_model.embed_tokens.weight", Some("model.embed_tokens.weight")),
            ("model.vision_tower.layers.0.weight", None),
            ("multi_modal_projector.linear_1.bias", None),
        ] {
            assert_eq!(name_alone(there, "model"), alone.map(Into::into), "{there}");
        }
    }

    #[test]
    fn what_is_left_is_counted_by_its_part() {
        let mut others = OtherTensors::default();
        assert_eq!(others.note(), None);
        for name in ["model.vision_tower.a", "model.vision_tower.b", "projector.weight"] {
            others.add(&name.into());
        }
        let note = others.note().unwrap();
        assert!(note.ends_with("3 tensors of other parts were left: model.vision_tower (2), projector (1)"), "{note}");
    }
}
