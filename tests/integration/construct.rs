//! Construction and test run: counts, folders, seeds, gradients, and the agreement of spec and module.

use std::path::Path;
use std::sync::{Arc, Mutex};

use chandlery::candle::{Device, Tensor};
use chandlery::checkpoint::{Checkpoint, WeightsFormat};
use chandlery::compare;
use chandlery::model::{CausalLm, ModelError, Weights, candle_dtype};
use chandlery::project;
use chandlery::project::{Project, ProjectConfig};
use chandlery::spec::{DType, ModelSpec, ParamPath, TensorRow};
use chandlery::{SaveOptions, load_checkpoint, save_checkpoint};
use chandlery_tests::{edit_header, entries, json};
use serde_json::Value;
use tempfile::tempdir;

use crate::command::command;

/// Answers every request with a tensor of one stored element, and writes it down.
struct Probe(Arc<Mutex<Vec<Asked>>>);

type Asked = (ParamPath, Vec<usize>);

impl Weights for Probe {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.0.lock().unwrap().push((path.clone(), shape.to_vec()));
        Ok(Tensor::zeros((), candle_dtype(dtype), device)?.broadcast_as(shape)?)
    }
}

#[test]
fn modules_ask_for_exactly_the_parameters_of_the_spec() {
    let all = Project::names().into_iter().flat_map(|family| {
        let project = project(&family).unwrap();
        project.configs().into_iter().map(move |name| project.config(&name).unwrap())
    });
    for config in all {
        let name = format!("{} {}", config.project().name(), config.name());
        let config = config.render().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        CausalLm::build(&config, Box::new(Probe(asked.clone())), DType::BF16, &Device::Cpu, false).unwrap();
        let expected: Vec<Asked> = ModelSpec::resolve(&config)
            .table(DType::BF16)
            .stored()
            .map(|row| (row.path.clone(), row.shape.clone()))
            .collect();
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        let mut sorted = expected;
        sorted.sort();
        assert_eq!(asked, sorted, "{name}");
    }
}

#[test]
fn the_seed_decides_the_bits_of_a_saved_construction() {
    let temp = tempdir().unwrap();
    let small = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    let save = |name: &str, seed| {
        let folder = temp.path().join(name);
        small.construct().device("cpu").unwrap().seed(seed).output_dir(&folder).save_checkpoint(true).build().unwrap();
        std::fs::read(folder.join("model.safetensors")).unwrap()
    };
    let (first, same, other) = (save("first", 1), save("same", 1), save("other", 2));
    assert!(first == same && first != other);
    assert_eq!(compare(temp.path().join("first"), temp.path().join("same")).run().unwrap().max_abs(), 0.0);
    assert_eq!(
        entries(&temp.path().join("first")),
        [
            "config.json",
            "configuration_chandlery.py",
            "generation_config.json",
            "model.safetensors",
            "modeling_chandlery.py",
            "rust",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let config = json(temp.path().join("first/config.json"));
    assert_eq!(
        (&config["bos_token_id"], &config["pad_token_id"], &config["eos_token_id"]),
        (&0.into(), &1.into(), &2.into())
    );
}

#[test]
fn tied_weights_are_stored_once() {
    let temp = tempdir().unwrap();
    let tied = project("llama").unwrap().config("4M").unwrap().set("tie_word_embeddings", true).unwrap();
    let folder = temp.path().join("tied");
    let built = tied.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
    assert_eq!(built.table.parameters(), 4_434_176 - 2000 * 256);
    assert!(Checkpoint::open(&folder).unwrap().table().get(&"lm_head.weight".into()).is_none());
}

#[test]
fn an_output_folder_is_never_replaced_by_surprise() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    config.construct().output_dir(&folder).build().unwrap();
    config.construct().output_dir(&folder).build().expect("the same configuration is built again");

    let wider = config.clone().set("hidden_size", 512).unwrap().construct().output_dir(&folder);
    let error = wider.build().unwrap_err().to_string();
    assert!(error.contains("hidden_size: 256 → 512") && error.contains("-r"), "{error}");
    wider.clone().refresh(true).build().unwrap();
    assert_eq!(json(folder.join("config.json"))["hidden_size"], 512);

    let save = config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).refresh(true);
    save.build().unwrap();
    let error = wider.clone().refresh(true).build().unwrap_err().to_string();
    assert!(error.contains("holds model.safetensors") && error.contains("--force"), "{error}");
    assert_eq!(json(folder.join("config.json"))["hidden_size"], 256);
    wider.refresh(true).force(true).build().unwrap();
    assert_eq!(entries(temp.path()), ["model"]);
}

