//! Options that contradict each other or the folder.

use super::{Convert, ConvertError, ModelFolder};
use crate::spec::Side;

impl Convert {
    /// Refuses what cannot be done, before anything is read but headers.
    pub(super) fn check_options(&self, source: &ModelFolder) -> Result<(), ConvertError> {
        let refuse = |what: String, origin: &str, advice: &str| {
            Err(ConvertError::Options { what, origin: origin.to_owned(), advice: advice.to_owned() })
        };
        if self.reverse && source.side() == Side::HuggingFace {
            let what = format!("`{}` has Hugging Face names already", self.source.display());
            return refuse(what, "--reverse", "leave --reverse out, or name a native folder");
        }
        let found = source.config().architecture;
        if let Some(asked) = self.model_type.filter(|asked| *asked != found) {
            let what = format!("the folder holds a {} model, not a {} one", found.name(), asked.name());
            return refuse(what, "--model-type", "leave --model-type out: it is read off config.json");
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
        let beyond = source.config().beyond_hugging_face();
        if source.side() == Side::Native && !beyond.is_empty() {
            let what = format!("no model class of Hugging Face can express this model's {}", beyond.join(", "));
            let origin = self.source.join("config.json").display().to_string();
            let advice =
                "hand it on as it is: its folder holds Python sources that transformers loads with trust_remote_code";
            return refuse(what, &origin, advice);
        }
        if let Some(dtype) = self.dtype.filter(|dtype| !dtype.is_weight_float()) {
            let what = format!("weights cannot be stored as {dtype}");
            return refuse(what, "--dtype", "use float32, bfloat16, float16 or float64");
        }
        if self.max_length == Some(0) {
            return refuse("a model needs at least one position".to_owned(), "--max-length", "give a number of tokens");
        }
        Ok(())
    }
}
