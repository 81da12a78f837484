//! What is said of a conversion's logits: they agree, they differ, or they cannot be judged.

use chandlery::convert;
use chandlery::naming::{Families, Family};
use chandlery::validation::Verdict;
use chandlery_tests::{copy_of, edit_config, fixture};
use serde_json::json;
use tempfile::tempdir;

/// Says that a copy of a Llama is of another type.
fn of_type(folder: &std::path::Path, model_type: &str) {
    edit_config(folder, |config| {
        config.insert("model_type".to_owned(), json!(model_type));
    });
}

#[test]
fn nobody_inherits_the_reference_of_another_type() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    of_type(&folder, "helium");
    let two_lines = Family::from_yaml("family: helium\nextends: llama\n", "helium.yaml").unwrap();
    let native = temp.path().join("native");
    let there = convert(&folder, &native).family(two_lines.clone()).run().unwrap();
    assert!(there.passed() && there.logits.is_none());
    assert!(there.verdict().reason().unwrap().contains("`reference:`"), "{}", there.verdict());
    let back = convert(&native, temp.path().join("back")).family(two_lines.clone()).run().unwrap();
    assert_eq!(
        (there.report()["verdict"].clone(), back.report()["verdict"].clone()),
        (json!("not judged"), json!("not judged"))
    );
    assert!(!chandlery::display::View::view(&there).plain().contains("agree"));

    let strict = convert(&folder, temp.path().join("strict")).family(two_lines).require_agreement(true).run().unwrap();
    assert!(!strict.passed() && !temp.path().join("strict").exists());

    // Who says that it computes what Llama does is judged by that.
    let yaml = "family: helium\nextends: llama\nsame_reference_as: llama\n";
    let same = Family::from_yaml(yaml, "helium.yaml").unwrap();
    let judged = convert(&folder, temp.path().join("judged")).family(same).run().unwrap();
    assert_eq!(judged.verdict(), Verdict::Agree);
    Family::from_yaml("family: a\nextends: llama\nsame_reference_as: b\n", "a.yaml").unwrap_err();
}

#[test]
fn a_model_read_as_another_type_is_not_judged() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    of_type(&folder, "unheard_of");
    let asked = Some("llama".to_owned());
    let conversion = convert(&folder, temp.path().join("native")).model_type(asked).run().unwrap();
    assert!(conversion.passed() && conversion.verdict().reason().unwrap().contains("unheard_of"));
}

#[test]
fn fields_that_a_given_family_does_not_read_are_refused() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    of_type(&folder, "granite");
    edit_config(&folder, |config| {
        config.insert("logits_scaling".to_owned(), json!(2.0));
        config.insert("residual_multiplier".to_owned(), json!(null));
    });
    let yaml = |more: &str| format!("family: granite\nextends: llama\nsame_reference_as: llama\n{more}");
    let family = |more: &str| Family::from_yaml(&yaml(more), "granite.yaml").unwrap();
    let request = |name: &str, more: &str| convert(&folder, temp.path().join(name)).family(family(more));
    let refused = request("refused", "").run().unwrap_err().to_string();
    assert!(refused.contains("`logits_scaling`") && !refused.contains("residual_multiplier"), "{refused}");
    assert!(!temp.path().join("refused").exists());
    let families = Families::built_in().unwrap().with(family(""));
    chandlery::compare(&folder, &folder).families(families).run().unwrap_err();

    let allowed = request("allowed", "").allow_unknown_fields(true).run().unwrap();
    assert_eq!(allowed.unread_fields.as_slice(), ["logits_scaling"]);
    assert!(
        allowed.logits.as_ref().unwrap().passed() && allowed.verdict().reason().unwrap().contains("logits_scaling")
    );
    let said = chandlery::display::View::view(&allowed).plain().to_owned();
    assert!(said.contains("NOT judged") && said.contains("! nothing reads") && !said.contains("agree with"), "{said}");

    assert_eq!(request("harmless", "harmless: [logits_scaling]\n").run().unwrap().verdict(), Verdict::Agree);
    // A check fixes it.
    let checked = "checks:\n  - { that: 'logits_scaling == 2.0', else: 'it scales' }\n";
    assert_eq!(request("checked", checked).run().unwrap().verdict(), Verdict::Agree);
}

