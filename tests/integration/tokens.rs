//! Adding tokens: the plan, the changed files, and the errors.

use chandlery::display::View;
use chandlery::tokenizer::{AddTokens, RowEdit, RowInit, TokenPlan, TokenizerFiles};
use chandlery_tests::fixture;
use serde_json::{Value, json};

fn files(model: &str) -> TokenizerFiles {
    TokenizerFiles::read(&fixture(model)).unwrap()
}

fn plan(model: &str, yaml: &str) -> TokenPlan {
    AddTokens::from_yaml(yaml, "tokens.yaml").unwrap().plan(&files(model), 1024, None).unwrap()
}

fn written(plan: &TokenPlan, name: &str) -> String {
    let (_, bytes) = plan.tokenizer().to_write().into_iter().find(|(file, _)| file == name).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn json_of(plan: &TokenPlan, name: &str) -> Value {
    serde_json::from_str(&written(plan, name)).unwrap()
}

const ALL: &str = r#"
special_tokens: ["<|tool|>", {token: "<|call|>", init: "copy:<|end|>"}]
regular_tokens: [candela, {token: lumen, init: zero}]
mask_token: "<mask>"
unk_token: {token: "<unk>", if_missing: true}
pad_token: {token: "<pad>", if_missing: true}
eos_token: {token: "<|im_end|>", init: "copy:1022"}
bos_token: "<|bos|>"
"#;

#[test]
fn a_plan_shows_every_token_with_its_id_and_row() {
    insta::assert_snapshot!(plan("llama-gqa", ALL).view().plain());
}

#[test]
fn ids_follow_roles_then_lists_and_rows_follow_their_init() {
    let plan = plan("llama-gqa", ALL);
    let edits: Vec<(u32, RowInit)> = plan.edits().iter().map(|edit| (edit.id, edit.init)).collect();
    let expected = [
        (1024, RowInit::Copy(1019)), // bos took the place of 1019
        (1025, RowInit::Copy(1022)), // eos as asked for, not a copy of the old one
        (1026, RowInit::Mean),       // unk: there was none
        (1027, RowInit::Mean),       // mask
        (1028, RowInit::Mean),
        (1029, RowInit::Copy(1022)),
        (1030, RowInit::Mean),
        (1031, RowInit::Zero),
    ];
    assert_eq!(edits, expected);
    assert_eq!((plan.vocab_before(), plan.vocab_size(), plan.known_rows()), (1024, 1032, 1024));
    let tokenizer = plan.tokenizer();
    let roles = ["bos_token", "eos_token", "pad_token", "unk_token", "mask_token"].map(|role| tokenizer.role(role));
    assert_eq!(roles, [Some(1024), Some(1025), Some(1023), Some(1026), Some(1027)]);
    let mentioned: Vec<(&str, u32)> = plan.mentioned().collect();
    assert!(mentioned.contains(&("<|im_end|>", 1025)) && !mentioned.iter().any(|(token, _)| *token == "<pad>"));
    let ids = tokenizer.encode("<|tool|>candela<|im_end|>").unwrap();
    assert_eq!(ids, [1019, 1028, 1030, 1025]);
}

#[test]
fn all_files_of_the_tokenizer_say_the_same() {
    for model in ["llama-gqa", "llama-gqa-4x", "mistral-sw8", "mistral-sw8-4x", "qwen3-tied", "qwen3-4x"] {
        let plan = plan(model, "eos_token: '<|im_end|>'\nspecial_tokens: ['<|im_start|>']\nregular_tokens: [candela]");
        let ids = |token: &str| plan.tokenizer().tokenizer().unwrap().token_to_id(token);
        assert_eq!(["<|im_end|>", "<|im_start|>", "candela"].map(ids), [Some(1024), Some(1025), Some(1026)], "{model}");
        let added = json_of(&plan, "tokenizer.json")["added_tokens"].as_array().unwrap().clone();
        let special: Vec<(u64, bool)> = added[added.len() - 3..]
            .iter()
            .map(|entry| (entry["id"].as_u64().unwrap(), entry["special"].as_bool().unwrap()))
            .collect();
        assert_eq!(special, [(1024, true), (1025, true), (1026, false)], "{model}");
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let json = json_of(&plan, name);
            assert_eq!(json["eos_token"], "<|im_end|>", "{model}/{name}");
            assert_eq!(json["additional_special_tokens"], json!(["<|im_start|>"]), "{model}/{name}");
        }
        let config = json_of(&plan, "tokenizer_config.json");
        assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
        if let Some(decoder) = config.get("added_tokens_decoder") {
            assert_eq!(decoder["1025"]["content"], "<|im_start|>", "{model}");
            assert_eq!((&decoder["1026"]["special"], &decoder["1026"]["normalized"]), (&json!(false), &json!(true)));
        }
    }
}

