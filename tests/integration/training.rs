//! A training step's loss and gradients: against transformers, and the same however the step is computed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chandlery::candle::{DType as CandleType, Device, Tensor};
use chandlery::checkpoint::Checkpoint;
use chandlery::construct::Construction;
use chandlery::model::{Batch, CausalLm, IGNORED_LABEL, ModelError, StepOptions};
use chandlery::model_folder::ModelFolder;
use chandlery::ops::{AttentionImplementation, sgd_in_place};
use chandlery::project;
use chandlery::spec::{DType, Naming};
use chandlery_tests::{MODELS, fixture, json};
use serde_json::Value;

use crate::command::command;

/// Every way to compute a step, without dropout.
fn ways() -> Vec<StepOptions> {
    let mut ways = Vec::new();
    for attention in AttentionImplementation::ALL {
        for (gradient_checkpointing, fuse_optimizer) in [(false, false), (true, false), (false, true), (true, true)] {
            ways.push(StepOptions { attention, gradient_checkpointing, fuse_optimizer, dropout_seed: None });
        }
    }
    ways
}

fn load(name: &str, trainable: bool) -> CausalLm {
    ModelFolder::open(fixture(name)).unwrap().load(DType::F32, &Device::Cpu, trainable).unwrap()
}

fn integers(reference: &Checkpoint, name: &str) -> Option<Vec<Vec<u32>>> {
    let data = reference.read(&name.into()).ok()?;
    let values = data.bytes.chunks_exact(8).map(|raw| i64::from_le_bytes(raw.try_into().unwrap()) as u32);
    Some(values.collect::<Vec<_>>().chunks(data.shape[1]).map(<[u32]>::to_vec).collect())
}

fn labels_of(ids: &[Vec<u32>]) -> Vec<Vec<i64>> {
    ids.iter().map(|row| row.iter().map(|&id| i64::from(id)).collect()).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(CandleType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The loss, and each parameter's gradient, delivered once.
fn gradients(
    model: &CausalLm,
    batch: &Batch,
    labels: &[Vec<i64>],
    options: &StepOptions,
) -> (f32, HashMap<String, Tensor>) {
    let found = Arc::new(Mutex::new(HashMap::new()));
    let sink = found.clone();
    let loss = model.loss_and_gradients(
        batch,
        labels,
        options,
        Arc::new(move |path, _, gradient| {
            let before = sink.lock().unwrap().insert(path.to_string(), gradient);
            assert!(before.is_none(), "{path} came twice");
            Ok(())
        }),
    );
    let found = std::mem::take(&mut *found.lock().unwrap());
    (loss.unwrap(), found)
}

#[test]
fn losses_and_gradient_norms_are_those_of_transformers_in_every_way() {
    for name in MODELS {
        let reference = Checkpoint::open(fixture(name).join("reference.safetensors")).unwrap();
        let expected = json(fixture(name).join("reference.json"));
        let norms = expected["grad_l2_plain"].as_object().unwrap();
        let family = ModelFolder::open(fixture(name)).unwrap().family().clone();
        let model = load(name, true);
        let ids = integers(&reference, "plain.input_ids").unwrap();
        let (batch, labels) = (Batch::new(ids.clone()).unwrap(), labels_of(&ids));
        for options in ways() {
            let (loss, gradients) = gradients(&model, &batch, &labels, &options);
            near(f64::from(loss), expected["loss_plain"].as_f64().unwrap(), &format!("{name}: loss, {options:?}"));
            assert_eq!(gradients.len(), norms.len(), "{name}");
            for (path, gradient) in gradients {
                let hf = family.name_on(Naming::HuggingFace, &path.as_str().into());
                let square: f64 = values(&gradient).iter().map(|&x| f64::from(x).powi(2)).sum();
                let what = format!("{name}: gradient of {hf}, {options:?}");
                near(square.sqrt(), norms[hf.as_str()].as_f64().unwrap(), &what);
            }
        }
    }
}

#[test]
fn logits_are_those_of_transformers_by_every_attention_padded_and_packed() {
    for name in MODELS {
        let reference = Checkpoint::open(fixture(name).join("reference.safetensors")).unwrap();
        for attention in AttentionImplementation::ALL {
            let model = load(name, false).with_attention(attention);
            for case in ["plain", "left_pad", "right_pad", "packed"] {
                let of = |what: &str| integers(&reference, &format!("{case}.{what}"));
                let mask = of("attention_mask").map(|rows| {
                    rows.iter().map(|row| row.iter().map(|&bit| bit as u8).collect::<Vec<_>>()).collect::<Vec<_>>()
                });
                let batch = Batch {
                    input_ids: of("input_ids").unwrap(),
                    attention_mask: mask.clone(),
                    position_ids: of("position_ids"),
                };
                let found = values(&model.forward(&batch).unwrap());
                let data = reference.read(&format!("{case}.logits").as_str().into()).unwrap();
                let expected = data.bytes.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap()));
                let (seq, vocab) = (data.shape[1], data.shape[2]);
                for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let (row, position) = (place / vocab / seq, place / vocab % seq);
                    let real = mask.as_ref().is_none_or(|mask| mask[row][position] != 0);
                    let error = (found - expected).abs();
                    assert!(!real || error <= 1e-3, "{name}, {attention}, {case}, {row} {position}: {error}");
                }
            }
        }
    }
}

