//! Casts that cannot be made, and tensors that are not dropped unseen.

use chandlery::candle::Device;
use chandlery::checkpoint::Checkpoint;
use chandlery::model::{CausalLm, InitialWeights};
use chandlery::model_folder::ModelFolder;
use chandlery::spec::{DType, ModelConfig, ModelSpec, PositionEmbedding, Recipe};
use chandlery::validation::Verdict;
use chandlery::{convert, finalize, project};
use chandlery_tests::{copy_of, edit_config, entries, fixture};
use serde_json::json;
use tempfile::tempdir;

/// A model in float32 whose last element is 1e30.
fn with_a_large_number(into: &std::path::Path) -> std::path::PathBuf {
    let folder = copy_of("llama-gqa", into);
    let file = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1e30f32.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    folder
}

#[test]
fn casts_that_make_infinities_fail_in_every_verb() {
    let temp = tempdir().unwrap();
    let folder = with_a_large_number(temp.path());
    let native = temp.path().join("native");
    convert(&folder, &native).validate(false).run().unwrap();
    let half = Some(DType::F16);
    let converted = convert(&folder, temp.path().join("a")).dtype(half).validate(false).run().unwrap_err().to_string();
    let finalized = finalize(&folder, temp.path().join("b")).dtype(half).run().unwrap_err().to_string();
    let updated = chandlery::update(&native, temp.path().join("c")).dtype(half).run().unwrap_err().to_string();
    for said in [converted, finalized, updated] {
        assert!(said.contains("infinite as float16") && said.contains("bfloat16 or float32"), "{said}");
    }
    assert_eq!(entries(temp.path()), ["llama-gqa", "native"]);
    convert(&folder, temp.path().join("wide")).dtype(Some(DType::BF16)).validate(false).run().unwrap();
}