#[test]
fn nothing_else_in_tokenizer_json_changes_by_a_byte() {
    for model in ["llama-gqa", "mistral-sw8", "qwen3-tied"] {
        let plan = plan(model, "special_tokens: ['<|im_start|>']");
        let before = std::fs::read_to_string(fixture(model).join("tokenizer.json")).unwrap();
        let after = written(&plan, "tokenizer.json");
        let begin = after.find("    {\n      \"id\": 1024").unwrap();
        let end = after[begin..].find("\n    }").unwrap() + begin + "\n    }".len();
        let without = format!("{}{}", after[..begin].trim_end().trim_end_matches(','), &after[end..]);
        assert_eq!(without, before, "{model}");
    }
}

#[test]
fn special_tokens_are_added_in_the_style_of_each_file() {
    let parts = |config: Value, map: Value| {
        let definition = std::fs::read(fixture("llama-gqa").join("tokenizer.json")).unwrap();
        let files = vec![
            ("tokenizer.json".to_owned(), definition),
            ("tokenizer_config.json".to_owned(), config.to_string().into_bytes()),
            ("special_tokens_map.json".to_owned(), map.to_string().into_bytes()),
            ("added_tokens.json".to_owned(), br#"{"<|end|>": 1022}"#.to_vec()),
        ];
        TokenizerFiles::from_parts("parts", files)
    };
    let object =
        json!({ "content": "<|eot|>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false });
    let config =
        json!({ "tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|start|>"], "eos_token": object });
    let map = json!({ "additional_special_tokens": [{ "content": "<|start|>" }], "eos_token": object });
    let yaml = "eos_token: '<|end|>'\nspecial_tokens: ['<|start|>', '<|tool|>']";
    let tokens = AddTokens::from_yaml(yaml, "tokens.yaml").unwrap();
    let plan = tokens.plan(&parts(config, map), 1024, None).unwrap();
    let config = json_of(&plan, "tokenizer_config.json");
    assert_eq!(config["additional_special_tokens"], json!(["<|start|>", "<|tool|>"]));
    assert!(config.get("extra_special_tokens").is_none());
    assert_eq!(config["eos_token"]["content"], "<|end|>");
    let map = json_of(&plan, "special_tokens_map.json");
    assert_eq!(map["additional_special_tokens"], json!([{ "content": "<|start|>" }, "<|tool|>"]));
    assert_eq!(json_of(&plan, "added_tokens.json"), json!({ "<|end|>": 1022, "<|tool|>": 1024 }));
}

#[test]
fn the_same_tokens_a_second_time_change_nothing() {
    for model in ["llama-gqa", "mistral-sw8-4x", "qwen3-tied"] {
        let tokens = AddTokens::from_yaml(ALL, "tokens.yaml").unwrap();
        let once = tokens.plan(&files(model), 1024, None);
        // mistral's vocabulary does not have <|end|>, so there is no row to copy.
        let Ok(once) = once else {
            assert_eq!(model, "mistral-sw8-4x");
            continue;
        };
        let twice = tokens.plan(once.tokenizer(), once.vocab_size(), None).unwrap();
        assert!(twice.is_empty(), "{}", twice.view().plain());
        assert_eq!(twice.tokenizer().to_write(), once.tokenizer().to_write());
    }
}

#[test]
fn a_role_moves_to_a_known_token_and_keeps_its_row() {
    let moved = plan("llama-gqa", "eos_token: '<|end|>'\npad_token: {token: '<|start|>', init: mean}");
    assert!(!moved.changes_rows() && !moved.is_empty());
    assert_eq!((moved.tokenizer().role("eos_token"), moved.tokenizer().role("pad_token")), (Some(1022), Some(1021)));
    let wiped = plan("llama-gqa", "eos_token: {token: '<|end|>', init: zero}");
    assert_eq!(wiped.edits(), [RowEdit { id: 1022, init: RowInit::Zero }]);
    assert_eq!(wiped.vocab_size(), 1024);
    // A token of the vocabulary that no list of added tokens knows becomes special where it is.
    let word = plan("llama-gqa", "special_tokens: [def]");
    assert_eq!(word.tokens()[0].id, Some(665));
    assert!(!word.changes_rows() && !word.is_empty());
}

#[test]
fn spare_rows_are_used_first_and_the_vocabulary_never_shrinks() {
    let tokens = AddTokens::open("chatml").unwrap();
    let padded = tokens.plan(&files("llama-gqa"), 1088, None).unwrap();
    assert_eq!((padded.vocab_size(), padded.known_rows()), (1088, 1024));
    assert_eq!(padded.edits().iter().map(|edit| edit.id).collect::<Vec<_>>(), [1024, 1025]);
    insta::assert_snapshot!(padded.view().plain());
    let multiple = tokens.plan(&files("llama-gqa"), 1024, Some(64)).unwrap();
    assert_eq!(multiple.vocab_size(), 1088);
    let nothing = AddTokens::from_yaml("{}", "tokens.yaml").unwrap();
    assert_eq!(nothing.plan(&files("llama-gqa"), 1000, Some(64)).unwrap().vocab_size(), 1024);
    assert!(nothing.plan(&files("llama-gqa"), 1024, Some(64)).unwrap().is_empty());
    for multiple in [0, usize::MAX] {
        let error = tokens.plan(&files("llama-gqa"), 1024, Some(multiple)).unwrap_err().to_string();
        assert!(error.contains("--pad-to-multiple"), "{error}");
    }
}

#[test]
fn a_padding_token_is_added_if_it_is_missing() {
    let default = AddTokens::default_pad();
    assert!(default.plan(&files("llama-gqa"), 1024, None).unwrap().is_empty());
    let plan = default.plan(&files("mistral-sw8"), 1024, None).unwrap();
    assert_eq!(plan.edits(), [RowEdit { id: 1024, init: RowInit::Zero }]);
    assert_eq!(plan.tokenizer().role("pad_token"), Some(1024));
}

#[test]
fn the_configuration_follows_the_roles() {
    let mut config = json!({ "vocab_size": 1024, "bos_token_id": 5, "eos_token_id": [1020, 7], "sep_token_id": null });
    plan("llama-gqa", "special_tokens: ['<|tool|>']").sync_config(&mut config);
    assert_eq!(config["eos_token_id"], json!([1020, 7]));
    assert_eq!((&config["vocab_size"], &config["bos_token_id"]), (&json!(1025), &json!(1019)));
    plan("llama-gqa", "eos_token: '<|end|>'").sync_config(&mut config);
    assert_eq!((&config["eos_token_id"], &config["vocab_size"]), (&json!(1022), &json!(1025)));
    assert_eq!((&config["pad_token_id"], &config["sep_token_id"]), (&json!(1023), &Value::Null));
}

#[test]
fn errors_in_a_file_of_tokens_name_the_line() {
    let texts = [
        "# comment\neos_tokn: x",
        "eos_token:\n  token: x\n  initial: zero",
        "eos_token:\n  init: zero",
        "eos_token: 5",
        "eos_token:",
        "eos_token: [a, b]",
        "eos_token: {token: ''}",
        "pad_token: {token: x, init: zeros}",
        "pad_token: {token: x, init: 0}",
        "pad_token: {token: x, init: 'copy:'}",
        "pad_token: {token: x, init: 'copy:99999999999'}",
        "pad_token: {token: x, if_missing: maybe}",
        "special_tokens: <|x|>",
        "special_tokens:\n- a\n- {token: b, if_missing: true}",
        "special_tokens:\n- a\n- b\n- a",
        "special_tokens: [a]\nregular_tokens: [a]",
        "eos_token: a\nregular_tokens: [a]",
        "eos_token: {token: a, init: zero}\npad_token: {token: a, init: mean}",
        "eos_token: a\neos_token: b",
        "eos_token: !tag a",
        "- a",
        "a: [",
        "1: x",
    ];
    let mut all = String::new();
    for text in texts {
        let error = AddTokens::from_yaml(text, "tokens.yaml").expect_err(text);
        all.push_str(&format!("{text}\n>>> {error}\n\n"));
    }
    for text in ["pad_token: {token: x, init: 'copy:1024'}", "special_tokens:\n- a\n- {token: b, init: 'copy:<|x|>'}"] {
        let error =
            AddTokens::from_yaml(text, "tokens.yaml").unwrap().plan(&files("llama-gqa"), 1024, None).expect_err(text);
        all.push_str(&format!("{text}\n>>> {error}\n\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn binary_or_endless_files_of_tokens_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        AddTokens::open(path.to_str().unwrap()).unwrap_err().to_string()
    };
    assert!(refused(b"eos_token: x\npad_token: \xff").contains("not UTF-8 text\n  where:"));
    assert!(refused(&b"special_tokens: [a]\n# ".repeat(600_000)).contains("more than 1048576 bytes"));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    let error = refused(bomb.as_bytes());
    assert!(error.contains("not YAML") && error.contains("repetition limit"), "{error}");
    let error = refused(format!("special_tokens: {}{}", "[".repeat(5000), "]".repeat(5000)).as_bytes());
    assert!(error.contains("recursion limit"), "{error}");
    let error = AddTokens::open("chatmll").unwrap_err().to_string();
    assert!(error.contains("did you mean `chatml`?"), "{error}");
}

#[test]
fn a_python_only_tokenizer_is_refused_with_advice() {
    let slow = TokenizerFiles::from_parts("folder", vec![("tokenizer.model".to_owned(), vec![1, 2, 3])]);
    let error = AddTokens::open("chatml").unwrap().plan(&slow, 1024, None).unwrap_err().to_string();
    assert!(error.contains("only tokenizer.model\n  where: folder\n  do: let transformers write it once"), "{error}");
    let hollow = TokenizerFiles::from_parts("folder", Vec::new());
    let error = AddTokens::default_pad().plan(&hollow, 1024, None).unwrap_err().to_string();
    assert!(error.contains("there is no tokenizer here"), "{error}");
}

#[test]
fn a_tokenizer_whose_ids_lie_far_beyond_the_model_is_refused() {
    let mut definition = json_of(&plan("llama-gqa", "{}"), "tokenizer.json");
    definition["model"]["vocab"]["<|end|>"] = json!(4_294_967_295u32);
    let hostile =
        TokenizerFiles::from_parts("far", vec![("tokenizer.json".to_owned(), definition.to_string().into_bytes())]);
    let error = AddTokens::open("chatml").unwrap().plan(&hostile, 1024, None).unwrap_err().to_string();
    assert!(error.contains("the id 4294967295, but the model has 1024 rows\n  where: far"), "{error}");
    for text in ["{\"model\": {\"vocab\": {\"a\": -1}}}", "[1]", "{\"added_tokens\": 3}", "\u{ff}"] {
        let broken = TokenizerFiles::from_parts("far", vec![("tokenizer.json".to_owned(), text.as_bytes().to_vec())]);
        let error = AddTokens::default_pad().plan(&broken, 1024, None).unwrap_err().to_string();
        assert!(error.contains("cannot be read: ") && error.contains("far/tokenizer.json"), "{error}");
    }
}
