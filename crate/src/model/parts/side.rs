//! What passes through layers beside the residual stream: what each of them is given of a token, and keys and values that later
//! layers read. All of it is one tensor, `[batch, seq, stream | inputs of the layers to come | keys and values]`, so that a
//! layer is a function of one tensor wherever it is computed: in memory, from files, or again in the backward pass.

use candle_core::{D, Result, Tensor};

use crate::ops::transpose_heads;
use crate::spec::LayerForm;

/// What a layer finds beside the residual stream, and what it adds to it.
#[derive(Debug, Default)]
pub(in crate::model) struct Side {
    /// `[batch, seq, width]`: what this layer is given.
    pub(in crate::model) input: Option<Tensor>,
    /// Of the layers to come.
    later: Option<Tensor>,
    /// Keys and values of earlier layers.
    keys: Option<Tensor>,
    /// Those of this layer.
    made: Option<Tensor>,
}

impl Side {
    /// Returns the residual stream, and what is beside it.
    pub(in crate::model) fn split(x: &Tensor, form: &LayerForm) -> Result<(Tensor, Self)> {
        let width = x.dim(D::Minus1)?;
        if form.input.is_none() && form.keys == 0 {
            return Ok((x.clone(), Self::default()));
        }
        let own = form.input.unwrap_or(0);
        let part =
            |start: usize, len: usize| (len > 0).then(|| x.narrow(D::Minus1, start, len)?.contiguous()).transpose();
        let later = width.saturating_sub(form.hidden + own + form.keys);
        let side = Self {
            input: part(form.hidden, own)?,
            later: part(form.hidden + own, later)?,
            keys: part(width - form.keys, form.keys)?,
            made: None,
        };
        Ok((x.narrow(D::Minus1, 0, form.hidden)?.contiguous()?, side))
    }

    /// Puts what later layers read behind the residual stream.
    pub(in crate::model) fn join(self, x: Tensor, form: &LayerForm) -> Result<Tensor> {
        let parts: Vec<Tensor> = std::iter::once(x).chain(self.later).chain(self.keys).chain(self.made).collect();
        match parts.as_slice() {
            [x] => Ok(x.clone()),
            [x, ..] if form.last => Ok(x.clone()),
            parts => Tensor::cat(parts, D::Minus1),
        }
    }

    /// Keeps keys and values `[batch, heads, seq, head_dim]` for later layers.
    pub(in crate::model) fn store(&mut self, keys: &Tensor, values: &Tensor) -> Result<()> {
        let flat = |x: &Tensor| {
            let (batch, _, seq, _) = x.dims4()?;
            transpose_heads(x)?.reshape((batch, seq, ()))
        };
        self.made = Some(Tensor::cat(&[flat(keys)?, flat(values)?], D::Minus1)?);
        Ok(())
    }

    /// Returns the keys and values of an earlier layer, `[batch, heads, seq, head_dim]`; `after` numbers of later ones follow
    /// them.
    pub(in crate::model) fn shared(&self, after: usize, heads: usize, head_dim: usize) -> Result<(Tensor, Tensor)> {
        let Some(all) = &self.keys else { candle_core::bail!("no keys and values were passed on") };
        let (width, end) = (heads * head_dim, all.dim(D::Minus1)? - after);
        let (batch, seq, _) = all.dims3()?;
        let part = |start: usize| {
            let part = all.narrow(D::Minus1, start, width)?.contiguous()?;
            transpose_heads(&part.reshape((batch, seq, heads, head_dim))?)
        };
        Ok((part(end - 2 * width)?, part(end - width)?))
    }
}
