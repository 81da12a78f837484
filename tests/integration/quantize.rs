//! Quantized folders: made by finalize, loaded with no flag, refused where they do not fit, and trained for.

use std::path::{Path, PathBuf};
use std::process::Output;

use chandlery::candle::{DType as CandleType, Device, Tensor};
use chandlery::checkpoint::Checkpoint;
use chandlery::model::{Batch, CausalLm, KvCache};
use chandlery::model_folder::ModelFolder;
use chandlery::ops::QuantizedWeight;
use chandlery::project;
use chandlery::project::ProjectConfig;
use chandlery::quantize::QuantizationReport;
use chandlery::spec::{DType, Recipe};
use chandlery::{compare, finalize, inspect};
use chandlery_tests::{MODELS, copy_of, edit_config, entries, fixture, json};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::command::command;

fn quantized(source: &Path, folder: &Path, recipe: Recipe) -> QuantizationReport {
    let done = finalize(source, folder).quantize(Some(recipe)).run().unwrap();
    (**done.quantization.as_ref().unwrap()).clone()
}

fn load(folder: &Path) -> CausalLm {
    ModelFolder::open(folder).unwrap().load(DType::F32, &Device::Cpu, false).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(CandleType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_recipe_quantizes_every_reference_model() {
    let temp = tempdir().unwrap();
    for name in MODELS {
        for recipe in Recipe::ALL {
            let folder = temp.path().join(format!("{name}-{recipe}"));
            let report = quantized(&fixture(name), &folder, recipe);
            let layers = ModelFolder::open(&folder).unwrap().config().num_hidden_layers;
            assert_eq!(report.tensors.len(), 7 * layers, "{name}");
            let most = if recipe.scheme().weights.bits() == 4 { 0.15 } else { 0.04 };
            assert!(report.relative() < most, "{name} {recipe}: {}", report.relative());
            assert!(report.tensors.iter().all(|error| error.cosine > 0.98 && error.worst.relative < 0.5), "{name}");
            let effect = report.logits.as_ref().unwrap();
            // The same numbers as a comparison of the two folders by itself.
            let apart = compare(fixture(name), &folder).run().unwrap();
            assert_eq!(apart.max_abs(), effect.max_abs(), "{name} {recipe}");
            assert!(effect.max_abs() > 0.0 && effect.max_abs().is_finite());
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
}

#[test]
fn generation_with_a_cache_computes_what_whole_rows_do() {
    let temp = tempdir().unwrap();
    for recipe in Recipe::ALL {
        let folder = temp.path().join(recipe.name());
        quantized(&fixture("llama-gqa"), &folder, recipe);
        let model = load(&folder);
        let ids: Vec<u32> = (0..12).map(|index| (index * 37 + 5) % 300).collect();
        let whole = model.forward(&Batch::new(vec![ids.clone()]).unwrap()).unwrap();
        let mut cache = KvCache::new();
        for (position, &id) in ids.iter().enumerate() {
            let one = model.forward_cached(&Batch::new(vec![vec![id]]).unwrap(), &mut cache).unwrap();
            let expected = values(&whole.narrow(1, position, 1).unwrap());
            let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            for (a, b) in values(&one).iter().zip(&expected) {
                // A sum in another order may round an activation the other way.
                let tolerance = if recipe.scheme().activations.is_some() { 3e-2 } else { 1e-5 };
                assert!((a - b).abs() <= tolerance * scale, "{recipe}, position {position}: {a} and {b}");
            }
        }
        assert_eq!(model.generate_greedy(&ids, 4, &[]).unwrap().len(), 4);
    }
}

#[test]
fn packing_is_that_of_plain_loops() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("quantized");
    quantized(&fixture("llama-gqa"), &folder, Recipe::Int8DynamicActInt4Weight);
    let (before, after) = (Checkpoint::open(fixture("llama-gqa")).unwrap(), Checkpoint::open(&folder).unwrap());
    let module = "model.layers.1.mlp.gate_proj";
    let read = |part: &str| after.read(&format!("{module}.{part}").as_str().into()).unwrap();
    let (packed, scales, shape) = (read("weight_packed"), read("weight_scale"), read("weight_shape"));
    let weight = before.read(&format!("{module}.weight").as_str().into()).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap())).collect()
    };
    let (weight, scales, width) = (floats(&weight.bytes), floats(&scales.bytes), weight.shape[1]);
    let dims: Vec<i64> = shape.bytes.chunks_exact(8).map(|raw| i64::from_le_bytes(raw.try_into().unwrap())).collect();
    assert_eq!(dims, [(weight.len() / width) as i64, width as i64]);
    assert_eq!(packed.shape, [weight.len() / width, width / 8]);
    for (place, x) in weight.iter().enumerate() {
        let word = u32::from_le_bytes(packed.bytes[place / 8 * 4..][..4].try_into().unwrap());
        let number = (word >> (place % 8 * 4) & 15) as i32 - 8;
        let scale = scales[place / 32];
        // Nearest, or clipped.
        let missed = (number as f32 * scale - x).abs();
        let clipped = number == -8 || number == 7;
        assert!(
            missed <= scale.abs() * 0.5001 || clipped && missed < scale.abs() * 2.5,
            "{place}: {x} as {number} · {scale}"
        );
    }
    // The recipe's numbers stay low-bit in memory, too.
    let float = Tensor::from_vec(weight, (dims[0] as usize, width), &Device::Cpu).unwrap();
    let kept = QuantizedWeight::quantize(&float, Recipe::Int8DynamicActInt4Weight.scheme()).unwrap();
    assert_eq!(kept.bytes(), float.elem_count() / 2 + float.elem_count() / 32 * 4);
}

