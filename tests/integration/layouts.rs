//! Models of types that no family describes: names and bits by rules alone, folders finalized tensor by tensor, the text
//! model of a folder that holds others, and the first description of a family.

use std::path::{Path, PathBuf};

use chandlery::checkpoint::Checkpoint;
use chandlery::convert::{ConvertError, draft_family};
use chandlery::naming::Families;
use chandlery::spec::Recipe;
use chandlery::{convert, finalize, inspect};
use chandlery_tests::{contents, copy_of, edit_config, edit_header, entries, fixture, json};
use serde_json::json;
use tempfile::{TempDir, tempdir};

/// A Llama under a name that nobody knows, with a file beside it.
fn stranger(temp: &TempDir) -> PathBuf {
    let folder = copy_of("llama-gqa", temp.path());
    edit_config(&folder, |config| {
        config.insert("model_type".to_owned(), json!("stranger"));
        config.insert("architectures".to_owned(), json!(["StrangerForCausalLM"]));
    });
    std::fs::write(folder.join("preprocessor_config.json"), "{\"size\": 7}").unwrap();
    folder
}

fn rules(temp: &TempDir, yaml: &str) -> PathBuf {
    let file = temp.path().join("stranger.yaml");
    std::fs::write(&file, format!("family: stranger\n{yaml}")).unwrap();
    file
}

/// Splits, joins, transposes and stacks, with sizes out of config.json.
const RULES: &str = r"to_native:
  - { match: 'lm_head\.', replace: 'head.' }
  - match: 'model\.'
    replace: 'trunk.'
    inside:
      - match: 'layers\.(\d+)\.'
        replace: 'blocks.$1.'
        inside:
          - match: ['self_attn\.q_proj\.', 'self_attn\.k_proj\.', 'self_attn\.v_proj\.']
            replace: 'attention.qkv.'
            sizes:
              - num_attention_heads * head_dim
              - num_key_value_heads * head_dim
              - num_key_value_heads * head_dim
          - { match: 'self_attn\.o_proj\.', replace: 'attention.out.', transpose: true }
          - { match: 'mlp\.up_proj\.', replace: ['mlp.up_a.', 'mlp.up_b.'] }
";

#[test]
fn names_and_bits_move_by_rules_alone_and_back() {
    let temp = tempdir().unwrap();
    let (source, file) = (stranger(&temp), rules(&temp, RULES));
    edit_config(&source, |config| drop(config.insert("head_dim".to_owned(), json!(8))));
    let [native, back] = ["native", "back"].map(|name| temp.path().join(name));
    let there = convert(&source, &native).converter_path(&file).layout_only(true).run().unwrap();
    let proof = there.proof.as_ref().unwrap();
    assert!(there.passed() && proof.lost.is_empty() && proof.different().next().is_none());
    assert_eq!(there.verdict().name(), "not judged");
    assert!(there.verdict().reason().unwrap().contains("--layout-only"));
    let shape = |name: &str| Checkpoint::open(&native).unwrap().table().get(&name.into()).unwrap().shape.clone();
    assert_eq!(shape("trunk.blocks.0.attention.qkv.weight"), [96, 64]);
    assert_eq!(shape("trunk.blocks.1.mlp.up_b.weight")[1], 64);
    assert_eq!(std::fs::read_to_string(native.join("preprocessor_config.json")).unwrap(), "{\"size\": 7}");
    let again = convert(&native, &back).converter_path(&file).layout_only(true).run().unwrap();
    assert!(again.passed() && again.proof.as_ref().unwrap().lost.is_empty());
    assert_eq!(contents(&source), contents(&back));
    assert_eq!(json(source.join("config.json")), json(back.join("config.json")));
    assert_eq!(entries(&source), entries(&back));
}

#[test]
fn tensors_that_no_rule_names_are_refused() {
    let temp = tempdir().unwrap();
    let (source, file) = (stranger(&temp), rules(&temp, "to_native:\n  - { match: 'model\\.', replace: 'trunk.' }\n"));
    let out = temp.path().join("out");
    let said = convert(&source, &out).converter_path(&file).layout_only(true).run().unwrap_err().to_string();
    assert!(said.contains("unused: `lm_head.weight`") && said.contains("add rules"), "{said}");
    assert!(!out.exists());
}

