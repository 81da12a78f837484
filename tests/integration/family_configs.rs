//! Configurations by a family's file: names, defaults, null and absent, what each layer has, and families of one's own.

use chandlery::convert;
use chandlery::model_folder::ModelFolder;
use chandlery::naming::{Families, Family, FieldTreatment};
use chandlery::spec::{Architecture, AttentionKind, ModelConfig, PositionEmbedding};
use chandlery::validation::Verdict;
use chandlery_tests::{copy_of, edit_config, fixture, json};
use serde_json::{Value, json};
use tempfile::tempdir;

/// A family with Llama's tensors and these entries beside those of the sizes.
fn family(entries: &str) -> Family {
    let yaml = format!(
        "family: other\nextends: llama\nhugging_face: {{ class: Other }}\nconfig:\n\
         \x20 - {{ hf: n_embd, aliases: [hidden_size, dim], native: hidden_size }}\n\
         \x20 - {{ hf: intermediate_size, native: intermediate_size, default: '4 * n_embd' }}\n\
         \x20 - {{ hf: n_layer, native: num_hidden_layers, default: 4 }}\n\
         \x20 - {{ hf: num_attention_heads, native: num_attention_heads, default: 4 }}\n{entries}"
    );
    Family::from_yaml(&yaml, "other.yaml").unwrap()
}

