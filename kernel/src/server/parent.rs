//! The parent watch: a kernel whose Jupyter server died must not go on holding memory and devices.

use std::time::Duration;

/// Completes when the process that Jupyter names in `JPY_PARENT_PID` is gone; never if it names none.
pub(super) async fn gone() {
    let parent = std::env::var("JPY_PARENT_PID").ok().and_then(|pid| pid.parse::<libc::pid_t>().ok());
    // Process 1 is a container's init, or what orphans are given to: no sign of a dead server.
    let Some(parent) = parent.filter(|&pid| pid > 1) else { return std::future::pending().await };
    while is_alive(parent) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn is_alive(pid: libc::pid_t) -> bool {
    // SAFETY: signal 0 only asks whether the process exists.
    let sent = unsafe { libc::kill(pid, 0) };
    sent == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_that_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as libc::pid_t;
        assert!(super::is_alive(std::process::id() as libc::pid_t));
        child.wait().unwrap();
        assert!(!super::is_alive(pid));
    }
}
