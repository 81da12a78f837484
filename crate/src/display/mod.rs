//! Looks: every value a person sees becomes a [`MimeBundle`] here, and leaves through [`emit`].
//!
//! Nothing below this module knows HTML, colours or plotters.

mod bundle;
mod conversion;
mod emit;
mod foreign;
mod html;
mod numbers;
mod parameter_table;
mod progress_view;
mod table;

pub use bundle::{MimeBundle, View};
pub use emit::{DisplayId, Sink, Updating, clear, emit, set_sink};
pub use html::Html;
pub use numbers::{binary_bytes, short_count, thousands};
pub use table::{Align, Cell, Mark, TableView};
pub(crate) use parameter_table::table_bundle;
pub(crate) use progress_view::progress_bundle;
