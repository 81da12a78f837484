//! The recurrence of the gated delta rule from chunk to chunk, with a backward of its own: candle's would write a gradient of all
//! chunks for each of them.

use candle_core::{D, Result, Tensor};

use super::precomputed_op::PrecomputedOp;

/// What the chunks of n tokens bring, `[chunks, heads, …]`.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    /// `[…, n, e]`.
    pub(super) new_values: Tensor,
    /// What they read of the state before, `[…, n, d]`.
    pub(super) read_keys: Tensor,
    /// `[…, n, d]`.
    pub(super) queries: Tensor,
    /// `[…, n, d]`.
    pub(super) keys: Tensor,
    /// What the queries see of the keys, `[…, n, n]`.
    pub(super) seen: Tensor,
    /// What is kept of the state, `[…, 1, 1]`.
    pub(super) kept: Tensor,
}

/// From S = `states` `[heads, d, e]` and chunk after chunk: V = new_values − read_keys S; y = queries S + seen V;
/// S ← kept S + keysᵀ V. Returns y `[chunks, heads, n, e]` and the last S.
pub(super) fn chunk_scan(chunks: &Chunks, states: &Tensor) -> Result<(Tensor, Tensor)> {
    let (count, heads, size, values) = chunks.new_values.dims4()?;
    let (width, tracked) = (states.dim(1)?, chunks.all().into_iter().chain([states]).any(Tensor::track_op));
    let detached = chunks.detached()?;
    let run = Run::new(&detached, &states.detach())?;
    let read = (detached.queries.matmul(&run.states)? + detached.seen.matmul(&run.corrected)?)?;
    if !tracked {
        return Ok((read, run.last));
    }
    // One operand and one result, because a custom operation has few.
    let kept = chunks.kept.broadcast_as((count, heads, size, 1))?.contiguous()?;
    let Chunks { new_values, read_keys, queries, keys, seen, .. } = chunks;
    let packed = Tensor::cat(&[new_values, read_keys, queries, keys, seen, &kept], D::Minus1)?;
    let value = Tensor::cat(&[read.flatten_all()?, run.last.flatten_all()?], 0)?;
    let (of_read, of_last) = (count * heads * size * values, heads * width * values);
    let backward = move |_: &[&Tensor], g: &Tensor| {
        let read = g.narrow(0, 0, of_read)?.reshape((count, heads, size, values))?;
        let last = g.narrow(0, of_read, of_last)?.reshape((heads, width, values))?;
        let (of_chunks, of_states) = run.backward(&detached, &read.contiguous()?, &last.contiguous()?)?;
        let Chunks { new_values, read_keys, queries, keys, seen, kept } = of_chunks;
        let kept = (kept / size as f64)?.broadcast_as((count, heads, size, 1))?.contiguous()?;
        let packed = Tensor::cat(&[new_values, read_keys, queries, keys, seen, kept], D::Minus1)?;
        Ok(vec![Some(packed), Some(of_states)])
    };
    let both = packed.apply_op2(states, PrecomputedOp::new("chunk-scan", &value, Box::new(backward))?)?;
    let read = both.narrow(0, 0, of_read)?.reshape((count, heads, size, values))?;
    Ok((read, both.narrow(0, of_read, of_last)?.reshape((heads, width, values))?))
}

/// What the backward needs of a forward pass.
struct Run {
    /// The state before each chunk, `[chunks, heads, d, e]`.
    states: Tensor,
    /// V of each chunk.
    corrected: Tensor,
    last: Tensor,
}

fn turned(x: &Tensor) -> Result<Tensor> {
    x.transpose(D::Minus1, D::Minus2)?.contiguous()
}

impl Run {
    fn new(chunks: &Chunks, states: &Tensor) -> Result<Self> {
        let (mut state, keys) = (states.clone(), turned(&chunks.keys)?);
        let (mut states, mut corrected) = (Vec::new(), Vec::new());
        for chunk in 0..keys.dim(0)? {
            let read = chunks.read_keys.get(chunk)?.matmul(&state)?;
            let own = (chunks.new_values.get(chunk)? - read)?;
            let next = (state.broadcast_mul(&chunks.kept.get(chunk)?)? + keys.get(chunk)?.matmul(&own)?)?;
            states.push(std::mem::replace(&mut state, next));
            corrected.push(own);
        }
        Ok(Self { states: Tensor::stack(&states, 0)?, corrected: Tensor::stack(&corrected, 0)?, last: state })
    }

    /// Returns the gradients of the chunks and of the first state, from those of y and of the last state.
    fn backward(&self, chunks: &Chunks, read: &Tensor, last: &Tensor) -> Result<(Chunks, Tensor)> {
        let (of_corrected, of_states) = (turned(&chunks.seen)?.matmul(read)?, turned(&chunks.queries)?.matmul(read)?);
        let (mut after, read_keys) = (last.clone(), turned(&chunks.read_keys)?);
        let (mut corrected, mut states) = (Vec::new(), Vec::new());
        for chunk in (0..read.dim(0)?).rev() {
            let own = (of_corrected.get(chunk)? + chunks.keys.get(chunk)?.matmul(&after)?)?;
            let kept = after.broadcast_mul(&chunks.kept.get(chunk)?)?;
            let before = ((kept + of_states.get(chunk)?)? - read_keys.get(chunk)?.matmul(&own)?)?;
            states.push(std::mem::replace(&mut after, before));
            corrected.push(own);
        }
        corrected.reverse();
        states.reverse();
        let (corrected, states) = (Tensor::stack(&corrected, 0)?, Tensor::stack(&states, 0)?);
        let before = turned(&self.states)?;
        let of_chunks = Chunks {
            read_keys: corrected.matmul(&before)?.neg()?,
            new_values: corrected,
            queries: read.matmul(&before)?,
            keys: self.corrected.matmul(&turned(&states)?)?,
            seen: read.matmul(&turned(&self.corrected)?)?,
            kept: (&self.states * &states)?.sum_keepdim(D::Minus1)?.sum_keepdim(D::Minus2)?,
        };
        Ok((of_chunks, after))
    }
}

impl Chunks {
    fn all(&self) -> [&Tensor; 6] {
        [&self.new_values, &self.read_keys, &self.queries, &self.keys, &self.seen, &self.kept]
    }

    fn detached(&self) -> Result<Self> {
        let of = |x: &Tensor| x.detach().contiguous();
        Ok(Self {
            new_values: of(&self.new_values)?,
            read_keys: of(&self.read_keys)?,
            queries: of(&self.queries)?,
            keys: of(&self.keys)?,
            seen: of(&self.seen)?,
            kept: of(&self.kept)?,
        })
    }
}
