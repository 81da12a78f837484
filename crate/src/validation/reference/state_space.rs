//! Mamba (arXiv:2312.00752) and Mamba-2 (arXiv:2405.21060) of the reference forward: token after token, by the definition.

use rayon::prelude::*;

use super::ReferenceModel;
use super::arithmetic::{Activations, Affine, Real, normalize};
use super::linear_attention::convolved;
use super::weights::Loaded;
use crate::checkpoint::CheckpointError;
use crate::naming::outline::{NormKind, StateSpaceOutline};
use crate::ops::Widened;

/// The state space of a layer.
pub(super) struct StateSpace<'m> {
    model: &'m ReferenceModel<'m>,
    outline: &'m StateSpaceOutline,
    number: usize,
    /// Numbers of a state.
    state: usize,
    kernel: usize,
}

/// Steps, values, and what is written and read, of each token.
struct Scan<'a> {
    /// `[tokens, channels]`.
    values: &'a [f64],
    /// `[tokens, channels]`.
    steps: &'a [f64],
    /// `[tokens, groups · state]`.
    write: &'a [f64],
    read: &'a [f64],
    channels: usize,
    /// Channels that share what is written and read.
    each: usize,
    state: usize,
}

impl Scan<'_> {
    /// y `[tokens, channels]`, for the rates of decay of each channel and number of its state.
    fn run(&self, rate: impl Fn(usize, usize) -> f64 + Sync, skip: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
        let tokens = self.values.len() / self.channels.max(1);
        let shared = self.write.len() / tokens.max(1);
        let of_channel = |channel: usize| {
            let mut state = vec![0.0; self.state];
            let group = channel / self.each * self.state;
            let of_token = |token: usize| {
                let (value, step) =
                    (self.values[token * self.channels + channel], self.steps[token * self.channels + channel]);
                let (write, read) = (&self.write[token * shared + group..], &self.read[token * shared + group..]);
                let mut found = skip(channel) * value;
                for (place, number) in state.iter_mut().enumerate() {
                    *number = (step * rate(channel, place)).exp() * *number + step * value * write[place];
                    found += *number * read[place];
                }
                found
            };
            (0..tokens).map(of_token).collect::<Vec<f64>>()
        };
        let columns: Vec<Vec<f64>> = (0..self.channels).into_par_iter().map(of_channel).collect();
        (0..tokens).flat_map(|token| columns.iter().map(move |column| column[token])).collect()
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    if x > 30.0 { x } else { x.exp().ln_1p() }
}

impl<'m> StateSpace<'m> {
    /// Returns the state space of this layer, if it has one.
    pub(super) fn of(model: &'m ReferenceModel<'m>, number: usize) -> Option<Self> {
        let outline = model.outline.state_space.as_ref()?;
        if outline.layers.as_deref().is_some_and(|term| model.flag_of_layer(term, number) != Some(true)) {
            return None;
        }
        let (state, kernel) = (model.size(&outline.state)?, model.size(&outline.kernel)?);
        Some(Self { model, outline, number, state, kernel })
    }

    /// Returns whether attention reads the same input, and both results are added.
    pub(super) fn is_beside_attention(&self) -> bool {
        self.outline.beside_attention
    }

    /// Returns the projections without `.weight`, and what is a row of numbers whatever its shape.
    pub(super) fn names(&self) -> (Vec<String>, Vec<String>) {
        let outline = self.outline;
        let projections =
            [Some(&outline.input), outline.selection.as_ref(), outline.step.as_ref(), Some(&outline.output)];
        let projections = projections.into_iter().flatten().map(|name| self.named(name)).collect();
        let bare = [outline.step_bias.as_ref(), Some(&outline.decay_log), Some(&outline.skip)].into_iter().flatten();
        let norms = outline.norms.iter().chain(&outline.norm).map(|name| format!("{name}.weight"));
        let convolution = ["weight", "bias"].map(|kind| format!("{}.{kind}", outline.convolution));
        let rows = bare.cloned().chain(norms).chain(convolution).map(|name| self.named(&name));
        (projections, rows.collect())
    }

    fn named(&self, name: &str) -> String {
        name.replace("{layer}", &self.number.to_string())
    }

