//! Selective state spaces: Mamba and Mamba-2.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{leaf_if_any, leaves, linear, named, scaled, tensors};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::model::parts::recurrent::{Text, after_past, last_inputs, over_texts};
use crate::ops::{causal_convolution, rms_norm, selective_scan, softplus, state_space_scan};
use crate::spec::{Leaf, Mamba2Form, MambaForm, MambaNorm, Node, NormForm, Role};

/// See [`Mixer::Mamba2`](crate::spec::Mixer::Mamba2).
#[derive(Clone, Debug)]
pub(in crate::model) struct Mamba2 {
    input: Linear,
    output: Linear,
    convolution: Convolution,
    step_bias: Tensor,
    decay_log: Tensor,
    skip: Tensor,
    /// Over each group of heads; its factors are `[inner]`.
    norm: Option<(NormForm, Tensor)>,
    form: Mamba2Form,
}

/// See [`Mixer::Mamba`](crate::spec::Mixer::Mamba).
#[derive(Clone, Debug)]
pub(in crate::model) struct Mamba {
    input: Linear,
    selection: Linear,
    /// Of what steps are made of, of B and of C.
    norms: Option<[Norm; 3]>,
    step: Linear,
    output: Linear,
    convolution: Convolution,
    decay_log: Tensor,
    skip: Tensor,
    form: MambaForm,
}

/// A causal convolution of each channel, and SiLU.
#[derive(Clone, Debug)]
struct Convolution {
    /// `[channels, kernel]`.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Convolution {
    fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let mut tensors = tensors(node, Role::ShortConvolution, vb)?.into_iter();
        let Some(weight) = tensors.next() else { candle_core::bail!("`{}` lacks a convolution", node.name) };
        Ok(Self { weight: weight.squeeze(1)?, bias: tensors.next() })
    }

    /// Returns what it makes of x `[batch, seq, channels]` after the past, and the inputs with the past. Padding, where
    /// `real` is 0, becomes 0 again: the bias is not for it.
    fn forward(&self, x: &Tensor, past: Option<&Tensor>, real: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let inputs = after_past(x, past, self.weight.dim(1)?)?;
        let mut mixed = causal_convolution(&inputs, &self.weight)?;
        if let Some(bias) = &self.bias {
            mixed = mixed.broadcast_add(bias)?;
        }
        let mixed = mixed.silu()?;
        let mixed = real.map_or(Ok(mixed.clone()), |real| mixed.broadcast_mul(&real.to_dtype(mixed.dtype())?))?;
        Ok((mixed, inputs))
    }

    fn kernel(&self) -> Result<usize> {
        self.weight.dim(1)
    }
}

/// The type that states have.
fn wide(x: &Tensor) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// −e^decay_log.
fn rates(decay_log: &Tensor, wide: DType) -> Result<Tensor> {
    decay_log.to_dtype(wide)?.exp()?.neg()
}

