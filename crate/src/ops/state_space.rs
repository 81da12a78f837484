//! The scan of Mamba-2 (Dao and Gu 2024, arXiv:2405.21060) by chunks: products of matrices inside a chunk, states from chunk to
//! chunk.

use candle_core::{Result, Tensor};

use super::delta_rule::lower;

/// Tokens of one chunk.
const CHUNK: usize = 64;

/// For each head, from S = `states` (or 0) and token after token: S ← e^(Δ a) S + Δ B vᵀ; y = Sᵀ C.
///
/// v `[b, s, heads, p]`, steps Δ `[b, s, heads]` in float32 or float64, of which the computation takes the type, rates a
/// `[heads]`, B and C `[b, s, groups, n]` → y `[b, s, heads, p]` in that type, and the states after the last token
/// `[b, heads, n, p]`. Head h reads the B and C of group h / (heads / groups).
///
/// # Errors
/// candle's error, if shapes or devices do not match.
pub fn state_space_scan(
    v: &Tensor,
    steps: &Tensor,
    rates: &Tensor,
    (write, read): (&Tensor, &Tensor),
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let ((batch, seq, heads, p), (_, _, groups, n)) = (v.dims4()?, write.dims4()?);
    let (wide, each) = (steps.dtype(), heads / groups.max(1));
    let size = CHUNK.min(seq.max(1));
    let chunks = seq.div_ceil(size);
    let missing = chunks * size - seq;
    // `[b · heads or groups, chunks, size, …]`, padded with tokens that change nothing: their steps are 0.
    let chunked = |x: &Tensor| {
        let x = x.to_dtype(wide)?.transpose(1, 2)?.contiguous()?;
        let (_, count, _, last) = x.dims4()?;
        let x = if missing == 0 { x } else { x.pad_with_zeros(2, 0, missing)? };
        x.reshape((batch * count, chunks, size, last))
    };
    let decay = chunked(&steps.broadcast_mul(&rates.to_dtype(wide)?)?.unsqueeze(3)?)?;
    let v = chunked(&v.to_dtype(wide)?.broadcast_mul(&steps.unsqueeze(3)?)?)?;
    let (write, read) = (chunked(write)?, chunked(read)?);

    // Within a chunk.
    let total = decay.squeeze(3)?.cumsum(2)?.unsqueeze(3)?;
    let later = lower(size, f64::NEG_INFINITY, wide, v.device())?;
    let between = total.broadcast_sub(&total.transpose(2, 3)?)?.broadcast_add(&later)?.exp()?;
    let scores = read.matmul(&write.transpose(2, 3)?.contiguous()?)?;
    let scores = scores.reshape((batch, groups, 1, chunks, size, size))?;
    let scores =
        scores.expand((batch, groups, each, chunks, size, size))?.reshape((batch * heads, chunks, size, size))?;
    let inside = (scores * between)?.matmul(&v)?;

    // From chunk to chunk: the states of a group's heads lie side by side, `[b · groups, n, heads of a group · p]`.
    let last = total.narrow(2, size - 1, 1)?;
    let kept = last.exp()?.reshape((batch * groups, each, chunks, 1))?;
    let side_by_side = |x: &Tensor| {
        let x = x.reshape((batch * groups, each, chunks, size, p))?.permute((0, 2, 3, 1, 4))?;
        x.reshape((batch * groups, chunks, size, each * p))
    };
    let written = side_by_side(&v.broadcast_mul(&last.broadcast_sub(&total)?.exp()?)?)?;
    let mut state = match states {
        Some(states) => {
            let states = states.to_dtype(wide)?.reshape((batch * groups, each, n, p))?.transpose(1, 2)?;
            states.reshape((batch * groups, n, each * p))?
        }
        None => Tensor::zeros((batch * groups, n, each * p), wide, v.device())?,
    };
    let mut before = Vec::with_capacity(chunks);
    for chunk in 0..chunks {
        let of = |x: &Tensor| x.narrow(1, chunk, 1)?.squeeze(1)?.contiguous();
        before.push(of(&read)?.matmul(&state)?);
        let kept = kept.narrow(2, chunk, 1)?.reshape((batch * groups, 1, each, 1))?;
        let old = state.reshape((batch * groups, n, each, p))?.broadcast_mul(&kept)?;
        let new = of(&write)?.transpose(1, 2)?.contiguous()?.matmul(&of(&written)?)?;
        state = (old.reshape((batch * groups, n, each * p))? + new)?;
    }
    let before = Tensor::cat(&before, 1)?.reshape((batch * groups, chunks * size, each, p))?.transpose(1, 2)?;
    let before = before.reshape((batch * heads, chunks, size, p))?.broadcast_mul(&total.exp()?)?;
    let y = (inside + before)?.reshape((batch, heads, chunks * size, p))?.narrow(2, 0, seq)?;
    let state = state.reshape((batch, groups, n, each, p))?.transpose(2, 3)?;
    Ok((y.transpose(1, 2)?.contiguous()?, state.reshape((batch, heads, n, p))?))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::check::{Inputs, close, gradients, values};

    /// Token after token, by the definition.
    fn one_by_one(v: &[Tensor]) -> Result<Tensor> {
        let (value, steps, rates, write, read) = (&v[0], &v[1], &v[2], &v[3], &v[4]);
        let ((batch, seq, heads, p), (_, _, groups, n)) = (value.dims4()?, write.dims4()?);
        let mut rows = Vec::new();
        for row in 0..batch {
            let mut by_head = Vec::new();
            for head in 0..heads {
                let group = head / (heads / groups);
                let mut state = Tensor::zeros((n, p), value.dtype(), value.device())?;
                let mut found = Vec::new();
                for token in 0..seq {
                    let of = |x: &Tensor, place, width: usize| {
                        x.narrow(0, row, 1)?.narrow(1, token, 1)?.narrow(2, place, 1)?.reshape((1, width))
                    };
                    let step = of(&steps.unsqueeze(3)?, head, 1)?;
                    let rate = rates.narrow(0, head, 1)?.reshape((1, 1))?;
                    state = state.broadcast_mul(&(&step * rate)?.exp()?)?;
                    let new = of(write, group, n)?.t()?.matmul(&of(value, head, p)?)?;
                    state = (state + new.broadcast_mul(&step)?)?;
                    found.push(of(read, group, n)?.matmul(&state)?);
                }
                by_head.push(Tensor::cat(&found, 0)?.reshape((1, seq, 1, p))?);
            }
            rows.push(Tensor::cat(&by_head, 2)?);
        }
        Tensor::cat(&rows, 0)
    }

    /// Values, steps, rates, B and C in float64: candle's cumulative sum is a product there.
    fn inputs(seq: usize) -> Vec<Tensor> {
        let shapes: [(&str, &[usize]); 5] = [
            ("v", &[2, seq, 4, 3]),
            ("steps", &[2, seq, 4]),
            ("rates", &[4]),
            ("write", &[2, seq, 2, 5]),
            ("read", &[2, seq, 2, 5]),
        ];
        Inputs::new(&shapes).variables(DType::F64)
    }

    fn signed(v: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![v[0].clone(), (v[1].sqr()? * 0.3)?, v[2].sqr()?.neg()?, v[3].clone(), v[4].clone()])
    }

    fn scan(v: &[Tensor]) -> Result<Tensor> {
        let v = signed(v)?;
        Ok(state_space_scan(&v[0], &v[1], &v[2], (&v[3], &v[4]), None)?.0)
    }

    #[test]
    fn chunks_give_what_tokens_give_one_by_one() {
        // Less than a chunk, whole chunks, and a part of one.
        for seq in [1, 7, 64, 130] {
            let v = inputs(seq);
            let what = format!("{seq} tokens");
            let (found, of) = gradients(&v, &scan, &what);
            let (wanted, of_wanted) = gradients(&v, &|v| one_by_one(&signed(v)?), &what);
            close(&found, &wanted, 1e-12, &what);
            for (of, wanted) in of.iter().zip(&of_wanted) {
                close(of, wanted, 1e-10, &what);
            }
        }
    }

    #[test]
    fn a_text_continues_from_its_states() {
        let v = signed(&inputs(70)).unwrap();
        let run = |from, count, states: Option<&Tensor>| {
            let part = |x: &Tensor| x.narrow(1, from, count).unwrap();
            let shared = (part(&v[3]), part(&v[4]));
            state_space_scan(&part(&v[0]), &part(&v[1]), &v[2], (&shared.0, &shared.1), states).unwrap()
        };
        let (whole, last) = run(0, 70, None);
        let (first, states) = run(0, 66, None);
        let (second, after) = run(66, 4, Some(&states));
        close(&values(&Tensor::cat(&[first, second], 1).unwrap()), &values(&whole), 1e-12, "outputs");
        close(&values(&after), &values(&last), 1e-12, "states");
    }
}
