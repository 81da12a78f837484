//! What the kernel's processes and the machine use.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jupyter_protocol::ReplyStatus;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::handler::MonitorHandler;
use super::messages::{HostMemory, UsageReply, UsageRequest};
use super::refusal::Refusal;

/// Measures usage. Processor time is measured from one reading to the next, so the first reading has none.
#[derive(Default)]
pub(super) struct UsageMeter(Mutex<System>);

impl MonitorHandler for UsageMeter {
    fn usage(&self, _request: UsageRequest) -> Result<UsageReply, Refusal> {
        Ok(self.read())
    }
}

impl UsageMeter {
    /// Returns the usage of now.
    fn read(&self) -> UsageReply {
        let mut system = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        system.refresh_memory();
        system.refresh_cpu_usage();
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let own = descendants(&system, Pid::from_u32(std::process::id()));
        let processes = || own.iter().filter_map(|pid| system.process(*pid));
        let (total, available) = (system.total_memory(), system.available_memory());
        UsageReply {
            status: ReplyStatus::Ok,
            hostname: System::host_name().unwrap_or_default(),
            pid: std::process::id(),
            kernel_cpu: processes().map(sysinfo::Process::cpu_usage).sum(),
            kernel_memory: processes().map(sysinfo::Process::memory).sum(),
            cpu_count: system.cpus().len(),
            host_cpu_percent: system.global_cpu_usage(),
            host_virtual_memory: HostMemory {
                total,
                available,
                used: system.used_memory(),
                free: system.free_memory(),
                percent: 100.0 * total.saturating_sub(available) as f64 / total.max(1) as f64,
            },
        }
    }
}

/// Returns a process and all that it, or one of those, started.
fn descendants(system: &System, ancestor: Pid) -> HashSet<Pid> {
    let mut found = HashSet::from([ancestor]);
    loop {
        let children = system.processes().iter().filter(|(pid, process)| {
            !found.contains(*pid) && process.parent().is_some_and(|parent| found.contains(&parent))
        });
        let children: Vec<Pid> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            return found;
        }
        found.extend(children);
    }
}
