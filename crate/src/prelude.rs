//! What every notebook cell has in scope: the verbs, their results, and what displays need. Everything else has a
//! path: `chandlery::candle`, `chandlery::polars`, `chandlery::plotters`.

pub use crate::display::{Curve, MimeBundle, Updating, View, emit, show};
pub use crate::progress::{Progress, progress};
pub use crate::spec::DType;
pub use crate::{Construction, Conversion, Inspection, compare, convert, dataset, finalize, inspect, project, update};
