//! The role of a parameter. Code that treats parameters differently asks for the role, never for the name.

use super::{MixerKind, ModelConfig, ModelSpec, ParamPath};
use crate::spec::{Architecture, DType};

/// The role of the parameters of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// One row for each token.
    TokenEmbedding,
    /// One row for each position.
    PositionEmbedding,
    /// Makes queries.
    Query,
    /// Makes keys.
    Key,
    /// Makes values.
    Value,
    /// The output of attention.
    Output,
    /// The input of the sigmoid that gates the result of attention.
    AttentionGate,
    /// Makes the strength of a correction of the state, of linear attention.
    Beta,
    /// Makes or shapes how fast the state is forgotten, of linear attention.
    Decay,
    /// Makes all inputs of a state space together.
    StateSpaceInput,
    /// Makes the steps of a state space, what is written to it and what is read from it.
    Selection,
    /// Normalizes one of these.
    SelectionNorm,
    /// Makes the steps of a state space.
    Step,
    /// Factors on what passes a state space by.
    Skip,
    /// A convolution over the last tokens, of each channel.
    ShortConvolution,
    /// Normalizes what each head reads.
    ValueNorm,
    /// x W xᵀ: queries and keys of a single head in one. Used transposed.
    QueryKey,
    /// Normalizes queries.
    QueryNorm,
    /// Normalizes keys.
    KeyNorm,
    /// ALiBi's slopes.
    Slopes,
    /// The gate projection: the input of the activation in a gated feed-forward part.
    Gate,
    /// The up projection, into the width of the feed-forward part.
    Up,
    /// The down projection, out of the width of the feed-forward part.
    Down,
    /// Compresses a token for queries.
    QueryDown,
    /// Normalizes what queries are made of.
    QueryLatentNorm,
    /// Makes queries of latent attention.
    QueryUp,
    /// Compresses a token for keys and values.
    LatentDown,
    /// Normalizes what keys and values are made of.
    LatentNorm,
    /// Makes keys and values of a compressed vector.
    LatentUp,
    /// Makes the logits that experts are chosen by.
    Router,
    /// Corrections of experts' scores.
    RouterCorrection,
    /// The gate projection of an expert.
    ExpertGate,
    /// The up projection of an expert.
    ExpertUp,
    /// The down projection of an expert.
    ExpertDown,
    /// The gate projection of the expert that every token uses.
    SharedGate,
    /// The up projection of the expert that every token uses.
    SharedUp,
    /// The down projection of the expert that every token uses.
    SharedDown,
    /// Makes the factor on what the expert returns that every token uses.
    SharedScale,
    /// Shapes the function inside the feed-forward part.
    ActivationShape,
    /// One more logit for each head, which takes attention from all tokens.
    Sinks,
    /// The norm after the embeddings.
    EmbeddingNorm,
    /// The norm of attention.
    AttentionNorm,
    /// The norm after attention, where there is one before it, too.
    AttentionPostNorm,
    /// The norm of the feed-forward part.
    FeedForwardNorm,
    /// The norm after the feed-forward part, where there is one before it, too.
    FeedForwardPostNorm,
    /// The norm after the last layer.
    FinalNorm,
    /// The head: vectors to logits.
    Head,
    /// One row for each token, with what each layer is given of it.
    LayerInputEmbedding,
    /// Makes what layers are given of the embedding.
    LayerInputProjection,
    /// Normalizes what it makes.
    LayerInputProjectionNorm,
    /// The gate of what a layer is given.
    LayerInputGate,
    /// Makes a vector of what a layer is given.
    LayerInputOutput,
    /// The norm of that vector.
    LayerInputNorm,
    /// The factor on what a layer returns.
    LayerScalar,
    /// Normalizes what the router reads.
    RouterNorm,
    /// Factors on the weight of each expert.
    RouterExpertScale,
    /// The norm before experts that have one of their own.
    ExpertNorm,
    /// The norm after them.
    ExpertPostNorm,
    /// The norm after the expert that every token uses.
    SharedPostNorm,
    /// A parameter of a user's part in this place.
    User(MixerKind),
}

