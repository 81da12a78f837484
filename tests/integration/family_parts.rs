//! The parts of families, in the combinations of `fixtures/mixes`: caches, packed documents, and gradients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chandlery::candle::{D, Device, Tensor};
use chandlery::model::{Batch, CausalLm, InitialWeights, KvCache, StepOptions};
use chandlery::project::{own_parts, project};
use chandlery::spec::{DType, ModelConfig, ModelSpec, ParamPath};
use chandlery_tests::fixture;

/// Each with whether its rotary frequencies depend on the length of the text, so that a part of one gives other numbers.
const MIXES: &[(&str, bool)] = &[
    ("sandwich", false),
    ("parallel", false),
    ("two_norms", true),
    ("output_norm", false),
    ("sinks", false),
    ("geometric", false),
    ("longrope", true),
    ("delta_net", false),
    ("short_conv", false),
    ("mamba2", false),
    ("hybrid", false),
    ("mamba", false),
    ("shared_keys", false),
    ("chunks", false),
];

const IDS: &[u32] = &[5, 900, 17, 300, 44, 45, 1999, 2, 71, 8, 640, 33];

fn config(name: &str) -> ModelConfig {
    // The project has a part of its own, which another configuration uses.
    own_parts::compile_with(chandlery_kernel::parts::register);
    project(fixture("mixes").to_str().unwrap()).unwrap().config(name).unwrap().render().unwrap()
}

/// A model in float64, whose parameters are moved away from the values at which recipes begin.
fn model(config: &ModelConfig) -> CausalLm {
    let table = ModelSpec::resolve(config).table(DType::F64);
    let weights = Box::new(InitialWeights::new(&table, 3));
    let model = CausalLm::build(config, weights, DType::F64, &Device::Cpu, true).unwrap();
    for (path, variable) in model.parameters().variables() {
        let value = variable.as_tensor();
        variable.set(&(value + (direction(&path, value) * 0.2).unwrap()).unwrap()).unwrap();
    }
    model
}

