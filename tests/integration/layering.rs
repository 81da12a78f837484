//! The architecture, read off the sources: who may use whom, and where the dangerous words live.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// (path below the repository, text) of every source file of the toolkit and the kernel.
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["crate/src", "kernel/src"] {
        sources(&root().join(folder), &mut files);
    }
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// Which modules of the toolkit a module may name, beside `sealed`. `display` and `command` see everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("interrupt", &[]),
    ("sealed", &[]),
    ("cgroup", &[]),
    ("memory", &["cgroup"]),
    ("device", &["ops", "memory"]),
    ("parallel", &["interrupt"]),
    ("checkpoint", &["spec", "interrupt", "parallel"]),
    ("tokenizer", &["spec", "interrupt", "checkpoint", "progress"]),
    ("vocabulary", &["spec", "checkpoint", "tokenizer"]),
    ("project", &["spec", "checkpoint", "tokenizer"]),
    ("ops", &["spec", "interrupt"]),
    ("model", &["spec", "interrupt", "memory", "parallel", "checkpoint", "ops"]),
    ("dataset", &["spec", "interrupt", "tokenizer", "model", "project", "progress"]),
    ("part", &["spec", "model", "project"]),
    ("export", &["spec", "checkpoint"]),
    (
        "convert",
        &[
            "spec",
            "interrupt",
            "parallel",
            "memory",
            "checkpoint",
            "tokenizer",
            "vocabulary",
            "ops",
            "model",
            "device",
            "progress",
            "export",
        ],
    ),
    ("gguf", &["spec", "interrupt", "checkpoint", "tokenizer", "model", "convert"]),
    ("compare", &["spec", "checkpoint", "tokenizer", "model", "convert", "gguf", "device"]),
    (
        "construct",
        &[
            "spec",
            "interrupt",
            "checkpoint",
            "tokenizer",
            "model",
            "ops",
            "project",
            "device",
            "memory",
            "convert",
            "smoke_test",
            "export",
        ],
    ),
    (
        "smoke_test",
        &[
            "spec",
            "interrupt",
            "checkpoint",
            "tokenizer",
            "model",
            "ops",
            "device",
            "memory",
            "dataset",
            "construct",
            "progress",
            "display",
        ],
    ),
    ("quantize", &["spec", "checkpoint", "tokenizer", "ops", "model", "device", "convert"]),
    (
        "finalize",
        &["spec", "checkpoint", "tokenizer", "vocabulary", "convert", "gguf", "progress", "export", "quantize"],
    ),
    ("update", &["spec", "checkpoint", "tokenizer", "convert", "progress", "export"]),
];

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut faults = Vec::new();
    for (file, text) in texts() {
        let Some(rest) = file.strip_prefix("crate/src/") else { continue };
        let module = rest.split('/').next().unwrap().trim_end_matches(".rs");
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = MAY_USE.iter().any(|(name, _)| *name == used)
                    || ["display", "command", "progress", "cell"].contains(&used.as_str());
                if known && used != module && used != "sealed" && !allowed.contains(&used.as_str()) {
                    faults.push(format!("{file}: `{module}` uses `{used}`"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_independent_forward_shares_nothing_with_the_model() {
    let files: Vec<_> =
        texts().into_iter().filter(|(file, _)| file.starts_with("crate/src/validation/reference/")).collect();
    assert!(files.len() >= 3);
    for (file, text) in files {
        for word in ["crate::model", "candle", "ModelSpec", "ModelConfig", "Remap", "family", "Family"] {
            let used = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used, "{file} mentions {word}");
        }
    }
}

#[test]
fn the_specification_is_pure() {
    for (file, text) in texts().iter().filter(|(file, _)| file.starts_with("crate/src/spec/")) {
        for word in ["candle", "std::fs", "polars", "plotters"] {
            let used = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used, "{file} mentions {word}");
        }
    }
}

#[test]
fn the_cuda_feature_and_unsafe_live_in_named_files() {
    for (file, text) in texts() {
        let cuda = text.contains("feature = \"cuda\"");
        assert!(
            !cuda || file == "crate/src/device.rs" || file.starts_with("crate/src/ops/cuda"),
            "{file} mentions the cuda feature"
        );
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let dangerous = code.filter(|line| line.contains("unsafe ")).count();
        let allowed = UNSAFE.contains(&file.as_str());
        assert!(dangerous == 0 || allowed, "{file} has {dangerous} lines of unsafe code");
    }
}

/// The operating system, the loading of cells, the store that cells take their variables from, what cells do to take those of
/// which fields were moved away, the check in their loops, and the GPU.
const UNSAFE: &[&str] = &[
    "kernel/src/system.rs",
    "kernel/src/system/turns.rs",
    "kernel/src/worker/load.rs",
    "kernel/src/parts.rs",
    "kernel/src/engine/direct/generate/fields.rs",
    "crate/src/cell/store.rs",
    "crate/src/interrupt.rs",
    "crate/src/ops/cuda/driver.rs",
    "crate/src/ops/cuda/launch.rs",
    "crate/src/ops/cuda/libraries.rs",
];

#[test]
fn no_room_is_called_utils() {
    for (file, _) in texts() {
        for name in ["utils", "util", "common", "helpers", "helper", "base", "misc"] {
            assert!(!file.split(['/', '.']).any(|part| part == name), "{file}");
        }
    }
}
