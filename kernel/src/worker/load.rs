//! Loading compiled cells.

use std::path::Path;

use chandlery::cell::Store;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// The name of the function that every cell exports.
pub const ENTRY: &str = "chandlery_cell";

/// The name of the function by which a library of dependencies tells which tokio it holds.
pub(crate) const TOKIO_KEY: &str = "chandlery_tokio_key";

/// The name of the function that runs something inside its runtime.
pub(crate) const TOKIO_ENTER: &str = "chandlery_tokio_enter";

/// Why a compiled file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The loader refuses it.
    #[error("the {what} cannot be loaded: {}", reason(source))]
    Refused { what: &'static str, source: libloading::Error },
    /// It lacks the function that runs the cell.
    #[error("the compiled cell has no entry: {0}")]
    NoEntry(libloading::Error),
}

impl LoadError {
    fn refused(what: &'static str) -> impl Fn(libloading::Error) -> Self {
        move |source| Self::Refused { what, source }
    }
}

/// Loads a cell for the rest of the process's life: what it stored may point into it. Its statics are visible to the cells
/// after it, so that the copies in those are never used.
pub(super) fn cell(path: &Path) -> Result<fn(&mut Store), LoadError> {
    // SAFETY: the compiler made this file from safe-to-load code: it does not have initializers.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(LoadError::refused("compiled cell"))?;
    // SAFETY: the kernel wrote this function with this signature, for this compiler.
    let entry = unsafe { library.get::<fn(&mut Store)>(ENTRY.as_bytes()) }.map(|symbol| *symbol);
    std::mem::forget(library);
    entry.map_err(LoadError::NoEntry)
}

/// Returns the loader's message.
fn reason(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    source.unwrap_or_else(|| error.to_string())
}

/// Lets the next cell take these variables by the names of their types.
pub(super) fn vouch(store: &mut Store, variables: &[String]) {
    for name in variables {
        // SAFETY: the engine drops a variable when anything that its type is made of is redefined, and names only others.
        unsafe { store.vouch(name) };
    }
}

/// Loads a library of dependencies for the rest of the process's life; cells that are loaded later find its symbols. Where it
/// makes a runtime, cells run inside it from now on.
pub(super) fn library(path: &Path, surroundings: &mut Runtime) -> Result<(), LoadError> {
    // SAFETY: the user asked for this crate; its initializers may do whatever its functions may do in a cell.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(LoadError::refused("dependencies"))?;
    // SAFETY: the kernel wrote these functions with these signatures, for this compiler.
    let found = unsafe {
        (library.get::<fn() -> &'static str>(TOKIO_KEY.as_bytes()), library.get::<RunInside>(TOKIO_ENTER.as_bytes()))
    };
    if let (Ok(key), Ok(enter)) = found {
        surroundings.change(key(), *enter);
    }
    std::mem::forget(library);
    Ok(())
}

/// Runs something inside a runtime.
type RunInside = fn(&mut dyn FnMut());

/// Where cells run: in a runtime, if the dependencies have one.
#[derive(Default)]
pub(super) struct Runtime(Option<(&'static str, RunInside)>);

impl Runtime {
    /// Keeps the runtime while the tokio is the same, because tasks of cells live in it.
    fn change(&mut self, key: &'static str, enter: RunInside) {
        if self.0.is_none_or(|(known, _)| known != key) {
            self.0 = Some((key, enter));
        }
    }

    /// Runs a function inside the runtime.
    pub(super) fn run(&self, work: &mut dyn FnMut()) {
        match self.0 {
            Some((_, enter)) => enter(work),
            None => work(),
        }
    }
}
