//! Where the reference forward finds things: the tensors of each role by Hugging Face's names, and the fields of
//! config.json. A family's YAML says it under `reference:`, independently of the renaming rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A model as the reference forward reads it: a pre-norm decoder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outline {
    /// The field of config.json with the width of the residual stream.
    pub(crate) width: String,
    /// The field with the number of layers.
    pub(crate) layers: String,
    /// The field with the number of query heads.
    pub(crate) heads: String,
    /// The field with the number of key and value heads; without it, or where it is null, as many as query heads.
    #[serde(default)]
    pub(crate) kv_heads: Option<String>,
    /// The field with the width of a head; without it, or where it is null, the width divided by the heads.
    #[serde(default)]
    pub(crate) head_dim: Option<String>,
    /// The norms.
    pub(crate) norm: NormOutline,
    /// The function inside the feed-forward part.
    pub(crate) activation: ActivationOutline,
    /// Whether embeddings are multiplied by the square root of the width.
    #[serde(default)]
    pub(crate) scaled_embedding: bool,
    /// How positions enter.
    pub(crate) positions: PositionOutline,
    /// The row of the first position, where they are learned.
    #[serde(default)]
    pub(crate) first_position: usize,
    /// Which layers rotate; without it, all do.
    #[serde(default)]
    pub(crate) rotated: Option<RotatedOutline>,
    /// How matrices are stored.
    #[serde(default)]
    pub(crate) matrices: MatrixOutline,
    /// Whether the head is the embedding where config.json does not say it.
    #[serde(default)]
    pub(crate) tied: bool,
    /// What files may leave out at the beginning of names.
    #[serde(default)]
    pub(crate) optional_prefix: Option<String>,
    /// Which layers look back over a window only; without it, none does.
    #[serde(default)]
    pub(crate) window: Option<WindowOutline>,
    /// What the family's configuration class assumes for fields that config.json leaves out. A null is not left out.
    #[serde(default)]
    pub(crate) defaults: BTreeMap<String, Value>,
    /// Fields that may have these values only: for others the reference forward says nothing.
    #[serde(default)]
    pub(crate) must: BTreeMap<String, Vec<Value>>,
    /// The tensors, without `.weight` and `.bias`; `{layer}` stands for a layer's number.
    pub(crate) tensors: Tensors,
}

/// The fields of config.json that give layers a window.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowOutline {
    /// The field with the number of tokens that a query sees, itself included; null for all.
    pub(crate) size: String,
    /// The field that turns windows on.
    #[serde(default)]
    pub(crate) switch: Option<String>,
    /// The field with the number of the first layer that has a window.
    #[serde(default)]
    pub(crate) first_layer: Option<String>,
    /// The field with a list of the layers' kinds, which decides where it is given: `sliding_attention` has the window.
    #[serde(default)]
    pub(crate) kinds: Option<String>,
    /// Whether, without that list, the layers have it that do not rotate.
    #[serde(default)]
    pub(crate) unrotated: bool,
}

/// The fields of config.json that say which layers rotate queries and keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotatedOutline {
    /// The field with a list that is 1 for layers that do and 0 for those that do not.
    pub(crate) list: String,
    /// The field with the number k of which every k-th layer does not, where there is no list.
    pub(crate) all_but_every: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NormOutline {
    pub(crate) kind: NormKind,
    /// The field with what is added to the mean square or the variance.
    pub(crate) eps: String,
    /// What is added to the stored weight, for norms that are written as 1 + w.
    #[serde(default)]
    pub(crate) offset: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NormKind {
    #[default]
    RmsNorm,
    LayerNorm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActivationOutline {
    #[default]
    Silu,
    Relu,
    Gelu,
    GeluTanh,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PositionOutline {
    /// A table whose rows are added to the embeddings.
    Learned,
    /// Rotary: element i turns with element i + half of its head.
    RotaryHalves,
    /// Rotary: neighbors turn together, as the formula was published.
    RotaryNeighbors,
    /// Not at all.
    #[default]
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MatrixOutline {
    /// A row for each output, as in torch's linear layers.
    #[default]
    OutputsFirst,
    /// A row for each input.
    InputsFirst,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tensors {
    pub(crate) embedding: String,
    #[serde(default)]
    pub(crate) positions: Option<String>,
    pub(crate) attention_norm: String,
    pub(crate) query: Projection,
    pub(crate) key: Projection,
    pub(crate) value: Projection,
    /// Norms over each head of queries and keys, where the file has them.
    #[serde(default)]
    pub(crate) query_norm: Option<String>,
    #[serde(default)]
    pub(crate) key_norm: Option<String>,
    pub(crate) output: Projection,
    pub(crate) feedforward_norm: String,
    #[serde(default)]
    pub(crate) gate: Option<Projection>,
    pub(crate) up: Projection,
    pub(crate) down: Projection,
    pub(crate) final_norm: String,
    pub(crate) head: String,
}

/// A linear layer: a tensor of its own, or some outputs of one that holds several.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Projection {
    pub(crate) tensor: String,
    /// The maps whose outputs come before this one's in the same tensor.
    #[serde(default)]
    pub(crate) after: Vec<Map>,
}

/// The maps that may share a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Map {
    Query,
    Key,
    Value,
    Gate,
    Up,
}

impl Outline {
    /// Returns the fields of config.json that the reference forward reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &str> {
        let sizes = [&self.width, &self.layers, &self.heads, &self.norm.eps].into_iter();
        let optional = [&self.kv_heads, &self.head_dim].into_iter().flatten();
        let window = self.window.iter().flat_map(|window| {
            let others = [&window.switch, &window.first_layer, &window.kinds];
            std::iter::once(&window.size).chain(others.into_iter().flatten())
        });
        let rotated = self.rotated.iter().flat_map(|rotated| [&rotated.list, &rotated.all_but_every]);
        let rotary = if self.is_rotary() { ROTARY } else { &[] };
        let named = sizes.chain(optional).chain(window).chain(rotated).chain(self.must.keys()).map(String::as_str);
        named.chain(rotary.iter().copied()).chain(["tie_word_embeddings"])
    }

    /// Returns whether queries and keys are rotated.
    pub(crate) fn is_rotary(&self) -> bool {
        matches!(self.positions, PositionOutline::RotaryHalves | PositionOutline::RotaryNeighbors)
    }
}

/// Where config.json says how positions turn queries and keys.
const ROTARY: &[&str] = &["rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor"];
