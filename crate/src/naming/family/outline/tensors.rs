//! The tensors of each role, by Hugging Face's names.

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// Where the tensors of a model are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tensors {
    pub(crate) embedding: String,
    #[serde(default)]
    pub(crate) positions: Option<String>,
    /// A norm of the embeddings.
    #[serde(default)]
    pub(crate) embedding_norm: Option<String>,
    /// The norm before attention; without it, attention reads the residual stream itself.
    #[serde(default)]
    pub(crate) attention_norm: Names,
    /// Models with latent attention have none of these.
    #[serde(default)]
    pub(crate) query: Projection,
    #[serde(default)]
    pub(crate) key: Projection,
    #[serde(default)]
    pub(crate) value: Projection,
    /// The input of the sigmoid that multiplies what attention gives.
    #[serde(default)]
    pub(crate) attention_gate: Option<Projection>,
    /// Norms of queries and keys, where the file has them. `{head}` stands for a head's number, where each has its own.
    #[serde(default)]
    pub(crate) query_norm: Option<String>,
    #[serde(default)]
    pub(crate) key_norm: Option<String>,
    /// One more logit for each head, which takes a part of the weights and has no value.
    #[serde(default)]
    pub(crate) sinks: Option<String>,
    #[serde(default)]
    pub(crate) output: Projection,
    /// The norm of what attention adds.
    #[serde(default)]
    pub(crate) attention_output_norm: Option<String>,
    /// The norm before the feed-forward part; without it, that part reads what attention reads where the two are parallel,
    /// and else the residual stream itself.
    #[serde(default)]
    pub(crate) feedforward_norm: Names,
    #[serde(default)]
    pub(crate) gate: Option<Projection>,
    /// Layers with experts may be all that there are.
    #[serde(default)]
    pub(crate) up: Projection,
    #[serde(default)]
    pub(crate) down: Projection,
    /// The norm of what the feed-forward part adds.
    #[serde(default)]
    pub(crate) feedforward_output_norm: Option<String>,
    /// A number that what a layer returns is multiplied by.
    #[serde(default)]
    pub(crate) layer_scalar: Option<String>,
    /// The trained numbers of the activation `xielu`, for positive and for negative inputs.
    #[serde(default)]
    pub(crate) alpha_p: Option<String>,
    #[serde(default)]
    pub(crate) alpha_n: Option<String>,
    pub(crate) final_norm: String,
    pub(crate) head: String,
}

/// A name, or several of which a file has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Names;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

/// A linear layer: a tensor of its own, or some outputs of one that holds several.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Projection {
    pub(crate) tensor: String,
    /// The maps whose outputs come before this one's in the same tensor.
    #[serde(default)]
    pub(crate) after: Vec<Map>,
    /// Whether the tensor holds the queries, the key and the value of one key head after those of the other.
    #[serde(default)]
    pub(crate) by_key_head: bool,
    /// The same for the query and what else is of one query head.
    #[serde(default)]
    pub(crate) by_head: bool,
}

/// The maps that may share a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Map {
    Query,
    Key,
    Value,
    AttentionGate,
    Gate,
    Up,
}
