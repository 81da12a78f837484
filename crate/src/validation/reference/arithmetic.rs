//! The formulas of the reference forward: plain loops over rows of float32, or of float64 to tell how far float32 is
//! off.

use std::ops::{Add, AddAssign, Mul};

use half::{bf16, f16};

use crate::checkpoint::{TensorData, read_floats};
use crate::naming::outline::{ActivationKind, NormKind};
use crate::spec::DType;

/// Row-major `[rows, width]` activations.
#[derive(Clone)]
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

/// The numbers that a norm multiplies with and adds, one for each element of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Affine {
    /// None: 1.
    pub(super) weight: Vec<f32>,
    /// None: 0.
    pub(super) bias: Vec<f32>,
}

/// RMSNorm or LayerNorm over each part of `over` elements of each row. Weights that are fewer than a row's elements hold
/// for each part.
pub(super) fn normalize<F: Real>(
    x: &Activations<F>,
    kind: NormKind,
    affine: &Affine,
    (over, eps): (usize, f64),
) -> Activations<F> {
    let mut data = x.data.clone();
    let of = |numbers: &[f32], index: usize, other: f32| match numbers.len() {
        0 => other,
        count => numbers[index % count],
    };
    for row in data.chunks_exact_mut(x.width.max(1)) {
        for (part, values) in row.chunks_exact_mut(over.max(1)).enumerate() {
            let mean = match kind {
                NormKind::RmsNorm => 0.0,
                NormKind::LayerNorm => values.iter().map(|&value| value.into()).sum::<f64>() / over as f64,
            };
            let square = values.iter().map(|&value| (value.into() - mean).powi(2)).sum::<f64>() / over as f64;
            let scale = 1.0 / (square + eps).sqrt();
            for (index, value) in values.iter_mut().enumerate() {
                let place = part * over + index;
                let normed = F::nearest(((*value).into() - mean) * scale);
                *value = normed * F::from(of(&affine.weight, place, 1.0)) + F::from(of(&affine.bias, place, 0.0));
            }
        }
    }
    Activations { data, width: x.width }
}

/// Applies the function inside the feed-forward part; `alphas` are the numbers of xIELU.
pub(super) fn activate<F: Real>(x: F, kind: ActivationKind, (alpha_p, alpha_n): (f64, f64)) -> F {
    let x: f64 = x.into();
    F::nearest(match kind {
        ActivationKind::Silu => x / (1.0 + (-x).exp()),
        ActivationKind::Relu => x.max(0.0),
        ActivationKind::Relu2 => x.max(0.0).powi(2),
        ActivationKind::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        ActivationKind::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        ActivationKind::Xielu if x > 0.0 => softplus(alpha_p) * x * x + 0.5 * x,
        ActivationKind::Xielu => (x.min(-1e-6).exp_m1() - x) * (0.5 + softplus(alpha_n)) + 0.5 * x,
    })
}

fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
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

/// Adds a multiple of `y`.
pub(super) fn add<F: Real>(x: &mut Activations<F>, y: &Activations<F>, factor: f64) {
    for (x, y) in x.data.iter_mut().zip(&y.data) {
        *x += if factor == 1.0 { *y } else { F::nearest((*y).into() * factor) };
    }
}

/// Sixteen partial sums, so that the compiler can use vector registers.
pub(super) fn dot<A: Copy, F: Real>(a: &[A], b: &[F], number: impl Fn(A) -> F) -> F {
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
