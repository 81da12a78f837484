//! Where the reference forward finds things: the tensors of each role by Hugging Face's names, and the fields of
//! config.json. A family's YAML says it under `reference:`, independently of the renaming rules.

mod experts;
mod latent;
mod layer_input;
mod linear_attention;
mod positions;
mod short_conv;
mod state_space;
mod tensors;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::{Map as Fields, Value};

use super::expression::{evaluate, fields_of};
use super::spanned::Spanned;
pub(crate) use experts::{ExpertsOutline, GroupsOutline, ScoreOutline};
use latent::LatentOutline;
pub(crate) use layer_input::{EachLayerOutline, LayerInputOutline};
pub(crate) use linear_attention::{LinearAttentionOutline, LinearPart, ProjectionOutline};
pub(crate) use positions::{PositionOutline, RotaryOutline, RotatedOutline, TemperatureOutline, WindowOutline};
pub(crate) use short_conv::ShortConvOutline;
pub(crate) use state_space::StateSpaceOutline;
pub(crate) use tensors::{Map, Projection, Tensors};

/// A model as the reference forward reads it: a decoder whose layers add attention and a feed-forward part.
///
/// Where a field of config.json is named, a path of fields joined by dots or an expression over fields will do as well.
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
    /// The norms of queries and keys.
    #[serde(default)]
    pub(crate) qk_norm: QkNormOutline,
    /// The function inside the feed-forward part, or the field that names it.
    pub(crate) activation: ActivationOutline,
    /// Whether embeddings are multiplied by the square root of the width.
    #[serde(default)]
    pub(crate) scaled_embedding: bool,
    /// Numbers that others are multiplied by.
    #[serde(default)]
    pub(crate) factors: FactorsOutline,
    /// Bounds of scores and logits: cap · tanh(x / cap).
    #[serde(default)]
    pub(crate) softcaps: SoftcapsOutline,
    /// The field with the bound that queries, keys and values are clamped to.
    #[serde(default)]
    pub(crate) clip: Option<Term>,
    /// The field that says whether attention and the feed-forward part read the same residual stream.
    #[serde(default)]
    pub(crate) parallel: Option<Term>,
    /// How positions enter.
    pub(crate) positions: PositionOutline,
    /// The row of the first position, where they are learned.
    #[serde(default)]
    pub(crate) first_position: usize,
    /// What turns, and how fast, where positions are rotary.
    #[serde(default)]
    pub(crate) rotary: RotaryOutline,
    /// Which layers rotate; without it, all do.
    #[serde(default)]
    pub(crate) rotated: Option<RotatedOutline>,
    /// How matrices are stored.
    #[serde(default)]
    pub(crate) matrices: MatrixOutline,
    /// Whether the head is the embedding where config.json does not say it.
    #[serde(default)]
    pub(crate) tied: bool,
    /// Whether the head is never the embedding, whatever config.json says.
    #[serde(default)]
    pub(crate) never_tied: bool,
    /// What files may leave out at the beginning of names.
    #[serde(default)]
    pub(crate) optional_prefix: Option<String>,
    /// Which layers look back over a window only; without it, none does.
    #[serde(default)]
    pub(crate) window: Option<WindowOutline>,
    /// Layers that have linear attention in place of attention.
    #[serde(default)]
    pub(crate) linear_attention: Option<LinearAttentionOutline>,
    /// Layers that have a gated convolution in place of attention.
    #[serde(default)]
    pub(crate) short_conv: Option<ShortConvOutline>,
    /// Selective state spaces in place of attention, or beside it.
    #[serde(default)]
    pub(crate) state_space: Option<StateSpaceOutline>,
    /// The expressions that say whether the layer of number `layer` has attention or what takes its place, and whether it has
    /// a feed-forward part; without them, every layer has.
    #[serde(default)]
    pub(crate) mixing_layers: Option<String>,
    #[serde(default)]
    pub(crate) feedforward_layers: Option<String>,
    /// What differs by layer besides.
    #[serde(default)]
    pub(crate) each_layer: EachLayerOutline,
    /// What layers are given of each token beside the residual stream.
    #[serde(default)]
    pub(crate) layer_input: Option<LayerInputOutline>,
    /// What queries are multiplied by as positions grow.
    #[serde(default)]
    pub(crate) temperature: Option<TemperatureOutline>,
    /// What the family's configuration class assumes for fields that config.json leaves out. A null is not left out.
    #[serde(default)]
    pub(crate) defaults: BTreeMap<String, Value>,
    /// Fields that may have these values only: for others the reference forward says nothing.
    #[serde(default)]
    pub(crate) must: BTreeMap<String, Vec<Value>>,
    /// Latent attention, instead of query, key and value maps.
    #[serde(default)]
    pub(crate) latent: Option<LatentOutline>,
    /// Mixtures of experts, in the layers that have some.
    #[serde(default)]
    pub(crate) experts: Option<ExpertsOutline>,
    /// The tensors, without `.weight` and `.bias`; `{layer}` stands for a layer's number.
    pub(crate) tensors: Tensors,
}

