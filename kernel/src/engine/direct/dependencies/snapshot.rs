//! The files of a build that cells and the worker use, in a folder that no later build changes.
//!
//! Cargo removes what it is about to build again. So its output is linked into a folder of the set, under a name derived from the
//! files, which appears when it is complete. A failed, stopped or killed build leaves the earlier folders as they are.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cache::{self, LOCK, USED};

/// The files of one build.
pub(super) struct Snapshot {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// The shared library of the set.
    pub(super) library: PathBuf,
}

impl Snapshot {
    /// Makes a snapshot of a library and the crates it was built from. `set` is the set's folder.
    pub(super) fn take(set: &Path, package: &str, library: &Path, crates: &[PathBuf]) -> std::io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        for file in crates.iter().map(PathBuf::as_path).chain([library]) {
            let found = std::fs::metadata(file)?;
            (file, found.ino(), found.len(), found.mtime(), found.mtime_nsec()).hash(&mut hasher);
        }
        let name = format!("{:016x}", hasher.finish());
        let folder = set.join(&name);
        // To the loader, this name is another library than that of an earlier build.
        let own = format!("lib{package}_{name}.so");
        if !folder.join(LOCK).is_file() {
            let part = set.join(format!("part-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&part);
            let filled = fill(&part, set, library, &own, crates).and_then(|()| {
                let _ = std::fs::remove_dir_all(&folder);
                std::fs::rename(&part, &folder)
            });
            if let Err(problem) = filled {
                let _ = std::fs::remove_dir_all(part);
                return Err(problem);
            }
        }
        Ok(Self { library: folder.join(own), folder })
    }

    /// Returns where a file that cargo built is kept.
    pub(super) fn file(&self, built: &Path) -> PathBuf {
        built.file_name().map_or_else(|| built.to_owned(), |name| self.folder.join(name))
    }

    /// Removes earlier snapshots that no kernel has loaded, and the leftovers of killed builds.
    pub(super) fn remove_others(&self, set: &Path) {
        for entry in std::fs::read_dir(set).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_ours =
                name.starts_with("part-") || name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if path == self.folder || !is_ours || !path.is_dir() {
                continue;
            }
            let free = cache::open(&path.join(USED)).and_then(|file| Ok(file.try_lock()?));
            if free.is_ok() {
                let _ = std::fs::remove_dir_all(path);
            }
        }
    }
}

fn fill(part: &Path, set: &Path, library: &Path, own: &str, crates: &[PathBuf]) -> std::io::Result<()> {
    std::fs::create_dir_all(part)?;
    // A copy, because kernels have it loaded and some linkers write into the existing file.
    std::fs::copy(library, part.join(own))?;
    // A crate may be listed twice.
    let files: BTreeMap<_, _> = crates.iter().filter_map(|file| Some((file.file_name()?, file))).collect();
    files.into_iter().try_for_each(|(name, file)| link(file, &part.join(name)))?;
    // Written last: if it exists, all files exist.
    std::fs::copy(set.join(LOCK), part.join(LOCK)).map(drop)
}

/// Hard-links a file where the file system can, otherwise copies it. The compiler writes a new file instead of changing the old one.
fn link(file: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::hard_link(file, to).or_else(|_| std::fs::copy(file, to).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_keeps_its_files_when_they_are_built_again() {
        let set = std::env::temp_dir().join(format!("chandlery-snapshot-{}", std::process::id()));
        let deps = set.join("deps");
        std::fs::create_dir_all(&deps).unwrap();
        let (library, crate_file) = (deps.join("liball.so"), deps.join("libone-1.rlib"));
        let build = |text: &str| {
            for file in [&library, &crate_file] {
                let _ = std::fs::remove_file(file);
                std::fs::write(file, text).unwrap();
            }
            std::fs::write(set.join(LOCK), text).unwrap();
        };
        let take = || Snapshot::take(&set, "all", &library, std::slice::from_ref(&crate_file)).unwrap();
        build("first");
        let first = take();
        assert_eq!(take().folder, first.folder, "the same files are the same snapshot");
        build("second");
        std::fs::remove_file(&crate_file).unwrap();
        assert!(Snapshot::take(&set, "all", &library, std::slice::from_ref(&crate_file)).is_err());
        assert_eq!(std::fs::read_to_string(first.file(&crate_file)).unwrap(), "first");
        build("second");
        let second = take();
        assert_eq!(std::fs::read_to_string(&second.library).unwrap(), "second");
        let held = cache::InUse::of(&first.folder).unwrap();
        second.remove_others(&set);
        assert!(first.library.is_file(), "a kernel has it loaded");
        drop(held);
        second.remove_others(&set);
        assert!(!first.folder.exists() && second.library.is_file());
        std::fs::remove_dir_all(set).unwrap();
    }
}
