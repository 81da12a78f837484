//! Mixtures of experts against plain loops in float64, their gradients, and published models by their sizes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chandlery::candle::{DType as CandleType, Device, Tensor};
use chandlery::model::{Batch, CausalLm, InitialWeights, KvCache, ModelError, StreamedLm, Weights};
use chandlery::spec::{DType, ModelConfig, ModelSpec, ParamPath, Role, TensorTable};
use serde_json::{Value, json};

/// One layer whose attention adds nothing, so that its experts alone are seen.
fn config(fields: &Value) -> ModelConfig {
    let mut config = json!({
        "model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "feed_forward_type": "experts", "num_experts": 6,
        "num_experts_per_tok": 2, "moe_intermediate_size": 12,
        "initialization": [
            { "match": "attn.output", "init": "zeros" }, { "match": "bias", "init": { "normal": { "std": 0.3 } } },
            { "match": "router", "init": { "normal": { "std": 0.5 } } }, { "match": "", "init": { "normal": { "std": 0.4 } } },
        ],
    });
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ModelConfig::from_project(&config, "a test").unwrap()
}

fn table(config: &ModelConfig) -> TensorTable {
    ModelSpec::resolve(config).table(DType::F32)
}

/// Drawn parameters, corrections too, which begin at zero.
struct Drawn(InitialWeights);

impl Drawn {
    fn boxed(table: &TensorTable) -> Box<Self> {
        Box::new(Self(InitialWeights::new(table, 7)))
    }
}

impl Weights for Drawn {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        if path.last() == "router_correction" {
            let values: Vec<f32> = (0..shape[0]).map(|place| 0.1 * place as f32).collect();
            return Ok(Tensor::from_vec(values, shape, device)?);
        }
        self.0.tensor(path, shape, dtype, device)
    }
}

fn built(config: &ModelConfig) -> CausalLm {
    CausalLm::build(config, Drawn::boxed(&table(config)), DType::F32, &Device::Cpu, false).unwrap()
}

/// Parameters by name, flat.
struct Parameters(HashMap<String, Vec<f64>>);

