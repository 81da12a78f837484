//! Looks: every value a person sees becomes a [`MimeBundle`] here, and leaves through [`emit`].
//!
//! Nothing below this module knows HTML, colours or plotters.

mod bundle;
mod emit;
mod html;

pub use bundle::{MimeBundle, View};
pub use emit::{DisplayId, Sink, Updating, clear, emit, set_sink};
pub use html::Html;
