//! Forward passes with a layer in memory at a time: the numbers of the model in memory, whatever its parts and its files.

use std::collections::HashMap;
use std::path::Path;

use chandlery::candle::Device;
use chandlery::gguf::{GgufModel, GgufPlan, GgufType};
use chandlery::model::{Batch, CausalLm, KvCache, StreamedLm};
use chandlery::model_folder::ModelFolder;
use chandlery::spec::{DType, Recipe};
use chandlery::tokenizer::TokenizerFiles;
use chandlery::{finalize, project};
use chandlery_tests::{MODELS, copy_of, edit_config, fixture};
use tempfile::tempdir;

/// Two rows, one of them padded.
fn batch() -> Batch {
    Batch {
        input_ids: vec![vec![5, 9, 300, 2, 2, 17, 44, 1, 800, 6, 12, 77], vec![3; 12]],
        attention_mask: Some(vec![vec![1; 12], [vec![1; 7], vec![0; 5]].concat()]),
        position_ids: None,
    }
}

/// Both give the same logits and the same streams.
fn same(name: &str, whole: &CausalLm, streamed: &StreamedLm<'_>) {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let floats = |tensor: &chandlery::candle::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let logits = whole.forward_observed(&batch(), &mut |_, stream| expected.push(floats(stream))).unwrap();
    let values = streamed.forward_observed(&batch(), &mut |_, stream| found.push(floats(stream))).unwrap();
    close(name, &floats(&logits), &values);
    assert_eq!(expected.len(), found.len(), "{name}");
    for (expected, found) in expected.iter().zip(&found) {
        close(name, expected, found);
    }
}

fn close(name: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{name}");
    let largest = expected.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
    let apart = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart <= 1e-5 * largest, "{name}: {apart:e} of {largest}");
}

fn check(name: &str, folder: &Path) {
    let model = ModelFolder::open(folder).unwrap();
    let whole = model.load(DType::F32, &Device::Cpu, false).unwrap();
    same(name, &whole, &model.stream(&Device::Cpu).unwrap());
    same(name, &whole, &model.stream(&Device::Cpu).unwrap().keeping_layers(true));
}

#[test]
fn streamed_reference_models_compute_the_same() {
    for name in MODELS {
        check(name, &fixture(name));
    }
}

#[test]
fn streamed_parts_of_every_kind_compute_the_same() {
    let temp = tempdir().unwrap();
    // The fixture without the part of its own, which a test does not compile.
    let mixes = temp.path().join("mixes");
    std::fs::create_dir_all(mixes.join("configs")).unwrap();
    let copied = ["project.yaml", "configs/alibi_post_norm.yaml", "configs/deepnet_layer_norm.yaml"];
    for file in copied.into_iter().chain(["configs/layers.yaml", "configs/learned_positions.yaml"]) {
        std::fs::copy(fixture("mixes").join(file), mixes.join(file)).unwrap();
    }
    let mixes = mixes.display().to_string();
    let mixed =
        ["alibi_post_norm", "deepnet_layer_norm", "layers", "learned_positions"].map(|name| (mixes.as_str(), name));
    let own = ["causal_lm", "deepone", "single_head", "qwen3"].map(|name| (name, "4M"));
    for (number, (name, config)) in mixed.into_iter().chain(own).enumerate() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let folder = temp.path().join(format!("{number}-{dtype}"));
            let construct = project(name).unwrap().config(config).unwrap().construct().device("cpu").unwrap();
            construct.dtype(dtype).output_dir(&folder).save_checkpoint(true).build().unwrap();
            check(&format!("{name} {config} {dtype}"), &folder);
        }
    }
}

#[test]
fn streamed_low_bit_weights_compute_the_same() {
    let temp = tempdir().unwrap();
    for recipe in Recipe::ALL {
        let folder = temp.path().join(recipe.name());
        finalize(fixture("llama-gqa"), &folder).quantize(Some(recipe)).run().unwrap();
        check(recipe.name(), &folder);
    }
}

#[test]
fn streamed_gguf_files_compute_the_same() {
    let temp = tempdir().unwrap();
    for (model, kind) in [("llama-gqa", GgufType::F16), ("llama-gqa", GgufType::Q8_0), ("qwen3-tied", GgufType::BF16)] {
        let source = fixture(model);
        let folder = ModelFolder::open(&source).unwrap();
        let tokenizer = TokenizerFiles::read(&source).unwrap();
        let plan = GgufPlan::new(&folder, folder.config(), &tokenizer, kind, "a test").unwrap();
        let file = temp.path().join(kind.name()).with_extension("gguf");
        plan.write(folder.checkpoint(), &HashMap::new(), &file, &|_| {}).unwrap();
        let model = GgufModel::open(&file).unwrap();
        let whole = model.load(DType::F32, &Device::Cpu).unwrap();
        same("gguf", &whole, &model.stream(&Device::Cpu).unwrap());
    }
}

#[test]
fn a_streamed_cache_continues_as_whole_rows_do() {
    for keep in [false, true] {
        let model = ModelFolder::open(fixture("llama-bf16")).unwrap();
        let streamed = model.stream(&Device::Cpu).unwrap().keeping_layers(keep);
        let ids: Vec<u32> = vec![5, 9, 300, 2, 17, 44];
        let whole = streamed.forward_observed(&Batch::new(vec![ids.clone()]).unwrap(), &mut |_, _| {}).unwrap();
        let mut cache = KvCache::new();
        for (id, expected) in ids.iter().zip(whole.chunks_exact(model.config().vocab_size)) {
            let one = streamed.forward_cached(&Batch::new(vec![vec![*id]]).unwrap(), &mut cache).unwrap();
            close("cached", expected, &one);
        }
    }
}

#[test]
fn a_streamed_model_that_lacks_a_tensor_is_refused_first() {
    let temp = tempdir().unwrap();
    let folder = copy_of("llama-gqa", temp.path());
    edit_config(&folder, |config| config["num_hidden_layers"] = 9.into());
    let model = ModelFolder::open(&folder).unwrap();
    let Err(error) = model.stream(&Device::Cpu) else { panic!("a layer is not there") };
    assert!(error.to_string().contains("missing: `model.layers."), "{error}");
}
