//! Evidence that a conversion moved every bit.

use super::RemapPlan;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::spec::ParamPath;

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

/// Compares the bytes of every step's source and destination.
///
/// # Errors
/// [`CheckpointError`] if a tensor cannot be read, or on an interrupt.
pub fn compare_tensors(plan: &RemapPlan, from: &Checkpoint, to: &Checkpoint) -> Result<Proof, CheckpointError> {
    let mut proof = Proof { tensors: 0, bit_identical: 0, different: Vec::new(), cast: false };
    for step in &plan.steps {
        proof.tensors += 1;
        proof.cast |= step.from_dtype != step.to_dtype;
        if step.from_dtype == step.to_dtype && same_bytes(from, &step.from, to, &step.to)? {
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