fn read(family: &Family, more: Value) -> Result<ModelConfig, String> {
    let mut config = json!({ "model_type": "other", "vocab_size": 64, "n_embd": 32 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    family.read_config(&config, "config.json").map_err(|error| error.to_string())
}

fn windows(config: &ModelConfig) -> Vec<Option<usize>> {
    (0..config.num_hidden_layers).map(|layer| config.layer(layer).sliding_window).collect()
}

#[test]
fn aliases_win_where_they_say_something() {
    let family = family("");
    let width = |more: Value| read(&family, more).unwrap().hidden_size;
    assert_eq!(width(json!({})), 32);
    assert_eq!(width(json!({ "hidden_size": 48 })), 48);
    assert_eq!((width(json!({ "hidden_size": null })), width(json!({ "hidden_size": {}, "dim": 16 }))), (32, 16));
    // Other expressions see the width that holds.
    assert_eq!(read(&family, json!({ "dim": 16 })).unwrap().intermediate_size, 64);
    // What was said by an alias is changed there: else it would go on winning.
    let source = json!({ "model_type": "other", "vocab_size": 64, "n_embd": 32, "dim": 16 });
    let before = family.read_config(&source, "config.json").unwrap();
    let native = family.native_config(&before, &source);
    let wider = ModelConfig { hidden_size: 64, head_dim: 16, intermediate_size: 256, ..before };
    let written = family.write_config(&wider, &native, "config.json").unwrap();
    assert_eq!((&written["dim"], &written["n_embd"]), (&json!(64), &json!(64)));
}

#[test]
fn absent_and_null_are_told_apart() {
    let family = family(
        "  - { hf: window, native: sliding_window, default: 8, if_null: none }\n\
         \x20 - { hf: kv, native: num_key_value_heads, default: 2, if_null: num_attention_heads }\n",
    );
    let both = |more: Value| {
        let config = read(&family, more).unwrap();
        (config.sliding_window, config.num_key_value_heads)
    };
    assert_eq!(both(json!({})), (Some(8), 2));
    assert_eq!(both(json!({ "window": null, "kv": null })), (None, 4));
    assert_eq!(both(json!({ "window": 5, "kv": 1 })), (Some(5), 1));
    // A window that is not there is written as null, which is not what its absence means.
    let plain = read(&family, json!({ "window": null })).unwrap();
    assert_eq!(family.write_config(&plain, &Value::Null, "").unwrap()["window"], Value::Null);
    assert!(family.write_config(&plain, &Value::Null, "").unwrap().as_object().unwrap().contains_key("window"));
}

#[test]
fn values_that_must_be_are_all_that_is_covered() {
    let family =
        family("  - { hf: scaled, default: true, must: [true] }\n  - { hf: kind, default: '\"a\"', must: [a, b] }\n");
    read(&family, json!({})).unwrap();
    read(&family, json!({ "scaled": true, "kind": "b" })).unwrap();
    for (more, said) in [
        (json!({ "scaled": false }), "`scaled` is false, which the family other does not cover"),
        (json!({ "kind": "c" }), "use one of: \"a\", \"b\""),
        (json!({ "kind": 3 }), "`kind` is 3"),
    ] {
        let error = read(&family, more).unwrap_err();
        assert!(error.contains(said) && error.contains("other.yaml:"), "{error}");
    }
}

#[test]
fn a_list_decides_what_each_layer_has() {
    let family = family(
        "  - { hf: window, default: 8, to_hf: 'layers | map(attribute=\"sliding_window\") | select | first' }\n\
         \x20 - hf: kinds\n    each_layer: list\n    native: sliding_window\n    default: '\"full\" if layer % 2 else \"local\"'\n\
         \x20   to_native: 'window if value == \"local\" else none'\n    to_hf: '\"local\" if sliding_window else \"full\"'\n",
    );
    let config = read(&family, json!({})).unwrap();
    assert_eq!(windows(&config), [Some(8), None, Some(8), None]);
    let kinds = json!({ "kinds": ["full", "full", "full", "local"], "window": 5 });
    let config = read(&family, kinds).unwrap();
    assert_eq!(windows(&config), [None, None, None, Some(5)]);
    assert_eq!((config.sliding_window, config.layers.len()), (None, 2));
    let alike = read(&family, json!({ "kinds": ["local", "local", "local", "local"] })).unwrap();
    assert!(alike.layers.is_empty() && alike.sliding_window == Some(8));

    // Back, from a configuration that never came from there: what the class assumes may stay unsaid.
    for config in [&config, &alike, &read(&family, json!({})).unwrap()] {
        let written = family.write_config(config, &Value::Null, "").unwrap();
        assert_eq!(family.read_config(&written, "").unwrap(), *config, "{written}");
    }
    assert_eq!(
        family.write_config(&config, &Value::Null, "").unwrap()["kinds"],
        json!(["full", "full", "full", "local"])
    );
    assert_eq!(
        family.write_config(&read(&family, json!({})).unwrap(), &Value::Null, "").unwrap()["kinds"],
        Value::Null
    );
    // Runs may be told in other ways than they are read.
    let mut other = ModelConfig::from_json(&config.to_native_json(None), "").unwrap().to_native_json(None);
    other["sliding_window"] = json!(5);
    other["layers"] = json!([{ "count": 1, "sliding_window": null }, { "count": 2, "sliding_window": null }, {}]);
    let other = ModelConfig::from_json(&other, "").unwrap();
    let written = family.write_config(&other, &Value::Null, "").unwrap();
    assert_eq!(written["kinds"], json!(["full", "full", "full", "local"]));
    // Two windows cannot be said.
    let mut two = other.to_native_json(None);
    two["layers"] = json!([{ "count": 3, "sliding_window": 6 }, {}]);
    let two = ModelConfig::from_json(&two, "").unwrap();
    assert!(family.write_config(&two, &Value::Null, "").unwrap_err().to_string().contains("cannot say"));
    for wrong in [json!(["local"]), json!("local"), json!({ "0": "local" })] {
        assert!(read(&family, json!({ "kinds": wrong })).unwrap_err().contains("expected a list of 4"), "{wrong}");
    }
    let absurd = json!({ "kinds": ["local"], "n_layer": 1_000_000_000_000_000_000u64 });
    assert!(read(&family, absurd).unwrap_err().contains("num_hidden_layers"));
}

#[test]
fn a_number_that_tells_layers_apart_is_found_again() {
    let family = family(
        "  - { hf: window, default: 8 }\n\
         \x20 - hf: pattern\n    each_layer: rule\n    native: sliding_window\n    default: 3\n\
         \x20   to_native: 'window if (layer + 1) % pattern else none'\n\
         \x20 - hf: first_dense\n    each_layer: rule\n    native: gated_mlp\n    default: 0\n    to_native: 'layer >= first_dense'\n",
    );
    let config = read(&family, json!({ "pattern": 2, "first_dense": 3 })).unwrap();
    assert_eq!(windows(&config), [Some(8), None, Some(8), None]);
    let gated: Vec<bool> = (0..4).map(|layer| config.layer(layer).gated).collect();
    assert_eq!(gated, [false, false, false, true]);
    let written = family.write_config(&config, &Value::Null, "").unwrap();
    assert_eq!((&written["pattern"], &written["first_dense"]), (&json!(2), &json!(3)));
    // No pattern has the window in the second layer alone.
    let mut native = config.to_native_json(None);
    native["layers"] = json!([{ "sliding_window": null }, {}, { "count": 2, "sliding_window": null }]);
    native["sliding_window"] = json!(8);
    let odd = ModelConfig::from_json(&native, "").unwrap();
    assert!(family.write_config(&odd, &Value::Null, "").unwrap_err().to_string().contains("no `pattern` gives"));
}

#[test]
fn layers_of_qwen3_with_and_without_a_window_convert() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    let folder = copy_of("qwen3-tied", temp.path());
    let kinds = json!(["sliding_attention", "full_attention", "sliding_attention"]);
    edit_config(&folder, |config| {
        config.insert("use_sliding_window".to_owned(), json!(true));
        config.insert("sliding_window".to_owned(), json!(9));
        config.insert("layer_types".to_owned(), kinds.clone());
    });
    let there = convert(&folder, &native).run().unwrap();
    assert_eq!(there.verdict(), Verdict::Agree);
    assert_eq!(windows(ModelFolder::open(&native).unwrap().config()), [Some(9), None, Some(9)]);
    let again = convert(&native, &back).run().unwrap();
    assert_eq!((again.verdict(), json(back.join("config.json"))), (Verdict::Agree, json(folder.join("config.json"))));
    // Without what it was converted from, it is written again.
    edit_config(&native, |config| {
        config.remove("hf_model_type");
        config.remove("hf_source_config");
    });
    let again = temp.path().join("again");
    assert_eq!(convert(&native, &again).run().unwrap().verdict(), Verdict::Agree);
    assert_eq!(json(again.join("config.json"))["layer_types"], kinds);
}

/// A family with parts of its own, whose native folders are read without its file.
#[test]
fn a_family_of_ones_own_names_itself() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    let yaml = "family: plain_llama\nextends: llama\nsame_reference_as: llama\nnative: { hidden_act: relu, rms_norm_eps: 1.0e-3 }\n";
    let own = Family::from_yaml(yaml, "plain.yaml").unwrap();
    assert_eq!(own.architecture().name(), "plain_llama");
    assert!(!own.architecture().is_built_in());
    let folder = copy_of("llama-gqa", temp.path());
    edit_config(&folder, |config| drop(config.insert("model_type".to_owned(), json!("plain_llama"))));
    let there = convert(&folder, &native).family(own.clone()).run().unwrap();
    assert_eq!(there.verdict(), Verdict::Agree);
    let config = json(native.join("config.json"));
    assert_eq!((&config["model_type"], &config["norm_type"]), (&json!("chandlery-plain_llama"), &json!("rms_norm")));
    assert_eq!((&config["hidden_act"], &config["rms_norm_eps"]), (&json!("silu"), &json!(1e-5)));
    assert!(convert(&native, &back).family(own).run().unwrap().passed());
    assert_eq!(json(back.join("config.json")), json(folder.join("config.json")));

    // Under a name that nobody defined here it says everything itself.
    let mut foreign = config.clone();
    for key in ["model_type", "chandlery_arch"] {
        let value = foreign[key].as_str().unwrap().replace("plain_llama", "of_others");
        foreign[key] = json!(value);
    }
    let read = ModelConfig::from_json(&foreign, "config.json").unwrap();
    assert_eq!(read.architecture.name(), "of_others");
    assert_eq!(read.to_native_json(None)["norm_type"], "rms_norm");
    // What is left out would be guessed.
    foreign["model_type"] = json!("chandlery-of_nobody");
    foreign["chandlery_arch"] = json!("of_nobody");
    foreign.as_object_mut().unwrap().shift_remove("norm_placement");
    let error = ModelConfig::from_json(&foreign, "config.json").unwrap_err().to_string();
    assert!(error.contains("`of_nobody` is not supported") && error.contains("llama"), "{error}");
    let error =
        Family::from_yaml("family: a\nextends: llama\nnative: { norm_kind: layer_norm }\n", "a.yaml").unwrap_err();
    assert!(error.to_string().contains("norm_kind"), "{error}");
}

