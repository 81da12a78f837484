//! Migrations as data: YAML files of steps from one version of an architecture to the next.

use std::io::Read;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::change::Change;
use super::{UpdateError, Version};
use crate::naming::{Remap, buffer, native_alias};
use crate::spec::{Architecture, ModelConfig, ParamPath};

/// Bytes of the largest file of migrations.
const MAX_FILE: u64 = 1 << 20;

/// The steps that come with the crate.
const BUILT_IN: &[(&str, &str)] = &[("forgather.yaml", include_str!("migrations/forgather.yaml"))];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMigration {
    migrations: Names,
    steps: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    from: u64,
    to: u64,
    description: String,
    #[serde(default)]
    config: Vec<Change>,
    /// Whether names and buffers follow `naming/forgather.yaml`, as reading does.
    #[serde(default)]
    names_as_read: bool,
    #[serde(default)]
    rules: Option<serde_yaml::Value>,
    #[serde(default)]
    drop: Vec<String>,
    #[serde(default)]
    leave: Vec<String>,
}

/// One step from a version to the next.
#[derive(Clone, Debug)]
pub struct Step {
    from: u64,
    description: String,
    origin: String,
    changes: Vec<Change>,
    names_as_read: bool,
    rules: Option<Remap>,
    drop: Vec<Regex>,
    leave: Vec<Regex>,
}

impl Step {
    /// Returns the version it starts at.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Returns the version it leads to.
    pub fn to(&self) -> u64 {
        self.from + 1
    }

    /// `1->2: what it does`.
    pub fn in_words(&self) -> String {
        format!("{}->{}: {}", self.from(), self.to(), self.description)
    }

    /// Changes config.json.
    pub(super) fn change(&self, config: &mut Map<String, Value>) -> Result<(), UpdateError> {
        for change in &self.changes {
            change.apply(config).map_err(|reason| {
                UpdateError::migrations(
                    format!("step {} -> {} does not fit config.json: {reason}", self.from(), self.to()),
                    &self.origin,
                    "correct the configuration, or the step",
                )
            })?;
        }
        Ok(())
    }

    /// Returns a parameter's name after this step; none if the new version has no such parameter. `config` is the new
    /// model's.
    pub(super) fn rename(&self, name: &ParamPath, config: &ModelConfig) -> Option<ParamPath> {
        let is_buffer = self.names_as_read && buffer(name, config).is_some();
        if is_buffer || self.drop.iter().any(|pattern| pattern.is_match(name.as_str())) {
            return None;
        }
        let read = if self.names_as_read { native_alias(name) } else { None };
        let name = read.unwrap_or_else(|| name.clone());
        Some(self.rules.as_ref().and_then(|rules| rules.rename_one(&name)).unwrap_or(name))
    }

    /// Returns true for a source file that the new version does not use.
    pub(super) fn leaves(&self, file: &str) -> bool {
        self.leave.iter().any(|pattern| pattern.is_match(file))
    }
}

/// All known steps of one architecture.
#[derive(Clone, Debug)]
pub struct Migrations {
    architecture: String,
    /// By the version they start at.
    steps: Vec<Step>,
}

impl Migrations {
    /// The built-in steps of an architecture and those in `paths`: YAML files, or folders of them. Files that are about
    /// something else, such as families, are passed over in folders.
    ///
    /// # Errors
    /// [`UpdateError::Migrations`] for a path that is not there, a file that cannot be read, or two files with one
    /// step.
    pub fn of(architecture: &str, paths: &[PathBuf]) -> Result<Self, UpdateError> {
        let mut all = Self { architecture: architecture.to_owned(), steps: Vec::new() };
        for (name, text) in BUILT_IN {
            all.add(text, &format!("built-in migrations, {name}"))?;
        }
        for path in paths {
            for file in files_of(path)? {
                let text = read(&file)?;
                let named = file == *path;
                if named || is_migrations(&text) {
                    all.add(&text, &file.display().to_string())?;
                }
            }
        }
        all.steps.sort_by_key(Step::from);
        Ok(all)
    }

