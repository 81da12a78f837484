//! Links in a model folder: which of them point to files that belong to it.

use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;

/// Returns the file behind an entry of a folder, links followed.
///
/// A link may point anywhere inside the model folder, also from a checkpoint to its root, and in the cache of Hugging
/// Face's hub to the blob it stands for. Files elsewhere were not named by the user: a result to be shared must not
/// contain them.
///
/// # Errors
/// [`CheckpointError::LeavesFolder`] for a link that points outside, [`CheckpointError::Io`] for a broken one.
pub fn inside(folder: &Path, entry: &Path) -> Result<PathBuf, CheckpointError> {
    let real = |path: &Path| path.canonicalize().map_err(CheckpointError::io("following a link", path));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let target = real(entry)?;
    let own = real(folder)?;
    let mut rooms = vec![own.clone()];
    // checkpoints/checkpoint-N belongs to the model folder above it.
    if let Some(checkpoints) = own.parent().filter(|parent| parent.ends_with("checkpoints")) {
        rooms.extend(checkpoints.parent().map(Path::to_owned));
    }
    // …/snapshots/REVISION holds links to …/blobs/HASH.
    if let Some(snapshots) = own.parent().filter(|parent| parent.ends_with("snapshots")) {
        rooms.extend(snapshots.parent().map(|repository| repository.join("blobs")));
    }
    if rooms.iter().any(|room| target.starts_with(room)) {
        return Ok(target);
    }
    let link = entry.strip_prefix(folder).unwrap_or(entry).display().to_string();
    Err(CheckpointError::LeavesFolder { link, target, folder: folder.to_owned() })
}