#[test]
fn every_built_in_family_writes_what_it_reads() {
    let families = Families::built_in().unwrap();
    let (mut tried, mut faults) = (0, Vec::new());
    for family in families.iter() {
        let mut usual = json!({
            // Some classes have feed-forward parts of four times the width.
            "vocab_size": 64, "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 4, "head_dim": 8, "max_position_embeddings": 64,
            "model_type": format!("chandlery-{}", family.architecture().name()),
        });
        if ModelConfig::usual(family.architecture()).attention == AttentionKind::Latent {
            // The width of the rotated part, which the width of a head is.
            usual["qk_rope_head_dim"] = json!(8);
        }
        if ModelConfig::usual(family.architecture()).shared_expert_gate {
            // Models whose shared expert has a gate have a shared expert.
            usual["shared_expert_intermediate_size"] = json!(64);
        }
        let attention = ModelConfig::usual(family.architecture()).attention;
        let heads = family
            .fields()
            .iter()
            .any(|field| field.name == "num_attention_heads" && field.treatment == FieldTreatment::Mapped);
        if matches!(attention, AttentionKind::Mamba | AttentionKind::Mamba2) && !heads {
            // Models without attention and feed-forward parts.
            for field in ["intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim"] {
                usual.as_object_mut().unwrap().shift_remove(field);
            }
        }
        if ModelConfig::usual(family.architecture()).router_scales_input {
            // Llama 4's shared expert is as wide as the others.
            usual["shared_expert_intermediate_size"] = json!(128);
        }
        let config = ModelConfig::from_json(&usual, family.name()).unwrap();
        // A project names the family, and what it takes for granted follows.
        let mut project = usual.clone();
        project["model_type"] = json!(family.name());
        assert_eq!(ModelConfig::from_project(&project, family.name()).unwrap(), config);
        assert_eq!(ModelConfig::from_json(&config.to_native_json(None), family.name()).unwrap(), config);
        let written = family.write_config(&config, &Value::Null, "config.json");
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                faults.push(format!("{}: {error}", family.name()));
                continue;
            }
        };
        assert_eq!(families.read_config(&written, "config.json").unwrap().0, config, "{}", family.name());
        assert!(family.unread_fields(&written).is_empty(), "{}", family.name());
        tried += 1;
    }
    assert!(faults.is_empty() && tried >= 4, "{tried} tried\n{}", faults.join("\n"));
}

