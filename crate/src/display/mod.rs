//! Looks: every value a person sees becomes a [`MimeBundle`] here, and leaves through [`emit`].
//!
//! Nothing below this module knows HTML, colours or plotters.

mod bundle;
mod construction;
mod conversion;
mod dataset;
mod emit;
mod finalization;
mod foreign;
mod gguf;
mod html;
mod kicktest;
mod logit_diff;
mod loss_curve;
mod numbers;
mod parameter_table;
mod progress_view;
mod project;
mod quantize;
mod remapping;
mod table;
mod tokenizer;
mod tokens;
mod update;

pub use bundle::{MimeBundle, View};
pub(crate) use construction::below_load;
pub(crate) use emit::in_notebook;
pub use emit::{DisplayId, Sink, Updating, clear, emit, set_sink};
pub use html::Html;
pub use loss_curve::LossCurve;
pub use numbers::{binary_bytes, short_count, thousands};
pub(crate) use progress_view::progress_bundle;
pub use table::{Align, Cell, Mark, TableView};
