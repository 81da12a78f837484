//! Fields of config.json as transformers reads them: absent, null, repeated, or written by Python.

use chandlery::model_folder::ModelFolder;
use chandlery::naming::Families;
use chandlery::spec::{DType, ModelConfig, PositionEmbedding};
use chandlery::validation::Verdict;
use chandlery::{convert, finalize};
use chandlery_tests::{copy_of, edit_config, fixture, json};
use serde_json::{Value, json};
use tempfile::tempdir;

/// The configuration of a fixture with some fields set, and some (null here) left out.
fn read(name: &str, fields: Value) -> Result<ModelConfig, String> {
    let mut config = json(fixture(name).join("config.json"));
    for (field, value) in fields.as_object().unwrap() {
        if value == "absent" {
            config.as_object_mut().unwrap().shift_remove(field);
        } else {
            config[field] = value.clone();
        }
    }
    Families::built_in()
        .unwrap()
        .read_config(&config, name)
        .map(|(config, _)| config)
        .map_err(|error| error.to_string())
}

#[test]
fn absent_fields_are_the_defaults_of_the_class() {
    let absent = json!({ "sliding_window": "absent", "max_position_embeddings": "absent" });
    let mistral = read("mistral-sw8", absent.clone()).unwrap();
    assert_eq!((mistral.sliding_window, mistral.max_position_embeddings), (Some(4096), 131_072));
    assert_eq!(read("mistral-sw8", json!({ "sliding_window": null })).unwrap().sliding_window, None);
    let qwen3 = read("qwen3-4x", absent).unwrap();
    assert_eq!((qwen3.sliding_window, qwen3.max_position_embeddings), (None, 32_768));
    let windowed = json!({ "use_sliding_window": true, "max_window_layers": 0, "sliding_window": "absent", "layer_types": "absent" });
    assert_eq!(read("qwen3-4x", windowed).unwrap().sliding_window, Some(4096));
}

#[test]
fn null_key_value_heads_are_as_many_as_heads() {
    for name in ["llama-gqa", "mistral-sw8", "qwen3-4x"] {
        let config = read(name, json!({ "num_key_value_heads": null })).unwrap();
        assert_eq!(config.num_key_value_heads, config.num_attention_heads, "{name}");
    }
}

#[test]
fn older_rotary_parameters_win_over_newer_ones() {
    let theta = |fields: Value| match read("llama-gqa", fields).unwrap().position {
        PositionEmbedding::Rope(rope) => (rope.theta, rope.scaling.is_some()),
        other => panic!("{other:?}"),
    };
    let newer = json!({ "rope_type": "default", "rope_theta": 300.0 });
    let older = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8 });
    let both = json!({ "rope_parameters": newer, "rope_scaling": older, "rope_theta": "absent" });
    assert_eq!(theta(both), (10_000.0, true));
    assert_eq!(theta(json!({ "rope_parameters": newer, "rope_scaling": older, "rope_theta": 500.0 })), (500.0, true));
    for empty in [json!(null), json!({})] {
        let fields = json!({ "rope_parameters": newer, "rope_scaling": empty, "rope_theta": "absent" });
        assert_eq!(theta(fields), (300.0, false));
    }
    read("llama-gqa", json!({ "rope_parameters": { "full_attention": newer } })).unwrap_err();
}

#[test]
fn kinds_of_layers_decide_where_the_window_is() {
    let of = |kinds: [&str; 2]| {
        let kinds: Vec<&str> = kinds.into_iter().cycle().take(3).collect();
        let fields =
            json!({ "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 4, "layer_types": kinds });
        let config = read("qwen3-4x", fields).unwrap();
        (0..3).map(|layer| config.layer(layer).sliding_window).collect::<Vec<_>>()
    };
    let (full, window) = ("full_attention", "sliding_attention");
    assert_eq!((of([full, full]), of([window, window])), (vec![None; 3], vec![Some(9); 3]));
    assert_eq!(of([full, window]), [None, Some(9), None]);
}

#[test]
fn the_element_type_may_be_left_to_the_weights() {
    let temp = tempdir().unwrap();
    for (index, (dtype, older)) in
        [(json!("auto"), json!(null)), (json!(null), json!("auto")), (json!(null), json!("torch.bfloat16"))]
            .into_iter()
            .enumerate()
    {
        let folder = copy_of("llama-bf16", &temp.path().join(index.to_string()));
        edit_config(&folder, |config| {
            config.insert("dtype".to_owned(), dtype);
            config.insert("torch_dtype".to_owned(), older);
        });
        assert_eq!(ModelFolder::open(&folder).unwrap().config().dtype, DType::BF16);
        let (native, back) = (temp.path().join(format!("n{index}")), temp.path().join(format!("b{index}")));
        assert_eq!(convert(&folder, &native).run().unwrap().verdict(), Verdict::Agree);
        convert(&native, &back).run().unwrap();
        assert_eq!(json(back.join("config.json")), json(folder.join("config.json")));
    }
}

#[test]
fn ids_of_minus_one_are_absent() {
    let config = read("llama-gqa", json!({ "bos_token_id": -1, "eos_token_id": [-1, 2], "pad_token_id": -1 })).unwrap();
    assert_eq!((config.bos_token_id, config.pad_token_id, config.eos_token_id), (None, None, vec![2]));
    assert!(read("llama-gqa", json!({ "eos_token_id": -2 })).is_err());
}

#[test]
fn words_of_python_for_numbers_count_where_they_are_read() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |field: &str| {
        std::fs::write(&path, format!("\u{feff}{}", text.replacen('{', &format!("{{ {field},"), 1))).unwrap()
    };
    with("\"best_loss\": NaN, \"limits\": [0.0, Infinity]");
    let (native, back, done) = (temp.path().join("native"), temp.path().join("back"), temp.path().join("done"));
    let there = convert(&folder, &native).run().unwrap();
    assert!(there.passed() && there.verdict().reason().unwrap().contains("best_loss"));
    assert!(convert(&native, &back).run().unwrap().passed());
    assert_eq!(json(back.join("config.json"))["limits"], json!([0.0, { "__float__": "Infinity" }]));
    finalize(&folder, &done).run().unwrap();
    // A number that the model is made of must be one.
    std::fs::write(&path, text.replace("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": NaN")).unwrap();
    assert!(convert(&folder, temp.path().join("no")).run().unwrap_err().to_string().contains("rms_norm_eps"));
}
