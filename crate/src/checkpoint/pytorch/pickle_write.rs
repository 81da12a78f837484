//! Writes PyTorch `.bin` files: a zip of storages and a pickle of an ordered dictionary of tensors over them.
//!
//! The pickle calls `collections.OrderedDict` and `torch._utils._rebuild_tensor_v2` only, which
//! `torch.load(weights_only=True)` allows.

use std::fs::File;
use std::path::Path;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::pytorch::zip_file::ZipFile;
use crate::checkpoint::writer::TensorSource;
use crate::spec::{DType, TensorRow};

/// The folder inside the zip; torch takes any name.
const ARCHIVE: &str = "archive";

/// Writes one file: `rows` with storages of their own, `aliases` over the storages of the rows they are tied to.
pub(in crate::checkpoint) fn write_shard(
    file: &File,
    path: &Path,
    rows: &[TensorRow],
    aliases: &[TensorRow],
    source: &dyn TensorSource,
) -> Result<(), CheckpointError> {
    let mut zip = ZipFile::new(file, path);
    zip.add(&format!("{ARCHIVE}/data.pkl"), &state_dict(rows, aliases, path)?)?;
    zip.add(&format!("{ARCHIVE}/byteorder"), b"little")?;
    for (key, row) in rows.iter().enumerate() {
        let one = std::slice::from_ref(row);
        zip.stream(&format!("{ARCHIVE}/data/{key}"), row.bytes(), |out| source.append(one, out, path))?;
    }
    zip.add(&format!("{ARCHIVE}/version"), b"3\n")?;
    zip.finish()
}

/// Returns the pickle, in protocol 2 as torch writes it.
fn state_dict(rows: &[TensorRow], aliases: &[TensorRow], path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let mut out = vec![0x80, 2];
    global(&mut out, "collections", "OrderedDict");
    out.extend_from_slice(b")R(");
    for (key, row) in rows.iter().enumerate() {
        tensor(&mut out, row, key, path)?;
        for alias in aliases.iter().filter(|alias| alias.tied_to.as_ref() == Some(&row.path)) {
            tensor(&mut out, alias, key, path)?;
        }
    }
    out.extend_from_slice(b"u.");
    Ok(out)
}

/// A name and `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
fn tensor(out: &mut Vec<u8>, row: &TensorRow, key: usize, path: &Path) -> Result<(), CheckpointError> {
    let class = storage_class(row.dtype).ok_or_else(|| CheckpointError::Unwritable {
        tensor: row.path.to_string(),
        dtype: row.dtype.to_string(),
        path: path.to_owned(),
        advice: "write safetensors",
    })?;
    text(out, row.path.as_str());
    global(out, "torch._utils", "_rebuild_tensor_v2");
    out.extend_from_slice(b"((");
    text(out, "storage");
    global(out, "torch", class);
    text(out, &key.to_string());
    text(out, "cpu");
    integer(out, row.elements());
    out.extend_from_slice(b"tQ");
    integer(out, 0);
    tuple(out, row.shape.iter().map(|&dim| dim as u64));
    let strides = (0..row.shape.len()).map(|axis| row.shape[axis + 1..].iter().map(|&dim| dim as u64).product());
    tuple(out, strides);
    out.push(0x89);
    global(out, "collections", "OrderedDict");
    out.extend_from_slice(b")RtR");
    Ok(())
}

/// torch's name for a storage of this type; the 8-bit floats have none.
fn storage_class(dtype: DType) -> Option<&'static str> {
    crate::checkpoint::pytorch::pickle::STORAGES.iter().find(|(_, known)| *known == dtype).map(|(class, _)| *class)
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.extend_from_slice(format!("c{module}\n{name}\n").as_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn tuple(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    out.push(b'(');
    numbers.for_each(|number| integer(out, number));
    out.push(b't');
}

fn integer(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x100 => out.extend_from_slice(&[b'K', number as u8]),
        0x100..0x1_0000 => {
            out.push(b'M');
            out.extend_from_slice(&(number as u16).to_le_bytes());
        }
        0x1_0000..0x8000_0000 => {
            out.push(b'J');
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        _ => {
            // LONG1 is signed: nine bytes hold every u64.
            out.extend_from_slice(&[0x8a, 9]);
            out.extend_from_slice(&number.to_le_bytes());
            out.push(0);
        }
    }
}
