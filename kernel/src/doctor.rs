//! `chandlery kernel doctor`: what this machine lacks for notebooks, and how to get it.

use std::path::{Path, PathBuf};

use chandlery::device::Device;

use crate::install::Places;
use crate::toolkit::{BUILT_WITH, Toolkit, ToolkitError};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Something works less well without it.
    Advice,
    /// Notebooks with Rust cells do not run without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    pub fix: Option<String>,
}

impl Check {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, found: found.into(), fix: None }
    }

    fn bad(subject: &'static str, verdict: Verdict, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { subject, verdict, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything.
pub fn examine() -> Vec<Check> {
    let located = Toolkit::locate();
    let mut checks = match &located {
        Ok(toolkit) => vec![
            Check::good("toolkit", toolkit.library.display().to_string()),
            Check::good("rustc", format!("{BUILT_WITH} at {}", toolkit.rustc.display())),
            Check::good("linker", toolkit.linker.0.display().to_string()),
            sources(toolkit),
        ],
        Err(error) => vec![obstacle(error)],
    };
    checks.extend([jupyter(), kernelspec(), disk(), gpu()]);
    checks
}

/// The first thing that keeps cells from being compiled; what lies behind it cannot be looked at yet.
fn obstacle(error: &ToolkitError) -> Check {
    let version = BUILT_WITH.split_whitespace().nth(1).unwrap_or("stable");
    let (subject, fix) = match error {
        ToolkitError::NoLibrary { .. } | ToolkitError::NoMetadata { .. } => (
            "toolkit",
            "build it with `cargo build --release`, or install it anew with `chandlery kernel install`".to_owned(),
        ),
        ToolkitError::NoCompiler => ("rustc", format!("`rustup toolchain install {version}` (https://rustup.rs)")),
        ToolkitError::OtherCompiler { .. } => (
            "rustc",
            format!(
                "`rustup toolchain install {version}`, then set `RUSTC` to what `rustup which --toolchain {version} rustc` \
                 prints; or build Chandlery with your rustc"
            ),
        ),
        ToolkitError::NoLinker => (
            "linker",
            "install binutils (Debian and Ubuntu: `apt install binutils`; Fedora: `dnf install binutils`)".to_owned(),
        ),
    };
    Check::bad(subject, Verdict::Missing, error.to_string(), fix)
}

/// The checks as text, one line each and one for its fix.
pub fn report(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok      ",
            Verdict::Advice => "advice  ",
            Verdict::Missing => "MISSING ",
        };
        text.push_str(&format!("{mark} {:<11} {}\n", check.subject, check.found));
        if let Some(fix) = &check.fix {
            text.push_str(&format!("{:21}fix: {fix}\n", ""));
        }
    }
    let missing = checks.iter().filter(|check| check.verdict == Verdict::Missing).count();
    text.push_str(match missing {
        0 => "Notebooks with Rust cells can run here.\n",
        _ => "Notebooks with Rust cells cannot run here yet; notebooks of magics can.\n",
    });
    text
}

fn sources(toolkit: &Toolkit) -> Check {
    const SUBJECT: &str = "rust-src";
    // `bin/rustc` of its sysroot.
    let sysroot = toolkit.rustc.parent().and_then(Path::parent);
    let folder = sysroot.map(|sysroot| sysroot.join("lib/rustlib/src/rust/library"));
    match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => Check::good(SUBJECT, folder.display().to_string()),
        None => Check::bad(
            SUBJECT,
            Verdict::Advice,
            "the standard library's sources are not there; completion does not know its types",
            "`rustup component add rust-src`",
        ),
    }
}

fn jupyter() -> Check {
    const SUBJECT: &str = "jupyter";
    match ["jupyter-lab", "jupyter-notebook", "jupyter"].iter().find_map(|name| on_path(name)) {
        Some(path) => Check::good(SUBJECT, path.display().to_string()),
        None => Check::bad(
            SUBJECT,
            Verdict::Advice,
            "not on the path; `chandlery run` works without it",
            "`pip install jupyterlab`, or activate the environment that has it",
        ),
    }
}

fn kernelspec() -> Check {
    const SUBJECT: &str = "kernelspec";
    let fix = "`chandlery kernel install`";
    let searched = Places::searched();
    let Some(file) = searched.iter().map(|kernels| kernels.join("chandlery/kernel.json")).find(|file| file.is_file())
    else {
        return Check::bad(SUBJECT, Verdict::Advice, "Jupyter does not know the kernel `chandlery` yet", fix);
    };
    let command = std::fs::read_to_string(&file)
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|spec| Some(PathBuf::from(spec.get("argv")?.get(0)?.as_str()?)));
    match command {
        Some(command) if command.is_file() => Check::good(SUBJECT, file.display().to_string()),
        Some(command) => Check::bad(
            SUBJECT,
            Verdict::Missing,
            format!("`{}` starts `{}`, which is gone", file.display(), command.display()),
            fix,
        ),
        None => Check::bad(SUBJECT, Verdict::Missing, format!("`{}` cannot be read", file.display()), fix),
    }
}

fn disk() -> Check {
    const SUBJECT: &str = "disk";
    let folder = std::env::temp_dir();
    match crate::system::free_bytes(&folder) {
        Some(free) if free < 1 << 30 => Check::bad(
            SUBJECT,
            Verdict::Advice,
            format!("{} MB free in `{}`", free >> 20, folder.display()),
            "cells are compiled there; make room, or set `TMPDIR` to a larger disk",
        ),
        Some(free) => Check::good(SUBJECT, format!("{} GB free in `{}`", free >> 30, folder.display())),
        None => Check::bad(
            SUBJECT,
            Verdict::Missing,
            format!("`{}` cannot be used", folder.display()),
            "set `TMPDIR` to a folder that exists",
        ),
    }
}

fn gpu() -> Check {
    const SUBJECT: &str = "gpu";
    let gpus = Device::present().into_iter().filter(|&device| device != Device::Cpu);
    let names: Vec<String> =
        gpus.map(|gpu| format!("{gpu} ({})", gpu.model_name().unwrap_or_else(|| "unnamed".to_owned()))).collect();
    match Device::obstacle() {
        None => Check::good(SUBJECT, names.join(", ")),
        Some(reason) if !Device::has_cuda() => Check::good(SUBJECT, format!("none: CUDA {reason}")),
        Some(reason) => Check::bad(
            SUBJECT,
            Verdict::Advice,
            format!("none: CUDA {reason}"),
            "on a machine with an NVIDIA GPU, install its driver and CUDA's run-time libraries; elsewhere all is well",
        ),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_comes_with_its_fix() {
        for check in examine() {
            assert_eq!(check.verdict == Verdict::Good, check.fix.is_none(), "{check:?}");
        }
        let checks = [Check::bad("rustc", Verdict::Missing, "none", "get one")];
        assert!(
            report(&checks).contains("MISSING  rustc       none\n                     fix: get one\n"),
            "{}",
            report(&checks)
        );
    }
}
