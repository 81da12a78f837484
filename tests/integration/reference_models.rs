//! The candle model against transformers: logits, padding, packing, losses, gradients, greedy text.

use chandlery::candle::{DType as CandleType, Device};
use chandlery::checkpoint::Checkpoint;
use chandlery::model::{Batch, CausalLm, IGNORED_LABEL, next_token_loss};
use chandlery::model_folder::ModelFolder;
use chandlery::naming::Families;
use chandlery::spec::{DType, Naming};
use chandlery_tests::{MODELS, fixture, json};

/// Largest absolute difference of float32 logits; the noise of transformers itself is about 1e-5.
const LOGITS: f32 = 1e-3;
/// Largest relative difference of losses and gradient norms.
const RELATIVE: f64 = 1e-3;

fn load(name: &str, trainable: bool) -> CausalLm {
    ModelFolder::open(fixture(name)).unwrap().load(DType::F32, &Device::Cpu, trainable).unwrap()
}

fn integers(reference: &Checkpoint, name: &str) -> Vec<Vec<u32>> {
    let data = reference.read(&name.into()).unwrap();
    let values = data.bytes.chunks_exact(8).map(|raw| i64::from_le_bytes(raw.try_into().unwrap()) as u32);
    values.collect::<Vec<_>>().chunks(data.shape[1]).map(<[u32]>::to_vec).collect()
}

#[test]
fn logits_agree_plain_padded_on_either_side_and_packed() {
    for name in MODELS {
        let file = fixture(name).join("reference.safetensors");
        let diffs = chandlery::compare::compare_with_reference(
            &fixture(name),
            &file,
            chandlery::device::Device::Cpu,
            &Families::built_in().unwrap(),
        )
        .unwrap();
        assert_eq!(diffs.len(), 4, "{name}");
        for diff in diffs {
            assert!(diff.max_abs() <= LOGITS, "{name}, {}: {}", diff.names.0, diff.max_abs());
        }
    }
}

#[test]
fn ignoring_document_boundaries_would_be_noticed() {
    let reference = Checkpoint::open(fixture("llama-gqa").join("reference.safetensors")).unwrap();
    let model = load("llama-gqa", false);
    let logits = model.forward(&Batch::new(integers(&reference, "packed.input_ids")).unwrap()).unwrap();
    let found = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let worst = |name: &str| {
        let data = reference.read(&name.into()).unwrap();
        let expected = data.bytes.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap()));
        expected.zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(worst("packed.logits_no_isolation") <= LOGITS);
    assert!(worst("packed.logits") > 1.0);
}

#[test]
fn losses_and_gradient_norms_agree() {
    for name in MODELS {
        let reference = Checkpoint::open(fixture(name).join("reference.safetensors")).unwrap();
        let expected = json(fixture(name).join("reference.json"));
        let model = load(name, true);
        let family = ModelFolder::open(fixture(name)).unwrap().family().clone();
        let ids = integers(&reference, "plain.input_ids");
        let labels: Vec<Vec<i64>> = ids.iter().map(|row| row.iter().map(|&id| i64::from(id)).collect()).collect();
        let loss = next_token_loss(&model.forward(&Batch::new(ids).unwrap()).unwrap(), &labels).unwrap();
        near(
            f64::from(loss.to_scalar::<f32>().unwrap()),
            expected["loss_plain"].as_f64().unwrap(),
            &format!("{name}: loss"),
        );

        let gradients = loss.backward().unwrap();
        let norms = expected["grad_l2_plain"].as_object().unwrap();
        let variables = model.parameters().variables();
        assert_eq!(variables.len(), norms.len(), "{name}");
        for (path, var) in variables {
            let hf = family.name_on(Naming::HuggingFace, &path);
            let gradient = gradients.get(var.as_tensor()).unwrap_or_else(|| panic!("{name}: no gradient for {path}"));
            let square = gradient.to_dtype(CandleType::F64).unwrap().sqr().unwrap().sum_all().unwrap();
            let norm = square.to_scalar::<f64>().unwrap().sqrt();
            near(norm, norms[hf.as_str()].as_f64().unwrap(), &format!("{name}: gradient of {hf}"));
        }
    }
}

#[test]
fn padding_does_not_count_in_the_loss() {
    for name in MODELS {
        let reference = Checkpoint::open(fixture(name).join("reference.safetensors")).unwrap();
        let ids = integers(&reference, "right_pad.input_ids");
        let mask = integers(&reference, "right_pad.attention_mask");
        let labels: Vec<Vec<i64>> = ids
            .iter()
            .zip(&mask)
            .map(|(ids, mask)| {
                ids.iter().zip(mask).map(|(&id, &real)| if real == 1 { i64::from(id) } else { IGNORED_LABEL }).collect()
            })
            .collect();
        let mut batch = Batch::new(ids).unwrap();
        batch.attention_mask = Some(mask.iter().map(|row| row.iter().map(|&bit| bit as u8).collect()).collect());
        let loss = next_token_loss(&load(name, false).forward(&batch).unwrap(), &labels).unwrap();
        let expected = json(fixture(name).join("reference.json"))["loss_right_pad_ignore_-100"].as_f64().unwrap();
        near(f64::from(loss.to_scalar::<f32>().unwrap()), expected, name);
    }
}

#[test]
fn greedy_continuations_agree() {
    for name in MODELS {
        let reference = Checkpoint::open(fixture(name).join("reference.safetensors")).unwrap();
        let prompt = integers(&reference, "greedy.prompt_ids").remove(0);
        let expected = integers(&reference, "greedy.new_ids").remove(0);
        assert_eq!(load(name, false).generate_greedy(&prompt, expected.len(), &[]).unwrap(), expected, "{name}");
    }
}

#[test]
fn both_styles_of_config_json_describe_the_same_model() {
    for name in MODELS {
        let old = fixture(name).join("config.4x.json");
        if old.exists() {
            let read = |path| Families::built_in().unwrap().read_config(&json(path), name).unwrap();
            assert_eq!(read(old), read(fixture(name).join("config.json")), "{name}");
        }
    }
}

fn near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= RELATIVE * expected.abs(), "{what}: {found} instead of {expected}");
}
