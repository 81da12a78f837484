//! PyTorch `.bin` files: a zip of stored tensors and a pickle that says what they are.
//!
//! Nothing that the pickle names is called. An entry that is not a tensor is skipped with a note; a tensor of a kind that
//! cannot be read is an error.
//! The zip stores without compression, so every tensor is a run of bytes of the file, and is read and copied like those of
//! safetensors; views that are not stored row by row are put in order when they are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use crate::checkpoint::CheckpointError;
use crate::checkpoint::derived::{span, strided};
use crate::checkpoint::header::{Extent, WeightsFile};
use crate::checkpoint::pytorch::legacy;
use crate::checkpoint::pytorch::unpickle::{Id, Node, Pickle};
use crate::spec::DType;

/// The description in a file of this format; a model of a million tensors stays far below.
pub(super) const MAX_PICKLE: u64 = 100_000_000;

/// torch's classes of storages and what they hold.
pub(in crate::checkpoint) const STORAGES: &[(&str, DType)] = &[
    ("FloatStorage", DType::F32),
    ("BFloat16Storage", DType::BF16),
    ("HalfStorage", DType::F16),
    ("DoubleStorage", DType::F64),
    ("LongStorage", DType::I64),
    ("IntStorage", DType::I32),
    ("ShortStorage", DType::I16),
    ("CharStorage", DType::I8),
    ("ByteStorage", DType::U8),
    ("BoolStorage", DType::Bool),
];

/// The names under which training programs store the model's state dict, next to optimizers and counters.
const NESTED: &[&str] = &["state_dict", "model_state_dict", "model", "module"];

/// The entry of [`WeightsFile::metadata`] that says under which name the tensors were found.
pub(in crate::checkpoint) const NESTED_IN: &str = "chandlery.nested_in";

/// Views of more bytes than this must not be larger than their storage, or a few bytes could ask for all memory.
const MAX_REPEATED: u64 = 1 << 30;

/// Calls whose results are values beside the weights, not tensors of a kind that is not known.
const VALUES: &[&str] = &[
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.set",
    "builtins.frozenset",
    "builtins.complex",
    "builtins.slice",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "datetime.datetime",
    "pathlib.PosixPath",
];

/// One tensor as the pickle describes it.
pub(super) struct Described {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// In elements.
    offset: u64,
    /// The storage's entry under `data/`.
    key: String,
}

type Zip = ZipArchive<BufReader<File>>;

/// Where a file keeps its storages.
pub(super) enum Storages {
    /// In a zip, below this folder.
    Zip(Box<Zip>, String),
    /// At these places in the file itself: first byte and length.
    Places(HashMap<String, (u64, u64)>),
}

impl Storages {
    /// Returns the first byte and the length of a storage.
    fn place(&mut self, key: &str) -> Result<(u64, u64), String> {
        match self {
            Self::Places(places) => places.get(key).copied().ok_or_else(|| format!("its storage {key} is missing")),
            Self::Zip(zip, folder) => {
                let path = format!("{folder}data/{key}");
                let entry = zip.by_name(&path).map_err(|error| format!("{path}: {error}"))?;
                if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
                    return Err("its bytes are compressed or encrypted".to_owned());
                }
                let start = entry.data_start().ok_or("the zip does not say where its bytes are")?;
                Ok((start, entry.size()))
            }
        }
    }
}

