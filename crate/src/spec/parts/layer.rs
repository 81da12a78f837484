//! Layers: their number, their parts, and how they differ from each other.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::field::{Field, FieldKind, Reading, dropped};
use super::{AttentionKind, NormPlacement, attention, feed_forward, layer_input, mamba, norm, shared_keys};
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::fields::Fields;
use crate::spec::initialization::InitRules;
use crate::spec::{
    Architecture, Branch, Cost, CostScope, LayerForm, Leaf, Node, NormPosition, Part, Role, Wiring, user_part,
};

/// A run of equal layers in a stack whose layers are not all equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRun {
    /// How many.
    pub count: usize,
    /// The fields of config.json that these layers set to other values than the model.
    pub set: Map<String, Value>,
    /// The configuration with those fields.
    pub config: Box<ModelConfig>,
}

/// Declares the fields.
macro_rules! layer_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "layer" "Layers: attention and feed-forward, each with a norm and a residual sum" {
            /// Number of layers.
            num_hidden_layers: usize = 0, { .required().always_written().exported(|_| true) };
            /// Runs of layers that differ, in order, together `num_hidden_layers`; empty if all layers are alike.
            layers: Vec<LayerRun> = Vec::new() => [layer::LAYERS];
            /// Whether attention and feed-forward part read the same residual stream and are added together.
            parallel_layers: bool = false, { .by_layer().needs("feedforward: true", |config| config.feedforward) };
            /// Whether parallel parts share one norm.
            shared_norm: bool = false, { .by_layer().needs("parallel_layers: true", |config| config.parallel_layers) };
            /// Whether what a layer returns is multiplied by a number that is stored and not trained.
            layer_scalar: bool = false, { .by_layer() };
            /// Factor on what each part of a layer adds to the residual stream.
            residual_multiplier: f64 = 1.0, { .by_layer().positive().exported(|config| config.residual_multiplier != 1.0) };
        }
    } };
}
pub(super) use layer_fields;

pub(super) const LAYERS: Field = Field::new(
    "layers",
    "Runs of layers that differ: a list of objects with count and the fields that these layers set otherwise",
    FieldKind::List,
    |reading, config| {
        config.layers = layers_from(reading, config.architecture)?;
        Ok(())
    },
    |config| {
        let runs = config.layers.iter().map(|run| {
            let mut entry = run.set.clone();
            entry.insert("count".to_owned(), json!(run.count));
            Value::Object(entry)
        });
        (!config.layers.is_empty()).then(|| runs.collect())
    },
)
.not_compared();

/// `layers: [{count: 2, sliding_window: 512}, {feedforward: false}]`: each entry is the model with some fields set otherwise.
fn layers_from(reading: &Reading<'_>, architecture: Architecture) -> Result<Vec<LayerRun>, ConfigError> {
    let fields = reading.fields;
    let Some(value) = fields.get("layers") else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| fields.invalid("layers", value, "a list of layers"))?;
    let mut runs = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let Some(entry) = entry.as_object() else {
            return Err(fields.invalid("layers", entry, "a list of objects such as {count: 2, sliding_window: 512}"));
        };
        let origin = format!("{}, layers, entry {index}", fields.origin);
        let own = Fields { object: entry, origin: &origin, ..*fields };
        let count = own.size("count")?.unwrap_or(1);
        let mut set = entry.clone();
        set.remove("count");
        let own_fields = user_part::chosen_by(fields.object);
        let own_fields = own_fields.iter().flat_map(|part| part.fields()).map(|field| field.name);
        let known = super::fields().filter(|field| field.is_by_layer()).map(|field| field.name);
        let known: Vec<&str> = known.chain(own_fields).collect();
        if let Some(unknown) = set.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(own.unknown("layer field", unknown, &known, &format!("use one of: {}", known.join(", "))));
        }
        if count == 0 || count > 10_000 {
            return Err(own.invalid("count", &json!(count), "a number from 1 to 10000"));
        }
        let mut object = fields.object.clone();
        object.remove("layers");
        let single_head = set.get("attention_type").is_some_and(|kind| kind == "single_head");
        if set.contains_key("num_attention_heads") || single_head {
            // Values that follow from the number of heads are the model's only if the number is the model's.
            object.remove("head_dim");
            object.remove("num_key_value_heads");
        }
        if set.contains_key("rope_parameters") {
            // What stands beside the model's own rotary parameters belongs to them.
            object.remove("partial_rotary_factor");
            object.remove("rope_scaling");
        }
        object.extend(set.clone());
        let whole = Fields { object: &object, origin: &origin, ..*fields };
        let config = Box::new(ModelConfig::from_fields(&whole, architecture)?);
        if let (true, Some(lost)) = (fields.strict, dropped(&set, &config).first()) {
            return Err(own.lost(lost));
        }
        // Sizes of heads that follow from a run's other fields are set too: the model's own would hold otherwise when the
        // configuration is written whole and read again.
        if ["attention_type", "num_attention_heads"].iter().any(|field| set.contains_key(*field)) {
            for (field, size) in [
                ("head_dim", config.head_dim),
                ("num_attention_heads", config.num_attention_heads),
                ("num_key_value_heads", config.num_key_value_heads),
            ] {
                set.insert(field.to_owned(), json!(size));
            }
        }
        runs.push(LayerRun { count, set, config });
    }
    Ok(runs)
}

