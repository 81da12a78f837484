//! The fields of a config.json that a family knows, so that reports name those that nothing reads.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::outline::Outline;
use super::raw::{RawFamily, RawField};
use super::{Family, FamilyError, expression};

/// Fields of the base class of every configuration, in transformers 4 and 5, and of tools that leave theirs, that do
/// not change a causal model's forward.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "model_type",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "vocab_size",
];

/// Fields of the base class that are harmless where they are false.
const OFF: &[&str] = &["add_cross_attention", "is_encoder_decoder"];

/// Known fields that do not determine what the model computes: custom code, weights in another form.
const OPEN: &[&str] = &["auto_map", "quantization", "quantization_config"];

/// Native fields that do not change the forward of a model whose tensors fit.
const SHAPES_AND_TRAINING: &[&str] = &[
    "activation_dropout",
    "attention_bias",
    "attention_dropout",
    "attention_output_bias",
    "conv_bias",
    "embedding_dropout",
    "head_bias",
    "initialization",
    "intermediate_size",
    "layer_dropout",
    "mamba_conv_bias",
    "mamba_inner_size",
    "mamba_output_bias",
    "mamba_proj_bias",
    "max_position_embeddings",
    "mlp_bias",
    "moe_intermediate_size",
    "q_lora_rank",
    "qk_norm",
    "residual_dropout",
    "router_bias",
    "router_correction",
    "shared_expert_intermediate_size",
];

/// The fields that a family names.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownFields {
    /// Fields that the mapping, its expressions, or a reference forward reads.
    read: HashSet<String>,
    /// Fields that do not change the forward, or that the reference forward reads.
    judged: HashSet<String>,
    /// Other names for fields.
    aliases: Vec<String>,
    /// Those that are listed as harmless and nothing else.
    harmless: Vec<String>,
    /// Whether the class passes over all others.
    all: bool,
}

impl KnownFields {
    pub(super) fn new(written: &RawFamily) -> Self {
        let root = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
        let inert = |field: &&RawField| {
            let native = field.target().map_or("", |native| native.text.as_str());
            // The reference forward need not know what may have one value only.
            SHAPES_AND_TRAINING.contains(&native) || field.harmless || !field.must.is_empty()
        };
        let mut judged: HashSet<String> = written.harmless.iter().cloned().collect();
        judged.extend(written.reference.iter().flat_map(Outline::reads));
        judged.extend(written.config.iter().filter(inert).map(|field| root(&field.hf.text)));
        let mut read = judged.clone();
        read.extend(written.reads());
        read.extend(written.config.iter().map(|field| root(&field.hf.text)));
        read.extend(written.hugging_face.fields.keys().cloned());
        let aliases: Vec<String> = written.config.iter().flat_map(|field| field.aliases.iter().cloned()).collect();
        read.extend(aliases.iter().cloned());
        let conditions =
            written.config.iter().flat_map(|field| [&field.default, &field.if_null, &field.to_native, &field.when]);
        let conditions = conditions.flatten().chain(written.checks.iter().map(|check| &check.that));
        read.extend(conditions.flat_map(|expression| expression::fields_of(&expression.text)));
        // A check fixes what it names.
        judged.extend(written.checks.iter().flat_map(|check| expression::fields_of(&check.that.text)));
        let harmless = written.harmless.clone();
        Self { read, judged, aliases, harmless, all: written.hugging_face.all_fields }
    }
}

/// A field of a family's class at Hugging Face, and what conversion does with it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FamilyField {
    /// Its name there.
    pub name: String,
    /// Other names of it, which win over it.
    pub aliases: Vec<String>,
    /// The native fields that it becomes.
    pub native: Vec<String>,
    /// What the class assumes where the field is left out: a value, or an expression of other fields.
    pub default: Option<String>,
    /// What is done with its value.
    pub treatment: FieldTreatment,
}

/// What conversion does with the value of a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FieldTreatment {
    /// It becomes native fields, and is written from them.
    Mapped,
    /// It is read, and not written.
    Read,
    /// The family holds for these values only; any other is refused.
    Must(Vec<Value>),
    /// It does not change what the model computes.
    Harmless,
}

impl std::fmt::Display for FieldTreatment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mapped => f.write_str("mapped"),
            Self::Read => f.write_str("read"),
            Self::Must(values) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(f, "must be {}", values.join(" or "))
            }
            Self::Harmless => f.write_str("harmless"),
        }
    }
}

