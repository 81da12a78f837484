//! The modules of parts that users write: the trait that they implement, and what they compute with.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::dropout::{Site, dropped};
use crate::model::parts::linear;
use crate::model::parts::norm::Norm;
use crate::ops::{self, AttentionOptions};
use crate::spec::{
    Leaf, MixerKind, Node, Part as SpecPart, PartConfig, PartDefinition, PartError, PartField, PartParameter,
    PositionEmbedding, Scheme, UserMixer, UserPart,
};

/// A part of a layer that a user wrote. See the module's example.
pub trait Part: Sized + Send + Sync + 'static {
    /// Its name, by which `attention_type` or `feed_forward_type` chooses it: lower-case letters, digits and underscores.
    const NAME: &'static str;

    /// The mixer that it replaces.
    const MIXER: MixerKind;

    /// Whether it continues after the tokens of a cache, by [`PartContext::cached`]. If a part of a model does not,
    /// generation computes the text from its beginning for each token.
    const CACHES: bool = false;

    /// Returns the fields that it adds to a configuration.
    fn fields() -> Vec<PartField> {
        Vec::new()
    }

    /// Returns its parameters in a layer of this configuration, in the order of a forward pass.
    ///
    /// # Errors
    /// [`PartError`] for a configuration that it does not support; [`PartConfig::error`] makes one.
    fn parameters(config: &PartConfig<'_>) -> std::result::Result<Vec<PartParameter>, PartError>;

    /// Makes the module from its parameters.
    ///
    /// # Errors
    /// candle's error, or one that names what [`PartWeights`] lacks.
    fn load(config: &PartConfig<'_>, weights: &PartWeights<'_>) -> Result<Self>;

    /// What it adds to the residual stream: x `[batch, seq, hidden]` → the same shape. x is already normalized where
    /// the layer's norms come before its parts.
    ///
    /// # Errors
    /// candle's error.
    fn forward(&self, x: &Tensor, context: &PartContext<'_>) -> Result<Tensor>;

    /// Its class in Python, for the sources that are written with a model: text with `class NAME(nn.Module)`. Attention has
    /// `__init__(self, config, layer_idx)` and `forward(self, x, context, past_key_values=None)`, with `context.mask` to add to
    /// scores and `rotate(x, context.rotation)` for rotary positions; a feed-forward part has `__init__(self, config)` and
    /// `forward(self, x)`. The fields of the part are attributes of `config`; parameters have the names of `parameters`.
    fn python() -> Option<&'static str> {
        None
    }
}

/// Registers a part by its name, replacing one of the same name. Models that were built with that one keep it.
///
/// # Errors
/// [`PartError`] for a name that a built-in part has, and for fields that every model has.
pub fn register<P: Part>() -> std::result::Result<UserPart, PartError> {
    register_with::<P>(None)
}

/// Registers a part that was compiled from this file with this text; see [`register`].
///
/// # Errors
/// As [`register`].
#[doc(hidden)]
pub fn register_source<P: Part>(file: &str, text: &str) -> std::result::Result<UserPart, PartError> {
    register_with::<P>(Some((file.to_owned(), text.to_owned())))
}

fn register_with<P: Part>(source: Option<(String, String)>) -> std::result::Result<UserPart, PartError> {
    let load = |config: &PartConfig<'_>, weights: &PartWeights<'_>| -> Result<Arc<dyn Computes>> {
        Ok(Arc::new(P::load(config, weights)?))
    };
    let load: Load = load;
    // An unchanged part keeps its registration.
    if let Some(known) = UserPart::find(P::NAME)
        && known.module().downcast_ref::<Loader>().is_some_and(|Loader(known)| std::ptr::fn_addr_eq(*known, load))
    {
        return Ok(known);
    }
    UserPart::register(PartDefinition {
        name: P::NAME,
        mixer_kind: P::MIXER,
        fields: P::fields(),
        parameters: P::parameters,
        caches: P::CACHES,
        python: P::python(),
        // Without the crate's name.
        type_name: std::any::type_name::<P>().split_once("::").map_or("", |(_, path)| path),
        source,
        module: Box::new(Loader(load)),
    })
}

/// What makes a module.
struct Loader(Load);

type Load = fn(&PartConfig<'_>, &PartWeights<'_>) -> Result<Arc<dyn Computes>>;

