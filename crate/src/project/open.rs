//! Projects, which are found by name, by path, or around the current folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use super::argument::Argument;
use super::blame::line_of;
use super::config::ProjectConfig;
use super::error::{ProjectError, unknown};
use super::own_parts;
use super::shapes;
use super::source::{PROJECT_FILE, Source};
use crate::sealed::Sealed;
use crate::spec::{UserPart, parts};

/// The project used when none is named and the current folder is in none.
const DEFAULT: &str = "llama";

/// How deep below a folder projects are looked for, and how many entries are looked at.
const DEPTH: usize = 4;
const ENTRIES: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    name: String,
    description: String,
    default_config: Option<String>,
    #[serde(default)]
    arguments: Vec<Argument>,
}

/// A model project: a family of configurations with common arguments.
#[derive(Clone, Debug)]
pub struct Project {
    name: String,
    description: String,
    default_config: String,
    declared: Sealed<Vec<Argument>>,
    /// Those declared, one for each field that the definition writes, and those of every project; once they were asked for.
    arguments: Sealed<OnceLock<Vec<Argument>>>,
    pub(super) source: Source,
    /// A note about how it was found.
    note: Option<String>,
}

/// A project found below a folder.
#[derive(Debug)]
pub struct FoundProject {
    /// Its folder.
    pub folder: PathBuf,
    /// The project, or why it cannot be used.
    pub project: Result<Project, ProjectError>,
}

/// Opens a project: the one in (or above) a folder if `name` is a path that exists, else the built-in one of this name.
///
/// A folder here that has a built-in project's name is used if it holds `project.yaml` itself; [`Project::note`] then
/// says so.
///
/// ```
/// let config = chandlery::project("llama")?.config("4M")?.set("num_hidden_layers", 2)?.render()?;
/// assert_eq!(config.num_hidden_layers, 2);
/// # Ok::<(), chandlery::project::ProjectError>(())
/// ```
///
/// # Errors
/// [`ProjectError::Unknown`] if there is neither, [`ProjectError::Refused`] or [`ProjectError::Template`] if its
/// declaration is wrong.
pub fn project(name: &str) -> Result<Project, ProjectError> {
    let path = Path::new(name);
    let builtin = Source::builtin(name);
    let mut note = None;
    if path.exists() && !name.is_empty() {
        let own = path.join(PROJECT_FILE).is_file();
        match &builtin {
            Some(_) if own => note = Some(format!("using the folder `{name}`, not the built-in project `{name}`")),
            Some(_) => {
                note = Some(format!("using the built-in project: the folder `{name}` here has no {PROJECT_FILE}"));
            }
            None => {}
        }
        if own || builtin.is_none() {
            let folder = enclosing(path).ok_or_else(|| no_project(path))?;
            return Project::load(Source::Folder(folder), note);
        }
    }
    match builtin {
        Some(source) => Project::load(source, note),
        None if name.contains('/') => Err(ProjectError::Refused {
            what: format!("there is no project at `{name}`"),
            place: std::path::absolute(path).unwrap_or(path.to_owned()).display().to_string(),
            advice: format!("name a folder that holds {PROJECT_FILE}, or one of: {}", Project::names().join(", ")),
        }),
        None => {
            let here = std::env::current_dir().map_or_else(|_| ".".to_owned(), |here| here.display().to_string());
            Err(unknown("project", name, &format!("the built-in projects, and {here}"), &Project::names()))
        }
    }
}

fn no_project(path: &Path) -> ProjectError {
    ProjectError::Refused {
        what: format!("there is no {PROJECT_FILE} in `{}` or above it", path.display()),
        place: std::path::absolute(path).unwrap_or(path.to_owned()).display().to_string(),
        advice: format!(
            "name a project's folder, or one of: {}; `chandlery project new` makes one",
            Project::names().join(", ")
        ),
    }
}

/// Returns the folder with the project's declaration, at `path` or above it.
fn enclosing(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.ancestors().find(|folder| folder.join(PROJECT_FILE).is_file()).map(Path::to_owned)
}

impl Project {
    /// The project that the current folder is in, walking up; without one, the built-in `llama`.
    ///
    /// # Errors
    /// [`ProjectError`] if there is one, and it cannot be used.
    pub fn here() -> Result<Self, ProjectError> {
        match enclosing(Path::new(".")) {
            Some(folder) => {
                let note = format!("the project of the current folder: {}", folder.display());
                Self::load(Source::Folder(folder), Some(note))
            }
            None => project(DEFAULT),
        }
    }