/// A field of config.json, a path of fields joined by dots, or an expression over fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Term(pub(crate) String);

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(|spanned| Self(spanned.text))
    }
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
    /// Whether norms have no weight and no bias.
    #[serde(default)]
    pub(crate) without_weight: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NormKind {
    #[default]
    RmsNorm,
    LayerNorm,
}

/// The norms of queries and keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QkNormOutline {
    /// The field that says whether there are any; without it, the file does.
    #[serde(default)]
    pub(crate) switch: Option<Term>,
    /// Whether a norm is over the whole projection instead of each head.
    #[serde(default)]
    pub(crate) whole_width: bool,
    /// Whether it follows the rotation.
    #[serde(default)]
    pub(crate) after_rotation: bool,
    /// Whether the norms have no weight, so that the file does not tell whether there are any.
    #[serde(default)]
    pub(crate) without_weight: bool,
    /// Whether only layers that rotate have them.
    #[serde(default)]
    pub(crate) where_rotated: bool,
    /// Whether values are normalized, too, without a weight.
    #[serde(default)]
    pub(crate) values: bool,
}

/// Fields with numbers that others are multiplied by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactorsOutline {
    #[serde(default)]
    pub(crate) embedding: Option<Term>,
    /// The factor on scores; where it is null, 1 / √head_dim.
    #[serde(default)]
    pub(crate) scores: Option<Term>,
    /// The factor on what a part adds to the residual stream.
    #[serde(default)]
    pub(crate) residual: Option<Term>,
    #[serde(default)]
    pub(crate) logits: Option<Term>,
    /// The factors on what enters attention, and on what leaves it.
    #[serde(default)]
    pub(crate) attention_input: Option<Term>,
    #[serde(default)]
    pub(crate) attention_output: Option<Term>,
    /// The factors on the gate of the feed-forward part, and on what the part returns.
    #[serde(default)]
    pub(crate) gate: Option<Term>,
    #[serde(default)]
    pub(crate) feedforward_output: Option<Term>,
}

/// Fields with bounds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SoftcapsOutline {
    #[serde(default)]
    pub(crate) scores: Option<Term>,
    #[serde(default)]
    pub(crate) logits: Option<Term>,
}

/// A function, or the field of config.json that names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ActivationOutline {
    Fixed(ActivationKind),
    Named { field: String },
}

impl Default for ActivationOutline {
    fn default() -> Self {
        Self::Fixed(ActivationKind::default())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActivationKind {
    #[default]
    Silu,
    Relu,
    Relu2,
    Gelu,
    GeluTanh,
    /// xIELU (Huang and Schlag 2024), with two trained numbers.
    Xielu,
}

impl ActivationKind {
    /// Returns the function of a name in config.json.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "silu" | "swish" => Self::Silu,
            "relu" => Self::Relu,
            "relu2" => Self::Relu2,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "xielu" => Self::Xielu,
            _ => return None,
        })
    }
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

