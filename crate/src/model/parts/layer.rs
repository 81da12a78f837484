//! One decoder layer, and how a node's children become modules.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::dropout::dropped;
use crate::model::parts::linear::Linear;
use crate::model::parts::mixer::Mixer;
use crate::model::parts::norm::Norm;
use crate::model::parts::side::Side;
use crate::spec::{self, LayerForm, Leaf, Node, NormPosition, Part, Role, Scheme, Wiring};

/// Returns the first child that is such a part, and the builder below it.
pub(in crate::model) fn child<'a, 'v>(
    node: &'a Node,
    is: impl Fn(&Part) -> bool,
    vb: &VarBuilder<'v>,
) -> Result<(&'a Node, VarBuilder<'v>)> {
    match node.children.iter().find(|child| is(&child.part)) {
        Some(child) => Ok((child, vb.pp(&child.name))),
        None => candle_core::bail!("`{}` lacks a part", node.name),
    }
}

/// Returns the leaf of this role and the builder below it, if the node has one.
pub(in crate::model) fn leaf_if_any<'a, 'v>(
    node: &'a Node,
    role: Role,
    vb: &VarBuilder<'v>,
) -> Option<(&'a Leaf, VarBuilder<'v>)> {
    let child = node.child(role)?;
    let Part::Leaf(leaf) = &child.part else { return None };
    Some((leaf, vb.pp(&child.name)))
}

/// Returns the leaf of this role and the builder below it.
pub(in crate::model) fn leaf<'a, 'v>(
    node: &'a Node,
    role: Role,
    vb: &VarBuilder<'v>,
) -> Result<(&'a Leaf, VarBuilder<'v>)> {
    match leaf_if_any(node, role, vb) {
        Some(found) => Ok(found),
        None => candle_core::bail!("`{}` has no parameters for {role:?}", node.name),
    }
}

/// Returns the leaves of this role in their order, each with the builder below it.
pub(in crate::model) fn leaves<'a, 'v>(
    node: &'a Node,
    role: Role,
    vb: &VarBuilder<'v>,
) -> Vec<(&'a Leaf, VarBuilder<'v>)> {
    let own = node.children.iter().filter(|child| child.role == Some(role));
    let leaf = |child: &'a Node| match &child.part {
        Part::Leaf(leaf) => Some((leaf, vb.pp(&child.name))),
        _ => None,
    };
    own.filter_map(leaf).collect()
}

/// Returns the parameters of the leaves of this role in their order, such as the weight and the bias of a convolution.
pub(in crate::model) fn tensors(node: &Node, role: Role, vb: &VarBuilder) -> Result<Vec<Tensor>> {
    let params = leaves(node, role, vb)
        .into_iter()
        .flat_map(|(leaf, vb)| leaf.params().into_iter().map(move |param| vb.get(param.shape, param.name)));
    params.collect()
}

/// Returns a tensor that the part itself names.
pub(in crate::model) fn named(node: &Node, name: &str, vb: &VarBuilder) -> Result<Tensor> {
    let own = node.children.iter().find_map(|child| match &child.part {
        Part::Leaf(Leaf::Tensor { name: own, shape, .. }) if *own == name => Some(shape.clone()),
        _ => None,
    });
    own.map_or_else(|| candle_core::bail!("`{}` lacks `{name}`", node.name), |shape| vb.get(shape, name))
}

pub(in crate::model) fn linear(node: &Node, role: Role, vb: &VarBuilder) -> Result<Linear> {
    let (leaf, vb) = leaf(node, role, vb)?;
    Linear::load(leaf, &vb)
}

pub(in crate::model) fn norm(node: &Node, role: Role, vb: &VarBuilder) -> Result<Norm> {
    let (leaf, vb) = leaf(node, role, vb)?;
    Norm::load(leaf, &vb)
}

/// Returns the norm of this role, if the node has one.
pub(in crate::model) fn norm_if_any(node: &Node, role: Role, vb: &VarBuilder) -> Result<Option<Norm>> {
    leaf_if_any(node, role, vb).map(|(leaf, vb)| Norm::load(leaf, &vb)).transpose()
}

/// Returns x times a factor, which need not be multiplied if it is 1.
pub(in crate::model) fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { x * factor }
}

/// The branches, each added to the residual stream.
#[derive(Clone, Debug)]
pub(in crate::model) struct Layer {
    branches: Vec<Branch>,
    /// `[1]`: the factor on what the layer returns.
    scalar: Option<Tensor>,
    form: LayerForm,
}

/// The sum f of mixers with its norms: r(x) · α + s · D(after(f(before x))), or before(r(x) · α + s · D(f x)) where the norm
/// stands after the sum, with dropouts r and D.
#[derive(Clone, Debug)]
struct Branch {
    /// The norm before the mixer, or after the sum.
    norm: Option<Norm>,
    /// The norm after the mixer.
    after: Option<Norm>,
    mixer: Mixer,
    /// Mixers that read the same input, and whose results are added to that of the first.
    beside: Vec<Mixer>,
    form: spec::Branch,
}