#[test]
fn rules_alone_refuse_what_needs_a_model() {
    let temp = tempdir().unwrap();
    let source = stranger(&temp);
    let out = temp.path().join("out");
    let refused = |rules_text: &str, more: &dyn Fn(chandlery::convert::Convert) -> chandlery::convert::Convert| {
        let file = rules(&temp, rules_text);
        let asked = more(convert(&source, &out).converter_path(&file).layout_only(true));
        let error: ConvertError = asked.run().unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    let said = refused(RULES, &|asked| asked.max_length(7));
    assert!(said.contains("need a family that describes the model"), "{said}");
    let said = refused(RULES, &|asked| asked.reverse(true));
    assert!(said.contains("--reverse"), "{said}");
    let said = refused("to_native:\n  - { match: 'model\\.norm\\.', replace: 'norm.', add: 1.0 }\n", &|asked| asked);
    assert!(said.contains("leave `add` out"), "{said}");
    let said = refused(
        "to_native:\n  - { match: 'model\\.', replace: ['a.', 'b.'], sizes: [7, no_such_field] }\n",
        &|asked| asked,
    );
    assert!(said.contains("cannot be split"), "{said}");
    let said = refused(RULES, &|asked| asked.model_type("other".to_owned()));
    assert!(said.contains("no file has rules for the model_type `other`"), "{said}");
    // Without the flag the same file is not enough.
    let file = rules(&temp, RULES);
    let said = convert(&source, &out).converter_path(&file).run().unwrap_err().to_string();
    assert!(said.contains("does not say how to read its config.json"), "{said}");
}

#[test]
fn a_folder_of_an_unknown_type_is_inspected_and_finalized() {
    let temp = tempdir().unwrap();
    let source = stranger(&temp);
    assert_eq!(inspect(&source).unwrap().table.len(), Checkpoint::open(&source).unwrap().table().len());
    let out = temp.path().join("out");
    let done = finalize(&source, &out).root_copy(true).run().unwrap();
    assert!(done.plan.warnings.iter().any(|warning| warning.contains("no family describes the model_type `stranger`")));
    assert_eq!(contents(&source), contents(&out));
    assert_eq!(json(source.join("config.json")), json(out.join("config.json")));
    assert!(out.join("preprocessor_config.json").is_file() && out.join("tokenizer.json").is_file());
    let said = finalize(&source, temp.path().join("g")).gguf(chandlery::gguf::GgufType::default()).run().unwrap_err();
    assert!(said.to_string().contains("no family describes the model_type"), "{said}");
}

#[test]
fn matrices_of_an_unknown_type_are_quantized_by_their_names() {
    let temp = tempdir().unwrap();
    let source = stranger(&temp);
    let [mine, described] = ["mine", "described"].map(|name| temp.path().join(name));
    let recipe = Some(Recipe::Int8WeightOnly);
    let done = finalize(&source, &mine).root_copy(true).quantize(recipe).run().unwrap();
    assert!(done.quantization.as_ref().unwrap().notes.iter().any(|note| note.contains("logits are not compared")));
    // As the same model under its own name.
    finalize(fixture("llama-gqa"), &described).root_copy(true).quantize(recipe).validate(false).run().unwrap();
    assert_eq!(contents(&mine), contents(&described));
    let block = |folder: &Path| {
        json(folder.join("config.json"))["quantization_config"]["config_groups"]["group_0"]["weights"].clone()
    };
    assert_eq!(block(&mine), block(&described));
}

/// A Llama as the text model of a model for images, as transformers 5 (or 4) names its tensors.
fn with_images(temp: &TempDir, newer: bool) -> PathBuf {
    let folder = copy_of("llama-gqa", temp.path());
    edit_config(&folder, |config| {
        let mut text = config.clone();
        text.retain(|name, _| {
            !["architectures", "torch_dtype", "dtype", "transformers_version"].contains(&name.as_str())
        });
        let dtype = config.get("dtype").or(config.get("torch_dtype")).cloned();
        *config = json!({
            "model_type": "llava",
            "architectures": ["LlavaForConditionalGeneration"],
            "dtype": dtype,
            "text_config": text,
            "vision_config": { "model_type": "clip_vision_model" },
        })
        .as_object()
        .unwrap()
        .clone();
    });
    edit_header(&folder.join("model.safetensors"), |header| {
        let mut renamed = serde_json::Map::new();
        for (name, place) in std::mem::take(header) {
            let name = match (name.strip_prefix("model."), newer) {
                (Some(rest), true) => format!("model.language_model.{rest}"),
                (None, true) => name,
                (_, false) if name == "__metadata__" => name,
                (_, false) => format!("language_model.{name}"),
            };
            renamed.insert(name, place);
        }
        // A tensor of the other model, which holds no bytes.
        let end = renamed.values().filter_map(|place| place["data_offsets"][1].as_u64()).max().unwrap();
        let tower = if newer { "model.vision_tower.patch.weight" } else { "vision_tower.patch.weight" };
        renamed.insert(tower.to_owned(), json!({"dtype": "F32", "shape": [0, 3], "data_offsets": [end, end]}));
        *header = renamed;
    });
    folder
}

#[test]
fn the_text_model_of_a_model_for_images_is_taken() {
    for newer in [true, false] {
        let temp = tempdir().unwrap();
        let source = with_images(&temp, newer);
        let [native, back, plain] = ["native", "back", "plain"].map(|name| temp.path().join(name));
        let there = convert(&source, &native).run().unwrap();
        assert_eq!((there.passed(), there.verdict().name()), (true, "agree"));
        let note = there.notes.iter().find(|note| note.contains("only the text model was taken")).unwrap();
        assert!(note.contains("vision_tower (1)"), "{note}");
        convert(fixture("llama-gqa"), &plain).run().unwrap();
        assert_eq!(contents(&native), contents(&plain));
        convert(&native, &back).run().unwrap();
        assert_eq!(contents(&back), contents(&fixture("llama-gqa")));
        let config = json(back.join("config.json"));
        assert_eq!((&config["model_type"], &config["architectures"]), (&json!("llama"), &json!(["LlamaForCausalLM"])));
        // Finalizing keeps all of it.
        let out = temp.path().join("out");
        finalize(&source, &out).root_copy(true).run().unwrap();
        assert_eq!(contents(&source), contents(&out));
    }
}

#[test]
fn an_unknown_type_is_refused_with_the_parts_it_needs() {
    let temp = tempdir().unwrap();
    let source = stranger(&temp);
    edit_config(&source, |config| {
        config.insert("num_nextn_predict_layers".to_owned(), json!(2));
        config.insert("sliding_window".to_owned(), json!(8));
    });
    let said = convert(&source, temp.path().join("out")).run().unwrap_err().to_string();
    assert!(said.starts_with("model_type `stranger` is not supported"), "{said}");
    assert!(said.contains("there is not: heads for several tokens (`num_nextn_predict_layers: 2`)"), "{said}");
    assert!(
        said.contains("there is: windows (`sliding_window: 8`; known from ") && said.contains("--draft-family"),
        "{said}"
    );
}

#[test]
fn a_drafted_family_is_a_file_to_start_from() {
    let temp = tempdir().unwrap();
    let source = stranger(&temp);
    edit_config(&source, |config| {
        config.insert("depth_scale".to_owned(), json!(0.5));
        config.insert("kinds".to_owned(), json!({"a": null}));
    });
    edit_header(&source.join("model.safetensors"), |header| {
        let end = header.values().filter_map(|place| place["data_offsets"][1].as_u64()).max().unwrap();
        for layer in 0..2 {
            let extra = json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]});
            header.insert(format!("model.layers.{layer}.extra.gain"), extra);
        }
    });
    let draft = draft_family(&source, &Families::built_in().unwrap()).unwrap();
    assert!(draft.contains("extends: llama") && draft.contains("depth_scale == 0.5"), "{draft}");
    assert_eq!(draft.matches(r"model\.layers\.(\d+)\.extra\.gain").count(), 1, "{draft}");
    let file = temp.path().join("draft.yaml");
    std::fs::write(&file, draft).unwrap();
    // Names and bits move with it at once, and back.
    let [native, back] = ["native", "back"].map(|name| temp.path().join(name));
    for (from, to) in [(&source, &native), (&native, &back)] {
        let done = convert(from, to).converter_path(&file).layout_only(true).run().unwrap();
        assert!(done.passed() && done.proof.as_ref().unwrap().lost.is_empty());
    }
    assert_eq!(contents(&source), contents(&back));
    // As a model it is read as far as the rules know it.
    let said = convert(&source, temp.path().join("x")).converter_path(&file).run().unwrap_err().to_string();
    assert!(said.contains("kinds"), "{said}");
    edit_config(&source, |config| drop(config.remove("kinds")));
    let said = convert(&source, temp.path().join("x")).converter_path(&file).run().unwrap_err().to_string();
    assert!(said.contains("unused: `model.layers.0.extra.gain`"), "{said}");
}
