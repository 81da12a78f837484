//! The layers in order.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::attention::Context;
use super::kv_cache::KvCache;
use super::layer::{Layer, child};
use crate::spec::Node;

/// All layers of a model.
#[derive(Clone, Debug)]
pub(super) struct LayerStack {
    layers: Vec<Layer>,
}

impl LayerStack {
    pub(super) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let layers = child(node, "layers")?;
        let vb = vb.pp("layers");
        let Some(layer) = layers.children.first() else { candle_core::bail!("the layer stack is empty") };
        let count = layers.repeat.unwrap_or(1);
        let layers = (0..count).map(|index| Layer::load(layer, &vb.pp(index))).collect::<Result<Vec<_>>>()?;
        Ok(Self { layers })
    }

    /// `observe` sees the residual stream after each layer.
    pub(super) fn forward(
        &self,
        x: Tensor,
        context: &Context<'_>,
        mut cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let mut x = x;
        for (index, layer) in self.layers.iter().enumerate() {
            crate::interrupt::check().map_err(candle_core::Error::wrap)?;
            x = layer.forward(&x, context, cache.as_deref_mut().map(|cache| (cache, index)))?;
            observe(index, &x);
        }
        Ok(x)
    }
}
