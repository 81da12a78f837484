//! What a compiled notebook cell links to: the variable store, `?` errors, and the display of a cell's last value.
//!
//! The kernel writes a few calls into this module around the user's text. Everything that does not depend on the user's
//! types is compiled here, once, because each generic instance costs every cell time.

mod ending;
mod error;
mod input;
#[doc(hidden)]
pub mod instances;
mod paths;
mod sequence;
pub mod show;
#[expect(
    unsafe_code,
    reason = "values move out of their slots and back without a copy of their type's code in every cell"
)]
mod store;
mod summary;
pub mod testing;
mod waiting;
mod witness;

pub use crate::display::short_type_name;
#[doc(hidden)]
pub use ending::tick;
pub use ending::{Ending, SourcePosition, install_panic_hook};
pub use error::{ByDebug, CellError, by_debug};
#[doc(hidden)]
pub use error::{ended, ended_with, exited};
pub use input::{input, password, set_input};
pub use paths::type_paths;
pub use store::Variable;
#[doc(hidden)]
pub use store::{Key, Passed, Store};
pub use waiting::wait;
pub use witness::{Like, any, like, like_later, stored};
