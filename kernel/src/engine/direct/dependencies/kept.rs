//! Lists the cache of dependencies, and removes sets that were not used for a long time.

use std::collections::HashSet;
use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::{self, Built, USED};
use crate::toolkit::{BUILT_FOR, BUILT_WITH};

/// The prefix of the name of a folder that is being removed.
const GOING: &str = ".removed-";

/// A set of crates that some notebook asked for by `:dep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSet {
    /// Its own folder.
    pub folder: PathBuf,
    /// Each crate with its version; empty if the set was never built.
    pub crates: Vec<(String, String)>,
    /// Its size on disk, including what it shares with other sets.
    pub bytes: u64,
    /// When a notebook last asked for it.
    pub used: SystemTime,
    /// Whether a kernel has it loaded.
    pub in_use: bool,
    /// Whether it was built by the compiler of this toolkit.
    pub fits: bool,
    /// The files it needs in the shared target folder; `None` if they are not known.
    files: Option<Vec<PathBuf>>,
}

impl KeptSet {
    /// Returns the time since its last use.
    pub fn idle(&self) -> Duration {
        self.used.elapsed().unwrap_or_default()
    }

    fn read(folder: PathBuf) -> Self {
        let modified = |name: &str| std::fs::metadata(folder.join(name)).and_then(|file| file.modified()).ok();
        let used = modified(USED).or_else(|| modified("built.json")).or_else(|| modified(""));
        let text = std::fs::read(folder.join("built.json")).ok();
        let built: Option<Built> = text.as_deref().and_then(|text| serde_json::from_slice(text).ok());
        let files = match (&text, &built) {
            (None, _) => Some(Vec::new()),
            (_, built) => built.as_ref().map(|built| built.files.clone()),
        };
        let shared: u64 = files.iter().flatten().map(|file| size(file)).sum();
        Self {
            crates: built.map(|built| built.versions).unwrap_or_default(),
            bytes: size(&folder) + shared,
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            in_use: is_held(&folder.join(USED)),
            fits: folder.parent().is_some_and(|compiler| compiler.ends_with(cache::hash(BUILT_WITH))),
            files,
            folder,
        }
    }
}

/// The result of cleaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The removed sets, or those that would be removed.
    pub removed: Vec<KeptSet>,
    /// The number of sets that stay.
    pub kept: usize,
    /// The bytes that were freed; 0 in a dry run.
    pub freed: u64,
}

/// The cache of dependencies.
#[derive(Clone, Debug)]
pub struct DependencyCache {
    folder: PathBuf,
}

impl DependencyCache {
    /// Returns the cache of this user.
    pub fn of_user() -> Self {
        Self { folder: cache::folder() }
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns its size on disk.
    pub fn bytes(&self) -> u64 {
        size(&self.folder)
    }

    /// Returns all sets, the most recently used first.
    pub fn sets(&self) -> Vec<KeptSet> {
        let folders = self.compilers().into_iter().flat_map(|compiler| sets_of(&compiler));
        let mut sets: Vec<KeptSet> = folders.map(KeptSet::read).collect();
        sets.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.folder.cmp(&b.folder)));
        sets
    }

    /// Removes the sets that no notebook used for this long and no kernel has loaded, and the files in the shared target folder
    /// that no other set needs. If `dry`, it only lists them.
    ///
    /// # Errors
    /// If something is being built, or a folder cannot be removed.
    pub fn clean(&self, older: Duration, dry: bool) -> std::io::Result<Cleaned> {
        if !self.folder.is_dir() {
            return Ok(Cleaned::default());
        }
        let lock = cache::open(&self.folder.join("lock"))?;
        if !dry && matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(std::io::Error::other("a kernel is building dependencies; try again when it is done"));
        }
        let before = self.bytes();
        let (removed, stay): (Vec<_>, Vec<_>) =
            self.sets().into_iter().partition(|set| !set.in_use && set.idle() >= older);
        if !dry {
            for set in &removed {
                remove(&set.folder)?;
            }
            for compiler in self.compilers() {
                let stay: Vec<&KeptSet> = stay.iter().filter(|set| set.folder.starts_with(&compiler)).collect();
                if stay.is_empty() {
                    remove(&compiler)?;
                } else if let Some(files) = stay.iter().map(|set| set.files.as_ref()).collect::<Option<Vec<_>>>() {
                    let packages = stay.iter().filter_map(|set| set.folder.file_name());
                    let needed = packages.map(|name| name.to_string_lossy().into_owned());
                    let needed = needed.chain(files.into_iter().flatten().filter_map(|file| mark_of(file)));
                    let needed = needed.collect();
                    // The files that are needed during a build, and those that cells use.
                    let target = compiler.join("target");
                    prune(&target.join("release"), &needed)?;
                    prune(&target.join(BUILT_FOR).join("release"), &needed)?;
                }
            }
            leftovers(&self.folder).iter().try_for_each(std::fs::remove_dir_all)?;
        }
        let freed = if dry { 0 } else { before.saturating_sub(self.bytes()) };
        Ok(Cleaned { removed, kept: stay.len(), freed })
    }

    /// Returns the folder of each compiler that something was built with.
    fn compilers(&self) -> Vec<PathBuf> {
        folders(&self.folder).into_iter().filter(|folder| !is_going(folder)).collect()
    }
}

