//! Looks: every value a person sees becomes a [`MimeBundle`] here, and leaves through [`emit`].
//!
//! # Forms
//! Each view has `text/plain`, `text/html` and one `application/vnd.chandlery.*+json` for programs that compare numbers. That
//! is an object whose `kind` says what it is of. Views that are one table share `vnd.chandlery.table+json`: `kind`,
//! `title`, `columns`, `rows` (objects by column: exact numbers where the text is rounded, else the text; `mark` where the
//! row has one), `hidden` (rows that are only counted) and `notes`. Reports of the verbs have a type and fields of their
//! own, the same as `--json` prints.
//!
//! # HTML
//! It reads in notebooks that are not trusted and on pages that strip all styles: text inherits the page's colour, colours
//! are translucent and never the only sign, `align`, `<b>` and `<details>` carry what matters. Long tables get a script that
//! sorts and filters them; without it they are the same tables.
//!
//! Nothing below this module knows HTML, colours or plotters.

mod bundle;
mod checkpoint_tree;
mod config_diff;
mod construction;
mod conversion;
mod curve;
mod dataset;
mod debug;
mod debug_text;
mod emit;
mod error;
mod fields;
mod finalization;
mod fold;
mod fonts;
mod frame;
mod gguf;
mod gradient_check;
mod heat_map;
mod html;
mod interactive;
mod logit_diff;
mod loss_curve;
mod numbers;
mod outline;
mod parameter_table;
mod payload;
mod picture;
mod progress;
mod project;
mod quantize;
mod remapping;
mod sequence;
mod smoke_test;
mod table;
mod tensor;
mod tokenizer;
mod tokens;
mod type_name;
mod update;
mod vega;

pub use bundle::{MimeBundle, View};
pub use checkpoint_tree::CheckpointTree;
pub(crate) use construction::below_load;
pub use curve::Curve;
pub(crate) use debug::{beginning, debug_bundle};
pub(crate) use emit::in_notebook;
pub use emit::{DisplayId, Showable, Sink, Updating, clear, emit, set_sink, show};
pub(crate) use error::{error_bundle, failed_bundle};
pub use fonts::register_fonts;
pub use heat_map::HeatMap;
pub use html::Html;
pub use interactive::interactive;
pub(crate) use interactive::is_interactive;
pub use loss_curve::LossCurve;
pub use numbers::{binary_bytes, short_count, thousands};
pub(crate) use outline::{sequence_bundle, text_bundle};
pub use payload::PayloadError;
pub use progress::{begin_cell, end_cell, show_progress};
pub use table::{Align, Cell, Mark, TableView};
pub use type_name::short_type_name;
