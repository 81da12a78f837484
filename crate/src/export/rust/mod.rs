//! The Rust sources: a crate on candle that loads the folder and prints logits.

use serde_json::json;

use super::blueprint::{Blueprint, parts_in_words};
use super::fields::{OPTIONAL_NUMBER, fields_of};
use super::kinds::Attention;
use super::naming::wrapped;
use super::own::{rust_modules, rust_type, without_rust};
use super::python::{render, with};
use super::{ExportError, SourceFile};
use crate::spec::{Activation, ModelConfig, PositionEmbedding};

/// Templates of the crate's files.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("Cargo.toml.jinja")),
    ("src/main.rs", include_str!("main.rs.jinja")),
    ("src/config.rs", include_str!("config.rs.jinja")),
    ("src/causal_lm.rs", include_str!("causal_lm.rs.jinja")),
    ("src/embedding.rs", include_str!("embedding.rs.jinja")),
    ("src/layer.rs", include_str!("layer.rs.jinja")),
    ("src/attention.rs", include_str!("attention.rs.jinja")),
    ("src/latent_attention.rs", include_str!("latent_attention.rs.jinja")),
    ("src/gated_delta_net.rs", include_str!("gated_delta_net.rs.jinja")),
    ("src/short_conv.rs", include_str!("short_conv.rs.jinja")),
    ("src/mamba.rs", include_str!("mamba.rs.jinja")),
    ("src/feedforward.rs", include_str!("feed_forward.rs.jinja")),
    ("src/experts.rs", include_str!("experts.rs.jinja")),
    ("src/part.rs", include_str!("part.rs.jinja")),
    ("src/norm.rs", include_str!("norm.rs.jinja")),
    ("src/alibi.rs", include_str!("alibi.rs.jinja")),
    ("src/rope.rs", include_str!("rope.rs.jinja")),
    ("src/mask.rs", include_str!("mask.rs.jinja")),
];

/// Rust sources of a model: a crate called `name` that depends on candle, serde and serde_json alone, loads the model's
/// folder and prints logits. (File name in the crate, text.)
///
/// # Errors
/// [`ExportError::Template`] if a template does not render, [`ExportError::OwnPart`] for a user's part whose source is
/// not known.
pub fn rust(config: &ModelConfig, name: &str) -> Result<Vec<SourceFile>, ExportError> {
    if let Some(why) = without_rust(config) {
        return Err(ExportError::OwnPart { why });
    }
    let blueprint = Blueprint::new(config, rust_type);
    let (own_modules, own_files) = rust_modules(config);
    let sinusoidal = config.position == PositionEmbedding::Sinusoidal;
    let learned = config.position == PositionEmbedding::Learned;
    let feedforwards: Vec<_> = blueprint
        .feedforwards
        .iter()
        .chain(&blueprint.experts)
        .map(|part| {
            // candle's `gelu` is the approximation by tanh.
            let method = match part.activation {
                Activation::Silu => "silu",
                Activation::Relu => "relu",
                Activation::Gelu => "gelu_erf",
                Activation::GeluTanh => "gelu",
                Activation::Relu2 => "relu",
                Activation::Xielu => "xielu",
            };
            with(part, json!({ "method": method, "squared": part.activation == Activation::Relu2, "xielu": part.activation == Activation::Xielu }))
        })
        .collect();
    // Fields that only training or generation needs are not read.
    let counted = config.hidden_size_per_layer_input.is_some()
        || blueprint.runs.is_empty()
        || blueprint.layers.iter().any(|layer| layer.alpha == Some("computed"));
    // The longest text shapes some rotary frequencies.
    let longest = learned || blueprint.rope_kind == "any";
    let read = |name: &str| {
        !name.ends_with("_dropout")
            && (longest || name != "max_position_embeddings")
            && (counted || name != "num_hidden_layers")
    };
    let fields: Vec<_> =
        fields_of(config).iter().map(|field| with(field, json!({ "read": read(field.name) }))).collect();
    let layer_name = |kind: usize| blueprint.layers[kind].name.as_str();
    let own = json!({
        "crate_name": name,
        "parts": wrapped(&format!("{}.", parts_in_words(config)), 110),
        "fields": fields,
        "mlps": feedforwards,
        "own_modules": own_modules,
        "encoder": {
            "scale": config.scale_embedding || config.embedding_multiplier.is_some(),
            "multiplier": config.embedding_multiplier.is_some(),
            "norm": config.embedding_norm,
            "sinusoidal": sinusoidal,
            "learned": learned,
            "inputs": config.hidden_size_per_layer_input.is_some(),
        },
        "kinds": blueprint.runs.iter().map(|&(_, kind)| layer_name(kind)).collect::<Vec<_>>(),
    });
    let context = with(&blueprint, own);
    let present = |file: &str| match file {
        "src/rope.rs" => blueprint.any.rope,
        "src/norm.rs" => blueprint.any.own_norm,
        "src/alibi.rs" => {
            blueprint.attentions.iter().any(|kind| kind.alibi.as_ref().is_some_and(|alibi| !alibi.stored))
        }
        "src/feedforward.rs" => !blueprint.feedforwards.is_empty() || !blueprint.experts.is_empty(),
        "src/experts.rs" => !blueprint.mixtures.is_empty(),
        "src/attention.rs" => blueprint.attentions.iter().any(|kind: &Attention| kind.softmax),
        "src/gated_delta_net.rs" => blueprint.any.delta_net,
        "src/short_conv.rs" => blueprint.any.short_conv,
        "src/mamba.rs" => blueprint.any.mamba || blueprint.any.mamba2,
        "src/latent_attention.rs" => !blueprint.latents.is_empty(),
        "src/part.rs" => !own_modules.is_empty(),
        _ => true,
    };
    let files = FILES.iter().filter(|(file, _)| present(file));
    // Only the layers that have such a number read it.
    let optional: Vec<&str> =
        fields_of(config).iter().filter(|field| field.rust == OPTIONAL_NUMBER).map(|field| field.name).collect();
    let unwrapped = |text: String| {
        let read = |text: String, name: &&str| {
            text.replace(&format!("config.{name},"), &format!("config.{name}.unwrap_or_default(),"))
        };
        optional.iter().fold(text, read)
    };
    let rendered = files.map(|(file, template)| Ok(((*file).to_owned(), unwrapped(render(file, template, &context)?))));
    rendered.chain(own_files.into_iter().map(Ok)).collect()
}