impl Mamba2 {
    pub(in crate::model) fn load(node: &Node, form: Mamba2Form, vb: &VarBuilder) -> Result<Self> {
        let norm = match leaf_if_any(node, Role::ValueNorm, vb) {
            Some((Leaf::Norm(own), inside)) => Some((*own, inside.get(own.dim, "weight")?)),
            _ => None,
        };
        Ok(Self {
            input: linear(node, Role::StateSpaceInput, vb)?,
            output: linear(node, Role::Output, vb)?,
            convolution: Convolution::load(node, vb)?,
            step_bias: named(node, "step_bias", vb)?,
            decay_log: named(node, "decay_log", vb)?,
            skip: named(node, "skip", vb)?,
            norm,
            form,
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
        let real = context.rows.real.as_ref();
        over_texts(x, context, layer, cache, |x, before, asked| self.text(x, real, before, asked))
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.input, &mut self.output]
    }

    /// One text in each row. The state is the last inputs of the convolution `[batch, kernel − 1, channels]`, and those of
    /// the heads `[batch, heads, state, head_dim]` in float32.
    fn text(&self, x: &Tensor, real: Option<&Tensor>, before: Option<&[Tensor]>, asked: bool) -> Result<Text> {
        let (batch, seq, _) = x.dims3()?;
        let Mamba2Form { heads, head_dim, state, groups, step_limits, factors, .. } = self.form;
        let (inner, mixed_width, wide) = (self.form.inner(), self.form.mixed(), wide(x));
        let projected = self.input.forward(&scaled(x, factors.input)?)?;
        let [of_gate, of_values, of_write, of_read, of_step] = factors.projected;
        let gate = scaled(&projected.narrow(D::Minus1, 0, inner)?, of_gate)?;
        let shared = groups * state;
        let mut mixed = projected.narrow(D::Minus1, inner, mixed_width)?;
        if [of_values, of_write, of_read].iter().any(|factor| *factor != 1.0) {
            let part = |from, width, factor| scaled(&mixed.narrow(D::Minus1, from, width)?, factor);
            let parts =
                [part(0, inner, of_values)?, part(inner, shared, of_write)?, part(inner + shared, shared, of_read)?];
            mixed = Tensor::cat(&parts, D::Minus1)?;
        }
        let (mixed, inputs) = self.convolution.forward(&mixed, before.and_then(|state| state.first()), real)?;
        let step = scaled(&projected.narrow(D::Minus1, inner + mixed_width, heads)?, of_step)?.to_dtype(wide)?;
        let mut step = softplus(&step.broadcast_add(&self.step_bias.to_dtype(wide)?)?)?;
        let (low, high) = step_limits;
        if low > 0.0 {
            step = step.maximum(low)?;
        }
        if let Some(high) = high {
            step = step.minimum(high)?;
        }
        let part =
            |from, count, width| mixed.narrow(D::Minus1, from, count * width)?.reshape((batch, seq, count, width));
        let values = part(0, heads, head_dim)?;
        let (write, read) = (part(inner, groups, state)?, part(inner + shared, groups, state)?);
        let states = before.and_then(|state| state.get(1));
        let (y, states) = state_space_scan(&values, &step, &rates(&self.decay_log, wide)?, (&write, &read), states)?;
        let skip = self.skip.to_dtype(wide)?.reshape((heads, 1))?;
        let y = (y + values.to_dtype(wide)?.broadcast_mul(&skip)?)?.reshape((batch, seq, inner))?;
        let y = self.gated(&y, &gate.to_dtype(wide)?.silu()?)?.to_dtype(x.dtype())?;
        let kernel = self.convolution.kernel()?;
        let state = asked.then(|| Ok::<_, candle_core::Error>(vec![last_inputs(&inputs, kernel)?, states.detach()]));
        Ok((scaled(&self.output.forward(&y)?, factors.output)?, state.transpose()?))
    }

    /// y `[batch, seq, inner]` under its gate and norm, in the type of the states.
    fn gated(&self, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
        let (batch, seq, inner) = y.dims3()?;
        let groups = self.form.groups;
        let normed = |y: &Tensor| -> Result<Tensor> {
            let Some((form, weight)) = &self.norm else { return Ok(y.clone()) };
            let ones = Tensor::ones(inner / groups, y.dtype(), y.device())?;
            let y = rms_norm(&y.reshape((batch, seq, groups, inner / groups))?, &ones, form.eps)?;
            y.reshape((batch, seq, inner))?.broadcast_mul(&weight.to_dtype(y.dtype())?)
        };
        match self.form.norm {
            MambaNorm::AfterGate => normed(&(y * gate)?),
            MambaNorm::BeforeGate => normed(y)? * gate,
            MambaNorm::None => y * gate,
        }
    }
}

impl Mamba {
    pub(in crate::model) fn load(node: &Node, form: MambaForm, vb: &VarBuilder) -> Result<Self> {
        let norms = leaves(node, Role::SelectionNorm, vb).into_iter().map(|(leaf, vb)| Norm::load(leaf, &vb));
        let norms = norms.collect::<Result<Vec<_>>>()?.try_into().ok();
        Ok(Self {
            input: linear(node, Role::StateSpaceInput, vb)?,
            selection: linear(node, Role::Selection, vb)?,
            norms,
            step: linear(node, Role::Step, vb)?,
            output: linear(node, Role::Output, vb)?,
            convolution: Convolution::load(node, vb)?,
            decay_log: named(node, "decay_log", vb)?,
            skip: named(node, "skip", vb)?,
            form,
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
        let real = context.rows.real.as_ref();
        over_texts(x, context, layer, cache, |x, before, asked| self.text(x, real, before, asked))
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.input, &mut self.output]
    }

    /// Returns those that are not: see [`Role::is_sensitive`].
    pub(in crate::model) fn sensitive_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.selection, &mut self.step]
    }

    /// One text in each row. The state is the last inputs of the convolution `[batch, kernel − 1, inner]`, and those of the
    /// channels `[batch, inner, state]` in float32.
    fn text(&self, x: &Tensor, real: Option<&Tensor>, before: Option<&[Tensor]>, asked: bool) -> Result<Text> {
        let MambaForm { inner, state, rank, .. } = self.form;
        let wide = wide(x);
        let projected = self.input.forward(x)?;
        let (values, gate) = (projected.narrow(D::Minus1, 0, inner)?, projected.narrow(D::Minus1, inner, inner)?);
        let (values, inputs) = self.convolution.forward(&values, before.and_then(|state| state.first()), real)?;
        let selected = self.selection.forward(&values)?;
        let part = |from, width, norm: usize| {
            let part = selected.narrow(D::Minus1, from, width)?.contiguous()?;
            self.norms.as_ref().map_or(Ok(part.clone()), |norms| norms[norm].forward(&part))
        };
        let (step, write, read) = (part(0, rank, 0)?, part(rank, state, 1)?, part(rank + state, state, 2)?);
        let step = softplus(&self.step.forward(&step)?.to_dtype(wide)?)?;
        let (values, write, read) = (values.to_dtype(wide)?, write.to_dtype(wide)?, read.to_dtype(wide)?);
        let states = before.and_then(|state| state.get(1));
        let (y, states) = selective_scan(&values, &step, &rates(&self.decay_log, wide)?, (&write, &read), states)?;
        let y = (y + values.broadcast_mul(&self.skip.to_dtype(wide)?)?)?;
        let y = (y * gate.to_dtype(wide)?.silu()?)?.to_dtype(x.dtype())?;
        let kernel = self.convolution.kernel()?;
        let state = asked.then(|| Ok::<_, candle_core::Error>(vec![last_inputs(&inputs, kernel)?, states.detach()]));
        Ok((self.output.forward(&y)?, state.transpose()?))
    }
}
