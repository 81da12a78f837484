//! The architecture, read off the sources: who may use whom, and where the dangerous words live.

mod dependencies;

use std::path::{Path, PathBuf};

use dependencies::Crate;

/// The modules of the toolkit from the lowest to the highest, and which of those before it each one may use.
const LAYERS: &[(&str, &str)] = &[
    ("sealed", ""),
    ("setting", ""),
    ("diagnostic", ""),
    ("interrupt", "diagnostic"),
    ("yaml", ""),
    ("progress", "sealed interrupt"),
    ("cgroup", ""),
    ("memory", "cgroup"),
    ("parallel", "interrupt"),
    ("spec", "diagnostic sealed"),
    ("checkpoint", "diagnostic sealed setting interrupt parallel spec"),
    ("naming", "diagnostic sealed yaml spec checkpoint"),
    ("tokenizer", "diagnostic sealed setting interrupt yaml progress checkpoint"),
    ("vocabulary", "spec checkpoint tokenizer"),
    ("project", "diagnostic sealed spec checkpoint naming tokenizer"),
    ("ops", "diagnostic sealed interrupt spec"),
    ("device", "diagnostic memory ops"),
    ("model", "diagnostic sealed interrupt memory parallel spec checkpoint ops"),
    ("dataset", "diagnostic sealed interrupt tokenizer model"),
    ("part", "spec project model"),
    ("model_folder", "diagnostic memory spec checkpoint naming tokenizer device model"),
    ("validation", "interrupt parallel spec checkpoint naming tokenizer ops model"),
    ("export", "diagnostic spec checkpoint"),
    (
        "construct",
        "diagnostic sealed setting interrupt memory spec checkpoint naming tokenizer project ops device model export",
    ),
    (
        "convert",
        "diagnostic sealed setting progress parallel spec checkpoint naming tokenizer vocabulary device model model_folder validation export",
    ),
    (
        "smoke_test",
        "diagnostic sealed setting interrupt progress memory spec checkpoint tokenizer ops device model dataset construct",
    ),
    ("quantize", "diagnostic sealed spec checkpoint tokenizer ops device model model_folder validation"),
    ("gguf", "diagnostic sealed interrupt spec checkpoint naming tokenizer model model_folder"),
    ("compare", "diagnostic sealed setting spec checkpoint naming tokenizer device model model_folder validation gguf"),
    (
        "finalize",
        "diagnostic sealed setting progress spec checkpoint naming tokenizer vocabulary model_folder export quantize gguf",
    ),
    ("update", "diagnostic sealed setting progress spec checkpoint naming tokenizer model_folder export"),
    ("display", ALL),
    ("command", ALL),
    ("cell", ALL),
    ("prelude", ALL),
];

/// The same for the kernel. `main` and `cli` are another crate.
const KERNEL: &[(&str, &str)] = &[
    ("log", ""),
    ("cgroup", ""),
    ("toolkit", ""),
    ("link", ""),
    ("system", ""),
    ("descendants", "system"),
    ("private_folder", "system"),
    ("parts", "toolkit"),
    ("worker", "system descendants parts"),
    ("language", "system private_folder"),
    ("engine", "cgroup toolkit system descendants private_folder worker language"),
    ("server", "log system"),
    ("session", "log engine server"),
    ("jupyter", "toolkit engine server session"),
    ("install", "toolkit system"),
    ("client", "system private_folder engine install"),
    ("runner", "system engine session jupyter"),
    ("bench", "private_folder engine runner"),
    ("doctor", "cgroup toolkit system engine install"),
];

