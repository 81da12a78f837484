//! The parts of a model. A part's file declares the fields that belong to it, once: name, type, default and help. The type
//! [`ModelConfig`], reading and writing of config.json, the arguments of projects and the printed reference are made of
//! these declarations.

pub(crate) mod attention;
mod declare;
mod dropout;
pub(super) mod embedding;
pub(crate) mod experts;
pub(crate) mod feed_forward;
mod field;
mod frequencies;
pub(crate) mod gated_delta_net;
pub(crate) mod head;
pub(crate) mod latent_attention;
pub(super) mod layer;
pub(super) mod layer_input;
pub(crate) mod mamba;
mod model;
pub(crate) mod norm;
mod position;
mod rope;
pub(super) mod shared_keys;
pub(crate) mod short_conv;
pub(super) mod user;
mod window;

pub use attention::{AttentionKind, QkNormScope};
pub use dropout::Dropouts;
pub use experts::{GroupScore, RouterForm, RouterScore};
pub use feed_forward::{Activation, ClampedSwiglu, FeedForwardKind};
pub use field::{Field, FieldKind};
pub(super) use field::{Reading, dropped};
pub use frequencies::Frequencies;
pub use gated_delta_net::DeltaNetSizes;
pub use layer::LayerRun;
pub use mamba::{Mamba2Factors, Mamba2Form, MambaForm, MambaNorm};
pub(super) use norm::deepnet_beta;
pub use norm::{NormConfig, NormForm, NormKind, NormPlacement};
pub use position::{
    AlibiConfig, AlibiSlopes, LongRopeScaling, PositionEmbedding, RopeConfig, RopeScaling, YarnScaling,
};
pub(crate) use rope::rope_fields;
pub use shared_keys::KeySharing;

use attention::attention_fields;
use declare::model_config;
use dropout::dropout_fields;
use embedding::embedding_fields;
use experts::experts_fields;
use feed_forward::feed_forward_fields;
use field::Range;
use gated_delta_net::gated_delta_net_fields;
use head::head_fields;
use latent_attention::latent_attention_fields;
use layer::layer_fields;
use layer_input::layer_input_fields;
use mamba::mamba_fields;
use model::model_fields;
use norm::norm_fields;
use position::position_fields;
use short_conv::short_conv_fields;

use super::config::ConfigError;
use super::initialization::InitRules;
use super::{DType, Initialization, Leaf, MixerKind, Node, Quantization, Role, user_part};

/// Makes an error of a field, what it holds, and what it may hold.
pub(super) type Fault<'a> = &'a dyn Fn(&str, String, &str) -> ConfigError;

/// A part of a model with the fields that it declares.
#[derive(Clone, Copy, Debug)]
pub struct PartFields {
    /// Its name, which is that of its file.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    groups: &'static [&'static [Field]],
}

impl PartFields {
    /// Returns the fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.groups.iter().copied().flatten()
    }
}

embedding_fields! { feed_forward_fields experts_fields layer_fields layer_input_fields latent_attention_fields attention_fields gated_delta_net_fields mamba_fields short_conv_fields position_fields norm_fields dropout_fields head_fields model_fields model_config }

/// Returns every field of every part.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    PARTS.iter().flat_map(PartFields::fields)
}

/// Returns the part of this name.
pub fn part(name: &str) -> Option<&'static PartFields> {
    PARTS.iter().find(|part| part.name == name)
}

/// Returns the field of this name, or of this other name that is read.
pub fn field(name: &str) -> Option<&'static Field> {
    fields().find(|field| field.name == name || field.aliases_of().contains(&name))
}

/// Returns the names of the built-in parts for a place.
pub(super) fn builtin_words(mixer: MixerKind) -> &'static [&'static str] {
    match mixer {
        MixerKind::Attention => AttentionKind::WORDS,
        MixerKind::FeedForward => FeedForwardKind::WORDS,
    }
}

/// Checks that the parts fit each other.
pub(super) fn validate(config: &ModelConfig, fault: Fault<'_>) -> Result<(), ConfigError> {
    // The bounds keep products of sizes far below overflow; no model comes near them.
    for field in fields().filter(|field| field.kind == FieldKind::Size) {
        let size = field.value(config).and_then(|value| value.as_u64());
        if let Some(size) = size.filter(|size| !(1..=1 << 28).contains(size)) {
            return Err(fault(field.name, size.to_string(), "a number from 1 to 268435456"));
        }
    }
    attention::validate(config, fault)?;
    latent_attention::validate(config, fault)?;
    gated_delta_net::validate(config, fault)?;
    mamba::validate(config, fault)?;
    position::validate(config, fault)?;
    norm::validate(config, fault)?;
    embedding::validate(config, fault)?;
    layer::validate(config, fault)?;
    layer_input::validate(config, fault)?;
    shared_keys::validate(config, fault)?;
    experts::validate(config, fault)?;
    user_part::validate(config, fault)?;
    for field in fields() {
        let Some(number) = field.value(config).and_then(|value| value.as_f64()) else { continue };
        match field.range {
            Range::Any => {}
            Range::Positive if number.is_finite() && number > 0.0 => {}
            Range::Positive => return Err(fault(field.name, number.to_string(), "a positive number")),
            Range::Probability if (0.0..1.0).contains(&number) => {}
            Range::Probability => {
                return Err(fault(field.name, number.to_string(), "a probability from 0 to below 1"));
            }
        }
    }
    Ok(())
}

/// Returns a linear part of (inputs, outputs); the rules know its parameters by their role.
fn linear(name: &str, role: Role, (inputs, outputs): (usize, usize), bias: bool, rules: &InitRules) -> Node {
    let init = rules.weight(role, inputs, outputs);
    let bias = bias.then(|| rules.bias(role, inputs, outputs));
    Node::leaf(name, role, Leaf::Linear { inputs, outputs, init, bias, quantized: None })
}
