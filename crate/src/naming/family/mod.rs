//! Families as data: names, operations on tensors, configuration and checks, in both directions.

mod asked;
mod builder;
mod config;
mod constants;
mod draft;
mod error;
mod expression;
mod fields;
mod known;
pub(crate) mod outline;
mod raw;
mod raw_rule;
mod spanned;

use std::sync::{Arc, OnceLock};

use regex::Regex;
use serde_json::{Map, Value};

use super::{Remap, remap};
use crate::sealed::Sealed;
use crate::spec::{Architecture, DType, ModelConfig, Naming, ParamPath};
use config::ConfigMap;
use fields::KnownFields;
pub use fields::{FamilyField, FieldTreatment};
use outline::Outline;

pub use asked::AskedPart;
pub use builder::{FamilyBuilder, Rule};
pub(crate) use draft::draft_family;
pub use error::FamilyError;
pub(super) use expression::size;
pub use known::Families;
use raw::{RawConstant, RawFamily};
pub(super) use raw_rule::{RawPermute, RawRule, Stacked};
pub(super) use spanned::Spanned;

/// What conversion knows about one family of models.
///
/// Llama, Mistral and Qwen3 are built in. Others are YAML files: `notebooks/converters/gpt2.yaml` explains every key.
///
/// ```
/// use chandlery::naming::Family;
/// let family = Family::from_yaml(
///     r"
///     family: my_llama
///     extends: llama
///     to_native:
///       - match: 'model\.'
///         replace: 'causal_lm.'
///         inside: [{ match: 'wte\.', replace: 'input_encoder.embedding.' }]
///     ",
///     "a cell",
/// )?;
/// assert_eq!(family.model_type(), "my_llama");
/// # Ok::<(), chandlery::naming::FamilyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Family(Sealed<Arc<Inside>>);

#[derive(Clone, Debug)]
struct Inside {
    name: String,
    model_type: String,
    class: Option<String>,
    architecture: Architecture,
    /// `None` for families without a class at Hugging Face.
    config: Option<ConfigMap>,
    /// What GGUF files call it.
    gguf: Option<String>,
    to_native: Remap,
    to_hf: Remap,
    /// The rules as they are written, if they depend on the model: they stack as many tensors as it has, or have conditions.
    by_model: Vec<RawRule>,
    aliases: Remap,
    skip: Vec<Regex>,
    constants: Vec<RawConstant>,
    outline: Option<Outline>,
    fields: KnownFields,
    origin: String,
}

/// Every name of a model as it is.
const NATIVE_NAMES: &str = r"family: native
to_native:
  - { match: 'causal_lm\.', replace: 'causal_lm.' }
  - { match: 'lm_head\.', replace: 'lm_head.' }
";

impl Family {
    /// The built-in family of an architecture. One that no class of Hugging Face's has keeps its native names.
    ///
    /// # Errors
    /// [`FamilyError`] if the rules cannot be read or inverted, which a test rules out for the built-in ones.
    pub fn of(architecture: Architecture) -> Result<Self, FamilyError> {
        match Families::built_in()?.of_type(architecture.name()) {
            Some(family) => Ok(family.clone()),
            None => Self::native_names(),
        }
    }

    /// A family in which every name is the native one.
    pub(crate) fn native_names() -> Result<Self, FamilyError> {
        static NATIVE: OnceLock<Result<Family, FamilyError>> = OnceLock::new();
        let native = NATIVE.get_or_init(|| {
            let written = RawFamily::from_yaml(NATIVE_NAMES, "the native names")?;
            Self::assemble(written, Some(Architecture::nameless()))
        });
        native.clone()
    }

    /// Reads a family's YAML, which may extend a built-in one; `origin` names the file in errors.
    ///
    /// # Errors
    /// [`FamilyError`] with file and line for YAML, patterns or rules that cannot be read or inverted.
    pub fn from_yaml(yaml: &str, origin: &str) -> Result<Self, FamilyError> {
        known::resolve(RawFamily::from_yaml(yaml, origin)?, &[], false)
    }

    /// Starts a family in Rust.
    ///
    /// ```
    /// use chandlery::naming::{Family, Rule};
    /// let family = Family::builder("fused_llama")
    ///     .extends("llama")
    ///     .rule(Rule::new(r"model\.", "causal_lm.").inside([Rule::new(r"layers\.(\d+)\.", "layer_stack.layers.$1.").inside([
    ///         Rule::new(r"self_attn\.", "attention.").inside([
    ///             Rule::split(r"qkv_proj\.", ["query_linear.", "key_linear.", "value_linear."]),
    ///         ]),
    ///     ])]))
    ///     .build()?;
    /// # Ok::<(), chandlery::naming::FamilyError>(())
    /// ```
    pub fn builder(name: &str) -> FamilyBuilder {
        FamilyBuilder::new(name)
    }

