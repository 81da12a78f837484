//! Low-bit weights: products, values, rounding.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, Tensor};

use super::launch::{Argument, Extent, contiguous, empty, int, launch, pointer, suffix, tensor, whole, with};
use super::{LowBit, Operand};
use crate::spec::{Granularity, QuantDType};

/// Up to this many tokens are multiplied with the numbers as they are read; for more, the values are decoded for cuBLAS.
const FEW: usize = 8;

/// `struct LowBit` of `quantized.cu`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Stored {
    numbers: u64,
    scales: u64,
    outputs: i32,
    inputs: i32,
    row_bytes: i32,
    groups: i32,
    group: i32,
    kind: i32,
}

impl LowBit<'_> {
    /// Calls `work` with the parameter that kernels on `device` take, while numbers and scales are held.
    fn stored<R>(&self, device: &CudaDevice, work: impl FnOnce(Stored) -> Result<R>) -> Result<R> {
        const OP: &str = "quantized-linear";
        with(self.numbers, |numbers| {
            with(self.scales, |scales| {
                contiguous(numbers, DType::U8, OP)?;
                contiguous(scales, DType::F32, OP)?;
                let (outputs, inputs) = self.dims;
                let shape = Shape::from(self.dims);
                let int = |size: usize| int(size, OP, &shape);
                let groups =
                    if self.scheme.granularity == Granularity::Tensor { 0 } else { self.scheme.groups(inputs) };
                work(Stored {
                    numbers: pointer(numbers).on(device)?,
                    scales: pointer(scales).on(device)?,
                    outputs: int(outputs)?,
                    inputs: int(inputs)?,
                    row_bytes: int(self.scheme.row_bytes(inputs))?,
                    groups: int(groups)?,
                    group: int(self.scheme.group_size(inputs))?,
                    kind: match (self.scheme.weights, self.scheme.packed) {
                        (QuantDType::Int4, _) => 0,
                        (QuantDType::Int8, true) => 1,
                        (QuantDType::Int8, false) => 2,
                        (QuantDType::F8E4M3, _) => 3,
                    },
                })
            })
        })
    }

    /// Returns the values `[outputs, inputs]`, not in any tensor.
    fn values(&self, dtype: DType, device: &CudaDevice) -> Result<CudaStorage> {
        let (outputs, inputs) = self.dims;
        let y = empty(device, dtype, outputs * inputs)?;
        let kernel = format!("quantized_dequantize_{}", suffix(dtype, "dequantize")?);
        self.stored(device, |stored| {
            launch(device, &kernel, Extent::rows(outputs, inputs), &[whole(&y), Argument::LowBit(stored)])
        })?;
        Ok(y)
    }
}

/// Returns the weight as floats.
pub(crate) fn dequantize(weight: &LowBit<'_>, dtype: DType) -> Result<Tensor> {
    let device = weight.numbers.device().as_cuda_device()?;
    Ok(tensor(weight.values(dtype, device)?, weight.dims))
}

/// x `[…, in]` → `[…, out]`. Activations are rounded before, if the scheme says so.
pub(crate) fn quantized_linear(x: Operand<'_>, weight: &LowBit<'_>) -> Result<CudaStorage> {
    const OP: &str = "quantized-linear";
    let (dtype, device, (outputs, inputs)) = (x.0.dtype(), x.0.device(), weight.dims);
    let tokens = x.1.shape().elem_count() / inputs;
    contiguous(x, dtype, OP)?;
    let flat = Layout::contiguous_with_offset((tokens, inputs), x.1.start_offset());
    let made = weight.scheme.activations.map(|numbers| rounded((x.0, &flat), numbers, inputs, 0)).transpose()?;
    let of_made = Layout::contiguous((tokens, inputs));
    let x = made.as_ref().map_or((x.0, &flat), |made| (made, &of_made));
    if tokens > FEW {
        let values = weight.values(dtype, device)?;
        let transposed = Layout::contiguous((outputs, inputs)).transpose(0, 1)?;
        return x.0.matmul(&values, (1, tokens, outputs, inputs), x.1, &transposed);
    }
    let y = empty(device, dtype, tokens * outputs)?;
    let extent = Extent { blocks: (outputs.div_ceil(4), 1, 1), threads: (128, 1), shared: 0 };
    weight.stored(device, |stored| {
        let arguments = [whole(&y), contiguous(x, dtype, OP)?, Argument::LowBit(stored), Argument::Int(tokens)];
        launch(device, &format!("quantized_few_tokens_{}", suffix(dtype, OP)?), extent, &arguments)
    })?;
    Ok(y)
}

/// Rounds every `group` neighbors with a scale of their own: the best of `tried`, or that of their largest magnitude.
pub(crate) fn rounded(x: Operand<'_>, numbers: QuantDType, group: usize, tried: usize) -> Result<CudaStorage> {
    const OP: &str = "rounding";
    let (count, dtype, device) = (x.1.shape().elem_count(), x.0.dtype(), x.0.device());
    if group == 0 || !count.is_multiple_of(group) {
        let (lhs, rhs) = (x.1.shape().clone(), Shape::from(group));
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: OP }.bt());
    }
    let y = empty(device, dtype, count)?;
    let kind = match numbers {
        QuantDType::Int4 => 0,
        QuantDType::Int8 => 1,
        QuantDType::F8E4M3 => 2,
    };
    let sizes = [Argument::Long(count / group), Argument::Long(group)];
    let choices = [Argument::Int(kind), Argument::Int(tried)];
    let arguments = [[whole(&y), contiguous(x, dtype, OP)?].as_slice(), &sizes, &choices].concat();
    let extent = Extent { blocks: ((count / group).div_ceil(8).clamp(1, 4224), 1, 1), threads: (256, 1), shared: 0 };
    launch(device, &format!("quantized_rounded_{}", suffix(dtype, OP)?), extent, &arguments)?;
    Ok(y)
}