/// Lets runs set fields that have an effect in them but not in the model: a configuration is written without fields that
/// have no effect in it, and would be read without them.
pub(in crate::spec) fn complete(config: &mut ModelConfig) {
    let mut runs = std::mem::take(&mut config.layers);
    for run in &mut runs {
        for field in super::fields().filter(|field| field.is_by_layer() && field.condition().is_some()) {
            if field.has_effect(&run.config)
                && !field.has_effect(config)
                && let Some(value) = field.value(&run.config)
            {
                run.set.insert(field.name.to_owned(), value);
            }
        }
        for (field, value) in &run.config.part_fields {
            if !config.part_fields.contains_key(field) {
                run.set.insert(field.clone(), value.clone());
            }
        }
    }
    config.layers = runs;
}

/// One layer. Depth-dependent constants are those of the whole `model`, all else is the layer's own. Without its number, all
/// layers are like it.
pub(in crate::spec) fn node(
    model: &ModelConfig,
    config: &ModelConfig,
    index: Option<usize>,
    rules: &InitRules,
) -> Node {
    let branch = |norms: [(&str, Role); 2], position: NormPosition, mixers: Vec<Node>| {
        let form = Branch {
            norm: position,
            residual_scale: config.placement.residual_scale(model.num_hidden_layers),
            scale: config.residual_multiplier,
            dropout: config.dropout.layer,
            residual_dropout: config.dropout.residual,
        };
        let norms = match position {
            NormPosition::Input | NormPosition::Sum | NormPosition::Output => &norms[..1],
            NormPosition::Sandwich => &norms[..],
            NormPosition::Shared => &[],
        };
        let norms = norms.iter().map(|(name, role)| norm::node(name, *role, config, config.hidden_size));
        Node::new("", Part::Branch(form), norms.chain(mixers).collect())
    };
    let position = config.placement.position();
    let mut branches = Vec::new();
    let alone = config.attention == AttentionKind::None;
    if !alone {
        let norms = [("norm1", Role::AttentionNorm), ("post_norm1", Role::AttentionPostNorm)];
        let mut mixers = vec![attention::node(config, shared_keys::of_layer(model, index), rules)];
        mixers.extend(mamba::beside_attention(config).then(|| mamba::node2(config, rules)));
        branches.push(branch(norms, position, mixers));
    }
    if config.feedforward {
        // Norms are numbered by the parts that a layer has.
        let names = if alone { ["norm1", "post_norm1"] } else { ["norm2", "post_norm2"] };
        let norms = [(names[0], Role::FeedForwardNorm), (names[1], Role::FeedForwardPostNorm)];
        let position = if config.shared_norm { NormPosition::Shared } else { position };
        branches.push(branch(norms, position, vec![feed_forward::node(config, rules)]));
    }
    let form = LayerForm {
        wiring: if config.parallel_layers { Wiring::Parallel } else { Wiring::Sequential },
        hidden: config.hidden_size,
        input: model.hidden_size_per_layer_input,
        keys: shared_keys::entering(model, index),
        last: index.is_some_and(|index| index + 1 == model.num_hidden_layers),
        carried: 0,
    };
    let inputs = index.map_or(model.num_hidden_layers.div_ceil(2), |index| model.num_hidden_layers - index);
    let form = LayerForm { carried: form.keys + form.input.unwrap_or(0) * inputs, ..form };
    if let Some(width) = form.input {
        let form =
            Branch { norm: NormPosition::Output, residual_scale: 1.0, scale: 1.0, dropout: 0.0, residual_dropout: 0.0 };
        let norm = norm::node("norm3", Role::LayerInputNorm, config, config.hidden_size);
        branches.push(Node::new("", Part::Branch(form), vec![norm, layer_input::node(config, width, rules)]));
    }
    if config.layer_scalar {
        branches.push(Node::leaf("", Role::LayerScalar, Leaf::LayerScalar));
    }
    Node::new("", Part::Layer(form), branches)
}

/// Checks how many layers there are, and how their parts are wired.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if config.num_hidden_layers > 10_000 {
        return Err(fault("num_hidden_layers", config.num_hidden_layers.to_string(), "a number from 1 to 10000"));
    }
    let runs: usize = config.layers.iter().map(|run| run.count).sum();
    if !config.layers.is_empty() && runs != config.num_hidden_layers {
        let expected = format!("as many layers as num_hidden_layers ({})", config.num_hidden_layers);
        return Err(fault("layers", format!("{runs} layers"), &expected));
    }
    if config.parallel_layers && config.attention == AttentionKind::None {
        return Err(fault(
            "parallel_layers",
            "true".to_owned(),
            "false where attention_type is none: such a layer has one part",
        ));
    }
    if config.parallel_layers && config.hidden_size_per_layer_input.is_some() {
        let expected = "null where parallel_layers is true";
        return Err(fault("hidden_size_per_layer_input", "set".to_owned(), expected));
    }
    if config.parallel_layers && config.placement != NormPlacement::Pre {
        let expected = "pre: the parts of parallel layers are normalized before them alone";
        return Err(fault("norm_placement", config.placement.name().to_owned(), expected));
    }
    Ok(())
}

/// Adds a branch's residual sum, and the results of its norms.
pub(in crate::spec) fn branch_cost(node: &Node, scope: CostScope, cost: &mut Cost) {
    let norms = node.children.iter().filter(|child| child.role.is_some()).count();
    cost.activations += (norms + 1) as u64 * scope.hidden;
}

/// Adds the layer's input, a leaf of its own graph.
pub(in crate::spec) fn cost(form: &LayerForm, scope: CostScope, cost: &mut Cost) {
    cost.activations += scope.hidden + form.carried as u64;
    cost.layer_inputs = scope.hidden + form.carried as u64;
    cost.largest_layer = cost.activations;
}
