//! GPUs: the driver's libraries, opened when the first GPU is opened, and the kernels of the operators.
//!
//! Without the `cuda` feature the same functions exist and refuse, so that nothing outside this folder and `device.rs`
//! asks for the feature.

#[cfg(feature = "cuda")]
mod attention;
#[cfg(feature = "cuda")]
mod delta;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "attributes of the driver's memory pools")]
pub(crate) mod driver;
#[cfg(feature = "cuda")]
mod elements;
#[cfg(feature = "cuda")]
mod flash;
#[cfg(feature = "cuda")]
mod grouped;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "kernels are launched, and memory for their results allocated")]
mod launch;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "entries in the place of CUDA's libraries, and the opening of these")]
mod libraries;
#[cfg(feature = "cuda")]
mod quantized;
#[cfg(feature = "cuda")]
mod router;
#[cfg(feature = "cuda")]
mod rows;
#[cfg(feature = "cuda")]
mod table;
#[cfg(all(test, feature = "cuda"))]
mod tests;

use candle_core::{CudaStorage, DType, Layout, Tensor};

use crate::spec::Scheme;

/// Returns whether the kernels here take this tensor: on a GPU, of float32, bfloat16 or float16.
pub(crate) fn serves(tensor: &Tensor) -> bool {
    let known = matches!(tensor.dtype(), DType::F32 | DType::BF16 | DType::F16);
    cfg!(feature = "cuda") && known && tensor.device().is_cuda()
}

/// Returns whether the products of groups of rows take these matrices: of two bytes an element, in whole sixteen bytes.
pub(crate) fn serves_groups<'a>(mut matrices: impl Iterator<Item = &'a Tensor>) -> bool {
    matrices.all(|matrix| {
        let whole = matrix.layout().start_offset() % 8 == 0 && matrix.dims().iter().rev().take(2).all(|n| n % 8 == 0);
        whole && matrix.is_contiguous() && matrix.dtype() != DType::F32 && serves(matrix)
    })
}

/// An operand of a kernel.
pub(crate) type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// Which keys a query sees, on a device.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) struct DeviceMask {
    /// `[batch, keys]` of u8; 1 hides.
    pub(crate) padded: Option<Tensor>,
    /// `[batch, keys]` of u32.
    pub(crate) documents: Option<Tensor>,
    /// Keys before the first query.
    pub(crate) past_len: usize,
    /// The last keys that are seen.
    pub(crate) window: Option<usize>,
}

/// What scores of attention are made of besides queries and keys.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) struct DeviceScores<'a> {
    pub(crate) scale: f64,
    pub(crate) softcap: Option<f64>,
    /// `[heads]` in float32.
    pub(crate) slopes: Option<&'a Tensor>,
    /// `[heads]` in float32.
    pub(crate) sinks: Option<&'a Tensor>,
}

/// The gradients of attention's operands, and of slopes and sinks if there are any.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) struct AttentionGradients {
    pub(crate) q: Tensor,
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
    pub(crate) slopes: Option<Tensor>,
    pub(crate) sinks: Option<Tensor>,
}

/// A low-bit weight: numbers and scales as [`Scheme`] lays them out, `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) struct LowBit<'a> {
    pub(crate) numbers: &'a Tensor,
    pub(crate) scales: &'a Tensor,
    pub(crate) scheme: Scheme,
    pub(crate) dims: (usize, usize),
}

/// The functions of the files above, and without the feature the same ones refusing.
macro_rules! kernels {
    ($($file:ident::$name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(
            #[cfg(feature = "cuda")]
            pub(crate) use $file::$name;
            #[cfg(not(feature = "cuda"))]
            pub(crate) fn $name($(_: $argument),*) -> candle_core::Result<$result> {
                Err(candle_core::Error::NotCompiledWithCudaSupport)
            }
        )*
    };
}

kernels! {
    rows::rms_norm(Operand<'_>, Operand<'_>, f64) -> (CudaStorage, candle_core::Shape);
    rows::rms_norm_backward(Operand<'_>, Operand<'_>, Operand<'_>, f64) -> (CudaStorage, candle_core::Shape);
    rows::layer_norm(Operand<'_>, Operand<'_>, Operand<'_>, f64) -> (CudaStorage, candle_core::Shape);
    rows::layer_norm_backward(Operand<'_>, Operand<'_>, Operand<'_>, f64) -> (CudaStorage, candle_core::Shape);
    rows::column_sums(Operand<'_>) -> (CudaStorage, candle_core::Shape);
    rows::add_bias(&CudaStorage, Operand<'_>) -> ();
    elements::rotate(Operand<'_>, Operand<'_>, Operand<'_>, bool) -> (CudaStorage, candle_core::Shape);
    elements::transpose_heads(Operand<'_>) -> (CudaStorage, candle_core::Shape);
    elements::gated(Operand<'_>, Operand<'_>, i32) -> (CudaStorage, candle_core::Shape);
    elements::gated_backward(Operand<'_>, Operand<'_>, Operand<'_>, i32) -> (CudaStorage, candle_core::Shape);
    elements::softcap(Operand<'_>, f64) -> (CudaStorage, candle_core::Shape);
    elements::softcap_backward(Operand<'_>, Operand<'_>, f64) -> (CudaStorage, candle_core::Shape);
    elements::sgd(Operand<'_>, Operand<'_>, f64) -> ();
    table::embedding(Operand<'_>, Operand<'_>) -> (CudaStorage, candle_core::Shape);
    table::embedding_backward(Operand<'_>, Operand<'_>, usize) -> (CudaStorage, candle_core::Shape);
    quantized::quantized_linear(Operand<'_>, &LowBit<'_>) -> CudaStorage;
    quantized::dequantize(&LowBit<'_>, DType) -> Tensor;
    quantized::rounded(Operand<'_>, crate::spec::QuantDType, usize, usize) -> CudaStorage;
    table::cross_entropy(&Tensor, &Tensor, f64) -> Tensor;
    rows::combine(Operand<'_>, &Tensor, Operand<'_>) -> (CudaStorage, candle_core::Shape);
    rows::combine_backward(&Tensor, &Tensor, &Tensor, &Tensor) -> (Tensor, Tensor);
    delta::unit_triangular_inverse(Operand<'_>, usize) -> (CudaStorage, candle_core::Shape);
    delta::negated_below(Operand<'_>, usize) -> (CudaStorage, candle_core::Shape);
    delta::convolution(Operand<'_>, Operand<'_>) -> (CudaStorage, candle_core::Shape);
    delta::convolution_backward(&Tensor, &Tensor, &Tensor) -> (Tensor, Tensor);
    router::choose_experts(&Tensor, Option<&Tensor>, &crate::spec::RouterForm) -> (Tensor, Tensor);
    router::router_backward(&Tensor, &Tensor, &Tensor, &crate::spec::RouterForm) -> Tensor;
    grouped::products(&Tensor, &[usize], &[Vec<&Tensor>]) -> Tensor;
    grouped::products_backward_rows(&Tensor, &[usize], &[Vec<&Tensor>]) -> Tensor;
    grouped::products_backward_matrices(&Tensor, &Tensor, &[usize]) -> Vec<Vec<Tensor>>;
    attention::attend((&Tensor, &Tensor, &Tensor), &DeviceScores<'_>, &DeviceMask, bool) -> (Tensor, Tensor);
    attention::attend_backward((&Tensor, &Tensor, &Tensor), &DeviceScores<'_>, &DeviceMask, (&Tensor, &Tensor, &Tensor)) -> AttentionGradients;
}
