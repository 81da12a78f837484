//! What computes inside a branch of a layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::attention::Attention;
use crate::model::parts::dropout::Site;
use crate::model::parts::experts::Experts;
use crate::model::parts::feed_forward::FeedForward;
use crate::model::parts::gated_delta_net::GatedDeltaNet;
use crate::model::parts::latent_attention::LatentAttention;
use crate::model::parts::layer_input::LayerInput;
use crate::model::parts::linear::Linear;
use crate::model::parts::mamba::{Mamba, Mamba2};
use crate::model::parts::short_conv::ShortConv;
use crate::model::parts::side::Side;
use crate::model::parts::user::UserModule;
use crate::spec::{self, MixerKind, Node, Part, Role, Scheme};

/// The module of a mixer.
#[derive(Clone, Debug)]
pub(in crate::model) enum Mixer {
    Attention(Attention),
    LatentAttention(LatentAttention),
    GatedDeltaNet(GatedDeltaNet),
    ShortConv(ShortConv),
    Mamba2(Mamba2),
    Mamba(Mamba),
    FeedForward(FeedForward),
    Experts(Experts),
    LayerInput(LayerInput),
    User(UserModule),
}

impl Mixer {
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Mixer(mixer) = &node.part else { candle_core::bail!("`{}` is not a mixer", node.name) };
        match mixer {
            spec::Mixer::Attention { .. } | spec::Mixer::SingleHeadAttention { .. } => {
                Attention::load(node, mixer, vb).map(Self::Attention)
            }
            spec::Mixer::GatedDeltaNet(sizes) => GatedDeltaNet::load(node, *sizes, vb).map(Self::GatedDeltaNet),
            spec::Mixer::Mamba2(form) => Mamba2::load(node, *form, vb).map(Self::Mamba2),
            spec::Mixer::Mamba(form) => Mamba::load(node, *form, vb).map(Self::Mamba),
            spec::Mixer::ShortConv { .. } => ShortConv::load(node, vb).map(Self::ShortConv),
            spec::Mixer::GatedFeedForward { .. } | spec::Mixer::FeedForward { .. } => {
                FeedForward::load(node, mixer, vb).map(Self::FeedForward)
            }
            spec::Mixer::LatentAttention(form) => LatentAttention::load(node, form, vb).map(Self::LatentAttention),
            spec::Mixer::Experts(form) => Experts::load(node, form, vb).map(Self::Experts),
            spec::Mixer::LayerInput { activation, .. } => LayerInput::load(node, *activation, vb).map(Self::LayerInput),
            spec::Mixer::User(user) => UserModule::load(node, user, vb).map(Self::User),
        }
    }

    /// What it replaces in its layer.
    fn mixer_kind(&self) -> MixerKind {
        match self {
            Mixer::Attention(_)
            | Mixer::LatentAttention(_)
            | Mixer::GatedDeltaNet(_)
            | Mixer::ShortConv(_)
            | Mixer::Mamba2(_)
            | Mixer::Mamba(_) => MixerKind::Attention,
            Mixer::FeedForward(_) | Mixer::Experts(_) | Mixer::LayerInput(_) => MixerKind::FeedForward,
            Mixer::User(module) => module.mixer_kind(),
        }
    }

    /// Returns the roles of its norm, and of a second one after it.
    pub(in crate::model) fn norm_roles(&self) -> (Role, Role) {
        if matches!(self, Mixer::LayerInput(_)) {
            return (Role::LayerInputNorm, Role::LayerInputNorm);
        }
        match self.mixer_kind() {
            MixerKind::Attention => (Role::AttentionNorm, Role::AttentionPostNorm),
            MixerKind::FeedForward => (Role::FeedForwardNorm, Role::FeedForwardPostNorm),
        }
    }

    /// Returns the places of the dropouts of its result and of the residual stream.
    pub(in crate::model) fn sites(&self) -> (Site, Site) {
        match self.mixer_kind() {
            MixerKind::Attention => (Site::AttentionOutput, Site::AttentionResidual),
            MixerKind::FeedForward => (Site::FeedForwardOutput, Site::FeedForwardResidual),
        }
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number, and `stream` the residual stream that x was made
    /// of.
    pub(in crate::model) fn forward(
        &self,
        (x, stream): (&Tensor, &Tensor),
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
        side: &mut Side,
    ) -> Result<Tensor> {
        match self {
            Mixer::Attention(attention) => attention.forward(x, context, layer, cache, side),
            Mixer::LatentAttention(attention) => attention.forward(x, context, layer, cache),
            Mixer::GatedDeltaNet(delta_net) => delta_net.forward(x, context, layer, cache),
            Mixer::ShortConv(short_conv) => short_conv.forward(x, context, layer, cache),
            Mixer::Mamba2(mamba) => mamba.forward(x, context, layer, cache),
            Mixer::Mamba(mamba) => mamba.forward(x, context, layer, cache),
            Mixer::FeedForward(feed_forward) => feed_forward.forward(x, context, layer),
            Mixer::Experts(experts) => experts.forward((x, stream), context, layer),
            Mixer::LayerInput(part) => part.forward(x, side),
            Mixer::User(module) => module.forward(x, context, layer, cache),
        }
    }

    /// Rounds the linear layers that can be quantized in every forward pass from now on.
    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        match self {
            Mixer::User(module) => module.round(scheme),
            built_in => built_in.linears_mut().into_iter().for_each(|linear| linear.round(scheme)),
        }
    }

    /// Multiplies linear layers as those with narrow weights from now on, whatever type theirs have.
    pub(in crate::model) fn stream(&mut self) {
        match self {
            Mixer::Experts(experts) => experts.routers_mut().into_iter().for_each(Linear::stream),
            Mixer::Mamba(mamba) => mamba.sensitive_mut().into_iter().for_each(Linear::stream),
            _ => {}
        }
        self.linears_mut().into_iter().for_each(Linear::stream);
    }

    /// Returns the linear layers that can be quantized. Users' parts keep their own.
    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Mixer::Attention(attention) => attention.linears_mut(),
            Mixer::LatentAttention(attention) => attention.linears_mut(),
            Mixer::GatedDeltaNet(delta_net) => delta_net.linears_mut(),
            Mixer::ShortConv(short_conv) => short_conv.linears_mut(),
            Mixer::Mamba2(mamba) => mamba.linears_mut(),
            Mixer::Mamba(mamba) => mamba.linears_mut(),
            Mixer::FeedForward(feed_forward) => feed_forward.linears_mut(),
            Mixer::Experts(experts) => experts.linears_mut(),
            Mixer::LayerInput(part) => part.linears_mut(),
            Mixer::User(_) => Vec::new(),
        }
    }
}