fn built(project_name: &str, settings: &[(&str, Value)]) -> Construction {
    let mut config = project(project_name).unwrap().config("4M").unwrap();
    for (name, value) in settings {
        config = config.set(name, value.clone()).unwrap();
    }
    config.construct().device("cpu").unwrap().seed(11).build().unwrap()
}

fn batch() -> (Batch, Vec<Vec<i64>>) {
    let ids: Vec<Vec<u32>> =
        (0..2).map(|row| (0..40).map(|place| (place * 37 + row * 91) % 900 + 3).collect()).collect();
    let mut labels = labels_of(&ids);
    labels[1][25..].fill(IGNORED_LABEL);
    (Batch::new(ids).unwrap(), labels)
}

/// Losses of three steps of SGD, and the weights after them.
fn trained(project_name: &str, settings: &[(&str, Value)], options: StepOptions) -> (Vec<f32>, Vec<Vec<f32>>) {
    let built = built(project_name, settings);
    let model = built.model.as_ref().unwrap();
    let (batch, labels) = batch();
    let step = |_| {
        let sink = Arc::new(|_: &_, var: &_, gradient| sgd_in_place(var, &gradient, 0.3));
        model.loss_and_gradients(&batch, &labels, &options, sink).unwrap()
    };
    let losses: Vec<f32> = (0..3).map(step).collect();
    (losses, model.parameters().variables().iter().map(|(_, var)| values(var.as_tensor())).collect())
}

#[test]
fn steps_end_at_the_same_weights_in_every_way() {
    let two = ("num_hidden_layers", Value::from(2));
    let tied = ("tie_word_embeddings", Value::from(true));
    let dropout = ("layer_dropout", Value::from(0.1));
    // Gated, rotary and tied; trainable ALiBi and DeepNet; LayerNorm with biases and dropout.
    for (project_name, settings, dropout_seed) in [
        ("llama", vec![two.clone(), tied], None),
        ("deepone", vec![two.clone()], None),
        ("causal_lm", vec![two, dropout], Some(5)),
    ] {
        let run = |options| trained(project_name, &settings, StepOptions { dropout_seed, ..options });
        let reference = StepOptions { attention: AttentionImplementation::Eager, ..StepOptions::default() };
        let (losses, weights) = run(reference);
        assert!(losses[2] < losses[0], "{project_name}: {losses:?}");
        for options in ways().into_iter().filter(|options| *options != reference) {
            let (other_losses, other_weights) = run(options);
            for (a, b) in losses.iter().zip(&other_losses) {
                assert!((a - b).abs() < 2e-5, "{project_name}, {options:?}: {losses:?} and {other_losses:?}");
            }
            for (a, b) in weights.iter().flatten().zip(other_weights.iter().flatten()) {
                assert!((a - b).abs() < 2e-5, "{project_name}, {options:?}: {a} and {b}");
            }
        }
    }
}

