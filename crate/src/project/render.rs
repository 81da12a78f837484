//! Projects, their configurations, and the rendering of both into a model's configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object};
use minijinja::{Environment, UndefinedBehavior, Value as Jinja};
use serde::Deserialize;
use serde_json::Value;

use super::argument::Argument;
use super::builtin::{PROJECTS, TOKENIZERS};
use crate::sealed::Sealed;
use crate::spec::{ConfigError, ModelConfig};
use crate::tokenizer::TokenizerFiles;

/// Why a project could not be opened or rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// A name that nothing has.
    #[error("there is no {kind} `{name}`{suggestion}\n  where: {place}\n  do: use one of: {known}", suggestion = hint.as_ref().map_or_else(String::new, |hint| format!(" (is `{hint}` meant?)")))]
    Unknown {
        /// Project, configuration, argument or tokenizer.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The closest name there is.
        hint: Option<String>,
        /// Where it was looked for.
        place: String,
        /// What there is.
        known: String,
    },
    /// An argument with a value of another type.
    #[error("`{argument}` is `{found}`, expected {expected}\n  where: {place}\n  do: correct the value")]
    Argument {
        /// The argument.
        argument: String,
        /// What it was given.
        found: String,
        /// What it takes.
        expected: String,
        /// The project.
        place: String,
    },
    /// An argument that the configuration never reads.
    #[error(
        "argument `{argument}` has no effect\n  where: {place}\n  do: leave it out, or choose another configuration"
    )]
    Unused {
        /// The argument.
        argument: String,
        /// The configuration.
        place: String,
    },
    /// A template or its YAML is wrong.
    #[error(
        "the configuration cannot be rendered: {reason}\n  where: {place}\n  do: correct the template at that line"
    )]
    Template {
        /// What the engine says.
        reason: String,
        /// The configuration.
        place: String,
    },
    /// The rendered configuration describes no model.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    name: String,
    description: String,
    default_config: String,
    arguments: Vec<Argument>,
}

/// A model project: a family of configurations with common arguments.
#[derive(Clone, Debug)]
pub struct Project {
    name: String,
    description: String,
    default_config: String,
    arguments: Sealed<Vec<Argument>>,
    files: &'static [(&'static str, &'static str)],
}

/// One configuration of a project, with the arguments given so far.
#[derive(Clone, Debug)]
pub struct ProjectConfig {
    project: Project,
    name: String,
    given: Sealed<BTreeMap<String, Value>>,
}

/// Opens a built-in project by name.
///
/// ```
/// let config = chandlery::project("llama")?.config("4M")?.set("num_hidden_layers", 2)?.render()?;
/// assert_eq!(config.num_hidden_layers, 2);
/// # Ok::<(), chandlery::project::ProjectError>(())
/// ```
///
/// # Errors
/// [`ProjectError::Unknown`] if there is none of this name.
pub fn project(name: &str) -> Result<Project, ProjectError> {
    let names = Project::names();
    let found = PROJECTS.iter().find(|project| project.name == name);
    let found = found.ok_or_else(|| unknown("project", name, "the built-in projects", &names))?;
    let template = |reason: String| ProjectError::Template { reason, place: format!("{name}/project.yaml") };
    let text = found.files.iter().find(|(file, _)| *file == "project.yaml").map_or("", |(_, text)| text);
    let declared: Declaration = serde_yaml::from_str(text).map_err(|error| template(error.to_string()))?;
    Ok(Project {
        name: declared.name,
        description: declared.description,
        default_config: declared.default_config,
        arguments: Sealed::new(declared.arguments),
        files: found.files,
    })
}

fn unknown(kind: &'static str, name: &str, place: &str, known: &[String]) -> ProjectError {
    let likeness = |candidate: &String| strsim::jaro_winkler(name, candidate);
    let hint = known.iter().filter(|candidate| likeness(candidate) > 0.75);
    let hint = hint.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).cloned();
    ProjectError::Unknown { kind, name: name.to_owned(), hint, place: place.to_owned(), known: known.join(", ") }
}

