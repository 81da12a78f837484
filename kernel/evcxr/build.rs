//! Carries the toolkit's sources in the executable: rust-analyzer reads source text, and an installed kernel has none beside it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = here.ancestors().nth(2).expect("the workspace is two folders up");
    let mut files: Vec<PathBuf> = ["Cargo.toml", "Cargo.lock", "crate/Cargo.toml"].map(|name| root.join(name)).to_vec();
    sources(&root.join("crate/src"), &mut files);
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.strip_prefix(root).expect("it was found there").display();
        writeln!(list, "({:?}, include_str!({:?})),", name.to_string(), file.display().to_string()).expect("memory");
    }
    list.push(']');
    println!("cargo::rerun-if-changed={}", root.join("crate/src").display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("sources.rs"), list).expect("the output folder can be written");
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the toolkit's sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            println!("cargo::rerun-if-changed={}", path.display());
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}
