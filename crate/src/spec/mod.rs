//! What a model *is*: a tree of parts, pure data. Tables, candle modules, conversions and sources are folds over it.
//!
//! Nothing here touches files, candle or presentation.

mod architecture;
mod block_type;
mod config;
mod config_json;
mod cost;
mod dtype;
mod fields;
mod init;
mod initialization;
mod json;
mod part;
pub mod parts;
mod path;
mod quantization;
mod quantization_json;
mod recipe;
mod role;
mod scheme;
mod table;
mod tree;
mod user_part;

pub use architecture::Architecture;
pub(crate) use architecture::{family_file, family_names};
pub use block_type::BlockType;
pub use config::ConfigError;
pub use config_json::Naming;
pub use cost::{Cost, CostScope};
pub use dtype::DType;
pub use init::Init;
pub(crate) use initialization::POSITIONS;
pub use initialization::{Distribution, InitRule, Initialization};
pub use json::parse_json;
pub use part::{
    Branch, LatentForm, LayerForm, Leaf, LocalParam, Mixer, NormPosition, ParamKind, Part, ScoreForm, Temperature,
    UserMixer, Wiring,
};
pub use parts::{
    Activation, AlibiConfig, AlibiSlopes, AttentionKind, ClampedSwiglu, DeltaNetSizes, Dropouts, FeedForwardKind,
    Field, FieldKind, Frequencies, GroupScore, KeySharing, LayerRun, LongRopeScaling, Mamba2Factors, Mamba2Form,
    MambaForm, MambaNorm, ModelConfig, NormConfig, NormForm, NormKind, NormPlacement, PositionEmbedding, QkNormScope,
    RopeConfig, RopeScaling, RouterForm, RouterScore, YarnScaling,
};
pub use path::ParamPath;
pub use quantization::{Quantization, QuantizationGroup};
pub use recipe::{Recipe, RecipeMisfit, UnknownRecipe};
pub use role::{Role, RoleGroup};
pub use scheme::{Granularity, QuantDType, Scheme};
pub use table::{TableDiff, TensorRow, TensorTable};
pub use tree::{LinearLayer, ModelSpec, Node, Tie};
pub use user_part::{MixerKind, PartConfig, PartError, PartField, PartFieldKind, PartParameter, UserPart};
pub(crate) use user_part::{ParameterForm, PartDefinition};
