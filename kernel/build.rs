//! Records which compiler builds the toolkit: cells must be compiled by the same one.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let ask = |argument: &[&str]| {
        let output = Command::new(&rustc).args(argument).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    println!("cargo::rustc-env=CHANDLERY_RUSTC={}", ask(&["--version"]).unwrap_or_default());
    println!("cargo::rustc-env=CHANDLERY_SYSROOT={}", ask(&["--print", "sysroot"]).unwrap_or_default());
}
