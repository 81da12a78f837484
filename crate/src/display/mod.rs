//! Looks: every value a person sees becomes a [`MimeBundle`] here, and leaves through [`emit`].
//!
//! Nothing below this module knows HTML, colours or plotters.

mod bundle;
mod construction;
mod conversion;
mod curve;
mod dataset;
mod emit;
mod finalization;
mod foreign;
mod gguf;
mod heat_map;
mod html;
mod interactive;
mod kicktest;
mod logit_diff;
mod loss_curve;
mod numbers;
mod parameter_table;
mod picture;
mod progress_view;
mod project;
mod quantize;
mod remapping;
mod table;
mod tokenizer;
mod tokens;
mod update;
mod vega;

pub use bundle::{MimeBundle, View};
pub(crate) use construction::below_load;
pub use curve::Curve;
pub(crate) use emit::in_notebook;
pub use emit::{DisplayId, Sink, Updating, clear, emit, set_sink};
pub use heat_map::HeatMap;
pub use html::Html;
pub use interactive::interactive;
pub(crate) use interactive::is_interactive;
pub use loss_curve::LossCurve;
pub use numbers::{binary_bytes, short_count, thousands};
pub(crate) use progress_view::{Outcome, ProgressState, counts, progress_bundle};
pub use table::{Align, Cell, Mark, TableView};
