//! Presentation: every value that a person sees becomes a [`MimeBundle`] here, and leaves through [`emit`].
//!
//! # Forms
//! Each view has `text/plain`, `text/html` and one `application/vnd.chandlery.*+json` for programs that compare numbers.
//! That is an object whose `kind` says what it describes. Views that are one table share `vnd.chandlery.table+json`:
//! `kind`, `title`, `columns`, `rows` (objects by column: exact numbers where the text is rounded, else the text; `mark`
//! where the row has one), `hidden` (rows that are only counted) and `notes`. Reports of the verbs have a type and fields
//! of their own, the same as `--json` prints.
//!
//! # HTML
//! It works in notebooks that are not trusted and on pages that strip all styles: text inherits the page's color, colors
//! are translucent and never the only sign, `align`, `<b>` and `<details>` carry what matters. Long tables get a script
//! that sorts and filters them; without it they are the same tables.
//!
//! Nothing below this module knows HTML, colors or plotters.

mod bundle;
mod conversions;
mod emit;
mod html;
mod interactive;
mod models;
mod numbers;
mod payload;
mod plots;
mod progress;
mod table;
mod type_name;
mod values;

pub use bundle::{MimeBundle, View};
pub(crate) use emit::in_notebook;
pub use emit::{DisplayId, Showable, Sink, Updating, clear, emit, set_sink, show};
pub use html::Html;
pub use interactive::interactive;
pub(crate) use interactive::is_interactive;
pub use models::checkpoint_tree::CheckpointTree;
pub(crate) use models::construction::below_load;
pub use numbers::{binary_bytes, short_count, thousands};
pub use payload::PayloadError;
pub use plots::curve::Curve;
pub use plots::fonts::register_fonts;
pub use plots::heat_map::HeatMap;
pub use plots::loss_curve::LossCurve;
pub use progress::show_progress;
#[doc(hidden)] // Called by the kernel around every cell.
pub use progress::{begin_cell, end_cell};
pub use table::{Align, Cell, Mark, TableView};
pub use type_name::short_type_name;
pub(crate) use values::debug::{beginning, debug_bundle};
pub(crate) use values::error::{error_bundle, failed_bundle};
pub(crate) use values::outline::{sequence_bundle, text_bundle};
