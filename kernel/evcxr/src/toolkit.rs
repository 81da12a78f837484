//! The toolkit as a package that rust-analyzer can read.

use std::io::Result;
use std::path::Path;

/// The workspace's manifest and lock file, and the toolkit's manifest and sources, by their paths.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// Dependencies whose types are part of the toolkit's interface, in groups, with the memory in MiB that must be
/// free for a group and those before it. The toolkit's other dependencies are left out: only function bodies mention them.
const SHOWN: &[(u64, &[&str])] = &[(3000, &["candle-core", "candle-nn", "serde_json"]), (6000, &["polars"])];

/// Returns the number of groups of dependencies that fit into memory.
pub(crate) fn groups() -> usize {
    let facts = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = facts.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = free.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    SHOWN.iter().filter(|(needed, _)| kib.is_none_or(|kib| kib / 1024 >= *needed)).count()
}

/// Returns the names in the first groups.
pub(crate) fn shown(groups: usize) -> Vec<&'static str> {
    SHOWN.iter().take(groups).flat_map(|(_, names)| names.iter().copied()).collect()
}

/// Writes the package with these dependencies, which is only read. The lock file that chose their
/// versions goes to `context`.
pub(crate) fn write(folder: &Path, context: &Path, dependencies: &[&str]) -> Result<()> {
    for (name, text) in SOURCES {
        let text = match *name {
            "Cargo.toml" => lines(text, |line| !line.starts_with("members = "))
                .replace("[workspace]\n", "[workspace]\nmembers = [\"crate\"]\n"),
            "crate/Cargo.toml" => manifest(text, dependencies),
            "Cargo.lock" => {
                std::fs::write(context.join(name), text)?;
                continue;
            }
            _ => (*text).to_owned(),
        };
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, text)?;
    }
    Ok(())
}

fn manifest(text: &str, dependencies: &[&str]) -> String {
    let kept = |line: &str| match line.strip_suffix(".workspace = true") {
        // `version.workspace = true` and the like are not dependencies.
        Some(name) if !matches!(name, "version" | "edition" | "rust-version" | "license" | "publish") => {
            dependencies.contains(&name)
        }
        _ => !line.starts_with("cuda = "),
    };
    lines(text, kept)
}

fn lines(text: &str, kept: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| kept(line)).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_what_the_interface_shows() {
        let (_, text) = SOURCES.iter().find(|(name, _)| *name == "crate/Cargo.toml").unwrap();
        let with = manifest(text, &shown(2));
        assert!(shown(2).iter().all(|name| with.contains(&format!("{name}.workspace = true"))), "{with}");
        assert!(!with.contains("clap") && with.contains("version.workspace") && !with.contains("cuda ="), "{with}");
        assert!(
            !manifest(text, &shown(1)).contains("polars") && !manifest(text, &[]).contains("candle-core.workspace")
        );
        assert!(SOURCES.iter().any(|(name, _)| *name == "crate/src/lib.rs"));
    }
}