#[test]
fn indivisible_widths_get_smaller_groups_or_are_refused() {
    let temp = tempdir().unwrap();
    let made = |name: &str, hidden: usize, inner: usize| -> PathBuf {
        let source = temp.path().join(name);
        let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
        let config = config.set("hidden_size", hidden).unwrap().set("num_attention_heads", 2).unwrap();
        let config = config.set("intermediate_size", inner).unwrap();
        config.construct().device("cpu").unwrap().output_dir(&source).save_checkpoint(true).build().unwrap();
        source
    };
    let report = quantized(&made("by 16", 64, 176), &temp.path().join("done"), Recipe::Int4WeightOnly);
    assert!(report.notes.iter().any(|note| note.contains("groups of 16 instead of 128")), "{:?}", report.notes);
    load(&temp.path().join("done"));
    let odd = made("by 4", 64, 100);
    let error = finalize(&odd, temp.path().join("odd")).quantize(Some(Recipe::Int4WeightOnly)).run().unwrap_err();
    insta::assert_snapshot!(error);
    assert!(!temp.path().join("odd").exists());
    quantized(&odd, &temp.path().join("whole rows"), Recipe::Int8WeightOnly);
}

#[test]
fn what_cannot_be_quantized_is_refused_and_nothing_is_written() {
    let temp = tempdir().unwrap();
    let (source, done) = (fixture("llama-gqa"), temp.path().join("done"));
    let run = |source: &Path, words: &[&str]| -> String {
        let output = command().arg("finalize").args([source, &temp.path().join("out")]).args(words).output().unwrap();
        assert!(!output.status.success());
        assert!(!temp.path().join("out").exists());
        said(&output).replace(temp.path().to_str().unwrap(), "[temp]")
    };
    insta::assert_snapshot!("unknown_recipe", run(&source, &["--quantize", "int4-weights-only"]));
    insta::assert_snapshot!(
        "quantized_pickle",
        run(&source, &["--quantize", "int4-weight-only", "--format", "pytorch"])
    );
    quantized(&source, &done, Recipe::Int8WeightOnly);
    insta::assert_snapshot!("quantized_already", run(&done, &["--quantize", "int4-weight-only"]));
    let converted = command().arg("convert").args([&done, &temp.path().join("out")]).output().unwrap();
    assert_eq!(converted.status.code(), Some(1));
    insta::assert_snapshot!("quantized_converted", said(&converted).replace(temp.path().to_str().unwrap(), "[temp]"));
    let broken = copy_of("llama-gqa", temp.path());
    let file = broken.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let start = header["model.layers.0.mlp.up_proj.weight"]["data_offsets"][0].as_u64().unwrap() as usize + 8 + length;
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    insta::assert_snapshot!("quantized_nan", run(&broken, &["--quantize", "int4-weight-only"]));
    assert_eq!(entries(temp.path()), ["done", "llama-gqa"]);
}

