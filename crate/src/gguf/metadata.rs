//! A model's settings as the metadata of a GGUF file.

use std::path::Path;

use super::GgufError;
use super::storage::GgufType;
use crate::checkpoint::{GgufMetadata, GgufValue};
use crate::diagnostic::Diagnose;
use crate::naming::Families;
use crate::spec::{FeedForwardKind, ModelConfig, PositionEmbedding, RopeConfig, RopeScaling, RouterScore};

/// Returns what readers call the model's architecture: `gguf:` of its family's file.
///
/// # Errors [`GgufError::Beyond`] for models of other families, and for models that no configuration of Hugging Face's
/// class describes.
pub(super) fn architecture(config: &ModelConfig, origin: &Path) -> Result<String, GgufError> {
    let beyond = |what: String| GgufError::Beyond { what, origin: origin.to_owned() };
    if config.quantization.is_some() {
        return Err(beyond("its weights are quantized already".to_owned()));
    }
    let families = Families::default();
    let family = families.of_type(config.architecture.name());
    let named = family.and_then(|family| Some((family, family.gguf_name()?.to_owned())));
    let (family, name) = named.ok_or_else(|| beyond(format!("the family {}", config.architecture.name())))?;
    if let Err(error) = family.require_expressible(config, &origin.display().to_string()) {
        return Err(beyond(error.diagnostic().what));
    }
    if !config.layers.is_empty() {
        return Err(beyond("layers that differ".to_owned()));
    }
    // Readers of both architectures with experts take these for granted.
    if has_experts(config) && !(config.router_norm_topk && config.router_score == RouterScore::Softmax) {
        return Err(beyond("experts whose weights are not the shares of a softmax".to_owned()));
    }
    if let PositionEmbedding::Rope(rope) = &config.position {
        if rope.partial != 1.0 {
            return Err(beyond("heads of which only a part is rotated".to_owned()));
        }
        match &rope.scaling {
            // One factor for each frequency says all of these.
            None | Some(RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. }) => {}
            Some(
                RopeScaling::Dynamic { .. }
                | RopeScaling::Yarn(_)
                | RopeScaling::LongRope(_)
                | RopeScaling::Proportional { .. },
            ) => {
                return Err(beyond(
                    "rotary positions of the types dynamic, yarn, longrope and proportional".to_owned(),
                ));
            }
        }
    }
    Ok(name)
}

fn has_experts(config: &ModelConfig) -> bool {
    config.feedforward && config.feed_forward_kind == FeedForwardKind::Experts
}

/// Returns the settings that shape the model, and how it is stored.
pub(super) fn metadata(config: &ModelConfig, architecture: &str, name: &str, kind: GgufType) -> GgufMetadata {
    let mut metadata = GgufMetadata::new();
    let text = |text: &str| GgufValue::Text(text.to_owned());
    metadata.set("general.architecture", text(architecture));
    metadata.set("general.type", text("model"));
    metadata.set("general.name", text(name));
    metadata.set("general.file_type", GgufValue::Unsigned(kind.file_type()));
    if kind.is_quantized() {
        metadata.set("general.quantization_version", GgufValue::Unsigned(2));
    }
    for (key, size) in [
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("block_count", config.num_hidden_layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        metadata.set(format!("{architecture}.{key}"), GgufValue::Unsigned(size as u64));
    }
    if has_experts(config) {
        for (key, size) in [
            ("expert_count", Some(config.num_experts)),
            ("expert_used_count", Some(config.num_experts_per_tok)),
            ("expert_feed_forward_length", Some(config.moe_intermediate_size)),
            ("expert_shared_feed_forward_length", config.shared_expert_intermediate_size),
        ] {
            if let Some(size) = size {
                metadata.set(format!("{architecture}.{key}"), GgufValue::Unsigned(size as u64));
            }
        }
    }
    if let Some(window) = config.sliding_window {
        metadata.set(format!("{architecture}.attention.sliding_window"), GgufValue::Unsigned(window as u64));
    }
    metadata.set(format!("{architecture}.attention.layer_norm_rms_epsilon"), GgufValue::F32(config.norm.eps as f32));
    if let PositionEmbedding::Rope(rope) = &config.position {
        metadata.set(format!("{architecture}.rope.freq_base"), GgufValue::F32(rope.theta as f32));
    }
    metadata
}

/// Returns what the rotary frequencies are divided by, one factor for each pair of a head's dimensions, if they are
/// stretched.
pub(super) fn rope_factors(config: &ModelConfig) -> Option<Vec<f32>> {
    let PositionEmbedding::Rope(rope) = &config.position else { return None };
    rope.scaling.as_ref()?;
    let plain = RopeConfig { theta: rope.theta, ..RopeConfig::PLAIN }.inverse_frequencies(config.head_dim);
    let stretched = rope.inverse_frequencies(config.head_dim);
    Some(plain.iter().zip(stretched).map(|(plain, stretched)| plain / stretched).collect())
}

/// Returns warnings about what readers of the file compute differently.
pub(super) fn warnings(config: &ModelConfig, architecture: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(window) = config.sliding_window {
        warnings.push(format!(
            "readers of the architecture {architecture} ignore sliding_window: texts of more than {window} tokens will \
             differ"
        ));
    }
    if config.attention_bias || config.mlp_bias {
        warnings.push(
            "transformers leaves out the biases of attention and feed-forward part when it reads a GGUF file, unless it \
             is given config.json"
                .to_owned(),
        );
    }
    if rope_factors(config).is_some() {
        warnings.push(
            "transformers leaves out the stretching of rotary frequencies when it reads a GGUF file, unless it is given \
             config.json"
                .to_owned(),
        );
    }
    if architecture == "qwen3" && config.head_dim != 128 {
        warnings.push(
            "transformers takes 128 for the width of Qwen3's heads when it reads a GGUF file, unless it is given \
             config.json"
                .to_owned(),
        );
    }
    warnings
}
