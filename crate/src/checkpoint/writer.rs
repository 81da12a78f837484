//! Streaming writer: the headers of all shards are known before the first byte of data moves.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::CheckpointError;
use super::pytorch::pickle_write;
use crate::interrupt;
use crate::spec::{DType, ParamPath, TensorRow};

/// Shards are closed before they exceed this, unless one tensor alone does: 5 GB, as Hugging Face writers use.
pub const DEFAULT_MAX_SHARD_SIZE: u64 = 5_000_000_000;

/// Small files are complete by then; large ones reach the disk while they are written.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// Where the data of the tensors being written comes from.
pub trait TensorSource {
    /// Appends the bytes of all `rows`, in this order and without gaps. `path` names the file in errors.
    ///
    /// # Errors
    /// The error of reading or writing.
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError>;
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightsFormat {
    /// `model.safetensors`. Tied tensors are stored under one name.
    #[default]
    Safetensors,
    /// `pytorch_model.bin`, as `torch.save` writes it and `torch.load(weights_only=True)` reads it. Tied tensors share
    /// one storage under all their names.
    Pytorch,
}

impl WeightsFormat {
    /// Reads `safetensors` or `pytorch` (also `bin`).
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "safetensors" => Some(Self::Safetensors),
            "pytorch" | "bin" => Some(Self::Pytorch),
            _ => None,
        }
    }

    /// Returns the beginning and the ending of its files' names.
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Safetensors => ("model", "safetensors"),
            Self::Pytorch => ("pytorch_model", "bin"),
        }
    }

    /// Returns the name of the index of several files.
    pub fn index_name(self) -> String {
        let (stem, ending) = self.name();
        format!("{stem}.{ending}.index.json")
    }
}

/// Which tensor goes into which file: a value to print before anything is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardPlan {
    shards: Vec<Vec<TensorRow>>,
    /// Further names of the tensors of each shard: PyTorch files only.
    aliases: Vec<Vec<TensorRow>>,
    format: WeightsFormat,
}

/// The name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFiles {
    /// File names, the index last if there is one.
    pub files: Vec<String>,
    /// Bytes of tensor data.
    pub bytes: u64,
}

impl ShardPlan {
    /// Fills safetensors shards in the order of `rows`. Rows tied to another are not stored.
    pub fn new(rows: impl IntoIterator<Item = TensorRow>, max_shard_size: u64) -> Self {
        Self::with_format(rows, max_shard_size, WeightsFormat::Safetensors)
    }

    /// As [`new`](Self::new) in either format. In PyTorch files a row tied to another stands beside it.
    pub fn with_format(rows: impl IntoIterator<Item = TensorRow>, max_shard_size: u64, format: WeightsFormat) -> Self {
        let mut shards: Vec<Vec<TensorRow>> = vec![Vec::new()];
        let mut tied = Vec::new();
        let mut size = 0u64;
        for row in rows {
            if row.tied_to.is_some() {
                tied.push(row);
                continue;
            }
            let bytes = row.bytes();
            if size > 0 && size.saturating_add(bytes) > max_shard_size {
                shards.push(Vec::new());
                size = 0;
            }
            size += bytes;
            if let Some(last) = shards.last_mut() {
                last.push(row);
            }
        }
        let mut aliases = vec![Vec::new(); shards.len()];
        if format == WeightsFormat::Pytorch {
            let place: HashMap<&ParamPath, usize> = shards
                .iter()
                .enumerate()
                .flat_map(|(index, shard)| shard.iter().map(move |row| (&row.path, index)))
                .collect();
            for row in tied {
                if let Some(&index) = row.tied_to.as_ref().and_then(|target| place.get(target)) {
                    aliases[index].push(row);
                }
            }
        }
        Self { shards, aliases, format }
    }

    /// How the files will be stored.
    pub fn format(&self) -> WeightsFormat {
        self.format
    }

    /// Returns the tensors of each file.
    pub fn shards(&self) -> &[Vec<TensorRow>] {
        &self.shards
    }

    /// Returns the name of file number `index` (from 0): `model.safetensors`, or `model-00001-of-00003.safetensors`.
    pub fn file_name(&self, index: usize) -> String {
        let (stem, ending) = self.format.name();
        match self.shards.len() {
            1 => format!("{stem}.{ending}"),
            count => format!("{stem}-{:05}-of-{count:05}.{ending}", index + 1),
        }
    }

