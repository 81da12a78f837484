//! The peak memory of a process, and the free memory of the machine.

/// Resets the peak that [`peak`] returns. If the system refuses, it is the peak since the process started.
pub(super) fn begin_peak(process: u32) {
    let _ = std::fs::write(format!("/proc/{process}/clear_refs"), "5");
}

/// Returns the peak of a process's resident memory in bytes.
pub(super) fn peak(process: u32) -> Option<u64> {
    kibibytes(&std::fs::read_to_string(format!("/proc/{process}/status")).ok()?, "VmHWM:")
}

/// Returns the bytes that new processes can use without swapping; `None` if the system does not tell.
pub(super) fn available() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|count| count << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_this_process_follows_what_it_allocates() {
        let own = std::process::id();
        begin_peak(own);
        let before = peak(own).unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(peak(own).unwrap() >= before + (48 << 20), "{} bytes were there", block.len());
        assert!(available().unwrap() > 0);
    }
}
