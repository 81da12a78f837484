//! Whether displays are interactive: running bars, charts that zoom.

use std::sync::atomic::{AtomicU8, Ordering};

/// Set to `0`, `off`, `no` or `false`, it has the effect of [`interactive`]`(false)` from the start.
const VARIABLE: &str = "CHANDLERY_INTERACTIVE";

const UNKNOWN: u8 = 0;
const ALLOWED: u8 = 1;
const REFUSED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Turns bars and zoomable charts on or off. Without them, outputs hold pictures and no times, so that two runs of a
/// notebook are alike.
pub fn interactive(allowed: bool) {
    STATE.store(if allowed { ALLOWED } else { REFUSED }, Ordering::Relaxed);
}

/// Whether bars and zoomable charts are shown: they are, unless turned off.
pub(crate) fn is_interactive() -> bool {
    if STATE.load(Ordering::Relaxed) == UNKNOWN {
        interactive(std::env::var(VARIABLE).map_or(true, |value| !turns_off(&value)));
    }
    STATE.load(Ordering::Relaxed) == ALLOWED
}

fn turns_off(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "0" | "off" | "no" | "false")
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_that_turn_interaction_off() {
        assert!(["0", "off", "No", " false "].iter().all(|value| super::turns_off(value)));
        assert!(["", "1", "on", "yes"].iter().all(|value| !super::turns_off(value)));
    }
}
