//! One configuration of a project with the arguments given to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::argument::Argument;
use super::error::{ProjectError, unknown};
use super::open::Project;
use super::origin::{Origin, TemplateLine, TracedValue, trace};
use super::render::{Rendering, render};
use super::source::BUILTIN;
use super::tokenizers;
use crate::sealed::Sealed;
use crate::spec::{ConfigError, ModelConfig, UserPart};
use crate::tokenizer::TokenizerFiles;

/// Arguments that describe where and how, not the model: templates need not read them.
const NOT_FOR_TEMPLATES: &[&str] = &["output_dir", "attn_implementation"];

/// One configuration of a project, with the arguments given so far.
#[derive(Clone, Debug)]
pub struct ProjectConfig {
    project: Project,
    name: String,
    given: Sealed<BTreeMap<String, Value>>,
    /// Parts of the user that stand in the layers, whatever the definition says.
    chosen: Sealed<Vec<UserPart>>,
}

/// A rendered configuration with the origin of each value; made by [`ProjectConfig::trace`].
#[derive(Clone, Debug)]
pub struct Trace {
    /// Project and configuration, such as `llama 4M`.
    pub title: String,
    /// The project's folder, if it has one.
    pub folder: Option<PathBuf>,
    /// The YAML as rendered.
    pub yaml: String,
    /// Each value, in the YAML's order.
    pub values: Sealed<Vec<TracedValue>>,
    /// What a person should know about how the project was found.
    pub note: Option<String>,
}

macro_rules! setters {
    ($($name:ident: $kind:ty, $doc:literal;)+) => {
        /// The documented arguments by name. A project that does not declare one refuses it.
        impl ProjectConfig {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// [`ProjectError::Unknown`] if the project declares no such argument.
                pub fn $name(self, value: $kind) -> Result<Self, ProjectError> {
                    self.set_value(stringify!($name), Value::from(value))
                }
            )+
        }
    };
}

setters! {
    hidden_size: usize, "Width of the residual stream (d_model).";
    num_hidden_layers: usize, "Number of layers.";
    num_attention_heads: usize, "Query heads.";
    num_key_value_heads: Option<usize>, "Key and value heads; `None` for as many as query heads.";
    intermediate_size: usize, "Width inside the feed-forward part.";
    rope_parameters: Value, "Rotary parameters, such as `json!({ \"rope_theta\": 500000.0 })`.";
    rms_norm_eps: f64, "Added to the mean square inside RMSNorm.";
    tie_word_embeddings: bool, "Whether the embedding is the head, too.";
    sliding_window: Option<usize>, "Tokens that a query sees, itself included; `None` for all.";
    attention_dropout: f64, "Probability that an attention weight is dropped in training.";
    vocab_size: usize, "Rows of the embedding and the head.";
    max_position_embeddings: usize, "Longest sequence, in tokens.";
}

impl ProjectConfig {
    pub(super) fn new(project: Project, name: &str) -> Self {
        Self { project, name: name.to_owned(), given: Sealed::default(), chosen: Sealed::default() }
    }

    /// Returns its project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a part into every layer, in place of what the definition has there. Its fields are arguments from then on.
    pub(crate) fn with_part(mut self, part: UserPart) -> Self {
        self.chosen.retain(|other| other.mixer_kind() != part.mixer_kind());
        self.chosen.push(part);
        self
    }

    /// Returns the declared argument of this name, or the field of a chosen part.
    fn argument(&self, name: &str) -> Option<Argument> {
        let declared = self.project.arguments().iter().find(|declared| declared.name == name).cloned();
        declared.or_else(|| self.is_of_chosen(name).then(|| Argument::of_field(name)).flatten())
    }

    fn is_of_chosen(&self, name: &str) -> bool {
        self.chosen.iter().flat_map(|part| part.fields()).any(|field| field.name == name)
    }

    /// Returns the arguments given so far.
    pub fn given(&self) -> &BTreeMap<String, Value> {
        &self.given
    }

    fn place(&self) -> String {
        match self.project.folder() {
            None => format!("project {}, configuration {}", self.project.name(), self.name),
            Some(folder) => folder.join("configs").join(format!("{}.yaml", self.name)).display().to_string(),
        }
    }