/// Parameters that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleGroup {
    /// Tables of vectors.
    Embedding,
    /// Attention, without norms.
    Attention,
    /// Feed-forward, without norms and experts. The expert that every token uses belongs to it.
    FeedForward,
    /// Experts of which a token uses a few.
    Experts,
    /// What chooses experts.
    Router,
    /// Norms.
    Norms,
    /// The head.
    Head,
}

impl RoleGroup {
    /// Every group, in the order of reports.
    pub const ALL: &'static [RoleGroup] = &[
        RoleGroup::Embedding,
        RoleGroup::Attention,
        RoleGroup::FeedForward,
        RoleGroup::Experts,
        RoleGroup::Router,
        RoleGroup::Norms,
        RoleGroup::Head,
    ];

    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            RoleGroup::Embedding => "embedding",
            RoleGroup::Attention => "attention",
            RoleGroup::FeedForward => "feed-forward",
            RoleGroup::Experts => "experts",
            RoleGroup::Router => "router",
            RoleGroup::Norms => "norms",
            RoleGroup::Head => "head",
        }
    }
}

impl Role {
    /// Returns what it is counted with.
    pub fn group(self) -> RoleGroup {
        match self {
            Role::TokenEmbedding | Role::PositionEmbedding | Role::LayerInputEmbedding => RoleGroup::Embedding,
            Role::Query
            | Role::QueryDown
            | Role::QueryUp
            | Role::LatentDown
            | Role::LatentUp
            | Role::Key
            | Role::Value
            | Role::Output
            | Role::QueryKey
            | Role::AttentionGate
            | Role::Beta
            | Role::Decay
            | Role::StateSpaceInput
            | Role::Selection
            | Role::Step
            | Role::Skip
            | Role::ShortConvolution
            | Role::Slopes
            | Role::Sinks
            | Role::User(MixerKind::Attention) => RoleGroup::Attention,
            Role::Gate
            | Role::Up
            | Role::Down
            | Role::ActivationShape
            | Role::SharedGate
            | Role::SharedUp
            | Role::SharedDown
            | Role::SharedScale
            | Role::LayerInputProjection
            | Role::LayerInputGate
            | Role::LayerInputOutput
            | Role::LayerScalar
            | Role::User(MixerKind::FeedForward) => RoleGroup::FeedForward,
            Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => RoleGroup::Experts,
            Role::Router | Role::RouterCorrection | Role::RouterExpertScale => RoleGroup::Router,
            Role::QueryNorm
            | Role::KeyNorm
            | Role::ValueNorm
            | Role::SelectionNorm
            | Role::QueryLatentNorm
            | Role::LatentNorm
            | Role::EmbeddingNorm
            | Role::AttentionNorm
            | Role::AttentionPostNorm
            | Role::FeedForwardNorm
            | Role::FeedForwardPostNorm
            | Role::LayerInputProjectionNorm
            | Role::LayerInputNorm
            | Role::RouterNorm
            | Role::ExpertNorm
            | Role::ExpertPostNorm
            | Role::SharedPostNorm
            | Role::FinalNorm => RoleGroup::Norms,
            Role::Head => RoleGroup::Head,
        }
    }