impl WeightsFile {
    /// Opens a `.bin` file that torch wrote from a state dict.
    pub(in crate::checkpoint) fn open_pickle(path: &Path) -> Result<Self, CheckpointError> {
        let invalid = |reason: String| CheckpointError::Pickle { path: path.to_owned(), reason };
        let file = File::open(path).map_err(CheckpointError::io("opening", path))?;
        let size = file.metadata().map_err(CheckpointError::io("reading the size", path))?.len();
        let (pickle, root, mut storages) = match legacy::unpickled(&file, size) {
            Some(read) => read.map_err(invalid)?,
            None => {
                let reader = file.try_clone().map_err(CheckpointError::io("opening", path))?;
                let mut zip = ZipArchive::new(BufReader::new(reader)).map_err(|error| {
                    invalid(format!("it is not a zip of tensors as torch 1.6 and later write it ({error})"))
                })?;
                let (folder, pickle, root) = unpickled(&mut zip).map_err(invalid)?;
                (pickle, root, Storages::Zip(Box::new(zip), folder))
            }
        };
        let mut metadata = HashMap::new();
        let (described, notes) = describe(&pickle, root, &mut metadata).map_err(invalid)?;
        let file = Arc::new(file);
        let mut tensors = Vec::with_capacity(described.len());
        for one in described {
            let extent = extent(&mut storages, (&file, path), &one, size);
            tensors.push(extent.map_err(|reason| invalid(format!("tensor `{}`: {reason}", one.name)))?);
        }
        tensors.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        Ok(Self { path: path.to_owned(), file, tensors, metadata, notes, gguf: None })
    }
}

/// Returns the zip's folder, its pickle and the pickle's value.
fn unpickled(zip: &mut Zip) -> Result<(String, Pickle, Id), String> {
    let names: Vec<String> =
        (0..zip.len()).filter_map(|index| Some(zip.by_index(index).ok()?.name().ok()?.to_string())).collect();
    let name = names.iter().find(|name| name.ends_with("data.pkl")).ok_or("it holds no data.pkl")?;
    let folder = name.trim_end_matches("data.pkl").to_owned();
    if names.iter().any(|name| *name == format!("{folder}constants.pkl")) {
        return Err("it is a TorchScript program; save the state_dict of its module".to_owned());
    }
    let order = format!("{folder}byteorder");
    if names.contains(&order) && contents(zip, &order)? != b"little" {
        return Err("its numbers are big endian; save it on another machine".to_owned());
    }
    let (pickle, root) = Pickle::read(&contents(zip, name)?)?;
    Ok((folder, pickle, root))
}

fn contents(zip: &mut Zip, name: &str) -> Result<Vec<u8>, String> {
    let entry = zip.by_name(name).map_err(|error| error.to_string())?;
    if entry.size() > MAX_PICKLE {
        return Err(format!("its {name} has {} bytes", entry.size()));
    }
    let mut bytes = Vec::new();
    entry.take(MAX_PICKLE).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    Ok(bytes)
}

/// Returns the tensors of the state dict, and notes on what else it holds.
fn describe(
    pickle: &Pickle,
    root: Id,
    metadata: &mut HashMap<String, String>,
) -> Result<(Vec<Described>, Vec<String>), String> {
    let Node::Dict(outer) = pickle.node(root) else {
        return Err("its pickle is not a dictionary of tensors; save the model's state_dict".to_owned());
    };
    let mut entries = outer;
    for key in NESTED {
        let found =
            entries.iter().rev().find(|(name, _)| matches!(pickle.node(*name), Node::Text(name) if name == key));
        if let Some(Node::Dict(inner)) = found.map(|(_, value)| pickle.node(*value)) {
            metadata.insert(NESTED_IN.to_owned(), (*key).to_owned());
            entries = inner;
            break;
        }
    }
    if entries.is_empty() {
        return Err("it holds no tensors".to_owned());
    }
    // As in Python, the last of equal names counts, in the position of the first.
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut found: Vec<Described> = Vec::with_capacity(entries.len());
    let mut others: Vec<&str> = Vec::new();
    for (key, value) in entries {
        let Node::Text(name) = pickle.node(*key) else {
            others.push("a key that is not text");
            continue;
        };
        if !is_tensor(pickle, *value) {
            others.push(name);
            continue;
        }
        let one = tensor(pickle, name, *value).map_err(|reason| format!("`{name}` {reason}"))?;
        match places.get(name.as_str()) {
            Some(&at) => found[at] = one,
            None => {
                places.insert(name, found.len());
                found.push(one);
            }
        }
    }
    if found.is_empty() {
        let nested = entries.iter().find(|(_, value)| matches!(pickle.node(*value), Node::Dict(_)));
        if let Some(Node::Text(name)) = nested.map(|(key, _)| pickle.node(*key)) {
            return Err(format!("`{name}` is a dictionary; save the model's state_dict alone"));
        }
        return Err("it holds no tensors; save the model's state_dict".to_owned());
    }
    let mut notes = Vec::new();
    if !others.is_empty() {
        let more = if others.len() > 5 { format!(" and {} more", others.len() - 5) } else { String::new() };
        let names = others.iter().take(5).map(|name| name.chars().take(60).collect::<String>());
        let names = names.collect::<Vec<_>>().join(", ");
        notes.push(format!("entries that are not tensors were left out: {names}{more}"));
    }
    Ok((found, notes))
}

