//! Checks of options that contradict each other or the folder.

use serde_json::Value;

use super::{Convert, ConvertError};
use crate::model_folder::ModelFolder;
use crate::naming::{Families, Family};
use crate::spec::{ModelConfig, Naming, PositionEmbedding};

impl Convert {
    /// Refuses what cannot be done, before anything is read but headers.
    pub(super) fn check_options(
        &self,
        source: &ModelFolder,
        families: &Families,
        family: &Family,
    ) -> Result<(), ConvertError> {
        let refuse = |what: String, origin: &str, advice: &str| {
            Err(ConvertError::Options { what, origin: origin.to_owned(), advice: advice.to_owned() })
        };
        if self.reverse && source.naming() == Naming::HuggingFace {
            let what = format!("`{}` has Hugging Face names already", self.source.display());
            return refuse(what, "--reverse", "leave out --reverse, or name a native folder");
        }
        if let Some(own) = self.other_family(source, families)? {
            let what =
                format!("the folder holds a {} model, which cannot be read as a {} one", own.name(), family.name());
            return refuse(what, "--model-type", "leave out --model-type; it is read from config.json");
        }
        if source.config().quantization.is_some() {
            let origin = self.source.join("config.json").display().to_string();
            let advice = "convert the model that it was made from, then `finalize --quantize` the result";
            return refuse(
                "the model is quantized, and conversion moves weights as they were trained".to_owned(),
                &origin,
                advice,
            );
        }
        if source.naming() == Naming::Native {
            let origin = self.source.join("config.json").display().to_string();
            family.write_config(source.config(), source.config_json(), &origin)?;
        }
        if let Some((what, advice)) = self.write.dtype_fault() {
            return refuse(what, "--dtype", advice);
        }
        let positions = source.config().max_position_embeddings;
        if self.max_length.is_some_and(|length| length != positions)
            && source.config().position == PositionEmbedding::Learned
        {
            let what = format!("the model has a trained row for each of {positions} positions");
            return refuse(what, "--max-length", "leave --max-length out");
        }
        if self.max_length == Some(0) {
            return refuse("a model needs at least one position".to_owned(), "--max-length", "give a number of tokens");
        }
        Ok(())
    }

    /// Returns the family that a Hugging Face folder names, if the family that was asked for reads a different model
    /// from it.
    fn other_family(&self, source: &ModelFolder, families: &Families) -> Result<Option<Family>, ConvertError> {
        let own = source.config_json().get("model_type").and_then(Value::as_str).and_then(|own| families.of_type(own));
        let Some(own) =
            own.filter(|own| source.naming() == Naming::HuggingFace && own.name() != source.family().name())
        else {
            return Ok(None);
        };
        let origin = self.source.join("config.json").display().to_string();
        let mut config = own.read_config(source.config_json(), &origin)?;
        config = ModelConfig { dtype: source.config().dtype, ..config.of_family(source.config().architecture) };
        Ok((config != *source.config()).then(|| own.clone()))
    }
}
