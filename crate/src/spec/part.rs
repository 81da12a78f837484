//! The parts a model is made of. Each parameter's shape and initialization is written here, once.

use super::{
    Activation, AlibiSlopes, ClampedSwiglu, DType, DeltaNetSizes, Init, KeySharing, Mamba2Form, MambaForm, ModelConfig,
    NormForm, PositionEmbedding, QkNormScope, RouterForm, Scheme, UserPart,
};

/// One kind of node in a model's tree. Containers carry hyper-parameters; only [`Leaf`] nodes own parameters.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The whole model: a decoder and a head.
    CausalLm,
    /// The model without its head.
    Decoder,
    /// Token ids to vectors: dropout(norm(scale · embedding + positions)). The rows of a learned table of positions are a
    /// leaf inside, and so is the norm, if there is one.
    InputEncoder {
        /// Factor on the embeddings.
        scale: f64,
        /// Whether sines and cosines of the position are added.
        sinusoidal: bool,
        /// Dropout of the result.
        dropout: f64,
    },
    /// The layers in order.
    LayerStack,
    /// The numbered layers.
    Layers,
    /// One decoder layer: its branches. Layer and branches add no segment to names.
    Layer(LayerForm),
    /// What a layer adds to the residual stream: its norms, and mixers, whose results are added together.
    Branch(Branch),
    /// The part that computes inside a branch.
    Mixer(Mixer),
    /// The numbered experts of a mixture.
    Experts {
        /// How many of them a token uses.
        active: usize,
    },
    /// A part with parameters of its own.
    Leaf(Leaf),
}

/// What the branches of a layer read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wiring {
    /// Each branch reads what the one before it leaves in the residual stream.
    #[default]
    Sequential,
    /// All branches read what enters the layer, and their results are added together (Wang and Komatsuzaki 2021).
    Parallel,
}

/// How a layer's branches read, and what passes by them beside the residual stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerForm {
    /// What the branches read.
    pub wiring: Wiring,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of what each layer is given of each token, where tokens have more than an embedding.
    pub input: Option<usize>,
    /// Numbers of a token's keys and values that earlier layers pass on to later ones.
    pub keys: usize,
    /// Whether nothing is passed on after this layer.
    pub last: bool,
    /// Numbers of a token that enter the layer beside the residual stream, or their mean where layers are alike.
    pub carried: usize,
}

/// How a branch adds the sum of its mixers' results to the residual stream x:
/// `dropout_r(x) · residual_scale + scale · dropout(mixers(…))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Branch {
    /// Where its norms stand.
    pub norm: NormPosition,
    /// Factor on the residual stream (DeepNet's α, else 1).
    pub residual_scale: f64,
    /// Factor on what is added.
    pub scale: f64,
    /// Dropout of what is added.
    pub dropout: f64,
    /// Dropout of the residual stream.
    pub residual_dropout: f64,
}

/// Where the norms of a branch stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormPosition {
    /// Before the mixer.
    Input,
    /// After the sum.
    Sum,
    /// After the mixer, before the sum.
    Output,
    /// One before the mixer, and another after it, before the sum.
    Sandwich,
    /// Before the mixer, and the result is that of the first branch's norm. The branch does not have one of its own.
    Shared,
}

