//! Parts of your own: a Rust type that takes the place of attention or of the feed-forward part in the layers of a model.
//!
//! A part implements [`Part`]: its fields, its parameters, and its forward pass in candle's operations, which candle
//! differentiates. It then has a name in config.json, fields that projects, flags and layers can set, and rows in the table of
//! parameters; it is tested, trained, saved and loaded as the built-in parts are.
//!
//! - In a notebook cell or a program, [`register`] it, or name it in a configuration:
//!   [`ProjectConfig::part`](crate::project::ProjectConfig::part).
//! - In a project, put it into `parts/NAME.rs`, and write `attention_type: NAME` (or `feed_forward_type: NAME`). The
//!   `chandlery` command and the kernel compile it when the project is used.
//!
//! ```
//! use chandlery::part::*;
//!
//! /// y = W x · sigmoid(V x), a gated linear unit (Dauphin et al. 2017).
//! #[derive(Debug)]
//! struct GatedLinear { value: Linear, gate: Linear, output: Linear }
//!
//! impl Part for GatedLinear {
//!     const NAME: &str = "gated_linear";
//!     const MIXER: MixerKind = MixerKind::FeedForward;
//!
//!     fn fields() -> Vec<PartField> {
//!         vec![PartField::number("gate_scale", 1.0).help("Factor inside the sigmoid")]
//!     }
//!
//!     fn parameters(config: &PartConfig) -> Result<Vec<PartParameter>, PartError> {
//!         let (hidden, inner) = (config.hidden_size(), config.intermediate_size());
//!         Ok(vec![
//!             PartParameter::linear("value", hidden, inner),
//!             PartParameter::linear("gate", hidden, inner),
//!             PartParameter::linear("output", inner, hidden),
//!         ])
//!     }
//!
//!     fn load(_config: &PartConfig, weights: &PartWeights) -> Result<Self> {
//!         Ok(Self { value: weights.linear("value")?, gate: weights.linear("gate")?, output: weights.linear("output")? })
//!     }
//!
//!     fn forward(&self, x: &Tensor, context: &PartContext) -> Result<Tensor> {
//!         let gate = (self.gate.forward(x)? * context.config().number("gate_scale")?)?;
//!         let gate = ((gate.neg()?.exp()? + 1.0)?.recip())?;
//!         self.output.forward(&(self.value.forward(x)? * gate)?)
//!     }
//! }
//!
//! let config = chandlery::project("llama")?.config("4M")?.part::<GatedLinear>()?.set("gate_scale", 0.5)?;
//! let construction = config.construct().device("cpu")?.build()?;
//! assert!(construction.test().steps(1).run()?.passed());
//! assert!(check_gradients::<GatedLinear>(&config)?.passed());
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```

pub use candle_core::{D, DType, Module, Tensor};

pub use crate::model::gradient_check::{GradientCheck, GradientError};
#[doc(hidden)]
pub use crate::model::user::register_source;
pub use crate::model::user::{Linear, Part, PartContext, PartWeights, RmsNorm, register};
pub use crate::spec::{Init, MixerKind, PartConfig, PartError, PartField, PartFieldKind, PartParameter, UserPart};

use crate::project::{ProjectConfig, ProjectError};

/// A result whose error is candle's by default.
pub type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

/// Compares the gradients of a part in the first layer of a configuration with finite differences in float64, for a dozen entries
/// of x and of each parameter. The result displays itself.
///
/// # Errors
/// [`ProjectError`] if the configuration does not render or does not choose the part, or the part's own.
pub fn check_gradients<P: Part>(
    config: &ProjectConfig,
) -> Result<GradientCheck, Box<dyn std::error::Error + Send + Sync>> {
    let part = register::<P>()?;
    Ok(crate::model::gradient_check::gradient_check(&config.render()?, part, 42)?)
}

/// Parts of your own in a configuration.
impl ProjectConfig {
    /// Registers a part and puts it into every layer, in place of the definition's. Its fields then are arguments.
    ///
    /// # Errors
    /// [`ProjectError`] for a part that cannot be registered.
    pub fn part<P: Part>(self) -> Result<Self, ProjectError> {
        Ok(self.with_part(register::<P>()?))
    }
}
