//! The sources of output folders: what they compute, what they say and what they leave unsaid.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use chandlery::candle::{DType, Device, Tensor, safetensors};
use chandlery::export;
use chandlery::project::{ProjectConfig, own_parts, project};
use chandlery_tests::{fixture, json};
use serde_json::Value;
use tempfile::tempdir;

use crate::command::command as built;

/// (name, project, configuration, settings that make it small).
type Model = (&'static str, &'static str, &'static str, &'static [(&'static str, i64)]);

/// Every definition, and mixes of parts that no definition has.
const MODELS: &[Model] = &[
    ("llama", "llama", "4M", &[("num_attention_heads", 4)]),
    ("llama_small", "llama", "small", &[("num_attention_heads", 4), ("num_key_value_heads", 2), ("head_dim", 16)]),
    ("llama3", "llama", "llama3.2_1b", &[("num_attention_heads", 4), ("num_key_value_heads", 1), ("head_dim", 16)]),
    ("mistral", "mistral", "4M", &[("num_attention_heads", 4), ("sliding_window", 5)]),
    ("qwen3", "qwen3", "4M", &[("num_attention_heads", 4)]),
    ("causal_lm", "causal_lm", "4M", &[("num_attention_heads", 4)]),
    ("causal_lm_small", "causal_lm", "small", &[("num_attention_heads", 2)]),
    ("deepone", "deepone", "4M", &[("num_attention_heads", 4)]),
    ("single_head", "single_head", "4M", &[]),
    ("layers", "mixes", "layers", &[]),
    ("alibi_post_norm", "mixes", "alibi_post_norm", &[]),
    ("deepnet_layer_norm", "mixes", "deepnet_layer_norm", &[]),
    ("learned_positions", "mixes", "learned_positions", &[]),
    ("latent", "mixes", "latent", &[]),
    ("experts", "mixes", "experts", &[]),
    ("experts_clamped", "mixes", "experts_clamped", &[]),
    ("experts_by_layer", "mixes", "experts_by_layer", &[]),
    ("differential", "mixes", "differential", &[]),
    ("sandwich", "mixes", "sandwich", &[]),
    ("parallel", "mixes", "parallel", &[]),
    ("two_norms", "mixes", "two_norms", &[]),
    ("output_norm", "mixes", "output_norm", &[]),
    ("sinks", "mixes", "sinks", &[]),
    ("geometric", "mixes", "geometric", &[]),
    ("longrope", "mixes", "longrope", &[]),
    ("delta_net", "mixes", "delta_net", &[]),
    ("short_conv", "mixes", "short_conv", &[]),
    ("mamba2", "mixes", "mamba2", &[]),
    ("hybrid", "mixes", "hybrid", &[]),
    ("mamba", "mixes", "mamba", &[]),
    ("shared_keys", "mixes", "shared_keys", &[]),
    ("chunks", "mixes", "chunks", &[]),
];

const SMALL: &[(&str, i64)] =
    &[("hidden_size", 32), ("intermediate_size", 48), ("num_hidden_layers", 2), ("vocab_size", 2000)];

fn configured((_, definition, config, settings): &Model) -> ProjectConfig {
    if *definition == "mixes" {
        own_parts::compile_with(chandlery_kernel::parts::register);
        return project(fixture("mixes").to_str().unwrap()).unwrap().config(config).unwrap();
    }
    let config = project(definition).unwrap().config(config).unwrap();
    SMALL.iter().chain(*settings).fold(config, |config, (field, value)| config.set(field, *value).unwrap())
}

/// Gives every parameter values that matter: recipes leave biases at zero, norms at one and scores close to each other.
fn enliven(folder: &Path) {
    let path = folder.join("model.safetensors");
    let mut tensors: HashMap<String, Tensor> = safetensors::load(&path, &Device::Cpu).unwrap();
    for (name, tensor) in &mut tensors {
        if name.contains("slope") {
            continue;
        }
        let mut state = name
            .bytes()
            .fold(0x9e37_79b9_7f4a_7c15u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let norm = name.contains("norm") && name.ends_with("weight");
        let values = (0..tensor.elem_count()).map(|_| next() + if norm { 1.0 } else { 0.0 }).collect();
        *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
    }
    safetensors::save(&tensors, path).unwrap();
}

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Puts the crates into one workspace beside the build of these tests, so that candle is compiled for them once. Files that
/// are there already stay as they are, so that nothing is compiled without need.
fn workspace(crates: &[(&str, PathBuf)]) -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("export");
    let root = target.join("crates");
    let keep = |path: PathBuf, text: String| {
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    };
    let members: Vec<&str> = crates.iter().map(|(name, _)| *name).collect();
    keep(root.join("Cargo.toml"), format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n"));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !root.join("Cargo.lock").exists() {
        std::fs::copy(repository.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    }
    for (name, folder) in crates {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let (package, own_workspace) = manifest.split_once("\n# A project of its own").unwrap();
        assert!(own_workspace.ends_with("[workspace]\n"));
        let (before, after) = package.split_once("name = \"").unwrap();
        let renamed = format!("{before}name = \"{name}{}", &after[after.find('"').unwrap()..]);
        keep(root.join(name).join("Cargo.toml"), renamed);
        for below in ["src", "src/parts"] {
            let files = |folder: PathBuf| {
                let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
                entries.filter(|path| path.is_file()).collect::<Vec<_>>()
            };
            let written = files(folder.join(below));
            for file in files(root.join(name).join(below)) {
                if !written.iter().any(|other| other.file_name() == file.file_name()) {
                    std::fs::remove_file(file).unwrap();
                }
            }
            for file in written {
                let text = std::fs::read_to_string(&file).unwrap();
                keep(root.join(name).join(below).join(file.file_name().unwrap()), text);
            }
        }
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--quiet", "--manifest-path"]).arg(root.join("Cargo.toml"));
    // Warnings fail: a crate that a user builds should have none.
    run(build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "-Dwarnings").current_dir(&root));
    target.join("release")
}

#[test]
fn the_crates_compute_the_logits_of_the_candle_models() {
    let temp = tempdir().unwrap();
    let mut crates = Vec::new();
    for model in MODELS {
        let folder = temp.path().join(model.0);
        let shards = if model.0 == "llama" { 40_000 } else { u64::MAX };
        let construct = configured(model).construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true);
        construct.build().unwrap();
        enliven(&folder);
        if shards < u64::MAX {
            shard(&folder);
        }
        crates.push((model.0, folder.join("rust")));
    }
    let programs = workspace(&crates);

    let ids: Vec<u32> = (0..24).map(|place| (place * 7919 + 13) % 2000).collect();
    let (ids_file, found_file) = (temp.path().join("ids.json"), temp.path().join("logits.json"));
    std::fs::write(&ids_file, format!("[{ids:?}]")).unwrap();
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    for (name, ..) in MODELS {
        let folder = temp.path().join(name);
        let expected_file = temp.path().join(format!("{name}.safetensors"));
        let own_parts = fixture("mixes");
        run(built()
            .arg("logits")
            .arg("-p")
            .arg(own_parts)
            .arg(&folder)
            .arg("--input-ids")
            .arg(&ids_file)
            .arg("-o")
            .arg(&expected_file));
        let expected = safetensors::load(&expected_file, &Device::Cpu).unwrap();
        let expected = expected.values().next().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let printed =
            run(Command::new(programs.join(name)).arg(&folder).arg(words.join(" ")).arg("--all").arg(&found_file));
        let found = json(&found_file);
        let found: Vec<f32> = rows(&found).flat_map(rows).map(|x| x.as_f64().unwrap() as f32).collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        // Two orders of float32 sums: each is off from float64 by about as much.
        // Scores that are not divided by the root of the width make small differences larger.
        let grown = if *name == "shared_keys" { 10.0 } else { 1.0 };
        let tolerance = grown * 1e-4f32.max(3e-5 * largest);
        assert!(largest > 1.0 && worst <= tolerance, "{name}: {worst} of {largest}");
        // Below the heading stand ten ids, the likeliest first.
        let last = &expected[expected.len() - 2000..];
        let best = (0..2000).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
        let first = printed.lines().nth(1).unwrap().split_whitespace().next().unwrap();
        assert_eq!((first, printed.lines().count()), (best.to_string().as_str(), 11), "{name}");
    }
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

/// Splits model.safetensors into two files with an index.
fn shard(folder: &Path) {
    let whole = folder.join("model.safetensors");
    let tensors: HashMap<String, Tensor> = safetensors::load(&whole, &Device::Cpu).unwrap();
    let file = |name: &str| {
        if name.contains("layers.1") { "model-00002-of-00002.safetensors" } else { "model-00001-of-00002.safetensors" }
    };
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        let inside: HashMap<_, _> =
            tensors.iter().filter(|(name, _)| file(name) == shard).map(|(a, b)| (a.clone(), b.clone())).collect();
        assert!(!inside.is_empty());
        safetensors::save(&inside, folder.join(shard)).unwrap();
    }
    let map: HashMap<_, _> = tensors.keys().map(|name| (name, file(name))).collect();
    let size: usize = tensors.values().map(|tensor| tensor.elem_count() * DType::F32.size_in_bytes()).sum();
    let index = serde_json::json!({ "metadata": { "total_size": size }, "weight_map": map });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::remove_file(whole).unwrap();
}

/// All text of a model's sources.
fn text_of(model: &Model) -> String {
    export::sources(&configured(model).render().unwrap())
        .unwrap()
        .into_iter()
        // What users' parts are written with is there whole.
        .filter(|(name, _)| name != "rust/src/part.rs")
        .map(|(name, text)| format!("== {name}\n{text}\n"))
        .collect()
}

#[test]
fn sources_mention_no_part_that_the_model_lacks() {
    // (words of a part, the models that have it)
    let parts: &[(&[&str], &[&str])] = &[
        (
            &["LayerNorm", "layer_norm_eps"],
            &[
                "causal_lm",
                "causal_lm_small",
                "layers",
                "alibi_post_norm",
                "deepnet_layer_norm",
                "learned_positions",
                "geometric",
                "parallel",
                "two_norms",
            ],
        ),
        (
            &["RMSNorm", "rms_norm("],
            &[
                "llama",
                "llama_small",
                "llama3",
                "mistral",
                "qwen3",
                "layers",
                "differential",
                "deepone",
                "single_head",
                "delta_net",
                "experts",
                "experts_by_layer",
                "experts_clamped",
                "latent",
                "longrope",
                "output_norm",
                "sandwich",
                "short_conv",
                "sinks",
                "hybrid",
                "mamba",
                "mamba2",
                "shared_keys",
                "chunks",
            ],
        ),
        (
            &["rotary", "rotate(", "rope"],
            &[
                "llama",
                "llama_small",
                "llama3",
                "mistral",
                "qwen3",
                "layers",
                "differential",
                "delta_net",
                "experts",
                "experts_by_layer",
                "experts_clamped",
                "latent",
                "longrope",
                "output_norm",
                "sandwich",
                "short_conv",
                "sinks",
                "parallel",
                "two_norms",
                "hybrid",
                "shared_keys",
                "chunks",
            ],
        ),
        // One file computes every frequency that is not plain.
        (
            &["low_freq_factor"],
            &[
                "llama3",
                "layers",
                "delta_net",
                "longrope",
                "output_norm",
                "parallel",
                "sandwich",
                "sinks",
                "two_norms",
                "shared_keys",
            ],
        ),
        (&["alibi", "slope"], &["deepone", "single_head", "layers", "alibi_post_norm", "geometric"]),
        (
            &["distances"],
            &["deepone", "single_head", "layers", "alibi_post_norm", "geometric", "sandwich", "sinks", "shared_keys"],
        ),
        (&["sinusoidal"], &["causal_lm", "causal_lm_small"]),
        (&["positional_encoder"], &["learned_positions"]),
        (&["sliding_window"], &["mistral", "layers", "deepone", "alibi_post_norm", "sandwich", "sinks", "shared_keys"]),
        (
            &["repeat_interleave", "repeated(", "num_key_value_heads"],
            &[
                "mistral",
                "qwen3",
                "llama_small",
                "llama3",
                "layers",
                "differential",
                "delta_net",
                "longrope",
                "output_norm",
                "parallel",
                "sandwich",
                "short_conv",
                "sinks",
                "hybrid",
                "mamba",
                "mamba2",
                "shared_keys",
                "chunks",
            ],
        ),
        (
            &["q_norm", "query_norm"],
            &[
                "qwen3",
                "layers",
                "deepnet_layer_norm",
                "delta_net",
                "longrope",
                "output_norm",
                "parallel",
                "sandwich",
                "short_conv",
                "two_norms",
                "shared_keys",
                "chunks",
            ],
        ),
        (&["query_key"], &["single_head", "layers"]),
        (
            &["gate_proj", "silu"],
            &[
                "llama",
                "llama_small",
                "llama3",
                "mistral",
                "qwen3",
                "layers",
                "differential",
                "experts",
                "experts_by_layer",
                "latent",
                "delta_net",
                "longrope",
                "output_norm",
                "short_conv",
                "sinks",
                "two_norms",
                "sandwich",
                "hybrid",
                "mamba",
                "mamba2",
                "shared_keys",
                "chunks",
            ],
        ),
        (&["alpha"], &["deepone", "layers", "deepnet_layer_norm", "experts_clamped", "geometric"]),
        // Layers with other parts than most say all fields of these.
        (&["Dropout(", "_dropout"], &["causal_lm_small", "deepnet_layer_norm", "learned_positions", "mamba2"]),
        (
            &["_tied_weights_keys"],
            &[
                "llama_small",
                "llama3",
                "single_head",
                "deepnet_layer_norm",
                "learned_positions",
                "geometric",
                "short_conv",
            ],
        ),
        (
            &["linear1"],
            &[
                "causal_lm",
                "causal_lm_small",
                "layers",
                "alibi_post_norm",
                "learned_positions",
                "geometric",
                "parallel",
                "mamba2",
            ],
        ),
        (
            &["SimpleNamespace", "dyn Layered", "isinstance(module, nn.LayerNorm)"],
            &[
                "layers",
                "differential",
                "experts",
                "experts_by_layer",
                "delta_net",
                "sandwich",
                "short_conv",
                "sinks",
                "mamba",
                "mamba2",
                "shared_keys",
                "chunks",
            ],
        ),
        (&["self.softcap"], &["sandwich"]),
        (&["self.sinks"], &["sinks"]),
        (&["self.conv", "_conv"], &["delta_net", "short_conv", "hybrid", "mamba", "mamba2"]),
        (&["router"], &["experts", "experts_by_layer", "experts_clamped", "shared_keys", "chunks"]),
        (&["lambda_init"], &["differential"]),
        (&["state_space_scan"], &["hybrid", "mamba2"]),
        (&["selective_scan", "selection_linear"], &["mamba"]),
        (&["config.key_multiplier"], &["hybrid"]),
    ];
    for model in MODELS {
        let text = text_of(model);
        assert!(!text.contains("{%") && !text.contains("{{ ") && !text.contains("template"), "{}", model.0);
        for (words, owners) in parts {
            // A gated part of another function shares the projections, so one word of a part may occur without it.
            let found: Vec<&&str> = words.iter().filter(|word| text.contains(**word)).collect();
            if owners.contains(&model.0) {
                assert!(!found.is_empty(), "{} lacks {words:?}", model.0);
            } else {
                let shared = words[0] == "gate_proj" && !found.contains(&&"silu");
                assert!(found.is_empty() || shared, "{} mentions {found:?}", model.0);
            }
        }
    }
}

#[test]
fn sources_read_as_these_do() {
    let text = text_of(&MODELS[0]);
    let (python, rust) = text.split_once("== rust/").unwrap();
    insta::assert_snapshot!("export_llama_python", python);
    insta::assert_snapshot!("export_llama_rust", format!("== rust/{rust}"));
}

#[test]
fn sources_depend_on_the_candle_of_this_crate() {
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("Cargo.toml")).unwrap();
    let sources = export::rust(&configured(&MODELS[0]).render().unwrap(), "model").unwrap();
    let (_, exported) = sources.iter().find(|(name, _)| name == "Cargo.toml").unwrap();
    for dependency in ["candle-core = ", "candle-nn = "] {
        let line = exported.lines().find(|line| line.starts_with(dependency)).unwrap();
        assert!(manifest.lines().any(|ours| ours == line), "{line}");
    }
    let after = exported.split_once("[dependencies]\n").unwrap().1.split("\n\n").next().unwrap();
    let names: Vec<&str> = after.lines().filter_map(|line| line.split(" = ").next()).collect();
    assert_eq!(names, ["candle-core", "candle-nn", "serde", "serde_json"]);
}

#[test]
fn conversion_writes_sources_and_finalizing_carries_them() {
    let temp = tempdir().unwrap();
    let (native, back, last) = (temp.path().join("native"), temp.path().join("back"), temp.path().join("final"));
    chandlery::convert(fixture("llama-gqa"), &native).run().unwrap();
    let modeling = std::fs::read_to_string(native.join("modeling_chandlery.py")).unwrap();
    std::fs::write(native.join("modeling_chandlery.py"), format!("{modeling}\n# mine\n")).unwrap();
    let finalized = chandlery::finalize(&native, &last).run().unwrap();
    for name in [
        "modeling_chandlery.py",
        "configuration_chandlery.py",
        "rust/Cargo.toml",
        "rust/src/main.rs",
        "rust/src/rope.rs",
    ] {
        let bytes = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(bytes(&native) == bytes(&last), "{name}");
        assert!(finalized.plan.files.iter().any(|file| file.path == name), "{name}");
    }
    chandlery::convert(&native, &back).run().unwrap();
    assert!(!back.join("rust").exists() && !back.join("modeling_chandlery.py").exists());
    assert!(json(back.join("config.json")).get("auto_map").is_none());
}
