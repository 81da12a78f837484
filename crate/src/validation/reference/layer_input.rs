//! What layers of the reference forward read beside the residual stream.

use std::collections::HashMap;

use super::ReferenceModel;
use super::arithmetic::{Activations, Real, activate};
use super::weights::Loaded;
use crate::checkpoint::CheckpointError;
use crate::naming::outline::ActivationKind;
use crate::ops::Widened;

/// Keys and values of a layer.
pub(super) type Kept<F> = (Activations<F>, Activations<F>);

/// What passes by the layers.
#[derive(Default)]
pub(super) struct Beside<F> {
    /// What all layers are given of each token, `[tokens, layers · width]`.
    inputs: Option<Activations<F>>,
    /// Keys and values that the last layer of each kind made; the kind is whether it has a window.
    pub(super) kept: HashMap<bool, Kept<F>>,
}

impl ReferenceModel<'_> {
    /// Makes what layers read beside the residual stream, of the embeddings of the tokens.
    pub(super) fn beside<F: Real + Widened>(
        &self,
        ids: &[u32],
        embedded: &Activations<F>,
    ) -> Result<Beside<F>, CheckpointError> {
        let mut beside = Beside { inputs: None, kept: HashMap::new() };
        let Some(outline) = &self.outline.layer_input else { return Ok(beside) };
        let Some(width) = self.size(&outline.width).filter(|width| *width > 0 && !ids.is_empty()) else {
            return Ok(beside);
        };
        let name = format!("{}.weight", outline.projection);
        let loaded = self.load([name.clone()], [format!("{}.weight", outline.norm)])?;
        let made = loaded.project(embedded, &outline.projection, None).ok_or_else(|| self.misfit(&name))?;
        let scale = (embedded.width as f64).sqrt();
        let made = made.data.iter().map(|value| F::nearest((*value).into() / scale)).collect();
        let made = self.norm(&loaded, &Activations { data: made, width }, &outline.norm)?;
        let mut own = Vec::new();
        for id in ids {
            own.extend(self.row(&format!("{}.weight", outline.embedding), *id as usize)?);
        }
        let root = (width as f64).sqrt();
        let both = made
            .data
            .iter()
            .zip(&own)
            .map(|(made, own)| F::nearest(((*made).into() + f64::from(*own) * root) / 2f64.sqrt()));
        beside.inputs = Some(Activations { data: both.collect(), width: own.len() / ids.len() });
        Ok(beside)
    }

    /// The modules of a layer that read what it is given, without `.weight`, and the norm.
    pub(super) fn layer_input_names(&self, layer: usize) -> Option<[String; 3]> {
        let outline = self.outline.layer_input.as_ref()?;
        self.size(&outline.width).filter(|width| *width > 0)?;
        let named = |name: &String| name.replace("{layer}", &layer.to_string());
        Some([named(&outline.gate), named(&outline.output), named(&outline.output_norm)])
    }

    /// What a layer adds of what it is given.
    pub(super) fn of_layer_input<F: Real + Widened>(
        &self,
        x: &Activations<F>,
        beside: &Beside<F>,
        (layer, loaded, activation): (usize, &Loaded, ActivationKind),
    ) -> Result<Option<Activations<F>>, CheckpointError> {
        let (Some([gate, output, norm]), Some(inputs)) = (self.layer_input_names(layer), &beside.inputs) else {
            return Ok(None);
        };
        let misfit = |name: &str| self.misfit(&format!("{name}.weight"));
        let mut inside = loaded.project(x, &gate, None).ok_or_else(|| misfit(&gate))?;
        let width = inside.width;
        for (row, all) in inside.data.chunks_exact_mut(width).zip(inputs.data.chunks_exact(inputs.width)) {
            let own = all.get(layer * width..(layer + 1) * width).ok_or_else(|| misfit(&gate))?;
            row.iter_mut().zip(own).for_each(|(gate, own)| *gate = activate(*gate, activation, (0.0, 0.0)) * *own);
        }
        let made = loaded.project(&inside, &output, None).ok_or_else(|| misfit(&output))?;
        self.norm(loaded, &made, &norm).map(Some)
    }
}
