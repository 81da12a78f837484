//! Mixtures of experts of the reference forward.

use super::ReferenceModel;
use super::arithmetic::{Activations, Real, activate};
use crate::checkpoint::CheckpointError;
use crate::naming::outline::{ActivationKind, ExpertsOutline, GroupsOutline, MatrixOutline, ScoreOutline};
use crate::ops::{Matrix, Widened};

/// The experts of a layer, and what chooses them.
pub(super) struct Experts<'m> {
    model: &'m ReferenceModel<'m>,
    outline: &'m ExpertsOutline,
    active: usize,
    router: Linear,
    correction: Vec<f32>,
    experts: Vec<Expert>,
    shared: Option<Expert>,
    factor: Option<Linear>,
    activation: ActivationKind,
    clamped: Option<(f64, f64)>,
    beside: Option<Beside>,
}

/// Norms and factors of experts that read the residual stream itself.
struct Beside {
    norm: Vec<f32>,
    output_norm: Vec<f32>,
    shared_norm: Vec<f32>,
    router_scale: Vec<f32>,
    expert_scale: Vec<f32>,
}

/// x Wᵀ + b.
pub(super) struct Linear {
    weight: Matrix,
    /// None: 0.
    bias: Vec<f32>,
}

/// The matrices of an expert.
struct Expert {
    gate: Inputs,
    down: Linear,
}

/// What makes gate and up.
enum Inputs {
    Separate { gate: Linear, up: Linear },
    Together { both: Linear, alternating: bool },
    Ungated { up: Linear },
}

impl Linear {
    pub(super) fn apply<F: Real + Widened>(&self, x: &Activations<F>) -> Option<Activations<F>> {
        let width = self.weight.outputs();
        let mut y = Activations { data: self.weight.product(&x.data, 0..width)?, width };
        if !self.bias.is_empty() {
            for row in y.data.chunks_exact_mut(width.max(1)) {
                row.iter_mut().zip(&self.bias).for_each(|(value, bias)| *value += F::from(*bias));
            }
        }
        Some(y)
    }
}

