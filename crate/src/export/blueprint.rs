//! The contents of a model's sources: its kinds of parts, which layers are of which kind, and what layers share.

use serde::Serialize;

use super::kinds::{Attention, FeedForward, Latent, Layer, Mixture, Norm, rope_json};
use super::naming::{distinct_names, position};
use crate::spec::parts::mamba;
use crate::spec::{
    Activation, AttentionKind, FeedForwardKind, MixerKind, ModelConfig, NormKind, NormPlacement, PositionEmbedding,
    RopeConfig, UserPart,
};

/// The kinds of parts of one model and how they are put together.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Blueprint {
    pub(super) attentions: Vec<Attention>,
    pub(super) feedforwards: Vec<FeedForward>,
    pub(super) latents: Vec<Latent>,
    /// The classes of experts.
    pub(super) experts: Vec<FeedForward>,
    pub(super) mixtures: Vec<Mixture>,
    pub(super) layers: Vec<Layer>,
    /// (how many, which of `layers`); empty if all layers are alike.
    pub(super) runs: Vec<(usize, usize)>,
    pub(super) final_norm: Option<Norm>,
    pub(super) embedding_norm: Option<Norm>,
    /// The norm of what layers are given of each token.
    pub(super) input_norm: Option<Norm>,
    pub(super) any: Any,
    pub(super) shared: Shared,
    /// Whether a token sees all tokens before it and scores have no biases: as fused kernels assume.
    pub(super) plain_causal: bool,
    /// `plain`, `llama3`, `mixed` where layers are of these two, or `any` for all that transformers has.
    pub(super) rope_kind: &'static str,
    /// The types of rotary parameters that occur, for `any`.
    pub(super) rope_types: Vec<String>,
    pub(super) partial_rotary: bool,
    pub(super) head: Head,
    pub(super) tied: bool,
}

/// How vectors become logits.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Head {
    pub(super) bias: bool,
    pub(super) multiplier: bool,
    pub(super) softcap: bool,
}

/// A part of a layer.
enum Used {
    /// The built-in part with this number.
    BuiltIn(usize),
    /// The latent attention of this number.
    Latent(usize),
    /// The mixture of experts of this number.
    Mixture(usize),
    /// A user's part.
    Own(UserPart),
    /// None.
    Nothing,
}

/// The kinds of things that occur in the model.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Any {
    pub(super) rms_norm: bool,
    pub(super) layer_norm: bool,
    pub(super) offset_rms_norm: bool,
    pub(super) offset_layer_norm: bool,
    pub(super) plain_rms_norm: bool,
    pub(super) head_norm: bool,
    /// Norms of other forms than candle has.
    pub(super) own_norm: bool,
    /// Factors on scores, caps and sinks of some attention.
    pub(super) scale: bool,
    pub(super) softcap: bool,
    pub(super) sinks: bool,
    pub(super) tempered: bool,
    pub(super) delta_net: bool,
    pub(super) short_conv: bool,
    pub(super) mamba: bool,
    pub(super) mamba2: bool,
    /// Parts that keep a state.
    pub(super) stateful: bool,
    /// Attention proper, which reads keys and values.
    pub(super) softmax: bool,
    pub(super) relu2: bool,
    pub(super) xielu: bool,
    pub(super) rope: bool,
    pub(super) alibi: bool,
    pub(super) window: bool,
    pub(super) grouped: bool,
    /// Positions of tokens.
    pub(super) positions: bool,
    /// Distances between tokens.
    pub(super) distances: bool,
    pub(super) multi_head: bool,
    pub(super) chunk: bool,
    pub(super) temperature: bool,
    /// Keys and values that several layers read.
    pub(super) shared_keys: bool,
}

/// Inputs that are the same in all layers, which are computed once.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Shared {
    pub(super) rope: bool,
    pub(super) window: bool,
    pub(super) shared_expert: bool,
    pub(super) temperature: bool,
    pub(super) chunk: bool,
}

/// Returns the configuration of each run of layers, with their number.
pub(super) fn runs_of(config: &ModelConfig) -> Vec<(usize, &ModelConfig)> {
    match config.layers.as_slice() {
        [] => vec![(config.num_hidden_layers, config)],
        runs => runs.iter().map(|run| (run.count, &*run.config)).collect(),
    }
}

/// Rotary parameters and head width, of layers that rotate.
pub(super) fn rotation_of(config: &ModelConfig) -> Option<(&RopeConfig, usize)> {
    match &config.position {
        PositionEmbedding::Rope(rope) if Attention::of(config).rope => Some((rope, config.head_dim)),
        _ => None,
    }
}

