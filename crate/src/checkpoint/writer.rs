//! Streaming writer: the headers of all shards are known before the first byte of data moves.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::CheckpointError;
use super::layout::{WEIGHTS_FILE, WEIGHTS_INDEX};
use crate::interrupt;
use crate::spec::{ParamPath, TensorRow};

/// Shards are closed before they exceed this, unless one tensor alone does: 5 GB, as Hugging Face writers use.
pub const DEFAULT_MAX_SHARD_SIZE: u64 = 5_000_000_000;

/// Small files are written and gone by then; large ones reach the disk while they are written.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// Where the data of the tensors being written comes from.
pub trait TensorSource {
    /// Appends the bytes of all `rows`, in this order and without gaps. `path` names the file in errors.
    ///
    /// # Errors
    /// Whatever reading or writing fails with.
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError>;
}

/// Which tensor goes into which file: a value to print before anything is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardPlan {
    shards: Vec<Vec<TensorRow>>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// File names, the index last if there is one.
    pub files: Vec<String>,
    /// Bytes of tensor data.
    pub bytes: u64,
}

impl ShardPlan {
    /// Fills shards in the order of `rows`. Rows tied to another are not stored.
    pub fn new(rows: impl IntoIterator<Item = TensorRow>, max_shard_size: u64) -> Self {
        let mut shards: Vec<Vec<TensorRow>> = vec![Vec::new()];
        let mut size = 0u64;
        for row in rows.into_iter().filter(|row| row.tied_to.is_none()) {
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
        Self { shards }
    }

    /// The tensors of each file.
    pub fn shards(&self) -> &[Vec<TensorRow>] {
        &self.shards
    }

    /// The name of file number `index` (from 0): `model.safetensors`, or `model-00001-of-00003.safetensors`.
    pub fn file_name(&self, index: usize) -> String {
        match self.shards.len() {
            1 => WEIGHTS_FILE.to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        }
    }

    /// Bytes of tensor data in all files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().flatten().map(TensorRow::bytes).sum()
    }

    /// Writes all shards into `folder`, and their index if there are several.
    ///
    /// # Errors
    /// [`CheckpointError`] from the source, the file system, or an interrupt.
    pub fn write(&self, folder: &Path, source: &dyn TensorSource) -> Result<Written, CheckpointError> {
        let mut files = Vec::new();
        let mut weight_map: Vec<(&ParamPath, String)> = Vec::new();
        for (index, rows) in self.shards.iter().enumerate() {
            interrupt::check()?;
            let name = self.file_name(index);
            let path = folder.join(&name);
            let file = File::create_new(&path).map_err(CheckpointError::io("creating", &path))?;
            (&file).write_all(&header(rows)).map_err(CheckpointError::io("writing", &path))?;
            flushing_meanwhile(&file, || source.append(rows, &mut &file, &path))?;
            file.sync_all().map_err(CheckpointError::io("syncing", &path))?;
            weight_map.extend(rows.iter().map(|row| (&row.path, name.clone())));
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
            let path = folder.join(WEIGHTS_INDEX);
            std::fs::write(&path, format!("{index:#}\n")).map_err(CheckpointError::io("writing", &path))?;
            files.push(WEIGHTS_INDEX.to_owned());
        }
        Ok(Written { files, bytes: self.bytes() })
    }
}

/// Lets a thread send to the disk what `write` has written so far, so that little is left to wait for at the end.
fn flushing_meanwhile<T>(file: &File, write: impl FnOnce() -> T) -> T {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A refusal comes again at the final sync, which reports it.
                let _ = file.sync_data();
            }
        });
        let result = write();
        drop(done);
        result
    })
}

/// The length prefix and JSON header of one file, padded to eight bytes. `format: pt` is what Hugging Face loaders ask for.
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
    fn sizes_read_with_units() {
        assert_eq!(parse_size("5GB"), Some(5_000_000_000));
        assert_eq!(parse_size("1.5 KiB"), Some(1536));
        assert_eq!(parse_size("12"), Some(12));
        assert_eq!(parse_size("fast"), None);
        assert_eq!(parse_size("0"), None);
    }
}
