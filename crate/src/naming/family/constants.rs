//! Tensors of Hugging Face's files that hold a constant of the formulas, and that native models do not store.

use super::raw::RawConstant;
use super::{Family, FamilyError, Spanned, expression};
use crate::spec::{ModelConfig, ParamPath};

impl Family {
    /// Returns the tensors of a model's files at Hugging Face that hold a constant of the formulas, with that constant.
    pub(crate) fn constants(&self, config: &ModelConfig) -> Result<Vec<(ParamPath, f32)>, FamilyError> {
        if self.0.constants.is_empty() {
            return Ok(Vec::new());
        }
        let fields = config.to_all_fields();
        let mut found = Vec::new();
        for RawConstant { tensor, value, when } in &self.0.constants {
            let holds = |text: &Spanned| {
                expression::holds(&text.text, &fields).map_err(|reason| FamilyError::Operation {
                    what: format!("cannot tell whether `{tensor}` exists: {reason}"),
                    place: text.at(),
                    advice: "write an expression of native fields".to_owned(),
                })
            };
            if when.as_ref().map_or(Ok(true), holds)? {
                let named = |layer: usize| (tensor.replace("{layer}", &layer.to_string()).as_str().into(), *value);
                found.extend((0..config.num_hidden_layers).map(named));
            }
        }
        Ok(found)
    }
}
