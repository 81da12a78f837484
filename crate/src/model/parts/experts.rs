//! A mixture of experts: a router chooses a few for each token, and each expert computes the tokens that chose it.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::parts::feed_forward::FeedForward;
use crate::model::parts::layer::{child, leaf_if_any, linear, norm_if_any};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::ops::{
    Choice, GatedMatrices, Grouping, Routes, by_parts, choose, combine_rows, embedding, grouped_gated, split_rows,
};
use crate::spec::{Mixer, Node, Part, Role, RouterForm, RouterScore};

/// Keeps a sum of weights that are all zero from being divided by.
const TINY: f64 = 1e-20;

/// Experts and what chooses them.
#[derive(Clone, Debug)]
pub(in crate::model) struct Experts {
    form: RouterForm,
    router: Linear,
    /// Added to scores where experts are chosen.
    correction: Option<Tensor>,
    experts: Vec<FeedForward>,
    shared: Option<SharedExpert>,
    norms: OwnNorms,
    /// `[experts]`: factors on weights.
    scales: Option<Tensor>,
}

/// Norms of a mixture that has its own.
#[derive(Clone, Debug)]
struct OwnNorms {
    router: Option<Norm>,
    before: Option<Norm>,
    after: Option<Norm>,
    after_shared: Option<Norm>,
}

/// The expert that every token uses.
#[derive(Clone, Debug)]
struct SharedExpert {
    expert: FeedForward,
    gate: Option<Linear>,
}

impl Experts {
    pub(in crate::model) fn load(node: &Node, form: &RouterForm, vb: &VarBuilder) -> Result<Self> {
        let router = linear(node, Role::Router, vb)?;
        let correction = match leaf_if_any(node, Role::RouterCorrection, vb) {
            // The leaf adds no segment of its own.
            Some((leaf, _)) => {
                leaf.params().first().map(|param| vb.get(param.shape.clone(), param.name)).transpose()?
            }
            None => None,
        };
        let (list, inside) = child(node, |part| matches!(part, Part::Experts { .. }), vb)?;
        let expert = |index: usize| {
            let place = if list.repeat.is_some() { 0 } else { index };
            match list.children.get(place).map(|expert| (expert, &expert.part)) {
                Some((expert, Part::Mixer(mixer))) => FeedForward::load(expert, mixer, &inside.pp(index)),
                _ => candle_core::bail!("there is no expert {index}"),
            }
        };
        let experts = (0..form.experts).map(expert).collect::<Result<_>>()?;
        let is_mlp =
            |part: &Part| matches!(part, Part::Mixer(Mixer::GatedFeedForward { .. } | Mixer::FeedForward { .. }));
        let shared = match node.children.iter().find(|child| is_mlp(&child.part)).map(|child| (child, &child.part)) {
            Some((child, Part::Mixer(mixer))) => Some(SharedExpert {
                expert: FeedForward::load(child, mixer, &vb.pp(&child.name))?,
                gate: node.child(Role::SharedScale).map(|_| linear(node, Role::SharedScale, vb)).transpose()?,
            }),
            _ => None,
        };
        let scales = leaf_if_any(node, Role::RouterExpertScale, vb).and_then(|(leaf, _)| leaf.params().pop());
        let scales = scales.map(|param| vb.get(param.shape, param.name)).transpose()?;
        let norms = OwnNorms {
            router: norm_if_any(node, Role::RouterNorm, vb)?,
            before: norm_if_any(node, Role::ExpertNorm, vb)?,
            after: norm_if_any(node, Role::ExpertPostNorm, vb)?,
            after_shared: norm_if_any(node, Role::SharedPostNorm, vb)?,
        };
        Ok(Self { form: *form, router, correction, experts, shared, norms, scales })
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number. Experts that have norms of their own read `stream`
    /// instead of x, and so does their router.
    pub(in crate::model) fn forward(
        &self,
        (x, stream): (&Tensor, &Tensor),
        context: &Context,
        layer: usize,
    ) -> Result<Tensor> {
        let (batch, seq, hidden) = x.dims3()?;
        let tokens = x.reshape((batch * seq, hidden))?;
        let read = if self.form.own_norms { stream.reshape((batch * seq, hidden))? } else { tokens.clone() };
        let normed = |norm: &Option<Norm>, x: Tensor| norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward(&x));
        let (chosen, weights) = self.route(&normed(&self.norms.router, read.clone())?, context, layer)?;
        let routed = self.routed(&normed(&self.norms.before, read)?, &chosen, &weights, context, layer)?;
        let routed = normed(&self.norms.after, routed)?;
        let y = match &self.shared {
            None => routed,
            Some(shared) => {
                let always = shared.expert.forward(&tokens, context, layer)?;
                let always = match &shared.gate {
                    Some(gate) => always.broadcast_mul(&candle_nn::ops::sigmoid(&gate.forward(&tokens)?)?)?,
                    None => always,
                };
                (routed + normed(&self.norms.after_shared, always)?)?
            }
        };
        y.reshape((batch, seq, hidden))
    }

