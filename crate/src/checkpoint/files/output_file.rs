//! Files that commands are asked to write: probed before the work, written when it is done.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::checkpoint::CheckpointError;

/// The name that stands for standard output.
const STDOUT: &str = "-";

/// Other names of standard output. A file behind it must not be replaced while the shell writes to it.
const STDOUT_NAMES: &[&str] = &[STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// How many links are followed: as many as the system follows.
const MAX_LINKS: usize = 40;

/// A file that a command is asked to write.
///
/// A regular file changes as a whole: readers see the old content or the new one. It keeps its mode and its owner, and
/// links that lead to it stay. A device or a pipe is written to, and `-` is standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// The path as given.
    path: PathBuf,
    target: Target,
    /// Whether folders that are missing are created with the file.
    creates_folders: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    /// A device or a pipe, or a descriptor of this process.
    Stream,
    /// The file that the path leads to, links resolved.
    File(PathBuf),
}

impl OutputFile {
    /// Finds out whether the file can be written, and changes nothing.
    ///
    /// # Errors
    /// [`CheckpointError::NoParent`] if its folder does not exist; the file system's refusal.
    pub fn probe(path: &Path) -> std::result::Result<Self, CheckpointError> {
        Self::probed(path, false)
    }

    /// Finds out the same for a file whose missing folders are created when it is written.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn probe_with_folders(path: &Path) -> std::result::Result<Self, CheckpointError> {
        Self::probed(path, true)
    }

    fn probed(path: &Path, creates_folders: bool) -> std::result::Result<Self, CheckpointError> {
        let refused = CheckpointError::io("writing", path);
        let target = match target(path) {
            Ok(target) => target,
            Err(error) => return Err(refused(error)),
        };
        let probed = match &target {
            Target::Stdout => Ok(()),
            Target::Stream => probe_stream(path),
            Target::File(file) => {
                let folder = folder_of(file);
                if !creates_folders && !folder.exists() {
                    return Err(CheckpointError::NoParent { path: folder.to_owned() });
                }
                probe_file(file)
            }
        };
        probed.map_err(refused)?;
        Ok(Self { path: path.to_owned(), target, creates_folders })
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether it is standard output.
    pub fn is_stdout(&self) -> bool {
        self.target == Target::Stdout
    }

    /// Returns whether it is a regular file, which can be written several times: the last content counts.
    pub fn is_file(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    /// Returns whether both are the same regular file, or both standard output.
    pub fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.target != Target::Stream
    }

    /// Writes the content: a regular file is whole at any time.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn write(&self, content: &[u8]) -> std::result::Result<(), CheckpointError> {
        let written = match &self.target {
            Target::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(content).and_then(|()| stdout.flush())
            }
            Target::Stream => overwrite(&self.path, content),
            Target::File(file) => {
                let folder = folder_of(file);
                let created = if self.creates_folders { std::fs::create_dir_all(folder) } else { Ok(()) };
                created.and_then(|()| replace(file, content))
            }
        };
        written.map_err(CheckpointError::io("writing", &self.path))
    }
}

/// Returns what a path leads to.
fn target(path: &Path) -> Result<Target> {
    if STDOUT_NAMES.iter().any(|name| path.as_os_str() == OsStr::new(name)) {
        return Ok(Target::Stdout);
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(found) if found.file_type().is_socket() => Err(Error::other("it is a socket")),
        Ok(found) if !found.is_file() || is_descriptor(path) => Ok(Target::Stream),
        Ok(_) => Ok(Target::File(std::fs::canonicalize(path)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.as_os_str().as_bytes().ends_with(b"/") {
                return Err(ErrorKind::IsADirectory.into());
            }
            // New, or at the end of links that lead to nothing yet.
            let mut file = path.to_owned();
            for _ in 0..MAX_LINKS {
                match std::fs::read_link(&file) {
                    Ok(next) => file = folder_of(&file).join(next),
                    Err(_) if file.file_name().is_none() => return Err(ErrorKind::InvalidInput.into()),
                    Err(_) => return Ok(Target::File(file)),
                }
            }
            Err(Error::other("its links form a cycle"))
        }
        Err(error) => Err(error),
    }
}

/// Returns whether it is a name for a descriptor, such as `/dev/fd/63` of the shell's `>(…)`.
fn is_descriptor(path: &Path) -> bool {
    let folder = std::fs::canonicalize(folder_of(path));
    folder.is_ok_and(|folder| folder.starts_with("/proc") && folder.file_name() == Some(OsStr::new("fd")))
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A pipe is not opened: its reader would see the end of the data.
fn probe_stream(path: &Path) -> Result<()> {
    if !std::fs::metadata(path)?.file_type().is_char_device() {
        return Ok(());
    }
    OpenOptions::new().write(true).open(path).map(drop)
}

fn probe_file(file: &Path) -> Result<()> {
    match OpenOptions::new().write(true).open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = folder_of(file).ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
            let stage = stage(folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")));
            File::create_new(&stage)?;
            std::fs::remove_file(&stage)
        }
        opened => opened.map(drop),
    }
}

/// Returns a unique name for a file under construction.
fn stage(folder: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    folder.join(format!(".chandlery-{}-{}.partial", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// Writes a regular file next to its destination and moves it there; where that is not possible, writes it in place.
fn replace(file: &Path, content: &[u8]) -> Result<()> {
    let old = std::fs::metadata(file).ok();
    // A hard link to the same file would keep the old content.
    if old.as_ref().is_none_or(|old| old.nlink() == 1) {
        let stage = stage(folder_of(file));
        let moved = write_staged(&stage, content, old.as_ref()).and_then(|()| std::fs::rename(&stage, file));
        let Err(error) = moved else { return Ok(()) };
        let _ = std::fs::remove_file(&stage);
        // A file that is mounted by itself, a folder that takes no new files, an owner that only root can give.
        let in_place = [
            ErrorKind::ResourceBusy,
            ErrorKind::CrossesDevices,
            ErrorKind::PermissionDenied,
            ErrorKind::ReadOnlyFilesystem,
        ];
        if old.is_none() || !in_place.contains(&error.kind()) {
            return Err(error);
        }
    }
    overwrite(file, content)
}

/// Writes a new file with the mode and the owner of the old one.
fn write_staged(stage: &Path, content: &[u8], old: Option<&Metadata>) -> Result<()> {
    let mut file = File::create_new(stage)?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(old.permissions())?;
    }
    file.write_all(content)?;
    file.sync_all()
}

fn overwrite(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(content)?;
    if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
}
