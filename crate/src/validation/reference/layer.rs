//! One layer of the reference forward.

use super::arithmetic::{Activations, Affine, Real, activate, add, normalize};
use super::attention::{Scores, attend, slopes};
use super::experts::Experts;
use super::latent::Latent;
use super::layer_input::{Beside, Kept};
use super::linear_attention::LinearAttention;
use super::rotary::Rotation;
use super::short_conv::ShortConv;
use super::state_space::StateSpace;
use super::weights::Loaded;
use super::{ReferenceModel, Sizes};
use crate::checkpoint::CheckpointError;
use crate::naming::outline::{ActivationKind, Map, NormKind, PositionOutline, Projection, Term};
use crate::ops::Widened;

/// A layer with its tensors, and what config.json says of it.
pub(super) struct Layer<'m> {
    model: &'m ReferenceModel<'m>,
    number: usize,
    loaded: Loaded,
    sizes: Sizes,
    /// The width inside the feed-forward part.
    inner: usize,
    /// What takes the place of attention.
    latent: Option<Latent<'m>>,
    /// What takes the place of the feed-forward part.
    experts: Option<Experts<'m>>,
    scores: Scores,
    rotation: Option<Rotation>,
    /// What the query at each position is multiplied by.
    growth: Option<Vec<f64>>,
    activation: ActivationKind,
    alphas: (f64, f64),
    residual: f64,
    /// What the layer's result is multiplied by.
    scalar: Option<f32>,
    clip: Option<f64>,
    parallel: bool,
    linear_attention: Option<LinearAttention<'m>>,
    short_conv: Option<ShortConv<'m>>,
    state_space: Option<StateSpace<'m>>,
    /// Whether it has attention or what takes its place, and a feed-forward part.
    has: (bool, bool),
}

impl<'m> Layer<'m> {
    /// Reads a layer for a sequence of so many tokens.
    pub(super) fn load(model: &'m ReferenceModel<'m>, number: usize, tokens: usize) -> Result<Self, CheckpointError> {
        let (outline, sizes) = (&model.outline, model.sizes_of(number));
        let (matrices, vectors) = names(model, number);
        let loaded = model.load(matrices, vectors)?;
        let named = |name: &str| name.replace("{layer}", &number.to_string());
        let alpha = |name: &Option<String>| {
            let numbers = name.as_ref().and_then(|name| loaded.vector(&named(name)));
            numbers.and_then(|numbers| numbers.first()).map_or(0.0, |number| f64::from(*number))
        };
        let factor = model.number_of(outline.factors.scores.as_ref());
        let scores = Scores {
            heads: (sizes.heads, sizes.groups, sizes.head),
            window: model.window(number),
            chunks: outline.window.as_ref().is_some_and(|window| window.chunks) && model.window(number) != usize::MAX,
            factor: factor.unwrap_or_else(|| (sizes.head as f64).powf(-0.5)),
            softcap: model.number_of(outline.softcaps.scores.as_ref()),
            slopes: (outline.positions == PositionOutline::Alibi).then(|| slopes(sizes.heads)),
            sinks: outline.tensors.sinks.as_ref().and_then(|name| loaded.vector(&named(name)).map(<[f32]>::to_vec)),
        };
        let activation = model.activation().unwrap_or_default();
        let has = (model.mixes(number), model.has_feedforward(number));
        let experts = if has.1 { Experts::load(model, number, activation)? } else { None };
        Ok(Self {
            number,
            sizes,
            inner: if experts.is_some() || !has.1 { 0 } else { model.inner(number)? },
            latent: Latent::load(model, number, tokens)?,
            experts,
            scores,
            rotation: model.rotation(number, sizes.head, tokens),
            growth: model
                .query_growth(number)
                .map(|growth| (0..tokens).map(growth).collect())
                .or_else(|| model.temperature(number).map(|growth| (0..tokens).map(growth).collect())),
            scalar: outline
                .tensors
                .layer_scalar
                .as_ref()
                .and_then(|name| loaded.vector(&named(name))?.first().copied()),
            activation,
            alphas: (alpha(&outline.tensors.alpha_p), alpha(&outline.tensors.alpha_n)),
            residual: model.number_of(outline.factors.residual.as_ref()).unwrap_or(1.0),
            clip: model.number_of(outline.clip.as_ref()),
            linear_attention: LinearAttention::of(model, number),
            short_conv: ShortConv::of(model, number),
            state_space: StateSpace::of(model, number),
            has,
            parallel: outline.parallel.as_ref().is_some_and(|term| model.flag(&term.0) == Some(true)),
            loaded,
            model,
        })
    }

