//! A value that was computed outside candle's graph, with a closure as its backward.

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Storage, Tensor};

/// From the arguments and the gradient of the value to the gradients of the arguments.
pub(super) type Backward = Box<dyn Fn(&[&Tensor], &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

pub(super) struct PrecomputedOp {
    name: &'static str,
    /// Taken by the only forward.
    value: Mutex<Option<Tensor>>,
    backward: Backward,
}

impl PrecomputedOp {
    pub(super) fn new(name: &'static str, value: &Tensor, backward: Backward) -> Result<Self> {
        Ok(Self { name, value: Mutex::new(Some(value.detach().contiguous()?)), backward })
    }

    fn take(&self) -> Result<Tensor> {
        let value = self.value.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        value.ok_or_else(|| Error::Msg(format!("{}: the value was taken before", self.name)).bt())
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            // Alone in its storage, or the elements before it would come too.
            Storage::Cpu(storage) if layout.start_offset() == 0 => Ok((storage.clone(), layout.shape().clone())),
            _ => Err(Error::Msg(format!("{}: the value is elsewhere", self.name)).bt()),
        }
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) if layout.start_offset() == 0 => {
                Ok((storage.try_clone(layout)?, layout.shape().clone()))
            }
            _ => Err(Error::Msg(format!("{}: the value is elsewhere", self.name)).bt()),
        }
    }
}

impl CustomOp1 for PrecomputedOp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok((self.backward)(&[a], g)?.into_iter().next().flatten())
    }
}

impl CustomOp2 for PrecomputedOp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = (self.backward)(&[a, b], g)?.into_iter();
        Ok((gradients.next().flatten(), gradients.next().flatten()))
    }
}
