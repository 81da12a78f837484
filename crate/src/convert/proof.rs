//! Evidence that a conversion moved every bit: each tensor's digest, and its bytes compared with those of the plan.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, CheckpointError, Piece, Pieces};
use crate::parallel;
use crate::progress::Progress;
use crate::spec::{ParamPath, TensorRow};

/// SHA-256 of a tensor's bytes as a file stores them, which any other program can compute as well.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// How a written tensor comes from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// It is a source tensor under another name.
    Moved,
    /// It is taken from parts of source tensors, or put together from several.
    Rearranged,
    /// Rows were added or rewritten; the others are the source's.
    Grown,
    /// Its values are the source's, rounded to another element type.
    Cast,
}

/// One written tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorProof {
    /// Its name in the destination.
    pub to: ParamPath,
    /// How it comes from the source.
    pub kind: TransferKind,
    /// True if every byte is what the plan makes of the source.
    pub as_planned: bool,
    /// Its digest in the destination.
    pub digest: Digest,
}

/// A byte-for-byte comparison of what was written with what the plan makes of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Every written tensor, in natural order.
    pub tensors: Vec<TensorProof>,
    /// Rearranged source tensors that are not the same when they are rebuilt from what was written.
    pub lost: Vec<ParamPath>,
    /// The digests of the source's tensors.
    pub sources: BTreeMap<ParamPath, Digest>,
}

impl Proof {
    /// Returns how many tensors hold the bits of one source tensor, moved as they were.
    pub fn bit_identical(&self) -> usize {
        self.tensors.iter().filter(|tensor| tensor.kind == TransferKind::Moved && tensor.as_planned).count()
    }

    /// Returns how many tensors came in this way and are as the plan makes them.
    pub fn count(&self, kind: TransferKind) -> usize {
        self.tensors.iter().filter(|tensor| tensor.kind == kind && tensor.as_planned).count()
    }

    /// Returns the tensors whose bytes are not what the plan makes of the source. There should be none.
    pub fn different(&self) -> impl Iterator<Item = &ParamPath> {
        self.tensors.iter().filter(|tensor| !tensor.as_planned).map(|tensor| &tensor.to)
    }

    /// Returns a written tensor, by its name in the destination.
    pub fn tensor(&self, to: &ParamPath) -> Option<&TensorProof> {
        self.tensors.iter().find(|tensor| tensor.to == *to)
    }
}

/// What was to be written.
pub(super) struct Claim<'a> {
    pub(super) rows: &'a [TensorRow],
    /// What each tensor is made of, out of the source.
    pub(super) pieces: &'a HashMap<ParamPath, Vec<Piece>>,
    /// What rearranged tensors of the source are made of again, out of what was written.
    pub(super) back: &'a HashMap<ParamPath, Vec<Piece>>,
    /// The tensors that got rows for tokens.
    pub(super) grown: &'a [&'a ParamPath],
}

/// Compares every tensor of `written` with what the claim makes of `source`, on all cores and in blocks, and the
/// rearranged tensors of the source with what it makes of `written`.
///
/// # Errors
/// [`CheckpointError`] if a tensor cannot be read, or on an interrupt.
pub(super) fn prove(claim: &Claim<'_>, source: &Checkpoint, written: &Checkpoint) -> Result<Proof, CheckpointError> {
    let Claim { rows, pieces, back, grown } = *claim;
    let planned = Pieces::new(source, pieces.clone());
    let meter = Progress::of_work("comparing", rows.iter().map(TensorRow::bytes).sum());
    // The largest first, so that the last one does not keep a single thread busy.
    let mut jobs: Vec<&TensorRow> = rows.iter().collect();
    jobs.sort_by_key(|row| std::cmp::Reverse(row.bytes()));
    let (tensors, digests) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    let compare = |_: &mut (), row: &&TensorRow, sender: &Sender<u64>| {
        let made = pieces.get(&row.path).map(Vec::as_slice).unwrap_or_default();
        let kind = if grown.contains(&&row.path) { TransferKind::Grown } else { kind_of(row, made, source) };
        let same = same_as_planned(&planned, row, written, sender)?;
        let digest = match same {
            Some(digest) => digest,
            None => digest(written, &row.path)?,
        };
        if let ([Piece::Tensor(from)], TransferKind::Moved, Some(digest)) = (made, kind, same) {
            lock(&digests).insert(from.clone(), digest);
        }
        lock(&tensors).push(TensorProof { to: row.path.clone(), kind, as_planned: same.is_some(), digest });
        Ok::<_, CheckpointError>(())
    };
    let compared = parallel::for_each(&jobs, || (), compare, &|bytes| meter.inc(bytes));
    meter.end(compared)?;

    // What did not arrive as it was has another digest in the source.
    let mut others: Vec<&ParamPath> = pieces.values().flatten().flat_map(Piece::tensors).collect();
    others.sort();
    others.dedup();
    others.retain(|from| !lock(&digests).contains_key(*from));
    let take = |_: &mut (), from: &&ParamPath, _: &Sender<u64>| {
        let digest = digest(source, from)?;
        lock(&digests).insert((*from).clone(), digest);
        Ok::<_, CheckpointError>(())
    };
    parallel::for_each(&others, || (), take, &|_| ())?;
    let mut tensors = tensors.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    tensors.sort_by(|a, b| a.to.cmp(&b.to));
    let lost = lost(back, source, written)?;
    Ok(Proof { tensors, lost, sources: digests.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) })
}