/// Returns whether an entry is a tensor, of whatever kind. What a file asks to be called and is not known is taken for one,
/// so that it is an error.
fn is_tensor(pickle: &Pickle, value: Id) -> bool {
    match pickle.node(value) {
        Node::Call { callable, .. } => {
            !matches!(pickle.node(*callable), Node::Global(function) if VALUES.contains(&function.as_str()))
        }
        Node::Storage(_) => true,
        _ => false,
    }
}

/// Reads the call that would rebuild a tensor.
fn tensor(pickle: &Pickle, name: &str, value: Id) -> Result<Described, String> {
    let (mut callable, mut args) = call(pickle, value)?;
    // A parameter is a call around a tensor; plain tensors are not nested deeper.
    for _ in 0..4 {
        let (Node::Global(function), Node::Sequence(arguments)) = (pickle.node(callable), pickle.node(args)) else {
            return Err("is not a tensor; save the model's state_dict alone".to_owned());
        };
        let argument = |at: usize| arguments.get(at).copied().ok_or_else(malformed);
        match function.as_str() {
            "torch._utils._rebuild_tensor_v2" => return rebuilt(pickle, name, arguments, None),
            "torch._utils._rebuild_tensor_v3" => {
                let Node::Global(dtype) = pickle.node(argument(6)?) else { return Err(malformed()) };
                let read =
                    DType::parse(dtype).ok_or_else(|| format!("has element type {dtype}, which is not supported"))?;
                return rebuilt(pickle, name, arguments, Some(read));
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                (callable, args) = call(pickle, argument(0)?)?;
            }
            "torch._tensor._rebuild_from_type_v2" => (callable, args) = (argument(0)?, argument(2)?),
            other => return Err(format!("is made by {other}: not a plain tensor")),
        }
    }
    Err("is not a plain tensor".to_owned())
}

fn call(pickle: &Pickle, value: Id) -> Result<(Id, Id), String> {
    match pickle.node(value) {
        Node::Call { callable, args } => Ok((*callable, *args)),
        Node::Dict(_) => Err("is a dictionary; save the model's state_dict alone".to_owned()),
        _ => Err("is not a tensor; save the model's state_dict alone".to_owned()),
    }
}

fn malformed() -> String {
    "is described in a way that is not supported".to_owned()
}

