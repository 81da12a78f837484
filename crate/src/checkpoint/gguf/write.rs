//! Writing the header of a GGUF file, which says where each tensor will lie.

use super::value::{GgufArray, GgufMetadata, GgufValue};
use super::{ALIGNMENT, MAGIC, VERSION, types};
use crate::spec::TensorRow;

/// Returns the bytes before the first tensor, padding included, and how many bytes each tensor takes with the padding
/// behind it. Tensors lie in the order of `rows`. `None` if a row has an element type that GGUF files do not hold.
pub fn gguf_header(metadata: &GgufMetadata, rows: &[TensorRow]) -> Option<(Vec<u8>, Vec<u64>)> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((rows.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        text(&mut out, key);
        write(&mut out, value);
    }
    let mut places = Vec::with_capacity(rows.len());
    let mut offset = 0u64;
    for row in rows {
        text(&mut out, row.path.as_str());
        out.extend((row.shape.len() as u32).to_le_bytes());
        row.shape.iter().rev().for_each(|&dim| out.extend((dim as u64).to_le_bytes()));
        out.extend(types::number(row.dtype)?.to_le_bytes());
        out.extend(offset.to_le_bytes());
        let padded = row.bytes().next_multiple_of(ALIGNMENT);
        places.push(padded);
        offset += padded;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    Some((out, places))
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The value's type and the value. Whole numbers take 32 bits where they fit, as readers expect them.
fn write(out: &mut Vec<u8>, value: &GgufValue) {
    let mut kind = |number: u32| out.extend(number.to_le_bytes());
    match value {
        GgufValue::Unsigned(number) => match u32::try_from(*number) {
            Ok(number) => {
                kind(4);
                out.extend(number.to_le_bytes());
            }
            Err(_) => {
                kind(10);
                out.extend(number.to_le_bytes());
            }
        },
        GgufValue::Signed(number) => match i32::try_from(*number) {
            Ok(number) => {
                kind(5);
                out.extend(number.to_le_bytes());
            }
            Err(_) => {
                kind(11);
                out.extend(number.to_le_bytes());
            }
        },
        GgufValue::F32(number) => {
            kind(6);
            out.extend(number.to_le_bytes());
        }
        GgufValue::F64(number) => {
            kind(12);
            out.extend(number.to_le_bytes());
        }
        GgufValue::Bool(flag) => {
            kind(7);
            out.push(u8::from(*flag));
        }
        GgufValue::Text(value) => {
            kind(8);
            text(out, value);
        }
        GgufValue::Array(array) => {
            kind(9);
            let mut begin = |number: u32, count: usize| {
                out.extend(number.to_le_bytes());
                out.extend((count as u64).to_le_bytes());
            };
            match array {
                GgufArray::Text(values) => {
                    begin(8, values.len());
                    values.iter().for_each(|value| text(out, value));
                }
                GgufArray::I32(values) => {
                    begin(5, values.len());
                    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
                }
                GgufArray::F32(values) => {
                    begin(6, values.len());
                    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
                }
                // Only files that were read have these, and their values were not kept.
                GgufArray::Other(_) => begin(0, 0),
            }
        }
    }
}
