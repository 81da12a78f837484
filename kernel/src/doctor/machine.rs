//! Checks disk, memory and GPU.

use std::path::{Path, PathBuf};

use chandlery::device::Device;

use super::{Check, Verdict};
use crate::cgroup::MemoryGroups;
use crate::system;

/// The memory for a worker with a small model and the compiler of the next cell.
const SPARE: u64 = 1 << 30;

pub(super) fn checks() -> Vec<Check> {
    vec![disk(&std::env::temp_dir()), memory(Path::new("/proc"), Path::new("/sys/fs/cgroup")), gpu()]
}

/// Checks the folder in which cells are compiled and from which they are loaded.
fn disk(folder: &Path) -> Check {
    const SUBJECT: &str = "disk";
    const ELSEWHERE: &str = "set `TMPDIR` to a folder that can be written to and run programs from";
    let bad = |verdict, found: String, fix| Check::bad(SUBJECT, verdict, found, fix);
    let shown = folder.display();
    if let Err(error) = writable(folder) {
        return bad(Verdict::Missing, format!("`{shown}` cannot be written to: {error}"), ELSEWHERE);
    }
    if system::forbids_programs(folder) {
        return bad(Verdict::Missing, format!("`{shown}` is mounted `noexec`, so cells cannot be loaded"), ELSEWHERE);
    }
    match system::free_bytes(folder) {
        Some(free) if free < SPARE => bad(
            Verdict::Advice,
            format!("{} MB free in `{shown}`", free >> 20),
            "cells are compiled there; make room, or set `TMPDIR` to a larger disk",
        ),
        Some(free) => Check::good(SUBJECT, format!("{} GB free in `{shown}`", free >> 30)),
        None => bad(Verdict::Missing, format!("`{shown}` cannot be used"), ELSEWHERE),
    }
}

fn writable(folder: &Path) -> std::io::Result<()> {
    let probe: PathBuf = folder.join(format!("chandlery-doctor-{}", std::process::id()));
    std::fs::write(&probe, "probe")?;
    std::fs::remove_file(&probe)
}

/// Returns the free memory of the machine, or of this process's container if that is less.
fn memory(proc: &Path, cgroup: &Path) -> Check {
    const SUBJECT: &str = "memory";
    let (machine, container) = (available(proc), MemoryGroups::below("self", proc, cgroup).left());
    let Some(free) = machine.into_iter().chain(container).min() else {
        return Check::good(SUBJECT, "this system does not say");
    };
    let whose = if container == Some(free) { " within the container's limit" } else { "" };
    let found = format!("{:.1} GB available{whose}", free as f64 / f64::from(1 << 30));
    if free < SPARE {
        return Check::bad(
            SUBJECT,
            Verdict::Advice,
            found,
            "end other kernels, or raise the limit (Docker: `--memory`; Kubernetes: `resources.limits.memory`)",
        );
    }
    Check::good(SUBJECT, found)
}

fn available(proc: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(proc.join("meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn gpu() -> Check {
    const SUBJECT: &str = "gpu";
    let gpus = Device::present().into_iter().filter(|&device| device != Device::Cpu);
    let names: Vec<String> =
        gpus.map(|gpu| format!("{gpu} ({})", gpu.model_name().unwrap_or_else(|| "unnamed".to_owned()))).collect();
    match Device::obstacle() {
        None => Check::good(SUBJECT, names.join(", ")),
        Some(reason) if !Device::has_cuda() => Check::good(SUBJECT, format!("none: CUDA {reason}")),
        Some(reason) => Check::bad(
            SUBJECT,
            Verdict::Advice,
            format!("none: CUDA {reason}"),
            "on a machine with an NVIDIA GPU, install its driver and CUDA's run-time libraries; otherwise ignore this",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files below a folder of this test.
    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("doctor-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smaller_of_machine_and_container_memory_counts() {
        let plenty = ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   8388608 kB\n");
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Verdict, &'a str);
        let cases: [Case<'_>; 4] = [
            ("machine", &[plenty], Verdict::Good, "8.0 GB available"),
            (
                "second",
                &[
                    plenty,
                    ("proc/self/cgroup", "0::/pod/own\n"),
                    ("cgroup/pod/memory.max", "1610612736\n"),
                    ("cgroup/pod/memory.current", "1073741824\n"),
                    ("cgroup/pod/own/memory.max", "max\n"),
                    ("cgroup/pod/own/memory.current", "10\n"),
                ],
                Verdict::Advice,
                "0.5 GB available within the container's limit",
            ),
            (
                "first",
                &[
                    plenty,
                    ("proc/self/cgroup", "3:cpu:/x\n2:memory:/docker\n"),
                    ("cgroup/memory/docker/memory.limit_in_bytes", "4294967296\n"),
                    ("cgroup/memory/docker/memory.usage_in_bytes", "2147483648\n"),
                ],
                Verdict::Good,
                "2.0 GB available within the container's limit",
            ),
            ("silent", &[("proc/other", "")], Verdict::Good, "this system does not say"),
        ];
        for (name, files, verdict, found) in cases {
            let root = tree(name, files);
            let check = memory(&root.join("proc"), &root.join("cgroup"));
            assert_eq!((check.verdict, check.found.as_str()), (verdict, found), "{name}");
            std::fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn a_folder_that_cells_cannot_be_loaded_from_is_found() {
        let missing = disk(Path::new("/no/such/folder"));
        assert_eq!(missing.verdict, Verdict::Missing, "{missing:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let forbidding = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (folder, options) = (fields.next()?, fields.nth(1)?);
            options.split(',').any(|option| option == "noexec").then(|| PathBuf::from(folder))
        });
        // Mounts may cover each other, and the path of a covered mount leads to the upper one.
        for folder in forbidding.filter(|folder| folder.starts_with("/proc") || folder.starts_with("/sys")).take(1) {
            assert!(system::forbids_programs(&folder), "{}", folder.display());
        }
    }
}