/// Rebuilds what was split, joined, transposed or permuted, which must give the bytes of the source.
fn lost(
    back: &HashMap<ParamPath, Vec<Piece>>,
    source: &Checkpoint,
    written: &Checkpoint,
) -> Result<Vec<ParamPath>, CheckpointError> {
    let pieces = Pieces::new(written, back.clone());
    let mut lost = Vec::new();
    for name in back.keys() {
        let Some(row) = source.table().get(name) else { continue };
        // What was rounded cannot come back.
        let made_of = back[name].iter().flat_map(Piece::tensors).filter_map(|from| written.table().get(from));
        // A sum that was stored in a wider type can.
        let shifted = matches!(back[name].as_slice(), [Piece::Shifted { .. }]);
        if made_of.into_iter().any(|from| match shifted {
            true => from.dtype.bytes() < row.dtype.bytes(),
            false => from.dtype != row.dtype,
        }) {
            continue;
        }
        let (mut found, mut done, mut same) = (Vec::new(), 0, true);
        pieces.planned(row, &mut |expected| {
            found.resize(expected.len(), 0);
            source.read_at(name, done, &mut found)?;
            done += found.len() as u64;
            same = found == expected;
            Ok(same)
        })?;
        if !same {
            lost.push(name.clone());
        }
    }
    lost.sort();
    Ok(lost)
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn kind_of(row: &TensorRow, pieces: &[Piece], source: &Checkpoint) -> TransferKind {
    let cast = |piece: &Piece| {
        let mut tensors = piece.tensors().into_iter().filter_map(|from| source.table().get(from));
        tensors.any(|from| from.dtype != row.dtype)
    };
    match pieces {
        [Piece::Shifted { rounded: None, .. }] => TransferKind::Rearranged,
        _ if pieces.iter().any(cast) => TransferKind::Cast,
        [Piece::Tensor(_)] => TransferKind::Moved,
        _ => TransferKind::Rearranged,
    }
}

/// Returns the digest of a written tensor if it is what the plan makes of the source, `None` if it is not.
fn same_as_planned(
    planned: &Pieces<'_>,
    row: &TensorRow,
    written: &Checkpoint,
    sender: &Sender<u64>,
) -> Result<Option<Digest>, CheckpointError> {
    let found = written.table().get(&row.path);
    if found.is_none_or(|found| (&found.shape, found.dtype) != (&row.shape, row.dtype)) {
        return Ok(None);
    }
    let (mut hash, mut done, mut same) = (Sha256::new(), 0u64, true);
    let mut bytes = Vec::new();
    planned.planned(row, &mut |expected| {
        bytes.resize(expected.len(), 0);
        written.read_at(&row.path, done, &mut bytes)?;
        done += bytes.len() as u64;
        hash.update(&bytes);
        same = bytes == expected;
        // The receiver is gone if another thread failed.
        let _ = sender.send(bytes.len() as u64);
        Ok(same)
    })?;
    Ok((same && done == row.bytes()).then(|| Digest(hash.finalize().into())))
}

/// Returns the digest of a tensor; zeros if it is not there at all.
fn digest(checkpoint: &Checkpoint, path: &ParamPath) -> Result<Digest, CheckpointError> {
    const BLOCK: usize = 1 << 20;
    if checkpoint.table().get(path).is_none() {
        return Ok(Digest([0; 32]));
    }
    let mut hash = Sha256::new();
    let mut blocks = checkpoint.blocks(path, BLOCK)?;
    while let Some(block) = blocks.next_block()? {
        hash.update(block);
    }
    Ok(Digest(hash.finalize().into()))
}

impl Digest {
    /// Returns the first twelve digits, which are enough to tell the tensors of a model apart.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
