//! What GGUF calls the parameters of a model.

use crate::spec::{ParamPath, Role, TensorRow};

/// Factors that divide the rotary frequencies, one for each pair of a head's dimensions.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// GGUF's name of a parameter of a model, if it has one.
pub(super) fn gguf_name(row: &TensorRow) -> Option<ParamPath> {
    let (in_layer, module) = match row.role? {
        Role::TokenEmbedding => (false, "token_embd"),
        Role::FinalNorm => (false, "output_norm"),
        Role::Head => (false, "output"),
        Role::AttentionNorm => (true, "attn_norm"),
        Role::Query => (true, "attn_q"),
        Role::Key => (true, "attn_k"),
        Role::Value => (true, "attn_v"),
        Role::Output => (true, "attn_output"),
        Role::QueryNorm => (true, "attn_q_norm"),
        Role::KeyNorm => (true, "attn_k_norm"),
        Role::FeedForwardNorm => (true, "ffn_norm"),
        Role::Gate => (true, "ffn_gate"),
        Role::Up => (true, "ffn_up"),
        Role::Down => (true, "ffn_down"),
        Role::QueryDown => (true, "attn_q_a"),
        Role::QueryLatentNorm => (true, "attn_q_a_norm"),
        Role::QueryUp => (true, "attn_q_b"),
        Role::LatentDown => (true, "attn_kv_a_mqa"),
        Role::LatentNorm => (true, "attn_kv_a_norm"),
        Role::LatentUp => (true, "attn_kv_b"),
        Role::Router => (true, "ffn_gate_inp"),
        Role::RouterCorrection => (true, "exp_probs_b"),
        Role::ExpertGate => (true, "ffn_gate_exps"),
        Role::ExpertUp => (true, "ffn_up_exps"),
        Role::ExpertDown => (true, "ffn_down_exps"),
        Role::SharedGate => (true, "ffn_gate_shexp"),
        Role::SharedUp => (true, "ffn_up_shexp"),
        Role::SharedDown => (true, "ffn_down_shexp"),
        Role::SharedScale => (true, "ffn_gate_inp_shexp"),
        Role::AttentionPostNorm => (true, "post_attention_norm"),
        Role::FeedForwardPostNorm => (true, "post_ffw_norm"),
        Role::Sinks => (true, "attn_sinks"),
        Role::EmbeddingNorm => (false, "token_embd_norm"),
        Role::PositionEmbedding
        | Role::QueryKey
        | Role::AttentionGate
        | Role::Beta
        | Role::Decay
        | Role::StateSpaceInput
        | Role::Selection
        | Role::SelectionNorm
        | Role::Step
        | Role::Skip
        | Role::ShortConvolution
        | Role::ValueNorm
        | Role::ActivationShape
        | Role::LayerInputEmbedding
        | Role::LayerInputProjection
        | Role::LayerInputProjectionNorm
        | Role::LayerInputGate
        | Role::LayerInputOutput
        | Role::LayerInputNorm
        | Role::LayerScalar
        | Role::RouterNorm
        | Role::RouterExpertScale
        | Role::ExpertNorm
        | Role::ExpertPostNorm
        | Role::SharedPostNorm
        | Role::Slopes
        | Role::User(_) => return None,
    };
    // Corrections are the biases of what chooses experts.
    let parameter = if row.role == Some(Role::RouterCorrection) { "bias" } else { row.path.last() };
    Some(match in_layer {
        true => format!("blk.{}.{module}.{parameter}", row.path.layer()?).into(),
        false => format!("{module}.{parameter}").into(),
    })
}

/// Returns the number of the expert that a parameter belongs to: the second in its name. Files hold the experts of a layer
/// in one tensor, whose first dimension counts them.
pub(super) fn expert_of(row: &TensorRow) -> Option<usize> {
    row.role.filter(|role| role.is_expert())?;
    row.path.segments().filter_map(|segment| segment.parse().ok()).nth(1)
}

/// Puts the rows of one or more heads into the order that readers of the architecture `llama` expect: pairs that rotate
/// together stand together, (0, n/2), (1, n/2 + 1) …, where Hugging Face rotates halves. `rows` holds whole heads of
/// `head_dim` rows of `width` numbers.
pub(super) fn interleaved(rows: &[f32], head_dim: usize, width: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks(head_dim * width) {
        for row in 0..head_dim {
            let from = row % 2 * half + row / 2;
            out.extend_from_slice(&head[from * width..][..width]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_llama_cpp() {
        let json = serde_json::json!({
            "model_type": "qwen3", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 12,
            "num_attention_heads": 2, "attention_bias": true,
        });
        let table = |json| {
            let config = crate::spec::ModelConfig::from_project(&json, "a test").unwrap();
            crate::spec::ModelSpec::resolve(&config).table(crate::spec::DType::F32)
        };
        let names = |json| table(json).rows().iter().map(gguf_name).collect::<Vec<_>>();
        let found: Vec<String> = names(json.clone()).into_iter().map(|name| name.unwrap().to_string()).collect();
        for expected in
            ["token_embd.weight", "blk.11.attn_q.bias", "blk.0.ffn_norm.weight", "output_norm.weight", "output.weight"]
        {
            assert!(found.iter().any(|name| name == expected), "{expected}: {found:?}");
        }
        for position in ["alibi", "learned"] {
            let mut other = json.clone();
            other["position_embedding"] = position.into();
            assert!(names(other).contains(&None), "{position}");
        }
    }

    #[test]
    fn rows_that_rotate_together_stand_together() {
        // Two heads of four rows, one number each.
        let rows: Vec<f32> = (0..8).map(|row| row as f32).collect();
        assert_eq!(interleaved(&rows, 4, 1), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        let wide: Vec<f32> = (0..8).map(|number| number as f32).collect();
        assert_eq!(interleaved(&wide, 4, 2), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }
}