    /// Gives an argument a value.
    ///
    /// # Errors
    /// [`ProjectError`] if the project declares no such argument, or one of another type.
    pub fn set(self, argument: &str, value: impl Into<Value>) -> Result<Self, ProjectError> {
        self.set_value(argument, value.into())
    }

    fn set_value(mut self, argument: &str, value: Value) -> Result<Self, ProjectError> {
        let name = argument.replace('-', "_");
        self.project.load_parts()?;
        let declared = self.argument(&name).ok_or_else(|| {
            let known: Vec<String> = self.project.arguments().iter().map(|argument| argument.name.clone()).collect();
            unknown("argument", &name, &self.place(), &known)
        })?;
        declared.check(&value).map_err(|expected| ProjectError::Argument {
            argument: name.clone(),
            found: value.to_string(),
            expected,
            place: self.place(),
        })?;
        self.given.insert(name, value);
        Ok(self)
    }

    /// Returns the output folder that was asked for by the argument `output_dir`.
    pub fn output_dir(&self) -> Option<PathBuf> {
        self.given.get("output_dir").and_then(Value::as_str).map(PathBuf::from)
    }

    /// Returns the attention implementation that was asked for by the argument `attn_implementation`; test runs use it.
    pub fn attn_implementation(&self) -> Option<&str> {
        self.given.get("attn_implementation").and_then(Value::as_str)
    }

    /// Returns the templates rendered, and over that every argument that they did not read but whose key they wrote.
    fn rendering(&self) -> Result<Rendering, ProjectError> {
        let source = &self.project.source;
        let (mut rendering, read) = render(source, &self.template(), &self.given)?;
        for part in self.chosen.iter() {
            rendering.put(part.mixer_kind().field(), &Value::from(part.name()));
        }
        for (name, value) in self.given.iter() {
            if read.contains(name) || NOT_FOR_TEMPLATES.contains(&name.as_str()) {
                continue;
            }
            if self.is_of_chosen(name) {
                rendering.put(name, value);
            } else if !rendering.replace(name, value) {
                return Err(ProjectError::Unused { argument: name.clone(), place: self.place() });
            }
        }
        Ok(rendering)
    }

    fn template(&self) -> String {
        format!("{}configs/{}.yaml", self.project.source.prefix(), self.name)
    }

