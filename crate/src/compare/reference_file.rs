//! Logits against a file of reference outputs.

use std::path::Path;

use super::CompareError;
use super::logits::logits;
use crate::checkpoint::{Checkpoint, TensorData};
use crate::device::Device;
use crate::model::Batch;
use crate::naming::Families;
use crate::spec::{DType, ParamPath};
use crate::validation::{LogitDiff, Logits};

/// Compares a model folder's logits with those in a safetensors file. Each case in the file has `NAME.input_ids` and
/// `NAME.logits`, and may have `NAME.attention_mask` and `NAME.position_ids`; without a prefix the file is one case.
///
/// # Errors
/// [`CompareError`] if the file holds no case, or a computation fails.
pub fn compare_with_reference(
    folder: &Path,
    file: &Path,
    device: Device,
    families: &Families,
) -> Result<Vec<LogitDiff>, CompareError> {
    let reference = Checkpoint::open(file)?;
    let mut diffs = Vec::new();
    for row in reference.table().rows() {
        let Some(prefix) = row.path.as_str().strip_suffix("input_ids") else { continue };
        let expected = ParamPath::from(format!("{prefix}logits"));
        if reference.table().get(&expected).is_none() {
            continue;
        }
        let integers = |name: &str| -> Result<Option<Vec<Vec<u32>>>, CompareError> {
            let path = ParamPath::from(format!("{prefix}{name}"));
            if reference.table().get(&path).is_none() { Ok(None) } else { Ok(Some(rows_of(&reference.read(&path)?))) }
        };
        let mask = integers("attention_mask")?;
        let mask: Option<Vec<Vec<u8>>> =
            mask.map(|rows| rows.iter().map(|row| row.iter().map(|&bit| u8::from(bit != 0)).collect()).collect());
        let batch = Batch {
            input_ids: integers("input_ids")?.unwrap_or_default(),
            attention_mask: mask.clone(),
            position_ids: integers("position_ids")?,
        };
        let computed = logits(folder, None, &batch, device, families)?;
        let ([_, seq, vocab], found) = (computed.shape, computed.values);
        let data = reference.read(&expected)?;
        let expected: Vec<f32> =
            data.bytes.chunks_exact(4).map(|raw| f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect();
        if data.dtype != DType::F32 || expected.len() != found.len() {
            return Err(CompareError::File {
                what: format!(
                    "the reference logits are {} {:?}, the model's are float32 with {} values",
                    data.dtype,
                    data.shape,
                    found.len()
                ),
                path: file.to_owned(),
                advice: "use the reference file of this model".to_owned(),
            });
        }
        let case = prefix.trim_end_matches('.');
        let names = (format!("reference {case}").trim().to_owned(), folder.display().to_string());
        let real = |row: usize, position: usize| mask.as_ref().is_none_or(|mask| mask[row][position] != 0);
        let (expected, found) = (Logits { values: &expected, vocab }, Logits { values: &found, vocab });
        let mut diff = LogitDiff::new((&names.0, &names.1), expected, found, seq, real);
        diff.checkpoints = vec![computed.choice];
        diff.unread_fields = computed.unread_fields;
        diffs.push(diff);
    }
    if diffs.is_empty() {
        return Err(CompareError::File {
            what: "the file holds no reference case".to_owned(),
            path: file.to_owned(),
            advice: "name a file with tensors `input_ids` and `logits` (or `NAME.input_ids` and `NAME.logits`)"
                .to_owned(),
        });
    }
    Ok(diffs)
}

/// Returns a two-dimensional integer tensor as rows.
fn rows_of(data: &TensorData) -> Vec<Vec<u32>> {
    let width = data.shape.last().copied().unwrap_or(1).max(1);
    let values: Vec<u32> = match data.dtype {
        DType::I64 => {
            data.bytes.chunks_exact(8).map(|raw| u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect()
        }
        DType::I32 => {
            data.bytes.chunks_exact(4).map(|raw| u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect()
        }
        _ => data.bytes.iter().map(|&byte| u32::from(byte)).collect(),
    };
    values.chunks(width).map(<[u32]>::to_vec).collect()
}
