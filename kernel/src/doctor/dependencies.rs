//! Checks the cache of `:dep`.

use std::time::Duration;

use super::{Check, Verdict};
use crate::engine::direct::{Cleaned, DependencyCache, KeptSet};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `chandlery kernel clean` removes by default.
const LONG: Duration = Duration::from_secs(30 * DAY.as_secs());

pub(super) fn checks() -> Vec<Check> {
    let kept = DependencyCache::of_user();
    summary(&kept, &kept.sets())
}

fn summary(kept: &DependencyCache, sets: &[KeptSet]) -> Vec<Check> {
    const SUBJECT: &str = ":dep cache";
    if sets.is_empty() {
        return vec![Check::good(SUBJECT, format!("none; `:dep` keeps them in {}", kept.folder().display()))];
    }
    let all = format!("{} in {}: {}", count(sets.len()), kept.folder().display(), size(kept.bytes()));
    let old = sets.iter().filter(|set| !set.in_use && set.idle() >= LONG).count();
    let mut checks = vec![match old {
        0 => Check::good(SUBJECT, all),
        old => Check::bad(
            SUBJECT,
            Verdict::Advice,
            format!("{all}; {old} not used for 30 days"),
            "`chandlery kernel clean` removes those; `--older-than DAYS` others",
        ),
    }];
    checks.extend(sets.iter().filter(|set| !set.crates.is_empty()).map(|set| Check::good(SUBJECT, line(set))));
    checks
}

/// Returns the report of `chandlery kernel clean`.
pub fn cleaned(cleaned: &Cleaned, dry: bool) -> String {
    let Cleaned { removed, kept, freed } = cleaned;
    let (each, all, freed) = match dry {
        true => ("would remove", "would be removed", String::new()),
        false => ("removed", "removed", format!(", {} freed", size(*freed))),
    };
    let lines: String = removed.iter().map(|set| format!("{each} {}\n", line(set))).collect();
    format!("{lines}{} {all}, {kept} kept{freed}\n", count(removed.len()))
}

/// Describes one set: its crates, its size, its last use.
fn line(set: &KeptSet) -> String {
    let crates = set.crates.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ");
    let crates = if crates.is_empty() { "never built".to_owned() } else { crates };
    let other = if set.fits { "" } else { ", by another compiler" };
    let used = match set.idle().as_secs() / DAY.as_secs() {
        _ if set.in_use => "in use".to_owned(),
        0 => "used today".to_owned(),
        1 => "used a day ago".to_owned(),
        days => format!("used {days} days ago"),
    };
    format!("{crates}: {}, {used}{other}", size(set.bytes))
}

fn count(sets: usize) -> String {
    if sets == 1 { "1 set".to_owned() } else { format!("{sets} sets") }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{:.1} kB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GB", bytes as f64 / f64::from(1 << 30)),
    }
}
