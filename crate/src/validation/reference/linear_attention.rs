//! Gated DeltaNet (arXiv:2412.06464) of the reference forward: token after token, by the definition.

use rayon::prelude::*;

use super::ReferenceModel;
use super::arithmetic::{Activations, Affine, Real, normalize};
use super::weights::Loaded;
use crate::checkpoint::CheckpointError;
use crate::naming::outline::{LinearAttentionOutline, LinearPart, NormKind, ProjectionOutline};
use crate::ops::Widened;

/// The linear attention of a layer.
pub(super) struct LinearAttention<'m> {
    model: &'m ReferenceModel<'m>,
    outline: &'m LinearAttentionOutline,
    number: usize,
    key_heads: usize,
    value_heads: usize,
    key_dim: usize,
    value_dim: usize,
}

/// A head's part of a row.
fn head<F>(row: &[F], head: usize, width: usize) -> &[F] {
    &row[head * width..][..width]
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl<'m> LinearAttention<'m> {
    /// Returns the linear attention of this layer, if it has that.
    pub(super) fn of(model: &'m ReferenceModel<'m>, number: usize) -> Option<Self> {
        let outline = model.outline.linear_attention.as_ref()?;
        let has = match model.field(&outline.kinds) {
            Some(kinds) => kinds.get(number)?.as_str()? == outline.kind,
            None => !(number + 1).is_multiple_of(model.size(outline.all_but_every.as_deref()?)?.max(1)),
        };
        if !has {
            return None;
        }
        let size = |field: &str| model.size(field);
        Some(Self {
            model,
            outline,
            number,
            key_heads: size(&outline.key_heads)?,
            value_heads: size(&outline.value_heads)?,
            key_dim: size(&outline.key_dim)?,
            value_dim: size(&outline.value_dim)?,
        })
    }

    /// Returns the projections without `.weight`, and what is a row of numbers whatever its shape.
    pub(super) fn names(&self) -> (Vec<String>, Vec<String>) {
        let outline = self.outline;
        let projections = outline.projections.iter().map(|projection| self.named(&projection.tensor));
        let rows = [self.convolution(), self.named(&outline.decay_bias), self.named(&outline.decay_log), self.norm()];
        (projections.chain([self.named(&outline.output)]).collect(), rows.into())
    }

    fn named(&self, name: &str) -> String {
        name.replace("{layer}", &self.number.to_string())
    }

    fn convolution(&self) -> String {
        self.named(&self.outline.convolution) + ".weight"
    }

    fn norm(&self) -> String {
        self.named(&self.outline.norm) + ".weight"
    }

    fn width(&self, part: LinearPart) -> usize {
        match part {
            LinearPart::Query | LinearPart::Key => self.key_heads * self.key_dim,
            LinearPart::Value | LinearPart::Gate => self.value_heads * self.value_dim,
            LinearPart::Beta | LinearPart::Decay => self.value_heads,
        }
    }

    /// Returns what one of the projections makes.
    fn part<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        loaded: &Loaded,
        wanted: LinearPart,
    ) -> Result<Activations<F>, CheckpointError> {
        let of = |projection: &&ProjectionOutline| projection.parts.contains(&wanted);
        let Some(projection) = self.outline.projections.iter().find(of) else {
            return Err(self.model.misfit(&self.outline.output));
        };
        let name = self.named(&projection.tensor);
        let misfit = || self.model.misfit(&format!("{name}.weight"));
        let before = projection.parts.iter().take_while(|part| **part != wanted);
        let (first, count) = (before.map(|part| self.width(*part)).sum::<usize>(), self.width(wanted));
        if !projection.by_key_head {
            return loaded.project(input, &name, Some((first, count))).ok_or_else(misfit);
        }
        let whole = loaded.project(input, &name, None).ok_or_else(misfit)?;
        let (groups, all) = (self.key_heads, projection.parts.iter().map(|part| self.width(*part)).sum::<usize>());
        if whole.width != all {
            return Err(misfit());
        }
        let (first, each, all) = (first / groups, count / groups, all / groups);
        let rows = whole.data.chunks_exact(whole.width);
        let data = rows.flat_map(|row| row.chunks_exact(all).flat_map(|group| group[first..first + each].to_vec()));
        Ok(Activations { data: data.collect(), width: count })
    }

    /// What the layer adds for each token of the input.
    pub(super) fn forward<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        loaded: &Loaded,
    ) -> Result<Activations<F>, CheckpointError> {
        let part = |wanted| self.part(input, loaded, wanted);
        let vector = |name: String| match loaded.vector(&name) {
            Some(values) => Ok(values.to_vec()),
            None => Err(CheckpointError::NoTensor { tensor: name, path: self.model.checkpoint.path().to_owned() }),
        };
        let weight = vector(self.convolution())?;
        let channels = self.width(LinearPart::Query) + self.width(LinearPart::Key) + self.width(LinearPart::Value);
        let kernel = self.model.size(&self.outline.kernel).unwrap_or(0);
        if weight.len() != channels * kernel {
            return Err(self.model.misfit(&self.convolution()));
        }
        let mut offset = 0;
        let mut mixed = |wanted| -> Result<Activations<f64>, CheckpointError> {
            let x = part(wanted)?;
            let own = &weight[offset * kernel..(offset + x.width) * kernel];
            offset += x.width;
            let mut mixed = convolved(&x, own, kernel);
            mixed.data.iter_mut().for_each(|value| *value *= sigmoid(*value));
            Ok(mixed)
        };
        let (query, key) = (mixed(LinearPart::Query)?, mixed(LinearPart::Key)?);
        let value = mixed(LinearPart::Value)?;
        let (gate, beta, decay) = (part(LinearPart::Gate)?, part(LinearPart::Beta)?, part(LinearPart::Decay)?);
        let (bias, log) = (vector(self.named(&self.outline.decay_bias))?, vector(self.named(&self.outline.decay_log))?);
        let norm = vector(self.norm())?;
        let eps = self.model.number(&self.model.outline.norm.eps).unwrap_or(1e-6);

        let tokens = input.data.len() / input.width;
        let heads: Vec<Vec<f64>> = (0..self.value_heads)
            .into_par_iter()
            .map(|number| {
                let shared = number / (self.value_heads / self.key_heads);
                let unit = |x: &Activations<f64>, token: usize| -> Vec<f64> {
                    let part = head(&x.data[token * x.width..][..x.width], shared, self.key_dim);
                    let length = (part.iter().map(|value| value * value).sum::<f64>() + 1e-6).sqrt();
                    part.iter().map(|value| value / length).collect()
                };
                let mut state = vec![0.0; self.key_dim * self.value_dim];
                let mut read = Vec::with_capacity(tokens * self.value_dim);
                for token in 0..tokens {
                    let number_of = |x: &Activations<F>| -> f64 { x.data[token * x.width + number].into() };
                    let speed = (number_of(&decay) + f64::from(bias[number])).exp().ln_1p();
                    let kept = (-f64::from(log[number]).exp() * speed).exp();
                    state.iter_mut().for_each(|value| *value *= kept);
                    let (query, key) = (unit(&query, token), unit(&key, token));
                    let value = head(&value.data[token * value.width..][..value.width], number, self.value_dim);
                    for (column, value) in value.iter().enumerate() {
                        let place = |row: usize| row * self.value_dim + column;
                        let known: f64 = key.iter().enumerate().map(|(row, key)| key * state[place(row)]).sum();
                        let correction = (value - known) * sigmoid(number_of(&beta));
                        key.iter().enumerate().for_each(|(row, key)| state[place(row)] += key * correction);
                        let found: f64 = query.iter().enumerate().map(|(row, query)| query * state[place(row)]).sum();
                        read.push(found / (self.key_dim as f64).sqrt());
                    }
                }
                read
            })
            .collect();
        let width = self.value_heads * self.value_dim;
        let mut data = Vec::with_capacity(tokens * width);
        for token in 0..tokens {
            for own in &heads {
                data.extend(own[token * self.value_dim..][..self.value_dim].iter().map(|value| F::nearest(*value)));
            }
        }
        let affine = Affine { weight: norm, bias: Vec::new() };
        let mut normed = normalize(&Activations { data, width }, NormKind::RmsNorm, &affine, (self.value_dim, eps));
        for (value, gate) in normed.data.iter_mut().zip(&gate.data) {
            let gate: f64 = (*gate).into();
            *value = F::nearest((*value).into() * gate * sigmoid(gate));
        }
        let output = self.named(&self.outline.output);
        let misfit = || self.model.misfit(&format!("{output}.weight"));
        loaded.project(&normed, &output, None).ok_or_else(misfit)
    }
}

/// The convolution of each channel with its weights, of which the last one is the current token's.
pub(super) fn convolved<F: Real>(x: &Activations<F>, weight: &[f32], kernel: usize) -> Activations<f64> {
    let tokens = x.data.len() / x.width.max(1);
    let mut data = Vec::with_capacity(x.data.len());
    for token in 0..tokens {
        for channel in 0..x.width {
            let sum: f64 = (0..kernel)
                .filter_map(|tap| (token + tap + 1).checked_sub(kernel).map(|past| (tap, past)))
                .map(|(tap, past)| {
                    let value: f64 = x.data[past * x.width + channel].into();
                    value * f64::from(weight[channel * kernel + tap])
                })
                .sum();
            data.push(sum);
        }
    }
    Activations { data, width: x.width }
}