impl FamilyField {
    fn new(field: &RawField) -> Self {
        let native: Vec<String> = field.native.0.iter().map(|native| native.text.clone()).collect();
        let treatment = match field {
            _ if !field.must.is_empty() => FieldTreatment::Must(field.must.clone()),
            _ if field.harmless => FieldTreatment::Harmless,
            _ if field.read_only || native.is_empty() => FieldTreatment::Read,
            _ => FieldTreatment::Mapped,
        };
        Self {
            name: field.hf.text.clone(),
            aliases: field.aliases.clone(),
            native,
            default: field.default.as_ref().map(|default| default.text.clone()),
            treatment,
        }
    }

    /// Returns the field as JSON.
    pub fn report(&self) -> Value {
        let treatment = match &self.treatment {
            FieldTreatment::Must(values) => json!({ "must": values }),
            other => json!(other.to_string()),
        };
        json!({
            "name": self.name,
            "aliases": self.aliases,
            "native": self.native,
            "default": self.default,
            "treatment": treatment,
        })
    }
}

/// Returns true for fields that are empty, or that do not matter in any family.
pub(super) fn is_harmless(name: &str, value: &Value) -> bool {
    value.is_null() || HARMLESS.contains(&name) || OFF.contains(&name) && value == &Value::Bool(false)
}

impl Family {
    fn fields_that(&self, json: &Value, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let fields = json.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, value)| !is_harmless(name, value) && wanted(name));
        fields.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the fields of a config.json that the family lists, in the order of its file. Those that every family has, such as
    /// `architectures`, are not among them.
    ///
    /// ```
    /// use chandlery::naming::{Families, FieldTreatment};
    /// let families = Families::built_in()?;
    /// let fields = families.of_type("phi3").map(|family| family.fields()).unwrap_or_default();
    /// let act = fields.iter().find(|field| field.name == "use_cache").map(|field| &field.treatment);
    /// assert_eq!(act, Some(&FieldTreatment::Harmless));
    /// # Ok::<(), chandlery::naming::FamilyError>(())
    /// ```
    pub fn fields(&self) -> Vec<FamilyField> {
        let listed = self.0.config.iter().flat_map(|config| config.fields()).map(FamilyField::new);
        let harmless = self.0.fields.harmless.iter().map(|name| FamilyField {
            name: name.clone(),
            aliases: Vec::new(),
            native: Vec::new(),
            default: None,
            treatment: FieldTreatment::Harmless,
        });
        listed.chain(harmless).collect()
    }

    /// Returns the fields of a Hugging Face config.json that the family neither reads nor calls harmless.
    pub fn unread_fields(&self, json: &Value) -> Vec<String> {
        self.fields_that(json, |name| !self.0.fields.read.contains(name) && !OPEN.contains(&name))
    }

    /// Returns the fields that may change what the model computes, and of which the reference forward knows nothing.
    pub(crate) fn fields_beyond_reference(&self, json: &Value) -> Vec<String> {
        self.fields_that(json, |name| !self.0.fields.judged.contains(name))
    }

    /// Returns a field of a config.json that says under another name what the reference forward reads under the
    /// family's own.
    pub(crate) fn alias_beyond_reference<'a>(&'a self, json: &Value) -> Option<&'a str> {
        let said = |alias: &&String| json.get(alias).is_some_and(|value| !value.is_null());
        let unread = self.0.fields.aliases.iter().filter(|alias| !self.0.fields.judged.contains(*alias));
        unread.filter(said).map(String::as_str).next()
    }

    /// Returns whether a config.json is one of a class whose fields are all known: that class passes over all others.
    fn is_published_class(&self, json: &Value) -> bool {
        let own = json.get("model_type").and_then(Value::as_str) == Some(self.model_type());
        own && self.0.fields.all
    }

    /// Refuses a config.json that says more than the family reads. Where the class at Hugging Face is known, it passes
    /// over such fields itself: then they are only named in reports.
    pub(crate) fn require_known_fields(&self, json: &Value, origin: &str) -> Result<(), FamilyError> {
        let unread = self.unread_fields(json);
        if unread.is_empty() || self.is_published_class(json) {
            return Ok(());
        }
        let names = unread.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(FamilyError::Config {
            what: format!("the family {} does not say what these fields mean: {names}", self.name()),
            origin: origin.to_owned(),
            place: self.origin().to_owned(),
            advice:
                "map them under `config:`, fix their values under `checks:`, or list them under `harmless:` if they \
                     change nothing; --allow-unknown-fields passes over them, and then no logits are judged"
                    .to_owned(),
        })
    }
}