fn sets_of(compiler: &Path) -> Vec<PathBuf> {
    folders(compiler).into_iter().filter(|folder| !folder.ends_with("target") && !is_going(folder)).collect()
}

/// Finishes removals that were killed.
fn leftovers(cache: &Path) -> Vec<PathBuf> {
    let mut all = folders(cache);
    all.extend(all.clone().iter().flat_map(|compiler| folders(compiler)));
    // Inner folders first.
    all.into_iter().rev().filter(|folder| is_going(folder)).collect()
}

fn is_going(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GOING))
}

/// Removes a folder at once, so that no kernel finds half of it.
fn remove(folder: &Path) -> std::io::Result<()> {
    let Some(name) = folder.file_name() else { return Ok(()) };
    let going = folder.with_file_name(format!("{GOING}{}-{}", name.to_string_lossy(), std::process::id()));
    std::fs::rename(folder, &going)?;
    std::fs::remove_dir_all(going)
}

/// Removes what cargo built, except files with one of these marks.
fn prune(release: &Path, needed: &HashSet<String>) -> std::io::Result<()> {
    let unneeded = |entry: &Path| mark_of(entry).is_some_and(|mark| !needed.contains(&mark));
    for place in ["", "deps", "build", ".fingerprint", "examples", "incremental"] {
        for entry in std::fs::read_dir(release.join(place)).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                _ if !unneeded(&path) => {}
                true => std::fs::remove_dir_all(path)?,
                false => std::fs::remove_file(path)?,
            }
        }
    }
    Ok(())
}

/// Returns the mark by which cargo distinguishes builds of a crate, from the name of a file or folder; for a set's own
/// library, the key of the set. `None` for files that do not belong to a single build.
fn mark_of(path: &Path) -> Option<String> {
    // `build/name-MARK/out`, `build/name-MARK/build-script-build`, `deps/libname-MARK.rlib`, `libchandlery_deps_MARK.so`.
    path.iter().rev().take(2).find_map(|part| {
        let part = part.to_str()?;
        let mark = part.split('.').find(|part| !part.is_empty())?.rsplit(['-', '_']).next()?;
        (mark.len() == 16 && mark.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| mark.to_owned())
    })
}

fn is_held(file: &Path) -> bool {
    std::fs::File::open(file).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Returns the size of a file, or of all files in a folder.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        // Cargo hard-links what it builds under a second name.
        return metadata.len() / metadata.nlink().max(1);
    }
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_every_name_that_cargo_uses() {
        for (path, mark) in [
            ("target/release/deps/libserde-0123456789abcdef.rlib", "0123456789abcdef"),
            ("target/release/deps/serde_json-0123456789abcdef.d", "0123456789abcdef"),
            ("target/release/build/libc-0123456789abcdef/out", "0123456789abcdef"),
            ("target/release/.fingerprint/libc-0123456789abcdef", "0123456789abcdef"),
            ("target/release/libchandlery_deps_89abcdef01234567.so", "89abcdef01234567"),
        ] {
            assert_eq!(mark_of(Path::new(path)).as_deref(), Some(mark), "{path}");
        }
        for path in ["target/release/deps", "target/release/.cargo-lock", "target/release/.fingerprint"] {
            assert_eq!(mark_of(Path::new(path)), None, "{path}");
        }
    }
}
