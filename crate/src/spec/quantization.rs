//! Which linear layers of a model are quantized, and how.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::scheme::{Granularity, Scheme};
use super::tree::Node;
use super::{Leaf, ParamPath, Part, Recipe, Tie};

/// What config.json calls the linear layers of a model all together.
const LINEAR: &str = "Linear";
/// Starts a target that is a pattern.
const PATTERN: &str = "re:";

/// The block `quantization_config` of a config.json, in the terms of compressed-tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// Groups of linear layers, each with its scheme; the first that names a layer has it.
    pub groups: Vec<QuantizationGroup>,
    /// Linear layers that stay as they are: names, or patterns that start with `re:`.
    pub ignore: Vec<String>,
    /// The recipe that made it, if the file says so.
    pub recipe: Option<String>,
}

/// Linear layers that share a scheme.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizationGroup {
    /// `Linear` for all of them, names, or patterns that start with `re:`.
    pub targets: Vec<String>,
    /// How they are stored.
    pub scheme: Scheme,
}

impl Quantization {
    /// All linear layers but `ignore`, by a recipe; `scheme` is the recipe's own, or with smaller groups.
    pub fn of(recipe: Recipe, scheme: Scheme, ignore: Vec<String>) -> Self {
        let groups = vec![QuantizationGroup { targets: vec![LINEAR.to_owned()], scheme }];
        Self { groups, ignore, recipe: Some(recipe.name().to_owned()) }
    }

    /// Returns the scheme of the linear layer of this name; `None` if it is not quantized.
    pub fn scheme_of(&self, module: &str) -> Option<Scheme> {
        let named = |targets: &[String]| targets.iter().any(|target| names(target, module));
        if named(&self.ignore) {
            return None;
        }
        self.groups.iter().find(|group| named(&group.targets)).map(|group| group.scheme)
    }

    /// The same with other names: `modules` are pairs of a name here and the new one. Patterns become the names that they
    /// match.
    pub fn renamed(&self, modules: &[(String, String)]) -> Self {
        let list = |targets: &[String]| {
            let mut list: Vec<String> = targets.iter().filter(|target| *target == LINEAR).cloned().collect();
            let others: Vec<&String> = targets.iter().filter(|target| *target != LINEAR).collect();
            let matched = modules.iter().filter(|(name, _)| others.iter().any(|target| names(target, name)));
            list.extend(matched.map(|(_, new)| new.clone()));
            list
        };
        let groups = self.groups.iter();
        let groups = groups.map(|group| QuantizationGroup { targets: list(&group.targets), scheme: group.scheme });
        Self { groups: groups.collect(), ignore: list(&self.ignore), recipe: self.recipe.clone() }
    }

    /// Gives every linear layer its scheme; one that is tied to an embedding is the embedding. Layers that are stored
    /// differently are told apart.
    pub(super) fn install(&self, root: &mut Node, ties: &[Tie]) {
        *root = self.installed(root, &ParamPath::from(""), ties);
    }

    fn installed(&self, node: &Node, path: &ParamPath, ties: &[Tie]) -> Node {
        let mut node = node.clone();
        if let Part::Leaf(Leaf::Linear { quantized, .. }) = &mut node.part {
            let tied = ties.iter().any(|tie| tie.alias == path.join("weight"));
            *quantized = self.scheme_of(path.as_str()).filter(|_| !tied);
            return node;
        }
        let below = |path: &ParamPath| -> Vec<Node> {
            let children = node.children.iter();
            let place = |child: &Node| if child.name.is_empty() { path.clone() } else { path.join(&child.name) };
            children.map(|child| self.installed(child, &place(child), ties)).collect()
        };
        let Some(count) = node.repeat else {
            node.children = below(path);
            return node;
        };
        let mut layers: Vec<Vec<Node>> = (0..count).map(|index| below(&path.join(&index.to_string()))).collect();
        if layers.windows(2).all(|pair| pair[0] == pair[1]) {
            node.children = layers.pop().unwrap_or_default();
        } else {
            node.repeat = None;
            let numbered = layers.into_iter().enumerate().flat_map(|(index, layers)| {
                layers.into_iter().map(move |layer| Node { name: index.to_string(), ..layer })
            });
            node.children = numbered.collect();
        }
        node
    }

