//! Control groups: how much memory a container leaves to a process, and how often the system ended one for it.

use std::path::{Path, PathBuf};

/// The control groups of a process that count memory, its own first, of either version.
pub struct MemoryGroups {
    second: Vec<PathBuf>,
    first: Vec<PathBuf>,
    /// The system's own counters, for where no group counts.
    counters: PathBuf,
}

impl MemoryGroups {
    /// Those of a process.
    pub fn of_process(process: u32) -> Self {
        Self::below(&process.to_string(), Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    /// Those of a process (or `self`), where `/proc` and `/sys/fs/cgroup` are these folders.
    pub fn below(process: &str, proc: &Path, cgroup: &Path) -> Self {
        let own = std::fs::read_to_string(proc.join(process).join("cgroup")).unwrap_or_default();
        let inside = |line: &str| line.rsplit(':').next().map(|path| path.trim_start_matches('/').to_owned());
        let of =
            |controller: &str| own.lines().find(|line| line.contains(controller)).and_then(inside).unwrap_or_default();
        // In a container the path may be the one outside, where no such folder is; the mount's root is its own then.
        let up = |folder: PathBuf| {
            folder.ancestors().take_while(|folder| folder.starts_with(cgroup)).map(Path::to_owned).collect()
        };
        Self {
            second: up(cgroup.join(of("0::"))),
            first: up(cgroup.join("memory").join(of(":memory:"))),
            counters: proc.join("vmstat"),
        }
    }

    /// The bytes that are left, by the tightest limit on the way up; `None` without a limit.
    pub fn left(&self) -> Option<u64> {
        // What files leave in memory is given back where it is needed.
        let left = |folder: &PathBuf, limit: &str, used: &str| {
            let held = number(&folder.join(used))?.saturating_sub(reclaimable(folder));
            Some(number(&folder.join(limit))?.saturating_sub(held))
        };
        let second = self.second.iter().filter_map(|folder| left(folder, "memory.max", "memory.current"));
        let first =
            self.first.iter().filter_map(|folder| left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes"));
        second.chain(first).min()
    }

    /// The tightest limit on the way up, in bytes.
    pub fn limit(&self) -> Option<u64> {
        let second = self.second.iter().filter_map(|folder| number(&folder.join("memory.max")));
        let first = self.first.iter().filter_map(|folder| number(&folder.join("memory.limit_in_bytes")));
        // The first version says a number near 2^63 where there is no limit.
        second.chain(first).min().filter(|limit| *limit < 1 << 60)
    }

    /// How many processes were ended because memory ran out: those of the innermost group that counts them, else all of
    /// the system's.
    pub fn kills(&self) -> u64 {
        let second = self.second.iter().map(|folder| folder.join("memory.events"));
        let first = self.first.iter().map(|folder| folder.join("memory.oom_control"));
        let mut all = second.chain(first).chain([self.counters.clone()]);
        all.find_map(|file| {
            let text = std::fs::read_to_string(file).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
        })
        .unwrap_or(0)
    }

    /// That memory ran out and the system ended a process, if that happened since there were so many [`kills`](Self::kills).
    pub fn blame(&self, before: u64) -> Option<String> {
        let limit = self.limit().map(|limit| {
            format!(", at the limit of {:.1} GiB for this process's group", limit as f64 / f64::from(1 << 30))
        });
        (self.kills() > before).then(|| format!("memory ran out{}, and the system ended it", limit.unwrap_or_default()))
    }
}

/// The bytes of a group's memory that hold contents of files, by either version's counters.
fn reclaimable(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let count = |key: &str| -> Option<u64> {
        let of = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
        text.lines().find_map(of)
    };
    let both = |inactive: &str, active: &str| Some(count(inactive)? + count(active)?);
    both("total_inactive_file", "total_active_file").or_else(|| both("inactive_file", "active_file")).unwrap_or(0)
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_those_of_the_innermost_group_that_counts() {
        let vmstat = ("proc/vmstat", "oom_victims 3\noom_kill 9\n");
        let second = [
            ("proc/7/cgroup", "0::/pod/own\n"),
            ("cgroup/pod/memory.events", "low 0\noom 4\noom_kill 2\noom_group_kill 8\n"),
            ("cgroup/pod/memory.max", "2147483648\n"),
            ("cgroup/pod/own/memory.max", "max\n"),
        ];
        let first = [
            ("proc/7/cgroup", "3:cpu:/x\n2:memory:/docker/outside\n0::/\n"),
            ("cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        type Case<'a> = (&'a [(&'a str, &'a str)], u64, Option<u64>);
        let cases: [Case<'_>; 3] = [(&second, 2, Some(2 << 30)), (&first, 1, None), (&[], 9, None)];
        for (files, kills, limit) in cases {
            let root = std::env::temp_dir().join(format!("groups-{}-{kills}", std::process::id()));
            for (path, text) in files.iter().chain([&vmstat]) {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let groups = MemoryGroups::below("7", &root.join("proc"), &root.join("cgroup"));
            assert_eq!((groups.kills(), groups.limit()), (kills, limit), "{files:?}");
            std::fs::remove_dir_all(root).unwrap();
        }
        let silent = MemoryGroups::below("7", Path::new("/no/such"), Path::new("/no/such"));
        assert_eq!((silent.kills(), silent.limit(), silent.left()), (0, None, None));
    }
}
