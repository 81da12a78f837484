//! The cache of built dependencies, shared by all kernels of a user.
//!
//! `~/.cache/chandlery/deps/COMPILER/target` is one target folder for everything, so that a crate is built once, whatever
//! set it is part of; beside it each set has a folder with its package, the lock of its versions and, in a folder for each
//! build that succeeded, what was built ([`Snapshot`](super::snapshot::Snapshot)). A build that fails changes none of those.
//! A build holds `lock` shared, cleaning holds it exclusively. A kernel that loaded a set holds the set's file `used`, whose time is the last use.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::toolkit::{BUILT_WITH, cache_folder};

/// What a build of a set of dependencies made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine::direct) struct Built {
    /// The shared library that holds all of them.
    pub(in crate::engine::direct) library: PathBuf,
    /// The names that cells use for them, and the files with their metadata.
    pub(in crate::engine::direct) externs: Vec<(String, PathBuf)>,
    /// The folder with the crates that those files refer to.
    pub(in crate::engine::direct) search: PathBuf,
    /// Each dependency as it was requested, with its version.
    pub(super) versions: Vec<(String, String)>,
    /// Each dependency as it was requested, with the name that cells use for it.
    pub(super) called: Vec<(String, String)>,
    /// Everything in the shared target folder that cargo made for the set.
    pub(super) files: Vec<PathBuf>,
    /// Whether cells run inside a tokio runtime, and if not, whether the set has tokio.
    pub(in crate::engine::direct) tokio: Tokio,
}

/// How much of tokio a set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine::direct) enum Tokio {
    /// Nothing.
    Absent,
    /// tokio, without the feature that makes runtimes.
    WithoutRuntime,
    /// A runtime, in which cells run.
    Runtime,
}

impl Built {
    /// The folder that holds the library and everything cells are compiled with.
    pub(super) fn folder(&self) -> &Path {
        self.library.parent().unwrap_or(&self.library)
    }

    fn is_complete(&self) -> bool {
        let externs = self.externs.iter().map(|(_, file)| file);
        externs.chain([&self.library]).all(|file| file.is_file())
    }
}

/// Keeps a set from being removed.
pub(super) struct InUse {
    /// The lock. File systems without locks do not give one.
    _file: Option<File>,
}

impl InUse {
    /// Notes that the contents of a folder are used now, and keeps them as long as the result lives.
    pub(super) fn of(folder: &Path) -> std::io::Result<Self> {
        let file = open(&folder.join(USED))?;
        file.set_modified(SystemTime::now())?;
        Ok(Self { _file: file.lock_shared().is_ok().then_some(file) })
    }
}

/// The name of the file of an [`InUse`].
pub(super) const USED: &str = "used";

/// The file with the versions of a set (Cargo.lock).
pub(super) const LOCK: &str = "Cargo.lock";

/// Keeps the whole cache from being cleaned while something is built.
pub(super) fn hold(cache: &Path) -> std::io::Result<Option<File>> {
    std::fs::create_dir_all(cache)?;
    let file = open(&cache.join("lock"))?;
    Ok(file.lock_shared().is_ok().then_some(file))
}

pub(super) fn open(file: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(file)
}

/// The folder of one set of dependencies.
pub(super) struct SetFolder {
    /// The name of the package.
    pub(super) package: String,
    pub(super) folder: PathBuf,
    pub(super) target: PathBuf,
}

impl SetFolder {
    pub(super) fn new(cache: &Path, key: &str) -> std::io::Result<Self> {
        let compiler = cache.join(hash(BUILT_WITH));
        let key = hash(key);
        let folder = compiler.join(&key);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { package: format!("chandlery_deps_{key}"), folder, target: compiler.join("target") })
    }

    /// Waits until no other kernel builds this set.
    pub(super) fn lock(&self) -> std::io::Result<File> {
        let file = open(&self.folder.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Keeps the versions of a set that grows, because cells go on using what is loaded already.
    pub(super) fn start_from(&self, before: &Built) -> std::io::Result<()> {
        let (theirs, ours) = (before.folder().join(LOCK), self.folder.join(LOCK));
        if ours.is_file() || !theirs.is_file() {
            return Ok(());
        }
        std::fs::copy(theirs, ours).map(|_| ())
    }

    /// Restores the versions of the last successful build after a build that failed. Without one, the next build chooses again.
    pub(super) fn restore_lock(&self) {
        let ours = self.folder.join(LOCK);
        let kept = self.built().map(|built| built.folder().join(LOCK)).filter(|kept| kept.is_file());
        if kept.is_none_or(|kept| std::fs::copy(kept, &ours).is_err()) {
            let _ = std::fs::remove_file(ours);
        }
    }

    /// Returns what was built here last, if all of its files are still there.
    pub(super) fn built(&self) -> Option<Built> {
        let text = std::fs::read(self.folder.join("built.json")).ok()?;
        let built: Built = serde_json::from_slice(&text).ok()?;
        built.is_complete().then_some(built)
    }

    /// Records what was built.
    pub(super) fn remember(&self, built: &Built) -> std::io::Result<()> {
        write_whole(&self.folder.join("built.json"), &serde_json::to_vec(built)?)
    }
}

/// Writes a file atomically.
pub(super) fn write_whole(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let part = file.with_extension(format!("part-{}", std::process::id()));
    let written = std::fs::write(&part, content).and_then(|()| std::fs::rename(&part, file));
    if written.is_err() {
        let _ = std::fs::remove_file(part);
    }
    written
}

/// Returns the folder for all dependencies, below `XDG_CACHE_HOME` or `~/.cache`.
pub(super) fn folder() -> PathBuf {
    cache_folder().unwrap_or_else(|| std::env::temp_dir().join("chandlery")).join("deps")
}

/// Returns a short hash of content.
pub(super) fn hash(content: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Returns a number that changes when a file below these folders changes.
pub(super) fn state_of(folders: &[PathBuf]) -> String {
    fn visit(folder: &Path, hasher: &mut DefaultHasher) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.map(|entry| (entry.file_name(), entry)).collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, entry) in entries {
            let hidden = name.to_string_lossy().starts_with('.');
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                if !hidden && name != "target" {
                    visit(&entry.path(), hasher);
                }
            } else {
                (name, metadata.len(), metadata.modified().ok()).hash(hasher);
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    folders.iter().for_each(|folder| visit(folder, &mut hasher));
    format!("{:016x}", hasher.finish())
}
