//! What the reference forward takes from config.json, by the names that the outline gives.

use serde_json::{Map, Value};

use super::ReferenceModel;

/// Keys of the rotary parameters that are read, whatever they are called together.
const ROTARY_KEYS: &[&str] = &["rope_type", "type", "rope_theta", "partial_rotary_factor"];
/// Those that the type `llama3` adds.
const LLAMA3_KEYS: &[&str] = &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

impl ReferenceModel<'_> {
    /// Returns a field: config.json's, or what the family's class assumes where config.json leaves it out.
    fn field(&self, key: &str) -> Option<&Value> {
        self.config.get(key).or_else(|| self.outline.defaults.get(key)).filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.field(key).and_then(Value::as_f64)
    }

    pub(super) fn size(&self, key: &str) -> Option<usize> {
        self.field(key).and_then(Value::as_u64).map(|size| size as usize)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.field(key).and_then(Value::as_bool)
    }

    /// Returns how many tokens a query of this layer sees, itself included.
    pub(super) fn window(&self, layer: usize) -> usize {
        let Some(window) = &self.outline.window else { return usize::MAX };
        let Some(size) = self.size(&window.size) else { return usize::MAX };
        if window.switch.as_deref().is_some_and(|switch| self.flag(switch) != Some(true)) {
            return usize::MAX;
        }
        let kinds = window.kinds.as_deref().and_then(|kinds| self.field(kinds)).and_then(Value::as_array);
        let first = window.first_layer.as_deref().and_then(|first| self.size(first)).unwrap_or(0);
        let has_window = match kinds {
            Some(kinds) => kinds.get(layer).and_then(Value::as_str) == Some("sliding_attention"),
            None if window.unrotated => !self.is_rotated(layer),
            None => layer >= first,
        };
        if has_window { size } else { usize::MAX }
    }

    /// Returns whether a layer rotates queries and keys.
    pub(super) fn is_rotated(&self, layer: usize) -> bool {
        let Some(rotated) = &self.outline.rotated else { return true };
        match self.field(&rotated.list).and_then(Value::as_array) {
            Some(list) => list.get(layer).and_then(Value::as_u64) != Some(0),
            None => self.size(&rotated.all_but_every).is_none_or(|every| !(layer + 1).is_multiple_of(every.max(1))),
        }
    }

    /// Returns the longest window of a layer, if one has any.
    pub(crate) fn longest_window(&self) -> Option<usize> {
        let layers = 0..self.size(&self.outline.layers).unwrap_or(0);
        layers.map(|layer| self.window(layer)).filter(|window| *window != usize::MAX).max()
    }

    /// Returns the rotary parameters. `rope_scaling` comes before `rope_parameters`, as in both generations of
    /// transformers.
    fn rotary(&self) -> Option<(&'static str, &Map<String, Value>)> {
        ["rope_scaling", "rope_parameters"].into_iter().find_map(|key| {
            let rope = self.field(key)?.as_object().filter(|rope| !rope.is_empty())?;
            Some((key, rope))
        })
    }

    fn rotary_type(&self) -> &str {
        let rope = self.rotary().map(|(_, rope)| rope);
        let kind = rope.and_then(|rope| ["rope_type", "type"].iter().find_map(|key| rope.get(*key)?.as_str()));
        kind.unwrap_or("default")
    }

    /// Radians per token of each rotated pair.
    pub(super) fn frequencies(&self, head: usize) -> Vec<f64> {
        let rope = self.rotary().map(|(_, rope)| rope);
        let get = |key: &str| rope.and_then(|rope| rope.get(key)).and_then(Value::as_f64);
        let theta = get("rope_theta").or(self.number("rope_theta")).unwrap_or(10_000.0);
        let stretched = self.rotary_type() == "llama3";
        (0..head / 2)
            .map(|pair| {
                let frequency = 1.0 / theta.powf(2.0 * pair as f64 / head as f64);
                if !stretched {
                    return frequency;
                }
                let (factor, low, high) = (
                    get("factor").unwrap_or(1.0),
                    get("low_freq_factor").unwrap_or(1.0),
                    get("high_freq_factor").unwrap_or(4.0),
                );
                let turns =
                    get("original_max_position_embeddings").unwrap_or(8192.0) * frequency / std::f64::consts::TAU;
                let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (keep + (1.0 - keep) / factor)
            })
            .collect()
    }

    /// Returns why the outline does not say what this model computes, if it does not.
    pub(crate) fn not_covered(&self) -> Option<String> {
        for (field, values) in &self.outline.must {
            if let Some(value) = self.field(field).filter(|value| !values.contains(value)) {
                return Some(format!("`{field}` is {value}, for which the reference forward has no formula"));
            }
        }
        if self.outline.is_rotary() {
            let rope = self.rotary().map(|(_, rope)| rope);
            let partial = rope.and_then(|rope| rope.get("partial_rotary_factor")?.as_f64());
            let partial = partial.or(self.number("partial_rotary_factor")).unwrap_or(1.0);
            if partial != 1.0 {
                return Some(format!(
                    "`partial_rotary_factor` is {partial}: the reference forward rotates whole heads"
                ));
            }
            let kind = self.rotary_type();
            if kind != "default" && kind != "llama3" {
                return Some(format!("the reference forward has no formula for rotary positions of type `{kind}`"));
            }
            let lacks = |key: &&&str| rope.is_none_or(|rope| rope.get(**key).and_then(Value::as_f64).is_none());
            if let Some(missing) = LLAMA3_KEYS.iter().find(lacks).filter(|_| kind == "llama3") {
                return Some(format!("the rotary positions of type `llama3` lack `{missing}`"));
            }
        }
        self.first_missing().map(|name| format!("`reference:` names the tensor `{name}`, which the files do not have"))
    }

    /// Returns a tensor of the embedding or the first layer that the files do not have.
    fn first_missing(&self) -> Option<String> {
        let tensors = &self.outline.tensors;
        let gate = tensors.gate.iter().map(|gate| &gate.tensor);
        let maps = [&tensors.query, &tensors.key, &tensors.value, &tensors.output, &tensors.up, &tensors.down];
        let names =
            [&tensors.embedding, &tensors.final_norm].into_iter().chain(maps.map(|map| &map.tensor)).chain(gate);
        let mut names = names.map(|name| format!("{}.weight", name.replace("{layer}", "0")));
        names.find(|name| self.checkpoint.table().get(&self.stored(name).into()).is_none())
    }

    /// Keys of the rotary parameters that nothing reads.
    pub(crate) fn unread_rotary_keys(&self) -> Vec<String> {
        let Some((place, rope)) = self.rotary().filter(|_| self.outline.is_rotary()) else { return Vec::new() };
        let llama3 = if self.rotary_type() == "llama3" { LLAMA3_KEYS } else { &[] };
        let read = |key: &str| ROTARY_KEYS.contains(&key) || llama3.contains(&key);
        let unread = rope.iter().filter(|(key, value)| !value.is_null() && !read(key));
        unread.map(|(key, _)| format!("{place}.{key}")).collect()
    }
}
