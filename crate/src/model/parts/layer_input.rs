//! What a layer is given of each token beside the residual stream.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::parts::feed_forward::{GateFunction, gate_function};
use crate::model::parts::layer::{leaf, linear, norm};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::model::parts::side::Side;
use crate::ops::embedding;
use crate::spec::{Activation, Node, Role, Scheme};

/// The table and the projection that make it for all layers.
#[derive(Clone, Debug)]
pub(in crate::model) struct LayerInputs {
    /// `[vocab, layers · width]`.
    table: Tensor,
    projection: Linear,
    norm: Norm,
}

impl LayerInputs {
    /// `None` where tokens have an embedding only.
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Option<Self>> {
        if node.child(Role::LayerInputEmbedding).is_none() {
            return Ok(None);
        }
        let (leaf, inside) = leaf(node, Role::LayerInputEmbedding, vb)?;
        let Some(param) = leaf.params().into_iter().next() else { candle_core::bail!("a table has no weight") };
        Self::of_table(node, inside.get(param.shape, param.name)?, vb).map(Some)
    }

    fn of_table(node: &Node, table: Tensor, vb: &VarBuilder) -> Result<Self> {
        let projection = linear(node, Role::LayerInputProjection, vb)?;
        Ok(Self { table, projection, norm: norm(node, Role::LayerInputProjectionNorm, vb)? })
    }

    /// Makes it from rows of the table, to multiply as layers do whose weights are read as they are needed.
    pub(in crate::model) fn of_rows(node: &Node, table: Tensor, vb: &VarBuilder) -> Result<Self> {
        let mut inputs = Self::of_table(node, table, vb)?;
        inputs.projection.stream();
        Ok(inputs)
    }

    /// Rounds the projection in every forward pass from now on.
    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        self.projection.round(scheme);
    }

    /// Puts what layers are given behind the embeddings x `[batch, seq, hidden]`.
    pub(in crate::model) fn beside(&self, ids: &Tensor, x: &Tensor) -> Result<Tensor> {
        let (batch, seq, hidden) = x.dims3()?;
        let rows = embedding(&self.table, ids)?;
        let width = self.norm.dim();
        let own = (rows * (width as f64).sqrt())?;
        let made = (self.projection.forward(x)? * (hidden as f64).powf(-0.5))?;
        let made = self.norm.forward(&made.reshape((batch, seq, (), width))?)?.reshape(own.shape())?;
        Tensor::cat(&[x, &((made + own)? * 0.5f64.sqrt())?], D::Minus1)
    }
}

/// output(activation(gate x) · i).
#[derive(Clone, Debug)]
pub(in crate::model) struct LayerInput {
    gate: Linear,
    output: Linear,
    function: GateFunction,
}

impl LayerInput {
    pub(in crate::model) fn load(node: &Node, activation: Activation, vb: &VarBuilder) -> Result<Self> {
        let (gate, output) = (linear(node, Role::LayerInputGate, vb)?, linear(node, Role::LayerInputOutput, vb)?);
        Ok(Self { gate, output, function: gate_function(activation, vb)? })
    }

    /// x `[batch, seq, hidden]` → the same shape.
    pub(in crate::model) fn forward(&self, x: &Tensor, side: &Side) -> Result<Tensor> {
        let Some(input) = &side.input else { candle_core::bail!("a layer is not given its part of the tokens") };
        self.output.forward(&self.function.apply(&self.gate.forward(x)?, input)?)
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.gate, &mut self.output]
    }
}