#[test]
fn a_block_that_does_not_fit_the_weights_is_refused() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("folder");
    quantized(&fixture("llama-gqa"), &folder, Recipe::Int4WeightOnly);
    let good = std::fs::read(folder.join("config.json")).unwrap();
    let refused = |pointer: &str, value: Value| -> String {
        std::fs::write(folder.join("config.json"), &good).unwrap();
        edit_config(&folder, |config| {
            *config["quantization_config"].pointer_mut(pointer).unwrap() = value;
        });
        let error = ModelFolder::open(&folder)
            .map_err(|error| error.to_string())
            .and_then(|folder| {
                folder.load(DType::F32, &Device::Cpu, false).map(drop).map_err(|error| error.to_string())
            })
            .unwrap_err();
        error.replace(temp.path().to_str().unwrap(), "[temp]")
    };
    let weights = "/config_groups/group_0/weights";
    insta::assert_snapshot!("three_bits", refused(&format!("{weights}/num_bits"), json!(3)));
    insta::assert_snapshot!("group_of_48", refused(&format!("{weights}/group_size"), json!(48)));
    insta::assert_snapshot!("other_method", refused("/quant_method", json!("gptq")));
    // Readable blocks that say something else than the files: other shapes, other names.
    for (pointer, value, said) in [
        (format!("{weights}/num_bits"), json!(8), "weight_packed` is"),
        (format!("{weights}/group_size"), json!(8), "weight_scale` is"),
        (format!("{weights}/strategy"), json!("channel"), "weight_scale` is"),
        (
            "/ignore".to_owned(),
            json!(["lm_head", "model.layers.0.mlp.up_proj"]),
            "missing: `model.layers.0.mlp.up_proj.weight`",
        ),
        ("/ignore".to_owned(), json!([]), "missing: `lm_head.weight_packed`"),
    ] {
        let error = refused(&pointer, value);
        assert!(error.contains(said), "{pointer}: {error}");
    }
}

#[test]
fn inspect_shows_a_quantized_folder_as_its_weights() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("folder");
    quantized(&fixture("llama-tied"), &folder, Recipe::Int8DynamicActInt4Weight);
    let found = inspect(&folder).unwrap();
    let plain = inspect(fixture("llama-tied")).unwrap();
    assert_eq!(found.parameters(), plain.parameters());
    assert_eq!(found.expected_parameters(), plain.expected_parameters());
    let output = command().arg("inspect").arg(&folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    insta::assert_snapshot!("inspect_quantized", text.replace(folder.to_str().unwrap(), "[folder]"));
}