impl Outline {
    /// Returns the fields of config.json that the reference forward reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = String> {
        let rotary = if self.is_rotary() { ROTARY } else { &[] };
        let fixed = rotary.iter().copied().chain(["tie_word_embeddings"]).map(str::to_owned);
        let of_layers = self.experts.iter().filter_map(|experts| experts.layers.as_deref());
        let of_spaces = self.state_space.iter().filter_map(|space| space.layers.as_deref());
        let of_layers = of_layers.chain(of_spaces).chain(self.mixing_layers.as_deref());
        let of_layers = of_layers.chain(self.feedforward_layers.as_deref());
        let of_layers = of_layers.chain(self.each_layer.terms());
        let named = self.terms().into_iter().map(|(_, term)| term).chain(of_layers).flat_map(fields_in);
        let named: Vec<String> = named.chain(self.must.keys().cloned()).chain(fixed).collect();
        named.into_iter()
    }

    /// Returns every field, path and expression over config.json, with the key that it stands under.
    pub(crate) fn terms(&self) -> Vec<(&'static str, &str)> {
        let sizes =
            [("width", &self.width), ("layers", &self.layers), ("heads", &self.heads), ("norm.eps", &self.norm.eps)];
        let optional = [("kv_heads", &self.kv_heads), ("head_dim", &self.head_dim)];
        let window = self.window.as_ref();
        let windows = [
            ("window.size", window.map(|window| &window.size)),
            ("window.switch", window.and_then(|window| window.switch.as_ref())),
            ("window.first_layer", window.and_then(|window| window.first_layer.as_ref())),
            ("window.kinds", window.and_then(|window| window.kinds.as_ref())),
            ("layer_input.width", self.layer_input.as_ref().map(|input| &input.width)),
            ("temperature.scale", self.temperature.as_ref().map(|temperature| &temperature.scale)),
            ("temperature.floor", self.temperature.as_ref().map(|temperature| &temperature.floor)),
            ("temperature.switch", self.temperature.as_ref().and_then(|temperature| temperature.switch.as_ref())),
        ];
        let linear = self.linear_attention.iter().flat_map(|linear| {
            let every = linear.all_but_every.as_deref().map(|every| ("linear_attention.all_but_every", every));
            let sizes = [
                ("linear_attention.kinds", linear.kinds.as_str()),
                ("linear_attention.key_heads", linear.key_heads.as_str()),
                ("linear_attention.value_heads", linear.value_heads.as_str()),
                ("linear_attention.key_dim", linear.key_dim.as_str()),
                ("linear_attention.value_dim", linear.value_dim.as_str()),
                ("linear_attention.kernel", linear.kernel.as_str()),
            ];
            sizes.into_iter().chain(every)
        });
        let short_conv = self.short_conv.iter().flat_map(|outline| {
            let attention_at = outline.attention_at.as_deref().map(|at| ("short_conv.attention_at", at));
            let fields = [("short_conv.kinds", outline.kinds.as_str()), ("short_conv.kernel", outline.kernel.as_str())];
            fields.into_iter().chain(attention_at)
        });
        let rotated = self.rotated.as_ref();
        let rotated = [
            ("rotated.list", rotated.and_then(|rotated| rotated.list.as_ref())),
            ("rotated.all_if", rotated.and_then(|rotated| rotated.all_if.as_ref())),
            ("rotated.all_but_every", rotated.and_then(|rotated| rotated.all_but_every.as_ref())),
        ];
        let activation = match &self.activation {
            ActivationOutline::Fixed(_) => None,
            ActivationOutline::Named { field } => Some(("activation", field)),
        };
        let terms = [
            ("factors.embedding", &self.factors.embedding),
            ("factors.scores", &self.factors.scores),
            ("factors.residual", &self.factors.residual),
            ("factors.logits", &self.factors.logits),
            ("factors.attention_input", &self.factors.attention_input),
            ("factors.attention_output", &self.factors.attention_output),
            ("factors.gate", &self.factors.gate),
            ("factors.feedforward_output", &self.factors.feedforward_output),
            ("softcaps.scores", &self.softcaps.scores),
            ("softcaps.logits", &self.softcaps.logits),
            ("clip", &self.clip),
            ("parallel", &self.parallel),
            ("qk_norm.switch", &self.qk_norm.switch),
            ("rotary.theta", &self.rotary.theta),
            ("rotary.window_theta", &self.rotary.window_theta),
            ("rotary.part", &self.rotary.part),
            ("rotary.width", &self.rotary.width),
        ];
        let every = ("window.all_but_every", window.and_then(|window| window.all_but_every.as_ref()));
        let terms = terms.into_iter().map(|(key, term)| (key, term.as_ref())).chain([every]);
        let terms = terms.filter_map(|(key, term)| Some((key, term?.0.as_str())));
        let optional = optional.into_iter().map(|(key, text)| (key, text.as_ref()));
        let optional = optional.chain(windows).chain(rotated).filter_map(|(key, text)| Some((key, text?.as_str())));
        let sizes = sizes.into_iter().chain(activation).map(|(key, text)| (key, text.as_str()));
        let experts = self.experts.iter().flat_map(ExpertsOutline::terms);
        let latent = self.latent.iter().flat_map(LatentOutline::terms);
        let spaces = self.state_space.iter().flat_map(StateSpaceOutline::terms);
        let mixers = linear.chain(short_conv).chain(spaces).chain(latent);
        sizes.chain(optional).chain(terms).chain(mixers).chain(experts).collect()
    }

    /// Returns the value of a field, a path or an expression over `fields`; an error says why an expression has none.
    pub(crate) fn evaluate(term: &str, fields: &Fields<String, Value>) -> Result<Option<Value>, String> {
        let value = match is_path(term) {
            true => {
                let mut keys = term.split('.');
                let first = keys.next().and_then(|key| fields.get(key));
                keys.fold(first, |value, key| value.and_then(|value| value.get(key))).cloned()
            }
            false => Some(evaluate(term, fields)?),
        };
        Ok(value.filter(|value| !value.is_null()))
    }

    /// Returns whether queries and keys are rotated.
    pub(crate) fn is_rotary(&self) -> bool {
        matches!(self.positions, PositionOutline::RotaryHalves | PositionOutline::RotaryNeighbors)
    }
}