/// The parts that read and write the residual stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mixer {
    /// Causal self-attention with grouped keys and values (Ainslie et al. 2023).
    Attention {
        /// Query heads.
        heads: usize,
        /// Key and value heads; divides `heads`.
        kv_heads: usize,
        /// Width of one head.
        head_dim: usize,
        /// Positions, of which only rotary ones and ALiBi happen inside attention.
        position: PositionEmbedding,
        /// How many tokens a query sees, itself included.
        window: Option<usize>,
        /// A query sees tokens of its own chunk only, which has this many.
        chunk: Option<usize>,
        /// What happens to queries, keys and scores besides.
        scores: ScoreForm,
        /// Where keys and values come from.
        sharing: KeySharing,
        /// Dropout of the attention weights.
        dropout: f64,
    },
    /// Causal self-attention of one head: softmax(x W xᵀ / sqrt(dim) + biases) value(x).
    SingleHeadAttention {
        /// Width of x.
        dim: usize,
        /// Positions: ALiBi or none.
        position: PositionEmbedding,
        /// How many tokens a query sees, itself included.
        window: Option<usize>,
        /// Dropout of the attention weights.
        dropout: f64,
    },
    /// Causal self-attention whose keys and values are made of one compressed vector for each token (DeepSeek-AI 2024).
    LatentAttention(LatentForm),
    /// Gated DeltaNet (Yang et al. 2024). Queries, keys and values pass a causal convolution of each channel and SiLU; the
    /// state S of a head becomes α S (I − β k kᵀ) + β v kᵀ with α = exp(−exp(decay_log) softplus(decay x + decay_bias)),
    /// β = σ(beta x) and q, k of length 1; the result norm(S q / sqrt(key_dim)) · silu(gate x) is projected.
    GatedDeltaNet(DeltaNetSizes),
    /// Mamba-2 (Dao and Gu 2024). The input projection makes gate z, values v, B, C and steps; v, B and C pass a causal
    /// convolution of each channel and SiLU. With Δ = softplus(step + step_bias), the state S of a head becomes
    /// exp(−Δ exp(decay_log)) S + Δ v Bᵀ, and y = S C + skip · v; norm(y · silu(z)) is projected.
    Mamba2(Mamba2Form),
    /// Mamba (Gu and Dao 2023). The input projection makes v and gate z; v passes a causal convolution of each channel and
    /// SiLU, and makes B, C and steps. With Δ = softplus(step(…)), the state s of a channel becomes
    /// exp(−Δ exp(decay_log)) s + Δ v B, and y = C · s + skip · v; y · silu(z) is projected.
    Mamba(MambaForm),
    /// output(output_gate x · conv(input_gate x · value x)), with a causal convolution of each channel (LFM2, 2025).
    ShortConv {
        /// Width of x.
        dim: usize,
        /// Tokens that the convolution sees, the current one included.
        kernel: usize,
    },
    /// down(dropout(activation(gate x) · up x)) (Shazeer 2020).
    GatedFeedForward {
        /// The function on the gate.
        activation: Activation,
        /// The function of gate and up together that takes its place, if there is one.
        clamped: Option<ClampedSwiglu>,
        /// Factors on gate x and on the result.
        factors: (f64, f64),
        /// Dropout of the product.
        dropout: f64,
    },
    /// linear2(activation(dropout(linear1 x))).
    FeedForward {
        /// The function between the two.
        activation: Activation,
        /// Dropout before it.
        dropout: f64,
    },
    /// Feed-forward parts of which a router chooses a few for each token, and sums their results with weights
    /// (Shazeer et al. 2017).
    Experts(RouterForm),
    /// output(activation(gate x) · i), i being what the layer is given of each token (Gemma 3n, 2025).
    LayerInput {
        /// Width of i.
        dim: usize,
        /// The function on the gate.
        activation: Activation,
    },
    /// A part that a user wrote.
    User(UserMixer),
}

/// What happens to queries, keys, values and scores of attention besides norms and positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreForm {
    /// Factor on the products of queries and keys.
    pub scale: f64,
    /// Factors on what enters attention and on what leaves it.
    pub factors: (f64, f64),
    /// Scores saturate at ± this number: cap · tanh(score / cap).
    pub softcap: Option<f64>,
    /// Queries, keys and values are clamped to ± this number.
    pub clip: Option<f64>,
    /// What the norms of queries and keys run over.
    pub norm_scope: QkNormScope,
    /// Whether these norms follow the rotation by position.
    pub norm_after_rope: bool,
    /// What queries are multiplied by, as their positions grow.
    pub temperature: Option<Temperature>,
}

/// Factors on queries that grow with their positions p: 1 + scale · ln(1 + ⌊(p + 1) / floor⌋) (Llama 4, 2025).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// Factor on the logarithm.
    pub scale: f64,
    /// Tokens of a period in which the factor does not change.
    pub floor: usize,
}

impl Temperature {
    /// Returns the factor on the query at a position.
    pub fn factor(self, position: u32) -> f64 {
        1.0 + self.scale * ((f64::from(position) + 1.0) / self.floor as f64).floor().ln_1p()
    }
}

/// The sizes of latent attention, and how scores are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentForm {
    /// Heads.
    pub heads: usize,
    /// Width of the part of queries and keys that is not rotated.
    pub nope: usize,
    /// Width of the part that is rotated, which all heads share in keys.
    pub rope: usize,
    /// Width of a head's values.
    pub value: usize,
    /// Width of the compressed vector.
    pub rank: usize,
    /// Rotary positions.
    pub position: PositionEmbedding,
    /// Whether neighbors rotate together, instead of halves.
    pub interleaved: bool,
    /// Factor on the products of queries and keys.
    pub scale: f64,
    /// How many tokens a query sees, itself included.
    pub window: Option<usize>,
    /// Dropout of the attention weights.
    pub dropout: f64,
}

/// A user's part in a layer of this configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct UserMixer {
    /// The part.
    pub part: UserPart,
    /// The layer's configuration.
    pub config: Box<ModelConfig>,
}

