use super::super::project;
use super::*;
use crate::project::Origin;
use crate::spec::{DType, ModelSpec};

#[test]
fn built_in_configurations_have_the_published_parameter_counts() {
    for (family, name, parameters) in [
        ("llama", "4M", 4_434_176),
        ("llama", "small", 28_273_152),
        ("llama", "medium", 137_847_552),
        ("llama", "117M", 119_161_856),
        ("llama", "default", 6_738_415_616),
        ("llama", "llama2_7b", 6_738_415_616),
        ("llama", "llama3.2_1b", 1_235_814_400),
        ("llama", "llama3.1_70b", 70_553_706_496),
        ("mistral", "4M", 4_172_032),
        ("mistral", "119M", 119_161_856),
        ("mistral", "medium", 123_691_776),
        ("mistral", "default", 7_241_732_096),
        ("mistral", "7B", 7_241_732_096),
        ("mistral", "7B_instruct", 7_241_732_096),
        ("qwen3", "4M", 4_172_544),
        ("qwen3", "medium", 123_694_848),
        ("qwen3", "default", 8_190_735_360),
        ("qwen3", "8B", 8_190_735_360),
        ("causal_lm", "4M", 4_178_944),
        ("causal_lm", "small", 22_998_016),
        ("causal_lm", "23M", 22_998_016),
        ("causal_lm", "117M", 117_121_024),
        ("causal_lm", "medium", 137_932_800),
        ("deepone", "4M", 4_434_192),
        ("deepone", "117M", 119_161_920),
        ("deepone", "medium", 137_847_680),
        ("deepone", "1_7B", 1_725_041_152),
        ("single_head", "4M", 4_607_238),
    ] {
        let config = project(family).unwrap().config(name).unwrap().render().unwrap();
        assert_eq!(ModelSpec::resolve(&config).table(DType::BF16).parameters(), parameters, "{family} {name}");
    }
}

#[test]
fn unknown_and_ill_typed_arguments_get_suggestions() {
    let config = project("llama").unwrap().config("4M.yaml").unwrap();
    let error = config.clone().set("hiden_size", 8).unwrap_err().to_string();
    assert!(error.contains("did you mean `hidden_size`?"), "{error}");
    let error = config.clone().set("hidden_size", "wide").unwrap_err().to_string();
    assert!(error.contains("expected a whole number"), "{error}");
    let error = config.set("attn_implementation", "fast").unwrap_err().to_string();
    assert!(error.contains("one of eager, sdpa, flash_attention_2, flex_attention"), "{error}");
    let error = project("llama").unwrap().config("4m").unwrap_err().to_string();
    assert!(error.contains("4M, "), "{error}");
}

#[test]
fn arguments_have_methods_and_a_project_without_one_refuses_it() {
    let llama = project("llama").unwrap().config("4M").unwrap();
    let config = llama.clone().hidden_size(64).unwrap().num_key_value_heads(Some(2)).unwrap();
    let config = config.tie_word_embeddings(true).unwrap().render().unwrap();
    assert_eq!((config.hidden_size, config.num_key_value_heads, config.tie_word_embeddings), (64, 2, true));
    let error = project("qwen3").unwrap().config("4M").unwrap().set("mlp_bias", true).unwrap_err().to_string();
    assert!(error.contains("there is no argument `mlp_bias`"), "{error}");
}

#[test]
fn every_value_of_every_built_in_configuration_is_traced() {
    for name in Project::names() {
        let project = project(&name).unwrap();
        for config in project.configs() {
            let trace = project.config(&config).unwrap().trace().unwrap();
            assert!(!trace.values.is_empty());
            for value in trace.values.iter() {
                assert!(value.origin.place().is_some(), "{name} {config}: {} {}", value.key, value.origin);
                assert_ne!(value.origin.kind(), "unknown");
            }
        }
    }
}

#[test]
fn a_given_argument_is_an_origin_whatever_its_value() {
    let config = project("llama").unwrap().config("4M").unwrap();
    // 256 is what the configuration sets, 4096 the definition's default, null its default for another key.
    for value in [Value::from(256), Value::from(4096), Value::from(64)] {
        let trace = config.clone().set("hidden_size", value.clone()).unwrap().trace().unwrap();
        let found = trace.values.iter().find(|found| found.key == "hidden_size").unwrap();
        assert_eq!((&found.value, &found.origin), (&value, &Origin::Argument("hidden_size".to_owned())));
    }
}
