//! What every notebook cell has in scope.

pub use crate::display::{MimeBundle, View, emit};
