//! Names of devices, and the candle devices they stand for. The only place that knows which are compiled in.

/// Where tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Device {
    /// Nowhere: shapes only, nothing is allocated.
    #[default]
    Meta,
    /// Main memory.
    Cpu,
    /// A CUDA GPU by its number.
    Cuda(usize),
}

/// A device name that means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device `{name}` {problem}\n  where: --device\n  do: {advice}")]
pub struct DeviceError {
    name: String,
    problem: String,
    advice: String,
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

    /// The candle device.
    ///
    /// # Errors
    /// [`DeviceError`] for `meta`, which holds no tensors, and for GPUs that this build or machine does not have.
    pub fn open(self) -> Result<candle_core::Device, DeviceError> {
        let refuse = |problem: String, advice: &str| {
            Err(DeviceError { name: self.to_string(), problem, advice: advice.to_owned() })
        };
        match self {
            Device::Meta => refuse("holds no tensors".to_owned(), "use cpu or cuda"),
            Device::Cpu => Ok(candle_core::Device::Cpu),
            Device::Cuda(_) if !candle_core::utils::cuda_is_available() => {
                refuse("is not compiled into this build".to_owned(), "use cpu")
            }
            Device::Cuda(number) => match candle_core::Device::new_cuda(number) {
                Ok(device) => Ok(device),
                Err(error) => refuse(format!("cannot be opened: {error}"), "check nvidia-smi, or use cpu"),
            },
        }
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
