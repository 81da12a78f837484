//! A low-bit weight on a device.

use candle_core::{DType, Device, Result, Storage, Tensor};
use rayon::prelude::*;

use super::super::cuda;
use super::decode;
use super::fit::{Quantized, quantize_rows};
use crate::spec::{Granularity, Scheme};

/// The weight `[outputs, inputs]` of a linear layer, as numbers and scales. It is never kept as floats.
#[derive(Clone, Debug)]
pub struct QuantizedWeight {
    pub(super) scheme: Scheme,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// `[outputs, bytes of a row]` of u8.
    pub(super) numbers: Tensor,
    /// `[outputs, groups]`, or `[1]` where all weights share one; float32.
    pub(super) scales: Tensor,
}

impl QuantizedWeight {
    /// Takes numbers (u8, `[outputs, bytes of a row]`) and scales (float32) as [`Scheme`] lays them out.
    ///
    /// # Errors
    /// candle's message, if shapes, element types or devices do not match.
    pub fn new(scheme: Scheme, (outputs, inputs): (usize, usize), numbers: Tensor, scales: Tensor) -> Result<Self> {
        let expected = [outputs, scheme.row_bytes(inputs)];
        let groups = scheme.groups(inputs);
        let one = scheme.granularity == Granularity::Tensor;
        let fits = numbers.dtype() == DType::U8
            && numbers.dims() == expected
            && scales.dtype() == DType::F32
            && (if one { scales.elem_count() == 1 } else { scales.dims() == [outputs, groups] })
            && inputs.is_multiple_of(scheme.group_size(inputs).max(1))
            && numbers.device().same_device(scales.device());
        if inputs == 0 || outputs == 0 || !fits {
            candle_core::bail!(
                "a weight [{outputs}, {inputs}] of {scheme} has numbers {:?} and scales {:?}",
                numbers.shape(),
                scales.shape()
            )
        }
        Ok(Self { scheme, outputs, inputs, numbers: numbers.contiguous()?, scales: scales.contiguous()? })
    }

    /// Rounds the weight `[outputs, inputs]`; the numbers end up on its device.
    ///
    /// # Errors
    /// candle's error, for other shapes, widths that the groups do not divide, and values that are not finite.
    pub fn quantize(weight: &Tensor, scheme: Scheme) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        if inputs == 0 || !inputs.is_multiple_of(scheme.group_size(inputs).max(1)) {
            candle_core::bail!("rows of {inputs} weights do not divide into groups: {scheme}")
        }
        let values = weight.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        if values.iter().any(|x| !x.is_finite()) {
            candle_core::bail!("a weight with NaN or infinity cannot be rounded to a low-bit type")
        }
        let Quantized { numbers, scales } = quantize_rows(&scheme, &values, inputs, |scale| scale);
        let shape: &[usize] =
            if scheme.granularity == Granularity::Tensor { &[1] } else { &[outputs, scheme.groups(inputs)] };
        let numbers = Tensor::from_vec(numbers, (outputs, scheme.row_bytes(inputs)), weight.device())?;
        Self::new(scheme, (outputs, inputs), numbers, Tensor::from_vec(scales, shape, weight.device())?)
    }

    /// How it is stored.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `[outputs, inputs]`.
    pub fn dims(&self) -> (usize, usize) {
        (self.outputs, self.inputs)
    }

    /// Returns the bytes of numbers and scales in memory.
    pub fn bytes(&self) -> usize {
        self.numbers.elem_count() + 4 * self.scales.elem_count()
    }

    /// Returns the weight as floats: number · scale.
    ///
    /// # Errors
    /// candle's error, if the device fails.
    pub fn dequantize(&self, dtype: DType) -> Result<Tensor> {
        if matches!(dtype, DType::F32 | DType::BF16 | DType::F16) && self.numbers.device().is_cuda() {
            return cuda::dequantize(&self.call(), dtype);
        }
        let values = self.read(|rows| {
            let mut values = vec![0f32; self.outputs * self.inputs];
            let each = values.par_chunks_mut(self.inputs).enumerate();
            each.with_min_len(super::super::rows::per_task(self.inputs)).for_each(|(row, out)| {
                let (bytes, scales) = rows.at(row);
                decode::values(&self.scheme, bytes, scales, out);
            });
            Ok(values)
        })?;
        Tensor::from_vec(values, (self.outputs, self.inputs), &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(self.numbers.device())
    }

    /// Calls `work` with the rows in main memory.
    pub(super) fn read<R>(&self, work: impl FnOnce(WeightRows<'_>) -> Result<R>) -> Result<R> {
        let (numbers, numbers_at) = self.numbers.storage_and_layout();
        let (scales, scales_at) = self.scales.storage_and_layout();
        let (Storage::Cpu(numbers), Storage::Cpu(scales)) = (&*numbers, &*scales) else {
            candle_core::bail!("a quantized weight is not in main memory")
        };
        let (numbers, scales) = (numbers.as_slice::<u8>()?, scales.as_slice::<f32>()?);
        work(WeightRows {
            numbers: &numbers[numbers_at.start_offset()..],
            scales: &scales[scales_at.start_offset()..],
            bytes: self.scheme.row_bytes(self.inputs),
            groups: if self.scheme.granularity == Granularity::Tensor { 0 } else { self.scheme.groups(self.inputs) },
        })
    }

    /// What a kernel needs of it.
    pub(super) fn call(&self) -> cuda::LowBit<'_> {
        cuda::LowBit {
            numbers: &self.numbers,
            scales: &self.scales,
            scheme: self.scheme,
            dims: (self.outputs, self.inputs),
        }
    }
}

/// The rows of a weight in main memory.
#[derive(Clone, Copy)]
pub(super) struct WeightRows<'a> {
    numbers: &'a [u8],
    scales: &'a [f32],
    bytes: usize,
    /// Scales of a row; 0 if all rows share one.
    groups: usize,
}

impl<'a> WeightRows<'a> {
    /// Numbers and scales of a row.
    #[inline(always)]
    pub(super) fn at(&self, row: usize) -> (&'a [u8], &'a [f32]) {
        let scales =
            if self.groups == 0 { &self.scales[..1] } else { &self.scales[row * self.groups..][..self.groups] };
        (&self.numbers[row * self.bytes..][..self.bytes], scales)
    }
}
