//! Conversion there and back, and errors planted to be found.

use chandlery::checkpoint::Checkpoint;
use chandlery::naming::{Families, Family, RemapPlan};
use chandlery::spec::{DType, ModelSpec, Naming};
use chandlery::validation::ReferenceModel;
use chandlery::{compare, convert, finalize};
use chandlery_tests::{MODELS, contents, copy_of, edit_config, entries, fixture, json};
use serde_json::json;
use tempfile::tempdir;

#[test]
fn there_and_back_gives_equal_bytes_and_an_equal_configuration() {
    for name in MODELS {
        let temp = tempdir().unwrap();
        let (native, back) = (temp.path().join("native"), temp.path().join("back"));
        // Mistral's tokenizer has no padding token: by default it would get one.
        let there = convert(fixture(name), &native).skip_default_tokens(true).run().unwrap();
        assert!(there.passed() && there.to == Naming::Native, "{name}");
        assert!(there.logits.as_ref().unwrap().max_abs() < 1e-4, "{name}");
        let again = convert(&native, &back).run().unwrap();
        assert!(again.passed() && again.to == Naming::HuggingFace, "{name}");
        assert_eq!(contents(&fixture(name)), contents(&back), "{name}");
        assert_eq!(json(fixture(name).join("config.json")), json(back.join("config.json")), "{name}");
        let family = json(fixture(name).join("config.json"))["model_type"].clone();
        assert_eq!(json(native.join("config.json"))["hf_model_type"], family);
        assert!(native.join("tokenizer.json").exists() && native.join("generation_config.json").exists());
    }
}

#[test]
fn shards_are_split_and_joined_without_changing_a_bit() {
    let temp = tempdir().unwrap();
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    convert(fixture("llama-gqa"), &native).max_shard_size(300_000).run().unwrap();
    let index = json(native.join("model.safetensors.index.json"));
    assert_eq!(index["metadata"]["total_parameters"], 254_400);
    assert_eq!(index["metadata"]["total_size"], 254_400 * 4);
    assert!(native.join("model-00002-of-00004.safetensors").exists());
    convert(&native, &back).run().unwrap();
    assert_eq!(contents(&fixture("llama-gqa")), contents(&back));
}

#[test]
fn a_cast_changes_type_and_config_and_still_validates() {
    let temp = tempdir().unwrap();
    for (name, dtype) in [("llama-gqa", DType::BF16), ("llama-bf16", DType::F32), ("llama-tied", DType::F16)] {
        let native = temp.path().join(name);
        let conversion = convert(fixture(name), &native).dtype(Some(dtype)).run().unwrap();
        assert!(conversion.passed(), "{name}: {}", conversion.logits.unwrap().max_abs());
        let checkpoint = Checkpoint::open(&native).unwrap();
        assert!(checkpoint.table().rows().iter().all(|row| row.dtype == dtype));
        let config = json(native.join("config.json"));
        assert_eq!(
            (&config["dtype"], &config["torch_dtype"]),
            (&json!(dtype.torch_name()), &json!(dtype.torch_name()))
        );
        let back = temp.path().join(format!("{name}-back"));
        assert!(convert(&native, &back).run().unwrap().passed());
        assert_eq!(json(back.join("config.json"))["dtype"], dtype.torch_name());
    }
}

#[test]
fn a_repeated_tied_head_is_counted_and_stored_once() {
    let inspection = chandlery::inspect(fixture("llama-bin-sharded")).unwrap();
    assert_eq!((inspection.table.len(), inspection.table.parameters()), (30, 188_864));
    let temp = tempdir().unwrap();
    finalize(fixture("llama-bin-sharded"), temp.path().join("done")).run().unwrap();
    let done = chandlery::inspect(temp.path().join("done")).unwrap();
    assert_eq!((done.table.len(), done.table.parameters()), (29, 188_864));
}

#[test]
fn a_dry_run_plans_and_writes_nothing() {
    let temp = tempdir().unwrap();
    let conversion = convert(fixture("llama-tied"), temp.path().join("native")).dry_run(true).run().unwrap();
    assert_eq!(conversion.plan.steps.len(), 29);
    assert_eq!(entries(temp.path()), Vec::<String>::new());
}

