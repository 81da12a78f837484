//! `chandlery kernel install` and `uninstall`: what the kernel needs in one folder, and a kernelspec that points to it.

mod payload;
mod places;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::toolkit::BUILT_WITH;

pub use payload::{Payload, Rustc};
pub use places::{Places, Scope};

/// The file in an installed folder that says which compiler its cells need.
const RECORD: &str = "install.json";

/// Why an installation did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be put in place.
    #[error("cannot write `{}`: {source}\ncheck its permissions, or choose another place with `--user` or `--prefix`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the running build is missing.
    #[error(
        "cannot find {what} of the running `chandlery`\nbuild it with `cargo build --release` and run `target/release/chandlery kernel install`"
    )]
    Incomplete {
        /// What is missing.
        what: String,
    },
    /// The compiler would not list what a cell needs.
    #[error("rustc cannot load the toolkit: {detail}\nrun `chandlery kernel doctor`; it says which compiler is needed")]
    Rustc {
        /// What it said.
        detail: String,
    },
    /// The place cannot be known.
    #[error("cannot tell where to install: {0}\nname a place with `--prefix`")]
    Place(String),
    /// The name is not one Jupyter accepts.
    #[error("`{0}` cannot be a kernel name\nuse letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// There is nothing to uninstall.
    #[error("no kernel `{name}` in `{}`\n`jupyter kernelspec list` shows those that exist", folder.display())]
    NotInstalled {
        /// The kernel's name.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
}

impl InstallError {
    fn write(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

/// An installation that was made.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The kernelspec's folder.
    pub spec: PathBuf,
    /// The folder with the command, the toolkit and its metadata.
    pub library: PathBuf,
    /// Bytes in that folder.
    pub bytes: u64,
    /// Whether they share the disk space of the build.
    pub linked: bool,
}

/// Installs the running build as a kernel.
///
/// # Errors
/// [`InstallError`]; an earlier installation is replaced only by a complete new one.
pub fn install(places: &Places, name: &str, payload: &Payload) -> Result<Installed, InstallError> {
    check_name(name)?;
    let library = places.library();
    let staged = library.with_extension(format!("part-{}", std::process::id()));
    let copied = payload.copy_to(&staged).and_then(|copied| {
        let record = json!({
            "chandlery": env!("CARGO_PKG_VERSION"),
            "rustc": payload.rustc.as_ref().map(|rustc| rustc.path.clone()),
            "rustc_verbose_version": payload.rustc.as_ref().map(|rustc| rustc.verbose_version.clone()),
            "built_with": BUILT_WITH,
        });
        write_json(&staged.join(RECORD), &record)?;
        replace(&staged, &library)?;
        Ok(copied)
    });
    let copied = copied.inspect_err(|_| drop(std::fs::remove_dir_all(&staged)))?;

    let spec = places.kernels().join(name);
    write_spec(&spec, &kernelspec(&library, payload.rustc.as_ref()))?;
    Ok(Installed { spec, library, bytes: copied.bytes, linked: copied.linked })
}

/// Removes a kernelspec and the folder it points to.
///
/// # Errors
/// [`InstallError::NotInstalled`], or what kept a folder from being removed.
pub fn uninstall(places: &Places, name: &str) -> Result<Vec<PathBuf>, InstallError> {
    check_name(name)?;
    let spec = places.kernels().join(name);
    let not_installed = || InstallError::NotInstalled { name: name.to_owned(), folder: places.kernels() };
    let text = std::fs::read_to_string(spec.join("kernel.json")).map_err(|_| not_installed())?;
    let command = serde_json::from_str::<Value>(&text).ok().and_then(|spec| {
        let words = spec.get("argv")?.as_array()?;
        words.first()?.as_str().map(PathBuf::from)
    });
    let mut removed = vec![spec];
    // Only a folder that an installation made: a hand-written kernelspec may point into a build folder. And only when
    // no other kernel of this place uses it.
    if let Some(library) = command.as_deref().and_then(Path::parent)
        && library.join(RECORD).is_file()
        && !used_by_another(&places.kernels(), name, library)
    {
        removed.push(library.to_owned());
    }
    for folder in &removed {
        std::fs::remove_dir_all(folder).map_err(InstallError::write(folder))?;
    }
    Ok(removed)
}

fn used_by_another(kernels: &Path, name: &str, library: &Path) -> bool {
    let Ok(folders) = std::fs::read_dir(kernels) else { return false };
    folders.flatten().filter(|folder| folder.file_name() != name).any(|folder| {
        std::fs::read_to_string(folder.path().join("kernel.json"))
            .is_ok_and(|text| text.contains(&*library.to_string_lossy()))
    })
}

fn check_name(name: &str) -> Result<(), InstallError> {
    let accepted = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(accepted) {
        return Err(InstallError::Name(name.to_owned()));
    }
    Ok(())
}

/// The kernelspec of an installed folder.
fn kernelspec(library: &Path, rustc: Option<&Rustc>) -> Value {
    // A server started from a desktop has no `~/.cargo/bin` on its path, so the compiler is named in full.
    let env = rustc.map_or_else(|| json!({}), |rustc| json!({"RUSTC": rustc.path}));
    json!({
        "argv": [library.join("chandlery"), "kernel", "start", "--connection-file", "{connection_file}"],
        "display_name": "Chandlery (Rust)",
        "language": "rust",
        "interrupt_mode": "message",
        "env": env,
        "metadata": {"debugger": false, "chandlery": {"version": env!("CARGO_PKG_VERSION"), "rustc": BUILT_WITH}},
    })
}

fn write_spec(folder: &Path, spec: &Value) -> Result<(), InstallError> {
    std::fs::create_dir_all(folder).map_err(InstallError::write(folder))?;
    let logos: [(&str, &[u8]); 3] = [
        ("logo-32x32.png", include_bytes!("install/logo/logo-32x32.png")),
        ("logo-64x64.png", include_bytes!("install/logo/logo-64x64.png")),
        ("logo-svg.svg", include_bytes!("install/logo/logo-svg.svg")),
    ];
    for (name, bytes) in logos {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(InstallError::write(&path))?;
    }
    write_json(&folder.join("kernel.json"), spec)
}

fn write_json(path: &Path, value: &Value) -> Result<(), InstallError> {
    std::fs::write(path, format!("{value:#}\n")).map_err(InstallError::write(path))
}

/// Puts a finished folder where an older one may be; the older one is moved aside first, so that a failure keeps it.
fn replace(staged: &Path, target: &Path) -> Result<(), InstallError> {
    let aside = target.with_extension(format!("old-{}", std::process::id()));
    if target.exists() {
        std::fs::rename(target, &aside).map_err(InstallError::write(target))?;
    }
    if let Err(source) = std::fs::rename(staged, target) {
        let _ = std::fs::rename(&aside, target);
        return Err(InstallError::Write { path: target.to_owned(), source });
    }
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(InstallError::write(&aside))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(check_name("chandlery-0.1").is_ok());
        for bad in ["", ".hidden", "a/b", "two words"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
