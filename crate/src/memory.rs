//! How much main memory is left: on the machine, in the container, and within the limits of this process.

use crate::cgroup::MemoryGroups;

/// What new allocations can take, in bytes, and where the limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The number of bytes.
    pub(crate) bytes: u64,
    /// Whose limit it is, continuing "is left".
    pub(crate) limit: &'static str,
}

/// The tightest of all limits; with `swap`, what the machine can move to disk counts as well. `None` where the system does
/// not know it.
pub(crate) fn left(swap: bool) -> Option<Left> {
    let swap = if swap { kibibytes("/proc/meminfo", "SwapFree").unwrap_or(0) } else { 0 };
    let group = MemoryGroups::of_process(std::process::id()).left();
    let limits = [
        (kibibytes("/proc/meminfo", "MemAvailable").map(|bytes| bytes + swap), "on this machine"),
        (group.map(|bytes| bytes + swap), "to this container"),
        (of_process("Max address space", "VmSize"), "to this process (ulimit -v)"),
        (of_process("Max data size", "VmData"), "to this process (ulimit -d)"),
    ];
    let known = limits.into_iter().filter_map(|(bytes, limit)| Some(Left { bytes: bytes?, limit }));
    known.min_by_key(|left| left.bytes)
}

/// Returns what is left of a limit of this process.
fn of_process(limit: &str, used: &str) -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft =
        limits.lines().find_map(|line| line.strip_prefix(limit))?.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(soft.saturating_sub(kibibytes("/proc/self/status", used)?))
}

/// Returns the value of `key` in a file of `key : value` lines.
pub(crate) fn after_colon(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.into_iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

/// The same for values in kB (which the kernel means as 1024 bytes), in bytes.
pub(crate) fn kibibytes(path: &str, key: &str) -> Option<u64> {
    let value = after_colon(path, key)?;
    value.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Returns whether the system has this much memory in one piece. It is freed at once, so a following allocation probably
/// succeeds; a failed one would end the process.
pub(crate) fn is_obtainable(bytes: usize) -> bool {
    let mut probe = Vec::<u8>::new();
    let given = probe.try_reserve_exact(bytes).is_ok();
    // Otherwise the compiler may remove an allocation that is not used.
    std::hint::black_box(&probe);
    given
}

/// Returns bytes in a readable unit.
pub(crate) fn in_words(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 30 { (1u64 << 20, "MiB") } else { (1 << 30, "GiB") };
    format!("{:.1} {name}", bytes as f64 / unit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_is_found_and_swap_only_adds() {
        let (without, with) = (left(false).unwrap(), left(true).unwrap());
        assert!(without.bytes > 0 && with.bytes > 0);
        assert!(is_obtainable(1 << 20) && !is_obtainable(isize::MAX as usize));
    }
}
