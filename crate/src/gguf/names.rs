//! What GGUF calls the parameters of a model.

use crate::spec::ParamPath;

/// Parts outside the layers: our name, and GGUF's.
const WHOLE: &[(&str, &str)] = &[
    ("causal_lm.input_encoder.embedding.", "token_embd."),
    ("causal_lm.layer_norm.", "output_norm."),
    ("lm_head.", "output."),
];

/// What a layer's name begins with: ours, and GGUF's.
const LAYER: (&str, &str) = ("causal_lm.layer_stack.layers.", "blk.");

/// Parts of a layer.
const PARTS: &[(&str, &str)] = &[
    ("norm1.", "attn_norm."),
    ("attention.query_linear.", "attn_q."),
    ("attention.key_linear.", "attn_k."),
    ("attention.value_linear.", "attn_v."),
    ("attention.output_linear.", "attn_output."),
    ("attention.q_norm.", "attn_q_norm."),
    ("attention.k_norm.", "attn_k_norm."),
    ("norm2.", "ffn_norm."),
    ("feedforward.gate_proj.", "ffn_gate."),
    ("feedforward.up_proj.", "ffn_up."),
    ("feedforward.down_proj.", "ffn_down."),
];

/// Factors that divide the rotary frequencies, one for each pair of a head's dimensions.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// GGUF's name of a native parameter, if it has one.
pub(super) fn gguf_name(native: &ParamPath) -> Option<ParamPath> {
    let name = native.as_str();
    if let Some((ours, theirs)) = WHOLE.iter().find(|(ours, _)| name.starts_with(ours)) {
        return Some(format!("{theirs}{}", &name[ours.len()..]).into());
    }
    let (number, part) = name.strip_prefix(LAYER.0)?.split_once('.')?;
    let (ours, theirs) = PARTS.iter().find(|(ours, _)| part.starts_with(ours))?;
    Some(format!("{}{number}.{theirs}{}", LAYER.1, &part[ours.len()..]).into())
}

/// True for the maps of queries and keys, whose rows readers of the architecture `llama` expect in another order.
pub(super) fn is_rotated(native: &ParamPath) -> bool {
    ["attention.query_linear.", "attention.key_linear."].iter().any(|part| native.as_str().contains(part))
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
        for (native, expected) in [
            ("causal_lm.input_encoder.embedding.weight", Some("token_embd.weight")),
            ("causal_lm.layer_stack.layers.11.attention.query_linear.bias", Some("blk.11.attn_q.bias")),
            ("causal_lm.layer_stack.layers.0.norm2.weight", Some("blk.0.ffn_norm.weight")),
            ("causal_lm.layer_norm.weight", Some("output_norm.weight")),
            ("lm_head.weight", Some("output.weight")),
            ("causal_lm.layer_stack.layers.0.attention.alibi_slopes", None),
            ("causal_lm.input_encoder.positional_encoder.weight", None),
        ] {
            assert_eq!(gguf_name(&native.into()).as_ref().map(ParamPath::as_str), expected);
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
