//! Sources of a model's folder that are carried to another folder.

use std::path::{Path, PathBuf};

use super::{ExportError, sources};
use crate::checkpoint::{CheckpointError, inside};
use crate::spec::{ModelConfig, Naming};

/// Folders that hold what training and compilers made, not sources.
const NOT_SOURCES: &[&str] = &["checkpoints", "runs", "evals", "logs", "target", "__pycache__"];
/// What Forgather's exporter leaves beside the packages it copied.
const PACKAGES_COPIED: &str = ".package_files_copied";
/// Deeper folders are not packages of sources.
const MAX_DEPTH: usize = 12;

/// A source file that is carried along with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedSource {
    /// Its name below the model's folder.
    pub name: String,
    /// The file in the old folder.
    pub file: PathBuf,
    /// Its text, if it is written again because the configuration changed.
    pub text: Option<String>,
}

/// Returns the sources of a model's folder as they should stand beside the configuration `new`, in order of their
/// names: Python and Rust, with their subfolders. Files that this crate wrote for `old` and that nobody edited are
/// written again for `new`; all others are copied. Folders that are links are left out.
///
/// # Errors
/// [`ExportError::Folder`] for a source that is a link out of the folder, or what the file system says.
pub fn carried_sources(
    folder: &Path,
    naming: Naming,
    old: &ModelConfig,
    new: &ModelConfig,
) -> Result<Vec<CarriedSource>, ExportError> {
    let mut names = Vec::new();
    list(folder, "", 0, &mut names)?;
    names.sort();
    let (ours, again) = match naming {
        Naming::Native if old != new => (sources(old)?, sources(new)?),
        _ => (Vec::new(), Vec::new()),
    };
    let carried = names.into_iter().map(|name| {
        let file = inside(folder, &folder.join(&name))?;
        let ours = ours.iter().find(|(written, _)| *written == name).map(|(_, text)| text);
        let again = again.iter().find(|(written, _)| *written == name).map(|(_, text)| text);
        let text = match (ours, again) {
            (Some(ours), Some(again)) if ours != again => {
                let found = std::fs::read(&file).map_err(CheckpointError::io("reading", &file))?;
                (found == ours.as_bytes()).then(|| again.clone())
            }
            _ => None,
        };
        Ok(CarriedSource { name, file, text })
    });
    carried.collect()
}

/// Adds the names of all sources below `folder/prefix`.
fn list(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) -> Result<(), CheckpointError> {
    let here = folder.join(prefix);
    for entry in std::fs::read_dir(&here).map_err(CheckpointError::io("listing", &here))? {
        let entry = entry.map_err(CheckpointError::io("listing", &here))?;
        // Neither Python nor Rust imports a file whose name is not UTF-8.
        let Ok(file) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().map_err(CheckpointError::io("listing", &here))?;
        let name = format!("{prefix}{file}");
        let hidden = file.starts_with('.');
        if kind.is_dir() && !hidden && depth < MAX_DEPTH && !NOT_SOURCES.contains(&file.as_str()) {
            list(folder, &format!("{name}/"), depth + 1, names)?;
        } else if (kind.is_file() || entry.path().is_file()) && is_source(&file, depth) {
            names.push(name);
        }
    }
    Ok(())
}

fn is_source(file: &str, depth: usize) -> bool {
    let hidden = file.starts_with('.');
    let ending = Path::new(file).extension().and_then(|ending| ending.to_str());
    match ending {
        _ if depth == 0 && file == PACKAGES_COPIED => true,
        Some("py") => !hidden,
        // A crate of ours or of the user's, which is never at the root.
        Some("rs") => !hidden && depth > 0,
        _ => depth > 0 && ["Cargo.toml", "Cargo.lock"].contains(&file),
    }
}