    /// Returns the experts of each token of x `[tokens, hidden]`, `active` each, and their weights `[tokens, active]` in
    /// float32 or float64.
    fn route(&self, x: &Tensor, context: &Context, layer: usize) -> Result<(Vec<u32>, Tensor)> {
        let form = &self.form;
        let logits = self.router.forward(x)?;
        let logits = if form.logits_scale == 1.0 { logits } else { (logits * form.logits_scale)? };
        let wide = if logits.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let logits = logits.to_dtype(wide)?;
        let balanced = |logits: Tensor, chosen: &[u32]| match (&context.balance, form.aux_loss) {
            (Some(balance), coefficient) if coefficient != 0.0 => {
                let counts = Grouping::new(chosen, form.active, form.experts).counts;
                balance.watch(&logits, layer, &counts, coefficient)
            }
            _ => Ok(logits),
        };
        if let Some(routes) = Routes::choose(&logits, self.correction.as_ref(), form)? {
            let chosen = routes.experts()?;
            let weights = self.scaled(routes.weights(&balanced(logits, &chosen)?)?, &chosen)?;
            return Ok((chosen, weights));
        }
        if form.score == RouterScore::SparseMixer {
            let (chosen, _) = self.mixed(&logits.detach())?;
            return self.mixed(&balanced(logits, &chosen)?);
        }
        let chosen = self.choose(&self.scores(&logits.detach())?)?;
        let scores = self.scores(&balanced(logits, &chosen)?)?;
        let index = Tensor::from_vec(chosen.clone(), (x.dim(0)?, form.active), x.device())?;
        let weights = scores.gather(&index, D::Minus1)?;
        let weights = if form.softmax_after_topk { candle_nn::ops::softmax(&weights, D::Minus1)? } else { weights };
        let weights = match form.norm_topk {
            true => weights.broadcast_div(&(weights.sum_keepdim(D::Minus1)? + TINY)?)?,
            false => weights,
        };
        let weights = self.scaled(weights, &chosen)?;
        Ok((chosen, if form.scaling == 1.0 { weights } else { (weights * form.scaling)? }))
    }

    /// Multiplies the weights of the chosen experts by their own factors, if they have some.
    fn scaled(&self, weights: Tensor, chosen: &[u32]) -> Result<Tensor> {
        let Some(scales) = &self.scales else { return Ok(weights) };
        let index = Tensor::from_vec(chosen.to_vec(), chosen.len(), weights.device())?;
        &weights * scales.to_dtype(weights.dtype())?.index_select(&index, 0)?.reshape(weights.shape())?
    }

    /// Returns the scores that logits make.
    fn scores(&self, logits: &Tensor) -> Result<Tensor> {
        match self.form.score {
            RouterScore::Softmax if self.form.softmax_after_topk => Ok(logits.clone()),
            RouterScore::Softmax => candle_nn::ops::softmax(logits, D::Minus1),
            RouterScore::Sigmoid => candle_nn::ops::sigmoid(logits),
            RouterScore::SparseMixer => candle_core::bail!("SparseMixer makes weights of logits"),
        }
    }

