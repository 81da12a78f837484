//! Operands and launches of our kernels.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, Storage, Tensor};
use half::{bf16, f16};

use super::Operand;
use super::quantized::Stored;

/// The kernels as text for the driver's compiler, made by nvcc when this crate is built.
const ROWS: &str = include_str!(concat!(env!("OUT_DIR"), "/rows.ptx"));
const FLASH: &str = include_str!(concat!(env!("OUT_DIR"), "/flash.ptx"));
const QUANTIZED: &str = include_str!(concat!(env!("OUT_DIR"), "/quantized.ptx"));

/// Bytes of shared memory that every kernel may have without asking, with room for what kernels declare themselves.
const UNASKED: usize = 40 << 10;

/// One parameter of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// An address on the device; 0 for none.
    At(u64),
    Int(usize),
    Long(usize),
    Real(f64),
    Visible(Visible),
    Flash(Flash),
    FewBits(Stored),
}

/// `struct Visible` of `rows.cu`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Visible {
    pub(super) padded: u64,
    pub(super) documents: u64,
    pub(super) seen: i32,
    pub(super) window: i32,
    pub(super) causal: i32,
}

/// `struct Flash` of `flash.cu`; strides are of (batch, head, row), in elements.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Flash {
    pub(super) q: [i64; 3],
    pub(super) k: [i64; 3],
    pub(super) v: [i64; 3],
    pub(super) g: [i64; 3],
    pub(super) padded: u64,
    pub(super) documents: u64,
    pub(super) slopes: u64,
    pub(super) heads: i32,
    pub(super) kv_heads: i32,
    pub(super) queries: i32,
    pub(super) keys: i32,
    pub(super) seen: i32,
    pub(super) window: i32,
    pub(super) causal: i32,
    pub(super) scale: f32,
}

// SAFETY: plain numbers in C's layout, passed by value.
unsafe impl DeviceRepr for Visible {}
// SAFETY: as above.
unsafe impl DeviceRepr for Flash {}
// SAFETY: as above.
unsafe impl DeviceRepr for Stored {}

/// How many threads run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) blocks: (usize, usize, usize),
    pub(super) threads: (usize, usize),
    /// Bytes of dynamic shared memory of a block.
    pub(super) shared: usize,
}

impl Extent {
    /// One block for each of `blocks`, with threads for rows of `width` elements at eight a thread.
    pub(super) fn rows(blocks: usize, width: usize) -> Self {
        let threads = (width.div_ceil(256) * 32).clamp(32, 1024);
        Self { blocks: (blocks, 1, 1), threads: (threads, 1), shared: 0 }
    }

    /// Blocks enough to fill any GPU, for a loop over `count` things.
    pub(super) fn elements(count: usize) -> Self {
        Self { blocks: (count.div_ceil(256).clamp(1, 2112), 1, 1), threads: (256, 1), shared: 0 }
    }

    pub(super) fn with_shared(self, shared: usize) -> Self {
        Self { shared, ..self }
    }
}