impl<'m> Experts<'m> {
    /// Reads the experts of a layer, if it has some.
    pub(super) fn load(
        model: &'m ReferenceModel<'m>,
        layer: usize,
        activation: ActivationKind,
    ) -> Result<Option<Self>, CheckpointError> {
        let Some(outline) = &model.outline.experts else { return Ok(None) };
        let named = |name: &str| name.replace("{layer}", &layer.to_string());
        let has_experts = match &outline.layers {
            Some(term) => model.flag_of_layer(term, layer) == Some(true),
            None => model.has(&format!("{}.weight", named(&outline.router))),
        };
        if !has_experts {
            return Ok(None);
        }
        let count = model.size(&outline.count).unwrap_or(0);
        let linear = |name: &str| model.whole(&named(name));
        let of_expert = |name: &Option<String>, expert: usize| {
            let name = name.as_deref().unwrap_or_default();
            model.whole(&named(name).replace("{expert}", &expert.to_string()))
        };
        let expert = |index: usize| match &outline.stacked {
            Some(stacked) if outline.ungated => Ok(Expert {
                gate: Inputs::Ungated { up: model.slice(&named(&stacked.gate_up), index, stacked.inputs_first)? },
                down: model.slice(&named(&stacked.down), index, stacked.inputs_first)?,
            }),
            None if outline.ungated => Ok(Expert {
                gate: Inputs::Ungated { up: of_expert(&outline.up, index)? },
                down: of_expert(&outline.down, index)?,
            }),
            Some(stacked) => Ok(Expert {
                gate: Inputs::Together {
                    both: model.slice(&named(&stacked.gate_up), index, stacked.inputs_first)?,
                    alternating: stacked.alternating,
                },
                down: model.slice(&named(&stacked.down), index, stacked.inputs_first)?,
            }),
            None => Ok::<_, CheckpointError>(Expert {
                gate: Inputs::Separate { gate: of_expert(&outline.gate, index)?, up: of_expert(&outline.up, index)? },
                down: of_expert(&outline.down, index)?,
            }),
        };
        let shared = outline.shared.as_ref();
        let shared_expert = shared.map(|shared| {
            Ok::<_, CheckpointError>(Expert {
                gate: match &shared.gate {
                    Some(gate) => Inputs::Separate { gate: linear(gate)?, up: linear(&shared.up)? },
                    None if outline.ungated => Inputs::Ungated { up: linear(&shared.up)? },
                    None => Inputs::Together { both: linear(&shared.up)?, alternating: false },
                },
                down: linear(&shared.down)?,
            })
        });
        let factor = shared.and_then(|shared| shared.factor.as_deref()).map(linear).transpose()?;
        let correction = match &outline.correction {
            Some(name) => model.vector(&named(name))?,
            None => Vec::new(),
        };
        let beside = outline.beside.as_ref().map(|beside| {
            let numbers = |name: &String| model.vector(&named(name));
            let norm = |name: &String| model.vector(&format!("{}.weight", named(name)));
            Ok::<_, CheckpointError>(Beside {
                norm: norm(&beside.norm)?,
                output_norm: norm(&beside.output_norm)?,
                shared_norm: norm(&beside.shared_norm)?,
                router_scale: numbers(&beside.router_scale)?,
                expert_scale: numbers(&beside.expert_scale)?,
            })
        });
        let clamped = outline
            .clamped
            .as_ref()
            .and_then(|clamped| Some((model.number(&clamped.alpha)?, model.number(&clamped.limit)?)));
        Ok(Some(Self {
            active: model.size(&outline.active).unwrap_or(1).clamp(1, count.max(1)),
            router: linear(&outline.router)?,
            correction,
            experts: (0..count).map(expert).collect::<Result<_, _>>()?,
            shared: shared_expert.transpose()?,
            factor,
            activation,
            clamped,
            beside: beside.transpose()?,
            outline,
            model,
        }))
    }