    /// Returns the experts of each token by their scores, `active` each.
    fn choose(&self, scores: &Tensor) -> Result<Vec<u32>> {
        let form = &self.form;
        let judged = match &self.correction {
            Some(correction) => scores.broadcast_add(&correction.detach().to_dtype(scores.dtype())?)?,
            None => scores.clone(),
        };
        let choice = Choice {
            active: form.active,
            groups: form.groups.0,
            active_groups: form.groups.1,
            group_by: form.group_score,
        };
        let experts = judged.dim(1)?;
        Ok(choose(&judged.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, experts, &choice))
    }

    /// Chooses one expert after the other. The weight of each is its softmax over the logits, without those of experts
    /// that were chosen before, that are close to its own.
    fn mixed(&self, logits: &Tensor) -> Result<(Vec<u32>, Tensor)> {
        let (tokens, experts) = logits.dims2()?;
        let known: Vec<Vec<f32>> = logits.detach().to_dtype(DType::F32)?.to_vec2()?;
        let mut chosen = vec![0u32; tokens * self.form.active];
        let mut taken = vec![false; tokens * experts];
        let mut weights = Vec::new();
        for round in 0..self.form.active {
            let mut outside = vec![0u8; tokens * experts];
            for (token, logits) in known.iter().enumerate() {
                let taken = &mut taken[token * experts..][..experts];
                let (mut best, mut top) = (0, f32::NEG_INFINITY);
                for (index, &logit) in logits.iter().enumerate() {
                    if !taken[index] && logit > top {
                        (best, top) = (index, logit);
                    }
                }
                for (index, &logit) in logits.iter().enumerate() {
                    let far = (top - logit) / logit.abs().max(top) > self.form.threshold as f32;
                    outside[token * experts + index] = u8::from(far || taken[index]);
                }
                taken[best] = true;
                chosen[token * self.form.active + round] = best as u32;
            }
            let outside = Tensor::from_vec(outside, (tokens, experts), logits.device())?;
            let nothing = Tensor::full(-1e30f32, (tokens, experts), logits.device())?.to_dtype(logits.dtype())?;
            let scores = candle_nn::ops::softmax(&outside.where_cond(&nothing, logits)?, D::Minus1)?;
            let best: Vec<u32> = chosen.iter().skip(round).step_by(self.form.active).copied().collect();
            weights.push(scores.gather(&Tensor::from_vec(best, (tokens, 1), logits.device())?, D::Minus1)?);
        }
        Ok((chosen, Tensor::cat(&weights, 1)?))
    }

