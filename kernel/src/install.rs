//! `chandlery kernel install` and `uninstall`: what the kernel needs in one folder, and a kernelspec that points to it.

mod payload;
mod places;
mod sweep;

use std::io::Write;
use std::path::{Path, PathBuf};

use chandlery::diagnostic::{Diagnose, Diagnostic};
use serde_json::{Value, json};

use crate::toolkit::BUILT_WITH;

pub use payload::{Payload, Rustc};
pub use places::{Places, Scope};
pub(crate) use sweep::command_of;
pub use sweep::{Earlier, stay_in_use};

/// The file in an installed folder that says which compiler its cells need.
const RECORD: &str = "install.json";

/// Why an installation failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be put in place.
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the running build is missing.
    Incomplete {
        /// What is missing.
        what: String,
    },
    /// The compiler would not list what a cell needs.
    Rustc {
        /// What it said.
        detail: String,
    },
    /// The disk is too small.
    Room {
        /// Where.
        folder: PathBuf,
        /// What is needed, in MB.
        needed: u64,
        /// What is free, in MB.
        free: u64,
    },
    /// The folder cannot be determined.
    Place(String),
    /// Jupyter does not accept the name.
    Name(String),
    /// There is no such kernel to uninstall.
    NotInstalled {
        /// The kernel's name.
        name: String,
        /// The folder in which it was looked for.
        folder: PathBuf,
    },
}

impl Diagnose for InstallError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Write { path, source } => Diagnostic::new(format!("cannot write a file: {source}"))
                .at(path.display())
                .advise("check its permissions, or choose another place with `--user` or `--prefix`"),
            Self::Incomplete { what } => Diagnostic::new(format!("cannot find {what} of the running `chandlery`"))
                .advise("build it with `cargo build --release` and run `target/release/chandlery kernel install`"),
            Self::Rustc { detail } => Diagnostic::new(format!("rustc cannot load the toolkit: {detail}"))
                .advise("run `chandlery kernel doctor`, which says which compiler is needed"),
            Self::Room { folder, needed, free } => {
                Diagnostic::new(format!("{needed} MB are needed, and {free} MB are free"))
                    .at(folder.display())
                    .advise("make room, or choose another place with `--user` or `--prefix`")
            }
            Self::Place(why) => {
                Diagnostic::new(format!("cannot tell where to install: {why}")).advise("name a place with `--prefix`")
            }
            Self::Name(name) => Diagnostic::new(format!("`{name}` cannot be a kernel name"))
                .advise("use letters, digits, `-`, `_` and `.`"),
            Self::NotInstalled { name, folder } => Diagnostic::new(format!("there is no kernel `{name}`"))
                .at(folder.display())
                .advise("run `jupyter kernelspec list`, which shows those that exist"),
        }
    }
}

impl InstallError {
    fn write(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

/// A completed installation.
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

/// How a kernel is called.
#[derive(Clone, Debug)]
pub struct Names {
    /// The name of the kernelspec.
    pub name: String,
    /// What people choose; by default the name decides.
    pub display_name: Option<String>,
}

impl Names {
    fn shown(&self) -> String {
        let by_name = || match self.name.as_str() {
            "chandlery" => "Chandlery (Rust)".to_owned(),
            other => format!("Chandlery (Rust, {other})"),
        };
        self.display_name.clone().unwrap_or_else(by_name)
    }
}

/// Installs the running build as a kernel.
///
/// The files go into a folder of their own, which gets its name when it is complete; only then the kernelspec is pointed to
/// it, by one rename. Kernels of an earlier installation run on in their folder; the first installation or removal
/// after they ended takes it away.
///
/// # Errors
/// [`InstallError`]; an earlier installation is then as it was.
pub fn install(places: &Places, names: &Names, payload: &Payload) -> Result<Installed, InstallError> {
    check_name(&names.name)?;
    let staged = places.library().with_added_extension(format!("{}{}", &sweep::PART[1..], std::process::id()));
    let complete = payload.copy_to(&staged).and_then(|copied| {
        let record = json!({
            "chandlery": env!("CARGO_PKG_VERSION"),
            "rustc": payload.rustc.as_ref().map(|rustc| rustc.path.clone()),
            "rustc_verbose_version": payload.rustc.as_ref().map(|rustc| rustc.verbose_version.clone()),
            "built_with": BUILT_WITH,
        });
        write_json(&staged.join(RECORD), &record)?;
        Ok((copied, name_it(&staged, &places.library())?))
    });
    let (copied, library) = complete.inspect_err(|_| drop(std::fs::remove_dir_all(&staged)))?;
    let spec = places.kernels().join(&names.name);
    let written = write_spec(&spec, &kernelspec(&library, &names.shown(), payload.rustc.as_ref()));
    written.inspect_err(|_| drop(std::fs::remove_dir_all(&library)))?;
    places.sweep();
    Ok(Installed { spec, library, bytes: copied.bytes, linked: copied.linked })
}

/// Removes a kernelspec, and the folder it points to if no other kernel needs it.
///
/// # Errors
/// [`InstallError::NotInstalled`], or what kept a folder from being removed.
pub fn uninstall(places: &Places, name: &str) -> Result<Vec<PathBuf>, InstallError> {
    check_name(name)?;
    let spec = places.kernels().join(name);
    if !spec.join("kernel.json").is_file() {
        return Err(InstallError::NotInstalled { name: name.to_owned(), folder: places.kernels() });
    }
    std::fs::remove_dir_all(&spec).map_err(InstallError::write(&spec))?;
    let mut removed = vec![spec];
    removed.extend(places.sweep());
    Ok(removed)
}

fn check_name(name: &str) -> Result<(), InstallError> {
    let accepted = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(accepted) {
        return Err(InstallError::Name(name.to_owned()));
    }
    Ok(())
}

/// The kernelspec of an installed folder.
fn kernelspec(library: &Path, display_name: &str, rustc: Option<&Rustc>) -> Value {
    // A server started from a desktop has no `~/.cargo/bin` on its path, so the compiler is named in full.
    let env = rustc.map_or_else(|| json!({}), |rustc| json!({"RUSTC": rustc.path}));
    // No `kernel_protocol_version`: 5.5 there announces the handshake by a registration file, which this kernel has not.
    json!({
        "argv": [library.join("chandlery"), "kernel", "start", "--connection-file", "{connection_file}"],
        "display_name": display_name,
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
    let staged = folder.join(format!(".kernel.json{}{}", sweep::PART, std::process::id()));
    write_json(&staged, spec)?;
    let file = folder.join("kernel.json");
    std::fs::rename(&staged, &file).map_err(|source| {
        let _ = std::fs::remove_file(&staged);
        InstallError::Write { path: file.clone(), source }
    })
}

fn write_json(path: &Path, value: &Value) -> Result<(), InstallError> {
    let written = std::fs::File::create(path).and_then(|mut file| {
        file.write_all(format!("{value:#}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(InstallError::write(path))
}

/// Gives a complete folder its name, with a number if a folder of this name is there.
fn name_it(staged: &Path, name: &Path) -> Result<PathBuf, InstallError> {
    let numbered = |number: u32| match number {
        1 => name.to_owned(),
        _ => name.with_file_name(format!("{}-{number}", name.file_name().unwrap_or_default().to_string_lossy())),
    };
    // A folder that is there is not empty, and a folder that is not empty is never renamed over.
    let free = (1..).map(numbered).find(|folder| !folder.exists()).unwrap_or_else(|| name.to_owned());
    std::fs::rename(staged, &free).map_err(InstallError::write(&free))?;
    Ok(free)
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