/// Starts `kernel` of `rows.cu`, or of `flash.cu` or `quantized.cu` if its name says so, on the device's stream.
///
/// The addresses among the arguments must be those of operands that live until the call returns: what frees them later
/// does so behind the kernel, on the same stream.
///
/// # Errors
/// The driver's refusal.
pub(super) fn launch(device: &CudaDevice, kernel: &str, extent: Extent, arguments: &[Argument]) -> Result<()> {
    if extent.blocks.0 == 0 || extent.blocks.1 == 0 || extent.blocks.2 == 0 {
        return Ok(());
    }
    let (module, text) = match kernel {
        _ if kernel.starts_with("flash") => ("chandlery-flash", FLASH),
        _ if kernel.starts_with("quantized") => ("chandlery-quantized", QUANTIZED),
        _ => ("chandlery-rows", ROWS),
    };
    let function = device.get_or_load_custom_func(kernel, module, text)?;
    if extent.shared > UNASKED {
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most, extent.shared as i32).w()?;
    }
    // The kernels' own types; `builder` keeps references.
    let ints: Vec<i32> =
        arguments.iter().map(|a| if let Argument::Int(value) = a { *value as i32 } else { 0 }).collect();
    let longs: Vec<i64> =
        arguments.iter().map(|a| if let Argument::Long(value) = a { *value as i64 } else { 0 }).collect();
    let reals: Vec<f32> =
        arguments.iter().map(|a| if let Argument::Real(value) = a { *value as f32 } else { 0.0 }).collect();
    let mut builder = function.builder();
    for (index, argument) in arguments.iter().enumerate() {
        match argument {
            Argument::At(address) => builder.arg(address),
            Argument::Int(_) => builder.arg(&ints[index]),
            Argument::Long(_) => builder.arg(&longs[index]),
            Argument::Real(_) => builder.arg(&reals[index]),
            Argument::Visible(visible) => builder.arg(visible),
            Argument::Flash(flash) => builder.arg(flash),
            Argument::FewBits(stored) => builder.arg(stored),
        };
    }
    let configuration = LaunchConfig {
        grid_dim: (extent.blocks.0 as u32, extent.blocks.1 as u32, extent.blocks.2 as u32),
        block_dim: (extent.threads.0 as u32, extent.threads.1 as u32, 1),
        shared_mem_bytes: extent.shared as u32,
    };
    // SAFETY: the callers in this folder give each kernel the parameters that its definition names, with addresses of
    // operands whose sizes they checked.
    unsafe { builder.launch(configuration) }.w()?;
    Ok(())
}

/// The kernels' suffix for an element type.
pub(super) fn suffix(dtype: DType, op: &'static str) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        DType::F16 => Ok("f16"),
        other => Err(Error::UnsupportedDTypeForOp(other, op).bt()),
    }
}

/// The address of an operand's first element.
pub(super) fn address((storage, layout): Operand<'_>) -> u64 {
    let stream = storage.device.cuda_stream();
    macro_rules! first {
        ($($kind:ident)*) => {
            match &storage.slice {
                $(CudaStorageSlice::$kind(slice) => slice.device_ptr(&stream).0,)*
            }
        };
    }
    let start = first!(U8 U32 I16 I32 I64 BF16 F16 F32 F64 F8E4M3 F6E2M3 F6E3M2 F4 F8E8M0);
    start + (layout.start_offset() * storage.dtype().size_in_bytes()) as u64
}

/// The same of an operand that must be contiguous and of this type.
pub(super) fn contiguous(operand: Operand<'_>, dtype: DType, op: &'static str) -> Result<Argument> {
    let (storage, layout) = operand;
    if storage.dtype() != dtype {
        return Err(Error::DTypeMismatchBinaryOp { lhs: dtype, rhs: storage.dtype(), op }.bt());
    }
    if !layout.is_contiguous() {
        return Err(Error::RequiresContiguous { op }.bt());
    }
    Ok(Argument::At(address(operand)))
}

/// The address of a whole new storage.
pub(super) fn whole(storage: &CudaStorage) -> Argument {
    Argument::At(address((storage, &Layout::contiguous(Shape::from(())))))
}

/// Memory for `count` elements, not written yet.
pub(super) fn empty(device: &CudaDevice, dtype: DType, count: usize) -> Result<CudaStorage> {
    macro_rules! of {
        ($kind:ident, $element:ty) => {
            // SAFETY: numbers, for which every bit pattern is a value; the caller's kernel writes all of them.
            CudaStorageSlice::$kind(unsafe { device.alloc::<$element>(count.max(1)) }?)
        };
    }
    let slice = match dtype {
        DType::F32 => of!(F32, f32),
        DType::BF16 => of!(BF16, bf16),
        DType::F16 => of!(F16, f16),
        DType::I32 => of!(I32, i32),
        DType::U8 => of!(U8, u8),
        other => return Err(Error::UnsupportedDTypeForOp(other, "allocation").bt()),
    };
    Ok(CudaStorage { slice, device: device.clone() })
}

/// A tensor outside any graph.
pub(super) fn tensor(storage: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, candle_core::op::BackpropOp::none(), false)
}

/// Calls `work` with the operand that a tensor is.
pub(super) fn with<R>(tensor: &Tensor, work: impl FnOnce(Operand<'_>) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => work((storage, layout)),
        _ => candle_core::bail!("operands on different devices: one is not on the GPU"),
    }
}