/// Numbers between −½ and ½ that follow from a parameter's name.
fn direction(path: &ParamPath, like: &Tensor) -> Tensor {
    let mut state =
        path.to_string().bytes().fold(7u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let values: Vec<f64> = (0..like.elem_count()).map(|_| next()).collect();
    Tensor::from_vec(values, like.shape(), &Device::Cpu).unwrap()
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn a_cache_continues_every_part() {
    for (name, _) in MIXES.iter().filter(|(_, by_length)| !by_length) {
        let model = model(&config(name));
        let batch = |ids: &[u32]| Batch::new(vec![ids.to_vec()]).unwrap();
        let whole = model.forward(&batch(IDS)).unwrap();
        let mut cache = KvCache::new();
        let parts =
            [&IDS[..5], &IDS[5..6], &IDS[6..]].map(|part| model.forward_cached(&batch(part), &mut cache).unwrap());
        assert_eq!(cache.past_len(), IDS.len());
        let found = difference(&Tensor::cat(&parts, 1).unwrap(), &whole);
        assert!(found < 1e-9, "{name}: {found}");
    }
}

#[test]
fn long_texts_are_generated_as_if_there_were_no_cache() {
    // The twelve tokens become more than the sixteen from which on LongRoPE has other frequencies.
    let model = model(&config("longrope"));
    let generated = model.generate_greedy(IDS, 7, &[]).unwrap();
    let mut known = IDS.to_vec();
    for (step, token) in generated.iter().enumerate() {
        let logits = model.forward(&Batch::new(vec![known.clone()]).unwrap()).unwrap();
        let last = logits.narrow(1, known.len() - 1, 1).unwrap().argmax(D::Minus1).unwrap().flatten_all().unwrap();
        // The step that crosses the border is computed from the first token on, and those after it continue it.
        assert_eq!(last.to_vec1::<u32>().unwrap(), [*token], "step {step}");
        known.push(*token);
    }
    assert!(model.outgrows(16, 17) && !model.outgrows(15, 16) && !model.outgrows(17, 18) && !model.outgrows(0, 40));
}

#[test]
fn packed_documents_see_nothing_of_each_other() {
    for (name, _) in MIXES.iter().filter(|(_, by_length)| !by_length) {
        let model = model(&config(name));
        let one = |ids: &[u32]| model.forward(&Batch::new(vec![ids.to_vec()]).unwrap()).unwrap();
        let mut packed = Batch::new(vec![IDS.to_vec()]).unwrap();
        packed.position_ids = Some(vec![(0..5).chain(0..7).collect()]);
        let together = model.forward(&packed).unwrap();
        let found = difference(&together, &Tensor::cat(&[one(&IDS[..5]), one(&IDS[5..])], 1).unwrap());
        assert!(found < 1e-9, "{name}: {found}");
    }
}

#[test]
fn padding_changes_nothing_for_real_tokens() {
    for (name, _) in MIXES {
        // Biases of the padding before a text reach a convolution, as in transformers.
        let json = config(name).to_native_json(None).to_string();
        let json = json.replace("\"conv_bias\":true", "\"conv_bias\":false");
        let json = json.replace("\"mamba_proj_bias\":true", "\"mamba_proj_bias\":false");
        let config = ModelConfig::from_json(&serde_json::from_str(&json).unwrap(), name).unwrap();
        let model = model(&config);
        let whole = model.forward(&Batch::new(vec![IDS.to_vec()]).unwrap()).unwrap();
        let mut padded = Batch::new(vec![[&[0, 0, 0], IDS].concat(), [IDS, &[0, 0, 0]].concat()]).unwrap();
        let bits = |real: std::ops::Range<usize>| (0..15).map(|place| u8::from(real.contains(&place))).collect();
        padded.attention_mask = Some(vec![bits(3..15), bits(0..12)]);
        // Positions are those of the real tokens.
        padded.position_ids =
            Some(vec![[0, 0, 0].into_iter().chain(0..12).collect(), (0..12).chain([0, 0, 0]).collect()]);
        let found = model.forward(&padded).unwrap();
        for (row, start) in [(0, 3), (1, 0)] {
            let part = found.narrow(0, row, 1).unwrap().narrow(1, start, 12).unwrap();
            let found = difference(&part, &whole);
            assert!(found < 1e-9, "{name}, row {row}: {found}");
        }
    }
}

/// The mean loss of each token given those before it, in float64.
fn loss(model: &CausalLm) -> f64 {
    let logits = model.forward(&Batch::new(vec![IDS.to_vec()]).unwrap()).unwrap().squeeze(0).unwrap();
    let logits = logits.to_vec2::<f64>().unwrap();
    let of = |(row, next): (&Vec<f64>, &u32)| {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + row.iter().map(|logit| (logit - top).exp()).sum::<f64>().ln() - row[*next as usize]
    };
    logits.iter().zip(&IDS[1..]).map(of).sum::<f64>() / (IDS.len() - 1) as f64
}

#[test]
fn gradients_of_every_parameter_are_those_of_finite_differences() {
    for (name, _) in MIXES {
        let model = model(&config(name));
        let received = Arc::new(Mutex::new(HashMap::new()));
        let sink = received.clone();
        let sink = Arc::new(move |path: &ParamPath, _: &_, gradient: Tensor| {
            sink.lock().unwrap().insert(path.to_string(), gradient);
            Ok(())
        });
        let labels = vec![IDS.iter().map(|&id| i64::from(id)).collect()];
        let batch = Batch::new(vec![IDS.to_vec()]).unwrap();
        model.loss_and_gradients(&batch, &labels, &StepOptions::default(), sink).unwrap();
        let received = received.lock().unwrap();
        for (path, variable) in model.parameters().variables() {
            let gradient = received.get(&path.to_string()).unwrap_or_else(|| panic!("{name}: {path} has no gradient"));
            let at = variable.as_tensor().copy().unwrap();
            let along = direction(&path, &at);
            let moved = |by: f64| {
                variable.set(&(&at + (&along * by).unwrap()).unwrap()).unwrap();
                loss(&model)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            variable.set(&at).unwrap();
            let expected = (gradient * &along).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            let error = (slope - expected).abs() / slope.abs().max(1e-3);
            assert!(error < 1e-5, "{name}, {path}: {expected} instead of {slope}");
        }
    }
}