/// A tensor as files hold it.
pub(crate) fn row(name: &str, shape: &[usize], dtype: DType) -> TensorRow {
    TensorRow::stored(name.into(), shape.to_vec(), dtype)
}

/// One layer of the 4M configuration, in float32 on the CPU.
fn small() -> ProjectConfig {
    project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap()
}

/// A saved model of this seed.
fn saved(folder: &Path, seed: u64) {
    small().construct().device("cpu").unwrap().seed(seed).output_dir(folder).save_checkpoint(true).build().unwrap();
}

fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

/// Constructs with the weights at `from` in float32, and gives the folder's safetensors.
fn loaded_and_saved(from: &Path, into: &Path) -> Vec<u8> {
    let construct = small().construct().device("cpu").unwrap().seed(99).load_from_checkpoint(from);
    let built = construct.strict(true).output_dir(into).save_checkpoint(true).build().unwrap();
    assert!(built.load.unwrap().is_complete());
    weights(into)
}

#[test]
fn weights_load_from_files_folders_and_checkpoints() {
    let temp = tempdir().unwrap();
    let source = temp.path().join("source");
    saved(&source, 1);
    let expected = weights(&source);

    let checkpoint = temp.path().join("model/checkpoints/checkpoint-10");
    std::fs::create_dir_all(&checkpoint).unwrap();
    std::fs::copy(source.join("model.safetensors"), checkpoint.join("model.safetensors")).unwrap();
    let bin = temp.path().join("bin");
    let build = |folder: &Path, format, limit| {
        let construct = small().construct().device("cpu").unwrap().seed(1).output_dir(folder).save_checkpoint(true);
        construct.format(format).max_shard_size(limit).build().unwrap();
    };
    build(&bin, WeightsFormat::Pytorch, u64::MAX);
    build(&temp.path().join("bin-shards"), WeightsFormat::Pytorch, 2 << 20);
    build(&temp.path().join("shards"), WeightsFormat::Safetensors, 2 << 20);
    chandlery::convert(&source, temp.path().join("hf")).run().unwrap();
    chandlery::convert(&source, temp.path().join("hf-bin")).format(WeightsFormat::Pytorch).run().unwrap();
    assert!(entries(&temp.path().join("bin-shards")).contains(&"pytorch_model.bin.index.json".to_owned()));

    let sources =
        ["source", "source/model.safetensors", "model", "bin", "bin/pytorch_model.bin", "bin-shards", "shards"];
    for (at, from) in sources.into_iter().chain(["hf", "hf-bin"]).enumerate() {
        let from = temp.path().join(from);
        assert!(loaded_and_saved(&from, &temp.path().join(format!("loaded-{at}"))) == expected, "{}", from.display());
    }
    assert!(loaded_and_saved(&checkpoint, &temp.path().join("from-checkpoint")) == expected);
}

#[test]
fn forgathers_final_norm_and_old_rotary_buffers_load() {
    let temp = tempdir().unwrap();
    let source = temp.path().join("source");
    saved(&source, 1);
    let expected = weights(&source);
    edit_header(&source.join("model.safetensors"), |header| {
        let norm = header.remove("causal_lm.layer_norm.weight").unwrap();
        header.insert("causal_lm.layer_stack.layer_norm.weight".to_owned(), norm);
        let empty = serde_json::json!({ "dtype": "F32", "shape": [0], "data_offsets": [0, 0] });
        header.insert("causal_lm.layer_stack.layers.0.attention.pos_encoder.cos_cached".to_owned(), empty);
    });
    assert!(loaded_and_saved(&source, &temp.path().join("out")) == expected);
}

