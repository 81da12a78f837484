//! The tree of parts, and the resolution of a configuration into it.

use super::{Activation, DType, Init, Leaf, ModelConfig, ParamPath, Part, Placement, TensorRow, TensorTable};

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

impl Node {
    fn new(name: &str, part: Part, children: Vec<Node>) -> Self {
        Self { name: name.to_owned(), part, repeat: None, children }
    }

    fn leaf(name: &str, leaf: Leaf) -> Self {
        Self::new(name, Part::Leaf(leaf), Vec::new())
    }
}

impl ModelSpec {
    /// The tree a configuration stands for. Initialisation follows the recipe of the Llama family: embeddings N(0, 1); query, key,
    /// value and up projections σ = 0.02; gate, down and output projections σ = 0.02 / sqrt(2 L); head σ = d^-½ cut at
    /// three σ. A tied embedding serves as head too, so it starts as a head would be scaled: N(0, d^-½).
    pub fn resolve(config: &ModelConfig) -> Self {
        let hidden = config.hidden_size;
        let by_depth = 0.02 / (2.0 * config.num_hidden_layers as f64).sqrt();
        let head_std = (hidden as f64).powf(-0.5);
        let linear = |name: &str, inputs, outputs, bias, std| {
            let init = Init::TruncatedNormal { std, bound: 2.0 };
            Node::leaf(name, Leaf::Linear { inputs, outputs, bias, init })
        };
        let norm = |name: &str| Node::leaf(name, Leaf::RmsNorm { dim: hidden, eps: config.rms_norm_eps });

        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let mut projections = vec![
            linear("query_linear", hidden, queries, config.attention_bias, 0.02),
            linear("key_linear", hidden, keys, config.attention_bias, 0.02),
            linear("value_linear", hidden, keys, config.attention_bias, 0.02),
            linear("output_linear", queries, hidden, config.attention_bias, by_depth),
        ];
        if config.qk_norm {
            let per_head = Leaf::RmsNorm { dim: config.head_dim, eps: config.rms_norm_eps };
            projections.push(Node::leaf("q_norm", per_head.clone()));
            projections.push(Node::leaf("k_norm", per_head));
        }
        let attention = Node::new(
            "attention",
            Part::Attention {
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                rope: config.rope.clone(),
                window: config.sliding_window,
            },
            projections,
        );
        let inner = config.intermediate_size;
        let feedforward = Node::new(
            "feedforward",
            Part::GatedFeedForward { activation: Activation::Silu },
            vec![
                linear("gate_proj", hidden, inner, config.mlp_bias, by_depth),
                linear("up_proj", hidden, inner, config.mlp_bias, 0.02),
                linear("down_proj", inner, hidden, config.mlp_bias, by_depth),
            ],
        );
        let layer = Part::Layer { placement: Placement::PreNorm };
        let layers = Node {
            name: "layers".to_owned(),
            part: Part::Layers,
            repeat: Some(config.num_hidden_layers),
            children: vec![Node::new("", layer, vec![norm("norm1"), attention, norm("norm2"), feedforward])],
        };
        let embedding_std = if config.tie_word_embeddings { head_std } else { 1.0 };
        let embedding =
            Leaf::Embedding { vocab: config.vocab_size, dim: hidden, init: Init::Normal { std: embedding_std } };
        let decoder = Node::new(
            "causal_lm",
            Part::Decoder,
            vec![
                Node::new("input_encoder", Part::InputEncoder, vec![Node::leaf("embedding", embedding)]),
                Node::new("layer_stack", Part::LayerStack, vec![layers]),
                norm("layer_norm"),
            ],
        );
        let head = Leaf::Linear {
            inputs: hidden,
            outputs: config.vocab_size,
            bias: false,
            init: Init::TruncatedNormal { std: head_std, bound: 3.0 * head_std },
        };
        let ties = if config.tie_word_embeddings {
            vec![Tie { alias: "lm_head.weight".into(), target: "causal_lm.input_encoder.embedding.weight".into() }]
        } else {
            Vec::new()
        };
        let root = Node::new("", Part::CausalLm, vec![decoder, Node::leaf("lm_head", head)]);
        Self { root, ties }
    }

    /// Every parameter with its shape, in the order a forward pass meets them, all stored as `dtype`.
    pub fn table(&self, dtype: DType) -> TensorTable {
        let mut rows = Vec::new();
        self.collect(&self.root, &ParamPath::from(""), dtype, &mut rows);
        TensorTable::from_rows(rows)
    }

    fn collect(&self, node: &Node, path: &ParamPath, dtype: DType, rows: &mut Vec<TensorRow>) {
        if let Part::Leaf(leaf) = &node.part {
            for param in leaf.params() {
                let path = path.join(param.name);
                let tied_to = self.ties.iter().find(|tie| tie.alias == path).map(|tie| tie.target.clone());
                rows.push(TensorRow { path, shape: param.shape, dtype, init: Some(param.init), tied_to });
            }
        }
        let indices: Vec<Option<usize>> = match node.repeat {
            Some(count) => (0..count).map(Some).collect(),
            None => vec![None],
        };
        for index in indices {
            for child in &node.children {
                let numbered = index.map_or_else(|| path.clone(), |index| path.join(&index.to_string()));
                let inside = if child.name.is_empty() { numbered } else { numbered.join(&child.name) };
                self.collect(child, &inside, dtype, rows);
            }
        }
    }
}