/// Everything that stands before the module.
const ALL: &str = "*";

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
pub(crate) fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["crate/src", "kernel/src"] {
        sources(&root().join(folder), &mut files);
    }
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// What in `sources` contradicts the table `layers`, and what in the table contradicts itself.
fn faults(layers: &[(&str, &str)], sources: &Crate) -> Vec<String> {
    let place = |name: &str| layers.iter().position(|(module, _)| *module == name);
    let mut faults = Vec::new();
    let unknown = sources.modules().iter().filter(|module| place(module).is_none());
    faults.extend(unknown.map(|module| format!("`{module}` is not in the table")));
    for (index, (module, allowed)) in layers.iter().enumerate() {
        if !sources.modules().contains(*module) {
            faults.push(format!("the table has `{module}`, which the crate does not have"));
        }
        let allowed = allowed.split_whitespace().filter(|_| *allowed != ALL);
        let above = allowed.filter(|used| place(used).is_none_or(|place| place >= index));
        faults.extend(above.map(|used| format!("`{module}` may use `{used}`, which does not stand before it")));
    }
    for dependency in sources.dependencies() {
        let (from, to) = (&dependency.from, &dependency.to);
        let Some(index) = place(from) else { continue };
        let allowed = layers[index].1;
        let below = place(to).is_some_and(|place| place < index);
        if !(allowed == ALL && below || allowed.split_whitespace().any(|used| used == to)) {
            faults.push(format!("{}: `{from}` uses `{to}`", dependency.at));
        }
    }
    faults
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let sources = Crate::read(&|name| std::fs::read_to_string(root().join("crate/src").join(name)).ok());
    let faults = faults(LAYERS, &sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_description_of_the_architecture_names_every_module() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let missing: Vec<&str> =
        LAYERS.iter().map(|(module, _)| *module).filter(|module| !text.contains(&format!("`{module}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// The faults of a crate with the modules `low`, `middle` and `high`, in which `middle` and its module `middle::part` hold
/// these texts.
fn planted(middle: &str, part: &str) -> Vec<String> {
    let sources = Crate::read(&|name| {
        let text = match name {
            "lib.rs" => "pub mod high;\npub mod low;\nmod middle;\npub use high::{Thing, other as renamed};",
            "low.rs" | "high.rs" => "",
            "middle/mod.rs" => middle,
            "middle/part.rs" => part,
            _ => return None,
        };
        Some(text.to_owned())
    });
    faults(&[("low", ""), ("middle", "low"), ("high", ALL)], &sources)
}

#[test]
fn every_way_to_name_a_module_above_is_found() {
    for (text, line) in [
        ("use crate::high;", 1),
        ("use crate::{low, high::{Thing, other}};", 1),
        ("use crate::{\n    low,\n    high::Thing,\n};", 3),
        ("use super::super::high::Thing;", 1),
        ("use crate::Thing;", 1),
        ("use crate::renamed;", 1),
        ("fn f() -> crate::high::Thing { todo!() }", 1),
        ("fn f() {\n    let x = super::super::high::make();\n}", 2),
        ("mod inner {\n    use super::super::super::high::Thing;\n}", 2),
        ("fn f() {\n    println!(\"{}\", crate::high::make());\n}", 2),
        ("macro_rules! make { () => { $crate::high::make() } }", 1),
        ("macro_rules! make { () => { use $crate::{low, high::{a, b}}; } }", 1),
        ("#[serde(default = \"crate::high::make\")]\nstruct S;", 1),
        ("pub(in crate::middle) use crate::high as below;", 1),
    ] {
        let found = planted("mod part;", text);
        assert!(!found.is_empty(), "{text}");
        for fault in found {
            assert_eq!(fault, format!("middle/part.rs:{line}: `middle` uses `high`"), "{text}");
        }
    }
}

#[test]
fn modules_below_and_modules_in_tests_are_not_faults() {
    let text = "use crate::{low, middle::other};\nuse super::{x, super::low::y};\nuse self::z::*;
        /// See [`Thing`](crate::high::Thing).\nfn f() { crate::low::g(\"crate::high\"); }
        #[cfg(test)]\nuse crate::high::Thing;\n#[cfg(test)]\nmod tests { use crate::high::Thing; }";
    assert_eq!(planted("mod part;\n#[cfg(test)]\nmod tests;", text), Vec::<String>::new());
}

#[test]
fn cycles_and_modules_outside_the_table_are_faults() {
    assert_eq!(planted("use crate::*;", ""), ["middle/mod.rs:1: `middle` uses `*`"]);
    assert_eq!(planted("use crate::lost;", ""), ["middle/mod.rs:1: `middle` uses `?lost`"]);
    let text = |name: &str| match name {
        "lib.rs" => Some("mod a;\nmod b;".to_owned()),
        "a.rs" => Some("use crate::b;".to_owned()),
        "b.rs" => Some("use crate::a;".to_owned()),
        _ => None,
    };
    let sources = Crate::read(&text);
    assert_eq!(faults(&[("a", ""), ("b", "a")], &sources), ["a.rs:1: `a` uses `b`"]);
    assert_eq!(faults(&[("a", "b"), ("b", "a")], &sources), ["`a` may use `b`, which does not stand before it"]);
    assert_eq!(faults(&[("a", ALL), ("b", ALL)], &sources), ["a.rs:1: `a` uses `b`"]);
    let missing = ["`b` is not in the table", "a.rs:1: `a` uses `b`"];
    assert_eq!(faults(&[("a", ALL)], &sources), missing);
}

#[test]
fn modules_of_the_kernel_use_only_what_lies_below_them() {
    let sources = Crate::read(&|name| std::fs::read_to_string(root().join("kernel/src").join(name)).ok());
    let faults = faults(KERNEL, &sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_server_knows_nothing_of_the_toolkit_or_the_language() {
    let files: Vec<_> = texts().into_iter().filter(|(file, _)| file.starts_with("kernel/src/server/")).collect();
    assert!(files.len() >= 10);
    for (file, text) in files {
        for word in ["chandlery::", "crate::toolkit", "crate::engine", "crate::session", "MimeBundle", "rustc"] {
            let used = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used, "{file} mentions {word}");
        }
    }
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
    "crate/src/cell/store/slot.rs",
    "crate/src/cell/store/tests.rs",
    "crate/src/interrupt.rs",
    "crate/src/ops/cuda/driver.rs",
    "crate/src/ops/cuda/launch.rs",
    "crate/src/ops/cuda/libraries.rs",
];

#[test]
fn no_module_is_called_utils() {
    for (file, _) in texts() {
        for name in ["utils", "util", "common", "helpers", "helper", "base", "misc"] {
            assert!(!file.split(['/', '.']).any(|part| part == name), "{file}");
        }
    }
}
