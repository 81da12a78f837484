//! Normalization over the last dimension.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::ops::{layer_norm, rms_norm_offset};
use crate::spec::{Leaf, NormForm, NormKind, ParamKind};

/// RMSNorm or LayerNorm, computed in float32.
#[derive(Clone, Debug)]
pub(in crate::model) struct Norm {
    form: NormForm,
    /// `[dim]` or `[heads, dim]`, without the offset.
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    /// Ones `[dim]`, for norms without factors, and for those whose factors are each head's.
    ones: Option<Tensor>,
}

impl Norm {
    pub(in crate::model) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        let Leaf::Norm(form) = leaf else { candle_core::bail!("not a norm") };
        let (mut weight, mut bias) = (None, None);
        for param in leaf.params() {
            let place = if param.kind == ParamKind::Bias { &mut bias } else { &mut weight };
            *place = Some(vb.get(param.shape, param.name)?);
        }
        let plain = weight.is_some() && form.heads.is_none();
        let ones = (!plain).then(|| Tensor::ones(form.dim, vb.dtype(), vb.device())).transpose()?;
        Ok(Self { form: *form, weight, bias, ones })
    }

    /// Returns the width that it normalizes.
    pub(in crate::model) fn dim(&self) -> usize {
        self.form.dim
    }

    /// x `[…, dim]` → the same shape. Where each head has factors of its own, x is `[batch, heads, seq, dim]`.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Some(ones) = &self.ones else {
            let Some(weight) = &self.weight else { candle_core::bail!("a norm lacks its factors") };
            return self.normalize(x, weight, self.bias.as_ref(), self.form.offset);
        };
        let mut y = self.normalize(x, ones, None, 0.0)?;
        let by_head = |tensor: &Tensor| tensor.reshape(((), 1, self.form.dim));
        if let Some(weight) = &self.weight {
            let weight = if self.form.offset == 0.0 { weight.clone() } else { weight.affine(1.0, self.form.offset)? };
            y = y.broadcast_mul(&by_head(&weight)?)?;
        }
        match &self.bias {
            Some(bias) => y.broadcast_add(&by_head(bias)?),
            None => Ok(y),
        }
    }

    fn normalize(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, offset: f64) -> Result<Tensor> {
        match self.form.kind {
            NormKind::RmsNorm => rms_norm_offset(x, weight, offset, self.form.eps),
            NormKind::LayerNorm if offset == 0.0 => layer_norm(x, weight, bias, self.form.eps),
            NormKind::LayerNorm => {
                // Added in float32, as the norm computes.
                let wide = weight.to_dtype(wide(x.dtype()))?.affine(1.0, offset)?;
                let bias = bias.map(|bias| bias.to_dtype(wide.dtype())).transpose()?;
                layer_norm(&x.to_dtype(wide.dtype())?, &wide, bias.as_ref(), self.form.eps)?.to_dtype(x.dtype())
            }
        }
    }
}

fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { dtype } else { DType::F32 }
}
