//! The window of attention, as configurations say it.

use serde_json::json;

use super::field::{Field, FieldKind, Reading};
use crate::spec::config::{ConfigError, ModelConfig};

/// A window is written where there is one, and by families that say something about it.
pub(super) const SLIDING_WINDOW: Field = Field::new(
    "sliding_window",
    "Tokens a query sees, itself included; null for all earlier ones",
    FieldKind::OptionalSize,
    read_window,
    |config| {
        let said = config.sliding_window.is_some() || config.architecture.says("sliding_window");
        said.then(|| json!(config.sliding_window))
    },
)
.by_layer()
.always_written()
.exported(|config| config.sliding_window.is_some());

/// Qwen3's configurations say apart from the window whether they use it.
pub(super) const USE_SLIDING_WINDOW: Field = Field::new(
    "use_sliding_window",
    "Whether the window is used",
    FieldKind::Flag,
    |_, _| Ok(()),
    |config| says_use(config).then(|| json!(has_window(config))),
)
.always_written()
.needs("a family that says it, such as model_type: qwen3", says_use);

/// Qwen3's configurations may give the window to layers from this one on.
pub(super) const MAX_WINDOW_LAYERS: Field = Field::new(
    "max_window_layers",
    "Layers before the first one with a window; all have one",
    FieldKind::OptionalSize,
    |_, _| Ok(()),
    |config| says_layers(config).then(|| json!(0)),
)
.always_written()
.needs("a family that says it, such as model_type: qwen3", says_layers);

fn says_use(config: &ModelConfig) -> bool {
    config.architecture.says(USE_SLIDING_WINDOW.name)
}

fn says_layers(config: &ModelConfig) -> bool {
    config.architecture.says(MAX_WINDOW_LAYERS.name)
}

/// Returns whether some layer has a window.
fn has_window(config: &ModelConfig) -> bool {
    config.sliding_window.is_some() || config.layers.iter().any(|run| run.config.sliding_window.is_some())
}

/// Returns the window, unless `use_sliding_window` disables it.
fn read_window(reading: &Reading<'_>, config: &mut ModelConfig) -> Result<(), ConfigError> {
    let used = reading.fields.flag(USE_SLIDING_WINDOW.name, true)?;
    config.sliding_window = reading.fields.size("sliding_window")?.filter(|_| used);
    Ok(())
}
