//! The layers in order.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{Layer, child};
use crate::spec::{Node, Part};

/// All layers of a model, equal or not.
#[derive(Clone, Debug)]
pub(in crate::model) struct LayerStack {
    layers: Vec<Layer>,
}

impl LayerStack {
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let (layers, vb) = child(node, |part| matches!(part, Part::Layers), vb)?;
        let layers: Result<Vec<Layer>> = (0..count(layers)).map(|index| load_layer(layers, index, &vb)).collect();
        layers.map(|layers| Self { layers })
    }

    /// Only the layer of this number.
    pub(in crate::model) fn load_one(node: &Node, index: usize, vb: &VarBuilder) -> Result<Layer> {
        let (layers, vb) = child(node, |part| matches!(part, Part::Layers), vb)?;
        load_layer(layers, index, &vb)
    }

    pub(in crate::model) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(in crate::model) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// `observe` sees the residual stream after each layer.
    pub(in crate::model) fn forward(
        &self,
        x: Tensor,
        context: &Context,
        mut cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let mut x = x;
        for (index, layer) in self.layers.iter().enumerate() {
            crate::interrupt::check().map_err(candle_core::Error::wrap)?;
            x = layer.forward(&x, context, index, cache.as_deref_mut())?;
            observe(index, &layer.stream_of(&x)?);
        }
        Ok(x)
    }
}

/// Returns the number of layers that a node stands for.
pub(in crate::model) fn count(layers: &Node) -> usize {
    layers.repeat.unwrap_or(layers.children.len())
}

fn load_layer(layers: &Node, index: usize, vb: &VarBuilder) -> Result<Layer> {
    let place = if layers.repeat.is_some() { 0 } else { index };
    match layers.children.get(place) {
        Some(layer) if layers.repeat.is_some() => Layer::load(layer, &vb.pp(index)),
        Some(layer) => Layer::load(layer, &vb.pp(&layer.name)),
        None => candle_core::bail!("there is no layer {index}"),
    }
}
