//! Builds a set of dependencies.

use std::path::PathBuf;

use serde_json::Value;

use super::cache::{self, Built, InUse, SetFolder};
use super::invocation::Cargo;
use super::manifest::{self, Wanted};
use super::resolved::{ResolvedCrate, direct, local_folders};
use super::runtime::{self, Resolved};
use super::snapshot::Snapshot;
use super::{BuildContext, Dependencies, Failure};

/// A built set, and how it was built.
pub(super) struct BuiltSet {
    pub(super) built: Built,
    /// The number of crates that were compiled.
    pub(super) compiled: usize,
    /// Keeps the set from being removed.
    pub(super) in_use: [InUse; 2],
}

impl Dependencies {
    /// Builds a set, or finds it already built. If the build fails, the set stays as it was.
    pub(super) fn build(
        &self,
        wanted: &Wanted,
        update: bool,
        around: &BuildContext<'_>,
        progress: &mut dyn FnMut(&str),
        notes: &mut Vec<String>,
    ) -> Result<BuiltSet, Failure> {
        let lost = |problem: std::io::Error| Failure::io(&self.cache, &problem);
        let key = manifest::write(wanted, "");
        let _kept = cache::hold(&self.cache).map_err(lost)?;
        let place = SetFolder::new(&self.cache, &key).map_err(lost)?;
        let used = InUse::of(&place.folder).map_err(lost)?;
        let _lock = place.lock().map_err(lost)?;
        let local = wanted.values().any(|value| value.get("path").is_some());
        let (built, compiled) = match place.built().filter(|_| !local && !update) {
            Some(built) => (built, 0),
            None => {
                if update {
                    // Without a Cargo.lock, cargo looks for the newest versions.
                    let _ = std::fs::remove_file(place.folder.join(cache::LOCK));
                } else if let Some(before) = &self.built {
                    place.start_from(before).map_err(lost)?;
                }
                let cargo =
                    Cargo { place: &place, toolkit: around.toolkit, program: around.program, offline: self.offline };
                let made = Making { wanted, cargo, around }.make(progress, notes);
                made.inspect_err(|_| place.restore_lock())?
            }
        };
        let in_use = [used, InUse::of(built.folder()).map_err(lost)?];
        Ok(BuiltSet { built, compiled, in_use })
    }
}

/// A set that is being built.
struct Making<'a> {
    wanted: &'a Wanted,
    cargo: Cargo<'a>,
    around: &'a BuildContext<'a>,
}

impl Making<'_> {
    fn lost(&self, problem: std::io::Error) -> Failure {
        Failure::io(&self.cargo.place.folder, &problem)
    }

    /// Writes the manifest and has cargo resolve it.
    fn resolve(
        &self,
        wanted: &Wanted,
        progress: &mut dyn FnMut(&str),
        notes: &mut Vec<String>,
    ) -> Result<Value, Failure> {
        let place = self.cargo.place;
        let text = manifest::write(wanted, &place.package);
        cache::write_whole(&place.folder.join("Cargo.toml"), text.as_bytes()).map_err(|problem| self.lost(problem))?;
        self.cargo.tree(self.around.busy, progress, notes)
    }

    fn make(&self, progress: &mut dyn FnMut(&str), notes: &mut Vec<String>) -> Result<(Built, usize), Failure> {
        let place = self.cargo.place;
        let source = place.folder.join("lib.rs");
        if !source.is_file() {
            std::fs::write(&source, "").map_err(|problem| self.lost(problem))?;
        }
        let mut tree = self.resolve(self.wanted, progress, notes)?;
        let direct = direct(&tree, self.wanted.keys())?;
        let tokio = Resolved::find(&tree);
        let mut named = Vec::new();
        if let Some(hidden) = tokio.as_ref().filter(|tokio| tokio.called(&direct).is_none() && tokio.is_published) {
            // Only crates of the set depend on tokio; to make a runtime, the set itself has to depend on it.
            let dependency = format!(
                "package = \"tokio\"\nversion = \"={}\"\ndefault-features = false\nfeatures = [\"rt\"]",
                hidden.version
            );
            let dependency: toml::Table = dependency.parse().unwrap_or_default();
            let mut more = self.wanted.clone();
            more.insert(runtime::HIDDEN.to_owned(), dependency.into());
            tree = self.resolve(&more, progress, notes)?;
            named = resolved_hidden(&tree)?;
        }
        let tokio = Resolved::find(&tree);
        let all: Vec<ResolvedCrate> = direct.iter().chain(&named).cloned().collect();
        let (text, tokio) = runtime::source(&all, tokio.as_ref());
        if std::fs::read_to_string(&source).unwrap_or_default() != text {
            cache::write_whole(&source, text.as_bytes()).map_err(|problem| self.lost(problem))?;
        }
        let messages = self.cargo.build(&local_folders(&tree), self.around.busy, progress)?;
        let made = Artifacts::read(&messages, &place.package, &direct);
        let library = made.library.ok_or_else(|| Failure::Cargo("error: cargo built no library".to_owned()))?;
        let snapshot = Snapshot::take(&place.folder, &place.package, &library, &made.crates);
        let snapshot = snapshot.map_err(|problem| self.lost(problem))?;
        let externs = made.externs.into_iter().map(|(name, file)| (name, snapshot.file(&file))).collect();
        let built = Built {
            library: snapshot.library.clone(),
            externs,
            search: snapshot.folder.clone(),
            called: direct.iter().map(|found| (found.asked.clone(), found.name.clone())).collect(),
            versions: direct.into_iter().map(|found| (found.asked, found.version)).collect(),
            files: made.files,
            tokio,
        };
        place.remember(&built).map_err(|problem| self.lost(problem))?;
        snapshot.remove_others(&place.folder);
        Ok((built, made.compiled))
    }
}

fn resolved_hidden(tree: &Value) -> Result<Vec<ResolvedCrate>, Failure> {
    direct(tree, std::iter::once(&runtime::HIDDEN.to_owned()))
}

/// The artifacts that cargo reports.
#[derive(Default)]
struct Artifacts {
    /// The set's own library.
    library: Option<PathBuf>,
    /// Crates, by the names that cells use for them.
    externs: Vec<(String, PathBuf)>,
    /// All files of crates that the compiler may read.
    crates: Vec<PathBuf>,
    /// All files and folders, in the shared target folder.
    files: Vec<PathBuf>,
    compiled: usize,
}

impl Artifacts {
    fn read(messages: &str, package: &str, direct: &[ResolvedCrate]) -> Self {
        let mut made = Self::default();
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            made.files.extend(message["out_dir"].as_str().map(PathBuf::from));
            if message["reason"] != "compiler-artifact" {
                continue;
            }
            let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let files: Vec<PathBuf> = files.map(PathBuf::from).collect();
            made.files.extend(files.iter().cloned());
            if message["target"]["kind"][0] == "custom-build" {
                continue;
            }
            let is_library = |file: &&PathBuf| file.extension().is_some_and(|x| x == "rlib" || x == "so");
            let Some(file) = files.iter().find(is_library).cloned() else { continue };
            if message["target"]["name"] == package {
                made.library = Some(file);
                continue;
            }
            made.crates.extend(files);
            made.compiled += usize::from(message["fresh"] == false);
            let named = direct.iter().filter(|found| message["package_id"] == found.package.as_str());
            made.externs.extend(named.map(|found| (found.name.clone(), file.clone())));
        }
        made
    }
}