trait Computes: Send + Sync {
    fn forward(&self, x: &Tensor, context: &PartContext<'_>) -> Result<Tensor>;
}

impl<P: Part> Computes for P {
    fn forward(&self, x: &Tensor, context: &PartContext<'_>) -> Result<Tensor> {
        Part::forward(self, x, context)
    }
}

impl From<PartError> for candle_core::Error {
    fn from(error: PartError) -> Self {
        candle_core::Error::wrap(error)
    }
}

/// The parameters of a part, each by the name that [`Part::parameters`] gave it.
pub struct PartWeights<'a> {
    node: &'a Node,
    vb: &'a VarBuilder<'a>,
}

impl PartWeights<'_> {
    /// Returns the linear layer of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn linear(&self, name: &str) -> Result<Linear> {
        match self.leaf(name)? {
            leaf @ Leaf::Linear { .. } => linear::Linear::load(leaf, &self.vb.pp(name)).map(Linear),
            _ => candle_core::bail!("the parameter `{name}` is not a linear layer"),
        }
    }

    /// Returns the norm of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn rms_norm(&self, name: &str) -> Result<RmsNorm> {
        match self.leaf(name)? {
            leaf @ Leaf::Norm(_) => Norm::load(leaf, &self.vb.pp(name)).map(RmsNorm),
            _ => candle_core::bail!("the parameter `{name}` is not a norm"),
        }
    }

    /// Returns the tensor of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.leaf(name)? {
            Leaf::Tensor { name, shape, .. } => self.vb.get(shape.clone(), name),
            _ => candle_core::bail!("the parameter `{name}` is a module with tensors inside"),
        }
    }

    fn leaf(&self, name: &str) -> Result<&Leaf> {
        let leaves = self.node.children.iter().filter_map(|child| match &child.part {
            SpecPart::Leaf(leaf @ Leaf::Tensor { name, .. }) => Some((*name, leaf)),
            SpecPart::Leaf(leaf) => Some((child.name.as_str(), leaf)),
            _ => None,
        });
        let leaves: Vec<(&str, &Leaf)> = leaves.collect();
        match leaves.iter().find(|(known, _)| *known == name) {
            Some((_, leaf)) => Ok(leaf),
            None => {
                let known = leaves.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                candle_core::bail!("the part has no parameter `{name}`; it has: {known}")
            }
        }
    }
}

/// y = x Wᵀ (+ b).
#[derive(Clone, Debug)]
pub struct Linear(linear::Linear);

thread_local! {
    /// How linear layers of the current part round, where the model trains for low-bit weights.
    static ROUNDING: Cell<Option<Scheme>> = const { Cell::new(None) };
}

impl Linear {
    /// x `[…, inputs]` → `[…, outputs]`.
    ///
    /// # Errors
    /// candle's error.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match ROUNDING.get() {
            Some(scheme) => {
                let mut rounded = self.0.clone();
                rounded.round(scheme);
                rounded.forward(x)
            }
            None => self.0.forward(x),
        }
    }
}

/// x / sqrt(mean(x²) + ε) · w (Zhang and Sennrich 2019), over the last dimension.
#[derive(Clone, Debug)]
pub struct RmsNorm(Norm);

impl RmsNorm {
    /// x `[…, dim]` → the same shape.
    ///
    /// # Errors
    /// candle's error.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

/// What a part can use while it computes.
pub struct PartContext<'a> {
    user: &'a UserMixer,
    context: &'a Context,
    layer: usize,
    cache: RefCell<Option<&'a mut KvCache>>,
}

