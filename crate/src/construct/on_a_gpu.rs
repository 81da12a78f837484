//! Training steps of small models with every kind of mixer, on a GPU and on the CPU.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType as CandleType, Tensor};
use serde_json::{Value, json};

use crate::device::Device;
use crate::model::{Batch, CausalLm, InitialWeights, StepOptions};
use crate::spec::{DType, ModelConfig, ModelSpec};

fn config(fields: &Value) -> ModelConfig {
    let mut config = json!({
        "model_type": "llama", "vocab_size": 40, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 128,
        "initialization": [{ "match": "", "init": { "normal": { "std": 0.2 } } }],
    });
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ModelConfig::from_project(&config, "a test").unwrap()
}

/// The loss, and the gradient of each parameter.
fn step(config: &ModelConfig, dtype: DType, device: Device) -> (f32, BTreeMap<String, Vec<f32>>) {
    let table = ModelSpec::resolve(config).table(dtype);
    let weights = Box::new(InitialWeights::new(&table, 5));
    let model = CausalLm::build(config, weights, dtype, &device.open().unwrap(), true).unwrap();
    let rows: Vec<Vec<u32>> =
        (0..2).map(|row| (0..100).map(|token| (token * token + 3 * row) % 40).collect()).collect();
    let labels: Vec<Vec<i64>> = rows.iter().map(|row| row.iter().map(|&id| i64::from(id)).collect()).collect();
    let found = Arc::new(Mutex::new(BTreeMap::new()));
    let sink = found.clone();
    let values = |tensor: &Tensor| -> candle_core::Result<Vec<f32>> {
        tensor.to_device(&candle_core::Device::Cpu)?.to_dtype(CandleType::F32)?.flatten_all()?.to_vec1()
    };
    let loss = model.loss_and_gradients(
        &Batch::new(rows).unwrap(),
        &labels,
        &StepOptions::default(),
        Arc::new(move |path, _, gradient| {
            sink.lock().unwrap().insert(path.to_string(), values(&gradient)?);
            Ok(())
        }),
    );
    (loss.unwrap(), Arc::try_unwrap(found).unwrap().into_inner().unwrap())
}

#[test]
#[ignore = "needs a GPU"]
fn every_mixer_trains_on_a_gpu_as_on_the_cpu() {
    for fields in [
        json!({}),
        json!({ "attention_sinks": true, "sliding_window": 20, "attention_bias": true }),
        json!({ "attention_softcap": 2.0, "norm_placement": "sandwich", "norm_offset": 1.0, "qk_norm": true }),
        json!({ "position_embedding": "alibi", "alibi_slopes": "standard", "alibi_trainable": true, "qkv_clip": 0.8 }),
        json!({ "norm_type": "layer_norm", "head_dim": 16, "attention_softcap": 2.0, "attention_sinks": true }),
        json!({ "attention_type": "latent", "num_key_value_heads": 4, "head_dim": 8, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16 }),
        json!({
            "attention_type": "gated_delta_net", "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "linear_key_head_dim": 16, "linear_value_head_dim": 16,
        }),
        json!({ "attention_type": "short_conv", "conv_kernel_size": 3, "conv_bias": true }),
        json!({
            "feed_forward_type": "experts", "num_experts": 4, "moe_intermediate_size": 40, "router_norm_topk": true,
            "router_aux_loss_coef": 0.1, "shared_expert_intermediate_size": 24, "shared_expert_gate": true,
        }),
        json!({
            "feed_forward_type": "experts", "num_experts": 40, "moe_intermediate_size": 16, "router_bias": true,
            "router_softmax_after_topk": true, "num_experts_per_tok": 4, "router_scaling_factor": 1.7,
        }),
        json!({
            "feed_forward_type": "experts", "num_experts": 6, "moe_intermediate_size": 16, "router_score": "sigmoid",
            "router_correction": true, "router_norm_topk": true, "num_experts_per_tok": 3,
        }),
        json!({
            "feed_forward_type": "experts", "num_experts": 4, "moe_intermediate_size": 36, "router_score": "sigmoid",
            "router_scales_input": true, "mlp_bias": true, "swiglu_limit": 2.0, "num_experts_per_tok": 1,
        }),
    ] {
        let config = config(&fields);
        let (loss, gradients) = step(&config, DType::F32, Device::Cpu);
        let (found, of) = step(&config, DType::F32, Device::Cuda(0));
        assert!((found - loss).abs() < 1e-4, "{fields}: the loss {found} instead of {loss}");
        assert_eq!(of.keys().collect::<Vec<_>>(), gradients.keys().collect::<Vec<_>>(), "{fields}");
        for (name, gradient) in &gradients {
            let largest = gradient.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
            let error = of[name].iter().zip(gradient).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(error <= 2e-3 * largest, "{fields}: {name} is off by {error} of {largest}");
        }
        // The kernels of narrow types, whose choice of experts may differ.
        let (found, _) = step(&config, DType::BF16, Device::Cuda(0));
        assert!((found - loss).abs() < 0.05 * loss, "{fields} in bfloat16: the loss {found} instead of {loss}");
    }
}