    /// Returns the names of all files, the index last if there is one.
    pub fn file_names(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..self.shards.len()).map(|index| self.file_name(index)).collect();
        if names.len() > 1 {
            names.push(self.format.index_name());
        }
        names
    }

    /// Returns the bytes of tensor data in all files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().flatten().map(TensorRow::bytes).sum()
    }

    /// Writes all shards into `folder`, and their index if there are several.
    ///
    /// # Errors
    /// [`CheckpointError`] from the source, the file system, or an interrupt.
    pub fn write(&self, folder: &Path, source: &dyn TensorSource) -> Result<WrittenFiles, CheckpointError> {
        let mut files = Vec::new();
        let mut weight_map: Vec<(&ParamPath, String)> = Vec::new();
        for (index, (rows, aliases)) in self.shards.iter().zip(&self.aliases).enumerate() {
            interrupt::check()?;
            if let Some(row) = rows.iter().find(|row| matches!(row.dtype, DType::Block(_))) {
                return Err(CheckpointError::Unwritable {
                    tensor: row.path.to_string(),
                    dtype: row.dtype.to_string(),
                    path: folder.join(self.file_name(index)),
                    advice: "start from the weights that the GGUF file was made of",
                });
            }
            let name = self.file_name(index);
            let path = folder.join(&name);
            let open = File::options().read(true).write(true).create_new(true).open(&path);
            let file = open.map_err(CheckpointError::io("creating", &path))?;
            flushing_meanwhile(&file, || match self.format {
                WeightsFormat::Safetensors => {
                    (&file).write_all(&header(rows)).map_err(CheckpointError::io("writing", &path))?;
                    source.append(rows, &mut &file, &path)
                }
                WeightsFormat::Pytorch => pickle_write::write_shard(&file, &path, rows, aliases, source),
            })?;
            file.sync_all().map_err(CheckpointError::io("syncing", &path))?;
            weight_map.extend(rows.iter().chain(aliases).map(|row| (&row.path, name.clone())));
            files.push(name);
        }
        if self.shards.len() > 1 {
            weight_map.sort();
            let parameters: u64 = self.shards.iter().flatten().map(TensorRow::parameters).sum();
            let map: Map<String, Value> =
                weight_map.into_iter().map(|(path, file)| (path.to_string(), Value::String(file))).collect();
            let index = json!({
                "metadata": { "total_parameters": parameters, "total_size": self.bytes() },
                "weight_map": map,
            });
            let name = self.format.index_name();
            let path = folder.join(&name);
            let mut file = File::create_new(&path).map_err(CheckpointError::io("creating", &path))?;
            file.write_all(format!("{index:#}\n").as_bytes()).map_err(CheckpointError::io("writing", &path))?;
            file.sync_all().map_err(CheckpointError::io("syncing", &path))?;
            files.push(name);
        }
        Ok(WrittenFiles { files, bytes: self.bytes() })
    }
}

/// Lets a thread send to the disk what `write` has written so far, so that little is left to wait for at the end.
fn flushing_meanwhile<T>(file: &File, write: impl FnOnce() -> T) -> T {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
                // An error is reported again by the final sync.
                let _ = file.sync_data();
            }
        });
        let result = write();
        drop(done);
        result
    })
}

/// Returns the length prefix and JSON header of one file, padded to eight bytes. `format: pt` is what Hugging Face loaders
/// ask for.
fn header(rows: &[TensorRow]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0u64;
    for row in rows {
        let end = offset + row.bytes();
        let entry = json!({ "dtype": row.dtype.safetensors_name(), "shape": row.shape, "data_offsets": [offset, end] });
        entries.insert(row.path.to_string(), entry);
        offset = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

/// Reads a size such as `5GB`, `512MiB` or `1000000`: decimal units of 1000, binary units of 1024, in bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * factor as f64;
    (size.is_finite() && size >= 1.0 && size < u64::MAX as f64).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DType;

    fn row(name: &str, elements: usize) -> TensorRow {
        TensorRow::stored(name.into(), vec![elements], DType::F32)
    }

    #[test]
    fn a_shard_never_exceeds_the_limit_unless_one_tensor_does() {
        let plan = ShardPlan::new([row("a", 10), row("b", 10), row("c", 100), row("d", 1)], 80);
        let names: Vec<Vec<&str>> =
            plan.shards().iter().map(|shard| shard.iter().map(|row| row.path.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["d"]]);
        assert_eq!(plan.file_name(1), "model-00002-of-00003.safetensors");
        assert_eq!(ShardPlan::new([row("a", 10)], 80).file_name(0), "model.safetensors");
    }

    #[test]
    fn tied_names_are_stored_in_pytorch_files_only() {
        let rows = || [row("a", 10), TensorRow { tied_to: Some("a".into()), ..row("alias", 10) }, row("b", 10)];
        assert!(ShardPlan::new(rows(), 50).aliases.iter().all(Vec::is_empty));
        let plan = ShardPlan::with_format(rows(), 50, WeightsFormat::Pytorch);
        let names: Vec<&str> = plan.aliases[0].iter().map(|row| row.path.as_str()).collect();
        assert_eq!((names, plan.aliases[1].len(), plan.bytes()), (vec!["alias"], 0, 80));
        assert_eq!(plan.file_name(0), "pytorch_model-00001-of-00002.bin");
    }

    #[test]
    fn sizes_read_with_units() {
        assert_eq!(parse_size("5GB"), Some(5_000_000_000));
        assert_eq!(parse_size("1.5 KiB"), Some(1536));
        assert_eq!(parse_size("12"), Some(12));
        assert_eq!(parse_size("fast"), None);
        assert_eq!(parse_size("0"), None);
    }
}
