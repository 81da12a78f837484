//! Loading compiled cells.

use std::path::Path;

use chandlery::cell::Store;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// The name of the function every cell exports.
pub const ENTRY: &str = "chandlery_cell";

/// Loads a cell for the rest of the process's life: what it stored may point into it. Its statics are visible to the cells
/// after it, whose own copies of them thereby are never used.
pub(super) fn cell(path: &Path) -> Result<fn(&mut Store), String> {
    // SAFETY: the compiler made this file from safe-to-load code: it has no initialisers of its own.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(|error| format!("the compiled cell cannot be loaded: {error}"))?;
    // SAFETY: the kernel wrote this function with this signature, for this compiler.
    let entry = unsafe { library.get::<fn(&mut Store)>(ENTRY.as_bytes()) }.map(|symbol| *symbol);
    std::mem::forget(library);
    entry.map_err(|error| format!("the compiled cell has no entry: {error}"))
}

/// Loads a library of dependencies for the rest of the process's life; cells that are loaded later find its symbols.
pub(super) fn library(path: &Path) -> Result<(), String> {
    // SAFETY: the user asked for this crate; what its initialisers do is like what its functions do in a cell.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    library.map(std::mem::forget).map_err(|error| format!("the dependencies cannot be loaded: {error}"))
}