    /// What the experts make of each row x, which was made of the residual stream's.
    pub(super) fn forward<F: Real + Widened>(
        &self,
        input: &Activations<F>,
        stream: &Activations<F>,
    ) -> Result<Activations<F>, CheckpointError> {
        let misfit = || self.model.misfit(&self.outline.router);
        let normed = |x: &Activations<F>, weight: &[f32]| self.model.scaled_norm(x, weight);
        let (x, routed) = match &self.beside {
            None => (input.clone(), input.clone()),
            Some(beside) => {
                let mut routed = normed(stream, &beside.router_scale);
                let root = (routed.width as f64).sqrt();
                routed.data.iter_mut().for_each(|value| *value = F::nearest((*value).into() / root));
                (normed(stream, &beside.norm), routed)
            }
        };
        let x = &x;
        let logits = self.router.apply(&routed).ok_or_else(misfit)?;
        let mut uses: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.experts.len()];
        for (token, logits) in logits.data.chunks_exact(logits.width.max(1)).enumerate() {
            let logits: Vec<f64> = logits.iter().map(|&logit| logit.into()).collect();
            for (expert, weight) in self.route(&logits) {
                uses.get_mut(expert).ok_or_else(misfit)?.push((token, weight));
            }
        }
        let mut y = vec![F::default(); x.data.len()];
        for (expert, uses) in self.experts.iter().zip(&uses).filter(|(_, uses)| !uses.is_empty()) {
            let mut rows = Vec::with_capacity(uses.len() * x.width);
            for (token, weight) in uses {
                let before = if self.outline.weigh_inputs { *weight } else { 1.0 };
                rows.extend(x.data[token * x.width..][..x.width].iter().map(|&value| times(value, before)));
            }
            let made = self.one(expert, &Activations { data: rows, width: x.width }).ok_or_else(misfit)?;
            for ((token, weight), made) in uses.iter().zip(made.data.chunks_exact(x.width)) {
                let after = if self.outline.weigh_inputs { 1.0 } else { *weight };
                y[token * x.width..][..x.width].iter_mut().zip(made).for_each(|(y, made)| *y += times(*made, after));
            }
        }
        if let Some(beside) = &self.beside {
            y = normed(&Activations { data: y, width: x.width }, &beside.output_norm).data;
        }
        if let Some(shared) = &self.shared {
            let mut made = self.one(shared, input).ok_or_else(misfit)?;
            if let Some(beside) = &self.beside {
                made = normed(&made, &beside.shared_norm);
            }
            if let Some(factor) = &self.factor {
                let factors = factor.apply(input).ok_or_else(misfit)?;
                for (row, &factor) in made.data.chunks_exact_mut(x.width).zip(&factors.data) {
                    row.iter_mut().for_each(|value| *value = times(*value, logistic(factor.into())));
                }
            }
            y.iter_mut().zip(&made.data).for_each(|(y, made)| *y += *made);
        }
        Ok(Activations { data: y, width: x.width })
    }

    /// What one expert makes of each row.
    fn one<F: Real + Widened>(&self, expert: &Expert, x: &Activations<F>) -> Option<Activations<F>> {
        let (gates, ups): (Vec<F>, Vec<F>) = match &expert.gate {
            Inputs::Ungated { up } => {
                let up = up.apply(x)?;
                let data = up.data.iter().map(|&up| activate(up, self.activation, (0.0, 0.0)));
                return expert.down.apply(&Activations { data: data.collect(), width: up.width });
            }
            Inputs::Separate { gate, up } => (gate.apply(x)?.data, up.apply(x)?.data),
            Inputs::Together { both, alternating } => {
                let both = both.apply(x)?;
                let half = both.width / 2;
                let place = |index: usize, second: usize| match alternating {
                    true => 2 * index + second,
                    false => index + second * half,
                };
                let of = |second: usize| {
                    let rows = both.data.chunks_exact(both.width.max(1));
                    rows.flat_map(|row| (0..half).map(move |index| row[place(index, second)])).collect()
                };
                (of(0), of(1))
            }
        };
        let width = gates.len() / (x.data.len() / x.width.max(1)).max(1);
        let inside = gates.iter().zip(&ups).map(|(&gate, &up)| match self.clamped {
            Some((alpha, limit)) => {
                let (gate, up): (f64, f64) = (gate.into(), up.into());
                let gate = gate.min(limit);
                F::nearest(gate * logistic(alpha * gate) * (up.clamp(-limit, limit) + 1.0))
            }
            None => activate(gate, self.activation, (0.0, 0.0)) * up,
        });
        expert.down.apply(&Activations { data: inside.collect(), width })
    }

    /// Returns the experts of a token and their weights.
    fn route(&self, logits: &[f64]) -> Vec<(usize, f64)> {
        let outline = self.outline;
        let scores = match outline.score {
            ScoreOutline::Softmax => softmax(logits),
            ScoreOutline::SoftmaxOfChosen => logits.to_vec(),
            ScoreOutline::Sigmoid => logits.iter().map(|&logit| logistic(logit)).collect(),
            ScoreOutline::SparseMixer => return self.sparse_mixer(logits),
        };
        let mut judged: Vec<f64> = scores.clone();
        judged.iter_mut().zip(&self.correction).for_each(|(score, correction)| *score += f64::from(*correction));
        if let Some(groups) = outline.groups.as_ref().filter(|groups| self.uses(groups)) {
            let count = self.model.size(&groups.count).unwrap_or(1).max(1);
            let size = (judged.len() / count).max(1);
            let of = |group: &[f64]| {
                let best = largest(group, if groups.best_two { 2 } else { 1 });
                best.into_iter().map(|place| group[place]).sum::<f64>()
            };
            let of_groups: Vec<f64> = judged.chunks(size).map(of).collect();
            let allowed = largest(&of_groups, self.model.size(&groups.active).unwrap_or(count));
            for (expert, score) in judged.iter_mut().enumerate() {
                if !allowed.contains(&(expert / size)) {
                    *score = f64::NEG_INFINITY;
                }
            }
        }
        let chosen = largest(&judged, self.active);
        let mut weights: Vec<f64> = chosen.iter().map(|&expert| scores[expert]).collect();
        if outline.score == ScoreOutline::SoftmaxOfChosen {
            weights = softmax(&weights);
        }
        let said = outline.normalized_if.as_deref().and_then(|term| self.model.flag(term));
        if outline.normalized || said == Some(true) {
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        let scaling = outline.scaling.as_deref().and_then(|term| self.model.number(term)).unwrap_or(1.0);
        let own = |expert: usize| {
            let scales = self.beside.as_ref().and_then(|beside| beside.expert_scale.get(expert));
            scales.map_or(1.0, |scale| f64::from(*scale))
        };
        chosen.into_iter().zip(weights).map(|(expert, weight)| (expert, weight * scaling * own(expert))).collect()
    }

    fn uses(&self, groups: &GroupsOutline) -> bool {
        groups.used_if.as_deref().is_none_or(|term| self.model.flag(term) == Some(true))
    }

    /// One expert after the other: its weight is its share among those whose logits are close to its own.
    fn sparse_mixer(&self, logits: &[f64]) -> Vec<(usize, f64)> {
        let jitter = self.outline.jitter.as_deref().and_then(|term| self.model.number(term)).unwrap_or(0.0);
        let mut left: Vec<f64> = logits.to_vec();
        let mut chosen = Vec::new();
        for _ in 0..self.active {
            let Some(&best) = largest(&left, 1).first() else { break };
            let top = left[best];
            let close = logits
                .iter()
                .zip(&left)
                .filter(|(logit, left)| left.is_finite() && (top - **logit) / logit.abs().max(top) <= 2.0 * jitter);
            chosen.push((best, 1.0 / close.map(|(logit, _)| (logit - top).exp()).sum::<f64>()));
            left[best] = f64::NEG_INFINITY;
        }
        chosen
    }
}

