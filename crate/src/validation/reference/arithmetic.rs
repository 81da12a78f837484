//! The formulas of the reference forward: plain loops over rows of float32, or of float64 to tell how far float32 is
//! off.

use std::ops::{Add, AddAssign, Mul};

use half::{bf16, f16};
use rayon::prelude::*;

use crate::checkpoint::{TensorData, read_floats};
use crate::naming::outline::{ActivationOutline, NormKind};
use crate::spec::DType;

/// Row-major `[rows, width]` activations.
pub(super) struct Activations<F> {
    pub(super) data: Vec<F>,
    pub(super) width: usize,
}

/// What activations are computed in.
pub(crate) trait Real:
    Copy
    + Default
    + Send
    + Sync
    + From<f32>
    + Into<f64>
    + Add<Output = Self>
    + Mul<Output = Self>
    + AddAssign
    + std::iter::Sum
{
    /// The nearest number of this type.
    fn nearest(value: f64) -> Self;
}

impl Real for f32 {
    fn nearest(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn nearest(value: f64) -> Self {
        value
    }
}

/// RMSNorm or LayerNorm over each row.
pub(super) fn normalize<F: Real>(
    x: &Activations<F>,
    kind: NormKind,
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f64,
) -> Activations<F> {
    let mut data = x.data.clone();
    let width = x.width as f64;
    for row in data.chunks_exact_mut(x.width) {
        let mean = match kind {
            NormKind::RmsNorm => 0.0,
            NormKind::LayerNorm => row.iter().map(|&value| value.into()).sum::<f64>() / width,
        };
        let square = row.iter().map(|&value| (value.into() - mean).powi(2)).sum::<f64>() / width;
        let scale = 1.0 / (square + eps).sqrt();
        for (index, (value, weight)) in row.iter_mut().zip(weight).enumerate() {
            let shift = F::from(bias.map_or(0.0, |bias| bias[index]));
            *value = F::nearest(((*value).into() - mean) * scale) * F::from(*weight) + shift;
        }
    }
    Activations { data, width: x.width }
}

/// Turns pairs of each head by the position times the pair's frequency. `neighbors` pairs 2i with 2i + 1, else i is
/// paired with i + half.
pub(super) fn rotate<F: Real>(x: &mut Activations<F>, head: usize, frequencies: &[f64], neighbors: bool) {
    let width = x.width;
    let half = frequencies.len();
    for (position, row) in x.data.chunks_exact_mut(width).enumerate() {
        for head in row.chunks_exact_mut(head) {
            for (pair, frequency) in frequencies.iter().enumerate() {
                let (first, second) = if neighbors { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b): (f64, f64) = (head[first].into(), head[second].into());
                head[first] = F::nearest(a * cos - b * sin);
                head[second] = F::nearest(b * cos + a * sin);
            }
        }
    }
}

pub(super) fn activate<F: Real>(x: F, kind: ActivationOutline) -> F {
    let x: f64 = x.into();
    F::nearest(match kind {
        ActivationOutline::Silu => x / (1.0 + (-x).exp()),
        ActivationOutline::Relu => x.max(0.0),
        ActivationOutline::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        ActivationOutline::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
    })
}

/// Computes the error function by its power series, which converges quickly where the function is not close to 1.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// Causal attention of one sequence over a window: query head h reads key head h / (heads / groups).
pub(super) fn attend<F: Real>(
    q: &Activations<F>,
    k: &Activations<F>,
    v: &Activations<F>,
    (heads, groups, head): (usize, usize, usize),
    window: usize,
) -> Activations<F> {
    let tokens = q.data.len() / q.width;
    let mut data = vec![F::default(); tokens * heads * head];
    data.par_chunks_exact_mut(heads * head).enumerate().for_each(|(token, out)| {
        for (index, out) in out.chunks_exact_mut(head).enumerate() {
            let query = &q.data[token * q.width + index * head..][..head];
            let offset = index / (heads / groups) * head;
            let first = (token + 1).saturating_sub(window);
            let scores: Vec<f64> = (first..=token)
                .map(|past| {
                    let key = &k.data[past * k.width + offset..][..head];
                    let score: f64 = dot(query, key, |number| number).into();
                    score / (head as f64).sqrt()
                })
                .collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            for (past, score) in (first..).zip(&scores) {
                let weight = F::nearest((score - top).exp() / total);
                for (out, value) in out.iter_mut().zip(&v.data[past * v.width + offset..][..head]) {
                    *out += weight * *value;
                }
            }
        }
    });
    Activations { data, width: heads * head }
}

pub(super) fn add<F: Real>(x: &mut Activations<F>, y: &Activations<F>) {
    for (x, y) in x.data.iter_mut().zip(&y.data) {
        *x += *y;
    }
}

/// Sixteen partial sums, so that the compiler can use vector registers.
fn dot<A: Copy, F: Real>(a: &[A], b: &[F], number: impl Fn(A) -> F) -> F {
    let mut sums = [F::default(); 16];
    let (a_body, b_body) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: F = a_body.remainder().iter().zip(b_body.remainder()).map(|(a, b)| number(*a) * *b).sum();
    for (a, b) in a_body.zip(b_body) {
        for lane in 0..16 {
            sums[lane] += number(a[lane]) * b[lane];
        }
    }
    sums.iter().copied().sum::<F>() + tail
}

pub(super) fn widen(data: &TensorData) -> Vec<f32> {
    match data.dtype {
        DType::BF16 => data.bytes.chunks_exact(2).map(|raw| bf16::from_le_bytes([raw[0], raw[1]]).to_f32()).collect(),
        DType::F16 => data.bytes.chunks_exact(2).map(|raw| f16::from_le_bytes([raw[0], raw[1]]).to_f32()).collect(),
        DType::F64 => data.bytes.chunks_exact(8).map(|raw| le_f64(raw) as f32).collect(),
        DType::F8E4M3 | DType::F8E5M2 => {
            let mut floats = vec![0.0; data.bytes.len()];
            // Both are floats, which it can read.
            let _ = read_floats(&data.bytes, data.dtype, &mut floats);
            floats
        }
        _ => data.bytes.chunks_exact(4).map(|raw| f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect(),
    }
}

fn le_f64(raw: &[u8]) -> f64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(raw);
    f64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        for (x, y) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0), (-3.0, -0.999_977_909_5)]
        {
            assert!((erf(x) - y).abs() < 1e-9, "{x}");
        }
    }
}
