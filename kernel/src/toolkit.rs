//! Finds the toolkit's library, and the compiler that can build cells against it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use chandlery::diagnostic::{Diagnose, Diagnostic};

/// The output of `rustc --version` when the toolkit was built.
pub const BUILT_WITH: &str = env!("CHANDLERY_RUSTC");

/// The system it was built for.
pub const BUILT_FOR: &str = env!("CHANDLERY_TARGET");

/// Where that compiler was installed.
const BUILT_IN: &str = env!("CHANDLERY_SYSROOT");

/// Why Rust cells cannot be compiled. Magics run anyway.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ToolkitError {
    /// The library is not where it should be.
    NoLibrary {
        /// The place in which it was looked for.
        near: PathBuf,
    },
    /// The metadata of the crates it was built from is missing.
    NoMetadata {
        /// The folder.
        path: PathBuf,
    },
    /// No compiler.
    NoCompiler,
    /// Another compiler.
    OtherCompiler {
        /// What `rustc --version` says.
        found: String,
    },
    /// No linker.
    NoLinker,
}

impl Diagnose for ToolkitError {
    fn diagnostic(&self) -> Diagnostic {
        const BUILD: &str =
            "build it with `cargo build --release`, or install it again with `chandlery kernel install`";
        let version = BUILT_WITH.split_whitespace().nth(1).unwrap_or("stable");
        match self {
            Self::NoLibrary { near } => {
                Diagnostic::new("libchandlery.so was not found").at(near.display()).advise(BUILD)
            }
            Self::NoMetadata { path } => {
                Diagnostic::new("the crate metadata that cells are compiled against is missing")
                    .at(path.display())
                    .advise(BUILD)
            }
            Self::NoCompiler => Diagnostic::new(format!("no Rust compiler was found; Rust cells need {BUILT_WITH}"))
                .advise(format!(
                    "`rustup toolchain install {version}` (https://rustup.rs); lines that start with % run without it"
                )),
            Self::OtherCompiler { found } => {
                Diagnostic::new(format!("the toolkit was built with {BUILT_WITH}, but the compiler found is {found}"))
                    .advise(format!(
                        "`rustup toolchain install {version}`, then set `RUSTC` to what `rustup which --toolchain \
                         {version} rustc` prints; or build Chandlery with your rustc"
                    ))
            }
            Self::NoLinker => Diagnostic::new("no linker was found")
                .advise("install binutils (Debian and Ubuntu: `apt install binutils`; Fedora: `dnf install binutils`)"),
        }
    }
}

/// Everything that compiling a cell needs.
#[derive(Clone, Debug)]
pub struct Toolkit {
    /// The toolkit's shared library.
    pub library: PathBuf,
    /// The folder with its dependencies' metadata.
    pub metadata: PathBuf,
    /// The compiler itself, not the rustup proxy.
    pub rustc: PathBuf,
    /// The linker, and the arguments that make it a plain ELF linker.
    pub linker: (PathBuf, Vec<OsString>),
}

impl Toolkit {
    /// Finds the library that this process has loaded, and its compiler.
    ///
    /// # Errors
    /// [`ToolkitError`], which says what to install.
    pub fn locate() -> Result<Self, ToolkitError> {
        let library = library()?;
        let metadata = metadata(&library)?;
        let (rustc, sysroot) = compiler()?;
        Ok(Self { library, metadata, rustc, linker: linker(&sysroot)? })
    }
}

/// Returns this user's folder for compiled files, below `XDG_CACHE_HOME` or `~/.cache`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    base.map(|base| base.join("chandlery"))
}

/// Returns the folder with the metadata of the crates that a library was built from.
pub(crate) fn metadata(library: &Path) -> Result<PathBuf, ToolkitError> {
    let folder = library.parent().unwrap_or(Path::new("."));
    let beside = folder.join("deps");
    let metadata = if beside.is_dir() { beside } else { folder.to_owned() };
    let entries = std::fs::read_dir(&metadata).into_iter().flatten().flatten();
    let mut kinds = entries.filter_map(|entry| entry.path().extension().map(ToOwned::to_owned));
    if kinds.any(|kind| kind == "rmeta" || kind == "rlib") {
        Ok(metadata)
    } else {
        Err(ToolkitError::NoMetadata { path: metadata })
    }
}

