//! How cargo is called, independent of the user's settings.
//!
//! A user's settings decide where crates come from, but not how they are built: a set that was built to abort on panics,
//! for another system or with another compiler would not fit the toolkit. So every setting of that kind is overridden.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cache::{self, SetFolder};
use super::{Failure, cargo};
use crate::engine::direct::run::busy::Busy;
use crate::toolkit::{BUILT_FOR, Toolkit};

/// Wraps the compiler: gives the crates that only run at compile time (macros and their dependencies) the salt of the others, and
/// crates of local folders a salt of their own, so that a changed crate is not mistaken for the one that is loaded.
const WRAPPER: &str = "#!/bin/sh\ncase \":$CHANDLERY_LOCAL:\" in *\":$CARGO_MANIFEST_DIR:\"*) \
     exec \"$@\" -Cmetadata=chandlery-dep \"-Cmetadata=$CHANDLERY_SALT\";; esac\nexec \"$@\" -Cmetadata=chandlery-dep\n";

/// Wraps the linker of the set's library, see [`crate::link`].
const LINKER: &str =
    "#!/bin/sh\n[ -x \"$CHANDLERY_LINK\" ] && exec \"$CHANDLERY_LINK\" __link \"$@\"\nexec cc \"$@\"\n";

/// Everything that a profile decides, because an environment or a settings file may decide otherwise.
const PROFILE: &[&str] = &[
    "panic=\"unwind\"",
    "lto=false",
    "opt-level=3",
    "codegen-units=16",
    "incremental=false",
    "debug=false",
    "debug-assertions=false",
    "overflow-checks=false",
    "strip=\"debuginfo\"",
    "split-debuginfo=\"off\"",
    "rpath=false",
];

/// The environment variables that choose what is built, with what, and where.
fn decides(name: &str) -> bool {
    let exact = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_BOOTSTRAP", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
    exact.contains(&name) || name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_BUILD_")
}

/// Cargo, for one set.
pub(super) struct Cargo<'a> {
    pub(super) place: &'a SetFolder,
    pub(super) toolkit: &'a Toolkit,
    /// The executable of this kernel.
    pub(super) program: &'a Path,
    pub(super) offline: bool,
}

impl Cargo<'_> {
    fn command(&self, words: &[&str], offline: bool) -> Command {
        // The cargo beside the compiler, otherwise the one on the path.
        let beside = self.toolkit.rustc.with_file_name("cargo");
        let mut command = Command::new(if beside.is_file() { beside } else { "cargo".into() });
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(decides)) {
            command.env_remove(name);
        }
        command.args(words).arg("--manifest-path").arg(self.place.folder.join("Cargo.toml"));
        command.args(if offline { &["--offline"][..] } else { &[] });
        command.current_dir(&self.place.folder);
        command.env("RUSTC", &self.toolkit.rustc).env("CARGO_TARGET_DIR", &self.place.target);
        command.env("CARGO_BUILD_BUILD_DIR", &self.place.target);
        // Empty, because that overrides the setting of a file.
        command.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        command.env("CARGO_ENCODED_RUSTFLAGS", "-Cprefer-dynamic\u{1f}-Cmetadata=chandlery-dep");
        command.env("CARGO_INCREMENTAL", "0").env("CARGO_TERM_QUIET", "false").env("CARGO_TERM_VERBOSE", "false");
        command.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "90");
        command.env("CARGO_TERM_COLOR", "never");
        command
    }

    /// Returns the resolved packages, fetched if needed. Without a network, packages that were fetched earlier are used.
    pub(super) fn tree(
        &self,
        busy: &Busy,
        progress: &mut dyn FnMut(&str),
        notes: &mut Vec<String>,
    ) -> Result<Value, Failure> {
        let words = ["metadata", "--format-version=1", "--filter-platform", BUILT_FOR];
        let mut answer = cargo::run(&mut self.command(&words, self.offline), busy, progress);
        if let Err(Failure::Cargo(first)) = &answer
            && !self.offline
            && ["download", "fetch", "resolve host", "network", "connect"].iter().any(|word| first.contains(word))
        {
            let first = first.clone();
            answer = match cargo::run(&mut self.command(&words, true), busy, progress) {
                Err(Failure::Cargo(_)) => Err(Failure::Cargo(first)),
                answer => {
                    let note = "note: what was fetched earlier is used, because fetching failed".to_owned();
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                    answer
                }
            };
        }
        serde_json::from_str(&answer?).map_err(|problem| Failure::Cargo(format!("error: cargo metadata: {problem}")))
    }

    /// Builds the set. Returns cargo's messages, one per line.
    pub(super) fn build(
        &self,
        local: &[PathBuf],
        busy: &Busy,
        progress: &mut dyn FnMut(&str),
    ) -> Result<String, Failure> {
        let [wrapper, linker] = self.scripts().map_err(|problem| Failure::io(&self.place.target, &problem))?;
        let words = ["rustc", "--release", "--lib", "--message-format=json-render-diagnostics", "--target", BUILT_FOR];
        let mut command = self.command(&words, true);
        for setting in PROFILE {
            command.arg("--config").arg(format!("profile.release.{setting}"));
        }
        let mut chosen = OsString::from("-Clinker=");
        chosen.push(&linker);
        command.arg("--").arg(chosen).env("CHANDLERY_LINK", self.program);
        let folders: Vec<_> = local.iter().map(|folder| folder.to_string_lossy()).collect();
        command.env("RUSTC_WRAPPER", wrapper).env("CHANDLERY_LOCAL", folders.join(":"));
        command.env("CHANDLERY_SALT", cache::state_of(local));
        cargo::run(&mut command, busy, progress)
    }

    /// Returns the wrapper scripts, at fixed paths: cargo builds everything again when they change.
    fn scripts(&self) -> std::io::Result<[PathBuf; 2]> {
        let [wrapper, linker] = ["wrapper", "linker"].map(|name| self.place.target.with_file_name(name));
        script(&wrapper, WRAPPER)?;
        script(&linker, LINKER)?;
        Ok([wrapper, linker])
    }
}

fn script(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::read_to_string(file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let part = file.with_extension(std::process::id().to_string());
    let written = std::fs::write(&part, text)
        .and_then(|()| std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&part, file));
    if written.is_err() {
        let _ = std::fs::remove_file(part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_choose_what_is_built_are_ignored() {
        for name in ["CARGO_PROFILE_RELEASE_PANIC", "CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_BUILD_RUSTC_WRAPPER"] {
            assert!(decides(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_MINE_INDEX", "HTTPS_PROXY", "CC"] {
            assert!(!decides(name), "{name}");
        }
    }
}