/// Returns the arguments of `_rebuild_tensor_v2`: storage, offset, shape, strides and more. Without `dtype` the storage's
/// class says it.
fn rebuilt(pickle: &Pickle, name: &str, args: &[Id], dtype: Option<DType>) -> Result<Described, String> {
    let sizes = |id: Option<&Id>| match id.map(|id| pickle.node(*id)) {
        Some(Node::Sequence(items)) => items
            .iter()
            .map(|item| match pickle.node(*item) {
                Node::Int(number) => usize::try_from(*number).ok(),
                _ => None,
            })
            .collect::<Option<Vec<usize>>>(),
        _ => None,
    };
    let storage = match args.first().map(|id| pickle.node(*id)) {
        Some(Node::Storage(id)) => pickle.node(*id),
        _ => return Err(malformed()),
    };
    let Node::Sequence(storage) = storage else { return Err(malformed()) };
    let (Some(Node::Global(class)), Some(Node::Text(key))) =
        (storage.get(1).map(|id| pickle.node(*id)), storage.get(2).map(|id| pickle.node(*id)))
    else {
        return Err(malformed());
    };
    let class = class.rsplit('.').next().unwrap_or(class);
    let known = STORAGES.iter().find(|(known, _)| *known == class).map(|(_, dtype)| *dtype);
    let dtype = dtype.or(known).ok_or_else(|| format!("is a {class}, an element type that is not supported"))?;
    let offset = match args.get(1).map(|id| pickle.node(*id)) {
        Some(Node::Int(number)) => u64::try_from(*number).map_err(|_| malformed())?,
        _ => return Err(malformed()),
    };
    // Before 1.6 a storage could be a view of another: (key, offset, size).
    let within = match storage.get(5).map(|id| pickle.node(*id)) {
        Some(Node::Sequence(view)) => match view.get(1).map(|id| pickle.node(*id)) {
            Some(Node::Int(number)) => u64::try_from(*number).map_err(|_| malformed())?,
            _ => return Err(malformed()),
        },
        _ => 0,
    };
    let offset = offset.checked_add(within).ok_or_else(malformed)?;
    let (Some(shape), Some(strides)) = (sizes(args.get(2)), sizes(args.get(3))) else { return Err(malformed()) };
    if shape.len() != strides.len() {
        return Err(malformed());
    }
    Ok(Described { name: name.to_owned(), dtype, shape, strides, offset, key: key.clone() })
}

/// Returns whether the elements lie one after the other in the order of their indices.
fn row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    for (&dim, &stride) in shape.iter().zip(strides).rev() {
        if dim == 0 {
            return true;
        }
        if dim != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(dim);
    }
    true
}

/// Returns where a tensor's bytes are, or how they are put in order.
fn extent(
    storages: &mut Storages,
    (file, path): (&Arc<File>, &Path),
    tensor: &Described,
    file_size: u64,
) -> Result<Extent, String> {
    let (begin, size) = storages.place(&tensor.key)?;
    let width = tensor.dtype.bytes() as u64;
    let in_order = row_major(&tensor.shape, &tensor.strides);
    let elements = tensor.shape.iter().try_fold(1u64, |all, &dim| all.checked_mul(dim as u64));
    let len = elements.and_then(|elements| elements.checked_mul(width)).ok_or("its shape overflows")?;
    let needed = match in_order {
        true => Some(len),
        false => span(&tensor.shape, &tensor.strides).and_then(|span| span.checked_mul(width)),
    };
    let needed = needed.ok_or("its shape overflows")?;
    let offset = tensor.offset.checked_mul(width).ok_or("its offset overflows")?;
    if offset.checked_add(needed).is_none_or(|end| end > size) {
        return Err(format!("it needs {needed} bytes at {offset}, its storage has {size}"));
    }
    if !in_order && len > MAX_REPEATED && len > size {
        return Err(format!("it repeats the numbers of a storage of {size} bytes to {len} bytes"));
    }
    let start = begin.checked_add(offset).ok_or("its offset overflows")?;
    if start.checked_add(needed).is_none_or(|end| end > file_size) {
        return Err(format!("it ends beyond the file's {file_size} bytes"));
    }
    let (name, dtype) = (tensor.name.clone(), tensor.dtype);
    if in_order {
        return Ok(Extent { name, dtype, shape: tensor.shape.clone(), start, len, derived: None });
    }
    let run = vec![(needed / width) as usize];
    let run = Extent { name: name.clone(), dtype, shape: run, start, len: needed, derived: None };
    let derived = Some(strided(file, path, run, tensor.shape.clone(), tensor.strides.clone()));
    Ok(Extent { name, dtype, shape: tensor.shape.clone(), start, len, derived })
}