    /// Returns its name in the rules of initialization.
    pub(super) fn pseudo_name(self) -> &'static str {
        match self {
            Role::TokenEmbedding => "embedding",
            Role::PositionEmbedding => "positions",
            Role::LayerInputEmbedding => "layer_embedding",
            Role::LayerInputProjection | Role::LayerInputGate => "ff.gate_proj",
            Role::LayerInputOutput => "ff.down_proj",
            Role::LayerScalar => "layer_scalar",
            Role::RouterExpertScale => "router_expert_scale",
            Role::Query | Role::QueryDown | Role::QueryUp => "attn.query",
            Role::LatentDown | Role::LatentUp => "attn.key",
            Role::Key => "attn.key",
            Role::Value | Role::User(MixerKind::Attention) => "attn.value",
            Role::Output => "attn.output",
            Role::QueryKey => "attn.query_key",
            Role::AttentionGate => "attn.gate",
            Role::Beta => "attn.beta",
            Role::Decay => "attn.decay",
            Role::StateSpaceInput => "ssm.input",
            Role::Selection => "ssm.selection",
            Role::Step => "ssm.step",
            Role::Skip => "skip",
            // Its weight is drawn as PyTorch would.
            Role::ShortConvolution => "convolution",
            Role::Gate | Role::ExpertGate | Role::SharedGate => "ff.gate_proj",
            Role::Up | Role::ExpertUp | Role::SharedUp | Role::User(MixerKind::FeedForward) => "ff.up_proj",
            Role::Down | Role::ExpertDown | Role::SharedDown => "ff.down_proj",
            Role::Router => "ff.router",
            Role::SharedScale => "ff.shared_expert_gate",
            Role::Head => "lm_head",
            // Rules do not apply to them.
            Role::QueryNorm
            | Role::KeyNorm
            | Role::ValueNorm
            | Role::SelectionNorm
            | Role::QueryLatentNorm
            | Role::LatentNorm
            | Role::EmbeddingNorm
            | Role::AttentionNorm
            | Role::AttentionPostNorm
            | Role::FeedForwardNorm
            | Role::FeedForwardPostNorm
            | Role::LayerInputProjectionNorm
            | Role::LayerInputNorm
            | Role::RouterNorm
            | Role::ExpertNorm
            | Role::ExpertPostNorm
            | Role::SharedPostNorm
            | Role::FinalNorm => "norm",
            Role::ActivationShape => "activation",
            Role::Slopes => "slopes",
            Role::RouterCorrection => "router_correction",
            Role::Sinks => "sinks",
        }
    }

    /// True for parameters that have one row for each token of the vocabulary.
    pub fn has_row_per_token(self) -> bool {
        matches!(self, Role::TokenEmbedding | Role::LayerInputEmbedding | Role::Head)
    }

    /// True for linear layers whose outputs are rotated by position, where positions rotate.
    pub fn is_rotated(self) -> bool {
        matches!(self, Role::Query | Role::Key)
    }

    /// True for linear layers that are used transposed, too, and so are not stored as low-bit weights.
    pub fn is_transposed(self) -> bool {
        matches!(self, Role::QueryKey)
    }

    /// True for parameters of experts of which a token uses a few: a batch may not reach all of them.
    pub fn is_expert(self) -> bool {
        self.group() == RoleGroup::Experts
    }

    /// True for linear layers that are not stored as low-bit weights: rounding errors of routers send tokens elsewhere, and
    /// those of what makes the steps of a state space grow from token to token.
    pub fn is_sensitive(self) -> bool {
        matches!(self, Role::Router | Role::SharedScale | Role::Selection | Role::Step)
    }

    /// Returns the role of a native name outside of the layers; all models have the same names there.
    pub fn of_native_name(path: &ParamPath) -> Option<Self> {
        let config = ModelConfig {
            final_norm: true,
            embedding_norm: true,
            hidden_size_per_layer_input: Some(1),
            ..ModelConfig::usual(Architecture::from_name("llama").unwrap())
        };
        let module = |path: &ParamPath| path.parent();
        let table = ModelSpec::resolve(&config).table(DType::F32);
        table.rows().iter().find(|row| module(&row.path) == module(path)).and_then(|row| row.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_of_the_layers_have_roles() {
        for (name, role) in [
            ("causal_lm.input_encoder.embedding.weight", Some(Role::TokenEmbedding)),
            ("lm_head.bias", Some(Role::Head)),
            ("causal_lm.layer_norm.weight", Some(Role::FinalNorm)),
            ("causal_lm.layer_stack.layers.0.norm1.weight", None),
        ] {
            assert_eq!(Role::of_native_name(&name.into()), role, "{name}");
        }
    }
}
