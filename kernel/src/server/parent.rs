//! Watches the parent process: a kernel whose Jupyter server died must not keep memory and devices.

use std::time::Duration;

use crate::system::is_alive;

/// Completes when the process that Jupyter names in `JPY_PARENT_PID` is gone; never if it names none.
pub(super) async fn gone() {
    let parent = std::env::var("JPY_PARENT_PID").ok().and_then(|pid| pid.parse::<u32>().ok());
    // Process 1 is a container's init, or adopts orphans: it does not tell whether the server is alive.
    let Some(parent) = parent.filter(|&pid| pid > 1) else { return std::future::pending().await };
    while is_alive(parent) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_that_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        assert!(crate::system::is_alive(std::process::id()));
        child.wait().unwrap();
        assert!(!crate::system::is_alive(pid));
    }
}
