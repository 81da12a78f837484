//! The element types of tensors on the CPU, and how a fused pass reads and writes them.

use std::borrow::Cow;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Error, Layout, Result, Shape};
use half::{bf16, f16};

/// The type of arithmetic: float32, or float64 for float64 tensors.
pub(crate) trait Wide:
    Element<Wide = Self>
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + Sum
    + PartialOrd
{
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    fn of(value: f64) -> Self;
    fn to_f64(self) -> f64;
    /// eˣ to within two units in the last place; 0 for −∞.
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    fn erf(self) -> Self;
    fn tanh(self) -> Self;
    fn at_least(self, other: Self) -> Self;
}

/// A floating-point type that tensors are stored in.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    type Wide: Wide;
    fn wide(self) -> Self::Wide;
    fn narrow(value: Self::Wide) -> Self;
    fn values(storage: &CpuStorage) -> Option<&[Self]>;
    fn values_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
    fn storage(values: Vec<Self>) -> CpuStorage;
    /// Returns the same numbers in the wide type, unchanged if they have it.
    fn widened(storage: CpuStorage) -> Option<Vec<Self::Wide>>;
    /// Returns wide numbers rounded to this type, unchanged if it is the wide type.
    fn narrowed(values: Vec<Self::Wide>) -> Vec<Self>;
}

macro_rules! storage_of {
    ($variant:ident) => {
        fn values(storage: &CpuStorage) -> Option<&[Self]> {
            if let CpuStorage::$variant(values) = storage { Some(values) } else { None }
        }
        fn values_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
            if let CpuStorage::$variant(values) = storage { Some(values) } else { None }
        }
        fn storage(values: Vec<Self>) -> CpuStorage {
            CpuStorage::$variant(values)
        }
    };
}

macro_rules! wide_element {
    ($float:ident, $variant:ident, $exp:expr, $erf:expr) => {
        impl Element for $float {
            type Wide = $float;
            fn wide(self) -> $float {
                self
            }
            fn narrow(value: $float) -> Self {
                value
            }
            storage_of!($variant);
            fn widened(storage: CpuStorage) -> Option<Vec<$float>> {
                if let CpuStorage::$variant(values) = storage { Some(values) } else { None }
            }
            fn narrowed(values: Vec<$float>) -> Vec<Self> {
                values
            }
        }
        impl Wide for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $float::NEG_INFINITY;
            fn of(value: f64) -> Self {
                value as $float
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            fn ln(self) -> Self {
                $float::ln(self)
            }
            fn sqrt(self) -> Self {
                $float::sqrt(self)
            }
            fn erf(self) -> Self {
                $erf(self)
            }
            fn tanh(self) -> Self {
                $float::tanh(self)
            }
            #[inline(always)]
            fn at_least(self, other: Self) -> Self {
                if self > other { self } else { other }
            }
        }
    };
}
wide_element!(f32, F32, exp_f32, candle_core::cpu::erf::erf_f32);
wide_element!(f64, F64, f64::exp, candle_core::cpu::erf::erf_f64);

macro_rules! half_element {
    ($float:ident, $variant:ident) => {
        impl Element for $float {
            type Wide = f32;
            fn wide(self) -> f32 {
                self.to_f32()
            }
            fn narrow(value: f32) -> Self {
                $float::from_f32(value)
            }
            storage_of!($variant);
            fn widened(storage: CpuStorage) -> Option<Vec<f32>> {
                Some(Self::values(&storage)?.iter().map(|value| value.to_f32()).collect())
            }
            fn narrowed(values: Vec<f32>) -> Vec<Self> {
                values.into_iter().map($float::from_f32).collect()
            }
        }
    };
}
half_element!(bf16, BF16);
half_element!(f16, F16);

/// eˣ without a branch, so that loops over it become vector code: 2ⁿ·P(r) with n = round(x / ln 2), ln 2 in two parts,
/// and the polynomial of Cephes' expf.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(0x3f80_0000));
    let scaled = value * power;
    if x < -87.0 {
        0.0
    } else if x > 88.0 {
        f32::INFINITY
    } else {
        scaled
    }
}

/// Returns the type that values of `dtype` are computed in: float64 for float64, else float32.
pub(crate) fn inside(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Returns the elements of a contiguous operand.
pub(crate) fn slice<'a, T: Element>(storage: &'a CpuStorage, layout: &Layout, op: &'static str) -> Result<&'a [T]> {
    let values = T::values(storage).ok_or_else(|| Error::UnsupportedDTypeForOp(storage.dtype(), op).bt())?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(Error::RequiresContiguous { op }.bt()),
    }
}

/// A contiguous operand in the wide type (unchanged if it has that type), and the offset of its first element.
pub(crate) fn widened<'a, T: Element>(
    storage: &'a CpuStorage,
    layout: &Layout,
    op: &'static str,
) -> Result<(Cow<'a, CpuStorage>, usize)> {
    let values = slice::<T>(storage, layout, op)?;
    if T::Wide::values(storage).is_some() {
        return Ok((Cow::Borrowed(storage), layout.start_offset()));
    }
    Ok((Cow::Owned(T::Wide::storage(values.iter().map(|value| value.wide()).collect())), 0))
}

/// Returns a new storage and its shape, as custom operations return them.
pub(crate) fn made<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (T::storage(values), shape.into())
}

/// Runs `$body` with `$T` as the element type of `$storage`.
macro_rules! by_element {
    ($storage:expr, $op:expr, $T:ident => $body:expr) => {{
        match candle_core::backend::BackendStorage::dtype($storage) {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            candle_core::DType::F16 => {
                type $T = half::f16;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, $op).bt()),
        }
    }};
}
pub(crate) use by_element;

/// A B of matrices that are windows of larger storages, in the wide type. A is `[m, k]` and B `[k, n]`; each is its
/// storage, the offset of its first element, and its strides (row, column).
pub(crate) fn product<T: Wide>((m, n, k): (usize, usize, usize), a: Window<'_>, b: Window<'_>) -> Result<Vec<T>> {
    let layout = |window: &Window<'_>, shape: (usize, usize)| {
        Layout::new(Shape::from(shape), vec![window.strides.0, window.strides.1], window.offset)
    };
    let made = a.storage.matmul(b.storage, (1, m, n, k), &layout(&a, (m, k)), &layout(&b, (k, n)))?;
    T::widened(made).ok_or_else(|| Error::Msg("matrix product of another element type".to_owned()).bt())
}

/// A matrix inside a storage; see [`product`].
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) storage: &'a CpuStorage,
    pub(crate) offset: usize,
    pub(crate) strides: (usize, usize),
}

impl<'a> Window<'a> {
    pub(crate) fn new(storage: &'a CpuStorage, offset: usize, strides: (usize, usize)) -> Self {
        Self { storage, offset, strides }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_as_good_as_the_libraries() {
        let mut worst = 0.0f64;
        for step in -87_000..=88_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp_f32(x)) - exact) / exact).abs());
        }
        assert!(worst < 2.4e-7, "{worst:e}");
    }

    #[test]
    fn the_exponential_keeps_the_ends() {
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(-1e30), 0.0);
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
