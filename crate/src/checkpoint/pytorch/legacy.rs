//! PyTorch files from before 1.6: pickles one after the other, and behind them the storages.
//!
//! Format: `torch.serialization._legacy_save`: a magic number, the protocol, facts about the machine, the state dict, the keys
//! of its storages, and for each of these a count of elements and the elements.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::pickle::{MAX_PICKLE, STORAGES, Storages};
use super::unpickle::{Id, Node, Pickle};

/// The pickled magic number.
const MAGIC: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Returns the state dict and where its storages are; `None` for a file of another format.
pub(super) fn unpickled(file: &File, size: u64) -> Option<Result<(Pickle, Id, Storages), String>> {
    let mut begin = [0u8; MAGIC.len()];
    (file.read_exact_at(&mut begin, 0).is_ok() && begin == MAGIC).then(|| read(file, size))
}

fn read(file: &File, size: u64) -> Result<(Pickle, Id, Storages), String> {
    let mut bytes = vec![0; size.min(MAX_PICKLE) as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|error| error.to_string())?;
    let mut at = MAGIC.len();
    let mut next = || {
        let (pickle, root, length) = Pickle::read_first(bytes.get(at..).unwrap_or_default())?;
        at += length;
        Ok::<_, String>((pickle, root, at as u64))
    };
    let (protocol, version, _) = next()?;
    if !matches!(protocol.node(version), Node::Int(1001)) {
        return Err("it is in a version of torch's format from before 1.6 that is not known".to_owned());
    }
    let (machine, facts, _) = next()?;
    if let Node::Dict(facts) = machine.node(facts) {
        let big = facts.iter().any(|(key, value)| {
            matches!(machine.node(*key), Node::Text(key) if key == "little_endian")
                && matches!(machine.node(*value), Node::Bool(false))
        });
        if big {
            return Err("its numbers are big endian; save it on another machine".to_owned());
        }
    }
    let (state, root, _) = next()?;
    let (keys, list, mut place) = next()?;
    let widths = widths(&state);
    let Node::Sequence(list) = keys.node(list) else { return Err("its pickle is malformed".to_owned()) };
    let mut places = HashMap::new();
    for key in list {
        let Node::Text(key) = keys.node(*key) else { return Err("its pickle is malformed".to_owned()) };
        let mut count = [0; 8];
        file.read_exact_at(&mut count, place).map_err(|_| "it ends early; copy the file again".to_owned())?;
        let width = *widths.get(key.as_str()).ok_or_else(|| format!("nothing says what its storage {key} holds"))?;
        let length = u64::from_le_bytes(count).checked_mul(width).ok_or("its pickle is malformed")?;
        let start = place + 8;
        place = start.checked_add(length).filter(|end| *end <= size).ok_or("it ends early; copy the file again")?;
        places.insert(key.clone(), (start, length));
    }
    Ok((state, root, Storages::Places(places)))
}

/// Returns the bytes of an element of each storage that the state dict names.
fn widths(pickle: &Pickle) -> HashMap<&str, u64> {
    let mut widths = HashMap::new();
    for node in pickle.nodes() {
        let Node::Storage(id) = node else { continue };
        let Node::Sequence(parts) = pickle.node(*id) else { continue };
        if let (Some(Node::Global(class)), Some(Node::Text(key))) =
            (parts.get(1).map(|id| pickle.node(*id)), parts.get(2).map(|id| pickle.node(*id)))
        {
            let class = class.rsplit('.').next().unwrap_or(class);
            let known = STORAGES.iter().find(|(name, _)| *name == class).map(|(_, dtype)| dtype.bytes() as u64);
            // An untyped storage counts bytes, and other types are errors of the tensors that have them.
            let other = match class {
                "ComplexDoubleStorage" => 16,
                "ComplexFloatStorage" => 8,
                "QInt32Storage" => 4,
                _ => 1,
            };
            widths.insert(key.as_str(), known.unwrap_or(other));
        }
    }
    widths
}
