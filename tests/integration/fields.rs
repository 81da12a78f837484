//! The fields that parts declare: read, written, refused where they are misspelled or lost, listed, and given as arguments.

use std::collections::BTreeMap;

use chandlery::project::{Origin, Project, project};
use chandlery::spec::parts::{PARTS, fields};
use chandlery::spec::{Architecture, DType, Field, FieldKind, Init, ModelConfig, ModelSpec, Role};
use serde_json::{Map, Value, json};
use tempfile::{TempDir, tempdir};

use crate::command::command as built;

/// A configuration of a family with these fields over small sizes.
fn config(family: &str, own: &Value) -> Map<String, Value> {
    let mut config = json!({
        "model_type": family, "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4,
    });
    config.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    config.as_object().unwrap().clone()
}

/// A project in a folder whose only configuration is this YAML, after the sizes.
fn written(yaml: &str) -> TempDir {
    let temp = tempdir().unwrap();
    let sizes = "model_type: llama\nvocab_size: 2000\nhidden_size: 64\nintermediate_size: 96\nnum_hidden_layers: 2\n\
                 num_attention_heads: 4\n";
    std::fs::create_dir_all(temp.path().join("configs")).unwrap();
    std::fs::write(temp.path().join("project.yaml"), "name: own\ndescription: One's own\n").unwrap();
    std::fs::write(temp.path().join("configs/one.yaml"), format!("{sizes}{yaml}")).unwrap();
    temp
}