    /// Reads one more file; its steps count if it is about this architecture.
    fn add(&mut self, text: &str, origin: &str) -> Result<(), UpdateError> {
        let advice = "write `migrations: ARCHITECTURE` and `steps`, each with from, to, description, and what changes";
        let fault = |what: String| UpdateError::migrations(what, origin, advice);
        let written: RawMigration =
            serde_yaml::from_str(text).map_err(|error| fault(format!("the migrations cannot be read: {error}")))?;
        let names = match written.migrations {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        };
        for step in written.steps {
            let place = format!("{origin}, step {} -> {}", step.from, step.to);
            if step.from.checked_add(1) != Some(step.to) {
                return Err(fault(format!("a step leads to the next version, not from {} to {}", step.from, step.to)));
            }
            let fault = |what: String| UpdateError::migrations(what, place.clone(), advice);
            if let Some(reason) = step.config.iter().find_map(Change::fault) {
                return Err(fault(reason));
            }
            let patterns = |patterns: Vec<String>| -> Result<Vec<Regex>, UpdateError> {
                let compiled = patterns.into_iter().map(|pattern| {
                    Regex::new(&format!("^(?:{pattern})$"))
                        .map_err(|error| fault(format!("pattern `{pattern}` is not a regular expression: {error}")))
                });
                compiled.collect()
            };
            let (drop, leave) = (patterns(step.drop)?, patterns(step.leave)?);
            let rules = step.rules.map(|rules| Remap::from_yaml(&rules, &place)).transpose();
            let rules = rules.map_err(crate::model_folder::ModelFolderError::from)?;
            if !names.contains(&self.architecture) {
                continue;
            }
            if let Some(other) = self.steps.iter().find(|other| other.from == step.from) {
                let what = format!(
                    "two migrations lead {} from version {}: see {}",
                    self.architecture, step.from, other.origin
                );
                return Err(fault(what));
            }
            let (from, description) = (step.from, step.description);
            self.steps.push(Step {
                from,
                description,
                origin: place,
                changes: step.config,
                names_as_read: step.names_as_read,
                rules,
                drop,
                leave,
            });
        }
        Ok(())
    }

    /// Returns the newest version that a step leads to.
    pub fn newest(&self) -> u64 {
        // An architecture without steps began with the version that is written.
        self.steps.iter().map(Step::to).max().unwrap_or(Architecture::VERSION)
    }

    /// Returns the steps that lead from one version to another; none if they are the same.
    ///
    /// # Errors
    /// [`UpdateError::NoChain`] for a way back, or for missing steps, all of which it names.
    pub fn chain(&self, from: &Version, to: &Version) -> Result<Vec<&Step>, UpdateError> {
        let origin = format!("{} version {from}", self.architecture);
        if to.major() < from.major() {
            return Err(UpdateError::NoChain {
                what: format!(
                    "version {to} is older than version {from}, and models are not converted to older versions"
                ),
                origin,
                advice: "name a newer version with --to-version, or leave it out".to_owned(),
            });
        }
        let step_from = |version: u64| self.steps.iter().find(|step| step.from == version);
        let chain: Vec<Option<&Step>> = (from.major()..to.major().min(from.major() + 1000)).map(step_from).collect();
        let missing: Vec<String> = (from.major()..)
            .zip(&chain)
            .filter(|(_, step)| step.is_none())
            .map(|(version, _)| format!("{version} -> {}", version + 1))
            .collect();
        if missing.is_empty() && to.major() - from.major() < 1000 {
            return Ok(chain.into_iter().flatten().collect());
        }
        let reachable = from.major() + chain.iter().take_while(|step| step.is_some()).count() as u64;
        let known = self.steps.iter().map(|step| format!("{} -> {}", step.from(), step.to()));
        let known = known.collect::<Vec<_>>().join(", ");
        let more = if missing.len() > 5 { format!(" and {} more", missing.len() - 5) } else { String::new() };
        let advice = match reachable > from.major() {
            true => format!("stop at --to-version {reachable}, or name a file with the steps with --converter-path"),
            false => {
                "name a file with the steps with --converter-path, or check --from-version and --to-version".to_owned()
            }
        };
        Err(UpdateError::NoChain {
            what: format!(
                "no migration leads to version {to}: {}{more} missing (known: {})",
                missing.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
                if known.is_empty() { "none" } else { &known }
            ),
            origin,
            advice,
        })
    }
}

