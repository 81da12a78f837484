//! Operands and launches of our kernels.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, Storage, Tensor};
use half::{bf16, f16};

use super::Operand;
use super::quantized::Stored;
use crate::diagnostic::Diagnostic;

/// The kernels as text for the driver's compiler, made by nvcc when this crate is built.
const ROWS: &str = include_str!(concat!(env!("OUT_DIR"), "/rows.ptx"));
const FLASH: &str = include_str!(concat!(env!("OUT_DIR"), "/flash.ptx"));
const DELTA: &str = include_str!(concat!(env!("OUT_DIR"), "/delta.ptx"));
const GROUPED: &str = include_str!(concat!(env!("OUT_DIR"), "/grouped.ptx"));
const ROUTER: &str = include_str!(concat!(env!("OUT_DIR"), "/router.ptx"));
const QUANTIZED: &str = include_str!(concat!(env!("OUT_DIR"), "/quantized.ptx"));

/// Bytes of shared memory that every kernel may have without asking, with room for what kernels declare themselves.
const UNASKED: usize = 40 << 10;

/// Where an operand begins: an address on the device that holds it, and the operand's shape for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer<'a> {
    address: u64,
    device: DeviceId,
    shape: Option<&'a Shape>,
}

impl Pointer<'_> {
    /// Returns the same place, with the shape that messages name.
    pub(super) fn of_shape<'a>(&self, shape: Option<&'a Shape>) -> Pointer<'a> {
        Pointer { address: self.address, device: self.device, shape }
    }

    /// Returns the address, for a kernel that runs on `device`.
    ///
    /// # Errors
    /// An operand of another device, or of the same GPU opened again: its work is in another stream, which is not ordered with
    /// this one.
    pub(super) fn on(&self, device: &CudaDevice) -> Result<u64> {
        if self.device == device.id() {
            return Ok(self.address);
        }
        let shape = self.shape.map_or_else(String::new, |shape| format!(" {:?}", shape.dims()));
        let (mine, other) = (self.device, device.id());
        let what =
            format!("operands on different devices: an operand{shape} is on {mine:?} and the kernel runs on {other:?}");
        let advice = "move it there with `to_device`, from one opening of the GPU";
        candle_core::bail!("{}", Diagnostic::new(what).advise(advice))
    }
}

/// One parameter of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument<'a> {
    At(Pointer<'a>),
    /// An address of the kernel's device.
    Address(u64),
    /// No address.
    Null,
    /// A size; kernels count in 32 bits.
    Int(usize),
    Long(usize),
    Real(f64),
    Visible(Visible),
    Flash(Flash),
    LowBit(Stored),
}

/// `struct Visible` of `rows.cu`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Visible {
    pub(super) padded: u64,
    pub(super) documents: u64,
    pub(super) past_len: i32,
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
    pub(super) sinks: u64,
    pub(super) heads: i32,
    pub(super) kv_heads: i32,
    pub(super) queries: i32,
    pub(super) keys: i32,
    pub(super) past_len: i32,
    pub(super) window: i32,
    pub(super) causal: i32,
    pub(super) scale: f32,
    pub(super) cap: f32,
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

/// Starts `kernel` on the device's stream: one of `rows.cu`, or of the file that its name begins with.
///
/// The addresses among the arguments must be those of operands that live until the call returns: what frees them later
/// does so behind the kernel, on the same stream.
///
/// # Errors
/// An operand of another device, a size that the kernel's own types cannot hold, and the driver's error.
pub(super) fn launch(device: &CudaDevice, kernel: &str, extent: Extent, arguments: &[Argument<'_>]) -> Result<()> {
    if extent.blocks.0 == 0 || extent.blocks.1 == 0 || extent.blocks.2 == 0 {
        return Ok(());
    }
    let (module, text) = match kernel {
        _ if kernel.starts_with("flash") => ("chandlery-flash", FLASH),
        _ if kernel.starts_with("delta") => ("chandlery-delta", DELTA),
        _ if kernel.starts_with("grouped") => ("chandlery-grouped", GROUPED),
        _ if kernel.starts_with("router_") => ("chandlery-router", ROUTER),
        _ if kernel.starts_with("quantized") => ("chandlery-quantized", QUANTIZED),
        _ => ("chandlery-rows", ROWS),
    };
    let function = device.get_or_load_custom_func(kernel, module, text)?;
    if extent.shared > UNASKED {
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most, narrow(extent.shared, kernel, arguments)?).w()?;
    }
    // The kernels' own types; `builder` keeps references.
    let values = arguments.iter().map(|argument| Passed::of(argument, device, kernel, arguments));
    let values = values.collect::<Result<Vec<Passed>>>()?;
    let mut builder = function.builder();
    for value in &values {
        match value {
            Passed::Address(address) => builder.arg(address),
            Passed::Int(value) => builder.arg(value),
            Passed::Long(value) => builder.arg(value),
            Passed::Real(value) => builder.arg(value),
            Passed::Visible(visible) => builder.arg(visible),
            Passed::Flash(flash) => builder.arg(flash),
            Passed::LowBit(stored) => builder.arg(stored),
        };
    }
    let (x, y, z) = extent.blocks;
    let configuration = LaunchConfig {
        grid_dim: (narrow(x, kernel, arguments)?, blocks(y, kernel, arguments)?, blocks(z, kernel, arguments)?),
        block_dim: (narrow(extent.threads.0, kernel, arguments)?, narrow(extent.threads.1, kernel, arguments)?, 1),
        shared_mem_bytes: narrow(extent.shared, kernel, arguments)?,
    };
    // SAFETY: the callers in this folder give each kernel the parameters that its definition names, with addresses of
    // operands whose sizes they checked.
    unsafe { builder.launch(configuration) }.w()?;
    Ok(())
}

