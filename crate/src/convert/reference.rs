//! An independent forward pass over Hugging Face names: plain loops in float32, one tensor in memory at a time.
//!
//! It judges conversions, so it shares nothing with `model/`, `spec/` names or the remapping rules: what it computes is
//! written here once more, from the published formulas, against the names that Hugging Face files have.

use half::{bf16, f16};
use rayon::prelude::*;
use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointError, TensorData};
use crate::interrupt;
use crate::spec::DType;

/// A Llama-like checkpoint in Hugging Face names together with its config.json.
pub struct ReferenceModel<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Value,
    rounding: Option<DType>,
}

/// Row-major `[rows, width]` activations.
struct Rows {
    data: Vec<f32>,
    width: usize,
}

impl<'a> ReferenceModel<'a> {
    /// Over an opened checkpoint and its config.json.
    pub fn new(checkpoint: &'a Checkpoint, config: &'a Value) -> Self {
        Self { checkpoint, config, rounding: None }
    }

    /// Rounds every weight to this type before computing, as a cast checkpoint would hold it.
    pub fn rounded_to(mut self, dtype: Option<DType>) -> Self {
        self.rounding = dtype;
        self
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.config.get(key).and_then(Value::as_f64)
    }

    fn size(&self, key: &str) -> Option<usize> {
        self.config.get(key).and_then(Value::as_u64).map(|size| size as usize)
    }

    fn tensor(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        interrupt::check()?;
        let values = widen(&self.checkpoint.read(&name.into())?);
        Ok(match self.rounding {
            Some(DType::BF16) => values.into_iter().map(|value| bf16::from_f32(value).to_f32()).collect(),
            Some(DType::F16) => values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect(),
            _ => values,
        })
    }

    fn optional(&self, name: &str) -> Result<Option<Vec<f32>>, CheckpointError> {
        if self.checkpoint.table().get(&name.into()).is_some() { self.tensor(name).map(Some) } else { Ok(None) }
    }

    /// x Wᵀ + b for W `[outputs, inputs]`.
    fn project(&self, x: &Rows, name: &str) -> Result<Rows, CheckpointError> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = self.optional(&format!("{name}.bias"))?;
        let outputs = weight.len() / x.width;
        let columns: Vec<Vec<f32>> = (0..outputs)
            .into_par_iter()
            .map(|output| {
                let row = &weight[output * x.width..][..x.width];
                let shift = bias.as_ref().map_or(0.0, |bias| bias[output]);
                x.data.chunks_exact(x.width).map(|input| dot(row, input) + shift).collect()
            })
            .collect();
        let rows = x.data.len() / x.width;
        let mut data = vec![0.0; rows * outputs];
        for (output, column) in columns.iter().enumerate() {
            for (row, value) in column.iter().enumerate() {
                data[row * outputs + output] = *value;
            }
        }
        Ok(Rows { data, width: outputs })
    }

    fn normalize(&self, x: &Rows, name: &str) -> Result<Rows, CheckpointError> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let eps = self.number("rms_norm_eps").unwrap_or(1e-6);
        let mut data = x.data.clone();
        for row in data.chunks_exact_mut(x.width) {
            let mean = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>() / x.width as f64;
            let scale = (1.0 / (mean + eps).sqrt()) as f32;
            for (value, weight) in row.iter_mut().zip(&weight) {
                *value *= scale * weight;
            }
        }
        Ok(Rows { data, width: x.width })
    }

    /// The same over each head's part of a row, where the file has such a norm.
    fn normalize_heads(&self, x: &mut Rows, name: &str) -> Result<(), CheckpointError> {
        let weight = format!("{name}.weight");
        let Some(row) = self.checkpoint.table().get(&weight.as_str().into()) else { return Ok(()) };
        let heads = Rows { data: std::mem::take(&mut x.data), width: row.shape.iter().product() };
        x.data = self.normalize(&heads, name)?.data;
        Ok(())
    }

    /// How many tokens a query sees, itself included.
    fn window(&self) -> usize {
        let off = self.config.get("use_sliding_window").and_then(Value::as_bool) == Some(false);
        let family = self.config.get("model_type").and_then(Value::as_str);
        match self.size("sliding_window") {
            Some(window) if !off && family != Some("llama") => window,
            _ => usize::MAX,
        }
    }

    /// Radians per token of each rotated pair.
    fn frequencies(&self, head: usize) -> Vec<f64> {
        let rope =
            ["rope_parameters", "rope_scaling"].iter().find_map(|key| self.config.get(*key).filter(|v| v.is_object()));
        let rope = rope.unwrap_or(&Value::Null);
        let get = |key: &str| rope.get(key).and_then(Value::as_f64);
        let theta = get("rope_theta").or(self.number("rope_theta")).unwrap_or(10_000.0);
        let stretched = rope.get("rope_type").or(rope.get("type")).and_then(Value::as_str) == Some("llama3");
        (0..head / 2)
            .map(|pair| {
                let frequency = 1.0 / theta.powf(2.0 * pair as f64 / head as f64);
                if !stretched {
                    return frequency;
                }
                let (factor, low, high) = (
                    get("factor").unwrap_or(1.0),
                    get("low_freq_factor").unwrap_or(1.0),
                    get("high_freq_factor").unwrap_or(4.0),
                );
                let turns =
                    get("original_max_position_embeddings").unwrap_or(8192.0) * frequency / std::f64::consts::TAU;
                let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (keep + (1.0 - keep) / factor)
            })
            .collect()
    }

    fn rotate(&self, x: &mut Rows, head: usize, frequencies: &[f64]) {
        let width = x.width;
        for (position, row) in x.data.chunks_exact_mut(width).enumerate() {
            for head in row.chunks_exact_mut(head) {
                let (first, second) = head.split_at_mut(frequencies.len());
                for ((a, b), frequency) in first.iter_mut().zip(second).zip(frequencies) {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    let (x, y) = (f64::from(*a), f64::from(*b));
                    *a = (x * cos - y * sin) as f32;
                    *b = (y * cos + x * sin) as f32;
                }
            }
        }
    }

    /// Logits `[tokens × vocab]` of one sequence, and the residual stream `[tokens × hidden]` after each layer.
    ///
    /// # Errors
    /// [`CheckpointError`] if a tensor is missing or cannot be read, or on an interrupt.
    pub fn forward(&self, ids: &[u32]) -> Result<(Vec<f32>, Vec<Vec<f32>>), CheckpointError> {
        let hidden = self.size("hidden_size").unwrap_or(0);
        let heads = self.size("num_attention_heads").unwrap_or(1);
        let groups = self.size("num_key_value_heads").unwrap_or(heads);
        let head = self.size("head_dim").unwrap_or(hidden / heads);
        let frequencies = self.frequencies(head);

        let table = self.tensor("model.embed_tokens.weight")?;
        let data = ids.iter().flat_map(|&id| table[id as usize * hidden..][..hidden].iter().copied()).collect();
        drop(table);
        let mut x = Rows { data, width: hidden };
        let mut streams = Vec::new();
        for layer in 0..self.size("num_hidden_layers").unwrap_or(0) {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let input = self.normalize(&x, &name("input_layernorm"))?;
            let mut q = self.project(&input, &name("self_attn.q_proj"))?;
            let mut k = self.project(&input, &name("self_attn.k_proj"))?;
            let v = self.project(&input, &name("self_attn.v_proj"))?;
            for (x, part) in [(&mut q, "self_attn.q_norm"), (&mut k, "self_attn.k_norm")] {
                self.normalize_heads(x, &name(part))?;
                self.rotate(x, head, &frequencies);
            }
            let mixed = attend(&q, &k, &v, (heads, groups, head), self.window());
            add(&mut x, &self.project(&mixed, &name("self_attn.o_proj"))?);

            let input = self.normalize(&x, &name("post_attention_layernorm"))?;
            let mut gate = self.project(&input, &name("mlp.gate_proj"))?;
            let up = self.project(&input, &name("mlp.up_proj"))?;
            for (gate, up) in gate.data.iter_mut().zip(&up.data) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
            add(&mut x, &self.project(&gate, &name("mlp.down_proj"))?);
            streams.push(x.data.clone());
        }
        let x = self.normalize(&x, "model.norm")?;
        let tied = self.config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
        let logits = self.project(&x, if tied { "model.embed_tokens" } else { "lm_head" })?;
        Ok((logits.data, streams))
    }
}

