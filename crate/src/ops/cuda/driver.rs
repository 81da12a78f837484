//! GPUs as the driver sees them: opening, names, memory.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};

use crate::diagnostic::foreign;

/// Why a GPU cannot be used: a line, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Continues "device `cuda:0` ...".
    pub(crate) problem: String,
    /// Continues "do: ...".
    pub(crate) advice: &'static str,
}

/// Returns the number of GPUs. Every function here asks for it first, because that finds the driver.
///
/// # Errors
/// [`Fault`] if the machine lacks the driver.
pub(crate) fn count() -> Result<usize, Fault> {
    super::libraries::load()?;
    let count = CudaContext::device_count().map_err(|error| {
        let said =
            error.error_string().map_or_else(|_| format!("{error:?}"), |said| said.to_string_lossy().into_owned());
        Fault { problem: format!("cannot be used: the driver says \"{said}\""), advice: "check nvidia-smi, or use cpu" }
    })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

static OPEN: Mutex<BTreeMap<usize, candle_core::Device>> = Mutex::new(BTreeMap::new());

/// Returns the one candle device of a GPU.
///
/// All work of all threads goes into one stream of its own, in the order of the calls. That makes candle's events,
/// two for each tensor, unnecessary: they would order the work of several streams. Memory that tensors freed stays
/// with the process, because returning it to the driver and requesting it again at each synchronization costs more than a
/// small model's step.
///
/// # Errors
/// [`Fault`] for a number that no GPU has, and the driver's error.
pub(crate) fn open(number: usize) -> Result<candle_core::Device, Fault> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&number) {
        return Ok(device.clone());
    }
    let count = count()?;
    if number >= count {
        let (problem, advice) = (format!("is not there: this machine has {count}"), "use a lower number, or cpu");
        return Err(Fault { problem, advice });
    }
    let device = candle_core::Device::new_cuda_with_stream(number).map_err(|error| {
        let problem = format!("cannot be opened: {}", foreign::first_line(&error));
        Fault { problem, advice: "check nvidia-smi, or use cpu" }
    })?;
    if let candle_core::Device::Cuda(cuda) = &device {
        // SAFETY: all work of this device goes into one stream, the one made here; nothing is left to order.
        unsafe { cuda.disable_event_tracking() };
    }
    keep_freed_memory(number);
    open.insert(number, device.clone());
    Ok(device)
}

/// Returns the manufacturer's name of it.
pub(crate) fn model_name(number: usize) -> Option<String> {
    count().ok().filter(|&count| number < count)?;
    result::device::get_name(result::device::get(number as i32).ok()?).ok()
}

/// Returns free and total bytes. What freed tensors left with the process counts as free.
pub(crate) fn memory(number: usize) -> Option<(u64, u64)> {
    count().ok().filter(|&count| number < count)?;
    let (free, total) = CudaContext::new(number).ok()?.mem_get_info().ok()?;
    let reserved = attribute(number, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = attribute(number, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Some((free as u64 + reserved.saturating_sub(used), total as u64))
}

/// Resets the high-water mark of the tensors' memory.
pub(crate) fn reset_peak_memory(number: usize) {
    // Zero is the only value that the driver takes here; it means the current use.
    set_attribute(number, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
}

/// Returns the high-water mark in bytes.
pub(crate) fn peak_memory(number: usize) -> Option<u64> {
    attribute(number, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

fn keep_freed_memory(number: usize) {
    set_attribute(number, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
}

/// Returns the pool that every tensor of the device is allocated from.
fn pool(number: usize) -> Option<sys::CUmemoryPool> {
    count().ok().filter(|&count| number < count)?;
    let device = result::device::get(number as i32).ok()?;
    // SAFETY: the device was just given by the driver.
    unsafe { result::device::get_mem_pool(device) }.ok()
}

/// Reads one of the pool's 64-bit attributes.
fn attribute(number: usize, which: sys::CUmemPool_attribute) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the pool is the driver's own, and the attributes named in this file are 64 bits wide.
    unsafe { result::mem_pool::get_attribute(pool(number)?, which, (&raw mut value).cast::<c_void>()) }.ok()?;
    Some(value)
}

/// Sets one of the pool's 64-bit attributes; it does not change if the driver refuses.
fn set_attribute(number: usize, which: sys::CUmemPool_attribute, mut value: u64) {
    if let Some(pool) = pool(number) {
        // SAFETY: as in `attribute`.
        let _ = unsafe { result::mem_pool::set_attribute(pool, which, (&raw mut value).cast::<c_void>()) };
    }
}
