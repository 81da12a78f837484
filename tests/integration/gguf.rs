//! GGUF files: written, read back and computed with; and files that lie.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use chandlery::candle::{Device, Tensor, safetensors};
use chandlery::checkpoint::{Checkpoint, GgufArray, GgufMetadata, GgufValue, gguf_header};
use chandlery::display::View;
use chandlery::gguf::{GGUF_FILE, GgufPlan, GgufType, GgufWritten};
use chandlery::model_folder::ModelFolder;
use chandlery::project;
use chandlery::spec::{DType, TensorRow};
use chandlery::tokenizer::TokenizerFiles;
use chandlery::validation::LogitDiff;
use chandlery_tests::{MODELS, copy_of, fixture};
use tempfile::tempdir;

use crate::command::command;

fn plan(source: &Path, kind: GgufType) -> Result<(ModelFolder, GgufPlan), String> {
    let folder = ModelFolder::open(source).unwrap();
    let tokenizer = TokenizerFiles::read(source).unwrap();
    let planned = GgufPlan::new(&folder, folder.config(), &tokenizer, kind, "a test");
    planned.map(|plan| (folder, plan)).map_err(|error| error.to_string())
}

fn write(source: &Path, kind: GgufType, into: &Path) -> Result<GgufWritten, String> {
    let (folder, plan) = plan(source, kind)?;
    let written = plan.write(folder.checkpoint(), &HashMap::new(), into, &|_| {}).map_err(|error| error.to_string())?;
    assert_eq!(written.bytes, into.metadata().unwrap().len());
    Ok(written)
}

/// A model of 256 wide layers, whose rows are whole blocks of every type, with values that matter.
fn wide(temp: &Path) -> PathBuf {
    let folder = temp.join("wide");
    let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 2).unwrap();
    config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
    folder
}

fn compared(left: &Path, right: &Path) -> LogitDiff {
    chandlery::compare(left, right).prompt(Some("The chandler lit 12 candles.".to_owned())).run().unwrap()
}

#[test]
fn reference_models_compute_the_same_from_exact_files() {
    for model in MODELS {
        let temp = tempdir().unwrap();
        let source = fixture(model);
        write(&source, GgufType::F32, &temp.path().join(GGUF_FILE)).unwrap();
        std::fs::copy(source.join("config.json"), temp.path().join("config.json")).unwrap();
        // The folder is known by its only weights.
        let diff = compared(&source, temp.path());
        assert!(diff.max_abs() < 1e-6, "{model}: {}", diff.max_abs());
        std::fs::remove_file(temp.path().join("config.json")).unwrap();
        let alone = chandlery::compare(&source, temp.path().join(GGUF_FILE)).run();
        if model.contains("rope3") {
            let error = alone.unwrap_err().to_string().replace(temp.path().to_str().unwrap(), "[temp]");
            assert!(error.contains("rope_freqs.weight") && error.contains("config.json beside the file"), "{error}");
        } else {
            // The file holds the norm's ε in float32.
            let diff = alone.unwrap();
            assert!(diff.max_abs() < 1e-4, "{model}: {}", diff.max_abs());
        }
    }
}

#[test]
fn fewer_bits_are_further_off_and_take_less() {
    let temp = tempdir().unwrap();
    let source = wide(temp.path());
    let mut seen: Vec<(f32, u64)> = Vec::new();
    for (kind, largest) in [
        (GgufType::F16, 0.002),
        (GgufType::BF16, 0.02),
        (GgufType::Q8_0, 0.05),
        (GgufType::Q4K, 0.5),
        (GgufType::Q4_0, 0.6),
    ] {
        let file = temp.path().join(format!("{}.gguf", kind.name()));
        write(&source, kind, &file).unwrap();
        std::fs::copy(source.join("tokenizer.json"), temp.path().join("tokenizer.json")).unwrap();
        let diff = compared(&source, &file);
        assert!(diff.max_abs() > 0.0 && diff.max_abs() < largest, "{kind:?}: {}", diff.max_abs());
        let types: Vec<DType> = Checkpoint::open(&file).unwrap().table().rows().iter().map(|row| row.dtype).collect();
        // Vectors are float32 in every file.
        assert!(types.contains(&DType::F32));
        seen.push((diff.max_abs(), file.metadata().unwrap().len()));
    }
    assert!(seen[0].0 < seen[1].0 && seen[1].0 < seen[2].0 * 4.0 && seen[2].0 < seen[3].0, "{seen:?}");
    assert!(seen[2].1 < seen[1].1 && seen[3].1 < seen[2].1 && seen[4].1 <= seen[3].1, "{seen:?}");
}

