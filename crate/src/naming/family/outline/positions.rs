//! What the reference forward has to know of positions: windows, and how queries and keys turn.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Term;

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
    /// The number k of which, without that list, every k-th layer has no window.
    #[serde(default)]
    pub(crate) all_but_every: Option<Term>,
    /// The kind of layers that the list names, where it is not `sliding_attention`.
    #[serde(default)]
    pub(crate) kind: Option<String>,
    /// Whether tokens are divided into parts of this size, beyond which a query does not see.
    #[serde(default)]
    pub(crate) chunks: bool,
    /// Whether the last layer never has a window, whatever the list says.
    #[serde(default)]
    pub(crate) never_last: bool,
    /// Whether, without that list, the layers have it that rotate.
    #[serde(default)]
    pub(crate) rotated: bool,
}

/// Factors 1 + scale · ln(1 + ⌊(position + 1) / floor⌋) on queries.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemperatureOutline {
    pub(crate) scale: String,
    pub(crate) floor: String,
    /// The field that turns them on.
    #[serde(default)]
    pub(crate) switch: Option<String>,
    /// Whether only layers have them that do not rotate.
    #[serde(default)]
    pub(crate) where_unrotated: bool,
}

/// What says which layers rotate queries and keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotatedOutline {
    /// The field with a list that is 1 for layers that do and 0 for those that do not.
    #[serde(default)]
    pub(crate) list: Option<String>,
    /// The field with the number k of which every k-th layer does not, where there is no list.
    #[serde(default)]
    pub(crate) all_but_every: Option<String>,
    /// Whether only layers with a window rotate.
    #[serde(default)]
    pub(crate) windowed: bool,
    /// Whether all layers rotate where the model has no window.
    #[serde(default)]
    pub(crate) all_without_window: bool,
    /// The field that says whether all layers rotate, or none.
    #[serde(default)]
    pub(crate) all_if: Option<String>,
}

/// How much of a head turns, and how fast, where the rotary parameters do not say it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotaryOutline {
    /// The base frequency; without it, `rope_theta`.
    #[serde(default)]
    pub(crate) theta: Option<Term>,
    /// The same of layers with a window, in models whose kinds of layers have rotary parameters of their own.
    #[serde(default)]
    pub(crate) window_theta: Option<Term>,
    /// The part of a head that turns, where the rotary parameters do not say it; without it, whole heads do.
    #[serde(default)]
    pub(crate) part: Option<Term>,
    /// The number of elements of a head that turn, for classes that have a field for it.
    #[serde(default)]
    pub(crate) width: Option<Term>,
    /// Whether queries grow with the logarithm of their position, by `llama_4_scaling_beta`.
    #[serde(default)]
    pub(crate) growing_queries: bool,
    /// Whether `alpha` stretches the base of the type `dynamic`, whatever the length.
    #[serde(default)]
    pub(crate) alpha: bool,
    /// Names of types that the class takes for others.
    #[serde(default)]
    pub(crate) types: BTreeMap<String, String>,
    /// Keys of the rotary parameters that the class does not read.
    #[serde(default)]
    pub(crate) ignored: Vec<String>,
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
    /// Scores fall linearly with distance, by slopes that are powers of two.
    Alibi,
    /// Not at all.
    #[default]
    None,
}
