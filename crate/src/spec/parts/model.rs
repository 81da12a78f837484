//! The model as a whole: its initialization, its storage, and its special tokens.

use serde_json::{Map, json};

use super::field::{Field, FieldKind};
use crate::spec::quantization_json::{self, quantization_from};
use crate::spec::{DType, Initialization};

/// Declares the fields.
macro_rules! model_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "model" "The model as a whole: first values, storage, token ids" {
            /// How a new model is initialized.
            initialization: Initialization = Initialization::Llama => [model::INITIALIZATION];
            /// Standard deviation that the recipe llama draws linear layers with.
            initializer_range: f64 = 0.02, {
                .positive().needs("initialization: llama", |config| config.initialization == Initialization::Llama)
            };
            /// Element type of the stored weights.
            dtype: DType = DType::F32 => [model::DTYPE];
            /// Beginning-of-sequence id.
            bos_token_id: Option<u32> = None, { .always_written() };
            /// End-of-sequence ids; the first one is the tokenizer's.
            eos_token_id: Vec<u32> = Vec::new() => [model::EOS_TOKEN_ID];
            /// Padding id.
            pad_token_id: Option<u32> = None, { .always_written() };
            /// Which linear layers are stored as low-bit weights, if any are. The names are native ones in a native configuration,
            /// and Hugging Face's in one of theirs.
            quantization: Option<Quantization> = None => [model::QUANTIZATION];
        }
    } };
}
pub(super) use model_fields;

/// A recipe's name, or a list of `{match: REGEX, init: DISTRIBUTION}`.
pub(super) const INITIALIZATION: Field = Field::new(
    "initialization",
    "How a new model is drawn: a recipe, or a list of {match: REGEX, init: DISTRIBUTION}",
    FieldKind::WordOrList(&["llama", "deepnet", "scaled_embedding", "pytorch"]),
    |reading, config| {
        let Some(value) = reading.fields.get("initialization") else { return Ok(()) };
        let expected = "llama, deepnet, scaled_embedding, pytorch, or a list such as \
                        [{match: 'attn\\.query', init: {normal: {std: 0.02}}}]";
        let read = match value {
            serde_json::Value::Array(_) => serde_json::from_value(value.clone()).map(Initialization::Rules),
            _ => serde_json::from_value(value.clone()),
        };
        config.initialization = read.map_err(|error| {
            reading.fields.invalid("initialization", &json!(format!("{value} ({error})")), expected)
        })?;
        Ok(())
    },
    |config| match config.initialization.name() {
        Some(name) => Some(json!(name)),
        None => Some(json!(config.initialization.rules(config))),
    },
);

pub(super) const DTYPE: Field = Field::new(
    "dtype",
    "Element type of the stored weights",
    FieldKind::Word(&["float32", "bfloat16", "float16", "float64"]),
    |reading, config| {
        let fields = reading.fields;
        let (dtype, older) = (fields.text("dtype")?, fields.text("torch_dtype")?);
        if fields.strict && dtype.is_some() && older.is_some() && dtype != older {
            return Err(fields.no_effect("torch_dtype", "remove it, or remove dtype"));
        }
        // `auto` leaves it to the weights.
        if let Some(name) = dtype.into_iter().chain(older).find(|name| *name != "auto") {
            config.dtype = DType::parse(name)
                .filter(|dtype| dtype.is_weight_float())
                .ok_or_else(|| fields.invalid("dtype", &json!(name), "float32, bfloat16, float16 or float64"))?;
        }
        Ok(())
    },
    |config| Some(json!(config.dtype.torch_name())),
)
.always_written()
.not_compared()
.aliases(&["torch_dtype"])
.beside(|config| Map::from_iter([("torch_dtype".to_owned(), json!(config.dtype.torch_name()))]));

pub(super) const EOS_TOKEN_ID: Field = Field::new(
    "eos_token_id",
    "End-of-sequence ids; the first one is the tokenizer's",
    FieldKind::Ids,
    |reading, config| {
        config.eos_token_id = reading.fields.ids("eos_token_id")?;
        Ok(())
    },
    |config| match config.eos_token_id.as_slice() {
        [] => Some(json!(null)),
        [one] => Some(json!(one)),
        several => Some(json!(several)),
    },
)
.always_written();

pub(super) const QUANTIZATION: Field = Field::new(
    quantization_json::KEY,
    "Which linear layers are stored as low-bit weights, in the terms of compressed-tensors",
    FieldKind::Object,
    |reading, config| {
        config.quantization = quantization_from(reading.fields)?;
        Ok(())
    },
    |config| config.quantization.as_ref().map(|quantization| quantization.to_json()),
)
.always_written()
.not_compared();
