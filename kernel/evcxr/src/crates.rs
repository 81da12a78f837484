//! Crates of `:dep` as packages that rust-analyzer can read.
//!
//! evcxr compiles what it is told to depend on, so it is told of packages of the same names without content. When that is
//! done, they hand on what is in the crates themselves, which are only read.

use std::io::Result;
use std::path::{Path, PathBuf};

use crate::messages::Crate;

fn package(folder: &Path, found: &Crate) -> PathBuf {
    folder.join("crates").join(&found.name)
}

/// Writes the packages without content. What to tell evcxr, a line for each.
pub(crate) fn stand_ins(folder: &Path, crates: &[Crate]) -> Result<String> {
    let mut lines = String::new();
    for found in crates {
        write(folder, found, "", "")?;
        lines.push_str(&format!(
            ":dep {} = {{ path = {:?} }}\n",
            found.name,
            package(folder, found).display().to_string()
        ));
    }
    Ok(lines)
}

/// Gives the packages their content, or takes it back.
pub(crate) fn fill(folder: &Path, crates: &[Crate], full: bool) -> Result<()> {
    for found in crates {
        let dependency = format!("[dependencies]\noriginal = {}\n", found.dependency);
        let content = if full { (dependency.as_str(), "pub use original::*;\n") } else { ("", "") };
        write(folder, found, content.0, content.1)?;
    }
    Ok(())
}

fn write(folder: &Path, found: &Crate, dependencies: &str, source: &str) -> Result<()> {
    let package = package(folder, found);
    std::fs::create_dir_all(package.join("src"))?;
    std::fs::write(package.join("src/lib.rs"), source)?;
    // A version that no crate has: the original may be of the same name.
    let manifest = format!(
        "[package]\nname = \"{}\"\nversion = \"0.0.0-cells\"\nedition = \"2024\"\n{dependencies}[workspace]\n",
        found.name
    );
    std::fs::write(package.join("Cargo.toml"), manifest)
}
