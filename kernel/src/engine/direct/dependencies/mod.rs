//! `%dep`: crates besides the toolkit. All of a notebook's dependencies are built by cargo into one shared library, which
//! the worker loads: their statics are shared by all cells, and cells link to them as to the toolkit.
//!
//! Every crate gets a salt in its identity (`-Cmetadata`), because the toolkit's library holds its own copies of many,
//! and the compiler refuses two of one identity. A set that grows is a new library. What both hold has the same symbols,
//! and the loader takes those of the first, so statics live on.

mod cache;
mod cargo;
mod kept;
mod manifest;
mod resolved;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::busy::Busy;
use crate::language::Crate;
use crate::toolkit::Toolkit;
pub(super) use cache::Built;
use cache::{InUse, Place};
pub use kept::{Cleaned, Kept, KeptSet};
use manifest::Wanted;
use resolved::{direct, local_folders};

/// Why dependencies could not be built.
pub(super) enum Failure {
    /// The user stopped it.
    Stopped,
    /// Not a dependency.
    Usage(String),
    /// Cargo's words.
    Cargo(String),
}

/// A notebook's dependencies.
pub(super) struct Dependencies {
    wanted: Wanted,
    pub(super) built: Option<Built>,
    pub(super) offline: bool,
    pub(super) cache: PathBuf,
    /// The sets that were loaded; until the end, as their libraries are.
    in_use: Vec<InUse>,
}

/// What `%dep` has to say when it is done.
pub(super) struct Told {
    pub(super) summary: String,
    pub(super) notes: Vec<String>,
}

/// Gives the crates of local folders a salt of their own, so that a changed one is not taken for the one that is loaded.
const WRAPPER: &str = "#!/bin/sh\ncase \":$CHANDLERY_LOCAL:\" in *\":$CARGO_MANIFEST_DIR:\"*) \
     exec \"$@\" \"-Cmetadata=$CHANDLERY_SALT\";; esac\nexec \"$@\"\n";

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

    /// The crates as a package says that it depends on them.
    pub(super) fn crates(&self) -> Vec<Crate> {
        let called = self.built.iter().flat_map(|built| &built.called);
        let crates = called.filter_map(|(asked, name)| {
            let dependency = manifest::of_package(asked, self.wanted.get(asked)?);
            Some(Crate { name: name.clone(), dependency })
        });
        crates.collect()
    }

    /// Adds what these lines say and builds the whole set, or finds it built.
    pub(super) fn add(
        &mut self,
        lines: &[&str],
        folder: &Path,
        toolkit: &Toolkit,
        busy: &Busy,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Told, Failure> {
        let begun = Instant::now();
        let mut wanted = self.wanted.clone();
        let mut notes = Vec::new();
        let mut names = Vec::new();
        let mut update = false;
        for line in lines {
            let line = line.strip_prefix("--update").inspect(|_| update = true).unwrap_or(line);
            let (name, value) = manifest::parse(line, folder).map_err(Failure::Usage)?;
            notes.extend(manifest::in_toolkit(&name).map(|path| {
                format!(
                    "note: the toolkit has this crate as `{path}`. The one of :dep {name} is another: its types are not \
                     those that the toolkit takes, returns and shows"
                )
            }));
            names.push(name.clone());
            wanted.insert(name, value);
        }
        let (built, how, in_use) = self.build(&wanted, update, toolkit, busy, progress, &mut notes)?;
        let version = |name: &String| built.versions.iter().find(|(known, _)| known == name);
        let versions = names.iter().map(|name| match version(name) {
            Some((_, version)) => format!("{name} {version}"),
            None => name.clone(),
        });
        let versions = versions.collect::<Vec<_>>().join(", ");
        let took = begun.elapsed().as_secs_f64();
        let summary = match how {
            0 => format!("{versions} · was built already ({took:.2} s)"),
            1 => format!("{versions} · 1 crate built in {took:.1} s"),
            crates => format!("{versions} · {crates} crates built in {took:.1} s"),
        };
        self.wanted = wanted;
        self.built = Some(built);
        self.in_use.push(in_use);
        Ok(Told { summary, notes })
    }

    /// Builds a set; also, how many crates were compiled for it.
    fn build(
        &self,
        wanted: &Wanted,
        update: bool,
        toolkit: &Toolkit,
        busy: &Busy,
        progress: &mut dyn FnMut(&str),
        notes: &mut Vec<String>,
    ) -> Result<(Built, usize, InUse), Failure> {
        let lost = |problem: std::io::Error| Failure::Cargo(format!("{}: {problem}", self.cache.display()));
        let key = manifest::write(wanted, "");
        let _kept = cache::hold(&self.cache).map_err(lost)?;
        let place = Place::new(&self.cache, &key).map_err(lost)?;
        let in_use = place.use_it().map_err(lost)?;
        let _lock = place.lock().map_err(lost)?;
        let local = wanted.values().any(|value| value.get("path").is_some());
        if let Some(built) = place.built().filter(|_| !local && !update) {
            return Ok((built, 0, in_use));
        }
        std::fs::write(place.folder.join("Cargo.toml"), manifest::write(wanted, &place.package)).map_err(lost)?;
        if update {
            // Without the lock of its versions, cargo looks for the newest.
            let _ = std::fs::remove_file(place.folder.join("Cargo.lock"));
        } else if let Some(before) = &self.built {
            place.start_from(before).map_err(lost)?;
        }
        let source = place.folder.join("lib.rs");
        if !source.is_file() {
            std::fs::write(&source, "").map_err(lost)?;
        }
        let cargo = Cargo { place: &place, toolkit, offline: self.offline };
        let tree = cargo.tree(busy, progress, notes)?;
        let direct = direct(&tree, wanted.keys())?;
        let text: String = direct.iter().map(|found| format!("pub extern crate {};\n", found.name)).collect();
        if std::fs::read_to_string(&source).unwrap_or_default() != text {
            std::fs::write(&source, text).map_err(lost)?;
        }
        let messages = cargo.build(&local_folders(&tree), busy, progress)?;
        let (mut externs, mut library, mut files, mut crates) = (Vec::new(), None, Vec::new(), 0);
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            files.extend(message["out_dir"].as_str().map(PathBuf::from));
            if message["reason"] != "compiler-artifact" {
                continue;
            }
            let made = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let made: Vec<PathBuf> = made.map(PathBuf::from).collect();
            let is_library = |file: &&PathBuf| file.extension().is_some_and(|x| x == "rlib" || x == "so");
            let file = made.iter().find(is_library).cloned();
            files.extend(made);
            let Some(file) = file.filter(|_| message["target"]["kind"][0] != "custom-build") else { continue };
            if message["target"]["name"] == place.package.as_str() {
                library = Some(file);
                continue;
            }
            crates += usize::from(message["fresh"] == false);
            let named = direct.iter().filter(|found| message["package_id"] == found.package.as_str());
            externs.extend(named.map(|found| (found.name.clone(), file.clone())));
        }
        let library = library.ok_or_else(|| Failure::Cargo("cargo built no library".to_owned()))?;
        let library = place.keep(&library).map_err(lost)?;
        let called = direct.iter().map(|found| (found.asked.clone(), found.name.clone())).collect();
        let versions = direct.into_iter().map(|found| (found.asked, found.version)).collect();
        let built = Built { library, externs, search: place.target.join("release/deps"), versions, called, files };
        place.remember(&built).map_err(lost)?;
        Ok((built, crates, in_use))
    }
}