#[test]
fn the_report_of_a_quantization_is_a_table() {
    let temp = tempdir().unwrap();
    let output = command()
        .arg("finalize")
        .args([&fixture("llama-gqa"), &temp.path().join("done")])
        .args(["--quantize", "int8-dynamic-act-int4-weight"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["int4 weights in groups of 32", "mlp.down_proj", "lowest cosine", "logits before and after"] {
        assert!(text.contains(part), "{text}");
    }
    let block = &json(temp.path().join("done/config.json"))["quantization_config"];
    assert_eq!(block["recipe"], "int8-dynamic-act-int4-weight");
}

fn tiny() -> ProjectConfig {
    let mut config = project("llama").unwrap().config("4M").unwrap();
    for (argument, value) in [
        ("num_hidden_layers", 2),
        ("hidden_size", 64),
        ("intermediate_size", 128),
        ("num_attention_heads", 4),
        ("vocab_size", 40),
    ] {
        config = config.set(argument, value).unwrap();
    }
    config
}

/// Trains on one batch, with or without rounding, and gives the folder with the checkpoint and the last loss.
fn trained(temp: &TempDir, name: &str, recipe: Option<Recipe>, steps: usize) -> (PathBuf, f32) {
    let folder = temp.path().join(name);
    let built = tiny().construct().device("cpu").unwrap().output_dir(&folder).build().unwrap();
    let test = built.test().steps(steps).sequence_length(64).lr(1.0).repeat_batch(true).qat_recipe(recipe);
    let saved = folder.join(format!("checkpoints/checkpoint-{steps}"));
    let report = test.save_checkpoint(&saved, Default::default()).run().unwrap();
    assert!(report.passed(), "{:?}", report.failures());
    assert_eq!(report.checkpoint.as_deref(), Some(saved.as_path()));
    (folder, *report.losses().last().unwrap())
}

/// The loss of a checkpoint's weights on the batch that they were trained on, rounded as `recipe` stores them.
fn loss_when_stored(folder: &Path, recipe: Option<Recipe>) -> f32 {
    let builder = tiny().construct().device("cpu").unwrap();
    let built = builder.load_from_checkpoint(folder).strict(true).build().unwrap();
    built.test().sequence_length(64).lr(0.0).qat_recipe(recipe).run().unwrap().losses()[0]
}

#[test]
fn training_for_four_bits_reduces_the_loss_of_quantization() {
    let temp = tempdir().unwrap();
    let recipe = Recipe::Int4WeightOnly;
    // Until little is left to learn: before, what is learned in a step outweighs what rounding costs.
    let steps = 200;
    let (plain, plain_loss) = trained(&temp, "plain", None, steps);
    let (aware, aware_loss) = trained(&temp, "aware", Some(recipe), steps);
    let (ptq, qat) = (loss_when_stored(&plain, Some(recipe)), loss_when_stored(&aware, Some(recipe)));
    assert!(plain_loss < 0.1 && aware_loss < 0.1, "nothing was learned: {plain_loss}, {aware_loss}");
    assert!(ptq > loss_when_stored(&plain, None), "rounding costs nothing here: the test shows nothing");
    assert!(qat < ptq, "quantized after training without: {ptq}, with: {qat}");

    // What is stored is what training saw: the folder's logits are those of the rounded model.
    let done = temp.path().join("done");
    let report = quantized(&aware, &done, recipe);
    assert_eq!(report.tensors.len(), 14);
    let apart = apart_from_training(&aware, &done, recipe);
    assert!(apart <= 1e-4, "{apart} of the largest logit");
}

#[test]
fn training_keeps_whole_what_is_stored_whole() {
    let temp = tempdir().unwrap();
    let recipe = Recipe::Int8WeightOnly;
    for name in ["mamba", "mamba2"] {
        let folder = temp.path().join(name);
        let config = project(name).unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
        let built = config.construct().device("cpu").unwrap().output_dir(&folder).build().unwrap();
        let saved = folder.join("checkpoints/checkpoint-1");
        let test = built.test().batch_size(1).sequence_length(8).lr(0.0).save_checkpoint(&saved, Default::default());
        assert!(test.run().unwrap().passed());
        let done = temp.path().join(format!("{name}-done"));
        // The input and the output projection.
        assert_eq!(quantized(&folder, &done, recipe).tensors.len(), 2, "{name}");
        let apart = apart_from_training(&folder, &done, recipe);
        assert!(apart <= 1e-5, "{name}: {apart}");
    }
}

/// How far the logits of a quantized folder are from those of the model that training rounds, relative to the largest.
fn apart_from_training(folder: &Path, done: &Path, recipe: Recipe) -> f32 {
    let batch = Batch::new(vec![(0..20).map(|index| index * 31 % 40).collect()]).unwrap();
    let expected = values(&load(folder).with_fake_quant(recipe).unwrap().forward(&batch).unwrap());
    let found = values(&load(done).forward(&batch).unwrap());
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    found.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

#[test]
fn rounding_reaches_every_linear_layer_of_every_model() {
    for name in ["llama", "causal_lm", "deepone", "single_head"] {
        let config = project(name).unwrap();
        let config = config.config(config.default_config()).unwrap().set("num_hidden_layers", 1).unwrap();
        let built = config.construct().device("cpu").unwrap().build().unwrap();
        let plain = built.test().batch_size(1).sequence_length(8).lr(0.0).run().unwrap();
        for recipe in [Recipe::Int8DynamicActInt4Weight, Recipe::Int8WeightOnly, Recipe::Float8DynamicActFloat8Weight] {
            let test = built.test().batch_size(1).sequence_length(8).lr(0.0);
            let report = test.qat_recipe(Some(recipe)).run().unwrap();
            assert!(report.passed(), "{name} {recipe}: {:?}", report.failures());
            assert!(report.losses() != plain.losses(), "{name} {recipe}: rounding changed nothing");
        }
    }
}

#[test]
fn the_round_trip_in_a_shell() {
    let temp = tempdir().unwrap();
    let run = |words: &[&str]| {
        let output = command().current_dir(temp.path()).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let size = ["--num-hidden-layers", "1", "--hidden-size", "64", "--intermediate-size", "64"];
    let recipe = "int8-dynamic-act-int4-weight";
    let train = ["-p", "llama", "-t", "4M", "model", "test", "--steps", "3", "--sequence-length", "16"];
    let save = ["--qat-recipe", recipe, "--save-checkpoint", "--output-dir", "trained", "--repeat-batch"];
    let text = run(&[&train[..], &size, &save].concat());
    assert!(text.contains("checkpoints/checkpoint-3") && text.contains(recipe), "{text}");
    assert!(!temp.path().join("trained/model.safetensors").exists(), "what the steps began with is not saved");
    let text = run(&["finalize", "trained", "done", "--quantize", recipe]);
    assert!(text.contains("the crate in rust/ reads weights as floats"), "{text}");
    // They differ, which is what `compare` is asked about.
    let compared = command().current_dir(temp.path()).args(["compare", "trained", "done", "--json"]).output().unwrap();
    let compared: Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert!(compared["max_abs_diff"].as_f64().unwrap() > 0.0, "{compared}");
    let load = ["-p", "llama", "-t", "4M", "model", "--device", "cpu", "--load-from-checkpoint", "done", "construct"];
    let loaded = command().current_dir(temp.path()).args([&load[..], &size].concat()).output().unwrap();
    assert!(!loaded.status.success() && said(&loaded).contains("the checkpoint is quantized"), "{}", said(&loaded));
    // Before the steps, not after them.
    let again = command().current_dir(temp.path()).args([&train[..], &size, &save].concat()).output().unwrap();
    assert!(!again.status.success() && said(&again).contains("the destination exists"), "{}", said(&again));
    let unknown = command().args(["-p", "llama", "model", "test", "--qat-recipe", "int3"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("int4-weight-only"), "{}", said(&unknown));
}
