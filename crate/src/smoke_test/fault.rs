//! Where a NaN or an infinity comes from, found after the fact.

use candle_core::{DType as CandleType, Tensor};
use serde::Serialize;

use super::Settings;
use super::step::StepOutcome;
use crate::dataset::LabeledBatch;
use crate::model::{CausalLm, ModelError};
use crate::spec::{ParamPath, Role};

/// The first place where a value is not finite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The step, counted from 1.
    pub step: usize,
    /// What is not finite.
    pub kind: FaultKind,
    /// The first part in the order of computation: of forward for activations, of backward for gradients.
    pub place: String,
    /// What else is known, such as a weight that is NaN itself.
    pub detail: String,
}

/// What is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// A part's output.
    Activation,
    /// The loss alone.
    Loss,
    /// A parameter's gradient.
    Gradient,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            FaultKind::Activation => "the first output that is not finite is that of",
            FaultKind::Loss => "the loss is not finite with",
            FaultKind::Gradient => "the first gradient of backward that is not finite is that of",
        };
        write!(f, "step {}: {what} {}", self.step, self.place)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// Finds the fault of a step whose batch, weights and outcome these are, if it has one. The weights must be those that
/// the step began with. Computes the forward pass again, layer by layer.
///
/// # Errors
/// [`ModelError`] if that fails.
pub(super) fn locate(
    model: &CausalLm,
    data: &LabeledBatch,
    step: usize,
    settings: &Settings,
    outcome: &StepOutcome,
) -> Result<Option<Fault>, ModelError> {
    let broken = outcome.broken();
    if outcome.loss.is_finite() && broken.is_empty() {
        return Ok(None);
    }
    if let Some((place, detail)) = first_activation(model, data)? {
        return Ok(Some(Fault { step, kind: FaultKind::Activation, place, detail }));
    }
    if !outcome.loss.is_finite() {
        let detail = "computed again layer by layer with plain attention, every output is finite".to_owned();
        return Ok(Some(Fault { step, kind: FaultKind::Loss, place: settings.to_string(), detail }));
    }
    // Parameters are listed in the order of forward, which is the reverse of backward.
    let last =
        model.parameters().variables().into_iter().rev().map(|(path, _)| path).find(|path| broken.contains(path));
    let place = last.map_or_else(String::new, |path| path.to_string());
    let detail = format!("{} of {} gradients are not finite", broken.len(), outcome.norms.len());
    Ok(Some(Fault { step, kind: FaultKind::Gradient, place, detail }))
}

/// Returns the first part whose output has a NaN or an infinity, and what is known about it.
fn first_activation(model: &CausalLm, data: &LabeledBatch) -> Result<Option<(String, String)>, ModelError> {
    let mut first: Option<(usize, candle_core::Result<Option<String>>)> = None;
    let logits = model.forward_observed(&data.batch, &mut |layer, x| {
        if first.is_none() {
            match not_finite(x) {
                Ok(None) => {}
                found => first = Some((layer, found)),
            }
        }
    })?;
    if let Some((layer, found)) = first {
        let what = found?.unwrap_or_default();
        // The input of the first layer is not observed, but the weights that make it are.
        let encoder = module(model, Role::TokenEmbedding).parent();
        let spoiled_encoder = if layer == 0 { spoiled(model, &encoder)? } else { None };
        if let Some(weights) = spoiled_encoder {
            return Ok(Some((encoder.to_string(), weights)));
        }
        let place = layer_of(model, layer);
        let weights = spoiled(model, &place)?;
        return Ok(Some((place.to_string(), weights.unwrap_or(what))));
    }
    let Some(what) = not_finite(&logits)? else { return Ok(None) };
    for role in [Role::FinalNorm, Role::Head] {
        let part = module(model, role);
        if let Some(weights) = spoiled(model, &part)? {
            return Ok(Some((part.to_string(), weights)));
        }
    }
    Ok(Some((module(model, Role::Head).to_string(), what)))
}

/// Returns the name of the part with parameters of this role; empty if the model has none.
fn module(model: &CausalLm, role: Role) -> ParamPath {
    model.table().of_role(role).next().map_or_else(|| ParamPath::from(""), |row| row.path.parent())
}

/// Returns the name of a layer.
fn layer_of(model: &CausalLm, layer: usize) -> ParamPath {
    let row = model.table().rows().iter().find(|row| row.path.layer() == Some(layer));
    row.and_then(|row| row.path.up_to_layer()).unwrap_or_else(|| ParamPath::from(format!("layer {layer}")))
}

/// Returns the parameters below `part` that are not finite themselves.
fn spoiled(model: &CausalLm, part: &ParamPath) -> Result<Option<String>, ModelError> {
    if part.as_str().is_empty() {
        return Ok(None);
    }
    let below = format!("{part}.");
    let mut found = Vec::new();
    for (path, tensor) in model.parameters().tensors() {
        if path.as_str().starts_with(&below)
            && let Some(what) = not_finite(&tensor)?
        {
            let name = path.as_str().strip_prefix(&below).unwrap_or_default().to_owned();
            found.push(format!("its {name} holds {what}"));
        }
    }
    let shown = found.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    let more = if found.len() > 3 { format!("; and {} more", found.len() - 3) } else { String::new() };
    Ok((!found.is_empty()).then_some(shown + &more))
}

/// Returns how many NaNs and infinities a tensor holds, in words; `None` if it is finite.
fn not_finite(tensor: &Tensor) -> candle_core::Result<Option<String>> {
    let values = tensor.to_dtype(CandleType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let nan = values.iter().filter(|value| value.is_nan()).count();
    let infinite = values.iter().filter(|value| value.is_infinite()).count();
    let parts: Vec<String> = [(nan, "NaN"), (infinite, "infinite")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    Ok((!parts.is_empty()).then(|| format!("{} of {} numbers", parts.join(" and "), values.len())))
}