#[test]
fn fused_gradients_come_from_the_last_layer_to_the_first() {
    let built = built("llama", &[("num_hidden_layers", Value::from(3)), ("tie_word_embeddings", Value::from(true))]);
    let (batch, labels) = batch();
    let order = |fuse_optimizer| {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let sink = paths.clone();
        let options = StepOptions { fuse_optimizer, ..StepOptions::default() };
        let deliver = Arc::new(move |path: &chandlery::spec::ParamPath, _: &_, _| {
            sink.lock().unwrap().push(path.to_string());
            Ok(())
        });
        built.model.as_ref().unwrap().loss_and_gradients(&batch, &labels, &options, deliver).unwrap();
        std::mem::take(&mut *paths.lock().unwrap())
    };
    let fused = order(true);
    let layers: Vec<usize> = fused
        .iter()
        .filter_map(|path| path.strip_prefix("causal_lm.layer_stack.layers.")?.split('.').next()?.parse().ok())
        .collect();
    assert!(layers.is_sorted_by(|a, b| a >= b), "{fused:?}");
    // Both uses of the tied table have added when it comes: last.
    assert_eq!(fused.last().unwrap(), "causal_lm.input_encoder.embedding.weight");
    assert_eq!(fused.len(), order(false).len());
}

#[test]
fn two_hundred_layers_train_on_an_ordinary_stack() {
    let settings = [
        ("num_hidden_layers", Value::from(200)),
        ("hidden_size", Value::from(32)),
        ("intermediate_size", Value::from(48)),
        ("num_attention_heads", Value::from(2)),
        ("num_key_value_heads", Value::from(1)),
    ];
    let run = move || {
        let built = built("llama", &settings);
        let (batch, labels) = batch();
        let options = StepOptions { fuse_optimizer: true, ..StepOptions::default() };
        let (loss, gradients) = gradients(built.model.as_ref().unwrap(), &batch, &labels, &options);
        assert!(loss.is_finite());
        assert_eq!(gradients.len(), built.model.as_ref().unwrap().parameters().variables().len());
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn attention_dropout_is_refused_by_all_but_eager() {
    let built = built("causal_lm", &[("attention_dropout", Value::from(0.25))]);
    let (batch, labels) = batch();
    let step = |attention| {
        let options = StepOptions { attention, dropout_seed: Some(1), ..StepOptions::default() };
        built.model.as_ref().unwrap().loss_and_gradients(&batch, &labels, &options, Arc::new(|_, _, _| Ok(())))
    };
    assert!(step(AttentionImplementation::Eager).unwrap().is_finite());
    let error = step(AttentionImplementation::Sdpa).unwrap_err();
    assert!(matches!(error, ModelError::Attention(_)));
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn checkpointing_and_the_fused_optimizer_hold_less_memory() {
    let peak = |sizes: &[&str], flags: &[&str]| {
        let arguments = ["model", "-p", "llama", "-t", "4M", "--device", "cpu", "test", "--json", "--steps", "2"];
        let output = command().args(arguments).args(sizes).args(flags).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        });
        report["peak_memory_bytes"].as_f64().unwrap()
    };
    // Where what layers compute is most of it, and where the weights are.
    let long = ["--batch-size", "8", "--sequence-length", "256"];
    let wide = ["--hidden-size", "512", "--num-hidden-layers", "12", "--batch-size", "1", "--sequence-length", "32"];
    let (plain, checkpointed) = (peak(&long, &[]), peak(&long, &["--gradient-checkpointing"]));
    assert!(checkpointed < 0.8 * plain, "{checkpointed} and {plain}");
    let (plain, fused) = (peak(&wide, &[]), peak(&wide, &["--fuse-optim-with-backward"]));
    assert!(fused < 0.8 * plain, "{fused} and {plain}");
}

fn near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-3 * expected.abs(), "{what}: {found} instead of {expected}");
}