/// Returns true if the first key of the text is that of migrations, whether or not the rest can be read.
fn is_migrations(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("migrations:"))
}

/// Returns a file, or the YAML files of a folder in order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, UpdateError> {
    let advice = "name a YAML file of migrations, or a folder of such files";
    let refuse = |what: String| UpdateError::migrations(what, format!("--converter-path {}", path.display()), advice);
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let listed = std::fs::read_dir(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refuse("there is no such file or folder".to_owned()),
        _ => refuse(format!("it cannot be read: {error}")),
    })?;
    let mut files: Vec<PathBuf> = listed
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.is_file())
        .filter(|file| file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"))
        .collect();
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String, UpdateError> {
    let refuse = |what: String| {
        UpdateError::migrations(what, file.display().to_string(), "name a YAML file of migrations, a page of text")
    };
    let opened = std::fs::File::open(file).map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(refuse(format!("it is larger than {MAX_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama() -> Migrations {
        Migrations { architecture: "llama".to_owned(), steps: Vec::new() }
    }

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn step(from: u64) -> String {
        format!("  - {{ from: {from}, to: {}, description: step {from} }}\n", from + 1)
    }

    #[test]
    fn chains_are_checked_before_anything_else_happens() {
        let mut migrations = llama();
        migrations.add(&format!("migrations: llama\nsteps:\n{}{}{}", step(4), step(1), step(2)), "a.yaml").unwrap();
        migrations.steps.sort_by_key(Step::from);
        let chain = migrations.chain(&version("1.3"), &version("3")).unwrap();
        assert_eq!(chain.iter().map(|step| step.in_words()).collect::<Vec<_>>(), ["1->2: step 1", "2->3: step 2"]);
        assert!(migrations.chain(&version("7"), &version("7.1")).unwrap().is_empty());
        let words = |from, to| migrations.chain(&version(from), &version(to)).unwrap_err().to_string();
        assert!(words("1", "5").contains("3 -> 4 missing (known: 1 -> 2, 2 -> 3, 4 -> 5)"), "{}", words("1", "5"));
        assert!(words("1", "5").contains("stop at --to-version 3"), "{}", words("1", "5"));
        assert!(words("3", "5").contains("3 -> 4 missing"), "{}", words("3", "5"));
        assert!(words("3", "2").contains("older versions"), "{}", words("3", "2"));
        assert!(words("0", "18446744073709551615").contains("more missing"), "{}", words("0", "18446744073709551615"));
    }

    #[test]
    fn faults_of_a_file_say_where() {
        for (text, found) in [
            ("migrations: llama\nsteps:\n  - {from: 1, to: 3, description: x}\n", "not from 1 to 3"),
            ("migrations: llama\nsteps:\n  - {from: 1, to: 2, description: x, drop: ['(']}\n", "pattern `(`"),
            (
                "migrations: llama\nsteps:\n  - {from: 1, to: 2, description: x, config: [{set: a, remove: b}]}\n",
                "a change is",
            ),
            ("migrations: llama\nsteps:\n  - from: 1\n    to: 2\n    descripton: x\n", "at line 5"),
            (
                "migrations: llama\nsteps:\n  - {from: 1, to: 2, description: x, rules: [{match: '('}]}\n",
                "missing field `replace`",
            ),
        ] {
            let words = llama().add(text, "mine.yaml").unwrap_err().to_string();
            assert!(words.contains(found) && words.contains("mine.yaml"), "{words}");
        }
    }

    #[test]
    fn two_steps_from_one_version_are_a_fault() {
        let mut migrations = llama();
        let text = format!("migrations: [llama, qwen3]\nsteps:\n{}", step(1));
        migrations.add(&text, "a.yaml").unwrap();
        migrations.add(&format!("migrations: mistral\nsteps:\n{}", step(1)), "b.yaml").unwrap();
        let words = migrations.add(&text, "c.yaml").unwrap_err().to_string();
        assert!(words.contains("see a.yaml, step 1 -> 2") && words.contains("c.yaml"), "{words}");
    }

    #[test]
    fn the_built_in_steps_lead_to_the_version_that_is_written() {
        for architecture in Architecture::all() {
            assert_eq!(Migrations::of(architecture.name(), &[]).unwrap().newest(), Architecture::VERSION);
        }
    }
}