    /// Returns the first linear layer whose width its groups do not divide: its name, width and group.
    pub(super) fn misfit(root: &Node) -> Option<(String, usize, usize)> {
        if let Part::Leaf(Leaf::Linear { inputs, quantized: Some(scheme), .. }) = &root.part
            && let Granularity::Group(size) = scheme.granularity
            && (size == 0 || !inputs.is_multiple_of(size))
        {
            return Some((root.name.clone(), *inputs, size));
        }
        root.children.iter().find_map(Self::misfit)
    }
}

/// Returns whether a target names the linear layer `module`: by its class, its name, or a pattern for the start of its
/// name.
fn names(target: &str, module: &str) -> bool {
    match target.strip_prefix(PATTERN) {
        Some(pattern) => pattern_of(pattern).is_ok_and(|pattern| pattern.is_match(module)),
        None => target == LINEAR || target == module,
    }
}

/// Returns the pattern of a target, without `re:`.
pub(super) fn pattern_of(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})"))
}

/// Returns the pattern in a target, if it is one.
pub(super) fn pattern_in(target: &str) -> Option<&str> {
    target.strip_prefix(PATTERN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DType, ModelConfig, ModelSpec};

    fn config(ignore: &[&str]) -> ModelConfig {
        let json = serde_json::json!({
            "model_type": "chandlery-llama", "vocab_size": 32, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
            "num_attention_heads": 4, "tie_word_embeddings": false,
        });
        let mut config = ModelConfig::from_json(&json, "test").unwrap();
        let ignore = ignore.iter().map(|name| (*name).to_owned()).collect();
        let recipe = Recipe::Int8DynamicActInt4Weight;
        config.quantization = Some(Quantization::of(recipe, recipe.scheme(), ignore));
        config
    }

    #[test]
    fn every_linear_map_but_the_ignored_ones_is_stored_in_few_bits() {
        let table = ModelSpec::resolve(&config(&["lm_head"])).table(DType::BF16);
        let row = |name: &str| table.get(&name.into()).map(|row| (row.shape.clone(), row.dtype));
        let down = "causal_lm.layer_stack.layers.2.feedforward.down_proj";
        assert_eq!(row(&format!("{down}.weight_packed")), Some((vec![64, 12], DType::I32)));
        assert_eq!(row(&format!("{down}.weight_scale")), Some((vec![64, 3], DType::F32)));
        assert_eq!(row(&format!("{down}.weight_shape")), Some((vec![2], DType::I64)));
        assert_eq!(row(&format!("{down}.weight")), None);
        assert_eq!(row("lm_head.weight"), Some((vec![32, 64], DType::BF16)));
        assert!(ModelSpec::resolve(&config(&[])).table(DType::BF16).get(&"lm_head.weight_packed".into()).is_some());
    }

    #[test]
    fn a_layer_that_stays_as_it_is_is_told_apart_from_the_others() {
        let spec = ModelSpec::resolve(&config(&["re:.*layers\\.1\\..*down_proj", "lm_head"]));
        let table = spec.table(DType::F32);
        let down = |layer: usize, name: &str| {
            let path = format!("causal_lm.layer_stack.layers.{layer}.feedforward.down_proj.{name}");
            table.get(&path.as_str().into()).is_some()
        };
        assert!(down(0, "weight_packed") && down(2, "weight_packed") && !down(1, "weight_packed") && down(1, "weight"));
        assert_eq!(table.len(), 1 + 3 * (2 + 7 * 3) - 2 + 1 + 1);
    }

    #[test]
    fn names_are_replaced_and_patterns_become_names() {
        let quantization = config(&["re:.*down", "lm_head"]).quantization.unwrap();
        let modules = [("lm_head", "head"), ("a.down", "b.down"), ("a.up", "b.up")];
        let modules = modules.map(|(from, to)| (from.to_owned(), to.to_owned()));
        let renamed = quantization.renamed(&modules);
        assert_eq!(renamed.ignore, ["head", "b.down"]);
        assert_eq!(renamed.groups[0].targets, ["Linear"]);
        assert!(renamed.scheme_of("b.up").is_some() && renamed.scheme_of("b.down").is_none());
    }
}
