//! Latent attention of the reference forward.

use super::ReferenceModel;
use super::arithmetic::{Activations, Affine, Real, normalize};
use super::attention::{Scores, attend};
use super::experts::Linear;
use super::rotary::Rotation;
use crate::checkpoint::CheckpointError;
use crate::naming::outline::NormKind;
use crate::ops::Widened;

/// The tensors of a layer's attention, and its sizes.
pub(super) struct Latent<'m> {
    model: &'m ReferenceModel<'m>,
    name: String,
    query_down: Option<(Linear, Affine)>,
    query: Linear,
    down: Linear,
    norm: Affine,
    up: Linear,
    output: Linear,
    heads: usize,
    /// Widths of the part that is not rotated, of the part that is, and of values.
    unrotated: usize,
    rotated: usize,
    value: usize,
    rank: usize,
    eps: f64,
    rotation: Option<Rotation>,
    scores: Scores,
}

impl<'m> Latent<'m> {
    /// Reads the attention of a layer, if the model's is of this kind.
    pub(super) fn load(
        model: &'m ReferenceModel<'m>,
        layer: usize,
        tokens: usize,
    ) -> Result<Option<Self>, CheckpointError> {
        let Some(outline) = &model.outline.latent else { return Ok(None) };
        let named = |name: &str| name.replace("{layer}", &layer.to_string());
        let linear = |name: &str| model.whole(&named(name));
        let norm = |name: &str| {
            let weight = model.vector(&format!("{}.weight", named(name)))?;
            Ok::<_, CheckpointError>(Affine { weight, bias: Vec::new() })
        };
        let plain = model.has(&format!("{}.weight", named(&outline.plain_query)));
        let (query_down, query) = match plain {
            true => (None, linear(&outline.plain_query)?),
            false => (Some((linear(&outline.query_down)?, norm(&outline.query_norm)?)), linear(&outline.query)?),
        };
        let sizes = model.sizes();
        let size = |term: &str| model.size(term).unwrap_or(0);
        let (unrotated, value, rank) = (size(&outline.unrotated), size(&outline.value), size(&outline.rank));
        let width = unrotated + sizes.head;
        let padded = width.max(value);
        Ok(Some(Self {
            name: named(&outline.up),
            query_down,
            query,
            down: linear(&outline.down)?,
            norm: norm(&outline.norm)?,
            up: linear(&outline.up)?,
            output: linear(&outline.output)?,
            heads: sizes.heads,
            unrotated,
            rotated: sizes.head,
            value,
            rank,
            eps: outline.eps,
            rotation: model.rotation(layer, sizes.head, tokens),
            scores: Scores {
                chunks: false,
                heads: (sizes.heads, sizes.heads, padded),
                window: model.window(layer),
                factor: (width as f64).powf(-0.5) * model.latent_growth().powi(2),
                softcap: None,
                slopes: None,
                sinks: None,
            },
            model,
        }))
    }

    /// What attention adds to the residual stream, before its norm.
    pub(super) fn forward<F: Real + Widened>(&self, x: &Activations<F>) -> Result<Activations<F>, CheckpointError> {
        self.attended(x).ok_or_else(|| self.model.misfit(&format!("{}.weight", self.name)))
    }

    fn attended<F: Real + Widened>(&self, x: &Activations<F>) -> Option<Activations<F>> {
        let normed = |x: &Activations<F>, norm: &Affine| normalize(x, NormKind::RmsNorm, norm, (x.width, self.eps));
        let query = match &self.query_down {
            Some((down, norm)) => self.query.apply(&normed(&down.apply(x)?, norm))?,
            None => self.query.apply(x)?,
        };
        let down = self.down.apply(x)?;
        let latent = normed(&columns(&down, down.width, (0, self.rank))?, &self.norm);
        let mut shared = columns(&down, down.width, (self.rank, self.rotated))?;
        let (width, head) = (self.unrotated + self.rotated, self.unrotated + self.value);
        let fixed = columns(&query, width, (0, self.unrotated))?;
        let mut turned = columns(&query, width, (self.unrotated, self.rotated))?;
        if let Some(rotation) = &self.rotation {
            rotation.apply(&mut turned, self.rotated);
            rotation.apply(&mut shared, self.rotated);
        }
        let both = self.up.apply(&latent)?;
        let keys = columns(&both, head, (0, self.unrotated))?;
        let values = columns(&both, head, (self.unrotated, self.value))?;
        let tokens = x.data.len() / x.width.max(1);
        let padded = self.scores.heads.2;
        // One row after the other: each head's parts, and zeros up to the width of attention.
        let joined = |part: &dyn Fn(usize, usize) -> Vec<F>| {
            let rows = (0..tokens).flat_map(|token| (0..self.heads).map(move |head| (token, head)));
            let data = rows.flat_map(|(token, head)| {
                let mut row = part(token, head);
                row.resize(padded, F::default());
                row
            });
            Activations { data: data.collect(), width: self.heads * padded }
        };
        let of = |x: &Activations<F>, token: usize, head: usize, width: usize| {
            x.data[token * x.width + head * width..][..width].to_vec()
        };
        let q = joined(&|token, head| {
            [of(&fixed, token, head, self.unrotated), of(&turned, token, head, self.rotated)].concat()
        });
        let k = joined(&|token, head| {
            [of(&keys, token, head, self.unrotated), of(&shared, token, 0, self.rotated)].concat()
        });
        let v = joined(&|token, head| of(&values, token, head, self.value));
        let mixed = attend(&q, &k, &v, &self.scores);
        self.output.apply(&columns(&mixed, padded, (0, self.value))?)
    }
}

impl ReferenceModel<'_> {
    /// YaRN's factor for longer contexts, by which DeepSeek's models multiply scores twice.
    fn latent_growth(&self) -> f64 {
        let of = |key: &str| {
            let places = ["rope_scaling", "rope_parameters"].into_iter();
            places.map(|place| format!("{place}.{key}")).find_map(|term| self.number(&term))
        };
        match (of("factor"), of("mscale_all_dim")) {
            (Some(factor), Some(mscale)) if factor > 1.0 && mscale != 0.0 => 0.1 * mscale * factor.ln() + 1.0,
            _ => 1.0,
        }
    }
}

/// Returns some columns of each part of `each` columns of x.
fn columns<F: Real>(x: &Activations<F>, each: usize, (first, count): (usize, usize)) -> Option<Activations<F>> {
    if each == 0 || first + count > each || !x.width.is_multiple_of(each) {
        return None;
    }
    let data = x.data.chunks_exact(each).flat_map(|part| part[first..first + count].iter().copied());
    Some(Activations { data: data.collect(), width: x.width / each * count })
}