    /// Returns the projects below a folder (four levels; hidden folders and links are left out), by path.
    pub fn below(folder: &Path) -> Vec<FoundProject> {
        let mut found = Vec::new();
        let mut left = ENTRIES;
        let mut todo = vec![(folder.to_owned(), 0)];
        while let Some((folder, depth)) = todo.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                left = left.saturating_sub(1);
                let hidden = entry.file_name().to_string_lossy().starts_with('.');
                // The type of the entry itself: links are not followed.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !hidden && depth < DEPTH && left > 0 {
                    todo.push((entry.path(), depth + 1));
                }
            }
            if let (true, Ok(root)) = (folder.join(PROJECT_FILE).is_file(), folder.canonicalize()) {
                found.push(FoundProject { folder, project: Self::load(Source::Folder(root), None) });
            }
        }
        found.sort_by(|a, b| a.folder.cmp(&b.folder));
        found
    }

    fn load(source: Source, note: Option<String>) -> Result<Self, ProjectError> {
        let file = format!("{}{PROJECT_FILE}", source.prefix());
        let text = source.template(&file)?.unwrap_or_default();
        let wrong = |reason: String, line: Option<usize>| ProjectError::Template {
            reason,
            place: line_of(&source.locate(PROJECT_FILE), &text, line),
            advice: "correct the declaration, or name another project with -p; `chandlery project new` makes one"
                .to_owned(),
        };
        let declared: Declaration = serde_yaml::from_str(&text)
            .map_err(|error| wrong(error.to_string(), error.location().map(|location| location.line())))?;
        let arguments = declared.arguments;
        for (index, argument) in arguments.iter().enumerate() {
            argument.check_declaration().map_err(|reason| wrong(reason, None))?;
            if arguments[..index].iter().any(|other| other.name == argument.name) {
                return Err(wrong(format!("argument `{}` is declared twice", argument.name), None));
            }
        }
        let configs = source.configs();
        let default_config = match (declared.default_config, configs.first()) {
            (Some(name), _) if configs.contains(&name) => name,
            (Some(name), _) => return Err(wrong(format!("there is no configs/{name}.yaml, its default_config"), None)),
            (None, Some(first)) => first.clone(),
            (None, None) => return Err(wrong("the project has no configuration (configs/NAME.yaml)".to_owned(), None)),
        };
        Ok(Self {
            name: declared.name,
            description: declared.description,
            default_config,
            declared: Sealed::new(arguments),
            arguments: Sealed::new(OnceLock::new()),
            source,
            note,
        })
    }

    /// Returns the names of all built-in projects.
    pub fn names() -> Vec<String> {
        shapes::names().map(str::to_owned).collect()
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it is, in a sentence.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns its folder; `None` if it ships inside the library.
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Builtin(_) => None,
            Source::Folder(root) => Some(root),
        }
    }

    /// Returns a note about how it was found: if the name was ambiguous, or the current folder decided.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Returns its arguments: those that it declares, one for each field of a model's part that one of its configurations
    /// writes, and those that every project has ([`Argument::base`]).
    pub fn arguments(&self) -> &[Argument] {
        self.arguments.get_or_init(|| {
            let mut arguments = self.declared.to_vec();
            let configs = self.configs().into_iter();
            let written = configs.flat_map(|name| ProjectConfig::new(self.clone(), &name).keys());
            let written: BTreeSet<String> = written.collect();
            // What is wrong with a part is said where the configuration is asked for.
            let _ = self.load_parts();
            let own = UserPart::all().into_iter().flat_map(|part| part.fields()).map(|field| field.name);
            let fields = parts::fields().map(|field| field.name).chain(own).filter(|field| written.contains(*field));
            let tokenizer = written.contains("tokenizer").then(Argument::tokenizer);
            let derived = fields.filter_map(Argument::of_field);
            let derived = derived.chain(tokenizer).chain(Argument::base());
            for argument in derived {
                if arguments.iter().all(|known| known.name != argument.name) {
                    arguments.push(argument);
                }
            }
            arguments
        })
    }

    /// Compiles and registers the parts in its folder `parts`, unless they are known as they are.
    ///
    /// # Errors
    /// [`ProjectError::Refused`] with what the compiler says.
    pub fn load_parts(&self) -> Result<(), ProjectError> {
        self.folder().map_or(Ok(()), |folder| own_parts::load(&folder.join(own_parts::FOLDER)))
    }

    /// Returns the arguments in its declaration.
    pub fn declared(&self) -> &[Argument] {
        &self.declared
    }

    /// Returns the names of its configurations.
    pub fn configs(&self) -> Vec<String> {
        self.source.configs()
    }

    /// Returns the configuration used when none is named.
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
            let place = match self.folder() {
                None => format!("project {}", self.name),
                Some(folder) => folder.join("configs").display().to_string(),
            };
            return Err(unknown("configuration", name, &place, &known));
        }
        Ok(ProjectConfig::new(self.clone(), name))
    }
}