impl Project {
    /// The names of all built-in projects.
    pub fn names() -> Vec<String> {
        PROJECTS.iter().map(|project| project.name.to_owned()).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in a sentence.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The arguments it declares.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// The names of its configurations.
    pub fn configs(&self) -> Vec<String> {
        let names = self.files.iter().filter_map(|(file, _)| file.strip_prefix("configs/")?.strip_suffix(".yaml"));
        names.map(str::to_owned).collect()
    }

    /// The configuration used when none is named.
    pub fn default_config(&self) -> &str {
        &self.default_config
    }

    /// Chooses a configuration; the suffix `.yaml` may be written.
    ///
    /// # Errors
    /// [`ProjectError::Unknown`] if there is none of this name.
    pub fn config(&self, name: &str) -> Result<ProjectConfig, ProjectError> {
        let name = name.strip_suffix(".yaml").unwrap_or(name);
        let known = self.configs();
        if !known.iter().any(|config| config == name) {
            return Err(unknown("configuration", name, &format!("project {}", self.name), &known));
        }
        Ok(ProjectConfig { project: self.clone(), name: name.to_owned(), given: Sealed::default() })
    }
}

/// The template context: remembers which arguments were read.
#[derive(Debug)]
struct Tracked {
    values: BTreeMap<String, Value>,
    read: Mutex<BTreeSet<String>>,
}

impl Object for Tracked {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let name = key.as_str()?;
        let value = self.values.get(name)?;
        self.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(name.to_owned());
        Some(Jinja::from(minijinja::value::Serde(value)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

impl ProjectConfig {
    /// Its project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        format!("project {}, configuration {}", self.project.name, self.name)
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
        let declared = self.project.arguments.iter().find(|declared| declared.name == name).ok_or_else(|| {
            let known: Vec<String> = self.project.arguments.iter().map(|argument| argument.name.clone()).collect();
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

    /// The YAML that the templates give with the arguments.
    ///
    /// # Errors
    /// [`ProjectError::Template`] if they cannot be rendered, [`ProjectError::Unused`] if an argument was never read.
    pub fn render_yaml(&self) -> Result<String, ProjectError> {
        let template = |reason: String| ProjectError::Template { reason, place: self.place() };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(1_000_000));
        for (name, text) in self.project.files {
            environment.add_template(name, text).map_err(|error| template(error.to_string()))?;
        }
        let file = format!("configs/{}.yaml", self.name);
        let context = Arc::new(Tracked { values: (*self.given).clone(), read: Mutex::default() });
        let rendered = environment
            .get_template(&file)
            .and_then(|template| template.render(Jinja::from_dyn_object(context.clone())))
            .map_err(|error| template(error.to_string()))?;
        let read = context.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(argument) = self.given.keys().find(|name| !read.contains(*name)) {
            return Err(ProjectError::Unused { argument: argument.clone(), place: self.place() });
        }
        Ok(rendered)
    }

    fn render_value(&self) -> Result<Value, ProjectError> {
        let yaml = self.render_yaml()?;
        serde_yaml::from_str(&yaml).map_err(|error| ProjectError::Template {
            reason: format!("the YAML is wrong: {error}"),
            place: self.place(),
        })
    }

    /// The model's configuration; token ids are those of the configuration's tokenizer.
    ///
    /// # Errors
    /// [`ProjectError`] if it cannot be rendered or describes no model.
    pub fn render(&self) -> Result<ModelConfig, ProjectError> {
        let value = self.render_value()?;
        let mut config = ModelConfig::from_project(&value, &self.place())?;
        let tokenizer = self.tokenizer_of(&value)?;
        config.bos_token_id = tokenizer.role("bos_token");
        config.eos_token_id = tokenizer.role("eos_token").into_iter().collect();
        config.pad_token_id = tokenizer.role("pad_token");
        config.validate(&self.place())?;
        Ok(config)
    }

    /// The name of the model, and of its output folder.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn model_name(&self) -> Result<String, ProjectError> {
        let value = self.render_value()?;
        Ok(value.get("model_name").and_then(Value::as_str).unwrap_or(&self.name).to_owned())
    }

    /// The files of its tokenizer.
    ///
    /// # Errors
    /// [`ProjectError::Unknown`] if it names a tokenizer that is not built in.
    pub fn tokenizer(&self) -> Result<TokenizerFiles, ProjectError> {
        self.tokenizer_of(&self.render_value()?)
    }

    fn tokenizer_of(&self, value: &Value) -> Result<TokenizerFiles, ProjectError> {
        let name = value.get("tokenizer").and_then(Value::as_str).unwrap_or("2k");
        let found = TOKENIZERS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<String> = TOKENIZERS.iter().map(|(known, _)| (*known).to_owned()).collect();
            unknown("tokenizer", name, &self.place(), &known)
        })?;
        let files = found.1.iter().map(|(file, bytes)| ((*file).to_owned(), bytes.to_vec())).collect();
        Ok(TokenizerFiles::from_parts(&format!("the built-in tokenizer {name}"), files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DType, ModelSpec};

    #[test]
    fn built_in_configurations_have_the_published_parameter_counts() {
        for (family, name, parameters) in [
            ("llama", "4M", 4_434_176),
            ("llama", "small", 28_273_152),
            ("llama", "medium", 137_847_552),
            ("llama", "117M", 119_161_856),
            ("llama", "default", 6_738_415_616),
            ("llama", "llama2_7b", 6_738_415_616),
            ("llama", "llama3.2_1b", 1_235_814_400),
            ("llama", "llama3.1_70b", 70_553_706_496),
            ("mistral", "4M", 4_172_032),
            ("mistral", "119M", 119_161_856),
            ("mistral", "medium", 123_691_776),
            ("mistral", "default", 7_241_732_096),
            ("mistral", "7B", 7_241_732_096),
            ("mistral", "7B_instruct", 7_241_732_096),
            ("qwen3", "4M", 4_172_544),
            ("qwen3", "medium", 123_694_848),
            ("qwen3", "default", 8_190_735_360),
            ("qwen3", "8B", 8_190_735_360),
            ("causal_lm", "4M", 4_178_944),
            ("causal_lm", "small", 22_998_016),
            ("causal_lm", "23M", 22_998_016),
            ("causal_lm", "117M", 117_121_024),
            ("causal_lm", "medium", 137_932_800),
            ("deepone", "4M", 4_434_192),
            ("deepone", "117M", 119_161_920),
            ("deepone", "medium", 137_847_680),
            ("deepone", "1_7B", 1_725_041_152),
            ("single_head", "4M", 4_607_238),
        ] {
            let config = project(family).unwrap().config(name).unwrap().render().unwrap();
            assert_eq!(ModelSpec::resolve(&config).table(DType::BF16).parameters(), parameters, "{family} {name}");
        }
    }

    #[test]
    fn unknown_and_ill_typed_arguments_say_what_was_meant() {
        let config = project("llama").unwrap().config("4M.yaml").unwrap();
        let error = config.clone().set("hiden_size", 8).unwrap_err().to_string();
        assert!(error.contains("is `hidden_size` meant?"), "{error}");
        let error = config.set("hidden_size", "wide").unwrap_err().to_string();
        assert!(error.contains("expected a value of type int"), "{error}");
        let error = project("llama").unwrap().config("4m").unwrap_err().to_string();
        assert!(error.contains("4M, small"), "{error}");
    }
}
