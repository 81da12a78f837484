//! Links in a model folder: which of them lead to files that belong to it.

use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;

/// The file behind an entry of a folder, links followed.
///
/// A link may lead anywhere inside the model folder, from a checkpoint to its root as well, and in the cache of Hugging
/// Face's hub to the blob it stands for. Elsewhere are files that nobody named: a result that is handed on must not
/// hold them.
///
/// # Errors
/// [`CheckpointError::LeavesFolder`] for a link that leads out, [`CheckpointError::Io`] for one that leads nowhere.
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
