//! Layers with a gated convolution, as the reference forward reads them.

use serde::Deserialize;

/// A gated convolution in place of attention: output(b · conv(a · c)), where a, c, b are the parts of the input projection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShortConvOutline {
    /// The field with a list of the layers' kinds.
    pub(crate) kinds: String,
    /// What it says of layers with a convolution.
    pub(crate) kind: String,
    /// The field with the numbers of the layers that have attention. It counts where `kinds` is missing; where it is missing, too,
    /// all layers have attention.
    #[serde(default)]
    pub(crate) attention_at: Option<String>,
    /// The field with the number of tokens that the convolution sees.
    pub(crate) kernel: String,
    /// The tensor whose rows make the gate of the input, the gate of the output, and what is convolved.
    pub(crate) input: String,
    /// The convolution.
    pub(crate) convolution: String,
    /// The output projection.
    pub(crate) output: String,
}