    /// Adds to the residual stream what the layer adds.
    pub(super) fn forward<F: Real + Widened>(
        &self,
        x: &mut Activations<F>,
        beside: &mut Beside<F>,
    ) -> Result<(), CheckpointError> {
        let tensors = &self.model.outline.tensors;
        let (mut read, mut mixed) = (None, None);
        if self.has.0 {
            let input = self.normed(x, self.one_of(&tensors.attention_norm.0, true).as_deref())?;
            let own = self.normed(&self.mixed(&input, beside)?, tensors.attention_output_norm.as_deref())?;
            (read, mixed) = (Some(input), Some(own));
        }
        if let Some(mixed) = mixed.as_ref().filter(|_| !self.parallel) {
            add(x, mixed, self.residual);
        }
        if self.has.1 {
            let norm = self.one_of(&tensors.feedforward_norm.0, !self.parallel);
            let input = match (self.parallel, norm) {
                (true, None) => read.map_or_else(|| self.normed(x, None), Ok)?,
                (_, norm) => self.normed(x, norm.as_deref())?,
            };
            let inside = self.feed_forward(&input, x)?;
            let inside = self.normed(&inside, tensors.feedforward_output_norm.as_deref())?;
            if let Some(mixed) = mixed.as_ref().filter(|_| self.parallel) {
                add(x, mixed, self.residual);
            }
            add(x, &inside, self.residual);
        }
        if let Some(given) = self.model.of_layer_input(x, beside, (self.number, &self.loaded, self.activation))? {
            add(x, &given, 1.0);
        }
        if let Some(scalar) = self.scalar {
            x.data.iter_mut().for_each(|value| *value = F::nearest((*value).into() * f64::from(scalar)));
        }
        Ok(())
    }

