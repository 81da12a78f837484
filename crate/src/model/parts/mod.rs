//! The parts of a model as modules that compute, each in a file of the name that it has in `spec/parts`.

pub(super) mod attention;
pub(super) mod dropout;
pub(super) mod embedding;
pub(super) mod experts;
pub(super) mod feed_forward;
pub(super) mod gated_delta_net;
pub(super) mod head;
pub(super) mod latent_attention;
pub(super) mod layer;
pub(super) mod layer_input;
pub(super) mod linear;
pub(super) mod load_balance;
pub(super) mod mamba;
pub(super) mod mask;
pub(super) mod mixer;
pub(super) mod norm;
pub(super) mod recurrent;
pub(super) mod rope;
pub(super) mod short_conv;
pub(super) mod side;
pub(super) mod stack;
pub(crate) mod user;
