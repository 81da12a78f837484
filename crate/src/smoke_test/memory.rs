//! Peak memory of a run.

use crate::device::Device;

/// Watches host and device from its start.
pub(super) struct Watch(Device);

impl Watch {
    pub(super) fn start(device: Device) -> Self {
        Device::Cpu.reset_peak_memory();
        device.reset_peak_memory();
        Self(device)
    }

    /// Of the host, and of the device if that is another, in bytes, where they tell.
    pub(super) fn peaks(&self) -> (Option<u64>, Option<u64>) {
        let device = if self.0 == Device::Cpu { None } else { self.0.peak_memory() };
        (Device::Cpu.peak_memory(), device)
    }
}
