//! CUDA's libraries, found when the first GPU is asked for instead of when the program starts.
//!
//! candle links against them; a program that does needs them to start. Here, every function of theirs has an entry of the
//! same name that jumps through a table, so that the linker finds all names in this library and records no need for
//! others. [`load`] opens the libraries and fills the table. The list of names is made by `build.rs` from the toolkit
//! that is linked against.

use std::arch::naked_asm;
use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use libloading::os::unix::{Library as Opened, RTLD_GLOBAL, RTLD_NOW, Symbol};

use super::driver::Fault;

/// One of CUDA's libraries: the file's name as the linker would have recorded it, and its functions by their place in
/// the table.
struct Library {
    file: &'static str,
    required: bool,
    functions: &'static [(usize, &'static CStr)],
}

macro_rules! entries {
    ($total:literal; $($file:literal $required:literal [$($index:literal $name:ident $text:literal,)*];)*) => {
        static TABLE: [AtomicPtr<c_void>; $total] =
            [const { AtomicPtr::new(missing as *mut c_void) }; $total];

        const LIBRARIES: &[Library] = &[
            $(Library { file: $file, required: $required, functions: &[$(($index, $text),)*] },)*
        ];

        $($(entry!($index $name);)*)*
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! entry {
    ($index:literal $name:ident) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        unsafe extern "C" fn $name() {
            naked_asm!("jmp qword ptr [rip + {table} + {place}]", table = sym TABLE, place = const $index * 8)
        }
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! entry {
    ($index:literal $name:ident) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "adrp x16, {table} + {place}",
                "ldr x16, [x16, #:lo12:{table} + {place}]",
                "br x16",
                table = sym TABLE,
                place = const $index * 8
            )
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/libraries.rs"));

/// What every entry leads to until its library is open: `CUDA_ERROR_NOT_INITIALIZED`, which is 3.
extern "C" fn missing() -> c_int {
    3
}

/// Opens the libraries, once.
///
/// # Errors
/// [`Fault`] if the machine lacks one that every GPU program needs.
pub(super) fn load() -> Result<(), Fault> {
    static LOADED: OnceLock<Result<(), Fault>> = OnceLock::new();
    LOADED.get_or_init(|| LIBRARIES.iter().try_for_each(Library::load)).clone()
}

impl Library {
    fn load(&self) -> Result<(), Fault> {
        let Some(library) = self.open() else {
            return if self.required { Err(self.absent()) } else { Ok(()) };
        };
        for (index, name) in self.functions {
            // SAFETY: only the address is taken here; the entry of this name is called with the library's own signature.
            let function = unsafe { library.get::<*mut c_void>(*name) };
            // A library of another minor version may lack some that nobody calls.
            if let Some(function) = function.ok().map(Symbol::into_raw).filter(|function| !function.is_null()) {
                TABLE[*index].store(function, Ordering::Release);
            }
        }
        // The table refers to its functions from now on, so it stays open.
        let _ = library.into_raw();
        Ok(())
    }

    /// Opens it by the system's own search, then where the toolkit is usually installed.
    fn open(&self) -> Option<Opened> {
        let homes =
            ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(|home| Path::new(&home).to_owned());
        let homes: Vec<_> =
            homes.chain(["/usr/local/cuda", "/opt/cuda"].map(|home| Path::new(home).to_owned())).collect();
        let folders = homes.iter().flat_map(|home| ["lib64", "lib"].map(|folder| home.join(folder).join(self.file)));
        let mut files = std::iter::once(Path::new(self.file).to_owned()).chain(folders);
        // SAFETY: opening NVIDIA's library runs its own initialization, as linking to it would.
        files.find_map(|file| unsafe { Opened::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) }.ok())
    }

    fn absent(&self) -> Fault {
        if self.file.starts_with("libcuda.so") {
            let problem = format!("needs NVIDIA's driver, which this machine lacks (no {})", self.file);
            return Fault { problem, advice: "use cpu, or a machine with an NVIDIA GPU and its driver" };
        }
        let problem = format!("needs {}, which was not found", self.file);
        let advice = "install CUDA's run-time libraries, or name their folder in LD_LIBRARY_PATH";
        Fault { problem, advice }
    }
}
