//! Checks what compiling a cell needs: the toolkit, its exact compiler, a linker; and what `:dep` and completion need.

use std::path::Path;
use std::process::Command;

use chandlery::diagnostic::{Diagnose, Diagnostic};

use super::{Check, Verdict, on_path};
use crate::toolkit::{self, BUILT_FOR, BUILT_WITH, ToolkitError};

pub(super) fn checks() -> Vec<Check> {
    let library = toolkit::library().and_then(|library| Ok((toolkit::metadata(&library)?, library)));
    let mut checks = vec![match library {
        Ok((_, library)) => Check::good("toolkit", library.display().to_string()),
        Err(error) => obstacle(&error),
    }];
    // Without a compiler there is no sysroot with a linker, but there may be one on the path.
    let sysroot = match toolkit::compiler() {
        Ok((rustc, sysroot)) => {
            checks.push(compiler(&rustc, &sysroot));
            Some(sysroot)
        }
        Err(error) => {
            checks.push(obstacle(&error));
            None
        }
    };
    checks.push(match toolkit::linker(sysroot.as_deref().unwrap_or(Path::new(""))) {
        Ok((linker, _)) => Check::good("linker", linker.display().to_string()),
        Err(error) => obstacle(&error),
    });
    checks.extend(sysroot.as_deref().map(sources));
    checks.push(crates(sysroot.as_deref()));
    checks.push(completion());
    checks
}

/// Returns what prevents cells from being compiled.
fn obstacle(error: &ToolkitError) -> Check {
    let subject = match error {
        ToolkitError::NoLibrary { .. } | ToolkitError::NoMetadata { .. } => "toolkit",
        ToolkitError::NoCompiler | ToolkitError::OtherCompiler { .. } => "rustc",
        ToolkitError::NoLinker => "linker",
    };
    let Diagnostic { what, origin, advice, .. } = error.diagnostic();
    let found = match origin {
        Some(origin) => format!("{what}: {origin}"),
        None => what,
    };
    Check::bad(subject, Verdict::Missing, found, advice.unwrap_or_default())
}

/// The version fits, otherwise it would not have been chosen, but the same release exists for other systems.
fn compiler(rustc: &Path, sysroot: &Path) -> Check {
    let found = format!("{BUILT_WITH} for {BUILT_FOR} at {}", rustc.display());
    let words = Command::new(rustc).arg("-vV").output().map(|answer| answer.stdout).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let host = words.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("an unknown system");
    if host == BUILT_FOR || sysroot.join("lib/rustlib").join(BUILT_FOR).join("lib").is_dir() {
        return Check::good("rustc", found);
    }
    Check::bad(
        "rustc",
        Verdict::Missing,
        format!("the toolkit was built for {BUILT_FOR}, and {} is a compiler for {host}", rustc.display()),
        format!("`rustup target add {BUILT_FOR}`, or build Chandlery with this compiler"),
    )
}

fn sources(sysroot: &Path) -> Check {
    const SUBJECT: &str = "rust-src";
    let folder = sysroot.join("lib/rustlib/src/rust/library");
    if folder.is_dir() {
        return Check::good(SUBJECT, folder.display().to_string());
    }
    Check::bad(
        SUBJECT,
        Verdict::Advice,
        "the standard library's sources are missing; completion knows its types with one sentence each, not all of its documentation",
        "`rustup component add rust-src`",
    )
}

/// Checks what `:dep` needs to build crates.
fn crates(sysroot: Option<&Path>) -> Check {
    const SUBJECT: &str = "crates";
    let cargo = sysroot.map(|sysroot| sysroot.join("bin/cargo")).filter(|file| file.is_file());
    match (cargo.or_else(|| on_path("cargo")), on_path("cc").or_else(|| on_path("gcc"))) {
        (Some(cargo), Some(cc)) => Check::good(SUBJECT, format!("{}, {}", cargo.display(), cc.display())),
        (None, _) => Check::bad(
            SUBJECT,
            Verdict::Advice,
            "no cargo; `:dep` cannot build crates",
            "install a toolchain with cargo (https://rustup.rs)",
        ),
        (_, None) => Check::bad(
            SUBJECT,
            Verdict::Advice,
            "no C compiler, which rustc links build scripts with; `:dep` cannot build crates that have one",
            "install gcc (Debian and Ubuntu: `apt install gcc libc6-dev`; Fedora: `dnf install gcc`)",
        ),
    }
}

/// Checks the program that completes and explains by type.
fn completion() -> Check {
    const SUBJECT: &str = "completion";
    let program = std::env::current_exe().map(|command| command.with_file_name("chandlery-evcxr"));
    match program.ok().filter(|program| program.is_file()) {
        Some(program) => Check::good(SUBJECT, program.display().to_string()),
        None => Check::bad(
            SUBJECT,
            Verdict::Advice,
            "`chandlery-evcxr` is not beside `chandlery`; completion only knows names, not types",
            "build all of it with `cargo build --release --workspace`, then install it again with `chandlery kernel install`",
        ),
    }
}
