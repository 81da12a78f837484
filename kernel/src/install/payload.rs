//! The files of an installation: the command, the libraries that it has loaded, and the crate metadata that rustc reads.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::InstallError;
use crate::system;
use crate::toolkit::{Toolkit, ToolkitError};

/// Programs that the command starts if they are beside it.
const COMPANIONS: &[&str] = &["chandlery-evcxr"];

/// The compiler for an installation's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rustc {
    /// The compiler itself, not a proxy that chooses one by the current folder.
    pub path: PathBuf,
    /// The output of `rustc -vV`.
    pub verbose_version: String,
}

impl Rustc {
    fn at(path: &Path) -> Option<Self> {
        let answer = Command::new(path).arg("-vV").output().ok().filter(|answer| answer.status.success())?;
        let verbose_version = String::from_utf8_lossy(&answer.stdout).into_owned();
        Some(Self { path: path.to_owned(), verbose_version })
    }

    /// Returns its first line, which is the output of `rustc --version`.
    pub fn version(&self) -> &str {
        self.verbose_version.lines().next().unwrap_or("")
    }
}

/// The files of one installation.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// The command.
    pub command: PathBuf,
    /// Programs beside it in the build folder: the language process for completion.
    pub companions: Vec<PathBuf>,
    /// Shared libraries beside it: the toolkit and the standard library.
    pub libraries: Vec<PathBuf>,
    /// Metadata of the toolkit's dependencies, for `deps/`.
    pub metadata: Vec<PathBuf>,
    /// The compiler that cells will use.
    pub rustc: Option<Rustc>,
}

/// How an installation was copied.
pub(super) struct Copied {
    pub(super) bytes: u64,
    pub(super) linked: bool,
}

impl Payload {
    /// Collects the files of the running build.
    ///
    /// # Errors
    /// [`InstallError::Incomplete`] if it is not a complete build, [`InstallError::Rustc`] if the compiler refuses it.
    pub fn of_this_build() -> Result<Self, InstallError> {
        let incomplete = |what: &str| InstallError::Incomplete { what: what.to_owned() };
        let command = std::env::current_exe().map_err(|_| incomplete("the file"))?;
        let (library, metadata, rustc) = match Toolkit::locate() {
            Ok(toolkit) => {
                let metadata = loaded_crates(&toolkit)?;
                (toolkit.library, metadata, Rustc::at(&toolkit.rustc))
            }
            Err(ToolkitError::NoLibrary { .. }) => return Err(incomplete("`libchandlery.so`")),
            Err(ToolkitError::NoMetadata { .. }) => return Err(incomplete("the `deps` folder")),
            // Notebooks of magics run without a compiler; a compiler that is installed later may use the metadata.
            Err(_) => {
                let folder = command.parent().ok_or_else(|| incomplete("the folder"))?;
                let metadata = all_metadata(&folder.join("deps")).map_err(|_| incomplete("the `deps` folder"))?;
                (folder.join("libchandlery.so"), metadata, None)
            }
        };
        let mut libraries = vec![library];
        libraries.extend(standard_library());
        let companions =
            COMPANIONS.iter().map(|name| command.with_file_name(name)).filter(|file| file.is_file()).collect();
        Ok(Self { command, companions, libraries, metadata, rustc })
    }

    /// Copies everything into a folder that does not exist yet, with hard links if the file system supports them.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<Copied, InstallError> {
        let deps = folder.join("deps");
        let beside = std::iter::once(&self.command).chain(&self.companions).chain(&self.libraries);
        let beside = beside.map(|file| (file, folder));
        let files: Vec<_> = beside.chain(self.metadata.iter().map(|file| (file, deps.as_path()))).collect();
        let sources: Vec<&Path> = files.iter().map(|(file, _)| file.as_path()).collect();
        check_room(&sources, folder)?;
        std::fs::create_dir_all(&deps).map_err(InstallError::write(&deps))?;
        let mut copied = Copied { bytes: 0, linked: true };
        for (file, into) in files {
            let Some(name) = file.file_name() else { continue };
            let target = into.join(name);
            if std::fs::hard_link(file, &target).is_err() {
                copied.linked = false;
                std::fs::copy(file, &target).map_err(InstallError::write(&target))?;
                // Synced before the folder is renamed, because after a power failure it would look complete.
                let synced = File::open(&target).and_then(|file| file.sync_all());
                synced.map_err(InstallError::write(&target))?;
            }
            copied.bytes += std::fs::metadata(&target).map_or(0, |metadata| metadata.len());
        }
        Ok(copied)
    }
}

