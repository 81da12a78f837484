//! Latent attention against plain loops in float64, streamed, and continued after a cache.

use std::collections::HashMap;

use chandlery::candle::{DType as CandleType, Device};
use chandlery::model::{Batch, CausalLm, InitialWeights, KvCache, StreamedLm};
use chandlery::spec::{CostScope, DType, ModelConfig, ModelSpec};
use serde_json::{Value, json};

const HEADS: usize = 3;
const HIDDEN: usize = 12;
const NOPE: usize = 6;
const ROPE: usize = 4;
const VALUE: usize = 5;
const RANK: usize = 7;

/// One layer of attention alone.
fn config(fields: &Value) -> ModelConfig {
    let mut config = json!({
        "model_type": "llama", "vocab_size": 30, "hidden_size": HIDDEN, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": HEADS, "max_position_embeddings": 64, "feedforward": false, "attention_type": "latent",
        "kv_lora_rank": RANK, "qk_nope_head_dim": NOPE, "qk_rope_head_dim": ROPE, "v_head_dim": VALUE,
        "initialization": [{ "match": "", "init": { "normal": { "std": 0.5 } } }],
    });
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ModelConfig::from_project(&config, "a test").unwrap()
}

type Parameters = HashMap<String, Vec<f64>>;

fn parameters(model: &CausalLm) -> Parameters {
    let values = |tensor: &chandlery::candle::Tensor| {
        tensor.to_dtype(CandleType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    model.parameters().tensors().iter().map(|(path, tensor)| (path.to_string(), values(tensor))).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn linear(p: &Parameters, name: &str, x: &[f64]) -> Vec<f64> {
    let name = format!("causal_lm.layer_stack.layers.0.attention.{name}");
    let bias = p.get(&format!("{name}.bias"));
    let rows = p[&format!("{name}.weight")].chunks(x.len()).enumerate();
    rows.map(|(row, weights)| dot(weights, x) + bias.map_or(0.0, |bias| bias[row])).collect()
}

fn rms_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let scale = (dot(x, x) / x.len() as f64 + 1e-6).sqrt();
    x.iter().zip(weight).map(|(x, weight)| x / scale * weight).collect()
}

/// Neighbors turn together, or halves.
fn rotated(x: &[f64], position: usize, neighbors: bool) -> Vec<f64> {
    let mut y = x.to_vec();
    let half = x.len() / 2;
    for pair in 0..half {
        let (a, b) = if neighbors { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
        let angle = position as f64 * 10_000f64.powf(-2.0 * pair as f64 / x.len() as f64);
        y[a] = x[a] * angle.cos() - x[b] * angle.sin();
        y[b] = x[b] * angle.cos() + x[a] * angle.sin();
    }
    y
}

fn expected(p: &Parameters, fields: &Value, tokens: &[u32]) -> Vec<Vec<f64>> {
    let of = |name: &str| &p[&format!("causal_lm.layer_stack.layers.0.{name}.weight")];
    let neighbors = fields["rope_interleaved"] != false;
    let streams: Vec<&[f64]> = tokens
        .iter()
        .map(|token| &p["causal_lm.input_encoder.embedding.weight"][*token as usize * HIDDEN..][..HIDDEN])
        .collect();
    let parts: Vec<_> = streams
        .iter()
        .enumerate()
        .map(|(position, stream)| {
            let x = rms_norm(stream, of("norm1"));
            let query = match fields["q_lora_rank"].is_u64() {
                true => {
                    let compressed = linear(p, "query_a_linear", &x);
                    linear(p, "query_b_linear", &rms_norm(&compressed, of("attention.query_a_norm")))
                }
                false => linear(p, "query_linear", &x),
            };
            let queries: Vec<Vec<f64>> = query
                .chunks(NOPE + ROPE)
                .map(|head| [&head[..NOPE], &rotated(&head[NOPE..], position, neighbors)].concat())
                .collect();
            let down = linear(p, "key_value_a_linear", &x);
            let shared = rotated(&down[RANK..], position, neighbors);
            let up = linear(p, "key_value_b_linear", &rms_norm(&down[..RANK], of("attention.key_value_a_norm")));
            let keys: Vec<Vec<f64>> = up.chunks(NOPE + VALUE).map(|head| [&head[..NOPE], &shared].concat()).collect();
            let values: Vec<Vec<f64>> = up.chunks(NOPE + VALUE).map(|head| head[NOPE..].to_vec()).collect();
            (queries, keys, values)
        })
        .collect();
    streams
        .iter()
        .enumerate()
        .map(|(position, stream)| {
            let mixed: Vec<f64> = (0..HEADS)
                .flat_map(|head| {
                    let scores = parts[..=position].iter().map(|(_, keys, _)| {
                        (dot(&parts[position].0[head], &keys[head]) / ((NOPE + ROPE) as f64).sqrt()).exp()
                    });
                    let scores: Vec<f64> = scores.collect();
                    let total: f64 = scores.iter().sum();
                    let mut mixed = vec![0.0; VALUE];
                    for (score, (_, _, values)) in scores.iter().zip(&parts) {
                        mixed.iter_mut().zip(&values[head]).for_each(|(mixed, value)| *mixed += score / total * value);
                    }
                    mixed
                })
                .collect();
            let out = linear(p, "output_linear", &mixed);
            let stream: Vec<f64> = stream.iter().zip(out).map(|(stream, out)| stream + out).collect();
            let last = rms_norm(&stream, &p["causal_lm.layer_norm.weight"]);
            p["lm_head.weight"].chunks(HIDDEN).map(|row| dot(row, &last)).collect()
        })
        .collect()
}

#[test]
fn latent_attention_computes_what_plain_loops_compute() {
    for fields in [
        json!({ "q_lora_rank": 8 }),
        json!({ "attention_bias": true, "q_lora_rank": 8, "rope_interleaved": false }),
        json!({ "rope_interleaved": true }),
    ] {
        let config = config(&fields);
        let table = ModelSpec::resolve(&config).table(DType::F32);
        let weights = || Box::new(InitialWeights::new(&table, 5));
        let model = CausalLm::build(&config, weights(), DType::F32, &Device::Cpu, false).unwrap();
        let tokens: Vec<u32> = (0..14).map(|token| token * 11 % 30).collect();
        let expected = expected(&parameters(&model), &fields, &tokens);
        let batch = Batch::new(vec![tokens.clone()]).unwrap();
        let whole: Vec<Vec<f32>> = model.forward(&batch).unwrap().squeeze(0).unwrap().to_vec2().unwrap();
        let streamed = StreamedLm::new(&config, weights(), &Device::Cpu).unwrap();
        let streamed = streamed.forward_observed(&batch, &mut |_, _| {}).unwrap();
        let mut cache = KvCache::default();
        for (place, &token) in tokens.iter().enumerate() {
            let one = model.forward_cached(&Batch::new(vec![vec![token]]).unwrap(), &mut cache).unwrap();
            let one: Vec<f32> = one.flatten_all().unwrap().to_vec1().unwrap();
            for (column, expected) in expected[place].iter().enumerate() {
                for found in [whole[place][column], one[column], streamed[place * 30 + column]] {
                    assert!(
                        (f64::from(found) - expected).abs() < 1e-3,
                        "{fields}: {place}, {column}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_cache_keeps_the_compressed_vectors() {
    let spec = ModelSpec::resolve(&config(&json!({ "q_lora_rank": 8 })));
    let cost = spec.cost(CostScope { sequence: 16, context: 64, hidden: HIDDEN as u64 });
    assert_eq!((cost.kv_elements, cost.kv_full_context), ((RANK + ROPE) as u64, 64 * (RANK + ROPE) as u64));
}

#[test]
fn latent_attention_needs_rotary_positions_and_no_groups() {
    let refused = |fields: Value| {
        let mut json = Value::Object(config(&json!({})).to_all_fields());
        json["model_type"] = "llama".into();
        json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ModelConfig::from_project(&json, "a test").unwrap_err().to_string()
    };
    assert!(refused(json!({ "position_embedding": "none" })).contains("rope (attention_type latent)"));
    assert!(refused(json!({ "num_key_value_heads": 1 })).contains("num_attention_heads (3)"));
}
