//! The parts a model is made of. Each parameter's shape and initialisation is written here, once.

use serde::{Deserialize, Serialize};

use super::{Init, RopeConfig};

/// The elementwise function inside a feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// x · sigmoid(x) (Elfwing et al. 2018).
    Silu,
}

/// Where a layer's norms stand relative to its residual additions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Placement {
    /// x + f(norm(x)) (Xiong et al. 2020).
    PreNorm,
}

/// One kind of node in a model's tree. Containers carry hyper-parameters; only [`Leaf`] nodes own parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Part {
    /// The whole model: a decoder and a head.
    CausalLm,
    /// Everything below the head.
    Decoder,
    /// Token ids to vectors.
    InputEncoder,
    /// The layers in order, then a final norm.
    LayerStack,
    /// The numbered layers.
    Layers,
    /// One decoder layer.
    Layer {
        /// Where its norms stand.
        placement: Placement,
    },
    /// Causal self-attention with grouped keys and values (Ainslie et al. 2023).
    Attention {
        /// Query heads.
        heads: usize,
        /// Key and value heads; divides `heads`.
        kv_heads: usize,
        /// Width of one head.
        head_dim: usize,
        /// Rotary position embedding.
        rope: RopeConfig,
        /// How many tokens a query sees, itself included.
        window: Option<usize>,
    },
    /// down(activation(gate x) · up x) (Shazeer 2020).
    GatedFeedForward {
        /// The function on the gate.
        activation: Activation,
    },
    /// A part with parameters of its own.
    Leaf(Leaf),
}

/// The parts that own parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Leaf {
    /// A lookup table `[vocab, dim]`.
    Embedding {
        /// Rows.
        vocab: usize,
        /// Columns.
        dim: usize,
        /// Initialisation of the table.
        init: Init,
    },
    /// y = x Wᵀ + b with W `[outputs, inputs]`, b `[outputs]`.
    Linear {
        /// Width of x.
        inputs: usize,
        /// Width of y.
        outputs: usize,
        /// Whether b exists; it starts at zero.
        bias: bool,
        /// Initialisation of W.
        init: Init,
    },
    /// x / sqrt(mean(x²) + eps) · w with w `[dim]` (Zhang and Sennrich 2019).
    RmsNorm {
        /// Width of x.
        dim: usize,
        /// Added to the mean square.
        eps: f64,
    },
}

/// A parameter relative to the part that owns it.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalParam {
    /// `weight` or `bias`.
    pub name: &'static str,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Initialisation.
    pub init: Init,
}

impl Leaf {
    /// The parameters of this part: the only place where a shape is written.
    pub fn params(&self) -> Vec<LocalParam> {
        let weight = |shape: &[usize], init| LocalParam { name: "weight", shape: shape.to_vec(), init };
        match *self {
            Leaf::Embedding { vocab, dim, init } => vec![weight(&[vocab, dim], init)],
            Leaf::Linear { inputs, outputs, bias, init } => {
                let mut params = vec![weight(&[outputs, inputs], init)];
                if bias {
                    params.push(LocalParam { name: "bias", shape: vec![outputs], init: Init::Zeros });
                }
                params
            }
            Leaf::RmsNorm { dim, eps: _ } => vec![weight(&[dim], Init::Ones)],
        }
    }
}