/// Files of another file system have to be copied; checks that there is enough space first.
fn check_room(files: &[&Path], folder: &Path) -> Result<(), InstallError> {
    let Some(existing) = folder.ancestors().find(|folder| folder.is_dir()) else { return Ok(()) };
    let Ok(place) = std::fs::metadata(existing) else { return Ok(()) };
    let elsewhere =
        files.iter().filter_map(|file| std::fs::metadata(file).ok()).filter(|file| file.dev() != place.dev());
    let needed = elsewhere.map(|file| file.len()).sum::<u64>();
    match system::free_bytes(existing) {
        Some(free) if needed > free => {
            Err(InstallError::Room { folder: existing.to_owned(), needed: needed.div_ceil(1 << 20), free: free >> 20 })
        }
        _ => Ok(()),
    }
}

/// Returns the shared standard library of this process, because an installed command cannot use that of the toolchain.
fn standard_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = |line: &str| Some(PathBuf::from(&line[line.find('/')?..]));
    maps.lines()
        .filter_map(path)
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libstd-")))
}

/// Returns every crate that rustc loads for a cell. Build folders also contain crates of build scripts and of earlier builds, so the
/// compiler is asked instead of the folder: `binary-dep-depinfo` makes it list the crate files it has read.
fn loaded_crates(toolkit: &Toolkit) -> Result<Vec<PathBuf>, InstallError> {
    let failed = |detail: String| InstallError::Rustc { detail };
    let scratch = std::env::temp_dir().join(format!("chandlery-install-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).map_err(InstallError::write(&scratch))?;
    let probe = scratch.join("probe.rs");
    let listing = scratch.join("probe.d");
    let asked =
        std::fs::write(&probe, "extern crate chandlery;\n").map_err(InstallError::write(&probe)).and_then(|()| {
            Command::new(&toolkit.rustc)
                // The option is unstable; it only makes the listing longer.
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["--edition=2024", "--crate-type=lib", "-Zbinary-dep-depinfo", "-Cprefer-dynamic"])
                .arg(format!("--emit=dep-info={}", listing.display()))
                .arg(format!("--extern=chandlery={}", toolkit.library.display()))
                .arg(format!("-Ldependency={}", toolkit.metadata.display()))
                .arg(&probe)
                .output()
                .map_err(|error| failed(error.to_string()))
        });
    let listed = std::fs::read_to_string(&listing);
    let _ = std::fs::remove_dir_all(&scratch);
    let asked = asked?;
    if !asked.status.success() {
        return Err(failed(String::from_utf8_lossy(&asked.stderr).trim().to_owned()));
    }
    let listed = listed.map_err(|error| failed(error.to_string()))?;
    let mut files: Vec<PathBuf> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(':'))
        .map(PathBuf::from)
        .filter(|file| file.starts_with(&toolkit.metadata) && !file.ends_with("libchandlery.so"))
        .collect();
    // If rustc reads an archive, its metadata is beside it, a tenth of the size, and sufficient.
    for file in &mut files {
        let metadata = file.with_extension("rmeta");
        if file.extension().is_some_and(|kind| kind == "rlib") && metadata.is_file() {
            *file = metadata;
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn all_metadata(deps: &Path) -> std::io::Result<Vec<PathBuf>> {
    let wanted = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "rmeta" || kind == "so");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(deps)? {
        files.push(entry?.path());
    }
    files.retain(wanted);
    files.sort();
    Ok(files)
}
