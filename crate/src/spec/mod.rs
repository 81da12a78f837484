//! What a model *is*: a tree of parts, pure data. Tables, candle modules, conversions and sources are folds over it.
//!
//! Nothing here touches files, candle or looks.

mod config;
mod config_json;
mod dtype;
mod init;
mod part;
mod path;
mod table;
mod tree;

pub use config::{Architecture, ConfigError, ModelConfig, RopeConfig, RopeScaling};
pub use config_json::Side;
pub use dtype::DType;
pub use init::Init;
pub use part::{Activation, Leaf, LocalParam, Part, Placement};
pub use path::ParamPath;
pub use table::{TableDiff, TensorRow, TensorTable};
pub use tree::{ModelSpec, Node, Tie};
