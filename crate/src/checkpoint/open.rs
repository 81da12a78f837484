//! A checkpoint opened by its headers: names, shapes and types at once, data when asked for.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::derived::LastComputed;
use super::elements::cast::read_floats;
use super::files::choice::CheckpointChoice;
use super::files::layout::{WEIGHTS_FILE, WEIGHTS_INDEX};
use super::files::links::inside;
use super::header::{Extent, WeightsFile};
use super::{CheckpointError, GgufMetadata};
use crate::spec::{DType, ParamPath, TensorRow, TensorTable};

/// Weights on disk, one file or many, of which only the headers were read.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    pub(super) shards: Vec<WeightsFile>,
    places: HashMap<ParamPath, (usize, usize)>,
    table: TensorTable,
    choice: CheckpointChoice,
    computed: LastComputed,
}

/// The bytes of one tensor, little endian, row-major.
#[derive(Clone, Debug)]
pub struct TensorData {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// `dtype.bytes() × elements` bytes.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens a model folder (its newest complete checkpoint, else its own weights), a checkpoint folder, a `.safetensors`,
    /// PyTorch `.bin` or `.gguf` file, or an index. Reads headers only. [`choice`](Self::choice) tells what was taken.
    ///
    /// # Errors
    /// [`CheckpointError`] if nothing is found, a header or index is invalid, or shards are missing.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::open_path(path.as_ref())
    }

    fn open_path(path: &Path) -> Result<Self, CheckpointError> {
        if path.is_dir() { Self::newest(path) } else { Self::open_file(path) }
    }

    /// Opens a file of weights or an index.
    pub(super) fn open_file(path: &Path) -> Result<Self, CheckpointError> {
        if !path.exists() {
            return Err(CheckpointError::NotFound { path: path.to_owned(), advice: "check the path".to_owned() });
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            return Self::open_index(path);
        }
        Self::assemble(path, vec![open_file(path)?])
    }

    /// Sets how the weights were chosen.
    pub(super) fn chosen(mut self, choice: CheckpointChoice) -> Self {
        let notes = std::mem::take(&mut self.choice.notes);
        self.choice = choice;
        self.choice.notes.extend(notes);
        self
    }

    /// Adds what a person should know of the weights.
    pub(crate) fn note(&mut self, note: String) {
        self.choice.notes.push(note);
    }

    /// Returns which weights these are, and why they were chosen.
    pub fn choice(&self) -> &CheckpointChoice {
        &self.choice
    }

    fn open_index(path: &Path) -> Result<Self, CheckpointError> {
        let invalid = |reason: String| CheckpointError::Index { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(CheckpointError::io("reading", path))?;
        let index: Index = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        for name in &names {
            // A shard lies next to its index: otherwise files could be read that the user did not name.
            let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || Path::new(name).components().count() != 1 {
                return Err(invalid(format!("shard name `{name}` is not a plain file name")));
            }
        }
        let missing: Vec<&str> =
            names.iter().filter(|name| !folder.join(name).is_file()).map(|name| name.as_str()).collect();
        if !missing.is_empty() {
            return Err(CheckpointError::MissingShards {
                folder: folder.to_owned(),
                count: missing.len(),
                total: names.len(),
                names: missing.iter().take(5).copied().collect::<Vec<_>>().join(", "),
            });
        }
        let shards = names
            .iter()
            .map(|name| {
                let path = folder.join(name);
                inside(folder, &path)?;
                open_file(&path)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let checkpoint = Self::assemble(path, shards)?;
        for (tensor, file) in &index.weight_map {
            let place = checkpoint.places.get(&ParamPath::from(tensor.as_str()));
            let found = place.and_then(|&(shard, _)| checkpoint.shards[shard].path.file_name()?.to_str());
            if found != Some(file) {
                let reason = match found {
                    None => format!("tensor `{tensor}` is not in `{file}`"),
                    Some(found) => format!("tensor `{tensor}` is in `{found}`, not in `{file}`"),
                };
                return Err(invalid(reason));
            }
        }
        Ok(checkpoint)
    }

    fn assemble(path: &Path, shards: Vec<WeightsFile>) -> Result<Self, CheckpointError> {
        let mut places = HashMap::new();
        let mut rows = Vec::new();
        for (shard, file) in shards.iter().enumerate() {
            for (at, extent) in file.tensors.iter().enumerate() {
                let name = ParamPath::from(extent.name.as_str());
                if places.insert(name.clone(), (shard, at)).is_some() {
                    let reason = format!("tensor `{name}` is in more than one shard");
                    return Err(CheckpointError::Index { path: path.to_owned(), reason });
                }
                rows.push(TensorRow::stored(name, extent.shape.clone(), extent.dtype));
            }
        }
        let table = TensorTable::from_rows(rows).sorted();
        let mut choice = CheckpointChoice::named(path);
        choice.notes.extend(shards.iter().flat_map(|shard| shard.notes.iter().cloned()));
        Ok(Self { path: path.to_owned(), shards, places, table, choice, computed: LastComputed::default() })
    }

    /// The tensors that `rename` names, under these names.
    ///
    /// # Errors
    /// [`CheckpointError::Index`] if two tensors get the same name.
    pub(crate) fn renamed(
        mut self,
        mut rename: impl FnMut(&ParamPath) -> Option<ParamPath>,
    ) -> Result<Self, CheckpointError> {
        for shard in &mut self.shards {
            shard.tensors.retain_mut(|extent| match rename(&ParamPath::from(extent.name.as_str())) {
                Some(name) => {
                    extent.name = name.to_string();
                    true
                }
                None => false,
            });
        }
        Ok(Self { choice: self.choice, ..Self::assemble(&self.path, self.shards)? })
    }

    /// Returns the file or index that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, shapes and types of all tensors, in natural order.
    pub fn table(&self) -> &TensorTable {
        &self.table
    }

    /// Returns the number of files that hold the tensors.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Returns the `__metadata__` of the first file.
    pub fn metadata(&self) -> &HashMap<String, String> {
        static EMPTY: std::sync::LazyLock<HashMap<String, String>> = std::sync::LazyLock::new(HashMap::new);
        self.shards.first().map_or(&EMPTY, |shard| &shard.metadata)
    }

    /// Returns the typed metadata of a GGUF file.
    pub fn gguf(&self) -> Option<&GgufMetadata> {
        self.shards.first().and_then(|shard| shard.gguf.as_ref())
    }

    /// Returns the name under which a PyTorch file nests the tensors, if it does: `state_dict`, `model` …
    pub fn nested_in(&self) -> Option<&str> {
        self.metadata().get(super::pytorch::pickle::NESTED_IN).map(String::as_str)
    }

    /// Returns the files that hold the tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// Returns the names in the order of their bytes on disk: the order in which copying is fastest.
    pub fn stored_order(&self) -> impl Iterator<Item = ParamPath> {
        self.shards.iter().flat_map(|shard| shard.tensors.iter().map(|extent| ParamPath::from(extent.name.as_str())))
    }

    pub(super) fn place(&self, path: &ParamPath) -> Result<(&WeightsFile, &Extent), CheckpointError> {
        let &(shard, at) = self
            .places
            .get(path)
            .ok_or_else(|| CheckpointError::NoTensor { tensor: path.to_string(), path: self.path.clone() })?;
        let file = &self.shards[shard];
        Ok((file, &file.tensors[at]))
    }

    /// Returns the bytes of a tensor that is computed, if it is one.
    pub(super) fn computed(&self, extent: &Extent) -> Result<Option<Arc<Vec<u8>>>, CheckpointError> {
        self.computed.bytes(extent)
    }

    /// Returns whether two tensors are one storage, or of equal type, shape and bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn equal(&self, left: &ParamPath, right: &ParamPath) -> Result<bool, CheckpointError> {
        let ((file, a), (other, b)) = (self.place(left)?, self.place(right)?);
        if (a.dtype, &a.shape) != (b.dtype, &b.shape) {
            return Ok(false);
        }
        if std::ptr::eq(file, other) && a.start == b.start && a.derived.is_none() && b.derived.is_none() {
            return Ok(true);
        }
        const BLOCK: usize = 4 << 20;
        let (mut left, mut right) = (self.blocks(left, BLOCK)?, self.blocks(right, BLOCK)?);
        loop {
            match (left.next_block()?, right.next_block()?) {
                (None, None) => return Ok(true),
                (a, b) if a == b => {}
                _ => return Ok(false),
            }
        }
    }

    /// Returns whether no element is NaN or infinite. Elements that are not floats never are.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn is_finite(&self, path: &ParamPath) -> Result<bool, CheckpointError> {
        let dtype = self.place(path)?.1.dtype;
        let mut blocks = self.blocks(path, 4 << 20)?;
        while let Some(block) = blocks.next_block()? {
            let mut floats = vec![0.0f32; block.len() / dtype.bytes()];
            if read_floats(block, dtype, &mut floats).is_none() {
                return Ok(true);
            }
            if floats.iter().any(|value| !value.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// [`CheckpointError::NoTensor`], or [`CheckpointError::Io`] if the file changed or cannot be read.
    pub fn read(&self, path: &ParamPath) -> Result<TensorData, CheckpointError> {
        let (file, extent) = self.place(path)?;
        if let Some(bytes) = self.computed.bytes(extent)? {
            return Ok(TensorData { dtype: extent.dtype, shape: extent.shape.clone(), bytes: bytes.to_vec() });
        }
        let mut bytes = vec![0u8; extent.len as usize];
        file.file
            .read_exact_at(&mut bytes, extent.start)
            .map_err(CheckpointError::io("reading a tensor", &file.path))?;
        Ok(TensorData { dtype: extent.dtype, shape: extent.shape.clone(), bytes })
    }

    /// Fills `bytes` with the tensor's own, from its byte `start` on.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`CheckpointError::Io`] beyond the tensor's end.
    pub(crate) fn read_at(&self, path: &ParamPath, start: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        let (file, extent) = self.place(path)?;
        if let Some(computed) = self.computed.bytes(extent)? {
            let part = computed.get(start as usize..).and_then(|rest| rest.get(..bytes.len()));
            let part = part.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
            bytes.copy_from_slice(part.map_err(CheckpointError::io("reading a tensor", &file.path))?);
            return Ok(());
        }
        let reading = match start.checked_add(bytes.len() as u64) {
            Some(end) if end <= extent.len => file.file.read_exact_at(bytes, extent.start + start),
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        reading.map_err(CheckpointError::io("reading a tensor", &file.path))
    }

    /// Returns the tensor's bytes in blocks of at most `block` bytes.
    ///
    /// # Errors
    /// [`CheckpointError::NoTensor`].
    pub fn blocks(&self, path: &ParamPath, block: usize) -> Result<Blocks<'_>, CheckpointError> {
        let len = self.place(path)?.1.len;
        self.blocks_within(path, 0, len, block)
    }

    /// As [`blocks`](Self::blocks), of the tensor's bytes `start..start + len` only. What lies beyond the tensor is not
    /// read.
    pub(super) fn blocks_within(
        &self,
        path: &ParamPath,
        start: u64,
        len: u64,
        block: usize,
    ) -> Result<Blocks<'_>, CheckpointError> {
        let (file, extent) = self.place(path)?;
        let len = len.min(extent.len.saturating_sub(start));
        let computed = self.computed.bytes(extent)?;
        let buffer = vec![0; if computed.is_some() { 0 } else { block.min(len as usize) }];
        let start = if computed.is_some() { start } else { extent.start + start };
        Ok(Blocks { file, computed, start, len, block: block.min(len as usize), buffer, done: 0 })
    }
}

/// One tensor's bytes, block by block.
#[derive(Debug)]
pub struct Blocks<'a> {
    file: &'a WeightsFile,
    /// The tensor itself, if it is not read from the file as it is.
    computed: Option<Arc<Vec<u8>>>,
    start: u64,
    len: u64,
    block: usize,
    buffer: Vec<u8>,
    done: u64,
}

impl Blocks<'_> {
    /// Returns the next block, `None` after the last.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the file changed or cannot be read, or an interrupt.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, CheckpointError> {
        crate::interrupt::check()?;
        let size = (self.len - self.done).min(self.block as u64) as usize;
        if size == 0 {
            return Ok(None);
        }
        if let Some(computed) = &self.computed {
            let from = (self.start + self.done) as usize;
            self.done += size as u64;
            return Ok(Some(&computed[from..from + size]));
        }
        let block = &mut self.buffer[..size];
        self.file
            .file
            .read_exact_at(block, self.start + self.done)
            .map_err(CheckpointError::io("reading a tensor", &self.file.path))?;
        self.done += size as u64;
        Ok(Some(block))
    }
}

/// One file of weights, by its ending.
fn open_file(path: &Path) -> Result<WeightsFile, CheckpointError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("bin" | "pt" | "pth") => WeightsFile::open_pickle(path),
        Some("gguf") => WeightsFile::open_gguf(path),
        _ => WeightsFile::open(path),
    }
}

impl CheckpointError {
    /// Returns the error for a folder without weights, with advice by what the folder most likely is.
    pub(super) fn nothing_in(folder: &Path) -> Self {
        let has = |prefix: &str, suffix: &str| {
            std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix))
            })
        };
        let advice = match has("", ".gguf") {
            true => "these are GGUF weights; inspect, logits and compare take the file itself".to_owned(),
            false => format!("name a folder with {WEIGHTS_FILE}, {WEIGHTS_INDEX} or checkpoints/checkpoint-N inside"),
        };
        Self::NotFound { path: folder.to_owned(), advice }
    }
}
