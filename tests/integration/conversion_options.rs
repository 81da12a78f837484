//! What `convert` takes beside its two folders, and what it says in JSON.

use std::fs::File;
use std::time::Instant;

use chandlery::convert::TransferKind;
use chandlery::spec::DType;
use chandlery::{convert, device};
use chandlery_tests::{copy_of, edit_config, edit_header, entries, fixture, json};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::command::command;

/// Runs `convert --json` and gives the exit code and the report.
fn report(words: &[&str]) -> (Option<i32>, Value) {
    let said = command().arg("convert").args(words).arg("--json").output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
    (said.status.code(), json)
}

#[test]
fn the_report_has_what_programs_ask_for() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    let source = fixture("llama-gqa");
    let (code, said) = report(&[source.to_str().unwrap(), native.to_str().unwrap(), "-g", "--debug-params"]);
    assert_eq!((code, &said["passed"]), (Some(0), &json!(true)));
    assert_eq!((&said["tensors"], &said["bit_identical"]), (&json!(30), &json!(30)));
    assert!(said["max_abs_diff"].as_f64().unwrap() < 1e-4);
    for list in ["missing", "unused", "mismatched", "different", "skipped"] {
        assert_eq!(said[list], json!([]), "{list}");
    }
    assert_eq!(said["layers"].as_array().unwrap().len(), 3);
    assert_eq!((&said["tolerance"], &said["first_divergent_layer"]), (&json!(0.001), &Value::Null));

    let parameters = said["parameters"].as_array().unwrap();
    assert_eq!(parameters.len(), 30);
    let one = parameters.iter().find(|one| one["from"] == "model.layers.2.mlp.up_proj.weight").unwrap();
    assert_eq!(one["to"], "causal_lm.layer_stack.layers.2.feedforward.up_proj.weight");
    assert_eq!((&one["shape"], &one["to_dtype"]), (&json!([160, 64]), &json!("float32")));
    assert_eq!(one["from_sha256"], one["to_sha256"]);
    assert_eq!(one["to_sha256"].as_str().unwrap().len(), 64);
}

/// What transformers generated is in the fixtures; here both sides continue a prompt of their own.
#[test]
fn both_sides_continue_a_prompt_in_either_direction() {
    let temp = tempdir().unwrap();
    let mut texts = Vec::new();
    for name in ["llama-rope3", "mistral-sw8", "qwen3-tied"] {
        let (native, back) = (temp.path().join(name), temp.path().join(format!("{name}-back")));
        for (source, destination) in [(&fixture(name), &native), (&native, &back)] {
            let run = convert(source, destination).prompt(Some("Once upon a time".to_owned())).generation_test(true);
            let test = run.run().unwrap().generation.unwrap();
            assert!(test.passed() && test.divergence.is_none(), "{name}: {test:?}");
            assert!(test.prompt.ends_with("Once upon a time"), "{}", test.prompt);
            assert_eq!(test.reference.ids.len(), 16, "{name}");
            texts.push(test.candle.text.clone());
        }
    }
    assert_eq!((&texts[0], &texts[2], &texts[4]), (&texts[1], &texts[3], &texts[5]));
}

#[test]
fn a_cast_is_held_against_the_source_value_by_value() {
    let temp = tempdir().unwrap();
    let conversion = convert(fixture("llama-bf16"), temp.path().join("f16")).dtype(Some(DType::F16)).run().unwrap();
    let proof = conversion.proof.as_deref().unwrap();
    assert_eq!((proof.count(TransferKind::Cast), proof.bit_identical(), proof.different().count()), (30, 0, 0));
    let pairs = conversion.pairs();
    assert!(pairs.0.iter().all(|pair| pair.source_digest != pair.written_digest));
}

/// The weights are 128 GB of nothing: reading any of it would take longer than a test may.
#[test]
fn a_dry_run_reads_headers_only() {
    let temp = tempdir().unwrap();
    let model = copy_of("llama-gqa", temp.path());
    let (file, rows) = (model.join("model.safetensors"), 250_000_000u64);
    edit_config(&model, |config| drop(config.insert("vocab_size".to_owned(), json!(rows))));
    let mut end = 0;
    edit_header(&file, |header| {
        for (name, entry) in header.iter_mut().filter(|(name, _)| *name != "__metadata__") {
            if ["model.embed_tokens.weight", "lm_head.weight"].contains(&name.as_str()) {
                entry["shape"] = json!([rows, 64]);
            }
            let shape: Vec<u64> = serde_json::from_value(entry["shape"].clone()).unwrap();
            let next = end + 4 * shape.iter().product::<u64>();
            entry["data_offsets"] = json!([end, next]);
            end = next;
        }
    });
    let header = u64::from_le_bytes(std::fs::read(&file).unwrap()[..8].try_into().unwrap());
    File::options().write(true).open(&file).unwrap().set_len(8 + header + end).unwrap();
    let began = Instant::now();
    let conversion = convert(&model, temp.path().join("native")).dry_run(true).run().unwrap();
    assert!(began.elapsed().as_secs() < 5);
    assert_eq!(conversion.table.parameters(), 2 * 64 * rows + 123_328);
    // What validation would take is refused before anything is written, where the machine does not have it.
    if device::Device::Cpu.memory().is_some_and(|memory| memory.free < 120_000_000_000) {
        let refused = convert(&model, temp.path().join("native")).run().unwrap_err().to_string();
        let need = "two layers of the model and the logits of 64 tokens take 119.4 GiB, and ";
        assert!(refused.starts_with(need), "{refused}");
        assert!(refused.ends_with("conversions and quantization have --no-validate"), "{refused}");
    }
    assert_eq!(entries(temp.path()), ["llama-gqa"]);
}

#[test]
fn a_length_given_replaces_the_models_in_both_directions() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    convert(fixture("llama-gqa"), &native).max_length(Some(128)).run().unwrap();
    convert(&native, &back).run().unwrap();
    for folder in [&native, &back] {
        assert_eq!(json(folder.join("config.json"))["max_position_embeddings"], 128);
    }
    let longer = temp.path().join("longer");
    convert(&native, &longer).max_length(Some(512)).run().unwrap();
    assert_eq!(json(longer.join("config.json"))["max_position_embeddings"], 512);
}

#[test]
fn words_that_contradict_each_other_are_refused() {
    let temp = tempdir().unwrap();
    let (source, out) = (fixture("llama-gqa"), temp.path().join("out"));
    let say = |words: &[&str]| {
        let said = command().arg("convert").args([&source, &out]).args(words).output().unwrap();
        (said.status.code(), String::from_utf8(said.stderr).unwrap())
    };
    let (code, text) = say(&["-g", "--no-validate"]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = say(&["--device", "meta"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("error: device `meta` holds no tensors\n  where: --device\n  do: "), "{text}");
    assert_eq!(say(&["--log-level", "debug", "--dry-run"]).0, Some(0));
    assert_eq!(say(&["--log-level", "loud", "--dry-run"]).0, Some(2));
    if device::Device::present().len() == 1 {
        assert_eq!(say(&["--device", "cuda"]).0, Some(1));
    }
    assert_eq!(entries(temp.path()), Vec::<String>::new());
}