    /// Returns the keys that it renders to without arguments; none if it cannot be rendered.
    pub(super) fn keys(&self) -> Vec<String> {
        let rendered = render(&self.project.source, &self.template(), &BTreeMap::new());
        let value = rendered.map(|(rendering, _)| rendering.value).unwrap_or_default();
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns the YAML that the templates give with the arguments.
    ///
    /// # Errors
    /// [`ProjectError::Template`] if they cannot be rendered, [`ProjectError::Unused`] if an argument was never read.
    pub fn render_yaml(&self) -> Result<String, ProjectError> {
        Ok(self.rendering()?.shown)
    }

    /// Returns the YAML, and where each of its values comes from: an argument, a line that set it, a default.
    ///
    /// # Errors
    /// As [`render_yaml`](Self::render_yaml).
    pub fn trace(&self) -> Result<Trace, ProjectError> {
        let rendering = self.rendering()?;
        Ok(Trace {
            title: format!("{} {}", self.project.name(), self.name),
            folder: self.project.folder().map(Path::to_owned),
            values: Sealed::new(trace(&rendering, &self.project.source, &self.given)),
            yaml: rendering.shown,
            note: self.project.note().map(str::to_owned),
        })
    }

    /// Returns the value that the configuration renders to for each argument it has a key for, without any argument given.
    /// Empty if it cannot be rendered: that error belongs to who uses it.
    pub fn defaults(&self) -> BTreeMap<String, Value> {
        let Ok(rendering) = Self::new(self.project.clone(), &self.name).rendering() else { return BTreeMap::new() };
        let known = self.project.arguments().iter().filter_map(|argument| {
            let value = argument.default.as_ref().or_else(|| rendering.value.get(&argument.name))?;
            Some((argument.name.clone(), value.clone()))
        });
        known.collect()
    }

    /// Returns the model's configuration; token ids are those of the configuration's tokenizer.
    ///
    /// # Errors
    /// [`ProjectError`] if it cannot be rendered or describes no model.
    pub fn render(&self) -> Result<ModelConfig, ProjectError> {
        self.project.load_parts()?;
        let rendering = self.rendering()?;
        let located = |error| self.located(error, &rendering);
        let mut config = ModelConfig::from_project(&rendering.value, &self.place()).map_err(located)?;
        let tokenizer = self.tokenizer_of(&rendering.value)?;
        let ids = |config: &mut ModelConfig| {
            config.bos_token_id = tokenizer.role("bos_token");
            config.eos_token_id = tokenizer.role("eos_token").into_iter().collect();
            config.pad_token_id = tokenizer.role("pad_token");
        };
        ids(&mut config);
        // The configurations of layers repeat what is the model's.
        config.layers.iter_mut().for_each(|run| ids(&mut run.config));
        config.validate(&self.place()).map_err(located)?;
        let dropped = config.dropped(&rendering.value, &self.place());
        if !dropped.is_empty() {
            let values = trace(&rendering, &self.project.source, &self.given);
            let asked = |error: &ConfigError| self.asked(origin_of(error, &values));
            if let Some(error) = dropped.into_iter().find(asked) {
                return Err(located(error));
            }
        }
        Ok(config)
    }

    /// Returns whether somebody asked for a value, rather than a definition that is written for many models.
    fn asked(&self, origin: Option<&Origin>) -> bool {
        let built_in = self.project.folder().is_none();
        let own = |place: &TemplateLine| !built_in && !place.file.starts_with(BUILTIN);
        match origin {
            None | Some(Origin::Unknown | Origin::Argument(_)) => true,
            Some(Origin::Default(_)) => false,
            Some(Origin::Set(place) | Origin::Written(place) | Origin::Computed { place, .. }) => own(place),
        }
    }

    /// Says with a wrong value where it comes from.
    fn located(&self, mut error: ConfigError, rendering: &Rendering) -> ProjectError {
        let values = trace(rendering, &self.project.source, &self.given);
        let from = origin_of(&error, &values).map(Origin::to_string);
        if let (
            Some(from),
            ConfigError::Invalid { field, origin, .. }
            | ConfigError::NoEffect { field, origin, .. }
            | ConfigError::Unknown { found: field, origin, .. },
        ) = (from, &mut error)
        {
            origin.push_str(&format!(", `{field}` from {from}"));
        }
        error.into()
    }

    /// Returns the name of the model, and of its output folder.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn model_name(&self) -> Result<String, ProjectError> {
        let value = self.rendering()?.value;
        Ok(value.get("model_name").and_then(Value::as_str).unwrap_or(&self.name).to_owned())
    }

    /// Returns the files of its tokenizer: a built-in one by name, or those of a folder or `tokenizer.json` by path, seen
    /// from the project's folder.
    ///
    /// # Errors
    /// [`ProjectError`] if it does not exist, which says what was searched for.
    pub fn tokenizer(&self) -> Result<TokenizerFiles, ProjectError> {
        self.tokenizer_of(&self.rendering()?.value)
    }

    fn tokenizer_of(&self, value: &Value) -> Result<TokenizerFiles, ProjectError> {
        let name = match value.get("tokenizer") {
            None | Some(Value::Null) => tokenizers::DEFAULT,
            Some(Value::String(name)) => name,
            Some(other) => {
                return Err(ProjectError::Argument {
                    argument: "tokenizer".to_owned(),
                    found: other.to_string(),
                    expected: "the name of a built-in tokenizer, or a path".to_owned(),
                    place: self.place(),
                });
            }
        };
        tokenizers::find(name, self.project.folder(), &self.place())
    }
}

/// Returns where the field comes from that an error is about.
fn origin_of<'a>(error: &ConfigError, values: &'a [TracedValue]) -> Option<&'a Origin> {
    let (ConfigError::Invalid { field, .. }
    | ConfigError::NoEffect { field, .. }
    | ConfigError::Unknown { found: field, .. }) = error
    else {
        return None;
    };
    let whole = values.iter().find(|value| value.key == *field);
    let part = || values.iter().find(|value| value.key.split('.').next() == Some(field));
    whole.or_else(part).map(|value| &value.origin)
}

#[cfg(test)]
mod tests;
