//! Checks Jupyter, and whether it has a kernel of this command that can start.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Check, Verdict, on_path};
use crate::install::{Places, Scope, command_of};

const INSTALL: &str = "`chandlery kernel install`";

pub(super) fn checks() -> Vec<Check> {
    let jupyter = ["jupyter-lab", "jupyter-notebook", "jupyter"].iter().find_map(|name| on_path(name));
    let searched = jupyter.as_deref().and_then(searched_by).unwrap_or_else(Places::searched);
    let mut checks = vec![program(jupyter.as_deref())];
    checks.extend(kernelspecs(&searched));
    checks.extend(earlier());
    checks
}

fn program(jupyter: Option<&Path>) -> Check {
    const SUBJECT: &str = "jupyter";
    let Some(path) = jupyter else {
        return Check::bad(
            SUBJECT,
            Verdict::Advice,
            "not on the path; `chandlery run` works without it",
            "`pip install jupyterlab`, or activate the environment that has it",
        );
    };
    let answer = Command::new(path).arg("--version").output().ok().filter(|answer| answer.status.success());
    match answer {
        Some(answer) => {
            let version = String::from_utf8_lossy(&answer.stdout);
            // `jupyter --version` lists a dozen packages, `jupyter-lab --version` says one number.
            let version = version.trim().lines().next().unwrap_or("").to_owned();
            Check::good(SUBJECT, format!("{} ({version})", path.display()))
        }
        None => Check::bad(
            SUBJECT,
            Verdict::Advice,
            format!("`{} --version` fails; its Python environment may have been moved", path.display()),
            "`pip install --force-reinstall jupyterlab` in its environment",
        ),
    }
}

/// Returns the folders in which a Jupyter looks for kernels, according to itself.
fn searched_by(jupyter: &Path) -> Option<Vec<PathBuf>> {
    let answer = Command::new(jupyter.with_file_name("jupyter")).args(["--paths", "--json"]).output().ok()?;
    let paths: Value = serde_json::from_slice(&answer.stdout).ok()?;
    let data = paths.get("data")?.as_array()?.iter().filter_map(Value::as_str);
    Some(data.map(|folder| Path::new(folder).join("kernels")).collect())
}

/// Checks every kernelspec that starts this command.
fn kernelspecs(searched: &[PathBuf]) -> Vec<Check> {
    const SUBJECT: &str = "kernelspec";
    let folders = searched.iter().filter_map(|kernels| std::fs::read_dir(kernels).ok()).flatten().flatten();
    let mut checks = Vec::new();
    for folder in folders.map(|entry| entry.path()) {
        let file = folder.join("kernel.json");
        match command_of(&folder) {
            Some(command) if command.file_name().is_some_and(|name| name == "chandlery") => {
                checks.push(if command.is_file() {
                    Check::good(SUBJECT, file.display().to_string())
                } else {
                    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    Check::bad(
                        SUBJECT,
                        Verdict::Missing,
                        format!("`{}` starts `{}`, which is gone", file.display(), command.display()),
                        format!(
                            "`chandlery kernel install --name {name}` in the same place, or remove `{}`",
                            folder.display()
                        ),
                    )
                })
            }
            None if folder.ends_with("chandlery") && file.is_file() => {
                checks.push(Check::bad(
                    SUBJECT,
                    Verdict::Missing,
                    format!("`{}` cannot be read", file.display()),
                    INSTALL,
                ));
            }
            _ => {}
        }
    }
    if checks.is_empty() {
        let places = searched.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
        checks.push(Check::bad(
            SUBJECT,
            Verdict::Advice,
            format!("Jupyter does not have a kernel of this command; it looks in {places}"),
            INSTALL,
        ));
    }
    checks.sort_by(|a, b| a.found.cmp(&b.found));
    checks
}

/// Checks for earlier installations that only take space.
fn earlier() -> Option<Check> {
    let places = [Scope::User, Scope::SysPrefix].iter().filter_map(|scope| Places::of(scope).ok());
    let idle: Vec<String> = places
        .flat_map(|places| places.unused())
        .filter(|earlier| !earlier.running)
        .map(|earlier| format!("`{}`", earlier.folder.display()))
        .collect();
    (!idle.is_empty()).then(|| {
        Check::bad(
            "earlier",
            Verdict::Advice,
            format!("no kernelspec uses {}", idle.join(", ")),
            "the next `chandlery kernel install` or `uninstall` in the same place removes it; or delete it",
        )
    })
}
