//! Gated convolutions of the reference forward.

use super::ReferenceModel;
use super::arithmetic::{Activations, Real};
use super::linear_attention::convolved;
use super::weights::Loaded;
use crate::checkpoint::CheckpointError;
use crate::naming::outline::ShortConvOutline;
use crate::ops::Widened;

/// The gated convolution of a layer.
pub(super) struct ShortConv<'m> {
    model: &'m ReferenceModel<'m>,
    outline: &'m ShortConvOutline,
    number: usize,
}

impl<'m> ShortConv<'m> {
    /// Returns the gated convolution of this layer, if it has one.
    pub(super) fn of(model: &'m ReferenceModel<'m>, number: usize) -> Option<Self> {
        let outline = model.outline.short_conv.as_ref()?;
        let has = match model.field(&outline.kinds) {
            Some(kinds) => kinds.get(number)?.as_str()? == outline.kind,
            None => {
                let attention = model.field(outline.attention_at.as_deref()?)?;
                !attention.as_array()?.contains(&number.into())
            }
        };
        has.then_some(Self { model, outline, number })
    }

    /// Returns the projections without `.weight`, and what is a row of numbers whatever its shape.
    pub(super) fn names(&self) -> (Vec<String>, Vec<String>) {
        let convolution = self.named(&self.outline.convolution);
        let projections = [&self.outline.input, &self.outline.output].map(|name| self.named(name));
        (projections.into(), vec![format!("{convolution}.weight"), format!("{convolution}.bias")])
    }

    fn named(&self, name: &str) -> String {
        name.replace("{layer}", &self.number.to_string())
    }

    /// What the layer adds for each token of the input.
    pub(super) fn forward<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        loaded: &Loaded,
    ) -> Result<Activations<F>, CheckpointError> {
        let (name, width) = (self.named(&self.outline.input), input.width);
        let part = |number: usize| {
            let found = loaded.project(input, &name, Some((number * width, width)));
            found.ok_or_else(|| self.model.misfit(&format!("{name}.weight")))
        };
        let (mut gated, output, value) = (part(0)?, part(1)?, part(2)?);
        let products = gated.data.iter().zip(&value.data).map(|(gate, value)| *gate * *value);
        gated.data = products.collect();
        let convolution = self.named(&self.outline.convolution);
        let missing = || self.model.misfit(&format!("{convolution}.weight"));
        let weight = loaded.vector(&format!("{convolution}.weight")).ok_or_else(missing)?;
        let bias = loaded.vector(&format!("{convolution}.bias"));
        let kernel = self.model.size(&self.outline.kernel).unwrap_or(0);
        if weight.len() != kernel * width {
            return Err(missing());
        }
        let mixed = convolved(&gated, weight, kernel);
        let data = mixed.data.iter().zip(&output.data).enumerate().map(|(place, (mixed, gate))| {
            let shift = bias.map_or(0.0, |bias| f64::from(bias[place % width]));
            F::nearest((mixed + shift) * (*gate).into())
        });
        let mixed = Activations { data: data.collect(), width };
        let output = self.named(&self.outline.output);
        loaded.project(&mixed, &output, None).ok_or_else(|| self.model.misfit(&format!("{output}.weight")))
    }
}