impl Layer {
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Layer(form) = node.part else { candle_core::bail!("`{}` is not a layer", node.name) };
        let is_branch = |child: &&Node| matches!(child.part, Part::Branch(_));
        let branches = node.children.iter().filter(is_branch).map(|branch| Branch::load(branch, vb));
        let scalar = leaf_if_any(node, Role::LayerScalar, vb).and_then(|(leaf, _)| leaf.params().pop());
        let scalar = scalar.map(|param| vb.get(param.shape, param.name)).transpose()?;
        Ok(Self { branches: branches.collect::<Result<_>>()?, scalar, form })
    }

    /// Rounds the linear layers that can be quantized in every forward pass from now on.
    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        self.branches.iter_mut().flat_map(Branch::mixers_mut).for_each(|mixer| mixer.round(scheme));
    }

    /// Multiplies linear layers as those with narrow weights from now on, so that a model gives the same numbers in every
    /// type that it is stored in.
    pub(in crate::model) fn stream(&mut self) {
        self.branches.iter_mut().flat_map(Branch::mixers_mut).for_each(Mixer::stream);
    }

    /// Returns the residual stream of what the layer returns.
    pub(in crate::model) fn stream_of(&self, y: &Tensor) -> Result<Tensor> {
        match y.dim(D::Minus1)? > self.form.hidden && self.form.hidden > 0 {
            true => y.narrow(D::Minus1, 0, self.form.hidden)?.contiguous(),
            false => Ok(y.clone()),
        }
    }

    /// x `[batch, seq, hidden]` → the same shape, with what is beside the residual stream behind it; `index` is the layer's
    /// number.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        index: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let (x, mut side) = Side::split(x, &self.form)?;
        let y = self.added(&x, context, index, cache, &mut side)?;
        let y = match &self.scalar {
            Some(scalar) => y.broadcast_mul(&scalar.detach())?,
            None => y,
        };
        side.join(y, &self.form)
    }

    /// Returns the residual stream after all branches.
    fn added(
        &self,
        x: &Tensor,
        context: &Context,
        index: usize,
        mut cache: Option<&mut KvCache>,
        side: &mut Side,
    ) -> Result<Tensor> {
        match self.form.wiring {
            Wiring::Sequential => {
                let mut x = x.clone();
                for branch in &self.branches {
                    x = branch.forward(&x, context, index, cache.as_deref_mut(), side)?;
                }
                Ok(x)
            }
            Wiring::Parallel => {
                let Some(first) = self.branches.first() else { return Ok(x.clone()) };
                let (shared, mut sum) = (first.normalized(x)?, first.kept(x, context, index)?);
                for (number, branch) in self.branches.iter().enumerate() {
                    let own = number > 0 && branch.form.norm != NormPosition::Shared;
                    let input = if own { branch.normalized(x)? } else { shared.clone() };
                    sum = (sum + branch.mixed((&input, x), context, index, cache.as_deref_mut(), side)?)?;
                }
                Ok(sum)
            }
        }
    }
}

impl Branch {
    fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Branch(form) = node.part else { candle_core::bail!("`{}` is not a branch of a layer", node.name) };
        let mixers = node.children.iter().filter(|child| matches!(child.part, Part::Mixer(_)));
        let mut mixers = mixers.map(|mixer| Mixer::load(mixer, &vb.pp(&mixer.name)));
        let Some(mixer) = mixers.next().transpose()? else { candle_core::bail!("`{}` lacks a mixer", node.name) };
        let beside = mixers.collect::<Result<_>>()?;
        let (own, post) = mixer.norm_roles();
        let (own, post) = match form.norm {
            NormPosition::Input | NormPosition::Sum => (Some(own), None),
            NormPosition::Output => (None, Some(own)),
            NormPosition::Sandwich => (Some(own), Some(post)),
            NormPosition::Shared => (None, None),
        };
        let load = |role: Option<Role>| role.map(|role| norm(node, role, vb)).transpose();
        Ok(Self { norm: load(own)?, after: load(post)?, mixer, beside, form })
    }

    fn mixers_mut(&mut self) -> impl Iterator<Item = &mut Mixer> {
        std::iter::once(&mut self.mixer).chain(&mut self.beside)
    }

    fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
        side: &mut Side,
    ) -> Result<Tensor> {
        let kept = self.kept(x, context, layer)?;
        match (self.form.norm, &self.norm) {
            (NormPosition::Sum, Some(norm)) => {
                norm.forward(&(&kept + self.mixed((x, x), context, layer, cache, side)?)?)
            }
            _ => &kept + self.mixed((&self.normalized(x)?, x), context, layer, cache, side)?,
        }
    }

    /// Returns x as the mixer reads it, where its norm comes before it.
    fn normalized(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
    }

    /// Returns what stays of the residual stream.
    fn kept(&self, x: &Tensor, context: &Context, layer: usize) -> Result<Tensor> {
        let (_, site) = self.mixer.sites();
        let kept = dropped(context.dropout, x.clone(), self.form.residual_dropout, layer, site)?;
        scaled(&kept, self.form.residual_scale)
    }

    /// Returns what the mixers add to the residual stream, of their input and of the stream itself.
    fn mixed(
        &self,
        input: (&Tensor, &Tensor),
        context: &Context,
        layer: usize,
        mut cache: Option<&mut KvCache>,
        side: &mut Side,
    ) -> Result<Tensor> {
        let (site, _) = self.mixer.sites();
        let mut mixed = self.mixer.forward(input, context, layer, cache.as_deref_mut(), side)?;
        for mixer in &self.beside {
            mixed = (mixed + mixer.forward(input, context, layer, cache.as_deref_mut(), side)?)?;
        }
        if let Some(after) = &self.after {
            mixed = after.forward(&mixed)?;
        }
        let mixed = dropped(context.dropout, mixed, self.form.dropout, layer, site)?;
        scaled(&mixed, self.form.scale)
    }
}
