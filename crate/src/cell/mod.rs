//! What a compiled notebook cell links to: the variable store, `?` errors, and the display of a cell's last value.
//!
//! The kernel writes a few calls into this module around the user's text. Whatever needs no type of the user's is
//! compiled here, once, because each generic instance costs every cell time.

mod ending;
mod error;
mod input;
mod paths;
pub mod show;
mod store;
mod summary;

pub use ending::{Ending, Place, install_panic_hook};
pub use error::{CellError, short_type_name};
pub use input::{input, password, set_input};
pub use paths::type_paths;
pub use store::{Key, Store, Variable};

/// A value of any type, for code that is checked and never run.
///
/// The kernel infers the type of a variable it cannot name by type-checking the statements that made it, inside a
/// closure that nobody calls; the variables those statements used come from here.
///
/// # Panics
/// Always, when called.
pub fn any<T>() -> T {
    unreachable!("a closure that only exists to be type-checked was called")
}