/// Returns whether a term is a field, or fields joined by dots.
fn is_path(term: &str) -> bool {
    let word = |key: &str| {
        key.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    term.split('.').all(word) && !["true", "false", "none"].contains(&term)
}

/// Returns the fields of config.json that a term reads.
fn fields_in(term: &str) -> Vec<String> {
    match is_path(term) {
        true => term.split('.').take(1).map(str::to_owned).collect(),
        false => fields_of(term),
    }
}

/// Where config.json says how positions turn queries and keys.
const ROTARY: &[&str] = &[
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "max_position_embeddings",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_fields_paths_and_expressions() {
        let fields = serde_json::json!({ "a": 4, "b": { "c": 2.0 }, "d": null });
        let Value::Object(fields) = fields else { unreachable!() };
        for (term, expected) in
            [("a", Some(4.0)), ("b.c", Some(2.0)), ("d", None), ("b.x", None), ("a / b.c", Some(2.0))]
        {
            let value = Outline::evaluate(term, &fields).unwrap();
            assert_eq!(value.and_then(|value| value.as_f64()), expected, "{term}");
        }
        Outline::evaluate("1 / x", &fields).unwrap_err();
        assert_eq!(fields_in("a ** -0.5 if b.c else d"), fields_in("a or b or d"));
        assert_eq!((fields_in("b.c"), fields_in("true")), (vec!["b".to_owned()], vec![]));
    }
}
