//! What the reference forward takes from config.json, by the names that the outline gives.

use serde_json::{Map, Value};

use super::ReferenceModel;
use super::linear_attention::LinearAttention;
use super::short_conv::ShortConv;
use super::state_space::StateSpace;
use crate::naming::outline::{ActivationKind, ActivationOutline, Outline, Term};

impl ReferenceModel<'_> {
    /// Returns the fields of config.json with what the family's class assumes for those that are left out.
    pub(super) fn with_defaults(config: &Value, outline: &Outline) -> Map<String, Value> {
        let mut fields = config.as_object().cloned().unwrap_or_default();
        for (key, value) in &outline.defaults {
            if !fields.contains_key(key) {
                fields.insert(key.clone(), value.clone());
            }
        }
        fields
    }

    /// Returns a field: config.json's, or what the family's class assumes where config.json leaves it out. A path of fields
    /// or an expression over fields will do as well.
    pub(super) fn field(&self, term: &str) -> Option<std::borrow::Cow<'_, Value>> {
        match self.fields.get(term) {
            Some(value) => Some(std::borrow::Cow::Borrowed(value)).filter(|value| !value.is_null()),
            None => Outline::evaluate(term, &self.fields).ok()?.map(std::borrow::Cow::Owned),
        }
    }

    pub(super) fn number(&self, term: &str) -> Option<f64> {
        self.field(term).and_then(|value| value.as_f64())
    }

    pub(super) fn size(&self, term: &str) -> Option<usize> {
        self.field(term).and_then(|value| value.as_u64()).map(|size| size as usize)
    }

    pub(super) fn flag(&self, term: &str) -> Option<bool> {
        self.field(term).and_then(|value| value.as_bool())
    }

    /// Returns the truth of an expression that sees the number of a layer.
    pub(super) fn flag_of_layer(&self, term: &str, layer: usize) -> Option<bool> {
        self.value_of_layer(term, layer).and_then(|value| value.as_bool())
    }

    /// Returns the value of an expression that sees the number of a layer, and whether it has a window.
    pub(super) fn value_of_layer(&self, term: &str, layer: usize) -> Option<Value> {
        let mut fields = self.fields.clone();
        fields.insert("layer".to_owned(), Value::from(layer));
        fields.insert("windowed".to_owned(), Value::from(self.has_window_kind(layer)));
        Outline::evaluate(term, &fields).ok()?
    }

    /// Returns whether a layer reads the keys and values of an earlier one.
    pub(super) fn shares_keys(&self, layer: usize) -> bool {
        let term = self.outline.each_layer.shares_keys.as_deref();
        term.is_some_and(|term| self.flag_of_layer(term, layer) == Some(true))
    }

    /// Returns how much a layer multiplies the query at each position by.
    pub(super) fn temperature(&self, layer: usize) -> Option<impl Fn(usize) -> f64> {
        let outline = self.outline.temperature.as_ref()?;
        let off = outline.switch.as_deref().is_some_and(|switch| self.flag(switch) != Some(true));
        if off || outline.where_unrotated && self.is_rotated(layer) {
            return None;
        }
        let (scale, floor) = (self.number(&outline.scale)?, self.number(&outline.floor)?);
        Some(move |position: usize| 1.0 + scale * (1.0 + ((position as f64 + 1.0) / floor).floor()).ln())
    }

    /// Returns whether a layer has attention, or what takes its place.
    pub(super) fn mixes(&self, layer: usize) -> bool {
        self.outline.mixing_layers.as_deref().is_none_or(|term| self.flag_of_layer(term, layer) == Some(true))
    }

    /// Returns whether a layer has a feed-forward part.
    pub(super) fn has_feedforward(&self, layer: usize) -> bool {
        self.outline.feedforward_layers.as_deref().is_none_or(|term| self.flag_of_layer(term, layer) == Some(true))
    }

    /// Returns whether a layer has attention proper.
    fn attends(&self, layer: usize) -> bool {
        let alone = StateSpace::of(self, layer).is_none_or(|space| space.is_beside_attention());
        let other = LinearAttention::of(self, layer).is_some() || ShortConv::of(self, layer).is_some();
        self.mixes(layer) && alone && !other
    }

    pub(super) fn number_of(&self, term: Option<&Term>) -> Option<f64> {
        term.and_then(|term| self.number(&term.0))
    }

    /// Returns how many tokens a query of this layer sees, itself included.
    pub(super) fn window(&self, layer: usize) -> usize {
        let Some(window) = &self.outline.window else { return usize::MAX };
        let Some(size) = self.size(&window.size) else { return usize::MAX };
        if window.switch.as_deref().is_some_and(|switch| self.flag(switch) != Some(true)) {
            return usize::MAX;
        }
        if self.has_window_kind(layer) { size } else { usize::MAX }
    }

    /// Returns whether a layer is of the kind that has a window, if the model has any.
    pub(super) fn has_window_kind(&self, layer: usize) -> bool {
        let Some(window) = &self.outline.window else { return false };
        if window.never_last && self.size(&self.outline.layers) == Some(layer + 1) {
            return false;
        }
        let kind = window.kind.as_deref().unwrap_or("sliding_attention");
        let kinds = window.kinds.as_deref().and_then(|kinds| self.field(kinds));
        let kinds = kinds.as_ref().and_then(|kinds| kinds.as_array());
        let first = window.first_layer.as_deref().and_then(|first| self.size(first)).unwrap_or(0);
        let every = window.all_but_every.as_ref().and_then(|every| self.size(&every.0));
        match kinds {
            Some(kinds) => kinds.get(layer).and_then(Value::as_str) == Some(kind),
            None if window.unrotated => !self.is_rotated(layer),
            None if window.rotated => self.is_rotated(layer),
            None => layer >= first && every.is_none_or(|every| !(layer + 1).is_multiple_of(every.max(1))),
        }
    }

    /// Returns whether a layer rotates queries and keys.
    pub(super) fn is_rotated(&self, layer: usize) -> bool {
        let Some(rotated) = &self.outline.rotated else { return true };
        if let Some(term) = &rotated.all_if {
            return self.flag(term) == Some(true);
        }
        if rotated.windowed {
            let size = self.outline.window.as_ref().and_then(|window| self.size(&window.size));
            return if size.is_none() { rotated.all_without_window } else { self.window(layer) != usize::MAX };
        }
        let list = rotated.list.as_deref().and_then(|list| self.field(list));
        match list.as_ref().and_then(|list| list.as_array()) {
            Some(list) => list.get(layer).and_then(Value::as_u64) != Some(0),
            None => {
                let every = rotated.all_but_every.as_deref().and_then(|every| self.size(every));
                every.is_none_or(|every| !(layer + 1).is_multiple_of(every.max(1)))
            }
        }
    }

    /// Returns the longest window of a layer, if one has any.
    pub(crate) fn longest_window(&self) -> Option<usize> {
        let layers = 0..self.size(&self.outline.layers).unwrap_or(0);
        layers.map(|layer| self.window(layer)).filter(|window| *window != usize::MAX).max()
    }

    /// Returns the function inside the feed-forward part; an error is a name that is not known.
    pub(super) fn activation(&self) -> Result<ActivationKind, String> {
        match &self.outline.activation {
            ActivationOutline::Fixed(kind) => Ok(*kind),
            ActivationOutline::Named { field } => {
                let name = self.field(field);
                let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
                ActivationKind::named(name).ok_or_else(|| name.to_owned())
            }
        }
    }

    /// Returns why the outline does not say what this model computes, if it does not.
    pub(crate) fn not_covered(&self) -> Option<String> {
        for (field, values) in &self.outline.must {
            if let Some(value) = self.field(field).filter(|value| !values.contains(value)) {
                return Some(format!("`{field}` is {value}, for which the reference forward has no formula"));
            }
        }
        if let Err(name) = self.activation() {
            return Some(format!("the reference forward has no formula for the activation `{name}`"));
        }
        for (key, term) in self.outline.terms() {
            if let Err(reason) = Outline::evaluate(term, &self.fields) {
                return Some(format!("`reference:` cannot compute `{key}` from config.json: {reason}"));
            }
        }
        let sizes = self.sizes();
        if sizes.head == 0 || sizes.groups == 0 || !sizes.heads.is_multiple_of(sizes.groups) {
            return Some(format!(
                "{} query heads do not share {} key heads of {}",
                sizes.heads, sizes.groups, sizes.head
            ));
        }
        if let Some(reason) = self.rotary_not_covered(self.size(&self.outline.layers).unwrap_or(0), sizes.head) {
            return Some(reason);
        }
        self.first_missing().map(|name| format!("`reference:` names the tensor `{name}`, which the files do not have"))
    }

    /// Returns a tensor of the embedding or the first layer that the files do not have.
    fn first_missing(&self) -> Option<String> {
        let tensors = &self.outline.tensors;
        let gate = tensors.gate.iter().map(|gate| &gate.tensor);
        let dense = self.outline.experts.is_none();
        let maps = [&tensors.up, &tensors.down].into_iter().filter(|_| dense);
        let gate = gate.filter(|_| dense);
        // The first layer with attention need not be the first one.
        let layers = 0..self.size(&self.outline.layers).unwrap_or(0);
        let attending = layers.clone().find(|layer| self.attends(*layer));
        let attending = attending.filter(|_| self.outline.latent.is_none());
        let of_attention = [&tensors.query, &tensors.key, &tensors.value, &tensors.output];
        let of_attention = attending.into_iter().flat_map(|layer| {
            of_attention.map(|map| format!("{}.weight", map.tensor.replace("{layer}", &layer.to_string())))
        });
        let linear = layers.clone().find_map(|layer| LinearAttention::of(self, layer));
        let linear = linear.map(|linear| linear.names()).unwrap_or_default();
        let convolution = layers.clone().find_map(|layer| ShortConv::of(self, layer));
        let convolution = convolution.map(|convolution| convolution.names().0);
        let space = || layers.clone().find_map(|layer| StateSpace::of(self, layer)).map(|space| space.names().0);
        let convolution = convolution.or_else(space).unwrap_or_default();
        let convolution = convolution.into_iter().map(|name| format!("{name}.weight"));
        let linear = linear.0.into_iter().map(|name| format!("{name}.weight")).chain(linear.1);
        let mut of_mixers = of_attention.chain(linear).chain(convolution);
        let norms = [&tensors.embedding_norm, &tensors.attention_output_norm, &tensors.feedforward_output_norm];
        let norms = norms.into_iter().flatten().chain([&tensors.final_norm]);
        let norms = norms.filter(|_| !self.outline.norm.without_weight);
        // Nor need the first one with a feed-forward part be.
        let feeding = layers.clone().find(|layer| self.has_feedforward(*layer));
        let maps = maps.map(|map| &map.tensor).chain(gate).filter_map(|name| Some((name, feeding?)));
        let names = std::iter::once(&tensors.embedding).chain(norms).map(|name| (name, 0)).chain(maps);
        let mut names = names.map(|(name, layer)| format!("{}.weight", name.replace("{layer}", &layer.to_string())));
        let missing = names.find(|name| !self.has(name)).or_else(|| of_mixers.find(|name| !self.has(name)));
        let sinks = tensors.sinks.iter().map(|name| name.replace("{layer}", "0"));
        missing.or_else(|| sinks.into_iter().find(|name| !self.has(name)))
    }
}