#[test]
fn the_plan_lists_exceptions_and_what_readers_ignore() {
    let (_, plan) = plan(&fixture("mistral-sw8"), GgufType::Q4K).unwrap();
    insta::assert_snapshot!("gguf_plan_mistral", plan.view().plain());
    let exceptions = plan.exceptions();
    assert_eq!(
        exceptions.iter().map(|(.., count)| count).sum::<usize>(),
        plan.table().rows().iter().filter(|row| row.shape.len() == 2).count()
    );
    assert_eq!(plan.report()["type"], "q4_k");
}

#[test]
fn inspect_shows_types_and_metadata() {
    let temp = tempdir().unwrap();
    let file = temp.path().join(GGUF_FILE);
    write(&fixture("qwen3-tied"), GgufType::Q8_0, &file).unwrap();
    for path in [file.as_path(), temp.path()] {
        let said = command().arg("inspect").arg(path).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let text = String::from_utf8(said.stdout).unwrap().replace(temp.path().to_str().unwrap(), "[temp]");
        insta::assert_snapshot!("gguf_inspect", text.replace("[temp]/model.gguf", "[temp]"));
    }
    let said = command().args(["inspect", "--json"]).arg(&file).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(report["gguf"]["qwen3.block_count"], "3");
    let row = &report["tensors"].as_array().unwrap()[0];
    assert_eq!(row["dtype"], "q8_0");
}

#[test]
fn a_vocabulary_is_written_as_lists() {
    let (_, plan) = plan(&fixture("mistral-sw8"), GgufType::F16).unwrap();
    let metadata = plan.metadata();
    assert_eq!(metadata.text("tokenizer.ggml.model"), Some("llama"));
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap();
    assert_eq!((tokens.len(), tokens[0].as_str(), tokens[3].as_str()), (1024, "<unk>", "<0x00>"));
    let Some(GgufValue::Array(GgufArray::I32(kinds))) = metadata.get("tokenizer.ggml.token_type") else { panic!() };
    assert_eq!(kinds[..4], [2, 3, 3, 6]);
    let Some(GgufValue::Array(GgufArray::F32(scores))) = metadata.get("tokenizer.ggml.scores") else { panic!() };
    // The first merge makes the best token.
    let first = metadata.texts("tokenizer.ggml.merges").unwrap()[0].replace(' ', "");
    let place = tokens.iter().position(|token| *token == first).unwrap();
    assert!(scores[place] == 0.0 && scores.iter().skip(259).filter(|score| **score == 0.0).count() == 1);
    assert_eq!(metadata.get("tokenizer.ggml.add_bos_token"), Some(&GgufValue::Bool(true)));
}

#[test]
fn what_gguf_has_no_place_for_is_refused_by_name() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("deepone");
    let config = project("deepone").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
    let said = plan(&folder, GgufType::F16).unwrap_err().replace(temp.path().to_str().unwrap(), "[temp]");
    insta::assert_snapshot!("gguf_of_another_family", said);

    let copy = copy_of("llama-gqa", temp.path());
    let path = copy.join("tokenizer.json");
    let mut definition = chandlery_tests::json(&path);
    let mut tokens: Vec<(u64, String)> = definition["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(token, id)| (id.as_u64().unwrap(), token.clone()))
        .collect();
    tokens.sort();
    let vocabulary: Vec<(String, f64)> = tokens.into_iter().map(|(_, token)| (token, 0.0)).collect();
    definition["model"] = serde_json::json!({ "type": "Unigram", "unk_id": 0, "vocab": vocabulary });
    std::fs::write(&path, definition.to_string()).unwrap();
    let said = plan(&copy, GgufType::F16).unwrap_err().replace(temp.path().to_str().unwrap(), "[temp]");
    insta::assert_snapshot!("gguf_of_another_tokenizer", said);
}

