//! Tokens and chat templates on the way, in both directions.

use std::path::Path;

use chandlery::checkpoint::Checkpoint;
use chandlery::convert::TransferKind;
use chandlery::spec::DType;
use chandlery::{compare, convert};
use chandlery_tests::{copy_of, entries, fixture, json};
use serde_json::json;
use tempfile::tempdir;

fn rows(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let data = Checkpoint::open(folder).unwrap().read(&name.into()).unwrap();
    let width = data.bytes.len() / data.shape[0];
    data.bytes.chunks(width).map(<[u8]>::to_vec).collect()
}

const EMBEDDING: &str = "causal_lm.input_encoder.embedding.weight";

/// The only tokenizer of the reference models that has no padding token.
#[test]
fn a_missing_padding_token_gets_a_zero_row_unless_declined() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    let conversion = convert(fixture("mistral-sw8"), &native).generation_test(true).run().unwrap();
    assert!(conversion.passed());
    let proof = conversion.proof().unwrap();
    assert_eq!((proof.count(TransferKind::Grown), proof.bit_identical(), proof.tensors.len()), (2, 28, 30));
    let logits = conversion.logit_diff().unwrap();
    assert_eq!((logits.columns, logits.vocabularies), (1024, (1024, 1025)));
    for name in [EMBEDDING, "lm_head.weight"] {
        let rows = rows(&native, name);
        assert_eq!(rows.len(), 1025);
        assert!(rows[1024].iter().all(|&byte| byte == 0) && rows[1023].iter().any(|&byte| byte != 0));
    }
    let config = json(native.join("config.json"));
    assert_eq!((&config["vocab_size"], &config["pad_token_id"]), (&json!(1025), &json!(1024)));
    assert_eq!(json(native.join("tokenizer_config.json"))["pad_token"], "[PAD]");
    assert_eq!(json(native.join("generation_config.json"))["pad_token_id"], 1024);

    // What was added stays on the way back, and nothing is added there that nobody asked for.
    let again = convert(&native, &back).run().unwrap();
    assert!(again.passed() && again.tokens.is_none());
    let config = json(back.join("config.json"));
    assert_eq!((&config["vocab_size"], &config["pad_token_id"]), (&json!(1025), &json!(1024)));
    assert!(compare(fixture("mistral-sw8"), &back).run().unwrap().passed());
}

#[test]
fn named_tokens_and_a_template_come_in_on_either_way_and_agree() {
    let temp = tempdir().unwrap();
    for name in ["llama-gqa", "llama-tied", "qwen3-tied", "llama-bin-sharded"] {
        let (native, back) = (temp.path().join(name), temp.path().join(format!("{name}-back")));
        let request = |source: &Path, to: &Path| {
            convert(source, to).add_tokens(Some("chatml".to_owned())).chat_template(Some("chatml".to_owned()))
        };
        let there = request(&fixture(name), &native).run().unwrap();
        assert!(there.passed(), "{name}");
        let plain = temp.path().join(format!("{name}-plain"));
        convert(fixture(name), &plain).run().unwrap();
        assert!(request(&plain, &back).run().unwrap().passed(), "{name}");
        // The same tokens, with the same rows, whichever way they came in.
        for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
            assert_eq!(json(native.join(file)), json(back.join(file)), "{name}, {file}");
        }
        assert_eq!(rows(&native, EMBEDDING), rows(&back, "model.embed_tokens.weight"), "{name}");
        let (ours, theirs) = (json(native.join("config.json")), json(back.join("config.json")));
        for key in ["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"] {
            assert_eq!(ours[key], theirs[key], "{name}, {key}");
        }
        let end = there.tokens().unwrap().mentioned().find(|(token, _)| *token == "<|im_end|>").unwrap().1;
        assert_eq!(ours["eos_token_id"], end, "{name}");
        let stops = json(native.join("generation_config.json"))["eos_token_id"].clone();
        assert!(stops.as_array().unwrap().contains(&json!(end)), "{name}: {stops}");
        assert!(std::fs::read_to_string(native.join("chat_template.jinja")).unwrap().contains("<|im_start|>"));
    }
}