    /// What attention, or what takes its place or stands beside it, makes of its input.
    fn mixed<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        beside: &mut Beside<F>,
    ) -> Result<Activations<F>, CheckpointError> {
        if let Some(linear) = &self.linear_attention {
            return linear.forward(input, &self.loaded);
        }
        if let Some(convolution) = &self.short_conv {
            return convolution.forward(input, &self.loaded);
        }
        let Some(space) = &self.state_space else { return self.attention(input, beside) };
        let mut mixed = space.forward(input, &self.loaded)?;
        if space.is_beside_attention() {
            add(&mut mixed, &self.attention(input, beside)?, 1.0);
        }
        Ok(mixed)
    }

    fn attention<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        beside: &mut Beside<F>,
    ) -> Result<Activations<F>, CheckpointError> {
        if let Some(latent) = &self.latent {
            return latent.forward(input);
        }
        let factors = &self.model.outline.factors;
        let input = &self.times(input, factors.attention_input.as_ref());
        let tensors = &self.model.outline.tensors;
        let mut q = self.shared(input, &tensors.query, Map::Query)?;
        let windowed = self.model.has_window_kind(self.number);
        let (mut k, mut v) = match self.model.shares_keys(self.number) {
            true => {
                let name = self.named(&tensors.key.tensor);
                beside.kept.get(&windowed).cloned().ok_or_else(|| self.model.misfit(&format!("{name}.weight")))?
            }
            false => self.keys_and_values(input)?,
        };
        let own = !self.model.shares_keys(self.number);
        let clamped = |x: &mut Activations<F>| {
            if let Some(clip) = self.clip {
                x.data.iter_mut().for_each(|value| *value = F::nearest((*value).into().clamp(-clip, clip)));
            }
        };
        if own {
            clamped(&mut v);
        }
        let late = self.model.outline.qk_norm.after_rotation;
        let heads = [self.sizes.heads, self.sizes.groups];
        for ((x, norm), heads) in [(&mut q, &tensors.query_norm), (&mut k, &tensors.key_norm)]
            .into_iter()
            .zip(heads)
            .take(1 + usize::from(own))
        {
            if !late {
                self.norm_heads(x, norm.as_deref(), heads)?;
            }
            clamped(x);
            if let Some(rotation) = &self.rotation {
                rotation.apply(x, self.sizes.head);
            }
            if late {
                self.norm_heads(x, norm.as_deref(), heads)?;
            }
        }
        if own && self.model.outline.each_layer.shares_keys.is_some() {
            beside.kept.insert(windowed, (k.clone(), v.clone()));
        }
        if let Some(growth) = &self.growth {
            for (row, growth) in q.data.chunks_exact_mut(q.width).zip(growth) {
                row.iter_mut().for_each(|value| *value = F::nearest((*value).into() * growth));
            }
        }
        let mut mixed = attend(&q, &k, &v, &self.scores);
        if let Some(gate) = &tensors.attention_gate {
            let gate = self.shared(input, gate, Map::AttentionGate)?;
            for (mixed, gate) in mixed.data.iter_mut().zip(&gate.data) {
                let gate: f64 = (*gate).into();
                *mixed = F::nearest((*mixed).into() / (1.0 + (-gate).exp()));
            }
        }
        let output = self.linear(&mixed, &tensors.output, None)?;
        Ok(self.times(&output, factors.attention_output.as_ref()))
    }

    /// x times the number of a field, if there is one.
    fn times<F: Real>(&self, x: &Activations<F>, factor: Option<&Term>) -> Activations<F> {
        let factor = self.model.number_of(factor).unwrap_or(1.0);
        let times = |value: &F| if factor == 1.0 { *value } else { F::nearest((*value).into() * factor) };
        Activations { data: x.data.iter().map(times).collect(), width: x.width }
    }

    /// The layer's own keys and values, before norm and rotation of keys.
    fn keys_and_values<F: Real + Widened>(&self, input: &Activations<F>) -> Result<Kept<F>, CheckpointError> {
        let tensors = &self.model.outline.tensors;
        let k = self.shared(input, &tensors.key, Map::Key)?;
        let term = self.model.outline.each_layer.keys_as_values.as_deref();
        let mut v = match term.is_some_and(|term| self.model.flag_of_layer(term, self.number) == Some(true)) {
            true => k.clone(),
            false => self.shared(input, &tensors.value, Map::Value)?,
        };
        if self.model.outline.qk_norm.values {
            v = self.model.bare_norm(&v, self.sizes.head);
        }
        Ok((k, v))
    }

    fn feed_forward<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        stream: &Activations<F>,
    ) -> Result<Activations<F>, CheckpointError> {
        if let Some(experts) = &self.experts {
            return experts.forward(input, stream);
        }
        let tensors = &self.model.outline.tensors;
        let factors = &self.model.outline.factors;
        let mut inside = self.shared(input, &tensors.up, Map::Up)?;
        let active = |value: F| activate(value, self.activation, self.alphas);
        match &tensors.gate {
            Some(gate) => {
                let gate = self.times(&self.shared(input, gate, Map::Gate)?, factors.gate.as_ref());
                inside.data.iter_mut().zip(&gate.data).for_each(|(up, gate)| *up = active(*gate) * *up);
            }
            None => inside.data.iter_mut().for_each(|value| *value = active(*value)),
        }
        Ok(self.times(&self.linear(&inside, &tensors.down, None)?, factors.feedforward_output.as_ref()))
    }

    fn named(&self, name: &str) -> String {
        name.replace("{layer}", &self.number.to_string())
    }

    /// Returns the name that the files have, or the last one if they must have one.
    fn one_of(&self, names: &[String], required: bool) -> Option<String> {
        if self.model.outline.norm.without_weight {
            return names.first().cloned();
        }
        let has = |name: &&String| self.loaded.vector(&format!("{}.weight", self.named(name))).is_some();
        names.iter().find(has).or(names.last().filter(|_| required)).cloned()
    }

    /// A linear layer of `outputs` outputs (all of its tensor's, if not given), of which `first` others come before it.
    fn linear<F: Real + Widened>(
        &self,
        x: &Activations<F>,
        map: &Projection,
        part: Option<(usize, usize)>,
    ) -> Result<Activations<F>, CheckpointError> {
        let name = self.named(&map.tensor);
        self.loaded.project(x, &name, part).ok_or_else(|| self.model.misfit(&format!("{name}.weight")))
    }

    /// As [`linear`](Self::linear) for a map that may share its tensor with others, whose sizes are known.
    fn shared<F: Real + Widened>(
        &self,
        x: &Activations<F>,
        map: &Projection,
        role: Map,
    ) -> Result<Activations<F>, CheckpointError> {
        let outputs = |role: &Map| match role {
            Map::Query | Map::AttentionGate => self.sizes.heads * self.sizes.head,
            Map::Key | Map::Value => self.sizes.groups * self.sizes.head,
            Map::Gate | Map::Up => self.inner,
        };
        let (first, count) = (map.after.iter().map(outputs).sum::<usize>(), outputs(&role));
        if !map.by_key_head && !map.by_head {
            return self.linear(x, map, Some((first, count)));
        }
        // The parts of each head lie together.
        let groups = if map.by_head { self.sizes.heads } else { self.sizes.groups };
        let (first, count) = (first / groups, count / groups);
        let whole = self.linear(x, map, None)?;
        let each = whole.width / groups;
        let row = |row: &[F]| -> Vec<F> {
            row.chunks_exact(each).flat_map(|group| group[first..first + count].to_vec()).collect()
        };
        if first + count > each || whole.width == 0 {
            return Err(self.model.misfit(&format!("{}.weight", self.named(&map.tensor))));
        }
        Ok(Activations { data: whole.data.chunks_exact(whole.width).flat_map(row).collect(), width: groups * count })
    }

    fn normed<F: Real>(&self, x: &Activations<F>, name: Option<&str>) -> Result<Activations<F>, CheckpointError> {
        match name {
            Some(name) => self.model.norm(&self.loaded, x, &self.named(name)),
            None => Ok(Activations { data: x.data.clone(), width: x.width }),
        }
    }

    /// The norm of queries or keys, where the file has it: over each head, or the whole row.
    fn norm_heads<F: Real>(
        &self,
        x: &mut Activations<F>,
        name: Option<&str>,
        heads: usize,
    ) -> Result<(), CheckpointError> {
        let outline = &self.model.outline.qk_norm;
        let switch = outline.switch.as_ref();
        if outline.where_rotated && !self.model.is_rotated(self.number) {
            return Ok(());
        }
        if outline.without_weight {
            if switch.is_none_or(|switch| self.model.flag(&switch.0) == Some(true)) {
                *x = self.model.bare_norm(x, self.sizes.head);
            }
            return Ok(());
        }
        let off = switch.is_some_and(|switch| self.model.flag(&switch.0) != Some(true));
        let Some(name) = name.filter(|_| !off).map(|name| self.named(name)) else { return Ok(()) };
        let numbers = |kind: &str| -> Option<Vec<f32>> {
            if !name.contains("{head}") {
                return self.loaded.vector(&format!("{name}.{kind}")).map(<[f32]>::to_vec);
            }
            let of = |head: usize| self.loaded.vector(&format!("{}.{kind}", name.replace("{head}", &head.to_string())));
            (0..heads).map(of).collect::<Option<Vec<_>>>().map(|parts| parts.concat())
        };
        let Some(weight) = numbers("weight") else {
            return if switch.is_some() { Err(self.model.misfit(&format!("{name}.weight"))) } else { Ok(()) };
        };
        let affine = Affine { weight, bias: numbers("bias").unwrap_or_default() };
        let whole = self.model.outline.qk_norm.whole_width;
        *x = self.model.normalized(x, affine, if whole { x.width } else { self.sizes.head });
        Ok(())
    }
}