    /// What the chosen experts make of x `[tokens, hidden]`, weighted and summed.
    fn routed(&self, x: &Tensor, chosen: &[u32], weights: &Tensor, context: &Context, layer: usize) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let active = self.form.active;
        let grouping = Grouping::new(chosen, active, self.form.experts);
        let on_device = |index: Vec<u32>| {
            let count = index.len();
            Tensor::from_vec(index, count, x.device())
        };
        let weights = weights.to_dtype(x.dtype())?;
        let mut rows = embedding(x, &on_device(grouping.tokens())?)?;
        if self.form.scales_input {
            let factors = weights.reshape((tokens * active, 1))?;
            rows = rows.broadcast_mul(&embedding(&factors, &on_device(grouping.order.clone())?)?)?;
        }
        let results = self.of_groups(&rows, &grouping, context, layer)?;
        let slots = on_device(grouping.inverse())?;
        if !self.form.scales_input {
            return combine_rows(&results, &slots, &weights);
        }
        let y = embedding(&results, &slots)?.reshape((tokens, active, hidden))?;
        if active == 1 { y.squeeze(1) } else { y.sum(1) }
    }

    /// What each expert makes of its rows.
    fn of_groups(&self, rows: &Tensor, grouping: &Grouping, context: &Context, layer: usize) -> Result<Tensor> {
        let (used, sizes) = (grouping.used().collect::<Vec<_>>(), grouping.sizes());
        // A training step collects gradients.
        let collects = context.balance.is_some();
        let plain = used.iter().map(|&expert| self.experts[expert].plain(context.dropout.is_some()));
        if let Some(plain) = plain.collect::<Option<Vec<_>>>().filter(|plain| !plain.is_empty()) {
            let activation = plain[0].1;
            let alike = plain.iter().all(|(_, function)| *function == activation);
            let matrices: Vec<GatedMatrices> = plain.into_iter().map(|(matrices, _)| matrices).collect();
            let tracked = |of: &GatedMatrices| [&of.gate, &of.up, &of.down].into_iter().any(Tensor::track_op);
            if alike && (collects || !matrices.iter().any(tracked)) {
                return grouped_gated(rows, &sizes, &matrices, activation);
            }
        }
        let compute = |part: usize, rows: &Tensor| self.experts[used[part]].forward(rows, context, layer);
        if collects {
            return by_parts(rows, &sizes, compute);
        }
        let parts = split_rows(rows, &sizes)?;
        let results = parts.iter().enumerate().map(|(part, rows)| compute(part, rows));
        Tensor::cat(&results.collect::<Result<Vec<_>>>()?, 0)
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let shared = self.shared.iter_mut().flat_map(|shared| shared.expert.linears_mut());
        self.experts.iter_mut().flat_map(FeedForward::linears_mut).chain(shared).collect()
    }

    /// Returns the linear layers that are not quantized.
    pub(in crate::model) fn routers_mut(&mut self) -> Vec<&mut Linear> {
        let gate = self.shared.iter_mut().filter_map(|shared| shared.gate.as_mut());
        std::iter::once(&mut self.router).chain(gate).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Batch;
    use crate::model::context::SharedInputs;
    use crate::model::parameters::initial::InitialWeights;
    use crate::model::parameters::recorder::load_with;
    use crate::ops::{AttentionImplementation, collected};
    use crate::spec::{DType as SpecType, ModelConfig, ModelSpec, ParamPath};

    fn experts_of(node: &Node) -> Option<&Node> {
        match &node.part {
            Part::Mixer(Mixer::Experts(_)) => Some(node),
            _ => node.children.iter().find_map(experts_of),
        }
    }

    fn node(fields: &Value) -> Node {
        let mut json = json!({
            "model_type": "llama", "vocab_size": 8, "hidden_size": 6, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "head_dim": 4, "feed_forward_type": "experts", "num_experts": 4,
            "moe_intermediate_size": 5, "initialization": [{ "match": "", "init": { "normal": { "std": 0.7 } } }],
        });
        json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let config = ModelConfig::from_project(&json, "a test").unwrap();
        experts_of(&ModelSpec::resolve(&config).root).unwrap().clone()
    }

    /// The gradient of every parameter and of x, each entry against a finite difference in float64.
    fn check(fields: &Value, training: bool) {
        let node = node(fields);
        let Part::Mixer(Mixer::Experts(form)) = &node.part else { unreachable!() };
        let root = Node {
            name: String::new(),
            part: Part::Layers,
            role: None,
            repeat: None,
            children: vec![Node { name: "part".to_owned(), ..node.clone() }],
        };
        let table = ModelSpec { root, ties: Vec::new() }.table(SpecType::F64);
        let (device, weights) = (Device::Cpu, Box::new(InitialWeights::new(&table, 3)));
        let load = |vb: &VarBuilder| Experts::load(&node, form, &vb.pp("part"));
        let (module, parameters) = load_with(weights, &table, SpecType::F64, &device, true, load).unwrap();
        let wave = |shape: &[usize], from: f64| {
            let values =
                (0..shape.iter().product()).map(|place| ((place as f64 + from) * 1.7).sin()).collect::<Vec<f64>>();
            Tensor::from_vec(values, shape, &device).unwrap()
        };
        let (x, factors) = (Var::from_tensor(&wave(&[2, 5, 6], 0.0)).unwrap(), wave(&[2, 5, 6], 9.0));
        let batch = Batch::new(vec![vec![0; 5]; 2]).unwrap();
        let shared = SharedInputs::of(&node);
        let context = Context::new(&shared, &batch, 0, &device, AttentionImplementation::default(), None).unwrap();
        let context = if training { context.for_training() } else { context };
        let loss = || (module.forward((x.as_tensor(), x.as_tensor()), &context, 0)? * &factors)?.sum_all();
        let (mut store, mut gradients) = collected(|| loss()?.backward()).unwrap();
        let variables = [(ParamPath::from("x"), x.clone())].into_iter().chain(parameters.variables());
        for (path, variable) in variables {
            let sum = match (gradients.remove(variable.as_tensor()), store.remove(variable.as_tensor())) {
                (Some(one), Some(other)) => Some((one + other).unwrap()),
                (one, other) => one.or(other),
            };
            let start = variable.as_tensor().copy().unwrap();
            let count = start.elem_count();
            let found = sum.map_or(vec![0.0; count], |sum| sum.flatten_all().unwrap().to_vec1::<f64>().unwrap());
            let values = start.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for place in 0..count {
                let moved = |by: f64| {
                    let mut values = values.clone();
                    values[place] += by;
                    variable.set(&Tensor::from_vec(values, start.shape(), &device).unwrap()).unwrap();
                    loss().unwrap().to_scalar::<f64>().unwrap()
                };
                let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!(
                    (found[place] - expected).abs() < 1e-6,
                    "{fields}: {path}, {place}: {} {expected}",
                    found[place]
                );
            }
            variable.set(&start).unwrap();
        }
    }

    #[test]
    fn gradients_reach_router_and_experts_as_differences_say() {
        for training in [false, true] {
            check(
                &json!({ "router_norm_topk": true, "shared_expert_intermediate_size": 3, "shared_expert_gate": true }),
                training,
            );
            let clamped = json!({
                "router_softmax_after_topk": true, "router_bias": true, "mlp_bias": true, "swiglu_limit": 0.7,
            });
            check(&clamped, training);
            let scaled =
                json!({ "router_score": "sigmoid", "router_scales_input": true, "router_scaling_factor": 2.0 });
            check(&scaled, training);
            check(&json!({ "router_score": "sparse_mixer", "router_threshold": 0.4 }), training);
        }
    }

    #[test]
    fn the_auxiliary_loss_adds_its_gradient_to_that_of_logits() {
        let (device, coefficient, layers) = (Device::Cpu, 0.7, 2);
        let logits: Vec<f64> = (0..12).map(|place| (f64::from(place) * 2.3).sin()).collect();
        let counts = [[2usize, 0, 2, 2], [1, 3, 1, 1]];
        // α E Σ F P of two layers of three tokens, of which the first one's logits are these.
        let loss = |logits: &[f64]| {
            let p = logits.chunks(4).map(|row| {
                let total: f64 = row.iter().map(|logit| logit.exp()).sum();
                row.iter().map(|logit| logit.exp() / total).collect::<Vec<f64>>()
            });
            let mut means = [0.0; 4];
            p.for_each(|row| means.iter_mut().zip(row).for_each(|(mean, p)| *mean += p / (3 * layers) as f64));
            let used = |expert: usize| counts.iter().map(|counts| counts[expert]).sum::<usize>() as f64;
            (0..4).map(|expert| coefficient * 4.0 * used(expert) / (3 * layers) as f64 * means[expert]).sum::<f64>()
        };
        let variable = Var::from_vec(logits.clone(), (3, 4), &device).unwrap();
        let balance = crate::model::parts::load_balance::LoadBalance::default();
        let y = balance.watch(&variable, 0, &counts[0], coefficient).unwrap();
        balance.watch(&variable.detach(), 1, &counts[1], coefficient).unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        let found = store.get(&variable).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for place in 0..12 {
            let moved = |by: f64| {
                let mut logits = logits.clone();
                logits[place] += by;
                loss(&logits)
            };
            // That of the sum is 1.
            let expected = 1.0 + (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((found[place] - expected).abs() < 1e-8, "{place}: {} {expected}", found[place]);
        }
    }
}