#[test]
fn older_rotary_parameters_win_in_every_family() {
    let families = Families::built_in().unwrap();
    let mut tried = 0;
    for family in families.iter() {
        let read = |rope: Value| {
            let mut config = json!({
                "model_type": family.model_type(), "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8,
            });
            config.as_object_mut().unwrap().extend(rope.as_object().unwrap().clone());
            match family.read_config(&config, family.name()).ok()?.position {
                PositionEmbedding::Rope(rope) => Some(rope),
                _ => None,
            }
        };
        let theta = |rope: Value| read(rope).map(|rope| rope.theta);
        let (newer, older) = (json!({ "rope_theta": 300.0 }), json!({ "rope_theta": 500.0, "rope_type": "default" }));
        let Some(usual) = read(json!({})) else { continue };
        let has = |name: &str| family.fields().iter().any(|field| field.name == name);
        let own = json!({ "rope_parameters": { "sliding_attention": { "rope_theta": 9.0 } } });
        // Kinds of layers may have parameters of their own, and a class may have no field for them.
        if !has("rope_parameters") || theta(own) == Some(9.0) {
            continue;
        }
        assert_eq!(theta(json!({ "rope_parameters": newer, "rope_scaling": older })), Some(500.0), "{}", family.name());
        assert_eq!(theta(json!({ "rope_parameters": newer, "rope_scaling": {} })), Some(300.0), "{}", family.name());
        assert_eq!(theta(json!({ "rope_parameters": null })), Some(usual.theta), "{}", family.name());
        // Where a class stretches by itself, it has a base beside that.
        if usual.scaling.is_none() && has("rope_theta") {
            let older = json!({ "rope_theta": 700.0, "rope_scaling": null });
            assert_eq!(theta(older), Some(700.0), "{}", family.name());
        }
        tried += 1;
    }
    assert!(tried > 8, "{tried}");
}

#[test]
fn gpt2_needs_no_file_and_its_other_names_are_read() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    let folder = copy_of("families/gpt2", temp.path());
    assert_eq!(convert(&folder, &native).run().unwrap().verdict(), Verdict::Agree);
    assert_eq!(json(native.join("config.json"))["model_type"], "chandlery-gpt2");
    assert_eq!(convert(&native, &back).run().unwrap().verdict(), Verdict::Agree);
    assert_eq!(json(back.join("config.json")), json(fixture("families/gpt2").join("config.json")));
    edit_config(&folder, |config| {
        let width = config.remove("n_embd").unwrap();
        config.insert("hidden_size".to_owned(), width);
    });
    let renamed = convert(&folder, temp.path().join("renamed")).run().unwrap();
    assert!(renamed.passed() && renamed.verdict().reason().unwrap().contains("hidden_size"), "{}", renamed.verdict());
    let gpt2 = Architecture::from_name("gpt2").unwrap();
    assert_eq!(ModelConfig::usual(gpt2).position, PositionEmbedding::Learned);
}