#[test]
fn missing_parameters_keep_initial_values_and_are_reported() {
    let temp = tempdir().unwrap();
    let (source, out) = (temp.path().join("source"), temp.path().join("out"));
    saved(&source, 1);
    edit_header(&source.join("model.safetensors"), |header| {
        let head = header.remove("lm_head.weight").unwrap();
        header.insert("lm_haed.weight".to_owned(), head);
    });
    let construct = small().construct().device("cpu").unwrap().seed(2).load_from_checkpoint(&source);
    let built = construct.clone().output_dir(&out).save_checkpoint(true).build().unwrap();
    let load = built.load.as_ref().unwrap();
    assert_eq!((load.loaded.len(), load.missing.len(), load.unused.len()), (11, 1, 1));
    assert_eq!(load.missing[0].did_you_mean, Some("lm_haed.weight".into()));
    // The other seed's head, under the first seed's body.
    let drawn = temp.path().join("drawn");
    saved(&drawn, 2);
    let head = |folder: &Path| Checkpoint::open(folder).unwrap().read(&"lm_head.weight".into()).unwrap().bytes;
    assert!(head(&out) == head(&drawn));
    let shown = chandlery::display::View::view(&built);
    let clean = |text: &str| text.replace(temp.path().to_str().unwrap(), "[temp]");
    let shown = clean(shown.plain());
    let section = shown.split("\n\n").find(|section| section.starts_with("Loaded")).unwrap();
    insta::assert_snapshot!("the_report_of_a_load", section);

    let strict = construct.clone().strict(true).build().unwrap_err().to_string();
    insta::assert_snapshot!("a_strict_load_that_does_not_fit", clean(&strict));
    let undrawn = construct.clone().no_init_weights(true).build().unwrap_err().to_string();
    insta::assert_snapshot!("a_load_without_initial_values_that_misses_some", clean(&undrawn));
    let zeros = construct.no_init_weights(true).allow_missing(true).build().unwrap();
    let tensors = zeros.model.as_ref().unwrap().parameters().tensors();
    let (_, head) = tensors.iter().find(|(path, _)| path.as_str() == "lm_head.weight").unwrap();
    assert_eq!(head.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn checkpoints_of_other_models_are_refused() {
    let temp = tempdir().unwrap();
    let source = temp.path().join("source");
    saved(&source, 1);
    let clean = |error: String| error.replace(temp.path().to_str().unwrap(), "[temp]");
    let wider = small().set("intermediate_size", 512).unwrap().construct().device("cpu").unwrap();
    let said = wider.load_from_checkpoint(&source).build().unwrap_err().to_string();
    insta::assert_snapshot!("a_load_of_other_shapes", clean(said));

    let foreign = temp.path().join("foreign");
    let plan = chandlery::checkpoint::ShardPlan::new([row("encoder.weight", &[], DType::F32)], u64::MAX);
    std::fs::create_dir(&foreign).unwrap();
    plan.write(&foreign, &crate::checkpoint_files::Numbered).unwrap();
    let said = small().construct().device("cpu").unwrap().load_from_checkpoint(&foreign).build().unwrap_err();
    let said = clean(said.to_string());
    assert!(said.starts_with("the checkpoint does not fit the model: 0 loaded, 12 missing, 1 unused"), "{said}");
    assert!(said.contains("… and 2 more"), "{said}");
}

#[test]
fn contradictory_options_are_refused_before_reading() {
    let construct = || small().construct();
    let cpu = || construct().device("cpu").unwrap();
    let said: Vec<String> = [
        construct().load_from_checkpoint("gone").build(),
        construct().output_dir("gone").save_checkpoint(true).build(),
        cpu().strict(true).build(),
        cpu().allow_missing(true).build(),
        cpu().load_from_checkpoint("gone").build(),
        construct().estimate_for(0, None).build(),
        construct().estimate_for(2, Some(4096)).build(),
    ]
    .into_iter()
    .map(|built| built.unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn an_existing_model_is_updated_even_in_its_own_folder() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    saved(&folder, 1);
    let before = Checkpoint::open(&folder).unwrap();
    let before = before.read(&"lm_head.weight".into()).unwrap().bytes;
    let update = |more: &[&str]| {
        let words =
            ["model", "-r", "--device", "cpu", "--save-checkpoint", "--no-init-weights", "--num-hidden-layers", "1"];
        let run = command().args(words).arg("--output-dir").arg(&folder).args(more).output().unwrap();
        (run.status.code(), String::from_utf8(run.stderr).unwrap().replace(temp.path().to_str().unwrap(), "[temp]"))
    };
    let from = folder.to_str().unwrap();
    assert_eq!(update(&["--load-from-checkpoint", from, "--dtype", "bfloat16", "construct"]), (Some(0), String::new()));
    let after = Checkpoint::open(&folder).unwrap().read(&"lm_head.weight".into()).unwrap();
    assert_eq!(after.dtype, DType::BF16);
    let rounded = before.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap()).to_bits());
    let rounded = rounded.flat_map(|bits| (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes());
    assert!(after.bytes.iter().copied().eq(rounded));
    assert_eq!(json(folder.join("config.json"))["dtype"], "bfloat16");
    assert_eq!(entries(temp.path()), ["model"]);

    // Weights that would not be carried forward, and checkpoints, are not deleted unasked.
    assert_eq!(update(&["--load-from-checkpoint", from, "--format", "pytorch", "construct"]).0, Some(0));
    assert!(folder.join("pytorch_model.bin").is_file() && !folder.join("model.safetensors").exists());
    let other = temp.path().join("other");
    saved(&other, 2);
    insta::assert_snapshot!(update(&["--load-from-checkpoint", other.to_str().unwrap(), "construct"]).1);
    std::fs::create_dir(folder.join("checkpoints")).unwrap();
    let (status, said) = update(&["--load-from-checkpoint", from, "construct"]);
    assert!(status == Some(1) && said.contains("the output folder holds checkpoints"), "{said}");
    assert!(folder.join("pytorch_model.bin").is_file() && folder.join("checkpoints").is_dir());
}

#[test]
fn a_model_in_memory_loads_and_saves_by_the_references_names() {
    let temp = tempdir().unwrap();
    let source = temp.path().join("source");
    saved(&source, 1);
    let built = small().construct().device("cpu").unwrap().seed(5).build().unwrap();
    let model = built.model.as_ref().unwrap();
    assert!(load_checkpoint(&source, model).unwrap().is_complete());
    let folder = temp.path().join("saved");
    let options = SaveOptions::default().max_shard_size(2 << 20);
    let written = save_checkpoint(&folder, model, options).unwrap();
    assert!(written.files.len() > 2 && written.files.last().unwrap() == "model.safetensors.index.json");
    let (saved, original) = (Checkpoint::open(&folder).unwrap(), Checkpoint::open(&source).unwrap());
    for row in original.table().rows() {
        assert!(saved.read(&row.path).unwrap().bytes == original.read(&row.path).unwrap().bytes, "{}", row.path);
    }
    let again = save_checkpoint(&folder, model, SaveOptions::default()).unwrap_err().to_string();
    assert!(again.starts_with("the destination exists"), "{again}");
    // Beside other files of a model.
    std::fs::remove_file(source.join("model.safetensors")).unwrap();
    let beside = SaveOptions::default().format(WeightsFormat::Pytorch);
    assert_eq!(save_checkpoint(&source, model, beside).unwrap().files, ["pytorch_model.bin"]);
    assert!(!entries(&source).iter().any(|name| name.starts_with('.')));
}

#[test]
fn a_test_of_loaded_weights_says_what_was_not_loaded() {
    let temp = tempdir().unwrap();
    let source = temp.path().join("source");
    saved(&source, 1);
    let words = ["model", "--num-hidden-layers", "2", "--batch-size", "1", "--sequence-length", "8", "test"];
    let run =
        |more: &[&str]| command().args(words).arg("--load-from-checkpoint").arg(&source).args(more).output().unwrap();
    let shown = String::from_utf8(run(&[]).stdout).unwrap();
    assert!(shown.starts_with("Loaded 12 of 21 parameters from ") && shown.contains("passed"), "{shown}");
    let json: Value = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    assert_eq!((json["load"]["missing"].as_array().unwrap().len(), &json["passed"]), (9, &true.into()));
}

#[test]
fn a_tied_head_that_differs_from_the_embedding_is_reported() {
    let temp = tempdir().unwrap();
    let source = temp.path().join("untied");
    saved(&source, 1);
    let tied = small().set("tie_word_embeddings", true).unwrap().construct().device("cpu").unwrap();
    let load = tied.clone().load_from_checkpoint(&source).build().unwrap().load.unwrap();
    assert_eq!(load.unused, ["lm_head.weight".into()]);
    let bin = temp.path().join("tied");
    tied.clone().output_dir(&bin).save_checkpoint(true).format(WeightsFormat::Pytorch).build().unwrap();
    let load = tied.load_from_checkpoint(&bin).build().unwrap().load.unwrap();
    assert!(load.is_complete() && load.skipped.len() == 1, "{load:?}");
}

fn report(words: &[&str]) -> Value {
    let run = command().args(["model", "--json"]).args(words).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn construct_output_goes_to_a_file_and_an_editor() {
    let temp = tempdir().unwrap();
    let editor = temp.path().join("editor.sh");
    std::fs::write(&editor, "#!/bin/sh\ncp \"$2\" \"$1\"\n").unwrap();
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for words in [["-e", "construct"], ["construct", "-e"]] {
        let seen = temp.path().join("seen");
        let mut run = command();
        run.args(["model", "--output-dir"])
            .arg(temp.path().join("m"))
            .args(["-o".as_ref(), temp.path().join("f").as_os_str()]);
        run.args(words).env("VISUAL", format!("{} {}", editor.display(), seen.display())).env("EDITOR", "false");
        let said = run.output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let text = std::fs::read_to_string(&seen).unwrap();
        assert!(text.starts_with("Model configuration\n") && text.as_bytes() == said.stdout, "{text}");
        assert_eq!(std::fs::read_to_string(temp.path().join("f")).unwrap(), text);
        std::fs::remove_file(seen).unwrap();
    }
    let mut run = command();
    run.args(["model", "construct", "-e", "--output-dir"]).arg(temp.path().join("n"));
    let said = run.env_remove("VISUAL").env_remove("EDITOR").output().unwrap();
    assert_eq!((said.status.code(), temp.path().join("n").exists()), (Some(1), false));
    insta::assert_snapshot!("no_editor_is_set", String::from_utf8(said.stderr).unwrap());
}

#[test]
fn a_magic_opens_no_editor_and_says_what_to_do_instead() {
    let temp = tempdir().unwrap();
    let notebook = temp.path().join("edit.ipynb");
    let source = format!("%model construct -e --output-dir {}", temp.path().join("m").display());
    let cell = serde_json::json!({ "cell_type": "code", "id": "a", "metadata": {}, "execution_count": null,
        "outputs": [], "source": source });
    let json = serde_json::json!({ "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell] });
    std::fs::write(&notebook, json.to_string()).unwrap();
    let out = temp.path().join("out.ipynb");
    let run = command().arg("run").arg(&notebook).arg("--output").arg(&out).env("VISUAL", "true").output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(1), "{said}");
    let out = std::fs::read_to_string(out).unwrap();
    assert!(out.contains("a notebook has no editor to open"), "{said}{out}");
    assert!(!temp.path().join("m").exists());
}

#[test]
fn the_estimate_of_a_known_model_matches_known_numbers() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("llama2");
    let words =
        ["-t", "llama2_7b", "--dtype", "bfloat16", "--batch-size", "4", "--sequence-length", "2048", "construct"];
    let json = report(&[&["--output-dir", folder.to_str().unwrap()], &words[..]].concat());
    let estimate = &json["estimate"];
    let number = |value: &Value| value.as_u64().unwrap();
    // 32 layers of 4096 wide keys and values, two bytes each.
    assert_eq!(number(&estimate["kv_cache_bytes"]["per_token"]), 2 * 32 * 4096 * 2);
    assert_eq!(number(&estimate["weights_bytes"]), 2 * number(&json["parameters"]["total"]));
    assert_eq!(number(&estimate["optimizer_bytes"]["adamw"]), 12 * number(&json["parameters"]["total"]));
    let groups = estimate["groups"].as_array().unwrap();
    let sum: u64 = groups.iter().map(|group| number(&group["parameters"])).sum();
    assert_eq!(sum, number(&json["parameters"]["total"]));
    // 2 operations for each of the parameters but the embedding's, and attention over the mean context of 1024.5.
    let products = number(&json["parameters"]["total"]) - 32000 * 4096 - 65 * 4096;
    let attention = 32 * 4 * 4096 * 2049 / 2;
    assert_eq!(number(&estimate["flops_per_token"]["forward"]), 2 * products + attention);
    // Results of operations in one layer: 7 of the width, 5 each of queries and keys, 3 of the feed-forward part.
    let layer = (7 + 5 + 5) * 4096 + 3 * 11008;
    let (plain, checkpointed) = (&estimate["activations_bytes"], &estimate["checkpointed_activations_bytes"]);
    assert_eq!(number(plain), 4 * 2048 * 2 * (32 * layer + 3 * 4096) + 2 * (64 << 20));
    assert!(number(plain) > 5 * number(checkpointed), "{plain} {checkpointed}");
}

/// Peak memory of one step of the 4M model in a process of its own, and the estimate, in bytes.
fn measured(tokens: usize, flags: &[&str]) -> (f64, Value) {
    let tokens = tokens.to_string();
    let batch = ["--batch-size", "4", "--sequence-length", tokens.as_str()];
    let temp = tempdir().unwrap();
    let folder = temp.path().join("m");
    let tested = report(&[&["test"], &batch[..], flags].concat());
    let mut built = report(&[&["construct", "--output-dir", folder.to_str().unwrap()], &batch[..]].concat());
    (tested["peak_memory_bytes"].as_f64().unwrap(), built["estimate"].take())
}

#[test]
fn estimated_activations_are_within_half_of_the_measured_peak() {
    let plain = |estimate: &Value| estimate["activations_bytes"].as_f64().unwrap();
    let checkpointed = |estimate: &Value| estimate["checkpointed_activations_bytes"].as_f64().unwrap();
    let eager = |estimate: &Value| plain(estimate) + estimate["eager_attention_bytes"]["all_layers"].as_f64().unwrap();
    type Case<'a> = (&'a [&'a str], &'a dyn Fn(&Value) -> f64);
    let cases: [Case; 3] =
        [(&[], &plain), (&["--gradient-checkpointing"], &checkpointed), (&["--attn-implementation", "eager"], &eager)];
    for (flags, estimated) in cases {
        // The difference of two lengths leaves weights, gradients and the process itself out.
        let ((short, few), (long, many)) = (measured(128, flags), measured(512, flags));
        let ratio = (long - short) / (estimated(&many) - estimated(&few));
        assert!((0.67..1.5).contains(&ratio), "{flags:?}: measured / estimated = {ratio:.2}");
    }
}

#[test]
fn a_window_bounds_the_cache_and_the_work() {
    let temp = tempdir().unwrap();
    let estimate = |window: u64| {
        let config = project("mistral").unwrap().config("4M").unwrap().set("sliding_window", window).unwrap();
        config.construct().output_dir(temp.path().join(window.to_string())).build().unwrap().estimate_of(1, 64)
    };
    let (narrow, wide) = (estimate(16), estimate(32768));
    assert_eq!(narrow.kv_cache_full_context, 16 * narrow.kv_cache_per_token);
    assert_eq!(wide.kv_cache_full_context, wide.context as u64 * wide.kv_cache_per_token);
    // Mean visible tokens: (1 + … + 16 + 48 · 16) / 64 = 14.125 against 32.5.
    let per_token = |visible: f64| (wide.kv_cache_per_token as f64 / 2.0 / 4.0 * 4.0 * visible) as u64;
    let heads = project("mistral").unwrap().config("4M").unwrap().render().unwrap();
    let groups = (heads.num_attention_heads / heads.num_key_value_heads) as u64;
    assert_eq!(
        wide.forward_flops_per_token - narrow.forward_flops_per_token,
        groups * (per_token(32.5) - per_token(14.125))
    );
}

#[test]
fn every_parameter_learns_from_a_repeated_batch() {
    let model = project("llama").unwrap().config("4M").unwrap().construct().device("cpu").unwrap().build().unwrap();
    let report = model.test().steps(6).sequence_length(24).lr(0.5).repeat_batch(true).run().unwrap();
    assert!(report.passed(), "{:?}", report.without_gradient);
    assert_eq!((report.tensors, report.steps.len()), (39, 6));
    let losses = report.losses();
    assert!(losses[5] < losses[0] - 0.5, "{losses:?}");
    assert!(report.tokens_per_second() > 0.0 && report.peak_memory_bytes.unwrap() > 4_434_176 * 4);
}

#[test]
fn a_learning_rate_that_explodes_does_not_pass() {
    let model = project("llama").unwrap().config("4M").unwrap().construct().device("cpu").unwrap().build().unwrap();
    let report = model.test().steps(4).sequence_length(8).lr(1e12).run().unwrap();
    assert!(!report.passed());
}

#[test]
fn a_model_on_meta_cannot_be_tested_and_says_so() {
    let model = project("llama").unwrap().config("llama3.1_70b").unwrap().construct().build().unwrap();
    let error = model.test().run().unwrap_err().to_string();
    assert!(error.contains("meta") && error.contains("--device cpu"), "{error}");
}
