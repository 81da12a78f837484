//! Whether the reference forward knows a model: what its family says under `reference:`, and what it does not say.

use serde_json::Value;

use super::ReferenceModel;
use crate::checkpoint::Checkpoint;
use crate::naming::{Families, Family};

impl<'a> ReferenceModel<'a> {
    /// Creates the reference forward of a checkpoint of Llama, Mistral or Qwen3. A config.json without a known
    /// `model_type` is read as Llama's.
    pub fn new(checkpoint: &'a Checkpoint, config: &'a Value) -> Self {
        let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let families = Families::built_in().unwrap_or_default();
        let family = families.of_type(kind).or_else(|| families.of_type("llama"));
        Self::over(checkpoint, config, family.and_then(|family| family.outline().cloned()).unwrap_or_default())
    }

    /// Creates the reference forward of a checkpoint of `family`, or says why it cannot judge: the family has no
    /// `reference:` section, or it does not cover this model.
    pub(crate) fn judging(checkpoint: &'a Checkpoint, config: &'a Value, family: &Family) -> Result<Self, String> {
        let Some(outline) = family.outline() else {
            return Err(format!(
                "the family {} has no `reference:` section, so nothing independent of its renaming rules can judge the logits",
                family.name()
            ));
        };
        if let Some(alias) = family.alias_beyond_reference(config) {
            return Err(format!(
                "the reference forward does not read `{alias}`, another name for one of the family's fields"
            ));
        }
        let model = Self::over(checkpoint, config, outline.clone());
        match model.not_covered() {
            Some(reason) => Err(reason),
            None => Ok(model),
        }
    }
}

/// Why the reference forward may not be the forward of the model that config.json describes.
pub(crate) fn doubts(json: &Value, family: &Family, reference: &ReferenceModel<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let own = json.get("model_type").and_then(Value::as_str);
    if let Some(own) = own.filter(|own| *own != family.model_type()) {
        reasons.push(format!("config.json is that of a {own}, and was read as that of a {}", family.model_type()));
    }
    let unread = [family.fields_beyond_reference(json), reference.unread_rotary_keys()].concat();
    if !unread.is_empty() {
        let names = unread.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        reasons.push(format!("the reference forward does not read these fields of config.json: {names}"));
    }
    reasons
}
