//! Evidence that a conversion moved every bit.

use std::collections::HashSet;

use super::RemapPlan;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::spec::{ParamPath, TensorRow};

/// A byte-for-byte comparison of two checkpoints under a renaming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Tensors compared.
    pub tensors: usize,
    /// How many hold the same bits.
    pub bit_identical: usize,
    /// Those that do not, by source name.
    pub different: Vec<ParamPath>,
    /// True if the element type was changed on purpose, so that bits must differ.
    pub cast: bool,
}

/// Compared in blocks of this size, so that memory does not grow with the tensors.
const BLOCK: usize = 8 << 20;

/// Compares the bytes of every source tensor with those of the destination; what was split, joined, transposed or
/// permuted is put together again out of the destination first, so that the way back is proven, too.
///
/// # Errors
/// [`CheckpointError`] if a tensor cannot be read, or on an interrupt.
pub fn compare_tensors(plan: &RemapPlan, from: &Checkpoint, to: &Checkpoint) -> Result<Proof, CheckpointError> {
    let mut proof = Proof { tensors: 0, bit_identical: 0, different: Vec::new(), cast: false };
    let mut seen = HashSet::new();
    for step in plan.steps.iter().filter(|step| seen.insert(&step.from)) {
        proof.tensors += 1;
        proof.cast |= step.from_dtype != step.to_dtype;
        let same = || match plan.pieces_back().get(&step.from) {
            None => same_bytes(from, &step.from, to, &step.to),
            Some(pieces) => {
                let row = TensorRow::stored(step.from.clone(), step.from_shape.clone(), step.from_dtype);
                same_as(from, &step.from, &to.assemble(&row, pieces)?.bytes)
            }
        };
        if step.from_dtype == step.to_dtype && same()? {
            proof.bit_identical += 1;
        } else {
            proof.different.push(step.from.clone());
        }
    }
    Ok(proof)
}

fn same_bytes(a: &Checkpoint, a_name: &ParamPath, b: &Checkpoint, b_name: &ParamPath) -> Result<bool, CheckpointError> {
    let (mut left, mut right) = (a.blocks(a_name, BLOCK)?, b.blocks(b_name, BLOCK)?);
    loop {
        match (left.next_block()?, right.next_block()?) {
            (None, None) => return Ok(true),
            (left, right) if left != right => return Ok(false),
            _ => {}
        }
    }
}

fn same_as(checkpoint: &Checkpoint, name: &ParamPath, bytes: &[u8]) -> Result<bool, CheckpointError> {
    let mut rest = bytes;
    let mut blocks = checkpoint.blocks(name, BLOCK)?;
    while let Some(block) = blocks.next_block()? {
        let Some(tail) = rest.strip_prefix(block) else { return Ok(false) };
        rest = tail;
    }
    Ok(rest.is_empty())
}
