//! Layers that read the keys and values of an earlier one (Gemma 3n, 2025).

use super::attention::is_multi_head;
use crate::spec::config::{ConfigError, ModelConfig};

/// Where the keys and values of a layer come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySharing {
    /// The layer makes them, and no other reads them.
    Own,
    /// The layer makes them, and later layers read them, too.
    Stored,
    /// Those of an earlier layer.
    Shared {
        /// Its number.
        layer: usize,
        /// Numbers of a token that later layers added to those that are passed on.
        after: usize,
    },
}

/// Returns whether a layer makes keys and values that others may read.
fn makes(config: &ModelConfig) -> bool {
    is_multi_head(config) && !config.kv_shared
}

/// Returns whether two layers see tokens alike.
fn alike(one: &ModelConfig, other: &ModelConfig) -> bool {
    (one.sliding_window, one.attention_chunk_size) == (other.sliding_window, other.attention_chunk_size)
}

/// Returns the layer whose keys and values layer `index` reads: the last one before it that makes its own and sees tokens
/// alike.
fn source(model: &ModelConfig, index: usize) -> Option<usize> {
    let own = model.layer(index);
    if !own.kv_shared || !is_multi_head(own) {
        return None;
    }
    (0..index).rev().find(|layer| makes(model.layer(*layer)) && alike(model.layer(*layer), own))
}

/// Numbers of a token's keys and values.
fn width(config: &ModelConfig) -> usize {
    2 * config.num_key_value_heads * config.head_dim
}

/// Returns which layers before `end` make keys and values that others read.
fn stored(model: &ModelConfig, end: usize) -> Vec<usize> {
    let mut read: Vec<usize> = (0..model.num_hidden_layers).filter_map(|layer| source(model, layer)).collect();
    read.sort_unstable();
    read.dedup();
    read.retain(|layer| *layer < end);
    read
}

fn any(model: &ModelConfig) -> bool {
    model.layers.iter().any(|run| run.config.kv_shared)
}

/// Returns where the keys and values of a layer come from.
pub(super) fn of_layer(model: &ModelConfig, index: Option<usize>) -> KeySharing {
    let Some(index) = index.filter(|_| any(model)) else { return KeySharing::Own };
    match source(model, index) {
        Some(layer) => {
            let after = stored(model, index).into_iter().filter(|other| *other > layer);
            KeySharing::Shared { layer, after: after.map(|other| width(model.layer(other))).sum() }
        }
        None if stored(model, index + 1).contains(&index) => KeySharing::Stored,
        None => KeySharing::Own,
    }
}

/// Returns how many numbers of keys and values enter a layer.
pub(super) fn entering(model: &ModelConfig, index: Option<usize>) -> usize {
    let Some(index) = index.filter(|_| any(model)) else { return 0 };
    stored(model, index).into_iter().map(|layer| width(model.layer(layer))).sum()
}

/// Checks that layers without keys and values find some that fit.
pub(super) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    let runs: usize = config.layers.iter().map(|run| run.count).sum();
    if runs != config.num_hidden_layers || !any(config) {
        return Ok(());
    }
    for index in (0..config.num_hidden_layers).filter(|index| config.layer(*index).kv_shared) {
        let own = config.layer(index);
        let sizes = |config: &ModelConfig| (config.num_key_value_heads, config.head_dim);
        match source(config, index) {
            Some(layer) if sizes(config.layer(layer)) == sizes(own) => {}
            Some(layer) => {
                let expected = format!("heads of layer {layer}, whose keys and values it reads");
                return Err(fault("kv_shared", format!("true in layer {index}, with other heads"), &expected));
            }
            None => {
                let found = format!("true in layer {index}");
                return Err(fault("kv_shared", found, "false, or an earlier layer with the same window and own keys"));
            }
        }
    }
    Ok(())
}

/// Returns what is wrong with a model, as opposed to a run of layers, whose layers all read keys and values of others.
pub(in crate::spec) fn fault_of_whole(config: &ModelConfig, origin: &str) -> Option<ConfigError> {
    (config.layers.is_empty() && config.kv_shared).then(|| ConfigError::Invalid {
        field: "kv_shared".to_owned(),
        found: "true in all layers".to_owned(),
        expected: "false in the layer that others read".to_owned(),
        origin: origin.to_owned(),
    })
}
