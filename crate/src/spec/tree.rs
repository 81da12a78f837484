//! The tree of parts, and the resolution of a configuration into it.

use super::initialization::Recipe;
use super::{
    AttentionKind, DType, Leaf, ModelConfig, NormKind, ParamPath, Part, PositionEmbedding, Scheme, TensorRow,
    TensorTable,
};

/// A model as data: the tree of its parts and which parameters are one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The root; its name is empty.
    pub root: Node,
    /// Parameters that share another's storage.
    pub ties: Vec<Tie>,
}

/// One node of the tree. `repeat: Some(n)` stands for n children named `0 … n-1`, kept folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name segment under the parent.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// How many times the node's children list is repeated under numbered segments.
    pub repeat: Option<usize>,
    /// The parts inside.
    pub children: Vec<Node>,
}

/// `alias` is the same tensor as `target`; files store `target` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The name without storage of its own.
    pub alias: ParamPath,
    /// The name that is stored.
    pub target: ParamPath,
}

/// A linear map of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearMap {
    /// Its name: that of its weight without `.weight`.
    pub path: ParamPath,
    /// Width of a row of its weight.
    pub inputs: usize,
    /// Rows of its weight.
    pub outputs: usize,
    /// How it is stored, if it is quantized.
    pub quantized: Option<Scheme>,
}

impl Node {
    fn new(name: &str, part: Part, children: Vec<Node>) -> Self {
        Self { name: name.to_owned(), part, repeat: None, children }
    }

    fn leaf(name: &str, leaf: Leaf) -> Self {
        Self::new(name, Part::Leaf(leaf), Vec::new())
    }

    fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }
}

/// A linear part whose parameters the recipe knows as `pseudo`.
fn linear(name: &str, pseudo: &str, inputs: usize, outputs: usize, bias: bool, recipe: &Recipe) -> Node {
    let init = recipe.weight(pseudo, inputs, outputs);
    let bias = bias.then(|| recipe.bias(pseudo, inputs, outputs));
    Node::leaf(name, Leaf::Linear { inputs, outputs, init, bias, quantized: None })
}

fn norm(name: &str, config: &ModelConfig, dim: usize) -> Node {
    let eps = config.norm.eps;
    Node::leaf(
        name,
        match config.norm.kind {
            NormKind::RmsNorm => Leaf::RmsNorm { dim, eps },
            NormKind::LayerNorm => Leaf::LayerNorm { dim, eps },
        },
    )
}

/// One layer. Depth-dependent constants are those of the whole `model`, all else is the layer's own.
fn layer(model: &ModelConfig, config: &ModelConfig, recipe: &Recipe) -> Node {
    let hidden = config.hidden_size;
    let mut children = vec![norm("norm1", config, hidden), attention(config, recipe)];
    if config.feedforward {
        children.push(norm("norm2", config, hidden));
        children.push(feedforward(config, recipe));
    }
    let part = Part::Layer {
        placement: config.placement,
        residual_scale: config.placement.residual_scale(model.num_hidden_layers),
        dropout: config.dropout.layer,
        residual_dropout: config.dropout.residual,
    };
    Node::new("", part, children)
}

fn attention(config: &ModelConfig, recipe: &Recipe) -> Node {
    let (hidden, bias) = (config.hidden_size, config.attention_bias);
    let (position, window, dropout) = (config.position.clone(), config.sliding_window, config.dropout.attention);
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let (part, mut children, slopes_name) = match config.attention {
        AttentionKind::MultiHead => (
            Part::Attention {
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                position,
                window,
                dropout,
            },
            vec![
                linear("query_linear", "attn.query", hidden, queries, bias, recipe),
                linear("key_linear", "attn.key", hidden, keys, bias, recipe),
                linear("value_linear", "attn.value", hidden, keys, bias, recipe),
                linear("output_linear", "attn.output", queries, hidden, bias, recipe),
            ],
            "alibi_slopes",
        ),
        AttentionKind::SingleHead => (
            Part::SingleHeadAttention { dim: hidden, position, window, dropout },
            vec![
                linear("query_key_linear", "attn.query_key", hidden, hidden, false, recipe),
                linear("value_linear", "attn.value", hidden, hidden, bias, recipe),
            ],
            "alibi_slope",
        ),
    };
    if config.qk_norm && config.attention == AttentionKind::MultiHead {
        children.push(norm("q_norm", config, config.head_dim));
        children.push(norm("k_norm", config, config.head_dim));
    }
    if let PositionEmbedding::Alibi(alibi) = &config.position {
        // Named by the attention part itself: the leaf adds no segment of its own.
        let slopes = Leaf::AlibiSlopes {
            name: slopes_name,
            heads: config.num_attention_heads,
            slopes: alibi.slopes,
            trainable: alibi.trainable,
        };
        children.push(Node::leaf("", slopes));
    }
    Node::new("attention", part, children)
}