#[test]
fn rows_are_cast_with_the_rest_and_fill_up_to_a_multiple() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    let yaml = temp.path().join("tokens.yaml");
    std::fs::write(&yaml, "special_tokens: [\"<a>\", \"<b>\"]\n").unwrap();
    let request = convert(fixture("llama-gqa"), &native).add_tokens(Some(yaml.to_str().unwrap().to_owned()));
    let request = request.pad_to_multiple(Some(64)).dtype(Some(DType::BF16)).max_length(Some(64));
    let planned = request.clone().dry_run(true).run().unwrap();
    assert_eq!(planned.tokens().unwrap().vocab_size(), 1088);
    assert_eq!(entries(temp.path()), ["tokens.yaml"]);
    let conversion = request.run().unwrap();
    assert!(conversion.passed());
    assert_eq!(conversion.table.rows(), planned.table.rows());
    assert_eq!(rows(&native, EMBEDDING).len(), 1088);
    assert_eq!(json(native.join("tokenizer_config.json"))["model_max_length"], 64);
}

/// A token that is there gets the padding role and a zero row: what the old row computed no longer counts.
#[test]
fn rewritten_rows_are_left_out_of_the_comparison() {
    let temp = tempdir().unwrap();
    let yaml = temp.path().join("tokens.yaml");
    std::fs::write(&yaml, "pad_token: { token: \"<|end|>\", init: zero }\n").unwrap();
    let native = temp.path().join("native");
    let request = convert(fixture("llama-gqa"), &native).add_tokens(Some(yaml.to_str().unwrap().to_owned()));
    let conversion = request.generation_test(true).run().unwrap();
    assert!(conversion.passed(), "{}", conversion.logit_diff().unwrap().max_abs());
    assert_eq!(conversion.logit_diff().unwrap().columns, 1023);
    let change = conversion.plan.steps.iter().find(|step| step.to.as_str() == EMBEDDING).unwrap().change.clone();
    assert_eq!(change.as_deref(), Some("rows rewritten: 1"));
}

#[test]
fn a_model_without_a_tokenizer_converts_with_a_note() {
    let temp = tempdir().unwrap();
    let model = copy_of("llama-gqa", temp.path());
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    let conversion = convert(&model, temp.path().join("native")).run().unwrap();
    assert!(conversion.passed() && conversion.tokens.is_none());
    assert!(conversion.notes[0].starts_with("no padding token was added: "), "{:?}", conversion.notes);
    let asked = convert(&model, temp.path().join("other")).add_tokens(Some("chatml".to_owned())).run();
    assert!(asked.unwrap_err().to_string().contains("there is no tokenizer here"));
}

/// Nothing is written where the tokens, the template or the vocabulary cannot be used.
#[test]
fn what_cannot_be_used_is_refused_before_anything_is_written() {
    let temp = tempdir().unwrap();
    let model = copy_of("llama-gqa", temp.path());
    let (yaml, template) = (temp.path().join("tokens.yaml"), temp.path().join("template.jinja"));
    std::fs::write(&yaml, "pad_token:\n  token: \"<x>\"\n  init: \"copy:99999\"\n").unwrap();
    std::fs::write(&template, "{% for message in messages %}{{ message.content }").unwrap();
    let text = |path: &Path| Some(path.to_str().unwrap().to_owned());
    let out = temp.path().join("out");
    let mut said = Vec::new();
    for request in [
        convert(&model, &out).add_tokens(text(&yaml)),
        convert(&model, &out).add_tokens(Some("chatmi".to_owned())),
        convert(&model, &out).chat_template(text(&template)),
        convert(&model, &out).chat_template(Some("gone.jinja".to_owned())),
        convert(&model, &out).pad_to_multiple(Some(0)),
    ] {
        let error = request.run().unwrap_err().to_string();
        let here = std::env::current_dir().unwrap();
        said.push(error.replace(temp.path().to_str().unwrap(), "[temp]").replace(here.to_str().unwrap(), "[here]"));
    }
    insta::assert_snapshot!(said.join("\n\n"));
    assert_eq!(entries(temp.path()), ["llama-gqa", "template.jinja", "tokens.yaml"]);
}