/// The fixture's projections as floats of one byte, without scales.
fn in_bytes(into: &std::path::Path) -> std::path::PathBuf {
    let folder = copy_of("llama-gqa", into);
    let file = folder.join("model.safetensors");
    let source = Checkpoint::open(fixture("llama-gqa")).unwrap();
    let (mut data, mut at) = (Vec::new(), serde_json::Map::new());
    for name in source.stored_order() {
        let tensor = source.read(&name).unwrap();
        let small = name.as_str().contains("_proj");
        let bytes = if small { vec![0x38u8; tensor.bytes.len() / 4] } else { tensor.bytes };
        let (dtype, offsets) = (if small { "F8_E4M3" } else { "F32" }, [data.len(), data.len() + bytes.len()]);
        at.insert(name.to_string(), json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": offsets }));
        data.extend(bytes);
    }
    let header = serde_json::Value::Object(at).to_string();
    let header = format!("{header}{}", " ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(data);
    std::fs::write(file, bytes).unwrap();
    folder
}

#[test]
fn the_announced_type_is_reached_by_floats_of_one_byte() {
    let temp = tempdir().unwrap();
    let folder = in_bytes(temp.path());
    let (native, done) = (temp.path().join("native"), temp.path().join("done"));
    let converted = convert(&folder, &native).dtype(Some(DType::F32)).run().unwrap();
    assert_eq!(converted.verdict(), Verdict::Agree);
    finalize(&folder, &done).dtype(Some(DType::BF16)).root_copy(true).run().unwrap();
    for (made, dtype) in [(&native, DType::F32), (&done, DType::BF16)] {
        let made = Checkpoint::open(made).unwrap();
        assert!(made.table().rows().iter().all(|row| row.dtype == dtype));
        let name = made.stored_order().find(|name| name.as_str().contains("_proj")).unwrap();
        let one: &[u8] = if dtype == DType::F32 { &[0, 0, 0x80, 0x3f] } else { &[0x80, 0x3f] };
        assert!(made.read(&name).unwrap().bytes.starts_with(one));
    }
}

/// An untied model whose config.json says that it is tied.
fn with_a_head_of_its_own(into: &std::path::Path) -> std::path::PathBuf {
    let folder = copy_of("llama-gqa", into);
    edit_config(&folder, |config| {
        config.insert("tie_word_embeddings".to_owned(), json!(true));
    });
    folder
}

#[test]
fn a_separate_head_is_not_dropped_silently() {
    let temp = tempdir().unwrap();
    let folder = with_a_head_of_its_own(temp.path());
    let refused = convert(&folder, temp.path().join("a")).run().unwrap_err().to_string();
    assert!(refused.contains("`lm_head.weight`") && refused.contains("--untie"), "{refused}");
    finalize(&folder, temp.path().join("b")).run().unwrap_err();
    chandlery::compare(&folder, &folder).run().unwrap_err();

    let head =
        |folder: &std::path::Path| Checkpoint::open(folder).unwrap().table().get(&"lm_head.weight".into()).is_some();
    for (tie, name) in [(true, "tied"), (false, "untied")] {
        let (native, back) = (temp.path().join(name), temp.path().join(format!("{name}-back")));
        let made = convert(&folder, &native).tie_word_embeddings(Some(tie)).run().unwrap();
        assert_eq!((made.verdict(), head(&native)), (Verdict::Agree, !tie));
        convert(&native, &back).run().unwrap();
        let said = chandlery_tests::json(back.join("config.json"))["tie_word_embeddings"].clone();
        assert_eq!((said, head(&back)), (json!(tie), !tie));
    }
}

#[test]
fn an_update_does_not_drop_a_separate_native_head() {
    let temp = tempdir().unwrap();
    let native = temp.path().join("native");
    convert(fixture("llama-gqa"), &native).run().unwrap();
    edit_config(&native, |config| {
        config.insert("tie_word_embeddings".to_owned(), json!(true));
    });
    let refused = chandlery::update(&native, temp.path().join("new")).run().unwrap_err().to_string();
    assert!(refused.contains("`lm_head.weight`"), "{refused}");
    convert(&native, temp.path().join("hf")).run().unwrap_err();
}

/// The fixture with a number in the middle of its first projection.
fn with_a_large_weight(into: &std::path::Path, number: f32) -> std::path::PathBuf {
    let folder = copy_of("llama-gqa", into);
    let file = folder.join("model.safetensors");
    let source = Checkpoint::open(&file).unwrap();
    let name = source.stored_order().find(|name| name.as_str().contains("q_proj")).unwrap();
    let weight = source.read(&name).unwrap().bytes;
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(weight.len()).position(|part| part == weight).unwrap();
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    folder
}

#[test]
fn loading_into_a_narrower_type_refuses_infinities() {
    let temp = tempdir().unwrap();
    let folder = with_a_large_weight(temp.path(), 1e30);
    let load = |dtype| ModelFolder::open(&folder).unwrap().load(dtype, &chandlery::candle::Device::Cpu, false);
    let error = load(DType::F16).unwrap_err().to_string();
    assert!(error.contains("q_proj") || error.contains("query"), "{error}");
    assert!(error.contains("infinite as float16"), "{error}");
    load(DType::BF16).unwrap();

    // A model that is there already, and one that is constructed.
    let saved = temp.path().join("saved");
    let config = || project("llama").unwrap().config("4M").unwrap().num_hidden_layers(1).unwrap();
    config().construct().device("cpu").unwrap().output_dir(&saved).save_checkpoint(true).build().unwrap();
    let file = Checkpoint::open(&saved).unwrap().path().to_owned();
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1e30f32.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let half = || config().construct().device("cpu").unwrap().dtype(DType::F16);
    let constructed = half().load_from_checkpoint(&saved).build().unwrap_err().to_string();
    let model = half().build().unwrap().model.unwrap();
    let loaded = chandlery::load_checkpoint(&saved, &model).unwrap_err().to_string();
    for error in [constructed, loaded] {
        assert!(error.contains("infinite as float16"), "{error}");
    }
}

#[test]
fn first_values_beyond_their_type_are_refused() {
    let json = json!({
        "model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "initialization": [{ "match": "ff", "init": { "normal": { "std": 1e6 } } }],
    });
    let config = ModelConfig::from_project(&json, "a test").unwrap();
    let build = |dtype| {
        let table = ModelSpec::resolve(&config).table(dtype);
        CausalLm::build(&config, Box::new(InitialWeights::new(&table, 1)), dtype, &Device::Cpu, true)
    };
    let error = build(DType::F16).unwrap_err().to_string();
    assert!(error.contains("gate_proj.weight` that are infinite as float16"), "{error}");
    build(DType::BF16).unwrap();
}

#[test]
fn scales_beyond_their_type_are_refused() {
    let temp = tempdir().unwrap();
    let folder = with_a_large_weight(temp.path(), 1e9);
    for recipe in Recipe::ALL {
        let quantize = |dtype| {
            finalize(&folder, temp.path().join(format!("{recipe}-{dtype}")))
                .dtype(Some(dtype))
                .quantize(Some(recipe))
                .run()
        };
        let error = quantize(DType::F16).unwrap_err().to_string();
        assert!(error.contains("scales are infinite as float16") && error.contains("q_proj"), "{recipe}: {error}");
        quantize(DType::BF16).unwrap();
    }
}

/// The fixture with one more tensor.
fn with_tensor(into: &std::path::Path, name: &str, shape: &[usize], values: &[f32]) -> std::path::PathBuf {
    let folder = copy_of("llama-gqa", into);
    let file = folder.join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let start = bytes.len() - 8 - length;
    header[name] = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, start + 4 * values.len()] });
    let header = header.to_string();
    let header = format!("{header}{}", " ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut made = (header.len() as u64).to_le_bytes().to_vec();
    made.extend(header.into_bytes());
    made.extend(&bytes[8 + length..]);
    made.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(file, made).unwrap();
    folder
}

#[test]
fn a_buffer_is_dropped_only_if_it_holds_what_is_computed() {
    let temp = tempdir().unwrap();
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let config = ModelFolder::open(fixture("llama-gqa")).unwrap().config().clone();
    let PositionEmbedding::Rope(rope) = &config.position else { panic!("a Llama rotates") };
    let own = rope.inverse_frequencies(config.head_dim);

    let folder = with_tensor(&temp.path().join("own"), name, &[own.len()], &own);
    let made = convert(&folder, temp.path().join("a")).run().unwrap();
    assert_eq!((made.verdict(), made.plan.skipped.len()), (Verdict::Agree, 1));
    assert!(made.plan.skipped[0].1.contains("holds what the model computes"));

    let others: Vec<f32> = own.iter().map(|frequency| frequency / 8.0).collect();
    let folder = with_tensor(&temp.path().join("other"), name, &[own.len()], &others);
    let converted = convert(&folder, temp.path().join("b")).run().unwrap_err().to_string();
    let finalized = finalize(&folder, temp.path().join("b")).run().unwrap_err().to_string();
    let compared = chandlery::compare(&folder, fixture("llama-gqa")).run().unwrap_err().to_string();
    for error in [converted, finalized, compared] {
        assert!(error.contains(name) && error.contains("rotary values that differ"), "{error}");
    }
    assert!(!temp.path().join("b").exists());
}
