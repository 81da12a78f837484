//! `%dep`: crates besides the toolkit. Cargo builds all of a notebook's dependencies into one shared library, which
//! the worker loads: their statics are shared by all cells, and cells link to them as to the toolkit.
//!
//! Every crate gets a salt in its identity (`-Cmetadata`), because the toolkit's library holds its own copies of many,
//! and the compiler refuses two crates of one identity. A set that grows is a new library. Crates in both have the same symbols,
//! and the loader takes those of the first library, so statics keep their values.

mod build;
mod cache;
mod cargo;
mod invocation;
mod kept;
mod manifest;
mod resolved;
mod runtime;
mod snapshot;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::engine::direct::run::busy::Busy;
use crate::language::Crate;
use crate::toolkit::Toolkit;
use cache::InUse;
pub(super) use cache::{Built, Tokio};
pub use kept::{Cleaned, DependencyCache, KeptSet};
use manifest::{DependencyError, Wanted};

/// Why dependencies could not be built.
pub(super) enum Failure {
    /// The user stopped it.
    Stopped,
    /// The line of this number is not a dependency.
    Usage(usize, DependencyError),
    /// Cargo failed; its messages.
    Cargo(String),
}

impl Failure {
    /// A file that could not be read or written.
    fn io(at: &Path, problem: &std::io::Error) -> Self {
        Self::Cargo(format!("error: {}: {problem}", at.display()))
    }
}

/// A notebook's dependencies.
pub(super) struct Dependencies {
    wanted: Wanted,
    pub(super) built: Option<Built>,
    pub(super) offline: bool,
    pub(super) cache: PathBuf,
    /// The sets that were loaded. They are kept to the end, as their libraries are.
    in_use: Vec<InUse>,
}

/// What a build needs to know.
pub(super) struct BuildContext<'a> {
    /// The folder that paths are relative to.
    pub(super) folder: &'a Path,
    pub(super) toolkit: &'a Toolkit,
    /// The command of this kernel.
    pub(super) program: &'a Path,
    pub(super) busy: &'a Busy,
}

/// A set that is ready and not used yet.
pub(super) struct ReadySet {
    wanted: Wanted,
    pub(super) built: Built,
    in_use: [InUse; 2],
    /// What `%dep` prints when it is done.
    pub(super) summary: String,
    pub(super) notes: Vec<String>,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self { wanted: Wanted::new(), built: None, offline: false, cache: cache::folder(), in_use: Vec::new() }
    }
}

impl Dependencies {
    /// Name, requirement and version of each.
    pub(super) fn list(&self) -> impl Iterator<Item = (&str, String, &str)> {
        let version = |name: &str| {
            let versions = self.built.iter().flat_map(|built| &built.versions);
            versions.filter(|(known, _)| known == name).map(|(_, version)| version.as_str()).next().unwrap_or("")
        };
        self.wanted.iter().map(move |(name, value)| (name.as_str(), manifest::inline(value), version(name)))
    }

    /// The crates as in the manifest of a package that depends on them.
    pub(super) fn crates(&self) -> Vec<Crate> {
        let called = self.built.iter().flat_map(|built| &built.called);
        let crates = called.filter_map(|(asked, name)| {
            let dependency = manifest::of_package(asked, self.wanted.get(asked)?);
            Some(Crate { name: name.clone(), dependency })
        });
        crates.collect()
    }

    /// Builds the set with these lines added, or finds it built. Nothing changes until it is [adopted](Self::adopt).
    pub(super) fn prepare(
        &self,
        lines: &[&str],
        around: &BuildContext<'_>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<ReadySet, Failure> {
        let begun = Instant::now();
        let mut wanted = self.wanted.clone();
        let mut notes = Vec::new();
        let mut names = Vec::new();
        let mut update = false;
        for (number, line) in lines.iter().enumerate() {
            let line = line.strip_prefix("--update").inspect(|_| update = true).unwrap_or(line);
            let parsed = manifest::parse(line, around.folder);
            let (name, value) = parsed.map_err(|problem| Failure::Usage(number, problem))?;
            notes.extend(manifest::in_toolkit(&name).map(|path| {
                format!(
                    "note: the toolkit has this crate as `{path}`. The one of :dep {name} is another: its types are not \
                     those that the toolkit takes, returns and shows"
                )
            }));
            names.push(name.clone());
            wanted.insert(name, value);
        }
        let build::BuiltSet { built, compiled, in_use } = self.build(&wanted, update, around, progress, &mut notes)?;
        let renewed = self.renewed(&built);
        if !renewed.is_empty() {
            notes.push(format!(
                "note: built again, with other sources or other features of its crates: {}. Values of its types that were \
                 made before are of other types; run the cells again that make them",
                renewed.join(", ")
            ));
        }
        let version = |name: &String| built.versions.iter().find(|(known, _)| known == name);
        let versions = names.iter().map(|name| match version(name) {
            Some((_, version)) => format!("{name} {version}"),
            None => name.clone(),
        });
        let versions = versions.collect::<Vec<_>>().join(", ");
        let took = begun.elapsed().as_secs_f64();
        let summary = match compiled {
            0 => format!("{versions} · was already built ({took:.2} s)"),
            1 => format!("{versions} · 1 crate built in {took:.1} s"),
            crates => format!("{versions} · {crates} crates built in {took:.1} s"),
        };
        Ok(ReadySet { wanted, built, in_use, summary, notes })
    }

    /// Returns the crates that cells have used so far and that differ in a new set.
    fn renewed(&self, built: &Built) -> Vec<String> {
        let before = self.built.iter().flat_map(|built| &built.externs);
        let renewed = before.filter(|(name, file)| {
            let now = built.externs.iter().find(|(known, _)| known == name);
            now.is_some_and(|(_, now)| now.file_name() != file.file_name())
        });
        renewed.map(|(name, _)| format!("`{name}`")).collect()
    }

    /// Makes this set the notebook's.
    pub(super) fn adopt(&mut self, ready: ReadySet) {
        self.wanted = ready.wanted;
        self.built = Some(ready.built);
        self.in_use.extend(ready.in_use);
    }
}