/// A rotary base that the weights were not made with: names and shapes fit, only the logits can tell.
#[test]
fn a_wrong_rotary_base_fails_and_leaves_no_destination() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    convert(fixture("llama-gqa"), &native).run().unwrap();
    edit_config(&native, |config| {
        config["rope_parameters"]["rope_theta"] = json!(500.0);
        config.insert("rope_theta".to_owned(), json!(500.0));
    });
    let diff = compare(fixture("llama-gqa"), &native).by_layer(true).run().unwrap();
    assert!(!diff.passed());
    assert_eq!(diff.first_divergent_layer(), Some(0));
}

/// The judge must not agree with whatever it is given: two projections swapped move its logits by far.
#[test]
fn swapped_projections_are_noticed_and_located() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    let file = folder.join("model.safetensors");
    chandlery_tests::edit_header(&file, |header| {
        let gate = header["model.layers.1.mlp.gate_proj.weight"].clone();
        let up = header.insert("model.layers.1.mlp.up_proj.weight".to_owned(), gate).unwrap();
        header.insert("model.layers.1.mlp.gate_proj.weight".to_owned(), up);
    });
    let diff = compare(fixture("llama-gqa"), &folder).by_layer(true).run().unwrap();
    assert!(!diff.passed());
    assert_eq!(diff.first_divergent_layer(), Some(1));

    let ids: Vec<u32> = (5..25).collect();
    let config = json(folder.join("config.json"));
    let (right, wrong) = (Checkpoint::open(fixture("llama-gqa")).unwrap(), Checkpoint::open(&folder).unwrap());
    let (right, _) = ReferenceModel::new(&right, &config).forward(&ids).unwrap();
    let (wrong, _) = ReferenceModel::new(&wrong, &config).forward(&ids).unwrap();
    assert!(right.iter().zip(&wrong).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn rules_rename_every_parameter_of_every_shape_there_and_back() {
    for name in MODELS {
        let (config, _) =
            Families::built_in().unwrap().read_config(&json(fixture(name).join("config.json")), name).unwrap();
        let family = Family::of(config.architecture).unwrap();
        let source = Checkpoint::open(fixture(name)).unwrap();
        let plan = RemapPlan::new(&source, Naming::HuggingFace, &config, &family, None).unwrap();
        assert!(plan.is_complete(), "{name}");
        for row in ModelSpec::resolve(&config).table(DType::F32).rows() {
            let hf = family.name_on(Naming::HuggingFace, &row.path);
            assert_eq!(family.rules_to(Naming::Native).rename_one(&hf).unwrap(), row.path);
        }
    }
}

/// What has no place in a native configuration comes back, also where something else was changed on the way.
#[test]
fn unknown_fields_survive_changes_of_length_and_type() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-rope3", temp.path());
    edit_config(&folder, |config| {
        config.insert("initializer_range".to_owned(), json!(0.017));
        config.insert("my_own_field".to_owned(), json!({ "a": [1, 2] }));
        config["rope_parameters"]["somebody_elses"] = json!("kept");
    });
    let before = json(folder.join("config.json"));
    let (native, back) = (temp.path().join("native"), temp.path().join("back"));
    convert(&folder, &native).max_length(Some(99)).run().unwrap();
    convert(&native, &back).dtype(Some(DType::BF16)).run().unwrap();
    let mut expected = before;
    expected["max_position_embeddings"] = json!(99);
    expected["dtype"] = json!("bfloat16");
    let found = json(back.join("config.json"));
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(found[field], *value, "{field}");
    }
    // What is written again is for transformers 4, too, which passes over the names of version 5.
    assert_eq!((&found["torch_dtype"], &found["rope_theta"]), (&json!("bfloat16"), &json!(500_000.0)));
    assert_eq!(found["rope_scaling"]["factor"], json!(8.0));
}

#[test]
fn nan_weights_are_named_and_nothing_is_written() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-bf16", temp.path());
    let file = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0xc0, 0x7f]);
    std::fs::write(&file, bytes).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let last = checkpoint.stored_order().last().unwrap();

    let conversion = convert(&folder, temp.path().join("native")).run().unwrap();
    assert!(!conversion.passed());
    assert_eq!(conversion.not_finite.as_slice(), std::slice::from_ref(&last));
    let said = chandlery::display::View::view(&conversion).plain().to_owned();
    assert!(said.contains(&format!("holds NaN or infinities, in {last}")), "{said}");
    assert_eq!(entries(temp.path()), ["llama-bf16"]);
}
