//! How fast the device multiplies matrices.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use crate::model::candle_dtype;
use crate::spec::DType;

/// Measured rates by device and type: a process measures each once.
static MEASURED: Mutex<Option<HashMap<(String, DType), f64>>> = Mutex::new(None);

/// Floating-point operations per second of a square matrix product in `dtype`: the best of a few, which is the ceiling
/// that a model made of such products could reach.
///
/// # Errors
/// The device's refusal.
pub(super) fn matmul_rate(device: &Device, dtype: DType) -> candle_core::Result<f64> {
    let key = (format!("{:?}", device.location()), dtype);
    let known = |rates: &Option<HashMap<_, f64>>| rates.as_ref().and_then(|rates| rates.get(&key).copied());
    if let Some(rate) = known(&MEASURED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())) {
        return Ok(rate);
    }
    // Large enough to be bound by arithmetic, small enough to take milliseconds.
    let side: usize = if device.is_cpu() { 1024 } else { 8192 };
    // Values vary, because GPUs draw less power, and run faster, on equal ones.
    let steps = (0..side).map(|step| (step as f32 * 0.7).sin()).collect::<Vec<_>>();
    let steps = Tensor::from_vec(steps, (side, 1), &Device::Cpu)?.to_device(device)?;
    let one = steps.broadcast_mul(&(&steps + 0.3)?.t()?)?.sin()?.to_dtype(candle_dtype(dtype))?;
    let mut best = Duration::MAX;
    let began = Instant::now();
    for round in 0..8 {
        let started = Instant::now();
        one.matmul(&one)?;
        device.synchronize()?;
        // The first product loads kernels and wakes threads.
        if round > 0 {
            best = best.min(started.elapsed());
            if began.elapsed() > Duration::from_millis(400) {
                break;
            }
        }
    }
    let rate = 2.0 * (side as f64).powi(3) / best.as_secs_f64().max(1e-9);
    let mut rates = MEASURED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    rates.get_or_insert_default().insert(key, rate);
    Ok(rate)
}