impl ReferenceModel<'_> {
    /// A linear layer with a tensor of its own.
    pub(super) fn whole(&self, name: &str) -> Result<Linear, CheckpointError> {
        let weight = format!("{name}.weight");
        let row = self.checkpoint.table().get(&self.stored(&weight).into());
        let rows = row.and_then(|row| row.shape.first().copied()).unwrap_or(0);
        let mut matrix = self.matrix(&weight, (0, rows))?;
        if self.outline.matrices == MatrixOutline::InputsFirst {
            matrix = matrix.transposed();
        }
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { self.vector(&bias)? } else { Vec::new() };
        Ok(Linear { weight: matrix, bias })
    }

    /// One of several linear layers that are stacked.
    fn slice(&self, name: &str, index: usize, inputs_first: bool) -> Result<Linear, CheckpointError> {
        let width = self.checkpoint.table().get(&self.stored(name).into()).and_then(|row| row.shape.last().copied());
        let matrix = self.matrix(name, (index, 1))?.with_inputs(width.unwrap_or(1));
        let weight = if inputs_first { matrix.transposed() } else { matrix };
        let bias = format!("{name}_bias");
        let bias = if self.has(&bias) { self.row(&bias, index)? } else { Vec::new() };
        Ok(Linear { weight, bias })
    }

    /// The numbers of a tensor.
    pub(super) fn vector(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let loaded = self.load([], [name.to_owned()])?;
        loaded.vector(name).map(<[f32]>::to_vec).ok_or_else(|| self.misfit(name))
    }
}

fn times<F: Real>(value: F, factor: f64) -> F {
    if factor == 1.0 { value } else { F::nearest(value.into() * factor) }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|logit| (logit - top).exp()).sum();
    logits.iter().map(|logit| (logit - top).exp() / total).collect()
}

/// Returns the places of the largest numbers, the largest first; of equal ones the first.
fn largest(numbers: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..numbers.len()).collect();
    places.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    places.truncate(count);
    places
}