/// A parameter in the kernel's own type.
enum Passed {
    Address(u64),
    Int(i32),
    Long(i64),
    Real(f32),
    Visible(Visible),
    Flash(Flash),
    LowBit(Stored),
}

impl Passed {
    fn of(argument: &Argument<'_>, device: &CudaDevice, kernel: &str, all: &[Argument<'_>]) -> Result<Self> {
        Ok(match argument {
            Argument::At(pointer) => Passed::Address(pointer.on(device)?),
            Argument::Address(address) => Passed::Address(*address),
            Argument::Null => Passed::Address(0),
            Argument::Int(value) => Passed::Int(narrow(*value, kernel, all)?),
            Argument::Long(value) => Passed::Long(narrow(*value, kernel, all)?),
            Argument::Real(value) => Passed::Real(*value as f32),
            Argument::Visible(visible) => Passed::Visible(*visible),
            Argument::Flash(flash) => Passed::Flash(*flash),
            Argument::LowBit(stored) => Passed::LowBit(*stored),
        })
    }
}

/// A size in a type of the kernel's that may be too small for it. Sizes of grids are at most `i32::MAX` too.
fn narrow<T: TryFrom<i64>>(size: usize, kernel: &str, arguments: &[Argument<'_>]) -> Result<T> {
    let narrowed = i64::try_from(size).ok().filter(|_| size_of::<T>() > 4 || size <= i32::MAX as usize);
    match narrowed.and_then(|size| T::try_from(size).ok()) {
        Some(size) => Ok(size),
        None => Err(too_large(size, kernel, &shapes(arguments))),
    }
}

/// Blocks along the second and third dimension of a grid.
fn blocks(count: usize, kernel: &str, arguments: &[Argument<'_>]) -> Result<u32> {
    match u16::try_from(count) {
        Ok(count) => Ok(count.into()),
        Err(_) => Err(too_large(count, kernel, &shapes(arguments))),
    }
}

fn shapes<'a>(arguments: &[Argument<'a>]) -> Vec<&'a Shape> {
    arguments
        .iter()
        .filter_map(|argument| if let Argument::At(pointer) = argument { pointer.shape } else { None })
        .collect()
}

/// A size of an operand as the 32 bits that kernels count in.
///
/// # Errors
/// A size that does not fit, with the operand's shape.
pub(super) fn int(size: usize, kernel: &str, shape: &Shape) -> Result<i32> {
    i32::try_from(size).map_err(|_| too_large(size, kernel, &[shape]))
}

fn too_large(size: usize, kernel: &str, shapes: &[&Shape]) -> Error {
    let shapes: Vec<String> = shapes.iter().map(|shape| format!("{:?}", shape.dims())).collect();
    let operands = if shapes.is_empty() { String::new() } else { format!(" of operands {}", shapes.join(", ")) };
    let what = format!("{kernel}: the size {size}{operands} is more than a GPU kernel counts");
    Error::Msg(Diagnostic::new(what).advise("use a smaller batch or shorter sequences").to_string()).bt()
}

/// Returns the kernels' suffix for an element type.
pub(super) fn suffix(dtype: DType, op: &'static str) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        DType::F16 => Ok("f16"),
        other => Err(Error::UnsupportedDTypeForOp(other, op).bt()),
    }
}

/// Where an operand's first element is.
pub(super) fn pointer<'a>((storage, layout): Operand<'a>) -> Pointer<'a> {
    Pointer { address: address(storage, layout), device: storage.device.id(), shape: Some(layout.shape()) }
}

fn address(storage: &CudaStorage, layout: &Layout) -> u64 {
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

/// Like that, for an operand that must be contiguous and of this type.
pub(super) fn contiguous<'a>(operand: Operand<'a>, dtype: DType, op: &'static str) -> Result<Argument<'a>> {
    let (storage, layout) = operand;
    if storage.dtype() != dtype {
        return Err(Error::DTypeMismatchBinaryOp { lhs: dtype, rhs: storage.dtype(), op }.bt());
    }
    if !layout.is_contiguous() {
        return Err(Error::RequiresContiguous { op }.bt());
    }
    Ok(Argument::At(pointer(operand)))
}

/// Where a tensor that lives as long as the argument is; it may have any strides.
pub(super) fn at<'a>(tensor: &'a Tensor, dtype: DType, op: &'static str) -> Result<Argument<'a>> {
    let pointer = with(tensor, |operand| {
        if operand.0.dtype() != dtype {
            return Err(Error::DTypeMismatchBinaryOp { lhs: dtype, rhs: operand.0.dtype(), op }.bt());
        }
        Ok(pointer(operand).of_shape(None))
    })?;
    Ok(Argument::At(pointer.of_shape(Some(tensor.shape()))))
}

/// Returns the address of a whole new storage.
pub(super) fn whole(storage: &CudaStorage) -> Argument<'static> {
    let address = address(storage, &Layout::contiguous(Shape::from(())));
    Argument::At(Pointer { address, device: storage.device.id(), shape: None })
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
        DType::U32 => of!(U32, u32),
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