/// Gemma 4's sizes with these fields beside them.
fn gemma4(more: Value) -> Result<ModelConfig, String> {
    let mut config = json!({
        "model_type": "gemma4_text", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 64, "bos_token_id": 1, "eos_token_id": 2,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention",
            "sliding_attention", "sliding_attention"],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Families::built_in()
        .unwrap()
        .read_config(&config, "config.json")
        .map(|read| read.0)
        .map_err(|error| error.to_string())
}

#[test]
fn layers_of_gemma_4_have_what_older_and_newer_files_say() {
    let asked = json!({ "global_head_dim": 16, "num_global_key_value_heads": 1, "attention_k_eq_v": true,
        "num_kv_shared_layers": 2, "use_double_wide_mlp": true });
    let older = gemma4(asked.clone()).unwrap();
    let of = |layer: usize| {
        let own = older.layer(layer);
        (
            own.sliding_window,
            own.head_dim,
            own.num_key_value_heads,
            own.keys_as_values,
            own.kv_shared,
            own.intermediate_size,
        )
    };
    assert_eq!(of(0), (Some(5), 8, 2, false, false, 48));
    assert_eq!(of(3), (None, 16, 1, true, false, 48));
    assert_eq!(of(4), (Some(5), 8, 2, false, true, 96));
    // The class makes the last layer a full one, whatever the list says.
    assert_eq!(of(5), (None, 16, 1, false, true, 96));
    let wide = json!({ "head_dim": 16, "num_key_value_heads": 1 });
    let mut newer = asked;
    newer["per_layer_config"] = json!({ "1": wide, "3": wide, "5": wide });
    newer["global_head_dim"] = json!(32);
    assert_eq!(gemma4(newer).unwrap(), older);
    assert_eq!(gemma4(json!({ "per_layer_config": {} })).unwrap().layer(3).head_dim, 8);
    // Without the field that says that values are keys, the number of heads is not read.
    let plain = gemma4(json!({ "num_global_key_value_heads": 1 })).unwrap();
    assert_eq!((plain.layer(3).head_dim, plain.layer(3).num_key_value_heads), (512, 2));
}

#[test]
fn what_gemma_4_cannot_be_is_refused_by_name() {
    for (more, said) in [
        (json!({ "use_bidirectional_attention": "all" }), "use_bidirectional_attention"),
        (json!({ "vocab_size_per_layer_input": 80 }), "vocab_size_per_layer_input"),
        (json!({ "per_layer_config": { "1": { "sliding_window": 3 } } }), "per_layer_config"),
        (json!({ "layer_types": ["chunked_attention", "x", "x", "x", "x", "x"] }), "layer_types"),
        (json!({ "num_kv_shared_layers": 6 }), "kv_shared"),
        (json!({ "num_kv_shared_layers": 5 }), "kv_shared"),
        (json!({ "rope_parameters": { "rope_theta": 9.0, "rope_type": "default" } }), "rope_parameters"),
        (json!({ "rope_parameters": { "full_attention": { "rope_theta": 9.0 } } }), "sliding_attention"),
        (
            json!({ "rope_parameters": {
                "full_attention": { "rope_theta": 9.0, "partial_rotary_factor": 0.5 }, "sliding_attention": { "rope_theta": 9.0 },
            } }),
            "whole heads",
        ),
    ] {
        let error = gemma4(more).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn layers_of_llama_4_differ_as_published_files_say() {
    let scout = json!({
        "model_type": "llama4_text", "vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8,
        "head_dim": 128, "num_local_experts": 16, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1,
        "attn_temperature_tuning": 4, "attn_scale": 0.1, "floor_scale": 8192, "attention_chunk_size": 8192,
        "rope_theta": 500000.0, "rope_scaling": { "rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0,
            "high_freq_factor": 1.0, "original_max_position_embeddings": 8192 },
    });
    let (config, _) = Families::built_in().unwrap().read_config(&scout, "config.json").unwrap();
    let of = |layer: usize| {
        let own = config.layer(layer);
        let rotates = matches!(own.position, PositionEmbedding::Rope(_));
        (rotates, own.qk_norm, own.attention_chunk_size, own.attention_temperature)
    };
    assert_eq!(of(2), (true, true, Some(8192), None));
    assert_eq!(of(3), (false, false, None, Some(0.1)));
    assert_eq!(config.shared_expert_intermediate_size, Some(8192));
}
