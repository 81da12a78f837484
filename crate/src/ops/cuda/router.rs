//! The choice of experts, and their weights.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Extent, at, empty, launch, tensor, whole};
use crate::spec::{RouterForm, RouterScore};

const OP: &str = "route-to-experts";

/// What both kernels end with.
fn settings(tokens: usize, form: &RouterForm) -> Vec<Argument<'static>> {
    // `Kind` of `router.cu`.
    let kind = match (form.score, form.softmax_after_topk) {
        (RouterScore::Softmax, false) => 0,
        (RouterScore::Softmax, true) => 2,
        (RouterScore::Sigmoid | RouterScore::SparseMixer, _) => 1,
    };
    let mut settings = vec![Argument::Long(tokens)];
    settings.extend([form.experts, form.active, kind, usize::from(form.norm_topk)].map(Argument::Int));
    settings.push(Argument::Real(form.scaling));
    settings
}

fn extent(tokens: usize) -> Extent {
    Extent { blocks: (tokens.div_ceil(8), 1, 1), threads: (256, 1), shared: 0 }
}

/// logits `[tokens, experts]` and correction `[experts]` in float32 → the experts of each token (u32) and their weights (float32),
/// `[tokens, active]`.
pub(crate) fn choose_experts(
    logits: &Tensor,
    correction: Option<&Tensor>,
    form: &RouterForm,
) -> Result<(Tensor, Tensor)> {
    let ((tokens, _), device) = (logits.dims2()?, logits.device().as_cuda_device()?);
    let count = tokens * form.active;
    let (chosen, weights) = (empty(device, DType::U32, count)?, empty(device, DType::F32, count)?);
    let mut arguments = vec![whole(&chosen), whole(&weights), at(logits, DType::F32, OP)?];
    arguments.push(correction.map_or(Ok(Argument::Null), |correction| at(correction, DType::F32, OP))?);
    arguments.extend(settings(tokens, form));
    launch(device, "router_choose", extent(tokens), &arguments)?;
    Ok((tensor(chosen, (tokens, form.active)), tensor(weights, (tokens, form.active))))
}

/// (logits, the experts of each token, the gradient of their weights) → the gradient of the logits.
pub(crate) fn router_backward(logits: &Tensor, chosen: &Tensor, g: &Tensor, form: &RouterForm) -> Result<Tensor> {
    let ((tokens, experts), device) = (logits.dims2()?, logits.device().as_cuda_device()?);
    let gradient = empty(device, DType::F32, tokens * experts)?;
    let mut arguments = vec![whole(&gradient), at(logits, DType::F32, OP)?, at(chosen, DType::U32, OP)?];
    arguments.push(at(g, DType::F32, OP)?);
    arguments.extend(settings(tokens, form));
    launch(device, "router_backward", extent(tokens), &arguments)?;
    Ok(tensor(gradient, (tokens, experts)))
}
