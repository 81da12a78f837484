//! Names of devices, the candle devices that they stand for, and their memory. Only this module knows which are compiled in.

use crate::diagnostic::{Diagnose, Diagnostic, foreign};
use crate::memory::{self, after_colon, kibibytes};
#[cfg(feature = "cuda")]
use crate::ops::cuda::driver;

/// Where tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// Nowhere: shapes only, nothing is allocated.
    #[default]
    Meta,
    /// Main memory.
    Cpu,
    /// A CUDA GPU by its number.
    Cuda(usize),
}

/// A device name that is unknown, or not available on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct DeviceError {
    name: String,
    problem: String,
    advice: String,
}

impl Diagnose for DeviceError {
    fn diagnostic(&self) -> Diagnostic {
        let Self { name, problem, advice } = self;
        Diagnostic::new(format!("device `{name}` {problem}")).at("--device").advise(advice)
    }
}

/// A model that does not fit into a device's memory, as far as that is known before it is tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct NotEnoughMemory {
    /// What needs how much memory.
    what: String,
    left: u64,
    limit: &'static str,
    device: String,
    advice: String,
}

impl Diagnose for NotEnoughMemory {
    fn diagnostic(&self) -> Diagnostic {
        let Self { what, left, limit, device, advice } = self;
        let left = memory::in_words(*left);
        Diagnostic::new(format!("{what}, and {left} of memory is left {limit}"))
            .at(format_args!("--device {device}"))
            .advise(advice)
    }
}

/// What a device's memory holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What can still be allocated. On a GPU, memory of other processes is not free.
    pub free: u64,
    /// The memory of the device.
    pub total: u64,
}

