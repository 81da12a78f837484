//! Every part against plain loops in float64 that share nothing with the model, and configurations that choose parts.

use std::collections::HashMap;

use chandlery::candle::{DType as CandleType, Device};
use chandlery::model::{Batch, CausalLm, InitialWeights, KvCache, StepOptions};
use chandlery::ops::AttentionImplementation;
use chandlery::project;
use chandlery::project::Project;
use chandlery::spec::{DType, Init, ModelConfig, ModelSpec, Naming};
use serde_json::{Value, json};

type Matrix = Vec<Vec<f64>>;

/// Parameters by name: rows of `[rows, columns]`; vectors are one row.
struct Parameters(HashMap<String, Matrix>);

impl Parameters {
    fn of(model: &CausalLm) -> Self {
        let rows = |tensor: &chandlery::candle::Tensor| -> Matrix {
            let columns = *tensor.dims().last().unwrap();
            let flat = tensor.to_dtype(CandleType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            flat.chunks(columns).map(<[f64]>::to_vec).collect()
        };
        Self(model.parameters().tensors().iter().map(|(path, tensor)| (path.to_string(), rows(tensor))).collect())
    }

    fn matrix(&self, name: &str) -> &Matrix {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn vector(&self, name: &str) -> Option<&Vec<f64>> {
        self.0.get(name).map(|rows| &rows[0])
    }

    /// x Wᵀ + b.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let bias = self.vector(&format!("{name}.bias"));
        let rows = self.matrix(&format!("{name}.weight")).iter().enumerate();
        rows.map(|(row, weights)| dot(weights, x) + bias.map_or(0.0, |bias| bias[row])).collect()
    }

    /// LayerNorm if there is a bias, else RMSNorm.
    fn norm(&self, name: &str, eps: f64, x: &[f64]) -> Vec<f64> {
        let weight = self.vector(&format!("{name}.weight")).unwrap();
        let n = x.len() as f64;
        match self.vector(&format!("{name}.bias")) {
            Some(bias) => {
                let mean = x.iter().sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let scale = (variance + eps).sqrt();
                (0..x.len()).map(|i| (x[i] - mean) / scale * weight[i] + bias[i]).collect()
            }
            None => {
                let scale = (dot(x, x) / n + eps).sqrt();
                (0..x.len()).map(|i| x[i] / scale * weight[i]).collect()
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What the loops need to know of one layer, written out by hand for each case.
#[derive(Clone)]
struct Layer {
    /// "pre", "post", or "deepnet" with α.
    placement: (&'static str, f64),
    heads: usize,
    kv_heads: usize,
    rope_theta: Option<f64>,
    window: usize,
    activation: fn(f64) -> f64,
}

struct Case {
    config: Value,
    layers: Vec<Layer>,
    eps: f64,
    scale: f64,
    sinusoidal: bool,
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn attention(p: &Parameters, name: &str, layer: &Layer, eps: f64, x: &Matrix) -> Matrix {
    let single = p.0.contains_key(&format!("{name}.query_key_linear.weight"));
    let (heads, kv_heads) = (layer.heads, layer.kv_heads);
    let (queries, keys): (Matrix, Matrix) = if single {
        // x W, with W as it is stored.
        let w = p.matrix(&format!("{name}.query_key_linear.weight"));
        let product = |x: &Vec<f64>| (0..w[0].len()).map(|c| (0..x.len()).map(|r| x[r] * w[r][c]).sum()).collect();
        (x.iter().map(product).collect(), x.clone())
    } else {
        let project = |which: &str| x.iter().map(|x| p.linear(&format!("{name}.{which}"), x)).collect();
        (project("query_linear"), project("key_linear"))
    };
    let values: Matrix = x.iter().map(|x| p.linear(&format!("{name}.value_linear"), x)).collect();
    let width = queries[0].len() / heads;
    let head = |row: &Vec<f64>, which: &str, head: usize, position: usize| {
        let mut part = row[head * width..][..width].to_vec();
        if p.0.contains_key(&format!("{name}.{which}.weight")) {
            part = p.norm(&format!("{name}.{which}"), eps, &part);
        }
        if let Some(theta) = layer.rope_theta {
            let half = width / 2;
            let old = part.clone();
            for j in 0..half {
                let angle = position as f64 * theta.powf(-2.0 * j as f64 / width as f64);
                part[j] = old[j] * angle.cos() - old[j + half] * angle.sin();
                part[j + half] = old[j + half] * angle.cos() + old[j] * angle.sin();
            }
        }
        part
    };
    let slopes = p.vector(&format!("{name}.alibi_slopes")).or(p.vector(&format!("{name}.alibi_slope")));
    let mut mixed = vec![Vec::new(); x.len()];
    for (q, out) in mixed.iter_mut().enumerate() {
        for h in 0..heads {
            let shared = h / (heads / kv_heads);
            let query = head(&queries[q], "q_norm", h, q);
            let seen: Vec<usize> = (0..=q).filter(|k| q - k < layer.window).collect();
            let scores = seen.iter().map(|&k| {
                let bias = slopes.map_or(0.0, |slopes| slopes[h] * (k as f64 - q as f64));
                dot(&query, &head(&keys[k], "k_norm", shared, k)) / (width as f64).sqrt() + bias
            });
            let scores: Vec<f64> = scores.map(f64::exp).collect();
            let total: f64 = scores.iter().sum();
            out.extend((0..width).map(|i| {
                let values = seen.iter().zip(&scores).map(|(&k, score)| score / total * values[k][shared * width + i]);
                values.sum::<f64>()
            }));
        }
    }
    if single { mixed } else { mixed.iter().map(|x| p.linear(&format!("{name}.output_linear"), x)).collect() }
}

fn feedforward(p: &Parameters, name: &str, layer: &Layer, x: &[f64]) -> Vec<f64> {
    let activate = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(layer.activation).collect() };
    if p.0.contains_key(&format!("{name}.linear1.weight")) {
        return p.linear(&format!("{name}.linear2"), &activate(p.linear(&format!("{name}.linear1"), x)));
    }
    let gate = activate(p.linear(&format!("{name}.gate_proj"), x));
    let up = p.linear(&format!("{name}.up_proj"), x);
    let product: Vec<f64> = gate.iter().zip(&up).map(|(gate, up)| gate * up).collect();
    p.linear(&format!("{name}.down_proj"), &product)
}

/// Logits `[seq, vocab]` of one row of ids.
fn by_hand(p: &Parameters, case: &Case, ids: &[u32]) -> Matrix {
    let table = p.matrix("causal_lm.input_encoder.embedding.weight");
    let dim = table[0].len();
    let mut x: Matrix = ids.iter().map(|&id| table[id as usize].iter().map(|x| x * case.scale).collect()).collect();
    if case.sinusoidal {
        for (position, row) in x.iter_mut().enumerate() {
            for (i, x) in row.iter_mut().enumerate() {
                let angle = position as f64 * 10_000f64.powf(-((i / 2 * 2) as f64) / dim as f64);
                *x += if i % 2 == 0 { angle.sin() } else { angle.cos() };
            }
        }
    }
    if let Some(table) = p.0.get("causal_lm.input_encoder.positional_encoder.weight") {
        x.iter_mut().zip(table).for_each(|(x, row)| x.iter_mut().zip(row).for_each(|(x, y)| *x += y));
    }
    for (index, layer) in case.layers.iter().enumerate() {
        let name = format!("causal_lm.layer_stack.layers.{index}");
        let norm = |which: &str, x: &Matrix| -> Matrix {
            x.iter().map(|x| p.norm(&format!("{name}.{which}"), case.eps, x)).collect()
        };
        let add = |x: &Matrix, y: Matrix| -> Matrix {
            x.iter().zip(y).map(|(x, y)| x.iter().zip(y).map(|(x, y)| layer.placement.1 * x + y).collect()).collect()
        };
        let step = |which: &str, x: &Matrix, inside: &dyn Fn(&Matrix) -> Matrix| match layer.placement.0 {
            "pre" => add(x, inside(&norm(which, x))),
            _ => norm(which, &add(x, inside(x))),
        };
        x = step("norm1", &x, &|x| attention(p, &format!("{name}.attention"), layer, case.eps, x));
        if p.0.contains_key(&format!("{name}.norm2.weight")) {
            let inside = |x: &Matrix| -> Matrix {
                x.iter().map(|x| feedforward(p, &format!("{name}.feedforward"), layer, x)).collect()
            };
            x = step("norm2", &x, &inside);
        }
    }
    let head = if p.0.contains_key("lm_head.weight") { "lm_head" } else { "causal_lm.input_encoder.embedding" };
    let last = |x: &Vec<f64>| match p.0.contains_key("causal_lm.layer_norm.weight") {
        true => p.norm("causal_lm.layer_norm", case.eps, x),
        false => x.clone(),
    };
    x.iter().map(|x| p.linear(head, &last(x))).collect()
}

/// A small configuration of a family: `fields` over common sizes.
fn config(family: &str, fields: Value) -> Value {
    let mut config = json!({
        "model_type": family, "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 32,
    });
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    config
}

/// Pre-norm LayerNorm, learned positions, biases everywhere, a plain GELU feed-forward part and a tied head. Biases are
/// drawn too, so that a forgotten one shows.
fn gpt2_like() -> Value {
    config(
        "llama",
        json!({
            "norm_type": "layer_norm", "layer_norm_eps": 1e-5, "position_embedding": "learned", "max_position_embeddings": 12,
            "attention_bias": true, "mlp_bias": true, "gated_mlp": false, "hidden_act": "gelu_pytorch_tanh",
            "tie_word_embeddings": true, "initialization": "pytorch",
        }),
    )
}

fn cases() -> Vec<(&'static str, Case)> {
    let plain = Layer {
        placement: ("pre", 1.0),
        heads: 4,
        kv_heads: 4,
        rope_theta: Some(10_000.0),
        window: 99,
        activation: silu,
    };
    let post = Layer { placement: ("post", 1.0), rope_theta: None, activation: relu, ..plain.clone() };
    let deepnet = Layer { placement: ("deepnet", 4f64.powf(0.25)), window: 3, ..post.clone() };
    let single = Layer { placement: ("pre", 1.0), heads: 1, kv_heads: 1, ..post.clone() };
    let mixed = vec![
        Layer { window: 3, kv_heads: 2, ..plain.clone() },
        Layer { rope_theta: Some(1e6), placement: ("post", 1.0), ..plain.clone() },
        Layer { rope_theta: None, heads: 2, kv_heads: 2, ..plain.clone() },
        Layer { rope_theta: None, activation: gelu_tanh, ..plain.clone() },
    ];
    let f32_eps = f64::from(f32::EPSILON);
    vec![
        (
            "causal_lm",
            Case {
                config: config("causal_lm", json!({})),
                layers: vec![post.clone(); 2],
                eps: 1e-5,
                scale: 4.0,
                sinusoidal: true,
            },
        ),
        (
            "deepone",
            Case {
                config: config("deepone", json!({ "sliding_window": 3, "rms_norm_eps": 1e-6 })),
                layers: vec![deepnet; 2],
                eps: 1e-6,
                scale: 1.0,
                sinusoidal: false,
            },
        ),
        (
            "single_head",
            Case {
                config: config("single_head", json!({})),
                layers: vec![single; 2],
                eps: f32_eps,
                scale: 4.0,
                sinusoidal: false,
            },
        ),
        (
            "qwen3 with biases and tied head",
            Case {
                config: config(
                    "qwen3",
                    json!({ "attention_bias": true, "tie_word_embeddings": true, "num_key_value_heads": 2, "initialization": "pytorch", "rope_parameters": { "rope_theta": 10000.0 } }),
                ),
                layers: vec![Layer { kv_heads: 2, ..plain.clone() }; 2],
                eps: 1e-6,
                scale: 1.0,
                sinusoidal: false,
            },
        ),
        (
            "learned positions, in a model of GPT-2's shape",
            Case {
                config: gpt2_like(),
                layers: vec![Layer { rope_theta: None, activation: gelu_tanh, ..plain.clone() }; 2],
                eps: 1e-5,
                scale: 1.0,
                sinusoidal: false,
            },
        ),
        (
            "a stack of unequal layers",
            Case {
                config: config(
                    "llama",
                    json!({
                        "num_hidden_layers": 4, "rms_norm_eps": 1e-5, "final_norm": false, "norm_type": "layer_norm", "layer_norm_eps": 1e-5,
                        "layers": [
                            { "sliding_window": 3, "num_key_value_heads": 2 },
                            { "rope_parameters": { "rope_theta": 1e6 }, "norm_placement": "post" },
                            { "position_embedding": "none", "num_attention_heads": 2, "num_key_value_heads": 2, "feedforward": false },
                            { "position_embedding": "alibi", "hidden_act": "gelu_pytorch_tanh", "gated_mlp": false, "mlp_bias": true, "intermediate_size": 40 },
                        ],
                    }),
                ),
                layers: mixed,
                eps: 1e-5,
                scale: 1.0,
                sinusoidal: false,
            },
        ),
    ]
}

fn build(config: &ModelConfig, seed: u64) -> CausalLm {
    let table = ModelSpec::resolve(config).table(DType::F32);
    let weights = InitialWeights::new(&table, seed);
    CausalLm::build(config, Box::new(weights), DType::F32, &Device::Cpu, true).unwrap()
}

const IDS: [u32; 9] = [3, 17, 0, 39, 8, 8, 21, 30, 1];

#[test]
fn every_part_computes_what_its_formula_says() {
    for (name, case) in cases() {
        let model = build(&ModelConfig::from_project(&case.config, name).unwrap(), 5);
        let expected = by_hand(&Parameters::of(&model), &case, &IDS);
        let logits = model.forward(&Batch::new(vec![IDS.to_vec()]).unwrap()).unwrap();
        let found = logits.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        let largest = expected.iter().flatten().fold(0f64, |largest, x| largest.max(x.abs()));
        assert!(largest > 0.1, "{name}: the logits are all but zero");
        for (position, (expected, found)) in expected.iter().zip(&found).enumerate() {
            for (expected, found) in expected.iter().zip(found) {
                let difference = (expected - f64::from(*found)).abs();
                assert!(difference < 2e-5 * largest.max(1.0), "{name}, position {position}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn a_cache_continues_every_kind_of_model() {
    for (name, case) in cases() {
        let model = build(&ModelConfig::from_project(&case.config, name).unwrap(), 6);
        let whole = model.forward(&Batch::new(vec![IDS.to_vec()]).unwrap()).unwrap();
        let mut cache = KvCache::new();
        model.forward_cached(&Batch::new(vec![IDS[..4].to_vec()]).unwrap(), &mut cache).unwrap();
        let rest = model.forward_cached(&Batch::new(vec![IDS[4..].to_vec()]).unwrap(), &mut cache).unwrap();
        let difference = (whole.narrow(1, 4, 5).unwrap() - rest).unwrap().abs().unwrap().max_all().unwrap();
        let difference = difference.to_scalar::<f32>().unwrap();
        assert!(difference < 2e-5, "{name}: {difference}");
    }
}

#[test]
fn learned_positions_restart_with_packed_documents_and_end_with_their_table() {
    let model = build(&ModelConfig::from_project(&gpt2_like(), "a test").unwrap(), 9);
    let one = |ids: &[u32]| model.forward(&Batch::new(vec![ids.to_vec()]).unwrap()).unwrap();
    let mut packed = Batch::new(vec![IDS.to_vec()]).unwrap();
    packed.position_ids = Some(vec![vec![0, 1, 2, 3, 0, 1, 2, 3, 4]]);
    let together = model.forward(&packed).unwrap();
    for (start, alone) in [(0, one(&IDS[..4])), (4, one(&IDS[4..]))] {
        let part = together.narrow(1, start, alone.dim(1).unwrap()).unwrap();
        let difference = (part - alone).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 2e-5, "{difference}");
    }

    let fault = |batch: Batch, cache: &mut KvCache| model.forward_cached(&batch, cache).unwrap_err().to_string();
    let long = fault(Batch::new(vec![vec![1; 13]]).unwrap(), &mut KvCache::new());
    insta::assert_snapshot!("more_tokens_than_learned_positions", long);
    packed.position_ids = Some(vec![vec![0, 1, 2, 12, 0, 1, 2, 3, 4]]);
    let placed = fault(packed, &mut KvCache::new());
    assert!(placed.contains("where: position_ids, row 0, column 3"), "{placed}");
    let mut cache = KvCache::new();
    model.forward_cached(&Batch::new(vec![vec![1; 12]]).unwrap(), &mut cache).unwrap();
    let continued = fault(Batch::new(vec![vec![1]]).unwrap(), &mut cache);
    assert_eq!(continued, long);
}

#[test]
fn every_trained_parameter_of_every_kind_receives_a_gradient() {
    for (name, case) in cases() {
        let config = ModelConfig::from_project(&case.config, name).unwrap();
        let model = build(&config, 7);
        let received = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = received.clone();
        let labels = vec![IDS.iter().map(|&id| i64::from(id)).collect()];
        let options = StepOptions { dropout_seed: Some(1), ..StepOptions::default() };
        let batch = Batch::new(vec![IDS.to_vec()]).unwrap();
        let sink = std::sync::Arc::new(
            move |path: &chandlery::spec::ParamPath,
                  _: &chandlery::candle::Var,
                  gradient: chandlery::candle::Tensor| {
                let norm = gradient.sqr()?.sum_all()?.to_scalar::<f32>()?;
                sink.lock().unwrap().push((path.to_string(), norm));
                Ok(())
            },
        );
        model.loss_and_gradients(&batch, &labels, &options, sink).unwrap();
        let mut received = received.lock().unwrap().clone();
        received.sort_by(|a, b| a.0.cmp(&b.0));
        let mut expected: Vec<String> =
            model.table().stored().filter(|row| row.trainable).map(|row| row.path.to_string()).collect();
        expected.sort();
        assert_eq!(received.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), expected, "{name}");
        for (path, norm) in &received {
            assert!(norm.is_finite() && *norm > 0.0, "{name}: {path} has {norm}");
        }
    }
}

#[test]
fn dropout_acts_in_training_only_and_its_seed_decides() {
    let mut config =
        config("causal_lm", json!({ "attention_dropout": 0.2, "activation_dropout": 0.2, "residual_dropout": 0.1 }));
    config["hidden_size"] = json!(32);
    let model = build(&ModelConfig::from_project(&config, "dropout").unwrap(), 8);
    // The only implementation that has the attention weights to drop.
    let model = model.with_attention(AttentionImplementation::Eager);
    let batch = Batch::new(vec![IDS.to_vec()]).unwrap();
    let values = |logits: chandlery::candle::Tensor| logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let plain = values(model.forward(&batch).unwrap());
    assert_eq!(plain, values(model.forward(&batch).unwrap()));
    let one = values(model.forward_training(&batch, 1).unwrap());
    assert_ne!(plain, one);
    assert_eq!(one, values(model.forward_training(&batch, 1).unwrap()));
    assert_ne!(one, values(model.forward_training(&batch, 2).unwrap()));
}

#[test]
fn a_native_configuration_reads_back_as_it_was_written() {
    let written = cases().into_iter().map(|(name, case)| ModelConfig::from_project(&case.config, name).unwrap());
    let built_in = Project::names().into_iter().flat_map(|family| {
        let project = project(&family).unwrap();
        project.configs().into_iter().map(move |name| project.config(&name).unwrap().render().unwrap())
    });
    for config in written.chain(built_in.collect::<Vec<_>>()) {
        let json = config.to_native_json(None);
        let back = ModelConfig::from_json(&json, "config.json").unwrap();
        assert_eq!(ModelConfig::naming_of(&json), Naming::Native);
        assert_eq!(back, config, "{json:#}");
    }
}

#[test]
fn recipes_draw_what_the_tables_say() {
    let init = |config: &ModelConfig, name: &str| {
        let table = ModelSpec::resolve(config).table(DType::F32);
        table.get(&name.into()).unwrap_or_else(|| panic!("no {name}")).init.unwrap()
    };
    let layer = "causal_lm.layer_stack.layers.1";
    let llama =
        ModelConfig::from_project(&config("llama", json!({ "attention_bias": true, "pad_token_id": 1 })), "").unwrap();
    let truncated = |std| Init::TruncatedNormal { std, bound: 2.0 };
    for (name, expected) in [
        ("attention.query_linear.weight", truncated(0.02)),
        ("attention.key_linear.weight", truncated(0.02)),
        ("attention.value_linear.weight", truncated(0.02)),
        ("feedforward.up_proj.weight", truncated(0.02)),
        ("feedforward.gate_proj.weight", truncated(0.01)),
        ("feedforward.down_proj.weight", truncated(0.01)),
        ("attention.output_linear.weight", truncated(0.01)),
        ("attention.query_linear.bias", Init::Zeros),
        ("norm1.weight", Init::Ones),
    ] {
        assert_eq!(init(&llama, &format!("{layer}.{name}")), expected, "{name}");
    }
    assert_eq!(init(&llama, "lm_head.weight"), Init::TruncatedNormal { std: 0.25, bound: 0.75 });
    let embedding = "causal_lm.input_encoder.embedding.weight";
    assert_eq!(init(&llama, embedding), Init::Normal { std: 1.0, zero_row: Some(1) });

    let deepone = ModelConfig::from_project(&config("deepone", json!({})), "").unwrap();
    let beta = 16f64.powf(-0.25);
    let xavier = |gain: f64, sum: f64| Init::Uniform { bound: gain * (6.0 / sum).sqrt() };
    assert_eq!(init(&deepone, &format!("{layer}.attention.query_linear.weight")), xavier(1.0, 32.0));
    assert_eq!(init(&deepone, &format!("{layer}.attention.value_linear.weight")), xavier(beta, 32.0));
    assert_eq!(init(&deepone, &format!("{layer}.feedforward.down_proj.weight")), xavier(beta, 40.0));
    assert_eq!(init(&deepone, "lm_head.weight"), Init::Uniform { bound: 0.25 });

    let plain = ModelConfig::from_project(&config("causal_lm", json!({})), "").unwrap();
    assert_eq!(init(&plain, embedding), Init::Normal { std: 0.25, zero_row: None });
    assert_eq!(init(&plain, &format!("{layer}.feedforward.linear2.bias")), Init::Uniform { bound: 24f64.powf(-0.5) });

    let positions = "causal_lm.input_encoder.positional_encoder.weight";
    let learned = ModelConfig::from_project(&gpt2_like(), "").unwrap();
    assert_eq!(init(&learned, positions), Init::Normal { std: 0.02, zero_row: None });
    let mut placed = gpt2_like();
    placed["initialization"] = json!([{ "match": "positions", "init": "zeros" }]);
    assert_eq!(init(&ModelConfig::from_project(&placed, "").unwrap(), positions), Init::Zeros);

    let own = json!({ "initialization": [{ "match": "attn\\.(query|key)", "init": { "normal": { "std": 0.5 } } }] });
    let own = ModelConfig::from_project(&config("llama", own), "").unwrap();
    assert_eq!(init(&own, &format!("{layer}.attention.key_linear.weight")), Init::Normal { std: 0.5, zero_row: None });
    assert_eq!(init(&own, &format!("{layer}.attention.value_linear.weight")), Init::Uniform { bound: 0.25 });
}

#[test]
fn choices_that_cannot_be_built_are_refused_by_field() {
    for (fields, expected) in [
        (json!({ "norm_placement": "nowhere" }), "norm_placement `nowhere` is not supported"),
        (json!({ "position_embedding": "alibi", "alibi_slopes": "steep" }), "alibi_slopes `steep` is not supported"),
        (
            json!({ "layers": [{ "count": 1 }] }),
            "`layers` is 1 layers, expected as many layers as num_hidden_layers (2)",
        ),
        (json!({ "layers": [{ "vocab_size": 3 }, {}] }), "layer field `vocab_size` is not supported"),
        (json!({ "layers": [{ "num_key_value_heads": 3 }, {}] }), "`num_key_value_heads` is 3"),
        (json!({ "attention_dropout": 1.5 }), "`attention_dropout` is 1.5"),
        (json!({ "initialization": "warm" }), "`initialization` is"),
        (json!({ "initialization": [{ "match": "(", "init": "zeros" }] }), "expected a regular expression"),
    ] {
        let error = ModelConfig::from_project(&config("llama", fields), "a test").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("where: a test"), "{error}");
    }
}

#[test]
fn models_that_hugging_face_has_no_class_for_are_not_converted() {
    let temp = tempfile::tempdir().unwrap();
    for (family, argument, value, expected) in [
        ("deepone", "num_hidden_layers", json!(1), "this deepone model"),
        ("llama", "layer_dropout", json!(0.1), "layer_dropout 0.1"),
        ("llama", "sliding_window", json!(8), "sliding_window"),
    ] {
        let folder = temp.path().join(format!("{family}-{argument}"));
        let config = project(family).unwrap().config("4M").unwrap().set(argument, value).unwrap();
        let config = config.set("hidden_size", 64).unwrap();
        config.construct().device("cpu").unwrap().output_dir(&folder).save_checkpoint(true).build().unwrap();
        let error = chandlery::convert(&folder, temp.path().join("hf")).run().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("trust_remote_code"), "{error}");
        assert!(!temp.path().join("hf").exists());
    }
}
