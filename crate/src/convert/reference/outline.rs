//! Where the reference forward finds things: the tensors of each role by Hugging Face's names, and the fields of
//! config.json. Written once more here, and in a family's YAML under `reference:`, independently of the renaming rules.

use serde::Deserialize;

/// A model as the reference forward reads it: a pre-norm decoder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outline {
    /// The field of config.json with the width of the residual stream.
    pub(super) width: String,
    /// The field with the number of layers.
    pub(super) layers: String,
    /// The field with the number of query heads.
    pub(super) heads: String,
    /// The field with the number of key and value heads; without it, or where it is null, as many as query heads.
    #[serde(default)]
    pub(super) kv_heads: Option<String>,
    /// The field with the width of a head; without it, or where it is null, the width divided by the heads.
    #[serde(default)]
    pub(super) head_dim: Option<String>,
    /// The norms.
    pub(super) norm: NormOutline,
    /// The function inside the feed-forward part.
    pub(super) activation: ActivationOutline,
    /// How positions enter.
    pub(super) positions: PositionOutline,
    /// How matrices are stored.
    #[serde(default)]
    pub(super) matrices: MatrixOutline,
    /// Whether the head is the embedding where config.json does not say it.
    #[serde(default)]
    pub(super) tied: bool,
    /// What files may leave out at the beginning of names.
    #[serde(default)]
    pub(super) optional_prefix: Option<String>,
    /// The tensors, without `.weight` and `.bias`; `{layer}` stands for a layer's number.
    pub(super) tensors: Tensors,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NormOutline {
    pub(super) kind: NormKind,
    /// The field with what is added to the mean square or the variance.
    pub(super) eps: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NormKind {
    RmsNorm,
    LayerNorm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ActivationOutline {
    Silu,
    Relu,
    Gelu,
    GeluTanh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PositionOutline {
    /// A table whose rows are added to the embeddings.
    Learned,
    /// Rotary: element i turns with element i + half of its head.
    RotaryHalves,
    /// Rotary: neighbours turn together, as the formula was published.
    RotaryNeighbours,
    /// Not at all.
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MatrixOutline {
    /// A row for each output, as in torch's linear layers.
    #[default]
    OutputsFirst,
    /// A row for each input.
    InputsFirst,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tensors {
    pub(super) embedding: String,
    #[serde(default)]
    pub(super) positions: Option<String>,
    pub(super) attention_norm: String,
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    /// Norms over each head of queries and keys, where the file has them.
    #[serde(default)]
    pub(super) query_norm: Option<String>,
    #[serde(default)]
    pub(super) key_norm: Option<String>,
    pub(super) output: Projection,
    pub(super) feedforward_norm: String,
    #[serde(default)]
    pub(super) gate: Option<Projection>,
    pub(super) up: Projection,
    pub(super) down: Projection,
    pub(super) final_norm: String,
    pub(super) head: String,
}

/// A linear map: a tensor of its own, or some outputs of one that holds several.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Projection {
    pub(super) tensor: String,
    /// The maps whose outputs come before this one's in the same tensor.
    #[serde(default)]
    pub(super) after: Vec<Map>,
}

/// The maps that may share a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Map {
    Query,
    Key,
    Value,
    Gate,
    Up,
}

impl Outline {
    /// Llama, Mistral and Qwen3 as transformers names them.
    pub(super) fn llama() -> Self {
        let layer = |part: &str| format!("model.layers.{{layer}}.{part}");
        let own = |part: &str| Projection { tensor: layer(part), after: Vec::new() };
        Self {
            width: "hidden_size".to_owned(),
            layers: "num_hidden_layers".to_owned(),
            heads: "num_attention_heads".to_owned(),
            kv_heads: Some("num_key_value_heads".to_owned()),
            head_dim: Some("head_dim".to_owned()),
            norm: NormOutline { kind: NormKind::RmsNorm, eps: "rms_norm_eps".to_owned() },
            activation: ActivationOutline::Silu,
            positions: PositionOutline::RotaryHalves,
            matrices: MatrixOutline::OutputsFirst,
            tied: false,
            optional_prefix: None,
            tensors: Tensors {
                embedding: "model.embed_tokens".to_owned(),
                positions: None,
                attention_norm: layer("input_layernorm"),
                query: own("self_attn.q_proj"),
                key: own("self_attn.k_proj"),
                value: own("self_attn.v_proj"),
                query_norm: Some(layer("self_attn.q_norm")),
                key_norm: Some(layer("self_attn.k_norm")),
                output: own("self_attn.o_proj"),
                feedforward_norm: layer("post_attention_layernorm"),
                gate: Some(own("mlp.gate_proj")),
                up: own("mlp.up_proj"),
                down: own("mlp.down_proj"),
                final_norm: "model.norm".to_owned(),
                head: "lm_head".to_owned(),
            },
        }
    }
}