/// What rendering the project is refused with.
fn refused(yaml: &str) -> String {
    let temp = written(yaml);
    let config = project(temp.path().to_str().unwrap()).unwrap().config("one").unwrap();
    match config.render() {
        Ok(config) => panic!("{yaml} builds {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_unknown_project_field_is_refused_with_a_suggestion() {
    for (yaml, expected) in [
        ("norm_placment: post\n", "field `norm_placment` is not supported; did you mean `norm_placement`?"),
        ("num_memory_slots: 8\n", "field `num_memory_slots` is not supported"),
        ("parallel_residual: true\n", "field `parallel_residual` is not supported"),
        ("slidingwindow: 4\n", "did you mean `sliding_window`?"),
        (
            "layers: [{ norm_typ: layer_norm }, {}]\n",
            "layer field `norm_typ` is not supported; did you mean `norm_type`?",
        ),
        (
            "rope_parameters: { rope_thetta: 5.0 }\n",
            "rotary parameter `rope_thetta` is not supported; did you mean `rope_theta`?",
        ),
        ("layers: [{ rope_parameters: { base: 5.0 } }, {}]\n", "rotary parameter `base` is not supported"),
    ] {
        let error = refused(yaml);
        assert!(error.contains(expected) && error.contains("where: ") && error.contains("do: "), "{error}");
    }
    assert!(refused("num_memory_slots: 8\n").contains("`num_memory_slots` from configs/one.yaml:7"));
    let words = ["-p", "llama", "model", "construct", "--rope-parameters", "{rope_theta: 5.0, scaling: 2}"];
    let said = built().args(words).output().unwrap();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("rotary parameter `scaling` is not supported"), "{said:?}");
}

#[test]
fn a_misspelt_field_of_a_native_config_is_refused() {
    let read = ModelConfig::from_project(&Value::Object(config("llama", &json!({}))), "a test").unwrap();
    let mut native = read.to_native_json(None);
    native["use_cache"] = json!(true);
    native["rope_local_base_freq"] = json!(1.0);
    assert_eq!(ModelConfig::from_json(&native, "config.json").unwrap(), read);
    native["norm_placment"] = json!("post");
    let error = ModelConfig::from_json(&native, "config.json").unwrap_err().to_string();
    assert!(error.contains("did you mean `norm_placement`?") && error.contains("where: config.json"), "{error}");
}

#[test]
fn fields_that_would_be_lost_are_refused() {
    for (yaml, expected) in [
        ("attention_type: single_head\n", "`position_embedding` is rope, expected alibi"),
        ("layers: [{ position_embedding: learned }, {}]\n", "`position_embedding` is learned in some layers only"),
        (
            "layers: [{}, { position_embedding: sinusoidal }]\n",
            "`position_embedding` is sinusoidal in some layers only",
        ),
        ("rope_parameters: { rope_theta: 5.0, factor: 8.0 }\n", "`factor` has no effect"),
        ("rope_theta: 5.0\nrope_parameters: { rope_theta: 6.0 }\n", "`rope_theta` has no effect"),
        ("rope_parameters: { rope_theta: 6.0 }\nrope_scaling: { factor: 2.0 }\n", "`rope_scaling` has no effect"),
        ("position_embedding: none\nrope_parameters: { rope_theta: 6.0 }\n", "`rope_parameters` has no effect"),
        ("alibi_slopes: half\n", "`alibi_slopes` has no effect"),
        ("deepnet_alpha: 2.0\n", "`deepnet_alpha` has no effect"),
        ("layer_norm_eps: 1.0e-3\n", "`layer_norm_eps` has no effect"),
        ("norm_type: layer_norm\nrms_norm_eps: 1.0e-3\n", "`rms_norm_eps` has no effect"),
        ("feedforward: false\ngated_mlp: false\n", "`gated_mlp` has no effect"),
        ("layers: [{ feedforward: false, hidden_act: relu }, {}]\n", "`hidden_act` has no effect"),
        ("layers: [{ alibi_trainable: true }, {}]\n", "`alibi_trainable` has no effect"),
        ("attention_type: single_head\nposition_embedding: none\n", "`num_attention_heads` has no effect"),
        ("use_sliding_window: true\n", "`use_sliding_window` has no effect"),
        ("bos_token_id: 77\n", "`bos_token_id` has no effect"),
        (
            "initialization: [{ match: x, init: { normal: { std: 0.1, mean: 1.0 } } }]\n",
            "`initialization` has no effect",
        ),
        ("dtype: float16\ntorch_dtype: bfloat16\n", "`torch_dtype` has no effect"),
    ] {
        let error = refused(yaml);
        assert!(error.contains(expected) && error.contains("where: ") && error.contains("do: "), "{expected}: {error}");
    }
    assert!(refused("alibi_slopes: half\n").contains("set position_embedding: alibi"));
    let layers = "position_embedding: none\nrope_parameters: { rope_theta: 6.0 }\n";
    let temp = written(&format!("{layers}layers: [{{ position_embedding: rope }}, {{}}]\n"));
    let config = project(temp.path().to_str().unwrap()).unwrap().config("one").unwrap().render().unwrap();
    assert_eq!(config.layers[0].set["rope_parameters"]["rope_theta"], 6.0);
}

#[test]
fn defaults_of_an_included_definition_may_go_unused() {
    let temp = written("");
    let text = "{% include \"builtin/llama/configs/4M.yaml\" %}\nnorm_type: layer_norm\nposition_embedding: alibi\n";
    std::fs::write(temp.path().join("configs/one.yaml"), text).unwrap();
    let config = project(temp.path().to_str().unwrap()).unwrap().config("one").unwrap();
    assert_eq!(config.render().unwrap().position.name(), "alibi");
    let error = config.set("rms_norm_eps", 1e-3).unwrap().render().unwrap_err().to_string();
    assert!(error.contains("`rms_norm_eps` has no effect") && error.contains("argument --rms-norm-eps"), "{error}");
}

#[test]
fn the_element_type_of_a_project_is_that_of_its_model() {
    let temp = written("dtype: bfloat16\n");
    let config = project(temp.path().to_str().unwrap()).unwrap().config("one").unwrap();
    assert_eq!(config.construct().build().unwrap().config.dtype.torch_name(), "bfloat16");
}

#[test]
fn fields_of_some_layers_survive_config_json() {
    for (own, field, expected) in [
        (
            json!({ "layer_norm_eps": 1e-3, "layers": [{ "norm_type": "layer_norm" }, {}] }),
            "layer_norm_eps",
            json!(1e-3),
        ),
        (json!({ "deepnet_alpha": 1.5, "layers": [{ "norm_placement": "deepnet" }, {}] }), "deepnet_alpha", json!(1.5)),
        (
            json!({ "alibi_slopes": "half", "layers": [{ "position_embedding": "alibi" }, {}] }),
            "alibi_slopes",
            json!("half"),
        ),
        (
            json!({ "layers": [{ "norm_type": "layer_norm", "layer_norm_eps": 1e-3 }, {}] }),
            "layer_norm_eps",
            json!(1e-3),
        ),
    ] {
        let config = ModelConfig::from_project(&Value::Object(config("llama", &own)), "a test").unwrap();
        let read = ModelConfig::from_json(&config.to_native_json(None), "config.json").unwrap();
        assert_eq!(read, config, "{own}");
        let field = fields().find(|declared| declared.name == field).unwrap();
        assert_eq!(field.value(read.layer(0)), Some(expected), "{own}");
        assert_eq!(field.value(read.layer(1)), None, "{own}");
    }
}

#[test]
fn the_range_of_initial_values_is_a_field() {
    let init = |own: Value| {
        let config = ModelConfig::from_project(&Value::Object(config("llama", &own)), "a test").unwrap();
        let table = ModelSpec::resolve(&config).table(DType::F32);
        let of = |role| table.of_role(role).next().unwrap().init.unwrap();
        (of(Role::Query), of(Role::Down))
    };
    let truncated = |std| Init::TruncatedNormal { std, bound: 2.0 };
    assert_eq!(init(json!({})), (truncated(0.02), truncated(0.01)));
    assert_eq!(init(json!({ "initializer_range": 0.5 })), (truncated(0.5), truncated(0.25)));
    assert!(refused("initializer_range: 0.5\ninitialization: pytorch\n").contains("`initializer_range` has no effect"));
}

/// A value that the field has in no family by default.
fn unusual(field: &Field) -> Option<Value> {
    match (field.name, field.kind) {
        // They follow from others, or depend on them in ways of their own.
        (
            "num_attention_heads"
            | "num_key_value_heads"
            | "head_dim"
            | "use_sliding_window"
            | "max_window_layers"
            | "num_experts_per_tok"
            | "router_groups"
            | "router_topk_groups"
            | "kv_shared",
            _,
        ) => None,
        // What norms add to their factors is nothing or one.
        ("norm_offset", _) => Some(json!(1.0)),
        // A multiple of the heads of keys.
        ("linear_num_value_heads", _) => Some(json!(64)),
        (_, FieldKind::Size | FieldKind::OptionalSize) => Some(json!(32)),
        (_, FieldKind::Number | FieldKind::OptionalNumber) => Some(json!(0.125)),
        (_, FieldKind::Flag) => field
            .value(&ModelConfig::usual(Architecture::from_name("llama").unwrap()))
            .map(|usual| json!(usual != true)),
        (_, FieldKind::Word(words) | FieldKind::WordOrList(words)) => Some(json!(words.last().unwrap())),
        (_, FieldKind::Id) => Some(json!(3)),
        (_, FieldKind::Ids) => Some(json!([3, 4])),
        (_, FieldKind::Object | FieldKind::List) => None,
        _ => None,
    }
}

#[test]
fn every_declared_field_is_read_kept_and_written() {
    let mut tried = 0;
    for field in fields() {
        let Some(value) = unusual(field) else { continue };
        let mut own = config("llama", &json!({}));
        for condition in field.condition().into_iter().flat_map(|condition| condition.split(" and ")) {
            let Some((other, needed)) = condition.split_once(": ") else { continue };
            // Of several values the first one; true and numbers are what they say.
            let needed = needed.split(" or ").next().unwrap();
            own.insert(other.to_owned(), serde_json::from_str(needed).unwrap_or(json!(needed)));
        }
        if field.name == "attention_type" {
            own.insert("position_embedding".to_owned(), json!("none"));
            own.insert("num_attention_heads".to_owned(), json!(1));
        }
        own.insert(field.name.to_owned(), value.clone());
        let own = Value::Object(own);
        let read = ModelConfig::from_project(&own, field.name).unwrap();
        let lost: Vec<String> = read.dropped(&own, "").iter().map(ToString::to_string).collect();
        assert!(!lost.iter().any(|error| error.starts_with(&format!("`{}`", field.name))), "{}: {lost:?}", field.name);
        let native = read.to_native_json(None);
        assert_eq!(native[field.name], value, "{} is not written", field.name);
        assert_eq!(ModelConfig::from_json(&native, field.name).unwrap(), read, "{}", field.name);
        if field.is_by_layer()
            && field.condition().is_none()
            && field.name != "attention_type"
            && field.name != "position_embedding"
        {
            let layers = json!({ "layers": [{ field.name: value }, {}] });
            let read = ModelConfig::from_project(&Value::Object(config("llama", &layers)), field.name).unwrap();
            assert_eq!(field.value(read.layer(0)).as_ref(), Some(&value), "{}", field.name);
            assert_ne!(field.value(read.layer(1)).as_ref(), Some(&value), "{}", field.name);
        }
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
}

#[test]
fn every_field_that_a_definition_writes_is_a_flag_with_help() {
    for name in Project::names() {
        let project = project(&name).unwrap();
        let config = project.config(project.default_config()).unwrap();
        let written: Vec<String> = config.trace().unwrap().values.iter().map(|value| value.key.clone()).collect();
        let help = built().args(["-p", &name, "model", "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let mut count = 0;
        for field in fields().filter(|field| written.iter().any(|key| key.split('.').next() == Some(field.name))) {
            assert!(
                help.contains(&format!("--{} ", field.name.replace('_', "-"))) || field.kind == FieldKind::Flag,
                "{name}: {}\n{help}",
                field.name
            );
            assert!(
                project.arguments().iter().any(|argument| argument.name == field.name && !argument.help.is_empty())
            );
            count += 1;
        }
        assert!(count >= 5, "{name}: {count}");
    }
}

#[test]
fn arguments_replace_what_a_definition_writes_as_it_is() {
    let causal = project("causal_lm").unwrap().config("4M").unwrap();
    let config = causal.clone().set("hidden_act", "gelu").unwrap().set("norm_placement", "pre").unwrap();
    let config = config.set("gated_mlp", true).unwrap();
    let rendered = config.render().unwrap();
    assert_eq!((rendered.activation.name(), rendered.placement.name(), rendered.gated), ("gelu", "pre", true));
    let trace = config.trace().unwrap();
    let origins: BTreeMap<&str, &Origin> =
        trace.values.iter().map(|value| (value.key.as_str(), &value.origin)).collect();
    assert_eq!(origins["hidden_act"], &Origin::Argument("hidden_act".to_owned()));
    assert!(trace.yaml.contains("\nhidden_act: \"gelu\"\n") && !trace.yaml.contains("relu"), "{}", trace.yaml);
    assert!(origins.contains_key("vocab_size"));
    // The whole text, arguments included, is the model's definition.
    let temp = written("");
    std::fs::write(temp.path().join("configs/one.yaml"), config.render_yaml().unwrap()).unwrap();
    let copied = project(temp.path().to_str().unwrap()).unwrap().config("one").unwrap().render().unwrap();
    assert_eq!(copied, rendered);
    let error = causal.set("hidden_act", "swish").unwrap_err().to_string();
    assert!(error.contains("one of silu, relu, gelu, gelu_pytorch_tanh"), "{error}");
}

#[test]
fn the_reference_lists_every_field_and_explains_one() {
    let say = |words: &[&str]| built().args(["project", "fields"]).args(words).output().unwrap();
    let all = String::from_utf8(say(&[]).stdout).unwrap();
    for field in PARTS.iter().flat_map(|part| part.fields()) {
        assert!(all.contains(field.name) && field.help().len() > 5, "{}", field.name);
    }
    let report: Value = serde_json::from_slice(&say(&["attention", "--json"]).stdout).unwrap();
    assert_eq!(report[0]["part"], "attention");
    let listed = report[0]["fields"].as_array().unwrap();
    let window = listed.iter().find(|field| field["name"] == "sliding_window").unwrap();
    assert_eq!((&window["type"], &window["by_layer"]), (&json!("int"), &json!(true)));
    let one = String::from_utf8(say(&["hidden-act"]).stdout).unwrap();
    assert!(one.starts_with("hidden_act: ") && one.contains("causal_lm, deepone, opt, single_head relu"), "{one}");
    let wrong = say(&["atention"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean `attention`?"), "{wrong:?}");
}