    fn vector<'l>(&self, loaded: &'l Loaded, name: &str) -> Result<&'l [f32], CheckpointError> {
        let name = self.named(name);
        loaded.vector(&name).ok_or_else(|| self.model.misfit(&name))
    }

    fn project<F: Real + Widened>(
        &self,
        x: &Activations<F>,
        loaded: &Loaded,
        name: &str,
        part: Option<(usize, usize)>,
    ) -> Result<Activations<F>, CheckpointError> {
        let name = self.named(name);
        loaded.project(x, &name, part).ok_or_else(|| self.model.misfit(&format!("{name}.weight")))
    }

    fn factor(&self, term: Option<&String>) -> f64 {
        term.and_then(|term| self.model.number(term)).unwrap_or(1.0)
    }

    /// What passes the convolution of each channel, and SiLU.
    fn convolved<F: Real>(&self, x: &Activations<F>, loaded: &Loaded) -> Result<Activations<f64>, CheckpointError> {
        let name = format!("{}.weight", self.outline.convolution);
        let weight = self.vector(loaded, &name)?;
        if weight.len() != x.width * self.kernel {
            return Err(self.model.misfit(&self.named(&name)));
        }
        let bias = loaded.vector(&self.named(&format!("{}.bias", self.outline.convolution)));
        let mut mixed = convolved(x, weight, self.kernel);
        for row in mixed.data.chunks_exact_mut(x.width) {
            for (channel, value) in row.iter_mut().enumerate() {
                *value = silu(*value + bias.map_or(0.0, |bias| f64::from(bias[channel])));
            }
        }
        Ok(mixed)
    }

    /// RMSNorm over each part of `over` numbers of each row.
    fn normed<F: Real>(
        &self,
        x: &Activations<F>,
        loaded: &Loaded,
        name: &str,
        over: usize,
    ) -> Result<Activations<F>, CheckpointError> {
        let weight = self.vector(loaded, &format!("{name}.weight"))?.to_vec();
        let eps = self.model.number(&self.model.outline.norm.eps).unwrap_or(1e-6);
        Ok(normalize(x, NormKind::RmsNorm, &Affine { weight, bias: Vec::new() }, (over, eps)))
    }

    /// What the layer adds for each token of the input.
    pub(super) fn forward<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        loaded: &Loaded,
    ) -> Result<Activations<F>, CheckpointError> {
        let before = self.factor(self.outline.factors.as_ref().and_then(|factors| factors.input.as_ref()));
        let data = input.data.iter().map(|value| F::nearest((*value).into() * before)).collect();
        let input = Activations { data, width: input.width };
        let mixed = match self.outline.heads {
            Some(_) => self.heads(&input, loaded)?,
            None => self.channels(&input, loaded)?,
        };
        let mut output = self.project(&mixed, loaded, &self.outline.output, None)?;
        let after = self.factor(self.outline.factors.as_ref().and_then(|factors| factors.output.as_ref()));
        output.data.iter_mut().for_each(|value| *value = F::nearest((*value).into() * after));
        Ok(output)
    }

    /// Mamba-2.
    fn heads<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        loaded: &Loaded,
    ) -> Result<Activations<F>, CheckpointError> {
        let outline = self.outline;
        let size = |term: &Option<String>| term.as_deref().and_then(|term| self.model.size(term)).unwrap_or(1).max(1);
        let (heads, width, groups) = (size(&outline.heads), size(&outline.head_dim), size(&outline.groups));
        let (inner, shared) = (heads * width, groups * self.state);
        let factors = outline.factors.as_ref().map(|factors| factors.projected.as_slice()).unwrap_or_default();
        let part = |first, count, place: usize| -> Result<Activations<F>, CheckpointError> {
            let mut x = self.project(input, loaded, &outline.input, Some((first, count)))?;
            let factor = self.factor(factors.get(place));
            x.data.iter_mut().for_each(|value| *value = F::nearest((*value).into() * factor));
            Ok(x)
        };
        let gate = part(0, inner, 0)?;
        let (values, write) = (part(inner, inner, 1)?, part(2 * inner, shared, 2)?);
        let (read, step) = (part(2 * inner + shared, shared, 3)?, part(2 * inner + 2 * shared, heads, 4)?);
        // The convolution is one over values, what is written and what is read.
        let parts = [(&values, inner), (&write, shared), (&read, shared)];
        let tokens = input.data.len() / input.width.max(1);
        let joined = (0..tokens).flat_map(|token| {
            parts.iter().flat_map(move |(part, width)| part.data[token * width..][..*width].iter().copied())
        });
        let mixed = self.convolved(&Activations { data: joined.collect(), width: inner + 2 * shared }, loaded)?;
        let columns = |first: usize, count: usize| -> Vec<f64> {
            mixed.data.chunks_exact(mixed.width).flat_map(|row| row[first..first + count].iter().copied()).collect()
        };
        let bias = self.vector(loaded, outline.step_bias.as_deref().unwrap_or_default())?;
        let (log, skip) = (self.vector(loaded, &outline.decay_log)?, self.vector(loaded, &outline.skip)?);
        let limit = |place: usize| {
            let limits = outline.step_limits.as_deref().and_then(|term| self.model.field(term))?;
            limits.get(place)?.as_f64()
        };
        let (low, high) = (limit(0).unwrap_or(0.0), limit(1).unwrap_or(f64::INFINITY));
        // One step for each number of a head.
        let steps: Vec<f64> = (0..tokens * inner)
            .map(|place| {
                let (token, head) = (place / inner, place % inner / width);
                let step: f64 = step.data[token * heads + head].into();
                softplus(step + f64::from(bias[head])).max(low).min(high)
            })
            .collect();
        let (values, write, read) = (columns(0, inner), columns(inner, shared), columns(inner + shared, shared));
        let scan = Scan {
            values: &values,
            steps: &steps,
            write: &write,
            read: &read,
            channels: inner,
            each: inner / groups,
            state: self.state,
        };
        let y =
            scan.run(|channel, _| -f64::from(log[channel / width]).exp(), |channel| f64::from(skip[channel / width]));
        let gated = |y: &[f64]| -> Vec<F> {
            y.iter().zip(&gate.data).map(|(y, gate)| F::nearest(y * silu((*gate).into()))).collect()
        };
        let on = outline.norm_if.as_deref().is_none_or(|term| self.model.flag(term) == Some(true));
        let Some(norm) = outline.norm.as_ref().filter(|_| on) else {
            return Ok(Activations { data: gated(&y), width: inner });
        };
        let first = outline.norm_before_gate_if.as_deref().is_some_and(|term| self.model.flag(term) == Some(true));
        if first {
            let y = Activations { data: y, width: inner };
            let y = self.normed(&y, loaded, norm, inner / groups)?;
            return Ok(Activations { data: gated(&y.data), width: inner });
        }
        self.normed(&Activations { data: gated(&y), width: inner }, loaded, norm, inner / groups)
    }

    /// Mamba.
    fn channels<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        loaded: &Loaded,
    ) -> Result<Activations<F>, CheckpointError> {
        let outline = self.outline;
        let skip = self.vector(loaded, &outline.skip)?;
        let inner = skip.len();
        let rank = outline.rank.as_deref().and_then(|term| self.model.size(term)).unwrap_or(1);
        let values = self.project(input, loaded, &outline.input, Some((0, inner)))?;
        let gate = self.project(input, loaded, &outline.input, Some((inner, inner)))?;
        let values = self.convolved(&values, loaded)?;
        let narrow = Activations { data: values.data.iter().map(|value| F::nearest(*value)).collect(), width: inner };
        let selection = outline.selection.as_deref().unwrap_or_default();
        let part = |first, count, place: usize| -> Result<Activations<F>, CheckpointError> {
            let x = self.project(&narrow, loaded, selection, Some((first, count)))?;
            outline.norms.get(place).map_or(Ok(Activations { data: x.data.clone(), width: count }), |norm| {
                self.normed(&x, loaded, norm, count)
            })
        };
        let (step, write) = (part(0, rank, 0)?, part(rank, self.state, 1)?);
        let read = part(rank + self.state, self.state, 2)?;
        let steps = self.project(&step, loaded, outline.step.as_deref().unwrap_or_default(), None)?;
        let wide = |x: &Activations<F>| -> Vec<f64> { x.data.iter().map(|value| (*value).into()).collect() };
        let steps: Vec<f64> = wide(&steps).into_iter().map(softplus).collect();
        let log = self.vector(loaded, &outline.decay_log)?;
        if steps.len() != values.data.len() || log.len() != inner * self.state {
            return Err(self.model.misfit(&self.named(&outline.decay_log)));
        }
        let scan = Scan {
            values: &values.data,
            steps: &steps,
            write: &wide(&write),
            read: &wide(&read),
            channels: inner,
            each: inner,
            state: self.state,
        };
        let rate = |channel: usize, place: usize| -f64::from(log[channel * self.state + place]).exp();
        let y = scan.run(rate, |channel| f64::from(skip[channel]));
        let data = y.iter().zip(&gate.data).map(|(y, gate)| F::nearest(y * silu((*gate).into())));
        Ok(Activations { data: data.collect(), width: inner })
    }
}
