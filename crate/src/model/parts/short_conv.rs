//! A gated convolution over the last tokens.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{linear, tensors};
use crate::model::parts::linear::Linear;
use crate::model::parts::recurrent::{Text, after_past, last_inputs, over_texts};
use crate::ops::causal_convolution;
use crate::spec::{Node, Role};

/// output(output_gate x · conv(input_gate x · value x)). Padding is zeros for x, as in Lfm2 of transformers: where the projections
/// have biases, padding before a text reaches its first tokens.
#[derive(Clone, Debug)]
pub(in crate::model) struct ShortConv {
    input_gate: Linear,
    output_gate: Linear,
    value: Linear,
    output: Linear,
    /// `[channels, kernel]`.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl ShortConv {
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let linear = |role| linear(node, role, vb);
        let mut convolution = tensors(node, Role::ShortConvolution, vb)?.into_iter();
        let Some(weight) = convolution.next() else { candle_core::bail!("`{}` lacks a convolution", node.name) };
        Ok(Self {
            input_gate: linear(Role::Key)?,
            output_gate: linear(Role::Query)?,
            value: linear(Role::Value)?,
            output: linear(Role::Output)?,
            weight: weight.squeeze(1)?,
            bias: convolution.next(),
        })
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        over_texts(x, context, layer, cache, |x, before, asked| self.text(x, before, asked))
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.input_gate, &mut self.output_gate, &mut self.value, &mut self.output]
    }

    /// One text in each row. The state is the last inputs of the convolution.
    fn text(&self, x: &Tensor, before: Option<&[Tensor]>, asked: bool) -> Result<Text> {
        let kernel = self.weight.dim(1)?;
        let gated = (self.input_gate.forward(x)? * self.value.forward(x)?)?;
        let inputs = after_past(&gated, before.and_then(|state| state.first()), kernel)?;
        let mut mixed = causal_convolution(&inputs, &self.weight)?;
        if let Some(bias) = &self.bias {
            mixed = mixed.broadcast_add(bias)?;
        }
        let y = self.output.forward(&(self.output_gate.forward(x)? * mixed)?)?;
        let state = asked.then(|| Ok::<_, candle_core::Error>(vec![last_inputs(&inputs, kernel)?]));
        Ok((y, state.transpose()?))
    }
}