/// Returns the matrices of a layer by the outline, and what is a row of numbers whatever its shape.
fn names(model: &ReferenceModel<'_>, number: usize) -> (Vec<String>, Vec<String>) {
    let (tensors, sizes) = (&model.outline.tensors, model.sizes_of(number));
    let named = |name: &String| name.replace("{layer}", &number.to_string());
    let both = |name: String| [format!("{name}.weight"), format!("{name}.bias")];
    let maps = [&tensors.query, &tensors.key, &tensors.value, &tensors.output, &tensors.up, &tensors.down];
    let maps = maps.into_iter().chain(&tensors.gate).map(|map| named(&map.tensor));
    let linear = LinearAttention::of(model, number).map(|linear| linear.names());
    let linear = linear.or_else(|| Some(ShortConv::of(model, number)?.names()));
    let (linear, rows) = linear.or_else(|| Some(StateSpace::of(model, number)?.names())).unwrap_or_default();
    let input = model.layer_input_names(number);
    let inputs = input.iter().flat_map(|[gate, output, _]| [gate.clone(), output.clone()]);
    let maps = maps.chain(linear).chain(inputs).flat_map(both).collect();
    let outputs = [&tensors.attention_output_norm, &tensors.feedforward_output_norm].into_iter().flatten();
    let norms = tensors.attention_norm.0.iter().chain(&tensors.feedforward_norm.0).chain(outputs).map(named);
    let each = |(name, heads): (&Option<String>, usize)| -> Vec<String> {
        match name {
            None => Vec::new(),
            Some(name) if name.contains("{head}") => {
                (0..heads).map(|head| named(name).replace("{head}", &head.to_string())).collect()
            }
            Some(name) => vec![named(name)],
        }
    };
    let heads = [(&tensors.query_norm, sizes.heads), (&tensors.key_norm, sizes.groups)].into_iter().flat_map(each);
    let bare = [&tensors.sinks, &tensors.alpha_p, &tensors.alpha_n, &tensors.layer_scalar];
    let bare = bare.into_iter().flatten().map(named);
    let of_input = input.iter().map(|[.., norm]| norm.clone());
    (maps, norms.chain(heads).chain(of_input).flat_map(both).chain(bare).chain(rows).collect())
}

