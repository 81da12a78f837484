//! Reading the header of a GGUF file. Its claims are not trusted: lengths and counts are checked against the file's size
//! before anything is allocated for them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::super::CheckpointError;
use super::super::header::{Extent, WeightsFile};
use super::value::{GgufArray, GgufMetadata, GgufValue};
use super::{ALIGNMENT, MAGIC, VERSION, types};
use crate::spec::DType;

/// Headers beyond this are refused: the largest vocabularies take a third of it.
const MAX_HEADER: u64 = 64 << 20;
/// The maximum number of dimensions of a ggml tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Longer names of keys and tensors are refused.
const MAX_NAME: u64 = 4096;

/// A file's header while it is read.
struct Header<'a> {
    input: BufReader<&'a File>,
    at: u64,
    /// Where the file, or the largest accepted header, ends.
    end: u64,
    path: &'a Path,
}

impl WeightsFile {
    /// Opens a GGUF file and checks its header against the file's size: counts, lengths, offsets, overlaps and types.
    pub(in crate::checkpoint) fn open_gguf(path: &Path) -> Result<Self, CheckpointError> {
        let invalid = |reason: String| CheckpointError::Gguf { path: path.to_owned(), reason };
        let file = File::open(path).map_err(CheckpointError::io("opening", path))?;
        let status = file.metadata().map_err(CheckpointError::io("reading the size", path))?;
        if !status.is_file() {
            return Err(invalid("it is not a regular file".to_owned()));
        }
        let size = status.len();
        let end = size.min(MAX_HEADER);
        let mut header = Header { input: BufReader::with_capacity(1 << 16, &file), at: 0, end, path };
        let (metadata, places) = header.read()?;
        let alignment = match metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(_) => metadata
                .unsigned("general.alignment")
                .filter(|alignment| alignment.is_power_of_two() && (8..=1 << 20).contains(alignment))
                .ok_or_else(|| invalid("general.alignment is not a power of two from 8 to 1048576".to_owned()))?,
        };
        let data = header.at.next_multiple_of(alignment);
        let mut tensors = Vec::with_capacity(places.len());
        for TensorEntry { name, shape, dtype, offset } in places {
            let row = *shape.last().unwrap_or(&1);
            let (numbers, bytes) = dtype.unit();
            if !row.is_multiple_of(numbers as u64) {
                return Err(invalid(format!("rows of tensor `{name}` have {row} numbers, its blocks {numbers}")));
            }
            if offset % alignment != 0 {
                return Err(invalid(format!(
                    "tensor `{name}` lies at {offset}, which is not a multiple of {alignment}"
                )));
            }
            let elements = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
            let len = elements.and_then(|elements| (elements / numbers as u64).checked_mul(bytes as u64));
            let start = data.checked_add(offset);
            let past = start.zip(len).and_then(|(start, len)| start.checked_add(len));
            let (Some(start), Some(len), Some(_)) = (start, len, past.filter(|past| *past <= size)) else {
                return Err(invalid(format!("tensor `{name}` does not lie inside the file, which has {size} bytes")));
            };
            let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>();
            let shape = shape.map_err(|_| invalid(format!("tensor `{name}` is too large for this machine")))?;
            tensors.push(Extent { name, dtype, shape, start, len, derived: None });
        }
        tensors.sort_by_key(|extent| extent.start);
        if let Some([one, other]) = tensors
            .windows(2)
            .find(|pair| pair[0].start + pair[0].len > pair[1].start)
            .and_then(|pair| pair.first_chunk())
        {
            return Err(invalid(format!("tensors `{}` and `{}` overlap", one.name, other.name)));
        }
        drop(header);
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            tensors,
            metadata: Default::default(),
            notes: Vec::new(),
            gguf: Some(metadata),
        })
    }
}

/// A tensor's entry in the header.
struct TensorEntry {
    name: String,
    /// Outermost first.
    shape: Vec<u64>,
    dtype: DType,
    /// Offset from the start of the data.
    offset: u64,
}