    /// Makes a family of what is written; `names_only` is the architecture of one that has no configuration of its own.
    fn assemble(written: RawFamily, names_only: Option<Architecture>) -> Result<Self, FamilyError> {
        let name = written.family.text.clone();
        let architecture = match names_only {
            Some(architecture) => architecture,
            None => architecture_of(&written)?,
        };
        let model_type = written.model_type().to_owned();
        let config = if !written.config.is_empty() {
            Some(ConfigMap::new(&written, architecture)?)
        } else if names_only.is_some() {
            None
        } else {
            return Err(FamilyError::Syntax {
                reason: format!("the family {name} does not say how to read its config.json"),
                place: written.family.at(),
                advice: "add `config:`, a list of { hf: FIELD, native: FIELD }".to_owned(),
            });
        };
        // Without a model, any number of tensors will do.
        let to_native = Remap::new(&RawRule::of_model(&written.to_native, &|_| Ok(1), &|_| Ok(true))?)?;
        let by_model = written.to_native.iter().any(RawRule::depends_on_model);
        let skip = written.skip.iter().map(remap::whole).collect::<Result<_, _>>()?;
        let inside = Inside {
            fields: KnownFields::new(&written),
            model_type,
            class: written.hugging_face.class,
            architecture,
            config,
            gguf: written.gguf,
            to_hf: to_native.inverse()?,
            to_native,
            by_model: if by_model { written.to_native } else { Vec::new() },
            aliases: Remap::new(&written.aliases)?,
            skip,
            constants: written.constants,
            outline: written.reference,
            origin: written.family.place().unwrap_or_else(|| format!("family {name}")),
            name,
        };
        Ok(Self(Sealed::new(Arc::new(inside))))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the `model_type` of its folders at Hugging Face.
    pub fn model_type(&self) -> &str {
        &self.0.model_type
    }

    /// Returns the class of transformers that runs it, if the family names one.
    pub fn class(&self) -> Option<&str> {
        self.0.class.as_deref()
    }

    /// Returns the architecture that its models are built as.
    pub fn architecture(&self) -> Architecture {
        self.0.architecture
    }

    /// Where it was read from, with the line.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Returns the rules that lead to `side`.
    pub fn rules_to(&self, naming: Naming) -> &Remap {
        match naming {
            Naming::Native => &self.0.to_native,
            Naming::HuggingFace => &self.0.to_hf,
        }
    }

    /// The family with the rules that apply to a model, for as many tensors as it has.
    pub(crate) fn of_model(&self, config: &ModelConfig) -> Result<Self, FamilyError> {
        match self.0.by_model.is_empty() {
            true => Ok(self.clone()),
            false => self.of_fields(&config.to_all_fields()),
        }
    }

    /// As [`of_model`](Self::of_model) of a model that only these fields describe.
    pub(super) fn of_fields(&self, fields: &Map<String, Value>) -> Result<Self, FamilyError> {
        if self.0.by_model.is_empty() {
            return Ok(self.clone());
        }
        let fault = |what: String, text: &Spanned| FamilyError::Operation {
            what,
            place: text.at(),
            advice: "write a number, or an expression of native fields".to_owned(),
        };
        let count = |text: &Spanned| {
            size(&text.text, fields)
                .map_err(|reason| fault(format!("cannot tell how many tensors are stacked: {reason}"), text))
        };
        let holds = |text: &Spanned| {
            expression::holds(&text.text, fields)
                .map_err(|reason| fault(format!("cannot tell whether the rule applies: {reason}"), text))
        };
        self.counted(&count, &holds)
    }

    /// Returns the family with rules for as many tensors as `count` says, where `holds`.
    pub(super) fn counted(
        &self,
        count: &dyn Fn(&Spanned) -> Result<usize, FamilyError>,
        holds: &dyn Fn(&Spanned) -> Result<bool, FamilyError>,
    ) -> Result<Self, FamilyError> {
        let to_native = Remap::new(&RawRule::of_model(&self.0.by_model, count, holds)?)?;
        let inside = Inside { to_hf: to_native.inverse()?, to_native, ..(**self.0).clone() };
        Ok(Self(Sealed::new(Arc::new(inside))))
    }

    /// Returns a native name as `side` writes it; of several tensors that it is made of, the first.
    pub fn name_on(&self, naming: Naming, native: &ParamPath) -> ParamPath {
        let renamed = match naming {
            Naming::Native => None,
            Naming::HuggingFace => self.0.to_hf.rename(native),
        };
        renamed.and_then(|renamed| renamed.to.into_iter().next()).unwrap_or_else(|| native.clone())
    }

    /// Returns the family's own name of a Hugging Face tensor that is spelled otherwise.
    pub(crate) fn canonical_name(&self, name: &ParamPath) -> Option<ParamPath> {
        self.0.aliases.rename_one(name)
    }

    /// True for names that files may hold and models do not need, such as rotary buffers.
    pub fn skips(&self, name: &ParamPath) -> bool {
        self.0.skip.iter().any(|pattern| pattern.is_match(name.as_str()))
    }

    /// Reads a Hugging Face config.json of this family; `origin` names the file in errors.
    ///
    /// # Errors
    /// [`FamilyError`] for fields that are missing, wrong, or that the family does not cover.
    pub fn read_config(&self, json: &Value, origin: &str) -> Result<ModelConfig, FamilyError> {
        match &self.0.config {
            Some(config) => config.read(json, origin),
            None => Ok(ModelConfig::from_json(json, origin)?),
        }
    }

    /// Writes the Hugging Face config.json of a model. `native` is its native one: if it remembers the configuration
    /// that it was converted from, all that did not change since comes back as it was.
    ///
    /// # Errors
    /// [`FamilyError::Config`] naming what no configuration of this family can say.
    pub fn write_config(&self, config: &ModelConfig, native: &Value, origin: &str) -> Result<Value, FamilyError> {
        // Another family's configuration does not apply to this one.
        let known = native.get("hf_model_type").and_then(Value::as_str);
        let own = known.is_some_and(|known| known == self.model_type() || known == self.name());
        let source = ModelConfig::source_of(native).filter(|_| own);
        let Some(map) = &self.0.config else {
            return Ok(config.to_native_json(None));
        };
        let mut before = source.and_then(|source| self.read_config(source, origin).ok());
        if let (Some(source), Some(before)) = (source, &mut before) {
            // A configuration that does not say its element type leaves that to the weights, and may go on doing so.
            let stated = DType::parse(native.get("dtype").and_then(Value::as_str).unwrap_or_default());
            if ModelConfig::leaves_dtype_open(source) && stated == Some(config.dtype) {
                before.dtype = config.dtype;
            }
            if *before == map.canonical(config) {
                return Ok(source.clone());
            }
        }
        Ok(Value::Object(map.write(config, source.zip(before.as_ref()), origin)?))
    }

    /// Returns the native config.json of a model that was read from `source`.
    pub fn native_config(&self, config: &ModelConfig, source: &Value) -> Value {
        config.to_native_json(Some((self.model_type(), source)))
    }

    /// Refuses a model that this family's configurations cannot say.
    pub(crate) fn require_expressible(&self, config: &ModelConfig, origin: &str) -> Result<(), FamilyError> {
        self.0.config.as_ref().map_or(Ok(()), |map| map.write(config, None, origin).map(drop))
    }

    /// Returns what GGUF files call its models, if readers of those files compute them.
    pub fn gguf_name(&self) -> Option<&str> {
        self.0.gguf.as_deref()
    }

    /// Whether the family says how its models compute, so that logits are judged.
    pub fn has_reference(&self) -> bool {
        self.0.outline.is_some()
    }

    /// How the reference forward reads this family's tensors; `None` if it is not said, and nothing built in says it.
    pub(crate) fn outline(&self) -> Option<&Outline> {
        self.0.outline.as_ref()
    }
}

/// Returns the architecture of a family: the one that it names, the built-in one of its own name or of a family that it
/// extends, or else one of its own, of which its `native:` fields are what models take for granted.
fn architecture_of(written: &RawFamily) -> Result<Architecture, FamilyError> {
    let own = written.family.text.as_str();
    let Some(asked) = written.native.get("architecture").and_then(Value::as_str) else {
        return Ok(Architecture::define(own, &written.native, &written.family.at())?);
    };
    Architecture::from_name(asked).ok_or_else(|| {
        let known = Architecture::all().map(Architecture::name).collect::<Vec<_>>().join(", ");
        FamilyError::Syntax {
            reason: format!("`{asked}` is not an architecture of this toolkit"),
            place: written.family.at(),
            advice: format!(
                "say what a model of this family is here: `native: {{ architecture: … }}` with one of {known}; or leave the key out and \
                 list under `native:` what its models have in common"
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_those_of_the_contract_and_invert() {
        let family = Family::of(Architecture::from_name("llama").unwrap()).unwrap();
        for (hf, native) in [
            ("model.layers.0.self_attn.q_proj.weight", "causal_lm.layer_stack.layers.0.attention.query_linear.weight"),
            ("model.layers.0.mlp.gate_proj.weight", "causal_lm.layer_stack.layers.0.feedforward.gate_proj.weight"),
            ("model.embed_tokens.weight", "causal_lm.input_encoder.embedding.weight"),
            ("model.norm.weight", "causal_lm.layer_norm.weight"),
            ("model.layers.31.post_attention_layernorm.weight", "causal_lm.layer_stack.layers.31.norm2.weight"),
            ("model.layers.7.self_attn.o_proj.bias", "causal_lm.layer_stack.layers.7.attention.output_linear.bias"),
            ("lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(family.rules_to(Naming::Native).rename_one(&hf.into()).unwrap().as_str(), native);
            assert_eq!(family.name_on(Naming::HuggingFace, &native.into()).as_str(), hf);
        }
    }

    #[test]
    fn families_that_nobody_else_has_keep_their_names_both_ways() {
        let family = Family::of(Architecture::from_name("single_head").unwrap()).unwrap();
        for name in ["lm_head.weight", "causal_lm.layer_stack.layers.3.attention.alibi_slope"] {
            for side in [Naming::Native, Naming::HuggingFace] {
                assert_eq!(family.rules_to(side).rename_one(&name.into()).unwrap().as_str(), name);
            }
        }
    }
}