/// Causal attention of one sequence over a window: query head h reads key head h / (heads / groups).
fn attend(q: &Rows, k: &Rows, v: &Rows, (heads, groups, head): (usize, usize, usize), window: usize) -> Rows {
    let tokens = q.data.len() / q.width;
    let mut data = vec![0.0f32; tokens * heads * head];
    data.par_chunks_exact_mut(heads * head).enumerate().for_each(|(token, out)| {
        for (index, out) in out.chunks_exact_mut(head).enumerate() {
            let query = &q.data[token * q.width + index * head..][..head];
            let offset = index / (heads / groups) * head;
            let first = (token + 1).saturating_sub(window);
            let scores: Vec<f64> = (first..=token)
                .map(|past| f64::from(dot(query, &k.data[past * k.width + offset..][..head])) / (head as f64).sqrt())
                .collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            for (past, score) in (first..).zip(&scores) {
                let weight = ((score - top).exp() / total) as f32;
                for (out, value) in out.iter_mut().zip(&v.data[past * v.width + offset..][..head]) {
                    *out += weight * value;
                }
            }
        }
    });
    Rows { data, width: heads * head }
}

fn add(x: &mut Rows, y: &Rows) {
    for (x, y) in x.data.iter_mut().zip(&y.data) {
        *x += y;
    }
}

/// Sixteen partial sums, so that the compiler can use vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a_body, b_body) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: f32 = a_body.remainder().iter().zip(b_body.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_body.zip(b_body) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

fn widen(data: &TensorData) -> Vec<f32> {
    match data.dtype {
        DType::BF16 => data.bytes.chunks_exact(2).map(|raw| bf16::from_le_bytes([raw[0], raw[1]]).to_f32()).collect(),
        DType::F16 => data.bytes.chunks_exact(2).map(|raw| f16::from_le_bytes([raw[0], raw[1]]).to_f32()).collect(),
        DType::F64 => data.bytes.chunks_exact(8).map(|raw| le_f64(raw) as f32).collect(),
        _ => data.bytes.chunks_exact(4).map(|raw| f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect(),
    }
}

fn le_f64(raw: &[u8]) -> f64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(raw);
    f64::from_le_bytes(bytes)
}