impl ReferenceModel<'_> {
    /// The norm of this name over each row.
    pub(super) fn norm<F: Real>(
        &self,
        loaded: &Loaded,
        x: &Activations<F>,
        name: &str,
    ) -> Result<Activations<F>, CheckpointError> {
        let weight = format!("{name}.weight");
        if self.outline.norm.without_weight {
            return Ok(self.normalized(x, Affine::default(), x.width));
        }
        let missing = || CheckpointError::NoTensor { tensor: weight.clone(), path: self.checkpoint.path().to_owned() };
        let weight = loaded.vector(&weight).ok_or_else(missing)?.to_vec();
        let bias = loaded.vector(&format!("{name}.bias")).map(<[f32]>::to_vec).unwrap_or_default();
        Ok(self.normalized(x, Affine { weight, bias }, x.width))
    }

    /// The same over each row with these weights.
    pub(super) fn scaled_norm<F: Real>(&self, x: &Activations<F>, weight: &[f32]) -> Activations<F> {
        self.normalized(x, Affine { weight: weight.to_vec(), bias: Vec::new() }, x.width)
    }

    /// The same over each part of `over` elements, without weights.
    pub(super) fn bare_norm<F: Real>(&self, x: &Activations<F>, over: usize) -> Activations<F> {
        self.normalized(x, Affine::default(), over)
    }

    /// Normalizes each part of `over` elements of each row.
    fn normalized<F: Real>(&self, x: &Activations<F>, mut affine: Affine, over: usize) -> Activations<F> {
        let norm = &self.outline.norm;
        affine.weight.iter_mut().for_each(|weight| *weight += norm.offset);
        let eps = self.number(&norm.eps).unwrap_or(match norm.kind {
            NormKind::RmsNorm => 1e-6,
            NormKind::LayerNorm => 1e-5,
        });
        normalize(x, norm.kind, &affine, (over, eps))
    }

    /// Returns the width inside the feed-forward part: the inputs of its last map.
    fn inner(&self, layer: usize) -> Result<usize, CheckpointError> {
        let name = format!("{}.weight", self.outline.tensors.down.tensor.replace("{layer}", &layer.to_string()));
        let elements =
            self.checkpoint.table().get(&self.stored(&name).into()).map(|row| row.shape.iter().product::<usize>());
        let missing = || CheckpointError::NoTensor { tensor: name.clone(), path: self.checkpoint.path().to_owned() };
        Ok(elements.ok_or_else(missing)? / self.size(&self.outline.width).unwrap_or(1).max(1))
    }
}