/// Returns the file of this process's toolkit library.
pub(crate) fn library() -> Result<PathBuf, ToolkitError> {
    let near = std::env::current_exe().unwrap_or_default();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loaded = maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
    loaded
        .filter(|path| path.file_name().is_some_and(|name| name == "libchandlery.so"))
        .find(|path| path.is_file())
        .ok_or(ToolkitError::NoLibrary { near })
}

/// Returns the compiler and its sysroot: the one that `RUSTC` names, the one that the toolkit was built with if it still exists, or the
/// one on the path; the first of the right version.
pub(crate) fn compiler() -> Result<(PathBuf, PathBuf), ToolkitError> {
    // An installed kernelspec names the compiler as `bin/rustc` of a sysroot, so the sysroot is known.
    let named = std::env::var_os("RUSTC").map(PathBuf::from);
    let given = named.and_then(|rustc| Some(rustc.parent()?.parent()?.to_owned()));
    let recorded = Some(PathBuf::from(BUILT_IN));
    // The proxy costs 30 ms, so it is asked last.
    let current = || ask(Path::new("rustc"), &["--print", "sysroot"]).map(PathBuf::from);
    first_that_fits(given.into_iter().chain(recorded).chain(std::iter::once_with(current).flatten()))
}

fn first_that_fits(sysroots: impl Iterator<Item = PathBuf>) -> Result<(PathBuf, PathBuf), ToolkitError> {
    let mut other = None;
    for sysroot in sysroots {
        let rustc = sysroot.join("bin/rustc");
        match ask(&rustc, &["--version"]) {
            Some(version) if version == BUILT_WITH => return Ok((rustc, sysroot)),
            Some(version) => other = Some(version),
            None => {}
        }
    }
    Err(other.map_or(ToolkitError::NoCompiler, |found| ToolkitError::OtherCompiler { found }))
}

fn ask(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(crate) fn linker(sysroot: &Path) -> Result<(PathBuf, Vec<OsString>), ToolkitError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(ld) = std::env::split_paths(&path).map(|folder| folder.join("ld")).find(|ld| ld.is_file()) {
        return Ok((ld, Vec::new()));
    }
    let targets = std::fs::read_dir(sysroot.join("lib/rustlib")).into_iter().flatten().flatten();
    let lld = targets.map(|target| target.path().join("bin/rust-lld")).find(|lld| lld.is_file());
    lld.map(|lld| (lld, vec!["-flavor".into(), "gnu".into()])).ok_or(ToolkitError::NoLinker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_toolkits_own_compiler_fits() {
        use std::os::unix::fs::PermissionsExt;
        let root = std::env::temp_dir().join(format!("sysroots-{}", std::process::id()));
        let sysroot = |name: &str, version: &str| {
            let rustc = root.join(name).join("bin/rustc");
            std::fs::create_dir_all(rustc.parent().unwrap()).unwrap();
            std::fs::write(&rustc, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
            std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
            root.join(name)
        };
        let old = sysroot("old", "rustc 1.0.0 (a59de37e9 2015-05-13)");
        let good = sysroot("good", BUILT_WITH);
        let gone = root.join("gone");

        let (rustc, chosen) = first_that_fits([gone.clone(), old.clone(), good.clone()].into_iter()).unwrap();
        assert_eq!((rustc, &chosen), (good.join("bin/rustc"), &good));
        let wrong = first_that_fits([old].into_iter()).unwrap_err();
        assert!(matches!(&wrong, ToolkitError::OtherCompiler { found } if found.contains("1.0.0")), "{wrong}");
        assert!(matches!(first_that_fits([gone].into_iter()), Err(ToolkitError::NoCompiler)));
        std::fs::remove_dir_all(root).unwrap();
    }
}
