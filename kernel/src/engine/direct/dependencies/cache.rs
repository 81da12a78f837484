//! Where built dependencies are kept, for all kernels of a user.
//!
//! `~/.cache/chandlery/deps/COMPILER/target` is one target folder for everything, so that a crate is built once, whatever
//! set it is part of; beside it each set has a folder with its package, the lock of its versions and, in a folder for each
//! build that succeeded, what was built ([`Snapshot`](super::snapshot::Snapshot)). A build that fails changes none of those.
//! Who builds holds `lock`, shared; who cleans holds it alone. Who loaded a set holds its `used`, whose time is its last use.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::toolkit::{BUILT_WITH, cache_folder};

/// What was built of a set of dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine::direct) struct Built {
    /// The shared library that holds all of them.
    pub(in crate::engine::direct) library: PathBuf,
    /// The names by which cells call them, and the files that say what is in them.
    pub(in crate::engine::direct) externs: Vec<(String, PathBuf)>,
    /// The folder with what those files refer to.
    pub(in crate::engine::direct) search: PathBuf,
    /// Each as it was asked for, with its version.
    pub(super) versions: Vec<(String, String)>,
    /// Each as it was asked for, with the name by which cells call it.
    pub(super) called: Vec<(String, String)>,
    /// All that cargo made for the set in the shared target folder.
    pub(super) files: Vec<PathBuf>,
    /// Whether cells run inside a runtime of tokio's, and if not, whether the set has tokio.
    pub(in crate::engine::direct) tokio: Tokio,
}

/// What there is of tokio in a set.
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
    /// Locked. File systems without locks give none.
    _file: Option<File>,
}

impl InUse {
    /// Notes that what is in a folder was used now, and keeps it as long as the result lives.
    pub(super) fn of(folder: &Path) -> std::io::Result<Self> {
        let file = open(&folder.join(USED))?;
        file.set_modified(SystemTime::now())?;
        Ok(Self { _file: file.lock_shared().is_ok().then_some(file) })
    }
}

/// The name of the file of an [`InUse`].
pub(super) const USED: &str = "used";

/// The file with the versions of a set.
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

    /// A set that grows keeps the versions it has: what is loaded already stays what cells use.
    pub(super) fn start_from(&self, before: &Built) -> std::io::Result<()> {
        let (theirs, ours) = (before.folder().join(LOCK), self.folder.join(LOCK));
        if ours.is_file() || !theirs.is_file() {
            return Ok(());
        }
        std::fs::copy(theirs, ours).map(|_| ())
    }

    /// Gives the set the versions of its last build back, after one that failed. Without one, the next chooses again.
    pub(super) fn restore_lock(&self) {
        let ours = self.folder.join(LOCK);
        let kept = self.built().map(|built| built.folder().join(LOCK)).filter(|kept| kept.is_file());
        if kept.is_none_or(|kept| std::fs::copy(kept, &ours).is_err()) {
            let _ = std::fs::remove_file(ours);
        }
    }

    /// What was built here last, if it is all there.
    pub(super) fn built(&self) -> Option<Built> {
        let text = std::fs::read(self.folder.join("built.json")).ok()?;
        let built: Built = serde_json::from_slice(&text).ok()?;
        built.is_complete().then_some(built)
    }

    /// Remembers what was built.
    pub(super) fn remember(&self, built: &Built) -> std::io::Result<()> {
        write_whole(&self.folder.join("built.json"), &serde_json::to_vec(built)?)
    }
}

/// Writes a file that is there whole, or as it was before.
pub(super) fn write_whole(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let part = file.with_extension(format!("part-{}", std::process::id()));
    let written = std::fs::write(&part, content).and_then(|()| std::fs::rename(&part, file));
    if written.is_err() {
        let _ = std::fs::remove_file(part);
    }
    written
}

/// The folder for all dependencies: that of `XDG_CACHE_HOME`, or `~/.cache`.
pub(super) fn folder() -> PathBuf {
    cache_folder().unwrap_or_else(|| std::env::temp_dir().join("chandlery")).join("deps")
}

/// A short name for content.
pub(super) fn hash(content: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A number that changes when a file below these folders does.
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