/// Cargo, for one set.
struct Cargo<'a> {
    place: &'a Place,
    toolkit: &'a Toolkit,
    offline: bool,
}

impl Cargo<'_> {
    fn command(&self, words: &[&str], offline: bool) -> Command {
        // The one beside the compiler; else, what is on the path.
        let beside = self.toolkit.rustc.with_file_name("cargo");
        let mut command = Command::new(if beside.is_file() { beside } else { "cargo".into() });
        command.args(words).arg("--manifest-path").arg(self.place.folder.join("Cargo.toml"));
        command.args(if offline { &["--offline"][..] } else { &[] });
        command.current_dir(&self.place.folder);
        command.env("RUSTC", &self.toolkit.rustc).env("CARGO_TARGET_DIR", &self.place.target);
        command.env("CARGO_ENCODED_RUSTFLAGS", "-Cprefer-dynamic\u{1f}-Cmetadata=chandlery-dep");
        command.env_remove("CARGO_BUILD_TARGET").env_remove("RUSTC_BOOTSTRAP").env("CARGO_INCREMENTAL", "0");
        command.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "90");
        command.env("CARGO_TERM_COLOR", "never");
        command
    }

    /// The resolved packages, fetched if need be; what was fetched earlier will do where there is no network.
    fn tree(&self, busy: &Busy, progress: &mut dyn FnMut(&str), notes: &mut Vec<String>) -> Result<Value, Failure> {
        let host = Command::new(&self.toolkit.rustc).arg("-vV").output();
        let host = host.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
        let words = ["metadata", "--format-version=1", "--filter-platform", &host];
        let mut answer = cargo::run(&mut self.command(&words, self.offline), busy, progress);
        if let Err(Failure::Cargo(first)) = &answer
            && !self.offline
            && ["download", "fetch", "resolve host", "network", "connect"].iter().any(|word| first.contains(word))
        {
            let first = first.clone();
            answer = match cargo::run(&mut self.command(&words, true), busy, progress) {
                Err(Failure::Cargo(_)) => Err(Failure::Cargo(first)),
                answer => {
                    notes.push("note: what was fetched earlier is used, because fetching failed".to_owned());
                    answer
                }
            };
        }
        serde_json::from_str(&answer?).map_err(|problem| Failure::Cargo(format!("cargo metadata: {problem}")))
    }

    fn build(&self, local: &[PathBuf], busy: &Busy, progress: &mut dyn FnMut(&str)) -> Result<String, Failure> {
        let mut command = self.command(&["build", "--release", "--message-format=json-render-diagnostics"], true);
        if !local.is_empty() {
            let wrapper = self.place.target.with_file_name("wrapper");
            let lost = |problem: std::io::Error| Failure::Cargo(format!("{}: {problem}", wrapper.display()));
            script(&wrapper).map_err(lost)?;
            let folders: Vec<_> = local.iter().map(|folder| folder.to_string_lossy()).collect();
            command.env("RUSTC_WRAPPER", &wrapper).env("CHANDLERY_LOCAL", folders.join(":"));
            command.env("CHANDLERY_SALT", cache::state_of(local));
        }
        cargo::run(&mut command, busy, progress)
    }
}

fn script(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::read_to_string(file).is_ok_and(|text| text == WRAPPER) {
        return Ok(());
    }
    let part = file.with_extension(std::process::id().to_string());
    std::fs::write(&part, WRAPPER)?;
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(part, file)
}
