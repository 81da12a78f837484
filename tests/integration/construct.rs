//! Construction and test run: counts, folders, seeds, gradients, and the agreement of spec and module.

use std::sync::{Arc, Mutex};

use chandlery::candle::{Device, Tensor};
use chandlery::checkpoint::Checkpoint;
use chandlery::compare;
use chandlery::model::{CausalLm, ModelError, Weights, candle_dtype};
use chandlery::project;
use chandlery::project::Project;
use chandlery::spec::{DType, ModelSpec, ParamPath};
use chandlery_tests::{entries, json};
use tempfile::tempdir;

/// Answers every request with a tensor of one stored element, and writes it down.
struct Probe(Arc<Mutex<Vec<Asked>>>);

type Asked = (ParamPath, Vec<usize>);

impl Weights for Probe {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.0.lock().unwrap().push((path.clone(), shape.to_vec()));
        Ok(Tensor::zeros((), candle_dtype(dtype), device)?.broadcast_as(shape)?)
    }
}

#[test]
fn the_module_asks_for_exactly_the_parameters_of_the_spec_also_at_70b() {
    let all = Project::names().into_iter().flat_map(|family| {
        let project = project(&family).unwrap();
        project.configs().into_iter().map(move |name| project.config(&name).unwrap())
    });
    for config in all {
        let name = format!("{} {}", config.project().name(), config.name());
        let config = config.render().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        CausalLm::build(&config, Box::new(Probe(asked.clone())), DType::BF16, &Device::Cpu, false).unwrap();
        let expected: Vec<Asked> = ModelSpec::resolve(&config)
            .table(DType::BF16)
            .stored()
            .map(|row| (row.path.clone(), row.shape.clone()))
            .collect();
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        let mut sorted = expected;
        sorted.sort();
        assert_eq!(asked, sorted, "{name}");
    }
}

#[test]
fn a_saved_construction_is_a_model_folder_and_the_seed_decides_its_bits() {
    let temp = tempdir().unwrap();
    let small = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    let save = |name: &str, seed| {
        let folder = temp.path().join(name);
        small.construct().device("cpu").unwrap().seed(seed).output_dir(&folder).save_checkpoint(true).build().unwrap();
        std::fs::read(folder.join("model.safetensors")).unwrap()
    };
    let (first, same, other) = (save("first", 1), save("same", 1), save("other", 2));
    assert!(first == same && first != other);
    assert_eq!(compare(temp.path().join("first"), temp.path().join("same")).run().unwrap().max_abs(), 0.0);
    assert_eq!(
        entries(&temp.path().join("first")),
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let config = json(temp.path().join("first/config.json"));
    assert_eq!(
        (&config["bos_token_id"], &config["pad_token_id"], &config["eos_token_id"]),
        (&0.into(), &1.into(), &2.into())
    );
}

#[test]
fn tied_weights_are_stored_once() {
    let temp = tempdir().unwrap();
    let tied = project("llama").unwrap().config("4M").unwrap().set("tie_word_embeddings", true).unwrap();
    let folder = temp.path().join("tied");
    let built = tied.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
    assert_eq!(built.table.parameters(), 4_434_176 - 2000 * 256);
    assert!(Checkpoint::open(&folder).unwrap().table().get(&"lm_head.weight".into()).is_none());
}

#[test]
fn an_output_folder_is_never_replaced_by_surprise() {
    let temp = tempdir().unwrap();
    let folder = temp.path().join("model");
    let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
    config.construct().output_dir(&folder).build().unwrap();
    config.construct().output_dir(&folder).build().expect("the same configuration again is no surprise");

    let wider = config.clone().set("hidden_size", 512).unwrap().construct().output_dir(&folder);
    let error = wider.build().unwrap_err().to_string();
    assert!(error.contains("hidden_size: 256 → 512") && error.contains("-r"), "{error}");
    wider.clone().refresh(true).build().unwrap();
    assert_eq!(json(folder.join("config.json"))["hidden_size"], 512);

    let save = config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).refresh(true);
    save.build().unwrap();
    let error = wider.clone().refresh(true).build().unwrap_err().to_string();
    assert!(error.contains("holds model.safetensors") && error.contains("--force"), "{error}");
    assert_eq!(json(folder.join("config.json"))["hidden_size"], 256);
    wider.refresh(true).force(true).build().unwrap();
    assert_eq!(entries(temp.path()), ["model"]);
}

#[test]
fn every_parameter_receives_a_gradient_and_a_repeated_batch_is_learnt() {
    let model = project("llama").unwrap().config("4M").unwrap().construct().device("cpu").unwrap().build().unwrap();
    let report = model.test().steps(6).sequence_length(24).lr(0.5).repeat_batch(true).run().unwrap();
    assert!(report.passed(), "{:?}", report.without_gradient);
    assert_eq!((report.tensors, report.steps.len()), (39, 6));
    let losses = report.losses();
    assert!(losses[5] < losses[0] - 0.5, "{losses:?}");
    assert!(report.tokens_per_second() > 0.0 && report.peak_memory_bytes.unwrap() > 4_434_176 * 4);
}

#[test]
fn a_learning_rate_that_explodes_does_not_pass() {
    let model = project("llama").unwrap().config("4M").unwrap().construct().device("cpu").unwrap().build().unwrap();
    let report = model.test().steps(4).sequence_length(8).lr(1e12).run().unwrap();
    assert!(!report.passed());
}

#[test]
fn a_model_on_meta_cannot_be_tested_and_says_so() {
    let model = project("llama").unwrap().config("llama3.1_70b").unwrap().construct().build().unwrap();
    let error = model.test().run().unwrap_err().to_string();
    assert!(error.contains("meta") && error.contains("--device cpu"), "{error}");
}