#[test]
fn rotary_positions_that_readers_compute_differently_are_refused() {
    let temp = tempdir().unwrap();
    let yarn = r#"{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}"#;
    let partial = r#"{"rope_theta": 10000.0, "partial_rotary_factor": 0.5}"#;
    for (name, rope, word) in [("yarn", yarn, "yarn"), ("partial", partial, "part")] {
        let folder = temp.path().join(name);
        let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
        let config = config.set("rope_parameters", serde_json::from_str::<serde_json::Value>(rope).unwrap()).unwrap();
        config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
        let said = plan(&folder, GgufType::F16).unwrap_err();
        assert!(said.contains("GGUF cannot express") && said.contains(word), "{said}");
    }
}

/// A copy of a model with one number of one tensor replaced.
fn spoiled(temp: &Path, value: f32) -> PathBuf {
    let copy = copy_of("llama-gqa", temp);
    let path = copy.join("model.safetensors");
    let mut tensors: HashMap<String, Tensor> = safetensors::load(&path, &Device::Cpu).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let mut values = tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values[700] = value;
    let spoiled = Tensor::from_vec(values, tensors[name].shape(), &Device::Cpu).unwrap();
    tensors.insert(name.to_owned(), spoiled);
    safetensors::save(&tensors, path).unwrap();
    copy
}

#[test]
fn values_that_a_type_cannot_hold_are_refused_or_kept() {
    for (value, refusing) in [
        (f32::NAN, &[GgufType::Q8_0, GgufType::Q4K][..]),
        (f32::INFINITY, &[GgufType::Q4_0]),
        (1e5, &[GgufType::F16, GgufType::Q8_0]),
    ] {
        for &kind in GgufType::ALL {
            let temp = tempdir().unwrap();
            let source = spoiled(temp.path(), value);
            let written = write(&source, kind, &temp.path().join("x.gguf"));
            if refusing.contains(&kind) {
                let said = written.unwrap_err();
                assert!(said.contains("feedforward.up_proj.weight` h"), "{said}");
                if value.is_nan() && kind == GgufType::Q8_0 {
                    insta::assert_snapshot!("gguf_nan", said.replace(temp.path().to_str().unwrap(), "[temp]"));
                }
            } else if !value.is_finite() && [GgufType::F32, GgufType::F16, GgufType::BF16].contains(&kind) {
                assert_eq!(written.unwrap().not_finite, ["blk.1.ffn_up.weight"]);
            }
        }
    }
}

#[test]
fn a_file_of_blocks_cannot_become_another_format() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    write(&folder, GgufType::Q8_0, &folder.join(GGUF_FILE)).unwrap();
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    for verb in ["convert", "finalize"] {
        let said = command().arg(verb).arg(&folder).arg(temp.path().join("out")).output().unwrap();
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(text.contains("these are GGUF weights"), "{text}");
        assert!(!temp.path().join("out").exists());
    }
}

/// A header of one tensor, to be bent.
fn small() -> (GgufMetadata, TensorRow) {
    let mut metadata = GgufMetadata::new();
    metadata.set("general.architecture", GgufValue::Text("llama".to_owned()));
    metadata.set("llama.block_count", GgufValue::Unsigned(1));
    metadata.set("llama.block_kount", GgufValue::Unsigned(1));
    metadata.set("tokenizer.ggml.tokens", GgufValue::Array(GgufArray::Text(vec!["a".to_owned(), "b".to_owned()])));
    (metadata, TensorRow::stored("output.weight".into(), vec![4, 32], DType::F32))
}

/// The place of `needle` in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).unwrap()
}

/// A change to the bytes of a file.
type Bend = Box<dyn Fn(&mut Vec<u8>)>;