impl Header<'_> {
    fn invalid(&self, reason: impl Into<String>) -> CheckpointError {
        CheckpointError::Gguf { path: self.path.to_owned(), reason: reason.into() }
    }

    fn read(&mut self) -> Result<(GgufMetadata, Vec<TensorEntry>), CheckpointError> {
        if &self.array::<4>()? != MAGIC {
            return Err(self.invalid("it does not begin with the letters GGUF"));
        }
        let version = self.u32()?;
        if version.swap_bytes() == VERSION {
            return Err(self.invalid("its numbers are big endian, which this crate does not read"));
        }
        if !(2..=VERSION).contains(&version) {
            return Err(self.invalid(format!("it has version {version}; versions 2 and 3 are supported")));
        }
        let (tensors, keys) = (self.u64()?, self.u64()?);
        // The smallest entries: a key of one letter and a byte; a name of one letter, no dimensions, type, offset.
        self.claims(keys, 8 + 1 + 4 + 1, "keys")?;
        let mut metadata = GgufMetadata::new();
        let mut seen = HashSet::new();
        for _ in 0..keys {
            let key = self.name("a key")?;
            let kind = self.u32()?;
            let value = self.value(kind, &key)?;
            if !seen.insert(key.clone()) {
                return Err(self.invalid(format!("key `{key}` appears twice")));
            }
            metadata.push(key, value);
        }
        self.claims(tensors, 8 + 1 + 4 + 4 + 8, "tensors")?;
        let mut places = Vec::new();
        seen.clear();
        for _ in 0..tensors {
            let place = self.place()?;
            if !seen.insert(place.name.clone()) {
                return Err(self.invalid(format!("tensor `{}` appears twice", place.name)));
            }
            places.push(place);
        }
        Ok((metadata, places))
    }

    fn place(&mut self) -> Result<TensorEntry, CheckpointError> {
        let name = self.name("a tensor's name")?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(self.invalid(format!("tensor `{name}` claims {dimensions} dimensions, at most 4 are possible")));
        }
        // Files write the innermost dimension first.
        let mut shape = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let number = self.u32()?;
        let dtype = types::dtype(number).ok_or_else(|| {
            self.invalid(format!("tensor `{name}` has type {number}, which this crate does not know"))
        })?;
        Ok(TensorEntry { name, shape, dtype, offset: self.u64()? })
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<GgufValue, CheckpointError> {
        Ok(match kind {
            0 => GgufValue::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => GgufValue::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => GgufValue::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => GgufValue::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => GgufValue::Unsigned(u64::from(self.u32()?)),
            5 => GgufValue::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => GgufValue::F32(f32::from_le_bytes(self.array()?)),
            7 => GgufValue::Bool(self.array::<1>()?[0] != 0),
            8 => {
                let length = self.u64()?;
                let bytes = self.bytes(length)?;
                let text = String::from_utf8(bytes);
                GgufValue::Text(text.map_err(|_| self.invalid(format!("the text of key `{key}` is not UTF-8")))?)
            }
            9 => {
                let kind = self.u32()?;
                let count = self.u64()?;
                GgufValue::Array(self.values(kind, count, key)?)
            }
            10 => GgufValue::Unsigned(self.u64()?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array()?)),
            12 => GgufValue::F64(f64::from_le_bytes(self.array()?)),
            other => return Err(self.invalid(format!("key `{key}` has a value of type {other}, which does not exist"))),
        })
    }

    fn values(&mut self, kind: u32, count: u64, key: &str) -> Result<GgufArray, CheckpointError> {
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => {
                return Err(
                    self.invalid(format!("key `{key}` holds arrays in an array, which this crate does not read"))
                );
            }
            other => return Err(self.invalid(format!("key `{key}` has values of type {other}, which does not exist"))),
        };
        self.claims(count, width, &format!("values of key `{key}`"))?;
        Ok(match kind {
            5 => GgufArray::I32(
                self.bytes(4 * count)?.chunks_exact(4).map(|raw| i32::from_le_bytes(four(raw))).collect(),
            ),
            6 => GgufArray::F32(
                self.bytes(4 * count)?.chunks_exact(4).map(|raw| f32::from_le_bytes(four(raw))).collect(),
            ),
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    let length = self.u64()?;
                    // Some old vocabularies hold single bytes of characters.
                    texts.push(String::from_utf8_lossy(&self.bytes(length)?).into_owned());
                }
                GgufArray::Text(texts)
            }
            _ => {
                self.bytes(width * count)?;
                GgufArray::Other(count)
            }
        })
    }

    /// Refuses a count that cannot be true, as its entries take at least `least` bytes each.
    fn claims(&self, count: u64, least: u64, what: &str) -> Result<(), CheckpointError> {
        let left = self.end - self.at;
        if count.checked_mul(least).is_none_or(|bytes| bytes > left) {
            return Err(self.invalid(format!("it claims {count} {what}, for which its {left} bytes are too few")));
        }
        Ok(())
    }

    fn name(&mut self, what: &str) -> Result<String, CheckpointError> {
        let length = self.u64()?;
        if length > MAX_NAME {
            return Err(self.invalid(format!("{what} claims {length} bytes, at most {MAX_NAME} are accepted")));
        }
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).map_err(|_| self.invalid(format!("{what} is not UTF-8")))
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut bytes = [0; N];
        self.advance(N as u64)?;
        self.input.read_exact(&mut bytes).map_err(CheckpointError::io("reading the header", self.path))?;
        Ok(bytes)
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, CheckpointError> {
        self.advance(count)?;
        let mut bytes = vec![0; count as usize];
        self.input.read_exact(&mut bytes).map_err(CheckpointError::io("reading the header", self.path))?;
        Ok(bytes)
    }

    fn advance(&mut self, count: u64) -> Result<(), CheckpointError> {
        let left = self.end - self.at;
        if count > left {
            let ends = if self.end == MAX_HEADER { "what may be a header" } else { "the file" };
            return Err(self.invalid(format!("its header goes on for {count} bytes where {ends} ends after {left}")));
        }
        self.at += count;
        Ok(())
    }
}

fn four(raw: &[u8]) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(raw);
    bytes
}