impl PartContext<'_> {
    /// Returns the layer's configuration.
    pub fn config(&self) -> PartConfig<'_> {
        PartConfig::new(self.user.part, &self.user.config)
    }

    /// Returns the layer's number, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// x `[batch, seq, heads · head_dim]` → `[batch, heads, seq, head_dim]`.
    ///
    /// # Errors
    /// candle's error, if the heads do not divide the width.
    pub fn split_heads(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, seq, _) = x.dims3()?;
        ops::transpose_heads(&x.reshape((batch, seq, heads, ()))?)
    }

    /// x `[batch, heads, seq, head_dim]` → `[batch, seq, heads · head_dim]`.
    ///
    /// # Errors
    /// candle's error.
    pub fn merge_heads(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, heads, seq, head_dim) = x.dims4()?;
        ops::transpose_heads(x)?.reshape((batch, seq, heads * head_dim))
    }

    /// Rotates vectors of heads by their tokens' positions, if the configuration has rotary ones: x
    /// `[batch, heads, seq, head_dim]` → the same shape.
    ///
    /// # Errors
    /// candle's error, for heads of another width than the configuration's `head_dim`.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        match &self.user.config.position {
            PositionEmbedding::Rope(rope) => self.context.rotation(rope, self.user.config.head_dim)?.apply(x),
            _ => Ok(x.clone()),
        }
    }

    /// softmax(q kᵀ · scale) v over the tokens that each token may see: earlier ones and itself, within the window and the
    /// document, without padding. q `[batch, heads, seq, d]`, k `[batch, kv_heads, keys, d]`, v `[batch, kv_heads, keys, d]` →
    /// `[batch, heads, seq, d]`.
    ///
    /// # Errors
    /// candle's error, for shapes that do not match.
    pub fn attention(&self, query: &Tensor, key: &Tensor, value: &Tensor, scale: f64) -> Result<Tensor> {
        let config = &self.user.config;
        let options = AttentionOptions {
            implementation: self.context.attention,
            mask: self.context.attention_mask(config.sliding_window, None)?,
            scale,
            slopes: None,
            sinks: None,
            softcap: None,
            dropout: self.context.dropout.map(|dropout| dropout.of_attention(config.dropout.attention, self.layer)),
        };
        Ok(ops::attention(query, key, value, &options)?)
    }

    /// Returns what to add to scores `[batch, heads, seq, keys]`: 0 for a token that may be seen, −∞ for others.
    /// `[1 or batch, 1, seq, keys]` in float32.
    ///
    /// # Errors
    /// candle's error.
    pub fn mask(&self, x: &Tensor) -> Result<Tensor> {
        self.context.attention_mask(self.user.config.sliding_window, None)?.dense(x.device())
    }

    /// Keys and values `[batch, kv_heads, seq, d]` of the new tokens after those of a cache, if there is one. Only for parts
    /// that say [`CACHES`](Part::CACHES).
    ///
    /// # Errors
    /// candle's error.
    pub fn cached(&self, key: Tensor, value: Tensor) -> Result<(Tensor, Tensor)> {
        match self.cache.borrow_mut().as_deref_mut() {
            Some(cache) => cache.extend(self.layer, key, value),
            None => Ok((key, value)),
        }
    }

    /// x with each element zeroed with probability p and the others divided by 1 − p, in training steps; else x. The
    /// same elements are dropped when a layer is computed again.
    ///
    /// # Errors
    /// candle's error.
    pub fn dropout(&self, x: Tensor, p: f64) -> Result<Tensor> {
        dropped(self.context.dropout, x, p, self.layer, Site::UserInside)
    }
}

/// The module of a user's part in a layer.
#[derive(Clone)]
pub(in crate::model) struct UserModule {
    module: Arc<dyn Computes>,
    user: UserMixer,
    rounding: Option<Scheme>,
}

impl std::fmt::Debug for UserModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserModule({})", self.user.part.name())
    }
}

impl UserModule {
    pub(in crate::model) fn load(node: &Node, user: &UserMixer, vb: &VarBuilder) -> Result<Self> {
        let Some(Loader(load)) = user.part.module().downcast_ref::<Loader>() else {
            candle_core::bail!("the part `{}` has no module", user.part.name())
        };
        let module = load(&PartConfig::new(user.part, &user.config), &PartWeights { node, vb })?;
        Ok(Self { module, user: user.clone(), rounding: None })
    }

    pub(in crate::model) fn mixer_kind(&self) -> MixerKind {
        self.user.part.mixer_kind()
    }

    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        self.rounding = Some(scheme);
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let context = PartContext { user: &self.user, context, layer, cache: RefCell::new(cache) };
        let before = ROUNDING.replace(self.rounding);
        let result = self.module.forward(x, &context);
        ROUNDING.set(before);
        let result = result?;
        if result.dims() != x.dims() {
            let name = self.user.part.name();
            candle_core::bail!("the part `{name}` makes {:?} of x {:?}", result.dims(), x.dims());
        }
        Ok(result)
    }
}