#[test]
fn files_that_lie_are_refused() {
    let (metadata, row) = small();
    let (mut sound, _) = gguf_header(&metadata, &[row]).unwrap();
    sound.resize(sound.len() + 4 * 32 * 4, 0);
    let put = |at: usize, bytes: &'static [u8]| -> Bend {
        Box::new(move |file| file[at..at + bytes.len()].copy_from_slice(bytes))
    };
    let after = |needle: &[u8], skip: usize| find(&sound, needle) + needle.len() + skip;
    let huge: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1];
    let cases: Vec<(&str, Bend)> = vec![
        ("another magic", put(0, b"GGML")),
        ("version 1", put(4, &[1])),
        ("big endian", put(4, &[0, 0, 0, 3])),
        ("counts of tensors", put(8, huge)),
        ("counts of keys", put(16, huge)),
        ("a key of endless length", put(24, huge)),
        ("a text of endless length", put(after(b"general.architecture", 4), huge)),
        ("an array of endless length", put(after(b"tokenizer.ggml.tokens", 8), huge)),
        ("an array of arrays", put(after(b"tokenizer.ggml.tokens", 4), &[9])),
        ("a value of no type", put(after(b"llama.block_count", 0), &[77])),
        ("a key that is not UTF-8", put(find(&sound, b"general"), &[0xff])),
        ("a text that is not UTF-8", put(after(b"general.architecture", 12), &[0xff, 0xfe])),
        ("a tensor's name that is not UTF-8", put(find(&sound, b"output"), &[0xc0])),
        ("the same key twice", put(find(&sound, b"llama.block_kount"), b"llama.block_count")),
        ("dimensions without end", put(after(b"output.weight", 0), &[200])),
        (
            "dimensions whose product overflows",
            put(after(b"output.weight", 4), &[0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40]),
        ),
        ("a tensor beyond the file", put(after(b"output.weight", 20 + 4), huge)),
        ("a tensor that is not aligned", put(after(b"output.weight", 20 + 4), &[4])),
        ("a type that does not exist", put(after(b"output.weight", 20), &[99])),
        ("rows that are not whole blocks", put(after(b"output.weight", 20), &[12])),
        ("a file that ends in its header", Box::new(|file| file.truncate(100))),
        ("a file that ends in its tensors", Box::new(|file| file.truncate(file.len() - 1))),
        ("an empty file", Box::new(Vec::clear)),
    ];
    let temp = tempdir().unwrap();
    let path = temp.path().join("bent.gguf");
    std::fs::write(&path, &sound).unwrap();
    chandlery::inspect(&path).unwrap();
    let mut all = String::new();
    for (name, bend) in cases {
        let mut file = sound.clone();
        bend(&mut file);
        std::fs::write(&path, &file).unwrap();
        let said = command().arg("inspect").arg(&path).output().unwrap();
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0), "{name}: {text}");
        all += &format!("{name}\n{}\n", text.replace(temp.path().to_str().unwrap(), "[temp]"));
    }
    insta::assert_snapshot!("gguf_files_that_lie", all);

    // Two tensors at one place, and two of one name.
    let (metadata, row) = small();
    let second = TensorRow { path: "other.weight".into(), ..row.clone() };
    let (mut header, _) = gguf_header(&metadata, &[row.clone(), second.clone()]).unwrap();
    header.resize(header.len() + 8 * 32 * 4, 0);
    let at = find(&header, b"other.weight") + b"other.weight".len() + 4 + 16 + 4;
    let mut overlapping = header.clone();
    overlapping[at..at + 8].fill(0);
    let mut twice = header;
    let at = find(&twice, b"other.weight") - 8;
    twice.splice(at..at + 8 + 12, [13u64.to_le_bytes().to_vec(), b"output.weight".to_vec()].concat());
    for (file, expected) in [(overlapping, "overlap"), (twice, "tensor `output.weight` appears twice")] {
        std::fs::write(&path, file).unwrap();
        let said = chandlery::inspect(&path).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn models_of_other_architectures_are_inspected_and_not_computed() {
    let temp = tempdir().unwrap();
    let (mut metadata, row) = small();
    metadata.set("general.architecture", GgufValue::Text("mamba".to_owned()));
    let (mut file, _) = gguf_header(&metadata, std::slice::from_ref(&row)).unwrap();
    file.resize(file.len() + row.bytes() as usize, 0);
    let path = temp.path().join("mamba.gguf");
    std::fs::write(&path, file).unwrap();
    assert_eq!(chandlery::inspect(&path).unwrap().table.len(), 1);
    std::fs::write(temp.path().join("ids.json"), "[[1, 2]]").unwrap();
    let mut logits = command();
    logits.arg("logits").arg(&path).arg("--input-ids").arg(temp.path().join("ids.json"));
    let said = logits.arg("-o").arg(temp.path().join("out.safetensors")).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    let text = String::from_utf8(said.stderr).unwrap().replace(temp.path().to_str().unwrap(), "[temp]");
    insta::assert_snapshot!("gguf_of_another_architecture", text);
}
