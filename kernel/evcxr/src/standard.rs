//! A description of the standard library, for machines without its sources: signatures with one sentence of documentation.
//!
//! `std/generate.py` makes it of the sources of Rust 1.95, which are licensed as this project is: MIT or Apache 2.0.

use std::io::Result;
use std::path::Path;

const CRATES: &[(&str, &str)] = &[
    ("core", include_str!("../std/core.txt")),
    ("alloc", include_str!("../std/alloc.txt")),
    ("std", include_str!("../std/std.txt")),
];

/// Writes it where rust-analyzer looks for it.
pub(crate) fn write(folder: &Path) -> Result<()> {
    CRATES.iter().try_for_each(|(name, text)| {
        let source = folder.join(name).join("src");
        std::fs::create_dir_all(&source)?;
        std::fs::write(source.join("lib.rs"), text)
    })
}