impl Device {
    /// Reads `meta`, `cpu`, `cuda` or `cuda:N`.
    ///
    /// # Errors
    /// [`DeviceError`] for any other word.
    pub fn parse(name: &str) -> Result<Self, DeviceError> {
        let cuda = name
            .strip_prefix("cuda")
            .map(|rest| rest.strip_prefix(':').unwrap_or(if rest.is_empty() { "0" } else { rest }));
        match (name, cuda.map(str::parse)) {
            ("meta", _) => Ok(Device::Meta),
            ("cpu", _) => Ok(Device::Cpu),
            (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
            _ => Err(DeviceError {
                name: name.to_owned(),
                problem: "is not known".to_owned(),
                advice: "use meta, cpu, cuda or cuda:N".to_owned(),
            }),
        }
    }

    /// Returns the candle device. A GPU is opened once: later calls return the same candle device, so that tensors made
    /// through different calls can be used together.
    ///
    /// # Errors
    /// [`DeviceError`] for `meta`, which holds no tensors, and for GPUs that this build or machine does not have.
    pub fn open(self) -> Result<candle_core::Device, DeviceError> {
        match self {
            Device::Meta => Err(self.refused("holds no tensors", "use cpu or cuda")),
            Device::Cpu => Ok(candle_core::Device::Cpu),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(self.refused(
                "is not compiled into this build",
                "use cpu, or build with `--features chandlery-kernel/cuda`",
            )),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => driver::open(number).map_err(|fault| self.refused(&fault.problem, fault.advice)),
        }
    }

    /// Returns the CPU and the GPUs that this build can use on this machine; without the GPUs if there is an
    /// [obstacle](Device::obstacle).
    pub fn present() -> Vec<Device> {
        #[cfg(feature = "cuda")]
        let gpus = driver::count().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        let gpus = 0;
        std::iter::once(Device::Cpu).chain((0..gpus).map(Device::Cuda)).collect()
    }

    /// Returns whether this build can use GPUs, if the machine has any.
    pub fn has_cuda() -> bool {
        cfg!(feature = "cuda")
    }

    /// Why this build finds no GPU on this machine, continuing "CUDA ..."; `None` if it finds one.
    pub fn obstacle() -> Option<String> {
        #[cfg(feature = "cuda")]
        return match driver::count() {
            Ok(0) => Some("finds no GPU".to_owned()),
            Ok(_) => None,
            Err(fault) => Some(fault.problem),
        };
        #[cfg(not(feature = "cuda"))]
        Some("is not compiled into this build".to_owned())
    }

    /// Returns the manufacturer's name of it, where the system knows it.
    pub fn model_name(self) -> Option<String> {
        match self {
            Device::Meta => None,
            Device::Cpu => after_colon("/proc/cpuinfo", "model name"),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => driver::model_name(number),
        }
    }

    /// Checks that the device has enough memory left, if the system knows it. `what` says what needs how much, such as
    /// `the weights take 3 GiB`.
    ///
    /// # Errors
    /// [`NotEnoughMemory`].
    pub fn require(self, needed: u64, what: &str, advice: &str) -> Result<(), NotEnoughMemory> {
        let (left, limit) = match self {
            Device::Cpu => match memory::left(true) {
                Some(left) => (left.bytes, left.limit),
                None => return Ok(()),
            },
            _ => match self.memory() {
                Some(memory) => (memory.free, "on this device"),
                None => return Ok(()),
            },
        };
        if needed <= left {
            return Ok(());
        }
        let (what, device, advice) = (what.to_owned(), self.to_string(), advice.to_owned());
        Err(NotEnoughMemory { what, left, limit, device, advice })
    }

    /// Free and total memory in bytes, where the system knows it. For the CPU, free is what new allocations can take
    /// without swapping, within the limits of the container and of this process.
    pub fn memory(self) -> Option<DeviceMemory> {
        match self {
            Device::Meta => None,
            Device::Cpu => {
                Some(DeviceMemory { free: memory::left(false)?.bytes, total: kibibytes("/proc/meminfo", "MemTotal")? })
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => driver::memory(number).map(|(free, total)| DeviceMemory { free, total }),
        }
    }

    /// Resets [`Device::peak_memory`] to what is held now. Where the system cannot reset it, the peak stays that of the whole
    /// process.
    pub fn reset_peak_memory(self) {
        match self {
            Device::Meta => {}
            Device::Cpu => {
                // 5 makes Linux forget the largest resident size so far; a system that refuses keeps counting.
                let _ = std::fs::write("/proc/self/clear_refs", "5");
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => {}
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => driver::reset_peak_memory(number),
        }
    }

    /// The most memory in bytes that this process held at once since [`Device::reset_peak_memory`]: resident memory of
    /// the CPU, tensors of a GPU (without the driver's own few hundred MB).
    pub fn peak_memory(self) -> Option<u64> {
        match self {
            Device::Meta => None,
            Device::Cpu => kibibytes("/proc/self/status", "VmHWM"),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => driver::peak_memory(number),
        }
    }

    /// Waits until the device has finished its work; work on a GPU is asynchronous.
    ///
    /// # Errors
    /// [`DeviceError`] if the device is not there or a computation failed on it.
    pub fn synchronize(self) -> Result<(), DeviceError> {
        match self {
            Device::Meta | Device::Cpu => Ok(()),
            Device::Cuda(_) => self.open()?.synchronize().map_err(|error| {
                let problem = format!("failed at a computation: {}", foreign::first_line(&error));
                self.refused(&problem, "run again with CUDA_LAUNCH_BLOCKING=1 to see which")
            }),
        }
    }

    fn refused(self, problem: &str, advice: &str) -> DeviceError {
        DeviceError { name: self.to_string(), problem: problem.to_owned(), advice: advice.to_owned() }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Meta => f.write_str("meta"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_knows_its_memory_and_its_peak() {
        let memory = Device::Cpu.memory().unwrap();
        assert!(memory.free > 0 && memory.free <= memory.total, "{memory:?}");
        Device::Cpu.reset_peak_memory();
        let block = vec![1u8; 512 << 20];
        assert!(std::hint::black_box(&block).iter().step_by(4096).all(|&byte| byte == 1));
        let with_block = Device::Cpu.peak_memory().unwrap();
        drop(block);
        Device::Cpu.reset_peak_memory();
        let without = Device::Cpu.peak_memory().unwrap();
        assert!(with_block >= 512 << 20 && without < with_block, "{with_block} then {without}");
    }

    #[test]
    fn the_cpu_is_present_first_and_gpus_are_absent_with_a_reason() {
        let present = Device::present();
        assert_eq!(present[0], Device::Cpu);
        assert_eq!(present.len() == 1, Device::obstacle().is_some());
        let next = Device::Cuda(present.len() - 1);
        assert_eq!(next.memory(), None);
        assert!(next.open().unwrap_err().to_string().contains("where: --device"));
    }

    #[test]
    fn meta_holds_nothing() {
        assert_eq!((Device::Meta.memory(), Device::Meta.peak_memory()), (None, None));
        assert!(Device::Meta.open().is_err());
        assert!(Device::Meta.synchronize().is_ok());
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn memory_on_a_gpu_is_told() {
        let device = Device::Cuda(0);
        let here = device.open().unwrap();
        device.synchronize().unwrap();
        device.reset_peak_memory();
        let (before, peak) = (device.memory().unwrap(), device.peak_memory().unwrap());
        let block = candle_core::Tensor::zeros(64 << 20, candle_core::DType::F32, &here).unwrap();
        device.synchronize().unwrap();
        assert!(device.peak_memory().unwrap() >= peak + (256 << 20));
        assert!(device.memory().unwrap().free <= before.free - (200 << 20));
        drop(block);
        device.synchronize().unwrap();
        assert!(device.memory().unwrap().free >= before.free - (32 << 20));
        assert!(device.model_name().is_some_and(|name| !name.is_empty()));
    }

    /// Logits of a small model relative to the largest, and the text that it generates.
    #[test]
    #[ignore = "needs a GPU"]
    fn models_on_a_gpu_give_the_cpus_logits_and_text() {
        use crate::model::Batch;
        use crate::ops::AttentionImplementation;
        use crate::spec::DType;
        let project = crate::project::project("llama").unwrap();
        // Heads of 64, which have a kernel of their own, and of 32, which have none.
        for heads in [4, 8] {
            let config = project.config("4M").unwrap().set("num_attention_heads", heads).unwrap();
            let config = config.set("num_key_value_heads", 2).unwrap();
            let build = |device: Device, dtype: DType| config.construct().on(device).dtype(dtype).build().unwrap();
            let prompt: Vec<u32> = (0..40).map(|place| place * 37 % 1000).collect();
            let exact = build(Device::Cpu, DType::F32).model.unwrap();
            let logits = |model: &crate::model::CausalLm| -> Vec<f32> {
                let logits = model.forward(&Batch::new(vec![prompt.clone(), prompt.clone()]).unwrap()).unwrap();
                logits.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            let expected = logits(&exact);
            let largest = expected.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
            let text = exact.generate_greedy(&prompt, 24, &[]).unwrap();
            for attention in AttentionImplementation::ALL {
                for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::BF16, 4e-2)] {
                    let model = crate::model::CausalLm::clone(&build(Device::Cuda(0), dtype).model.unwrap())
                        .with_attention(attention);
                    let found = logits(&model);
                    let differences = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
                    let error = differences.fold(0.0f32, f32::max) / largest;
                    assert!(error <= tolerance, "{attention} {dtype:?}, {heads} heads: {error:e}");
                    let made = model.generate_greedy(&prompt, 24, &[]).unwrap();
                    // Rounding to bfloat16 may prefer another of two tokens that are nearly as probable.
                    assert!(made.len() == 24 && (dtype == DType::BF16 || made == text), "{attention}: {made:?}");
                }
            }
        }
    }
}
