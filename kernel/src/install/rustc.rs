//! The compiler that cells need: the one that built the toolkit, to the commit.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `rustc --version` of the compiler that built this command and its toolkit.
pub const BUILT_BY: &str = env!("CHANDLERY_RUSTC");

/// A compiler on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rustc {
    /// The compiler itself, not a proxy that chooses one by the current folder.
    pub path: PathBuf,
    /// What `rustc -vV` says.
    pub verbose_version: String,
    /// Its sysroot.
    pub sysroot: PathBuf,
}

impl Rustc {
    /// The compiler that cells would use: `RUSTC`, the path, or cargo's own folder. `None` if none runs.
    pub fn find() -> Option<Self> {
        let given = std::env::var_os("RUSTC").map(PathBuf::from);
        let cargo_home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let candidates = [given, Some("rustc".into()), cargo_home.map(|home| home.join("bin/rustc"))];
        candidates.into_iter().flatten().find_map(|path| Self::at(&path))
    }

    fn at(path: &Path) -> Option<Self> {
        let sysroot = PathBuf::from(ask(path, &["--print", "sysroot"])?.trim());
        let own = sysroot.join("bin/rustc");
        let path = if own.is_file() { own } else { path.to_owned() };
        Some(Self { verbose_version: ask(&path, &["-vV"])?, path, sysroot })
    }

    /// Its first line, as `rustc --version` says it.
    pub fn version(&self) -> &str {
        self.verbose_version.lines().next().unwrap_or("")
    }

    /// Whether it can compile cells against the toolkit of this build.
    pub fn matches_build(&self) -> bool {
        self.version() == BUILT_BY
    }
}

fn ask(rustc: &Path, words: &[&str]) -> Option<String> {
    let answer = Command::new(rustc).args(words).output().ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
}