impl Blueprint {
    /// `own_name` writes the type of a user's part.
    pub(super) fn new(config: &ModelConfig, own_name: impl Fn(UserPart) -> String) -> Self {
        let runs = runs_of(config);
        let (mut attentions, mut feedforwards) = (Vec::new(), Vec::new());
        let mut latents: Vec<Latent> = Vec::new();
        let (mut experts, mut mixtures): (Vec<FeedForward>, Vec<(usize, Mixture)>) = (Vec::new(), Vec::new());
        let parts: Vec<_> = runs
            .iter()
            .map(|(_, own)| {
                let attention = match (own.attention.user_part(), Latent::of(own)) {
                    _ if own.attention == AttentionKind::None => Used::Nothing,
                    (Some(part), _) => Used::Own(part),
                    (None, Some(latent)) => Used::Latent(position(&mut latents, latent)),
                    (None, None) => Used::BuiltIn(position(&mut attentions, Attention::of(own))),
                };
                let beside =
                    mamba::beside_attention(own).then(|| position(&mut attentions, Attention::state_space(own)));
                let feedforward = own.feedforward.then(|| match own.feed_forward_kind {
                    FeedForwardKind::User(part) => Used::Own(part),
                    FeedForwardKind::Mlp => Used::BuiltIn(position(&mut feedforwards, FeedForward::of(own))),
                    FeedForwardKind::Experts => {
                        let expert = position(&mut experts, FeedForward::of(own));
                        Used::Mixture(position(&mut mixtures, (expert, Mixture::of(own, String::new()))))
                    }
                });
                (attention, beside, feedforward)
            })
            .collect();
        let sharing = attentions.iter().any(|kind: &Attention| kind.shared);
        for kind in attentions.iter_mut().filter(|kind| sharing && kind.softmax && !kind.single_head) {
            (kind.special, kind.kept) = (true, !kind.shared);
        }
        let words: Vec<_> = attentions.iter().map(Attention::words).collect();
        for (kind, name) in attentions.iter_mut().zip(distinct_names("Attention", &words)) {
            kind.name = name;
        }
        let words: Vec<_> = latents.iter().map(Latent::words).collect();
        for (kind, name) in latents.iter_mut().zip(distinct_names("LatentAttention", &words)) {
            kind.name = name;
        }
        let words: Vec<_> = feedforwards.iter().map(FeedForward::words).collect();
        for (kind, name) in feedforwards.iter_mut().zip(distinct_names("FeedForward", &words)) {
            kind.name = name;
        }
        let words: Vec<_> = experts.iter().map(FeedForward::words).collect();
        for (kind, name) in experts.iter_mut().zip(distinct_names("Expert", &words)) {
            kind.name = name;
        }
        let words: Vec<_> = mixtures.iter().map(|(_, kind)| kind.words()).collect();
        let names = distinct_names("Experts", &words);
        let mixtures: Vec<Mixture> = mixtures
            .into_iter()
            .zip(names)
            .map(|((expert, kind), name)| Mixture { name, expert: experts[expert].name.clone(), ..kind })
            .collect();

        let (mut layers, mut words, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for ((count, own), (attention, beside, feedforward)) in runs.iter().zip(parts) {
            let kind = if let Used::BuiltIn(index) = attention { attentions.get(index) } else { None };
            let (keeps, shares) = kind.map_or((false, false), |kind: &Attention| (kind.kept, kind.shared));
            let (attention, mut parts) = match attention {
                Used::BuiltIn(index) | Used::Mixture(index) => {
                    (attentions[index].name.clone(), attentions[index].words())
                }
                Used::Latent(index) => (latents[index].name.clone(), latents[index].words()),
                Used::Own(part) => (own_name(part), vec!["Own"]),
                Used::Nothing => (String::new(), Vec::new()),
            };
            let beside = beside.map(|index: usize| attentions[index].name.clone()).unwrap_or_default();
            let feedforward = feedforward.map(|used| match used {
                Used::BuiltIn(index) | Used::Latent(index) => {
                    (feedforwards[index].name.clone(), feedforwards[index].words())
                }
                Used::Mixture(index) => (mixtures[index].name.clone(), mixtures[index].words()),
                Used::Own(part) => (own_name(part), vec!["OwnFeedForward"]),
                Used::Nothing => (String::new(), Vec::new()),
            });
            let feedforward = feedforward.map(|(name, words)| {
                parts.extend(words);
                name
            });
            let layer = Layer { keeps, shares, ..Layer::of(own, attention, beside, feedforward) };
            let layer_words = layer.words(parts);
            let kind = position(&mut layers, layer);
            if kind == words.len() {
                words.push(layer_words);
            }
            kinds.push((*count, kind));
        }
        for (layer, name) in layers.iter_mut().zip(distinct_names("Layer", &words)) {
            layer.name = name;
        }

        let final_norm = config.final_norm.then(|| Norm::of_layer(config));
        let embedding_norm = config.embedding_norm.then(|| Norm::of_layer(config));
        let input_norm = config.hidden_size_per_layer_input.map(|_| Norm::of_layer(config));
        let of_mixtures = mixtures.iter().flat_map(|kind: &Mixture| kind.router_norm.iter().chain(&kind.beside));
        let of_values = attentions.iter().filter_map(|kind: &Attention| kind.value_norm.as_ref());
        let of_layers = layers.iter().map(|layer: &Layer| &layer.norm);
        let of_heads = attentions.iter().filter_map(|kind: &Attention| kind.qk_norm.as_ref()).map(|own| &own.norm);
        let of_latents = latents.iter().map(|kind| &kind.norm);
        let norms: Vec<Norm> = of_layers
            .chain(of_heads)
            .chain(of_latents)
            .chain(of_mixtures)
            .chain(of_values)
            .chain(&final_norm)
            .chain(&embedding_norm)
            .chain(&input_norm)
            .cloned()
            .collect();
        let has_norm = |class: &str| norms.iter().any(|norm| norm.class == class);
        let rotations: Vec<_> = runs.iter().filter_map(|(_, own)| rotation_of(own)).collect();
        let scaled = rotations.iter().filter(|(rope, _)| rope.scaling.is_some()).count();
        let partial_rotary = rotations.iter().any(|(rope, _)| rope.partial != 1.0);
        let mut rope_types: Vec<String> = Vec::new();
        for kind in rotations.iter().filter_map(|(rope, _)| Some(rope_json(rope)["rope_type"].as_str()?.to_owned())) {
            position(&mut rope_types, kind);
        }
        let usual_types = rope_types.iter().all(|kind| ["default", "llama3"].contains(&kind.as_str()));
        let alibi = attentions.iter().any(|kind| kind.alibi.is_some());
        let own_attentions = || runs.iter().map(|(_, own)| own).filter(|own| own.attention.user_part().is_some());
        let window = attentions.iter().any(|kind: &Attention| kind.window)
            || latents.iter().any(|kind| kind.window)
            || own_attentions().any(|own| own.sliding_window.is_some());
        let shared = Shared {
            rope: rotations.iter().all(|rotation| Some(*rotation) == rotation_of(config)),
            window: runs.iter().all(|(_, own)| own.sliding_window == config.sliding_window),
            shared_expert: runs
                .iter()
                .all(|(_, own)| own.shared_expert_intermediate_size == config.shared_expert_intermediate_size),
            temperature: config.attention_temperature.is_some(),
            chunk: runs.iter().all(|(_, own)| own.attention_chunk_size == config.attention_chunk_size),
        };
        let any = Any {
            rms_norm: has_norm("RMSNorm") || attentions.iter().any(Attention::has_rms_norm),
            layer_norm: norms.iter().any(|norm| norm.eps == NormKind::LayerNorm.eps_field()),
            offset_rms_norm: has_norm("OffsetRMSNorm"),
            offset_layer_norm: has_norm("OffsetLayerNorm"),
            plain_rms_norm: has_norm("PlainRMSNorm"),
            head_norm: has_norm("HeadNorm"),
            own_norm: norms.iter().any(|norm| norm.rust == "Norm"),
            scale: attentions.iter().any(|kind| kind.scale) || !latents.is_empty(),
            softcap: attentions.iter().any(|kind| kind.softcap),
            sinks: attentions.iter().any(|kind| kind.sinks),
            tempered: attentions.iter().any(|kind| kind.tempered),
            delta_net: attentions.iter().any(|kind| kind.delta_net),
            short_conv: attentions.iter().any(|kind| kind.short_conv),
            mamba: attentions.iter().any(|kind| kind.state_space.as_ref().is_some_and(|own| !own.two)),
            mamba2: attentions.iter().any(|kind| kind.state_space.as_ref().is_some_and(|own| own.two)),
            stateful: attentions.iter().any(|kind| !kind.softmax),
            softmax: attentions.iter().any(|kind| kind.softmax) || own_attentions().next().is_some(),
            xielu: feedforwards.iter().any(|part: &FeedForward| part.activation == Activation::Xielu),
            relu2: feedforwards.iter().chain(&experts).any(|part: &FeedForward| part.activation == Activation::Relu2),
            rope: !rotations.is_empty(),
            alibi,
            window,
            grouped: attentions.iter().any(|kind| kind.grouped),
            positions: !rotations.is_empty()
                || attentions.iter().any(|kind| kind.temperature)
                || matches!(config.position, PositionEmbedding::Sinusoidal | PositionEmbedding::Learned),
            distances: alibi || (window && !shared.window),
            multi_head: attentions.iter().any(|kind| !kind.single_head && kind.softmax)
                || !latents.is_empty()
                || own_attentions().next().is_some(),
            chunk: attentions.iter().any(|kind| kind.chunk),
            temperature: attentions.iter().any(|kind| kind.temperature),
            shared_keys: sharing,
        };
        let plain_causal = !alibi && !window && !attentions.iter().any(|kind| kind.softcap || kind.sinks || kind.chunk);
        Self {
            attentions,
            latents,
            feedforwards,
            experts,
            mixtures,
            layers,
            runs: if config.layers.is_empty() { Vec::new() } else { kinds },
            final_norm,
            embedding_norm,
            input_norm,
            any,
            shared,
            plain_causal,
            rope_kind: match scaled {
                _ if !usual_types || partial_rotary => "any",
                0 => "plain",
                all if all == rotations.len() => "llama3",
                _ => "mixed",
            },
            rope_types,
            partial_rotary,
            head: Head {
                bias: config.head_bias,
                multiplier: config.logits_multiplier != 1.0,
                softcap: config.logits_softcap.is_some(),
            },
            tied: config.tie_word_embeddings,
        }
    }
}

/// Returns its parts in one line.
pub(super) fn parts_in_words(config: &ModelConfig) -> String {
    let blueprint = Blueprint::new(config, |part| part.name().to_owned());
    let mut words = Vec::new();
    let distinct = |name: &dyn Fn(&ModelConfig) -> &'static str| {
        let mut names: Vec<&str> = Vec::new();
        for (_, own) in runs_of(config) {
            position(&mut names, name(own));
        }
        names.join(" or ")
    };
    words.push(
        distinct(&|own| match own.placement {
            NormPlacement::Pre => "pre-norm",
            NormPlacement::Post => "post-norm",
            NormPlacement::DeepNet { .. } => "DeepNet",
            NormPlacement::Output => "output-norm",
            NormPlacement::Sandwich => "sandwich-norm",
        }) + if config.parallel_layers { " parallel layers" } else { " layers" },
    );
    words.push(distinct(&|own| match own.norm.kind {
        NormKind::RmsNorm => "RMSNorm",
        NormKind::LayerNorm => "LayerNorm",
    }));
    words.push(distinct(&|own| {
        if let Some(part) = own.attention.user_part() {
            return part.name();
        }
        if Latent::of(own).is_some() {
            return "latent attention";
        }
        let kind = Attention::of(own);
        match own.attention {
            AttentionKind::None => return "no attention",
            AttentionKind::Mamba => return "Mamba",
            AttentionKind::Mamba2 => return "Mamba-2",
            AttentionKind::GatedDeltaNet => return "gated DeltaNet",
            AttentionKind::ShortConv => return "gated convolutions",
            AttentionKind::MultiHead if mamba::beside_attention(own) => return "attention beside Mamba-2",
            AttentionKind::MultiHead | AttentionKind::SingleHead | AttentionKind::Latent | AttentionKind::User(_) => {}
        }
        match (kind.single_head, kind.grouped, kind.window) {
            (true, ..) => "single-head attention",
            (_, true, true) => "grouped-query attention within a window",
            (_, true, false) => "grouped-query attention",
            (_, false, true) => "multi-head attention within a window",
            (_, false, false) => "multi-head attention",
        }
    }));
    words.push(distinct(&|own| match own.position {
        PositionEmbedding::Rope(_) => "rotary positions",
        PositionEmbedding::Alibi(_) => "ALiBi",
        PositionEmbedding::Sinusoidal => "sinusoidal positions",
        PositionEmbedding::Learned => "learned positions",
        PositionEmbedding::None => "no positions",
    }));
    let functions = |parts: &[FeedForward]| {
        let kinds = parts.iter().map(|part| {
            let function = match part.activation {
                Activation::Silu => "SiLU",
                Activation::Relu => "ReLU",
                Activation::Gelu | Activation::GeluTanh => "GELU",
                Activation::Relu2 => "squared ReLU",
                Activation::Xielu => "xIELU",
            };
            if part.gated { format!("gated {function}") } else { function.to_owned() }
        });
        kinds.collect::<Vec<_>>().join(" or ")
    };
    if !blueprint.feedforwards.is_empty() {
        words.push(format!("{} feed-forward", functions(&blueprint.feedforwards)));
    }
    if !blueprint.mixtures.is_empty() {
        words.push(format!("mixtures of {} experts", functions(&blueprint.experts)));
    }
    let own = config.all_user_parts().into_iter().filter(|part| part.mixer_kind() == MixerKind::FeedForward);
    words.extend(own.map(|part| part.name().to_owned()));
    if config.tie_word_embeddings {
        words.push("the head is the embedding".to_owned());
    }
    let text = words.join(", ");
    // The first word is ASCII: a placement of norms.
    text[..1].to_uppercase() + &text[1..]
}