fn feedforward(config: &ModelConfig, recipe: &Recipe) -> Node {
    let (hidden, inner, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
    let (activation, dropout) = (config.activation, config.dropout.activation);
    if config.gated {
        let children = vec![
            linear("gate_proj", "ff.gate_proj", hidden, inner, bias, recipe),
            linear("up_proj", "ff.up_proj", hidden, inner, bias, recipe),
            linear("down_proj", "ff.down_proj", inner, hidden, bias, recipe),
        ];
        Node::new("feedforward", Part::GatedFeedForward { activation, dropout }, children)
    } else {
        let children = vec![
            linear("linear1", "ff.up_proj", hidden, inner, bias, recipe),
            linear("linear2", "ff.down_proj", inner, hidden, bias, recipe),
        ];
        Node::new("feedforward", Part::FeedForward { activation, dropout }, children)
    }
}

impl ModelSpec {
    /// The tree a configuration stands for.
    pub fn resolve(config: &ModelConfig) -> Self {
        let recipe = Recipe::of(config);
        let layers = if config.layers.is_empty() {
            let children = vec![layer(config, config, &recipe).named("")];
            Node { name: "layers".to_owned(), part: Part::Layers, repeat: Some(config.num_hidden_layers), children }
        } else {
            let all = (0..config.num_hidden_layers)
                .map(|index| layer(config, config.layer(index), &recipe).named(&index.to_string()));
            Node::new("layers", Part::Layers, all.collect())
        };
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let init = recipe.embedding(vocab, hidden, config.pad_token_id);
        let input_encoder = Part::InputEncoder {
            scale: if config.scale_embedding { (hidden as f64).sqrt() } else { 1.0 },
            sinusoidal: config.position == PositionEmbedding::Sinusoidal,
            dropout: config.dropout.embedding,
        };
        let mut tables = vec![Node::leaf("embedding", Leaf::Embedding { vocab, dim: hidden, init })];
        if config.position == PositionEmbedding::Learned {
            let positions = config.max_position_embeddings;
            let init = recipe.positions(positions, hidden);
            tables.push(Node::leaf("positional_encoder", Leaf::Embedding { vocab: positions, dim: hidden, init }));
        }
        let mut inside = vec![
            Node::new("input_encoder", input_encoder, tables),
            Node::new("layer_stack", Part::LayerStack, vec![layers]),
        ];
        if config.final_norm {
            inside.push(norm("layer_norm", config, hidden));
        }
        let head = linear("lm_head", "lm_head", hidden, vocab, false, &recipe);
        let ties = if config.tie_word_embeddings {
            vec![Tie { alias: "lm_head.weight".into(), target: "causal_lm.input_encoder.embedding.weight".into() }]
        } else {
            Vec::new()
        };
        let mut root = Node::new("", Part::CausalLm, vec![Node::new("causal_lm", Part::Decoder, inside), head]);
        if let Some(quantization) = &config.quantization {
            quantization.install(&mut root, &ties);
        }
        Self { root, ties }
    }

    /// Every linear map that has a weight of its own, in the order of a forward pass.
    pub fn linear_maps(&self) -> Vec<LinearMap> {
        let mut maps = Vec::new();
        walk(&self.root, &ParamPath::from(""), &mut |path, leaf| {
            if let Leaf::Linear { inputs, outputs, quantized, .. } = *leaf
                && !self.ties.iter().any(|tie| tie.alias == path.join("weight"))
            {
                maps.push(LinearMap { path: path.clone(), inputs, outputs, quantized });
            }
        });
        maps
    }

    /// Every parameter with its shape, in the order a forward pass meets them, all stored as `dtype`.
    pub fn table(&self, dtype: DType) -> TensorTable {
        let mut rows = Vec::new();
        walk(&self.root, &ParamPath::from(""), &mut |path, leaf| {
            for param in leaf.params() {
                let path = path.join(param.name);
                let tied_to = self.ties.iter().find(|tie| tie.alias == path).map(|tie| tie.target.clone());
                rows.push(TensorRow {
                    path,
                    shape: param.shape,
                    dtype: param.dtype.unwrap_or(dtype),
                    init: Some(param.init),
                    tied_to,
                    trainable: param.trainable,
                });
            }
        });
        TensorTable::from_rows(rows)
    }
}

/// Visits every part that owns parameters, with its path, repeated ones every time.
fn walk(node: &Node, path: &ParamPath, visit: &mut impl FnMut(&ParamPath, &Leaf)) {
    if let Part::Leaf(leaf) = &node.part {
        visit(path, leaf);
    }
    let indices: Vec<Option<usize>> = match node.repeat {
        Some(count) => (0..count).map(Some).collect(),
        None => vec![None],
    };
    for index in indices {
        for child in &node.children {
            let numbered = index.map_or_else(|| path.clone(), |index| path.join(&index.to_string()));
            let inside = if child.name.is_empty() { numbered } else { numbered.join(&child.name) };
            walk(child, &inside, visit);
        }
    }
}
