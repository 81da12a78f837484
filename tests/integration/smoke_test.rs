//! `model test`: isolation of documents, located faults, comparisons, and what the command reports.

use std::process::Output;

use chandlery::candle::{DType as CandleType, Tensor};
use chandlery::construct::Construction;
use chandlery::dataset;
use chandlery::dataset::{Block, Collator};
use chandlery::model::{Batch, next_token_loss};
use chandlery::ops::AttentionImplementation;
use chandlery::project;
use chandlery::smoke_test::{CompareSettings, FaultKind};
use serde_json::Value;

use crate::command::command;

fn small() -> Construction {
    let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 3).unwrap();
    config.construct().device("cpu").unwrap().build().unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(CandleType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn documents_in_a_packed_row_are_computed_as_if_alone() {
    let built = small();
    let model = built.model.as_ref().unwrap();
    let documents: [&[u32]; 3] = [&[5, 6, 7, 8, 9], &[10, 11], &[12, 13, 14, 15]];
    let block = Block { input_ids: documents.concat(), document_starts: Some(vec![0, 5, 7]), context: Vec::new() };
    let collator = Collator { sequence_length: 16, packed: None, pad: 1, eos: Some(2) };
    let packed = collator.collate(std::slice::from_ref(&block)).unwrap();
    let logits = model.forward(&packed.batch).unwrap();
    let (mut start, mut sum, mut count) = (0, 0.0, 0);
    for document in documents {
        let alone = model.forward(&Batch::new(vec![document.to_vec()]).unwrap()).unwrap();
        let together = logits.narrow(1, start, document.len()).unwrap();
        for (a, b) in values(&alone).iter().zip(values(&together)) {
            assert!((a - b).abs() < 1e-4, "{a} and {b} in the document at {start}");
        }
        let labels = vec![document.iter().map(|&id| i64::from(id)).collect()];
        let pairs = document.len() - 1;
        sum += next_token_loss(&alone, &labels).unwrap().to_scalar::<f32>().unwrap() * pairs as f32;
        count += pairs;
        start += document.len();
    }
    let loss = next_token_loss(&logits, &packed.labels).unwrap().to_scalar::<f32>().unwrap();
    assert!((loss - sum / count as f32).abs() < 1e-5, "{loss} and {}", sum / count as f32);

    // Without isolation the second document sees the first: the test would notice.
    let never = Collator { packed: Some(false), ..collator }.collate(&[block]).unwrap();
    let mixed = model.forward(&never.batch).unwrap().narrow(1, 5, 2).unwrap();
    let apart = logits.narrow(1, 5, 2).unwrap();
    assert!(values(&mixed).iter().zip(values(&apart)).any(|(a, b)| (a - b).abs() > 1e-2));
}

/// Puts a NaN into one weight of the model.
fn spoil(built: &Construction, name: &str) {
    let variables = built.model.as_ref().unwrap().parameters().variables();
    let (_, var) = variables.into_iter().find(|(path, _)| path.as_str() == name).unwrap();
    let mut values = values(var.as_tensor());
    values[7] = f32::NAN;
    var.set(&Tensor::from_vec(values, var.dims(), var.device()).unwrap()).unwrap();
}

#[test]
fn a_nan_is_traced_to_the_layer_and_the_weight() {
    for (weight, place) in [
        ("causal_lm.layer_stack.layers.1.feedforward.up_proj.weight", "causal_lm.layer_stack.layers.1"),
        ("causal_lm.layer_stack.layers.0.attention.key_linear.weight", "causal_lm.layer_stack.layers.0"),
        ("causal_lm.layer_norm.weight", "causal_lm.layer_norm"),
        ("lm_head.weight", "lm_head"),
    ] {
        let built = small();
        spoil(&built, weight);
        let report = built.test().steps(3).sequence_length(16).run().unwrap();
        let fault = report.fault.clone().unwrap();
        assert_eq!((fault.step, fault.kind, fault.place.as_str()), (1, FaultKind::Activation, place));
        let name = weight.strip_prefix(place).unwrap().trim_start_matches('.');
        assert!(fault.detail.contains(&format!("{name} holds 1 NaN")), "{}", fault.detail);
        assert!(!report.passed() && report.steps.len() == 1);
        assert!(report.failures()[0].contains(place));
    }
}

#[test]
fn a_nan_in_the_embedding_is_found_when_its_token_comes() {
    let built = small();
    let embedding = "causal_lm.input_encoder.embedding.weight";
    spoil(&built, embedding);
    // The NaN is in the row of token 0, which a row of all tokens below 2000 is sure to hold soon.
    let report = built.test().steps(8).batch_size(16).sequence_length(256).lr(0.0).run().unwrap();
    let fault = report.fault.unwrap();
    assert_eq!((fault.kind, fault.place.as_str()), (FaultKind::Activation, "causal_lm.input_encoder"));
    assert!(fault.detail.contains("embedding.weight holds 1 NaN"), "{}", fault.detail);
}

#[test]
fn an_explosion_in_the_middle_is_found_where_it_happens() {
    let report = small().test().steps(9).sequence_length(16).lr(1e30).run().unwrap();
    let fault = report.fault.clone().unwrap();
    assert!(fault.step > 1 && fault.step == report.steps.len() && fault.step < 9, "{fault}");
    assert_eq!(fault.kind, FaultKind::Activation, "{fault}");
    assert!(!report.passed());
}

#[test]
fn settings_that_compute_the_same_agree_and_say_by_how_much() {
    let built = small();
    for (changes, largest) in [("gradient-checkpointing=true", 1e-5), ("dtype=float64", 1e-4), ("dtype=bfloat16", 0.08)]
    {
        let report = built.test().steps(2).sequence_length(24).compare(CompareSettings::parse(changes).unwrap());
        let report = report.run().unwrap();
        assert!(report.passed(), "{changes}: {:?}", report.failures());
        let comparison = report.comparison.as_ref().unwrap();
        assert_eq!((comparison.steps.len(), comparison.parameters.len()), (2, report.tensors));
        let worst = comparison.parameters.iter().map(|parameter| parameter.difference).fold(0.0, f64::max);
        assert!(worst <= largest, "{changes}: {worst:e}");
        assert!(changes.starts_with("gradient") || worst > 0.0, "{changes} cannot be bitwise equal");
    }
}

#[test]
fn every_attention_agrees_with_eager_on_packed_documents() {
    let built = small();
    for changes in [
        "attn-implementation=sdpa",
        "attn-implementation=flash_attention_2,fuse-optim-with-backward=true",
        "attn-implementation=flex_attention,gradient-checkpointing=true",
    ] {
        let data = dataset("classics").unwrap().config("best_fit").unwrap();
        let test = built.test().attention(AttentionImplementation::Eager).dataset(data).steps(2).sequence_length(96);
        let report = test.compare(CompareSettings::parse(changes).unwrap()).run().unwrap();
        let comparison = report.comparison.as_ref().unwrap();
        assert!(report.passed() && comparison.agrees(), "{changes}: {:?}", report.failures());
        let worst = comparison.parameters.iter().map(|parameter| parameter.difference).fold(0.0, f64::max);
        assert!(worst > 0.0 && worst < 2e-5, "{changes}: {worst:e}");
    }
}

#[test]
fn a_dataset_is_learned_and_its_passes_are_counted() {
    let data = dataset("classics").unwrap().config("first_fit").unwrap().limit(4);
    let report = small().test().dataset(data).steps(6).batch_size(4).sequence_length(128).lr(0.5).run().unwrap();
    assert!(report.passed(), "{:?}", report.failures());
    let losses = report.losses();
    assert!(losses[5] < losses[0] - 0.5, "{losses:?}");
    assert!(report.passes.unwrap() > 1.0 && report.data.contains("classics first_fit"), "{}", report.data);
}

#[test]
fn gradients_are_measured_for_every_parameter() {
    let report = small().test().sequence_length(16).packed(true).run().unwrap();
    assert!(report.passed());
    assert_eq!(report.gradients.len(), report.tensors);
    assert!(report.gradients.iter().all(|gradient| gradient.norm > 0.0));
    assert_eq!(report.frame().unwrap().shape(), (1, 6));
    assert_eq!(report.gradient_frame().unwrap().height(), report.tensors);
    let share = report.utilization().unwrap();
    assert!(share > 0.0 && share < 1.5, "{share}");
}

fn test_command(words: &[&str]) -> Output {
    command().args(["model", "--num-hidden-layers", "1"]).args(words).output().unwrap()
}

fn json_of(said: &Output) -> Value {
    serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn the_json_report_has_what_was_promised() {
    let said = test_command(&["test", "--steps", "4", "--sequence-length", "16", "--json"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let json = json_of(&said);
    assert_eq!(json["passed"], true);
    assert_eq!(json["losses"].as_array().unwrap().len(), 4);
    for number in
        ["tokens_per_second", "step_ms", "peak_memory_bytes", "first_step_ms", "flops_per_token", "utilization"]
    {
        assert!(json[number].as_f64().unwrap() > 0.0, "{number}: {}", json[number]);
    }
    for step in json["steps"].as_array().unwrap() {
        let part = |name: &str| step[name].as_f64().unwrap();
        let parts = part("data_ms") + part("forward_backward_ms") + part("update_ms");
        assert!((parts - part("ms")).abs() < 1e-6 && part("forward_backward_ms") > 0.0, "{step}");
    }
    assert_eq!(json["gradients"].as_array().unwrap().len() as u64, json["tensors"].as_u64().unwrap());
    assert_eq!(json["settings"]["attn_implementation"], "sdpa");
}

#[test]
fn flags_stand_before_and_after_the_word_test() {
    let flags = [
        "--batch-size=3",
        "--sequence-length=16",
        "--steps=2",
        "--lr=0.1",
        "--packed",
        "--dataset-project=classics",
        "--dataset-config=best_fit",
        "--attn-implementation=eager",
        "--gradient-checkpointing",
        "--fuse-optim-with-backward",
        "--seed=3",
        "--repeat-batch",
        "--json",
    ];
    let after = json_of(&test_command(&[&["test"], &flags[..]].concat()));
    let before = json_of(&test_command(&[&flags[..], &["test"]].concat()));
    assert_eq!(after["losses"], before["losses"]);
    for report in [&after, &before] {
        assert_eq!((&report["batch_size"], &report["lr"], &report["seed"]), (&3.into(), &0.1.into(), &3.into()));
        assert_eq!(report["settings"]["gradient_checkpointing"], true);
        assert!(report["data"].as_str().unwrap().contains("classics best_fit"));
    }
}

#[test]
fn the_verdict_comes_first_without_control_codes_in_files() {
    let said = test_command(&["test", "--steps", "2", "--sequence-length", "16", "--compare", "dtype=float64"]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(text.lines().next(), Some("Test of llama 4M on cpu passed"), "{text}");
    assert!(text.contains("Gradients by layer") && text.contains("float64: agree"), "{text}");
    assert_eq!(String::from_utf8(said.stderr).unwrap(), "");
    assert!(!text.contains(['\r', '\u{1b}']));
}

#[test]
fn a_failed_test_is_the_exit_code_and_names_the_layer() {
    let said = test_command(&["test", "--steps", "6", "--sequence-length", "16", "--lr", "1e30"]);
    assert_eq!(said.status.code(), Some(1));
    let text = String::from_utf8(said.stdout).unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("Test of llama 4M on cpu FAILED: step ") && first.contains("causal_lm"), "{first}");
}

#[test]
fn usage_that_makes_no_sense_exits_with_2() {
    for words in [
        &["test", "--compare", "attn=eager"][..],
        &["test", "--compare", ""],
        &["test", "--attn-implementation", "fast"],
        &["test", "--dataset-config", "greedy"],
        &["test", "--packed=maybe"],
    ] {
        let said = test_command(words);
        assert_eq!((said.status.code(), said.stdout.len()), (Some(2), 0), "{words:?}: {said:?}");
    }
}

#[test]
fn what_cannot_be_tested() {
    let mut all = String::new();
    for words in [
        &["test", "--device", "meta"][..],
        &["test", "--steps", "0"],
        &["test", "--sequence-length", "1"],
        &["test", "--sequence-length", "100000"],
        &["test", "--lr", "-1"],
        &["test", "--dataset-project", "clasics"],
        &["test", "--dataset-project", "classics", "--dataset-config", "gready"],
    ] {
        let said = test_command(words);
        assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0), "{words:?}: {said:?}");
        all.push_str(&format!("$ model {}\n{}", words.join(" "), String::from_utf8(said.stderr).unwrap()));
    }
    insta::assert_snapshot!(all);
}