#[test]
fn fields_that_a_published_class_ignores_are_named() {
    let temp = tempdir().unwrap();
    for (index, (field, value)) in
        [("logits_scaling", json!(2.0)), ("rope_parameters", json!({"rope_theta": 500000.0, "mscale": 2.0}))]
            .into_iter()
            .enumerate()
    {
        let folder = copy_of("llama-gqa", &temp.path().join(index.to_string()));
        edit_config(&folder, |config| {
            config.insert(field.to_owned(), value);
        });
        let conversion = convert(&folder, temp.path().join(format!("native{index}"))).run().unwrap();
        let reason = conversion.verdict().reason().map(str::to_owned).unwrap_or_default();
        assert!(conversion.passed() && reason.contains(field), "{field}: {reason}");
        let done = chandlery::finalize(&folder, temp.path().join(format!("done{index}"))).run().unwrap();
        let named = done.report()["warnings"].to_string().contains("nothing reads these fields of config.json");
        assert_eq!(named, field == "logits_scaling");
    }
    // What tools leave in a configuration is known.
    let folder = copy_of("llama-gqa", &temp.path().join("tools"));
    edit_config(&folder, |config| {
        config.insert("transformers.js_config".to_owned(), json!({ "kv_cache_dtype": "fp16" }));
        config.insert("rope_interleaved".to_owned(), json!(false));
    });
    assert_eq!(convert(&folder, temp.path().join("tools-native")).run().unwrap().verdict(), Verdict::Agree);
}

#[test]
fn the_prompt_is_longer_than_the_window() {
    let temp = tempdir().unwrap();
    let folder = copy_of("mistral-sw8", temp.path());
    edit_config(&folder, |config| {
        config.insert("sliding_window".to_owned(), json!(100));
    });
    let judged = convert(&folder, temp.path().join("native")).run().unwrap();
    assert_eq!(judged.verdict(), Verdict::Agree);
    assert!(judged.logits.as_ref().unwrap().positions.len() > 100);
    let short = convert(&folder, temp.path().join("short")).prompt(Some("Wax melts.".to_owned())).run().unwrap();
    // A prompt that was given counts, too, and is filled up.
    assert!(short.logits.as_ref().unwrap().positions.len() > 100 && short.verdict() == Verdict::Agree);
}

#[test]
fn the_verdict_is_in_reports_for_every_outcome() {
    let temp = tempdir().unwrap();
    let request = |name: &str| convert(fixture("llama-gqa"), temp.path().join(name));
    assert_eq!(request("a").run().unwrap().report()["verdict"], json!("agree"));
    let skipped = request("b").validate(false).run().unwrap().report();
    assert_eq!(
        (&skipped["verdict"], &skipped["not_judged"]),
        (&json!("not judged"), &json!("--no-validate was given"))
    );
    assert_eq!(request("c").dry_run(true).run().unwrap().report()["verdict"], json!("not judged"));
}

/// Multiplies the elements of a float32 file's tensors of these names by a power of two, which loses nothing.
fn scaled(folder: &std::path::Path, factor: f32, named: impl Fn(&str) -> bool) {
    let file = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    for (name, tensor) in header.as_object().unwrap() {
        let Some(offsets) = tensor["data_offsets"].as_array().filter(|_| named(name)) else { continue };
        let [from, to] = [0, 1].map(|end| start + offsets[end].as_u64().unwrap() as usize);
        for raw in bytes[from..to].as_chunks_mut::<4>().0 {
            *raw = (f32::from_le_bytes(*raw) * factor).to_le_bytes();
        }
    }
    std::fs::write(&file, bytes).unwrap();
}

#[test]
fn large_weights_are_never_refused_and_small_ones_still_judged() {
    let temp = tempdir().unwrap();
    let words = "wax ".repeat(120);
    for factor in [8.0f32, 2.0, 0.5, 1.0 / 64.0] {
        let folder = copy_of("llama-gqa", &temp.path().join(factor.to_string()));
        scaled(&folder, factor, |_| true);
        let native = temp.path().join(format!("native{factor}"));
        let conversion = convert(&folder, &native).prompt(Some(words.clone())).run().unwrap();
        let logits = conversion.logits.as_ref().unwrap();
        assert!(conversion.passed(), "{factor}: {} of {}", logits.max_abs(), logits.tolerance);
        assert!(logits.positions.len() > 100);
    }
    // A fault in a model whose logits are all smaller than the usual tolerance.
    let folder = copy_of("llama-gqa", &temp.path().join("small"));
    scaled(&folder, 1.0 / 65536.0, |name| name == "lm_head.weight");
    let to = "causal_lm.layer_stack.layers.2.attention.output_linear.";
    let rule = chandlery::naming::Rule::new(r"model\.layers\.2\.self_attn\.o_proj\.", to).transposed();
    let faulty = Family::builder("llama").extends("llama").rule(rule).build().unwrap();
    let conversion = convert(&folder, temp.path().join("faulty")).family(faulty).run().unwrap();
    let logits = conversion.logits.as_ref().unwrap();
    assert!(logits.max_abs() < 1e-3 && conversion.verdict() == Verdict::Differ, "{}", logits.max_abs());
}

#[test]
fn bits_and_logits_are_judged_apart() {
    let temp = tempdir().unwrap();
    let request = |name: &str| convert(fixture("llama-gqa"), temp.path().join(name));
    let bits = request("bits").validate(false).run().unwrap();
    assert!(bits.proof.is_some() && bits.logits.is_none());
    let logits = request("logits").prove(false).run().unwrap();
    assert!(logits.proof.is_none() && logits.verdict() == Verdict::Agree);
}