impl Parameters {
    fn of(model: &CausalLm) -> Self {
        let values = |tensor: &chandlery::candle::Tensor| {
            tensor.to_dtype(CandleType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        Self(model.parameters().tensors().iter().map(|(path, tensor)| (path.to_string(), values(tensor))).collect())
    }

    fn get(&self, name: &str) -> Option<&[f64]> {
        self.0.get(&format!("causal_lm.layer_stack.layers.0.{name}")).map(Vec::as_slice)
    }

    /// W x + b.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.get(&format!("{name}.weight")).unwrap_or_else(|| panic!("no {name}"));
        let bias = self.get(&format!("{name}.bias"));
        let rows = weight.chunks(x.len()).enumerate();
        rows.map(|(row, weights)| dot(weights, x) + bias.map_or(0.0, |bias| bias[row])).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rms_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let scale = (dot(x, x) / x.len() as f64 + 1e-6).sqrt();
    x.iter().zip(weight).map(|(x, weight)| x / scale * weight).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

/// The places of the largest numbers.
fn best(numbers: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..numbers.len()).collect();
    places.sort_by(|a, b| numbers[*b].total_cmp(&numbers[*a]));
    places[..count].to_vec()
}

fn expert(p: &Parameters, fields: &Value, name: &str, x: &[f64]) -> Vec<f64> {
    if fields["gated_mlp"] == false {
        let inside: Vec<f64> = p.linear(&format!("{name}.linear1"), x).iter().map(|x| x.max(0.0)).collect();
        return p.linear(&format!("{name}.linear2"), &inside);
    }
    let (gate, up) = (p.linear(&format!("{name}.gate_proj"), x), p.linear(&format!("{name}.up_proj"), x));
    let inside = gate.iter().zip(&up).map(|(gate, up)| match fields["swiglu_limit"].as_f64() {
        Some(limit) => {
            let gate = gate.min(limit);
            gate * sigmoid(1.702 * gate) * (up.clamp(-limit, limit) + 1.0)
        }
        None => gate * sigmoid(*gate) * up,
    });
    p.linear(&format!("{name}.down_proj"), &inside.collect::<Vec<_>>())
}

/// (expert, weight) of one token.
fn route(p: &Parameters, fields: &Value, x: &[f64]) -> Vec<(usize, f64)> {
    let logits = p.linear("feedforward.router", x);
    if fields["router_score"] == "sparse_mixer" {
        let first = best(&logits, 2);
        let share = |chosen: usize, out: Option<usize>| {
            let top = logits[chosen];
            let near = |logit: f64| (top - logit) / logit.abs().max(top) <= 0.5;
            let others = logits.iter().enumerate().filter(|(place, logit)| Some(*place) != out && near(**logit));
            1.0 / others.map(|(_, logit)| (logit - top).exp()).sum::<f64>()
        };
        return vec![(first[0], share(first[0], None)), (first[1], share(first[1], Some(first[0])))];
    }
    let after = fields["router_softmax_after_topk"] == true;
    let scores = match fields["router_score"].as_str() {
        Some("sigmoid") => logits.iter().map(|logit| sigmoid(*logit)).collect(),
        _ if after => logits.clone(),
        _ => softmax(&logits),
    };
    let mut judged = scores.clone();
    if let Some(correction) = p.get("feedforward.router_correction") {
        judged.iter_mut().zip(correction).for_each(|(score, correction)| *score += correction);
    }
    if let Some(groups) = fields["router_groups"].as_u64() {
        let size = judged.len() / groups as usize;
        let of = |group: &[f64]| match fields["router_group_score"] == "top_two" {
            true => best(group, 2).iter().map(|place| group[*place]).sum(),
            false => group.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        let of_groups: Vec<f64> = judged.chunks(size).map(of).collect();
        let chosen = best(&of_groups, fields["router_topk_groups"].as_u64().unwrap() as usize);
        for (place, score) in judged.iter_mut().enumerate() {
            if !chosen.contains(&(place / size)) {
                *score = f64::NEG_INFINITY;
            }
        }
    }
    let chosen = best(&judged, fields["num_experts_per_tok"].as_u64().unwrap_or(2) as usize);
    let mut weights: Vec<f64> = chosen.iter().map(|place| scores[*place]).collect();
    if after {
        weights = softmax(&weights);
    }
    if fields["router_norm_topk"] == true {
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    let scaling = fields["router_scaling_factor"].as_f64().unwrap_or(1.0);
    chosen.into_iter().zip(weights).map(|(place, weight)| (place, weight * scaling)).collect()
}

/// The logits of a token; attention adds nothing.
fn expected(p: &Parameters, fields: &Value, token: usize) -> Vec<f64> {
    let embedding = &p.0["causal_lm.input_encoder.embedding.weight"];
    let mut stream = embedding[token * 16..][..16].to_vec();
    let x = rms_norm(&stream, p.get("norm2.weight").unwrap());
    for (place, weight) in route(p, fields, &x) {
        let before = fields["router_scales_input"] == true;
        let scaled: Vec<f64> = x.iter().map(|x| if before { x * weight } else { *x }).collect();
        let y = expert(p, fields, &format!("feedforward.experts.{place}"), &scaled);
        stream.iter_mut().zip(y).for_each(|(stream, y)| *stream += if before { y } else { y * weight });
    }
    if fields["shared_expert_intermediate_size"].is_u64() {
        let gate = match fields["shared_expert_gate"] == true {
            true => sigmoid(p.linear("feedforward.shared_expert_gate", &x)[0]),
            false => 1.0,
        };
        let y = expert(p, fields, "feedforward.shared_expert", &x);
        stream.iter_mut().zip(y).for_each(|(stream, y)| *stream += y * gate);
    }
    let last = rms_norm(&stream, &p.0["causal_lm.layer_norm.weight"]);
    p.0["lm_head.weight"].chunks(16).map(|row| dot(row, &last)).collect()
}

fn cases() -> Vec<Value> {
    vec![
        json!({ "router_norm_topk": true }),
        json!({ "router_softmax_after_topk": true, "mlp_bias": true, "router_bias": true, "swiglu_limit": 0.5 }),
        json!({
            "router_score": "sigmoid", "router_norm_topk": true, "router_correction": true, "router_scaling_factor": 2.5,
            "router_groups": 3, "router_topk_groups": 2, "router_group_score": "top_two",
            "shared_expert_intermediate_size": 8,
        }),
        json!({ "router_groups": 2, "router_topk_groups": 1, "num_experts_per_tok": 3 }),
        json!({ "shared_expert_intermediate_size": 20, "shared_expert_gate": true, "gated_mlp": false, "hidden_act": "relu" }),
        json!({ "router_score": "sigmoid", "router_scales_input": true, "num_experts_per_tok": 1 }),
        json!({ "router_score": "sparse_mixer", "router_threshold": 0.5 }),
    ]
}

fn logits(model: &CausalLm, tokens: &[u32]) -> Vec<Vec<f32>> {
    let batch = Batch::new(vec![tokens.to_vec()]).unwrap();
    model.forward(&batch).unwrap().squeeze(0).unwrap().to_vec2().unwrap()
}

#[test]
fn experts_compute_what_plain_loops_compute() {
    let tokens: Vec<u32> = (0..32).map(|token| token * 7 % 40).collect();
    for fields in cases() {
        let model = built(&config(&fields));
        let p = Parameters::of(&model);
        for (token, found) in tokens.iter().zip(logits(&model, &tokens)) {
            let expected = expected(&p, &fields, *token as usize);
            let off = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            let size = expected.iter().map(|value| value.abs()).fold(0.0, f64::max);
            assert!(off < 1e-4 * size.max(1.0), "{fields}: token {token} is off by {off} of {size}");
        }
    }
}

#[test]
fn streamed_and_cached_experts_give_the_same_logits() {
    for fields in cases() {
        let config = config(&fields);
        let (model, table) = (built(&config), table(&config));
        let tokens: Vec<u32> = (0..12).map(|token| token * 5 % 40).collect();
        let whole = logits(&model, &tokens);
        let streamed = StreamedLm::new(&config, Drawn::boxed(&table), &Device::Cpu).unwrap();
        let batch = Batch::new(vec![tokens.clone()]).unwrap();
        let streamed = streamed.forward_observed(&batch, &mut |_, _| {}).unwrap();
        let mut cache = KvCache::default();
        for (place, &token) in tokens.iter().enumerate() {
            let one = model.forward_cached(&Batch::new(vec![vec![token]]).unwrap(), &mut cache).unwrap();
            let one: Vec<f32> = one.flatten_all().unwrap().to_vec1().unwrap();
            for ((whole, one), streamed) in whole[place].iter().zip(&one).zip(&streamed[place * 40..]) {
                assert!((whole - one).abs() < 1e-4 && (whole - streamed).abs() < 1e-4, "{fields}");
            }
        }
    }
}

#[test]
fn experts_that_cannot_be_chosen_are_refused() {
    let refused = |fields: Value| {
        let mut json = Value::Object(config(&json!({})).to_all_fields());
        json["model_type"] = "llama".into();
        json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ModelConfig::from_project(&json, "a test").unwrap_err().to_string()
    };
    assert!(refused(json!({ "num_experts_per_tok": 7 })).contains("at most num_experts (6)"));
    assert!(refused(json!({ "router_groups": 4 })).contains("a divisor of num_experts (6)"));
    assert!(refused(json!({ "router_groups": 6, "router_topk_groups": 1 })).contains("enough groups for 2 experts"));
}

#[test]
fn roles_and_groups_tell_experts_from_the_rest() {
    let fields = json!({ "router_correction": true, "shared_expert_intermediate_size": 8, "shared_expert_gate": true });
    let config = config(&fields);
    let spec = ModelSpec::resolve(&config);
    let table = spec.table(DType::BF16);
    let count = |role: Role| table.of_role(role).count();
    assert_eq!((count(Role::ExpertGate), count(Role::ExpertUp), count(Role::ExpertDown)), (6, 6, 6));
    assert_eq!((count(Role::SharedUp), count(Role::SharedScale), count(Role::Router)), (1, 1, 1));
    let correction = table.of_role(Role::RouterCorrection).next().unwrap();
    assert_eq!((correction.dtype, correction.trainable, correction.shape.as_slice()), (DType::F32, false, &[6][..]));
    let expert = 3 * 12 * 16;
    // Four experts, and the table of which a token takes a row.
    assert_eq!(table.parameters() - spec.active_parameters(), 4 * expert + 40 * 16);
}

/// Sizes of a published model: its config.json, its parameters and those that a token uses, in billions. The latter are 13, 22,
/// 5.1 and 37 by their publishers.
fn published() -> Vec<(&'static str, Value, f64, f64)> {
    vec![
        (
            "Mixtral-8x7B",
            json!({
                "model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8,
                "num_experts_per_tok": 2, "tie_word_embeddings": false,
            }),
            46.7,
            12.7,
        ),
        (
            "Qwen3-235B-A22B",
            json!({
                "model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
                "num_hidden_layers": 94, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
                "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1536, "norm_topk_prob": true,
                "decoder_sparse_step": 1, "mlp_only_layers": [], "tie_word_embeddings": false, "rope_theta": 1000000.0,
                "max_position_embeddings": 40960,
            }),
            235.1,
            21.6,
        ),
        (
            "gpt-oss-120b",
            json!({
                "model_type": "gpt_oss", "vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880,
                "num_hidden_layers": 36, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
                "num_local_experts": 128, "num_experts_per_tok": 4, "tie_word_embeddings": false,
            }),
            116.8,
            5.1,
        ),
        (
            "DeepSeek-V3",
            json!({
                "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
                "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
                "num_key_value_heads": 128, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
                "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
                "v_head_dim": 128, "n_group": 8, "topk_group": 4, "first_k_dense_replace": 3,
                "tie_word_embeddings": false, "max_position_embeddings": 163840,
                "rope_scaling": {
                    "type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                    "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
                },
            }),
            671.0,
            36.6,
        ),
    ]
}

#[test]
fn published_mixtures_have_their_published_sizes() {
    let families = chandlery::naming::Families::built_in().unwrap();
    for (name, json, total, active) in published() {
        let (config, _) = families.read_config(&json, name).unwrap();
        let billions = |count: u64| (count as f64 / 1e8).round() / 10.0;
        let began = Instant::now();
        let spec = ModelSpec::resolve(&config);
        let table = spec.table(DType::BF16);
        let found = (billions(table.parameters()), billions(spec.active_parameters()));
        // Fifty milliseconds on a quiet machine; this one may be busy.
        assert!(began.elapsed() < Duration::from_secs(1), "{name} takes {:?}", began.elapsed());
        assert_eq!(found, (total, active), "{name}");
    }
}