/// The parts that own parameters.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Leaf {
    /// A lookup table `[vocab, dim]`, by token or by position.
    Embedding {
        /// Rows.
        vocab: usize,
        /// Columns.
        dim: usize,
        /// Initialization of the table.
        init: Init,
    },
    /// y = x Wᵀ + b with W `[outputs, inputs]`, b `[outputs]`.
    Linear {
        /// Width of x.
        inputs: usize,
        /// Width of y.
        outputs: usize,
        /// Initialization of W.
        init: Init,
        /// Initialization of b, if it exists.
        bias: Option<Init>,
        /// How W is stored, if it is quantized.
        quantized: Option<Scheme>,
    },
    /// A norm over the last dimension.
    Norm(NormForm),
    /// One slope for each head, in float32 whatever the model's type (Press et al. 2022).
    AlibiSlopes {
        /// The parameter's name: `alibi_slopes`, or `alibi_slope` where there is one head only.
        name: &'static str,
        /// Heads.
        heads: usize,
        /// First values.
        slopes: AlibiSlopes,
        /// Whether they are trained.
        trainable: bool,
    },
    /// What is added to the score of each expert where experts are chosen, in float32 whatever the model's type. Gradients
    /// do not reach it: DeepSeek-V3 moves it by how often an expert is chosen (DeepSeek-AI 2024).
    RouterCorrection {
        /// Experts.
        experts: usize,
    },
    /// A factor on what a layer returns. Gradients do not reach it (Gemma 4, 2026).
    LayerScalar,
    /// A tensor of a user's part, under a name of its own.
    Tensor {
        /// The parameter's name.
        name: &'static str,
        /// Dimensions, outermost first.
        shape: Vec<usize>,
        /// First values.
        init: Init,
    },
}

/// The kind of a parameter in the part that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamKind {
    /// A weight, a table, or the factors of a norm.
    Weight,
    /// A bias.
    Bias,
    /// ALiBi's slopes.
    Slopes,
    /// The numbers of a quantized weight.
    Numbers,
    /// The scales of a quantized weight.
    Scales,
    /// The shape of a quantized weight whose numbers are packed.
    Shape,
}

/// A parameter relative to the part that owns it.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalParam {
    /// `weight` or `bias`.
    pub name: &'static str,
    /// Its kind, independent of its name.
    pub kind: ParamKind,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Initialization.
    pub init: Init,
    /// Element type, where it is not the model's.
    pub dtype: Option<DType>,
    /// Whether training changes it.
    pub trainable: bool,
}

impl Leaf {
    /// Returns the parameters of this part: the only place where a shape is written.
    pub fn params(&self) -> Vec<LocalParam> {
        let param = |name, kind, shape: &[usize], init| LocalParam {
            name,
            kind,
            shape: shape.to_vec(),
            init,
            dtype: None,
            trainable: true,
        };
        match *self {
            Leaf::Tensor { name, ref shape, init } => vec![param(name, ParamKind::Weight, shape, init)],
            Leaf::Embedding { vocab, dim, init } => vec![param("weight", ParamKind::Weight, &[vocab, dim], init)],
            Leaf::Linear { inputs, outputs, init, bias, quantized } => {
                let mut params = match quantized {
                    Some(scheme) => scheme.params(inputs, outputs),
                    None => vec![param("weight", ParamKind::Weight, &[outputs, inputs], init)],
                };
                params.extend(bias.map(|init| param("bias", ParamKind::Bias, &[outputs], init)));
                params
            }
            Leaf::Norm(form) => {
                let shape: Vec<usize> = form.heads.into_iter().chain([form.dim]).collect();
                // Stored as what is added to the offset, so that the factors are 1 at first.
                let first = if form.offset == 0.0 { Init::Ones } else { Init::Zeros };
                let weight = form.weight.then(|| param("weight", ParamKind::Weight, &shape, first));
                weight
                    .into_iter()
                    .chain(form.bias.then(|| param("bias", ParamKind::Bias, &shape, Init::Zeros)))
                    .collect()
            }
            Leaf::LayerScalar => {
                vec![LocalParam { trainable: false, ..param("layer_scalar", ParamKind::Weight, &[1], Init::Ones) }]
            }
            Leaf::RouterCorrection { experts } => {
                let name = "router_correction";
                vec![LocalParam {
                    dtype: Some(DType::F32),
                    trainable: false,
                    ..param(name, ParamKind::Weight, &[experts], Init::Zeros)
                }]
            }
            Leaf::AlibiSlopes { name, heads, slopes, trainable } => {
                vec![LocalParam {
                    dtype: Some(DType::F32),
                    trainable,
                    ..param(name, ParamKind::Slopes, &[heads], Init::Slopes(slopes))
                }]
            }
        }
    }
}
