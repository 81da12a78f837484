//! The folders of kernels, by Jupyter's rules.

use std::path::PathBuf;
use std::process::Command;

use super::InstallError;

/// The scope of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The current user.
    User,
    /// Everything under one prefix, such as `/usr/local` or a virtual environment.
    Prefix(PathBuf),
    /// The prefix of the `python3` on the path.
    SysPrefix,
}

/// The two folders of an installation.
#[derive(Clone, Debug)]
pub struct Places {
    jupyter: PathBuf,
    library: PathBuf,
}

impl Places {
    /// Returns the folders of a scope.
    ///
    /// # Errors
    /// [`InstallError::Place`] without a home folder or without Python.
    pub fn of(scope: &Scope) -> Result<Self, InstallError> {
        let prefix = match scope {
            Scope::User => return Self::of_user(),
            Scope::Prefix(prefix) => {
                std::path::absolute(prefix).map_err(|source| InstallError::Place(source.to_string()))?
            }
            Scope::SysPrefix => sys_prefix().ok_or_else(|| {
                InstallError::Place("`--sys-prefix` asks `python3` for its prefix, and it did not answer".to_owned())
            })?,
        };
        Ok(Self { jupyter: prefix.join("share/jupyter"), library: prefix.join("lib").join(folder()) })
    }

    fn of_user() -> Result<Self, InstallError> {
        let data = data_home().ok_or_else(|| InstallError::Place("`HOME` is not set".to_owned()))?;
        let jupyter = user_jupyter().ok_or_else(|| InstallError::Place("`HOME` is not set".to_owned()))?;
        Ok(Self { jupyter, library: data.join("chandlery").join(folder()) })
    }

    /// The folder of kernelspecs.
    pub fn kernels(&self) -> PathBuf {
        self.jupyter.join("kernels")
    }

    /// The folder for the command, the toolkit and its metadata; a number is appended while an earlier installation exists.
    pub fn library(&self) -> PathBuf {
        self.library.clone()
    }

    /// Returns every folder in which Jupyter looks for kernelspecs, in its order.
    pub fn searched() -> Vec<PathBuf> {
        let mut data: Vec<PathBuf> = std::env::var_os("JUPYTER_PATH").iter().flat_map(std::env::split_paths).collect();
        data.extend(user_jupyter());
        data.extend(sys_prefix().map(|prefix| prefix.join("share/jupyter")));
        data.extend(["/usr/local/share/jupyter", "/usr/share/jupyter"].map(PathBuf::from));
        let mut folders = Vec::new();
        for folder in data.into_iter().map(|data| data.join("kernels")) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }
}

fn folder() -> String {
    concat!("chandlery-", env!("CARGO_PKG_VERSION")).to_owned()
}

fn user_jupyter() -> Option<PathBuf> {
    match std::env::var_os("JUPYTER_DATA_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(folder.into()),
        None if cfg!(target_os = "macos") => Some(home()?.join("Library/Jupyter")),
        None => Some(data_home()?.join("jupyter")),
    }
}

fn data_home() -> Option<PathBuf> {
    match std::env::var_os("XDG_DATA_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(folder.into()),
        None => Some(home()?.join(".local/share")),
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn sys_prefix() -> Option<PathBuf> {
    let python = Command::new("python3").args(["-c", "import sys; print(sys.prefix)"]).output().ok()?;
    let prefix = String::from_utf8(python.stdout).ok()?;
    (python.status.success() && !prefix.trim().is_empty()).then(|| prefix.trim().into())
}
